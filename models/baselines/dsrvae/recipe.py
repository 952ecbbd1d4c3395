"""How dSRVAE is trained: the denoiser, then the super-resolution network behind it, with a discriminator.

The authors learn from the unpaired images of the NTIRE 2020 challenge, noisy ones and clean ones. Here the
clean LR patches are the benchmark's, and noise is put on them. The second stage of ``full`` keeps the
published losses, which never compare SR with its own HR. ``srsn`` leaves the denoiser away, for LR images
that have no noise, and learns from pairs. ``tiny`` does both stages, and sees pairs in the second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.base import pad_to_multiple
from srbench.models.baselines.dsrvae.network import DSRVAE, ConvPReLU, DenoiserConfig, initialise
from srbench.models.losses.adversarial import DISCRIMINATOR, cross_entropy
from srbench.models.losses.perceptual import BLOCKS, VGGContentLoss, VGGFeatures, vgg_layers
from srbench.models.recipe import (
    Batch,
    LossInputs,
    LossTerm,
    Outputs,
    PixelLoss,
    Recipe,
    RecipeRequest,
    Stage,
    StageBudget,
    StepRate,
)
from srbench.utils.errors import ModelError

POOLINGS = (4, 2, 1)
"""Sides of the two max poolings: the published one, and those for smaller patches."""


class DSRVAEDiscriminator(nn.Module):
    """Judges square patches of one size.

    Args:
        channels: image channels.
        patch: side of a patch in HR pixels (512 as published), a multiple of ``8 * pool**2``.
        features: width of the first convolution; the last has eight times as many.
        pool: side of each of the two max poolings.
        hidden: width of the hidden linear layer.

    Raises:
        ModelError: the patch cannot be reduced that far.
    """

    def __init__(
        self, channels: int, patch: int = 512, features: int = 64, pool: int = 4, hidden: int = 100
    ) -> None:
        super().__init__()
        reduction = 8 * pool**2
        if patch < reduction or patch % reduction:
            raise ModelError(
                f"With poolings of {pool} the dSRVAE discriminator judges patches whose side is a "
                f"multiple of {reduction}, found {patch}; use such an HR patch, or smaller poolings."
            )
        self.input_conv = ConvPReLU(channels, features)
        layers: list[nn.Module] = [nn.MaxPool2d(pool), nn.BatchNorm2d(features)]
        layers += [ConvPReLU(features, features), nn.MaxPool2d(pool), nn.BatchNorm2d(features)]
        for width_in, width in ((features, 2), (2 * features, 4), (4 * features, 8)):
            layers += [
                ConvPReLU(width_in, width * features),
                ConvPReLU(width * features, width * features, 4, stride=2),
                nn.BatchNorm2d(width * features),
            ]
        self.conv_blocks = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(8 * features * (patch // reduction) ** 2, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )
        self.apply(initialise)

    def forward(self, image: Tensor) -> Tensor:
        """``(N, C, patch, patch)`` to logits ``(N, 1)``, positive for what looks real."""
        logits: Tensor = self.classifier(self.conv_blocks(self.input_conv(image)).flatten(1))
        return logits


def largest_pool(patch: int) -> int:
    """The largest poolings with which a discriminator can judge patches of this side.

    Raises:
        ModelError: the side is no multiple of 8.
    """
    for pool in POOLINGS:
        if patch and patch % (8 * pool**2) == 0:
            return pool
    raise ModelError(
        f"The dSRVAE discriminator needs HR patches whose side is a multiple of 8, found {patch}."
    )


DEEPEST = "pool5"
"""The authors take ``vgg19().features[:37]``, to the end of the last max pooling."""


class VGGCode(nn.Module):
    """VGG-19 down to its last pooling, flattened; smaller patches are mirrored to the full size.

    Args:
        state: torchvision's VGG-19 state dict.
        patch: side of the LR patches, a multiple of 32.
    """

    def __init__(self, state: Mapping[str, Tensor], patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.vgg = VGGFeatures(state, (DEEPEST,))

    @torch.no_grad()
    def forward(self, clean: Tensor) -> Tensor:
        """``(N, 1 or 3, H, W)`` in [0, 1] to ``(N, 512 * (patch/32)**2)``.

        Raises:
            ModelError: the patch is too large.
        """
        check_patch(clean, self.patch)
        features: Tensor = self.vgg(pad_to_multiple(clean, self.patch))[DEEPEST]
        return features.flatten(1)


class Thumbnail(nn.Module):
    """The patch as ``side x side`` grey pixels: a code that costs nothing."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, clean: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(clean.mean(dim=1), self.side).flatten(1)


