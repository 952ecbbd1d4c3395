"""What a run takes and what it leaves: folders, manifest, weights, messages."""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
import yaml

from helpers.training_fakes import PIXEL, PlainSR, Textures, register_network
from srbench import models, weights
from srbench.config import TrainConfig
from srbench.datasets import DatasetError, ReadingOptions, register_dataset
from srbench.datasets.sources.folder import Folder
from srbench.models import ModelError
from srbench.models.recipe import Recipe
from srbench.training import run_folder_name
from srbench.training.run_folder import RunFolder
from srbench.utils.errors import SrbenchError
from srbench.utils.files import read_json
from srbench.utils.paths import runs_folder


@pytest.mark.slow
def test_a_run_leaves_weights_that_load_and_say_what_they_are(train):
    result = train("tiny_sr", seed=4)
    assert result.folder == runs_folder() / "tiny_sr-plain-textures-x2-short-s4"
    model = models.create("tiny_sr", scale=2)
    header = weights.load(model, result.weights).header
    assert header is not None
    assert (header.model, header.variant, header.scale, header.seed) == ("tiny_sr", "plain", 2, 4)
    assert (header.iterations, header.data, header.budget) == (8, Textures().fingerprint, "short")
    assert header.notes[0] == "a note of the recipe"
    assert weights.find("tiny_sr", scale=2)[0].path == result.weights
    assert weights.read_header(result.folder / "best.safetensors") is not None
    assert result.iterations == 8 and result.seconds > 0 and result.best["psnr"] > 10


@pytest.mark.slow
def test_the_manifest_says_how_the_run_was_made(train):
    result = train("tiny_gan", "train.batch=2")
    manifest = json.loads((result.folder / "manifest.json").read_text())
    assert manifest["status"] == "complete" and manifest["kind"] == "training"
    assert manifest["dataset"]["fingerprint"] == Textures().fingerprint
    assert manifest["dataset"]["train_images"] == 4 and manifest["dataset"]["val_images"] == 2
    assert manifest["dataset"]["skipped"] == {"torn.png": "cannot be decoded"}
    assert manifest["dataset"]["remarks"] == ["1 file skipped: cannot be decoded (1)"]
    assert manifest["dataset"]["kind"] == "synthetic" and manifest["dataset"]["licence"] == "CC0-1.0"
    assert manifest["dataset"]["terms"] == "none at all" and manifest["dataset"]["citation"] == "nobody"
    assert manifest["degradation"] == "bicubic@1" and manifest["seed"] == 0
    assert [stage["batch"] for stage in manifest["recipe"]["stages"]] == [2, 2]
    session = manifest["sessions"][0]
    assert session["versions"]["torch"] == torch.__version__
    assert session["command"] == shlex.join(sys.argv)
    assert session["device"]["processes"] == 1 and session["device"]["precision"] == "float32"
    assert manifest["peak_memory_bytes"] > 10_000_000
    assert manifest["progress"]["step"] == manifest["progress"]["total"] == 15


@pytest.mark.slow
def test_the_configuration_is_kept_and_can_be_used_again(train):
    result = train("tiny_sr", "train.batch=2")
    path = result.folder / "config.yaml"
    assert yaml.safe_load(path.read_text())["train"]["batch"] == 2
    assert TrainConfig.of({}, path).train.batch == 2
    again = train("tiny_sr", config=path, seed=1)
    assert json.loads((again.folder / "manifest.json").read_text())["settings"]["train"]["batch"] == 2


@pytest.mark.slow
def test_two_runs_are_equal_bit_for_bit_and_seeds_differ(train, tmp_path):
    """Whatever settings of convenience they have."""
    plain = train("tiny_gan", out=tmp_path / "plain").weights.read_bytes()
    for settings in (["train.prefetch=0"], ["train.prefetch=7", "train.log_every=3"]):
        assert train("tiny_gan", *settings, out=tmp_path / settings[0]).weights.read_bytes() == plain
    assert train("tiny_gan", seed=1, out=tmp_path / "other").weights.read_bytes() != plain


@pytest.mark.slow
def test_the_callers_random_numbers_are_not_touched(train):
    torch.manual_seed(11)
    expected = torch.rand(2)
    torch.manual_seed(11)
    train("tiny_sr")
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.slow
def test_notes_of_the_recipe_are_shown(train, progress):
    train("tiny_sr")
    assert "Note: a note of the recipe" in progress.messages
    assert "Note: 1 file skipped: cannot be decoded (1)" in progress.messages
    assert any(note.startswith("Step 0: validation PSNR") for note in progress.messages)
    assert progress.events[-1].done == progress.events[-1].total == 8
    assert "images/s" in progress.events[-1].detail


@pytest.mark.slow
def test_without_validation_images_there_is_a_note_and_no_best(train):
    result = train("tiny_sr", dataset="textures:noval")
    assert result.best == {} and not (result.folder / "best.safetensors").exists()
    manifest = json.loads((result.folder / "manifest.json").read_text())
    assert any("no validation images" in note for note in manifest["notes"])


