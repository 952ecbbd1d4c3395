"""Adaptive feature fusion: ``F = alpha * F_MS + beta * F_ENC`` (CSM-SR project page)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AdaptiveFusion(nn.Module):
    """Weighted sum of the multi-scale features and the conditioning features.

    The text calls alpha and beta "learnable parameters" and does not say of which shape. Chosen: one of
    each per channel, so that a channel can be all structure, all condition or any mixture (a single pair
    would only set the loudness of the condition as a whole). Both start at 0.5: the mean of the two,
    neither preferred.

    Args:
        features: channels of both inputs.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((1, features, 1, 1), 0.5))
        self.beta = nn.Parameter(torch.full((1, features, 1, 1), 0.5))

    def forward(self, multi_scale: Tensor, condition: Tensor) -> Tensor:
        """Two ``(N, features, H, W)`` to one."""
        return self.alpha * multi_scale + self.beta * condition