def untrained_vgg19(seed: int = 0) -> dict[str, Tensor]:
    """Weights for VGG-19's convolutions as He et al. 2015 (arXiv 1502.01852) draw them, no bias.

    Always the same for a seed; torch's global generator is left alone. Random convolutions keep enough of an
    image to tell patches apart, which is what the encoder needs of them.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    state: dict[str, Tensor] = {}
    width_in = 3
    for name, index in vgg_layers().items():
        if not name.startswith("conv"):
            continue
        width = BLOCKS[int(name[4]) - 1][0]
        weight = torch.randn(width, width_in, 3, 3, generator=generator, device="cpu")
        state[f"features.{index}.weight"] = weight.mul_(math.sqrt(2 / (9 * width_in)))
        state[f"features.{index}.bias"] = torch.zeros(width, device="cpu")
        width_in = width
    return state


def check_patch(lr: Tensor, patch: int) -> None:
    """Refuse LR patches that are too large for the fully connected layers.

    Raises:
        ModelError: a side exceeds ``patch``.
    """
    if max(lr.shape[-2:]) > patch:
        raise ModelError(
            f"dSRVAE learns to denoise patches of at most {patch} LR pixels a side, found "
            f"{lr.shape[-2]}x{lr.shape[-1]}; train on smaller ones (--set stages.denoise.patch=N, in HR "
            "pixels). Inference takes images of any size."
        )


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
        pipeline = cast(DSRVAE, network)
        with torch.no_grad():
            z = batch.lr.new_empty(len(batch.lr), pipeline.denoiser.config.z_dim).normal_()
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


def restoration_generator_loss(inputs: LossInputs) -> Tensor:
    """``(-log D(sr) - log D(sr_clean)) / 3``, means over the batch; without ``sr_clean`` ``-log D(sr) / 2``.

    The remaining part of the authors' mean is the discriminator's answer to real patches, which the generator
    cannot change; it is left out, its share of the mean is kept.
    """
    discriminator = inputs.discriminators[DISCRIMINATOR]
    judged = [cross_entropy(discriminator(fake), real=True) for fake in _fakes(inputs)]
    return torch.stack(judged).sum() / (len(judged) + 1)


def restoration_discriminator_loss(discriminator: nn.Module, inputs: LossInputs) -> Tensor:
    """Mean of ``-log D(ref)``, ``-log(1 - D(sr))`` and, where there is one, ``-log(1 - D(sr_clean))``.

    ``ref`` are the HR patches of the batch. The discriminator judges images one by one, so nothing pairs
    them.
    """
    judged = [cross_entropy(discriminator(fake), real=False) for fake in _fakes(inputs)]
    return torch.stack([cross_entropy(discriminator(inputs.hr), real=True), *judged]).mean()


def _fakes(inputs: LossInputs) -> list[Tensor]:
    return [inputs.outputs[name] for name in ("sr", "sr_clean") if name in inputs.outputs]


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


SOURCE = (
    "arXiv 2004.12811, section 3, and Holmes-Alan/dSRVAE@b5eff18 main_denoiser.py (5000 epochs) and "
    "main_GAN.py (1000)"
)
THUMBNAIL = 8
"""Side of what the small variant's encoder sees."""

