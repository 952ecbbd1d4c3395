"""SwinIR: attention within small windows that shift from block to block.

Liang, Cao, Sun, Zhang, Van Gool and Timofte, "SwinIR: image restoration using Swin Transformer", ICCVW 2021,
arXiv 2108.10257. Modules are named as in the authors' code (JingyunLiang/SwinIR@6545850), so that their
checkpoints load; what these store of masks and index tables is made here when needed. ``classical`` at
magnification 1 is their denoiser. The authors do not have the other variants there (a smaller denoiser in
``light``, the usual head without a step in ``real`` and ``tiny``), ``light`` at x8 and ``real`` at x3 and x8.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

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
    relative_bias,
    roll,
    shift_mask,
)
from srbench.models.base import GreyShift, ReleasedWeights
from srbench.models.discriminators import UNetDiscriminator
from srbench.models.layers import BicubicResidual, PixelShuffleUpsampler, receptive_radius, upsampling_steps
from srbench.models.losses.adversarial import discriminator_loss, generator_loss
from srbench.models.losses.perceptual import VGGContentLoss
from srbench.models.losses.pixel import charbonnier_loss
from srbench.models.recipe import (
    LossTerm,
    Optimiser,
    PixelLoss,
    Recipe,
    RecipeRequest,
    StageBudget,
    StepRate,
)
from srbench.models.registry import register_model
from srbench.utils.errors import ModelError

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)


def colour_mean(channels: int) -> tuple[float, ...]:
    """Mean of DIV2K for three channels; 0 for grey images, as in the authors' code."""
    return DIV2K_MEAN if channels == 3 else (0.0,) * channels


