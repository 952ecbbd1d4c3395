"""Bit depth: how stored numbers become grey levels, by one rule for all images of a folder.

A detector of 12 bits leaves the upper bits of a 16-bit file empty: read as they are, its images are nearly
black, and scores come out 24 dB too good. :func:`common_depth` finds the significant bits, :class:`Depth`
brings the values to the full scale of uint8 or uint16, so that nothing behind it has to know of bits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.images.raw import AnyArray, BadImage, RawImage, ValueRange
from srbench.utils.errors import DatasetError
from srbench.utils.image import Pixels, luma

WIDTHS = (8, 10, 12, 14, 16)
COLOUR_NOTE = "colour, converted to BT.601 luma"
_FLOAT_WHITES = (1.0, 255.0, 65535.0)
# Above 1 by no more than this factor, fractions are a 0..1 image with overshoots; white is then unknown.
_OVERSHOOT = 2.0


@dataclass(frozen=True)
class Depth:
    """How stored numbers become grey levels; all files of a folder that hold more than 8 bits share one.

    Files of 8 bits are taken as they are, whatever the depth.

    Attributes:
        bits: significant bits; 8 give uint8, more give uint16.
        white: the stored number (after ``offset``) of white.
        offset: added to signed integers; half of the range where there are negative ones, else 0.
        float_white: the number of white in floating-point files; None where they hold whole numbers and
            follow ``white``.
        note: what was decided and why, as ``12 significant bits of 16: largest value 4095``; empty where
            nothing was.
    """

    bits: int = 8
    white: float = 255.0
    offset: float = 0.0
    float_white: float | None = None
    note: str = ""

    def grey(self, raw: RawImage) -> tuple[Pixels, tuple[str, ...]]:
        """Grey levels ``(H, W)`` on the full scale of uint8 or uint16, with the notes of ``raw`` and its own.

        Colour becomes the BT.601 luma ``(299 R + 587 G + 114 B + 500) // 1000`` of the stored numbers, the
        same number where they are equal.

        Raises:
            BadImage: numbers that are no grey levels of this depth.
        """
        values, notes = self._levels(raw)
        if values.ndim == 3:
            import cv2

            red, green, blue = cv2.split(values)[:3]
            if cv2.norm(red, green, cv2.NORM_INF) == cv2.norm(green, blue, cv2.NORM_INF) == 0:
                values = green
            elif values.dtype.kind == "f":
                values, notes = luma(red, green, blue), (*notes, COLOUR_NOTE)
            else:
                weighted = sum(
                    channel.astype(np.uint32) * weight
                    for channel, weight in ((red, 299), (green, 587), (blue, 114))
                )
                values = ((np.asarray(weighted) + 500) // 1000).astype(values.dtype)
                notes = (*notes, COLOUR_NOTE)
        return self._full_scale(values, raw), notes

    def colour(self, raw: RawImage) -> tuple[Pixels, tuple[str, ...]]:
        """Red, green and blue ``(H, W, 3)``, otherwise as :meth:`grey`; grey becomes three equal channels.

        Raises:
            BadImage: as :meth:`grey`.
        """
        values, notes = self._levels(raw)
        pixels = self._full_scale(values, raw)
        if pixels.ndim == 2:
            rgb: AnyArray = np.dstack([pixels] * 3)
            return rgb, (*notes, "grey, as three equal channels")
        return pixels, notes

    def stored(self, image: NDArray[np.floating], like: RawImage) -> AnyArray:
        """The inverse: an image in [0, 1] as numbers of the depth and dtype of ``like``, shape kept."""
        white, offset = self._scale(like.array.dtype)
        light = np.clip(image.astype(np.float64), 0.0, 1.0)
        if like.inverted:
            light = 1.0 - light
        if like.array.dtype.kind == "f" and self.float_white is not None:
            return (light * white).astype(like.array.dtype)
        # Multiples of 256 or 257 stay such.
        top = 2.0**self.bits - 1 if white == self.white else white
        return (np.floor(light * top + 0.5) * (white / top) - offset).astype(like.array.dtype)

    def _scale(self, dtype: np.dtype[Any]) -> tuple[float, float]:
        """The number of white after the offset, and the offset."""
        if dtype.itemsize == 1:
            return 255.0, 128.0 if dtype.kind == "i" else 0.0
        if dtype.kind == "f" and self.float_white is not None:
            return self.float_white, 0.0
        return self.white, self.offset if dtype.kind == "i" else 0.0

    def _levels(self, raw: RawImage) -> tuple[AnyArray, tuple[str, ...]]:
        """The numbers after the offset, as uint8, uint16 or (with fractions) float64, and notes."""
        array, notes = raw.array, raw.notes
        if raw.inverted:
            notes = (*notes, "min-is-white, inverted")
        if array.dtype == np.uint8:
            return array, notes
        white, offset = self._scale(array.dtype)
        values = raw.range
        if not values.finite:
            raise BadImage(
                "pixels that are not numbers (NaN or infinity); fill them in before giving the image"
            )
        span = f"{array.dtype} values from {values.low:g} to {values.high:g}"
        if values.low + offset < 0 or values.high + offset > 65535:
            raise BadImage(f"{span} are no grey levels; save the image with 8 or 16 bits")
        if values.high + offset > white:
            if white == 1.0:
                raise BadImage(f"{span}: white is not known; clip them to 0..1, or say --bits")
            raise BadImage(f"{span} do not fit {self.bits} bits; give more bits (--bits), or clip them")
        if array.dtype.kind == "f" and (self.float_white is not None or not values.whole):
            return array.astype(np.float64), (*notes, self.note) if self.note else notes
        if array.dtype.kind == "f":
            notes = (*notes, f"{array.dtype} file with whole numbers")
        if self.note and array.dtype.itemsize > 1:
            notes = (*notes, self.note)
        kind = np.uint8 if array.dtype.itemsize == 1 else np.uint16
        return (array if offset == 0 else array.astype(np.int32) + int(offset)).astype(
            kind, copy=False
        ), notes

    def _full_scale(self, values: AnyArray, raw: RawImage) -> Pixels:
        dtype = raw.array.dtype
        white = self._scale(dtype)[0]
        fractions = dtype.kind == "f" and self.float_white is not None
        narrow = dtype.itemsize == 1 or (self.bits == 8 and not fractions)
        full = 255 if narrow else 65535
        if values.dtype.kind == "f":
            light = values / white
            light = 1.0 - light if raw.inverted else light
            return np.floor(light * full + 0.5).astype(np.uint8 if narrow else np.uint16)
        if white == full:
            pixels: Pixels = values.astype(np.uint8 if narrow else np.uint16, copy=False)
            return full - pixels if raw.inverted else pixels
        levels = np.multiply(values, full / white, dtype=np.float64)
        levels += 0.5
        scaled: Pixels = levels.astype(np.uint8 if narrow else np.uint16)
        return full - scaled if raw.inverted else scaled


def common_depth(images: Iterable[RawImage | ValueRange], bits: int | None = None) -> Depth:
    """The one depth of several images: those that cannot be used, and those of 8 bits, have no say.

    Multiples of 256 or 257 throughout have 8 significant bits. Otherwise the largest number of bits that a
    tag declares counts, unless larger values are stored; otherwise the smallest of 8, 10, 12, 14 and 16 bits
    that holds the largest value (with negative values: in two's complement, offset by half of the range).
    Floating-point numbers that are whole follow this rule; with fractions white is the first of 1, 255 and
    65535 that is not exceeded.

    Args:
        images: the images, or what their numbers span.
        bits: significant bits, where the user knows them; overrides all of this.

    Raises:
        DatasetError: ``bits`` outside of 8 to 16.
    """
    if bits is not None and not 8 <= bits <= 16:
        raise DatasetError(f"Expected 8 to 16 significant bits, found {bits}. Correct --bits.")
    ranges = [
        image.range if isinstance(image, RawImage) else image
        for image in images
        if np.dtype(image.array.dtype if isinstance(image, RawImage) else image.dtype).itemsize > 1
    ]
    usable = [values for values in ranges if values.finite and values.low >= -32768 and values.high <= 65535]
    floats = [values for values in usable if np.dtype(values.dtype).kind == "f" and values.low >= 0]
    integers = [values for values in usable if np.dtype(values.dtype).kind != "f"]
    float_white, float_note = None, ""
    if any(not values.whole for values in floats) and bits is None:
        highest = max(values.high for values in floats)
        float_white = next(white for white in _FLOAT_WHITES if highest <= white)
        if 1 < highest <= _OVERSHOOT:
            float_white = 1.0  # images that exceed it are refused one by one
        float_note = f"floating point, white at {float_white:g}: largest value {highest:g}"
    else:
        integers += floats
    if not integers:
        return Depth(
            16 if float_white else 8, 65535.0 if float_white else 255.0, 0.0, float_white, float_note
        )
    depth = _integer_depth(integers, bits)
    note = "; ".join(filter(None, (depth.note, float_note)))
    return Depth(depth.bits, depth.white, depth.offset, float_white, note)


def _integer_depth(ranges: list[ValueRange], bits: int | None) -> Depth:
    lowest, highest = min(values.low for values in ranges), max(values.high for values in ranges)
    container = max(np.dtype(values.dtype).itemsize for values in ranges) * 8
    steps = [step for step in (257, 256) if all(step in values.multiples for values in ranges)]
    if steps and highest > 255 and bits in (None, 8):
        return Depth(8, 255.0 * steps[0], note=f"8 significant bits of {container}")
    declared = max((values.declared_bits or 0 for values in ranges), default=0)
    contradicted = False
    if bits is not None:
        chosen, why = bits, "as given"
    elif 0 < declared <= 16 and _holds(declared, lowest, ranges):
        chosen, why = declared, "as tags say"
    else:
        chosen = next((width for width in WIDTHS if _holds(width, lowest, ranges)), 16)
        contradicted = 0 < declared != chosen
        why = f"largest value {highest:g}" + (f", though tags say {declared}" if contradicted else "")
    offset = float(1 << (chosen - 1)) if lowest < 0 else 0.0
    decided = chosen < 16 or contradicted
    note = f"{chosen} significant bits of {container}: {why}" if decided else ""
    if offset:
        black = f"signed, black at {-offset:g}: smallest value {lowest:g}"
        note = f"{note}; {black}" if note else black
    return Depth(chosen, float((1 << chosen) - 1), offset, None, note)


def _holds(width: int, lowest: float, ranges: list[ValueRange]) -> bool:
    """Whether every number fits ``width`` bits: signed files in two's complement where some are negative."""
    offset = 1 << (width - 1) if lowest < 0 else 0
    return all(
        values.low + shift >= 0 and values.high + shift < 1 << width
        for values in ranges
        for shift in (offset if np.dtype(values.dtype).kind == "i" else 0,)
    )
