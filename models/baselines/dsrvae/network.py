"""dSRVAE as it is evaluated: every LR patch is denoised and enlarged, the HR patches are blended.

Modules are named as in the authors' code (Holmes-Alan/dSRVAE@b5eff18, ``modules.py``: ``VAE_SR``,
``VAE_denoise_vali``), so that their checkpoints load.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass
from itertools import product
from statistics import NormalDist

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.layers import set_zero
from srbench.utils.errors import ModelError


class ConvPReLU(nn.Module):
    """Convolution and PReLU with one slope for all channels; ``size`` is the kernel's side."""

    def __init__(self, width_in: int, width: int, size: int = 3, stride: int = 1, padding: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width, size, stride, padding)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.conv(x))
        return out


class ResnetBlock(nn.Module):
    """``r + conv(relu(conv(r)))`` with ``r = relu(x)``.

    The shortcut carries the rectified input: the authors' first ReLU works in place, so that what they add
    is no longer ``x``. Their weights were trained with that.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        rectified = torch.relu(x)
        residual: Tensor = self.conv2(torch.relu_(self.conv1(rectified)))
        return rectified + residual


class SRSN(nn.Module):
    """Bicubic enlargement, then a short residual network at HR size; no skip from image to image.

    The enlargement is PyTorch's (a = -3/4, edge pixels repeated), which the published weights expect.

    Args:
        scale: magnification.
        channels: image channels in and out.
        blocks: residual blocks.
        features: their width.
    """

    def __init__(self, scale: int, channels: int, blocks: int = 4, features: int = 64) -> None:
        super().__init__()
        self.scale = scale
        self.LR_feat = ConvPReLU(channels, features)
        self.feat = nn.Sequential(*(ResnetBlock(features) for _ in range(blocks)))
        self.recon = nn.Sequential(nn.Conv2d(features, channels, 3, padding=1))
        self.receptive_radius = reach(scale, 2 * blocks + 2)
        self.apply(initialise)

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` in [0, 1] to ``(N, C, scale*H, scale*W)``, not clamped."""
        enlarged = F.interpolate(lr, scale_factor=self.scale, mode="bicubic", align_corners=False)
        sr: Tensor = self.recon(self.feat(self.LR_feat(enlarged)))
        return sr


def initialise(module: nn.Module) -> None:
    """Draw weights as He et al. 2015 (arXiv 1502.01852) do; no bias."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def reach(scale: int, radius: int) -> int:
    """LR pixels to each side that convolutions of this ``radius`` on a bicubic enlargement depend on."""
    taps = [bicubic_taps(pixel, scale) for pixel in range(-radius, scale + radius)]
    return max(-min(first for first, _ in taps), max(last for _, last in taps))


def bicubic_taps(pixel: int, scale: int) -> tuple[int, int]:
    """The first and last LR pixel that bicubic interpolation weighs for an enlarged pixel."""
    below, beyond = divmod(2 * pixel + 1 - scale, 2 * scale)
    # Where an enlarged pixel lies on an LR pixel the neighbours weigh nothing.
    return (below - 1, below + 2) if beyond else (below, below)


ENLARGEMENT = 16
"""Side of a patch to side of the smallest map of the decoder: two transposed convolutions of stride 4."""

LOG_VARIANCES = (-6.0, 2.0)
"""Limits of the posterior's log variance."""


@dataclass(frozen=True)
class DenoiserConfig:
    """Widths of the denoiser; the defaults are the published ones.

    Attributes:
        features: of the first two convolutions on the LR image.
        dim: of what is restored from, on the LR side and on the decoder's.
        planes: of the decoder's smallest map.
        feat_size: side of that map; a patch is 16 times as large.
        hidden: of the fully connected layers.
        z_dim: of the latent code.
        blocks: residual blocks.
    """

    features: int = 64
    dim: int = 32
    planes: int = 128
    feat_size: int = 8
    hidden: int = 4096
    z_dim: int = 512
    blocks: int = 3

    @property
    def patch(self) -> int:
        """Side of a patch in LR pixels."""
        return ENLARGEMENT * self.feat_size

    @property
    def code(self) -> int:
        """Numbers in the decoder's smallest map, and features of the clean patch that the encoder takes."""
        return self.planes * self.feat_size**2


