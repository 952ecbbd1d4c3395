"""Pixels in the device's memory: the crops that the memory maps give, integer for integer."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.training_fakes import HASHED, Textures, pixels
from srbench.datasets.base import Micrograph
from srbench.datasets.degrade import get
from srbench.training.crops import (
    Crops,
    CropSampler,
    DevicePixels,
    MappedPixels,
    belongs_on_device,
    bytes_needed,
    free_bytes,
)
from srbench.training.data import CropReader, make_pairs
from srbench.utils.errors import SrbenchError
from srbench.utils.progress import silent

CPU = torch.device("cpu")
KINDS = ("grey", "deep", "mixed", "colour", "zoo")


class Deep(Textures):
    """All images in 16 bits."""

    def __init__(self) -> None:
        super().__init__(mixed=True)
        self.images = tuple(image for image in self.images if image.bits == 16)


def dataset(kind: str) -> Textures:
    if kind == "deep":
        return Deep()
    return Textures(**({} if kind == "grey" else {kind: True}))


def uploaded(micrographs, images, scale=2, device=CPU, progress=silent) -> DevicePixels:
    return DevicePixels(micrographs, images, scale, device, progress)


@pytest.mark.slow
@pytest.mark.parametrize("degradation", [get("bicubic"), get("area"), HASHED], ids=lambda one: one.name)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [2, 3])
def test_batches_are_those_of_the_memory_maps(kind, degradation, scale):
    """Pixels, dtype, symmetries, noise, and the pairs made of them; all symmetries and edges occur."""
    micrographs = dataset(kind)
    images, channels = micrographs.split("train"), 3 if kind in ("colour", "zoo") else 1
    arguments = (micrographs, images, degradation, scale, 4)
    mapped, there = CropReader(*arguments), CropReader(*arguments, uploaded(micrographs, images, scale))
    symmetries = set()
    for step in range(8):
        plain, fast = (reader.read(step, 8, 8 * scale, 1, 1, 2) for reader in (mapped, there))
        assert fast.pixels.dtype == plain.pixels.dtype and fast.pixels.is_contiguous()
        assert torch.equal(fast.pixels, plain.pixels)
        one, other = (make_pairs(raw, degradation, torch.zeros(1), channels) for raw in (plain, fast))
        assert torch.equal(one.lr, other.lr) and torch.equal(one.hr, other.hr)
        symmetries |= set(plain.symmetries.tolist())
    assert symmetries == set(range(8))


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(st.data())
def test_surroundings_larger_than_the_image_are_mirrored_alike(data):
    sizes = data.draw(st.lists(st.tuples(st.integers(4, 12), st.integers(4, 12)), min_size=1, max_size=4))
    colour, depth = data.draw(st.booleans()), data.draw(st.sampled_from([np.uint8, np.uint16]))
    context = data.draw(st.integers(0, 30))
    micrographs = Textures()
    bits, channels = 8 * np.dtype(depth).itemsize, 3 if colour else 1
    images = []
    for index, (height, width) in enumerate(sizes):
        micrographs._pixels[str(index)] = pixels(height, width, index, depth, colour)
        images.append(Micrograph(str(index), "g", "", "train", height, width, bits=bits, channels=channels))
    crops = CropSampler([(h - h % 2, w - w % 2) for h, w in sizes], 2, 0).batch(0, 6, 4)
    expected = MappedPixels(micrographs, images, 2).cut(crops, 4, context)
    assert torch.equal(uploaded(micrographs, images).cut(crops, 4, context), expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("staging", [1, 10_000, 1 << 30])
def test_an_upload_in_pieces_is_the_upload_in_one(kind, staging, monkeypatch):
    micrographs = dataset(kind)
    images = micrographs.split("train")
    whole = uploaded(micrographs, images)
    monkeypatch.setattr("srbench.training.crops._STAGING_BYTES", staging)
    events = []
    pieces = uploaded(micrographs, images, progress=events.append)
    assert pieces.nbytes == whole.nbytes == bytes_needed(images, 2)
    assert torch.equal(pieces._flat, whole._flat)
    assert (len(events) == 1) == (staging == 1 << 30) and len(events) <= len(images)
    assert events[-1].done == events[-1].total == whole.nbytes


def test_what_a_dataset_does_not_announce_is_refused_while_uploading():
    micrographs = Textures(colour=True)
    images = [Micrograph("train0", "g", "", "train", 61, 83)]
    with pytest.raises(SrbenchError, match=r"train0 has uint8 pixels .* announces 8 bits and 1 channels"):
        uploaded(micrographs, images)


class Vast(Textures):
    """More pixels than 32 bits can count, of which nothing lies in memory, before the ordinary images."""

    SIDE, COUNT = 7_400, 40

    def __init__(self) -> None:
        super().__init__()
        vast = [Micrograph(f"a{i}", "g", "", "train", self.SIDE, self.SIDE) for i in range(self.COUNT)]
        self.images = (*vast, *self.images)

    def pixels(self, image_id: str) -> np.ndarray:
        if image_id.startswith("a"):
            return np.broadcast_to(np.uint8(image_id[1:]), (self.SIDE, self.SIDE))
        return super().pixels(image_id)


@pytest.mark.slow
def test_positions_beyond_two_to_the_31_are_found():
    micrographs = Vast()
    images = micrographs.split("train")
    assert bytes_needed(images[: Vast.COUNT], 2) > 2**31
    columns = ([Vast.COUNT, Vast.COUNT - 1, Vast.COUNT + 1], [0, 7_380, 8], [4, 7_380, 2], [0] * 3, [1] * 3)
    crops = Crops(*map(np.array, columns))
    expected = MappedPixels(micrographs, images, 2).cut(crops, 16, 4)
    assert torch.equal(uploaded(micrographs, images).cut(crops, 16, 4), expected)
    assert bool((expected[1] == Vast.COUNT - 1).all())


@pytest.mark.parametrize(
    ("requested", "needed", "device", "free", "expected"),
    [
        ("auto", 13, "cuda", 40, True),
        ("auto", 13, "cuda", 38, False),
        ("auto", 1, "cpu", 1000, False),
        ("auto", 1, "mps", None, False),
        ("mapped", 1, "cuda", 1000, False),
        ("device", 13, "cuda", 13, True),
        ("device", 13, "cpu", 13, True),
        ("device", 13, "mps", None, True),
    ],
)
def test_where_pixels_belong(requested, needed, device, free, expected, monkeypatch):
    monkeypatch.setattr("srbench.training.crops.free_bytes", lambda _: free)
    assert belongs_on_device(requested, needed, torch.device(device)) is expected


@pytest.mark.slow
def test_pixels_that_do_not_fit_where_they_are_wanted_are_refused(train, monkeypatch, tmp_path):
    monkeypatch.setattr("srbench.training.crops.free_bytes", lambda _: 1_000)
    with pytest.raises(SrbenchError, match=r"1\.0 kB are free on cpu; use --set train\.pixels=mapped"):
        train("tiny_sr", "train.pixels=device", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_memory_of_this_machine_is_known():
    free = free_bytes(CPU)
    assert free is not None and free > 1_000_000
    assert free_bytes(torch.device("mps")) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "kind"), [("tiny_gan", "textures"), ("tiny_gan", "textures:mixed"), ("tiny_sr", "textures:zoo")]
)
def test_a_run_learns_the_same_wherever_its_pixels_lie(train, progress, tmp_path, model, kind):
    mapped = train(model, "train.pixels=mapped", dataset=kind, out=tmp_path / "mapped")
    there = train(model, "train.pixels=device", dataset=kind, out=tmp_path / "there")
    assert there.weights.read_bytes() == mapped.weights.read_bytes()
    assert there.best == mapped.best
    facts = [json.loads((run.folder / "manifest.json").read_text())["pixels"] for run in (mapped, there)]
    assert facts == ["mapped", "device"]
    assert any(note.startswith("Training pixels: ") and note.endswith("to cpu") for note in progress.messages)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_on_cuda_batches_are_those_of_the_memory_maps(kind):
    micrographs, cuda = dataset(kind), torch.device("cuda")
    images = micrographs.split("train")
    sizes = [(image.height // 2 * 2, image.width // 2 * 2) for image in images]
    crops = CropSampler(sizes, 2, 0).batch(0, 8, 16)
    expected = MappedPixels(micrographs, images, 2, pinned=True).cut(crops, 16, 4)
    assert torch.equal(uploaded(micrographs, images, device=cuda).cut(crops, 16, 4).cpu(), expected)


@pytest.mark.gpu
def test_on_cuda_a_run_learns_the_same_wherever_its_pixels_lie(train, tmp_path):
    runs = {
        where: train("tiny_gan", f"train.pixels={where}", device="cuda", out=tmp_path / where)
        for where in ("auto", "mapped")
    }
    assert runs["auto"].weights.read_bytes() == runs["mapped"].weights.read_bytes()
    assert json.loads((runs["auto"].folder / "manifest.json").read_text())["pixels"] == "device"