CONFIGS: Mapping[str, DenoiserConfig] = {
    "full": DenoiserConfig(),
    "tiny": DenoiserConfig(8, 8, planes=THUMBNAIL**2 // 4, feat_size=2, hidden=32, z_dim=16, blocks=1),
}
NOISE = ShotNoise()


DENOISING: Mapping[tuple[str, str], StageBudget] = {
    ("smoke", "full"): StageBudget(10, 2, 16),
    ("smoke", "tiny"): StageBudget(100, 4, 16, 2e-3),
    ("short", "full"): StageBudget(4_000, 16, 128),
    ("short", "tiny"): StageBudget(2_000, 16, 32, 1e-3),
    ("paper", "full"): StageBudget(65_000, 64, 128),
    ("paper", "tiny"): StageBudget(65_000, 64, 32),
}
RESTORATION: Mapping[tuple[str, str], StageBudget] = {
    ("smoke", "full"): StageBudget(10, 2, 16, 1e-4),
    ("smoke", "srsn"): StageBudget(40, 4, 16, 2e-4),
    ("smoke", "tiny"): StageBudget(300, 4, 16, 1e-3),
    ("short", "full"): StageBudget(6_000, 6, 64),
    ("short", "srsn"): StageBudget(8_000, 8, 64),
    ("short", "tiny"): StageBudget(6_000, 16, 32, 1e-3),
    ("paper", "full"): StageBudget(134_000, 6, 128),
    ("paper", "srsn"): StageBudget(134_000, 6, 128),
    ("paper", "tiny"): StageBudget(134_000, 6, 32),
}
"""Budget and variant to the stage; LR patches. A published epoch counts as 800 patches (see the notes)."""

DISCRIMINATOR_WIDTHS: Mapping[str, tuple[int, int]] = {"full": (64, 100), "srsn": (64, 100), "tiny": (8, 32)}
"""Width of the discriminator's first convolution, and of its hidden layer."""

EPOCH = (
    "An epoch counts as 800 patches, one from each clean image of NTIRE 2020, track 1 (DIV2K); the authors' "
    "scripts leave its length to the folder."
)
NOISY_PAIRS = (
    f"Noisy patches are the LR patches with shot noise ({NOISE.electrons:g} electrons in a white pixel at "
    f"its strongest, uniform strength from none) and read-out noise ({NOISE.readout:g}) added; the clean "
    "ones are the LR patches themselves. The authors learn from unpaired images of NTIRE 2020."
)
UNSUPERVISED = (
    "The published losses of the second stage see HR only through the discriminator: SR is held to its LR by "
    "bicubic reduction without antialiasing, so fidelity to HR is not what is optimised."
)
SUPERVISED = (
    "The denoiser is left out and the network learns from pairs of LR and HR, where the authors know no HR."
)


def dsrvae_recipe(request: RecipeRequest) -> Recipe:
    """Two stages, denoise and restore, or for ``srsn`` one; published, or shorter ones of the same kind."""
    make = {"full": _full_recipe, "srsn": _srsn_recipe, "tiny": _tiny_recipe}[request.variant]
    recipe = make(request)
    return replace(recipe, notes=(EPOCH, *recipe.notes)) if request.budget == "paper" else recipe


def _full_recipe(request: RecipeRequest) -> Recipe:
    state = request.pretrained("vgg19")
    features = VGGCode(untrained_vgg19() if state is None else state, CONFIGS["full"].patch)
    terms = [LossTerm("cycle", cycle_error)]
    if state is None:
        note = (
            "VGG-19 weights not on disk: the encoder sees features of a VGG-19 with fixed random weights, "
            "and the second stage has no VGG term."
        )
    elif request.budget == "smoke":
        note = "smoke budget: no VGG term (it costs more than the network)."
    else:
        note = "The VGG term has its gradient; the authors' script detaches its features, to no effect."
        terms.append(LossTerm("vgg", VGGCycleLoss(state)))
    return Recipe(
        stages=(_denoising(request, features), _restoration(request, terms)),
        source=SOURCE,
        notes=(NOISY_PAIRS, UNSUPERVISED, note),
    )


def _tiny_recipe(request: RecipeRequest) -> Recipe:
    terms = [LossTerm("l1", fidelity)]
    return Recipe(
        stages=(_denoising(request, Thumbnail(THUMBNAIL)), _restoration(request, terms)),
        source=SOURCE,
        notes=(
            NOISY_PAIRS,
            "Small variant: the encoder sees a thumbnail instead of VGG-19 features, and the second stage "
            "holds SR to HR (L1) instead of to its LR, so that seconds of training show.",
        ),
    )


def _srsn_recipe(request: RecipeRequest) -> Recipe:
    """L1 to HR; with VGG-19 at hand the paper's perceptual and adversarial terms beside it."""
    terms = [LossTerm("l1", PixelLoss(F.l1_loss))]
    state = None if request.budget == "smoke" else request.pretrained("vgg19")
    if state is None:
        stage = _stage("restore", request, RESTORATION[request.budget, "srsn"], terms)
        return Recipe((stage,), SOURCE, (SUPERVISED, "No VGG-19 weights used: L1 alone, no discriminator."))
    terms.append(LossTerm("vgg", VGGContentLoss(state, {VGG_LAYER: 1.0}, F.l1_loss)))
    stage = _against_discriminator("restore", request, terms)
    return Recipe((stage,), SOURCE, (SUPERVISED, "L1, VGG-19 conv5_4 and adversarial terms."))


def _denoising(request: RecipeRequest, features: nn.Module) -> Stage:
    terms = [LossTerm("l1", denoising_error), LossTerm("divergence", divergence)]
    stage = _stage("denoise", request, DENOISING[request.budget, request.variant], terms)
    return replace(stage, trainable=("denoiser.",), forward=DenoisingForward(features, NOISE))


def _restoration(request: RecipeRequest, terms: list[LossTerm]) -> Stage:
    stage = _against_discriminator("restore", request, terms)
    return replace(stage, trainable=("srsn.",), forward=RestorationForward(NOISE))


def _against_discriminator(name: str, request: RecipeRequest, terms: list[LossTerm]) -> Stage:
    """With the adversarial term at the published weight; the discriminator learns as the network does."""
    adversarial = LossTerm("adversarial", restoration_generator_loss, weight=1e-4)
    stage = _stage(name, request, RESTORATION[request.budget, request.variant], [*terms, adversarial])
    features, hidden = DISCRIMINATOR_WIDTHS[request.variant]
    pool = largest_pool(stage.patch)
    build = partial(DSRVAEDiscriminator, request.channels, stage.patch, features, pool=pool, hidden=hidden)
    return stage.against(build, restoration_discriminator_loss)


def _stage(name: str, request: RecipeRequest, budget: StageBudget, terms: list[LossTerm]) -> Stage:
    """Adam, the second half at a tenth of the rate."""
    patch = budget.patch
    if request.budget == "smoke":
        # At x8 as many HR pixels as at x4, since that is where time goes.
        patch = min(patch, 64 // request.scale)
    return budget.stage(name, *terms, patch=patch * request.scale, schedule=StepRate(at=(0.5,), gamma=0.1))
