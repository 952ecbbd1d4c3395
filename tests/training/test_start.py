"""Fine-tuning: what is taken of earlier weights, what is learned then, what is said of their origin."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from training.test_training_resume import EVERY, Stopper

from helpers.training_fakes import TinySR, one_stage
from srbench import models, weights
from srbench.config import TrainConfig
from srbench.models.base import ReleasedWeights
from srbench.models.recipe import Clip, Recipe
from srbench.models.registry import register_model
from srbench.training import TrainingInterrupted
from srbench.training.checkpoint import load_checkpoint
from srbench.training.start import discriminators_of, find_start, last_stage, load_start
from srbench.utils.errors import SrbenchError
from srbench.utils.files import sha256_file
from srbench.utils.paths import runs_folder, weights_folder


def request(**fields):
    return TrainConfig(**{"model": "tiny_gan", "dataset": "textures", **fields})


def manifest_of(folder: Path):
    return json.loads((folder / "manifest.json").read_text())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Where the one run of all tests is kept."""
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def parent(train, trained):
    """A finished run of two stages, the second against a discriminator, at x2; a copy in the test's home."""
    if not any(trained.iterdir()):
        result = train("tiny_gan", seed=1)
        result.folder.rename(trained / result.folder.name)
    (folder,) = trained.iterdir()
    shutil.copytree(folder, runs_folder() / folder.name)
    return train("tiny_gan", seed=1, resume=True)


def test_the_network_and_its_discriminator_start_where_the_run_ended(parent):
    model = models.create("tiny_gan", scale=2)
    start = find_start(request(start=str(parent.folder), scale=2))
    notes = load_start(start, model)
    stored = weights.read_state(parent.weights)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in model.network.state_dict().items())
    assert (
        start.sha256[:12] in notes[0] and parent.folder.name in notes[0] and "trained on textures" in notes[0]
    )
    states, _ = discriminators_of(start, model.recipe("smoke"))
    saved = load_checkpoint(parent.folder)["state"]["critics"]["discriminator"]["network"]
    assert states["discriminator"].keys() == saved.keys()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in states["discriminator"].items())


@pytest.mark.slow
def test_one_step_moves_a_discriminator_by_a_step_from_its_parents(train, parent, tmp_path):
    result = train("tiny_gan", "train.iterations=1", start=parent.folder, out=tmp_path / "run")
    name = "body.3.weight"
    before, after = (
        load_checkpoint(folder)["state"]["critics"]["discriminator"]["network"][name]
        for folder in (parent.folder, result.folder)
    )
    # Two steps of Adam, each by the rate at most; a new one would be elsewhere altogether.
    assert 0 < (after - before).abs().max() <= 2.1e-4


def test_without_the_checkpoint_of_those_weights_a_discriminator_begins_anew(parent, tmp_path):
    moved = tmp_path / "w.safetensors"
    moved.write_bytes(parent.weights.read_bytes())
    recipe = models.create("tiny_gan", scale=2).recipe("smoke")
    states, notes = discriminators_of(find_start(request(start=str(moved), scale=2)), recipe)
    assert states == {} and len(notes) == 1
    best = parent.folder / "best.safetensors"
    header = weights.read_header(best)
    weights.save(best, weights.read_state(best), replace(header, iterations=3))
    assert discriminators_of(find_start(request(start=str(best))), recipe)[0] == {}
    one = discriminators_of(find_start(request(start=str(moved))), Recipe(recipe.stages[:1], ""))
    assert one == ({}, [])


@pytest.mark.slow
def test_the_last_stage_is_learned_at_a_tenth_of_its_rates(train, parent):
    recipe = manifest_of(train("tiny_gan", start=parent.folder).folder)["recipe"]
    (stage,) = recipe["stages"]
    assert (stage["name"], stage["iterations"], stage["optimiser"]["lr"]) == ("gan", 7, pytest.approx(1e-4))
    assert stage["discriminators"][0]["optimiser"]["lr"] == pytest.approx(1e-4)
    assert stage["clip"]["value"] == 1.0


