"""Curves over detail size: drawn where their means are, with the limits marked and told in words."""

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from srbench.metrics.curve import list_curves
from srbench.reporting.blocks import collect
from srbench.reporting.curves import (
    CurvePoint,
    CurveSet,
    ModelCurve,
    csv_curves,
    curve_plots,
    curve_sets,
    line_keys,
)
from srbench.reporting.leaderboard import Leaderboard, leaderboard
from srbench.store import ScoreStore


@pytest.fixture(scope="module")
def board(rich_board: Leaderboard) -> Leaderboard:
    return rich_board


@pytest.fixture(scope="module")
def sets(board: Leaderboard) -> list[CurveSet]:
    return curve_sets(board)


def own_mean(root: Path, model: str, metric: str, category: str = "") -> float:
    rows = ScoreStore(root).scores()
    rows = rows[(rows.model == model) & (rows.metric == metric) & rows.value.notna()]
    rows = rows[rows.category == category] if category else rows
    return float(rows.groupby(["category", "group"])["value"].mean().groupby("category").mean().mean())


def test_there_is_a_set_for_all_images_and_one_a_category(sets: list[CurveSet]) -> None:
    assert [(one.curve.name, one.category) for one in sets] == [
        ("frc", ""),
        ("frc", "fibres"),
        ("frc", "powder"),
    ]


@pytest.mark.parametrize(("index", "category"), [(0, ""), (1, "fibres")])
def test_points_are_the_means_of_the_stored_rows(
    rich: Path, sets: list[CurveSet], index: int, category: str
) -> None:
    (curve,) = [curve for curve in list_curves() if curve.name == "frc"]
    for model in ("bicubic", "edsr"):
        line = next(line for line in sets[index].lines if line.row.run[0] == model)
        assert [point.x for point in line.points] == list(curve.x)
        for point, metric in zip(line.points[::5], curve.points[::5], strict=True):
            assert point.mean == pytest.approx(own_mean(rich, model, metric.id, category), abs=1e-12)
            assert math.isfinite(point.low) == (not category)


def test_bands_hold_the_means(sets: list[CurveSet]) -> None:
    points = [point for line in sets[0].lines for point in line.points]
    assert all(point.low - 1e-9 <= point.mean <= point.high + 1e-9 for point in points)
    assert any(point.low < point.high for point in points)


def test_variants_that_see_hr_are_left_out(filled: Path, sets: list[CurveSet]) -> None:
    assert curve_sets(leaderboard(collect(ScoreStore(filled))[0])) == []
    assert {line.row.run[0] for line in sets[0].lines} >= {"edsr", "noise_ceiling", "random_texture"}


def line_through(*means: float) -> ModelCurve:
    points = [CurvePoint(0.1 * i, mean, math.nan, math.nan, 1, 1) for i, mean in enumerate(means)]
    return ModelCurve(None, tuple(points))  # type: ignore[arg-type]


def test_where_a_curve_ends_to_agree() -> None:
    assert line_through(1.0, 0.6, 0.4, 0.9, 0.1).end == pytest.approx(0.15)
    assert line_through(0.4, 0.2).end == 0.0
    assert math.isnan(line_through(1.0, 0.8).end)
    assert math.isnan(line_through().end)


def test_lines_stand_where_their_numbers_are(board: Leaderboard, sets: list[CurveSet]) -> None:
    plot = curve_plots(board, sets)[0]
    root = ElementTree.fromstring(str(plot.svg))
    axis = {
        e.text: float(e.attrib["y"]) - 4 for e in root.iter("text") if e.attrib.get("text-anchor") == "end"
    }
    top, bottom = axis["1.0"], axis["0.0"]
    ticks = [e for e in root.iter("text") if e.attrib["class"] == "tick"]
    across = {e.text: float(e.attrib["x"]) for e in ticks if e.attrib["text-anchor"] == "middle"}
    left, right = across["0.0"], across["1.0"]
    paths = [e.attrib["d"] for e in root if e.tag == "path" and e.attrib["class"].startswith("curve ")]
    assert len(paths) == len(sets[0].lines)
    for path, line in zip(paths, sets[0].lines, strict=True):
        drawn = [tuple(map(float, pair.split(","))) for pair in path[1:].split("L")]
        for (x, y), point in zip(drawn, line.points, strict=True):
            assert (x - left) / (right - left) == pytest.approx(point.x, abs=0.001)
            assert (y - bottom) / (top - bottom) == pytest.approx(point.mean, abs=0.001)
    limit = next(e for e in root.iter("line") if e.attrib["class"] == "limit")
    assert (float(limit.attrib["x1"]) - left) / (right - left) == pytest.approx(1 / 4, abs=0.001)
    level = next(e for e in root.iter("line") if e.attrib["class"] == "ceiling")
    assert (float(level.attrib["y1"]) - bottom) / (top - bottom) == pytest.approx(0.5, abs=0.001)


def test_the_drawing_is_told_in_words(board: Leaderboard, sets: list[CurveSet]) -> None:
    plot = curve_plots(board, sets)[0]
    root = ElementTree.fromstring(str(plot.svg))
    assert root.attrib["aria-label"] == plot.words
    bicubic = next(line for line in sets[0].lines if line.row.run[0] == "bicubic")
    assert f"Bicubic {bicubic.end:.2f}" in plot.words
    assert "LR Nyquist frequency lies at 0.25" in plot.words


def test_every_line_has_its_own_look_and_one_band(board: Leaderboard, sets: list[CurveSet]) -> None:
    looks = [
        re.findall(r'class="([^"]*)" stroke-dasharray="([^"]*)"', key.sample)[0]
        for key in line_keys(board, sets)
    ]
    assert len(set(looks)) == len(looks) == len(sets[0].lines)
    root = ElementTree.fromstring(str(curve_plots(board, sets)[0].svg))
    bands = [e.attrib["data-band"] for e in root.iter("g")]
    assert bands == [key.mark for key in line_keys(board, sets)]


def test_csv_of_curves_reads_back(
    rich: Path, board: Leaderboard, sets: list[CurveSet], tmp_path: Path
) -> None:
    path = tmp_path / "curves.csv"
    path.write_text(csv_curves(board, sets), encoding="utf-8")
    table = pd.read_csv(path, keep_default_na=False, na_values=["nan"])
    whole = table[(table.category == "") & (table.model == "bicubic")]
    assert len(whole) == 16
    assert float(whole["mean"].iloc[5]) == pytest.approx(own_mean(rich, "bicubic", "frc_05"), abs=1e-12)
