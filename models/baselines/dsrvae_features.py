"""What dSRVAE's encoder sees of a clean LR patch: features of VGG-19, or a thumbnail in the small variant.

These modules belong to the training, not to the network: nothing of them is in its state dict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.interface import ModelError, pad_to_multiple
from srbench.models.losses.perceptual import BLOCKS, VGGFeatures, vgg19_layers

DEEPEST = "pool5"
"""The authors take ``vgg19().features[:37]``, to the end of the last max pooling."""


class VGGCode(nn.Module):
    """VGG-19 down to its last pooling, flattened; smaller patches are mirrored to the full size.

    Args:
        state: torchvision's VGG-19 state dict.
        patch: side of the LR patches, a multiple of 32.
    """

    def __init__(self, state: Mapping[str, Tensor], patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.vgg = VGGFeatures(state, (DEEPEST,))

    @torch.no_grad()
    def forward(self, clean: Tensor) -> Tensor:
        """``(N, 1 or 3, H, W)`` in [0, 1] to ``(N, 512 * (patch/32)**2)``.

        Raises:
            ModelError: the patch is too large.
        """
        check_patch(clean, self.patch)
        features: Tensor = self.vgg(pad_to_multiple(clean, self.patch))[DEEPEST]
        return features.flatten(1)


class Thumbnail(nn.Module):
    """The patch as ``side x side`` grey pixels: a code that costs nothing."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, clean: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, side**2)``."""
        return F.adaptive_avg_pool2d(clean.mean(dim=1), self.side).flatten(1)


def untrained_vgg19(seed: int = 0) -> dict[str, Tensor]:
    """Weights for VGG-19's convolutions as He et al. 2015 (arXiv 1502.01852) draw them, no bias.

    Always the same for a seed; torch's global generator is left alone. Random convolutions keep enough of an
    image to tell patches apart, which is what the encoder needs of them.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    state: dict[str, Tensor] = {}
    width_in = 3
    for name, index in vgg19_layers().items():
        if not name.startswith("conv"):
            continue
        width = BLOCKS[int(name[4]) - 1][0]
        weight = torch.randn(width, width_in, 3, 3, generator=generator, device="cpu")
        state[f"features.{index}.weight"] = weight.mul_(math.sqrt(2 / (9 * width_in)))
        state[f"features.{index}.bias"] = torch.zeros(width, device="cpu")
        width_in = width
    return state


def check_patch(lr: Tensor, patch: int) -> None:
    """Refuse LR patches that are too large for the fully connected layers.

    Raises:
        ModelError: a side exceeds ``patch``.
    """
    if max(lr.shape[-2:]) > patch:
        raise ModelError(
            f"dSRVAE learns to denoise patches of at most {patch} LR pixels a side, found "
            f"{lr.shape[-2]}x{lr.shape[-1]}; train on smaller ones (--set stages.denoise.patch=N, in HR "
            "pixels). Inference takes images of any size."
        )
