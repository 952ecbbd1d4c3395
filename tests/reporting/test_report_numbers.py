"""How numbers are written, how axes are divided, where labels go."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srbench.reporting.svg import Anchor, Box, linear_axis, log_axis, place_labels
from srbench.reporting.text import MISSING, decimals_for, measures, number, quantity, slug

finite = st.floats(-1e6, 1e6, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "decimals", "signed", "text"),
    [
        (28.414, 2, False, "28.41"),
        (-0.5, 1, False, "\N{MINUS SIGN}0.5"),
        (0.25, 2, True, "+0.25"),
        (-0.0004, 2, True, "0.00"),
        (0.0, 1, True, "0.0"),
        (None, 2, False, MISSING),
        (math.nan, 2, False, MISSING),
        (math.inf, 2, False, MISSING),
    ],
)
def test_number(value: float | None, decimals: int, signed: bool, text: str) -> None:
    assert number(value, decimals, signed=signed) == text


@pytest.mark.parametrize(
    ("value", "prefixed", "text"),
    [
        (16_700_000, True, "16.7 M"),
        (999_900, True, "1.00 M"),
        (665_000, True, "665 k"),
        (0, True, "0"),
        (0.2, True, "0.200"),
        (1800.0, False, "1800"),
        (math.nan, True, MISSING),
    ],
)
def test_quantity(value: float, prefixed: bool, text: str) -> None:
    assert quantity(value, prefixed=prefixed) == text


@pytest.mark.parametrize(
    ("half_widths", "decimals"),
    [([0.4], 2), ([0.012], 3), ([4.0], 1), ([40.0], 0), ([1e-9], 4), ([], 3), ([math.nan, 0.0], 3)],
)
def test_decimals_follow_the_width_of_the_interval(half_widths: list[float], decimals: int) -> None:
    assert decimals_for(half_widths) == decimals


@pytest.mark.slow
@given(st.text("aZ09-_. /\\:<é\n"))
def test_slug_is_safe_in_file_names(text: str) -> None:
    made = slug(text)
    assert made
    assert all(c.isascii() and (c.isalnum() or c in "-_") for c in made)


@pytest.mark.slow
@given(st.lists(finite, min_size=1, max_size=12), st.integers(3, 8))
def test_linear_axis_holds_all_values_and_round_ticks(values: list[float], count: int) -> None:
    axis = linear_axis(values, 0.0, 100.0, count)
    assert all(-1e-6 <= axis(value) <= 100 + 1e-6 for value in values)
    assert 1 <= len(axis.ticks) <= 2 * count + 2
    assert len({label for _, label in axis.ticks}) == len(axis.ticks)
    for tick, label in axis.ticks:
        assert float(label.replace("\N{MINUS SIGN}", "-")) == pytest.approx(tick, abs=1e-9 + abs(tick) * 1e-6)


@pytest.mark.slow
@given(st.lists(st.floats(1e-3, 1e13), min_size=1, max_size=12))
def test_log_axis_holds_all_values_in_order(values: list[float]) -> None:
    axis = log_axis(values, 10.0, 90.0)
    places = [axis(value) for value in sorted(values)]
    assert all(10 <= here <= 90 for here in places)
    assert places == sorted(places)
    assert axis.ticks


def test_log_axis_is_logarithmic() -> None:
    axis = log_axis([1.0, 100.0], 0.0, 100.0)
    assert axis(10.0) - axis(1.0) == pytest.approx(axis(100.0) - axis(10.0))


points = st.lists(
    st.tuples(st.floats(20, 620), st.floats(20, 330), st.text("abcdefgh", min_size=3, max_size=12)),
    min_size=1,
    max_size=14,
)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(points)
def test_labels_stay_in_the_frame_and_apart(content: list[tuple[float, float, str]]) -> None:
    frame = Box(0, 0, 660, 350)
    anchors = [Anchor(x, y, text, Box(x - 6, y - 6, x + 6, y + 6)) for x, y, text in content]
    boxes = place_labels(anchors, frame)
    assert all(box.within(frame) for box in boxes)
    clashes = [a.overlap(b) for i, a in enumerate(boxes) for b in boxes[:i]]
    assert sum(clash > 0 for clash in clashes) == 0


def test_a_lonely_label_stands_right_beside_its_point() -> None:
    (box,) = place_labels([Anchor(100, 100, "EDSR", Box(94, 94, 106, 106))], Box(0, 0, 400, 400))
    assert 0 < box.left - 100 < 14
    assert (box.top + box.bottom) / 2 == pytest.approx(100)


def test_labels_of_coinciding_points_do_not_cover_each_other() -> None:
    anchors = [Anchor(200, 200, f"model {i}", Box(194, 194, 206, 206)) for i in range(8)]
    boxes = place_labels(anchors, Box(0, 0, 600, 400))
    assert all(a.overlap(b) == 0 for i, a in enumerate(boxes) for b in boxes[:i])


def test_labels_keep_off_what_else_is_written() -> None:
    written = Box(104, 80, 400, 120)
    (box,) = place_labels([Anchor(100, 100, "EDSR", Box(94, 94, 106, 106))], Box(0, 0, 400, 400), [written])
    assert box.overlap(written) == 0


def test_columns_of_earlier_versions_of_a_metric_keep_place_and_title() -> None:
    stored = measures(["mask_dice", "edge_omitted", "psnr", "edge_omitted@2", "frc_03"])
    assert [measure.id for measure in stored] == ["psnr", "edge_omitted", "edge_omitted@2", "mask_dice"]
    assert stored[1].title == stored[2].title == "Edges missing"
