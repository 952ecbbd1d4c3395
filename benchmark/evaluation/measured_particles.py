"""Diameters of particles and area fraction of pores, measured on the segmentations of one case."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from srbench.evaluation import scene_truth
from srbench.evaluation.functional.objects import REACH, Indices, Objects, match_points
from srbench.evaluation.measured import LOST, Floats, Measured, border_of, pair
from srbench.evaluation.metrics.registry import Case, MetricUnavailable
from srbench.evaluation.segmented import DARK, objects, objects_of_second, phase, segmentation

SMALLEST_DIAMETER = 10.0
"""Pixels across; smaller particles are mostly edge."""
SIMPLE = 0.93
"""``Objects.fill`` below which a region is not one convex particle but several that touch."""
FEWEST = 10
"""Particles that a mean diameter needs."""
SIZED = ("particle", "powder", "patterned")
"""Categories in which regions have diameters worth measuring; images without a category are measured too."""


@dataclass(frozen=True, eq=False)
class _Reference:
    """Particles of known diameter, by truth or as measured on HR.

    Attributes:
        centres: ``(K, 2)``.
        diameters: ``(K,)`` pixels.
        neighbours: ``(L, 2)`` centres of everything that a region should not hold two of.
        best: objects of the image that is as good as it gets; None where there is none.
    """

    centres: Floats
    diameters: Floats
    neighbours: Floats
    best: Objects | None


def diameters(case: Case) -> Measured:
    """Mean error of the diameters of free-standing whole particles, in pixels.

    Raises:
        MetricUnavailable: with the reason.
    """
    return case.once("measured diameters", lambda: _diameters(case))


def _diameters(case: Case) -> Measured:
    reference = _particles_of_hr(case) if case.truth is None else _known_particles(case)
    images = [objects(case)[1], *([] if reference.best is None else [reference.best])]
    errors = [_size_errors(reference, found) for found in images]
    return pair(errors, FEWEST, f"free-standing particles of {SMALLEST_DIAMETER:.0f} px or more")


def _size_errors(reference: _Reference, found: Objects) -> Floats:
    """Measured minus true diameter of every particle, ``(K,)``; NaN where it is no single whole region."""
    errors = np.full(len(reference.diameters), np.nan)
    pairs = match_points(reference.centres, REACH * reference.diameters / 2.0, found.centres)
    single = ~found.border & (found.fill >= SIMPLE) & (_occupants(found, reference.neighbours) <= 1)
    pairs = pairs[single[pairs[:, 1]]]
    errors[pairs[:, 0]] = found.diameters[pairs[:, 1]] - reference.diameters[pairs[:, 0]]
    return errors


def _occupants(found: Objects, centres: Floats) -> Indices:
    """How many of the centres lie in each region, ``(K,)``."""
    places = np.round(centres).astype(np.int64)
    inside = ((places >= 0) & (places < found.labels.shape)).all(1)
    labels = found.labels[places[inside, 0], places[inside, 1]]
    return np.bincount(labels, minlength=len(found) + 1)[1:].astype(np.int64)


def _known_particles(case: Case) -> _Reference:
    known = scene_truth.particles(case.truth or {}, border_of(case), SMALLEST_DIAMETER)
    if known is None:
        raise MetricUnavailable("the scene has no free-standing particles of known diameter")
    return _Reference(known.centres, known.diameters, known.neighbours, objects(case)[0])


def _particles_of_hr(case: Case) -> _Reference:
    """Whole, convex regions of the HR image; their own diameters are the reference."""
    _check_category(case)
    found = objects(case)[0]
    usable = ~found.border & (found.fill >= SIMPLE) & (found.diameters >= SMALLEST_DIAMETER)
    best = objects_of_second(case, segmentation(case).bright)
    return _Reference(found.centres[usable], found.diameters[usable], np.zeros((0, 2)), best)


def _check_category(case: Case) -> None:
    category = case.category.lower()
    if category and not any(name in category for name in SIZED):
        raise MetricUnavailable(
            f"diameters are those of particles, powders and dots, not of {case.category!r}"
        )


def diameter_distance(case: Case) -> float:
    """First Wasserstein distance of the diameters of all whole particles in SR and in HR, in pixels.

    Raises:
        MetricUnavailable: the reference shows too few particles, or the SR image none.
    """
    from scipy.stats import wasserstein_distance

    _check_category(case)
    reference, found = (_whole_diameters(some) for some in objects(case))
    if len(reference) < FEWEST:
        raise MetricUnavailable(
            f"the reference shows {len(reference)} whole particles of {SMALLEST_DIAMETER:.0f} px or more, "
            f"{FEWEST} are needed"
        )
    if not len(found):
        raise MetricUnavailable(f"{LOST}it shows no whole particle of {SMALLEST_DIAMETER:.0f} px or more")
    return float(wasserstein_distance(found, reference))


def _whole_diameters(found: Objects) -> Floats:
    return found.diameters[~found.border & (found.diameters >= SMALLEST_DIAMETER)]


def pore_fraction(case: Case) -> Measured:
    """Error of the area fraction of the pores, each image by its own Otsu threshold.

    Raises:
        MetricUnavailable: with the reason.
    """
    return case.once("measured pores", lambda: _pore_fraction(case))


def _pore_fraction(case: Case) -> Measured:
    truth = case.truth or {}
    if not (truth.get("phase") == "pore" or any(name in case.category.lower() for name in DARK)):
        raise MetricUnavailable("pores are measured on porous samples; this is none by truth or category")
    if "fraction" in truth:
        # The true fraction is that of the whole image.
        reference, best = float(truth["fraction"]), _fraction(case, "full_hr")
        return Measured(_fraction(case, "full_sr") - reference, best - reference)
    masks = segmentation(case)
    reference = float(masks.reference.double().mean())
    second = None if case.second is None else _fraction(case, "second") - reference
    return Measured(float(masks.own.double().mean()) - reference, second)


def _fraction(case: Case, plane: str) -> float:
    return float(phase(case.tensor(plane), bright=False).double().mean())
