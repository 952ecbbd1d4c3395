"""Databars: the strip with text and scale bar that a microscope burns into the image, and cutting it off.

A databar is drawn, not measured: a few rows of one exact grey level from edge to edge, beginning at a
straight horizontal line, with text on the same level below. That holds for the white floating bar of Zeiss
instruments (NFFA-EUROPE), for the black bar of FEI/Thermo, JEOL and Hitachi, and for grey ones. A transparent
overlay (text drawn straight onto the specimen) cannot be found this way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.images.decode import (
    MAX_PIXELS,
    MIN_SIDE,
    AnyArray,
    BadImage,
    RawImage,
    read_raw,
    refuse_blank,
)
from srbench.datasets.images.depth import Depth, common_depth
from srbench.utils.image import Pixels

# Search from here down, as a share of the height; no instrument draws a higher bar.
_SEARCH_FROM = 0.55
_TALLEST = 0.35
_FEWEST_ROWS = 12
_TEXT = 0.35
_EDGE = 0.5
_MARGIN_ROWS = 2
_FRAME_ROWS = 4
# JPEG smears the edge of a bar over its 8-pixel block and rings around its text. That much is allowed for
# black and white bars only; between them a bar must be exact: smooth specimens have rows of nearly one grey.
_SOFT_ROWS = 8
_BLACK, _WHITE = 30, 225
_BLANK_EXTREME, _BLANK_MIDDLE = 0.83, 0.93
_TOLERANCE_EXTREME, _TOLERANCE_MIDDLE = 6, 1
# Text and scale bar: what tells a bar from a void below a straight edge.
_INK_CONTRAST = 80
_LEAST_INK = 0.004
# A bar painted with the file's full range over a specimen darker than this part of it.
_DARK = 4
# A frame is drawn around the image alone: what is below it is no image if at least this share is above.
_FRAME_SHARE = 0.5
_FRAME_LINES = 2

Shares = NDArray[np.float64]
Grey = NDArray[np.uint8]
Levels = NDArray[np.int64]


@dataclass(frozen=True)
class Databar:
    """Rows ``top`` to ``bottom`` (exclusive) hold a bar drawn on grey ``level`` (of 256)."""

    top: int
    bottom: int
    level: int


def find_databar(pixels: AnyArray) -> Databar | None:
    """The databar in the lower part of ``(H, W)`` pixels, integers or floating point, or None.

    Four things make a bar: at least two blank rows of one level right across, a straight edge above them, no
    fewer than 12 rows in which text leaves a third of the width at this level, and that text. The level is of
    256 of the scale of the search: the picture's; where the upper part is much darker than the bar's text,
    first one that leaves it half of the levels.
    """
    first = int(pixels.shape[0] * _SEARCH_FROM)
    bar = None
    if first:
        specimen, brightest = float(pixels[:first].max()), float(pixels[first:].max())
        if 0 < specimen < brightest / _DARK:
            bar = _search(_spread(pixels[first:], specimen, brightest), pixels.shape[0])
    bar = bar or _search(_eight_bit(pixels[first:]), pixels.shape[0])
    return None if bar is None else Databar(bar.top + first, bar.bottom + first, bar.level)


def _search(rows: Grey, height: int) -> Databar | None:
    rows = np.ascontiguousarray(rows)
    levels, shares = np.zeros(len(rows), np.int64), np.zeros(len(rows))
    # Counting the levels of a row is what takes long, and few rows of an image can be blank.
    near = np.flatnonzero(~_surely_not_blank(rows))
    levels[near] = np.array([np.bincount(row, minlength=256).argmax() for row in rows[near]], dtype=np.int64)
    shares[near] = _share(rows[near], levels[near])
    for row in np.flatnonzero((shares >= _blank_share(levels))[:-_MARGIN_ROWS]):
        bar = _bar_from(int(row), rows, levels, shares, height)
        if bar is not None:
            return bar
    return None


def has_databar(pixels: AnyArray) -> bool:
    """Whether any sign of a databar is left: what is asserted after cutting, before training or scoring.

    Beside :func:`find_databar` this takes any 12 rows running that are nearly white throughout (mean above
    225, standard deviation below 12), the check used on NFFA-EUROPE.
    """
    rows = np.ascontiguousarray(_eight_bit(pixels))
    white = _row_sums(rows) > 225 * rows.shape[1]
    white[white] = rows[white].std(axis=1) < 12
    edges = np.flatnonzero(np.diff(np.concatenate(([0], white.astype(np.int8), [0]))))
    longest_run = (edges[1::2] - edges[::2]).max(initial=0)
    return find_databar(pixels) is not None or bool(longest_run >= _FEWEST_ROWS)


def cut_databar(pixels: Pixels, margin: int = 8) -> tuple[Pixels, Databar | None]:
    """Keep what is above the bar, less ``margin`` rows that compression may have smeared; a view.

    What continues below a floating bar is dropped with it: it would be a second image.
    """
    bar = find_databar(pixels)
    if bar is None:
        return pixels, None
    return pixels[: max(bar.top - margin, 0)], bar


@dataclass(frozen=True)
class DecodedMicrograph:
    """HR pixels ``(H, W)``, and what was done to get them.

    Attributes:
        pixels: uint8 or uint16 on full scale.
        notes: what was done.
        file_rows: of the file, databar included.
        file_columns: of the file.
        rows: of the file that were kept.
        columns: of the file that were kept.
    """

    pixels: Pixels
    notes: tuple[str, ...]
    file_rows: int
    file_columns: int
    rows: slice
    columns: slice


@dataclass(frozen=True)
class ImageRegion:
    """The part of a file that is image, and what was cut off."""

    rows: slice
    columns: slice
    notes: tuple[str, ...] = ()


def image_region(raw: RawImage) -> ImageRegion:
    """Where the image is in the file: without databar and coloured frame, by tags where they say it.

    A frame of FEI exports is one pixel of one colour around the image, with black lines inside of it; what is
    below is the databar. Nothing is refused here.
    """
    array = raw.array
    height, width = array.shape[:2]
    notes: tuple[str, ...] = ()
    bottom, top, left, right = height, 0, 0, width
    if raw.rows_above_databar is not None and _FRAME_SHARE * height <= raw.rows_above_databar < height:
        bottom = raw.rows_above_databar
    frame = _framed_rows(array[:bottom])
    if frame:
        bottom = frame
        top, left, right, inner = 1, 1, width - 1, bottom - 1
        # Lines of one level beside the frame are drawn too.
        top = _past_lines(array[top:inner, left:right], top)
        left = _past_lines(array[top:inner, left:right].swapaxes(0, 1), left)
        end = inner - _past_lines(array[top:inner, left:right][::-1], 0)
        right -= _past_lines(array[top:inner, left:right].swapaxes(0, 1)[::-1], 0)
        edges = f"{top} px above, {left} left, {width - right} right, {bottom - end} below"
        notes = (f"coloured frame cut: {edges}",)
    else:
        end = bottom
    if bottom == height:
        channel = array if array.ndim == 2 else array[..., 1]
        above, bar = cut_databar(channel[top:end, left:right])
        if bar is not None:
            bottom = end = top + len(above)
    if bottom < height:
        notes = (*notes, f"databar cut: rows {bottom} to {height} dropped")
    return ImageRegion(slice(top, end), slice(left, right), notes)


def without_databar(raw: RawImage) -> RawImage:
    """The page without databar and frame (a view): what depths are judged by."""
    region = image_region(raw)
    return replace(raw, array=raw.array[region.rows, region.columns], notes=(*raw.notes, *region.notes))


def crop_micrograph(
    raw: RawImage, depth: Depth | None = None, *, min_side: int = MIN_SIDE
) -> DecodedMicrograph:
    """The grey image of a page, without databar and frame; of one value throughout if it is so.

    Args:
        raw: a page.
        depth: of its folder; that of this page when None.
        min_side: rows and columns that must be left.

    Raises:
        BadImage: too little is left, some of a databar remains, or numbers that are no grey levels; the
            message is the reason.
    """
    region = image_region(raw)
    image = replace(raw, array=raw.array[region.rows, region.columns], notes=(*raw.notes, *region.notes))
    rows, columns = image.array.shape[:2]
    if min(rows, columns) < min_side:
        left = f"{rows} rows" if rows < min_side else f"{columns} columns"
        raise BadImage(f"only {left} are left above its databar; {min_side} are needed")
    pixels, notes = (depth or common_depth([image])).grey(image)
    if has_databar(pixels):
        raise BadImage(
            "looks as if a databar remains (text in a picture would leak into training and scores); "
            "cut it off by hand"
        )
    height, width = raw.array.shape[:2]
    return DecodedMicrograph(pixels, notes, height, width, region.rows, region.columns)


def decode_micrograph(
    path: Path,
    *,
    depth: Depth | None = None,
    page: int = 0,
    max_pixels: int = MAX_PIXELS,
    min_side: int = MIN_SIDE,
) -> DecodedMicrograph:
    """Decode one page of an image file and cut its databar and coloured frame off.

    Args:
        path: of the file.
        depth: of its folder; that of this page when None.
        page: from 0, among the full-resolution pages.
        max_pixels: of all pages that are read.
        min_side: rows and columns that must be left.

    Raises:
        BadImage: the file cannot be used, too little is left above the databar, some of it remains, or the
            image has one value throughout; the message names the file and the reason.
    """
    pages = read_raw(path, pages="all" if page else "first", max_pixels=max_pixels, min_side=min_side)
    try:
        if page >= len(pages):
            raise BadImage(f"has {len(pages)} pages; expected page {page}")
        micrograph = crop_micrograph(pages[page], depth, min_side=min_side)
        refuse_blank(micrograph.pixels)
    except BadImage as error:
        raise BadImage(f"{path}: {error}") from error
    return micrograph


def _framed_rows(array: AnyArray) -> int:
    """Rows of the part that a one-pixel frame of one colour surrounds, the frame included; 0 without one."""
    if array.ndim == 2 or min(array.shape[:2]) < _FEWEST_ROWS:
        return 0
    colour = array[0, 0]
    if np.ptp(colour) == 0 or not (array[0] == colour).all():
        return 0
    sides = (array[:, [0, -1]] == colour).all(axis=(1, 2))
    end = len(sides) if sides.all() else int(sides.argmin())
    return end if end >= _FRAME_SHARE * len(array) and (array[end - 1] == colour).all() else 0


def _past_lines(array: AnyArray, start: int) -> int:
    """``start`` behind the first lines (at most two) that hold one value throughout."""
    for line in array[:_FRAME_LINES]:
        if (line != line[:1]).any():
            break
        start += 1
    return start


def _bar_from(row: int, rows: Grey, levels: Levels, shares: Shares, height: int) -> Databar | None:
    level = int(levels[row])
    share = _share(rows, np.full(len(rows), level))
    if share[row : row + _MARGIN_ROWS].min() < _blank_share(levels[row : row + 1])[0]:
        return None
    top = row if _BLACK < level < _WHITE else _climb(share >= _EDGE, row, _SOFT_ROWS)
    top = _climb(shares >= _BLANK_MIDDLE, top, _FRAME_ROWS)
    if top == 0 or share[top - 1] >= _EDGE:
        return None
    bottom = row + _run_with_gaps(share[row:] >= _TEXT, _FRAME_ROWS)
    if not _FEWEST_ROWS <= bottom - top <= height * _TALLEST:
        return None
    ink = np.abs(rows[row:bottom].astype(np.int16) - level) >= _INK_CONTRAST
    return Databar(top, bottom, level) if ink.mean() >= _LEAST_INK else None


def _blank_share(levels: Levels) -> Shares:
    """The share of a row that must have the bar's level for the row to count as blank."""
    return np.where(_is_middle(levels), _BLANK_MIDDLE, _BLANK_EXTREME)