@pytest.mark.slow
def test_small_images_are_listed_in_the_manifest(train):
    result = train("tiny_sr", "train.patch=48")
    manifest = json.loads((result.folder / "manifest.json").read_text())
    assert manifest["dataset"]["train_images"] == 3
    assert "30x200" in manifest["dataset"]["skipped"]["train3"]


@pytest.mark.slow
def test_a_folder_is_read_as_its_owner_says_and_has_one_name(train, progress, tmp_path, monkeypatch):
    register_dataset(Folder)
    for seed in range(4):
        pixels = np.random.default_rng(seed).integers(0, 1024, (64, 64)).astype(np.uint16)
        (tmp_path / "mine").mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / "mine" / f"{seed}.tif", pixels)
    monkeypatch.chdir(tmp_path)
    result = train("tiny_sr", dataset="./mine", reading=ReadingOptions(bits=12))
    name = f"folder:{(tmp_path / 'mine').resolve()}"
    assert weights.read_header(result.weights).dataset == result.config.dataset == name
    manifest = json.loads((result.folder / "manifest.json").read_text())
    assert "12 significant bits of 16: 4 images" in manifest["dataset"]["remarks"]
    assert TrainConfig.of({}, result.folder / "config.yaml").reading == ReadingOptions(bits=12)
    # The same run under another spelling of its folder.
    assert train("tiny_sr", dataset=str(tmp_path / "mine"), resume=True).weights == result.weights


@pytest.mark.slow
def test_sixteen_bit_images_train(train):
    assert train("tiny_sr", dataset="textures:mixed").best["psnr"] > 10


@pytest.mark.slow
def test_a_colour_network_trains_on_grey(train):
    recipe = Recipe((PIXEL,), "tests")
    register_network("colour", PlainSR, lambda request: recipe, channels=(3,))
    result = train("colour")
    assert weights.read_header(result.weights).channels == 3


