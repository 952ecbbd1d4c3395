"""EDSR: residual blocks without normalisation, upsampled by sub-pixel convolution at the very end.

Lim, Son, Kim, Nah and Lee, "Enhanced deep residual networks for single image super-resolution", CVPRW 2017,
arXiv 1707.02921. Modules are named as in the authors' PyTorch code, so that their checkpoints load; those of
BasicSR are renamed (``from_other_layouts``). Images are in [0, 1] outside and in [0, 255] inside. Departures:
with one channel the mean of the training photographs becomes its luminance; magnification 1, a denoiser,
leaves the upsampler out. ``tiny`` is a few small blocks on top of the bicubic image, to train in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.base import GreyShift, ReleasedWeights
from srbench.models.layers import (
    BicubicResidual,
    PixelShuffleUpsampler,
    ResidualBlock,
    receptive_radius,
    upsampling_steps,
)
from srbench.models.recipe import (
    CosineRate,
    LossTerm,
    PixelLoss,
    Recipe,
    RecipeRequest,
    StageBudget,
    StepRate,
)
from srbench.models.registry import register_model
from srbench.utils.image import LUMA_WEIGHTS

RGB_RANGE = 255.0
DIV2K_MEAN = (0.4488, 0.4371, 0.4040)


@dataclass(frozen=True)
class EDSRConfig:
    """Residual blocks, their width, and the factor on what a block adds."""

    blocks: int
    features: int
    residual_scale: float


CONFIGS = {
    "baseline": EDSRConfig(16, 64, 1.0),
    "full": EDSRConfig(32, 256, 0.1),
    "tiny": EDSRConfig(3, 16, 1.0),
}


class MeanShift(nn.Module):
    """Adds a constant to every channel; stored as the 1x1 convolution of the authors' checkpoints.

    It never learns, hence buffers instead of parameters.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, shift: Sequence[float]) -> None:
        super().__init__()
        channels = len(shift)
        self.register_buffer("weight", torch.eye(channels).view(channels, channels, 1, 1))
        self.register_buffer("bias", torch.tensor(shift))

    def forward(self, image: Tensor) -> Tensor:
        # A convolution would be rounded to 8 bits of mantissa under autocast: a grey level on this range.
        gain = self.weight.flatten(1).diagonal()
        return image * gain.view(-1, 1, 1) + self.bias.view(-1, 1, 1)


