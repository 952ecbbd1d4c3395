"""SRGAN: a residual network (SRResNet) first trained for pixels, then against a critic.

Ledig et al., "Photo-realistic single image super-resolution using a generative adversarial network", CVPR
2017, arXiv 1609.04802. The authors published no code. The variants are the networks that go by this name:

- ``srresnet``: the paper's, modules named as in Lornatang/SRGAN-PyTorch;
- ``msrresnet``: BasicSR's without batch normalisation, on top of the bilinear image;
- ``small5``: the widespread port with five blocks and its own losses (leftthomas/SRGAN);
- ``tiny``: two narrow blocks on top of the bicubic image, made to train in seconds.

Checkpoints of all three repositories load under their own names.

Departures: HR is in [0, 1] as LR is, not in [-1, 1]; the output is linear (but for ``small5``) and clamped
only at inference. The paper enlarges x4 by two doublings; here x2 is one, x8 three, and x3 a single
sub-pixel convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.baselines.esrgan import initialise_small
from srbench.models.discriminators import Discriminator, PooledDiscriminator, VGGCritic
from srbench.models.interface import RecipeFactory, RecipeRequest, ReleasedWeights
from srbench.models.layers import InterpolationUpsample, OnBicubic, receptive_radius, upsampling_steps
from srbench.models.losses.adversarial import CRITIC, critic_loss, fool_the_critic, generator_loss, tell_apart
from srbench.models.losses.perceptual import VGGContentLoss
from srbench.models.losses.pixel import variation_of_sr
from srbench.models.recipe import (
    CosineRestarts,
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

# Generators of the SRGAN family: the paper's SRResNet, BasicSR's without normalisation, the five-block port.
#
# All of them run their blocks at LR size and enlarge by sub-pixel convolutions at the end. Modules are named as
# in the code whose checkpoints load: Lornatang/SRGAN-PyTorch, BasicSR, leftthomas/SRGAN.

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
        self.receptive_radius = srresnet_radius(blocks, steps)

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C, scale*H, scale*W)``, not clamped."""
        shallow = self.conv1(lr)
        deep = shallow + self.conv2(self.trunk(shallow))
        sr: Tensor = self.conv3(self.upsampling(deep))
        return sr


def srresnet_radius(blocks: int, steps: Sequence[int]) -> int:
    """Receptive radius of this layout of layers: 9x9 first and last, 3x3 between them."""
    # First convolution, two in a block, the end of the trunk, the first upsampling convolution.
    at_lr = 4 + 2 * blocks + 1 + 1
    return receptive_radius((at_lr,) + (1,) * (len(steps) - 1) + (4,), steps)


def tiny_srresnet(scale: int, channels: int) -> nn.Module:
    """A small generator that corrects the bicubic image."""
    body = SRResNet(scale, channels, blocks=2, features=16)
    return OnBicubic(body, body.conv3, scale)


class BlockWithoutNorm(nn.Module):
    """``x + conv(ReLU(conv(x)))``."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, features, H, W)`` to the same shape."""
        residual: Tensor = self.conv2(F.relu_(self.conv1(x)))
        return x + residual


