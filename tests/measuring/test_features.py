"""What is found on images whose geometry is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.drawn_scenes import draw_discs, draw_lines, place_discs, rough_edge
from srbench.measuring.features import KINDS, partners
from srbench.metrics.registry import MetricUnavailable

RADII = np.array([6.0, 7.0, 8.0, 9.0, 10.0, 12.0, 14.0])


def area(outline: np.ndarray) -> float:
    x, y = outline.T
    return float(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2.0)


def test_particles_have_their_diameters() -> None:
    discs = place_discs(1, RADII, side=160)
    found = KINDS["particles"].find(draw_discs(discs, 160), 0.0)
    assert len(found) == len(RADII)
    true = np.array(discs)
    for centre, size in zip(found.centres, found.sizes, strict=True):
        nearest = np.linalg.norm(true[:, :2] - centre, axis=1).argmin()
        assert size == pytest.approx(2 * true[nearest, 2], abs=0.3)


def test_outlines_enclose_what_was_counted() -> None:
    image = draw_discs(place_discs(2, RADII, side=160), 160)
    found = KINDS["particles"].find(image, 0.0)
    areas = sorted(area(outline) for outline in found.outlines())
    # Through the centres of the outermost pixels: half a pixel inside.
    expected = sorted(np.pi / 4 * (found.sizes - 1.0) ** 2)
    assert areas == pytest.approx(expected, rel=0.06)


def test_a_higher_threshold_makes_bright_particles_smaller_and_dark_pores_larger() -> None:
    discs = place_discs(3, RADII, side=160)
    soft = np.clip(draw_discs(discs, 160), 0.2, 0.8)
    bright, dark = (
        [np.median(KINDS[name].find(image, shift).sizes) for shift in (-0.1, 0.0, 0.1)]
        for name, image in (("particles", soft), ("pores", 1.0 - soft))
    )
    assert bright[0] > bright[1] > bright[2]
    assert dark[0] < dark[1] < dark[2]


def test_pores_have_their_share_of_the_area() -> None:
    discs = place_discs(4, RADII, side=160)
    found = KINDS["pores"].find(1.0 - draw_discs(discs, 160), 0.0)
    assert found.values["fraction"] == pytest.approx(np.pi * (RADII**2).sum() / 160**2, rel=0.02)
    assert len(found) == len(RADII)


@pytest.mark.slow
@pytest.mark.parametrize("across", [False, True])
def test_lines_have_their_width_and_roughness(across: bool) -> None:
    generator = np.random.default_rng(5)
    middles = np.arange(20.0, 190.0, 24.0)
    offsets = [[rough_edge(generator, 256, 0.6, 12.0, 0.6) for _ in middles] for _ in range(2)]
    left, right = (np.array(side) + middles[:, None] + by for side, by in zip(offsets, (-6, 6), strict=True))
    image = draw_lines(left, right, 200)
    image = np.clip(image + generator.normal(0.0, 0.02, image.shape), 0.0, 1.0)
    found = KINDS["lines"].find(image.T if across else image, 0.0)
    assert found.across is across
    assert len(found) == len(middles)
    assert found.sizes == pytest.approx((right - left).mean(1), abs=0.1)
    assert found.values["LWR"] == pytest.approx(3 * (right - left).std(1).mean(), rel=0.15)
    assert found.values["LER"] == pytest.approx(3 * 0.6, rel=0.15)
    box = found.outlines()[0].max(0)
    assert box[1 if not across else 0] == 255


def test_partners_are_the_same_things() -> None:
    discs = place_discs(6, RADII, side=160)
    whole = KINDS["particles"].find(draw_discs(discs, 160), 0.0)
    fewer = KINDS["particles"].find(draw_discs(discs[2:], 160), 0.0)
    pairs = partners(whole, fewer)
    assert len(pairs) == len(discs) - 2
    assert whole.sizes[pairs[:, 0]] == pytest.approx(fewer.sizes[pairs[:, 1]], abs=0.1)


@pytest.mark.parametrize("name", ["particles", "pores", "lines"])
def test_noise_is_not_measured(name: str) -> None:
    noise = np.random.default_rng(7).normal(0.5, 0.1, (96, 96)).clip(0, 1)
    with pytest.raises(MetricUnavailable):
        KINDS[name].find(noise, 0.0)


def test_fibres_have_their_thickness_along_their_centre_lines() -> None:
    rows = np.arange(160.0)
    middles = np.array([40.0, 100.0])[:, None] + 0.15 * rows
    image = draw_lines(middles - 6.0, middles + 6.0, 160)
    found = KINDS["fibres"].find(image, 0.0)
    true = 12.0 / np.hypot(1.0, 0.15)
    assert len(found) > 200
    assert np.median(found.sizes) == pytest.approx(true, abs=0.2)
    thinner = KINDS["fibres"].find(draw_lines(middles[:1] - 5.0, middles[:1] + 5.0, 160), 0.0)
    pairs = partners(found, thinner)
    assert len(np.unique(pairs[:, 0])) == pytest.approx(len(found) / 2, rel=0.1)
    change = thinner.sizes[pairs[:, 1]] - found.sizes[pairs[:, 0]]
    assert np.median(change) == pytest.approx(-2.0 / np.hypot(1.0, 0.15), abs=0.2)
