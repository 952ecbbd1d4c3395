"""Edges: invented, missing, recovered, displaced; and the shift of the image as a whole.

The thresholds come from the reference, once; every other image is held to them. Against a noisy reference
part of its edges are noise, which no honest result shows: the noise ceiling says how many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from srbench.evaluation.metrics.registry import Case, MetricUnavailable, register_metric

if TYPE_CHECKING:
    from torch import Tensor

    from srbench.evaluation.functional.canny import Gradient
    from srbench.evaluation.functional.edges import Displacement, EdgeScores

TOLERANCE = 1.0
SMALLEST = 16


@register_metric(
    title="Edge F1",
    direction="higher",
    bounds=(0.0, 1.0),
    explanation="Agreement of the outlines within one pixel; blind to a shift of all by one pixel.",
    family="edges",
)
def edge_f1(case: Case) -> float:
    """Harmonic mean of the precision and recall of edge pixels within 1 px."""
    return _value(_scores(case, TOLERANCE).f1, "neither the result nor the reference shows an edge")


@register_metric(
    title="Edge F1, 2 px",
    direction="higher",
    bounds=(0.0, 1.0),
    explanation="Agreement of the outlines within two pixels.",
    family="edges",
    default=False,
)
def edge_f1_2px(case: Case) -> float:
    """The same within 2 px."""
    return _value(_scores(case, 2.0).f1, "neither the result nor the reference shows an edge")


@register_metric(
    title="Edges invented",
    direction="lower",
    bounds=(0.0, 1.0),
    explanation="Share of the outlines in the result that the reference does not have.",
    family="edges",
)
def edge_hallucinated(case: Case) -> float:
    """1 - precision of edge pixels within 1 px."""
    return 1.0 - _value(_scores(case, TOLERANCE).precision, "the result shows no edge")


@register_metric(
    title="Edges missing",
    direction="lower",
    bounds=(0.0, 1.0),
    explanation="Share of the outlines of the reference that the result does not have.",
    family="edges",
)
def edge_omitted(case: Case) -> float:
    """1 - recall of edge pixels within 1 px."""
    return 1.0 - _value(_scores(case, TOLERANCE).recall, "the reference shows no edge")


@register_metric(
    title="Edges recovered",
    direction="higher",
    bounds=(0.0, 1.0),
    explanation="Share of the outlines lost in the interpolated LR image that the result brings back.",
    family="edges",
)
def edge_recovered(case: Case) -> float:
    """Recall on the edges of HR farther than 1 px from those of the bicubically enlarged LR image."""
    from srbench.evaluation.functional.edges import LEAST, edges_recovered

    share = edges_recovered(_edges(case, "sr"), _edges(case, "hr"), _bicubic_edges(case), TOLERANCE)
    return _value(share, f"interpolation of LR lacks fewer than {LEAST} pixels of the reference's edges")


@register_metric(
    title="Edge displacement",
    direction="lower",
    unit="px",
    bounds=(0.0, float("inf")),
    explanation="How far an outline typically lies from its true place, in HR pixels.",
    family="edges",
)
def edge_displacement(case: Case) -> float:
    """Median distance between matching edges along the normal."""
    return _value(_displacement(case).median, "no edge of the reference is found again within 3 px")


@register_metric(
    title="Edge growth",
    direction="none",
    unit="px",
    explanation="How far the outlines of bright regions have moved outwards on the average, in HR pixels: "
    "0 is right, and a particle's diameter is wrong by twice the value.",
    family="edges",
)
def edge_bias(case: Case) -> float:
    """Mean signed displacement of matching edges, positive towards the dark side."""
    return _value(_displacement(case).bias, "no edge of the reference is found again within 3 px")


@register_metric(
    title="Shift",
    direction="lower",
    unit="px",
    bounds=(0.0, float("inf")),
    explanation="How far the image as a whole is displaced against the reference, in HR pixels.",
    family="edges",
)
def shift(case: Case) -> float:
    """Length of the registration shift, of what the LR image carries too, up to two LR pixels an axis."""
    from srbench.evaluation.functional.registration import registration_shift

    _check_size(case)
    displaced = registration_shift(
        case.tensor("sr"),
        case.tensor("hr"),
        max_frequency=0.5 / case.scale,
        reach=max(4.0, 2.0 * case.scale),
    )
    return _value(displaced.norm(dim=1), "the result or the reference is one even grey")


def _value(result: Tensor, reason: str) -> float:
    if result.isnan():
        raise MetricUnavailable(reason)
    return float(result)


def _scores(case: Case, tolerance: float) -> EdgeScores:
    from srbench.evaluation.functional.edges import edge_scores

    return case.once(
        f"edges scores {tolerance}",
        lambda: edge_scores(_edges(case, "sr"), _edges(case, "hr"), tolerance),
    )


def _displacement(case: Case) -> Displacement:
    from srbench.evaluation.functional.edges import displacement

    lower, _ = _thresholds(case)
    return case.once(
        "edges displacement",
        lambda: displacement(_gradient(case, "sr"), _gradient(case, "hr"), _edges(case, "hr"), lower),
    )


def _gradient(case: Case, name: str) -> Gradient:
    from srbench.evaluation.functional.canny import gradient

    _check_size(case)
    return case.once(f"edges gradient of {name}", lambda: gradient(case.tensor(name)))


def _check_size(case: Case) -> None:
    height, width = case.hr.shape
    if min(height, width) < SMALLEST:
        raise MetricUnavailable(
            f"edges need at least {SMALLEST} x {SMALLEST} pixels inside the border, found {height} x {width}"
        )


def _thresholds(case: Case) -> tuple[Tensor, Tensor]:
    from srbench.evaluation.functional.canny import thresholds

    return case.once("edges thresholds", lambda: thresholds(_gradient(case, "hr"), case.data_range))


def _edges(case: Case, name: str) -> Tensor:
    from srbench.evaluation.functional.canny import canny

    return case.once(f"edges of {name}", lambda: canny(_gradient(case, name), *_thresholds(case)))


def _bicubic_edges(case: Case) -> Tensor:
    from srbench.datasets.resize import resize_by
    from srbench.evaluation.functional.canny import canny, gradient

    enlarged = resize_by(case.tensor("lr"), case.scale).clamp(0.0, case.data_range)
    top, left = ((whole - cut) // 2 for whole, cut in zip(case.full_hr.shape, case.hr.shape, strict=True))
    height, width = case.hr.shape
    inside = enlarged[:, top : top + height, left : left + width]
    return canny(gradient(inside), *_thresholds(case))
