"""What a scientist measures, on the SR image: particle diameters, line widths, roughness, pore fraction.

Each has two values an image, in HR pixels: the bias of the SR image, and (``..._hr``) the error of the same
algorithm on the best image there is. The true value is known geometry where the case has a truth, otherwise
what HR gives; the best image is HR where geometry is known, else a second acquisition if there is one. Both
are means over the same particles or lines, those that can be measured in both images.
:mod:`srbench.statistics.tolerance` judges the one by the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srbench.metrics import ground_truth
from srbench.metrics.fibre_widths import CentreLines, centre_lines, width_errors
from srbench.metrics.line_edges import Edges, Line, find_lines, measure_line, roughness
from srbench.metrics.registry import Case, MetricUnavailable, register_metric
from srbench.metrics.segmentation import (
    DARK,
    MATCH_REACH,
    NO_MASK,
    SIMPLE,
    Indices,
    Objects,
    cleaned,
    hand_objects,
    holds_particles,
    match_points,
    objects,
    objects_of_second,
    otsu,
    phase,
    segmentation,
    smoothed,
)
from srbench.utils.image import Plane

Floats = NDArray[np.float64]
EdgesFound = tuple["Edges | None", ...]
Profiles = Callable[[list[Edges]], Floats]

FAMILY = "measurement"
LOST = "lost in the super-resolved image: "
"""Starts the reason of a measurement that the reference allows and the result does not."""

FEWEST_LINES = 2
"""Lines that a mean width or a roughness needs."""
STRETCH = 64
"""Rows that a roughness needs: several correlation lengths."""
LINES = "whole straight lines along the image's sides"

SMALLEST_DIAMETER = 10.0
"""Pixels across; smaller particles are mostly edge."""
FEWEST_PARTICLES = 10
"""Particles that a mean diameter needs."""

THINNEST = 4.0
"""Pixels across; thinner fibres are mostly edge."""
FIBRE_LENGTH = 100
"""Pixels of clear centre line that a mean diameter of fibres needs."""
FIBROUS = ("fibre", "fiber", "nanowire")
"""Categories whose objects are fibres."""


@dataclass(frozen=True)
class Measured:
    """What one measurement gives for one case.

    Attributes:
        bias: measured on the SR image minus true value; NaN where ``lost``.
        error_hr: measured on HR (or the second acquisition) minus true value; None where neither geometry
            nor a second acquisition is known.
        lost: why the SR image cannot be measured although the reference can; else empty.
    """

    bias: float
    error_hr: float | None
    lost: str = ""


def register_measurement(
    name: str, title: str, explanation: str, title_hr: str, explanation_hr: str, **card: Any
) -> Callable[[Callable[[Case], Measured]], Callable[[Case], Measured]]:
    """Register the decorated function as two metrics: ``name``, the bias, and ``name_hr``, the error on HR.

    Args:
        name: of the bias.
        title: of the bias.
        explanation: of the bias.
        title_hr: of the error on HR.
        explanation_hr: of the error on HR.
        card: what both have in common, as :func:`register_metric` takes it.
    """

    def register(measure: Callable[[Case], Measured]) -> Callable[[Case], Measured]:
        def bias(case: Case) -> float:
            return bias_of(measure(case))

        def error(case: Case) -> float:
            return error_of(measure(case))

        bias.__name__, error.__name__ = name, f"{name}_hr"
        for compute, head, words in ((bias, title, explanation), (error, title_hr, explanation_hr)):
            register_metric(title=head, explanation=words, direction="none", family=FAMILY, **card)(compute)
        return measure

    return register


def mean_bias(errors: Sequence[Floats], fewest: int, what: str) -> Measured:
    """Mean errors over the items that can be measured in all images.

    Args:
        errors: for the SR image and, where there is one, the image to judge it by: ``(K,)`` measured minus
            true value of each item, NaN where it cannot be measured.
        fewest: items that a mean needs.
        what: names the items in reasons.

    Raises:
        MetricUnavailable: there are too few items, or too few can be measured even where they should be.
    """
    best = errors[-1] if len(errors) > 1 else np.zeros_like(errors[0])
    measurable = np.isfinite(best)
    if measurable.sum() < fewest:
        raise MetricUnavailable(
            f"{measurable.sum()} {what} can be measured in the reference, {fewest} are needed"
        )
    common = measurable & np.isfinite(errors[0])
    if common.sum() < fewest:
        lost = f"{common.sum()} of {measurable.sum()} {what} can be measured in it, {fewest} are needed"
        return Measured(math.nan, float(best[measurable].mean()) if len(errors) > 1 else None, lost)
    return Measured(float(errors[0][common].mean()), float(best[common].mean()) if len(errors) > 1 else None)


def bias_of(measured: Measured) -> float:
    """The bias as a metric's value.

    Raises:
        MetricUnavailable: the SR image cannot be measured.
    """
    if measured.lost:
        raise MetricUnavailable(LOST + measured.lost)
    return measured.bias


def error_of(measured: Measured) -> float:
    """The error on HR as a metric's value.

    Raises:
        MetricUnavailable: nothing is known that HR could be compared with.
    """
    if measured.error_hr is None:
        raise MetricUnavailable(
            "HR is the reference itself: its error needs known geometry or a second acquisition"
        )
    return measured.error_hr


@dataclass(frozen=True, eq=False)
class ReferenceParticles:
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


@register_measurement(
    "diameter_bias",
    title="Diameter bias",
    explanation="By how much particles come out too large (+) or too small (-) on average.",
    title_hr="Diameter error on HR",
    explanation_hr="By how much the same particles come out too large or too small on the true HR image: "
    "what the algorithm does, not the network.",
    version=2,
    unit="px",
)
def diameters(case: Case) -> Measured:
    """Mean error of the diameters of whole particles, in pixels."""
    return case.cached("measured diameters", lambda: _diameters(case))


def _diameters(case: Case) -> Measured:
    reference = _particles_of_hr(case) if case.truth is None else _particles_of_truth(case)
    images = [objects(case)[1], *([] if reference.best is None else [reference.best])]
    errors = [_size_errors(reference, regions) for regions in images]
    what = f"whole particles of {SMALLEST_DIAMETER:.0f} px or more"
    return mean_bias(errors, FEWEST_PARTICLES, what)


@register_measurement(
    "diameter_hand_bias",
    title="Diameter (hand) bias",
    explanation="By how much particles come out larger (+) or smaller (-) than they were drawn by hand.",
    title_hr="Diameter (hand) error on HR",
    explanation_hr="By how much the same particles come out larger or smaller than drawn by hand on the true "
    "HR image.",
    unit="px",
)
def diameters_by_hand(case: Case) -> Measured:
    """Mean error of the diameters of whole particles against those drawn by hand, in pixels."""
    return case.cached("measured by hand", lambda: _diameters_by_hand(case))


def _diameters_by_hand(case: Case) -> Measured:
    drawn = hand_objects(case)
    _check_particles(case)
    usable = ~drawn.border & (drawn.diameters >= SMALLEST_DIAMETER)
    reference = ReferenceParticles(drawn.centres[usable], drawn.diameters[usable], drawn.centres, None)
    hr, sr = objects(case)
    what = f"particles drawn by hand, whole and of {SMALLEST_DIAMETER:.0f} px or more,"
    return mean_bias([_size_errors(reference, regions) for regions in (sr, hr)], FEWEST_PARTICLES, what)


@register_measurement(
    "area_fraction_hand_bias",
    title="Area fraction (hand) bias",
    explanation="By how much the area share of the objects comes out higher (+) or lower (-) than drawn by "
    "hand.",
    title_hr="Area fraction (hand) error on HR",
    explanation_hr="By how much the same share comes out wrong on the true HR image by the same rule.",
    bounds=(-1.0, 1.0),
)
def area_fraction_by_hand(case: Case) -> Measured:
    """Error of the area fraction of the objects against the mask by hand, each image by its own threshold."""
    if case.mask is None:
        raise MetricUnavailable(NO_MASK)
    drawn, masks = float((case.mask > 0).mean()), segmentation(case)
    return Measured(float(masks.separate.mean()) - drawn, float(masks.reference.mean()) - drawn)


def _size_errors(reference: ReferenceParticles, regions: Objects) -> Floats:
    """Measured minus true diameter of every particle, ``(K,)``; NaN where it is no single whole region."""
    errors = np.full(len(reference.diameters), np.nan)
    pairs = match_points(reference.centres, MATCH_REACH * reference.diameters / 2.0, regions.centres)
    single = ~regions.border & (regions.fill >= SIMPLE) & (_occupants(regions, reference.neighbours) <= 1)
    pairs = pairs[single[pairs[:, 1]]]
    errors[pairs[:, 0]] = regions.diameters[pairs[:, 1]] - reference.diameters[pairs[:, 0]]
    return errors


def _occupants(regions: Objects, centres: Floats) -> Indices:
    """How many of the centres lie in each region, ``(K,)``."""
    pixels = np.round(centres).astype(np.int64)
    inside = ((pixels >= 0) & (pixels < regions.labels.shape)).all(1)
    labels = regions.labels[pixels[inside, 0], pixels[inside, 1]]
    return np.bincount(labels, minlength=len(regions) + 1)[1:].astype(np.int64)


def _particles_of_truth(case: Case) -> ReferenceParticles:
    particles = ground_truth.particles(case.truth or {}, case.border, SMALLEST_DIAMETER)
    if particles is None:
        raise MetricUnavailable("the scene has no whole particles of known diameter")
    return ReferenceParticles(particles.centres, particles.diameters, particles.neighbours, objects(case)[0])


def _particles_of_hr(case: Case) -> ReferenceParticles:
    """Whole, convex regions of the HR image; their own diameters are the reference."""
    _check_particles(case)
    regions = objects(case)[0]
    usable = ~regions.border & (regions.fill >= SIMPLE) & (regions.diameters >= SMALLEST_DIAMETER)
    best = objects_of_second(case, segmentation(case).bright)
    return ReferenceParticles(regions.centres[usable], regions.diameters[usable], np.zeros((0, 2)), best)


def _check_particles(case: Case) -> None:
    others = f"diameters are those of particles, powders and dots, not of {case.category!r}"
    _check_measured(case, "particles", "" if holds_particles(case) else others)


def _check_measured(case: Case, what: str, by_category: str) -> None:
    """Refuse to measure what is not on the image: by its owner's word, otherwise by its category.

    Args:
        case: the image.
        what: ``particles``, ``lines``, ``pores`` or ``fibres``.
        by_category: why truth and category rule it out; empty where they do not.

    Raises:
        MetricUnavailable: says which of the two it was.
    """
    if case.measure:
        if what not in case.measure:
            raise MetricUnavailable(
                f"{what} are not measured: who knows the image names {', '.join(case.measure)}"
            )
    elif by_category:
        hint = "" if case.measure is None else f"; where there are {what}, say so: --measure {what}"
        raise MetricUnavailable(by_category + hint)


@register_metric(
    title="Diameter W1",
    direction="lower",
    version=2,
    unit="px",
    bounds=(0.0, float("inf")),
    family=FAMILY,
    explanation="How far the size distribution is shifted or deformed; it does not notice particles "
    "that were exchanged for invented ones.",
)
def diameter_w1(case: Case) -> float:
    """First Wasserstein distance of the diameters of all whole particles in SR and in HR, in pixels."""
    from scipy.stats import wasserstein_distance

    _check_particles(case)
    reference, result = (
        regions.diameters[~regions.border & (regions.diameters >= SMALLEST_DIAMETER)]
        for regions in objects(case)
    )
    if len(reference) < FEWEST_PARTICLES:
        raise MetricUnavailable(
            f"the reference shows {len(reference)} whole particles of {SMALLEST_DIAMETER:.0f} px or more, "
            f"{FEWEST_PARTICLES} are needed"
        )
    if not len(result):
        raise MetricUnavailable(f"{LOST}it shows no whole particle of {SMALLEST_DIAMETER:.0f} px or more")
    return float(wasserstein_distance(result, reference))


@register_measurement(
    "pore_fraction_bias",
    title="Pore fraction bias",
    explanation="By how much the area share of the pores comes out too high (+) or too low (-).",
    title_hr="Pore fraction error on HR",
    explanation_hr="By how much the pore share comes out wrong on the true HR image by the same rule.",
    bounds=(-1.0, 1.0),
)
def pore_fraction(case: Case) -> Measured:
    """Error of the area fraction of the pores, each image by its own Otsu threshold."""
    return case.cached("measured pores", lambda: _pore_fraction(case))


def _pore_fraction(case: Case) -> Measured:
    truth = case.truth or {}
    porous = truth.get("phase") == "pore" or any(name in case.category.lower() for name in DARK)
    none = "" if porous else "pores are measured on porous samples; this is none by truth or category"
    _check_measured(case, "pores", none)
    if "fraction" in truth:
        # The true fraction is that of the whole image.
        reference = float(truth["fraction"])
        sr, best = (float(phase(plane, bright=False).mean()) for plane in (case.full_sr, case.full_hr))
        return Measured(sr - reference, best - reference)
    masks = segmentation(case)
    # Pores are the dark phase, whatever else is counted as objects.
    reference, sr = (float((mask ^ masks.bright).mean()) for mask in (masks.reference, masks.separate))
    second = None if case.second is None else float(phase(case.second, bright=False).mean()) - reference
    return Measured(sr - reference, second)


@register_measurement(
    "fibre_diameter_bias",
    title="Fibre diameter bias",
    explanation="By how much fibres and wires come out too thick (+) or too thin (-) on average.",
    title_hr="Fibre diameter error on HR",
    explanation_hr="By how much the same fibres come out too thick or too thin on the true HR image.",
    unit="px",
)
def fibre_diameters(case: Case) -> Measured:
    """Mean error of the local thickness along clear stretches of fibres, in pixels."""
    return case.cached("measured fibres", lambda: _fibre_diameters(case))


def _fibre_diameters(case: Case) -> Measured:
    if case.truth is None:
        _check_fibres(case)
        reference = _fibres_in(case, "hr")
        usable = reference.widths >= THINNEST
        reference = CentreLines(reference.points[usable], reference.widths[usable])
        planes = ["sr", *([] if case.second is None else ["second"])]
    else:
        scene = ground_truth.fibres(case.truth, case.border, case.hr.shape, THINNEST)
        if scene is None:
            raise MetricUnavailable("the scene has no fibres or wires of known width")
        reference, planes = scene, ["sr", "hr"]
    return _width_bias(case, reference, planes)


@register_measurement(
    "fibre_diameter_hand_bias",
    title="Fibre diameter (hand) bias",
    explanation="By how much fibres come out thicker (+) or thinner (-) than they were drawn by hand.",
    title_hr="Fibre diameter (hand) error on HR",
    explanation_hr="By how much the same fibres come out thicker or thinner than drawn by hand on the true "
    "HR image.",
    unit="px",
)
def fibre_diameters_by_hand(case: Case) -> Measured:
    """Mean error of the local thickness of fibres against those drawn by hand, in pixels."""
    return case.cached("measured fibres by hand", lambda: _fibre_diameters_by_hand(case))


def _fibre_diameters_by_hand(case: Case) -> Measured:
    if case.mask is None:
        raise MetricUnavailable(NO_MASK)
    _check_fibres(case)
    drawn = case.mask > 0
    lines = centre_lines(smoothed(drawn.astype(np.float64)), 0.5, cleaned(drawn))
    usable = lines.widths >= THINNEST
    reference = CentreLines(lines.points[usable], lines.widths[usable])
    return _width_bias(case, reference, ["sr", "hr"])


def _width_bias(case: Case, reference: CentreLines, planes: Sequence[str]) -> Measured:
    errors = [width_errors(reference, _fibres_in(case, plane), MATCH_REACH) for plane in planes]
    what = f"pixels of clear centre lines of fibres of {THINNEST:.0f} px or more"
    return mean_bias(errors, FIBRE_LENGTH, what)


def _fibres_in(case: Case, plane: str) -> CentreLines:
    """Centre lines in ``sr``, ``hr`` or ``second`` of a case, by its own Otsu threshold."""

    def find() -> CentreLines:
        smooth = smoothed(getattr(case, plane))
        threshold = otsu(smooth)[0]
        return centre_lines(smooth, threshold, cleaned((smooth > threshold) ^ (not bright)))

    bright = segmentation(case).bright
    return case.cached(f"measured fibres in {plane}", find)


def _check_fibres(case: Case) -> None:
    fibrous = not case.category or any(name in case.category.lower() for name in FIBROUS)
    others = f"fibre diameters are those of fibres and nanowires, not of {case.category!r}"
    _check_measured(case, "fibres", "" if fibrous else others)


@dataclass(frozen=True, eq=False)
class MeasuredLines:
    """The lines of a case in the reference and as found in the images.

    Attributes:
        widths: ``(K,)`` true mean widths in pixels, or those measured on HR.
        edges: true edges row by row, or those of HR; empty where only straight fingers are known.
        exact: whether ``edges`` are geometry, free of the noise of edge detection.
        images: edges found in the SR image and, where there is one, in the image to judge it by.
    """

    widths: Floats
    edges: tuple[Edges, ...]
    exact: bool
    images: tuple[EdgesFound, ...]


@register_measurement(
    "cd_bias",
    title="CD bias",
    explanation="By how much lines come out too wide (+) or too narrow (-) on average.",
    title_hr="CD error on HR",
    explanation_hr="By how much the same lines come out too wide or too narrow on the true HR image.",
    unit="px",
)
def line_widths(case: Case) -> Measured:
    """Mean error of the line widths (CD, 50 % threshold), in pixels."""
    return mean_bias(_width_errors(_lines(case)), FEWEST_LINES, LINES)


@register_measurement(
    "ler_bias",
    title="LER bias",
    explanation="By how much the roughness of line edges (3 sigma, noise removed) comes out too high (+) or, "
    "smoothed away, too low (-).",
    title_hr="LER error on HR",
    explanation_hr="By how much the roughness of the same edges comes out wrong on the true HR image.",
    unit="px",
)
def line_edge_roughness(case: Case) -> Measured:
    """Error of the line-edge roughness, 3 sigma of one edge, unbiased, in pixels."""
    return _roughness_error(
        _lines(case), lambda lines: np.array([side for line in lines for side in (line.left, line.right)])
    )


@register_measurement(
    "lwr_bias",
    title="LWR bias",
    explanation="By how much the roughness of line widths (3 sigma, noise removed) comes out too high (+) or "
    "too low (-).",
    title_hr="LWR error on HR",
    explanation_hr="By how much the width roughness of the same lines comes out wrong on the true HR image.",
    unit="px",
)
def line_width_roughness(case: Case) -> Measured:
    """Error of the line-width roughness, 3 sigma of the width, unbiased, in pixels."""
    return _roughness_error(_lines(case), lambda lines: np.array([line.width for line in lines]))


def _width_errors(lines: MeasuredLines) -> list[Floats]:
    """For each image the error of every line's mean width, NaN where the line was not found."""
    widths = [[np.nan if edges is None else edges.width.mean() for edges in image] for image in lines.images]
    return [np.array(some, dtype=np.float64) - lines.widths for some in widths]