class MSRResNet(nn.Module):
    """BasicSR's modified SRResNet: no normalisation, 3x3 kernels throughout, on top of the bilinear image.

    There is no skip over the trunk but that of the image. It starts from small weights, close to that image.
    BasicSR enlarges by 2, 3 and 4; x8 is one more doubling of the same kind.

    Args:
        scale: 2, 3, 4 or 8.
        channels: image channels in and out.
        blocks: residual blocks.
        features: width.

    Source:
        XPixelGroup/BasicSR 1.4.2, basicsr/archs/srresnet_arch.py.
    """

    def __init__(self, scale: int, channels: int, blocks: int = 16, features: int = 64) -> None:
        super().__init__()
        self.steps = upsampling_steps(scale)
        self.conv_first = nn.Conv2d(channels, features, 3, padding=1)
        self.body = nn.Sequential(*(BlockWithoutNorm(features) for _ in range(blocks)))
        for number, step in enumerate(self.steps, start=1):
            self.add_module(f"upconv{number}", nn.Conv2d(features, step**2 * features, 3, padding=1))
        self.conv_hr = nn.Conv2d(features, features, 3, padding=1)
        self.conv_last = nn.Conv2d(features, channels, 3, padding=1)
        self.bilinear = InterpolationUpsample("bilinear", scale)
        # First convolution, two in a block, the first upsampling convolution; the last two at full size.
        at_lr = 1 + 2 * blocks + 1
        self.receptive_radius = receptive_radius((at_lr,) + (1,) * (len(self.steps) - 1) + (2,), self.steps)
        self.apply(initialise_small)

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C, scale*H, scale*W)``, not clamped."""
        x = self.body(_leaky(self.conv_first(lr)))
        for number, step in enumerate(self.steps, start=1):
            x = _leaky(F.pixel_shuffle(getattr(self, f"upconv{number}")(x), step))
        sr: Tensor = self.conv_last(_leaky(self.conv_hr(x))) + self.bilinear(lr)
        return sr


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1, inplace=True)


class PortResidualBlock(nn.Module):
    """The paper's residual block with the biases that normalisation makes superfluous."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(features)
        self.prelu = nn.PReLU()
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(features)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, features, H, W)`` to the same shape."""
        residual: Tensor = self.bn2(self.conv2(self.prelu(self.bn1(self.conv1(x)))))
        return x + residual


class PortUpsampleBlock(nn.Module):
    """Sub-pixel convolution and PReLU, under the port's names."""

    def __init__(self, features: int, step: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(features, step**2 * features, 3, padding=1)
        self.step = step
        self.prelu = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """``(N, features, H, W)`` to ``(N, features, step*H, step*W)``."""
        enlarged: Tensor = self.prelu(F.pixel_shuffle(self.conv(x), self.step))
        return enlarged


class FiveBlockSRResNet(nn.Module):
    """The widespread port with five residual blocks and an output squashed into [0, 1].

    It enlarges by doublings; x3 is a single sub-pixel convolution here.

    Args:
        scale: 2, 3, 4 or 8.
        channels: image channels in and out.
        features: width.

    Source:
        leftthomas/SRGAN@7ddfdf2 model.py.
    """

    BLOCKS = 5

    def __init__(self, scale: int, channels: int, features: int = 64) -> None:
        super().__init__()
        steps = upsampling_steps(scale)
        self.block1 = nn.Sequential(nn.Conv2d(channels, features, 9, padding=4), nn.PReLU())
        for number in self._residual_numbers():
            self.add_module(f"block{number}", PortResidualBlock(features))
        self.block7 = nn.Sequential(nn.Conv2d(features, features, 3, padding=1), nn.BatchNorm2d(features))
        last = nn.Conv2d(features, channels, 9, padding=4)
        self.block8 = nn.Sequential(*(PortUpsampleBlock(features, step) for step in steps), last)
        self.receptive_radius = srresnet_radius(self.BLOCKS, steps)

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C, scale*H, scale*W)`` in (0, 1)."""
        shallow = self.block1(lr)
        x = shallow
        for number in self._residual_numbers():
            x = getattr(self, f"block{number}")(x)
        return unit_tanh(self.block8(shallow + self.block7(x)))

    def _residual_numbers(self) -> range:
        return range(2, 2 + self.BLOCKS)


def unit_tanh(x: Tensor) -> Tensor:
    """``(tanh(x) + 1) / 2``: any number into (0, 1)."""
    return (torch.tanh(x) + 1) / 2


# How the paper trains SRGAN: SRResNet for pixels first, then against a critic (section 3.2).

CRITIC = "critic"


def fool_the_critic(inputs: LossInputs) -> Tensor:
    """``mean(-log D(sr))`` (eq. 6)."""
    return generator_loss(inputs.critics[CRITIC](inputs.sr))


def tell_apart(critic: nn.Module, inputs: LossInputs) -> Tensor:
    """``mean(-log D(hr)) + mean(-log(1 - D(sr)))`` (eq. 2)."""
    return critic_loss(critic(inputs.hr), critic(inputs.sr))


@dataclass(frozen=True)
class PaperPlan:
    """What differs between budgets: iterations, batch, HR patch, rates, size of the critic."""

    pixels: int
    adversarial: int
    batch: int
    patch: int
    pixel_rate: float
    adversarial_rate: float
    critic_features: int = 64
    critic_hidden: int = 1024


PAPER_PLANS: dict[tuple[str, str], PaperPlan] = {
    ("smoke", "srresnet"): PaperPlan(50, 8, 4, 48, 1e-3, 1e-4),
    ("smoke", "tiny"): PaperPlan(300, 40, 8, 48, 2e-3, 1e-4, critic_features=8, critic_hidden=32),
    ("short", "srresnet"): PaperPlan(16_000, 4_000, 16, 96, 2e-4, 1e-4),
    ("short", "tiny"): PaperPlan(8_000, 2_000, 16, 96, 1e-3, 1e-4, critic_features=16, critic_hidden=64),
    ("paper", "srresnet"): PaperPlan(1_000_000, 200_000, 16, 96, 1e-4, 1e-4),
    ("paper", "tiny"): PaperPlan(1_000_000, 200_000, 16, 96, 1e-4, 1e-4, critic_features=16, critic_hidden=64),
}
"""Budget and variant to the plan; ``paper`` is section 3.2."""


def paper_recipe(request: RecipeRequest) -> Recipe:
    """SRResNet by mean squared error, then SRGAN from its weights (section 3.2)."""
    plan = PAPER_PLANS[request.budget, request.variant]
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


def _adversarial_stage(request: RecipeRequest, plan: PaperPlan, content: LossTerm) -> Stage:
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


# How BasicSR trains its SRResNet without normalisation (MSRResNet), and the adversarial MSRGAN from it.

BETAS = (0.9, 0.99)
RATE, LAST_RATE = 2e-4, 1e-7
"""Of the first stage, at the start and at the end of every cycle."""

PATCH_AT_X3 = 96
"""The largest patch at x3, where 128 is no multiple of the scale."""


@dataclass(frozen=True)
class BasicsrPlan:
    """What differs between budgets: iterations of both stages, batch, HR patch, and the first's schedule."""

    pixels: int
    adversarial: int
    batch: int
    patch: int
    pixel_rate: float = RATE
    cycles: int = 1


