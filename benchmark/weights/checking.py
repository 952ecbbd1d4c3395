"""Looking at weights files one by one: readable, safe, whose they are, and still the file they were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from srbench.errors import SrbenchError
from srbench.files import sha256_file
from srbench.weights.detection import detect, difference, layout, shapes_of
from srbench.weights.header import WeightsHeader, read_header
from srbench.weights.published import Published, hash_problem, known_file, read_lock_entry
from srbench.weights.reading import SUFFIXES, read_state

if TYPE_CHECKING:
    from torch import Tensor

    from srbench.datasets.download import LockEntry


@dataclass(frozen=True)
class FileCheck:
    """What is known of one weights file.

    Attributes:
        path: the file.
        network: whose weights they are, in words.
        hash: its sha256 and what it agrees with.
        origin: the header of a file srbench wrote, in words; licence and note of a published one.
        problems: what is wrong; empty for a good file.
    """

    path: Path
    network: str = ""
    hash: str = ""
    origin: str = ""
    problems: tuple[str, ...] = ()


def check(path: Path) -> FileCheck:
    """Check one file; whatever is wrong with it is among the problems."""
    try:
        return _checked(path)
    except (SrbenchError, OSError) as error:
        return FileCheck(path, problems=(str(error),))


def weights_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The files to look at: those named, and those with a weights file's ending in the folders named."""
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        else:
            yield path


def _checked(path: Path) -> FileCheck:
    if not path.is_file():
        return FileCheck(path, problems=(f"there is no file {path}",))
    header, entry, digest = read_header(path), known_file(path.name), sha256_file(path)
    first = read_lock_entry(path)
    published = entry.sha256 if entry else ""
    problems = [hash_problem(published, first, digest, path)]
    network = ""
    try:
        state = read_state(path)
        network, misfit = _network(state, header, entry)
        problems += [misfit, _not_finite(state)]
    except SrbenchError as error:
        problems.append(str(error))
    return FileCheck(
        path,
        network,
        f"{digest[:12]}... {_agreement(published, first, header)}",
        _origin(header, entry),
        tuple(filter(None, problems)),
    )


def _network(
    state: Mapping[str, Tensor], header: WeightsHeader | None, entry: Published | None
) -> tuple[str, str]:
    """Whose weights these are, and what contradicts what the file or its publisher says."""
    if header is not None:
        return header.described, _misfit(header, state)
    if entry is not None and entry.network is None:
        return f"ImageNet network {entry.owner}", ""
    if entry is not None and entry.network is not None:
        fits = entry.network.network in {header.network for header in detect(state, only=[entry.owner])}
        problem = (
            "" if fits else f"the tensors do not fit {entry.network.described}, which it is published as"
        )
        return entry.network.described, problem
    return _in_words(detect(state), state), ""


def _misfit(header: WeightsHeader, state: Mapping[str, Tensor]) -> str:
    from srbench import models
    from srbench.models.registry import converter

    try:
        expected = layout(*header.network)
    except models.ModelError as error:
        return f"its header names a network that is not there: {error}"
    problem = difference(expected, shapes_of(converter(header.model)(state)))
    return f"its tensors are not those its header promises: {problem}" if problem else ""


def _in_words(matches: list[WeightsHeader], state: Mapping[str, Tensor]) -> str:
    from srbench import spandrel_adapter

    if matches:
        return " or ".join(header.described for header in matches)
    if spandrel_adapter.available() and (foreign := spandrel_adapter.architecture_of(state)):
        return f"{foreign} (recognised by spandrel)"
    return f"no known network ({len(state)} tensors, {min(state)!r}, ...)"


def _agreement(published: str, first: LockEntry | None, header: WeightsHeader | None) -> str:
    if published:
        return f"published as {published[:12]}"
    if first is not None:
        return f"first seen {first.seen} as {first.sha256[:12]}"
    return "" if header is not None else "nothing to compare with"


def _origin(header: WeightsHeader | None, entry: Published | None) -> str:
    if header is not None:
        dataset, budget = header.dataset or "unknown data", header.budget or "unknown"
        return f"trained on {dataset}, budget {budget}, seed {header.seed}"
    if entry is not None:
        return f"published, licence {entry.licence}{f'; {entry.note}' if entry.note else ''}"
    return ""


def _not_finite(state: Mapping[str, Tensor]) -> str:
    bad = [name for name, tensor in state.items() if not bool(tensor.isfinite().all())]
    return f"NaN or infinity in {len(bad)} of {len(state)} tensors, {bad[0]!r} first" if bad else ""
