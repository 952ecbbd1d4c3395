"""Databars: the strip with text and scale bar that a microscope burns into the image, and cutting it off.

A databar is drawn, not measured: a few rows of one exact grey level from edge to edge, beginning at a
straight horizontal line, with text on the same level below. That holds for the white floating bar of Zeiss
instruments (NFFA-EUROPE), for the black bar of FEI/Thermo, JEOL and Hitachi, and for grey ones. A transparent
overlay (text drawn straight onto the specimen) cannot be found this way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.interface import Pixels

# Search from here down, as a share of the height; no instrument draws a higher bar.
_SEARCH_FROM = 0.55
_TALLEST = 0.35
_FEWEST_ROWS = 12
# JPEG and resampling leave the level of a bar within this many of 256 grey levels.
_TOLERANCE = 6
_BLANK = 0.93
_TEXT = 0.35
_MARGIN_ROWS = 2
_FRAME_ROWS = 4

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

    Three things make a bar: at least two blank rows of one level right across, above them a row that is not
    of this level, and no fewer than 12 rows in which text leaves a third of the width at this level.
    """
    height = pixels.shape[0]
    first = int(height * _SEARCH_FROM)
    rows = _eight_bit(pixels[first:])
    levels = np.array([np.bincount(row, minlength=256).argmax() for row in rows], dtype=np.int64)
    own = _share(rows, levels)
    for row in np.flatnonzero(own[:-_MARGIN_ROWS] >= _BLANK):
        bar = _bar_from(int(row), rows, levels, own, height)
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
    return find_databar(pixels) is not None or _longest_run(white) >= _FEWEST_ROWS


def cut_databar(pixels: Pixels, margin: int = 8) -> tuple[Pixels, Databar | None]:
    """Keep what is above the bar, less ``margin`` rows that compression may have smeared; a view.

    What continues below a floating bar is dropped with it: it would be a second image.
    """
    bar = find_databar(pixels)
    if bar is None:
        return pixels, None
    return pixels[: max(bar.top - margin, 0)], bar


def _bar_from(row: int, rows: Grey, levels: Levels, own: Shares, height: int) -> Databar | None:
    level = levels[row]
    share = _share(rows, np.full(len(rows), level))
    blank = share[row : row + _MARGIN_ROWS]
    top = row
    while top > 0 and row - top < _FRAME_ROWS and own[top - 1] >= _BLANK:
        top -= 1
    if blank.min() < _BLANK or top == 0 or share[top - 1] >= 0.5:
        return None
    bottom = row + _run_with_gaps(share[row:] >= _TEXT, _FRAME_ROWS)
    if not _FEWEST_ROWS <= bottom - top <= height * _TALLEST:
        return None
    return Databar(top, bottom, int(level))


def _share(rows: Grey, levels: Levels) -> Shares:
    """The share of each row's pixels within the tolerance of that row's level."""
    distance = np.abs(rows.astype(np.int16) - levels[:, None].astype(np.int16))
    shares: Shares = (distance <= _TOLERANCE).mean(axis=1)
    return shares


def _run_with_gaps(flags: NDArray[np.bool_], longest_gap: int) -> int:
    """Length of the run of True from the start, bridging gaps, and ending in a True."""
    end = 0
    for index in np.flatnonzero(flags):
        if index - end > longest_gap:
            break
        end = int(index) + 1
    return end


def _longest_run(flags: NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _eight_bit(pixels: Pixels) -> Grey:
    # 12-bit cameras leave the top bits of 16 empty: scale by what is used.
    spare = max(int(pixels.max()).bit_length() - 8, 0)
    return (pixels >> spare).astype(np.uint8)
