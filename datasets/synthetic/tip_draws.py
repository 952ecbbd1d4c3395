"""The scene kind ``tips``: cones and pyramids on cantilevers, and etched wires."""

from __future__ import annotations

import math

import numpy as np

from srbench.datasets.synthetic.draws import DECIMALS, Draws
from srbench.datasets.synthetic.imaging import Optics
from srbench.datasets.synthetic.scene import register_scene
from srbench.datasets.synthetic.spots import SMALL
from srbench.datasets.synthetic.tips import Bump, Probe, Surface, TipScene, flank_end

RADII = (1.0, 8.0)
HALF_ANGLES = (8.0, 25.0)


@register_scene(code=9)
def tips(draws: Draws, size: int) -> TipScene:
    """Draw a tip."""
    style = draws.choice(("cone", "pyramid", "wire"))
    probe = _wire(draws, size) if style == "wire" else _on_cantilever(draws, style, size)
    surface = _surface(draws, probe)
    return TipScene(size, probe, surface, _optics(draws), _bumps(draws, probe, surface, size))


def _radius(draws: Draws) -> float:
    return draws.log_normal(3.0, 1.7, *RADII)


def _on_cantilever(draws: Draws, style: str, size: int) -> Probe:
    """A tip that points up, its apex in the upper part of the image, its cantilever in the lower."""
    radius, half_angle = _radius(draws), draws.uniform(10, HALF_ANGLES[1])
    height = round(size * draws.uniform(0.45, 0.62), DECIMALS)
    return Probe(
        style=style,
        y=round(size * draws.uniform(0.1, 0.2) + radius, DECIMALS),
        x=round(size * draws.uniform(0.35, 0.65), DECIMALS),
        radius=radius,
        half_angle=half_angle,
        axis_angle=draws.uniform(78, 102),
        height=height,
        shank=0.0,
        slab=round(size * draws.uniform(0.04, 0.14), DECIMALS),
        top=round(size * draws.uniform(0.06, 0.13), DECIMALS),
        end=round(_end(draws) * size, DECIMALS),
        tilt=draws.uniform(-12, 12),
        ridge=draws.uniform(-0.5, 0.5),
    )


def _end(draws: Draws) -> float:
    """Where the cantilever ends, over the image's side: most tips stand near the free end of theirs."""
    if draws.chance(0.3):
        return 0.0
    return math.copysign(draws.uniform(0.3, 0.42), draws.uniform(-1, 1))


def _wire(draws: Draws, size: int) -> Probe:
    """An etched wire from any side, its apex around the middle of the image."""
    radius, half_angle = _radius(draws), draws.uniform(HALF_ANGLES[0], 20)
    axis_angle = draws.uniform(0, 360)
    back = size * draws.uniform(0.15, 0.3)
    turn = math.radians(axis_angle)
    shank = size * draws.uniform(0.1, 0.2) + radius
    return Probe(
        style="wire",
        y=round(size / 2 - back * math.sin(turn), DECIMALS),
        x=round(size / 2 - back * math.cos(turn), DECIMALS),
        radius=radius,
        half_angle=half_angle,
        axis_angle=axis_angle,
        height=round(float(size), DECIMALS),
        shank=round(shank, DECIMALS),
        slab=0.0,
        top=0.0,
        end=0.0,
        tilt=0.0,
        ridge=0.0,
    )


def _surface(draws: Draws, probe: Probe) -> Surface:
    return Surface(
        emission=draws.uniform(0.36, 0.5),
        ground=draws.uniform(0.03, 0.16),
        backdrop=draws.uniform(0.05, 0.4),
        backdrop_period=draws.uniform(120, 400),
        backdrop_angle=draws.uniform(0, 180),
        grain=draws.uniform(0.03, 0.07),
        roughness=draws.uniform(0.05, 0.3),
        glow=draws.uniform(0.2, 0.8),
        glow_length=draws.uniform(6, 20),
        bands=draws.uniform(0.2, 0.6) if probe.style != "pyramid" and draws.chance(0.6) else 0.0,
        band_length=draws.uniform(6, 18),
    )


def _optics(draws: Draws) -> Optics:
    return Optics(
        tilt_exponent=draws.uniform(0.4, 0.7),
        bloom=draws.uniform(0.2, 0.45),
        bloom_length=draws.uniform(2, 5),
        shadow=draws.uniform(0.1, 0.4),
        shadow_length=draws.uniform(4, 8),
        asymmetry=draws.uniform(0.15, 0.45),
        detector_angle=draws.uniform(-180, 180),
        relief_wavelength=draws.uniform(5, 12),
        texture_length=draws.uniform(0.8, 1.8),
        waves=draws.uniform(0.03, 0.1),
        spot=draws.uniform(0.5, 0.8),
        astigmatism=draws.uniform(1, 1.25),
        spot_angle=draws.uniform(0, 180),
        charging=draws.uniform(0.1, 0.3) if draws.chance(0.5) else 0.0,
        charging_length=draws.uniform(20, 100),
        black=draws.uniform(0.03, 0.1),
        white=draws.uniform(0.86, 0.96),
    )


def _bumps(draws: Draws, probe: Probe, surface: Surface, size: int) -> tuple[Bump, ...]:
    """Asperities on both flanks, some near the apex, and dirt on the body; all in the image and apart."""
    end = flank_end(probe)
    bumps: list[Bump] = []
    wanted = draws.integer(9, 14)
    for trial in range(30 * wanted):
        flank = trial % 2 == 0
        near = draws.chance(0.35)
        along = draws.uniform(2 * probe.radius + 6, min(40.0, 0.5 * end) if near else 0.9 * end)
        diameter = draws.uniform(*SMALL)
        half = float(probe.half_width(np.array(along)))
        room = half - diameter / 2 - 1.5
        # An asperity's middle lies on the flank or just inside it: half of it or more sticks out.
        across = half - 0.2 * diameter * draws.uniform(0, 1) if flank else room * draws.uniform(0, 1)
        across = math.copysign(across, draws.uniform(-1, 1))
        bump = _placed(draws, probe, surface, "asperity" if flank else "dirt", along, across, diameter)
        inside = min(bump.y, bump.x) > 6 and max(bump.y, bump.x) < size - 7
        apart = all(math.hypot(b.y - bump.y, b.x - bump.x) > 9 for b in bumps)
        if len(bumps) < wanted and inside and apart and (flank or room > 0):
            bumps.append(bump)
    return tuple(bumps)


def _placed(
    draws: Draws, probe: Probe, surface: Surface, kind: str, along: float, across: float, diameter: float
) -> Bump:
    turn = math.radians(probe.axis_angle)
    y = round(probe.y + along * math.sin(turn) + across * math.cos(turn), DECIMALS)
    x = round(probe.x + along * math.cos(turn) - across * math.sin(turn), DECIMALS)
    return Bump(kind, y, x, diameter, round(surface.emission * draws.uniform(1.0, 1.5), DECIMALS))
