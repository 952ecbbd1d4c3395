"""ESRGAN: residual-in-residual dense blocks, trained for pixels, then against a relativistic critic.

Wang et al., "ESRGAN: enhanced super-resolution generative adversarial networks", ECCV workshops 2018, arXiv
1809.00219. Modules are named as in xinntao/ESRGAN since December 2018; checkpoints of the older code and of
BasicSR and Real-ESRGAN are renamed on loading (:func:`to_published_names`).

The paper enlarges x4. As in BasicSR and Real-ESRGAN, x2 is the x4 network behind a pixel-unshuffle by two, so
that their weights load. Ours are x8, with a third doubling, and x3, whose pixels are repeated three times at
once. The variant ``tiny`` is one small block on top of the bicubic image, made to train in seconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.baselines.esrgan_blocks import (
    CONVOLUTIONS_IN_RRDB,
    RRDB,
    conv3x3,
    enlarge,
    favourite_layout,
    rectify,
)
from srbench.models.baselines.esrgan_recipe import esrgan_recipe
from srbench.models.interface import ModelError, ReleasedWeights
from srbench.models.layers import OnBicubic, upsampling_steps
from srbench.models.registry import register_model


@dataclass(frozen=True)
class Size:
    """Residual-in-residual dense blocks, their width, and the growth inside them."""

    blocks: int
    features: int
    growth: int


SIZES = {"paper": Size(23, 64, 32), "tiny": Size(1, 16, 8)}


class RRDBNet(nn.Module):
    """The generator of the paper (section 3.1, figure 3).

    Args:
        scale: 2, 3, 4 or 8.
        channels: image channels in and out.
        size: blocks, width and growth.
    """

    def __init__(self, scale: int, channels: int, size: Size) -> None:
        super().__init__()
        features = size.features
        self.size_multiple = 2 if scale == 2 else 1
        self.steps = upsampling_steps(scale * self.size_multiple)
        self.conv_first = conv3x3(channels * self.size_multiple**2, features)
        self.RRDB_trunk = nn.Sequential(*(RRDB(features, size.growth) for _ in range(size.blocks)))
        self.trunk_conv = conv3x3(features, features)
        for index in range(len(self.steps)):
            self.add_module(f"upconv{index + 1}", conv3x3(features, features))
        self.HRconv = conv3x3(features, features)
        self.conv_last = conv3x3(features, channels)
        # First convolution, blocks, end of the trunk; one a step; the two at full size.
        at_lr = 1 + CONVOLUTIONS_IN_RRDB * size.blocks + 1
        radii = (at_lr,) + (1,) * (len(self.steps) - 1) + (3,)
        self.receptive_radius = radius_behind_unshuffle(radii, self.steps, self.size_multiple)

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C, scale*H, scale*W)``, not clamped."""
        if self.size_multiple > 1:
            lr = F.pixel_unshuffle(lr, self.size_multiple)
        shallow = self.conv_first(favourite_layout(lr))
        x = shallow + self.trunk_conv(self.RRDB_trunk(shallow))
        for index, step in enumerate(self.steps):
            x = rectify(getattr(self, f"upconv{index + 1}")(enlarge(x, step)))
        sr: Tensor = self.conv_last(rectify(self.HRconv(x)))
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


def interpolate_networks(
    psnr: Mapping[str, Tensor], gan: Mapping[str, Tensor], alpha: float = 0.8
) -> dict[str, Tensor]:
    """``(1 - alpha) * psnr + alpha * gan`` for every parameter: less noise, hardly less detail.

    Args:
        psnr: state dict of the network trained for pixels.
        gan: state dict of the network trained from it against a critic, same names and shapes.
        alpha: share of ``gan`` in [0, 1].

    Raises:
        ModelError: ``alpha`` is out of range, or the state dicts are of different networks.

    Source:
        arXiv 1809.00219, section 3.4, eq. 4; the paper's images are made with 0.8.
    """
    if not 0 <= alpha <= 1:
        raise ModelError(f"Networks are interpolated by a share between 0 and 1, found {alpha}.")
    shapes, others = ({name: tuple(value.shape) for name, value in state.items()} for state in (psnr, gan))
    if shapes != others:
        name = min(key for key in shapes.keys() | others.keys() if shapes.get(key) != others.get(key))
        raise ModelError(
            f"Only weights of one network can be interpolated: {name!r} has shape {shapes.get(name)} in one "
            f"state dict and {others.get(name)} in the other. Give a PSNR and a GAN file of one variant."
        )
    return {name: (1 - alpha) * value + alpha * gan[name] for name, value in psnr.items()}


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


_AUTHORS = "https://github.com/xinntao/ESRGAN"
_REAL = "https://github.com/xinntao/Real-ESRGAN/releases/download/"
_REAL_NOTE = "Real-ESRGAN: trained on heavily and randomly degraded photographs, not on bicubic LR."

RELEASED = (
    ReleasedWeights(
        "RRDB_ESRGAN_x4.pth",
        "paper",
        4,
        _AUTHORS,
        licence="Apache-2.0",
        direct=False,
        note="The paper's ESRGAN; MATLAB bicubic LR.",
    ),
    ReleasedWeights(
        "RRDB_PSNR_x4.pth",
        "paper",
        4,
        _AUTHORS,
        licence="Apache-2.0",
        direct=False,
        note="The paper's first stage, trained for pixels on DF2K; MATLAB bicubic LR.",
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
    ReleasedWeights(
        "RealESRGAN_x4plus.pth",
        "paper",
        4,
        _REAL + "v0.1.0/RealESRGAN_x4plus.pth",
        licence="BSD-3-Clause",
        note=_REAL_NOTE,
    ),
    ReleasedWeights(
        "RealESRGAN_x2plus.pth",
        "paper",
        2,
        _REAL + "v0.2.1/RealESRGAN_x2plus.pth",
        licence="BSD-3-Clause",
        note=_REAL_NOTE,
    ),
)


def tiny_esrgan(scale: int, channels: int) -> nn.Module:
    """A small generator that corrects the bicubic image."""
    body = RRDBNet(scale, channels, SIZES["tiny"])
    return OnBicubic(body, body.conv_last, scale)


@register_model(
    title="ESRGAN",
    family="adversarial",
    paper="https://arxiv.org/abs/1809.00219",
    year=2018,
    scales=(2, 3, 4, 8),
    variants=("paper", "tiny"),
    recipe=esrgan_recipe,
    summary="A deeper SRGAN whose critic judges which of two images is more real; sharp, invents texture.",
    released=RELEASED,
    convert=to_published_names,
)
def esrgan(scale: int, channels: int, variant: str) -> nn.Module:
    """The generator with 23 blocks of width 64 (``paper``) or one of 16 (``tiny``); x4 as published."""
    return tiny_esrgan(scale, channels) if variant == "tiny" else RRDBNet(scale, channels, SIZES[variant])
