"""Fidelity: PSNR, SSIM, MS-SSIM and GMSD.

Each is a function of two numpy planes, ``ssim(sr, hr, data_range=1.0)``, and at the same time the metric of
that name, which an evaluation computes of the image without its border.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from srbench.metrics.registry import Case, MetricUnavailable, register_metric
from srbench.utils.errors import SrbenchError
from srbench.utils.image import Plane

PairFunction = TypeVar("PairFunction", bound=Callable[..., float])

CAP_DB = 100.0
"""PSNR of identical images. Infinity would make every mean infinite, leaving the image out would punish the
model that restored it exactly, so values stop at 100 dB, an error of 1/400 of a grey level of 8 bits."""

WINDOW = 11
SIGMA = 1.5
K1, K2 = 0.01, 0.03

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales of MS-SSIM, finest first (Wang, Simoncelli and Bovik 2003)."""

MS_SSIM_SIDE = WINDOW * 2 ** (len(SCALE_WEIGHTS) - 1)
"""Smallest side, 176 pixels: the window lies inside the coarsest scale, as the authors' code demands."""

GMSD_CONSTANT = 170.0 / 255.0**2
"""Stabiliser of the gradient similarity: Xue et al. have 170 for grey levels up to 255."""

GMSD_SIDE = 6
"""Smallest side: three gradients after the halving, one of them away from the border."""


def register_pair_metric(**card: Any) -> Callable[[PairFunction], PairFunction]:
    """Register ``(sr, hr, data_range) -> float`` as a metric of both images without their border.

    The arguments are those of :func:`register_metric`; the decorated function stays as it is.
    """

    def register(function: PairFunction) -> PairFunction:
        @functools.wraps(function)
        def compute(case: Case) -> float:
            return function(case.sr, case.hr, case.data_range)

        register_metric(**card)(compute)
        return function

    return register


def planes_of(sr: ArrayLike, hr: ArrayLike, data_range: float = 1.0) -> tuple[Plane, Plane]:
    """Both images as float64 planes.

    Raises:
        SrbenchError: not two planes ``(H, W)`` of one shape, or integers without their data range.
    """
    arrays = np.asarray(sr), np.asarray(hr)
    shapes = arrays[0].shape, arrays[1].shape
    if shapes[0] != shapes[1] or arrays[0].ndim != 2 or not arrays[0].size:
        raise SrbenchError(
            f"Expected two planes (H, W) of one shape, found {shapes[0]} and {shapes[1]}; "
            "take the luma of colour images first."
        )
    if data_range == 1.0 and any(array.dtype.kind in "iu" for array in arrays):
        raise SrbenchError(
            f"Integer pixels do not span a range of 1, found {arrays[0].dtype} and {arrays[1].dtype}; "
            "divide both by their largest value, or pass it as data_range (255 for uint8)."
        )
    return arrays[0].astype(np.float64, copy=False), arrays[1].astype(np.float64, copy=False)


def check_side(plane: Plane, smallest: int, what: str) -> None:
    """Refuse images too small for a metric.

    Raises:
        MetricUnavailable: names the size needed and the one found.
    """
    height, width = plane.shape
    if min(height, width) < smallest:
        raise MetricUnavailable(
            f"{what} needs at least {smallest} x {smallest} pixels inside the border, found "
            f"{height} x {width}"
        )


@register_pair_metric(
    title="PSNR",
    direction="higher",
    unit="dB",
    bounds=(float("-inf"), CAP_DB),
    explanation="Size of the grey-level errors; a blurred image often scores better than a sharp one.",
    family="fidelity",
)
def psnr(sr: ArrayLike, hr: ArrayLike, data_range: float = 1.0) -> float:
    """Peak signal-to-noise ratio in dB, ``10 log10(range^2 / mean (sr - hr)^2)``, at most ``CAP_DB``.

    Args:
        sr: ``(H, W)``.
        hr: the same shape.
        data_range: difference between white and black.

    Raises:
        SrbenchError: not two planes of one shape, or integers without their data range.
    """
    result, reference = planes_of(sr, hr, data_range)
    # No product of a library whose threads decide the order of the sum.
    mean_square = float(np.square(result - reference).mean()) / data_range**2
    return CAP_DB if mean_square <= 10.0 ** (-CAP_DB / 10.0) else -10.0 * math.log10(mean_square)


@register_pair_metric(
    title="SSIM",
    direction="higher",
    bounds=(-1.0, 1.0),
    explanation="Agreement of local brightness, contrast and pattern; 1 means identical.",
    family="fidelity",
)
def ssim(sr: ArrayLike, hr: ArrayLike, data_range: float = 1.0) -> float:
    """Mean structural similarity (Wang, Bovik, Sheikh and Simoncelli, IEEE TIP 13(4), 2004, eq. 13).

    As their reference code computes it: Gaussian window 11 x 11 with sigma 1.5, K1 = 0.01, K2 = 0.03,
    population covariance, only windows that lie inside the image.

    Args:
        sr: ``(H, W)``, both sides at least 11.
        hr: the same shape.
        data_range: difference between white and black.

    Returns:
        A value in [-1, 1].

    Raises:
        MetricUnavailable: the image is smaller than the window.
        SrbenchError: not two planes of one shape, or integers without their data range.
    """
    result, reference = planes_of(sr, hr, data_range)
    check_side(result, WINDOW, "SSIM")
    luminance, structure = _similarities(result, reference, data_range)
    return float((luminance[0] * structure[0] / (luminance[1] * structure[1])).mean())


