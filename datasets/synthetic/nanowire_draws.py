"""The scene kind ``nanowires``: wires lying on a substrate, or standing on it and seen from the side."""

from __future__ import annotations

import math
from dataclasses import replace

from srbench.datasets.synthetic.curves import distance_to_curve, von_mises
from srbench.datasets.synthetic.draws import DECIMALS, Draws
from srbench.datasets.synthetic.imaging import Optics
from srbench.datasets.synthetic.nanowires import Growth, Wire, WireScene
from srbench.datasets.synthetic.scene import register_scene
from srbench.datasets.synthetic.spots import SMALL

WIDTHS = (3.0, 10.0)
LENGTHS = (60.0, 300.0)
FIRST_SMALL = 1000
"""Thin wires and stubs are numbered from here."""


@register_scene(code=4)
def nanowires(draws: Draws, size: int) -> WireScene:
    """Draw a scene of nanowires."""
    growth = _lying(draws) if draws.chance(0.5) else _standing(draws)
    large = _large(draws, growth, size)
    small = _small(draws, growth, large, size)
    return WireScene(size, growth, _optics(draws, growth), (*large, *small))


def _lying(draws: Draws) -> Growth:
    emission = draws.uniform(0.42, 0.6)
    return Growth(
        style="lying",
        heading=draws.uniform(0, 360),
        kappa=draws.choice((0.0, draws.uniform(0.5, 3), draws.uniform(5, 25))),
        facets=draws.chance(0.4),
        relief=draws.uniform(1, 3),
        foot_depth=draws.uniform(0, 4),
        emission=emission,
        ground=round(emission * draws.choice((draws.uniform(0.25, 0.5), draws.uniform(0.55, 0.9))), DECIMALS),
        droplet=draws.uniform(0.75, 1.0),
        grain=draws.uniform(0.02, 0.06),
        ground_grain=draws.uniform(0.04, 0.12),
        ground_roughness=draws.uniform(0.05, 0.35),
        shade=draws.uniform(2, 6),
        shade_length=draws.uniform(3, 8),
    )


def _standing(draws: Draws) -> Growth:
    emission = draws.uniform(0.42, 0.58)
    return Growth(
        style="standing",
        heading=-90 + draws.uniform(-12, 12),
        kappa=draws.choice((draws.uniform(8, 20), draws.uniform(40, 150), draws.uniform(300, 900))),
        facets=draws.chance(0.5),
        relief=draws.uniform(2, 4),
        foot_depth=draws.uniform(6, 14),
        emission=emission,
        ground=round(emission * draws.uniform(0.5, 1.1), DECIMALS),
        droplet=draws.uniform(0.75, 1.0),
        grain=draws.uniform(0.02, 0.05),
        ground_grain=draws.uniform(0.08, 0.16),
        ground_roughness=draws.uniform(0.2, 0.6),
        shade=draws.uniform(2, 5),
        shade_length=draws.uniform(3, 7),
    )


def _optics(draws: Draws, growth: Growth) -> Optics:
    standing = growth.style == "standing"
    return Optics(
        tilt_exponent=draws.uniform(0.35, 0.6),
        bloom=draws.uniform(0.08, 0.2),
        bloom_length=draws.uniform(1.2, 2.5),
        shadow=0.0,
        asymmetry=draws.uniform(0.05, 0.35),
        detector_angle=draws.uniform(-150, -30),
        shading=draws.uniform(0.6, 0.85) if standing else draws.uniform(0.4, 0.7),
        shading_length=draws.uniform(6, 10) if standing else draws.uniform(4, 8),
        relief_wavelength=draws.uniform(4, 9),
        texture_length=draws.uniform(0.7, 1.6),
        waves=draws.uniform(0.03, 0.1),
        spot=draws.uniform(0.5, 0.75),
        astigmatism=draws.uniform(1, 1.25),
        spot_angle=draws.uniform(0, 180),
        charging=draws.uniform(0.05, 0.2) if draws.chance(0.3) else 0.0,
        charging_length=draws.uniform(30, 120),
        black=draws.uniform(0.03, 0.1),
        white=draws.uniform(0.86, 0.96),
    )


def _large(draws: Draws, growth: Growth, size: int) -> tuple[Wire, ...]:
    """The wires proper. Standing ones are sorted by their feet: the nearer one hides the farther."""
    standing = growth.style == "standing"
    count = (
        round(draws.uniform(26, 80) * size / 384) if standing else round(draws.uniform(20, 48) * size / 384)
    )
    median = draws.uniform(0.3, 0.5) * min(size, 300)
    wires = [_wire(draws, growth, size, median) for _ in range(count)]
    if standing:
        wires.sort(key=lambda wire: wire.y)
    numbered = [replace(wire, number=number) for number, wire in enumerate(wires)]
    return _with_caps(draws, numbered)


