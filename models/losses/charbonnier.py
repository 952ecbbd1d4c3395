"""Charbonnier's penalty: an absolute difference that is smooth at zero.

Charbonnier, Blanc-Feraud, Aubert and Barlaud (1994), "Two deterministic half-quadratic regularization
algorithms for computed imaging"; as a loss of super-resolution in Lai et al. 2017 (arXiv 1704.03915, eq. 1).
"""

from __future__ import annotations

from torch import Tensor

from srbench.models.interface import ModelError

EPSILON = 1e-3


def charbonnier_loss(sr: Tensor, hr: Tensor, *, epsilon: float = EPSILON) -> Tensor:
    """``sqrt((sr - hr)^2 + epsilon^2)`` summed over an image and averaged over the batch.

    Args:
        sr: ``(N, C, H, W)``.
        hr: same shape.
        epsilon: below this difference the penalty is a parabola, above it the absolute difference.

    Returns:
        Scalar; ``epsilon * C * H * W`` for equal images, nowhere less.

    Raises:
        ModelError: the shapes differ.
    """
    if sr.shape != hr.shape:
        raise ModelError(
            f"The Charbonnier loss expects two batches of one shape, found {tuple(sr.shape)} "
            f"and {tuple(hr.shape)}."
        )
    penalty = ((sr - hr).square() + epsilon**2).sqrt()
    return penalty.flatten(1).sum(1).mean()