def _roughness_error(lines: MeasuredLines, profiles: Profiles) -> Measured:
    """3 sigma over the lines found in all images, minus that of the same lines in the reference."""
    if not lines.edges:
        raise MetricUnavailable("the lines of this scene are straight: they have no roughness to measure")
    if len(lines.edges[0].left) < STRETCH:
        raise MetricUnavailable(
            f"roughness needs lines of {STRETCH} px or more, these are {len(lines.edges[0].left)} px long"
        )
    # Which lines count, and the reasons where too few do, are those of the widths.
    widths = mean_bias(_width_errors(lines), FEWEST_LINES, LINES)
    best = lines.images[-1] if len(lines.images) > 1 else lines.edges
    chosen = [n for n, edges in enumerate(best) if edges and (widths.lost or lines.images[0][n])]
    errors = [
        _three_sigma_error(lines, image, chosen, profiles) for image in lines.images[bool(widths.lost) :]
    ]
    error_hr = errors[-1] if len(lines.images) > 1 else None
    return Measured(math.nan if widths.lost else errors[0], error_hr, widths.lost)


def _three_sigma_error(
    lines: MeasuredLines, image: EdgesFound, chosen: list[int], profiles: Profiles
) -> float:
    measured = roughness(profiles([edges for n in chosen if (edges := image[n]) is not None]))
    true = roughness(profiles([lines.edges[n] for n in chosen]))
    return 3.0 * (measured.sigma - (true.biased if lines.exact else true.sigma))


