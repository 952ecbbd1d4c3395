"""Patches that a stage cannot learn from are refused before anything is read, drawn or written."""

from __future__ import annotations

import functools
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.training_fakes import GAN, PIXEL, PlainSR, Textures, TinySR, discriminator_loss, register_network
from srbench import models
from srbench.models import registry
from srbench.models.recipe import (
    DiscriminatorSpec,
    Recipe,
    RecipeRequest,
    Stage,
    default_recipe,
    nothing_pretrained,
)
from srbench.training import trial
from srbench.utils.errors import SrbenchError

REGISTERED = registry.MODELS
SCALE = 4

PATCHES: dict[tuple[str, str], tuple[int, int | None, str]] = {
    ("srgan", "msrresnet"): (60, 64, "adversarial"),
    ("srgan", "small5"): (16, None, ""),
    ("srgan", "tiny"): (40, 52, "adversarial"),
    ("esrgan", "paper"): (60, 64, "adversarial"),
    ("esrgan", "tiny"): (60, 64, "adversarial"),
    ("spsr", "tiny"): (60, 64, "fusion"),
    ("swift_srgan", "tiny"): (16, None, ""),
    ("dsrvae", "full"): (68, 60, "restore"),
    ("dsrvae", "tiny"): (68, 60, "restore"),
    ("swinir", "real"): (32, 36, "regression"),
    ("csm_sr", "published"): (44, 8, "generator"),
    ("csm_sr", "gradient_branch"): (44, 8, "generator"),
    ("csm_sr", "tiny"): (44, 8, "generator"),
    ("csm_sr", "released_arch7"): (56, 52, "released"),
}
"""HR patches that all stages of the smoke recipe take at x4, that some stage does not, and the first such."""

ALIKE = {
    ("srgan", "small5_prelu"): ("srgan", "small5"),
    ("srgan", "srresnet"): ("srgan", "tiny"),
    ("spsr", "paper"): ("spsr", "tiny"),
    ("swift_srgan", "paper"): ("swift_srgan", "tiny"),
    **{("csm_sr", name): ("csm_sr", "released_arch7") for name in ("released", "released_arch8", "oracle")},
}
"""Variants that learn against discriminators of the same layers, on equal terms, as a smaller one tried."""


@pytest.fixture
def registered(monkeypatch):
    """The models of srbench beside the fake dataset."""
    monkeypatch.setattr(registry, "MODELS", REGISTERED)


def smoke_recipe(name: str, variant: str) -> tuple[models.SRModel, Recipe]:
    model = models.create(name, scale=SCALE, variant=variant)
    return model, model.recipe("smoke", nothing_pretrained)


def game(stage: Stage) -> tuple[object, ...]:
    """What decides which patches a stage takes, the network aside."""
    with torch.device("meta"):
        judges = {
            spec.name: [type(layer).__name__ for layer in spec.build().modules()]
            for spec in stage.discriminators
        }
    return stage.patch, [term.name for term in stage.terms], judges


@pytest.mark.slow
def test_every_recipe_with_a_discriminator_is_tried_here(registered):
    games = {}
    for card in models.list_models():
        for variant in card.variants if card.trainable else ():
            scale = SCALE if SCALE in card.scales else card.scales[0]
            request = RecipeRequest("smoke", scale, 1, variant, nothing_pretrained)
            stages = REGISTERED.get(card.name).recipe(request).stages
            if any(stage.discriminators for stage in stages):
                games[card.name, variant] = stages
    assert games.keys() == PATCHES.keys() | ALIKE.keys()
    for one, other in ALIKE.items():
        assert [game(stage) for stage in games[one]] == [game(stage) for stage in games[other]]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variant"), PATCHES)
def test_a_patch_that_no_stage_minds_is_taken(registered, name, variant):
    model, recipe = smoke_recipe(name, variant)
    trial.check_patches(model, recipe.replace_stages(patch=PATCHES[name, variant][0]), recipe)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({name for name, variant in PATCHES if variant == "tiny"}))
def test_what_is_taken_can_be_trained(registered, train, name):
    stages = smoke_recipe(name, "tiny")[1].stages
    patch = PATCHES[name, "tiny"][0]
    result = train(
        name,
        f"train.patch={patch}",
        f"train.iterations={len(stages)}",
        "train.batch=2",
        "train.validation_images=1",
        variant="tiny",
        budget="smoke",
        scale=SCALE,
    )
    assert result.iterations == len(stages)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variant"), [key for key, (_, wrong, _) in PATCHES.items() if wrong])
