"""SPSR: an ESRGAN generator that is guided by a second branch, which super-resolves the image's gradients.

Ma et al., "Structure-preserving super resolution with gradient guidance", CVPR 2020, arXiv 2003.13081.
Checkpoints of Maclory/SPSR load (:func:`to_published_names`).

The paper enlarges x4. The authors' code also has x2 and x8, by one and three doublings, and x3, whose pixels
are repeated three times at once; these are offered here without published weights. Only dense blocks start
small, as in ESRGAN: the authors scale every convolution by 0.1, most of which trained weights then replace.
The variant ``tiny`` is the same network in small on top of the bicubic image, made to train in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.baselines.esrgan import (
    CONVOLUTIONS_IN_RRDB,
    HALVED_EVERY_FIFTH,
    RRDB,
    SLOPE,
    conv3x3,
    favourite_layout,
    patch_for,
    perceptual_term,
    scale_notes,
)
from srbench.models.discriminators import BiasedVGGCritic
from srbench.models.interface import RecipeRequest, ReleasedWeights
from srbench.models.layers import OnBicubic, receptive_radius, upsampling_steps
from srbench.models.losses.adversarial import RelativisticCritic, RelativisticGenerator, View
from srbench.models.losses.pixel import gradient_map
from srbench.models.recipe import (
    Batch,
    ConstantRate,
    Critic,
    LearningRate,
    LossInputs,
    LossTerm,
    Optimiser,
    Outputs,
    PixelLoss,
    Recipe,
    Stage,
    StepRate,
)
from srbench.models.registry import register_model

# The network of SPSR: a branch for the image, a branch for its gradients, and what joins them.
#
# Ma et al. 2020, arXiv 2003.13081, figure 2. Modules are named as in Maclory/SPSR. The memory that it takes is
# that of the joining block, 128 channels and their growth at full size.

@dataclass(frozen=True)
class Size:
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
        """``(N, C, H, W)`` to the same shape."""
        return gradient_map(lr)


class Trunk(nn.Module):
    """Residual blocks and a convolution with a connection around them; remembers some blocks' outputs."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        blocks = [RRDB(size.features, size.growth, nn.Sequential) for _ in range(size.blocks)]
        self.sub = nn.Sequential(*blocks, conv3x3(size.features, size.features))
        self.shared = size.shared

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
        size: blocks, width, growth.
    """

    def __init__(self, scale: int, channels: int, size: Size) -> None:
        super().__init__()
        features, steps = size.features, upsampling_steps(scale)
        self.model = nn.Sequential(conv3x3(channels, features), Trunk(size), *upsampling(features, steps))
        self.HR_conv0_new = nn.Sequential(conv3x3(features, features), rectifier())
        self.HR_conv1_new = nn.Sequential(conv3x3(features, features))
        self.get_g_nopadding = GradientMap()
        self.b_fea_conv = nn.Sequential(conv3x3(channels, features))
        for number in range(1, len(size.shared) + 1):
            self.add_module(f"b_block_{number}", RRDB(2 * features, size.growth, nn.Sequential))
            self.add_module(f"b_concat_{number}", nn.Sequential(conv3x3(2 * features, features)))
        self.b_LR_conv = nn.Sequential(conv3x3(features, features))
        at_hr = (conv3x3(features, features), rectifier(), conv3x3(features, features))
        self.b_module = nn.Sequential(*upsampling(features, steps), *at_hr)
        self.conv_w = nn.Sequential(nn.Conv2d(features, channels, 1))
        self.f_block = RRDB(2 * features, size.growth, nn.Sequential)
        self.f_concat = nn.Sequential(conv3x3(2 * features, features))
        self.f_HR_conv0 = nn.Sequential(conv3x3(features, features), rectifier())
        self.f_HR_conv1 = nn.Sequential(conv3x3(features, channels))
        # After the last step: its convolution, two of a branch, the fusion's block and its three.
        radii = (radius_at_lr(size),) + (1,) * (len(steps) - 1) + (1 + 2 + CONVOLUTIONS_IN_RRDB + 3,)
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
        deep, shown = trunk(first(favourite_layout(lr)))
        gradient = self.b_module(self._gradient_features(lr_gradient, shown))
        for layer in upsample:
            deep = layer(deep)
        return torch.cat((gradient, self.HR_conv1_new(self.HR_conv0_new(deep))), dim=1)

    def _gradient_features(self, lr_gradient: Tensor, shown: Sequence[Tensor]) -> Tensor:
        shallow: Tensor = self.b_fea_conv(favourite_layout(lr_gradient))
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


def radius_at_lr(size: Size) -> int:
    """LR pixels that the farther-looking branch looks before it is enlarged."""
    image = 1 + CONVOLUTIONS_IN_RRDB * size.blocks + 1
    gradient = 1 + 1  # the operator, the first convolution
    for number in size.shared:
        gradient = max(gradient, 1 + CONVOLUTIONS_IN_RRDB * number) + CONVOLUTIONS_IN_RRDB + 1
    return max(image, gradient + 1)


def restore(network: nn.Module, lr: Tensor) -> Restored:
    """:meth:`SPSR.restore` of a registered variant, whether or not it stands on the bicubic image."""
    if isinstance(network, OnBicubic):
        correction = restore(network.body, lr)
        return correction._replace(sr=network.bicubic(lr) + correction.sr)
    assert isinstance(network, SPSR)
    return network.restore(lr)


SIZES = {"paper": Size(23, 64, 32, (5, 10, 15, 20)), "tiny": Size(2, 8, 4, (1,))}


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


# How SPSR is trained: ESRGAN's game on the image and a second one on its gradient map.
#
# Numbers are those of Maclory/SPSR@881e781 ``options/train/train_spsr.json``. The authors start from a network
# trained for pixels, RRDB_PSNR_x4; a recipe has no such file, hence a stage of that kind comes first.

IMAGE_CRITIC = "image_critic"
GRADIENT_CRITIC = "gradient_critic"


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


@dataclass(frozen=True)
class Plan:
    """What differs between budgets: iterations of the stages, batches, HR patch, rates, size of critics."""

    pixels: int
    fusion: int
    adversarial: int
    pixel_batch: int
    batch: int
    patch: int
    pixel_rate: float
    rate: float
    critic_features: int = 64
    critic_hidden: int = 100


PLANS: dict[tuple[str, str], Plan] = {
    ("smoke", "paper"): Plan(24, 3, 4, 2, 2, 32, 2e-4, 1e-4),
    ("smoke", "tiny"): Plan(320, 4, 12, 4, 4, 32, 5e-3, 1e-4, critic_features=8, critic_hidden=16),
    ("short", "paper"): Plan(8_000, 200, 3_000, 16, 16, 128, 2e-4, 1e-4),
    ("short", "tiny"): Plan(8_000, 100, 2_000, 16, 16, 128, 1e-3, 1e-4, critic_features=16, critic_hidden=32),
    ("paper", "paper"): Plan(1_000_000, 5_000, 495_000, 16, 30, 128, 2e-4, 1e-4),
    ("paper", "tiny"): Plan(
        1_000_000, 5_000, 495_000, 16, 30, 128, 2e-4, 1e-4, critic_features=16, critic_hidden=32
    ),
}
"""Budget and variant to the plan; ``paper`` is the released option file, its first stage ESRGAN's."""


