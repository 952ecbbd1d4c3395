"""Edges: invented, missing, recovered, displaced; and the shift of the image as a whole.

The thresholds come from the reference, once; every other image is held to them. Against a noisy reference
part of its edges are noise, which a result without noise does not show: the noise ceiling says how many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srbench.metrics.registry import Case, MetricUnavailable, register_metric
from srbench.metrics.spectrum import Spectrum, radial_frequency, windowed_plane, windowed_spectrum
from srbench.utils.image import Plane

Mask = NDArray[np.bool_]
Points = NDArray[np.int64]

TOLERANCE = 1.0
SMALLEST = 16

SIGMA = 1.2
"""Smoothing before the gradient, in HR pixels."""

QUANTILE = 0.93
"""Share of the pixels of the reference whose gradient lies below the upper threshold."""

LOWER = 0.5
"""Lower threshold as a share of the upper one."""

FLOOR = 0.5 / 255.0
"""Least upper threshold in grey ranges per pixel: ten times what rounding to 8 bits causes there."""

SOBEL_GAIN = 8.0
"""scipy's Sobel filter, on which scikit-image's Canny rests, gives eight times the slope per pixel."""

NORMAL_REACH = 3
"""How far along the normal the edge of SR is looked for, in pixels."""

LEAST = 20
"""Edge pixels below which the share of recovered ones is not given."""

UPSAMPLING = 100
PASSES = 4


@dataclass(frozen=True, eq=False)
class Gradient:
    """Gradient of a smoothed image, in grey ranges per pixel, ``(H, W)`` each.

    Attributes:
        y: along the rows' axis, downwards.
        x: along the columns' axis, to the right.
        magnitude: its length.
    """

    y: Plane
    x: Plane
    magnitude: Plane


@dataclass(frozen=True)
class EdgeScores:
    """Agreement of edge pixels within a tolerance; NaN where one side has no edges.

    Attributes:
        precision: share of the edges of SR that have an edge of the reference nearby.
        recall: share of the edges of the reference that have an edge of SR nearby.
        f1: harmonic mean of both; 0 where only one image has edges.
    """

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Displacement:
    """How far edges moved along their normals, in pixels; NaN where none was found again.

    Attributes:
        median: median of the distance.
        bias: mean with its sign; positive where bright regions grew.
        share: of the edge pixels of the reference that have an edge of the same polarity within reach.
    """

    median: float
    bias: float
    share: float


def gradient(image: Plane, sigma: float = SIGMA) -> Gradient:
    """Sobel gradient of a Gaussian-smoothed ``(H, W)`` image: the one that :func:`canny` follows."""
    from scipy import ndimage

    # Not OpenCV's, which is off by 1e-16: at ties with a threshold other pixels would be edges than Canny's.
    smooth = ndimage.gaussian_filter(image, sigma)
    y, x = (ndimage.sobel(smooth, axis) / SOBEL_GAIN for axis in (0, 1))
    return Gradient(y, x, np.sqrt(y * y + x * x))


def thresholds(reference: Gradient, data_range: float = 1.0) -> tuple[float, float]:
    """Lower and upper threshold of a reference, to be used for it and for what imitates it.

    The upper one is the 93 % quantile of the gradient, but never below half a grey level of 8 bits a pixel.
    """
    flat = reference.magnitude.ravel()
    rank = max(1, round(QUANTILE * flat.size)) - 1
    upper = max(float(np.partition(flat, rank)[rank]), FLOOR * data_range)
    return LOWER * upper, upper


def canny(image: Plane, lower: float, upper: float, sigma: float = SIGMA) -> Mask:
    """Edge pixels ``(H, W)`` by scikit-image's Canny detector, borders mirrored.

    Canny, "A computational approach to edge detection", IEEE TPAMI 8(6), 1986.

    Args:
        image: ``(H, W)``.
        lower: slope in grey ranges per pixel that every edge pixel has.
        upper: slope that one pixel of every chain has.
        sigma: smoothing in pixels.
    """
    from skimage import feature

    limits = {"low_threshold": SOBEL_GAIN * lower, "high_threshold": SOBEL_GAIN * upper}
    return np.asarray(feature.canny(image, sigma, mode="reflect", **limits), dtype=bool)


def edge_scores(edges_sr: Mask, edges_hr: Mask, tolerance: float = 1.0) -> EdgeScores:
    """Precision, recall and F1 of edge pixels ``(H, W)`` within a distance in pixels."""
    precision = _share(edges_sr & near(edges_hr, tolerance), edges_sr)
    recall = _share(edges_hr & near(edges_sr, tolerance), edges_hr)
    if math.isnan(precision) and math.isnan(recall):
        return EdgeScores(precision, recall, math.nan)
    p, r = np.nan_to_num([precision, recall])
    return EdgeScores(precision, recall, float(2.0 * p * r / (p + r)) if p + r else 0.0)


def edges_recovered(edges_sr: Mask, edges_hr: Mask, edges_bicubic: Mask, tolerance: float = 1.0) -> float:
    """Share of the edges that interpolation of LR lacks which SR has.

    NaN where it lacks fewer than 20 pixels of edges: a share of so few would be chance.

    Args:
        edges_sr: ``(H, W)``.
        edges_hr: of the reference.
        edges_bicubic: of the LR image, interpolated.
        tolerance: distance in pixels within which an edge is the same.
    """
    lacking = edges_hr & ~near(edges_bicubic, tolerance)
    return math.nan if lacking.sum() < LEAST else _share(lacking & near(edges_sr, tolerance), lacking)


def near(edges: Mask, distance: float) -> Mask:
    """Pixels whose centre lies within a Euclidean distance of an edge pixel's, ``(H, W)``."""
    from scipy import ndimage

    reach = np.arange(-int(distance), int(distance) + 1)
    disc = reach[:, None] ** 2 + reach**2 <= distance * distance
    return np.asarray(ndimage.binary_dilation(edges, disc), dtype=bool)


