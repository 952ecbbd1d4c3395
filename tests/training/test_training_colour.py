"""Colour: which channels a network gets, what a grey one makes of RGB, and what validation measures."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest
import torch
from torch import nn

from helpers.training_fakes import HASHED, PlainSR, Textures, one_stage, register_network
from srbench import weights
from srbench.datasets.degrade import LrPosition, get, noise_key, quantise
from srbench.models import ModelError
from srbench.models.base import ModelCard
from srbench.training import TrainingInterrupted
from srbench.training.data import CropReader, make_pairs
from srbench.training.distributed import Processes
from srbench.training.train import choose_channels
from srbench.training.validation import Validator, rounded_psnr
from srbench.utils.errors import SrbenchError
from srbench.utils.image import rgb_to_luma as luma
from srbench.utils.image import to_channels, to_grey

FLOAT64 = torch.zeros(1, dtype=torch.float64)


def card(*channels: int) -> ModelCard:
    return ModelCard("m", "M", "regression", "", 2000, (2,), ("plain",), channels)


@pytest.mark.parametrize(
    ("wish", "data", "offered", "expected"),
    [
        (None, 1, (1, 3), 1),
        (None, 3, (1, 3), 3),
        (None, 3, (3, 1), 3),
        (None, 3, (1,), 1),
        (None, 1, (3,), 3),
        (1, 3, (1, 3), 1),
        (3, 1, (1, 3), 3),
    ],
)
def test_channels_are_those_wished_else_those_of_the_data(wish, data, offered, expected):
    assert choose_channels(wish, data, card(*offered)) == expected


def pair_of(kind: dict, channels: int):
    """A batch of float64 pairs of one image."""
    micrographs = Textures(**kind)
    reader = CropReader(micrographs, micrographs.split("train")[:1], get("bicubic"), 2, 0)
    return make_pairs(reader.read(0, 4, 16, 0, 0, 1), get("bicubic"), FLOAT64, channels)


def test_a_colour_network_learns_from_red_green_and_blue():
    batch = pair_of({"colour": True}, 3)
    assert batch.lr.shape == (4, 3, 8, 8) and batch.hr.shape == (4, 3, 16, 16)
    levels = batch.lr * 255
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-9)
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert not torch.equal(batch.hr[:, one], batch.hr[:, other])


def test_a_grey_network_learns_from_the_luma_of_both():
    """That of the evaluation's protocol, of 8-bit RGB; LR is degraded in colour and is not rounded again."""
    colour, grey = pair_of({"colour": True}, 3), pair_of({"colour": True}, 1)
    for rgb, y in ((colour.lr, grey.lr), (colour.hr, grey.hr)):
        assert y.shape[1] == 1
        for image, expected in zip(rgb, y, strict=True):
            pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
            np.testing.assert_allclose(expected[0].numpy(), to_grey(pixels), atol=1e-12)
    levels = grey.lr * 255
    assert (levels - levels.round()).abs().max() > 0.1


def test_grey_is_repeated_for_a_colour_network():
    batch = pair_of({}, 3)
    assert batch.hr.shape == (4, 3, 16, 16) and batch.lr.shape == (4, 3, 8, 8)
    assert torch.equal(batch.hr[:, 0], batch.hr[:, 2]) and torch.equal(batch.lr[:, 0], batch.lr[:, 1])


def test_equal_channels_are_exactly_their_luma():
    grey = torch.rand(2, 1, 5, 5)
    assert torch.equal(luma(grey.expand(-1, 3, -1, -1)), grey)
    assert luma(grey) is grey and torch.equal(to_channels(grey, 1), grey)
    pure = to_channels(torch.eye(3).reshape(3, 3, 1, 1), 1).flatten()
    torch.testing.assert_close(pure, torch.tensor([0.299, 0.587, 0.114]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "options", "expected"),
    [
        ("textures", {}, 1),
        ("textures", {"channels": 3}, 3),
        ("textures:colour", {}, 3),
        ("textures:colour", {"channels": 1}, 1),
        ("textures:zoo", {}, 3),
    ],
)
def test_runs_record_their_channels(train, dataset, options, expected):
    result = train("tiny_sr", dataset=dataset, **options)
    header = weights.read_header(result.weights)
    assert header is not None and header.channels == expected
    manifest = json.loads((result.folder / "manifest.json").read_text())
    assert manifest["model"]["channels"] == expected
    assert manifest["dataset"]["channels"] == (1 if dataset == "textures" else 3)
    assert ("-c" in result.folder.name) == bool(options)
    assert result.best["psnr"] > 5


