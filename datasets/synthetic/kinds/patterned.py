"""The scene kind ``patterned``: lines and spaces, or arrays of dots or holes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d

from srbench.datasets.synthetic.drawing import SMALL, Ball, around, blend, render_ball, window
from srbench.datasets.synthetic.geometry import (
    MARGIN,
    SUPERSAMPLING,
    FineGrid,
    coverage,
    ellipse_distance,
    rotate,
)
from srbench.datasets.synthetic.imaging import Layers, Optics, sample_optics
from srbench.datasets.synthetic.rng import DECIMALS, Array, RandomStream, Spread, rough_edge
from srbench.datasets.synthetic.scene import Scene, feature_entries, register_scene


@dataclass(frozen=True)
class LineDesign:
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
class LineDefect:
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
    grating: LineDesign
    optics: Optics
    left: Array
    right: Array
    spots: tuple[LineDefect, ...]

    def truth(self) -> dict[str, Any]:
        """The lines that meet the image; the small features are residues, breaks and bridges.

        ``style``: ``lines``. ``pitch`` and ``cd`` (width of a line) of the design. ``lines``: for each
        ``left`` and ``right`` (mean edge position in every row of pixels), ``complete`` (both edges in the
        image in all rows) and ``defective`` (has a break or a bridge; its edges run on as if it had none).
        """
        features = [
            {"type": spot.type, "y": spot.y, "x": spot.x, "length": spot.length} for spot in self.spots
        ]
        return {
            "style": "lines",
            "pitch": self.grating.pitch,
            "cd": self.grating.cd,
            "lines": [line for line in map(self._line, range(len(self.left))) if line],
            "small_features": features,
        }

    def layers(self, grid: FineGrid) -> Layers:
        """Render lines, then breaks and bridges, then residues."""
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
                _render_residue(layers, spot, grid, grating)
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
        broken = {spot.line for spot in self.spots if spot.type != "residue"}
        bridged = {spot.line + 1 for spot in self.spots if spot.type == "bridge"}
        return {
            "left": left.tolist(),
            "right": right.tolist(),
            "complete": bool(left.min() > -0.5 and right.max() < self.size - 0.5),
            "defective": index in broken | bridged,
        }


def _pixel_rows(edge: Array) -> Array:
    """Mean edge position in each row of pixels of the image (without the margin)."""
    rows = edge[MARGIN * SUPERSAMPLING : -MARGIN * SUPERSAMPLING].reshape(-1, SUPERSAMPLING)
    total = rows[:, 0].copy()
    for part in range(1, SUPERSAMPLING):
        total += rows[:, part]
    result: Array = np.round(total / SUPERSAMPLING, DECIMALS)
    return result


def _cut_or_join(distance: Array, spot: LineDefect, grid: FineGrid, grating: LineDesign) -> None:
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


def _render_residue(layers: Layers, spot: LineDefect, grid: FineGrid, grating: LineDesign) -> None:
    part = window(grid, around(spot.y, spot.x, spot.length / 2), 10.0)
    y, x = part.y - spot.y, part.x - spot.x
    distance = ellipse_distance(y, x, spot.length, spot.length, 0.0)
    layers.distance[part.span] = np.minimum(layers.distance[part.span], distance)
    blend(layers.emission[part.span], grating.emission, coverage(distance, grid.step))
    layers.height[part.span] += np.sqrt(np.maximum((spot.length / 2) ** 2 - y * y - x * x, 0))


def line_scene(stream: RandomStream, size: int) -> LineScene:
    """Lines and spaces."""
    grating = _grating(stream)
    left, right = _edges(stream, grating, size)
    defects = _defects(stream, grating, size)
    residues = _line_residues(stream, left, right, size, defects)
    return LineScene(size, grating, _line_optics(stream), left, right, (*defects, *residues))


def _grating(stream: RandomStream) -> LineDesign:
    pitch = stream.uniform(18, 52)
    spreads: dict[str, Spread] = {
        "pitch": pitch,
        "cd": lambda s: s.share(pitch, 0.38, 0.62),
        "offset": (-0.5, 0.5),
        "sigma": lambda s: round(min(s.uniform(0.35, 1.5), pitch / 24), DECIMALS),
        "xi": (8, 30),
        "hurst": (0.45, 0.85),
        "sidewall": (1.6, 3.2),
        "relief": (4, 7),
        "emission": (0.26, 0.36),
        "trench": (0.12, 0.22),
        "grain": (0.05, 0.09),
        "trench_grain": (0.08, 0.16),
    }
    return LineDesign(**stream.table(spreads))


def _line_optics(stream: RandomStream) -> Optics:
    return sample_optics(
        stream,
        {
            "tilt_exponent": (0.8, 1.0),
            "bloom": (0.2, 0.4),
            "bloom_length": (2, 4),
            "shadow": (0.2, 0.5),
            "shadow_length": (3, 7),
            "asymmetry": (0.0, 0.12),
            "detector_angle": lambda s: s.choice((0.0, 180.0)),
            "shading": (0.1, 0.35),
            "shading_length": (4, 10),
            "relief_wavelength": (4, 7),
            "texture_length": (0.7, 1.4),
            "waves": (0.02, 0.05),
            "spot": (0.5, 0.8),
            "astigmatism": (1, 1.2),
            "charging": (0.1, 0.3),
            "charging_length": (30, 120),
        },
    )


def _edges(stream: RandomStream, grating: LineDesign, size: int) -> tuple[Array, Array]:
    """Left and right edges of every line that meets the image or its margin, independent of each other."""
    grid = FineGrid(size)
    count = int((size + 2 * MARGIN) / grating.pitch) + 3
    centres = grating.offset - MARGIN - grating.pitch / 2 + grating.pitch * np.arange(count)
    sides = []
    for sign in (-0.5, 0.5):
        rough = [
            rough_edge(stream, grid.side, grid.step, grating.sigma, grating.xi, grating.hurst)
            for _ in centres
        ]
        sides.append(np.round(centres[:, None] + sign * grating.cd + np.stack(rough), DECIMALS))
    return sides[0], sides[1]


def _defects(stream: RandomStream, grating: LineDesign, size: int) -> tuple[LineDefect, ...]:
    """Breaks and bridges, on at most every fourth line."""
    first = -MARGIN - grating.pitch / 2 + grating.offset
    inside = [k for k in range(64) if grating.pitch < first + k * grating.pitch < size - 2 * grating.pitch]
    spots = []
    for line in inside[stream.integer(0, 3) :: 4][:3]:
        kind = stream.choice(("break", "bridge"))
        centre = first + line * grating.pitch + (grating.pitch / 2 if kind == "bridge" else 0)
        y, length = stream.uniform(0.1 * size, 0.9 * size), stream.uniform(*SMALL)
        spots.append(LineDefect(kind, line, y, round(centre, DECIMALS), length))
    return tuple(spots)


def _line_residues(
    stream: RandomStream, left: Array, right: Array, size: int, defects: tuple[LineDefect, ...]
) -> tuple[LineDefect, ...]:
    """Round residues in the spaces, clear of both edges, of the defects and of each other."""
    spots: list[LineDefect] = []
    most = round(size * size / 5000)
    for _ in range(12 * most):
        line, y, length = (
            stream.integer(0, len(left) - 2),
            stream.uniform(4, size - 5),
            stream.uniform(*SMALL),
        )
        share = stream.uniforms(1)[0]
        row = int((y + MARGIN + 0.5) * SUPERSAMPLING)
        near = slice(row - 4 * SUPERSAMPLING, row + 4 * SUPERSAMPLING)
        low, high = right[line, near].max() + length / 2 + 1.5, left[line + 1, near].min() - length / 2 - 1.5
        x = round(float(low + (high - low) * share), DECIMALS)
        apart = all(abs(s.y - y) > 8 or abs(s.x - x) > 8 for s in spots)
        clear = apart and all(abs(s.y - y) > 16 for s in defects if abs(s.line - line) < 2)
        if len(spots) < most and low < high and clear and 4 < x < size - 5:
            spots.append(LineDefect("residue", line, y, x, length))
    return tuple(spots)


REACH = 14.0
"""HR pixels outside an outline up to which distances are known."""
MODES = (2, 3, 4, 5, 6, 7)
"""Harmonics of a rough outline: successive powers of the unit vector, from the second."""


@dataclass(frozen=True)
class DotLattice:
    """Where the dots belong. Lengths in HR pixels.

    Attributes:
        type: ``square`` or ``hexagonal``.
        pitch: distance of neighbouring sites.
        angle: direction of the first lattice vector in degrees, from columns towards rows.
        y: row of site (0, 0).
        x: column of site (0, 0).
    """

    type: str
    pitch: float
    angle: float
    y: float
    x: float

    def sites(self, size: int) -> list[tuple[float, float]]:
        """Sites (y, x) whose dots may reach into the image or its margin, row by row."""
        across = self.angle + (90 if self.type == "square" else 60)
        first, second = (
            (
                round(self.pitch * math.sin(math.radians(turn)), DECIMALS),
                round(self.pitch * math.cos(math.radians(turn)), DECIMALS),
            )
            for turn in (self.angle, across)
        )
        reach = MARGIN + self.pitch / 2
        most = math.ceil(2.5 * (size + 2 * reach) / self.pitch)
        near = []
        for i in range(-most, most + 1):
            for j in range(-most, most + 1):
                y = round(self.y + i * first[0] + j * second[0], DECIMALS)
                x = round(self.x + i * first[1] + j * second[1], DECIMALS)
                if -reach < min(y, x) and max(y, x) < size + reach:
                    near.append((y, x))
        return near


@dataclass(frozen=True)
class Dot:
    """One dot or hole with an elliptic, slightly rough outline. Lengths in HR pixels, angles in degrees.

    Attributes:
        type: ``regular``, ``half`` (half size), ``extra`` (between the sites) or ``missing`` (not drawn).
        y: row of its centre.
        x: column of its centre.
        major: length of the ellipse's long axis.
        minor: of its short axis.
        angle: direction of the long axis, from columns towards rows.
        rough: cosine and sine amplitudes of the outline's harmonics ``MODES``, outwards.
        brightness: yield over that of the material.
    """

    type: str
    y: float
    x: float
    major: float
    minor: float
    angle: float
    rough: tuple[tuple[float, float], ...] = ()
    brightness: float = 1.0

    @property
    def diameter(self) -> float:
        """Diameter of the circle of equal area, to first order in the roughness."""
        return round(math.sqrt(self.major * self.minor), DECIMALS)

    def distance(self, y: Array, x: Array) -> Array:
        """Signed distance of points to the outline."""
        down, right = y - self.y, x - self.x
        ellipse = ellipse_distance(down, right, self.major, self.minor, math.radians(self.angle))
        if self.rough:
            ellipse = ellipse - self._roughness(down, right)
        return ellipse

    def _roughness(self, down: Array, right: Array) -> Array:
        """Outward deviation of the outline in the direction of each point."""
        unit = (right + 1j * down) / np.maximum(np.sqrt(down * down + right * right), 1e-9)
        power, deviation = unit, np.zeros(unit.shape)
        for cosine, sine in self.rough:
            power = power * unit
            deviation += cosine * power.real + sine * power.imag
        return deviation


@dataclass(frozen=True)
class DotProcess:
    """Design and process of an array. Lengths in HR pixels.

    Attributes:
        style: ``dots`` or ``holes``.
        profile: ``pillar`` (flat top) or ``dome`` of a dot; ``hole``.
        cd: nominal diameter.
        ellipticity: long over short axis of the typical dot.
        cd_sigma: standard deviation of the diameters.
        placement_sigma: standard deviation of the placement along either direction.
        edge_sigma: standard deviation of the rough outlines.
        relief: height of the dots or depth of the holes.
        sidewall: width over which the side rises.
        emission: yield of the dots, or of the surface around the holes.
        ground: yield of what lies between the dots, or of the holes' floor.
        grain: texture amplitude.
        roughness: relief of the surfaces.
    """

    style: str
    profile: str
    cd: float
    ellipticity: float
    cd_sigma: float
    placement_sigma: float
    edge_sigma: float
    relief: float
    sidewall: float
    emission: float
    ground: float
    grain: float
    roughness: float


@dataclass(frozen=True)
class DotScene(Scene):
    """An array of dots or holes.

    Attributes:
        sites: what stands at each site, and the extra dots.
        residues: balls between the dots.
    """

    size: int
    lattice: DotLattice
    process: DotProcess
    optics: Optics
    sites: tuple[Dot, ...]
    residues: tuple[Ball, ...]

    def truth(self) -> dict[str, Any]:
        """Each dot or hole that meets the image; the small features are half and extra dots and residues.

        ``style``: ``dots`` or ``holes``. ``dots``: for each ``y``, ``x``, ``diameter`` (of the circle of
        equal area), and the flags ``border`` (not wholly in the image) and ``defective`` (half, or extra).
        """
        dots = [dot for dot in self._present() if self._overhang(dot) < dot.diameter]
        entries = [
            {
                "y": dot.y,
                "x": dot.x,
                "diameter": dot.diameter,
                "border": self._overhang(dot) > 0,
                "defective": dot.type != "regular",
            }
            for dot in dots
        ]
        small = [
            {"type": f"{dot.type} dot", "y": dot.y, "x": dot.x, "diameter": dot.diameter}
            for dot in self.sites
            if dot.type in ("half", "extra")
            and SMALL[0] <= dot.diameter <= SMALL[1]
            and self._overhang(dot) < -2
        ]
        return {
            "style": self.process.style,
            "dots": entries,
            "small_features": small + feature_entries(self.residues, "residue"),
        }

    def layers(self, grid: FineGrid) -> Layers:
        """Draw the array, then what lies on it."""
        process = self.process
        outline, brightness = self.outlines(grid)
        share = coverage(outline, grid.step)
        holes = process.style == "holes"
        side = 1 - share if holes else share
        layers = Layers(
            emission=process.ground + side * (process.emission * brightness - process.ground),
            height=self._relief(outline, grid),
            distance=-outline if holes else outline,
            depth=process.relief * (np.clip(-outline / process.sidewall, 0, 1) if holes else 1 - share),
            grain=grid.full(process.grain),
            roughness=grid.full(process.roughness),
        )
        for ball in self.residues:
            render_ball(layers, grid, ball, 0.2 * process.relief, 3.0)
        return layers

    def outlines(self, grid: FineGrid) -> tuple[Array, Array]:
        """Signed distance to the outlines, negative in dots or holes, and the relative yield of each place.

        Farther than 1 px outside all outlines their exponentials are added, as what they emit adds up: the
        line halfway between two dots is not seen in a micrograph.
        """
        length = self.optics.bloom_length
        nearest, brightness = grid.full(REACH), grid.full(1.0)
        least = math.exp(-REACH / length)
        together = grid.full(least)
        for dot in self._present():
            window = _window(dot, grid, REACH)
            distance = dot.distance(grid.axis[window[0], None], grid.axis[None, window[1]])
            nearest[window] = np.minimum(nearest[window], distance)
            together[window] += np.maximum(np.exp(-np.maximum(distance, 0) / length) - least, 0)
            if self.process.style == "dots":
                np.copyto(brightness[window], dot.brightness, where=distance < grid.step)
        weight = np.clip((nearest - 1) / 3, 0, 1)
        return nearest + weight * (-length * np.log(together) - nearest), brightness

    def _relief(self, outline: Array, grid: FineGrid) -> Array:
        process = self.process
        if process.profile != "dome":
            rise = process.relief * np.clip(0.5 - outline / process.sidewall, 0, 1)
            return -rise if process.style == "holes" else rise
        height = grid.full(0.0)
        for dot in self._present():
            window = _window(dot, grid, 0.0)
            y, x = grid.axis[window[0], None] - dot.y, grid.axis[None, window[1]] - dot.x
            u, v = rotate(y, x, math.radians(dot.angle))
            q2 = (2 * u / dot.major) ** 2 + (2 * v / dot.minor) ** 2
            height[window] = np.maximum(height[window], process.relief * np.sqrt(np.maximum(1 - q2, 0)))
        return height

    def _present(self) -> list[Dot]:
        return [dot for dot in self.sites if dot.type != "missing"]

    def _overhang(self, dot: Dot) -> float:
        """How far the box around the outline sticks out of the image; 0 or less inside it."""
        half = dot.major / 2 + _amplitude(dot)
        outside = max(-0.5 - min(dot.y, dot.x), max(dot.y, dot.x) - self.size + 0.5)
        return outside + half


def _window(dot: Dot, grid: FineGrid, reach: float) -> tuple[slice, slice]:
    half = dot.major / 2 + _amplitude(dot) + reach
    return grid.span(dot.y - half, dot.y + half), grid.span(dot.x - half, dot.x + half)


def _amplitude(dot: Dot) -> float:
    """Largest outward deviation that the roughness may reach."""
    return sum(math.hypot(*pair) for pair in dot.rough)


PITCHES = (16.0, 80.0)
DIAMETERS = (6.0, 40.0)
APART = 12.0
"""HR pixels between the centres of small features."""


def dot_scene(stream: RandomStream, size: int) -> DotScene:
    """Draw an array of dots or holes."""
    lattice = _lattice(stream, size)
    process = _process(stream, lattice)
    regular = _sites(stream, lattice, process, size)
    sites = (*regular, *_extras(stream, regular, size))
    return DotScene(
        size,
        lattice,
        process,
        _dot_optics(stream, process),
        sites,
        _dot_residues(stream, process, sites, size),
    )


def _lattice(stream: RandomStream, size: int) -> DotLattice:
    # At least four rows of dots in the smallest image.
    pitch = stream.log_normal(30.0, 1.5, PITCHES[0], min(PITCHES[1], size / 4.5))
    return DotLattice(
        type=stream.choice(("square", "hexagonal")),
        pitch=pitch,
        angle=stream.choice((0.0, stream.uniform(-3, 3), stream.uniform(0, 90))),
        y=stream.uniform(0, size),
        x=stream.uniform(0, size),
    )


def _process(stream: RandomStream, lattice: DotLattice) -> DotProcess:
    style = stream.choice(("dots", "holes"))
    densest = 0.62 if lattice.type == "square" else 0.56
    cd = min(max(lattice.pitch * stream.uniform(0.36, densest), DIAMETERS[0]), DIAMETERS[1])
    profile = "hole" if style == "holes" else stream.choice(("pillar", "pillar", "dome"))
    emission = stream.uniform(0.28, 0.45)
    return DotProcess(
        style=style,
        profile=profile,
        cd=round(cd, DECIMALS),
        ellipticity=stream.choice((1.0, stream.uniform(1, 1.08), stream.uniform(1.1, 1.35))),
        cd_sigma=round(cd * stream.uniform(0.01, 0.05), DECIMALS),
        placement_sigma=stream.uniform(0.05, 0.02 * lattice.pitch),
        edge_sigma=stream.uniform(0.1, 0.02 * cd + 0.15),
        relief=round(cd * (0.4 if profile == "dome" else 0.25) * stream.uniform(0.7, 1.3), DECIMALS),
        sidewall=stream.uniform(1.5, 3),
        emission=emission,
        ground=round(emission * stream.uniform(0.3, 0.8), DECIMALS),
        grain=stream.uniform(0.04, 0.12),
        roughness=stream.uniform(0.03, 0.2),
    )


def _dot_optics(stream: RandomStream, process: DotProcess) -> Optics:
    return sample_optics(
        stream,
        {
            "tilt_exponent": (0.5, 0.9),
            "bloom": (0.12, 0.35),
            "bloom_length": (1.5, 3.5),
            "shadow": (0.1, 0.5),
            "shadow_length": (2, 6),
            "asymmetry": (0.0, 0.3),
            "detector_angle": (-180, 180),
            "shading": (0.55, 0.9) if process.style == "holes" else (0.1, 0.45),
            "shading_length": lambda s: s.share(process.relief, 0.5, 1.0),
            "relief_wavelength": (4, 9),
            "texture_length": (0.7, 1.6),
            "waves": (0.02, 0.07),
            "spot": (0.5, 0.8),
            "charging": lambda s: s.uniform(0.05, 0.25) if s.chance(0.5) else 0.0,
            "charging_length": (30, 120),
            "black": (0.04, 0.09),
            "white": (0.9, 0.96),
        },
    )


def _sites(stream: RandomStream, lattice: DotLattice, process: DotProcess, size: int) -> tuple[Dot, ...]:
    """A dot for each site of the image and its margin; a few missing, a few half as large."""
    missing, half = stream.uniform(0.01, 0.06), stream.uniform(0.02, 0.08)
    orientation = stream.uniform(0, 180)
    dots = []
    for y, x in lattice.sites(size):
        shift = process.placement_sigma * stream.normals(2)
        diameter = float(process.cd + process.cd_sigma * np.clip(stream.normals(1)[0], -2.5, 2.5))
        lot = float(stream.uniforms(1)[0])
        kind = "missing" if lot < missing else "half" if lot < missing + half else "regular"
        if kind != "missing":
            y, x = round(y + float(shift[0]), DECIMALS), round(x + float(shift[1]), DECIMALS)
        scale = stream.uniform(0.42, 0.58) if kind == "half" else 1.0
        dots.append(_shaped(stream, process, Dot(kind, y, x, 0, 0, orientation), diameter * scale))
    return tuple(dots)


def _shaped(stream: RandomStream, process: DotProcess, dot: Dot, diameter: float) -> Dot:
    """The dot with its axes, outline and yield."""
    stretch = math.sqrt(process.ellipticity)
    size = min(1.0, diameter / process.cd)
    # Rougher at long wavelengths: amplitudes fall with the mode.
    weights = np.array([1.0 / mode for mode in MODES])
    weights *= size * process.edge_sigma / math.sqrt(float((weights * weights).sum()))
    waves = stream.normals(len(MODES), 2) * weights[:, None]
    return replace(
        dot,
        major=round(diameter * stretch, DECIMALS),
        minor=round(diameter / stretch, DECIMALS),
        rough=tuple((round(float(c), DECIMALS), round(float(s), DECIMALS)) for c, s in waves),
        brightness=stream.uniform(0.92, 1.08),
    )


def _extras(stream: RandomStream, sites: tuple[Dot, ...], size: int) -> tuple[Dot, ...]:
    """Small dots where none belong."""
    extras: list[Dot] = []
    most = size * size / 15000
    for _ in range(40 * round(most)):
        y, x = stream.uniform(8, size - 9), stream.uniform(8, size - 9)
        diameter = stream.uniform(2.5, SMALL[1])
        dot = Dot("extra", y, x, diameter, diameter, 0.0, (), stream.uniform(0.95, 1.1))
        if len(extras) < most and _is_free(dot, sites) and _are_apart(dot, extras):
            extras.append(dot)
    return tuple(extras)


def _dot_residues(
    stream: RandomStream, process: DotProcess, sites: tuple[Dot, ...], size: int
) -> tuple[Ball, ...]:
    """Balls on the bare surface between the dots or holes."""
    balls: list[Ball] = []
    most = size * size / 7000
    extras = [dot for dot in sites if dot.type == "extra"]
    for _ in range(40 * round(most)):
        y, x, diameter = stream.uniform(6, size - 7), stream.uniform(6, size - 7), stream.uniform(*SMALL)
        ball = Ball(y, x, diameter, round(process.emission * stream.uniform(1.1, 1.7), DECIMALS))
        if len(balls) < most and _is_free(ball, sites) and _are_apart(ball, [*balls, *extras]):
            balls.append(ball)
    return tuple(balls)


def _is_free(spot: Dot | Ball, sites: tuple[Dot, ...]) -> bool:
    """Whether a small feature keeps clear of every outline, and of the outlines that are missing."""
    return all(
        math.hypot(dot.y - spot.y, dot.x - spot.x) > dot.major / 2 + spot.diameter / 2 + 2 for dot in sites
    )


def _are_apart(spot: Dot | Ball, others: Sequence[Dot | Ball]) -> bool:
    """Whether small features are not heaped up."""
    return all(math.hypot(other.y - spot.y, other.x - spot.x) > APART for other in others)


@register_scene(code=6)
def patterned(stream: RandomStream, size: int) -> LineScene | DotScene:
    """Draw a grating or an array; the truth's ``style`` says which: ``lines``, ``dots`` or ``holes``."""
    return line_scene(stream, size) if stream.chance(0.5) else dot_scene(stream, size)
