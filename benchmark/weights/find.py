"""Which weights are on disk: trained here, shipped with srbench, and files named without their folder."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from srbench.utils.errors import SrbenchError
from srbench.utils.files import read_json, sha256_file
from srbench.utils.paths import runs_folder, weights_folder
from srbench.utils.text import id_to_name
from srbench.utils.typed_json import typed
from srbench.weights.io import WeightsHeader, budget_rank, examine_header, read_header

WEIGHTS = "weights.safetensors"
"""The finished weights in the folder of a run."""
SHIPPED = Path(__file__).resolve().with_name("shipped")
"""Folder of the weights that come with the package."""
INDEX = "shipped.json"


@dataclass(frozen=True)
class ShippedWeights:
    """What is recorded of weights that come with the package.

    Attributes:
        file: its name.
        sha256: hex digest; a file with another one is not loaded.
        model: registered name.
        variant: its variant.
        scale: magnification.
        task: ``sr``, or ``denoise`` at magnification 1.
        trained_on: data set.
        data: its fingerprint.
        split: split of it that was trained on.
        degradation: id of what made LR; empty where LR is a scan of its own.
        budget: ``laptop``, ``short`` or ``paper``.
        seed: training seed.
        gain: validation PSNR above that of bicubic interpolation (at magnification 1 the input), dB.
        summary: how it did, in a sentence.
        licence: of the file.
        recommended: taken where nobody names a model, of several the first; one at a magnification.
    """

    file: str
    sha256: str
    model: str
    variant: str
    scale: int
    task: Literal["sr", "denoise"]
    trained_on: str
    data: str
    split: str
    degradation: str
    budget: str
    seed: int
    gain: float
    summary: str
    licence: str
    recommended: bool


@dataclass(frozen=True)
class TrainedWeights:
    """A weights file on disk.

    Attributes:
        path: the file.
        sha256: hex digest.
        header: what it says of itself.
        gain: validation PSNR above that of bicubic interpolation, dB; NaN where it is not known.
        shipped: its entry, where it comes with the package.
    """

    path: Path
    sha256: str
    header: WeightsHeader
    gain: float = math.nan
    shipped: ShippedWeights | None = None

    @property
    def rank(self) -> tuple[bool, int, float]:
        """The larger the better: own before shipped ones, then by budget, then by validation gain."""
        gain = -math.inf if math.isnan(self.gain) else self.gain
        return self.shipped is None, budget_rank(self.header.budget), gain

    @property
    def name(self) -> str:
        """What ``--weights`` takes: the path, of shipped ones the file."""
        return self.path.name if self.shipped else str(self.path)

    @property
    def training(self) -> str:
        """In words: on what, how long, and how it did in validation."""
        header = self.header
        lr = f", LR by {header.degradation}" if header.degradation else ""
        other = "bicubic" if header.scale > 1 else "the input"
        gain = "" if math.isnan(self.gain) else f", {self.gain:+.2f} dB over {other} in validation"
        before = f", before on {header.lineage[0].trained_on}" if header.lineage else ""
        return (
            f"trained on {header.dataset or 'unknown data'}{before}{lr}, "
            f"budget {header.budget or 'unknown'}, seed {header.seed}{gain}"
        )

    @property
    def described(self) -> str:
        """For a list of several: file, network, data, budget, validation gain."""
        header = self.header
        data = header.dataset or "unknown data"
        gain = "gain unknown" if math.isnan(self.gain) else f"{self.gain:+.2f} dB"
        network = f"{header.model} {header.variant} x{header.scale}"
        return f"{self.name} ({network}, {data}, {header.budget or 'unknown budget'}, {gain})"


@functools.cache
def shipped() -> tuple[ShippedWeights, ...]:
    """What comes with the package, the recommended first; of these the first that enlarges is the default.

    Raises:
        SrbenchError: the index is damaged.
    """
    path = SHIPPED / INDEX
    try:
        return tuple(typed(ShippedWeights, entry) for entry in read_json(path))
    except (OSError, ValueError, TypeError) as error:
        raise SrbenchError(f"{path} is damaged ({error}). Install srbench again.") from error


def problem_of_shipped(path: Path) -> str:
    """What is wrong with a file that should come with the package; empty for a good one and for any other."""
    entry = next((entry for entry in shipped() if path == SHIPPED / entry.file), None)
    if entry is None or (path.is_file() and sha256_file(path) == entry.sha256):
        return ""
    return (
        f"{path} is not the file that srbench ships (sha256 {entry.sha256[:12]}...). Install srbench again."
    )


def candidates(
    model: str | None = None,
    *,
    scale: int | None = None,
    variant: str | None = None,
    dataset: str | None = None,
    runs: Path | None = None,
) -> list[TrainedWeights]:
    """Finished weights, the best first: own before shipped ones, then by budget and validation gain.

    Of equal ones the smaller seed, then the newer file comes first.

    Args:
        model: only of this model.
        scale: only of this magnification.
        variant: only this variant.
        dataset: only weights trained on this dataset.
        runs: the runs folder; the one of the srbench home when None.
    """
    ranked: list[tuple[tuple[bool, int, float], int, float, TrainedWeights]] = []
    entries = {SHIPPED / entry.file: entry for entry in shipped()}
    for path in (*_files(runs), *entries):
        header, entry = read_header(path), entries.get(path)
        if header is None or model not in (None, header.model) or scale not in (None, header.scale):
            continue
        if variant not in (None, header.variant) or dataset not in (None, header.dataset):
            continue
        try:
            age, digest = path.stat().st_mtime, sha256_file(path)
        except OSError:
            continue  # removed meanwhile
        if entry is not None and digest != entry.sha256:
            continue
        weights = TrainedWeights(path, digest, header, entry.gain if entry else _gain(path), entry)
        ranked.append((weights.rank, -header.seed, age, weights))
    ranked.sort(key=lambda item: item[:3], reverse=True)
    return [weights for *_, weights in ranked]


def recommended(there: Iterable[TrainedWeights]) -> list[TrainedWeights]:
    """Those of weights at hand that srbench recommends, one a magnification; first those that enlarge."""
    by_file = {file.shipped: file for file in there if file.shipped is not None}
    entries = [entry for entry in shipped() if entry.recommended and entry in by_file]
    return [by_file[entry] for entry in sorted(entries, key=lambda entry: entry.task != "sr")]


def find(
    model: str,
    *,
    scale: int,
    variant: str | None = None,
    dataset: str | None = None,
    runs: Path | None = None,
) -> list[TrainedWeights]:
    """The best finished weights of each kind, own ones; those shipped where there are no own ones.

    A kind is a variant with the data, degradation, channels, seed and start of its training. Arguments and
    order are those of :func:`candidates`.
    """
    return best_of_each_kind(candidates(model, scale=scale, variant=variant, dataset=dataset, runs=runs))


def best_of_each_kind(ranked: Iterable[TrainedWeights]) -> list[TrainedWeights]:
    """What :func:`find` takes of candidates in their order."""
    best: dict[tuple[object, ...], TrainedWeights] = {}
    for weights in ranked:
        header = weights.header
        start = header.lineage[0].sha256 if header.lineage else ""
        slot = (header.variant, header.dataset, header.degradation, header.channels, header.seed, start)
        best.setdefault((weights.shipped is None, *slot), weights)
    users = [weights for weights in best.values() if weights.shipped is None]
    return users or list(best.values())


def _gain(path: Path) -> float:
    """What the manifest of a run says of its last validation, dB."""
    try:
        gain = read_json(path.with_name("manifest.json"))["progress"]["metrics"]["gain_over_bicubic"]
        return float(gain)
    except (OSError, ValueError, TypeError, KeyError):
        return math.nan


def left_out(runs: Path | None = None) -> list[str]:
    """One line for each weights file of the runs folder, or of the package, that cannot be used."""
    problems = [(path, examine_header(path)[1]) for path in _files(runs)]
    unreadable = [
        f"{path} is left out: {reason}. Train it again, or remove it." for path, reason in problems if reason
    ]
    return unreadable + [text for entry in shipped() if (text := problem_of_shipped(SHIPPED / entry.file))]


def _files(runs: Path | None) -> list[Path]:
    return sorted((runs or runs_folder()).glob(f"*/{WEIGHTS}"))


def locate(path: Path) -> Path:
    """The file meant by ``path``: itself, that of a run's folder, of the weights folder, or a shipped one.

    A path may be printed with escapes (:func:`~srbench.utils.files.name_to_id`), and typed as it was printed.
    """
    try:
        if not path.exists():
            path = Path(id_to_name(str(path)))
        if path.is_dir():
            return path / WEIGHTS
        if path.exists() or path.name != str(path):
            return path
        elsewhere = (folder / path for folder in (weights_folder(), SHIPPED))
        return next((file for file in elsewhere if file.is_file()), path)
    except OSError:  # a name that the file system does not allow
        return path