class PatchEmbedding(nn.Module):
    """Holds a LayerNorm under the authors' name ``patch_embed.norm``."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)

    def forward(self, x: Tensor) -> Tensor:
        normalised: Tensor = self.norm(x)
        return normalised


Upsampler = Literal["pixelshuffle", "pixelshuffledirect", "nearest+conv", "residual"]
"""Sub-pixel convolutions step by step; one straight to the image; repeated pixels and convolutions; none: one
convolution to what is added to the image (the authors' empty name)."""


class SwinIRBase(nn.Module):
    """``upsample(s + conv(LN(blocks(LN(s)))))`` with ``s = conv(lr - mean)`` (eqs. 1 to 4), HMANet's too.

    Args:
        scale: 1, 2, 3, 4 or 8; 1 for ``residual``.
        features: width of the blocks.
        mean: what is subtracted from each channel of a [0, 1] image and added back; as many as channels.
        layers: blocks ``(N, H, W, features), shift mask -> (N, H, W, features)``.
        window: side of their windows.
        upsampler: how the image is enlarged.
        width: features on the way there (of ``pixelshuffle`` and ``nearest+conv``).
    """

    mean: Tensor
    receptive_radius: float

    def __init__(
        self,
        scale: int,
        features: int,
        mean: Sequence[float],
        layers: Iterable[nn.Module],
        window: int,
        upsampler: Upsampler = "pixelshuffle",
        width: int = 64,
    ) -> None:
        super().__init__()
        self.size_multiple = window
        self.upsampler = upsampler
        self.steps = upsampling_steps(scale)
        self.shift_masks = ShiftMasks(window)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.conv_first = nn.Conv2d(len(mean), features, 3, padding=1)
        self.patch_embed = PatchEmbedding(features)
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(features)
        self.conv_after_body = nn.Conv2d(features, features, 3, padding=1)
        self.last = "upsample.0" if upsampler == "pixelshuffledirect" else "conv_last"
        self.grey_shift: GreyShift | None = None
        if any(mean):
            red, green, blue = (-value for value in mean)
            last = "" if upsampler == "residual" else self.last
            self.grey_shift = GreyShift(first="conv_first", last=last, shift=(red, green, blue))
        self.apply(initialise_linear)
        self._add_upsampler(scale, features, len(mean), width)

    def _add_upsampler(self, scale: int, features: int, channels: int, width: int) -> None:
        if self.upsampler == "pixelshuffledirect":
            convolution = nn.Conv2d(features, channels * scale**2, 3, padding=1)
            self.upsample = nn.Sequential(convolution, nn.PixelShuffle(scale))
            return
        if self.upsampler == "residual":
            self.conv_last = nn.Conv2d(features, channels, 3, padding=1)
            return
        self.conv_before_upsample = nn.Sequential(
            nn.Conv2d(features, width, 3, padding=1), nn.LeakyReLU(inplace=True)
        )
        if self.upsampler == "pixelshuffle":
            self.upsample = PixelShuffleUpsampler(width, scale)
        else:
            for number in range(1, len(self.steps) + 1):
                self.add_module(f"conv_up{number}", nn.Conv2d(width, width, 3, padding=1))
            self.conv_hr = nn.Conv2d(width, width, 3, padding=1)
        self.conv_last = nn.Conv2d(width, channels, 3, padding=1)

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
        mask = self.shift_masks(height, width, shallow.device)
        x = self.patch_embed(shallow.permute(0, 2, 3, 1))
        for layer in self.layers:
            x = layer(x, mask)
        sr = self._upsampled(shallow + self.conv_after_body(self.norm(x).permute(0, 3, 1, 2)))
        return (sr + (lr if self.upsampler == "residual" else self.mean)).contiguous()

    def _upsampled(self, x: Tensor) -> Tensor:
        if self.upsampler == "pixelshuffledirect":
            direct: Tensor = self.upsample(x)
            return direct
        if self.upsampler == "residual":
            predicted: Tensor = self.conv_last(x)
            return predicted
        x = self.conv_before_upsample(x)
        if self.upsampler == "pixelshuffle":
            x = self.upsample(x)
        else:
            for number, step in enumerate(self.steps, start=1):
                repeated = F.interpolate(x, scale_factor=step, mode="nearest")
                x = F.leaky_relu(self.get_submodule(f"conv_up{number}")(repeated), 0.2, inplace=True)
            x = F.leaky_relu(self.conv_hr(x), 0.2, inplace=True)
        sr: Tensor = self.conv_last(x)
        return sr


def upsampler_radius(upsampler: Upsampler, scale: int) -> int:
    """LR pixels to each side that what follows ``conv_after_body`` looks at."""
    steps = upsampling_steps(scale)
    if upsampler in ("pixelshuffledirect", "residual"):
        return 1
    if upsampler == "pixelshuffle":
        return receptive_radius((2,) + (1,) * len(steps), steps)
    return receptive_radius((1,) * len(steps) + (3,), steps)


def on_bicubic(body: SwinIRBase, scale: int) -> BicubicResidual:
    """``body`` as a correction of the bicubic image, which already carries the mean."""
    last = body.get_submodule(body.last)
    assert isinstance(last, nn.Conv2d)
    return BicubicResidual(body, last, scale)


def strip_buffers(state: Mapping[str, Tensor], mark: str, buffers: Sequence[str]) -> dict[str, Tensor]:
    """A checkpoint without what it stores besides weights; one of another network as it is.

    Args:
        state: names to tensors.
        mark: a name that only this network's checkpoints have.
        buffers: last parts of the names of masks and index tables.
    """
    if mark not in state:
        return dict(state)
    return {key: value for key, value in state.items() if key.rpartition(".")[2] not in buffers}


class SelfAttention(WindowAttention):
    """Window attention that makes its queries, keys and values itself."""

    def __init__(self, features: int, heads: int, window: int) -> None:
        super().__init__(features, heads, window)
        self.qkv = nn.Linear(features, 3 * features)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
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
        return x + convolve(self.conv, self.residual_group(x, mask))


@dataclass(frozen=True)
class SwinIRConfig:
    """Width, blocks of each layer, heads of each block, how the image is enlarged, rate of dropped branches.

    ``drop_path`` is the rate of the last block; it grows linearly from 0 at the first.
    """

    features: int
    depths: tuple[int, ...]
    heads: int
    upsampler: Upsampler
    drop_path: float = 0.1
    window: int = 8
    upsampling_features: int = 64


CONFIGS = {
    "classical": SwinIRConfig(180, (6,) * 6, 6, "pixelshuffle"),
    "light": SwinIRConfig(60, (6,) * 4, 6, "pixelshuffledirect"),
    "real": SwinIRConfig(180, (6,) * 6, 6, "nearest+conv"),
    "tiny": SwinIRConfig(32, (2,), 4, "pixelshuffle", drop_path=0.0, upsampling_features=24),
}


class SwinIR(SwinIRBase):
    """The network of the paper, whose authors save index tables and masks beside its weights."""

    def published_state(self) -> dict[str, Tensor]:
        """The state dict with them, the masks those of their training images."""
        state: dict[str, Tensor] = self.state_dict()
        window = self.size_multiple
        span = 2 * window - 1
        offsets = relative_bias(torch.arange(span**2).view(1, span, span), window, window)[0]
        mask = shift_mask(MASKED_SIDE, MASKED_SIDE, window, torch.device("cpu"))[:, 0]
        for name, block in self.named_modules():
            if isinstance(block, SwinBlock):
                state[f"{name}.attn.relative_position_index"] = offsets.clone()
                if block.shift:
                    state[f"{name}.attn_mask"] = mask.clone()
        return state


MASKED_SIDE = 64
"""Side of the LR patches for which the authors' code makes masks when it is built."""


def build_swinir(scale: int, mean: tuple[float, ...], config: SwinIRConfig) -> SwinIR:
    """The network of the paper in the given size, for as many channels as there are means."""
    rates = torch.linspace(0, config.drop_path, sum(config.depths), device="cpu").tolist()
    layers = []
    for depth in config.depths:
        layers.append(RSTB(config.features, config.heads, config.window, rates[:depth]))
        rates = rates[depth:]
    network = SwinIR(
        scale, config.features, mean, layers, config.window, config.upsampler, config.upsampling_features
    )
    network.receptive_radius = swin_radius(
        config.depths, config.window, upsampler_radius(config.upsampler, scale)
    )
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


def strip_tables(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' or BasicSR's checkpoint without its masks and index tables; anything else as it is."""
    mark = "layers.0.residual_group.blocks.0.attn.qkv.weight"
    return strip_buffers(state, mark, ("attn_mask", "relative_position_index"))


# Numbers of the recipe: arXiv 2108.10257, sections 4.1, 4.2 and 4.4, and the authors' training code, KAIR
# (cszn/KAIR, options/swinir), with BasicSR's second Adam coefficient where they enlarge, but for ``real``.

HALVED_LATE = StepRate(at=(0.5, 0.8, 0.9, 0.95), gamma=0.5)
"""At 250k, 400k, 450k and 475k of 500k iterations; of 1M for ``real``, the same fractions."""

HALVED_LATER = StepRate(at=(4 / 6, 5 / 6, 5.5 / 6, 5.75 / 6), gamma=0.5)
"""At 400k, 500k, 550k and 575k of 600k iterations."""

HALVED_IN_DENOISING = StepRate(at=(0.5, 0.75, 0.875, 0.9375), gamma=0.5)
"""At 800k, 1200k, 1400k and 1500k of 1600k iterations."""

FEATURE_WEIGHTS = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0}
"""Layers of VGG-19 before their activation that the perceptual loss compares."""

REGRESSION: dict[tuple[str, str], StageBudget] = {
    ("smoke", "classical"): StageBudget(20, 2, 16, 2e-4),
    ("smoke", "light"): StageBudget(40, 4, 16, 1e-3),
    ("smoke", "real"): StageBudget(16, 2, 16, 2e-4),
    ("smoke", "tiny"): StageBudget(500, 12, 8, 1e-3),
    ("short", "classical"): StageBudget(4_000, 16, 48, 2e-4, 0.999),
    ("short", "light"): StageBudget(10_000, 16, 64, 5e-4, 0.999),
    ("short", "real"): StageBudget(3_200, 16, 48, 2e-4, 0.999),
    ("short", "tiny"): StageBudget(10_000, 16, 48, 1e-3, 0.999),
    ("paper", "classical"): StageBudget(500_000, 32, 48, 2e-4, 0.999),
    ("paper", "light"): StageBudget(500_000, 64, 64, 2e-4, 0.999),
    ("paper", "real"): StageBudget(1_000_000, 32, 64, 2e-4, 0.999),
    ("paper", "tiny"): StageBudget(500_000, 64, 64, 2e-4, 0.999),
}
"""Budget and variant to the first stage; patches in LR pixels, at magnification 1 in pixels of a half."""

DENOISING = StageBudget(1_600_000, 8, 64, 2e-4, 0.999)
"""The same of budget ``paper`` at magnification 1: patches of 128 pixels."""

ADVERSARIAL: dict[str, StageBudget] = {
    "smoke": StageBudget(3, 2, 16),
    "short": StageBudget(800, 16, 48, ema=0.999),
    "paper": StageBudget(600_000, 32, 64, ema=0.999),
}
"""Budget to the second stage of ``real``."""


def swinir_recipe(request: RecipeRequest) -> Recipe:
    """L1 on pixels; for the variant ``real`` ``L1 + perceptual + 0.1 adversarial`` from these weights on."""
    denoising = request.scale == 1
    first = REGRESSION[request.budget, request.variant]
    if denoising and request.budget == "paper":
        first = DENOISING
    patch = first.patch * max(request.scale, 2)
    l1 = LossTerm("l1", PixelLoss(F.l1_loss))
    # Their mean over pixels; here the loss is the sum over an image.
    charbonnier = LossTerm(
        "charbonnier", PixelLoss(charbonnier_loss), weight=1 / (request.channels * patch**2)
    )
    published_by_kair = denoising or request.variant == "real"
    regression = first.stage(
        "regression",
        charbonnier if denoising else l1,
        patch=patch,
        optimiser=Optimiser(lr=first.lr, betas=(0.9, 0.999 if published_by_kair else 0.99)),
        schedule=HALVED_IN_DENOISING if denoising else HALVED_LATE,
    )
    stages = [regression]
    notes = [
        "The authors start noise of 25 and 50 grey levels from their network for 15, as --from does."
        if denoising
        else "The authors start x3, x4 and x8 from their x2, as --from does."
    ]
    if request.variant == "real":
        perceptual, note = _perceptual(request)
        stage = ADVERSARIAL[request.budget].stage(
            "adversarial",
            l1,
            perceptual,
            LossTerm("adversarial", generator_loss, weight=0.1),
            patch=regression.patch,
            schedule=HALVED_LATER,
        )
        width = 16 if request.budget == "smoke" else 64
        stages.append(stage.against(partial(UNetDiscriminator, request.channels, width), discriminator_loss))
        notes += [
            note,
            "LR images are degraded as the run's settings say; the random degradations of BSRGAN are not "
            "applied.",
            "The authors train at x4; other magnifications are trained alike, with LR patches of the same "
            "size.",
        ]
    return Recipe(
        stages=tuple(stages),
        source="arXiv 2108.10257, sections 4.1, 4.2 and 4.4; cszn/KAIR options/swinir (classical@4614f66, "
        "lightweight@70ccf76, realworld psnr@12ad147 and gan@4614f66, denoising_gray@012a928)",
        notes=tuple(notes),
    )


def _perceptual(request: RecipeRequest) -> tuple[LossTerm, str]:
    """L1 on five layers of VGG-19, on pixels without its weights; what to note."""
    state = request.pretrained("vgg19")
    if state is None:
        fallback = LossTerm("perceptual", PixelLoss(F.l1_loss))
        return fallback, "Perceptual loss: L1 on pixels in its place: no VGG-19 weights on disk."
    loss = VGGContentLoss(state, FEATURE_WEIGHTS, F.l1_loss)
    return LossTerm("perceptual", loss), "Perceptual loss: L1 on five layers of VGG-19 before activation."


RELEASES = "https://github.com/JingyunLiang/SwinIR/releases/download/v0.0/"


def _released(variant: str, scale: int, file: str, note: str, channels: int = 3) -> ReleasedWeights:
    return ReleasedWeights(file, variant, scale, RELEASES + file, channels, "Apache-2.0", note=note)


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
    *(
        _released(
            "classical",
            1,
            f"{colours}DN_DFWB_s128w8_SwinIR-M_noise{noise}.pth",
            f"a denoiser, trained on photographs with white noise of {noise} grey levels",
            channels,
        )
        for channels, colours in ((1, "004_gray"), (3, "005_color"))
        for noise in (15, 25, 50)
    ),
)


@register_model(
    title="SwinIR",
    family="attention",
    paper="https://arxiv.org/abs/2108.10257",
    publication="SwinIR: Image Restoration Using Swin Transformer",
    authors=(
        "Liang, Jingyun and Cao, Jiezhang and Sun, Guolei and Zhang, Kai and Van Gool, Luc and Timofte, Radu"
    ),
    year=2021,
    scales=(1, 2, 3, 4, 8),
    variants=("classical", "light", "real", "tiny"),
    recipe=swinir_recipe,
    summary="Attention in small shifted windows; the transformer that later networks are compared with.",
    released=RELEASED,
    convert=strip_tables,
)
def swinir(scale: int, channels: int, variant: str) -> nn.Module:
    """Six layers of width 180 (``classical``, ``real``), four of 60 (``light``) or one of 32 (``tiny``)."""
    if variant == "tiny":
        # The bicubic image already carries the mean.
        return on_bicubic(build_swinir(scale, (0.0,) * channels, CONFIGS["tiny"]), scale)
    config = CONFIGS[variant]
    if scale == 1 and variant != "real":
        config = replace(config, upsampler="residual")
    return build_swinir(scale, colour_mean(channels), config)