@pytest.mark.slow
def test_rates_that_are_set_are_taken_as_they_are(train, parent, tmp_path):
    told = ("stages.gan.lr=3e-3", "train.discriminator_lr=2e-3", "train.iterations=2")
    (stage,) = manifest_of(train("tiny_gan", *told, start=parent.folder).folder)["recipe"]["stages"]
    assert (stage["iterations"], stage["optimiser"]["lr"]) == (2, 3e-3)
    assert stage["discriminators"][0]["optimiser"]["lr"] == 2e-3
    with pytest.raises(SrbenchError, match="pixel"):  # a stage that is not trained
        train("tiny_gan", "stages.pixel.lr=1e-3", start=parent.folder, out=tmp_path / "other")


def test_a_bound_on_the_step_itself_shrinks_with_the_rate(parent):
    recipe = models.create("tiny_gan", scale=2).recipe("smoke")
    vdsr = replace(recipe.stages[0], clip=Clip("adjustable", 1e-3))
    (stage,) = last_stage(Recipe((vdsr,), "")).stages
    assert stage.clip == Clip("adjustable", pytest.approx(1e-4))


@pytest.mark.slow
def test_lineage_is_in_header_manifest_and_configuration(train, parent, tmp_path):
    child = train("tiny_gan", start=parent.folder, seed=2)
    grandchild = train("tiny_gan", start=child.folder.name, dataset="textures:salted")
    header = weights.read_header(grandchild.weights)
    digests = [sha256_file(run.weights) for run in (child, parent)]
    assert [ancestor.sha256 for ancestor in header.lineage] == digests
    assert [ancestor.name for ancestor in header.lineage] == [child.folder.name, parent.folder.name]
    assert [(a.header.dataset, a.header.seed) for a in header.lineage] == [("textures", 2), ("textures", 1)]
    assert [training.dataset for training in header.trainings] == ["textures:salted", "textures", "textures"]
    manifest = manifest_of(grandchild.folder)
    assert [ancestor["sha256"] for ancestor in manifest["lineage"]] == digests
    assert all(any(digest[:12] in note for note in header.notes) for digest in digests)
    assert f"from_{digests[0][:8]}" in grandchild.folder.name
    text = (grandchild.folder / "config.yaml").read_text()
    assert digests[0][:12] in text and yaml.safe_load(text)["start"] == str(child.weights)
    again = train(
        None, config=grandchild.folder / "config.yaml", out=tmp_path / "again", dataset=None, scale=None
    )
    assert again.weights.read_bytes() == grandchild.weights.read_bytes()


@pytest.mark.slow
def test_variant_scale_and_channels_are_those_of_the_weights(train):
    parent = train("tiny_sr", dataset="textures:colour", variant="other", scale=2)
    child = train("tiny_sr", start=parent.folder, scale=None)
    header = weights.read_header(child.weights)
    assert header.network == ("tiny_sr", "other", 2, 3) and header.dataset == "textures"


