"""Iterative back-projection: bicubic interpolation, sharpened until it shrinks back to the LR image.

Irani and Peleg, "Improving resolution by image registration", CVGIP: Graphical Models and Image Processing
53(3), 1991, doi 10.1016/1049-9652(91)90045-L: the estimate is degraded as the LR image was, what is missing
is enlarged and added, and so on. Nothing is learned: what a network shows beyond it cannot come from the LR
image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from srbench.models.layers import BicubicDownsample, InterpolationUpsample
from srbench.models.registry import register_model

ITERATIONS = 8
"""On the 20 test scenes of ``sem_synthetic:small`` at x4 the result, rounded to 8 bits, gains 0.94 dB over
bicubic and agrees with the LR image to 66.5 dB (bicubic: 33.7 dB); more iterations gain less than 0.01 dB at
any scale."""


class BackProjection(nn.Module):
    """Bicubic interpolation corrected by what its shrunk image lacks; no parameters.

    A single image, MATLAB's antialiased bicubic shrinking as the degradation and bicubic enlarging as the
    back-projection kernel. The iteration converges: of what is missing it leaves at most 0.78 (x2; else 0.76)
    of the finest checkerboard, and next to nothing of what is smooth. The estimate is kept in [0, 1], which
    the true image is in too: beside flat black or white this removes the ringing. Where LR was made
    otherwise, or is noisy, it still shrinks to the LR image by bicubic, and copies the noise as every
    interpolation does.

    Args:
        scale: integer magnification.
        iterations: corrections.
    """

    def __init__(self, scale: int, iterations: int = ITERATIONS) -> None:
        super().__init__()
        self.enlarge = InterpolationUpsample("bicubic", scale)
        self.shrink = BicubicDownsample(scale)
        self.iterations = iterations
        # The outermost pixels that shrinking looks at lie in the near half of their cell, so that one of the
        # 2 + 2 LR pixels of a correction is never reached.
        correction = self.enlarge.receptive_radius + self.shrink.receptive_radius - 1
        self.receptive_radius = self.enlarge.receptive_radius + iterations * correction

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` in [0, 1] to ``(N, C, scale*H, scale*W)`` in [0, 1], same dtype."""
        # Half precision cannot hold the corrections.
        given = lr.float() if lr.dtype in (torch.float16, torch.bfloat16) else lr
        sr: Tensor = self.enlarge(given).clamp(0.0, 1.0)
        for _ in range(self.iterations):
            sr = (sr + self.enlarge(given - self.shrink(sr))).clamp(0.0, 1.0)
        return sr.to(lr.dtype)


@register_model(
    title="Back-projection",
    family="interpolation",
    paper="https://doi.org/10.1016/1049-9652(91)90045-L",
    publication="Improving Resolution by Image Registration",
    authors="Irani, Michal and Peleg, Shmuel",
    year=1991,
    scales=(2, 3, 4, 8),
    variants=("bicubic",),
    trainable=False,
    summary="Bicubic, sharpened until it shrinks back to the LR image: as far as one gets without learning.",
)
def back_projection(scale: int, channels: int, variant: str) -> nn.Module:
    """Irani and Peleg's iteration; ``channels`` and ``variant`` change nothing."""
    return BackProjection(scale)
