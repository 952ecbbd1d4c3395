"""Vertical lines and spaces with rough edges, as after lithography: the scene of a critical-dimension SEM.

Edges are drawn from the power spectral density used for line-edge roughness; a few lines are broken, a few
spaces bridged, and residues of 2 to 6 HR pixels (0.5 to 1.5 LR pixels at x4) lie in the trenches.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d

from srbench.datasets.synthetic.draws import DECIMALS, Draws
from srbench.datasets.synthetic.fields import rough_edge
from srbench.datasets.synthetic.geometry import (
    MARGIN,
    SUPERSAMPLING,
    Array,
    FineGrid,
    coverage,
    ellipse_distance,
)
from srbench.datasets.synthetic.imaging import Optics
from srbench.datasets.synthetic.scene import Layers, Scene

SMALL = (2.0, 6.0)
"""Sizes of residues, breaks and bridges, HR pixels."""


@dataclass(frozen=True)
class Grating:
    """The design and the process. Lengths in HR pixels.

    Attributes:
        pitch: distance of neighbouring lines.
        cd: width of a line (critical dimension).
        offset: centre of line 0.
        sigma: standard deviation of an edge.
        xi: correlation length along an edge.
        hurst: roughness exponent.
        sidewall: width over which a line's side rises.
        relief: height of a line.
        emission: yield of a line's top.
        trench: yield of the space.
        grain: texture amplitude of the tops.
        trench_grain: texture amplitude of the spaces.
    """

    pitch: float
    cd: float
    offset: float
    sigma: float
    xi: float
    hurst: float
    sidewall: float
    relief: float
    emission: float
    trench: float
    grain: float
    trench_grain: float


@dataclass(frozen=True)
class Spot:
    """A defect or residue: ``break`` of line ``line``, ``bridge`` from it to the next one, or ``residue``.

    ``length`` is along the lines, at its narrowest (a residue's diameter).
    """

    type: str
    line: int
    y: float
    x: float
    length: float


@dataclass(frozen=True, eq=False)
class LineScene(Scene):
    """Lines and spaces.

    Attributes:
        left: ``(lines, fine rows)`` left edges in HR pixels, margin included.
        right: the right edges.
        spots: residues, breaks and bridges.
    """

    size: int
    grating: Grating
    optics: Optics
    left: Array
    right: Array
    spots: tuple[Spot, ...]

    def truth(self) -> dict[str, Any]:
        """The grating, its edges and its defects.

        ``style``: ``lines``. ``pitch`` and ``cd`` of the design; ``ler``: ``sigma`` (one edge), ``xi`` and
        ``hurst`` asked for.
        ``lines``: for each that meets the image ``left`` and ``right`` (mean edge position in every row of
        pixels), realised mean ``cd``, ``lwr_sigma``, ``left_sigma`` and ``right_sigma``, ``complete`` (both
        edges in the image in all rows) and ``defective`` (has a break or a bridge; the edges listed run
        through as if it had none). ``defects``: the breaks and bridges.
        """
        spots = [asdict(spot) for spot in self.spots]
        grating = asdict(self.grating)
        return {
            "style": "lines",
            "orientation": "vertical",
            "pitch": grating["pitch"],
            "cd": grating["cd"],
            "ler": {name: grating[name] for name in ("sigma", "xi", "hurst")},
            "grating": grating,
            "lines": [line for line in map(self._line, range(len(self.left))) if line],
            "defects": [spot for spot in spots if spot["type"] != "residue"],
            "small_features": spots,
        }

    def without(self, feature: int) -> LineScene:
        """The scene lacking one residue, break or bridge."""
        gone = self.spots[feature]
        return replace(self, spots=tuple(spot for spot in self.spots if spot is not gone))

    def layers(self, grid: FineGrid) -> Layers:
        """Draw lines, then breaks and bridges, then residues."""
        grating = self.grating
        distance = self._distance(grid, self.left, self.right)
        share = coverage(distance, grid.step)
        # The bloom spreads over its length in all directions and does not follow an edge from row to row.
        calm = [gaussian_filter1d(edges, 2.0 * SUPERSAMPLING, axis=1) for edges in (self.left, self.right)]
        far = np.where(np.abs(distance) < 1.0, distance, self._distance(grid, calm[0], calm[1]))
        height = grating.relief * np.clip(0.5 - distance / grating.sidewall, 0, 1)
        layers = Layers(
            emission=grating.trench + share * (grating.emission - grating.trench),
            height=height,
            distance=np.where(np.sign(far) == np.sign(distance), far, distance),
            depth=np.where(distance > 0, np.minimum(distance, 12.0), 0.0),
            grain=grating.trench_grain + share * (grating.grain - grating.trench_grain),
            roughness=0.05 + 0.1 * share,
        )
        for spot in self.spots:
            if spot.type == "residue":
                _draw_residue(layers, spot, grid, grating)
        return layers

    def _distance(self, grid: FineGrid, left: Array, right: Array) -> Array:
        distance = grid.full(self.grating.pitch)
        reach = self.grating.pitch + 3 * self.grating.sigma
        for line_left, line_right in zip(left, right, strict=True):
            columns = grid.span(float(line_left.min()) - reach, float(line_right.max()) + reach)
            x = grid.axis[None, columns]
            here = np.maximum(line_left[:, None] - x, x - line_right[:, None])
            distance[:, columns] = np.minimum(distance[:, columns], here)
        for spot in self.spots:
            _cut_or_join(distance, spot, grid, self.grating)
        return distance

    def _line(self, index: int) -> dict[str, Any] | None:
        """One line's entry, None where it misses the image."""
        left, right = (_pixel_rows(edges[index]) for edges in (self.left, self.right))
        if right.min() < -0.5 or left.max() > self.size - 0.5:
            return None
        width = right - left
        return {
            "index": index,
            "left": left.tolist(),
            "right": right.tolist(),
            "cd": round(float(width.mean()), DECIMALS),
            "lwr_sigma": _spread(width),
            "left_sigma": _spread(left),
            "right_sigma": _spread(right),
            "complete": bool(left.min() > -0.5 and right.max() < self.size - 0.5),
            "defective": any(self._touches(spot, index) for spot in self.spots),
        }

    @staticmethod
    def _touches(spot: Spot, index: int) -> bool:
        if spot.type == "bridge":
            return index in (spot.line, spot.line + 1)
        return spot.type == "break" and index == spot.line


def _pixel_rows(edge: Array) -> Array:
    """Mean edge position in each row of pixels of the image (without the margin)."""
    rows = edge[MARGIN * SUPERSAMPLING : -MARGIN * SUPERSAMPLING].reshape(-1, SUPERSAMPLING)
    total = rows[:, 0].copy()
    for part in range(1, SUPERSAMPLING):
        total += rows[:, part]
    result: Array = np.round(total / SUPERSAMPLING, DECIMALS)
    return result


def _spread(values: Array) -> float:
    """Standard deviation about the mean."""
    deviation = values - values.mean()
    return round(float(np.sqrt((deviation * deviation).mean())), DECIMALS)


def _cut_or_join(distance: Array, spot: Spot, grid: FineGrid, grating: Grating) -> None:
    if spot.type == "residue":
        return
    reach = 16.0
    rows = grid.span(spot.y - spot.length - reach, spot.y + spot.length + reach)
    half = (
        grating.cd / 2 + 4 * grating.sigma if spot.type == "break" else (grating.pitch - grating.cd) / 2 + 2
    )
    columns = grid.span(spot.x - half - reach, spot.x + half + reach)
    y, x = grid.axis[rows, None], grid.axis[None, columns]
    # Ends are rounded: the opening of a break and the neck of a bridge are narrowest in the middle.
    waist = spot.length / 2 + 2.5 * np.minimum(((x - spot.x) / half) ** 2, 1)
    slab = np.maximum(np.abs(y - spot.y) - waist, np.abs(x - spot.x) - half)
    window = distance[rows, columns]
    distance[rows, columns] = np.maximum(window, -slab) if spot.type == "break" else np.minimum(window, slab)


def _draw_residue(layers: Layers, spot: Spot, grid: FineGrid, grating: Grating) -> None:
    reach = spot.length / 2 + 10
    window = (grid.span(spot.y - reach, spot.y + reach), grid.span(spot.x - reach, spot.x + reach))
    y, x = grid.axis[window[0], None] - spot.y, grid.axis[None, window[1]] - spot.x
    distance = ellipse_distance(y, x, spot.length, spot.length, 0.0)
    share = coverage(distance, grid.step)
    layers.distance[window] = np.minimum(layers.distance[window], distance)
    layers.emission[window] += share * (grating.emission - layers.emission[window])
    layers.height[window] += np.sqrt(np.maximum((spot.length / 2) ** 2 - y * y - x * x, 0))


def line_scene(draws: Draws, size: int) -> LineScene:
    """Draw a grating."""
    grating = _grating(draws)
    left, right = _edges(draws, grating, size)
    defects = _defects(draws, grating, size)
    residues = _residues(draws, left, right, size, defects)
    return LineScene(size, grating, _optics(draws), left, right, (*defects, *residues))


def _grating(draws: Draws) -> Grating:
    pitch = draws.uniform(18, 52)
    return Grating(
        pitch=pitch,
        cd=round(pitch * draws.uniform(0.38, 0.62), DECIMALS),
        offset=draws.uniform(-0.5, 0.5),
        sigma=round(min(draws.uniform(0.35, 1.5), pitch / 24), DECIMALS),
        xi=draws.uniform(8, 30),
        hurst=draws.uniform(0.45, 0.85),
        sidewall=draws.uniform(1.6, 3.2),
        relief=draws.uniform(4, 7),
        emission=draws.uniform(0.26, 0.36),
        trench=draws.uniform(0.12, 0.22),
        grain=draws.uniform(0.05, 0.09),
        trench_grain=draws.uniform(0.08, 0.16),
    )


def _optics(draws: Draws) -> Optics:
    return Optics(
        tilt_exponent=draws.uniform(0.8, 1.0),
        bloom=draws.uniform(0.2, 0.4),
        bloom_length=draws.uniform(2, 4),
        shadow=draws.uniform(0.2, 0.5),
        shadow_length=draws.uniform(3, 7),
        asymmetry=draws.uniform(0.0, 0.12),
        detector_angle=draws.choice((0.0, 180.0)),
        shading=draws.uniform(0.1, 0.35),
        shading_length=draws.uniform(4, 10),
        relief_wavelength=draws.uniform(4, 7),
        texture_length=draws.uniform(0.7, 1.4),
        waves=draws.uniform(0.02, 0.05),
        spot=draws.uniform(0.5, 0.8),
        astigmatism=draws.uniform(1, 1.2),
        spot_angle=draws.uniform(0, 180),
        charging=draws.uniform(0.1, 0.3),
        charging_length=draws.uniform(30, 120),
    )


def _edges(draws: Draws, grating: Grating, size: int) -> tuple[Array, Array]:
    """Left and right edges of every line that meets the image or its margin, independent of each other."""
    grid = FineGrid(size)
    count = int((size + 2 * MARGIN) / grating.pitch) + 3
    centres = grating.offset - MARGIN - grating.pitch / 2 + grating.pitch * np.arange(count)
    sides = []
    for sign in (-0.5, 0.5):
        rough = [
            rough_edge(draws, grid.side, grid.step, grating.sigma, grating.xi, grating.hurst) for _ in centres
        ]
        sides.append(np.round(centres[:, None] + sign * grating.cd + np.stack(rough), DECIMALS))
    return sides[0], sides[1]


def _defects(draws: Draws, grating: Grating, size: int) -> tuple[Spot, ...]:
    """Breaks and bridges, on at most every fourth line."""
    first = -MARGIN - grating.pitch / 2 + grating.offset
    inside = [k for k in range(64) if grating.pitch < first + k * grating.pitch < size - 2 * grating.pitch]
    spots = []
    for line in inside[draws.integer(0, 3) :: 4][:3]:
        kind = draws.choice(("break", "bridge"))
        centre = first + line * grating.pitch + (grating.pitch / 2 if kind == "bridge" else 0)
        y, length = draws.uniform(0.1 * size, 0.9 * size), draws.uniform(*SMALL)
        spots.append(Spot(kind, line, y, round(centre, DECIMALS), length))
    return tuple(spots)


def _residues(
    draws: Draws, left: Array, right: Array, size: int, defects: tuple[Spot, ...]
) -> tuple[Spot, ...]:
    """Round residues in the spaces, clear of both edges, of the defects and of each other."""
    spots: list[Spot] = []
    wanted = round(size * size / 5000)
    for _ in range(12 * wanted):
        line, y, length = draws.integer(0, len(left) - 2), draws.uniform(4, size - 5), draws.uniform(*SMALL)
        place = draws.uniforms(1)[0]
        row = int((y + MARGIN + 0.5) * SUPERSAMPLING)
        near = slice(row - 4 * SUPERSAMPLING, row + 4 * SUPERSAMPLING)
        low, high = right[line, near].max() + length / 2 + 1.5, left[line + 1, near].min() - length / 2 - 1.5
        x = round(float(low + (high - low) * place), DECIMALS)
        apart = all(abs(s.y - y) > 8 or abs(s.x - x) > 8 for s in spots)
        clear = apart and all(abs(s.y - y) > 16 for s in defects if abs(s.line - line) < 2)
        if len(spots) < wanted and low < high and clear and 4 < x < size - 5:
            spots.append(Spot("residue", line, y, x, length))
    return tuple(spots)
