"""The registered metrics: what they compare with, when they have no value and what they say then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from srbench.evaluation.scorer import measure
from srbench.metrics import registry
from srbench.metrics.registry import Case, MetricUnavailable

TRUTH_NEEDED = ("frc_cutoff", "recovered_hf", "hallucinated_hf", "gained_hf")


def value(name: str, case: Case) -> float:
    return registry.get(name).compute(case)


def scans(constructed: Any, count: int, dose: float = 300.0) -> list[Any]:
    generator = np.random.default_rng(9)
    truth = constructed.images["truth"]
    return [generator.poisson(truth * dose) / dose for _ in range(count)]


def noisy(constructed: Any, name: str, second: bool, dose: float = 300.0, recorded: bool = False) -> Case:
    """HR is a noisy recording, with or without a second one, and LR another or made of it."""
    case: Case = constructed.case(name, clean=False)
    first, other = (scan[4:-4, 4:-4] for scan in scans(constructed, 2, dose))
    return replace(case, hr=first, second=other if second else None, lr_recorded=recorded, cache={})


@pytest.mark.parametrize("name", TRUTH_NEEDED)
def test_a_single_noisy_recording_gives_no_value_but_the_reason(constructed: Any, name: str) -> None:
    with pytest.raises(MetricUnavailable, match="second recording"):
        value(name, noisy(constructed, "blur", second=False))


def test_the_curve_is_stored_all_the_same(constructed: Any) -> None:
    case = noisy(constructed, "blur", second=False)
    assert value("frc_00", case) > 0.95 and value("frc_15", case) < 0.5


def test_a_clean_truth_is_preferred_to_a_second_acquisition(constructed: Any) -> None:
    case = constructed.case("blur")
    both = replace(case, second=constructed.images["second"][4:-4, 4:-4], cache={})
    for name in (*TRUTH_NEEDED, "frc_07"):
        assert value(name, both) == value(name, case)


def test_a_second_acquisition_is_what_the_result_is_held_to(constructed: Any) -> None:
    """The noise of HR, which a leaking result copies, is invented against the second acquisition."""
    honest, leaking = noisy(constructed, "blur", second=True), noisy(constructed, "blur", second=True)
    leaking = replace(leaking, sr=leaking.hr, cache={})
    assert value("hallucinated_hf", leaking) > 5 * value("hallucinated_hf", honest)
    assert value("frc_09", leaking) < 0.5


@pytest.mark.slow
def test_two_recordings_tell_nearly_what_the_truth_tells(constructed: Any) -> None:
    for name in ("blur", "swapped", "dilated"):
        seen, known = noisy(constructed, name, second=True, dose=3000.0), constructed.case(name)
        assert value("recovered_hf", seen) == pytest.approx(value("recovered_hf", known), abs=0.12), name
        assert value("hallucinated_hf", seen) == pytest.approx(value("hallucinated_hf", known), abs=0.12), (
            name
        )


def test_recordings_too_noisy_to_agree_are_named(constructed: Any) -> None:
    with pytest.raises(MetricUnavailable, match="noise"):
        value("recovered_hf", noisy(constructed, "blur", second=True, dose=1.0))


def test_recordings_without_noise_have_the_cut_off_of_the_truth(constructed: Any) -> None:
    clean = constructed.case("dilated")
    as_second = replace(clean, clean=False, second=clean.hr, cache={})
    assert value("frc_cutoff", as_second) == pytest.approx(value("frc_cutoff", clean))
    assert value("frc_cutoff_half_bit", as_second) > value("frc_cutoff", clean)
    with pytest.raises(MetricUnavailable, match="two noisy acquisitions"):
        value("frc_cutoff_half_bit", clean)


def test_resolution_is_the_period_at_the_cut_off(constructed: Any) -> None:
    case = constructed.case("dilated", pixel_size_nm=2.5)
    period = 2.5 * 2.0 * case.scale / value("frc_cutoff", case)
    assert value("frc_resolution", case) == pytest.approx(period)
    with pytest.raises(MetricUnavailable, match="pixel size"):
        value("frc_resolution", constructed.case("dilated"))


@pytest.mark.slow
def test_at_magnification_one_detail_counts_that_lr_does_not_show(constructed: Any) -> None:
    """A noisy LR shows less than the truth; its noise invents what is finer, a blur of the truth does not."""
    case = replace(constructed.case("blur"), scale=1, lr=constructed.images["second"], cache={})
    copied = replace(case, sr=constructed.images["second"][4:-4, 4:-4], cache={})
    assert 0.0 < value("frc_cutoff", copied) < value("frc_cutoff", case) <= 1.0
    assert value("recovered_hf", case) > 0.5 > 0.4 > value("hallucinated_hf", case)
    assert value("hallucinated_hf", copied) > 0.8 and value("gained_hf", copied) > 5.0
    assert value("shift", case) < 0.02
    clear = replace(case, lr=constructed.images["truth"], cache={})
    with pytest.raises(MetricUnavailable, match="the LR image itself shows"):
        value("gained_hf", clear)


@pytest.mark.slow
def test_images_without_anything_in_common_have_no_shift(constructed: Any) -> None:
    case = constructed.case("truth")
    far = replace(case, sr=np.roll(case.hr, 40, axis=1), cache={})
    with pytest.raises(MetricUnavailable, match="more than 8 px apart"):
        value("shift", far)


def test_small_images_say_how_large_they_must_be() -> None:
    grey = np.random.default_rng(0).random((31, 60))
    case = Case(grey, grey, grey, grey, grey[::2, ::2], 2, clean=True)
    with pytest.raises(MetricUnavailable, match=r"32 x 32 .* found 31 x 60"):
        value("frc_cutoff", case)
    tiny = Case(grey[:9], grey[:9], grey[:9], grey[:9], grey[:8:2, ::2], 2, clean=True)
    with pytest.raises(MetricUnavailable, match="16 x 16"):
        value("edge_f1", tiny)


@pytest.mark.slow
def test_even_grey_gives_reasons_and_no_crash(constructed: Any) -> None:
    flat = np.full((248, 248), 0.5)
    case = replace(constructed.case("truth"), sr=flat, cache={})
    values = {
        m.name: measure(m, case)
        for m in registry.list_metrics()
        if m.family in ("spectrum", "edges", "curve")
    }
    for name in ("edge_hallucinated", "edge_displacement", "edge_bias", "shift", "hallucinated_hf"):
        assert np.isnan(values[name][0]) and values[name][1] and "failed" not in values[name][1], name
    assert values["edge_omitted"][0] == 1.0 and values["edge_f1"][0] == 0.0
    assert values["recovered_hf"][0] == values["gained_hf"][0] == 0.0 and values["frc_cutoff"][0] < 0.1
    assert not any("failed" in reason or "gave" in reason for _, reason in values.values())
    both = replace(case, hr=flat, cache={})
    assert all(
        not reason or "failed" not in reason for reason in (measure(registry.get(n), both)[1] for n in values)
    )


@pytest.mark.slow
def test_values_lie_within_their_bounds(constructed: Any) -> None:
    for name in constructed.images:
        case = constructed.case(name, pixel_size_nm=1.0)
        for metric in registry.list_metrics():
            if metric.family in ("spectrum", "edges", "curve"):
                found, _ = measure(metric, case)
                assert np.isnan(found) or metric.bounds[0] <= found <= metric.bounds[1], (name, metric.name)


def test_a_rectangular_image_of_odd_sides(constructed: Any) -> None:
    square = constructed.case("blur")
    cut = replace(square, sr=square.sr[:151, :237], hr=square.hr[:151, :237], cache={})
    for name in ("recovered_hf", "hallucinated_hf", "edge_f1"):
        assert value(name, cut) == pytest.approx(value(name, square), abs=0.05)
