"""Training pairs against the LR that evaluation makes of the whole image."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from training_fakes import Textures, texture

from srbench.datasets.degrade import get, modcrop, quantise
from srbench.errors import SrbenchError
from srbench.training.data import (
    CropReader,
    apply_symmetries,
    large_enough,
    make_pairs,
    stack,
    to_unit,
)
from srbench.training.prefetch import read_ahead
from srbench.training.sampler import CropSampler


def _symmetry(image: np.ndarray, bits: int) -> np.ndarray:
    if bits & 1:
        image = np.flipud(image)
    if bits & 2:
        image = np.fliplr(image)
    return image.T if bits & 4 else image


def whole_lr(pixels: np.ndarray, degradation, scale: int) -> np.ndarray:
    """What evaluation does: the whole image, cut to the scale, degraded, rounded."""
    hr = torch.from_numpy(modcrop(pixels, scale).astype(np.float64) / np.iinfo(pixels.dtype).max)
    return quantise(degradation(hr[None, None], scale))[0, 0].numpy()


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize(("name", "scale"), [("bicubic", 2), ("bicubic", 3), ("bicubic", 4), ("area", 2)])
def test_lr_of_a_training_crop_is_the_crop_of_the_evaluation_lr(name, scale, mixed):
    micrographs, degradation, patch = Textures(mixed=mixed), get(name), 8 * scale
    images = [image for image in micrographs.split("train") if min(image.height, image.width) >= patch]
    reader = CropReader(micrographs, images, degradation, scale, seed=5)
    sizes = [(image.height - image.height % scale, image.width - image.width % scale) for image in images]
    edges = 0
    for step in range(12):
        crops = CropSampler(sizes, scale, 5).batch(step, 4, patch)
        raw = reader.read(step, 4, patch, 0, 0, 1)
        batch = make_pairs(raw, degradation, torch.zeros(1, dtype=torch.float64), 1)
        for crop, lr, hr in zip(crops, batch.lr, batch.hr, strict=True):
            pixels = micrographs.pixels(images[crop.image].id)
            top, left, side = crop.top // scale, crop.left // scale, patch // scale
            expected = whole_lr(pixels, degradation, scale)[top : top + side, left : left + side]
            np.testing.assert_array_equal(lr[0].numpy(), _symmetry(expected, crop.symmetry))
            sharp = pixels[crop.top : crop.top + patch, crop.left : crop.left + patch]
            np.testing.assert_allclose(
                hr[0].numpy(), _symmetry(sharp / np.iinfo(pixels.dtype).max, crop.symmetry), atol=1e-15
            )
            edges += crop.top == 0 or crop.left == 0
    assert edges


def test_lr_has_eight_bits_in_float32():
    raw = CropReader(Textures(), Textures().split("train")[:2], get("bicubic"), 2, 0).read(0, 4, 16, 0, 0, 1)
    batch = make_pairs(raw, get("bicubic"), torch.zeros(1), 1)
    levels = batch.lr * 255
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert batch.lr.dtype == torch.float32


def test_grey_is_repeated_for_a_colour_network():
    raw = CropReader(Textures(), Textures().split("train")[:2], get("bicubic"), 2, 0).read(0, 2, 16, 0, 0, 1)
    batch = make_pairs(raw, get("bicubic"), torch.zeros(1), 3)
    assert batch.hr.shape == (2, 3, 16, 16) and batch.lr.shape == (2, 3, 8, 8)
    assert torch.equal(batch.hr[:, 0], batch.hr[:, 2])


def test_the_shares_of_the_processes_make_up_the_global_batch():
    micrographs = Textures()
    reader = CropReader(micrographs, micrographs.split("train")[:3], get("bicubic"), 2, 0)
    together = reader.read(3, 6, 16, 0, 0, 1).pixels
    for world in (2, 3):
        for rank in range(world):
            share = reader.read(3, 6, 16, 0, rank, world).pixels
            assert torch.equal(share, together[rank::world])


def test_eight_and_sixteen_bits_keep_their_values():
    deep = texture(6, 7, 0, np.uint16)
    flat = texture(6, 7, 1)
    values = to_unit(stack([flat, deep]), torch.float64)
    np.testing.assert_allclose(values[0, 0].numpy(), flat / 255, atol=1e-15)
    np.testing.assert_allclose(values[1, 0].numpy(), deep / 65535, atol=1e-15)


def test_the_eight_symmetries_are_those_of_the_square():
    image = torch.arange(9.0).reshape(1, 1, 3, 3)
    results = [apply_symmetries(image, torch.tensor([bits])) for bits in range(8)]
    for bits, result in enumerate(results):
        np.testing.assert_array_equal(result[0, 0].numpy(), _symmetry(image[0, 0].numpy(), bits))
    for one, other in itertools.combinations(results, 2):
        assert not torch.equal(one, other)


def test_small_images_are_left_out_and_named():
    images = Textures().split("train")
    kept, small = large_enough(images, 48, 2)
    assert [image.id for image in kept] == ["train0", "train1", "train2"]
    assert small == {"train3": "30x200 px is smaller than a training crop of 48 px"}


def test_a_patch_that_no_image_holds_says_which_would():
    with pytest.raises(SrbenchError, match=r"short side of 70 px.*train\.patch=68"):
        large_enough(Textures().split("train"), 200, 4)


@pytest.mark.parametrize("depth", [0, 1, 3, 50])
def test_reading_ahead_keeps_the_order(depth):
    assert list(read_ahead(lambda step: step * step, range(4, 20), depth)) == [
        step * step for step in range(4, 20)
    ]


@pytest.mark.parametrize("depth", [0, 2])
def test_an_error_while_reading_arrives_at_its_step(depth):
    def read(step: int) -> int:
        if step == 3:
            raise OSError("the disk is gone")
        return step

    got = []
    with pytest.raises(OSError, match="the disk is gone"):
        for value in read_ahead(read, range(10), depth):
            got.append(value)
    assert got == [0, 1, 2]
