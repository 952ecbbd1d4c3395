"""Total variation: a penalty on differences of neighbouring pixels, in the form of the SRGAN ports."""

from __future__ import annotations

from torch import Tensor

from srbench.models.interface import ModelError
from srbench.models.recipe import LossInputs


def total_variation(image: Tensor) -> Tensor:
    """Twice the mean square of the vertical plus of the horizontal differences of neighbours, over the batch.

    ``2/N * (sum dy^2 / (C (H-1) W) + sum dx^2 / (C H (W-1)))``: the two directions are averaged apart.

    Args:
        image: ``(N, C, H, W)``, H and W at least 2.

    Returns:
        Scalar, 0 for a constant image; a ramp of slope ``a`` a pixel along one axis has ``2 a^2``.

    Raises:
        ModelError: another number of axes, or an image too small to have neighbours.

    Source:
        leftthomas/SRGAN@7ddfdf2 loss.py; Koushik0901/Swift-SRGAN@cd2414f swift-srgan/loss.py.
    """
    if image.ndim != 4 or min(image.shape[-2:]) < 2:
        raise ModelError(
            "Total variation expects (N, C, H, W) with at least 2x2 pixels, "
            f"found {tuple(image.shape)}; train with a larger HR patch."
        )
    return 2 * (image.diff(dim=-2).square().mean() + image.diff(dim=-1).square().mean())


def variation_of_sr(inputs: LossInputs) -> Tensor:
    """Total variation of the super-resolved batch, as the loss of a term."""
    return total_variation(inputs.sr)
