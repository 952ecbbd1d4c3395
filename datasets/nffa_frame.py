"""One frame of NFFA-EUROPE as its archives hold it, to what training and scoring may see.

The instrument's bar is white, about 75 of 768 rows high and *floats*: the specimen goes on below it. Audits
of the set found its first row at 629, 663 and 677 of 768 (5, 50 and 95 %), seldom as high as 512, and in
about 40 % of the frames no bar. Two rules are combined, and everything below the cut is dropped, because what
lies below a bar is a second, narrow image:

* blanket: rows from 624/768 of the height (81.25 %) on are never kept, bar or not. Alone it leaves something
  like a bar in 1 % of the frames;
* detection: ``find_databar``, and three rows running of which 60 % are brighter than 240, at or below 512/768
  of the height. The cut is 8/768 of the height above, since JPEG smears the edge.

On 160 real micrographs of ``sem_open`` brought to 1024x768, JPEG quality 75 to 95, with the bar drawn at 480
places: every bar found, at most one row late, none left after the cut; none found where there is none.

What is kept is a multiple of 12 in both directions, 1020x624 of 1024x768, from the upper left corner, where
the 8-pixel grid of JPEG begins: HR is then the same image for x2, x3 and x4, and their scores compare. (1024
columns would be cut to 1023 for x3 alone.)

Colour is the bar's (green scale, dark red logo): the cut comes first, then grey.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.databar import find_databar, has_databar
from srbench.datasets.decode import MAX_PIXELS, MIN_SIDE, BadImage, decode_array, read_header, to_grey
from srbench.datasets.interface import Pixels

# Raised whenever the same bytes would give other pixels.
RULES = "1"
MULTIPLE = 12
_HEIGHT = 768
_BLANKET = 624
_SEARCH_FROM = 512
_MARGIN = 8
_BRIGHT, _BRIGHT_SHARE, _BRIGHT_ROWS = 240, 0.6, 3
# Chroma of the bar's logo reaches up to a block of 16 rows above it, faintly.
_FAINT = 16


@dataclass(frozen=True)
class Frame:
    """HR pixels ``(H, W)``, both multiples of 12, and what was done that a user may want to know."""

    pixels: Pixels
    notes: tuple[str, ...] = ()


def read_frame(data: bytes, *, max_pixels: int = MAX_PIXELS, min_side: int = MIN_SIDE) -> Frame:
    """Decode an image file (once), cut the bar and all below it, make it grey.

    Raises:
        BadImage: the file cannot be used, or something like a bar is left; the message is the reason.
    """
    header = read_header(data)
    if header.width * header.height > max_pixels:
        raise BadImage(f"{header.width}x{header.height} px is more than the limit of {max_pixels:,} pixels")
    if min(header.width, header.height) < min_side:
        raise BadImage(f"{header.width}x{header.height} px is too small: both sides need {min_side} px")
    array = decode_array(data)
    kept = array[: cut_row(_one_channel(array))]
    height, width = (side // MULTIPLE * MULTIPLE for side in kept.shape[:2])
    if min(height, width) < min_side:
        raise BadImage(f"only {width}x{height} px are left above its databar; {min_side} are needed")
    return _grey(kept[:height, :width])


def cut_row(pixels: Pixels) -> int:
    """The first row of ``(H, W)`` pixels that is not kept; see the module."""
    height = int(pixels.shape[0])
    margin = -(-_MARGIN * height // _HEIGHT)
    bar = find_databar(pixels)
    found = [row for row in (bar.top if bar else None, _first_bright(pixels)) if row is not None]
    return max(min([height * _BLANKET // _HEIGHT, *(row - margin for row in found)]), 0)


def _grey(array: NDArray[Any]) -> Frame:
    pixels, notes = to_grey(array)
    if pixels.min() == pixels.max():
        raise BadImage(f"every pixel has the value {int(pixels.flat[0])}: there is nothing to measure")
    if has_databar(pixels):
        raise BadImage("something like a databar, or a nearly white band of 12 rows, is left after the cut")
    if notes and array.ndim == 3:
        notes = _notes_on_colour(array[..., :3])
    # A copy: what is kept of a plain grey file is a part of a larger array.
    copy: Pixels = pixels.copy()
    return Frame(copy, notes)


def _notes_on_colour(array: NDArray[Any]) -> tuple[str, ...]:
    spread = array.max(axis=2).astype(np.int32) - array.min(axis=2)
    coloured = int((spread > _FAINT).sum())
    return (f"{coloured:,} coloured pixels above the cut, converted to BT.601 luma",) if coloured else ()


def _first_bright(pixels: Pixels) -> int | None:
    """The first of three rows running that are mostly near white, in the part where bars begin."""
    first = pixels.shape[0] * _SEARCH_FROM // _HEIGHT
    limit = _BRIGHT if pixels.dtype == np.uint8 else _BRIGHT * 257
    bright = (pixels[first:] > limit).mean(axis=1) > _BRIGHT_SHARE
    runs = np.convolve(bright, np.ones(_BRIGHT_ROWS), "valid") == _BRIGHT_ROWS
    return first + int(runs.argmax()) if runs.any() else None


def _one_channel(array: NDArray[Any]) -> Pixels:
    """A channel to look for the bar in: its ground is white, and its text black, in every one."""
    channel: Pixels = array if array.ndim == 2 else array[..., min(1, array.shape[2] - 1)]
    if channel.dtype not in (np.uint8, np.uint16):
        raise BadImage(f"{channel.dtype} values; expected 8 or 16 bits")
    return channel