def _lines(case: Case) -> MeasuredLines:
    return case.cached(
        "measured lines", lambda: _lines_of_hr(case) if case.truth is None else _lines_of_truth(case)
    )


def _lines_of_truth(case: Case) -> MeasuredLines:
    grating = ground_truth.grating(case.truth or {}, case.border, case.hr.shape)
    if grating is None:
        raise MetricUnavailable("the scene has no straight lines of known width")
    planes = (plane.T if grating.across else plane for plane in (case.sr, case.hr))
    images = tuple(_edges_in(plane, grating.lines) for plane in planes)
    return MeasuredLines(grating.widths, grating.edges, True, images)


def _lines_of_hr(case: Case) -> MeasuredLines:
    """A grating along the columns or rows of the HR image; its own edges are the reference."""
    _check_measured(case, "lines", "")
    for across in (False, True):
        planes = [case.hr, case.sr, *([] if case.second is None else [case.second])]
        hr, *images = [plane.T if across else plane for plane in planes]
        measurable = [
            (line, edges) for line in find_lines(hr) if (edges := measure_line(hr, line)) is not None
        ]
        if measurable:
            lines, true = tuple(line for line, _ in measurable), tuple(edges for _, edges in measurable)
            widths = np.array([edges.width.mean() for edges in true])
            return MeasuredLines(widths, true, False, tuple(_edges_in(image, lines) for image in images))
    raise MetricUnavailable("the reference shows no grating along its rows or columns")


def _edges_in(plane: Plane, lines: tuple[Line, ...]) -> EdgesFound:
    return tuple(measure_line(plane, line) for line in lines)