def _is_middle(levels: Levels) -> NDArray[np.bool_]:
    return (levels > _BLACK) & (levels < _WHITE)


def _climb(flags: NDArray[np.bool_], row: int, most: int) -> int:
    """The first row of the run of True that ends above ``row``, at most ``most`` rows up."""
    top = row
    while top > 0 and row - top < most and flags[top - 1]:
        top -= 1
    return top


def _share(rows: Grey, levels: Levels) -> Shares:
    """The share of each row's pixels within the tolerance of that row's level."""
    tolerance = np.where(_is_middle(levels), _TOLERANCE_MIDDLE, _TOLERANCE_EXTREME)
    low, high = np.maximum(levels - tolerance, 0), np.minimum(levels + tolerance, 255)
    # In 8 bits, what is below ``low`` becomes larger than any level above it.
    above = rows - low.astype(np.uint8)[:, None]
    return row_shares(above <= (high - low).astype(np.uint8)[:, None])


def _surely_not_blank(rows: Grey) -> NDArray[np.bool_]:
    """Rows in which no levels as near to each other as a blank row's hold the share that it needs.

    There more pixels than a blank row leaves to text are so much darker than some level, and as many so much
    brighter, that no such levels reach both. That level is near the mean.
    """
    reach = _TOLERANCE_EXTREME + 1
    middle = np.clip(_row_sums(rows) // max(rows.shape[1], 1), reach, 255 - reach)[:, None]
    most_text = 1 - _BLANK_EXTREME + 1e-6
    dark = row_shares(rows <= (middle - reach).astype(np.uint8)) > most_text
    return dark & (row_shares(rows >= (middle + reach).astype(np.uint8)) > most_text)


def row_shares(flags: NDArray[np.bool_]) -> Shares:
    """``flags.mean(axis=1)``."""
    shares: Shares = _row_sums(flags.view(np.uint8)) / max(flags.shape[1], 1)
    return shares


def _row_sums(rows: Grey) -> Levels:
    """``rows.sum(axis=1)``, ten to thirty times as fast."""
    import cv2

    if not rows.size:
        return np.zeros(len(rows), np.int64)
    # The fast one holds sums up to 2^31.
    depth = cv2.CV_32S if rows.shape[1] < 1 << 23 else cv2.CV_64F
    sums: Levels = cv2.reduce(rows, 1, cv2.REDUCE_SUM, dtype=depth)[:, 0].astype(np.int64)
    return sums


def _run_with_gaps(flags: NDArray[np.bool_], longest_gap: int) -> int:
    """Length of the run of True from the start, bridging gaps, and ending in a True."""
    end = 0
    for index in np.flatnonzero(flags):
        if index - end > longest_gap:
            break
        end = int(index) + 1
    return end


def _eight_bit(pixels: AnyArray) -> Grey:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind in "ui" and not (pixels.dtype.kind == "i" and pixels.min() < 0):
        # 12-bit cameras leave the top bits of 16 empty: scale by what is used.
        spare = max(int(pixels.max()).bit_length() - 8, 0)
        return (pixels >> spare).astype(np.uint8)
    values = np.nan_to_num(pixels.astype(np.float64))
    low, high = values.min(), values.max()
    eight: Grey = ((values - low) * (255.0 / max(high - low, 1e-30))).astype(np.uint8)
    return eight


def _spread(pixels: AnyArray, specimen: float, brightest: float) -> Grey:
    """Half of the 256 levels up to the specimen's brightest value, half for what is brighter still."""
    values = pixels.astype(np.float64)
    below = values * (127.0 / specimen)
    above = 128.0 + (values - specimen) * (127.0 / (brightest - specimen))
    spread: Grey = np.clip(np.where(values <= specimen, below, above), 0, 255).astype(np.uint8)
    return spread
