"""Training pairs against the LR that evaluation makes of the whole image."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.training_fakes import HASHED, PairedTextures, Textures, texture
from srbench.datasets.degrade import LrPosition, get, noise_key, quantise
from srbench.datasets.images.resize import read_crop
from srbench.training.crops import CropSampler, Layout, MappedPixels
from srbench.training.data import CropReader, apply_symmetries, large_enough, make_pairs, read_ahead, to_unit
from srbench.utils.errors import DatasetError, SrbenchError

KINDS = {
    "grey": {},
    "mixed": {"mixed": True},
    "colour": {"colour": True},
    "zoo": {"zoo": True},
}


def degradation_called(name: str):
    return HASHED if name == "hashed" else get(name)


def _symmetry(image: np.ndarray, bits: int) -> np.ndarray:
    """Of ``(C, H, W)``, by numpy."""
    if bits & 1:
        image = image[:, ::-1]
    if bits & 2:
        image = image[:, :, ::-1]
    return image.swapaxes(1, 2) if bits & 4 else image


def planes(pixels: np.ndarray, channels: int) -> np.ndarray:
    """``(C, H, W)`` float64 in [0, 1], grey repeated."""
    levels = pixels.astype(np.float64) / np.iinfo(pixels.dtype).max
    return np.stack([levels] * channels) if levels.ndim == 2 else levels.transpose(2, 0, 1)


def whole_lr(hr: np.ndarray, degradation, scale: int, key: int) -> np.ndarray:
    """What evaluation does with ``(C, H, W)``: the whole image, cut to the scale, degraded, rounded."""
    height, width = (side - side % scale for side in hr.shape[1:])
    cut = torch.from_numpy(np.ascontiguousarray(hr[:, :height, :width]))
    return quantise(degradation(cut[None], scale, LrPosition.whole(key)))[0].numpy()


NOISIEST = "sem_pixel:dose=20,jitter=0.5,drift=3,vibration=0.5,charging=0.3"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("bicubic", 2),
        ("bicubic", 3),
        ("bicubic", 4),
        ("area", 2),
        ("hashed", 2),
        ("hashed", 1),
        ("cv2_cubic", 2),
        pytest.param(NOISIEST, 2, marks=pytest.mark.slow, id="sem_pixel"),
        pytest.param("sem_lowdose:dose=20", 1, marks=pytest.mark.slow),
    ],
)
def test_lr_of_a_training_crop_is_the_crop_of_the_evaluation_lr(name, scale, kind):
    """Of the acquisition that was drawn for it, where there is noise."""
    micrographs, degradation, patch = Textures(**KINDS[kind]), degradation_called(name), 8 * scale
    channels = 3 if kind in ("colour", "zoo") else 1
    images = [image for image in micrographs.split("train") if min(image.height, image.width) >= patch]
    reader = CropReader(micrographs, images, degradation, scale, seed=5)
    sizes = [(image.height - image.height % scale, image.width - image.width % scale) for image in images]
    edges = 0
    for step in range(12):
        crops = CropSampler(sizes, scale, 5).batch(step, 4, patch)
        raw = reader.read(step, 4, patch, 0, 0, 1)
        batch = make_pairs(raw, degradation, torch.zeros(1, dtype=torch.float64), channels)
        for crop, lr, hr in zip(crops, batch.lr, batch.hr, strict=True):
            image = images[crop.image].id
            sharp = planes(micrographs.pixels(image), channels)
            top, left, side = crop.top // scale, crop.left // scale, patch // scale
            expected = whole_lr(sharp, degradation, scale, noise_key(image, crop.acquisition))
            expected = expected[:, top : top + side, left : left + side]
            np.testing.assert_array_equal(lr.numpy(), _symmetry(expected, crop.symmetry))
            sharp = sharp[:, crop.top : crop.top + patch, crop.left : crop.left + patch]
            np.testing.assert_allclose(hr.numpy(), _symmetry(sharp, crop.symmetry), atol=1e-15)
            edges += crop.top == 0 or crop.left == 0
    assert edges


def test_the_same_crop_gets_fresh_noise_each_time_it_is_drawn():
    """One image that is as large as the patch: whatever is drawn, only symmetry and noise differ."""
    micrographs = Textures()
    images = [image for image in micrographs.split("train") if image.id == "train2"]
    reader = CropReader(micrographs, images, HASHED, 2, seed=0)
    like = torch.zeros(1, dtype=torch.float64)
    raws = [reader.read(step, 4, 48, draw, 0, 1) for step in range(20) for draw in range(2)]
    keys = [key for raw in raws for key in raw.position.keys.tolist()]
    assert len(set(keys)) == len(keys) == 160
    assert noise_key("train2", 0) not in keys
    still = [torch.zeros_like(raw.symmetries) for raw in raws[:2]]
    first, second = (
        make_pairs(type(raw)(raw.pixels, zero, 2, raw.context, raw.position), HASHED, like, 1)
        for raw, zero in zip(raws, still, strict=False)
    )
    assert torch.equal(first.hr, second.hr) and not torch.equal(first.lr, second.lr)


def test_lr_has_eight_bits_in_float32():
    raw = CropReader(Textures(), Textures().split("train")[:2], get("bicubic"), 2, 0).read(0, 4, 16, 0, 0, 1)
    batch = make_pairs(raw, get("bicubic"), torch.zeros(1), 1)
    levels = batch.lr * 255
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert batch.lr.dtype == torch.float32


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("degradation", [get("bicubic"), HASHED], ids=["bicubic", "hashed"])
def test_the_shares_of_the_processes_make_up_the_global_batch(kind, degradation):
    micrographs = Textures(**KINDS[kind])
    reader = CropReader(micrographs, micrographs.split("train")[:3], degradation, 2, 0)
    together = reader.read(3, 6, 16, 0, 0, 1)
    for world in (2, 3):
        for rank in range(world):
            share = reader.read(3, 6, 16, 0, rank, world)
            assert torch.equal(share.pixels, together.pixels[rank::world])
            assert torch.equal(share.symmetries, together.symmetries[rank::world])
            for name in ("keys", "origins", "sizes"):
                assert torch.equal(
                    getattr(share.position, name), getattr(together.position, name)[rank::world]
                )


def test_eight_and_sixteen_bits_keep_their_values():
    deep = texture(6, 7, 0, np.uint16)
    flat = texture(6, 7, 1)
    both = Layout(deep=True, channels=1)
    for pixels, top in ((flat, 255), (deep, 65535)):
        values = to_unit(both.tensor(pixels), torch.float64)
        np.testing.assert_allclose(values[0, 0].numpy(), pixels / top, atol=1e-15)


def test_widened_levels_are_the_same_numbers():
    """All of them, in the precision of training: a set with one 16-bit image trains as one without."""
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for dtype in (torch.float32, torch.float64):
        flat, deep = (to_unit(Layout(deep, 1).tensor(levels), dtype) for deep in (False, True))
        assert torch.equal(flat, deep)


@pytest.mark.parametrize(
    ("announced", "pixels"),
    [(Layout(False, 1), np.zeros((4, 4), np.uint16)), (Layout(True, 1), np.zeros((4, 4, 3), np.uint8))],
)
def test_pixels_that_are_more_than_announced_are_refused(announced, pixels):
    with pytest.raises(SrbenchError, match=r"odd has uint.* pixels .*Micrograph\.bits and Micrograph\.ch"):
        announced.check("odd", pixels)


class Grown(Textures):
    """Says 8 bits and gives 16."""

    def pixels(self, image_id: str) -> np.ndarray:
        return super().pixels(image_id).astype(np.uint16)


def test_a_dataset_that_says_less_than_it_gives_is_named_when_read():
    source = MappedPixels(Grown(), Grown().split("train")[:1], 2)
    with pytest.raises(SrbenchError, match="train0 has uint16 pixels"):
        source.cut(CropSampler([(60, 82)], 2, 0).batch(0, 1, 16), 16, 0)


def test_the_eight_symmetries_are_those_of_the_square():
    image = torch.arange(18.0).reshape(1, 2, 3, 3)
    results = [apply_symmetries(image, torch.tensor([bits])) for bits in range(8)]
    for bits, result in enumerate(results):
        np.testing.assert_array_equal(result[0].numpy(), _symmetry(image[0].numpy(), bits))
    for one, other in itertools.combinations(results, 2):
        assert not torch.equal(one, other)


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_window_anywhere_is_that_of_the_image_mirrored_without_end(data):
    """Against numpy's symmetric padding, several images wide."""
    height, width, size, side = (data.draw(st.integers(1, 7)) for _ in range(4))
    shape = (height, width, 3) if data.draw(st.booleans()) else (height, width)
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    pad = 16
    around = np.pad(pixels, [(pad, pad), (pad, pad), (0, 0)][: len(shape)], mode="symmetric")
    top, left = (
        data.draw(st.integers(-pad, height + pad - size)),
        data.draw(st.integers(-pad, width + pad - side)),
    )
    expected = around[top + pad : top + pad + size, left + pad : left + pad + side]
    np.testing.assert_array_equal(read_crop(pixels, top, left, size, side), expected)


