"""dSRVAE: a variational autoencoder takes the noise off the LR image, a small network enlarges what is left.

Liu, Siu, Wang, Li, Cani and Chan, "Unsupervised real image super-resolution via generative variational
autoencoder", CVPRW 2020, arXiv 2004.12811. Modules are named as in the authors' code
(Holmes-Alan/dSRVAE@b5eff18), so that their checkpoints load. Departures: one fixed latent code instead of one
drawn for every patch, any magnification instead of x4 (the network interpolates first), and the training.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from srbench.models.base import ReleasedWeights
from srbench.models.baselines.dsrvae.network import DSRVAE, SRSN, Denoiser
from srbench.models.baselines.dsrvae.recipe import CONFIGS, dsrvae_recipe
from srbench.models.layers import BicubicResidual
from srbench.models.registry import register_model

UNUSED = ("denoise_feat.", "SR_final.")
"""Layers of the authors' training denoiser whose output nobody reads."""

SRSN_PARTS = ("LR_feat.conv.", "LR_feat.act.", "feat.", "recon.")
DENOISER_MARKS = ("VAE_decoder.0.weight", "SR_mu.0.weight")

RELEASED = (
    ReleasedWeights(
        "VAE_SR.pth",
        variant="srsn",
        scale=4,
        url="https://github.com/Holmes-Alan/dSRVAE",
        direct=False,
        note="trained behind the denoiser on NTIRE 2020 images; VAE_denoiser.pth of the same folder is the "
        "denoiser, and the tensors of both in one file are the variant full",
    ),
)


def from_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' tensors by the names of ``full``.

    A denoiser's (trained or for testing) get its prefix, and those of the super-resolution network in the
    same file theirs. The super-resolution network by itself is the variant ``srsn`` as it is.
    """
    if not all(mark in state for mark in DENOISER_MARKS):
        return dict(state)
    return {
        f"srsn.{name}" if name.startswith(SRSN_PARTS) else f"denoiser.{name}": tensor
        for name, tensor in state.items()
        if not name.startswith(UNUSED)
    }


@register_model(
    title="dSRVAE",
    family="variational",
    paper="https://arxiv.org/abs/2004.12811",
    publication="Unsupervised Real Image Super-Resolution via Generative Variational AutoEncoder",
    authors=(
        "Liu, Zhi-Song and Siu, Wan-Chi and Wang, Li-Wen and Li, Chu-Tak and Cani, Marie-Paule and Chan, "
        "Yui-Lam"
    ),
    year=2020,
    scales=(2, 3, 4, 8),
    variants=("full", "srsn", "tiny"),
    recipe=dsrvae_recipe,
    summary="Removes noise with a variational autoencoder before it enlarges; srsn is the second half alone.",
    released=RELEASED,
    convert=from_authors,
)
def dsrvae(scale: int, channels: int, variant: str) -> nn.Module:
    """Denoiser and SRSN (``full``), SRSN alone (``srsn``), or both small on the bicubic image (``tiny``).

    ``srsn`` is the one to compare where LR images carry no noise.
    """
    if variant == "srsn":
        return SRSN(scale, channels)
    denoiser = Denoiser(channels, CONFIGS[variant])
    if variant == "full":
        return DSRVAE(denoiser, SRSN(scale, channels), scale)
    body = SRSN(scale, channels, blocks=2, features=16)
    last = body.recon[0]
    assert isinstance(last, nn.Conv2d)
    return DSRVAE(denoiser, BicubicResidual(body, last, scale), scale)
