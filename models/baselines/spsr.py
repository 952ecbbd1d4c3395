"""SPSR: an ESRGAN generator that is guided by a second branch, which super-resolves the image's gradients.

Ma et al., "Structure-preserving super resolution with gradient guidance", CVPR 2020, arXiv 2003.13081.
Modules are named as in Maclory/SPSR, whose checkpoints load. The paper enlarges x4; x2, x8 and x3 of the
authors' code (doublings; pixels repeated three times at once) come without published weights. Only dense
blocks start small, as in ESRGAN: the authors scale every convolution by 0.1, most of which trained weights
then replace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.base import ReleasedWeights
from srbench.models.baselines.esrgan import (
    CONVOLUTIONS_IN_RRDB,
    HALVED_EVERY_FIFTH,
    RRDB,
    SLOPE,
    conv3x3,
    discriminator_widths,
    patch_for,
    perceptual_term,
    scale_notes,
    to_channels_last,
)
from srbench.models.discriminators import BiasedVGGDiscriminator
from srbench.models.layers import BicubicResidual, receptive_radius, upsampling_steps
from srbench.models.losses.adversarial import RelativisticDiscriminator, RelativisticGenerator
from srbench.models.losses.pixel import gradient_map
from srbench.models.recipe import (
    Batch,
    ConstantRate,
    LearningRate,
    LossInputs,
    LossTerm,
    Outputs,
    PixelLoss,
    Recipe,
    RecipeRequest,
    Stage,
    StageBudget,
    StepRate,
)
from srbench.models.registry import register_model


@dataclass(frozen=True)
class SPSRConfig:
    """Blocks of the image branch, width and growth; after which blocks the gradient branch looks at it."""

    blocks: int
    features: int
    growth: int
    shared: tuple[int, ...]


class Restored(NamedTuple):
    """What the network makes of an LR image.

    Attributes:
        sr: ``(N, C, scale*H, scale*W)``, the image.
        gradient_sr: same shape, the gradient map of it that the gradient branch predicts.
        lr_gradient: ``(N, C, H, W)``, the gradient map of the LR image.
    """

    sr: Tensor
    gradient_sr: Tensor
    lr_gradient: Tensor


class GradientMap(nn.Module):
    """``gradient_map`` of the LR image, not learned.

    The kernels are constants of the definition; the state dict has them because the authors' files do.
    """

    weight_h: Tensor
    weight_v: Tensor

    def __init__(self) -> None:
        super().__init__()
        row = torch.zeros(3, 3)
        row[1] = torch.tensor([-1.0, 0.0, 1.0])
        self.register_buffer("weight_h", row.view(1, 1, 3, 3))
        self.register_buffer("weight_v", row.t().clone().view(1, 1, 3, 3))

    def forward(self, lr: Tensor) -> Tensor:
        return gradient_map(lr)


class Trunk(nn.Module):
    """Residual blocks and a convolution with a connection around them; remembers some blocks' outputs."""

    def __init__(self, config: SPSRConfig) -> None:
        super().__init__()
        blocks = [RRDB(config.features, config.growth, nn.Sequential) for _ in range(config.blocks)]
        self.sub = nn.Sequential(*blocks, conv3x3(config.features, config.features))
        self.shared = config.shared

    def forward(self, shallow: Tensor) -> tuple[Tensor, list[Tensor]]:
        """``(N, features, H, W)`` to the same shape, and what the gradient branch is shown."""
        x, shown = shallow, []
        for number, layer in enumerate(self.sub, start=1):
            x = layer(x)
            if number in self.shared:
                shown.append(x)
        return shallow + x, shown


