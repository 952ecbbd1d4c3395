"""ESRGAN: residual-in-residual dense blocks, trained for pixels, then against a relativistic discriminator.

Wang et al., "ESRGAN: enhanced super-resolution generative adversarial networks", ECCV workshops 2018, arXiv
1809.00219. Modules are named as in xinntao/ESRGAN since December 2018; checkpoints of the older code and of
BasicSR and Real-ESRGAN are renamed on loading. The paper enlarges x4. As in BasicSR and Real-ESRGAN, x2 is
the x4 network behind a pixel-unshuffle by two; x8, with a third doubling, and x3, whose pixels are repeated
three times at once, are ours.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.base import ReleasedWeights
from srbench.models.discriminators import VGGDiscriminator
from srbench.models.layers import BicubicResidual, upsampling_steps
from srbench.models.losses.adversarial import DISCRIMINATOR, RelativisticDiscriminator, RelativisticGenerator
from srbench.models.losses.perceptual import VGGContentLoss
from srbench.models.recipe import (
    LossTerm,
    PixelLoss,
    Recipe,
    RecipeRequest,
    StageBudget,
    StepRate,
)
from srbench.models.registry import register_model

SLOPE = 0.2
"""Of every leaky rectifier."""

RESIDUAL_SCALE = 0.2
"""Factor on what a block adds to its input."""

CONVOLUTIONS_IN_RRDB = 15

Wrap = Callable[[nn.Conv2d], nn.Module]
"""How a convolution is held; it decides the names of its parameters."""


def identity(convolution: nn.Conv2d) -> nn.Module:
    """The convolution itself: parameters are called ``conv1.weight``."""
    return convolution


def conv3x3(width_in: int, width: int) -> nn.Conv2d:
    """3x3 convolution that keeps the config."""
    return nn.Conv2d(width_in, width, 3, padding=1)


def leaky_relu(features: Tensor) -> Tensor:
    """Leaky rectifier that overwrites its argument, the fresh output of a convolution."""
    return F.leaky_relu(features, SLOPE, inplace=True)


def to_channels_last(image: Tensor) -> Tensor:
    """The same values in the memory layout that makes the following convolutions fast.

    On a CPU, 3x3 convolutions of these widths run a tenth to a fifth faster with the channels last (slower in
    float64), and repeating pixels several times; layers hand the layout on. Elsewhere the layout is the
    caller's choice.
    """
    if image.device.type != "cpu" or image.dtype == torch.float64:
        return image
    return image.contiguous(memory_format=torch.channels_last)


class ResidualDenseBlock(nn.Module):
    """Five convolutions, each of which sees the input and the outputs of those before it.

    Args:
        features: channels in and out.
        growth: channels that each of the first four convolutions adds.
        wrap: holder of the convolutions; ``nn.Sequential`` gives the names of the code before December 2018.
    """

    def __init__(self, features: int, growth: int, wrap: Wrap = identity) -> None:
        super().__init__()
        self.growth = growth
        self.conv1 = wrap(conv3x3(features, growth))
        self.conv2 = wrap(conv3x3(features + growth, growth))
        self.conv3 = wrap(conv3x3(features + 2 * growth, growth))
        self.conv4 = wrap(conv3x3(features + 3 * growth, growth))
        self.conv5 = wrap(conv3x3(features + 4 * growth, features))
        self.apply(initialise_small)

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for convolution in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat((seen, leaky_relu(convolution(seen))), dim=1)
        return torch.add(x, self.conv5(seen), alpha=RESIDUAL_SCALE)

    def update(self, buffer: Tensor) -> None:
        """The block's output in place of its input, without gradients.

        Args:
            buffer: ``(N, features + 4 * growth, H, W)``; its first channels are the input and become the
                output, the others are working space.
        """
        features = buffer.shape[1] - 4 * self.growth
        for index, convolution in enumerate((self.conv1, self.conv2, self.conv3, self.conv4)):
            seen = features + index * self.growth
            buffer[:, seen : seen + self.growth] = leaky_relu(convolution(buffer[:, :seen]))
        buffer[:, :features].add_(self.conv5(buffer), alpha=RESIDUAL_SCALE)


class RRDB(nn.Module):
    """Three dense blocks and a residual connection around them; arguments as of one of them."""

    def __init__(self, features: int, growth: int, wrap: Wrap = identity) -> None:
        super().__init__()
        self.RDB1 = ResidualDenseBlock(features, growth, wrap)
        self.RDB2 = ResidualDenseBlock(features, growth, wrap)
        self.RDB3 = ResidualDenseBlock(features, growth, wrap)

    def forward(self, x: Tensor) -> Tensor:
        deep = self.RDB3(self.RDB2(self.RDB1(x))) if torch.is_grad_enabled() else self._in_one_buffer(x)
        return torch.add(x, deep, alpha=RESIDUAL_SCALE)

    def _in_one_buffer(self, x: Tensor) -> Tensor:
        features, space = x.shape[1], 4 * self.RDB1.growth
        buffer = F.pad(x, (0, 0, 0, 0, 0, space))
        for block in (self.RDB1, self.RDB2, self.RDB3):
            block.update(buffer)
        return buffer[:, :features]


def initialise_small(module: nn.Module) -> None:
    """He et al. 2015 (arXiv 1502.01852) times 0.1, no bias: a deep residual network starts near identity.

    ESRGAN, section 3.1; as in BasicSR 1.4.2, inside dense blocks only.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
        with torch.no_grad():
            module.weight.mul_(0.1)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@dataclass(frozen=True)
