"""SRGAN: a residual network (SRResNet) first trained for pixels, then against a discriminator.

Ledig et al., "Photo-realistic single image super-resolution using a generative adversarial network", CVPR
2017, arXiv 1609.04802. The authors published no code. Modules of each variant are named as in the repository
whose checkpoints load: Lornatang/SRGAN-PyTorch, BasicSR, leftthomas/SRGAN. Departures: HR is in [0, 1] as LR
is, not in [-1, 1]; the output is linear (but for ``small5``); x2, x3 and x8 beside the paper's x4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.base import RecipeFactory, ReleasedWeights
from srbench.models.baselines.esrgan import initialise_small
from srbench.models.discriminators import PooledDiscriminator, SRGANDiscriminator, VGGDiscriminator
from srbench.models.layers import BicubicResidual, InterpolationUpsample, receptive_radius, upsampling_steps
from srbench.models.losses.adversarial import (
    discriminator_loss,
    generator_loss,
    linear_discriminator_loss,
    linear_generator_loss,
)
from srbench.models.losses.perceptual import VGGContentLoss
from srbench.models.losses.pixel import variation_of_sr
from srbench.models.recipe import (
    CosineRestarts,
    LossTerm,
    Optimiser,
    PixelLoss,
    Recipe,
    RecipeRequest,
    Stage,
    StageBudget,
    StepRate,
)
from srbench.models.registry import register_model


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
    return BicubicResidual(body, body.conv3, scale)


class BlockWithoutNorm(nn.Module):
    """``x + conv(ReLU(conv(x)))``."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
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
        x = self.body(F.leaky_relu(self.conv_first(lr), 0.1, inplace=True))
        for number, step in enumerate(self.steps, start=1):
            enlarged = F.pixel_shuffle(getattr(self, f"upconv{number}")(x), step)
            x = F.leaky_relu(enlarged, 0.1, inplace=True)
        sr: Tensor = self.conv_last(F.leaky_relu(self.conv_hr(x), 0.1, inplace=True)) + self.bilinear(lr)
        return sr


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
        enlarged: Tensor = self.prelu(F.pixel_shuffle(self.conv(x), self.step))
        return enlarged


class FiveBlockSRResNet(nn.Module):
    """The widespread port with five residual blocks and an output squashed into [0, 1].

    It enlarges by doublings; x3 is a single sub-pixel convolution here.

    Args:
        scale: 2, 3, 4 or 8.
        channels: image channels in and out.
        features: width.
        trunk_end: what follows the last convolution of the trunk: ``norm``, or ``prelu`` as in the port's
            checkpoints of 2019, which are older than its present code.

    Source:
        leftthomas/SRGAN@7ddfdf2 model.py; the tensors of epochs/ at b0323c6 for ``prelu``.
    """

    BLOCKS = 5

    def __init__(
        self, scale: int, channels: int, features: int = 64, trunk_end: Literal["norm", "prelu"] = "norm"
    ) -> None:
        super().__init__()
        steps = upsampling_steps(scale)
        self.block1 = nn.Sequential(nn.Conv2d(channels, features, 9, padding=4), nn.PReLU())
        for number in self._residual_numbers():
            self.add_module(f"block{number}", PortResidualBlock(features))
        end = nn.BatchNorm2d(features) if trunk_end == "norm" else nn.PReLU()
        self.block7 = nn.Sequential(nn.Conv2d(features, features, 3, padding=1), end)
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


PAPER: dict[tuple[str, str], tuple[StageBudget, StageBudget]] = {
    ("smoke", "srresnet"): (StageBudget(50, 4, 48, 1e-3), StageBudget(8, 4, 48)),
    ("smoke", "tiny"): (StageBudget(300, 8, 48, 2e-3), StageBudget(40, 8, 48)),
    ("short", "srresnet"): (StageBudget(16_000, 16, 96, 2e-4), StageBudget(4_000, 16, 96)),
    ("short", "tiny"): (StageBudget(8_000, 16, 96, 1e-3), StageBudget(2_000, 16, 96)),
    ("paper", "srresnet"): (StageBudget(1_000_000, 16, 96), StageBudget(200_000, 16, 96)),
    ("paper", "tiny"): (StageBudget(1_000_000, 16, 96), StageBudget(200_000, 16, 96)),
}
"""Budget and variant to the stages for pixels and against the discriminator; ``paper`` is section 3.2."""


