"""The generators of CSM-SR's released code, layer by layer, and what conditions them.

Facts: aaivu/CSM-SR at c89569b, ``CSM-SR/csm_sr.py`` (``released``) and ``Final-Model/SINSR/code/
architectures/architecture_{8,7}.py``. State dicts have the names of the layers given there. What differs from
``generator`` (the text): features are concatenated instead of fused, branches and stem keep their own widths,
the image passes through tanh, there is no image-level skip, and nothing is trained on the LR image but the
generator: an ImageNet network, frozen, gives the condition (``released_encoder``).

The authors feed that network the HR image, at test time too. Here ``released`` and ``released_arch8`` feed
it the LR image, enlarged; only ``oracle`` does as they do, and is marked as leaking for it.

Departures, none of which changes the x4 graph: images are in [0, 1] outside and [-1, 1] inside; grey images
have one channel at both ends; other magnifications repeat the released step (depth to space, convolution) as
often as they need. At x3 the merging convolution has the largest multiple of 9 channels that fits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.csm_sr.released_blocks import (
    ReversedRRDB,
    depth_to_space,
    start_as_keras,
)
from srbench.models.csm_sr.released_encoder import FEATURES, EfficientNetFeatures
from srbench.models.interface import ModelError
from srbench.models.layers import InterpolationUpsample, receptive_radius, upsampling_steps

STEM = 128
"""Channels of the first convolution, whatever the width of the branches."""

CONDITION_STEP = 8
"""Enlargement of the conditioning features, which the authors have at an eighth of the LR size."""

CONDITION_ZOOM = 4
"""Enlargement of the LR image before the encoder (stride 32): features then have an eighth of LR's size."""


@dataclass(frozen=True)
class ReleasedSize:
    """How large a released generator is, and whether it takes conditioning features.

    Attributes:
        depth: RRDBs in a branch.
        blocks: dense blocks in an RRDB.
        layers: dense layers in a dense block.
        growth: channels each dense layer adds.
        width: channels of the branches, a multiple of 4.
        conditioned: whether features join the stem; where not, the other two branches start from the first.
        stem: channels of the first convolution.
    """

    depth: int
    blocks: int
    layers: int
    growth: int
    width: int
    conditioned: bool
    stem: int = STEM


RELEASED_SIZES = {
    "released": ReleasedSize(depth=4, blocks=6, layers=6, growth=32, width=128, conditioned=True),
    "released_arch8": ReleasedSize(depth=3, blocks=10, layers=4, growth=4, width=64, conditioned=True),
    "released_arch7": ReleasedSize(depth=2, blocks=5, layers=5, growth=4, width=64, conditioned=False),
}