def spsr_recipe(request: RecipeRequest) -> Recipe:
    """Pixels; then all losses on the layers that join the branches; then all losses on everything."""
    plan = PLANS[request.budget, request.variant]
    perceptual, notes = perceptual_term(request)
    guided = partial(_guided_stage, request, plan, perceptual)
    joining = "body.f_" if request.variant == "tiny" else "f_"
    stages = (
        _pixel_stage(request, plan),
        guided("fusion", plan.fusion, ConstantRate(), (joining,)),
        guided("adversarial", plan.adversarial, halved_on_the_way(plan), ("",)),
    )
    return Recipe(
        stages=stages,
        source="arXiv 2003.13081, section 3.3; Maclory/SPSR@881e781 code/options/train/train_spsr.json and "
        "code/models/SPSR_model.py",
        notes=(*notes, *scale_notes(request.scale, plan.patch), _START),
    )


_START = (
    "The authors start from RRDB_PSNR_x4; here the whole network is first trained for pixels (L1) and for "
    "its gradient branch, in the paper budget as long as RRDB_PSNR_x4 was."
)


def _pixel_stage(request: RecipeRequest, plan: Plan) -> Stage:
    """ESRGAN's first stage (arXiv 1809.00219, section 4.1), with the branch's own loss."""
    return Stage(
        name="pixels",
        iterations=plan.pixels,
        batch=plan.pixel_batch,
        patch=patch_for(plan.patch, request.scale),
        terms=(LossTerm("l1", PixelLoss(F.l1_loss)), BRANCH),
        optimiser=Optimiser("adam", lr=plan.pixel_rate),
        schedule=HALVED_EVERY_FIFTH,
        forward=guided_forward,
    )