def paper_recipe(request: RecipeRequest) -> Recipe:
    """SRResNet by mean squared error, then SRGAN from its weights (section 3.2).

    One update of the discriminator for one of the generator; the second half at a tenth of the rate.
    """
    pixels, adversarial = PAPER[request.budget, request.variant]
    content, notes = _content(request)
    widths = (64, 1024)
    if request.variant == "tiny":
        widths = (8, 32) if request.budget == "smoke" else (16, 64)
    stage = adversarial.stage(
        "adversarial",
        content,
        LossTerm("adversarial", generator_loss, weight=1e-3),
        schedule=StepRate(at=(0.5,), gamma=0.1),
    )
    return Recipe(
        stages=(
            pixels.stage("pixels", LossTerm("mse", PixelLoss(F.mse_loss))),
            stage.against(
                partial(SRGANDiscriminator, request.channels, stage.patch, *widths), discriminator_loss
            ),
        ),
        source="arXiv 1609.04802, section 3.2",
        notes=notes,
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


# BasicSR's SRResNet without normalisation (MSRResNet), and the adversarial MSRGAN from it.

BETAS = (0.9, 0.99)

BASICSR = {
    "smoke": (StageBudget(40, 4, 48, 1e-3), StageBudget(4, 4, 48)),
    "short": (StageBudget(16_000, 16, 96, 2e-4), StageBudget(4_000, 16, 96)),
    "paper": (StageBudget(1_000_000, 16, 128, 2e-4), StageBudget(400_000, 16, 128)),
}


def basicsr_recipe(request: RecipeRequest) -> Recipe:
    """The option files of MSRResNet and MSRGAN.

    The first stage's rate falls from 2e-4 to 1e-7 in every cycle; the second's is halved at 50k, 100k, 200k
    and 300k of 400k iterations.
    """
    pixels, adversarial = BASICSR[request.budget]
    # At x3 128 is no multiple of the scale.
    patch = min(pixels.patch, 96) if request.scale == 3 else pixels.patch
    state = request.pretrained("vgg19")
    perceptual = LossTerm("pixels", PixelLoss(F.l1_loss))
    note = "Perceptual term: L1 on pixels in its place: no VGG-19 weights on disk."
    if state is not None:
        perceptual = LossTerm("perceptual", VGGContentLoss(state, {"conv5_4": 1.0}, F.l1_loss))
        note = "Perceptual term: L1 on VGG-19 conv5_4 before activation."
    first = pixels.stage(
        "pixels",
        LossTerm("l1", PixelLoss(F.l1_loss)),
        patch=patch,
        optimiser=Optimiser(lr=pixels.lr, betas=BETAS),
        schedule=CosineRestarts(4 if request.budget == "paper" else 1, floor=1e-7 / 2e-4),
        ema=0.999,
    )
    second = adversarial.stage(
        "adversarial",
        LossTerm("l1", PixelLoss(F.l1_loss), weight=1e-2),
        perceptual,
        LossTerm("adversarial", generator_loss, weight=5e-3),
        patch=patch,
        optimiser=Optimiser(lr=1e-4, betas=BETAS),
        schedule=StepRate(at=(1 / 8, 1 / 4, 1 / 2, 3 / 4), gamma=0.5),
        ema=0.999,
    )
    return Recipe(
        stages=(
            first,
            second.against(partial(VGGDiscriminator, request.channels, patch), discriminator_loss),
        ),
        source="XPixelGroup/BasicSR@8d56e3a options/train/SRResNet_SRGAN, MSRResNet_x4 and MSRGAN_x4",
        notes=(
            note,
            "Every magnification starts from scratch and has both stages; BasicSR starts x2 and x3 from x4, "
            "and publishes the adversarial stage for x4 only.",
        ),
    )


def joint_stage(
    budget: StageBudget,
    scale: int,
    perceptual: LossTerm | None,
    build: Callable[[], nn.Module],
    optimiser: Optimiser,
) -> Stage:
    """The stage of the five-block port and, after it, of Swift-SRGAN: everything at once, from scratch.

    ``MSE + 1e-3 mean(1 - D(sr)) + 6e-3 perceptual + 2e-8 TV`` at a constant rate. The two differ in the
    features of the perceptual term, in the discriminator and in the optimiser.

    Args:
        budget: its size; the HR patch is rounded down to a multiple of the scale.
        scale: magnification.
        perceptual: the term of the ImageNet features, None without their weights.
        build: makes the discriminator, which gives probabilities.
        optimiser: of the generator and of the discriminator.
    """
    stage = budget.stage(
        "adversarial",
        LossTerm("mse", PixelLoss(F.mse_loss)),
        LossTerm("adversarial", linear_generator_loss, weight=1e-3),
        LossTerm("variation", variation_of_sr, weight=2e-8),
        *(() if perceptual is None else (perceptual,)),
        patch=budget.patch - budget.patch % scale,
        optimiser=optimiser,
    )
    return stage.against(build, linear_discriminator_loss)


PORT = {
    "smoke": StageBudget(30, 4, 48),
    "short": StageBudget(8_000, 16, 88),
    "paper": StageBudget(26_100, 64, 88),
}
"""``paper`` is 100 epochs of 16,700 images in batches of 64."""


def port_recipe(request: RecipeRequest) -> Recipe:
    """The recipe of leftthomas/SRGAN; its features are all of VGG-16's, on images that are not normalised."""
    perceptual, note = None, "No perceptual term: no VGG-16 weights on disk."
    state = request.pretrained("vgg16")
    if state is not None:
        loss = VGGContentLoss(state, {"pool5": 1.0}, F.mse_loss, network="vgg16", normalise=False)
        perceptual = LossTerm("vgg16", loss, weight=6e-3)
        note = "Perceptual term: VGG-16 up to its last pooling, MSE, 6e-3."
    build = partial(PooledDiscriminator, request.channels)
    return Recipe(
        stages=(joint_stage(PORT[request.budget], request.scale, perceptual, build, Optimiser(lr=1e-3)),),
        source="leftthomas/SRGAN@7ddfdf2 train.py and loss.py, README (VOC2012)",
        notes=(note, "Patches of 88 pixels are rounded down to a multiple of the scale, as there."),
    )


RECIPES: dict[str, RecipeFactory] = {
    "srresnet": paper_recipe,
    "msrresnet": basicsr_recipe,
    "small5": port_recipe,
    "small5_prelu": port_recipe,
    "tiny": paper_recipe,
}


def srgan_recipe(request: RecipeRequest) -> Recipe:
    """How the authors of each variant train it; ``tiny`` follows the paper."""
    return RECIPES[request.variant](request)


def _msrresnet(number: str, kind: str, scale: int, iterations: str, wandb: str) -> ReleasedWeights:
    experiment = f"{number}_{kind}_x{scale}_f64b16_DIV2K_{iterations}k_B16G1{wandb}"
    return ReleasedWeights(
        file=f"{experiment}.pth",
        variant="msrresnet",
        scale=scale,
        url="https://github.com/XPixelGroup/BasicSR/blob/master/docs/ModelZoo.md",
        licence="Apache-2.0",
        direct=False,
        note=f"net_g_{iterations}000.pth of the reproduced model {experiment}; trained on DIV2K photographs.",
    )


RELEASED = (
    *(
        ReleasedWeights(
            file=f"{kind}_x{scale}-SRGAN_ImageNet.pth.tar",
            variant="srresnet",
            scale=scale,
            url="https://huggingface.co/goodfellowliu/SRGAN-PyTorch/resolve/main/"
            f"{kind}_x{scale}-SRGAN_ImageNet.pth.tar",
            licence="Apache-2.0",
            note=f"From Lornatang/SRGAN-PyTorch, trained on ImageNet photographs {how}.",
        )
        for kind, how in (("SRResNet", "for pixels"), ("SRGAN", "against a discriminator"))
        for scale in (2, 4, 8)
    ),
    _msrresnet("002", "MSRResNet", 2, "1000", "_001pretrain_wandb"),
    _msrresnet("003", "MSRResNet", 3, "1000", "_001pretrain_wandb"),
    _msrresnet("001", "MSRResNet", 4, "1000", "_wandb"),
    _msrresnet("004", "MSRGAN", 4, "400", "_wandb"),
    *(
        ReleasedWeights(
            file=f"netG_epoch_{scale}_100.pth",
            variant="small5_prelu",
            scale=scale,
            url="https://github.com/leftthomas/SRGAN/tree/b0323c6/epochs",
            licence="MIT",
            sha256="f4c381640826a48d2440583e4920c6bb4041804f4e285c3c6d585f03961fe87c" if scale == 4 else "",
            direct=False,
            note="In the history of the repository, deleted on 2019-06-15; trained on VOC2012 photographs.",
            tensors_sha256="eed0f8f893db3755fba8b286c27f3c9f2140767c5f1b500fbb868dc66ecb1a41"
            if scale == 4
            else "",
        )
        for scale in (2, 4, 8)
    ),
)

NETWORKS: dict[str, Callable[[int, int], nn.Module]] = {
    "srresnet": SRResNet,
    "msrresnet": MSRResNet,
    "small5": FiveBlockSRResNet,
    "small5_prelu": partial(FiveBlockSRResNet, trunk_end="prelu"),
    "tiny": tiny_srresnet,
}


@register_model(
    title="SRGAN",
    family="adversarial",
    paper="https://arxiv.org/abs/1609.04802",
    publication="Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network",
    authors=(
        "Ledig, Christian and Theis, Lucas and Huszar, Ferenc and Caballero, Jose and Cunningham, Andrew "
        "and Acosta, Alejandro and Aitken, Andrew and Tejani, Alykhan and Totz, Johannes and Wang, Zehan "
        "and Shi, Wenzhe"
    ),
    year=2017,
    scales=(2, 3, 4, 8),
    variants=("srresnet", "msrresnet", "small5", "small5_prelu", "tiny"),
    recipe=srgan_recipe,
    released=RELEASED,
    summary="The first adversarial super-resolution network: sharp, and willing to invent texture.",
)
def srgan(scale: int, channels: int, variant: str) -> nn.Module:
    """A generator of the SRGAN family.

    Args:
        scale: 2, 3, 4 or 8.
        channels: image channels, 1 or 3.
        variant: ``srresnet`` (the paper's, 16 blocks of width 64), ``msrresnet`` (BasicSR's without
            normalisation, on the bilinear image), ``small5`` (the widespread port with 5 blocks, its own
            losses and output in (0, 1)), ``small5_prelu`` (the port of 2019, whose checkpoints were
            published) or ``tiny`` (2 blocks of 16 on the bicubic image, trains in seconds).
    """
    return NETWORKS[variant](scale, channels)