@pytest.mark.slow
def test_colour_weights_are_converted_for_a_grey_network(train):
    parent = train("tiny_sr", dataset="textures:colour")
    model = models.create("tiny_sr", scale=2)
    notes = load_start(find_start(request(model="tiny_sr", start=str(parent.folder), channels=1)), model)
    assert len(notes) == 2
    colour = models.create("tiny_sr", scale=2, channels=3)
    weights.load(colour, parent.weights)
    lr = torch.rand(1, 1, 12, 11)
    torch.testing.assert_close(model.infer(lr), colour.infer(lr), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_another_magnification_takes_the_tensors_of_equal_shape(train, parent):
    model = models.create("tiny_gan", scale=4)
    fresh = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    notes = load_start(find_start(request(start=str(parent.folder), scale=4)), model)
    stored = weights.read_state(parent.weights)
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(tensor, fresh[name] if name.startswith("tail.") else stored[name])
    assert "tail.weight, tail.bias" in notes[-1] and "head" not in notes[-1]
    assert weights.read_header(train("tiny_gan", start=parent.folder, scale=4).weights).scale == 4


@pytest.mark.slow
def test_weights_of_others_say_what_is_known_of_them(train, tmp_path):
    state = models.create("tiny_sr", scale=2).network.state_dict()
    path = tmp_path / "theirs.pth"
    torch.save(state, path)

    def published(scale, channels, variant):
        return TinySR(scale, channels)

    entry = ReleasedWeights(
        "known.pth", "only", 2, "https://example.org/known.pth", 1, tensors_sha256=sha256_file(path)
    )
    register_model(
        title="P", family="regression", paper="", year=1, scales=(2,), variants=("only",), recipe=one_stage,
        released=(entry,),
    )(published)  # fmt: skip
    header = weights.read_header(train("published", start=path).weights)
    (ancestor,) = header.lineage
    assert (ancestor.trained_on, ancestor.source) == ("photographs", entry.url)
    assert ancestor.header.network == ("published", "only", 2, 1) and ancestor.header.dataset == ""
    assert any("photographs" in note for note in header.notes)
    unknown = find_start(request(model="tiny_sr", variant="plain", scale=2, start=str(path)))
    assert unknown.lineage[0].trained_on == "photographs"  # by its content, whatever it is called
    torch.save({name: tensor + 1 for name, tensor in state.items()}, path)
    unknown = find_start(request(model="tiny_sr", variant="plain", scale=2, start=str(path)))
    assert unknown.lineage[0].trained_on == "unknown data"
    with pytest.raises(SrbenchError, match=r"srbench weights fetch known\.pth"):
        train("published", start="known.pth")
    weights_folder().mkdir(parents=True)
    path.rename(weights_folder() / "known.pth")
    assert find_start(request(model="published", start="known.pth")).path.name == "known.pth"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"model": "tiny_sr"}, "tiny_gan"),
        ({"variant": "other"}, "variant other"),
        ({"start": "nowhere"}, "nowhere"),
    ],
)
def test_what_does_not_fit_is_refused(parent, fields, problem):
    with pytest.raises(SrbenchError, match=problem):
        find_start(request(**{"start": str(parent.folder), **fields}))


def test_a_run_without_finished_weights_is_refused(train):
    with pytest.raises(TrainingInterrupted):
        train("tiny_sr", *EVERY, progress=Stopper(4))
    (folder,) = runs_folder().iterdir()
    with pytest.raises(SrbenchError, match="no finished weights"):
        train("tiny_sr", start=folder.name)


def test_grey_weights_cannot_start_a_colour_network(train, parent):
    with pytest.raises(SrbenchError, match="--channels"):
        train("tiny_gan", start=parent.folder, channels=3)


@pytest.mark.slow
def test_stopped_and_resumed_it_ends_with_the_same_bytes(train, parent, tmp_path):
    straight = train("tiny_gan", *EVERY, start=parent.folder, out=tmp_path / "straight")
    with pytest.raises(TrainingInterrupted):
        train("tiny_gan", *EVERY, start=parent.folder, out=tmp_path / "run", progress=Stopper(3))
    other = tmp_path / "other.safetensors"
    state = weights.read_state(parent.weights)
    weights.save(other, state, replace(weights.read_header(parent.weights), seed=9))
    for changed in ({"start": other}, {}):
        with pytest.raises(SrbenchError, match="start: was '"):
            train("tiny_gan", *EVERY, out=tmp_path / "run", resume=True, **changed)
    resumed = train("tiny_gan", *EVERY, start=parent.folder, out=tmp_path / "run", resume=True)
    for name in ("weights.safetensors", "best.safetensors"):
        assert (resumed.folder / name).read_bytes() == (straight.folder / name).read_bytes()


@pytest.mark.slow
def test_the_laptop_budget_is_spent_in_the_one_stage(train, parent, monkeypatch):
    # The package exports a function of that name.
    monkeypatch.setattr(sys.modules["srbench.training.train"], "LAPTOP_MULTIPLY_ADDS", 1e7)
    manifest = manifest_of(train("tiny_gan", start=parent.folder, budget="laptop").folder)
    assert len(manifest["recipe"]["stages"]) == 1
    assert 0.8e7 < manifest["multiply_adds"] <= 1e7