class EDSR(nn.Module):
    """The network of the paper.

    Args:
        scale: 1 (no upsampler), 2, 3, 4 or 8.
        config: blocks, width and residual scaling.
        mean: what is subtracted from each channel of a [0, 1] image and added back.
    """

    def __init__(self, scale: int, config: EDSRConfig, mean: Sequence[float]) -> None:
        super().__init__()
        channels, features = len(mean), config.features
        self.sub_mean = MeanShift([-RGB_RANGE * value for value in mean])
        self.add_mean = MeanShift([RGB_RANGE * value for value in mean])
        self.head = nn.Sequential(nn.Conv2d(channels, features, 3, padding=1))
        blocks = [ResidualBlock(features, config.residual_scale) for _ in range(config.blocks)]
        self.body = nn.Sequential(*blocks, nn.Conv2d(features, features, 3, padding=1))
        last = nn.Conv2d(features, channels, 3, padding=1)
        self.tail = nn.Sequential(PixelShuffleUpsampler(features, scale), last)
        steps = upsampling_steps(scale)
        self.grey_shift = mean_shift() if tuple(mean) == DIV2K_MEAN else None
        # Head, two convolutions a block, the end of the body, the first upsampling convolution or the last.
        self.receptive_radius = receptive_radius((2 * config.blocks + 3,) + (1,) * len(steps), steps)

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` in [0, 1] to ``(N, C, scale*H, scale*W)``."""
        shallow = self.head(self.sub_mean(RGB_RANGE * lr))
        deep = shallow + self.body(shallow)
        sr: Tensor = self.add_mean(self.tail(deep))
        return sr / RGB_RANGE


def edsr_mean(channels: int) -> tuple[float, ...]:
    """Mean of DIV2K for three channels; its luminance for one."""
    if channels == 3:
        return DIV2K_MEAN
    return (sum(weight * mean for weight, mean in zip(LUMA_WEIGHTS, DIV2K_MEAN, strict=True)),)


def mean_shift() -> GreyShift:
    """What the means of three colours become in a network for grey images."""
    (grey,) = edsr_mean(1)
    red, green, blue = (RGB_RANGE * (grey - mean) for mean in DIV2K_MEAN)
    return GreyShift(first="head.0", last="tail.1", shift=(red, green, blue))


BASICSR_NAMES = {
    r"conv_first": "head.0",
    r"body\.(\d+)\.conv1": r"body.\1.body.0",
    r"body\.(\d+)\.conv2": r"body.\1.body.2",
    r"conv_after_body": "body.{blocks}",
    r"upsample\.(\d+)": r"tail.0.\1",
    r"conv_last": "tail.1",
}
"""Pattern of a module's name in BasicSR's EDSR to its name here; both end in ``.weight`` or ``.bias``."""


def from_other_layouts(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of BasicSR's EDSR under the authors' names, with means; other networks' as they are.

    BasicSR, and others with the authors' names, keep the mean of the training photographs outside of their
    checkpoints: nobody learns it, it is DIV2K's.
    """
    converted = dict(state)
    named = {key: _name_of_basicsr(key) for key in state}
    if "conv_after_body.weight" in state and all(named.values()):
        blocks = sum(key.endswith(".conv1.weight") for key in state)
        converted = {new.format(blocks=blocks): state[key] for key, new in named.items()}
    # Around the small variant lies a bicubic image, which carries the mean.
    small = "body.head.0.weight" in converted
    prefix = "body." if small else ""
    first = converted.get(f"{prefix}head.0.weight")
    if first is None or first.ndim != 4 or first.shape[1] not in (1, 3):
        return dict(state)
    mean = (0.0,) * first.shape[1] if small else edsr_mean(first.shape[1])
    for name, sign in (("sub_mean", -1), ("add_mean", 1)):
        shift = MeanShift([sign * RGB_RANGE * value for value in mean])
        for key, value in shift.state_dict().items():
            converted.setdefault(f"{prefix}{name}.{key}", value.to(first))
    return converted


def _name_of_basicsr(key: str) -> str:
    """The authors' name of a tensor of BasicSR's EDSR, empty for a tensor it does not have."""
    module, _, kind = key.rpartition(".")
    for pattern, name in BASICSR_NAMES.items():
        if kind in ("weight", "bias") and (match := re.fullmatch(pattern, module)):
            return f"{match.expand(name)}.{kind}"
    return ""


SHORTER: dict[tuple[str, str], StageBudget] = {
    ("smoke", "baseline"): StageBudget(60, 4, 12, 5e-4),
    ("smoke", "full"): StageBudget(12, 2, 8, 1e-4),
    ("smoke", "tiny"): StageBudget(400, 8, 10, 2e-3),
    ("short", "baseline"): StageBudget(20_000, 16, 48, 2e-4),
    ("short", "full"): StageBudget(10_000, 16, 48, 1e-4),
    ("short", "tiny"): StageBudget(10_000, 16, 48, 1e-3),
}
"""Patches in LR pixels, at magnification 1 in pixels of a half."""


def edsr_recipe(request: RecipeRequest) -> Recipe:
    """The authors' ``src/demo.sh`` and ``src/option.py``, or a shorter regression of the same kind.

    Published: 300 epochs of 1000 iterations, the learning rate halved after 200 of them.
    """
    published = request.budget == "paper"
    budget = StageBudget(300_000, 16, 48) if published else SHORTER[request.budget, request.variant]
    stage = budget.stage(
        "regression",
        # The authors' loss is measured on 0..255; the factor matters to Adam's epsilon only.
        LossTerm("l1", PixelLoss(F.l1_loss), weight=RGB_RANGE),
        patch=budget.patch * max(request.scale, 2),
        schedule=StepRate(at=(2 / 3,), gamma=0.5) if published else CosineRate(0.01),
    )
    return Recipe(
        stages=(stage,),
        source="arXiv 1707.02921, section 4.2, and thstkdgus35/EDSR-PyTorch@9d3bb0e src/option.py",
        notes=(
            "The authors start x3 and x4 from their x2, as --from does.",
            *(("The authors have no magnification 1.",) if request.scale == 1 else ()),
        ),
    )


def _released(file: str, variant: str, scale: int) -> ReleasedWeights:
    basicsr = file.startswith("EDSR")
    return ReleasedWeights(
        file=file,
        variant=variant,
        scale=scale,
        url="https://github.com/XPixelGroup/BasicSR/blob/master/docs/ModelZoo.md"
        if basicsr
        else f"https://cv.snu.ac.kr/research/EDSR/models/{file}",
        licence="Apache-2.0" if basicsr else "MIT",
        # Both publishers put the first eight digits of the sha256 after the last hyphen.
        sha256=file.partition(".")[0].rpartition("-")[2],
        direct=not basicsr,
        note="The authors' weights in BasicSR's layout."
        if basicsr
        else "Trained by the authors on DIV2K photographs.",
    )


RELEASED = (
    _released("edsr_baseline_x2-1bc95232.pt", "baseline", 2),
    _released("edsr_baseline_x3-abf2a44e.pt", "baseline", 3),
    _released("edsr_baseline_x4-6b446fab.pt", "baseline", 4),
    _released("edsr_x2-0edfb8a3.pt", "full", 2),
    _released("edsr_x3-ea3ef2c6.pt", "full", 3),
    _released("edsr_x4-4f62e9ef.pt", "full", 4),
    _released("EDSR_Mx2_f64b16_DIV2K_official-3ba7b086.pth", "baseline", 2),
    _released("EDSR_Mx3_f64b16_DIV2K_official-6908f88a.pth", "baseline", 3),
    _released("EDSR_Mx4_f64b16_DIV2K_official-0c287733.pth", "baseline", 4),
    _released("EDSR_Lx2_f256b32_DIV2K_official-be38e77d.pth", "full", 2),
    _released("EDSR_Lx3_f256b32_DIV2K_official-3660f70d.pth", "full", 3),
    _released("EDSR_Lx4_f256b32_DIV2K_official-76ee1c8f.pth", "full", 4),
)


@register_model(
    title="EDSR",
    family="regression",
    paper="https://arxiv.org/abs/1707.02921",
    publication="Enhanced Deep Residual Networks for Single Image Super-Resolution",
    authors="Lim, Bee and Son, Sanghyun and Kim, Heewon and Nah, Seungjun and Lee, Kyoung Mu",
    year=2017,
    scales=(1, 2, 3, 4, 8),
    variants=("baseline", "full", "tiny"),
    recipe=edsr_recipe,
    released=RELEASED,
    convert=from_other_layouts,
    summary="A deep residual regression network; the usual reference for faithful super-resolution.",
)
def edsr(scale: int, channels: int, variant: str) -> nn.Module:
    """EDSR with 16 blocks of width 64 (``baseline``), 32 of 256 (``full``) or 3 of 16 (``tiny``)."""
    if variant == "tiny":
        # The bicubic image already carries the mean.
        body = EDSR(scale, CONFIGS["tiny"], mean=(0.0,) * channels)
        last = body.tail[-1]
        assert isinstance(last, nn.Conv2d)
        return BicubicResidual(body, last, scale)
    return EDSR(scale, CONFIGS[variant], edsr_mean(channels))
