"""Which weights are on disk: those trained here, and files named without their folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from srbench.utils.files import sha256_file
from srbench.utils.paths import runs_folder, weights_folder
from srbench.utils.text import id_to_name
from srbench.weights.io import WeightsHeader, examine_header, read_header

WEIGHTS = "weights.safetensors"
"""The finished weights in the folder of a run."""


@dataclass(frozen=True)
class TrainedWeights:
    """A weights file on disk, its sha256 (hex) and its header."""

    path: Path
    sha256: str
    header: WeightsHeader


def find(
    model: str,
    *,
    scale: int,
    variant: str | None = None,
    dataset: str | None = None,
    runs: Path | None = None,
) -> list[TrainedWeights]:
    """Finished weights of a model, the best of each kind: the largest budget, then the newest.

    A kind is a variant with the data, degradation, channels and seed it was trained with.

    Args:
        model: registered name.
        scale: magnification.
        variant: only this variant.
        dataset: only weights trained on this dataset.
        runs: the runs folder; the one of the srbench home when None.
    """
    best: dict[tuple[object, ...], tuple[tuple[int, float], Path, WeightsHeader]] = {}
    for path in _files(runs):
        header = read_header(path)
        if header is None or (header.model, header.scale) != (model, scale):
            continue
        if variant not in (None, header.variant) or dataset not in (None, header.dataset):
            continue
        try:
            rank = (header.budget_rank, path.stat().st_mtime)
        except OSError:
            continue  # removed meanwhile
        slot = (header.variant, header.dataset, header.degradation, header.channels, header.seed)
        if slot not in best or rank > best[slot][0]:
            best[slot] = (rank, path, header)
    return [TrainedWeights(path, sha256_file(path), header) for _, path, header in best.values()]


def left_out(runs: Path | None = None) -> list[str]:
    """One line for each weights file of the runs folder that :func:`find` cannot read."""
    problems = [(path, examine_header(path)[1]) for path in _files(runs)]
    return [
        f"{path} is left out: {reason}. Train it again, or remove it." for path, reason in problems if reason
    ]


def _files(runs: Path | None) -> list[Path]:
    return sorted((runs or runs_folder()).glob(f"*/{WEIGHTS}"))


def locate(path: Path) -> Path:
    """The file meant by ``path``: itself, that of a run's folder, or one of the srbench weights folder.

    A path may be printed with escapes (:func:`~srbench.utils.files.name_to_id`), and typed as it was printed.
    """
    stored = weights_folder() / path
    try:
        if not path.exists():
            path = Path(id_to_name(str(path)))
        if path.is_dir():
            return path / WEIGHTS
        return stored if not path.exists() and path.name == str(path) and stored.is_file() else path
    except OSError:  # a name that the file system does not allow
        return path
