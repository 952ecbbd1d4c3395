"""What dSRVAE's stages compute and pay for: noisy patches, the divergence of codes, the losses of the SRSN.

Paper: arXiv 2004.12811, section 3; code: Holmes-Alan/dSRVAE@b5eff18, ``main_denoiser.py``, ``main_GAN.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.baselines.dsrvae_pipeline import DSRVAE
from srbench.models.losses.perceptual import VGGFeatures
from srbench.models.recipe import Batch, LossInputs, Outputs

CRITIC = "critic"
VGG_LAYER = "conv5_4"

INNER_TAP, OUTER_TAP = 0.59375, -0.09375
"""Keys' kernel with a = -3/4 at distances 1/2 and 3/2."""


@dataclass(frozen=True)
class ShotNoise:
    """Counting statistics of electrons, and of the amplifier behind them, on images in [0, 1].

    The strength of an image is uniform in [0, 1]; at 1 a white pixel counts ``electrons`` and the amplifier
    adds a standard deviation of ``readout``. Counts are taken as normal, which from some dozens on they are.
    """

    electrons: float = 100.0
    readout: float = 0.01

    def __call__(self, clean: Tensor) -> Tensor:
        """A noisy copy of ``(N, C, H, W)``, drawn from torch's global generator, in [0, 1]."""
        strength = torch.rand(len(clean), 1, 1, 1, dtype=clean.dtype, device=clean.device)
        deviation = (clean.clamp_min(0) / self.electrons + self.readout**2).sqrt()
        return (clean + strength * deviation * torch.randn_like(clean)).clamp(0, 1)


@dataclass(frozen=True)
class DenoisingForward:
    """First stage: denoise a patch with a code sampled from what the encoder makes of the clean one.

    Gives ``denoised``, the code ``z``, and mean ``mu`` and log variance ``logvar`` it was sampled with;
    no ``sr``, since nothing is enlarged.
    """

    features: nn.Module
    noise: ShotNoise

    def __call__(self, network: nn.Module, batch: Batch) -> Outputs:
        """The outputs for a batch, of which only the LR images are used."""
        denoiser = cast(DSRVAE, network).denoiser
        mu, logvar = denoiser.encode(self.features(batch.lr))
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        return {"denoised": denoiser(self.noise(batch.lr), z), "z": z, "mu": mu, "logvar": logvar}


@dataclass(frozen=True)
class RestorationForward:
    """Second stage: ``sr`` of the denoised patch and ``sr_clean`` of the clean one.

    The denoiser is a fixed function here, and sees codes drawn from the prior as the authors draw them.
    """

    noise: ShotNoise

    def __call__(self, network: nn.Module, batch: Batch) -> Outputs:
        """The outputs for a batch."""
        pipeline = cast(DSRVAE, network)
        with torch.no_grad():
            z = batch.lr.new_empty(len(batch.lr), pipeline.denoiser.size.z_dim).normal_()
            denoised = pipeline.denoiser(self.noise(batch.lr), z).to(batch.lr.dtype)
        sr, sr_clean = pipeline.srsn(torch.cat([denoised, batch.lr])).chunk(2)
        return {"sr": sr, "sr_clean": sr_clean}


def denoising_error(inputs: LossInputs) -> Tensor:
    """Mean absolute difference between denoised and clean patch."""
    return F.l1_loss(inputs.outputs["denoised"], inputs.batch.lr)


def divergence(inputs: LossInputs) -> Tensor:
    """``log q(z|x) - log p(z)`` at the sampled codes, summed over their entries and over the batch.

    The posterior q is a diagonal normal, the prior p the standard one. In the mean over samples this is the
    Kullback-Leibler divergence (Kingma and Welling 2013, arXiv 1312.6114, eq. 8); a single value may be
    negative.
    """
    z, mu, logvar = (inputs.outputs[name] for name in ("z", "mu", "logvar"))
    log_posterior = -0.5 * (logvar + (z - mu).square() / logvar.exp())
    log_prior = -0.5 * z.square()
    return (log_posterior - log_prior).sum()


