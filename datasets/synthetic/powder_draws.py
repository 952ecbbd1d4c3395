"""How a powder is drawn: its kind, the grains thrown on a pile, and the fines sprinkled over them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from srbench.datasets.synthetic.crystals import Crystal, random_outline
from srbench.datasets.synthetic.draws import DECIMALS, Draws
from srbench.datasets.synthetic.geometry import MARGIN
from srbench.datasets.synthetic.imaging import Optics
from srbench.datasets.synthetic.spots import SMALL

SIZES = (10.0, 60.0)
"""Greatest widths of the grains, HR pixels."""
COUNTS = (100, 400)
"""Grains in 384 x 384 HR pixels."""


@dataclass(frozen=True)
class Batch:
    """What kind of powder it is. Lengths in HR pixels.

    Attributes:
        style: ``crystals`` (smooth, sharp), ``grit`` (crushed, rough) or ``flakes`` (flat plates).
        density: grains in 384 x 384 HR pixels.
        median: median of the greatest widths.
        gsd: their geometric standard deviation.
        corners: least and greatest number of corners.
        elongation: largest ratio of the axes.
        rounding: radius of a corner over the width.
        slope: least and greatest rise of the facets.
        flatness: height of a grain over its width.
        tilt: largest slope of a top facet.
        clumping: share of the grains that lie in clumps.
        ridge: brightening at the ridges between facets.
        depth: of the ground below the topmost grains.
        shadow: depth added beside a grain: what lies there sees less of the detector.
        shadow_length: where that shadow ends.
        emission: yield of the grains.
        ground: yield of the ground.
        grain: texture amplitude of the grains.
        roughness: relief on the facets.
    """

    style: str
    density: int
    median: float
    gsd: float
    corners: tuple[int, int]
    elongation: float
    rounding: float
    slope: tuple[float, float]
    flatness: float
    tilt: float
    clumping: float
    ridge: float
    depth: float
    shadow: float
    shadow_length: float
    emission: float
    ground: float
    grain: float
    roughness: float


def draw_batch(draws: Draws) -> Batch:
    """One of the kinds of powder."""
    return draws.choice((_crystals, _grit, _flakes))(draws)


def _amounts(draws: Draws, low: float, high: float, covered: tuple[float, float]) -> tuple[int, float]:
    """Density and median width for which the grains, laid side by side, cover a share of the image."""
    median = draws.uniform(low, high)
    wanted = draws.uniform(*covered) * 384**2 / (0.75 * median**2)
    return min(max(round(wanted), COUNTS[0]), COUNTS[1]), median


def _crystals(draws: Draws) -> Batch:
    density, median = _amounts(draws, 18, 38, (0.7, 2.4))
    return Batch(
        style="crystals",
        density=density,
        median=median,
        gsd=draws.uniform(1.25, 1.5),
        corners=(4, 7),
        elongation=draws.uniform(1.2, 2.2),
        rounding=draws.uniform(0.01, 0.03),
        slope=(0.35, 2.2),
        flatness=draws.uniform(0.3, 0.5),
        tilt=draws.uniform(0.25, 0.5),
        clumping=draws.uniform(0.0, 0.6),
        ridge=draws.uniform(0.02, 0.1),
        depth=draws.uniform(20, 40),
        shadow=draws.uniform(18, 45),
        shadow_length=draws.uniform(5, 10),
        emission=draws.uniform(0.36, 0.5),
        ground=draws.uniform(0.08, 0.2),
        grain=draws.uniform(0.02, 0.05),
        roughness=draws.uniform(0.05, 0.18),
    )


def _grit(draws: Draws) -> Batch:
    density, median = _amounts(draws, 16, 34, (0.9, 2.6))
    return Batch(
        style="grit",
        density=density,
        median=median,
        gsd=draws.uniform(1.4, 1.7),
        corners=(6, 9),
        elongation=draws.uniform(1.4, 2.2),
        rounding=draws.uniform(0.06, 0.14),
        slope=(0.5, 1.8),
        flatness=draws.uniform(0.3, 0.45),
        tilt=draws.uniform(0.2, 0.4),
        clumping=draws.uniform(0.0, 0.5),
        ridge=draws.uniform(0.0, 0.03),
        depth=draws.uniform(20, 40),
        shadow=draws.uniform(18, 45),
        shadow_length=draws.uniform(5, 10),
        emission=draws.uniform(0.36, 0.48),
        ground=draws.uniform(0.06, 0.15),
        grain=draws.uniform(0.06, 0.12),
        roughness=draws.uniform(0.4, 0.8),
    )


def _flakes(draws: Draws) -> Batch:
    density, median = _amounts(draws, 24, 40, (0.9, 2.4))
    return Batch(
        style="flakes",
        density=density,
        median=median,
        gsd=draws.uniform(1.25, 1.5),
        corners=(6, 9),
        elongation=draws.uniform(1.3, 2.0),
        rounding=draws.uniform(0.02, 0.06),
        slope=(1.5, 3.0),
        flatness=draws.uniform(0.06, 0.12),
        tilt=draws.uniform(0.3, 0.6),
        clumping=draws.uniform(0.0, 0.4),
        ridge=draws.uniform(0.02, 0.06),
        depth=draws.uniform(15, 30),
        shadow=draws.uniform(18, 45),
        shadow_length=draws.uniform(5, 10),
        emission=draws.uniform(0.34, 0.46),
        ground=draws.uniform(0.06, 0.16),
        grain=draws.uniform(0.03, 0.06),
        roughness=draws.uniform(0.1, 0.25),
    )


def draw_optics(draws: Draws, batch: Batch) -> Optics:
    """How a powder is imaged."""
    flat = batch.style == "flakes"
    return Optics(
        tilt_exponent=draws.uniform(0.35, 0.6),
        bloom=draws.uniform(0.14, 0.28) if flat else draws.uniform(0.08, 0.2),
        bloom_length=draws.uniform(1.2, 2.2),
        shadow=draws.uniform(0.35, 0.65),
        shadow_length=draws.uniform(2, 4.5),
        asymmetry=draws.uniform(0.25, 0.5),
        detector_angle=draws.uniform(-150, -30),
        shading=draws.uniform(0.5, 0.75),
        shading_length=draws.uniform(18, 30),
        relief_wavelength=draws.uniform(4, 7),
        texture_length=draws.uniform(0.7, 1.3),
        waves=draws.uniform(0.02, 0.07),
        spot=draws.uniform(0.5, 0.75),
        astigmatism=draws.uniform(1, 1.25),
        spot_angle=draws.uniform(0, 180),
        charging=draws.choice((0.0, 0.0, 0.08, 0.15)),
        charging_length=draws.uniform(30, 100),
        black=draws.uniform(0.03, 0.1),
        white=draws.uniform(0.86, 0.96),
    )


def draw_pile(draws: Draws, batch: Batch, size: int) -> tuple[Crystal, ...]:
    """Throw the grains, the deep ones first; some fall into clumps."""
    around = MARGIN + SIZES[1] / 2
    side = size + 2 * around
    count = round(batch.density * (side / 384) ** 2)
    clumps = [
        (draws.uniform(0, size), draws.uniform(0, size), draws.uniform(size / 10, size / 4))
        for _ in range(draws.integer(2, 5))
    ]
    largest = min(SIZES[1], size / 4)
    grains = []
    for z in range(count):
        feret = draws.log_normal(batch.median, batch.gsd, SIZES[0], largest)
        depth = round(batch.depth * 0.9 * (1 - (z + 1) / count), DECIMALS)
        y, x = draws.uniform(-around, size + around), draws.uniform(-around, size + around)
        if draws.chance(batch.clumping):
            centre_y, centre_x, spread = draws.choice(clumps)
            off_y, off_x = draws.normals(2)
            y, x = centre_y + spread * float(off_y), centre_x + spread * float(off_x)
        grains.append(_grain(draws, batch, feret, depth).moved(y, x))
    return tuple(grains)


def _grain(draws: Draws, batch: Batch, feret: float, depth: float) -> Crystal:
    rounding = round(batch.rounding * feret, DECIMALS)
    vertices = random_outline(draws, feret, rounding, batch.corners, batch.elongation)
    height = round(batch.flatness * feret * draws.uniform(0.6, 1.2), DECIMALS)
    tilt = batch.tilt
    return Crystal(
        vertices=vertices,
        rounding=rounding,
        slopes=tuple(draws.uniform(*batch.slope) for _ in vertices),
        top=(height, draws.uniform(-tilt, tilt), draws.uniform(-tilt, tilt)),
        brightness=draws.uniform(0.85, 1.15),
        depth=depth,
    )


def draw_fines(draws: Draws, batch: Batch, size: int) -> tuple[Crystal, ...]:
    """Fines on top of everything, apart from each other."""
    fines: list[Crystal] = []
    for _ in range(round(size * size / 1800 * draws.uniform(0.7, 1.3))):
        fine = replace(
            _grain(draws, batch, draws.uniform(SMALL[0] + 0.5, SMALL[1]), 0.0),
            brightness=draws.uniform(0.95, 1.4),
            small=True,
        ).moved(draws.uniform(4, size - 5), draws.uniform(4, size - 5))
        apart = all(math.dist(fine.centre, other.centre) > 10 for other in fines)
        if apart and SMALL[0] <= fine.diameter <= SMALL[1]:
            fines.append(fine)
    return tuple(fines)
