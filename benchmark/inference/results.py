"""Files that ``infer`` writes: what they are called, what stands in them, and how they are recognised.

A name follows from the source alone, so that a run that is continued finds what is there. Two sources never
have one name: a source keeps its suffix in the name where the result has another, or where the rest of its
name looks like an image's.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from srbench.datasets.images.decode import SUFFIXES
from srbench.datasets.images.write import ImageFormat, read_description
from srbench.version import __version__

SOFTWARE = f"srbench {__version__}"
TIFF_SUFFIXES, PNG_SUFFIXES = (".tif", ".tiff"), (".png",)
# The rest (TIFF, MRC) may hold several pages, or numbers that a PNG has not.
_BECOME_PNG = (*PNG_SUFFIXES, ".jpg", ".jpeg", ".bmp")
_VERSION_LINE = "srbench="
# What file systems allow, less what a temporary file beside the result adds to its name.
_LONGEST_NAME_BYTES = 255 - 14
UNMEASURED = "Detail finer than the LR grid was not measured: the model made it."


@dataclass(frozen=True)
class ResultRecord:
    """How a result was made, as it stands in its description; equal for equal results.

    Attributes:
        model: registered name.
        variant: its variant.
        weights_sha256: of the weights file; empty for interpolations.
        trained_on: dataset, budget and seed of the weights, or who published them.
        scale: magnification.
        options: choices of the user that change pixels or their size.
        source_sha256: of the source file.
    """

    model: str
    variant: str
    weights_sha256: str
    trained_on: str
    scale: int
    options: str
    source_sha256: str

    @property
    def lines(self) -> list[str]:
        """The record and what everybody has to know of such an image."""
        values = {name: " ".join(str(value or "none").split()) for name, value in asdict(self).items()}
        said = (f"{name}={value}" for name, value in values.items())
        lines = [f"{_VERSION_LINE}{__version__}", *said, UNMEASURED]
        # A dataset may be called after a folder whose name is no text.
        return [line.encode("utf-8", "backslashreplace").decode("utf-8") for line in lines]

    def conflict(self, target: Path) -> str:
        """Why the file that is there is not the result that would be written; empty where it is."""
        lines = read_record(target)
        if not lines:
            return f"{target} is there already and is no result of srbench; --force replaces it"
        names = [line.partition("=")[0] for line in self.lines[1:-1] if line not in lines]
        if not names:
            return ""
        return f"{target} is there already, of other {', '.join(names)}; --force replaces it"


def read_record(path: Path) -> list[str]:
    """The lines of the record in a file that ``infer`` wrote; none in any other file."""
    lines = read_description(path).splitlines()
    return lines if any(line.startswith(_VERSION_LINE) for line in lines) else []


def result_name(source: PurePosixPath, model: str, scale: int, chosen: ImageFormat | None) -> PurePosixPath:
    """The path of a result below the output folder.

    ``a/x.tif`` becomes ``a/x_edsr_x2.tif``, ``x.jpg`` becomes ``x.jpg_edsr_x2.png``.

    Args:
        source: path of the source below the folder that was given, or its name.
        model: registered name.
        scale: magnification.
        chosen: the format that the user chose; by the source's suffix when None.
    """
    as_png = chosen == "png" or (chosen is None and source.suffix.lower() in _BECOME_PNG)
    suffixes = PNG_SUFFIXES if as_png else TIFF_SUFFIXES
    stem, suffix = source.stem, source.suffix
    if suffix.lower() not in suffixes or PurePosixPath(stem).suffix.lower() in SUFFIXES:
        stem, suffix = source.name, suffixes[0]
    ending = f"_{model}_x{scale}{suffix}"
    if len(os.fsencode(stem + ending)) > _LONGEST_NAME_BYTES:
        ending = f"-{hashlib.sha256(os.fsencode(source.name)).hexdigest()[:12]}{ending}"
        while len(os.fsencode(stem + ending)) > _LONGEST_NAME_BYTES:
            stem = stem[:-1]  # by characters: some file systems take no part of one
    return source.with_name(stem + ending)
