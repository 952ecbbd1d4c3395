"""Where a model invented detail and where it omitted some, as a picture that lies over the micrograph.

Invented detail is a solid warm tint, omitted detail a cool hatching, so that the two are told apart without
colour vision; both have three steps at fixed multiples of the mean detail that HR holds, the same in every
picture of every report.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srbench.reporting.regions import Grey

Plane = NDArray[np.float32]
Levels = NDArray[np.uint8]

STEPS = (0.25, 0.75, 2.25)
"""Unexplained detail, in parts of the mean detail of HR, from which on each tint is used."""
OPACITIES = (0.34, 0.58, 0.85)
INVENTED = (255, 122, 0)
OMITTED = (40, 150, 255)
STRIPE = 4
"""Pixels from one line of the hatching to the next; half of them are drawn."""


@dataclass(frozen=True)
class DetailMap:
    """Unexplained detail of one image, ``(H, W)`` each, in parts of the mean detail of HR."""

    invented: Plane
    omitted: Plane

    def cut(self, top: int, left: int, side: int) -> DetailMap:
        """A square part of it."""
        part = (slice(top, top + side), slice(left, left + side))
        return DetailMap(self.invented[part], self.omitted[part])

    @property
    def means(self) -> tuple[float, float]:
        """Mean invented and mean omitted detail."""
        return float(self.invented.mean()), float(self.omitted.mean())


def detail_map(sr: Grey, hr: Grey, scale: int) -> DetailMap:
    """Compare two 8-bit images of one size; the magnification must be 2 or more."""
    from srbench.evaluation.functional.detail_maps import hallucination_map, omission_map

    planes = sr / 255.0, hr / 255.0
    invented, omitted = hallucination_map(*planes, scale), omission_map(*planes, scale)
    return DetailMap(invented.astype(np.float32), omitted.astype(np.float32))


def overlay(detail: DetailMap) -> bytes:
    """The tints of a map as a PNG that is transparent where nothing is to be shown.

    On the lines of the hatching omitted detail has precedence, between them invented detail.
    """
    invented, omitted = (
        np.digitize(plane, STEPS).astype(np.uint8) for plane in (detail.invented, detail.omitted)
    )
    rows, columns = np.indices(invented.shape)
    on_line = (rows + columns) % STRIPE < STRIPE // 2
    cool = np.where(omitted > 0, omitted + len(STEPS), 0).astype(np.uint8)
    return png(np.where(on_line & (omitted > 0), cool, invented).astype(np.uint8), *_palette())


def legend() -> tuple[tuple[str, str, str], ...]:
    """Each step: from where on, and the CSS colours of invented and omitted detail."""
    return tuple(
        (f"{step:g}", _css(INVENTED, opacity), _css(OMITTED, opacity))
        for step, opacity in zip(STEPS, OPACITIES, strict=True)
    )


def png(pixels: Levels, palette: bytes, alphas: bytes) -> bytes:
    """A PNG of up to 16 colours, 4 bits a pixel (PNG specification, colour type 3).

    Args:
        pixels: ``(H, W)`` numbers of colours.
        palette: red, green and blue of each colour.
        alphas: opacity of each colour.
    """
    height, width = pixels.shape
    even = np.pad(pixels, ((0, 0), (0, width % 2)))
    packed = (even[:, ::2] << 4 | even[:, 1::2]).astype(np.uint8)
    lines = np.pad(packed, ((0, 0), (1, 0))).tobytes()  # each line starts with its filter: none
    header = struct.pack(">IIBBBBB", width, height, 4, 3, 0, 0, 0)
    parts = [(b"IHDR", header), (b"PLTE", palette), (b"tRNS", alphas), (b"IDAT", zlib.compress(lines, 9))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in (*parts, (b"IEND", b"")))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _palette() -> tuple[bytes, bytes]:
    tints = [bytes(colour) for colour in (INVENTED, OMITTED) for _ in OPACITIES]
    shares = bytes(round(255 * opacity) for opacity in OPACITIES)
    return b"\0\0\0" + b"".join(tints), b"\0" + shares + shares


def _css(colour: tuple[int, int, int], opacity: float) -> str:
    return f"rgb({' '.join(map(str, colour))} / {opacity:g})"
