"""dSRVAE as it is evaluated: every LR patch is denoised and enlarged, the HR patches are blended."""

from __future__ import annotations

import math
import random
from itertools import product
from statistics import NormalDist

import torch
from torch import Tensor, nn

from srbench.models.baselines.dsrvae_denoiser import Denoiser
from srbench.models.baselines.dsrvae_patches import Span, spans

OVERLAP = 8
"""LR pixels that neighbouring patches share."""

PATCHES_AT_ONCE = 4
"""Run together; at 512x512 HR pixels every layer of the published network takes 64 MiB for each of them."""

CODE_SEED = 20200611


class DSRVAE(nn.Module):
    """Denoiser and super-resolution network in sequence.

    The authors draw a latent code from N(0, 1) for every patch, so that their output is random. Here one
    code, drawn once from N(0, 1), serves every patch of every image: the output depends on the image alone.

    An image with a side shorter than a patch is one patch along that side; the authors refuse it.

    Args:
        denoiser: for patches of its own size.
        srsn: LR to SR, with a ``scale``.
        scale: magnification.
    """

    z: Tensor
    receptive_radius = math.inf  # the grid of patches hangs on the corners of the image

    def __init__(self, denoiser: Denoiser, srsn: nn.Module, scale: int) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.srsn = srsn
        self.scale = scale
        self.register_buffer("z", torch.tensor([_code(denoiser.size.z_dim)]), persistent=False)

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` in [0, 1] to ``(N, C, scale*H, scale*W)``, not clamped."""
        patch = self.denoiser.size.patch
        decoded = self.denoiser.decode(self.z.to(lr.dtype))
        if max(lr.shape[-2:]) <= patch:
            return self._enhance(lr, decoded)
        rows, columns = (spans(side, patch, OVERLAP, self.scale, like=lr) for side in lr.shape[-2:])
        return self._blend(lr, list(product(rows, columns)), decoded)

    def _enhance(self, lr: Tensor, decoded: Tensor) -> Tensor:
        sr: Tensor = self.srsn(self.denoiser.restore(lr, decoded))
        return sr

    def _blend(self, lr: Tensor, patches: list[tuple[Span, Span]], decoded: Tensor) -> Tensor:
        images, channels, height, width = lr.shape
        sr = lr.new_zeros(images, channels, self.scale * height, self.scale * width)
        at_once = max(PATCHES_AT_ONCE // images, 1)
        for first in range(0, len(patches), at_once):
            chunk = patches[first : first + at_once]
            cut = torch.cat([lr[..., row.lr, column.lr] for row, column in chunk])
            pieces = self._enhance(cut, decoded).chunk(len(chunk))
            for piece, (row, column) in zip(pieces, chunk, strict=True):
                weights = row.weights[:, None] * column.weights
                sr[..., row.hr(self.scale), column.hr(self.scale)] += piece * weights
        return sr


def _code(length: int) -> list[float]:
    # Trained weights go with these numbers, and torch does not promise the same ones in its next release.
    uniform, normal = random.Random(CODE_SEED), NormalDist()
    return [normal.inv_cdf(uniform.random()) for _ in range(length)]
