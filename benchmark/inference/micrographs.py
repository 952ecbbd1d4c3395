"""One micrograph file enlarged: pages, depth, databar and pixel size as they came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from srbench.datasets.base import count_of, pixel_size_remarks
from srbench.datasets.images.databar import DecodedMicrograph, crop_micrograph
from srbench.datasets.images.decode import AnyArray, RawImage, read_raw
from srbench.datasets.images.depth import Depth
from srbench.datasets.images.instrument import read_instrument
from srbench.datasets.images.write import write_png, write_tiff
from srbench.inference.results import SOFTWARE, TIFF_SUFFIXES, ResultRecord
from srbench.utils.errors import SrbenchError
from srbench.utils.files import atomic_write
from srbench.utils.image import Pixels

if TYPE_CHECKING:
    from srbench.inference.tiling import Tiler

DatabarChoice = Literal["cut", "keep"]

# Rows that are turned into stored numbers at a time: float64 of a whole result would be its largest array.
_ROWS = 256


class FileEnlarger:
    """Super-resolves micrograph files with one model and counts what was done to them.

    Args:
        tiler: runs the model.
        databar: whether a databar is laid below the result, enlarged without the model.
        pixel_size_nm: side of a pixel of the files; what they say when None.
    """

    def __init__(self, tiler: Tiler, databar: DatabarChoice, pixel_size_nm: float | None) -> None:
        self._tiler = tiler
        self._databar = databar
        self._pixel_size_nm = pixel_size_nm
        self._notes: Counter[str] = Counter()
        self._sizes_nm: list[tuple[float | None, str]] = []

    def __call__(self, source: Path, depth: Depth, target: Path, record: ResultRecord) -> None:
        """Write the super-resolved pages of ``source`` to ``target``: a TIFF or, of one page, a PNG.

        Raises:
            SrbenchError: the file cannot be read, or the result cannot be written.
        """
        raws = read_raw(source, pages="all", min_side=1)
        as_tiff = target.suffix.lower() in TIFF_SUFFIXES
        if len(raws) > 1 and not as_tiff:
            raise SrbenchError(f"{source}: {len(raws)} pages do not fit into one PNG; choose --format tiff.")
        micrographs = [crop_micrograph(raw, depth, min_side=1) for raw in raws]
        rows, columns = _common_part(micrographs)
        facts = read_instrument(source)
        scale = self._tiler.model.scale
        size_nm = self._pixel_size_nm or facts.pixel_size_nm
        result_nm = None if size_nm is None else size_nm / scale
        has_bar = self._databar == "keep" and all(rows.stop < len(raw.array) for raw in raws)
        notes = {note for micrograph in micrographs for note in micrograph.notes} | set(facts.notes)
        if len(raws) > 1:
            notes.add("several pages, all done")
        description = record.lines
        if result_nm is not None:
            description.append(f"pixel_size_nm={result_nm:.9g}")
        if has_bar:
            description.append(f"databar_from_row={(rows.stop - rows.start) * scale}")
            notes.add("databar laid below the result, its pixels repeated")

        def page(raw: RawImage, micrograph: DecodedMicrograph) -> AnyArray:
            top, left = micrograph.rows.start, micrograph.columns.start
            part = micrograph.pixels[
                rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
            ]
            levels, exact = self._enlarged(part)
            if not exact:
                notes.add("run in tiles smaller than the receptive field, an approximation")
            if has_bar:
                bar = depth.grey(raw)[0][rows.stop :, columns]
                levels = np.concatenate([levels, bar.repeat(scale, 0).repeat(scale, 1)])
            return _stored(levels, depth, raw, as_tiff=as_tiff)

        images = map(page, raws, micrographs)
        with atomic_write(target) as file:
            if as_tiff:
                size = sum(raw.array.nbytes for raw in raws) * scale**2
                bits = depth.bits if raws[0].array.dtype != np.uint8 else None
                write_tiff(file, images, SOFTWARE, description, result_nm, bits=bits, total_bytes=size)
            elif not write_png(file, next(images), SOFTWARE, description, result_nm):
                notes.add("pixel size too small for a PNG, in its description only")
        self._notes.update({note.partition(": ")[0] for note in notes})
        origin = "as given" if self._pixel_size_nm else facts.source
        self._sizes_nm.append((result_nm, f"{origin}, divided by {scale}"))

    def _enlarged(self, pixels: Pixels) -> tuple[AnyArray, bool]:
        """``(scale*H, scale*W)`` levels, uint8 or float32 in [0, 1], and whether they are exact."""
        import torch

        top = np.float32(np.iinfo(pixels.dtype).max)
        # Rounded tile by tile, an 8-bit image needs a quarter of the memory.
        self._tiler.output = "uint8" if pixels.dtype == np.uint8 else "float32"
        result = self._tiler(torch.from_numpy(pixels.astype(np.float32) / top)[None, None])
        return result.sr[0, 0].numpy(), result.exact

    def remarks(self) -> list[str]:
        """What was done to pixels, and their size: one line a kind, with the count of images."""
        lines = [f"{kind}: {count_of(count, 'image')}" for kind, count in self._notes.most_common()]
        return [*lines, *pixel_size_remarks(self._sizes_nm)]


def _common_part(micrographs: list[DecodedMicrograph]) -> tuple[slice, slice]:
    """Rows and columns that are left of every page: the pages of a stack stay of one size."""
    rows = [micrograph.rows for micrograph in micrographs]
    columns = [micrograph.columns for micrograph in micrographs]
    return _common(rows), _common(columns)


def _common(parts: Iterable[slice]) -> slice:
    parts = list(parts)
    return slice(max(part.start for part in parts), min(part.stop for part in parts))


def _stored(levels: AnyArray, depth: Depth, raw: RawImage, *, as_tiff: bool) -> AnyArray:
    """Levels as numbers of the depth and type of the file; 16 bits where a PNG has no such type."""
    top = 255.0 if levels.dtype == np.uint8 else 1.0
    blocks = []
    for first in range(0, len(levels), _ROWS):
        plane = levels[first : first + _ROWS].astype(np.float64) / top
        if as_tiff or raw.array.dtype in (np.uint8, np.uint16):
            blocks.append(depth.stored(plane, raw))
        else:
            blocks.append(np.rint(plane * 65535.0).astype(np.uint16))
    return np.concatenate(blocks)
