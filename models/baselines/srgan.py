"""SRGAN: a residual network (SRResNet) first trained for pixels, then against a critic.

Ledig et al., "Photo-realistic single image super-resolution using a generative adversarial network", CVPR
2017, arXiv 1609.04802. The authors published no code; modules are named as in Lornatang/SRGAN-PyTorch, whose
checkpoints load.

Departures: HR is in [0, 1] as LR is, not in [-1, 1]; the output is linear and clamped only at inference.
The paper enlarges x4 by two doublings; here x2 is one, x8 three, and x3 a single sub-pixel convolution.
The variant ``tiny`` is a few small blocks on top of the bicubic image, made to train in seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.interface import ModelError, RecipeRequest
from srbench.models.layers import OnBicubic, receptive_radius, upsampling_steps
from srbench.models.losses.adversarial import critic_loss, generator_loss
from srbench.models.losses.perceptual import VGGContentLoss
from srbench.models.recipe import (
    Critic,
    LossInputs,
    LossTerm,
    Optimiser,
    PixelLoss,
    Recipe,
    Stage,
    StepRate,
)
from srbench.models.registry import register_model

CRITIC = "critic"


class ResidualConvBlock(nn.Module):
    """``x + BN(conv(PReLU(BN(conv(x)))))`` (section 2.1.1, figure 4)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.rcb = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1, bias=False),
            nn.BatchNorm2d(features),
            nn.PReLU(),
            nn.Conv2d(features, features, 3, padding=1, bias=False),
            nn.BatchNorm2d(features),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(N, features, H, W)`` to the same shape."""
        residual: Tensor = self.rcb(x)
        return x + residual


class UpsampleBlock(nn.Module):
    """Sub-pixel convolution and PReLU."""

    def __init__(self, features: int, step: int) -> None:
        super().__init__()
        self.upsample_block = nn.Sequential(
            nn.Conv2d(features, step**2 * features, 3, padding=1), nn.PixelShuffle(step), nn.PReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(N, features, H, W)`` to ``(N, features, step*H, step*W)``."""
        enlarged: Tensor = self.upsample_block(x)
        return enlarged


