"""The interpolations: what every trained network has to beat.

All four follow MATLAB's ``imresize`` (half-pixel centres, symmetric border), the convention behind published
super-resolution tables: bicubic is Keys' kernel with a = -1/2, Lanczos has three lobes. At magnification 1
all give the image back: the noisy image itself, which a denoising network has to beat.
"""

from __future__ import annotations

from torch import nn

from srbench.models.layers import InterpolationUpsample
from srbench.models.registry import register_model

SCALES = (1, 2, 3, 4, 8)
VARIANTS = ("matlab",)


@register_model(
    title="Nearest",
    family="interpolation",
    paper="https://www.mathworks.com/help/images/ref/imresize.html",
    year=1967,
    scales=SCALES,
    variants=VARIANTS,
    trainable=False,
    summary="Every LR pixel becomes a square of equal pixels.",
)
def nearest(scale: int, channels: int, variant: str) -> nn.Module:
    """Pixel repetition; ``channels`` and ``variant`` change nothing."""
    return InterpolationUpsample("nearest", scale)


@register_model(
    title="Bilinear",
    family="interpolation",
    paper="https://www.mathworks.com/help/images/ref/imresize.html",
    year=1968,
    scales=SCALES,
    variants=VARIANTS,
    trainable=False,
    summary="Straight lines between the LR pixels.",
)
def bilinear(scale: int, channels: int, variant: str) -> nn.Module:
    """Linear interpolation; ``channels`` and ``variant`` change nothing."""
    return InterpolationUpsample("bilinear", scale)


@register_model(
    title="Bicubic",
    family="interpolation",
    paper="https://doi.org/10.1109/TASSP.1981.1163711",
    publication="Cubic Convolution Interpolation for Digital Image Processing",
    authors="Keys, Robert G.",
    year=1981,
    scales=SCALES,
    variants=VARIANTS,
    trainable=False,
    summary="Smooth cubic curves through the LR pixels; the usual yardstick of super-resolution.",
)
def bicubic(scale: int, channels: int, variant: str) -> nn.Module:
    """Keys' cubic convolution, a = -1/2; ``channels`` and ``variant`` change nothing."""
    return InterpolationUpsample("bicubic", scale)


@register_model(
    title="Lanczos",
    family="interpolation",
    paper="https://doi.org/10.1175/1520-0450(1979)018%3C1016:LFIOAT%3E2.0.CO;2",
    publication="Lanczos Filtering in One and Two Dimensions",
    authors="Duchon, Claude E.",
    year=1979,
    scales=SCALES,
    variants=VARIANTS,
    trainable=False,
    summary="Windowed sinc with three lobes: the sharpest of the interpolations, with slight ringing.",
)
def lanczos(scale: int, channels: int, variant: str) -> nn.Module:
    """Lanczos interpolation, three lobes; ``channels`` and ``variant`` change nothing."""
    return InterpolationUpsample("lanczos", scale)
