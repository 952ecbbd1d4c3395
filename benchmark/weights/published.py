"""Weights that other people published: those on the models' cards, and the ImageNet networks of losses.

A hash somebody published is checked; where there is none, a lock file beside the weights keeps the one seen
first, so that a later change is noticed. A download goes on where an earlier one stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from srbench.utils.errors import SrbenchError, unknown_name
from srbench.utils.files import read_json, sha256_file
from srbench.utils.paths import weights_folder
from srbench.utils.progress import ProgressCallback, silent
from srbench.utils.typed_json import typed
from srbench.weights.detect import difference, layout, shapes_of
from srbench.weights.find import problem_of_shipped
from srbench.weights.io import SUFFIXES, WeightsHeader, read_header, read_state
from srbench.weights.load import read_detected
from srbench.weights.torch_files import DamagedWeights

if TYPE_CHECKING:
    from torch import Tensor

    from srbench.datasets.download import LockEntry


@dataclass(frozen=True)
class Published:
    """One published file.

    Attributes:
        file: its name.
        owner: the model it is for; the name of the network for an ImageNet one.
        url: where the file is, or the page that hands it out.
        licence: as the publisher states it.
        sha256: hex digest or its first digits, empty where nobody published one.
        direct: whether ``url`` gives the file itself.
        note: what a user must know.
        network: the configuration it fits; None for an ImageNet network.
        tensors_sha256: hex digest of the file with its tensors alone that srbench's own results used.
        trained_on: kind of images.
    """

    file: str
    owner: str
    url: str
    licence: str
    sha256: str
    direct: bool
    note: str
    network: WeightsHeader | None
    tensors_sha256: str = ""
    trained_on: str = "photographs"

    @property
    def path(self) -> Path | None:
        """Where it is on disk, None when it is nowhere."""
        return next((path for path in self.locations if path.is_file()), None)

    @property
    def locations(self) -> tuple[Path, ...]:
        """Where it is looked for; the first is where it belongs."""
        if self.network is not None:
            return (weights_folder() / self.file,)
        from srbench.weights.imagenet import search_folders

        return tuple(folder / self.file for folder in search_folders())

    def is_content(self, sha256: str) -> bool:
        """Whether a file with this hash is the published one, or its tensors alone."""
        return sha256 == self.tensors_sha256 or bool(self.sha256 and sha256.startswith(self.sha256.lower()))

    @property
    def by_hand(self) -> str:
        """What a person has to do who wants a file that no address gives."""
        return (
            f"{self.file} has no address of its own. Open {self.url} in a browser, take {self.file} from "
            f"there and put it at {self.locations[0]}. Then: srbench weights check"
        )


def all_published() -> list[Published]:
    """Every known file: by model, then the ImageNet networks."""
    from srbench import models
    from srbench.weights.imagenet import FILES

    released = [entry for name in models.model_names() for entry in _of_model(name)]
    imagenet = [
        Published(
            file.file, name, file.url, file.licence, file.sha256_prefix, True, f"for {file.used_for}", None
        )
        for name, file in FILES.items()
    ]
    return [*released, *imagenet]


def _of_model(name: str) -> Iterator[Published]:
    from srbench import plugins

    try:
        card = plugins.card(name)
    except Exception:  # a third-party file may raise anything; its weights are then unknown
        return
    for released in card.released:
        yield Published(
            released.file,
            card.name,
            released.url,
            released.licence,
            released.sha256,
            released.direct,
            released.note,
            WeightsHeader(card.name, released.variant, released.scale, released.channels),
            released.tensors_sha256,
            released.trained_on,
        )


def select(name: str) -> list[Published]:
    """The files behind a name: a file's own, a model's, or an ImageNet network's.

    Raises:
        SrbenchError: nothing of that name is known.
    """
    from srbench import models, plugins

    entries = all_published()
    chosen = [entry for entry in entries if name in (entry.file, entry.owner)]
    if chosen:
        return chosen
    if name not in models.model_names():
        names = {value for entry in entries for value in (entry.file, entry.owner)}
        raise unknown_name("weights", name, names | {*models.model_names()})
    if not plugins.card(name).trainable:
        raise SrbenchError(f"{name} needs no weights.")
    raise SrbenchError(
        f"Nobody published weights of {name} that are known here. Train it: "
        f"srbench train {name} --dataset NAME"
    )


def named(name: str) -> Published | None:
    """The published file of that name."""
    return next((entry for entry in all_published() if entry.file == name), None)


def known_file(name: str, sha256: str) -> Published | None:
    """What is known of a file: by its content where it is a published one, else by its name."""
    entries = all_published()
    by_content = (entry for entry in entries if entry.is_content(sha256))
    by_name = (entry for entry in entries if entry.file == name)
    return next(by_content, None) or next(by_name, None)


def fetch(
    entry: Published, on_message: Callable[[str], None] = print, progress: ProgressCallback = silent
) -> Path:
    """Have a published file on disk: download it, unless it is there already, and check its hash.

    Args:
        entry: the file.
        on_message: given the licence before anything is downloaded, and how far the file can be trusted.
        progress: given the bytes that arrive.

    Returns:
        Where it is.

    Raises:
        SrbenchError: it has to be fetched by hand, could not be downloaded, or is another file than the one
            published or seen before.
    """
    on_message(f"{entry.file}: licence {entry.licence}{f'; {entry.note}' if entry.note else ''}")
    path = entry.path
    if path is None:
        if not entry.direct:
            raise SrbenchError(entry.by_hand)
        path = entry.locations[0]
        _download(entry, path, progress)
    else:
        on_message(f"{path} is there already.")
    on_message(trust(entry, path))
    return path


def trust(entry: Published, path: Path) -> str:
    """Compare a file with the hash published for it, else with the one seen first, else remember it.

    Returns:
        How far the file can be trusted, in words.

    Raises:
        SrbenchError: it is another file; nothing is deleted.
    """
    from srbench.datasets.download import add_lock_entry
    from srbench.utils.files import hash_file

    content, first = hash_file(path).result, read_lock_entry(path)
    begin = f"{content.sha256[:12]}..."
    if content.sha256 == entry.tensors_sha256:
        return f"sha256 {begin} is that of the tensors that srbench's own results used."
    if problem := hash_problem(entry.sha256, first, content.sha256, path):
        raise SrbenchError(problem)
    if entry.sha256:
        return f"sha256 {begin} begins as published ({entry.sha256})."
    if first is not None:
        return f"sha256 {begin} is the one seen before; nobody published one."
    read_state(path)  # a page that says "not found" is not worth remembering
    add_lock_entry(lock_file(path), path.name, content, entry.url)
    return (
        f"Nobody published a hash of {path.name}: what it is cannot be verified. Its sha256 {begin} "
        f"is remembered in {lock_file(path).name}, so that a later change is noticed."
    )


def hash_problem(published: str, first: LockEntry | None, digest: str, path: Path) -> str:
    """What is wrong with the hash of a file, in words; empty where nothing is or nothing is known."""
    if published:
        if digest.startswith(published):
            return ""
        return (
            f"{path} is not the published file: sha256 starts {digest[:12]}, expected {published[:12]}. "
            f"Delete it and fetch it again: srbench weights fetch {path.name}"
        )
    if first is None or first.sha256 == digest:
        return ""
    return (
        f"{path} has changed: sha256 starts {digest[:12]}, was {first.sha256[:12]} when first seen "
        f"({first.seen}). If the change is meant, delete {lock_file(path)}; else delete "
        f"{path.name} and fetch it again."
    )


def lock_file(path: Path) -> Path:
    """The file that remembers the hash of the weights file ``path``, as it was first seen."""
    return path.with_name(f"{path.name}.pin.json")


def read_lock_entry(path: Path) -> LockEntry | None:
    """What is remembered of a weights file, None where nothing is.

    Raises:
        SrbenchError: the lock file cannot be read.
    """
    from srbench.datasets.download import LockEntry, read_lock_file

    file = lock_file(path)
    if not file.is_file():
        return None
    try:
        raw = read_json(file)
        # Earlier lock files hold the entry alone.
        return typed(LockEntry, raw) if "sha256" in raw else read_lock_file(file).get(path.name)
    except (OSError, ValueError, TypeError) as error:
        raise SrbenchError(
            f"{file} is not a lock file as srbench writes it ({error}). Delete it to take {path.name} on "
            "trust again."
        ) from error


def _download(entry: Published, path: Path, progress: ProgressCallback) -> None:
    from srbench.datasets.download import Remote, download_all

    first = read_lock_entry(path)
    expected = entry.sha256 or (first.sha256 if first else "")
    by_hand = f"Or open {entry.url} in a browser and put the file at {path}."
    try:
        download_all([Remote(entry.url, path, expected)], progress)
    except SrbenchError as error:
        hint = ""
        if first is not None and not entry.sha256:
            hint = (
                f"\nThe hash expected is that of {first.seen}; to accept another file delete "
                f"{lock_file(path)}."
            )
        raise SrbenchError(f"{error}\n{by_hand}{hint}") from error
    if expected:
        return
    # Servers answer with a page where a file was; without a hash only its content tells.
    try:
        read_state(path)
    except DamagedWeights as error:
        path.unlink()
        raise SrbenchError(
            f"{entry.url} gave something that is no weights file; it was deleted. {by_hand} ({error})"
        ) from error
    except SrbenchError:
        return  # whole, but in need of being saved anew: the check says how


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


def check_file(path: Path) -> FileCheck:
    """Check one file; whatever is wrong with it is among the problems."""
    if not path.is_file():
        return FileCheck(path, problems=(f"there is no file {path}",))
    try:
        return _check_content(path)
    except (SrbenchError, OSError) as error:
        return FileCheck(path, problems=(str(error),))


def weights_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The files to look at: those named, and those with a weights file's ending in the folders named."""
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        else:
            yield path


