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
TIFF_SUFFIXES = (".tif", ".tiff")
_VERSION_LINE = "srbench="
# What file systems allow, less what a temporary file beside the result adds to its name.
_LONGEST_NAME_BYTES = 255 - 14
_WARNING = "Detail finer than the LR grid was not measured: the model made it."


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
        lines = [f"{_VERSION_LINE}{__version__}", *(f"{name}={value}" for name, value in values.items()), _WARNING]
        # A dataset may be called after a folder whose name is no text.
        return [line.encode("utf-8", "backslashreplace").decode("utf-8") for line in lines]

    def differs_in(self, lines: list[str]) -> list[str]:
        """Names of the values that the lines of another record do not have; the version may differ."""
        names = (line.partition("=")[0] for line in self.lines[1:-1] if line not in lines)
        return [name.removesuffix("_sha256").replace("_", " ") for name in names]


def read_record(path: Path) -> list[str]:
    """The lines of the record in a file that ``infer`` wrote; none in any other file."""
    lines = read_description(path).splitlines()
    return lines if any(line.startswith(_VERSION_LINE) for line in lines) else []


def result_format(source: PurePosixPath, chosen: ImageFormat | None) -> ImageFormat:
    """TIFF for a TIFF and PNG for every other file, unless the user chose."""
    return chosen or ("tiff" if source.suffix.lower() in TIFF_SUFFIXES else "png")


def result_name(source: PurePosixPath, model: str, scale: int, chosen: ImageFormat | None) -> PurePosixPath:
    """The path of a result below the output folder.

    ``a/x.tif`` becomes ``a/x_edsr_x2.tif``, ``x.jpg`` becomes ``x.jpg_edsr_x2.png``.

    Args:
        source: path of the source below the folder that was given, or its name.
        model: registered name.
        scale: magnification.
        chosen: the format that the user chose, if any.
    """
    suffixes = TIFF_SUFFIXES if result_format(source, chosen) == "tiff" else (".png",)
    stem, suffix = source.stem, source.suffix
    if suffix.lower() not in suffixes or PurePosixPath(stem).suffix.lower() in SUFFIXES:
        stem, suffix = source.name, suffixes[0]
    ending = os.fsencode(f"_{model}_x{scale}{suffix}")
    name = os.fsencode(stem)
    room = _LONGEST_NAME_BYTES - len(ending)
    if len(name) > room:
        digest = hashlib.sha256(os.fsencode(source.name)).hexdigest()[:12]
        # Cut between characters: some file systems take no half ones.
        start = name[: room - 1 - len(digest)].decode("utf-8", "ignore" if _is_utf8(name) else "surrogateescape")
        name = os.fsencode(f"{start}-{digest}")
    return source.with_name(os.fsdecode(name + ending))


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
