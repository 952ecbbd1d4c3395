"""An open sponge: a perforated surface, and through its pores two deeper layers, each darker than the last.

The surface is a thresholded Gaussian random field, the threshold set so that the pores have the stated area.
Round pinholes of 2 to 6 HR pixels (0.5 to 1.5 LR pixels at x4) are added in the solid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from srbench.datasets.synthetic.drawing import SMALL, around, window
from srbench.datasets.synthetic.geometry import (
    FineGrid,
    area_average,
    coverage,
    ellipse_distance,
    level_set_distance,
)
from srbench.datasets.synthetic.imaging import Layers, Optics, sample_optics
from srbench.datasets.synthetic.rng import Array, RandomStream, Spread, banded_spectrum, gaussian_field
from srbench.datasets.synthetic.scene import Scene, feature_entries, register_scene


@dataclass(frozen=True)
class Sponge:
    """The material. Lengths in HR pixels.

    Attributes:
        fraction: area of the pores, without pinholes, over that of the image.
        wavelength: typical distance of neighbouring pores.
        width: relative spread of that distance.
        fillet: radius of the rounded rims.
        layer_distance: depth of each layer below the one above.
        emission: yield of the solid.
        grain: texture amplitude.
        roughness: relief of the solid's surface.
    """

    fraction: float
    wavelength: float
    width: float
    fillet: float
    layer_distance: float
    emission: float
    grain: float
    roughness: float


@dataclass(frozen=True)
class Pinhole:
    """A round hole."""

    y: float
    x: float
    diameter: float


@dataclass(frozen=True, eq=False)
class PorousScene(Scene):
    """A sponge.

    Attributes:
        surface: signed distance to the rims of the surface's large pores on the fine grid, negative in the
            solid.
        deeper: random fields of the layers below, the nearest first.
        pinholes: the small holes.
    """

    size: int
    sponge: Sponge
    optics: Optics
    surface: Array
    deeper: tuple[Array, ...]
    pinholes: tuple[Pinhole, ...]

    def truth(self) -> dict[str, Any]:
        """The phase that is measured and its area; the small features are the pinholes.

        ``fraction``: area of all pores over that of the image, from sub-pixel coverage.
        """
        return {
            "phase": "pore",
            "fraction": round(float(self.pore_share().mean()), 6),
            "small_features": feature_entries(self.pinholes, "pinhole"),
        }

    def pore_share(self) -> Array:
        """Share of each pixel of the image that is pore, ``(size, size)`` in [0, 1]."""
        grid = FineGrid(self.size)
        return np.round(area_average(grid.interior(coverage(-self._rims(grid), grid.step))), 9)

    def layers(self, grid: FineGrid) -> Layers:
        """Render the surface over the layers below it."""
        sponge = self.sponge
        rims = self._rims(grid)
        solid = coverage(rims, grid.step)
        emission, depth, height = self._below(grid)
        height *= 1 - np.exp(-np.maximum(rims, 0) / 2)
        return Layers(
            emission=emission + solid * (sponge.emission - emission),
            height=height + _fillet(rims, sponge.fillet),
            distance=rims,
            depth=depth * (1 - solid),
            grain=grid.full(sponge.grain),
            roughness=grid.full(sponge.roughness),
        )

    def _rims(self, grid: FineGrid) -> Array:
        rims: Array = self.surface.copy()
        for hole in self.pinholes:
            part = window(grid, around(hole.y, hole.x, hole.diameter / 2), 12.0)
            y, x = part.y - hole.y, part.x - hole.x
            inside = -ellipse_distance(y, x, hole.diameter, hole.diameter, 0.0)
            rims[part.span] = np.maximum(rims[part.span], inside)
        return rims

    def _below(self, grid: FineGrid) -> tuple[Array, Array, Array]:
        """Emission, depth and relief of what is seen through the pores, the deepest layer first."""
        sponge = self.sponge
        emission, height = grid.full(0.1 * sponge.emission), grid.full(0.0)
        depth = grid.full((len(self.deeper) + 1) * sponge.layer_distance)
        for layer in range(len(self.deeper), 0, -1):
            rims = _approximate_distance(self.deeper[layer - 1], grid.step)
            solid = coverage(rims, grid.step)
            # The rims of a deeper layer are bright too; ``distance`` only knows those of the surface.
            bright = sponge.emission + self.optics.bloom * np.exp(
                np.minimum(rims, 0) / self.optics.bloom_length
            )
            emission += solid * (bright - emission)
            height += solid * (_fillet(rims, sponge.fillet) - height)
            depth += solid * (layer * sponge.layer_distance - depth)
        return emission, depth, height


def _approximate_distance(field: Array, step: float) -> Array:
    """Distance to the zero contour, negative where the field is positive, good to a fillet's width."""
    rows, columns = np.gradient(field, step)
    slope = np.sqrt(rows * rows + columns * columns)
    typical = round(float(np.sqrt((slope * slope).mean())), 9)
    result: Array = -field / np.maximum(slope, 0.5 * typical)
    return result