@pytest.mark.parametrize(
    ("shape", "window"), [((4,), (1, 1)), ((4, 4, 3, 1), (1, 1)), ((4, 4), (0, 1)), ((4, 4), (1, 0))]
)
def test_what_is_no_window_of_an_image_is_refused(shape, window):
    with pytest.raises(DatasetError, match="read_crop needs"):
        read_crop(np.zeros(shape, np.uint8), 0, 0, *window)


def test_small_images_are_left_out_and_named():
    images = Textures().split("train")
    kept, small = large_enough(images, 48, 2)
    assert [image.id for image in kept] == ["train0", "train1", "train2"]
    assert small == {"train3": "30x200 px is smaller than a training crop of 48 px"}


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


@pytest.mark.parametrize("kind", ["grey", "mixed"])
def test_recorded_lr_is_cut_and_turned_with_its_hr(kind: str) -> None:
    micrographs = PairedTextures(**KINDS[kind])
    images = micrographs.split("train")[:3]
    reader = CropReader(micrographs, images, get("recorded"), 2, seed=4)
    sampler = CropSampler([(i.height // 2 * 2, i.width // 2 * 2) for i in images], 2, 4)
    like, seen = torch.zeros(1), set()
    for step in range(6):
        batch = make_pairs(reader.read(step, 8, 24, 0, 0, 1), get("recorded"), like, 1)
        for crop, lr, hr in zip(sampler.batch(step, 8, 24), batch.lr, batch.hr, strict=True):
            seen.add(crop.symmetry)
            top, left = crop.top, crop.left
            name = images[crop.image].id
            part = planes(micrographs.pixels(name)[top : top + 24, left : left + 24], 1)
            assert np.allclose(hr.numpy(), _symmetry(part, crop.symmetry), atol=1e-6)
            top, left = top // 2, left // 2
            part = planes(micrographs.lr(name)[top : top + 12, left : left + 12], 1)
            expected = np.floor(_symmetry(part, crop.symmetry) * 255 + 0.5) / 255
            assert np.abs(lr.numpy() - expected).max() < 1e-6
    assert len(seen) == 8


def test_recorded_lr_that_is_not_there_or_of_another_scale_is_refused() -> None:
    for micrographs, words in ((Textures(), "no recorded LR"), (PairedTextures(), "--scale 2")):
        with pytest.raises(DatasetError, match=words):
            CropReader(micrographs, micrographs.split("train")[:3], get("recorded"), 4, 0)