@pytest.mark.slow
def test_channels_a_model_does_not_offer_are_refused_and_not_defaulted_to(train, tmp_path):
    register_network("grey_only", PlainSR, one_stage, channels=(1,))
    header = weights.read_header(train("grey_only", dataset="textures:colour").weights)
    assert header is not None and header.channels == 1
    with pytest.raises(ModelError, match="channels"):
        train("grey_only", channels=3, out=tmp_path / "run")


def stop(event) -> None:
    """A progress callback that stops the run at its first event."""
    if not isinstance(event, str):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_a_run_is_not_resumed_with_other_channels(train, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(TrainingInterrupted):
        train("tiny_sr", "train.log_every=2", dataset="textures:colour", out=out, progress=stop)
    with pytest.raises(SrbenchError, match=r"channels: was 3, is 1"):
        train("tiny_sr", dataset="textures:colour", channels=1, out=out, resume=True)


class Watched:
    """In place of a model: enlarges by the nearest neighbour and keeps what it was shown."""

    leaking = False

    def __init__(self, channels: int, scale: int) -> None:
        self.channels, self.scale = channels, scale
        self.network = nn.Linear(1, 1)
        self.seen: list[torch.Tensor] = []

    def infer(self, lr, *, oracle_hr=None):
        self.seen.append(lr)
        return lr.repeat_interleave(self.scale, -2).repeat_interleave(self.scale, -1)


def validator(micrographs, degradation, patch=512) -> Validator:
    alone = Processes(torch.device("cpu"))
    return Validator(micrographs, micrographs.split("val"), degradation, 2, 8, patch, alone)


@pytest.mark.slow
@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("degradation", [get("bicubic"), HASHED], ids=["bicubic", "hashed"])
def test_validation_is_on_the_lr_of_the_evaluation(degradation, colour):
    """Acquisition 0, in colour where the data are; whole images here."""
    micrographs = Textures(colour=colour)
    model = Watched(3 if colour else 1, 2)
    validator(micrographs, degradation)(model)
    for image, seen in zip(micrographs.split("val"), model.seen, strict=True):
        pixels = micrographs.pixels(image.id)[: image.height // 2 * 2, : image.width // 2 * 2]
        hr = torch.from_numpy(pixels / 255.0).reshape(*pixels.shape[:2], -1).permute(2, 0, 1)[None]
        lr = quantise(degradation(hr, 2, LrPosition.whole(noise_key(image.id, 0))))
        torch.testing.assert_close(seen.double(), lr, rtol=0, atol=1e-6)


def test_validation_crops_have_the_noise_of_their_place():
    """A central crop of a validation image is the centre of its whole LR."""
    micrographs, model, whole = Textures(), Watched(1, 2), Watched(1, 2)
    validator(micrographs, HASHED, patch=32)(model)
    validator(micrographs, HASHED)(whole)
    for crop, full in zip(model.seen, whole.seen, strict=True):
        top, left = ((side - 16) // 2 for side in full.shape[-2:])
        found = full[..., top : top + 16, left : left + 16]
        shifted = full[..., top + 1 : top + 17, left : left + 16]
        assert torch.equal(crop, found) and not torch.equal(crop, shifted)


def test_colour_is_measured_by_its_luma():
    """Against the evaluation's own reduction to grey."""
    random = np.random.default_rng(0)
    sr, hr = random.integers(0, 256, (2, 20, 24, 3), dtype=np.uint8)
    planes = [np.floor(to_grey(image) * 255 + 0.5)[2:-2, 2:-2] for image in (sr, hr)]
    expected = 10 * np.log10(255**2 / np.mean((planes[0] - planes[1]) ** 2))
    tensors = [torch.from_numpy(image / 255.0).permute(2, 0, 1)[None] for image in (sr, hr)]
    assert rounded_psnr(*tensors, 2) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("colour", "channels"), [(False, 1), (True, 1), (True, 3)])
def test_the_preview_shows_lr_sr_and_hr_in_the_channels_of_the_network(colour, channels):
    preview = validator(Textures(colour=colour), get("bicubic")).preview(Watched(channels, 2))
    assert preview is not None and preview.shape == (channels, 50, 3 * 66)


def test_a_grey_network_validates_on_the_luma_of_colour():
    micrographs, grey, rgb = Textures(colour=True), Watched(1, 2), Watched(3, 2)
    check = validator(micrographs, get("bicubic"))
    scores = [check(grey), check(rgb)]
    for y, colour in zip(grey.seen, rgb.seen, strict=True):
        torch.testing.assert_close(y, luma(colour))
    # The nearest neighbour and luma commute; only the rounding of colour stands between the two.
    assert scores[0]["psnr"] == pytest.approx(scores[1]["psnr"], abs=0.01)