class ESRGANConfig:
    """Residual-in-residual dense blocks, their width, and the growth inside them."""

    blocks: int
    features: int
    growth: int


CONFIGS = {"paper": ESRGANConfig(23, 64, 32), "tiny": ESRGANConfig(1, 16, 8)}


class RRDBNet(nn.Module):
    """The generator of the paper (section 3.1, figure 3).

    Args:
        scale: 2, 3, 4 or 8.
        channels: image channels in and out.
        config: blocks, width and growth.
    """

    def __init__(self, scale: int, channels: int, config: ESRGANConfig) -> None:
        super().__init__()
        features = config.features
        self.size_multiple = 2 if scale == 2 else 1
        self.steps = upsampling_steps(scale * self.size_multiple)
        self.conv_first = conv3x3(channels * self.size_multiple**2, features)
        self.RRDB_trunk = nn.Sequential(*(RRDB(features, config.growth) for _ in range(config.blocks)))
        self.trunk_conv = conv3x3(features, features)
        for index in range(len(self.steps)):
            self.add_module(f"upconv{index + 1}", conv3x3(features, features))
        self.HRconv = conv3x3(features, features)
        self.conv_last = conv3x3(features, channels)
        # First convolution, blocks, end of the trunk; one a step; the two at full config.
        at_lr = 1 + CONVOLUTIONS_IN_RRDB * config.blocks + 1
        radii = (at_lr,) + (1,) * (len(self.steps) - 1) + (3,)
        self.receptive_radius = radius_behind_unshuffle(radii, self.steps, self.size_multiple)

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C, scale*H, scale*W)``, not clamped."""
        if self.size_multiple > 1:
            lr = F.pixel_unshuffle(lr, self.size_multiple)
        shallow = self.conv_first(to_channels_last(lr))
        x = shallow + self.trunk_conv(self.RRDB_trunk(shallow))
        for index, step in enumerate(self.steps):
            repeated = F.interpolate(x, scale_factor=float(step), mode="nearest")
            x = leaky_relu(getattr(self, f"upconv{index + 1}")(repeated))
        sr: Tensor = self.conv_last(leaky_relu(self.HRconv(x)))
        return sr.contiguous()


def radius_behind_unshuffle(radii: Sequence[int], steps: Sequence[int], unshuffle: int) -> int:
    """As ``layers.receptive_radius`` for a chain that works on ``unshuffle`` times smaller images.

    Args:
        radii: sum of the kernel radii on the unshuffled image, then after each upsampling step.
        steps: the upsampling factors, one fewer than ``radii``.
        unshuffle: factor by which the image was unshuffled; 1 for not at all.

    Returns:
        Pixels of the image before it was unshuffled, the most over the positions within a cell.
    """
    outputs = math.prod(steps) // unshuffle
    reaches = []
    for phase in range(unshuffle):
        low, high = phase * outputs, (phase + 1) * outputs - 1
        for radius, step in zip(reversed(radii[1:]), reversed(steps), strict=True):
            low, high = (low - radius) // step, (high + radius) // step
        first, last = unshuffle * (low - radii[0]), unshuffle * (high + radii[0] + 1) - 1
        reaches.append(max(phase - first, last - phase))
    return max(reaches)


def to_published_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of BasicSR (``body.0``) or of the code before December 2018 (``model.1.sub.0``).

    Other state dicts come back as they are.
    """
    if "conv_body.weight" in state:
        return {_from_basicsr(name): value for name, value in state.items()}
    if "model.1.sub.0.RDB1.conv1.0.weight" in state and all(name.startswith("model.") for name in state):
        return _from_old_code(state)
    return dict(state)


