"""Verdicts: the three answers, the reasons, and how often they are wrong in simulated studies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm, t

from srbench.metrics import registry
from srbench.statistics.lengths import Quantity
from srbench.statistics.tolerance import (
    FEWEST_GROUPS,
    TOLERANCES,
    ToleranceVerdict,
    chosen_tolerances,
    expanded_level,
    judge,
    tolerance_of,
)
from srbench.utils.errors import SrbenchError


def verdict(
    bias, error_hr=None, *, measurement: str = "cd_bias", kinds: int = 1, **options
) -> ToleranceVerdict:
    names = [f"image {n}" for n in range(len(bias))]
    categories = [f"kind {n % kinds}" for n in range(len(bias))]
    return judge(measurement, bias, error_hr, names, categories, samples=2000, **options)


def around(mean: float, spread: float, count: int = 12) -> np.ndarray:
    values = np.random.default_rng(0).normal(size=count)
    return mean + spread * (values - values.mean()) / values.std()


def test_a_small_change_is_trusted() -> None:
    found = verdict(around(0.1, 0.1), around(0.05, 0.02))
    assert found.status == "trusted"
    assert found.low < found.change < found.high
    assert found.change == pytest.approx(0.05)
    assert found.bias == pytest.approx(0.1) and found.error_hr == pytest.approx(0.05)
    assert (found.images, found.groups, found.lost, found.tolerance, found.within) == (12, 12, 0, 0.5, 1.0)
    assert "0.5 px" in found.reason and "+0.05 px" in found.reason


def test_a_large_change_is_not() -> None:
    found = verdict(around(-1.2, 0.3))
    assert found.status == "not trusted"
    assert found.change == found.bias == pytest.approx(-1.2)
    assert math.isnan(found.error_hr) and found.within == 0.0
    assert "0.5 px" in found.reason


def test_an_interval_that_reaches_out_leaves_it_open() -> None:
    found = verdict(around(0.4, 0.1, 5))
    assert found.status == "undecided" and found.high > 0.5
    assert verdict(around(0.4, 0.1, 100)).status == "trusted"


def test_few_images_decide_nothing() -> None:
    for count in range(FEWEST_GROUPS):
        found = verdict(np.full(count, 3.0))
        assert found.status == "undecided"
        assert f"{count} independent images" in found.reason
    assert verdict([3.0] * FEWEST_GROUPS).status == "not trusted"
    same = judge("cd_bias", [0.0] * 20, None, ["one specimen"] * 20, ["a"] * 20)
    assert same.status == "undecided" and same.groups == 1


def test_a_constant_error_of_the_algorithm_is_calibrated_not_blamed() -> None:
    """Even HR is 2 px too wide under a threshold; super-resolution adds 0.1 px."""
    found = verdict(around(2.1, 0.1), around(2.0, 0.05))
    assert found.status == "trusted"
    assert "+2.00 px" in found.reason
    assert verdict(around(3.0, 0.1), around(2.0, 0.05)).status == "not trusted"


def test_an_error_of_more_than_twice_that_of_hr() -> None:
    """The change is within the tolerance, the whole error is 0.8 px where HR has 0.35 px."""
    found = verdict(around(0.8, 0.02), around(0.35, 0.02))
    assert abs(found.change) < 0.5
    assert found.status == "not trusted"
    assert "+0.35 px on HR" in found.reason
    assert verdict(around(0.68, 0.02), around(0.35, 0.02)).status == "trusted"
    # Within the tolerance nobody asks how small the error on HR was.
    assert verdict(around(0.3, 0.02), around(0.001, 0.001)).status == "trusted"


def test_the_second_condition_can_leave_it_open() -> None:
    """The change of 0.45 px is safe; but is 0.98 px more than twice the 0.53 px on HR?"""
    hr = around(0.53, 0.5, 10)
    found = verdict(hr + 0.45, hr)
    assert found.status == "undecided" and found.high < 0.5
    assert "+0.53 px on HR" in found.reason


def test_images_that_cannot_be_measured_any_more_count_against_it() -> None:
    bias, error = around(0.0, 0.05), around(0.0, 0.02)
    bias[:3] = np.nan
    found = verdict(bias, error)
    assert (found.status, found.lost, found.images) == ("not trusted", 3, 9)
    assert "12 HR images, and in 3" in found.reason
    bias[:2] = 0.0
    assert verdict(bias, error).status == "trusted"  # one in twelve may be lost
    assert verdict(bias, None, lost=3).status == "not trusted"
    assert verdict([math.nan] * 8, [0.1] * 8).status == "not trusted"


def test_missing_values_are_no_images() -> None:
    found = verdict([0.1] * 6 + [math.nan] * 6, [0.1] * 6 + [math.nan] * 6)
    assert (found.images, found.lost, found.status) == (6, 0, "trusted")
    nothing = verdict([math.nan] * 6)
    assert nothing.status == "undecided" and math.isnan(nothing.change)


def test_hr_error_known_for_some_images() -> None:
    found = verdict([0.2] * 12, [0.1] * 6 + [math.nan] * 6)
    assert found.change == pytest.approx(0.15)
    assert found.error_hr == pytest.approx(0.1)


def test_errors_that_cancel_in_the_mean_do_not_help_a_single_image() -> None:
    found = verdict(np.tile([-1.5, 1.5], 100))
    assert abs(found.change) < 1e-9 and found.high < 0.5
    assert found.status == "not trusted" and found.within == 0.0
    assert "only 0% of the images" in found.reason
    mostly = [0.0] * 34 + [0.9] * 6
    assert verdict(mostly).status == "trusted" and verdict(mostly).within == 0.85


def test_every_category_counts_the_same() -> None:
    bias = [0.0] * 90 + [2.0] * 10
    categories = ["many"] * 90 + ["few"] * 10
    found = judge("cd_bias", bias, None, [str(n) for n in range(100)], categories)
    assert found.change == pytest.approx(1.0)
    assert found.status == "not trusted"


def test_tolerances_can_be_chosen_and_all_are_of_metrics() -> None:
    assert verdict(around(0.8, 0.1), tolerance=1.0).status == "trusted"
    for name, tolerance in TOLERANCES.items():
        assert registry.get(name).unit == tolerance.unit
        assert registry.get(f"{name}_hr").unit == tolerance.unit
        assert tolerance.value > 0 and tolerance.why
    found = verdict(around(0.001, 0.002), measurement="pore_fraction_bias")
    assert "by +0.001 through" in found.reason and "0.02;" not in found.reason
    with pytest.raises(SrbenchError, match="cd_bias"):
        verdict([0.0] * 8, measurement="cd_bais")


def test_equal_pixel_sizes_turn_pixels_into_nm_and_change_no_answer() -> None:
    for bias, error in ((around(0.1, 0.1), around(0.05, 0.02)), (around(-1.2, 0.3), None)):
        px, nm = verdict(bias, error), verdict(bias, error, pixel_sizes_nm=[5.828] * 12)
        assert (px.unit, nm.unit, nm.status, nm.within) == ("px", "nm", px.status, px.within)
        for name in ("change", "low", "high", "bias", "tolerance"):
            assert getattr(nm, name) == pytest.approx(5.828 * getattr(px, name)), name
        assert "2.914 nm" in nm.reason and "px" not in nm.reason


def test_pixels_of_different_size_are_judged_in_pixels() -> None:
    sizes = [1.0, 100.0] * 6
    found = verdict(around(0.1, 0.1), pixel_sizes_nm=sizes)
    assert (found.unit, found.tolerance, found.change) == ("px", 0.5, pytest.approx(0.1))
    assert verdict(around(0.1, 0.1), pixel_sizes_nm=[5.828] * 11 + [math.nan]).unit == "px"


def test_a_tolerance_in_nm_is_judged_in_nm() -> None:
    sizes = np.array([1.0, 100.0] * 6)
    bias = 2.0 / sizes  # 2 nm in every image
    found = verdict(bias, tolerance="3nm", pixel_sizes_nm=sizes)
    assert (found.unit, found.tolerance, found.status) == ("nm", 3.0, "trusted")
    assert found.change == pytest.approx(2.0) and found.within == 1.0
    assert verdict(bias, tolerance="1.5nm", pixel_sizes_nm=sizes).status == "not trusted"
    # Half of the images have 2 px: more than half a pixel, whatever it is in nm.
    assert verdict(bias, pixel_sizes_nm=sizes).within == 0.5
    # An image without a value needs no pixel size.
    bias[0], sizes[0] = np.nan, np.nan
    assert verdict(bias, tolerance="3nm", pixel_sizes_nm=sizes).images == 11
    sizes[1] = np.nan
    for unknown in (sizes, None):
        with pytest.raises(SrbenchError, match="--pixel-size-nm"):
            verdict(bias, tolerance="3nm", pixel_sizes_nm=unknown)


def test_tolerances_by_their_short_names() -> None:
    named = chosen_tolerances(
        {"diameter": "2nm", "cd_bias": "0.25px", "ler_bias@2": 0.1, "pore_fraction": "0.01"}
    )
    assert named == {
        "diameter_bias": Quantity(2.0, "nm"),
        "cd_bias": Quantity(0.25, "px"),
        "ler_bias": Quantity(0.1, "px"),
        "pore_fraction_bias": Quantity(0.01, ""),
    }
    assert chosen_tolerances(None) == {}
    for wrong in ({"diametre": "2nm"}, {"diameter": "2"}, {"pore_fraction": "2nm"}, {"cd": "-1px"}):
        with pytest.raises(SrbenchError):
            chosen_tolerances(wrong)
    assert not TOLERANCES["cd_bias"].chosen and tolerance_of("cd_bias", Quantity(2.0, "px")).chosen


def test_the_same_seed_gives_the_same_verdict() -> None:
    error = around(0.0, 0.1)
    assert verdict(around(0.3, 0.4), error) == verdict(around(0.3, 0.4), error)


@pytest.mark.parametrize("groups", [5, 8, 20, 100])
def test_expanded_level(groups: int) -> None:
    """A normal interval at this level is as wide as Student's of the resampled spread."""
    quantile = norm.ppf((1 + expanded_level(groups)) / 2)
    assert quantile == pytest.approx(t.ppf(0.975, groups - 1) * math.sqrt(groups / (groups - 1)))
    assert expanded_level(1) == 0.95


@pytest.mark.slow
@pytest.mark.parametrize("count", [6, 12, 30])
def test_intervals_cover(count: int) -> None:
    """The interval holds the true change in about 95 % of simulated studies, with few images too."""
    generator, hits, studies = np.random.default_rng(count), 0, 300
    for _ in range(studies):
        sample = 0.2 + 0.3 * generator.normal(size=count)
        found = judge("cd_bias", sample, None, [str(n) for n in range(count)], ["a"] * count, samples=400)
        hits += found.low <= 0.2 <= found.high
    assert 0.91 <= hits / studies <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("count", [6, 15])
def test_a_change_beyond_the_tolerance_is_hardly_ever_trusted(count: int) -> None:
    """True change just outside: at most about one study in forty may say trusted."""
    generator, wrong, studies = np.random.default_rng(count), 0, 300
    for _ in range(studies):
        hr = 0.1 * generator.normal(size=count)
        sr = hr + 0.51 + 0.2 * generator.normal(size=count)
        found = judge("cd_bias", sr, hr, [str(n) for n in range(count)], ["a"] * count, samples=400)
        wrong += found.status == "trusted"
    assert wrong / studies <= 0.045
