"""Curves in the store: one metric a point, one computation an image, never a column of a table."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from srbench.evaluation.scorer import choose_metrics
from srbench.metrics import curve as curves
from srbench.metrics import registry
from srbench.metrics.curve import Curve, list_curves, register_curve
from srbench.metrics.registry import Case, MetricUnavailable
from srbench.reporting.text import measures
from srbench.utils.errors import SrbenchError


@pytest.fixture(autouse=True)
def _registry_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    registry.list_metrics()
    monkeypatch.setattr(registry, "METRICS", copy.deepcopy(registry.METRICS))
    monkeypatch.setattr(curves, "_curves", dict(curves._curves))
    yield


def curve_of(name: str) -> Curve:
    return next(curve for curve in list_curves() if curve.name == name)


def case() -> Case:
    grey = np.random.default_rng(0).random((64, 64))
    return Case(grey, grey, grey, grey, grey[::2, ::2], 2, clean=True)


def test_points_share_one_computation() -> None:
    calls: list[Case] = []

    @register_curve(title="Decay", x=(1.0, 2.0, 4.0), x_title="t", explanation="Falls.", direction="none")
    def decay(case: Case) -> Sequence[float]:
        calls.append(case)
        return 1.0, 0.5, float("nan")

    seen = case()
    found = curve_of("decay")
    assert [point.name for point in found.points] == ["decay_00", "decay_01", "decay_02"]
    assert [point.compute(seen) for point in found.points[:2]] == [1.0, 0.5]
    with pytest.raises(MetricUnavailable, match="no value at 4"):
        found.points[2].compute(seen)
    assert len(calls) == 1 and decay(seen)[0] == 1.0


def test_the_ring_correlation_is_stored_by_default_in_sixteen_points() -> None:
    found = curve_of("frc")
    assert [point.name for point in found.points] == [f"frc_{index:02d}" for index in range(16)]
    assert found.x == tuple((index + 0.5) / 16 for index in range(16))
    assert {point.name for point in choose_metrics(None)} >= {point.name for point in found.points}
    assert all(point.family == "curve" for point in found.points)
    assert found in list_curves()
    np.testing.assert_allclose([point.compute(case()) for point in found.points], 1.0)


def test_points_are_not_columns_of_tables() -> None:
    shown = measures(["psnr", "frc_00", "frc_15", "recovered_hf"])
    assert [measure.id for measure in shown] == ["psnr", "recovered_hf"]


def test_curves_without_points_or_with_names_taken_are_refused() -> None:
    with pytest.raises(SrbenchError, match="1 to 100 points"):
        register_curve(title="None", x=(), x_title="", explanation="", direction="none")

    def frc(case: Case) -> Sequence[float]:
        return (0.0,)

    with pytest.raises(SrbenchError, match="registered twice"):
        register_curve(title="Mine", x=(1.0,), x_title="", explanation="", direction="none")(frc)
    assert len(curve_of("frc").x) == 16