BASICSR_PLANS = {
    "smoke": BasicsrPlan(40, 4, 4, 48, pixel_rate=1e-3),
    "short": BasicsrPlan(16_000, 4_000, 16, 96),
    "paper": BasicsrPlan(1_000_000, 400_000, 16, 128, cycles=4),
}


def basicsr_recipe(request: RecipeRequest) -> Recipe:
    """The option files of MSRResNet and MSRGAN."""
    plan = BASICSR_PLANS[request.budget]
    patch = min(plan.patch, PATCH_AT_X3) if request.scale == 3 else plan.patch
    perceptual, notes = _perceptual(request)
    return Recipe(
        stages=(_basicsr_pixels(plan, patch), _basicsr_adversarial(request, plan, patch, perceptual)),
        source="XPixelGroup/BasicSR@8d56e3a options/train/SRResNet_SRGAN, MSRResNet_x4 and MSRGAN_x4",
        notes=(
            *notes,
            "Every magnification starts from scratch and has both stages; BasicSR starts x2 and x3 from x4, "
            "and publishes the adversarial stage for x4 only.",
        ),
    )


def _basicsr_pixels(plan: BasicsrPlan, patch: int) -> Stage:
    return Stage(
        name="pixels",
        iterations=plan.pixels,
        batch=plan.batch,
        patch=patch,
        terms=(LossTerm("l1", PixelLoss(F.l1_loss)),),
        optimiser=Optimiser("adam", lr=plan.pixel_rate, betas=BETAS),
        schedule=CosineRestarts(plan.cycles, floor=LAST_RATE / RATE),
        ema=0.999,
    )


