"""The three stages as data: what each trains, with what, and how the weights move."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from srbench.models import create
from srbench.models.csm_sr.recipe import ADVERSARIAL, EARLY, FLOOR_PSNR, LATE, TARGET_PSNR, MetricFeedback
from srbench.models.losses.perceptual import BLOCKS, VGGContentLoss, VGGContextualLoss
from srbench.models.recipe import BUDGETS, LossTerm, Progress, Recipe, Stage

STRUCTURAL = {"contextual", "gradient", "second_order", "similarity", "texture", "colour"}


def recipe(budget: str = "smoke", variant: str = "tiny", scale: int = 4, pretrained=None) -> Recipe:
    return create("csm_sr", scale=scale, variant=variant).recipe(budget, pretrained)


def terms(stage: Stage) -> dict[str, LossTerm]:
    return {term.name: term for term in stage.terms}


def random_vgg19() -> dict[str, Tensor]:
    state, index, width_in = {}, 0, 3
    for width, convolutions in BLOCKS:
        for _ in range(convolutions):
            state[f"features.{index}.weight"] = torch.zeros(width, width_in, 3, 3)
            state[f"features.{index}.bias"] = torch.zeros(width)
            width_in, index = width, index + 2
        index += 1
    return state


def random_efficientnet() -> dict[str, Tensor]:
    import timm

    return timm.create_model("efficientnet_b0", pretrained=False).state_dict()


@pytest.mark.slow
@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("variant", ["published", "tiny"])
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_every_budget_has_the_three_stages_on_whole_lr_pixels(budget, variant, scale) -> None:
    made = recipe(budget, variant, scale)
    assert [stage.name for stage in made.stages] == ["encoder", "generator", "joint"]
    for stage in made.stages:
        assert stage.patch % scale == 0
        assert stage.patch >= 11 + scale
        assert stage.iterations > 0
    assert "aaivu/CSM-SR" in made.source


@pytest.mark.slow
def test_the_published_lengths_are_one_to_one_to_four() -> None:
    lengths = [stage.iterations for stage in recipe("paper", "published").stages]
    assert lengths[0] == lengths[1]
    assert lengths[2] == 4 * lengths[0]


@pytest.mark.slow
def test_a_smoke_run_of_the_published_network_is_short() -> None:
    made = recipe("smoke", "published")
    assert 40 <= made.iterations <= 80
    assert {stage.batch for stage in made.stages} == {2}
    assert {stage.patch for stage in made.stages} == {96}


@pytest.mark.slow
def test_each_stage_has_its_losses_and_only_the_last_a_discriminator() -> None:
    encoder, generator, joint = recipe().stages
    assert set(terms(encoder)) == {"gradient", "contextual"}
    assert set(terms(generator)) == STRUCTURAL
    assert set(terms(joint)) == STRUCTURAL | {"adversarial"}
    assert [len(stage.discriminators) for stage in (encoder, generator, joint)] == [0, 0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["published", "gradient_branch", "tiny"])
def test_the_stages_train_parts_that_exist_and_together_all_of_the_network(variant) -> None:
    network = create("csm_sr", scale=4, variant=variant).network
    names = [name for name, _ in network.named_parameters()]
    trained = []
    for stage in recipe(variant=variant).stages:
        for prefix in stage.trainable:
            assert any(name.startswith(prefix) for name in names), prefix
        trained.append({name for name in names if name.startswith(stage.trainable)})
    encoder, generator, joint = trained
    assert encoder.isdisjoint(generator)
    assert encoder | generator == set(names)
    assert set(names) - joint == {name for name in names if name.startswith("preview_head.")}


@pytest.mark.slow
def test_weights_go_from_early_to_late_over_the_joint_stage() -> None:
    _, generator, joint = recipe().stages
    start, end = Progress(0, 100), Progress(100, 100)
    for name in STRUCTURAL:
        assert terms(generator)[name].weight_at(end) == EARLY[name]
        assert terms(joint)[name].weight_at(start) == pytest.approx(EARLY[name])
        assert terms(joint)[name].weight_at(end) == pytest.approx(LATE[name])
    adversarial = terms(joint)["adversarial"]
    assert (adversarial.weight_at(start), adversarial.weight_at(end)) == pytest.approx(ADVERSARIAL)
    assert ADVERSARIAL[0] < ADVERSARIAL[1]


def test_feedback_is_a_linear_ramp_before_the_first_validation() -> None:
    weight = MetricFeedback(2.0, 1.0)
    assert [weight(Progress(step, 10)) for step in (0, 5, 10)] == pytest.approx([2.0, 1.5, 1.0])
    assert weight(Progress(5, 10, {"psnr": math.nan})) == pytest.approx(1.5)
    assert weight(Progress(5, 10, {"ssim": 0.99})) == pytest.approx(1.5)


def test_feedback_runs_ahead_of_the_ramp_where_the_metric_does() -> None:
    weight = MetricFeedback(0.0, 1.0)
    halfway = (FLOOR_PSNR + TARGET_PSNR) / 2
    assert weight(Progress(1, 10, {"psnr": halfway})) == pytest.approx(0.5)
    assert weight(Progress(9, 10, {"psnr": halfway})) == pytest.approx(0.9)
    assert weight(Progress(1, 10, {"psnr": TARGET_PSNR + 5})) == pytest.approx(1.0)
    assert weight(Progress(1, 10, {"psnr": math.inf})) == pytest.approx(1.0)
    assert weight(Progress(1, 10, {"psnr": 0.0})) == pytest.approx(0.1)


@pytest.mark.slow
@given(
    step=st.integers(0, 50),
    psnr=st.floats(0, 60),
    better=st.floats(0, 20),
    start=st.floats(0, 2),
    end=st.floats(0, 2),
)
def test_feedback_stays_between_its_ends_and_follows_the_metric(step, psnr, better, start, end) -> None:
    weight = MetricFeedback(start, end)
    now = weight(Progress(step, 50, {"psnr": psnr}))
    then = weight(Progress(step, 50, {"psnr": psnr + better}))
    assert min(start, end) - 1e-9 <= now <= max(start, end) + 1e-9
    assert abs(then - end) <= abs(now - end) + 1e-9


@pytest.mark.slow
def test_without_weights_on_disk_the_notes_say_what_is_missing() -> None:
    made = recipe("short")
    assert made.initialise is None
    notes = " ".join(made.notes)
    assert "VGG-19 weights not on disk" in notes
    assert "EfficientNet-B0 weights not on disk" in notes
    assert "LR image only" in notes


@pytest.mark.slow
def test_with_weights_on_disk_the_features_are_vggs_and_the_encoder_starts_from_imagenet() -> None:
    states = {"vgg19": random_vgg19(), "efficientnet_b0": random_efficientnet()}
    model = create("csm_sr", scale=4, variant="tiny")
    made = model.recipe("short", states.get)
    assert "not on disk" not in " ".join(made.notes)
    encoder, generator, joint = made.stages
    assert isinstance(terms(encoder)["contextual"].loss, VGGContextualLoss)
    assert isinstance(terms(generator)["perceptual"].loss, VGGContentLoss)
    assert set(terms(joint)) == STRUCTURAL | {"adversarial", "perceptual"}
    assert made.initialise is not None
    made.initialise(model.network)
    stem = model.network.encoder.backbone.conv_stem.weight
    torch.testing.assert_close(stem, states["efficientnet_b0"]["conv_stem.weight"])


@pytest.mark.slow
def test_a_smoke_run_does_without_vgg_and_says_so() -> None:
    asked: list[str] = []
    made = recipe("smoke", pretrained=lambda name: asked.append(name))
    assert asked == ["efficientnet_b0"]
    assert "no VGG-19" in " ".join(made.notes)


@pytest.mark.slow
def test_the_discriminator_fits_the_channels() -> None:
    for channels in (1, 3):
        made = create("csm_sr", scale=4, channels=channels, variant="tiny").recipe("smoke")
        discriminator = made.stages[-1].discriminators[0].build()
        assert isinstance(discriminator, nn.Module)
        assert len(discriminator(torch.rand(1, channels, 64, 64))) == 3
