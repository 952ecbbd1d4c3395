"""How dSRVAE is trained: the denoiser first, then the super-resolution network behind it, against a critic.

The authors learn from the unpaired images of the NTIRE 2020 challenge, noisy ones and clean ones. Here the
clean LR patches are the benchmark's, and noise is put on them. The second stage of ``full`` keeps the
published losses, which never compare SR with its own HR. ``srsn`` leaves the denoiser away, for LR images
that have no noise, and learns from pairs. ``tiny`` does both stages, and sees pairs in the second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.baselines.dsrvae_critic import Critic as CriticNetwork
from srbench.models.baselines.dsrvae_critic import largest_pool
from srbench.models.baselines.dsrvae_denoiser import DenoiserSize
from srbench.models.baselines.dsrvae_features import Thumbnail, VGGCode, untrained_vgg19
from srbench.models.baselines.dsrvae_losses import (
    CRITIC,
    VGG_LAYER,
    DenoisingForward,
    RestorationForward,
    ShotNoise,
    VGGCycleLoss,
    cycle_error,
    denoising_error,
    divergence,
    fidelity,
    fool_the_critic,
    tell_apart,
)
from srbench.models.interface import RecipeRequest
from srbench.models.losses.perceptual import VGGContentLoss
from srbench.models.recipe import Critic, LossTerm, Optimiser, PixelLoss, Recipe, Stage, StepRate

SOURCE = (
    "arXiv 2004.12811, section 3, and Holmes-Alan/dSRVAE@b5eff18 main_denoiser.py (5000 epochs) and "
    "main_GAN.py (1000)"
)
THUMBNAIL = 8
"""Side of what the small variant's encoder sees."""

SIZES: Mapping[str, DenoiserSize] = {
    "full": DenoiserSize(),
    "tiny": DenoiserSize(8, 8, planes=THUMBNAIL**2 // 4, feat_size=2, hidden=32, z_dim=16, blocks=1),
}
NOISE = ShotNoise()
ADVERSARIAL_WEIGHT = 1e-4


@dataclass(frozen=True)
class Phase:
    """Iterations, batch, LR side of a patch and learning rate of a stage."""

    iterations: int
    batch: int
    patch: int
    rate: float = 1e-4


DENOISING: Mapping[tuple[str, str], Phase] = {
    ("smoke", "full"): Phase(10, 2, 16),
    ("smoke", "tiny"): Phase(100, 4, 16, 2e-3),
    ("short", "full"): Phase(4_000, 16, 128),
    ("short", "tiny"): Phase(2_000, 16, 32, 1e-3),
    ("paper", "full"): Phase(65_000, 64, 128),
    ("paper", "tiny"): Phase(65_000, 64, 32),
}
RESTORATION: Mapping[tuple[str, str], Phase] = {
    ("smoke", "full"): Phase(10, 2, 16, 1e-4),
    ("smoke", "srsn"): Phase(40, 4, 16, 2e-4),
    ("smoke", "tiny"): Phase(300, 4, 16, 1e-3),
    ("short", "full"): Phase(6_000, 6, 64),
    ("short", "srsn"): Phase(8_000, 8, 64),
    ("short", "tiny"): Phase(6_000, 16, 32, 1e-3),
    ("paper", "full"): Phase(134_000, 6, 128),
    ("paper", "srsn"): Phase(134_000, 6, 128),
    ("paper", "tiny"): Phase(134_000, 6, 32),
}
"""Budget and variant to the phase. An epoch of the published length counts as 800 patches (see the notes)."""

CRITIC_SIZE: Mapping[str, tuple[int, int]] = {"full": (64, 100), "srsn": (64, 100), "tiny": (8, 32)}
"""Width of the critic's first convolution, and of its hidden layer."""

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
    "The published losses of the second stage see HR only through the critic: SR is held to its LR by "
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
    features = VGGCode(untrained_vgg19() if state is None else state, SIZES["full"].patch)
    terms = [LossTerm("cycle", cycle_error)]
    if state is not None and request.budget != "smoke":
        terms.append(LossTerm("vgg", VGGCycleLoss(state)))
    return Recipe(
        stages=(_denoising(request, features), _restoration(request, terms)),
        source=SOURCE,
        notes=(NOISY_PAIRS, UNSUPERVISED, *_vgg_notes(request, state)),
    )


def _vgg_notes(request: RecipeRequest, state: Mapping[str, Tensor] | None) -> tuple[str, ...]:
    if state is None:
        return (
            "VGG-19 weights not on disk: the encoder sees features of a VGG-19 with fixed random weights, "
            "and the second stage has no VGG term.",
        )
    if request.budget == "smoke":
        return ("smoke budget: no VGG term (it costs more than the network).",)
    return ("The VGG term has its gradient; the authors' script detaches its features, to no effect.",)


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
        return Recipe((stage,), SOURCE, (SUPERVISED, "No VGG-19 weights used: L1 alone, no critic."))
    terms.append(LossTerm("vgg", VGGContentLoss(state, {VGG_LAYER: 1.0}, F.l1_loss)))
    stage = _against_critic("restore", request, terms)
    return Recipe((stage,), SOURCE, (SUPERVISED, "L1, VGG-19 conv5_4 and adversarial terms."))


def _denoising(request: RecipeRequest, features: nn.Module) -> Stage:
    terms = [LossTerm("l1", denoising_error), LossTerm("divergence", divergence)]
    stage = _stage("denoise", request, DENOISING[request.budget, request.variant], terms)
    return replace(stage, trainable=("denoiser.",), forward=DenoisingForward(features, NOISE))


def _restoration(request: RecipeRequest, terms: list[LossTerm]) -> Stage:
    stage = _against_critic("restore", request, terms)
    return replace(stage, trainable=("srsn.",), forward=RestorationForward(NOISE))


def _against_critic(name: str, request: RecipeRequest, terms: list[LossTerm]) -> Stage:
    """With the adversarial term at the published weight; the critic learns as the network does."""
    adversarial = LossTerm("adversarial", fool_the_critic, ADVERSARIAL_WEIGHT)
    stage = _stage(name, request, RESTORATION[request.budget, request.variant], [*terms, adversarial])
    features, hidden = CRITIC_SIZE[request.variant]
    build = partial(
        CriticNetwork, request.channels, stage.patch, features, pool=largest_pool(stage.patch), hidden=hidden
    )
    critic = Critic(CRITIC, build, tell_apart, stage.optimiser, stage.schedule)
    return replace(stage, critics=(critic,))


def _stage(name: str, request: RecipeRequest, phase: Phase, terms: list[LossTerm]) -> Stage:
    """Adam, the second half at a tenth of the rate."""
    return Stage(
        name=name,
        iterations=phase.iterations,
        batch=phase.batch,
        patch=_lr_patch(request, phase) * request.scale,
        terms=tuple(terms),
        optimiser=Optimiser("adam", lr=phase.rate),
        schedule=StepRate(at=(0.5,), gamma=0.1),
    )


def _lr_patch(request: RecipeRequest, phase: Phase) -> int:
    """As planned; a smoke run at x8 sees as many HR pixels as one at x4, since that is where time goes."""
    return min(phase.patch, 64 // request.scale) if request.budget == "smoke" else phase.patch
