"""One micrograph file super-resolved into another: pages, depth, databar and pixel size as they came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from srbench.datasets.base import pixel_size_remarks
from srbench.datasets.images.databar import ImageRegion, has_databar, image_region
from srbench.datasets.images.decode import AnyArray, BadImage, RawImage, read_raw
from srbench.datasets.images.depth import Depth
from srbench.datasets.images.instrument import read_instrument
from srbench.datasets.images.write import write_png, write_tiff
from srbench.inference.results import PNG_SUFFIXES, SOFTWARE, ResultRecord
from srbench.utils.files import atomic_write
from srbench.utils.progress import count_of

if TYPE_CHECKING:
    from srbench.inference.tiling import Tiler

DatabarChoice = Literal["cut", "keep"]

# Rows that are made stored numbers at a time: float64 of a whole result would be its largest array.
_ROWS = 256


@dataclass(frozen=True)
class EnlargedPage:
    """A super-resolved page ``(scale*H, scale*W)`` in its own depth and type, and what was done to it."""

    array: AnyArray
    notes: tuple[str, ...]


def image_regions(raws: Sequence[RawImage]) -> list[ImageRegion]:
    """Where the image is on each page, without databar; the pages of a stack, of one size, stay of one."""
    regions = [image_region(raw) for raw in raws]
    if len({raw.array.shape for raw in raws}) == 1:
        rows = _common([region.rows for region in regions])
        columns = _common([region.columns for region in regions])
        regions = [replace(region, rows=rows, columns=columns) for region in regions]
    return regions


def enlarge_page(
    tiler: Tiler,
    raw: RawImage,
    region: ImageRegion,
    depth: Depth,
    *,
    as_png: bool = False,
    keeps_bar: bool = False,
) -> EnlargedPage:
    """Super-resolve the image on a page; colour becomes luma.

    Args:
        tiler: runs the model.
        raw: the page.
        region: where the image is on it.
        depth: of its file or folder.
        as_png: 16 bits where a PNG has no such type.
        keeps_bar: what is below the region follows, each of its pixels repeated.

    Raises:
        SrbenchError: numbers that are no grey levels of this depth, or what the tiler raises.
    """
    image, notes = depth.grey(replace(raw, array=raw.array[region.rows, region.columns]))
    if has_databar(image) and image.min() != image.max():
        notes = (*notes, "a databar may be left, cut it off by hand")
    levels, exact = _super_resolved(tiler, image)
    if not exact:
        notes = (*notes, "run in tiles smaller than the receptive field, an approximation")
    if keeps_bar:
        levels = np.concatenate([levels, _enlarged_bar(raw, depth, region, tiler.model.scale)])
    return EnlargedPage(_stored(levels, depth, raw, as_png=as_png), notes)


class FileEnlarger:
    """Super-resolves micrograph files with one model and counts what was done to them.

    Args:
        tiler: runs the model.
        databar: whether a databar is cut, or laid below the result, enlarged without the model.
        pixel_size_nm: side of a pixel of the files; what they say when None.
    """

    def __init__(self, tiler: Tiler, databar: DatabarChoice, pixel_size_nm: float | None) -> None:
        self._tiler = tiler
        self._scale = tiler.model.scale
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
        as_png = target.suffix.lower() in PNG_SUFFIXES
        if len(raws) > 1 and as_png:
            raise BadImage(f"{source}: {len(raws)} pages do not fit into one PNG; leave --format out")
        regions = image_regions(raws)
        facts = read_instrument(source)
        size_nm = self._pixel_size_nm or facts.pixel_size_nm
        result_nm = None if size_nm is None else size_nm / self._scale
        has_bars = all(region.rows.stop < len(raw.array) for region, raw in zip(regions, raws, strict=True))
        keeps_bar = has_bars and self._databar == "keep"
        notes = {*facts.notes, *self._region_notes(regions, keeps_bar)}
        if len(raws) > 1:
            notes.add("several pages, all of them")
        description = record.lines
        if result_nm is not None:
            description.append(f"pixel_size_nm={result_nm:.9g}")
        if keeps_bar:
            rows = regions[0].rows
            description.append(f"databar_from_row={(rows.stop - rows.start) * self._scale}")

        def page(raw: RawImage, region: ImageRegion) -> AnyArray:
            result = enlarge_page(self._tiler, raw, region, depth, as_png=as_png, keeps_bar=keeps_bar)
            notes.update(result.notes)
            return result.array

        try:
            with atomic_write(target) as file:
                if as_png:
                    if not write_png(file, page(raws[0], regions[0]), SOFTWARE, description, result_nm):
                        notes.add("pixel size too small for a PNG's tags, in the description alone")
                else:
                    size = sum(raw.array.nbytes for raw in raws) * self._scale**2
                    bits = depth.bits if raws[0].array.dtype.itemsize > 1 else None
                    pages = map(page, raws, regions)
                    write_tiff(file, pages, SOFTWARE, description, result_nm, bits=bits, total_bytes=size)
        except BadImage as error:
            raise BadImage(f"{source}: {error}") from error
        self._notes.update({note.partition(": ")[0] for note in notes})
        origin = "as given" if self._pixel_size_nm else facts.source
        self._sizes_nm.append((result_nm, f"{origin}, divided by {self._scale}"))

    def remarks(self) -> list[str]:
        """What was done to pixels, and their size: one line a kind, with the count of images."""
        lines = [f"{kind}: {count_of(count, 'image')}" for kind, count in self._notes.most_common()]
        return [*lines, *pixel_size_remarks(self._sizes_nm)]

    def _region_notes(self, regions: list[ImageRegion], keeps_bar: bool) -> set[str]:
        notes = {note for region in regions for note in region.notes}
        if keeps_bar:
            notes = {note for note in notes if not note.startswith("databar cut")}
            notes.add("databar laid below the result, each of its pixels repeated")
        return notes


def _super_resolved(tiler: Tiler, pixels: AnyArray) -> tuple[AnyArray, bool]:
    """``(scale*H, scale*W)`` levels, uint8 or float32 in [0, 1], and whether they are exact."""
    import torch

    top = np.float32(np.iinfo(pixels.dtype).max)
    # Rounded tile by tile, an 8-bit image needs a quarter of the memory.
    tiler.output = "uint8" if pixels.dtype == np.uint8 else "float32"
    result = tiler(torch.from_numpy(pixels.astype(np.float32) / top)[None, None])
    return result.sr[0, 0].numpy(), result.exact


def _enlarged_bar(raw: RawImage, depth: Depth, region: ImageRegion, scale: int) -> AnyArray:
    """What is below the image, in the levels of :func:`_super_resolved`; every pixel repeated."""
    array = raw.array[region.rows.stop :, region.columns]
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = np.minimum(array, int(depth.white))  # text may be whiter than the depth of the image
    bar = depth.grey(replace(raw, array=array))[0]
    if bar.dtype == np.uint16:
        bar = bar.astype(np.float32) / np.float32(65535)
    return bar.repeat(scale, 0).repeat(scale, 1)


def _common(parts: list[slice]) -> slice:
    """What is left of every page."""
    return slice(max(part.start for part in parts), min(part.stop for part in parts))


def _stored(levels: AnyArray, depth: Depth, raw: RawImage, *, as_png: bool) -> AnyArray:
    """Levels as numbers of the depth and type of the file; 16 bits where a PNG has no such type."""
    # White is the largest number in what is written.
    like = replace(raw, inverted=False)
    full_scale = as_png and raw.array.dtype not in (np.uint8, np.uint16)
    top = 255.0 if levels.dtype == np.uint8 else 1.0
    blocks = []
    for first in range(0, len(levels), _ROWS):
        plane = levels[first : first + _ROWS].astype(np.float64) / top
        if full_scale:
            blocks.append(np.floor(plane * 65535.0 + 0.5).astype(np.uint16))
        else:
            stored = depth.stored(plane, like)
            blocks.append(stored.astype(np.float32) if stored.dtype.kind == "f" else stored)
    return np.concatenate(blocks)
