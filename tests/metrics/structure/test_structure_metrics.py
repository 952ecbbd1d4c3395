"""The structure metrics on cases: what each sees, what each is blind to, and when there is no value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import wasserstein_distance
from skimage.metrics import structural_similarity

from helpers.drawn_scenes import draw_discs, make_case
from srbench.datasets.synthetic.scene import scene_kinds
from srbench.datasets.synthetic.suite import SyntheticScene
from srbench.evaluation.scorer import measure
from srbench.metrics import measurements, registry, structure
from srbench.metrics.registry import Case, MetricUnavailable
from srbench.metrics.segmentation import objects, segmentation

OURS = [
    m for m in registry.list_metrics() if m.compute.__module__ in (structure.__name__, measurements.__name__)
]
PERFECT_IS_ONE = ("mask_dice", "mask_dice_same_threshold", "mask_iou", "mask_iou_same_threshold", "object_f1")
PERFECT_IS_ZERO = ("phase_fraction_error", "s2_error", "b0_error", "objects_deleted", "objects_invented")


def texture(size: int, seed: int) -> np.ndarray:
    return gaussian_filter(np.random.default_rng(seed).normal(0, 0.05, (size, size)), 0.8)


@pytest.fixture(scope="module")
def hr(particle_field: list) -> np.ndarray:
    return draw_discs(particle_field, 512) + texture(512, 0)


@pytest.fixture(scope="module")
def exchanged(particle_field: list) -> np.ndarray:
    """8 deleted, 8 of the same sizes in other places."""
    small = sorted(particle_field, key=lambda disc: disc[2])[:8]
    kept = [disc for disc in particle_field if disc not in small]
    generator, fakes = np.random.default_rng(1), []
    for _, _, radius in small:
        while True:
            y, x = generator.uniform(30, 482, 2)
            others = [*particle_field, *fakes]
            if all(math.hypot(y - v, x - u) > radius + r + 5 for v, u, r in others):
                fakes.append((y, x, radius))
                break
    return draw_discs([*kept, *fakes], 512) + texture(512, 0)


@pytest.mark.slow
def test_the_same_image_is_perfect(hr: np.ndarray) -> None:
    case = make_case(hr, hr)
    for name in PERFECT_IS_ONE:
        assert registry.get(name).compute(case) == 1.0
    for name in PERFECT_IS_ZERO:
        assert registry.get(name).compute(case) == 0.0


@pytest.mark.slow
def test_exchanged_particles_are_seen_by_matching_only(hr: np.ndarray, exchanged: np.ndarray) -> None:
    """The blind spots of SSIM, of counts, of the size distribution and of the two-point correlation."""
    case = make_case(exchanged, hr)
    assert structure.object_precision(case) == pytest.approx(47 / 55, abs=0.01)
    assert structure.object_recall(case) == pytest.approx(47 / 55, abs=0.01)
    assert (structure.objects_deleted(case), structure.objects_invented(case)) == (8, 8)
    assert structural_similarity(hr, exchanged, data_range=1.0) > 0.95
    assert structure.b0_error(case) == 0.0
    reference, found = objects(case)
    assert len(reference) == len(found) == 55
    assert wasserstein_distance(reference.diameters, found.diameters) < 0.1
    assert measurements.diameter_w1(case) < 0.1
    assert structure.phase_fraction_error(case) < 0.002
    assert structure.s2_error(case) < 0.02
    assert structure.mask_dice(case) > 0.93


@pytest.mark.slow
def test_dilation_is_seen_by_masks_not_by_matching(hr: np.ndarray, particle_field: list) -> None:
    grown = draw_discs([(y, x, r + 1) for y, x, r in particle_field], 512) + texture(512, 0)
    case = make_case(grown, hr)
    assert structure.object_f1(case) == 1.0
    assert structure.b0_error(case) == 0.0
    area = sum(math.pi * ((r + 1) ** 2 - r**2) for _, _, r in particle_field) / 504**2
    assert structure.phase_fraction_error(case) == pytest.approx(area, rel=0.05)
    assert structure.mask_dice(case) < 0.96
    assert structure.s2_error(case) > 0.03


@pytest.mark.slow
def test_order_of_constructed_images(hr: np.ndarray, exchanged: np.ndarray) -> None:
    """A mild blur and a second scan keep the structure; exchanged particles and a blind guess do not."""
    blur = gaussian_filter(hr, 1.2)
    scan = np.random.default_rng(2).poisson(60 * hr.clip(0)) / 60
    coarse = gaussian_filter(hr, 5.0)
    by_name = {
        name: make_case(image, hr)
        for name, image in zip("besc", (blur, exchanged, scan, coarse), strict=True)
    }
    f1 = {name: structure.object_f1(case) for name, case in by_name.items()}
    dice = {name: structure.mask_dice(case) for name, case in by_name.items()}
    assert f1["b"] == f1["s"] == 1.0 > f1["e"]
    assert min(dice["b"], dice["s"]) > dice["e"]
    assert dice["b"] > dice["c"]


def test_merging_two_objects_costs_both() -> None:
    discs = [(60, 60 + 50 * k, 12) for k in range(5)] + [(130, 60 + 50 * k, 12) for k in range(4)]
    apart = draw_discs([*discs, (130, 260, 12), (130, 290, 12)], 384)
    # Joined by a neck of three quarters of their width they are one; by a thin one they are still two, unless
    # particles that touch are left whole.
    for bridge, split, lost in ((12, True, 2), (6, True, 0), (6, False, 2)):
        merged = draw_discs([*discs, (130, 260, 12), (130, 290, 12), (130, 275, bridge)], 384)
        case = make_case(merged, apart, split_touching=split)
        assert (structure.objects_deleted(case), structure.objects_invented(case)) == (lost, lost // 2)
        assert structure.b0_error(case) == pytest.approx(1 / 11)


def test_own_threshold_forgives_contrast_that_the_threshold_of_hr_does_not(hr: np.ndarray) -> None:
    case = make_case(0.5 * hr, hr)
    assert structure.mask_dice(case) > 0.999
    assert structure.mask_dice_same_threshold(case) < 0.5
    assert structure.mask_iou(case) <= structure.mask_dice(case)


def test_holes_are_counted() -> None:
    rings = [(40 + 60 * j, 40 + 60 * k) for j in range(3) for k in range(4)]
    bright, dark = ([(y, x, r) for y, x in rings] for r in (22, 9))
    hr = draw_discs(bright, 288) - (draw_discs(dark, 288) - 0.2)
    closed = draw_discs(bright, 288) - (draw_discs(dark[4:], 288) - 0.2)
    case = make_case(closed, hr, category="particles")
    assert structure.b0_error(case) == 0.0
    assert structure.b1_error(case) == pytest.approx(4 / 12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("category", "truth", "bright"),
    [
        ("porous", None, False),
        ("Porous_Sponge", None, False),
        ("Particles", None, True),
        ("patterned", {"style": "holes"}, False),
        ("patterned", {"style": "dots"}, True),
        ("", None, True),
    ],
)
def test_which_phase_holds_the_objects(
    hr: np.ndarray, category: str, truth: dict | None, bright: bool
) -> None:
    found = segmentation(make_case(hr, hr, category=category, truth=truth))
    assert found.bright is bright
    assert (float(found.reference.mean()) < 0.5) is bright


def test_the_minority_is_the_object_phase_where_nothing_else_is_known(hr: np.ndarray) -> None:
    found = segmentation(make_case(1 - hr, 1 - hr))
    assert not found.bright
    assert float(found.reference.mean()) < 0.5


def reason(name: str, case: Case) -> str:
    with pytest.raises(MetricUnavailable) as caught:
        registry.get(name).compute(case)
    return str(caught.value)


def test_reasons_why_there_is_no_value() -> None:
    few = draw_discs([(60, 60, 20), (120, 130, 20)], 192)
    case = make_case(few, few)
    assert "2 whole objects" in reason("object_f1", case)
    assert "2 separate regions" in reason("b0_error", case)
    assert "0 enclosed holes" in reason("b1_error", case)
    assert structure.mask_dice(case) == 1.0
    assert "not known" in reason("small_features_found", case)
    empty: dict[str, Any] = {"small_features": []}
    assert "0 small features" in reason("small_features_found", make_case(few, few, truth=empty))
    faint = 0.5 + 0.03 * (few - 0.2)
    assert "contrast" in reason("mask_dice", make_case(faint, faint))
    speck = draw_discs([(60, 60, 5)], 192)
    assert "one phase" in reason("s2_error", make_case(speck, speck))
    rough = np.random.default_rng(0).normal(0.5, 0.1, (192, 192)) ** 3
    assert "two phases" in reason("mask_dice", make_case(rough, rough))
    tiny = few[40:70, 40:80]
    assert "32 x 32" in reason("mask_dice", make_case(tiny, tiny))


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_constant_result_is_a_bad_one(hr: np.ndarray, level: float) -> None:
    case = make_case(np.full_like(hr, level), hr)
    assert structure.object_recall(case) == structure.object_precision(case) == structure.object_f1(case) == 0
    assert structure.objects_deleted(case) == 55
    assert structure.mask_dice(case) < 0.5
    assert structure.s2_error(case) > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(scene_kinds()))
def test_every_kind_of_scene_has_bounded_values_or_reasons(kind: str) -> None:
    scene = SyntheticScene(kind, 3, 192)
    hr = scene.pixels() / 255.0
    results = []
    for sr in (hr, gaussian_filter(hr, 1.5), np.random.default_rng(0).uniform(size=hr.shape)):
        case = make_case(sr, hr, truth=scene.truth(), category=kind, second=np.clip(sr, 0, 1))
        results.append({metric.name: measure(metric, case) for metric in OURS})
    for result in results:
        for name, (value, why) in result.items():
            low, high = registry.get(name).bounds
            assert (low <= value <= high) if not why else math.isnan(value)
            assert "failed" not in why and "gave" not in why, (name, why)
    perfect, _, noise = results
    for name in PERFECT_IS_ONE:
        assert perfect[name][1] or perfect[name][0] == 1.0
        assert noise[name][1] or noise[name][0] < 0.95
    valued = [name for name, (_, why) in perfect.items() if not why]
    assert valued, kind


def test_registered_metrics_explain_themselves() -> None:
    assert len(OURS) == 39
    for metric in OURS:
        assert metric.explanation.endswith(".") and metric.explanation.count(". ") == 0
        assert metric.family == (
            "structure" if metric.compute.__module__ == structure.__name__ else "measurement"
        )


@pytest.mark.slow
def test_one_segmentation_serves_all(hr: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    from srbench.metrics import segmentation as segmented

    calls = []
    real = segmented._segment
    monkeypatch.setattr(segmented, "_segment", lambda case: calls.append(1) or real(case))
    case = make_case(gaussian_filter(hr, 1), hr)
    for metric in OURS:
        measure(metric, case)
    assert len(calls) == 1


@pytest.mark.slow
def test_shifted_structure_is_seen_by_dice_only(hr: np.ndarray) -> None:
    case = make_case(np.roll(hr, (2, 2), (0, 1)), hr)
    assert structure.mask_dice(case) < 0.95
    assert structure.object_f1(case) == 1.0
    assert structure.s2_error(case) < 0.01
    assert structure.phase_fraction_error(case) < 0.002


@pytest.mark.slow
def test_the_sharp_liar_passes_where_the_objects_are_large(hr: np.ndarray) -> None:
    """Blind spot: invented texture of the right spectrum, on a blurred image, changes no large object."""
    blurred = gaussian_filter(hr, 2.0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(512), np.fft.fftfreq(512)))
    phase = np.angle(np.fft.fft2(np.random.default_rng(5).normal(size=hr.shape)))
    invented = np.where(frequency > 1 / 8, np.abs(np.fft.fft2(hr)) * np.exp(1j * phase), 0)
    case = make_case(blurred + np.fft.ifft2(invented).real, hr)
    assert structure.object_f1(case) == 1.0
    assert structure.b0_error(case) == 0.0
    assert structure.mask_dice(case) > 0.98