class ReleasedGraph(nn.Module):
    """The released layers; the classes below say where the conditioning features come from.

    Args:
        scale: 2, 3, 4 or 8; the authors have 4.
        channels: image channels; the authors have 3.
        size: widths and depths.
    """

    size_multiple = 2

    def __init__(self, scale: int, channels: int, size: ReleasedSize) -> None:
        super().__init__()
        self.scale = scale
        self.conditioned = size.conditioned
        self.stem = nn.Conv2d(channels, size.stem, 3, padding=1)
        joined = size.stem + (FEATURES // CONDITION_STEP**2 if size.conditioned else 0)
        self.s1 = _branch(joined, size)
        outer = joined if size.conditioned else size.width
        self.s2 = _branch(outer, size)
        self.s4 = _branch(outer // 4, size)
        self._add_head(scale, channels, size.width)
        start_as_keras(self)
        self.receptive_radius: float = math.inf if size.conditioned else self._radius()

    def _add_head(self, scale: int, channels: int, width: int) -> None:
        self.steps = upsampling_steps(scale)
        merged = width - width % self.steps[0] ** 2
        self.merge = nn.Conv2d(width + width // 4 + width, merged, 3, padding=1)
        widths = [merged, *[width] * (len(self.steps) - 1), channels]
        for index, step in enumerate(self.steps):
            layer = nn.Conv2d(widths[index] // step**2, widths[index + 1], 3, padding=1)
            self.add_module(f"up{index + 1}", layer)
        self.out = nn.Conv2d(channels, channels, 3, padding=1)

    def super_resolve(self, lr: Tensor, features: Tensor | None = None) -> Tensor:
        """From and to [0, 1].

        Args:
            lr: ``(N, C, H, W)``, H and W even.
            features: ``(N, 2560, h, w)`` for a conditioned generator.

        Returns:
            ``(N, C, scale*H, scale*W)``.
        """
        return (self.graph(2 * lr - 1, features) + 1) / 2

    def graph(self, x: Tensor, features: Tensor | None = None) -> Tensor:
        """What the authors call the generator: as :meth:`super_resolve`, from and to [-1, 1].

        Raises:
            ModelError: features are missing, or given to a generator that takes none; a side is odd.
        """
        return torch.tanh(self.before_tanh(x, features))

    def before_tanh(self, x: Tensor, features: Tensor | None = None) -> Tensor:
        """:meth:`graph` without its last step."""
        self._check(x, features)
        shallow = F.relu(self.stem(x))
        if features is not None:
            shallow = torch.cat((shallow, as_condition(features, x.shape[-2:])), dim=1)
        return self._reconstruct(F.relu(self.merge(torch.cat(self._branches(shallow), dim=1))))

    def _branches(self, shallow: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        same = self.s1(shallow)
        source = shallow if self.conditioned else same
        half = depth_to_space(self.s2(F.avg_pool2d(source, 2)), 2)
        double = F.avg_pool2d(self.s4(depth_to_space(source, 2)), 2)
        return same, half, double

    def _reconstruct(self, merged: Tensor) -> Tensor:
        x = merged
        for number, step in enumerate(self.steps, start=1):
            x = self.get_submodule(f"up{number}")(depth_to_space(x, step))
            if number < len(self.steps):
                x = F.relu(x)
        sr: Tensor = self.out(x)
        return sr

    def _check(self, x: Tensor, features: Tensor | None) -> None:
        if (features is not None) != self.conditioned:
            wants = f"(N, {FEATURES}, h, w) features" if self.conditioned else "no features"
            raise ModelError(f"This released generator takes {wants} beside the LR image.")
        if x.shape[-2] % 2 or x.shape[-1] % 2:
            raise ModelError(
                f"The released generator halves its input: LR sides must be even, found "
                f"{tuple(x.shape[-2:])}; pad the image (SRModel.infer does)."
            )

    def _radius(self) -> int:
        """LR pixels to each side: stem, first branch, then the farthest of the others, merging, the head."""
        radius = sum(block.radius for block in self.s1 if isinstance(block, ReversedRRDB))
        # A pixel of the half-size branch has both LR pixels of its cell before it and after it.
        branches = max(2 * radius + 1, math.ceil(radius / 2))
        head = [1 + radius + branches + 1, *[1] * (len(self.steps) - 1), 2]
        return receptive_radius(head, self.steps)


class Unconditioned(ReleasedGraph):
    """A released generator that sees the LR image and no features."""

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` in [0, 1], H and W even, to ``(N, C, scale*H, scale*W)`` in [0, 1]."""
        return self.super_resolve(lr)


class ConditionedOnLR(ReleasedGraph):
    """A released generator whose condition comes from the LR image, as the text of CSM-SR wants it."""

    def __init__(self, scale: int, channels: int, size: ReleasedSize) -> None:
        super().__init__(scale, channels, size)
        self.zoom = InterpolationUpsample("bicubic", CONDITION_ZOOM)
        self.encoder = EfficientNetFeatures()

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` in [0, 1], H and W even, to ``(N, C, scale*H, scale*W)`` in [0, 1]."""
        return self.super_resolve(lr, self.encoder(self.zoom(lr)))


class ConditionedOnHR(ReleasedGraph):
    """A released generator as its authors run it, conditioned on the HR image, which is the answer."""

    def __init__(self, scale: int, channels: int, size: ReleasedSize) -> None:
        super().__init__(scale, channels, size)
        self.encoder = EfficientNetFeatures()

    def forward(self, lr: Tensor, hr: Tensor) -> Tensor:
        """LR, H and W even, and HR of ``scale`` times its sides, both in [0, 1], to an image like HR."""
        return self.super_resolve(lr, self.encoder(hr))


def as_condition(features: Tensor, size: torch.Size) -> Tensor:
    """Conditioning features brought to the size of the LR image.

    Depth to space by 8, then bilinear interpolation, which is an identity where the sides of the LR image are
    multiples of 8.

    Args:
        features: ``(N, 2560, h, w)``.
        size: H and W of the LR image.

    Returns:
        ``(N, 40, H, W)``.
    """
    spread = depth_to_space(features, CONDITION_STEP)
    if spread.shape[-2:] == size:
        return spread
    return F.interpolate(spread, size=size, mode="bilinear", align_corners=False)


def build_released(scale: int, channels: int, variant: str) -> ReleasedGraph:
    """The generator of a variant: one of :data:`RELEASED_SIZES`, or ``oracle``."""
    if variant == "oracle":
        return ConditionedOnHR(scale, channels, RELEASED_SIZES["released"])
    size = RELEASED_SIZES[variant]
    kind: type[ReleasedGraph] = ConditionedOnLR if size.conditioned else Unconditioned
    return kind(scale, channels, size)


def _branch(width_in: int, size: ReleasedSize) -> nn.Sequential:
    widths = [width_in] + [size.width] * (size.depth - 1)
    return nn.Sequential(
        *(ReversedRRDB(one, size.width, size.growth, size.blocks, size.layers) for one in widths)
    )