def _from_basicsr(name: str) -> str:
    name = re.sub(r"^body\.(\d+)\.rdb(\d)\.", r"RRDB_trunk.\1.RDB\2.", name)
    name = re.sub(r"^conv_up(\d)\.", r"upconv\1.", name)
    return re.sub(r"^conv_(body|hr)\.", lambda part: {"body": "trunk_conv.", "hr": "HRconv."}[part[1]], name)


def _from_old_code(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """That code numbered the layers in a row, so that names depend on how many blocks and steps there are."""
    outer = sorted({int(name.split(".")[1]) for name in state} - {1})
    ends = ["conv_first", *(f"upconv{index}" for index in range(1, len(outer) - 2)), "HRconv", "conv_last"]
    renamed = dict(zip(outer, ends, strict=False))
    return {_from_old_name(name, renamed): value for name, value in state.items()}


def _from_old_name(name: str, outer: Mapping[int, str]) -> str:
    name = re.sub(r"^model\.1\.sub\.(\d+)\.(RDB\d\.conv\d)\.0\.", r"RRDB_trunk.\1.\2.", name)
    name = re.sub(r"^model\.1\.sub\.\d+\.(weight|bias)$", r"trunk_conv.\1", name)
    number = re.match(r"^model\.(\d+)\.", name)
    return name if number is None else name.replace(number[0], f"{outer.get(int(number[1]), number[0])}.", 1)


HALVED_EVERY_FIFTH = StepRate(at=(0.2, 0.4, 0.6, 0.8), gamma=0.5)
"""Every 200k of 1M iterations."""

BUDGETS: dict[tuple[str, str], tuple[StageBudget, StageBudget]] = {
    ("smoke", "paper"): (StageBudget(40, 2, 32, 2e-4), StageBudget(6, 2, 32)),
    ("smoke", "tiny"): (StageBudget(400, 8, 48, 3e-3), StageBudget(40, 8, 48)),
    ("short", "paper"): (StageBudget(16_000, 16, 128, 2e-4), StageBudget(4_000, 16, 128)),
    ("short", "tiny"): (StageBudget(8_000, 16, 128, 1e-3), StageBudget(2_000, 16, 128)),
    ("paper", "paper"): (StageBudget(1_000_000, 16, 128, 2e-4), StageBudget(400_000, 16, 128)),
    ("paper", "tiny"): (StageBudget(1_000_000, 16, 128, 2e-4), StageBudget(400_000, 16, 128)),
}
"""Budget and variant to the stages; ``paper`` is section 4.1 and, where it is silent, BasicSR's options."""


def esrgan_recipe(request: RecipeRequest) -> Recipe:
    """L1 on pixels, then ``L_percep + 5e-3 * L_RaGAN + 1e-2 * L1`` from those weights (eq. 3).

    One update of the discriminator for one of the generator, their rates halved at 50k, 100k, 200k and 300k
    of 400k iterations.
    """
    first, second = BUDGETS[request.budget, request.variant]
    patch = patch_for(first.patch, request.scale)
    perceptual, notes = perceptual_term(request)
    pixels = first.stage(
        "pixels", LossTerm("l1", PixelLoss(F.l1_loss)), patch=patch, schedule=HALVED_EVERY_FIFTH
    )
    adversarial = second.stage(
        "adversarial",
        perceptual,
        LossTerm("adversarial", RelativisticGenerator(DISCRIMINATOR), weight=5e-3),
        LossTerm("l1", PixelLoss(F.l1_loss), weight=1e-2),
        patch=patch,
        schedule=StepRate(at=(1 / 8, 1 / 4, 1 / 2, 3 / 4), gamma=0.5),
    )
    build = partial(VGGDiscriminator, request.channels, patch, *discriminator_widths(request))
    return Recipe(
        stages=(pixels, adversarial.against(build, RelativisticDiscriminator())),
        source="arXiv 1809.00219, sections 3.2, 3.3 and 4.1; XPixelGroup/BasicSR@8d56e3a "
        "options/train/ESRGAN: 1M and 400k iterations",
        notes=(*notes, *scale_notes(request.scale, first.patch)),
    )


def discriminator_widths(request: RecipeRequest) -> tuple[int, int]:
    """Width of the discriminator's first convolution and of its hidden layer, SPSR's too."""
    if request.variant == "tiny":
        return (8, 16) if request.budget == "smoke" else (16, 32)
    return 64, 100


def perceptual_term(request: RecipeRequest) -> tuple[LossTerm, tuple[str, ...]]:
    """L1 on VGG-19 conv5_4 before activation (section 3.3), on pixels without its weights; what to note."""
    pixels = LossTerm("pixels", PixelLoss(F.l1_loss))
    if request.variant == "tiny":
        return pixels, ("Perceptual loss: L1 on pixels in its place, so that a CPU keeps up.",)
    state = request.pretrained("vgg19")
    if state is None:
        return pixels, ("Perceptual loss: L1 on pixels in its place: no VGG-19 weights on disk.",)
    loss = VGGContentLoss(state, {"conv5_4": 1.0}, F.l1_loss)
    return LossTerm("perceptual", loss), ("Perceptual loss: L1 on VGG-19 conv5_4 before activation.",)


def patch_for(patch: int, scale: int) -> int:
    """``patch`` rounded up, so that LR crops are whole at x3 and can be unshuffled at x2."""
    multiple = 4 if scale == 2 else scale
    return math.ceil(patch / multiple) * multiple


def scale_notes(scale: int, patch: int) -> tuple[str, ...]:
    """What is not published about this magnification."""
    if scale == 4:
        return ()
    rounded = patch_for(patch, scale)
    detail = f", HR patches of {rounded} instead of {patch}" if rounded != patch else ""
    return (f"Published for x4 only; x{scale} is trained alike{detail}.",)


_AUTHORS = "https://github.com/xinntao/ESRGAN"
_REAL = "https://github.com/xinntao/Real-ESRGAN/releases/download/"

RELEASED = (
    *(
        ReleasedWeights(file, "paper", 4, _AUTHORS, licence="Apache-2.0", direct=False, note=note)
        for file, note in (
            ("RRDB_ESRGAN_x4.pth", "The paper's ESRGAN; MATLAB bicubic LR."),
            ("RRDB_PSNR_x4.pth", "The paper's first stage, trained for pixels on DF2K; MATLAB bicubic LR."),
        )
    ),
    ReleasedWeights(
        "ESRGAN_SRx4_DF2KOST_official-ff704c30.pth",
        "paper",
        4,
        _REAL + "v0.1.1/ESRGAN_SRx4_DF2KOST_official-ff704c30.pth",
        licence="BSD-3-Clause",
        sha256="ff704c30",
        note="The paper's ESRGAN in BasicSR's layout; DF2K and OST, MATLAB bicubic LR.",
    ),
    *(
        ReleasedWeights(
            f"RealESRGAN_x{scale}plus.pth",
            "paper",
            scale,
            f"{_REAL}{version}/RealESRGAN_x{scale}plus.pth",
            licence="BSD-3-Clause",
            note="Real-ESRGAN: trained on heavily and randomly degraded photographs, not on bicubic LR.",
        )
        for scale, version in ((4, "v0.1.0"), (2, "v0.2.1"))
    ),
)


@register_model(
    title="ESRGAN",
    family="adversarial",
    paper="https://arxiv.org/abs/1809.00219",
    publication="ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks",
    authors=(
        "Wang, Xintao and Yu, Ke and Wu, Shixiang and Gu, Jinjin and Liu, Yihao and Dong, Chao and Loy, "
        "Chen Change and Qiao, Yu and Tang, Xiaoou"
    ),
    year=2018,
    scales=(2, 3, 4, 8),
    variants=("paper", "tiny"),
    recipe=esrgan_recipe,
    summary="A deeper SRGAN, trained on which of two images is more real; sharp, invents texture.",
    released=RELEASED,
    convert=to_published_names,
)
def esrgan(scale: int, channels: int, variant: str) -> nn.Module:
    """The generator with 23 blocks of width 64 (``paper``) or one of 16 (``tiny``); x4 as published."""
    network = RRDBNet(scale, channels, CONFIGS[variant])
    return BicubicResidual(network, network.conv_last, scale) if variant == "tiny" else network
