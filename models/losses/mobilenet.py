"""Distance between MobileNetV2 features (Sandler et al. 2018, arXiv 1801.04381), a cheap perceptual term.

The ImageNet weights are given by the caller as torchvision's state dict; nothing is ever downloaded here.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.interface import ModelError
from srbench.models.recipe import LossInputs


class MobileNetContentLoss(nn.Module):
    """Mean squared difference of the last feature maps: 1280 channels at a 32nd of the size.

    The images go in as they are, in [0, 1]: Swift-SRGAN does not normalise them by ImageNet's mean and
    deviation. Grey is replicated over the three channels. The network is frozen and its batch normalisation
    keeps ImageNet's statistics, whatever mode the loss is put in.

    Args:
        state: torchvision's MobileNetV2 state dict (classifier keys are ignored).

    Raises:
        ModelError: ``state`` lacks a tensor or has one of another shape.

    Source:
        Koushik0901/Swift-SRGAN@cd2414f swift-srgan/loss.py.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        from torchvision.models import mobilenet_v2

        self.features: nn.Module = mobilenet_v2(weights=None).features
        _load(self.features, state)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> MobileNetContentLoss:
        """Stay in evaluation mode: the features are a fixed function."""
        del mode
        return super().train(False)

    def forward(self, inputs: LossInputs) -> Tensor:
        """The loss of one batch, a scalar."""
        with torch.no_grad():
            of_hr = self._features_of(inputs.hr)
        return F.mse_loss(self._features_of(inputs.sr), of_hr)

    def _features_of(self, image: Tensor) -> Tensor:
        features: Tensor = self.features(image.expand(-1, 3, -1, -1))
        return features


def _load(features: nn.Module, state: Mapping[str, Tensor]) -> None:
    own = features.state_dict()
    needed = {name: f"features.{name}" for name in own if not name.endswith("num_batches_tracked")}
    wrong = [key for name, key in needed.items() if key not in state or state[key].shape != own[name].shape]
    if wrong:
        raise ModelError(
            f"These are not torchvision's MobileNetV2 weights: {len(wrong)} of {len(needed)} tensors are "
            f"missing or of another shape (first: {wrong[0]}). Use the file mobilenet_v2-b0353104.pth."
        )
    features.load_state_dict({name: state[key] for name, key in needed.items()}, strict=False)
