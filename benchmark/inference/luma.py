"""Colour images and networks for one channel that learned from MATLAB's luma, 16 to 235 of 255."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from srbench.models import SRModel

STUDIO_NOTE = (
    "The weights are for one channel and not trained by srbench: of colour images the network was given "
    "16 + 219 x luma, as MATLAB's rgb2ycbcr has it."
)


class StudioLuma(nn.Module):
    """A network for luma in studio range, given and giving luma in full range, [0, 1].

    Args:
        body: from ``(16 + 219 luma) / 255`` to the same of the enlarged image.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.size_multiple = getattr(body, "size_multiple", 1)
        self.receptive_radius = getattr(body, "receptive_radius", None)

    def forward(self, luma: Tensor) -> Tensor:
        """``(N, 1, H, W)`` to ``(N, 1, scale*H, scale*W)``."""
        studio: Tensor = self.body((16.0 + 219.0 * luma) / 255.0)
        return (255.0 * studio - 16.0) / 219.0


def for_luma(model: SRModel) -> SRModel:
    """The model for full-range luma of colour images: itself, or wrapped where it learned from MATLAB's."""
    return replace(model, network=StudioLuma(model.network)) if model.studio_luma else model