def _wire(draws: Draws, growth: Growth, size: int, median: float) -> Wire:
    length = draws.log_normal(median, 1.3, LENGTHS[0], min(LENGTHS[1], 1.2 * size))
    base = draws.log_normal(6.0, 1.3, *WIDTHS)
    tip = round(max(2.0, base * draws.uniform(0.55, 1.0)), DECIMALS)
    angle = von_mises(draws, growth.heading, growth.kappa)
    y, x = draws.uniform(-20, size + 20), draws.uniform(-20, size + 20)
    if growth.style == "standing":
        y = draws.uniform(0.25 * size, 1.2 * size)
    else:
        y = round(y - length / 2 * math.sin(math.radians(angle)), DECIMALS)
        x = round(x - length / 2 * math.cos(math.radians(angle)), DECIMALS)
    return Wire(0, "wire", y, x, length, angle, base, tip, draws.uniform(0.85, 1.2))


def _with_caps(draws: Draws, wires: list[Wire]) -> tuple[Wire, ...]:
    """Droplets at a share of the tips, only where no later wire hides them."""
    share, ratio = draws.choice((0.15, 0.5, 0.95)), draws.uniform(1.1, 1.5)
    capped = []
    for place, wire in enumerate(wires):
        cap = round(ratio * wire.tip_width, DECIMALS) if draws.chance(share) else 0.0
        hidden = any(
            distance_to_curve(*wire.tip, other.axis) < other.base_width / 2 + cap / 2 + 1
            for other in wires[place + 1 :]
        )
        capped.append(wire if hidden else replace(wire, cap=cap))
    return tuple(capped)


def _small(draws: Draws, growth: Growth, large: tuple[Wire, ...], size: int) -> tuple[Wire, ...]:
    """Thin wires over the others, and stubs on the bare ground; all of their middles are seen."""
    wanted = size * size / 6000
    found: list[Wire] = []
    for _ in range(30 * round(wanted)):
        make = _thin if draws.chance(0.5) else _stub
        wire = make(draws, growth, size, FIRST_SMALL + len(found))
        rivals = found if wire.type == "thin wire" else (*large, *found)
        if len(found) < wanted and _is_free(wire, rivals, size) and _leaves_caps(wire, large):
            found.append(wire)
    return tuple(found)


def _thin(draws: Draws, growth: Growth, size: int, number: int) -> Wire:
    length, width = draws.uniform(24, 56), draws.uniform(2, 3)
    angle = von_mises(draws, growth.heading, growth.kappa / 2)
    y, x = draws.uniform(8, size - 9), draws.uniform(8, size - 9)
    turn = math.radians(angle)
    y, x = round(y - length / 2 * math.sin(turn), DECIMALS), round(x - length / 2 * math.cos(turn), DECIMALS)
    return Wire(number, "thin wire", y, x, length, angle, width, width, draws.uniform(1.0, 1.2))


def _stub(draws: Draws, growth: Growth, size: int, number: int) -> Wire:
    width = draws.uniform(*SMALL)
    length = round(width * draws.uniform(0.6, 1.6), DECIMALS)
    angle = von_mises(draws, growth.heading, growth.kappa / 2)
    y, x = draws.uniform(8, size - 9), draws.uniform(8, size - 9)
    return Wire(number, "stub", y, x, length, angle, width, width, draws.uniform(1.0, 1.3))


def _is_free(wire: Wire, rivals: tuple[Wire, ...] | list[Wire], size: int) -> bool:
    """Whether the middle lies in the image and keeps clear of the rivals, and theirs of this one."""
    y, x = wire.middle
    reach = wire.base_width / 2 + (wire.length / 2 if wire.type == "stub" else 0) + 3
    clear = all(distance_to_curve(y, x, r.axis) > r.base_width / 2 + reach for r in rivals)
    back = all(
        distance_to_curve(*r.middle, wire.axis) > (r.base_width + wire.base_width) / 2 + 3
        for r in rivals
        if r.type != "wire"
    )
    return min(y, x) > 6 and max(y, x) < size - 7 and clear and back


def _leaves_caps(wire: Wire, large: tuple[Wire, ...]) -> bool:
    """Whether no droplet is hidden."""
    return all(
        distance_to_curve(*other.tip, wire.axis) > (other.cap + wire.base_width) / 2 + 2
        for other in large
        if other.cap
    )
