"""SwinIR: attention within small windows that shift from block to block.

Liang, Cao, Sun, Zhang, Van Gool and Timofte, "SwinIR: image restoration using Swin Transformer", ICCVW 2021,
arXiv 2108.10257. Modules are named as in the authors' code (JingyunLiang/SwinIR@6545850), so that their
checkpoints load; what these store of masks and index tables is made here when needed.

Every variant comes at x2, x3, x4 and x8. Of these the authors do not have ``light`` at x8 and ``real`` at x3
and x8, which here enlarges as at x2 and x4, by repeating pixels and convolving for each step. The variant
``tiny`` is two narrow blocks on top of the bicubic image, made to train in seconds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.attention import (
    DropPath,
    Mlp,
    ShiftMasks,
    WindowAttention,
    convolve,
    initialise_linear,
    roll,
)
from srbench.models.discriminators import UNetCritic
from srbench.models.interface import GreyShift, ModelError, RecipeRequest, ReleasedWeights
from srbench.models.layers import OnBicubic, PixelShuffleUpsampler, receptive_radius, upsampling_steps
from srbench.models.losses.adversarial import critic_loss, generator_loss
from srbench.models.losses.perceptual import VGGContentLoss
from srbench.models.recipe import Critic, LossInputs, LossTerm, Optimiser, PixelLoss, Recipe, Stage, StepRate
from srbench.models.registry import register_model

# What stands around the blocks of SwinIR and of its relatives: first layer, residual, upsampling.
#
# SwinIR comes with three ways of enlarging; HMANet has the first of them. Modules are named as in the authors'
# code (JingyunLiang/SwinIR@6545850, models/network_swinir.py), so that their checkpoints load.

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
UPSAMPLING_FEATURES = 64


def colour_mean(channels: int) -> tuple[float, ...]:
    """Mean of DIV2K for three channels; 0 for grey images, as in the authors' code."""
    return DIV2K_MEAN if channels == 3 else (0.0,) * channels


class Normalised(nn.Module):
    """Holds a LayerNorm under the authors' name ``patch_embed.norm``."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., features)`` to the same shape."""
        normalised: Tensor = self.norm(x)
        return normalised


