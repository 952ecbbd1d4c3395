"""Databars: the strip with text and scale bar that a microscope burns into the image, and cutting it off.

A databar is drawn, not measured: a few rows of one exact grey level from edge to edge, beginning at a
straight horizontal line, with text on the same level below. That holds for the white floating bar of Zeiss
instruments (NFFA-EUROPE), for the black bar of FEI/Thermo, JEOL and Hitachi, and for grey ones. A transparent
overlay (text drawn straight onto the specimen) cannot be found this way.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.images.decode import MAX_PIXELS, MIN_SIDE, BadImage, decode
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

Shares = NDArray[np.float64]
Grey = NDArray[np.uint8]
Levels = NDArray[np.int64]


@dataclass(frozen=True)
class Databar:
    """Rows ``top`` to ``bottom`` (exclusive) hold a bar drawn on grey ``level`` (of 256)."""

    top: int
    bottom: int
    level: int


def find_databar(pixels: Pixels) -> Databar | None:
    """The databar in the lower part of ``(H, W)`` pixels, or None.

    Four things make a bar: at least two blank rows of one level right across, a straight edge above them, no
    fewer than 12 rows in which text leaves a third of the width at this level, and that text.
    """
    height = pixels.shape[0]
    first = int(height * _SEARCH_FROM)
    rows = _eight_bit(pixels[first:])
    levels = np.array([np.bincount(row, minlength=256).argmax() for row in rows], dtype=np.int64)
    shares = _share(rows, levels)
    for row in np.flatnonzero((shares >= _blank_share(levels))[:-_MARGIN_ROWS]):
        bar = _bar_from(int(row), rows, levels, shares, height)
        if bar is not None:
            return Databar(bar.top + first, bar.bottom + first, bar.level)
    return None


def has_databar(pixels: Pixels) -> bool:
    """Whether any sign of a databar is left: what is asserted after cutting, before training or scoring.

    Beside :func:`find_databar` this takes any 12 rows running that are nearly white throughout (mean above
    225, standard deviation below 12), the check used on NFFA-EUROPE.
    """
    rows = _eight_bit(pixels)
    white = (rows.mean(axis=1) > 225) & (rows.std(axis=1) < 12)
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
    """HR pixels ``(H, W)``, what was done to get them, and how many rows the file has, databar included."""

    pixels: Pixels
    notes: tuple[str, ...]
    file_rows: int


def decode_micrograph(
    path: Path, *, max_pixels: int = MAX_PIXELS, min_side: int = MIN_SIDE
) -> DecodedMicrograph:
    """Decode an image file and cut its databar off.

    Raises:
        BadImage: the file cannot be used, too little is left above the databar, or some of it remains; the
            message names the file and the reason.
    """
    decoded = decode(path, max_pixels=max_pixels, min_side=min_side)
    pixels, bar = cut_databar(decoded.pixels)
    if pixels.shape[0] < min_side:
        raise BadImage(
            f"{path}: only {pixels.shape[0]} rows are left above its databar; {min_side} are needed"
        )
    if has_databar(pixels):
        raise BadImage(
            f"{path}: looks as if a databar remains (text in a picture would leak into training and scores); "
            "cut it off by hand"
        )
    if bar is None:
        return DecodedMicrograph(pixels, decoded.notes, decoded.pixels.shape[0])
    note = f"databar cut: rows {pixels.shape[0]} to {decoded.pixels.shape[0]} dropped"
    return DecodedMicrograph(pixels, (*decoded.notes, note), decoded.pixels.shape[0])


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
    distance = np.abs(rows.astype(np.int16) - levels[:, None].astype(np.int16))
    tolerance = np.where(_is_middle(levels), _TOLERANCE_MIDDLE, _TOLERANCE_EXTREME)
    shares: Shares = (distance <= tolerance[:, None]).mean(axis=1)
    return shares


def _run_with_gaps(flags: NDArray[np.bool_], longest_gap: int) -> int:
    """Length of the run of True from the start, bridging gaps, and ending in a True."""
    end = 0
    for index in np.flatnonzero(flags):
        if index - end > longest_gap:
            break
        end = int(index) + 1
    return end


def _eight_bit(pixels: Pixels) -> Grey:
    # 12-bit cameras leave the top bits of 16 empty: scale by what is used.
    spare = max(int(pixels.max()).bit_length() - 8, 0)
    return (pixels >> spare).astype(np.uint8)