def _basicsr_adversarial(request: RecipeRequest, plan: BasicsrPlan, patch: int, perceptual: LossTerm) -> Stage:
    """Rates halved at 50k, 100k, 200k and 300k of 400k iterations."""
    optimiser = Optimiser("adam", lr=1e-4, betas=BETAS)
    schedule = StepRate(at=(1 / 8, 1 / 4, 1 / 2, 3 / 4), gamma=0.5)
    build = partial(VGGCritic, request.channels, patch)
    return Stage(
        name="adversarial",
        iterations=plan.adversarial,
        batch=plan.batch,
        patch=patch,
        terms=(
            LossTerm("l1", PixelLoss(F.l1_loss), weight=1e-2),
            perceptual,
            LossTerm("adversarial", fool_the_critic, weight=5e-3),
        ),
        optimiser=optimiser,
        schedule=schedule,
        critics=(Critic(CRITIC, build, tell_apart, optimiser, schedule),),
        ema=0.999,
    )


def _perceptual(request: RecipeRequest) -> tuple[LossTerm, tuple[str, ...]]:
    """VGG-19 features before the last activation, or pixels without their weights."""
    state = request.pretrained("vgg19")
    if state is None:
        pixels = LossTerm("pixels", PixelLoss(F.l1_loss))
        return pixels, ("Perceptual term: L1 on pixels in its place: no VGG-19 weights on disk.",)
    loss = VGGContentLoss(state, {"conv5_4": 1.0}, F.l1_loss)
    return LossTerm("perceptual", loss), ("Perceptual term: L1 on VGG-19 conv5_4 before activation.",)


# How the five-block port trains SRGAN, and Swift-SRGAN after it: everything at once, from scratch.
#
# The generator minimises ``MSE + 1e-3 mean(1 - D(sr)) + 6e-3 perceptual + 2e-8 TV`` and its critic
# ``1 - mean D(hr) + mean D(sr)``, in one stage at a constant rate. The two differ in the features of the
# perceptual term, in the critic and in the optimiser.

@dataclass(frozen=True)
class PortPlan:
    """What differs between budgets: iterations, batch, HR patch (rounded down to a multiple of the scale)."""

    iterations: int
    batch: int
    patch: int


def joint_stage(
    plan: PortPlan, scale: int, perceptual: LossTerm | None, build: Callable[[], nn.Module], optimiser: Optimiser
) -> Stage:
    """The stage that both ports consist of.

    Args:
        plan: its size.
        scale: magnification.
        perceptual: the term of the ImageNet features, None without their weights.
        build: makes the critic, which gives probabilities.
        optimiser: of the generator and of the critic.
    """
    terms = [
        LossTerm("mse", PixelLoss(F.mse_loss)),
        LossTerm("adversarial", fool_the_critic, weight=1e-3),
        LossTerm("variation", variation_of_sr, weight=2e-8),
    ]
    return Stage(
        name="adversarial",
        iterations=plan.iterations,
        batch=plan.batch,
        patch=plan.patch - plan.patch % scale,
        terms=tuple(terms if perceptual is None else [*terms, perceptual]),
        optimiser=optimiser,
        critics=(Critic(CRITIC, build, tell_apart, optimiser),),
    )


PORT_PLANS = {"smoke": PortPlan(30, 4, 48), "short": PortPlan(8_000, 16, 88), "paper": PortPlan(26_100, 64, 88)}
"""Budget to the plan; ``paper`` is 100 epochs of 16,700 images in batches of 64."""


def port_recipe(request: RecipeRequest) -> Recipe:
    """The recipe of leftthomas/SRGAN."""
    perceptual, note = _vgg16(request)
    build = partial(PooledDiscriminator, request.channels)
    optimiser = Optimiser("adam", lr=1e-3)
    return Recipe(
        stages=(joint_stage(PORT_PLANS[request.budget], request.scale, perceptual, build, optimiser),),
        source="leftthomas/SRGAN@7ddfdf2 train.py and loss.py, README (VOC2012)",
        notes=(note, "Patches of 88 pixels are rounded down to a multiple of the scale, as there."),
    )


