"""Feature conditioning encoder (FCEN): EfficientNet features of the LR image, brought back to its size.

The text says that a pretrained EfficientNet-based encoder conditions the generator on the LR image only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.csm_sr.blocks import SLOPE, keep_variance
from srbench.models.layers import load_published
from srbench.models.losses.perceptual import IMAGENET_MEAN, IMAGENET_STD

ARCHITECTURE = "efficientnet_b0"
POOLING_RADIUS = 24
"""LR pixels to each side of the windowed squeeze; a multiple of every stride used."""


class LocalSqueezeExcite(nn.Module):
    """Squeeze-and-excitation whose squeeze is a mean over a window instead of the whole image.

    A network trained on patches would meet other statistics on whole micrographs, and no tile could reproduce
    the whole image. The window of 24 LR pixels to each side is about a training patch (Chu et al. 2022, arXiv
    2112.04491, who do it at test time only). The operator is local, the pretrained weights fit unchanged.

    Args:
        original: timm's layer, whose parameters are taken over under the same names.
        radius: window radius in pixels of the feature map.
    """

    def __init__(self, original: Any, radius: int) -> None:
        super().__init__()
        self.conv_reduce: nn.Module = original.conv_reduce
        self.act1: nn.Module = original.act1
        self.conv_expand: nn.Module = original.conv_expand
        self.gate: nn.Module = original.gate
        self.radius = radius

    def forward(self, x: Tensor) -> Tensor:
        squeezed = window_mean(x, self.radius)
        excitation: Tensor = self.gate(self.conv_expand(self.act1(self.conv_reduce(squeezed))))
        return x * excitation


def window_mean(x: Tensor, radius: int) -> Tensor:
    """Mean over a square window, cut at the border: ``(N, C, H, W)`` to the same shape."""
    size = 2 * radius + 1
    rows = F.avg_pool2d(x, (size, 1), stride=1, padding=(radius, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, size), stride=1, padding=(0, radius), count_include_pad=False)


class Backbone(nn.Module):
    """The first stages of EfficientNet-B0, with timm's parameter names.

    Args:
        stages: 1, 2 or 3; the last feature map is at 1/2, 1/4 or 1/8.
    """

    def __init__(self, stages: int) -> None:
        super().__init__()
        import timm

        whole = timm.create_model(ARCHITECTURE, pretrained=False, features_only=True, in_chans=3)
        self.conv_stem: nn.Conv2d = whole.conv_stem
        self.bn1: nn.Module = whole.bn1
        self.blocks = nn.Sequential(*list(whole.blocks)[:stages])
        self.strides = tuple(whole.feature_info.reduction()[:stages])
        self.channels = tuple(whole.feature_info.channels()[:stages])
        self.radius = _make_local(self)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised ``(N, 3, H, W)`` to a feature map for each stride, finest first."""
        x = self.bn1(self.conv_stem(image))
        features: list[Tensor] = []
        for stage in self.blocks:
            x = stage(x)
            features.append(x)
        return features