@pytest.mark.slow
def test_tensorboard_files_hold_the_scalars(train):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = train("tiny_sr", "train.tensorboard=true")
    events = EventAccumulator(str(result.folder / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("val/psnr")] == [0, 8]
    assert "val/lr_sr_hr" in events.Tags()["images"]
    assert "train/loss/l1" in events.Tags()["scalars"]


@pytest.mark.slow
def test_a_finished_run_is_not_overwritten(train, progress):
    first = train("tiny_sr")
    stamp = first.weights.stat().st_mtime_ns
    with pytest.raises(SrbenchError, match=r"holds a finished run.*--out"):
        train("tiny_sr")
    again = train("tiny_sr", resume=True)
    assert again.weights == first.weights and first.weights.stat().st_mtime_ns == stamp
    assert again.best == first.best and again.iterations == 8
    assert "nothing to do" in progress.messages[-1]


def test_a_folder_with_something_else_is_left_alone(train, tmp_path):
    (tmp_path / "thesis.tex").write_text("ten years")
    with pytest.raises(SrbenchError, match="holds something that is not a run"):
        train("tiny_sr", out=tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("overrides", "options", "words"),
    [
        ([], {"degradation": "sem_lowdose", "scale": 2, "dataset": "nowhere"}, "not defined at scale 2"),
        ([], {"degradation": "bicubic", "scale": 1, "dataset": "nowhere"}, "HR image itself"),
        ([], {"degradation": "sem_pixle", "dataset": "nowhere"}, "did you mean 'sem_pixel'"),
        ([], {"degradation": "sem_pixel:doze=3", "dataset": "nowhere"}, "doze"),
        (["train.pixels=gpu"], {}, r"train\.pixels.*'auto', 'device' or 'mapped'"),
        (["train.patch=15"], {}, r"patch 15 is not a multiple of the scale 2"),
        (["train.patch=600"], {}, r"No training image holds a crop of 600 px"),
        (["stages.nope.lr=1"], {}, r"Unknown stage 'nope'"),
        (["train.steps=3"], {}, r"train\.steps: unknown setting"),
        (["train.degradation=area"], {"degradation": "sem_pixel"}, "Two degradations"),
        ([], {"budget": "long"}, r"budget: .*'smoke'.*'long'"),
        ([], {"seed": -1}, "seed: .*-1"),
        ([], {"device": "cuda:7"}, "not on this machine"),
        ([], {"device": "toaster"}, "is not a device"),
    ],
)
def test_mistakes_are_found_before_anything_is_written(train, tmp_path, overrides, options, words):
    with pytest.raises((SrbenchError, DatasetError), match=words):
        train("tiny_sr", *overrides, out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_trained_says_so(train):
    from srbench.models.registry import register_model

    @register_model(
        title="S", family="interpolation", paper="", year=1, scales=(2,), variants=("plain",), trainable=False
    )
    def still(scale: int, channels: int, variant: str) -> torch.nn.Module:
        return torch.nn.Identity()

    with pytest.raises(ModelError, match="no parameters to train"):
        train("still")
    with pytest.raises(ModelError, match="did you mean 'tiny_sr'"):
        train("tiny_rs")


def test_an_unwritable_folder_is_named_before_training(train, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SrbenchError, match=r"Cannot write to .*file/run.*--out"):
        train("tiny_sr", out=tmp_path / "file" / "run")


def test_a_disk_too_small_for_the_run_is_refused(tmp_path):
    with (
        pytest.raises(SrbenchError, match=r"1\.0 EB.* mounted at"),
        RunFolder(tmp_path / "run").lock(10**18),
    ):
        pass


def test_a_folder_in_use_is_refused(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with (
        folder.lock(),
        pytest.raises(SrbenchError, match=rf"training in .*process {os.getpid()} on"),
        folder.lock(),
    ):
        pass
    with folder.lock():
        assert folder.path.is_dir()


def test_leftovers_of_a_killed_session_are_swept(tmp_path):
    leftover = tmp_path / ".checkpoint.pt.abc123.tmp"
    leftover.write_bytes(b"half")
    with RunFolder(tmp_path).lock():
        assert not leftover.exists()


def test_names_of_folders():
    name = run_folder_name("edsr", "tiny", "folder:/data/my images", 4, "smoke", 2)
    assert name == "edsr-tiny-folder_data_my_images-x4-smoke-s2"
    long = [run_folder_name("edsr", "tiny", f"folder:/{'d' * 300}/{end}", 4, "smoke", 2) for end in "ab"]
    assert long[0] != long[1] and max(map(len, long)) < 200
    name = run_folder_name(
        "edsr", "tiny", "sem", 4, "short", 0, degradation="sem_pixel:dose=30,jitter=0.3", channels=3
    )
    assert name == "edsr-tiny-sem-sem_pixel_dose_30_jitter_0.3-x4-c3-short-s0"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("degradation", "settings", "identity", "named"),
    [
        ("sem_pixel:dose=30,jitter=0.3", {"dose": 30, "jitter": 0.3}, ("dose=30", "jitter=0.3"), True),
        ("sem_pixel", {"jitter": 0.0}, ("sem_pixel@",), True),
        ("bicubic@1", {}, ("bicubic@1",), False),
    ],
)
def test_settings_of_a_degradation_are_recorded_and_name_the_folder(
    train, degradation, settings, identity, named
):
    result = train("tiny_sr", degradation=degradation)
    manifest = json.loads((result.folder / "manifest.json").read_text())
    assert all(part in manifest["degradation"] for part in identity)
    assert {name: manifest["degradation_settings"][name] for name in settings} == settings
    assert not set(result.folder.name) & set(':=,<>"|?*@\\/ ')
    assert ("sem_pixel" in result.folder.name) is named
    header = weights.read_header(result.weights)
    assert header is not None and header.iterations == 8


@pytest.mark.slow
def test_degradations_have_folders_of_their_own_however_they_are_written(train):
    one = train("tiny_sr", degradation="sem_pixel:dose=30,jitter=0.3").folder
    assert train("tiny_sr", "train.degradation=sem_pixel:dose=90").folder != one
    with pytest.raises(SrbenchError, match="holds a finished run"):
        train("tiny_sr", degradation="sem_pixel:jitter=0.3,dose=30.0")


@pytest.mark.slow
def test_noise_at_scale_1_is_something_to_train_on(train):
    register_network("denoiser", PlainSR, lambda request: Recipe((PIXEL,), "tests"), scales=(1, 2))
    result = train("denoiser", scale=1, degradation="sem_lowdose")
    header = weights.read_header(result.weights)
    assert header is not None and header.scale == 1 and result.iterations == 8


@pytest.mark.slow
def test_weights_without_averaging_are_those_of_the_last_step(train):
    recipe = Recipe((replace(PIXEL, ema=None),), "tests")
    register_network("plain_weights", PlainSR, lambda request: recipe)
    result = train("plain_weights")
    state = torch.load(result.folder / "checkpoint.pt", weights_only=True)["state"]
    from safetensors.torch import load_file

    for name, tensor in load_file(result.weights).items():
        assert torch.equal(tensor, state["network"][name])


@pytest.mark.parametrize(
    ("overrides", "options"), [(("train.lr=5e-4",), {}), ((), {"seed": 3}), ((), {"scale": 4})]
)
def test_a_finished_run_of_other_settings_is_no_result(train, tmp_path, overrides, options):
    train("tiny_sr", out=tmp_path / "run")
    with pytest.raises(SrbenchError, match=r"was .*, is "):
        train("tiny_sr", *overrides, out=tmp_path / "run", resume=True, **options)
    # what changes nothing of what is learned may differ
    assert train("tiny_sr", "train.log_every=1", out=tmp_path / "run", resume=True).iterations == 8


def test_the_plan_of_a_run_stands_in_its_manifest_alone(train, tmp_path):
    plain = train("tiny_sr", out=tmp_path / "plain")
    planned = train("tiny_sr", out=tmp_path / "planned", plan_sha256="a" * 64)
    assert read_json(planned.folder / "manifest.json")["plan_sha256"] == "a" * 64
    assert "plan_sha256" not in read_json(plain.folder / "manifest.json")
    assert planned.weights.read_bytes() == plain.weights.read_bytes()
