"""The colour scale of the error maps, made once for the SVG filter that paints them and for its legend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srbench.reporting.crops import ERROR_SCALE

Floats = NDArray[np.float64]
_LEVELS = 256
_LEGEND_STEPS = 24


@dataclass(frozen=True)
class ErrorScale:
    """How an absolute error becomes a colour.

    Attributes:
        red: 256 values in [0, 1] for errors of 0 to 255 grey levels, as an SVG table.
        green: the same for green.
        blue: the same for blue.
        legend: colours from no error to the largest one that is told apart.
        marks: what stands below the legend.
    """

    red: str
    green: str
    blue: str
    legend: tuple[str, ...]
    marks: tuple[str, ...]


def error_scale() -> ErrorScale:
    """Black to pale yellow by lightness (readable without colour vision), fixed from 0 to ``ERROR_SCALE``."""
    entries = _inferno(np.minimum(np.arange(_LEVELS) / (_LEVELS - 1) / ERROR_SCALE, 1.0))
    red, green, blue = (" ".join(f"{value / 255:.3f}" for value in entries[:, part]) for part in range(3))
    legend = tuple(f"#{r:02x}{g:02x}{b:02x}" for r, g, b in _inferno(np.linspace(0, 1, _LEGEND_STEPS)))
    marks = ("0", f"{ERROR_SCALE / 2:g}", f"≥ {ERROR_SCALE:g}")
    return ErrorScale(red, green, blue, legend, marks)


def _inferno(shares: Floats) -> NDArray[np.uint8]:
    """RGB of shares 0 to 1 of the scale."""
    import cv2

    grey = np.round(255 * shares).astype(np.uint8).reshape(-1, 1)
    blue_green_red = np.asarray(cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO), dtype=np.uint8)
    return blue_green_red.reshape(len(shares), 3)[:, ::-1]