class SPSR(nn.Module):
    """The generator of the paper (figure 2).

    Args:
        scale: 2, 3, 4 or 8.
        channels: image channels in and out, gradient maps as many.
        config: blocks, width, growth.
    """

    def __init__(self, scale: int, channels: int, config: SPSRConfig) -> None:
        super().__init__()
        features, steps = config.features, upsampling_steps(scale)
        self.model = nn.Sequential(conv3x3(channels, features), Trunk(config), *upsampling(features, steps))
        self.HR_conv0_new = nn.Sequential(conv3x3(features, features), rectifier())
        self.HR_conv1_new = nn.Sequential(conv3x3(features, features))
        self.get_g_nopadding = GradientMap()
        self.b_fea_conv = nn.Sequential(conv3x3(channels, features))
        for number in range(1, len(config.shared) + 1):
            self.add_module(f"b_block_{number}", RRDB(2 * features, config.growth, nn.Sequential))
            self.add_module(f"b_concat_{number}", nn.Sequential(conv3x3(2 * features, features)))
        self.b_LR_conv = nn.Sequential(conv3x3(features, features))
        at_hr = (conv3x3(features, features), rectifier(), conv3x3(features, features))
        self.b_module = nn.Sequential(*upsampling(features, steps), *at_hr)
        self.conv_w = nn.Sequential(nn.Conv2d(features, channels, 1))
        self.f_block = RRDB(2 * features, config.growth, nn.Sequential)
        self.f_concat = nn.Sequential(conv3x3(2 * features, features))
        self.f_HR_conv0 = nn.Sequential(conv3x3(features, features), rectifier())
        self.f_HR_conv1 = nn.Sequential(conv3x3(features, channels))
        # After the last step: its convolution, two of a branch, the fusion's block and its three.
        radii = (radius_at_lr(config),) + (1,) * (len(steps) - 1) + (1 + 2 + CONVOLUTIONS_IN_RRDB + 3,)
        self.receptive_radius = receptive_radius(radii, steps)

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C, scale*H, scale*W)``, not clamped: the image alone."""
        return self._fuse(self._branches(lr, self.get_g_nopadding(lr)))

    def restore(self, lr: Tensor) -> Restored:
        """As :meth:`forward`, with the gradient maps that training looks at."""
        lr_gradient = self.get_g_nopadding(lr)
        both = self._branches(lr, lr_gradient)
        gradient_sr = self.conv_w(both[:, : both.shape[1] // 2])
        return Restored(self._fuse(both), gradient_sr.contiguous(), lr_gradient)

    def _branches(self, lr: Tensor, lr_gradient: Tensor) -> Tensor:
        """``(N, 2 * features, scale*H, scale*W)``: features of the gradients, then of the image."""
        first, trunk, *upsample = self.model
        deep, shown = trunk(first(to_channels_last(lr)))
        gradient = self.b_module(self._gradient_features(lr_gradient, shown))
        for layer in upsample:
            deep = layer(deep)
        return torch.cat((gradient, self.HR_conv1_new(self.HR_conv0_new(deep))), dim=1)

    def _gradient_features(self, lr_gradient: Tensor, shown: Sequence[Tensor]) -> Tensor:
        shallow: Tensor = self.b_fea_conv(to_channels_last(lr_gradient))
        x = shallow
        for number, of_image in enumerate(shown, start=1):
            block, concat = getattr(self, f"b_block_{number}"), getattr(self, f"b_concat_{number}")
            x = concat(block(torch.cat((x, of_image), dim=1)))
        return torch.add(shallow, self.b_LR_conv(x))

    def _fuse(self, both: Tensor) -> Tensor:
        fused = self.f_concat(self.f_block(both))
        sr: Tensor = self.f_HR_conv1(self.f_HR_conv0(fused))
        return sr.contiguous()


def rectifier() -> nn.Module:
    """Leaky rectifier that overwrites the output of the convolution before it."""
    return nn.LeakyReLU(SLOPE, inplace=True)


def upsampling(features: int, steps: Sequence[int]) -> list[nn.Module]:
    """Repeated pixels, convolution and rectifier for each step."""
    layers: list[nn.Module] = []
    for step in steps:
        layers += [nn.Upsample(scale_factor=float(step)), conv3x3(features, features), rectifier()]
    return layers


def radius_at_lr(config: SPSRConfig) -> int:
    """LR pixels that the farther-looking branch looks before it is enlarged."""
    image = 1 + CONVOLUTIONS_IN_RRDB * config.blocks + 1
    gradient = 1 + 1  # the operator, the first convolution
    for number in config.shared:
        gradient = max(gradient, 1 + CONVOLUTIONS_IN_RRDB * number) + CONVOLUTIONS_IN_RRDB + 1
    return max(image, gradient + 1)


def restore(network: nn.Module, lr: Tensor) -> Restored:
    """:meth:`SPSR.restore` of a registered variant, whether or not it stands on the bicubic image."""
    if isinstance(network, BicubicResidual):
        correction = restore(network.body, lr)
        return correction._replace(sr=network.bicubic(lr) + correction.sr)
    assert isinstance(network, SPSR)
    return network.restore(lr)


CONFIGS = {"paper": SPSRConfig(23, 64, 32, (5, 10, 15, 20)), "tiny": SPSRConfig(2, 8, 4, (1,))}


def to_published_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop the second name that the authors' files have for ``HR_conv0_new``, the last layer of ``model``.

    A file that has only that name is given the other. Other state dicts come back as they are.
    """
    if "f_concat.0.weight" not in state:
        return dict(state)
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        part, _, rest = name.partition(".")
        number, _, kind = rest.partition(".")
        # Every step of the upsampler is three layers, the second of which has weights.
        if part == "model" and number.isdigit() and int(number) > 1 and int(number) % 3 == 2:
            renamed.setdefault(f"HR_conv0_new.0.{kind}", value)
        else:
            renamed[name] = value
    return renamed