def _check_content(path: Path) -> FileCheck:
    header, digest = read_header(path), sha256_file(path)
    entry, first = known_file(path.name, digest), read_lock_entry(path)
    published = entry.sha256 if entry else ""
    if entry is not None and digest == entry.tensors_sha256:
        published = digest
    problems = [hash_problem(published, first, digest, path), problem_of_shipped(path)]
    network = ""
    try:
        matches: list[WeightsHeader] = []
        if header is not None or (entry is not None and entry.network is None):
            state = read_state(path)
        else:
            state, matches = read_detected(path, [entry.owner] if entry else None)
        network, misfit = _network(state, matches, header, entry)
        bad = [name for name, tensor in state.items() if not bool(tensor.isfinite().all())]
        problems.append(misfit)
        if bad:
            problems.append(f"NaN or infinity in {len(bad)} of {len(state)} tensors, {bad[0]!r} first")
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
    state: Mapping[str, Tensor],
    matches: list[WeightsHeader],
    header: WeightsHeader | None,
    entry: Published | None,
) -> tuple[str, str]:
    """Whose weights these are, and what contradicts what the file or its publisher says."""
    if header is not None:
        return header.described, _misfit(header, state)
    if entry is not None and entry.network is None:
        return f"ImageNet network {entry.owner}", ""
    if entry is not None and entry.network is not None:
        fits = entry.network.network in {header.network for header in matches}
        problem = (
            "" if fits else f"the tensors do not fit {entry.network.described}, which it is published as"
        )
        return entry.network.described, problem
    return _in_words(matches, state), ""


def _misfit(header: WeightsHeader, state: Mapping[str, Tensor]) -> str:
    from srbench import models
    from srbench.models.registry import converter

    try:
        expected = layout(*header.network)
    except models.ModelError as error:
        return f"its header names a network that is not there: {error}"
    try:
        problem = difference(expected, shapes_of(converter(header.model)(state)))
    except Exception as error:  # a layout that only resembles the one which is converted
        problem = f"{type(error).__name__}: {error}"
    return f"its tensors are not those its header promises: {problem}" if problem else ""


def _in_words(matches: list[WeightsHeader], state: Mapping[str, Tensor]) -> str:
    from srbench.weights import spandrel as spandrel_adapter

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
        started = "".join(f"; started from {ancestor.described}" for ancestor in header.lineage)
        return f"trained on {dataset}, budget {budget}, seed {header.seed}{started}"
    if entry is not None:
        note = f"; {entry.note}" if entry.note else ""
        return f"published at {entry.url}, licence {entry.licence}{note}"
    return ""
