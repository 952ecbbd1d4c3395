"""Cutting an LR image into overlapping patches and blending what becomes of them, as dSRVAE does.

The authors' ``patchify_tensor`` and ``recompose_tensor`` (Holmes-Alan/dSRVAE@b5eff18, ``image_utils.py``),
which separate into rows and columns.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

FAINTEST = 0.1
"""Weight of a patch's outermost pixel, before the weights of all patches are normalised."""


@dataclass(frozen=True)
class Span:
    """Where patches lie along one axis: ``[start, stop)`` in LR pixels, and the weights of its HR pixels."""

    start: int
    stop: int
    weights: Tensor

    @property
    def lr(self) -> slice:
        """Its LR pixels."""
        return slice(self.start, self.stop)

    def hr(self, scale: int) -> slice:
        """Its HR pixels."""
        return slice(scale * self.start, scale * self.stop)


def patch_starts(length: int, patch: int, overlap: int) -> Counter[int]:
    """First LR pixel of every patch along an axis, and how often a patch lies there.

    The last patch is shifted back to the border. Where it then covers the one before it, the authors run
    that patch twice and it weighs double; here it runs once.
    """
    stride = patch - overlap
    return Counter(min(start, max(length - patch, 0)) for start in range(0, length, stride))


def spans(length: int, patch: int, overlap: int, scale: int, like: Tensor) -> list[Span]:
    """Patches along an axis of ``length`` LR pixels, with weights that sum to 1 at every HR pixel.

    Args:
        length: LR pixels; fewer than ``patch`` make one patch of their own.
        patch: LR pixels of a patch, more than twice ``overlap``.
        overlap: LR pixels that neighbours share, over which they fade.
        scale: magnification.
        like: gives the weights' dtype and device.
    """
    side = min(patch, length)
    profile = _profile(side * scale, overlap * scale, like) if side == patch else like.new_ones(side * scale)
    starts = patch_starts(length, patch, overlap)
    total = like.new_zeros(length * scale)
    for start, times in starts.items():
        total[start * scale : (start + side) * scale] += times * profile
    return [
        Span(start, start + side, times * profile / total[start * scale : (start + side) * scale])
        for start, times in starts.items()
    ]


def _profile(length: int, fade: int, like: Tensor) -> Tensor:
    rising = torch.linspace(FAINTEST, 1.0, fade, dtype=like.dtype, device=like.device)
    return torch.cat([rising, like.new_ones(length - 2 * fade), rising.flip(0)])
