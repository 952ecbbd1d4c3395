"""Size of the errors against a reference: PSNR; and against a noisy recording, chi square a pixel."""

from __future__ import annotations

from torch import Tensor

from srbench.evaluation.metrics.psnr import CAP_DB


def psnr(sr: Tensor, hr: Tensor, data_range: float = 1.0) -> Tensor:
    """Peak signal-to-noise ratio, ``10 log10(range^2 / mean (sr - hr)^2)``.

    Args:
        sr: ``(N, H, W)`` floating point, any device.
        hr: the same shape.
        data_range: difference between white and black.

    Returns:
        ``(N,)`` in dB, at most ``CAP_DB``, which identical images get.

    Raises:
        ValueError: not two batches of planes of one shape.
    """
    check_pair(sr, hr)
    mean_square = (sr - hr).square_().mean((-2, -1)) / data_range**2
    return (-10.0 * mean_square.log10()).clamp(max=CAP_DB)


def chi_square(degraded: Tensor, lr: Tensor, variance: Tensor) -> Tensor:
    """Chi square a pixel, ``mean (degraded - lr)^2 / variance``.

    The mean over n pixels whose noise is independent and near Gaussian scatters around its expectation of 1
    with standard deviation ``sqrt(2 / n)``.

    Args:
        degraded: ``(N, h, w)`` what the result would have been recorded as at infinite dose.
        lr: what was recorded, the same shape.
        variance: expected square of the difference between the recording and the truth's ``degraded``, the
            same shape, above 0. Take it at the *truth*: taken at the result it would forgive what is drawn
            too bright, where counting noise is larger, and weigh the pixels of every model differently.

    Returns:
        ``(N,)``: 1 where the difference is all noise, far below 1 where the noise was copied, above 1 where
        the result contradicts the recording.

    Raises:
        ValueError: shapes differ, or a variance is not above 0.
    """
    check_pair(degraded, lr)
    check_pair(variance, lr)
    if not bool((variance > 0.0).all()):
        raise ValueError(f"Expected variances above 0, found {float(variance.min()):g}.")
    return ((degraded - lr).square_() / variance).mean((-2, -1))


def check_pair(sr: Tensor, hr: Tensor) -> None:
    """Refuse anything but two floating-point batches ``(N, H, W)`` of one shape and dtype.

    Raises:
        ValueError: says what was found.
    """
    if sr.shape != hr.shape or sr.ndim != 3 or not sr.numel():
        raise ValueError(
            f"Expected two batches (N, H, W) of one shape, found {tuple(sr.shape)} and {tuple(hr.shape)}."
        )
    if sr.dtype != hr.dtype or not sr.is_floating_point():
        raise ValueError(f"Expected floating-point planes of one dtype, found {sr.dtype} and {hr.dtype}.")