IMAGE_DISCRIMINATOR = "image_discriminator"
GRADIENT_DISCRIMINATOR = "gradient_discriminator"


def wide_gradient_map(image: Tensor) -> Tensor:
    """The gradient map that losses compare: one pixel more on every side, 130 for 128."""
    return gradient_map(image, padding=2)


def guided_forward(network: nn.Module, batch: Batch) -> Outputs:
    """The image and the gradient map that the branch predicts."""
    restored = restore(network, batch.lr)
    return {"sr": restored.sr, "gradient_sr": restored.gradient_sr}


def branch_loss(inputs: LossInputs) -> Tensor:
    """L1 between the predicted gradient map and that of the HR image."""
    return F.l1_loss(inputs.outputs["gradient_sr"], gradient_map(inputs.hr))


def gradient_pixel_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean squared error of the gradient maps of two images, as in the released code."""
    return F.mse_loss(wide_gradient_map(sr), wide_gradient_map(hr))


BRANCH = LossTerm("branch", branch_loss, weight=0.5)


BUDGETS: dict[tuple[str, str], tuple[StageBudget, StageBudget, StageBudget]] = {
    ("smoke", "paper"): (StageBudget(24, 2, 32, 2e-4), StageBudget(3, 2, 32), StageBudget(4, 2, 32)),
    ("smoke", "tiny"): (StageBudget(320, 4, 32, 5e-3), StageBudget(4, 4, 32), StageBudget(12, 4, 32)),
    ("short", "paper"): (
        StageBudget(8_000, 16, 128, 2e-4),
        StageBudget(200, 16, 128),
        StageBudget(3_000, 16, 128),
    ),
    ("short", "tiny"): (
        StageBudget(8_000, 16, 128, 1e-3),
        StageBudget(100, 16, 128),
        StageBudget(2_000, 16, 128),
    ),
    **dict.fromkeys(
        (("paper", "paper"), ("paper", "tiny")),
        (StageBudget(1_000_000, 16, 128, 2e-4), StageBudget(5_000, 30, 128), StageBudget(495_000, 30, 128)),
    ),
}
"""Budget and variant to the stages; ``paper`` is the released option file, its first stage ESRGAN's."""


