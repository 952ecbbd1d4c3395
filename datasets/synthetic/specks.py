"""Small features: round bumps and holes of 2 to 6 HR pixels (0.5 to 1.5 LR pixels at x4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from srbench.datasets.synthetic.draws import Draws
from srbench.datasets.synthetic.geometry import Array, FineGrid, coverage, ellipse_distance
from srbench.datasets.synthetic.painting import Window, around, blend, cut_edge, window
from srbench.datasets.synthetic.scene import Layers
from srbench.datasets.synthetic.spots import SMALL

RIM = 10.0
"""HR pixels around a hole in which its rim is the nearest edge."""


@dataclass(frozen=True)
class Speck:
    """A round bump or hole; ``type`` says what it is called, ``brightness`` multiplies its yield."""

    type: str
    y: float
    x: float
    diameter: float
    brightness: float = 1.0

    def as_truth(self) -> dict[str, Any]:
        """Its entry among the small features."""
        return {"type": self.type, "y": self.y, "x": self.x, "diameter": self.diameter}


Accept = Callable[[str, float, float, float], bool]
"""Type, y, x and diameter to whether a speck may lie there."""


def scatter(
    draws: Draws, size: int, count: int, types: Sequence[str], accept: Accept, gap: float = 3.0
) -> tuple[Speck, ...]:
    """Up to ``count`` specks wholly in the image, at least ``gap`` apart, where ``accept`` lets them be."""
    specks: list[Speck] = []
    for _ in range(12 * count):
        kind, diameter = draws.choice(types), draws.uniform(*SMALL)
        y, x = draws.uniform(4, size - 5), draws.uniform(4, size - 5)
        speck = Speck(kind, y, x, diameter, draws.uniform(0.9, 1.3))
        if accept(kind, y, x, diameter) and _is_apart(speck, specks, gap):
            specks.append(speck)
        if len(specks) == count:
            break
    return tuple(specks)


def _is_apart(speck: Speck, others: Sequence[Speck], gap: float) -> bool:
    return all(
        math.hypot(speck.y - other.y, speck.x - other.x) > (speck.diameter + other.diameter) / 2 + gap
        for other in others
    )


def draw_hole(layers: Layers, speck: Speck, emission: float, depth: float, grid: FineGrid) -> None:
    """Cut a hole of ``depth`` HR pixels with a bottom of yield ``emission``."""
    rim, hole = (window(grid, around(speck.y, speck.x, speck.diameter / 2), extra) for extra in (RIM, 1.0))
    cut_edge(layers, rim.place, _round(speck, rim))
    share = coverage(_round(speck, hole), grid.step)
    blend(layers.emission[hole.place], emission, share)
    blend(layers.roughness[hole.place], 0.0, share)
    blend(layers.depth[hole.place], depth, share)


def _round(speck: Speck, part: Window) -> Array:
    """Signed distance to the outline."""
    return ellipse_distance(part.y - speck.y, part.x - speck.x, speck.diameter, speck.diameter, 0.0)
