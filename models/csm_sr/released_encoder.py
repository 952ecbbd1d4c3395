"""What conditions CSM-SR's released generators: the last features of EfficientNet-B7, frozen.

As in the released code (section "Conditioning" of ``csm_sr.py`` at c89569b): the whole convolutional part,
stride 32, 2560 channels, squeeze-and-excitation over the whole image, no gradient, statistics fixed. What
differs:

* *Range*: the authors feed [0, 1] into a network that expects 0 to 255 and normalises for itself, so that it
  sees a nearly black image. Here images are normalised as the weights want them. (The defect is in what the
  trained generator gets used to, not in the graph, and there are no weights of theirs to be true to.)
* *Weights*: torchvision's instead of Keras's, and its symmetric padding of strided convolutions.
* *Without ImageNet weights on disk* the network is random, the same in every build. Its residual blocks start
  as the identity (arXiv 1706.02677, section 5.1) and its statistics are those of noise of various spectra and
  contrasts. As torchvision initialises it, the signal fades to 1e-15 over its 55 blocks; with statistics
  alone it grows to 1e9 on some micrographs; so, the features of real ones have deviations of 0.5 to 6.

The 64 million frozen parameters are part of the state dict. That makes every file of such a generator 256 MB
larger, and complete: it gives the same output on a machine that has other ImageNet weights, or none.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from srbench.models.csm_sr.encoder import calibrate, coloured
from srbench.models.interface import ModelError
from srbench.models.losses.perceptual import IMAGENET_MEAN, IMAGENET_STD

NETWORK = "efficientnet_b7"
FEATURES = 2560
"""Channels of the last feature map."""

SEED = 7
"""Of the weights that stand in for ImageNet's."""


class EfficientNetFeatures(nn.Module):
    """EfficientNet-B7 without its classifier, frozen, under torchvision's parameter names."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = _architecture()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()
        if not self.mean.is_meta:
            _draw_weights(self.features)
            calibrate(self.features, self.normalise(_varied_noise().to(self.mean.device)))

    def forward(self, image: Tensor) -> Tensor:
        """``(N, 1 or 3, H, W)`` in [0, 1] to ``(N, 2560, ceil(H/32), ceil(W/32))``; grey is replicated."""
        features: Tensor = self.features(self.normalise(image))
        return features

    def normalise(self, image: Tensor) -> Tensor:
        """ImageNet's mean and deviation; grey replicated."""
        return (image.expand(-1, 3, -1, -1) - self.mean) / self.std

    def train(self, mode: bool = True) -> EfficientNetFeatures:
        """Always evaluation mode: the network is a fixed function."""
        del mode
        return super().train(False)

    def load_imagenet(self, state: Mapping[str, Tensor]) -> None:
        """Copy the weights of torchvision's EfficientNet-B7.

        Args:
            state: its state dict; the classifier's entries are ignored.

        Raises:
            ModelError: a parameter is missing or of another shape; the network is then unchanged.
        """
        own = {name: value for name, value in self.state_dict().items() if not name.endswith("tracked")}
        wrong = [name for name in own if name not in state or state[name].shape != own[name].shape]
        if wrong:
            raise ModelError(
                f"These are not torchvision's {NETWORK} weights: {len(wrong)} of {len(own)} tensors are "
                f"missing or of another shape (first: {wrong[0]}). "
                "Use the file efficientnet_b7_lukemelas-c5b4e57e.pth."
            )
        self.load_state_dict({name: state[name] for name in own}, strict=False)


def _architecture() -> nn.Module:
    """The convolutional part, its tensors allocated but not drawn."""
    from torchvision.models import efficientnet_b7

    device = torch.get_default_device()
    with torch.device("meta"):
        features: nn.Module = efficientnet_b7(weights=None).features
    return features if device.type == "meta" else features.to_empty(device=device)


@torch.no_grad()
def _draw_weights(features: nn.Module) -> None:
    """Torchvision's initialisation from a seed of its own, on the CPU; residual branches start silent."""
    generator = torch.Generator().manual_seed(SEED)
    for layer in features.modules():
        if isinstance(layer, nn.Conv2d):
            drawn = torch.empty(layer.weight.shape, device="cpu")
            nn.init.kaiming_normal_(drawn, mode="fan_out", generator=generator)
            layer.weight.copy_(drawn)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
    for block in features.modules():
        if getattr(block, "use_res_connect", False):
            nn.init.zeros_(_last_norm(block).weight)


def _last_norm(block: nn.Module) -> nn.BatchNorm2d:
    return [layer for layer in block.modules() if isinstance(layer, nn.BatchNorm2d)][-1]


def _varied_noise(images: int = 8, side: int = 64) -> Tensor:
    """``(images, 1, side, side)`` in [0, 1], of all spectra, levels and contrasts; always the same."""
    generator = torch.Generator().manual_seed(SEED)
    white = torch.randn(images, 1, side, side, generator=generator, device="cpu")
    level, contrast = torch.rand(2, images, 1, 1, 1, generator=generator, device="cpu").unbind()
    noise = coloured(white, torch.linspace(0, 2, images, device="cpu").view(-1, 1, 1, 1))
    mean, std = noise.mean((2, 3), keepdim=True), noise.std((2, 3), keepdim=True)
    return (level + 0.3 * contrast * (noise - mean) / std).clamp(0, 1)
