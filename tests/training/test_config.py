"""The run configuration: YAML, overrides, errors, and what it does to a recipe."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.training_fakes import GAN, PIXEL
from srbench.config import TrainConfig, apply
from srbench.models.recipe import Clip, Recipe
from srbench.utils.errors import SrbenchError

RECIPE = Recipe((PIXEL, GAN), "tests")
RUN = {"model": "tiny_sr", "dataset": "textures", "scale": 2}


def load_config(path=None, overrides=()):
    return TrainConfig.of(RUN, path, overrides)


def applied(*overrides: str) -> Recipe:
    return apply(load_config(overrides=overrides), RECIPE)


def test_empty_configuration_leaves_the_recipe_alone():
    assert applied() == RECIPE


def test_exponents_without_a_point_are_numbers_in_files_and_overrides(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("train:\n  lr: 1e-4\n")
    assert load_config(path).train.lr == 1e-4
    assert load_config(path, ["train.lr=5e-5", "train.iterations=1e3"]).train.lr == 5e-5
    assert load_config(overrides=["train.iterations=1e3"]).train.iterations == 1000


def test_a_saved_configuration_reads_back_equal(tmp_path):
    config = load_config(overrides=["train.amp=none", "stages.gan.clip=norm:0.5", "train.ema=0"])
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    assert load_config(path) == config


def test_every_mistake_is_reported_at_once_with_near_misses(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("train:\n  batchs: 3\n  lr: fast\n  amp: fp16\nstagse: {}\nstages: {gan: {clip: hard}}\n")
    with pytest.raises(SrbenchError) as raised:
        load_config(path)
    message = str(raised.value)
    assert str(path) in message
    assert "train.batchs: unknown setting (did you mean 'batch'?)" in message
    assert "train.lr:" in message and "'fast'" in message
    assert "train.amp:" in message and "'none', 'bf16' or 'auto'" in message
    assert "stagse: unknown setting (did you mean 'stages'?)" in message
    assert "stages.gan.clip:" in message


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.lr", "write it like"),
        ("lr=1", "write it like"),
        ("train..lr=1", "write it like"),
        ("train.lr.x=1", "no settings inside"),
        ("train.lr=[", "not YAML"),
        ("train.lr=nan", "train.lr"),
        ("train.lr=0", "greater than 0"),
        ("train.batch=2.5", "train.batch"),
        ("train.compile=perhaps", "train.compile"),
    ],
)
def test_malformed_overrides_say_what_is_wrong(override, words):
    with pytest.raises(SrbenchError, match=words.replace(".", r"\.")):
        load_config(overrides=["train.lr=1", override] if override == "train.lr.x=1" else [override])


@pytest.mark.parametrize("text", ["[1, 2]", "train: {lr: ["])
def test_a_file_that_is_no_configuration(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(SrbenchError, match=r"config\.yaml"):
        load_config(path)


def test_an_unreadable_file_is_named(tmp_path):
    with pytest.raises(SrbenchError, match=r"nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("option", ["discriminator_lr", "critic_lr"])  # the second in older files
def test_train_settings_reach_every_stage_and_stage_settings_win(option):
    recipe = applied("train.lr=3e-3", "train.batch=6", "stages.gan.lr=2e-3", f"stages.gan.{option}=1e-5")
    first, second = recipe.stages
    assert (first.optimiser.lr, second.optimiser.lr) == (3e-3, 2e-3)
    assert (first.batch, second.batch) == (6, 6)
    assert second.discriminators[0].optimiser == replace(GAN.discriminators[0].optimiser, lr=1e-5)
    assert first.optimiser.betas == PIXEL.optimiser.betas


def test_clip_and_ema_can_be_set_and_switched_off():
    recipe = applied("stages.pixel.clip=adjustable:0.4", "stages.gan.clip=none", "train.ema=0")
    assert recipe.stages[0].clip == Clip("adjustable", 0.4)
    assert recipe.stages[1].clip is None
    assert [stage.ema for stage in recipe.stages] == [None, None]


def test_an_unknown_stage_names_the_stages_there_are():
    with pytest.raises(SrbenchError, match=r"(?s)'gna'.*did you mean 'gan'.*pixel, gan"):
        applied("stages.gna.lr=1e-3")


@pytest.mark.slow
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=6), st.integers(1, 10**6))
def test_total_iterations_keep_the_proportions(lengths, total):
    stages = tuple(
        replace(PIXEL, name=f"s{index}", iterations=length) for index, length in enumerate(lengths)
    )
    config = TrainConfig.model_validate({**RUN, "train": {"iterations": total}})
    if total < len(lengths):
        with pytest.raises(SrbenchError, match="at least one"):
            apply(config, Recipe(stages, "tests"))
        return
    shared = [stage.iterations for stage in apply(config, Recipe(stages, "tests")).stages]
    assert sum(shared) == total and min(shared) >= 1
    for length, count in zip(lengths, shared, strict=True):
        exact = total * length / sum(lengths)
        # A share may be rounded, and give up what the stages too short for one iteration got.
        assert count == 1 or abs(count - exact) < 1 + len(lengths)


def test_a_stage_keeps_its_own_iterations_beside_a_total():
    recipe = applied("train.iterations=150", "stages.gan.iterations=5")
    assert [stage.iterations for stage in recipe.stages] == [80, 5]
