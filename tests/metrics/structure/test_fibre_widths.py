"""Widths on the centre lines of fibres: bands of known width, crossings, truth, hand masks, categories."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from helpers.drawn_scenes import make_case
from srbench import datasets
from srbench.evaluation.scorer import measure
from srbench.metrics import ground_truth, registry
from srbench.metrics.fibre_widths import centre_lines
from srbench.metrics.registry import Case, MetricUnavailable
from srbench.metrics.segmentation import otsu, smoothed

bias, bias_hr, by_hand, by_hand_hr = (
    registry.get(name).compute
    for name in (
        "fibre_diameter_bias",
        "fibre_diameter_bias_hr",
        "fibre_diameter_hand_bias",
        "fibre_diameter_hand_bias_hr",
    )
)
SIZE = 256
Band = tuple[float, float, float]
"""Width, direction in degrees, distance from the middle of the image."""


def draw(bands: list[Band], size: int = SIZE) -> np.ndarray:
    """Bright bands with edges whose pixels hold the share that is covered."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    image = np.zeros((size, size))
    for width, angle, offset in bands:
        turn = np.radians(angle)
        distance = np.abs(y * np.cos(turn) - x * np.sin(turn) - offset)
        image = np.maximum(image, np.clip(width / 2 - distance + 0.5, 0, 1))
    return 0.2 + 0.6 * image


def measured(image: np.ndarray) -> Any:
    smooth = smoothed(image)
    threshold = otsu(smooth)[0]
    return centre_lines(smooth, threshold, smooth > threshold)


def reason(metric: Any, case: Case) -> str:
    with pytest.raises(MetricUnavailable) as caught:
        metric(case)
    return str(caught.value)


@pytest.mark.parametrize(("noise", "within"), [(0.0, 0.25), (0.05, 0.25), (0.1, 0.3)])
@pytest.mark.parametrize("width", [8.0, 12.0, 20.0])
def test_width_of_bands_in_any_direction(width: float, noise: float, within: float) -> None:
    """At 12 px the bias is below 0.3 px, clean and with a noise of a sixth of the contrast."""
    generator, errors = np.random.default_rng(int(width)), []
    for angle in generator.uniform(0, 180, 5):
        image = draw([(width, angle, generator.uniform(-3, 3))], 96)
        found = measured(image + generator.normal(0, noise, image.shape))
        assert len(found.widths) > 40
        errors.append(found.widths.mean() - width)
    assert abs(np.mean(errors)) < within


def test_crossings_and_the_border_are_left_out() -> None:
    image = draw([(12, 20, -30), (12, 110, 10), (18, 65, 50)])
    found = measured(image)
    turns = [np.radians(angle) for angle in (20, 110, 65)]
    middle = (SIZE - 1) / 2
    y, x = (found.points - middle).T
    offsets = np.array([y * np.cos(t) - x * np.sin(t) - o for t, o in zip(turns, (-30, 10, 50), strict=True)])
    nearest = np.abs(offsets).argmin(0)
    true = np.array([12.0, 12.0, 18.0])[nearest]
    assert (np.abs(offsets).min(0) < 1.1).all()
    assert np.abs(found.widths - true).max() < 1.2
    assert found.widths[nearest == 2].mean() == pytest.approx(18, abs=0.3)
    # Far from every crossing nothing is left out.
    clear = np.sort(np.abs(offsets), axis=0)[1] > 30
    assert clear.sum() > 150


def test_what_is_no_longer_than_wide_is_no_fibre() -> None:
    y, x = np.mgrid[:128, :128]
    disc = 0.2 + 0.6 * (np.hypot(y - 64, x - 64) < 20)
    assert len(measured(disc).points) == 0
    square = np.where((np.abs(y - 64) < 12) & (np.abs(x - 64) < 12), 0.8, 0.2)
    assert len(measured(square).points) == 0


def test_fibres_that_grew_against_hr_and_a_second_scan() -> None:
    bands = [(12.0, 25.0, -50.0), (10.0, 25.0, 0.0), (16.0, 28.0, 50.0)]
    hr, grown = draw(bands), draw([(width + 1, angle, at) for width, angle, at in bands])
    assert bias(make_case(grown, hr, category="Nanowires")) == pytest.approx(1.0, abs=0.1)
    assert "second acquisition" in reason(bias_hr, make_case(grown, hr, category="Fibres"))
    second = hr + np.random.default_rng(0).normal(0, 0.05, hr.shape)
    assert abs(bias_hr(make_case(grown, hr, second=second, measure=("fibres",)))) < 0.1
    case = make_case(np.full_like(hr, 0.5), hr, category="fibres")
    assert reason(bias, case).startswith("lost")