class DeconvPReLU(nn.Module):
    """Transposed convolution that enlarges four times, and PReLU."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(width_in, width, 6, stride=4, padding=1)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.deconv(x))
        return out


class Denoiser(nn.Module):
    """Takes an image of the noise, seen against a decoded latent code, off an LR patch (paper, section 3.1).

    Untrained it finds no noise, where the authors' initial weights find some of standard deviation 1.6.

    Args:
        channels: image channels in and out.
        config: its widths.
    """

    def __init__(self, channels: int, config: DenoiserConfig) -> None:
        super().__init__()
        features, dim, planes = config.features, config.dim, config.planes
        self.config = config
        self.LR_feat = nn.Sequential(
            ConvPReLU(channels, features), ConvPReLU(features, features), ConvPReLU(features, dim)
        )
        self.decoder = nn.Sequential(
            ConvPReLU(planes, planes, 1, padding=0),
            DeconvPReLU(planes, planes),
            DeconvPReLU(planes, planes // 2),
            ConvPReLU(planes // 2, dim),
        )
        self.SR_recon = nn.Sequential(*(ResnetBlock(dim) for _ in range(config.blocks)))
        noise = nn.Conv2d(dim, channels, 3, padding=1)
        self.SR_mu = nn.Sequential(noise)
        self.VAE_encoder = nn.Sequential(nn.Linear(config.code, config.hidden), nn.Sigmoid())
        self.q_z_mu = nn.Linear(config.hidden, config.z_dim)
        self.q_z_logvar = nn.Sequential(nn.Linear(config.hidden, config.z_dim), nn.Hardtanh(*LOG_VARIANCES))
        self.VAE_decoder = nn.Sequential(
            nn.Linear(config.z_dim, config.hidden),
            nn.Sigmoid(),
            nn.Linear(config.hidden, config.code),
            nn.Sigmoid(),
        )
        self.apply(initialise)
        set_zero(noise)

    def forward(self, lr: Tensor, z: Tensor) -> Tensor:
        """Denoise patches given a latent code each.

        Args:
            lr: ``(N, C, H, W)`` in [0, 1], sides of at most ``config.patch``. A smaller patch is set against
                the top left part of what the code decodes to.
            z: ``(N, z_dim)``, or ``(1, z_dim)`` for the same code everywhere.

        Returns:
            ``(N, C, H, W)``, not clamped.

        Raises:
            ModelError: the patch is too large.
        """
        return self.restore(lr, self.decode(z))

    def decode(self, z: Tensor) -> Tensor:
        """``(N, z_dim)`` to ``(N, dim, patch, patch)``."""
        side = self.config.feat_size
        smallest = self.VAE_decoder(z).view(-1, self.config.planes, side, side)
        decoded: Tensor = self.decoder(smallest)
        return decoded

    def restore(self, lr: Tensor, decoded: Tensor) -> Tensor:
        """Denoise patches given what their codes decode to; shapes as in :meth:`forward`."""
        height, width = lr.shape[-2:]
        if max(height, width) > self.config.patch:
            raise ModelError(
                f"The dSRVAE denoiser works on patches of at most {self.config.patch} LR pixels a side, "
                f"found {height}x{width}; train on smaller patches, infer with the whole network, which "
                "tiles."
            )
        compared = self.LR_feat(lr) - decoded[..., :height, :width]
        noise: Tensor = self.SR_mu(self.SR_recon(compared))
        return lr - noise

    def encode(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the code of a clean patch, each ``(N, z_dim)``.

        Args:
            features: ``(N, config.code)``, of the clean patch.
        """
        hidden = self.VAE_encoder(features)
        return _at_least_float32(self.q_z_mu(hidden)), _at_least_float32(self.q_z_logvar(hidden))


def _at_least_float32(value: Tensor) -> Tensor:
    # The divergence takes differences of codes, of which bfloat16 would leave two digits.
    return value.to(torch.promote_types(value.dtype, torch.float32))


FAINTEST = 0.1
"""Weight of a patch's outermost pixel, before the weights of all patches are normalised."""


@dataclass(frozen=True)
class Span:
    """Where patches lie along one axis: ``[start, stop)`` in LR pixels, and the weights of its HR pixels."""

    start: int
    stop: int
    weights: Tensor

    @property
    def lr(self) -> slice:
        """Its LR pixels."""
        return slice(self.start, self.stop)

    def hr(self, scale: int) -> slice:
        """Its HR pixels."""
        return slice(scale * self.start, scale * self.stop)


