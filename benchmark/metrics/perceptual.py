"""What the learned metrics share: how a plane becomes the input of a network, and which values count.

A network trained on photographs says how alike two images look. That is no evidence that a structure is real,
and every learned metric carries this label.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from srbench.metrics.registry import MetricUnavailable
from srbench.utils.image import Plane

if TYPE_CHECKING:
    from torch import Tensor

LABEL = "perceptual, not evidence of structure"
ROUNDING = 1e-4
"""How far outside its bounds a value of a float32 network may lie."""


def grey_as_colour(plane: Plane, data_range: float = 1.0) -> Tensor:
    """``(H, W)`` to ``(1, 3, H, W)`` float32 in [0, 1], the grey repeated over three channels.

    Raises:
        MetricUnavailable: a value lies outside [0, data_range], where these networks were never trained.
    """
    import torch

    image = torch.from_numpy(plane) / data_range
    low, high = float(image.min()), float(image.max())
    if not (low >= 0.0 and high <= 1.0):
        raise MetricUnavailable(f"learned metrics need grey levels in [0, 1], found {low:g} to {high:g}")
    return image.to(torch.float32).expand(1, 3, -1, -1).contiguous()


def as_scalar(output: Any, bounds: tuple[float, float], what: str) -> float:
    """The output of a network as a number within the bounds of its metric.

    Raises:
        MetricUnavailable: more than one number, none, or one that the metric cannot have.
    """
    import torch

    if not isinstance(output, torch.Tensor) or output.numel() != 1:
        raise MetricUnavailable(f"{what} does not give one number for a pair of images")
    value = float(output)
    if not math.isfinite(value) or not bounds[0] - ROUNDING <= value <= bounds[1] + ROUNDING:
        raise MetricUnavailable(f"{what} gave {value:g}, outside its range {bounds[0]:g} to {bounds[1]:g}")
    return value