@register_pair_metric(
    title="MS-SSIM",
    direction="higher",
    bounds=(0.0, 1.0),
    explanation="SSIM over five magnifications of the same image: forgives what only the finest pixels show, "
    "and takes invented or missing particles for a blur.",
    family="fidelity",
)
def ms_ssim(sr: ArrayLike, hr: ArrayLike, data_range: float = 1.0) -> float:
    """Multi-scale structural similarity (Wang, Simoncelli and Bovik 2003, eq. 7).

    The product of the mean contrast-structure similarities of five scales and, at the coarsest, of the whole
    SSIM, with the exponents ``SCALE_WEIGHTS``. A scale is the mean over 2 x 2 pixels of the one before; an
    odd last row or column is mirrored first, as in the authors' code. A negative mean counts as 0: broken
    exponents have no value for it.

    Args:
        sr: ``(H, W)``, both sides at least 176.
        hr: the same shape.
        data_range: difference between white and black.

    Returns:
        A value in [0, 1].

    Raises:
        MetricUnavailable: a side is shorter than 176 pixels.
        SrbenchError: not two planes of one shape, or integers without their data range.
    """
    result, reference = planes_of(sr, hr, data_range)
    check_side(result, MS_SSIM_SIDE, "MS-SSIM")
    product = 1.0
    for index, weight in enumerate(SCALE_WEIGHTS):
        if index:
            result, reference = _halved(result, "symmetric"), _halved(reference, "symmetric")
        luminance, structure = _similarities(result, reference, data_range)
        similarity = structure[0] / structure[1]
        if index == len(SCALE_WEIGHTS) - 1:
            similarity *= luminance[0] / luminance[1]
        product *= max(float(similarity.mean()), 0.0) ** weight
    return product


@register_pair_metric(
    title="GMSD",
    direction="lower",
    bounds=(0.0, 0.5),
    explanation="How unevenly edges lost or gained strength over the image; 0 means everywhere alike, "
    "not everywhere right.",
    family="fidelity",
)
def gmsd(sr: ArrayLike, hr: ArrayLike, data_range: float = 1.0) -> float:
    """Gradient magnitude similarity deviation (Xue, Zhang, Mou and Bovik 2014, eqs. 4 to 6).

    Mean over 2 x 2 pixels, Prewitt gradients over 3 with zeros around the image, similarity
    ``(2 g h + c) / (g^2 + h^2 + c)``, its standard deviation over the pixels.

    Args:
        sr: ``(H, W)``, both sides at least 6.
        hr: the same shape.
        data_range: difference between white and black.

    Returns:
        A value in [0, 0.5]: a similarity lies in (0, 1], whose standard deviation is at most a half.

    Raises:
        MetricUnavailable: a side is shorter than 6 pixels.
        SrbenchError: not two planes of one shape, or integers without their data range.
    """
    result, reference = planes_of(sr, hr, data_range)
    check_side(result, GMSD_SIDE, "GMSD")
    squared_sr, squared_hr = _squared_gradient(result), _squared_gradient(reference)
    constant = GMSD_CONSTANT * data_range**2
    similarity = (2.0 * np.sqrt(squared_sr * squared_hr) + constant) / (squared_sr + squared_hr + constant)
    return float(similarity.std())


def _similarities(sr: Plane, hr: Plane, data_range: float) -> tuple[tuple[Plane, Plane], tuple[Plane, Plane]]:
    """Numerator and denominator of the luminance term and of the contrast-structure term of every window."""
    mean_sr, mean_hr = _window_mean(sr), _window_mean(hr)
    product = mean_sr * mean_hr
    squares = mean_sr * mean_sr + mean_hr * mean_hr
    # Only the sum of the two variances is needed, so four means do the work of five.
    variances = _window_mean(sr * sr + hr * hr) - squares
    covariance = _window_mean(sr * hr) - product
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    return (2.0 * product + c1, squares + c1), (2.0 * covariance + c2, variances + c2)


def _window_mean(plane: Plane) -> Plane:
    """Gaussian mean over the window, at the positions where it lies inside the plane."""
    import cv2

    kernel = cv2.getGaussianKernel(WINDOW, SIGMA, cv2.CV_64F)
    blurred: Plane = cv2.sepFilter2D(plane, cv2.CV_64F, kernel, kernel)
    radius = WINDOW // 2
    height, width = plane.shape
    return blurred[radius : height - radius, radius : width - radius]


def _halved(plane: Plane, padding: Any) -> Plane:
    """Mean over 2 x 2 pixels, odd sides padded first: ``symmetric`` or with zeros (``constant``)."""
    height, width = plane.shape
    if height % 2 or width % 2:
        plane = np.pad(plane, ((0, height % 2), (0, width % 2)), mode=padding)
    rows = plane[::2] + plane[1::2]
    return np.asarray((rows[:, ::2] + rows[:, 1::2]) * 0.25, dtype=np.float64)


def _squared_gradient(plane: Plane) -> Plane:
    """Squared Prewitt gradient over 3 of the halved image, zeros around it as the authors have it."""
    import cv2

    small = _halved(plane, "constant")
    step, mean = np.array([-1.0, 0.0, 1.0]) / 3.0, np.ones(3)
    across = cv2.sepFilter2D(small, cv2.CV_64F, step, mean, borderType=cv2.BORDER_CONSTANT)
    down = cv2.sepFilter2D(small, cv2.CV_64F, mean, step, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(across * across + down * down, dtype=np.float64)