def test_a_patch_that_a_stage_cannot_take_is_refused_before_the_first_step(
    registered, train, progress, tmp_path, monkeypatch, name, variant
):
    def drawn(*arguments: object) -> None:
        raise AssertionError("pixels were read")

    monkeypatch.setattr(Textures, "pixels", drawn)
    _, wrong, stage = PATCHES[name, variant]
    with pytest.raises(SrbenchError) as refused:
        train(
            name,
            f"train.patch={wrong}",
            variant=variant,
            budget="smoke",
            scale=SCALE,
            out=tmp_path / "run",
        )
    message = str(refused.value)
    assert f"stage '{stage}'" in message
    assert f"--set stages.{stage}.patch=" in message
    assert not (tmp_path / "run").exists()
    assert progress.events == []


def alone(network: nn.Module) -> models.SRModel:
    """A model of no registry, at x2."""
    card = models.ModelCard("alone", "Alone", "regression", "", 2026, (2,), ("only",))
    return models.SRModel(network, card, 2, 1, "only", default_recipe, dict)


class OneSize(nn.Sequential):
    """Judges images of one size only, and does not say so."""

    def __init__(self, side: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(side**2, 1))


def register_fixed_game(name: str = "one_size", side: int = GAN.patch) -> None:
    """A model whose second stage takes the patches of its recipe only."""
    judge = DiscriminatorSpec("judge", functools.partial(OneSize, side), discriminator_loss)
    stage = replace(GAN, terms=(PIXEL.terms[0],), discriminators=(judge,), patch=side)
    register_network(name, PlainSR, lambda request: Recipe((PIXEL, stage), "tests"))


def test_the_stage_the_discriminator_its_sizes_and_the_setting_are_named(train, tmp_path):
    register_fixed_game()
    with pytest.raises(SrbenchError) as refused:
        train("one_size", "train.patch=20", out=tmp_path / "run")
    (line,) = str(refused.value).splitlines()[1:]
    for part in ("judge", "stage 'gan'", "16", "20", "--set stages.gan.patch=16"):
        assert part in line
    assert isinstance(refused.value.__cause__, RuntimeError)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "words", "advice"),
    [
        ("plain", ["train.patch=200"], "--set train.patch=70"),
        ("one_size", ["train.patch=200"], "--set train.patch=16"),
        ("one_size", ["stages.gan.patch=200"], "--set train.patch=16 --set stages.gan.patch=16"),
        ("too_large", [], "larger images"),
    ],
)
def test_images_smaller_than_a_crop_name_one_that_they_hold_and_the_stages_take(train, model, words, advice):
    """The largest of the images is 70 px wide."""
    register_fixed_game()
    register_network("plain", PlainSR, lambda request: Recipe((PIXEL,), "tests"))
    register_fixed_game("too_large", 96)
    with pytest.raises(SrbenchError, match=advice):
        train(model, *words)


@pytest.mark.slow
def test_what_is_advised_helps(train):
    register_fixed_game()
    assert train("one_size", "train.patch=20", "stages.gan.patch=16").iterations == 15


def test_sizes_are_found_behind_a_view_that_is_wider_than_the_image():
    spec = DiscriminatorSpec(
        "judge",
        functools.partial(OneSize, 18),
        lambda network, inputs: network(F.pad(inputs.hr, (1, 1, 1, 1))).mean(),
    )
    recipe = Recipe((replace(GAN, terms=(PIXEL.terms[0],), discriminators=(spec,)),), "tests")
    with pytest.raises(SrbenchError, match=r"judge of stage 'gan' takes HR patches of 16 pixels, found 30"):
        trial.check_patches(alone(PlainSR(2, 1)), recipe.replace_stages(patch=30), recipe)


def test_stages_of_the_recipes_own_size_are_not_tried(monkeypatch):
    recipe = Recipe((PIXEL, GAN), "tests")
    monkeypatch.setattr(trial, "Trial", None)
    trial.check_patches(None, recipe.replace_stages(batch=2), recipe)
    with pytest.raises(TypeError):
        trial.check_patches(None, recipe.replace_stages(patch=20), recipe)


@pytest.mark.slow
def test_a_trial_changes_nothing_of_the_training(train, tmp_path, monkeypatch):
    tried = train("tiny_gan", "train.patch=20", out=tmp_path / "tried").weights.read_bytes()
    monkeypatch.setattr(sys.modules["srbench.training.train"], "check_patches", lambda *arguments: None)
    assert train("tiny_gan", "train.patch=20", out=tmp_path / "plain").weights.read_bytes() == tried


def test_the_network_and_the_random_streams_are_left_alone():
    model, recipe = alone(TinySR(2, 1)), Recipe((PIXEL, GAN), "tests")
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    state = torch.get_rng_state()
    trial.check_patches(model, recipe.replace_stages(patch=20), recipe)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.network.state_dict().items())