def spsr_recipe(request: RecipeRequest) -> Recipe:
    """Pixels; then all losses on the layers that join the branches; then all losses on everything."""
    first, fusion, adversarial = BUDGETS[request.budget, request.variant]
    patch = patch_for(first.patch, request.scale)
    perceptual, notes = perceptual_term(request)
    guided = partial(_guided_stage, request, perceptual, patch)
    # The rate is halved after 50k, 100k, 200k and 300k of 500k iterations, the fusion stage's included.
    total = fusion.iterations + adversarial.iterations
    milestones = (0.1 * total, 0.2 * total, 0.4 * total, 0.6 * total)
    halved = StepRate(tuple((at - fusion.iterations) / adversarial.iterations for at in milestones), 0.5)
    joining = "body.f_" if request.variant == "tiny" else "f_"
    return Recipe(
        stages=(
            # ESRGAN's first stage (arXiv 1809.00219, section 4.1), with the branch's own loss.
            first.stage(
                "pixels",
                LossTerm("l1", PixelLoss(F.l1_loss)),
                BRANCH,
                patch=patch,
                schedule=HALVED_EVERY_FIFTH,
                forward=guided_forward,
            ),
            guided("fusion", fusion, ConstantRate(), (joining,)),
            guided("adversarial", adversarial, halved, ("",)),
        ),
        source="arXiv 2003.13081, section 3.3; Maclory/SPSR@881e781 code/options/train/train_spsr.json and "
        "code/models/SPSR_model.py",
        notes=(
            *notes,
            *scale_notes(request.scale, first.patch),
            "The authors start from RRDB_PSNR_x4; here the whole network is first trained for pixels (L1) "
            "and for its gradient branch, in the paper budget as long as RRDB_PSNR_x4 was.",
        ),
    )


def _guided_stage(
    request: RecipeRequest,
    perceptual: LossTerm,
    patch: int,
    name: str,
    budget: StageBudget,
    schedule: LearningRate,
    trainable: tuple[str, ...],
) -> Stage:
    """Every loss of the option file; one update of each discriminator for one of the generator."""
    stage = budget.stage(
        name,
        LossTerm("l1", PixelLoss(F.l1_loss), weight=1e-2),
        perceptual,
        LossTerm("adversarial", RelativisticGenerator(IMAGE_DISCRIMINATOR), weight=5e-3),
        LossTerm("gradient", PixelLoss(gradient_pixel_loss), weight=1e-2),
        LossTerm(
            "gradient_adversarial",
            RelativisticGenerator(GRADIENT_DISCRIMINATOR, wide_gradient_map),
            weight=5e-3,
        ),
        BRANCH,
        patch=patch,
        schedule=schedule,
        trainable=trainable,
        forward=guided_forward,
    )
    for key, view, side in (
        (IMAGE_DISCRIMINATOR, None, patch),
        (GRADIENT_DISCRIMINATOR, wide_gradient_map, patch + 2),
    ):
        build = partial(BiasedVGGDiscriminator, request.channels, side, *discriminator_widths(request))
        stage = stage.against(build, RelativisticDiscriminator(view), key)
    return stage


@register_model(
    title="SPSR",
    family="adversarial",
    paper="https://arxiv.org/abs/2003.13081",
    publication="Structure-Preserving Super Resolution with Gradient Guidance",
    authors="Ma, Cheng and Rao, Yongming and Cheng, Yean and Chen, Ce and Lu, Jiwen and Zhou, Jie",
    year=2020,
    scales=(2, 3, 4, 8),
    variants=("paper", "tiny"),
    recipe=spsr_recipe,
    summary="ESRGAN with a second branch that restores edges first and keeps the image's structure to them.",
    released=(
        ReleasedWeights(
            "spsr.pth",
            "paper",
            4,
            "https://github.com/Maclory/SPSR",
            direct=False,
            note="The paper's SPSR; DIV2K, MATLAB bicubic LR.",
        ),
    ),
    convert=to_published_names,
)
def spsr(scale: int, channels: int, variant: str) -> nn.Module:
    """Image branch of 23 blocks of width 64 (``paper``) or two of 8 (``tiny``); x4 as published."""
    network = SPSR(scale, channels, CONFIGS[variant])
    if variant != "tiny":
        return network
    last = network.f_HR_conv1[0]
    assert isinstance(last, nn.Conv2d)
    return BicubicResidual(network, last, scale)
