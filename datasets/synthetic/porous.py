"""An open sponge: a perforated surface, and through its pores two deeper layers, each darker than the last.

The surface is a thresholded Gaussian random field, the threshold set so that the pores have the wanted area.
Round pinholes of 2 to 6 HR pixels (0.5 to 1.5 LR pixels at x4) are added in the solid.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy import ndimage

from srbench.datasets.synthetic.draws import DECIMALS, Draws, banded_spectrum, gaussian_field
from srbench.datasets.synthetic.geometry import (
    Array,
    FineGrid,
    Mask,
    area_average,
    betti_numbers,
    coverage,
    ellipse_distance,
    level_set_distance,
)
from srbench.datasets.synthetic.imaging import Layers, Optics
from srbench.datasets.synthetic.scene import Scene, register_scene

SMALL = (2.0, 6.0)
"""Diameters of the pinholes, HR pixels."""


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
        """Area fraction, topology and the list of pores of the surface.

        ``fraction``: area of all pores over that of the image, from sub-pixel coverage; ``label_fraction``:
        the same of the label map (pixels at least half open); ``target_fraction``: asked for, without
        pinholes. ``b0``, ``b1``: pores (8-connected) and islands of solid in them, of the label map.
        ``pores``: centroid, ``area`` in pixels and ``border`` contact of each pore of the label map.
        """
        open_area = self.pore_share()
        labels = open_area >= 0.5
        components, holes = betti_numbers(labels)
        return {
            "sponge": asdict(self.sponge),
            "phase": "pore",
            "target_fraction": self.sponge.fraction,
            "fraction": round(float(open_area.mean()), 6),
            "label_fraction": round(float(labels.mean()), 6),
            "b0": components,
            "b1": holes,
            "pores": _pores(labels),
            "small_features": [{"type": "pinhole", **asdict(pinhole)} for pinhole in self.pinholes],
        }

    def pore_share(self) -> Array:
        """Share of each pixel of the image that is pore, ``(size, size)`` in [0, 1]."""
        grid = FineGrid(self.size)
        return np.round(area_average(grid.interior(coverage(-self._rims(grid), grid.step))), 9)

    def without(self, feature: int) -> PorousScene:
        """The scene lacking one pinhole."""
        gone = self.pinholes[feature]
        return replace(self, pinholes=tuple(p for p in self.pinholes if p is not gone))

    def layers(self, grid: FineGrid) -> Layers:
        """Draw the surface over the layers below it."""
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
            reach = hole.diameter / 2 + 12
            window = (grid.span(hole.y - reach, hole.y + reach), grid.span(hole.x - reach, hole.x + reach))
            y, x = grid.axis[window[0], None] - hole.y, grid.axis[None, window[1]] - hole.x
            inside = -ellipse_distance(y, x, hole.diameter, hole.diameter, 0.0)
            rims[window] = np.maximum(rims[window], inside)
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


def _pores(labels: Mask) -> list[dict[str, Any]]:
    """Centroid, area (both of the label map) and border contact of each pore."""
    numbered, count = ndimage.label(labels, structure=np.ones((3, 3), dtype=int))
    flat = numbered.ravel()
    areas = np.bincount(flat, minlength=count + 1)
    row, column = (index.ravel() for index in np.indices(labels.shape))
    y, x = (np.bincount(flat, weights=index, minlength=count + 1) / areas for index in (row, column))
    edge = set(np.concatenate([numbered[0], numbered[-1], numbered[:, 0], numbered[:, -1]]).tolist())
    return [
        {
            "y": round(float(y[pore]), DECIMALS),
            "x": round(float(x[pore]), DECIMALS),
            "area": int(areas[pore]),
            "border": pore in edge,
        }
        for pore in range(1, count + 1)
    ]


@register_scene(code=7)
def porous(draws: Draws, size: int) -> PorousScene:
    """Draw a sponge."""
    grid = FineGrid(size)
    sponge = _sponge(draws, size)
    surface = _surface(draws, sponge, grid)
    deeper = tuple(_deeper_layer(draws, sponge, grid) for _ in range(2))
    return PorousScene(size, sponge, _optics(draws, sponge), surface, deeper, _pinholes(draws, surface, grid))


def _sponge(draws: Draws, size: int) -> Sponge:
    wavelength = draws.uniform(26, min(64, size / 5))
    return Sponge(
        fraction=draws.uniform(0.3, 0.6),
        wavelength=wavelength,
        width=draws.uniform(0.2, 0.4),
        fillet=round(wavelength * draws.uniform(0.18, 0.32), DECIMALS),
        layer_distance=draws.uniform(8, 16),
        emission=draws.uniform(0.4, 0.5),
        grain=draws.uniform(0.03, 0.07),
        roughness=draws.uniform(0.15, 0.4),
    )


def _optics(draws: Draws, sponge: Sponge) -> Optics:
    return Optics(
        tilt_exponent=draws.uniform(0.5, 0.75),
        bloom=draws.uniform(0.06, 0.16),
        bloom_length=draws.uniform(2, 4),
        shadow=draws.uniform(0.5, 0.85),
        shadow_length=draws.uniform(5, 10),
        asymmetry=draws.uniform(0.3, 0.5),
        detector_angle=draws.uniform(-120, -60),
        shading=draws.uniform(0.75, 0.92),
        shading_length=round(sponge.layer_distance * draws.uniform(1.0, 1.6), DECIMALS),
        relief_wavelength=draws.uniform(5, 11),
        texture_length=draws.uniform(0.8, 1.6),
        waves=draws.uniform(0.03, 0.08),
        spot=draws.uniform(0.5, 0.75),
        astigmatism=draws.uniform(1, 1.25),
        spot_angle=draws.uniform(0, 180),
    )


def _surface(draws: Draws, sponge: Sponge, grid: FineGrid) -> Array:
    field = gaussian_field(draws, grid.side, grid.step, banded_spectrum(sponge.wavelength, sponge.width))
    inside = grid.interior(field).ravel()
    rank = round(sponge.fraction * (inside.size - 1))
    level = float(np.partition(inside, rank)[rank])
    return np.round(level_set_distance(field, level, grid.step), 9)


def _deeper_layer(draws: Draws, sponge: Sponge, grid: FineGrid) -> Array:
    wavelength = sponge.wavelength * draws.uniform(0.8, 1.2)
    field = gaussian_field(draws, grid.side, grid.step, banded_spectrum(wavelength, sponge.width))
    return field + draws.uniform(-0.4, 0.2)


def _pinholes(draws: Draws, surface: Array, grid: FineGrid) -> tuple[Pinhole, ...]:
    """Holes wholly in the solid of the image, apart from each other and from every rim."""
    wanted = round(grid.size**2 / 2500)
    holes: list[Pinhole] = []
    for _ in range(40 * wanted):
        y, x = draws.uniform(5, grid.size - 6), draws.uniform(5, grid.size - 6)
        diameter = draws.uniform(*SMALL)
        wall = -float(surface[grid.span(y, y + 1).start, grid.span(x, x + 1).start])
        apart = all(math.hypot(hole.y - y, hole.x - x) > 10 for hole in holes)
        if len(holes) < wanted and wall > diameter / 2 + 2 and apart:
            holes.append(Pinhole(y, x, diameter))
    return tuple(holes)
