"""Downloading published weights: resumed where an earlier call stopped, hash checked or remembered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from srbench.datasets.interface import DatasetError, ProgressCallback, silent
from srbench.errors import SrbenchError
from srbench.files import sha256_file
from srbench.weights import pins
from srbench.weights.published import Published
from srbench.weights.reading import read_state


def fetch(entry: Published, tell: Callable[[str], None] = print, progress: ProgressCallback = silent) -> Path:
    """Have a published file on disk: download it, unless it is there already, and check its hash.

    Args:
        entry: the file.
        tell: told the licence before anything is downloaded, and how far the file can be trusted.
        progress: told of the bytes that arrive.

    Returns:
        Where it is.

    Raises:
        SrbenchError: it has to be fetched by hand, could not be downloaded, or is another file than the one
            published or seen before.
    """
    tell(f"{entry.file}: licence {entry.licence}{f'; {entry.note}' if entry.note else ''}")
    path = entry.path
    if path is None:
        if not entry.direct:
            raise SrbenchError(entry.by_hand)
        path = entry.places[0]
        _download(entry, path, progress)
    else:
        tell(f"{path} is there already.")
    tell(trust(entry, path))
    return path


def trust(entry: Published, path: Path) -> str:
    """Compare a file with the hash published for it, else with the one seen first, else remember it.

    Returns:
        How far the file can be trusted, in words.

    Raises:
        SrbenchError: it is another file; nothing is deleted.
    """
    digest = sha256_file(path)
    if problem := hash_problem(entry.sha256, pins.read(path), digest, path):
        raise SrbenchError(problem)
    if entry.sha256:
        return f"sha256 {digest[:12]}... begins as published ({entry.sha256})."
    if pins.read(path) is not None:
        return f"sha256 {digest[:12]}... is the one seen before; nobody published one."
    read_state(path)  # a page that says "not found" is not worth remembering
    pins.write(path, digest, entry.url)
    return (
        f"Nobody published a hash of {path.name}: what it is cannot be verified. Its sha256 {digest[:12]}... "
        f"is remembered in {pins.pin_file(path).name}, so that a later change is noticed."
    )


def hash_problem(published: str, pin: pins.Pin | None, digest: str, path: Path) -> str:
    """What is wrong with the hash of a file, in words; empty where nothing is or nothing is known."""
    if published:
        if digest.startswith(published):
            return ""
        return (
            f"{path} is not the published file: sha256 starts {digest[:12]}, expected {published[:12]}. "
            f"Delete it and fetch it again: srbench weights fetch {path.name}"
        )
    if pin is None or pin.sha256 == digest:
        return ""
    return (
        f"{path} has changed: sha256 starts {digest[:12]}, was {pin.sha256[:12]} when first seen "
        f"({pin.seen}). If the change is meant, delete {pins.pin_file(path)}; else delete "
        f"{path.name} and fetch it again."
    )


def _download(entry: Published, path: Path, progress: ProgressCallback) -> None:
    from srbench.datasets.download import Remote, download_all

    pin = pins.read(path)
    expected = entry.sha256 or (pin.sha256 if pin else "")
    try:
        download_all([Remote(entry.url, path, expected)], progress)
    except DatasetError as error:
        raise SrbenchError(_explained(error, entry, path, pin)) from error
    if not expected:
        _refuse_what_is_no_weights_file(entry, path)


def _explained(error: DatasetError, entry: Published, path: Path, pin: pins.Pin | None) -> str:
    hint = f"\nOr open {entry.url} in a browser and put the file at {path}."
    if pin is not None and not entry.sha256:
        hint += (
            f"\nThe hash expected is that of {pin.seen}; to accept another file delete {pins.pin_file(path)}."
        )
    return f"{error}{hint}"


def _refuse_what_is_no_weights_file(entry: Published, path: Path) -> None:
    """Servers answer with a page where a file was; without a hash only its content tells."""
    from srbench.weights.reading import DamagedWeights

    try:
        read_state(path)
    except DamagedWeights as error:
        path.unlink()
        raise SrbenchError(
            f"{entry.url} gave something that is no weights file; it was deleted. Open the address in a "
            f"browser and put the file at {path}. ({error})"
        ) from error
    except SrbenchError:
        return  # whole, but in need of being saved anew: the check says how
