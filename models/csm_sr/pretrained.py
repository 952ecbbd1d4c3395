"""ImageNet weights for the conditioning encoder, in timm's or torchvision's naming."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from srbench.models.csm_sr.encoder import ARCHITECTURE, ConditioningEncoder
from srbench.models.interface import ModelError

SEPARABLE = {
    "conv_dw": "0.0",
    "bn1": "0.1",
    "se.conv_reduce": "1.fc1",
    "se.conv_expand": "1.fc2",
    "conv_pw": "2.0",
    "bn2": "2.1",
}
"""timm's names inside a depthwise separable block (the first stage) to torchvision's inside ``block``."""

INVERTED = {
    "conv_pw": "0.0",
    "bn1": "0.1",
    "conv_dw": "1.0",
    "bn2": "1.1",
    "se.conv_reduce": "2.fc1",
    "se.conv_expand": "2.fc2",
    "conv_pwl": "3.0",
    "bn3": "3.1",
}
"""The same for an inverted residual block (all later stages)."""


def load_pretrained(encoder: ConditioningEncoder, state: Mapping[str, Tensor]) -> None:
    """Copy EfficientNet-B0's ImageNet weights into the encoder's backbone.

    Args:
        encoder: changed in place.
        state: a whole EfficientNet-B0's state dict, timm's or torchvision's; later stages are ignored.

    Raises:
        ModelError: a parameter is missing or of another shape; the encoder is then unchanged.
    """
    own = encoder.backbone.state_dict()
    torchvision = "features.0.0.weight" in state
    source = {name: torchvision_name(name) if torchvision else name for name in own}
    wrong = [
        name for name, given in source.items() if given not in state or state[given].shape != own[name].shape
    ]
    if wrong:
        raise ModelError(
            f"These are not {ARCHITECTURE} weights: {len(wrong)} of {len(own)} parameters are missing or of "
            f"another shape (first: {source[wrong[0]]}). Give timm's or torchvision's state dict."
        )
    encoder.backbone.load_state_dict({name: state[given] for name, given in source.items()})


def torchvision_name(name: str) -> str:
    """The name in torchvision of a parameter of the backbone: ``bn1.bias`` gives ``features.0.1.bias``."""
    layer, _, parameter = name.rpartition(".")
    if layer in ("conv_stem", "bn1"):
        return f"features.0.{'0' if layer == 'conv_stem' else '1'}.{parameter}"
    _, stage, block, inner = layer.split(".", 3)
    table = SEPARABLE if stage == "0" else INVERTED
    return f"features.{int(stage) + 1}.{block}.block.{table[inner]}.{parameter}"