def _fillet(distance: Array, radius: float) -> Array:
    """Height of a rim rounded with ``radius``: a quarter circle, then flat."""
    inward = np.clip(-distance, 0, radius)
    result: Array = np.sqrt(inward * (2 * radius - inward))
    return result


@register_scene(code=7)
def porous(stream: RandomStream, size: int) -> PorousScene:
    """A sponge."""
    grid = FineGrid(size)
    sponge = _sponge(stream, size)
    surface = _surface(stream, sponge, grid)
    deeper = []
    for _ in range(2):
        spectrum = banded_spectrum(sponge.wavelength * stream.uniform(0.8, 1.2), sponge.width)
        field = gaussian_field(stream, grid.side, grid.step, spectrum)
        deeper.append(field + stream.uniform(-0.4, 0.2))
    return PorousScene(
        size, sponge, _optics(stream, sponge), surface, tuple(deeper), _pinholes(stream, surface, grid)
    )


def _sponge(stream: RandomStream, size: int) -> Sponge:
    wavelength = stream.uniform(26, min(64, size / 5))
    spreads: dict[str, Spread] = {
        "fraction": (0.3, 0.6),
        "wavelength": wavelength,
        "width": (0.2, 0.4),
        "fillet": lambda s: s.share(wavelength, 0.18, 0.32),
        "layer_distance": (8, 16),
        "emission": (0.4, 0.5),
        "grain": (0.03, 0.07),
        "roughness": (0.15, 0.4),
    }
    return Sponge(**stream.table(spreads))


def _optics(stream: RandomStream, sponge: Sponge) -> Optics:
    return sample_optics(
        stream,
        {
            "tilt_exponent": (0.5, 0.75),
            "bloom": (0.06, 0.16),
            "bloom_length": (2, 4),
            "shadow": (0.5, 0.85),
            "shadow_length": (5, 10),
            "asymmetry": (0.3, 0.5),
            "detector_angle": (-120, -60),
            "shading": (0.75, 0.92),
            "shading_length": lambda s: s.share(sponge.layer_distance, 1.0, 1.6),
            "relief_wavelength": (5, 11),
            "texture_length": (0.8, 1.6),
            "waves": (0.03, 0.08),
        },
    )


def _surface(stream: RandomStream, sponge: Sponge, grid: FineGrid) -> Array:
    field = gaussian_field(stream, grid.side, grid.step, banded_spectrum(sponge.wavelength, sponge.width))
    inside = grid.interior(field).ravel()
    rank = round(sponge.fraction * (inside.size - 1))
    level = float(np.partition(inside, rank)[rank])
    return np.round(level_set_distance(field, level, grid.step), 9)


def _pinholes(stream: RandomStream, surface: Array, grid: FineGrid) -> tuple[Pinhole, ...]:
    """Holes wholly in the solid of the image, apart from each other and from every rim."""
    most = round(grid.size**2 / 2500)
    holes: list[Pinhole] = []
    for _ in range(40 * most):
        y, x = stream.uniform(5, grid.size - 6), stream.uniform(5, grid.size - 6)
        diameter = stream.uniform(*SMALL)
        wall = -float(surface[grid.span(y, y + 1).start, grid.span(x, x + 1).start])
        apart = all(math.hypot(hole.y - y, hole.x - x) > 10 for hole in holes)
        if len(holes) < most and wall > diameter / 2 + 2 and apart:
            holes.append(Pinhole(y, x, diameter))
    return tuple(holes)