def test_fibres_are_measured_where_there_are_some() -> None:
    hr = draw([(12.0, 25.0, -50.0), (12.0, 30.0, 40.0)])
    for category, measure_given, words in (
        ("Particles", None, "'Particles'"),
        ("Monday", (), "--measure fibres"),
        ("fibres", ("particles",), "names particles"),
    ):
        assert words in reason(bias, make_case(hr, hr, category=category, measure=measure_given))
    assert bias(make_case(hr, hr, category="Monday", measure=("fibres",))) == 0.0
    dark = make_case(1 - hr, 1 - hr, mask=(hr > 0.5)[4:-4, 4:-4].astype(np.uint8), measure=("fibres",))
    assert abs(by_hand(dark)) < 0.3  # which phase they are, the mask says


def test_fibres_against_a_mask_drawn_by_hand() -> None:
    bands = [(12.0, 25.0, -50.0), (10.0, 25.0, 0.0), (16.0, 28.0, 50.0)]
    drawn = (draw(bands) > 0.5)[4:-4, 4:-4].astype(np.uint8)
    hr, sr = (draw([(width + by, angle, at) for width, angle, at in bands]) for by in (0.5, 1.5))
    case = make_case(sr, hr, category="fibres", mask=drawn)
    assert by_hand_hr(case) == pytest.approx(0.5, abs=0.2)
    assert by_hand(case) - by_hand_hr(case) == pytest.approx(1.0, abs=0.1)
    assert "mask" in reason(by_hand, make_case(sr, hr, category="fibres"))


def test_truth_is_given_where_a_fibre_lies_alone() -> None:
    fibre = {"line": [[50.0, -20.0], [50.0, 220.0]], "width": 12.0, "small": False}
    fibre["beads"] = [{"along": 100.0, "length": 20.0, "width": 24.0}]
    across = {"line": [[-20.0, 150.0], [220.0, 150.0]], "width": 8.0, "beads": [], "small": False}
    thin = {"line": [[150.0, -20.0], [150.0, 220.0]], "width": 3.0, "beads": [], "small": True}
    known = ground_truth.fibres({"fibres": [fibre, across, thin]}, 4, (192, 192), 4.0)
    assert known is not None
    along = known.points[known.widths == 12.0]
    assert set(along[:, 0]) == {46.0} and set(known.widths) == {12.0, 8.0}
    # Not in the bead, not under the other fibre, not at the border.
    assert not ((along[:, 1] > 64) & (along[:, 1] < 88)).any()
    assert not ((along[:, 1] > 134.5) & (along[:, 1] < 157.5)).any()
    assert along[:, 1].min() > 12 and along[:, 1].max() < 179
    assert ground_truth.fibres({"kind": "films"}, 4, (192, 192), 4.0) is None
    wire = {"type": "wire", "base": [20.0, 20.0], "tip": [20.0, 120.0], "base_width": 10.0, "tip_width": 6.0}
    known = ground_truth.fibres({"wires": [{**wire, "cap": 8.0}]}, 0, (192, 192), 4.0)
    assert known is not None
    assert known.widths == pytest.approx(10 - 4 * (known.points[:, 1] - 20) / 100)
    assert known.points[:, 1].max() < 120 - 4 - 2 + 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fibres", "nanowires"])
def test_a_second_scan_of_a_scene_changes_nothing(kind: str) -> None:
    """Scenes with exactly known widths: a threshold finds HR a pixel too wide, and a scan the same."""
    scenes, values = datasets.open("sem_synthetic:small"), []
    for image in [image for image in scenes.images if image.category == kind][:2]:
        hr, scan = scenes.pixels(image.id) / 255.0, scenes.acquisition(image.id, 0) / 255.0
        case = make_case(scan, hr, truth=scenes.truth(image.id), category=kind)
        value, why = measure(registry.get("fibre_diameter_bias"), case)
        if not why:
            values.append((value, measure(registry.get("fibre_diameter_bias_hr"), case)[0]))
    assert values
    change = np.array(values) @ [1, -1]
    assert np.abs(change).max() < 0.3
    assert 0.2 < np.mean(values) < 2.0
