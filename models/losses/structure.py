"""The parts of CSM-SR's Semantic Structural Loss that need no other home: colour and structural similarity.

The loss is content + structure + texture (https://github.com/aaivu/CSM-SR, project page): perceptual
(``perceptual.VGGContentLoss``) and contextual (``contextual``) are content; gradient, second-order gradient
(``gradient``) and structural similarity are structure; texture matching (``gradient.texture_loss``) and
colour consistency are texture. Their weights and their schedule belong to the recipe, ``csm_sr.objective``.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from srbench.models.interface import ModelError
from srbench.models.losses.ssim import ssim


def colour_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean absolute difference of the pixel values (colour consistency; on grey images, of the brightness).

    Args:
        sr: ``(N, C, H, W)``.
        hr: same shape.

    Returns:
        Scalar, at least 0.

    Raises:
        ModelError: the shapes differ.
    """
    if sr.shape != hr.shape:
        raise ModelError(
            f"The colour loss expects batches of one shape, found {tuple(sr.shape)} and {tuple(hr.shape)}."
        )
    return F.l1_loss(sr, hr)


def structural_similarity_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """``1 - SSIM`` for images in [0, 1]; shapes and errors as ``ssim.ssim``.

    Returns:
        Scalar in [0, 2], 0 for equal images.
    """
    return 1.0 - ssim(sr, hr)