def cycle_error(inputs: LossInputs) -> Tensor:
    """``(|down(sr) - lr| + |sr_clean - sr|) / 2``: SR must look like LR when shrunk, and not depend on noise.

    ``down`` is bicubic without antialiasing, the authors' ``nn.Upsample(scale_factor=1/scale)``.
    """
    shrunk = shrink(inputs.sr, inputs.batch.scale)
    return (F.l1_loss(shrunk, inputs.batch.lr) + F.l1_loss(inputs.outputs["sr_clean"], inputs.sr)) / 2


def fidelity(inputs: LossInputs) -> Tensor:
    """Mean absolute difference from HR, of ``sr`` and of ``sr_clean``."""
    return torch.stack([F.l1_loss(fake, inputs.hr) for fake in _fakes(inputs)]).mean()


class VGGCycleLoss(nn.Module):
    """The same of VGG-19 features: ``(|down(phi(sr)) - phi(lr)| + |phi(sr_clean) - phi(sr)|) / 2``.

    Features are those before the last activation. The authors' script detaches them, so that the term is
    reported but teaches nothing; here it has its gradient, as the paper means it.

    Args:
        state: torchvision's VGG-19 state dict.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.vgg = VGGFeatures(state, (VGG_LAYER,))

    def forward(self, inputs: LossInputs) -> Tensor:
        """The loss of one batch, a scalar; LR patches of 16 pixels or more."""
        of_sr = self.vgg(inputs.sr)[VGG_LAYER]
        of_clean = self.vgg(inputs.outputs["sr_clean"])[VGG_LAYER]
        with torch.no_grad():
            of_lr = self.vgg(inputs.batch.lr)[VGG_LAYER]
        size = of_lr.shape[-2:]
        shrunk = shrink(of_sr, inputs.batch.scale)[..., : size[0], : size[1]]
        return (F.l1_loss(shrunk, of_lr) + F.l1_loss(of_clean, of_sr)) / 2


def fool_the_critic(inputs: LossInputs) -> Tensor:
    """``(-log D(sr) - log D(sr_clean)) / 3``, means over the batch; without ``sr_clean`` ``-log D(sr) / 2``.

    The remaining part of the authors' mean is the critic's answer to real patches, which the generator
    cannot change; it is left out, its share of the mean is kept.
    """
    critic = inputs.critics[CRITIC]
    judged = [cross_entropy(critic(fake), real=True) for fake in _fakes(inputs)]
    return torch.stack(judged).sum() / (len(judged) + 1)


def tell_apart(critic: nn.Module, inputs: LossInputs) -> Tensor:
    """Mean of ``-log D(ref)``, ``-log(1 - D(sr))`` and, where there is one, ``-log(1 - D(sr_clean))``.

    ``ref`` are the HR patches of the batch. The critic judges images one by one, so nothing pairs them.
    """
    judged = [cross_entropy(critic(fake), real=False) for fake in _fakes(inputs)]
    return torch.stack([cross_entropy(critic(inputs.hr), real=True), *judged]).mean()


def _fakes(inputs: LossInputs) -> list[Tensor]:
    return [inputs.outputs[name] for name in ("sr", "sr_clean") if name in inputs.outputs]


def cross_entropy(logits: Tensor, *, real: bool) -> Tensor:
    """Mean of ``-log D`` for images said to be real, of ``-log(1 - D)`` for the others."""
    return F.softplus(-logits if real else logits).mean()


def shrink(image: Tensor, scale: int) -> Tensor:
    """Bicubic interpolation (a = -3/4) at every ``scale``-th place, without antialiasing.

    Equal to ``F.interpolate(image, scale_factor=1/scale, mode="bicubic")``, whose gradient adds up in
    random order on CUDA.

    Args:
        image: ``(N, C, H, W)``, sides that are multiples of ``scale``.
        scale: 2 or more.
    """
    return _shrink_last(_shrink_last(image, scale).transpose(-1, -2), scale).transpose(-1, -2)


def _shrink_last(image: Tensor, scale: int) -> Tensor:
    if scale % 2:
        return image[..., scale // 2 :: scale]
    # Half-way between two pixels. Only at scale 2 do the four taps reach beyond the border.
    if scale == 2:
        image = torch.cat([image[..., :1], image, image[..., -1:]], dim=-1)
    first = max(scale // 2 - 2, 0)
    last = image.shape[-1] - first - 3
    taps = [image[..., first + tap : last + tap : scale] for tap in range(4)]
    return INNER_TAP * (taps[1] + taps[2]) + OUTER_TAP * (taps[0] + taps[3])
