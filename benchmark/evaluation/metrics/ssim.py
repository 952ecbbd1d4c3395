"""SSIM: whether local brightness, contrast and pattern agree.

Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural
similarity", IEEE TIP 13(4), 2004, eq. 13, as their reference code computes it: Gaussian window 11 x 11 with
sigma 1.5, K1 = 0.01, K2 = 0.03, population covariance, only windows that lie inside the image.
"""

from __future__ import annotations

from srbench.evaluation.metrics.registry import Case, MetricUnavailable, Plane, register_metric

WINDOW = 11
SIGMA = 1.5
K1, K2 = 0.01, 0.03


def ssim_of(sr: Plane, hr: Plane, data_range: float = 1.0) -> float:
    """Mean structural similarity of two planes.

    Args:
        sr: ``(H, W)`` float64, both sides at least 11.
        hr: the same shape.
        data_range: difference between white and black.

    Raises:
        MetricUnavailable: the image is smaller than the window.
    """
    if min(sr.shape) < WINDOW:
        raise MetricUnavailable(
            f"SSIM needs at least {WINDOW} x {WINDOW} pixels inside the border, found "
            f"{sr.shape[0]} x {sr.shape[1]}"
        )
    mean_sr, mean_hr = _blur(sr), _blur(hr)
    product = mean_sr * mean_hr
    squares = mean_sr * mean_sr + mean_hr * mean_hr
    # Only the sum of the two variances is needed, so four blurs do the work of five.
    variances = _blur(sr * sr + hr * hr) - squares
    covariance = _blur(sr * hr) - product
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    similarity = ((2.0 * product + c1) * (2.0 * covariance + c2)) / ((squares + c1) * (variances + c2))
    return float(similarity.mean())


def _blur(plane: Plane) -> Plane:
    """Gaussian mean over the window, at the positions where it lies inside the plane."""
    import cv2

    kernel = cv2.getGaussianKernel(WINDOW, SIGMA, cv2.CV_64F)
    blurred: Plane = cv2.sepFilter2D(plane, cv2.CV_64F, kernel, kernel)
    radius = WINDOW // 2
    height, width = plane.shape
    return blurred[radius : height - radius, radius : width - radius]


@register_metric(
    title="SSIM",
    direction="higher",
    bounds=(-1.0, 1.0),
    explanation="Agreement of local brightness, contrast and pattern; 1 means identical.",
    family="fidelity",
)
def ssim(case: Case) -> float:
    """SSIM of the image without its border."""
    return ssim_of(case.sr, case.hr, case.data_range)
