"""Swift-SRGAN: SRGAN made fast by depthwise separable convolutions.

Krishnan and Krishnan, "SwiftSRGAN: Rethinking super-resolution for efficient and real-time inference", 2021,
arXiv 2111.14320. Modules are named as in the authors' code (Koushik0901/Swift-SRGAN@cd2414f), so that their
checkpoints load. Departures: their network for x8 would enlarge by 16 (it takes ``scale // 2`` doublings),
here it takes three; x3, which they do not offer, is a single sub-pixel convolution.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from srbench.models.base import ReleasedWeights
from srbench.models.baselines.srgan import joint_stage, srresnet_radius, unit_tanh
from srbench.models.layers import BicubicResidual, upsampling_steps
from srbench.models.losses.perceptual import MobileNetContentLoss
from srbench.models.recipe import LossTerm, Optimiser, Recipe, RecipeRequest, StageBudget
from srbench.models.registry import register_model


class SeparableConv(nn.Module):
    """A convolution of every channel on its own, then a 1x1 convolution over the channels.

    Args:
        width_in: channels in.
        width: channels out.
        kernel: side of the kernel, odd.
        stride: step of the first convolution.
        bias: whether both have a bias.
    """

    def __init__(
        self, width_in: int, width: int, kernel: int = 3, stride: int = 1, bias: bool = True
    ) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            width_in, width_in, kernel, stride, padding=kernel // 2, groups=width_in, bias=bias
        )
        self.pointwise = nn.Conv2d(width_in, width, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, width_in, H, W)`` to ``(N, width, H/stride, W/stride)``, sides rounded up."""
        mixed: Tensor = self.pointwise(self.depthwise(x))
        return mixed


