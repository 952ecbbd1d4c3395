"""The colour scale of the error maps, made once for the SVG filter that paints them and for its legend."""

from __future__ import annotations

from dataclasses import dataclass

from srbench.reporting.crops import ERROR_SCALE

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
    from matplotlib import colormaps

    colormap = colormaps["inferno"]
    entries = [colormap(min(level / (_LEVELS - 1) / ERROR_SCALE, 1.0)) for level in range(_LEVELS)]
    red, green, blue = (" ".join(f"{entry[part]:.3f}" for entry in entries) for part in range(3))
    steps = [colormap(step / (_LEGEND_STEPS - 1)) for step in range(_LEGEND_STEPS)]
    legend = tuple("#" + "".join(f"{round(255 * part):02x}" for part in step[:3]) for step in steps)
    marks = ("0", f"{ERROR_SCALE / 2:g}", f"≥ {ERROR_SCALE:g}")
    return ErrorScale(red, green, blue, legend, marks)
