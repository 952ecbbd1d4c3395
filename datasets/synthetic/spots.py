"""Small round things lying on whatever was painted before: debris, droplets, caps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from srbench.datasets.synthetic.geometry import FineGrid, coverage, ellipse_distance
from srbench.datasets.synthetic.painting import blend, put_edge
from srbench.datasets.synthetic.scene import Layers
from srbench.datasets.synthetic.tubes import shadow

SMALL = (2.0, 6.0)
"""Sizes of small features, HR pixels: 0.5 to 1.5 LR pixels at x4."""


@dataclass(frozen=True)
class Ball:
    """A ball half sunk in what lies below; ``emission`` is its yield."""

    y: float
    x: float
    diameter: float
    emission: float


def paint_ball(layers: Layers, grid: FineGrid, ball: Ball, shade: float, shade_length: float) -> None:
    """Paint one ball.

    Args:
        layers: maps to paint on.
        grid: the fine grid.
        ball: the ball.
        shade: depth added beside its outline.
        shade_length: HR pixels over which this shadow fades.
    """
    reach = ball.diameter / 2 + shade_length
    window = (grid.span(ball.y - reach, ball.y + reach), grid.span(ball.x - reach, ball.x + reach))
    y, x = grid.axis[window[0], None] - ball.y, grid.axis[None, window[1]] - ball.x
    distance = ellipse_distance(y, x, ball.diameter, ball.diameter, 0.0)
    share = coverage(distance, grid.step)
    layers.height[window] += np.sqrt(np.maximum((ball.diameter / 2) ** 2 - y * y - x * x, 0))
    layers.depth[window] += shade * shadow(distance, shade_length)
    blend(layers.depth[window], 0.0, share)
    blend(layers.emission[window], ball.emission, share)
    blend(layers.roughness[window], 0.0, share)
    put_edge(layers, window, distance)