class UnusedSlope(nn.Module):
    """The slopes of an activation that the authors build and never apply; kept so that checkpoints load.

    A buffer, not a parameter: no gradient ever reaches it.
    """

    weight: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.full((features,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        return x


class SeparableConvBlock(nn.Module):
    """Separable convolution, batch normalisation, activation; a bias only where nothing is normalised."""

    def __init__(self, cnn: SeparableConv, bn: nn.Module, act: nn.Module) -> None:
        super().__init__()
        self.cnn = cnn
        self.bn = bn
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.act(self.bn(self.cnn(x)))
        return activated


def normalised(features: int, act: nn.Module) -> SeparableConvBlock:
    """A 3x3 block of equal widths with normalisation."""
    return SeparableConvBlock(SeparableConv(features, features, bias=False), nn.BatchNorm2d(features), act)


class SwiftResidualBlock(nn.Module):
    """``x + block2(block1(x))`` with an activation after the first only."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.block1 = normalised(features, nn.PReLU(features))
        self.block2 = normalised(features, UnusedSlope(features))

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.block2(self.block1(x))
        return x + residual


class SwiftUpsampleBlock(nn.Module):
    """Separable convolution, sub-pixel shuffle, PReLU."""

    def __init__(self, features: int, step: int) -> None:
        super().__init__()
        self.conv = SeparableConv(features, step**2 * features)
        self.shuffle = nn.PixelShuffle(step)
        self.act = nn.PReLU(features)

    def forward(self, x: Tensor) -> Tensor:
        enlarged: Tensor = self.act(self.shuffle(self.conv(x)))
        return enlarged


class LinearGenerator(nn.Module):
    """The generator before its output is squashed into [0, 1].

    Args:
        scale: 2, 3, 4 or 8.
        channels: image channels in and out.
        blocks: residual blocks.
        features: width.
    """

    def __init__(self, scale: int, channels: int, blocks: int = 16, features: int = 64) -> None:
        super().__init__()
        steps = upsampling_steps(scale)
        first = SeparableConv(channels, features, kernel=9)
        self.initial = SeparableConvBlock(first, nn.Identity(), nn.PReLU(features))
        self.residual = nn.Sequential(*(SwiftResidualBlock(features) for _ in range(blocks)))
        self.convblock = normalised(features, UnusedSlope(features))
        self.upsampler = nn.Sequential(*(SwiftUpsampleBlock(features, step) for step in steps))
        self.final_conv = SeparableConv(features, channels, kernel=9)
        self.receptive_radius = srresnet_radius(blocks, steps)

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C, scale*H, scale*W)``, any number."""
        shallow = self.initial(lr)
        deep = shallow + self.convblock(self.residual(shallow))
        sr: Tensor = self.final_conv(self.upsampler(deep))
        return sr


class SwiftGenerator(LinearGenerator):
    """The generator of the paper."""

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C, scale*H, scale*W)`` in (0, 1)."""
        return unit_tanh(super().forward(lr))


class SwiftDiscriminator(nn.Module):
    """The discriminator: eight separable convolutions, pooled to 6x6, and two linear layers.

    Args:
        channels: image channels.
        features: width of the first convolution; the last has eight times as many.
        hidden: width of the hidden linear layer.
    """

    def __init__(self, channels: int, features: int = 64, hidden: int = 1024) -> None:
        super().__init__()
        widths = [features * factor for factor in (1, 1, 2, 2, 4, 4, 8, 8)]
        blocks = [SeparableConvBlock(SeparableConv(channels, features), nn.Identity(), nn.LeakyReLU(0.2))]
        for index in range(1, 8):
            convolution = SeparableConv(widths[index - 1], widths[index], stride=1 + index % 2, bias=False)
            blocks.append(SeparableConvBlock(convolution, nn.BatchNorm2d(widths[index]), nn.LeakyReLU(0.2)))
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(
            PoolTo(6),
            nn.Flatten(),
            nn.Linear(8 * features * 6**2, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the probabilities ``(N, 1)`` that the images are HR."""
        return torch.sigmoid(self.classifier(self.blocks(image)))


class PoolTo(nn.Module):
    """Adaptive average pooling to ``side`` by ``side``, where the size is not that already.

    A patch of 96 pixels arrives at 6x6: nothing is left to pool, and the backward pass of adaptive pooling,
    which is not deterministic on a GPU, is never run.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        size = (self.side, self.side)
        return x if x.shape[-2:] == size else nn.functional.adaptive_avg_pool2d(x, size)


BUDGETS: dict[tuple[str, str], StageBudget] = {
    ("smoke", "paper"): StageBudget(50, 4, 48),
    ("smoke", "tiny"): StageBudget(300, 6, 48),
    ("short", "paper"): StageBudget(10_000, 16, 96),
    ("short", "tiny"): StageBudget(6_000, 16, 96),
    ("paper", "paper"): StageBudget(23_000, 16, 96),
    ("paper", "tiny"): StageBudget(23_000, 16, 96),
}
"""``paper`` is 100 epochs of 3,669 images in batches of 16."""


def swift_srgan_recipe(request: RecipeRequest) -> Recipe:
    """The authors' released training script; the images of its MobileNetV2 are not normalised."""
    perceptual, note = None, "No perceptual term, so that a CPU keeps up."
    if request.variant != "tiny":
        state = request.pretrained("mobilenet_v2")
        note = "No perceptual term: no MobileNetV2 weights on disk."
        if state is not None:
            perceptual = LossTerm("mobilenet_v2", MobileNetContentLoss(state), weight=6e-3)
            note = "Perceptual term: last feature maps of MobileNetV2, MSE, 6e-3."
    widths = (8, 32) if request.variant == "tiny" else (64, 1024)
    build = partial(SwiftDiscriminator, request.channels, *widths)
    optimiser = Optimiser("adamw", lr=1e-3, weight_decay=1e-2)
    budget = BUDGETS[request.budget, request.variant]
    return Recipe(
        stages=(joint_stage(budget, request.scale, perceptual, build, optimiser),),
        source="Koushik0901/Swift-SRGAN@cd2414f swift-srgan/train.py and loss.py; arXiv 2111.14320",
        notes=(
            note,
            "The released script never defines its batch size; here 16 in the longer budgets. "
            "The number of images (DIV2K and Flickr2K, 3,669) is a third party's account of the paper.",
        ),
    )


@register_model(
    title="Swift-SRGAN",
    family="adversarial",
    paper="https://arxiv.org/abs/2111.14320",
    publication="SwiftSRGAN: Rethinking Super-Resolution for Efficient and Real-time Inference",
    authors="Krishnan, Koushik Sivarama and Krishnan, Karthik Sivarama",
    year=2021,
    scales=(2, 3, 4, 8),
    variants=("paper", "tiny"),
    recipe=swift_srgan_recipe,
    released=tuple(
        ReleasedWeights(
            file=f"swift_srgan_{scale}x.pth.tar",
            variant="paper",
            scale=scale,
            url="https://github.com/Koushik0901/Swift-SRGAN/releases/download/v0.1/"
            f"swift_srgan_{scale}x.pth.tar",
            licence="CC0-1.0",
            note="Trained by the authors on photographs, against a discriminator. Results of srbench used "
            f"weights/swift_srgan_{scale}x.pth.tar of Dynamic-Zoom/Dynamic-Zoom@ad27b28c, which states no "
            "licence of its own and credits the authors.",
            tensors_sha256=digest,
        )
        for scale, digest in (
            (2, "05d7e879bf35f442309239e12b48c55a03bdfeef1000a1f31600631758b02cc3"),
            (4, "d491d707679890396390ed566267c262520b8ee944c8e0e2cb0d9b404c47caaa"),
        )
    ),
    summary="SRGAN with an eighth of the weights, made to run in real time; it too may invent texture.",
)
def swift_srgan(scale: int, channels: int, variant: str) -> nn.Module:
    """16 separable blocks of width 64 (``paper``), or 3 of 32 that start at bicubic (``tiny``)."""
    if variant == "paper":
        return SwiftGenerator(scale, channels)
    # The bicubic image is in [0, 1] already: no tanh.
    body = LinearGenerator(scale, channels, blocks=3, features=32)
    return BicubicResidual(body, body.final_conv.pointwise, scale)
