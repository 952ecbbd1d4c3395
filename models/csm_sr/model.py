"""CSM-SR under its registered name."""

from __future__ import annotations

from torch import nn

from srbench.models.csm_sr.recipe import csm_sr_recipe
from srbench.models.registry import register_model


@register_model(
    title="CSM-SR",
    family="adversarial",
    paper="https://github.com/aaivu/CSM-SR",
    year=2025,
    scales=(2, 3, 4, 8),
    variants=("published", "tiny"),
    recipe=csm_sr_recipe,
    summary=(
        "Looks at the micrograph at three resolutions and at its content through an EfficientNet; trained to "
        "keep edges, structure and texture before it learns to look sharp."
    ),
)
def csm_sr(scale: int, channels: int, variant: str) -> nn.Module:
    """CSM-SR conditioned on the LR image alone.

    Args:
        scale: 2, 3, 4 or 8.
        channels: image channels, 1 or 3.
        variant: ``published`` (5.5 M parameters at x4) or ``tiny`` (0.16 M, trains on a CPU in seconds).
    """
    from srbench.models.csm_sr.generator import CSMSR, SIZES

    return CSMSR(scale, channels, SIZES[variant])