def patch_starts(length: int, patch: int, overlap: int) -> Counter[int]:
    """First LR pixel of every patch along an axis, and how often a patch lies there.

    The last patch is shifted back to the border. Where it then covers the one before it, the authors run
    that patch twice and it weighs double; here it runs once.
    """
    stride = patch - overlap
    return Counter(min(start, max(length - patch, 0)) for start in range(0, length, stride))


def spans(length: int, patch: int, overlap: int, scale: int, like: Tensor) -> list[Span]:
    """Patches along an axis of ``length`` LR pixels, with weights that sum to 1 at every HR pixel.

    Args:
        length: LR pixels; fewer than ``patch`` make one patch of their own.
        patch: LR pixels of a patch, more than twice ``overlap``.
        overlap: LR pixels that neighbours share, over which they fade.
        scale: magnification.
        like: gives the weights' dtype and device.
    """
    side = min(patch, length)
    profile = _profile(side * scale, overlap * scale, like) if side == patch else like.new_ones(side * scale)
    starts = patch_starts(length, patch, overlap)
    total = like.new_zeros(length * scale)
    for start, times in starts.items():
        total[start * scale : (start + side) * scale] += times * profile
    return [
        Span(start, start + side, times * profile / total[start * scale : (start + side) * scale])
        for start, times in starts.items()
    ]


def _profile(length: int, fade: int, like: Tensor) -> Tensor:
    """Trapezium: rises over ``fade`` pixels, stays at 1, falls likewise."""
    rising = torch.linspace(FAINTEST, 1.0, fade, dtype=like.dtype, device=like.device)
    return torch.cat([rising, like.new_ones(length - 2 * fade), rising.flip(0)])


OVERLAP = 8
"""LR pixels that neighbouring patches share."""

PATCHES_AT_ONCE = 4
"""Run together; at 512x512 HR pixels every layer of the published network takes 64 MiB for each of them."""

CODE_SEED = 20200611


class DSRVAE(nn.Module):
    """Denoiser and super-resolution network in sequence.

    The authors draw a latent code from N(0, 1) for every patch, so that their output is random. Here one
    code, drawn once from N(0, 1), serves every patch of every image: the output depends on the image alone.

    An image with a side shorter than a patch is one patch along that side; the authors refuse it.

    Args:
        denoiser: for patches of its own size.
        srsn: LR to SR, with a ``scale``.
        scale: magnification.
    """

    z: Tensor
    receptive_radius = math.inf  # the grid of patches hangs on the corners of the image
    not_exported = "it cuts an image into patches, as many as its size asks for (the variant srsn does not)"

    def __init__(self, denoiser: Denoiser, srsn: nn.Module, scale: int) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.srsn = srsn
        self.scale = scale
        # Trained weights go with these numbers, and torch does not promise the same ones in its next release.
        uniform, normal = random.Random(CODE_SEED), NormalDist()
        code = [normal.inv_cdf(uniform.random()) for _ in range(denoiser.config.z_dim)]
        self.register_buffer("z", torch.tensor([code]), persistent=False)

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` in [0, 1] to ``(N, C, scale*H, scale*W)``, not clamped."""
        patch = self.denoiser.config.patch
        decoded = self.denoiser.decode(self.z.to(lr.dtype))
        if max(lr.shape[-2:]) <= patch:
            return self._enhance(lr, decoded)
        rows, columns = (spans(side, patch, OVERLAP, self.scale, like=lr) for side in lr.shape[-2:])
        return self._blend(lr, list(product(rows, columns)), decoded)

    def _enhance(self, lr: Tensor, decoded: Tensor) -> Tensor:
        sr: Tensor = self.srsn(self.denoiser.restore(lr, decoded))
        return sr

    def _blend(self, lr: Tensor, patches: list[tuple[Span, Span]], decoded: Tensor) -> Tensor:
        images, channels, height, width = lr.shape
        sr = lr.new_zeros(images, channels, self.scale * height, self.scale * width)
        at_once = max(PATCHES_AT_ONCE // images, 1)
        for first in range(0, len(patches), at_once):
            chunk = patches[first : first + at_once]
            cut = torch.cat([lr[..., row.lr, column.lr] for row, column in chunk])
            pieces = self._enhance(cut, decoded).chunk(len(chunk))
            for piece, (row, column) in zip(pieces, chunk, strict=True):
                weights = row.weights[:, None] * column.weights
                sr[..., row.hr(self.scale), column.hr(self.scale)] += piece * weights
        return sr