class SRResNet(nn.Module):
    """The generator of the paper (figure 4).

    Args:
        scale: 2, 3, 4 or 8.
        channels: image channels in and out.
        blocks: residual blocks.
        features: width.
    """

    def __init__(self, scale: int, channels: int, blocks: int = 16, features: int = 64) -> None:
        super().__init__()
        steps = upsampling_steps(scale)
        self.conv1 = nn.Sequential(nn.Conv2d(channels, features, 9, padding=4), nn.PReLU())
        self.trunk = nn.Sequential(*(ResidualConvBlock(features) for _ in range(blocks)))
        self.conv2 = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1, bias=False), nn.BatchNorm2d(features)
        )
        self.upsampling = nn.Sequential(*(UpsampleBlock(features, step) for step in steps))
        self.conv3 = nn.Conv2d(features, channels, 9, padding=4)
        # First convolution, two in a block, the end of the trunk, the first upsampling convolution.
        at_lr = 4 + 2 * blocks + 1 + 1
        self.receptive_radius = receptive_radius((at_lr,) + (1,) * (len(steps) - 1) + (4,), steps)

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C, scale*H, scale*W)``, not clamped."""
        shallow = self.conv1(lr)
        deep = shallow + self.conv2(self.trunk(shallow))
        sr: Tensor = self.conv3(self.upsampling(deep))
        return sr


class Discriminator(nn.Module):
    """The critic of the paper (figure 4): eight convolutions, four of them strided, then two linear layers.

    Args:
        channels: image channels.
        patch: side of the square images it judges, a multiple of 16 (96 in the paper).
        features: width of the first convolution; the last has eight times as many.
        hidden: width of the hidden linear layer.

    Raises:
        ModelError: ``patch`` is not a multiple of 16.
    """

    def __init__(self, channels: int, patch: int = 96, features: int = 64, hidden: int = 1024) -> None:
        super().__init__()
        if patch % 16 or patch < 16:
            raise ModelError(
                f"The SRGAN critic judges patches whose side is a multiple of 16, found {patch}; "
                "use an HR patch of 48 or 96."
            )
        layers: list[nn.Module] = [nn.Conv2d(channels, features, 3, padding=1), nn.LeakyReLU(0.2)]
        widths = [features * factor for factor in (1, 1, 2, 2, 4, 4, 8, 8)]
        for index in range(1, 8):
            layers += _critic_layer(widths[index - 1], widths[index], stride=1 + index % 2)
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(widths[-1] * (patch // 16) ** 2, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1)
        )

    def forward(self, image: Tensor) -> Tensor:
        """``(N, C, patch, patch)`` to logits ``(N, 1)``, positive for what looks like HR."""
        logits: Tensor = self.classifier(self.features(image).flatten(1))
        return logits


def _critic_layer(width_in: int, width: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(width_in, width, 3, stride=stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(width), nn.LeakyReLU(0.2)]


def fool_the_critic(inputs: LossInputs) -> Tensor:
    """``mean(-log D(sr))`` (eq. 6)."""
    return generator_loss(inputs.critics[CRITIC](inputs.sr))


def tell_apart(critic: nn.Module, inputs: LossInputs) -> Tensor:
    """``mean(-log D(hr)) + mean(-log(1 - D(sr)))`` (eq. 2)."""
    return critic_loss(critic(inputs.hr), critic(inputs.sr))


@dataclass(frozen=True)
class Plan:
    """What differs between budgets: iterations, batch, HR patch, rates, size of the critic."""

    pixels: int
    adversarial: int
    batch: int
    patch: int
    pixel_rate: float
    adversarial_rate: float
    critic_features: int = 64
    critic_hidden: int = 1024


PLANS: dict[tuple[str, str], Plan] = {
    ("smoke", "srresnet"): Plan(50, 8, 4, 48, 1e-3, 1e-4),
    ("smoke", "tiny"): Plan(300, 40, 8, 48, 2e-3, 1e-4, critic_features=8, critic_hidden=32),
    ("short", "srresnet"): Plan(16_000, 4_000, 16, 96, 2e-4, 1e-4),
    ("short", "tiny"): Plan(8_000, 2_000, 16, 96, 1e-3, 1e-4, critic_features=16, critic_hidden=64),
    ("paper", "srresnet"): Plan(1_000_000, 200_000, 16, 96, 1e-4, 1e-4),
    ("paper", "tiny"): Plan(1_000_000, 200_000, 16, 96, 1e-4, 1e-4, critic_features=16, critic_hidden=64),
}
"""Budget and variant to the plan; ``paper`` is section 3.2."""


def srgan_recipe(request: RecipeRequest) -> Recipe:
    """SRResNet by mean squared error, then SRGAN from its weights (section 3.2)."""
    plan = PLANS[request.budget, request.variant]
    content, notes = _content(request)
    pixels = Stage(
        name="pixels",
        iterations=plan.pixels,
        batch=plan.batch,
        patch=plan.patch,
        terms=(LossTerm("mse", PixelLoss(F.mse_loss)),),
        optimiser=Optimiser("adam", lr=plan.pixel_rate),
    )
    return Recipe(
        stages=(pixels, _adversarial_stage(request, plan, content)),
        source="arXiv 1609.04802, section 3.2",
        notes=notes,
    )


def _adversarial_stage(request: RecipeRequest, plan: Plan, content: LossTerm) -> Stage:
    """One update of the critic for one of the generator; the second half at a tenth of the rate."""
    optimiser = Optimiser("adam", lr=plan.adversarial_rate)
    schedule = StepRate(at=(0.5,), gamma=0.1)
    build: Callable[[], nn.Module] = partial(
        Discriminator, request.channels, plan.patch, plan.critic_features, plan.critic_hidden
    )
    return Stage(
        name="adversarial",
        iterations=plan.adversarial,
        batch=plan.batch,
        patch=plan.patch,
        terms=(content, LossTerm("adversarial", fool_the_critic, weight=1e-3)),
        optimiser=optimiser,
        schedule=schedule,
        critics=(Critic(CRITIC, build, tell_apart, optimiser, schedule),),
    )


def _content(request: RecipeRequest) -> tuple[LossTerm, tuple[str, ...]]:
    """VGG features after the last activation (SRGAN-VGG54), or pixels (SRGAN-MSE) without their weights."""
    # The paper measures errors on [-1, 1], where squares are four times as large as on [0, 1].
    pixels = LossTerm("mse", PixelLoss(F.mse_loss), weight=4.0)
    if request.variant == "tiny":
        return pixels, ("Content loss: MSE (SRGAN-MSE of the paper's table 1), so that a CPU keeps up.",)
    state = request.pretrained("vgg19")
    if state is None:
        return pixels, ("Content loss: MSE (SRGAN-MSE of the paper's table 1): no VGG-19 weights on disk.",)
    vgg = VGGContentLoss(state, {"relu5_4": 1.0}, F.mse_loss, feature_scale=1 / 12.75)
    return LossTerm("vgg54", vgg), ("Content loss: VGG-19 phi_5,4 after activation, scaled by 1/12.75.",)


def tiny_srresnet(scale: int, channels: int) -> nn.Module:
    """A small generator that corrects the bicubic image."""
    body = SRResNet(scale, channels, blocks=2, features=16)
    return OnBicubic(body, body.conv3, scale)


@register_model(
    title="SRGAN",
    family="adversarial",
    paper="https://arxiv.org/abs/1609.04802",
    year=2017,
    scales=(2, 3, 4, 8),
    variants=("srresnet", "tiny"),
    recipe=srgan_recipe,
    summary="The first adversarial super-resolution network: sharp, and willing to invent texture.",
)
def srgan(scale: int, channels: int, variant: str) -> nn.Module:
    """The generator with 16 blocks of width 64 (``srresnet``) or 2 of 16 (``tiny``)."""
    return tiny_srresnet(scale, channels) if variant == "tiny" else SRResNet(scale, channels)