def _make_local(backbone: nn.Module) -> int:
    """Give every squeeze its window; the LR pixels a feature then depends on, beyond those it stands for."""
    stride, radius = 1, 0
    for name, layer in list(backbone.named_modules()):
        if isinstance(layer, nn.Conv2d):
            radius += layer.kernel_size[0] // 2 * stride
            stride *= layer.stride[0]
        elif name.endswith(".se") and hasattr(layer, "conv_reduce"):
            block = backbone.get_submodule(name.removesuffix(".se"))
            block.se = LocalSqueezeExcite(layer, POOLING_RADIUS // stride)
            radius += POOLING_RADIUS
    return radius


class ConditioningEncoder(nn.Module):
    """The conditioning features ``F_ENC`` of an LR image, and of nothing else.

    Chosen where the text is silent:

    * *Input*: the LR image itself, not the shallow features, because pretrained filters expect an image; at
      its native size: an enlargement has no fine detail where the ImageNet filters look for it, and would
      cost scale squared as much.
    * *Depth*: EfficientNet-B0 up to stride 8. At its full stride of 32 a training patch of 48 LR pixels is 1
      to 2 pixels; the released code's condition also has an eighth of the LR resolution.
    * *Back to LR size*: a 1x1 convolution on the features of each stride (2, 4, 8), summed from coarse to
      fine (a feature pyramid, arXiv 1612.03144) over doublings by pixel shuffle and 3x3 convolution, so that
      the condition can be as sharp as the image. Interpolated features cannot tell the pixels of a cell
      apart, and the backward pass of bilinear interpolation is not deterministic on a GPU.
    * *Batch normalisation* uses stored statistics in training too: batches are small, patches are not
      ImageNet, and the output must not depend on what else is in a batch. Its scale and shift do learn.
      Without pretrained weights the statistics are measured once on noise of a micrograph's spectrum
      (:func:`calibrate`).

    Args:
        features: channels of the result.
        stages: stages of EfficientNet-B0 in use, 1 to 3.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: int, stages: int) -> None:
        super().__init__()
        self.backbone = Backbone(stages)
        self.laterals = nn.ModuleList(nn.Conv2d(width, features, 1) for width in self.backbone.channels)
        self.doublings = nn.ModuleList(_doubling(features) for _ in self.backbone.channels)
        keep_variance(self.laterals, self.doublings)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.size_multiple = self.backbone.strides[-1]
        # Aligning to the coarsest cells reaches size_multiple - 1 pixels, the smoothing convolutions as many.
        self.receptive_radius = self.backbone.radius + 2 * (self.size_multiple - 1)
        if not self.mean.is_meta:
            calibrate(self.backbone, self.normalise(micrograph_noise().to(self.mean.device)))
        self.train(self.training)

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, 1 or 3, H, W)`` in [0, 1], sides multiples of ``size_multiple``, to features of that size."""
        maps = self.backbone(self.normalise(lr))
        condition: Tensor = self.laterals[-1](maps[-1])
        for level in range(len(maps) - 1, 0, -1):
            condition = self.doublings[level](condition) + self.laterals[level - 1](maps[level - 1])
        finest: Tensor = self.doublings[0](condition)
        return finest

    def normalise(self, lr: Tensor) -> Tensor:
        """ImageNet's mean and deviation; grey replicated."""
        return (lr.expand(-1, 3, -1, -1) - self.mean) / self.std

    def train(self, mode: bool = True) -> ConditioningEncoder:
        """As usual, except that batch normalisation keeps its stored statistics (see the class)."""
        super().train(mode)
        self.backbone.eval()
        return self


def _doubling(features: int) -> nn.Sequential:
    """Twice the sides by a sub-pixel convolution, then a 3x3 convolution."""
    return nn.Sequential(
        nn.Conv2d(features, 4 * features, 1),
        nn.PixelShuffle(2),
        nn.Conv2d(features, features, 3, padding=1),
        nn.LeakyReLU(SLOPE, inplace=True),
    )


@torch.no_grad()
def calibrate(backbone: nn.Module, images: Tensor) -> None:
    """Set the stored statistics of every batch normalisation to those of these images; weights stay.

    A random EfficientNet whose normalisation layers do nothing lets the signal fade; with these statistics
    every layer starts with zero mean and unit variance. Pretrained statistics replace them.

    Args:
        backbone: left in evaluation mode.
        images: ``(N, 3, H, W)``, normalised.
    """
    layers = [layer for layer in backbone.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in layers]
    # All else in evaluation mode: stochastic depth would make the statistics random.
    backbone.eval()
    for layer in layers:
        layer.momentum = 1.0
        layer.train()
    backbone(images)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()


def micrograph_noise(images: int = 8, side: int = 64) -> Tensor:
    """``(images, 1, side, side)`` in [0, 1], amplitude falling as 1/frequency; the same noise every time."""
    generator = torch.Generator().manual_seed(0)
    white = torch.randn(images, 1, side, side, generator=generator, device="cpu")
    pink = coloured(white, torch.ones((), device="cpu"))
    return (0.45 + 0.2 * (pink - pink.mean()) / pink.std()).clamp(0, 1)


def coloured(white: Tensor, slope: Tensor) -> Tensor:
    """White noise ``(N, 1, side, side)`` filtered so that its amplitude falls as ``frequency**-slope``."""
    side = white.shape[-1]
    frequency = torch.hypot(
        torch.fft.fftfreq(side, device=white.device)[:, None],
        torch.fft.rfftfreq(side, device=white.device)[None],
    )
    frequency[0, 0] = 1.0 / side
    noise: Tensor = torch.fft.irfft2(torch.fft.rfft2(white) / frequency**slope, s=(side, side))
    return noise


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
    torchvision = "features.0.0.weight" in state
    load_published(
        encoder.backbone,
        state,
        {name: torchvision_name(name) if torchvision else name for name in encoder.backbone.state_dict()},
        ARCHITECTURE,
        "Give timm's or torchvision's state dict.",
    )


def torchvision_name(name: str) -> str:
    """The name in torchvision of a parameter of the backbone: ``bn1.bias`` gives ``features.0.1.bias``."""
    layer, _, parameter = name.rpartition(".")
    if layer in ("conv_stem", "bn1"):
        return f"features.0.{'0' if layer == 'conv_stem' else '1'}.{parameter}"
    _, stage, block, inner = layer.split(".", 3)
    table = SEPARABLE if stage == "0" else INVERTED
    return f"features.{int(stage) + 1}.{block}.block.{table[inner]}.{parameter}"
