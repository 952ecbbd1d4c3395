"""Lengths in nm against values worked out by hand: equal, different, unknown, contradicting pixel sizes."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from srbench.statistics.leaderboard import leaderboard
from srbench.statistics.lengths import Quantity, common_size, in_nanometres, nm_per_px, quantity
from srbench.statistics.margins import margin_of
from srbench.statistics.score_matrix import rows_of
from srbench.store import Score
from srbench.utils.errors import SrbenchError

NAN = math.nan
FIELDS = {"variant": "v", "weights": "", "seed": -1, "dataset": "folder:/d", "split": "test", "scale": 4}


def frame(sizes: list[float], model: str = "bicubic", step: float = 0.0, **fields: str) -> pd.DataFrame:
    """One image a group: ``cd_bias`` is 1, 2, 3, ... px, PSNR 30 dB; and one property of the model."""
    rows = [Score("params", 7.0)]
    for number, size in enumerate(sizes):
        place = (f"i{number:02}", f"g{number}", "ab"[number % 2])
        rows.append(Score("cd_bias", number + 1.0 + step, *place, pixel_size_nm=size))
        rows.append(Score("psnr", 30.0, *place, pixel_size_nm=size))
        rows.append(Score("frc_resolution", 50.0, *place, pixel_size_nm=size))
    return pd.DataFrame([{**FIELDS, "model": model, **fields, **asdict(row)} for row in rows])


def values(scores: pd.DataFrame, metric: str) -> list[float]:
    return scores.loc[scores["metric"] == metric, "value"].tolist()


def test_each_value_is_multiplied_by_the_pixel_size_of_its_image() -> None:
    shown, lengths = in_nanometres(frame([5.828, 2.0, 0.5]))
    assert lengths.unit == "nm" and lengths.sizes == {"i00": 5.828, "i01": 2.0, "i02": 0.5}
    assert values(shown, "cd_bias") == [5.828, 4.0, 1.5]
    units = shown.groupby("metric")["unit"].unique()
    assert {name: list(unit) for name, unit in units.items()} == {
        "cd_bias": ["nm"],
        "psnr": ["dB"],
        "frc_resolution": ["nm"],
        "params": [""],
    }
    # What is no length in pixels stays as it is.
    assert values(shown, "psnr") == [30.0] * 3 and values(shown, "frc_resolution") == [50.0] * 3
    assert values(shown, "params") == [7.0]
    assert (lengths.unit_of("px"), lengths.unit_of("dB")) == ("nm", "dB")


@pytest.mark.parametrize("bad", [NAN, 0.0, -1.0, math.inf])
def test_one_unknown_pixel_size_leaves_all_lengths_in_pixels(bad: float) -> None:
    shown, lengths = in_nanometres(frame([5.828, 2.0, bad]))
    assert (lengths.unit, lengths.images, len(lengths.sizes)) == ("px", 3, 2)
    assert values(shown, "cd_bias") == [1.0, 2.0, 3.0] and lengths.unit_of("px") == "px"
    assert nm_per_px(rows_of(shown, "cd_bias")) is None
    # Only a folder's pixel sizes can be given.
    assert "1 of 3" in lengths.why and "--pixel-size-nm" in lengths.why
    assert "--pixel-size-nm" not in in_nanometres(frame([bad], dataset="sem_open"))[1].why


def test_rows_without_the_column_have_no_pixel_size() -> None:
    old = frame([5.828, 2.0]).drop(columns="pixel_size_nm")
    shown, lengths = in_nanometres(old)
    assert lengths.unit == "px" and values(shown, "cd_bias") == [1.0, 2.0]


def test_a_run_from_before_pixel_sizes_takes_them_from_the_others() -> None:
    both = pd.concat([frame([NAN, NAN], "nearest"), frame([5.0, 10.0])], ignore_index=True)
    shown, lengths = in_nanometres(both)
    assert lengths.unit == "nm" and values(shown, "cd_bias") == [5.0, 20.0, 5.0, 20.0]


def test_runs_that_contradict_each_other_stay_in_pixels() -> None:
    both = pd.concat([frame([5.0, 4.0], "nearest"), frame([5.0, 10.0])], ignore_index=True)
    shown, lengths = in_nanometres(both)
    assert lengths.unit == "px" and values(shown, "cd_bias") == [1.0, 2.0, 1.0, 2.0]
    assert "--force" in lengths.why
    close = pd.concat([frame([5.0]), frame([5.0 * (1 + 1e-6)], "nearest")], ignore_index=True)
    assert in_nanometres(close)[1].unit == "nm"


def test_nothing_is_converted_twice_and_nothing_is_changed_in_place() -> None:
    stored = frame([5.0, 10.0])
    shown, _ = in_nanometres(stored)
    assert values(stored, "cd_bias") == [1.0, 2.0] and "unit" not in stored
    with pytest.raises(SrbenchError):
        in_nanometres(shown)


def test_the_common_pixel_size() -> None:
    assert common_size([5.828] * 3) == 5.828
    assert common_size([5.828, 5.828 * (1 + 5e-5)]) == pytest.approx(5.828, rel=1e-4)
    assert common_size([5.828, 5.9]) is None
    assert common_size([5.828, NAN]) is None and common_size([]) is None


def test_a_margin_is_what_its_pixels_make_of_the_mean() -> None:
    """A difference of exactly half a pixel in every image is the margin of 0.5 px, whatever the sizes."""
    sizes = [5.0, 5.0, 20.0, 1.0, 2.0]
    stored = pd.concat([frame(sizes), frame(sizes, "m", 0.5)], ignore_index=True)
    shown, _ = in_nanometres(stored)
    row = next(row for row in leaderboard(shown, "cd_bias", samples=10) if row.run.model == "m")
    # Groups of category a have 5, 20 and 2 nm, those of b 5 and 1.
    mean = (np.mean([5.0, 20.0, 2.0]) + np.mean([5.0, 1.0])) / 2
    assert row.diff == pytest.approx(0.5 * mean) and row.margin == pytest.approx(0.5 * mean)
    pixels = next(row for row in leaderboard(stored, "cd_bias", samples=10) if row.run.model == "m")
    assert (pixels.diff, pixels.margin) == pytest.approx((0.5, 0.5))


def test_equal_pixel_sizes_scale_a_table_and_change_no_verdict() -> None:
    generator = np.random.default_rng(1)
    stored = pd.concat([frame([5.828] * 12), frame([5.828] * 12, "m", 0.3)], ignore_index=True)
    stored["value"] += generator.normal(0, 0.05, len(stored))
    px, nm = (
        next(row for row in leaderboard(rows, "cd_bias", samples=500) if row.run.model == "m")
        for rows in (stored, in_nanometres(stored)[0])
    )
    for name in ("mean", "low", "high", "diff", "diff_low", "diff_high", "margin"):
        assert getattr(nm, name) == pytest.approx(5.828 * getattr(px, name)), name
    assert nm.verdict == px.verdict == "equivalent" and nm.p_holm == pytest.approx(px.p_holm)


def test_margins_in_the_unit_shown() -> None:
    assert margin_of("cd_bias").value == 0.5
    assert margin_of("cd_bias", None, 5.828).value == pytest.approx(2.914)
    assert margin_of("cd_bias", {"cd_bias": "2nm"}, 5.828).value == 2.0
    assert margin_of("cd_bias", {"cd_bias": "0.25 px"}, 5.828).value == pytest.approx(1.457)
    assert margin_of("cd_bias", {"cd_bias": 0.25}, 5.828).value == pytest.approx(1.457)
    assert margin_of("cd_bias", {"cd_bias": "0.25px"}).value == 0.25
    assert margin_of("psnr", {"psnr": "0.3"}, 5.828).value == margin_of("psnr", {"psnr": 0.3}).value == 0.3
    assert margin_of("psnr", None, 5.828) == margin_of("psnr")
    assert margin_of("frc_resolution", {"frc_resolution": "3nm"}, 5.828).value == 3.0
    with pytest.raises(SrbenchError, match="--pixel-size-nm"):
        margin_of("cd_bias", {"cd_bias": "2nm"})


@pytest.mark.parametrize(
    ("given", "unit", "expected"),
    [
        ("2nm", "px", Quantity(2.0, "nm")),
        (" 0.5 PX ", "px", Quantity(0.5, "px")),
        ("1e-1nm", "px", Quantity(0.1, "nm")),
        (".5px", "px", Quantity(0.5, "px")),
        (0.5, "px", Quantity(0.5, "px")),
        ("0.01", "", Quantity(0.01, "")),
        (0, "dB", Quantity(0.0, "dB")),
    ],
)
def test_limits_as_typed(given: str | float, unit: str, expected: Quantity) -> None:
    assert quantity(given, unit, "it") == expected


@pytest.mark.parametrize(
    ("given", "unit"),
    [
        ("2", "px"),  # of which unit?
        ("2um", "px"),
        ("2nm", ""),
        ("0.5px", "dB"),
        ("-1px", "px"),
        ("nm", "px"),
        ("", "px"),
        ("1.2.3px", "px"),
        ("nan", ""),
        (math.inf, "px"),
        (-1.0, ""),
    ],
)
def test_what_is_no_limit_is_refused(given: str | float, unit: str) -> None:
    with pytest.raises(SrbenchError, match="--tolerance x"):
        quantity(given, unit, "--tolerance x")