class Frame(nn.Module, ABC):
    """``enlarge(s + conv(LN(blocks(LN(s)))))`` with ``s = conv(lr - mean)`` (SwinIR, eqs. 1 to 4).

    Args:
        features: width of the blocks.
        mean: what is subtracted from each channel of a [0, 1] image and added back; as many as channels.
        layers: blocks ``(N, H, W, features), shift mask -> (N, H, W, features)``.
        window: side of their windows.

    Subclasses add how the image is enlarged, with ``width`` features on the way where there are any.
    """

    last: str
    mean: Tensor
    receptive_radius: float

    def __init__(
        self, features: int, mean: Sequence[float], layers: Iterable[nn.Module], window: int
    ) -> None:
        super().__init__()
        self.size_multiple = window
        self.shift_masks = ShiftMasks(window)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.conv_first = nn.Conv2d(len(mean), features, 3, padding=1)
        self.patch_embed = Normalised(features)
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(features)
        self.conv_after_body = nn.Conv2d(features, features, 3, padding=1)
        self.grey_shift: GreyShift | None = None
        if any(mean):
            red, green, blue = (-value for value in mean)
            self.grey_shift = GreyShift(first="conv_first", last=self.last, shift=(red, green, blue))
        self.apply(initialise_linear)

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` in [0, 1], H and W multiples of the window, to ``(N, C, scale*H, scale*W)``.

        Raises:
            ModelError: a side is no multiple of the window.
        """
        height, width = lr.shape[-2:]
        if height % self.size_multiple or width % self.size_multiple:
            raise ModelError(
                f"Windows of {self.size_multiple}x{self.size_multiple} pixels do not tile {height}x{width}; "
                "pad the image to a multiple of it (SRModel.infer does)."
            )
        # Channels side by side throughout: tokens and convolutions then share their memory layout.
        shallow = self.conv_first(lr - self.mean).contiguous(memory_format=torch.channels_last)
        sr = self.enlarge(shallow + self.conv_after_body(self._deep(shallow)))
        return (sr + self.mean).contiguous()

    def _deep(self, shallow: Tensor) -> Tensor:
        height, width = shallow.shape[-2:]
        mask = self.shift_masks(height, width, shallow.device)
        x = self.patch_embed(shallow.permute(0, 2, 3, 1))
        for layer in self.layers:
            x = layer(x, mask)
        deep: Tensor = self.norm(x)
        return deep.permute(0, 3, 1, 2)

    @abstractmethod
    def enlarge(self, features: Tensor) -> Tensor:
        """``(N, features, H, W)`` to ``(N, C, scale*H, scale*W)``."""


def on_bicubic(body: Frame, scale: int) -> OnBicubic:
    """``body`` as a correction of the bicubic image, which already carries the mean."""
    last = body.get_submodule(body.last)
    assert isinstance(last, nn.Conv2d)
    return OnBicubic(body, last, scale)


def without_tables(state: Mapping[str, Tensor], known_by: str, tables: Sequence[str]) -> dict[str, Tensor]:
    """A checkpoint without what it stores besides weights; one of another network as it is.

    Args:
        state: names to tensors.
        known_by: a name that only this network's checkpoints have.
        tables: last parts of the names of masks and index tables.
    """
    if known_by not in state:
        return dict(state)
    return {key: value for key, value in state.items() if key.rpartition(".")[2] not in tables}


class PixelShuffleFrame(Frame):
    """Enlarges by sub-pixel convolutions of ``width`` features step by step (classical SwinIR, HMANet)."""

    last = "conv_last"

    def __init__(
        self,
        scale: int,
        features: int,
        mean: Sequence[float],
        layers: Iterable[nn.Module],
        window: int,
        width: int = UPSAMPLING_FEATURES,
    ) -> None:
        super().__init__(features, mean, layers, window)
        self.conv_before_upsample = nn.Sequential(
            nn.Conv2d(features, width, 3, padding=1), nn.LeakyReLU(inplace=True)
        )
        self.upsample = PixelShuffleUpsampler(width, scale)
        self.conv_last = nn.Conv2d(width, len(mean), 3, padding=1)

    def enlarge(self, features: Tensor) -> Tensor:
        """``(N, features, H, W)`` to ``(N, C, scale*H, scale*W)``."""
        sr: Tensor = self.conv_last(self.upsample(self.conv_before_upsample(features)))
        return sr

    @staticmethod
    def radius(scale: int) -> int:
        """LR pixels to each side that ``enlarge`` looks at."""
        steps = upsampling_steps(scale)
        return receptive_radius((2,) + (1,) * len(steps), steps)


class DirectFrame(Frame):
    """Enlarges by one sub-pixel convolution straight to the image (lightweight SwinIR)."""

    last = "upsample.0"

    def __init__(
        self,
        scale: int,
        features: int,
        mean: Sequence[float],
        layers: Iterable[nn.Module],
        window: int,
        width: int = 0,
    ) -> None:
        del width
        super().__init__(features, mean, layers, window)
        convolution = nn.Conv2d(features, len(mean) * scale**2, 3, padding=1)
        self.upsample = nn.Sequential(convolution, nn.PixelShuffle(scale))

    def enlarge(self, features: Tensor) -> Tensor:
        """``(N, features, H, W)`` to ``(N, C, scale*H, scale*W)``."""
        sr: Tensor = self.upsample(features)
        return sr

    @staticmethod
    def radius(scale: int) -> int:
        """LR pixels to each side that ``enlarge`` looks at, whatever the scale."""
        del scale
        return 1


class NearestFrame(Frame):
    """Enlarges by repeating pixels and convolving, step by step (real-world SwinIR: no checkerboards)."""

    last = "conv_last"

    def __init__(
        self,
        scale: int,
        features: int,
        mean: Sequence[float],
        layers: Iterable[nn.Module],
        window: int,
        width: int = UPSAMPLING_FEATURES,
    ) -> None:
        super().__init__(features, mean, layers, window)
        self.steps = upsampling_steps(scale)
        self.conv_before_upsample = nn.Sequential(
            nn.Conv2d(features, width, 3, padding=1), nn.LeakyReLU(inplace=True)
        )
        for number in range(1, len(self.steps) + 1):
            self.add_module(f"conv_up{number}", nn.Conv2d(width, width, 3, padding=1))
        self.conv_hr = nn.Conv2d(width, width, 3, padding=1)
        self.conv_last = nn.Conv2d(width, len(mean), 3, padding=1)

    def enlarge(self, features: Tensor) -> Tensor:
        """``(N, features, H, W)`` to ``(N, C, scale*H, scale*W)``."""
        x: Tensor = self.conv_before_upsample(features)
        for number, step in enumerate(self.steps, start=1):
            convolution = self.get_submodule(f"conv_up{number}")
            x = F.leaky_relu(
                convolution(F.interpolate(x, scale_factor=step, mode="nearest")), 0.2, inplace=True
            )
        sr: Tensor = self.conv_last(F.leaky_relu(self.conv_hr(x), 0.2, inplace=True))
        return sr

    @staticmethod
    def radius(scale: int) -> int:
        """LR pixels to each side that ``enlarge`` looks at."""
        steps = upsampling_steps(scale)
        return receptive_radius((1,) + (1,) * (len(steps) - 1) + (3,), steps)


class SelfAttention(WindowAttention):
    """Window attention that makes its queries, keys and values itself."""

    def __init__(self, features: int, heads: int, window: int) -> None:
        super().__init__(features, heads, window)
        self.qkv = nn.Linear(features, 3 * features)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``(N, H, W, C)`` to the same shape."""
        return super().forward(self.qkv(x), mask)


class SwinBlock(nn.Module):
    """``x + WMSA(LN(x))``, then ``x + MLP(LN(x))`` (eq. 7)."""

    def __init__(self, features: int, heads: int, window: int, shifted: bool, drop_path: float) -> None:
        super().__init__()
        self.shift = window // 2 if shifted else 0
        self.norm1 = nn.LayerNorm(features)
        self.attn = SelfAttention(features, heads, window)
        self.norm2 = nn.LayerNorm(features)
        self.mlp = Mlp(features, 2 * features)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``(N, H, W, C)`` to the same shape; ``mask`` is the one of shifted windows."""
        rolled = roll(self.norm1(x), -self.shift)
        attended = self.attn(rolled, mask if self.shift else None)
        x = x + self.drop_path(roll(attended, self.shift))
        mapped: Tensor = self.drop_path(self.mlp(self.norm2(x)))
        return x + mapped


class ResidualGroup(nn.Module):
    """Holds the blocks of a layer under the authors' name."""

    def __init__(self, blocks: list[SwinBlock]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``(N, H, W, C)`` to the same shape."""
        for block in self.blocks:
            x = block(x, mask)
        return x


class RSTB(nn.Module):
    """Residual Swin transformer blocks: ``x + conv(blocks(x))`` (eq. 6)."""

    def __init__(self, features: int, heads: int, window: int, drop_paths: list[float]) -> None:
        super().__init__()
        self.residual_group = ResidualGroup(
            [
                SwinBlock(features, heads, window, index % 2 == 1, rate)
                for index, rate in enumerate(drop_paths)
            ]
        )
        self.conv = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``(N, H, W, C)`` to the same shape."""
        return x + convolve(self.conv, self.residual_group(x, mask))


@dataclass(frozen=True)
class Size:
    """Width, blocks of each layer, heads of each block, how the image is enlarged, rate of dropped branches.

    ``drop_path`` is the rate of the last block; it grows linearly from 0 at the first.
    """

    features: int
    depths: tuple[int, ...]
    heads: int
    frame: type[PixelShuffleFrame] | type[DirectFrame] | type[NearestFrame]
    drop_path: float = 0.1
    window: int = 8
    upsampling_features: int = UPSAMPLING_FEATURES


SIZES = {
    "classical": Size(180, (6,) * 6, 6, PixelShuffleFrame),
    "light": Size(60, (6,) * 4, 6, DirectFrame),
    "real": Size(180, (6,) * 6, 6, NearestFrame),
    "tiny": Size(32, (2,), 4, PixelShuffleFrame, drop_path=0.0, upsampling_features=24),
}


def build_swinir(scale: int, mean: tuple[float, ...], size: Size) -> Frame:
    """The network of the paper in the given size, for as many channels as there are means."""
    rates = torch.linspace(0, size.drop_path, sum(size.depths), device="cpu").tolist()
    layers = []
    for depth in size.depths:
        layers.append(RSTB(size.features, size.heads, size.window, rates[:depth]))
        rates = rates[depth:]
    network = size.frame(scale, size.features, mean, layers, size.window, size.upsampling_features)
    network.receptive_radius = swin_radius(size.depths, size.window, size.frame.radius(scale))
    return network


def swin_radius(depths: tuple[int, ...], window: int, enlarging: int) -> int:
    """LR pixels to each side that an output pixel may depend on, whichever place in its window it has.

    Args:
        depths: blocks of each layer; every second one is shifted by half a window.
        window: side of a window.
        enlarging: radius of what follows ``conv_after_body``.
    """
    return max(_reach(centre, depths, window, enlarging) for centre in range(window))


def _reach(centre: int, depths: tuple[int, ...], window: int, enlarging: int) -> int:
    """Follow the pixels that matter from the output of one pixel back to the input, along one axis."""
    low, high = centre - enlarging - 1, centre + enlarging + 1  # with conv_after_body
    for depth in reversed(depths):
        low, high = low - 1, high + 1  # the convolution at the end of a layer
        for block in reversed(range(depth)):
            start = window // 2 * (block % 2)
            low = (low - start) // window * window + start
            high = (high - start) // window * window + start + window - 1
    return max(centre - low, high - centre) + 1  # conv_first


def tiny_swinir(scale: int, channels: int) -> nn.Module:
    """A small SwinIR that corrects the bicubic image, which already carries the mean."""
    return on_bicubic(build_swinir(scale, (0.0,) * channels, SIZES["tiny"]), scale)


UNLEARNED = ("attn_mask", "relative_position_index")
"""Last parts of the names of what the authors' checkpoints store besides weights."""


def learned_alone(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' or BasicSR's checkpoint without its masks and index tables; anything else as it is."""
    return without_tables(state, "layers.0.residual_group.blocks.0.attn.qkv.weight", UNLEARNED)


# How SwinIR is trained: by L1 regression; the real-world variant then also perceptually, against a critic.
#
# Numbers are those of arXiv 2108.10257, sections 4.1 and 4.2, and of the authors' training code, KAIR
# (cszn/KAIR, options/swinir: classical and gan@4614f66, lightweight@70ccf76, psnr@12ad147), with BasicSR's
# second Adam coefficient for the first two variants.

CRITIC = "critic"

HALVED_LATE = StepRate(at=(0.5, 0.8, 0.9, 0.95), gamma=0.5)
"""At 250k, 400k, 450k and 475k of 500k iterations; of 1M for ``real``, the same fractions."""

HALVED_LATER = StepRate(at=(4 / 6, 5 / 6, 5.5 / 6, 5.75 / 6), gamma=0.5)
"""At 400k, 500k, 550k and 575k of 600k iterations."""

FEATURE_WEIGHTS = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0}
"""Layers of VGG-19 before their activation that the perceptual loss compares."""


@dataclass(frozen=True)
class Plan:
    """What differs between budgets and variants: iterations, batch, LR side of a patch, rate, averaging."""

    iterations: int
    batch: int
    lr_patch: int
    rate: float = 2e-4
    ema: float | None = 0.999
    adversarial: int = 0
    critic_features: int = 64


PLANS: dict[tuple[str, str], Plan] = {
    ("smoke", "classical"): Plan(20, 2, 16, ema=None),
    ("smoke", "light"): Plan(40, 4, 16, rate=1e-3, ema=None),
    ("smoke", "real"): Plan(16, 2, 16, ema=None, adversarial=3, critic_features=16),
    ("smoke", "tiny"): Plan(500, 12, 8, rate=1e-3, ema=None),
    ("short", "classical"): Plan(4_000, 16, 48),
    ("short", "light"): Plan(10_000, 16, 64, rate=5e-4),
    ("short", "real"): Plan(3_200, 16, 48, adversarial=800),
    ("short", "tiny"): Plan(10_000, 16, 48, rate=1e-3),
    ("paper", "classical"): Plan(500_000, 32, 48),
    ("paper", "light"): Plan(500_000, 64, 64),
    ("paper", "real"): Plan(1_000_000, 32, 64, adversarial=600_000),
    ("paper", "tiny"): Plan(500_000, 64, 64),
}
"""Budget and variant to the plan."""


def swinir_recipe(request: RecipeRequest) -> Recipe:
    """L1 on pixels; for the variant ``real`` L1, perceptual and adversarial loss from these weights on."""
    plan = PLANS[request.budget, request.variant]
    stages = [_regression(request, plan)]
    notes = ["Every magnification starts from scratch; the authors start x3, x4 and x8 from x2."]
    if plan.adversarial:
        perceptual, about = _perceptual(request)
        stages.append(_adversarial(request, plan, perceptual))
        notes += [*about, *REAL_NOTES]
    return Recipe(
        stages=tuple(stages),
        source="arXiv 2108.10257, sections 4.1 and 4.2; cszn/KAIR options/swinir (classical@4614f66, "
        "lightweight@70ccf76, realworld psnr@12ad147 and gan@4614f66)",
        notes=tuple(notes),
    )


REAL_NOTES = (
    "LR images are degraded as the run's settings say; the random degradations of BSRGAN are not applied.",
    "The authors train at x4; other magnifications are trained alike, with LR patches of the same size.",
)


def _regression(request: RecipeRequest, plan: Plan) -> Stage:
    second = 0.999 if request.variant == "real" else 0.99
    return Stage(
        name="regression",
        iterations=plan.iterations,
        batch=plan.batch,
        patch=plan.lr_patch * request.scale,
        terms=(LossTerm("l1", PixelLoss(F.l1_loss)),),
        optimiser=Optimiser("adam", lr=plan.rate, betas=(0.9, second)),
        schedule=HALVED_LATE,
        ema=plan.ema,
    )


def _adversarial(request: RecipeRequest, plan: Plan, perceptual: LossTerm) -> Stage:
    """``L1 + perceptual + 0.1 * adversarial``; one update of the critic for one of the generator."""
    optimiser = Optimiser("adam", lr=1e-4)
    build: Callable[[], nn.Module] = partial(UNetCritic, request.channels, plan.critic_features)
    return Stage(
        name="adversarial",
        iterations=plan.adversarial,
        batch=plan.batch,
        patch=plan.lr_patch * request.scale,
        terms=(
            LossTerm("l1", PixelLoss(F.l1_loss)),
            perceptual,
            LossTerm("adversarial", fool_the_critic, weight=0.1),
        ),
        optimiser=optimiser,
        schedule=HALVED_LATER,
        critics=(Critic(CRITIC, build, tell_apart, optimiser, HALVED_LATER),),
        ema=plan.ema,
    )


def _perceptual(request: RecipeRequest) -> tuple[LossTerm, tuple[str, ...]]:
    """L1 on five layers of VGG-19, on pixels without its weights; what to note."""
    state = request.pretrained("vgg19")
    if state is None:
        fallback = LossTerm("perceptual", PixelLoss(F.l1_loss))
        return fallback, ("Perceptual loss: L1 on pixels in its place: no VGG-19 weights on disk.",)
    loss = VGGContentLoss(state, FEATURE_WEIGHTS, F.l1_loss)
    return LossTerm("perceptual", loss), ("Perceptual loss: L1 on five layers of VGG-19 before activation.",)


def fool_the_critic(inputs: LossInputs) -> Tensor:
    """``mean(-log D(sr))`` over pixels."""
    return generator_loss(inputs.critics[CRITIC](inputs.sr))


def tell_apart(critic: nn.Module, inputs: LossInputs) -> Tensor:
    """``mean(-log D(hr)) + mean(-log(1 - D(sr)))`` over pixels."""
    return critic_loss(critic(inputs.hr), critic(inputs.sr))


RELEASES = "https://github.com/JingyunLiang/SwinIR/releases/download/v0.0/"


def _released(variant: str, scale: int, file: str, note: str) -> ReleasedWeights:
    return ReleasedWeights(file, variant, scale, RELEASES + file, licence="Apache-2.0", note=note)


DF2K = "trained on DIV2K and Flickr2K with LR patches of 64 pixels"
DIV2K = "trained on DIV2K with LR patches of 48 pixels"
BSRGAN = "for photographs of unknown degradation: trained on BSRGAN's random ones"

RELEASED = (
    *(_released("classical", s, f"001_classicalSR_DF2K_s64w8_SwinIR-M_x{s}.pth", DF2K) for s in (2, 3, 4, 8)),
    *(
        _released("classical", s, f"001_classicalSR_DIV2K_s48w8_SwinIR-M_x{s}.pth", DIV2K)
        for s in (2, 3, 4, 8)
    ),
    *(
        _released("light", s, f"002_lightweightSR_DIV2K_s64w8_SwinIR-S_x{s}.pth", "trained on DIV2K")
        for s in (2, 3, 4)
    ),
    *(
        _released("real", s, f"003_realSR_BSRGAN_DFO_s64w8_SwinIR-M_x{s}_{kind}.pth", f"{BSRGAN}; {of}")
        for s in (2, 4)
        for kind, of in (("GAN", "adversarial stage"), ("PSNR", "first stage"))
    ),
)


@register_model(
    title="SwinIR",
    family="attention",
    paper="https://arxiv.org/abs/2108.10257",
    year=2021,
    scales=(2, 3, 4, 8),
    variants=("classical", "light", "real", "tiny"),
    recipe=swinir_recipe,
    summary="Attention in small shifted windows; the transformer that later networks are compared with.",
    released=RELEASED,
    convert=learned_alone,
)
def swinir(scale: int, channels: int, variant: str) -> nn.Module:
    """Six layers of width 180 (``classical``, ``real``), four of 60 (``light``) or one of 32 (``tiny``)."""
    if variant == "tiny":
        return tiny_swinir(scale, channels)
    return build_swinir(scale, colour_mean(channels), SIZES[variant])