def _guided_stage(
    request: RecipeRequest,
    plan: Plan,
    perceptual: LossTerm,
    name: str,
    iterations: int,
    schedule: LearningRate,
    trainable: tuple[str, ...],
) -> Stage:
    """Every loss of the option file; one update of each critic for one of the generator."""
    optimiser = Optimiser("adam", lr=plan.rate)
    patch = patch_for(plan.patch, request.scale)
    terms = (
        LossTerm("l1", PixelLoss(F.l1_loss), weight=1e-2),
        perceptual,
        LossTerm("adversarial", RelativisticGenerator(IMAGE_CRITIC), weight=5e-3),
        LossTerm("gradient", PixelLoss(gradient_pixel_loss), weight=1e-2),
        LossTerm(
            "gradient_adversarial", RelativisticGenerator(GRADIENT_CRITIC, wide_gradient_map), weight=5e-3
        ),
        BRANCH,
    )

    def critic(of: str, view: View | None, side: int) -> Critic:
        build: Callable[[], nn.Module] = partial(
            BiasedVGGCritic, request.channels, side, plan.critic_features, plan.critic_hidden
        )
        return Critic(of, build, RelativisticCritic(view), optimiser, schedule)

    return Stage(
        name=name,
        iterations=iterations,
        batch=plan.batch,
        patch=patch,
        terms=terms,
        optimiser=optimiser,
        schedule=schedule,
        critics=(
            critic(IMAGE_CRITIC, None, patch),
            critic(GRADIENT_CRITIC, wide_gradient_map, patch + 2),
        ),
        trainable=trainable,
        forward=guided_forward,
    )


def halved_on_the_way(plan: Plan) -> StepRate:
    """Halved after 50k, 100k, 200k and 300k of 500k iterations, those of the fusion stage included."""
    total = plan.fusion + plan.adversarial
    milestones = (0.1 * total, 0.2 * total, 0.4 * total, 0.6 * total)
    return StepRate(tuple((milestone - plan.fusion) / plan.adversarial for milestone in milestones), 0.5)


def tiny_spsr(scale: int, channels: int) -> nn.Module:
    """A small generator that corrects the bicubic image."""
    body = SPSR(scale, channels, SIZES["tiny"])
    last = body.f_HR_conv1[0]
    assert isinstance(last, nn.Conv2d)
    return OnBicubic(body, last, scale)


@register_model(
    title="SPSR",
    family="adversarial",
    paper="https://arxiv.org/abs/2003.13081",
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
    return tiny_spsr(scale, channels) if variant == "tiny" else SPSR(scale, channels, SIZES[variant])