def _vgg16(request: RecipeRequest) -> tuple[LossTerm | None, str]:
    """All of VGG-16's convolutional part, on images that are not normalised."""
    state = request.pretrained("vgg16")
    if state is None:
        return None, "No perceptual term: no VGG-16 weights on disk."
    loss = VGGContentLoss(state, {"pool5": 1.0}, F.mse_loss, network="vgg16", normalise=False)
    return LossTerm("vgg16", loss, weight=6e-3), "Perceptual term: VGG-16 up to its last pooling, MSE, 6e-3."


RECIPES: dict[str, RecipeFactory] = {
    "srresnet": paper_recipe,
    "msrresnet": basicsr_recipe,
    "small5": port_recipe,
    "tiny": paper_recipe,
}


def srgan_recipe(request: RecipeRequest) -> Recipe:
    """How the authors of each variant train it; ``tiny`` follows the paper."""
    return RECIPES[request.variant](request)


def _lornatang(kind: str, scale: int) -> ReleasedWeights:
    file = f"{kind}_x{scale}-SRGAN_ImageNet.pth.tar"
    return ReleasedWeights(
        file=file,
        variant="srresnet",
        scale=scale,
        url=f"https://huggingface.co/goodfellowliu/SRGAN-PyTorch/resolve/main/{file}",
        licence="Apache-2.0",
        note="From Lornatang/SRGAN-PyTorch, trained on ImageNet photographs"
        + (" for pixels." if kind == "SRResNet" else " against a critic."),
    )


def _basicsr(experiment: str, iterations: str, scale: int) -> ReleasedWeights:
    return ReleasedWeights(
        file=f"{experiment}.pth",
        variant="msrresnet",
        scale=scale,
        url="https://github.com/XPixelGroup/BasicSR/blob/master/docs/ModelZoo.md",
        licence="Apache-2.0",
        direct=False,
        note=f"net_g_{iterations}.pth of the reproduced model {experiment}; trained on DIV2K photographs.",
    )


def _leftthomas(scale: int) -> ReleasedWeights:
    return ReleasedWeights(
        file=f"netG_epoch_{scale}_100.pth",
        variant="small5",
        scale=scale,
        url="https://github.com/leftthomas/SRGAN",
        licence="MIT",
        direct=False,
        note="In the folder epochs of the repository; trained on VOC2012 photographs.",
    )


RELEASED = (
    *(_lornatang(kind, scale) for kind in ("SRResNet", "SRGAN") for scale in (2, 4, 8)),
    _basicsr("002_MSRResNet_x2_f64b16_DIV2K_1000k_B16G1_001pretrain_wandb", "1000000", 2),
    _basicsr("003_MSRResNet_x3_f64b16_DIV2K_1000k_B16G1_001pretrain_wandb", "1000000", 3),
    _basicsr("001_MSRResNet_x4_f64b16_DIV2K_1000k_B16G1_wandb", "1000000", 4),
    _basicsr("004_MSRGAN_x4_f64b16_DIV2K_400k_B16G1_wandb", "400000", 4),
    *(_leftthomas(scale) for scale in (2, 4, 8)),
)

NETWORKS: dict[str, Callable[[int, int], nn.Module]] = {
    "srresnet": SRResNet,
    "msrresnet": MSRResNet,
    "small5": FiveBlockSRResNet,
    "tiny": tiny_srresnet,
}


@register_model(
    title="SRGAN",
    family="adversarial",
    paper="https://arxiv.org/abs/1609.04802",
    year=2017,
    scales=(2, 3, 4, 8),
    variants=("srresnet", "msrresnet", "small5", "tiny"),
    recipe=srgan_recipe,
    released=RELEASED,
    summary="The first adversarial super-resolution network: sharp, and willing to invent texture.",
)
def srgan(scale: int, channels: int, variant: str) -> nn.Module:
    """A generator of the SRGAN family.

    Args:
        scale: 2, 3, 4 or 8.
        channels: image channels, 1 or 3.
        variant: ``srresnet`` (16 blocks of width 64), ``msrresnet`` (the same without normalisation),
            ``small5`` (5 blocks, output in (0, 1)) or ``tiny`` (2 blocks of 16 on the bicubic image).
    """
    return NETWORKS[variant](scale, channels)
