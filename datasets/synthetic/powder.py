"""A powder: angular grains lying on each other, each facet shaded by its own tilt.

Grains are convex polyhedra of 10 to 60 HR pixels, drawn in z-order: later ones hide earlier ones. Fines of
2 to 6 HR pixels (0.5 to 1.5 LR pixels at x4) lie on top.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from srbench.datasets.synthetic.crystals import Crystal
from srbench.datasets.synthetic.draws import DECIMALS, Draws
from srbench.datasets.synthetic.geometry import FineGrid, coverage
from srbench.datasets.synthetic.imaging import Optics
from srbench.datasets.synthetic.painting import blend, put_edge, visible_areas, window
from srbench.datasets.synthetic.powder_draws import Batch, draw_batch, draw_fines, draw_optics, draw_pile
from srbench.datasets.synthetic.records import record
from srbench.datasets.synthetic.scene import Layers, Scene, register_scene
from srbench.datasets.synthetic.tubes import shadow

REACH = 24.0
"""HR pixels beyond an outline up to which the ground knows of it."""
SEEN = 10.0
"""Visible area in HR pixels from which on a grain counts as visible."""


@dataclass(frozen=True)
class PowderScene(Scene):
    """Grains, the lowest first, and the fines on top of them."""

    size: int
    batch: Batch
    optics: Optics
    grains: tuple[Crystal, ...]
    fines: tuple[Crystal, ...]

    def truth(self) -> dict[str, Any]:
        """The grains that meet the image, in z-order, the lowest first.

        ``grains``: for each ``z``, ``vertices`` and ``rounding`` (the outline is what lies within
        ``rounding`` of the polygon), ``y`` and ``x`` (centre of the polygon), exact ``area``, ``diameter`` of
        the circle of equal area, ``feret`` (greatest width), ``visible_area`` (in the image, not hidden by
        other grains; fines are not deducted), ``visible`` (that area is at least ``SEEN``) and ``border``
        (not wholly in the image). ``count``, ``count_visible``; ``coverage``: share of the image covered.
        """
        entries = self._entries()
        small = [
            {"type": "fine", "y": fine.centre[0], "x": fine.centre[1], "diameter": fine.diameter}
            for fine in self.fines
        ]
        covered = math.fsum(entry["visible_area"] for entry in entries) / self.size**2
        return {
            "style": self.batch.style,
            "batch": record(self.batch),
            "count": len(entries),
            "count_visible": sum(entry["visible"] for entry in entries),
            "coverage": round(covered, DECIMALS),
            "grains": entries,
            "small_features": small,
        }

    def without(self, feature: int) -> PowderScene:
        """The scene lacking one of the fines."""
        gone = self.fines[feature]
        return replace(self, fines=tuple(fine for fine in self.fines if fine is not gone))

    def layers(self, grid: FineGrid) -> Layers:
        """Draw the grains one by one, each in its own window."""
        batch = self.batch
        layers = Layers(
            emission=grid.full(batch.ground),
            height=grid.full(0.0),
            distance=grid.full(REACH),
            depth=grid.full(batch.depth),
            grain=grid.full(0.15),
            roughness=grid.full(0.3),
        )
        for crystal in (*self.grains, *self.fines):
            _draw_crystal(layers, crystal, batch, grid)
        return layers

    def _entries(self) -> list[dict[str, Any]]:
        seen = visible_areas(self.size, [(crystal.box, crystal.distance) for crystal in self.grains])
        present = [
            (crystal, area)
            for crystal, area in zip(self.grains, seen, strict=True)
            if _meets_image(crystal, self.size)
        ]
        return [_entry(z, crystal, area, self.size) for z, (crystal, area) in enumerate(present)]


def _entry(z: int, crystal: Crystal, visible: float, size: int) -> dict[str, Any]:
    top, left, bottom, right = crystal.box
    return {
        "z": z,
        "vertices": [list(corner) for corner in crystal.vertices],
        "rounding": crystal.rounding,
        "y": crystal.centre[0],
        "x": crystal.centre[1],
        "area": crystal.area,
        "diameter": crystal.diameter,
        "feret": crystal.feret,
        "visible_area": min(round(visible, DECIMALS), crystal.area),
        "visible": visible >= SEEN,
        "border": min(top, left) < -0.5 or max(bottom, right) > size - 0.5,
    }


def _meets_image(crystal: Crystal, size: int) -> bool:
    """Whether any of it is in the image, looked up on the fine grid where that is in doubt."""
    if min(crystal.centre) >= 0 and max(crystal.centre) <= size - 1:
        return True
    grid = FineGrid(size)
    part = window(grid, crystal.box, 1.0)
    inside_y, inside_x = ((axis > -0.5) & (axis < size - 0.5) for axis in (part.y, part.x))
    return bool(((crystal.distance(part.y, part.x) < 0) & inside_y & inside_x).any())


def _draw_crystal(layers: Layers, crystal: Crystal, batch: Batch, grid: FineGrid) -> None:
    near = window(grid, crystal.box, batch.shadow_length)
    distance = crystal.distance(near.y, near.x)
    layers.depth[near.place] += batch.shadow * shadow(distance, batch.shadow_length)
    put_edge(layers, near.place, distance)
    part = window(grid, crystal.box, 1.0)
    share = coverage(distance[part.within(near)], grid.step)
    height, ridge = crystal.facets(part.y, part.x)
    emission = batch.emission * crystal.brightness + batch.ridge * np.exp(-ridge / 1.2)
    blend(layers.emission[part.place], emission, share)
    blend(layers.height[part.place], height, share)
    blend(layers.depth[part.place], crystal.depth, share)
    blend(layers.grain[part.place], batch.grain, share)
    blend(layers.roughness[part.place], 0.0 if crystal.small else batch.roughness, share)


@register_scene(code=8)
def powder(draws: Draws, size: int) -> PowderScene:
    """Draw a powder."""
    batch = draw_batch(draws)
    optics = draw_optics(draws, batch)
    grains = draw_pile(draws, batch, size)
    return PowderScene(size, batch, optics, grains, draw_fines(draws, batch, size))