def _share(part: Mask, whole: Mask) -> float:
    count = int(whole.sum())
    return int(part.sum()) / count if count else math.nan


def displacement(sr: Gradient, hr: Gradient, edges_hr: Mask, lower: float) -> Displacement:
    """How far SR moved the edges of the reference.

    From each edge pixel of the reference the slope of both images is followed along the normal, up to three
    pixels to both sides; the nearest maximum of each, refined by a parabola through three samples, is where
    its edge lies. An edge of the opposite polarity, or one below the lower threshold, is none.

    Args:
        sr: gradient of the super-resolved image.
        hr: gradient of the reference.
        edges_hr: ``(H, W)`` edges of the reference.
        lower: lower threshold.
    """
    row, column = np.nonzero(edges_hr)
    length = hr.magnitude[row, column]
    ny, nx = hr.y[row, column] / length, hr.x[row, column] / length
    of_hr, of_sr = (
        _nearest_maximum(_profile(image, row, column, ny, nx), lower, ny, nx) for image in (hr, sr)
    )
    moved = of_hr - of_sr
    valid = moved[~np.isnan(moved)]
    if not len(valid):
        return Displacement(math.nan, math.nan, 0.0 if len(moved) else math.nan)
    # The lower of the two middle values where their number is even.
    median = np.sort(np.abs(valid))[(len(valid) - 1) // 2]
    return Displacement(float(median), float(valid.mean()), len(valid) / len(moved))


def _profile(image: Gradient, row: Points, column: Points, ny: Plane, nx: Plane) -> Plane:
    """Slope along the normal ``(E, 2 NORMAL_REACH + 3)`` of each edge pixel, at steps of one row or column.

    Stepping by whole pixels along the axis nearer to the normal leaves one dimension to interpolate, by the
    cubic (Lagrange) through four pixels. Beyond the border its pixels are repeated.
    """
    height, width = image.y.shape
    steps = np.arange(-NORMAL_REACH - 1.0, NORMAL_REACH + 2.0)
    steep = (np.abs(ny) >= np.abs(nx))[:, None]
    unit = np.maximum(np.abs(ny), np.abs(nx))
    ys = row[:, None] + (ny / unit)[:, None] * steps
    xs = column[:, None] + (nx / unit)[:, None] * steps
    across = np.where(steep, xs, ys)
    below = np.floor(across)
    t = across - below
    weights = (
        -t * (t - 1.0) * (t - 2.0) / 6.0,
        (t + 1.0) * (t - 1.0) * (t - 2.0) / 2.0,
        -(t + 1.0) * t * (t - 2.0) / 2.0,
        (t + 1.0) * t * (t - 1.0) / 6.0,
    )
    # Numbers of pixels, row after row: one look-up a tap and plane.
    along = np.round(np.where(steep, ys, xs)).astype(np.int64)
    first = np.where(steep, along.clip(0, height - 1) * width, along.clip(0, width - 1))
    last, stride = np.where(steep, width - 1, height - 1), np.where(steep, 1, width)
    nearest = below.astype(np.int64)
    down, right = image.y.ravel(), image.x.ravel()
    total = np.zeros_like(across)
    for tap, weight in zip(range(-1, 3), weights, strict=True):
        pixels = first + np.clip(nearest + tap, 0, last) * stride
        total += weight * (down.take(pixels) * ny[:, None] + right.take(pixels) * nx[:, None])
    return total


def _nearest_maximum(profile: Plane, least: float, ny: Plane, nx: Plane) -> Plane:
    """Signed distance ``(E,)`` along the normal to the maximum nearest to each edge pixel; NaN without one.

    Refined by a parabola through the logarithms of three samples, exact for the Gaussian profile that a
    smoothed step has; through the samples themselves where one is too small for that.
    """
    before, here, after = profile[:, :-2], profile[:, 1:-1], profile[:, 2:]
    steps = np.arange(-NORMAL_REACH, NORMAL_REACH + 1.0)
    unit = np.maximum(np.abs(ny), np.abs(nx))
    maximum = (here >= before) & (here > after) & (here >= least)
    distance = np.where(maximum, np.abs(steps) / unit[:, None], np.inf)
    at = distance.argmin(axis=1)
    rows = np.arange(len(profile))
    three = np.stack([before[rows, at], here[rows, at], after[rows, at]])
    usable = three.min(0) > 0.05 * three[1]
    b, h, a = np.where(usable, np.log(np.maximum(three, np.finfo(np.float64).tiny)), three)
    with np.errstate(divide="ignore", invalid="ignore"):
        along = (steps[at] + 0.5 * (a - b) / (2.0 * h - a - b)) / unit
    return np.where(np.isfinite(distance[rows, at]), along, np.nan)


def registration_shift(
    moved: Plane,
    reference: Plane,
    *,
    max_frequency: float = 0.5,
    whitening: float = 0.5,
    spectra: tuple[Spectrum, Spectrum] | None = None,
) -> tuple[float, float]:
    """Displacement of an image against its reference, downwards and to the right, in pixels, to 0.01.

    The peak of the correlation by scikit-image (Guizar-Sicairos, Thurman and Fienup 2008, doi
    10.1364/OL.33.000156). A window that stays in its place while the image moves pulls the peak to zero, the
    more the smoother the image is; so the windows are moved along with the result and it is computed again,
    up to four times. An image without content gives NaN.

    Args:
        moved: ``(H, W)``.
        reference: of the same size.
        max_frequency: highest frequency used, in cycles per pixel; what lies above may be noise.
        whitening: 1 is phase correlation, where all frequencies count the same, those of mere noise as well;
            0 is cross correlation, which coarse shading decides. Halfway is the least disturbed by either.
        spectra: of both images, as ``windowed_spectrum`` gives them, where they are there already.
    """
    from skimage.registration import phase_cross_correlation

    shift = (0.0, 0.0)
    spectra = spectra or (windowed_spectrum(moved), windowed_spectrum(reference))
    for number in range(PASSES):
        if number:
            half = (0.5 * shift[0], 0.5 * shift[1])
            spectra = windowed_spectrum(moved, half), windowed_spectrum(reference, (-half[0], -half[1]))
        image, other = (_whitened(values, moved.shape, max_frequency, whitening) for values in spectra)
        if not image.any() or not other.any():
            return math.nan, math.nan
        back, _, _ = phase_cross_correlation(other, image, upsample_factor=UPSAMPLING, normalization=None)
        before, shift = shift, (-float(back[0]), -float(back[1]))
        if max(abs(shift[0] - before[0]), abs(shift[1] - before[1])) < 1.0 / UPSAMPLING:
            break
    return shift


def _whitened(values: Spectrum, shape: tuple[int, ...], max_frequency: float, whitening: float) -> Plane:
    """A windowed image below the highest frequency, its amplitudes brought nearer to each other."""
    from scipy import fft

    radius = radial_frequency(shape[0], shape[1])
    size = np.abs(values)
    used = (size > 0) & (radius <= max_frequency) & (radius > 0)
    filtered = np.where(used, values / np.where(used, size, 1.0) ** whitening, 0.0)
    return np.asarray(fft.irfft2(filtered, shape), dtype=np.float64)


@register_metric(
    title="Edge F1",
    direction="higher",
    bounds=(0.0, 1.0),
    explanation="Agreement of the outlines within one pixel; blind to a shift of all by one pixel.",
    family="edges",
    version=2,
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
    version=2,
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
    version=2,
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
    version=2,
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
    version=2,
)
def edge_recovered(case: Case) -> float:
    """Recall on the edges of HR farther than 1 px from those of the bicubically enlarged LR image."""
    share = edges_recovered(_edges(case, "sr"), _edges(case, "hr"), _bicubic_edges(case), TOLERANCE)
    return _value(share, f"interpolation of LR lacks fewer than {LEAST} pixels of the reference's edges")


@register_metric(
    title="Edge displacement",
    direction="lower",
    unit="px",
    bounds=(0.0, float("inf")),
    explanation="How far an outline typically lies from its true place.",
    family="edges",
    version=2,
)
def edge_displacement(case: Case) -> float:
    """Median distance between matching edges along the normal."""
    return _value(_displacement(case).median, "no edge of the reference is found again within 3 px")


@register_metric(
    title="Edge growth",
    direction="none",
    unit="px",
    explanation="How far the outlines of bright regions have moved outwards on the average: "
    "0 is right, and a particle's diameter is wrong by twice the value.",
    family="edges",
    version=2,
)
def edge_bias(case: Case) -> float:
    """Mean signed displacement of matching edges, positive towards the dark side."""
    return _value(_displacement(case).bias, "no edge of the reference is found again within 3 px")


@register_metric(
    title="Shift",
    direction="lower",
    unit="px",
    bounds=(0.0, float("inf")),
    explanation="How far the image as a whole is displaced against the reference.",
    family="edges",
    version=2,
)
def shift(case: Case) -> float:
    """Length of the registration shift of what the LR image carries too, up to two LR pixels an axis."""
    _check_size(case)
    spectra = windowed_plane(case, "sr"), windowed_plane(case, "hr")
    displaced = registration_shift(case.sr, case.hr, max_frequency=0.5 / case.scale, spectra=spectra)
    reach = max(4.0, 2.0 * case.scale)
    if max(map(abs, displaced)) > reach:
        raise MetricUnavailable(
            f"the images fit best more than {reach:g} px apart: a structure that repeats itself, "
            "or nothing in common"
        )
    return _value(math.hypot(*displaced), "the result or the reference is one even grey")


def _value(result: float, reason: str) -> float:
    if math.isnan(result):
        raise MetricUnavailable(reason)
    return result


def _scores(case: Case, tolerance: float) -> EdgeScores:
    return case.cached(
        f"edges scores {tolerance}",
        lambda: edge_scores(_edges(case, "sr"), _edges(case, "hr"), tolerance),
    )


def _displacement(case: Case) -> Displacement:
    lower, _ = _thresholds(case)
    return case.cached(
        "edges displacement",
        lambda: displacement(_gradient(case, "sr"), _gradient(case, "hr"), _edges(case, "hr"), lower),
    )


def _gradient(case: Case, name: str) -> Gradient:
    _check_size(case)
    return case.cached(f"edges gradient of {name}", lambda: gradient(getattr(case, name)))


def _check_size(case: Case) -> None:
    height, width = case.hr.shape
    if min(height, width) < SMALLEST:
        raise MetricUnavailable(
            f"edges need at least {SMALLEST} x {SMALLEST} pixels inside the border, found {height} x {width}"
        )


def _thresholds(case: Case) -> tuple[float, float]:
    return case.cached("edges thresholds", lambda: thresholds(_gradient(case, "hr"), case.data_range))


def _edges(case: Case, name: str) -> Mask:
    return case.cached(f"edges of {name}", lambda: canny(getattr(case, name), *_thresholds(case)))


def _bicubic_edges(case: Case) -> Mask:
    import torch

    from srbench.datasets.images.resize import resize_by

    enlarged = resize_by(torch.from_numpy(np.ascontiguousarray(case.lr))[None], case.scale)
    top, left = ((whole - cut) // 2 for whole, cut in zip(case.full_hr.shape, case.hr.shape, strict=True))
    height, width = case.hr.shape
    inside = enlarged[0, top : top + height, left : left + width].clamp(0.0, case.data_range)
    return canny(inside.numpy(), *_thresholds(case))
