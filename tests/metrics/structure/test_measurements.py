"""Measurements on images of known geometry: closed forms, paired errors on HR, and what is lost."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from helpers.drawn_scenes import Disc, draw_discs, draw_lines, make_case, place_discs, rough_edge
from srbench.datasets.synthetic.suite import SyntheticScene
from srbench.metrics import ground_truth as scene_truth
from srbench.metrics import registry
from srbench.metrics.measurements import LOST, Measured, bias_of, error_of, mean_bias
from srbench.metrics.registry import Case, MetricUnavailable
from srbench.metrics.segmentation import segmentation

m = SimpleNamespace(**{metric.name: metric.compute for metric in registry.list_metrics()})


def reason(metric: Any, case: Case) -> str:
    with pytest.raises(MetricUnavailable) as caught:
        metric(case)
    return str(caught.value)


# Particles


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_diameter_of_drawn_discs(seed: int) -> None:
    radii = np.random.default_rng(seed).uniform(8, 20, 40)
    field = place_discs(seed, radii, 448)
    entries = [{"y": y, "x": x, "diameter": 2 * r, "border": False} for y, x, r in field]
    image = draw_discs(field, 448)
    case = make_case(image, image, truth={"kind": "particles", "particles": entries})
    assert m.diameter_bias(case) == pytest.approx(0.0, abs=0.1)
    assert m.diameter_bias_hr(case) == m.diameter_bias(case)


@pytest.mark.slow
def test_one_pixel_of_dilation_is_two_of_diameter(particle_field: list, particle_truth: dict) -> None:
    hr = draw_discs(particle_field, 512)
    grown = draw_discs([(y, x, r + 1) for y, x, r in particle_field], 512)
    for truth in (particle_truth, None):
        case = make_case(grown, hr, truth=truth)
        assert m.diameter_bias(case) == pytest.approx(2.0, abs=0.2)
        assert m.diameter_w1(case) == pytest.approx(2.0, abs=0.2)
    assert m.diameter_bias_hr(make_case(grown, hr, truth=particle_truth)) == pytest.approx(0.0, abs=0.1)


@pytest.mark.slow
def test_mild_blur_changes_little(particle_field: list, particle_truth: dict) -> None:
    hr = draw_discs(particle_field, 512)
    case = make_case(gaussian_filter(hr, 1.2), hr, truth=particle_truth)
    assert abs(m.diameter_bias(case)) < 0.25


@pytest.mark.slow
def test_noise_is_no_bias(particle_field: list, particle_truth: dict) -> None:
    hr = draw_discs(particle_field, 512)
    scan = np.random.default_rng(0).poisson(60 * hr) / 60
    assert abs(m.diameter_bias(make_case(scan, hr, truth=particle_truth))) < 0.25


@pytest.mark.slow
def test_without_truth_a_second_acquisition_gives_the_error_on_hr(particle_field: list) -> None:
    clean = draw_discs(particle_field, 512)
    hr, second = (np.random.default_rng(seed).poisson(60 * clean) / 60 for seed in (1, 2))
    alone, both = make_case(clean, hr), make_case(clean, hr, second=second)
    assert "second acquisition" in reason(m.diameter_bias_hr, alone)
    assert 0 < abs(m.diameter_bias_hr(both)) < 0.2
    assert m.diameter_bias(alone) == pytest.approx(m.diameter_bias(both), abs=0.1)


@pytest.mark.slow
def test_touching_border_and_small_particles_do_not_count() -> None:
    good = [(60 + 50.3 * j, 60 + 50.7 * k, 10.3) for j in range(3) for k in range(4)]
    pair_of_two = [(220, 60, 10.0), (220, 79, 10.0)]
    odd = [(220, 140, 3.5), (10, 200, 12.0)]
    image = draw_discs([*good, *pair_of_two, *odd], 272)
    entries = [
        {"y": y, "x": x, "diameter": 2 * r, "border": x == 200, "touching": False}
        for y, x, r in (*good, *pair_of_two, *odd)
    ]
    for truth in ({"kind": "particles", "particles": entries}, None):
        assert abs(m.diameter_bias(make_case(image, image, truth=truth))) < 0.1
        # Only the particles that count grow: a mean over all would show less. The two that touch count where
        # they are split.
        grown = draw_discs([*((y, x, r + 1) for y, x, r in good), *pair_of_two, *odd], 272)
        for split, expected in ((False, 2.0), (True, 2.0 * 12 / 14)):
            case = make_case(grown, image, truth=truth, split_touching=split)
            assert m.diameter_bias(case) == pytest.approx(expected, abs=0.15)


@pytest.mark.slow
def test_particles_that_only_hr_resolves_are_left_out_of_both(
    particle_field: list, particle_truth: dict
) -> None:
    hr, half = draw_discs(particle_field, 512), draw_discs(particle_field[:30], 512)
    assert m.diameter_bias(make_case(half, hr, truth=particle_truth)) == pytest.approx(
        m.diameter_bias_hr(make_case(half, hr, truth=particle_truth)), abs=1e-9
    )


@pytest.mark.slow
def test_a_result_without_particles_is_lost_and_hr_still_measured(
    particle_field: list, particle_truth: dict
) -> None:
    hr = draw_discs(particle_field, 512)
    case = make_case(np.full_like(hr, 0.5), hr, truth=particle_truth)
    assert reason(m.diameter_bias, case).startswith(LOST)
    assert abs(m.diameter_bias_hr(case)) < 0.1
    assert reason(m.diameter_bias, make_case(np.full_like(hr, 0.5), hr)).startswith(LOST)
    assert reason(m.diameter_w1, case).startswith(LOST)


@pytest.mark.slow
def test_reasons_why_nothing_can_be_measured(particle_field: list) -> None:
    hr = draw_discs(particle_field, 512)
    assert "'fibres'" in reason(m.diameter_bias, make_case(hr, hr, category="fibres"))
    assert "'tips'" in reason(m.diameter_w1, make_case(hr, hr, category="tips"))
    assert "no whole particles" in reason(m.diameter_bias, make_case(hr, hr, truth={"kind": "films"}))
    assert "no straight lines" in reason(m.cd_bias, make_case(hr, hr, truth={"kind": "films"}))
    assert "no grating" in reason(m.cd_bias, make_case(hr, hr))
    assert "porous" in reason(m.pore_fraction_bias, make_case(hr, hr))
    few = draw_discs(particle_field[:6], 512)
    assert "6 whole particles" in reason(m.diameter_bias, make_case(few, few))


def test_holes_are_measured_as_dark_objects() -> None:
    discs = [(50 + 40 * j, 50 + 40 * k, 9.0) for j in range(5) for k in range(5)]
    image = 1 - draw_discs(discs, 272)
    dots = [
        {"y": y, "x": x, "diameter": 18.0, "type": "regular", "border": False, "defective": False}
        for y, x, _ in discs
    ]
    truth = {"kind": "patterned", "style": "holes", "dots": dots}
    assert m.diameter_bias(make_case(image, image, truth=truth)) == pytest.approx(0.0, abs=0.1)


# Lines


def grating(sigma: float = 1.0) -> tuple[np.ndarray, dict[str, Any], np.ndarray, np.ndarray]:
    generator, rows = np.random.default_rng(5), 320
    centres = np.arange(30.0, 300, 36)
    left, right = (
        np.stack([c + side * 8.5 + rough_edge(generator, rows, sigma, 12, 0.6) for c in centres])
        for side in (-1, 1)
    )
    lines = [
        {"left": a.tolist(), "right": b.tolist(), "complete": True, "defective": number == 2}
        for number, (a, b) in enumerate(zip(left, right, strict=True))
    ]
    truth = {"kind": "patterned", "style": "lines", "cd": 17.0, "pitch": 36.0, "lines": lines}
    return draw_lines(left, right, 320), truth, left, right


@pytest.mark.slow
def test_lines_against_geometry() -> None:
    hr, truth, left, right = grating()
    wider = draw_lines(left - 0.6, right + 0.6, 320)
    case = make_case(wider, hr, truth=truth)
    assert m.cd_bias(case) == pytest.approx(1.2, abs=0.05)
    assert m.cd_bias_hr(case) == pytest.approx(0.0, abs=0.05)
    assert m.ler_bias(case) == pytest.approx(0.0, abs=0.15)
    assert m.lwr_bias(case) == pytest.approx(0.0, abs=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("across", [False, True])
def test_lines_against_hr(across: bool) -> None:
    hr, _, left, right = grating()
    wider = draw_lines(left - 0.6, right + 0.6, 320)
    second = hr + np.random.default_rng(1).normal(0, 0.05, hr.shape)
    if across:
        hr, wider, second = hr.T, wider.T, second.T
    assert m.cd_bias(make_case(wider, hr)) == pytest.approx(1.2, abs=0.05)
    assert "second acquisition" in reason(m.cd_bias_hr, make_case(wider, hr))
    assert 0 < abs(m.cd_bias_hr(make_case(wider, hr, second=second))) < 0.05
    assert abs(m.ler_bias_hr(make_case(wider, hr, second=second))) < 0.1


@pytest.mark.slow
def test_denoising_lowers_the_measured_roughness() -> None:
    hr, truth, _, _ = grating()
    smooth = gaussian_filter(hr, (4.0, 0.5))
    for known in (truth, None):
        case = make_case(smooth, hr, truth=known)
        assert m.ler_bias(case) < -0.15
        assert m.lwr_bias(case) < -0.2
        assert abs(m.cd_bias(case)) < 0.1  # CD does not see it


@pytest.mark.slow
def test_added_noise_does_not_raise_the_measured_roughness_much() -> None:
    hr, truth, _, _ = grating()
    scan = hr + np.random.default_rng(2).normal(0, 0.08, hr.shape)
    assert m.ler_bias(make_case(scan, hr, truth=truth)) == pytest.approx(0.0, abs=0.2)


@pytest.mark.slow
def test_lines_that_vanished_are_lost() -> None:
    hr, truth, _, _ = grating()
    case = make_case(np.full_like(hr, 0.5), hr, truth=truth)
    for metric in (m.cd_bias, m.ler_bias, m.lwr_bias):
        assert reason(metric, case).startswith(LOST)
    assert abs(m.cd_bias_hr(case)) < 0.05
    assert abs(m.ler_bias_hr(case)) < 0.15


@pytest.mark.slow
def test_fingers_of_a_device() -> None:
    scene = SyntheticScene("mems", 3, 192)
    truth, image = scene.truth(), scene.pixels() / 255.0
    known = scene_truth.grating(truth, 4, (184, 184))
    assert known is not None and len(known.lines) >= 2
    case = make_case(image, image, truth=truth, category="mems")
    assert m.cd_bias(case) == m.cd_bias_hr(case)
    # A threshold finds the bright sidewalls a little outside of the design, by less than a pixel an edge.
    assert 0 < m.cd_bias(case) < 2.5
    assert "straight" in reason(m.ler_bias, case)


def test_fingers_are_measured_where_nothing_crosses_them() -> None:
    finger = {"index": 0, "low": 20.0, "high": 32.0, "cd": 12.0, "start": 10.0, "end": 200.0}
    finger |= {"complete": True, "notched": False}
    bar = {"top": 80.0, "bottom": 100.0, "left": 0.0, "right": 150.0, "index": 1}
    own = {"top": 10.0, "bottom": 200.0, "left": 20.0, "right": 32.0, "index": 0}
    far = {"top": 150.0, "bottom": 160.0, "left": 90.0, "right": 150.0, "index": 2}
    truth = {"process": {"lines_along": "rows"}, "fingers": [finger], "rectangles": [own, bar, far]}
    known = scene_truth.grating(truth, 4, (250, 250))
    assert known is not None
    (line,) = known.lines
    assert (line.left, line.right) == (16.0, 28.0)
    assert (line.top, line.bottom) == (104, 188)
    truth["fingers"] = [{**finger, "notched": True}]
    assert scene_truth.grating(truth, 4, (250, 250)).lines == ()


# Pores


@pytest.mark.slow
def test_pore_fraction() -> None:
    pores = place_discs(2, np.random.default_rng(2).uniform(8, 22, 50), 448)
    area = sum(math.pi * r * r for _, _, r in pores) / 448**2
    image = 1 - draw_discs(pores, 448)
    larger = 1 - draw_discs([(y, x, r + 1) for y, x, r in pores], 448)
    added = sum(math.pi * ((r + 1) ** 2 - r * r) for _, _, r in pores) / 448**2
    truth = {"kind": "porous", "phase": "pore", "fraction": area}
    case = make_case(larger, image, truth=truth, category="porous")
    assert m.pore_fraction_bias_hr(case) == pytest.approx(0.0, abs=0.003)
    assert m.pore_fraction_bias(case) == pytest.approx(added, abs=0.004)
    case = make_case(larger, image, category="Porous_Sponge", second=image)
    assert m.pore_fraction_bias(case) == pytest.approx(added * 448**2 / 440**2, abs=0.004)
    assert m.pore_fraction_bias_hr(case) == 0.0


# What the owner of an image says is on it


@pytest.mark.slow
def test_what_is_on_an_image_is_said_by_its_owner_and_not_by_its_folder(particle_field: list) -> None:
    hr = draw_discs(particle_field, 512)
    said = make_case(hr, hr, category="Monday", measure=("particles",))
    assert m.diameter_bias(said) == 0.0 and m.diameter_w1(said) == 0.0
    for measure, words in (((), "--measure particles"), (("lines", "pores"), "names lines, pores")):
        case = make_case(hr, hr, category="Monday", measure=measure)
        assert words in reason(m.diameter_bias, case) and words in reason(m.diameter_w1, case)
    # Datasets of ours have no owner to ask; the name of a folder still counts where nothing was said.
    assert "--measure" not in reason(m.diameter_bias, make_case(hr, hr, category="Monday"))
    assert m.diameter_bias(make_case(hr, hr, category="particles", measure=())) == 0.0
    lines = reason(m.cd_bias, make_case(hr, hr, measure=("particles",)))
    assert "names particles" in lines and "no grating" in reason(m.cd_bias, make_case(hr, hr, measure=()))


@pytest.mark.slow
def test_pores_are_the_dark_phase_of_an_image_that_is_said_to_have_some() -> None:
    pores = place_discs(2, np.random.default_rng(2).uniform(8, 22, 50), 448)
    area = sum(math.pi * r * r for _, _, r in pores) / 440**2
    image = 1 - draw_discs(pores, 448)
    for measure in (("pores",), ("particles", "pores")):
        case = make_case(image, image, category="Monday", measure=measure)
        assert m.pore_fraction_bias(case) == 0.0
        masks = segmentation(case)
        assert float((masks.reference ^ masks.bright).mean()) == pytest.approx(area, abs=0.004)
    assert "--measure pores" in reason(
        m.pore_fraction_bias, make_case(image, image, category="x", measure=())
    )


# Objects drawn by hand


def numbered(discs: list[Disc], size: int) -> np.ndarray:
    """Each disc with a number of its own."""
    mask = np.zeros((size, size), dtype=np.uint16)
    for number, disc in enumerate(discs, start=1):
        mask[draw_discs([disc], size) > 0.5] = number
    return mask


def test_sizes_counts_and_area_against_a_mask_drawn_by_hand() -> None:
    """14 particles of which two touch; HR shows them 0.5 px too large and lacks one, SR adds a pixel."""
    discs = [(40 + 50.3 * j, 40 + 50.7 * k, 11.0) for j in range(3) for k in range(4)]
    discs += [(195.0, 60.0, 12.0), (195.0, 83.5, 12.0)]
    mask = numbered(discs, 232)
    hr, sr = (draw_discs([(y, x, r + by) for y, x, r in discs[1:]], 232) for by in (0.25, 0.75))
    case = make_case(sr, hr, category="Powder", mask=mask[4:-4, 4:-4])
    assert m.diameter_hand_bias_hr(case) == pytest.approx(0.5, abs=0.2)
    assert m.diameter_hand_bias(case) == pytest.approx(1.5, abs=0.2)
    assert m.object_recall_hand_hr(case) == m.object_recall_hand(case) == 13 / 14
    assert m.object_precision_hand_hr(case) == m.object_precision_hand(case) == 1.0
    area = [math.pi * sum((r + by) ** 2 for _, _, r in discs[1:]) / 224**2 for by in (0.25, 0.75)]
    drawn = float((mask[4:-4, 4:-4] > 0).mean())
    assert m.area_fraction_hand_bias_hr(case) == pytest.approx(area[0] - drawn, abs=0.005)
    assert m.area_fraction_hand_bias(case) == pytest.approx(area[1] - drawn, abs=0.005)
    whole = make_case(sr, hr, category="Powder", mask=mask[4:-4, 4:-4], split_touching=False)
    assert m.object_recall_hand(whole) == 11 / 14 and m.object_precision_hand(whole) == 11 / 12


def test_a_mask_is_needed_and_its_objects_are_what_is_segmented() -> None:
    discs = [(40 + 50.3 * j, 40 + 50.7 * k, 14.0) for j in range(4) for k in range(4)]
    image = draw_discs(discs, 232)
    mask = numbered(discs, 232)[4:-4, 4:-4]
    names = (
        "diameter_hand_bias",
        "area_fraction_hand_bias",
        "object_recall_hand",
        "object_precision_hand_hr",
    )
    for name in names:
        assert "no mask" in reason(getattr(m, name), make_case(image, image))
    # Dark precipitates: neither their category nor the smaller area says so, the mask does.
    dark = make_case(1 - image, 1 - image, category="superalloy", mask=(mask == 0).astype(np.uint8))
    assert not segmentation(make_case(1 - image, 1 - image, category="superalloy")).bright
    assert segmentation(dark).bright
    assert "not of 'superalloy'" in reason(m.diameter_hand_bias, dark)
    assert abs(m.area_fraction_hand_bias(dark)) < 0.01
    # Grey levels that overlap are refused unless somebody has drawn what there is.
    noisy = 0.5 + 0.2 * (image - 0.5) + np.random.default_rng(0).normal(0, 0.25, image.shape)
    assert "two phases" in reason(m.object_recall, make_case(noisy, noisy))
    assert abs(m.area_fraction_hand_bias(make_case(noisy, noisy, mask=mask))) < 0.5
    empty = make_case(image, image, mask=np.zeros_like(mask))
    assert "0 whole objects" in reason(m.object_recall_hand, empty)
    assert "0 particles" in reason(m.diameter_hand_bias, empty)


# Pairing


def test_means_are_over_what_both_images_allow() -> None:
    sr, hr = np.array([1.0, 2.0, np.nan, 9.0]), np.array([0.5, 0.1, 7.0, np.nan])
    assert mean_bias([sr, hr], 2, "things") == Measured(1.5, 0.3)
    assert mean_bias([sr], 2, "things") == Measured(4.0, None)
    lost = mean_bias([sr, hr], 3, "things")
    assert math.isnan(lost.bias) and lost.error_hr == pytest.approx(7.6 / 3)
    assert "2 of 3 things" in lost.lost
    with pytest.raises(MetricUnavailable, match="3 things"):
        mean_bias([sr, hr], 4, "things")


def test_values_and_reasons() -> None:
    assert bias_of(Measured(0.5, 0.1)) == 0.5
    assert error_of(Measured(math.nan, 0.1, "gone")) == 0.1
    with pytest.raises(MetricUnavailable, match="^" + LOST + "gone"):
        bias_of(Measured(math.nan, 0.1, "gone"))
    with pytest.raises(MetricUnavailable, match="reference itself"):
        error_of(Measured(0.5, None))
