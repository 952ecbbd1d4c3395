"""The generators of CSM-SR's released code, layer by layer, what conditions them, and their discriminator.

Facts: aaivu/CSM-SR at c89569b, ``CSM-SR/csm_sr.py`` (``released``, Keras) and ``Final-Model/SINSR/code/
architectures/architecture_{8,7}.py``. State dicts have the names of the layers given there. The authors feed
the conditioning network the HR image, at test time too. Here ``released`` and ``released_arch8`` feed it the
LR image, enlarged; only ``oracle`` does as they do, and is marked as leaking for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.csm_sr.blocks import SLOPE
from srbench.models.csm_sr.encoder import calibrate, coloured
from srbench.models.layers import InterpolationUpsample, load_published, receptive_radius, upsampling_steps
from srbench.models.losses.perceptual import IMAGENET_MEAN, IMAGENET_STD
from srbench.utils.errors import ModelError

SHORTCUT_SCALE = 0.2


def depth_to_space(x: Tensor, step: int) -> Tensor:
    """Channels to pixels in TensorFlow's order.

    Channel ``(dy * step + dx) * C + c`` gives the pixels ``(dy, dx)`` of each cell of channel ``c``;
    ``torch.pixel_shuffle`` numbers channels ``c * step**2 + dy * step + dx`` instead.

    Args:
        x: ``(N, step**2 * C, H, W)``.
        step: enlargement.

    Returns:
        ``(N, C, step*H, step*W)``.
    """
    images, depth, height, width = x.shape
    cells = x.reshape(images, step, step, depth // step**2, height, width)
    return cells.permute(0, 3, 4, 1, 5, 2).reshape(images, depth // step**2, step * height, step * width)


class Separable(nn.Module):
    """Depthwise 3x3 convolution without bias, then a 1x1 one with bias, nothing in between."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(features, features, 3, padding=1, groups=features, bias=False)
        self.pointwise = nn.Conv2d(features, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.pointwise(self.depthwise(x))
        return mixed


class ReleasedDenseLayer(nn.Module):
    """Plain, dilated and separable 3x3 convolution, a ReLU after each: ``features`` in, ``growth`` out."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(features, growth, 3, padding=1)
        self.dilated = nn.Conv2d(growth, growth, 3, padding=2, dilation=2)
        self.sep = Separable(growth)

    def forward(self, x: Tensor) -> Tensor:
        grown = F.relu(self.dilated(F.relu(self.conv(x))))
        return F.relu(self.sep(grown))


class DenseBlock(nn.Module):
    """RDB of the released code: dense layers joined by a linear 3x3 convolution, no residual.

    Args:
        width_in: channels in.
        width: channels out.
        growth: channels each layer adds.
        layers: number of layers.
    """

    def __init__(self, width_in: int, width: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layer = nn.ModuleList(ReleasedDenseLayer(width_in + n * growth, growth) for n in range(layers))
        self.fuse = nn.Conv2d(width_in + layers * growth, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        dense = x
        for layer in self.layer:
            dense = torch.cat((dense, layer(dense)), dim=1)
        fused: Tensor = self.fuse(dense)
        return fused


class ReversedRRDB(nn.Module):
    """RRDB of the released code: ``chain(x) + 0.2 * conv(x)``; ESRGAN's is ``x + 0.2 * chain(x)``.

    Args:
        width_in: channels in.
        width: channels out.
        growth: channels each dense layer adds.
        blocks: dense blocks in the chain.
        layers: dense layers in each of them.
    """

    def __init__(self, width_in: int, width: int, growth: int, blocks: int, layers: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(width_in, width, 3, padding=1)
        widths = [width_in] + [width] * (blocks - 1)
        self.rdb = nn.Sequential(*(DenseBlock(width_in, width, growth, layers) for width_in in widths))

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(self.rdb(x), self.shortcut(x), alpha=SHORTCUT_SCALE)

    @property
    def radius(self) -> int:
        """Pixels to each side it looks: 4 a layer (1 plain, 2 dilated, 1 depthwise), 1 a joining layer."""
        return sum(4 * len(block.layer) + 1 for block in self.rdb if isinstance(block, DenseBlock))


@torch.no_grad()
def start_as_keras(*parts: nn.Module) -> None:
    """Keras's defaults for every convolution: Glorot's uniform distribution and no bias."""
    for part in parts:
        for layer in part.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


NETWORK = "efficientnet_b7"
FEATURES = 2560
"""Channels of the last feature map."""

SEED = 7
"""Of the weights that stand in for ImageNet's."""


class EfficientNetFeatures(nn.Module):
    """EfficientNet-B7 without its classifier, frozen, under torchvision's parameter names.

    As in the released code (section "Conditioning"): stride 32, 2560 channels, squeeze-and-excitation over
    the whole image, no gradient, statistics fixed. What differs:

    * *Range*: the authors feed [0, 1] into a network that expects 0 to 255, so that it sees a nearly black
      image. Here images are normalised as the weights want them; there are no weights of theirs to be true
      to.
    * *Weights*: torchvision's instead of Keras's, and its symmetric padding of strided convolutions.
    * *Without ImageNet weights on disk* the network is random, the same in every build. Its residual blocks
      start as the identity (arXiv 1706.02677, section 5.1) and its statistics are those of noise of various
      spectra and contrasts. As torchvision initialises it, the signal fades to 1e-15 over its 55 blocks; with
      statistics alone it grows to 1e9 on some micrographs; so, the features of real ones have deviations of
      0.5 to 6.

    The 64 million frozen parameters are part of the state dict: a file is 256 MB larger, and gives the same
    output on a machine that has other ImageNet weights, or none.
    """

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
        names = {name: name for name in self.state_dict()}
        hint = "Use the file efficientnet_b7_lukemelas-c5b4e57e.pth."
        load_published(self, state, names, f"torchvision's {NETWORK}", hint)


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
            norms = [layer for layer in block.modules() if isinstance(layer, nn.BatchNorm2d)]
            nn.init.zeros_(norms[-1].weight)


def _varied_noise(images: int = 8, side: int = 64) -> Tensor:
    """``(images, 1, side, side)`` in [0, 1], of all spectra, levels and contrasts; always the same."""
    generator = torch.Generator().manual_seed(SEED)
    white = torch.randn(images, 1, side, side, generator=generator, device="cpu")
    level, contrast = torch.rand(2, images, 1, 1, 1, generator=generator, device="cpu").unbind()
    noise = coloured(white, torch.linspace(0, 2, images, device="cpu").view(-1, 1, 1, 1))
    mean, std = noise.mean((2, 3), keepdim=True), noise.std((2, 3), keepdim=True)
    return (level + 0.3 * contrast * (noise - mean) / std).clamp(0, 1)


BASE = 32
WIDTHS = (64, 128, 256, 512)
KERNEL = 4


class ResidualPair(nn.Module):
    """``x + conv(leaky_relu(conv(x)))``."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.conv2(F.leaky_relu(self.conv1(x), SLOPE))
        return x + residual


class Halving(nn.Module):
    """Strided 4x4 convolution, batch normalisation (Keras's epsilon and momentum), leaky ReLU."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width, KERNEL, stride=2)
        self.bn = nn.BatchNorm2d(width, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.bn(self.conv(pad_same(x, KERNEL, 2))), SLOPE)


class ReleasedDiscriminator(nn.Module):
    """Images to a map of logits: three resolutions in, one map out.

    The text's multi-scale discriminator judges each resolution; this one brings the features at full, half
    and quarter size back to full size by depth to space, joins them and goes on with one strided chain.

    Args:
        channels: image channels; the authors have 3.
        base: width of the first layers, a multiple of 16.
        widths: those of the strided layers.
    """

    def __init__(self, channels: int, base: int = BASE, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, base, 3, padding=1)
        self.s1 = ResidualPair(base)
        self.s2 = ResidualPair(base)
        self.s3 = ResidualPair(base)
        self.merge = nn.Conv2d(base + base // 4 + base // 16, base, 3, padding=1)
        before = (base, *widths[:-1])
        self.down = nn.Sequential(*(Halving(*pair) for pair in zip(before, widths, strict=True)))
        self.out = nn.Conv2d(widths[-1], 1, KERNEL)
        start_as_keras(self)

    def forward(self, image: Tensor) -> Tensor:
        """``(N, C, H, W)`` in [0, 1], sides multiples of 4, to logits ``(N, 1, ceil(H/16), ceil(W/16))``.

        Raises:
            ModelError: a side is no multiple of 4.
        """
        if image.shape[-2] % 4 or image.shape[-1] % 4:
            raise ModelError(
                f"The released discriminator takes sides that are multiples of 4, found "
                f"{tuple(image.shape[-2:])}; use such an HR patch."
            )
        shallow = F.leaky_relu(self.stem(image), SLOPE)
        half = depth_to_space(self.s2(F.avg_pool2d(shallow, 2)), 2)
        quarter = depth_to_space(self.s3(F.avg_pool2d(shallow, 4)), 4)
        joined = torch.cat((self.s1(shallow), half, quarter), dim=1)
        deep = self.down(F.leaky_relu(self.merge(joined), SLOPE))
        logits: Tensor = self.out(pad_same(deep, KERNEL, 1))
        return logits


def pad_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """TensorFlow's ``same`` padding with zeros: what is odd about it goes to the bottom and the right."""
    bottom, right = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:])
    return F.pad(x, (right // 2, right - right // 2, bottom // 2, bottom - bottom // 2))


STEM = 128
"""Channels of the first convolution, whatever the width of the branches."""

CONDITION_STEP = 8
"""Enlargement of the conditioning features, which the authors have at an eighth of the LR size."""

CONDITION_ZOOM = 4
"""Enlargement of the LR image before the encoder (stride 32): features then have an eighth of LR's size."""


@dataclass(frozen=True)
class ReleasedConfig:
    """How large a released generator is, and whether it takes conditioning features.

    Attributes:
        depth: RRDBs in a branch.
        blocks: dense blocks in an RRDB.
        layers: dense layers in a dense block.
        growth: channels each dense layer adds.
        width: channels of the branches, a multiple of 4.
        conditioned: whether features join the stem; where not, the other two branches start from the first.
        stem: channels of the first convolution.
    """

    depth: int
    blocks: int
    layers: int
    growth: int
    width: int
    conditioned: bool
    stem: int = STEM


RELEASED_CONFIGS = {
    "released": ReleasedConfig(depth=4, blocks=6, layers=6, growth=32, width=128, conditioned=True),
    "released_arch8": ReleasedConfig(depth=3, blocks=10, layers=4, growth=4, width=64, conditioned=True),
    "released_arch7": ReleasedConfig(depth=2, blocks=5, layers=5, growth=4, width=64, conditioned=False),
}


class ReleasedGraph(nn.Module):
    """The released layers; the classes below say where the conditioning features come from.

    Unlike in the text, features are concatenated instead of fused, branches and stem keep their own widths,
    the image passes through tanh, and there is no image-level skip. Departures, none of which changes the x4
    graph: images are in [0, 1] outside and [-1, 1] inside; grey images have one channel at both ends; other
    magnifications repeat the released step (depth to space, convolution) as often as they need. At x3 the
    merging convolution has the largest multiple of 9 channels that fits.

    Args:
        scale: 2, 3, 4 or 8; the authors have 4.
        channels: image channels; the authors have 3.
        config: widths and depths.
    """

    size_multiple = 2

    def __init__(self, scale: int, channels: int, config: ReleasedConfig) -> None:
        super().__init__()
        self.scale = scale
        self.conditioned = config.conditioned
        self.stem = nn.Conv2d(channels, config.stem, 3, padding=1)
        joined = config.stem + (FEATURES // CONDITION_STEP**2 if config.conditioned else 0)
        self.s1 = _branch(joined, config)
        outer = joined if config.conditioned else config.width
        self.s2 = _branch(outer, config)
        self.s4 = _branch(outer // 4, config)
        self._add_head(scale, channels, config.width)
        start_as_keras(self)
        self.receptive_radius: float = math.inf if config.conditioned else self._radius()

    def _add_head(self, scale: int, channels: int, width: int) -> None:
        self.steps = upsampling_steps(scale)
        merged = width - width % self.steps[0] ** 2
        self.merge = nn.Conv2d(width + width // 4 + width, merged, 3, padding=1)
        widths = [merged, *[width] * (len(self.steps) - 1), channels]
        for index, step in enumerate(self.steps):
            layer = nn.Conv2d(widths[index] // step**2, widths[index + 1], 3, padding=1)
            self.add_module(f"up{index + 1}", layer)
        self.out = nn.Conv2d(channels, channels, 3, padding=1)

    def super_resolve(self, lr: Tensor, features: Tensor | None = None) -> Tensor:
        """From and to [0, 1].

        Args:
            lr: ``(N, C, H, W)``, H and W even.
            features: ``(N, 2560, h, w)`` for a conditioned generator.

        Returns:
            ``(N, C, scale*H, scale*W)``.
        """
        return (self.graph(2 * lr - 1, features) + 1) / 2

    def graph(self, x: Tensor, features: Tensor | None = None) -> Tensor:
        """What the authors call the generator: as :meth:`super_resolve`, from and to [-1, 1].

        Raises:
            ModelError: features are missing, or given to a generator that takes none; a side is odd.
        """
        return torch.tanh(self.before_tanh(x, features))

    def before_tanh(self, x: Tensor, features: Tensor | None = None) -> Tensor:
        """:meth:`graph` without its last step."""
        self._check(x, features)
        shallow = F.relu(self.stem(x))
        if features is not None:
            shallow = torch.cat((shallow, as_condition(features, x.shape[-2:])), dim=1)
        return self._reconstruct(F.relu(self.merge(torch.cat(self._branches(shallow), dim=1))))

    def _branches(self, shallow: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        same = self.s1(shallow)
        source = shallow if self.conditioned else same
        half = depth_to_space(self.s2(F.avg_pool2d(source, 2)), 2)
        double = F.avg_pool2d(self.s4(depth_to_space(source, 2)), 2)
        return same, half, double

    def _reconstruct(self, merged: Tensor) -> Tensor:
        x = merged
        for number, step in enumerate(self.steps, start=1):
            x = self.get_submodule(f"up{number}")(depth_to_space(x, step))
            if number < len(self.steps):
                x = F.relu(x)
        sr: Tensor = self.out(x)
        return sr

    def _check(self, x: Tensor, features: Tensor | None) -> None:
        if (features is not None) != self.conditioned:
            wants = f"(N, {FEATURES}, h, w) features" if self.conditioned else "no features"
            raise ModelError(f"This released generator takes {wants} beside the LR image.")
        if x.shape[-2] % 2 or x.shape[-1] % 2:
            raise ModelError(
                f"The released generator halves its input: LR sides must be even, found "
                f"{tuple(x.shape[-2:])}; pad the image (SRModel.infer does)."
            )

    def _radius(self) -> int:
        """LR pixels to each side: stem, first branch, then the farthest of the others, merging, the head."""
        radius = sum(block.radius for block in self.s1 if isinstance(block, ReversedRRDB))
        # A pixel of the half-size branch has both LR pixels of its cell before it and after it.
        branches = max(2 * radius + 1, math.ceil(radius / 2))
        head = [1 + radius + branches + 1, *[1] * (len(self.steps) - 1), 2]
        return receptive_radius(head, self.steps)


class Unconditioned(ReleasedGraph):
    """A released generator that sees the LR image and no features."""

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` in [0, 1], H and W even, to ``(N, C, scale*H, scale*W)`` in [0, 1]."""
        return self.super_resolve(lr)


class ConditionedOnLR(ReleasedGraph):
    """A released generator whose condition comes from the LR image, as the text of CSM-SR wants it."""

    def __init__(self, scale: int, channels: int, config: ReleasedConfig) -> None:
        super().__init__(scale, channels, config)
        self.zoom = InterpolationUpsample("bicubic", CONDITION_ZOOM)
        self.encoder = EfficientNetFeatures()

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` in [0, 1], H and W even, to ``(N, C, scale*H, scale*W)`` in [0, 1]."""
        return self.super_resolve(lr, self.encoder(self.zoom(lr)))


class ConditionedOnHR(ReleasedGraph):
    """A released generator as its authors run it, conditioned on the HR image, which is the answer."""

    def __init__(self, scale: int, channels: int, config: ReleasedConfig) -> None:
        super().__init__(scale, channels, config)
        self.encoder = EfficientNetFeatures()

    def forward(self, lr: Tensor, hr: Tensor) -> Tensor:
        """LR, H and W even, and HR of ``scale`` times its sides, both in [0, 1], to an image like HR."""
        return self.super_resolve(lr, self.encoder(hr))


def as_condition(features: Tensor, size: torch.Size) -> Tensor:
    """Conditioning features brought to the size of the LR image.

    Depth to space by 8, then bilinear interpolation, which is an identity where the sides of the LR image are
    multiples of 8.

    Args:
        features: ``(N, 2560, h, w)``.
        size: H and W of the LR image.

    Returns:
        ``(N, 40, H, W)``.
    """
    spread = depth_to_space(features, CONDITION_STEP)
    if spread.shape[-2:] == size:
        return spread
    return F.interpolate(spread, size=size, mode="bilinear", align_corners=False)


def build_released(scale: int, channels: int, variant: str) -> ReleasedGraph:
    """The generator of a variant: one of :data:`RELEASED_CONFIGS`, or ``oracle``."""
    if variant == "oracle":
        return ConditionedOnHR(scale, channels, RELEASED_CONFIGS["released"])
    config = RELEASED_CONFIGS[variant]
    kind: type[ReleasedGraph] = ConditionedOnLR if config.conditioned else Unconditioned
    return kind(scale, channels, config)


def _branch(width_in: int, config: ReleasedConfig) -> nn.Sequential:
    widths = [width_in] + [config.width] * (config.depth - 1)
    return nn.Sequential(
        *(
            ReversedRRDB(width_in, config.width, config.growth, config.blocks, config.layers)
            for width_in in widths
        )
    )
