"""The denoising half of dSRVAE: a conditional variational autoencoder on patches of fixed size.

Modules are named as in the authors' code (Holmes-Alan/dSRVAE@b5eff18, ``modules.py``, class
``VAE_denoise_vali``), so that their checkpoints load.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from srbench.models.baselines.dsrvae_srsn import ConvBlock, ResnetBlock, initialise
from srbench.models.interface import ModelError
from srbench.models.layers import set_zero

ENLARGEMENT = 16
"""Side of a patch to side of the smallest map of the decoder: two transposed convolutions of stride 4."""

LOG_VARIANCES = (-6.0, 2.0)
"""Limits of the posterior's log variance."""


@dataclass(frozen=True)
class DenoiserSize:
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


class DeconvBlock(nn.Module):
    """Transposed convolution that enlarges four times, and PReLU."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(width_in, width, 6, stride=4, padding=1)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """``(N, width_in, H, W)`` to ``(N, width, 4*H, 4*W)``."""
        out: Tensor = self.act(self.deconv(x))
        return out


class Denoiser(nn.Module):
    """Takes an image of the noise, seen against a decoded latent code, off an LR patch (paper, section 3.1).

    Untrained it finds no noise, where the authors' initial weights find some of standard deviation 1.6.

    Args:
        channels: image channels in and out.
        size: its widths.
    """

    def __init__(self, channels: int, size: DenoiserSize) -> None:
        super().__init__()
        features, dim, planes = size.features, size.dim, size.planes
        self.size = size
        self.LR_feat = nn.Sequential(
            ConvBlock(channels, features), ConvBlock(features, features), ConvBlock(features, dim)
        )
        self.decoder = nn.Sequential(
            ConvBlock(planes, planes, 1, padding=0),
            DeconvBlock(planes, planes),
            DeconvBlock(planes, planes // 2),
            ConvBlock(planes // 2, dim),
        )
        self.SR_recon = nn.Sequential(*(ResnetBlock(dim) for _ in range(size.blocks)))
        noise = nn.Conv2d(dim, channels, 3, padding=1)
        self.SR_mu = nn.Sequential(noise)
        self.VAE_encoder = nn.Sequential(nn.Linear(size.code, size.hidden), nn.Sigmoid())
        self.q_z_mu = nn.Linear(size.hidden, size.z_dim)
        self.q_z_logvar = nn.Sequential(nn.Linear(size.hidden, size.z_dim), nn.Hardtanh(*LOG_VARIANCES))
        self.VAE_decoder = nn.Sequential(
            nn.Linear(size.z_dim, size.hidden), nn.Sigmoid(), nn.Linear(size.hidden, size.code), nn.Sigmoid()
        )
        self.apply(initialise)
        set_zero(noise)

    def forward(self, lr: Tensor, z: Tensor) -> Tensor:
        """Denoise patches given a latent code each.

        Args:
            lr: ``(N, C, H, W)`` in [0, 1], sides of at most ``size.patch``. A smaller patch is set against
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
        side = self.size.feat_size
        smallest = self.VAE_decoder(z).view(-1, self.size.planes, side, side)
        decoded: Tensor = self.decoder(smallest)
        return decoded

    def restore(self, lr: Tensor, decoded: Tensor) -> Tensor:
        """Denoise patches given what their codes decode to; shapes as in :meth:`forward`."""
        height, width = lr.shape[-2:]
        if max(height, width) > self.size.patch:
            raise ModelError(
                f"The dSRVAE denoiser works on patches of at most {self.size.patch} LR pixels a side, found "
                f"{height}x{width}; train on smaller patches, infer with the whole network, which tiles."
            )
        compared = self.LR_feat(lr) - decoded[..., :height, :width]
        noise: Tensor = self.SR_mu(self.SR_recon(compared))
        return lr - noise

    def encode(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the code of a clean patch, each ``(N, z_dim)``.

        Args:
            features: ``(N, size.code)``, of the clean patch.
        """
        hidden = self.VAE_encoder(features)
        return _at_least_float32(self.q_z_mu(hidden)), _at_least_float32(self.q_z_logvar(hidden))


def _at_least_float32(value: Tensor) -> Tensor:
    # The divergence takes differences of codes, of which bfloat16 would leave two digits.
    return value.to(torch.promote_types(value.dtype, torch.float32))
