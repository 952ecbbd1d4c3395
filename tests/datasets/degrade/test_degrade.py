"""Degradations: a crop with its context gives the LR of the whole image, rounding, names and refusals."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from srbench.datasets import degrade
from srbench.datasets.base import RECORDED
from srbench.datasets.degrade import LrPosition
from srbench.datasets.images.resize import read_crop
from srbench.utils.errors import DatasetError

SETTINGS = [
    "sem_pixel:jitter=0.3",
    "sem_pixel:drift=2.5",
    "sem_pixel:vibration=0.8",
    "sem_pixel:charging=0.3,tau=2",
    "sem_pixel:astigmatism=1.3",
    "sem_pixel:angle=30,astigmatism=2,dose=inf",
    "sem_pixel:dose=inf,spot=0.1,jitter=0.7",
    "sem_defocus:astigmatism=1.2,charging=0.2,dose=20,drift=1,jitter=0.2,tau=1,vibration=0.3",
]
MADE = [name for name in degrade.names() if name != RECORDED]
ALL = MADE + SETTINGS
KEY = degrade.noise_key("particles/7")


def as_tensor(pixels, dtype=np.float32):
    return torch.from_numpy(pixels.astype(dtype) / np.asarray(255.0, dtype))[None, None]


def scales_of(degradation):
    return degradation.scales or (1, 2, 3, 4, 8)


def lr_of_crop(pixels, top, left, height, width, degradation, scale, key=KEY):
    context = degradation.context(scale)
    border = context // scale
    around = read_crop(pixels, top - context, left - context, height + 2 * context, width + 2 * context)
    place = LrPosition(
        torch.tensor([key]),
        torch.tensor([[top // scale - border, left // scale - border]]),
        torch.tensor([[pixels.shape[0] // scale, pixels.shape[1] // scale]]),
    )
    lr = degradation(as_tensor(around, np.float64), scale, place)
    return lr[..., border : lr.shape[-2] - border, border : lr.shape[-1] - border]


@st.composite
def windows(draw):
    degradation = degrade.get(draw(st.sampled_from(ALL)))
    scale = draw(st.sampled_from(scales_of(degradation)))
    rows, columns = draw(st.integers(1, 14)), draw(st.integers(1, 14))
    height, width = draw(st.integers(1, rows)), draw(st.integers(1, columns))
    top = draw(st.sampled_from([0, rows - height, draw(st.integers(0, rows - height))]))
    left = draw(st.sampled_from([0, columns - width, draw(st.integers(0, columns - width))]))
    return degradation, scale, (rows, columns), (top, left, height, width), draw(st.integers(0, 2**32 - 1))


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(case=windows())
def test_lr_of_a_crop_is_a_crop_of_the_lr(case):
    degradation, scale, (rows, columns), (top, left, height, width), seed = case
    pixels = np.random.default_rng(seed).integers(0, 256, (rows * scale, columns * scale), dtype=np.uint8)
    whole = degradation(as_tensor(pixels, np.float64), scale, LrPosition.whole(KEY))
    whole = whole[..., top : top + height, left : left + width]
    crop = lr_of_crop(pixels, top * scale, left * scale, height * scale, width * scale, degradation, scale)
    assert (crop - whole).abs().max() < 1e-12
    assert torch.equal(degrade.quantise(crop), degrade.quantise(whole))


@pytest.mark.parametrize("name", MADE)
def test_the_context_is_enough_and_not_too_much(name):
    degradation = degrade.get(name)
    # OpenCV's kernel, which is not stretched, leaves its LR pixel at scale 2 only.
    scale = 1 if degradation.scales else 2 if name == "cv2_cubic" else 4
    context, middle = degradation.context(scale), slice(10 * scale, 11 * scale)
    image = torch.rand(1, 1, 20 * scale, 20 * scale, dtype=torch.float64, requires_grad=True)
    degradation.expected(image, scale)[0, 0, 10, 10].backward()
    rows = image.grad[0, 0].abs().sum(1).nonzero()
    assert rows.min() >= middle.start - context and rows.max() < middle.stop + context
    assert context % scale == 0
    assert rows.min() < middle.start - context + scale  # one LR pixel less would cut weights


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_gradients_flow_through_the_expected_lr(name):
    degradation = degrade.get(name)
    scale = degradation.scales[0] if degradation.scales else 2
    image = torch.rand(2, 1, 8 * scale, 8 * scale, dtype=torch.float64, requires_grad=True)
    place = LrPosition.whole(KEY, KEY + 1)
    degradation.expected(image, scale, place).sum().backward()
    # Every LR pixel is a mean of weights that sum to 1 (less what charging takes from the sum).
    charging = degradation.settings.get("charging", 0.0)
    assert image.grad.sum().item() == pytest.approx(2 * 64 * (1 - charging), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_a_batch_is_its_images_one_by_one_and_inference_mode_changes_nothing(name):
    degradation = degrade.get(name)
    scale = degradation.scales[0] if degradation.scales else 3
    levels = np.random.default_rng(1).integers(0, 256, (3, 1, 8 * scale, 12 * scale))
    images, keys = torch.from_numpy(levels / 255.0).float(), [KEY, KEY, 5]
    batch = degradation(images, scale, LrPosition.whole(*keys))
    with torch.inference_mode():
        singles = [degradation(images[i : i + 1], scale, LrPosition.whole(keys[i])) for i in range(3)]
    assert torch.equal(degrade.quantise(batch), degrade.quantise(torch.cat(singles)))
    assert batch.dtype == torch.float32
    image = torch.rand(1, 1, 8 * scale, 8 * scale, requires_grad=True)
    degradation.expected(image, scale, LrPosition.whole(KEY)).sum().backward()
    assert image.grad.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("bits", [8, 16])
def test_float32_pixels_give_what_float64_pixels_give(name, bits):
    degradation = degrade.get(name)
    scale = degradation.scales[0] if degradation.scales else 4
    generator = np.random.default_rng(bits)
    for trial in range(3):
        levels = generator.integers(0, 2**bits, (1, 1, 24 * scale, 40 * scale))
        exact = torch.from_numpy(levels / (2.0**bits - 1))
        single = torch.from_numpy(levels.astype(np.float32) / np.float32(2.0**bits - 1))
        found, expected = (degradation(image, scale, LrPosition.whole(trial)) for image in (single, exact))
        assert (found - expected).abs().max() < 1e-5  # one electron would be 1 / dose
        mean = degradation.expected(single, scale, LrPosition.whole(trial))
        assert (mean - degradation.expected(exact, scale, LrPosition.whole(trial))).abs().max() < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in ALL if degrade.get(n).stochastic])
def test_random_ones_need_a_key_and_another_key_is_another_acquisition(name):
    degradation = degrade.get(name)
    scale = degradation.scales[0] if degradation.scales else 2
    image = torch.rand(1, 1, 16 * scale, 16 * scale)
    with pytest.raises(DatasetError, match=r"LrPosition\.whole\(noise_key\(image_id\)\)"):
        degradation(image, scale)
    first, again, other = (degradation(image, scale, LrPosition.whole(key)) for key in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    if not degradation.needs_position:
        assert torch.equal(
            degradation.expected(image, scale), degradation.expected(image, scale, LrPosition.whole(1))
        )


def test_scales_without_a_meaning_are_refused():
    with pytest.raises(DatasetError, match="sem_lowdose is defined for x1, not for x2"):
        degrade.get("sem_lowdose")(torch.rand(1, 1, 8, 8), 2, LrPosition.whole(0))


def test_low_dose_of_an_infinite_dose_is_the_image():
    image = torch.rand(1, 1, 9, 7, dtype=torch.float64)
    assert (degrade.get("sem_lowdose:dose=inf")(image, 1) - image).abs().max() < 1e-5


def test_drift_says_that_it_needs_the_size_of_the_whole_image():
    place = LrPosition(torch.tensor([1]), torch.zeros(1, 2, dtype=torch.int64))
    with pytest.raises(DatasetError, match=r"give LrPosition\(keys, origins, sizes\)"):
        degrade.get("sem_pixel:drift=1").expected(torch.rand(1, 1, 8, 8), 2, place)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ALL)
def test_cuda_gives_the_lr_of_the_cpu(name):
    degradation = degrade.get(name)
    scale = degradation.scales[0] if degradation.scales else 4
    levels = np.random.default_rng(3).integers(0, 256, (4, 1, 64 * scale, 96 * scale), dtype=np.uint8)
    images, place = torch.from_numpy(levels / 255.0).float(), LrPosition.whole(1, 2, 3, KEY)
    found = degradation(images.cuda(), scale, place.to("cuda"))
    expected = degradation(images, scale, place)
    assert found.is_cuda
    assert (found.cpu() - expected).abs().max() < 1e-6
    assert torch.equal(degrade.quantise(found.cpu()), degrade.quantise(expected))


@pytest.mark.gpu
@pytest.mark.parametrize("name", ALL)
def test_cuda_is_never_waited_for(name):
    degradation = degrade.get(name)
    scale = degradation.scales[0] if degradation.scales else 4
    images, place = torch.rand(2, 1, 32 * scale, 32 * scale, device="cuda"), LrPosition.whole(1, 2).to("cuda")
    degradation(images, scale, place)  # weights are made and copied once
    torch.cuda.set_sync_debug_mode("error")
    try:
        degradation(images, scale, place)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.slow
@given(st.integers(-60, 60), st.integers(-60, 60), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_read_crop_is_numpy_symmetric_padding(top, left, height, width):
    pixels = np.random.default_rng(5).integers(0, 256, (11, 17), dtype=np.uint8)
    padded = np.pad(pixels, 110, mode="symmetric")
    expected = padded[top + 110 : top + 110 + height, left + 110 : left + 110 + width]
    assert np.array_equal(read_crop(pixels, top, left, height, width), expected)


def test_read_crop_inside_is_a_view():
    pixels = np.zeros((20, 20), dtype=np.uint16)
    assert np.shares_memory(read_crop(pixels, 4, 5, 10, 10), pixels)
    with pytest.raises(DatasetError, match="window"):
        read_crop(pixels, 0, 0, 0, 4)


def test_quantise_rounds_half_up_and_clamps():
    levels = torch.tensor([-3.0, 0.49, 0.5, 1.5, 127.5, 254.49, 254.5, 300.0])
    found = degrade.quantise(levels / 255) * 255
    assert torch.equal(found.round(), torch.tensor([0.0, 0, 1, 2, 128, 254, 255, 255]))
    assert torch.allclose(found, found.round(), atol=1e-4)


@pytest.mark.slow
@given(st.integers(0, 65535))
@settings(max_examples=50, deadline=None)
def test_quantise_keeps_levels(level):
    value = torch.tensor([level / 65535], dtype=torch.float32)
    assert torch.allclose(degrade.quantise(value, bits=16), value, atol=1e-7)
    eight = torch.tensor([(level % 256) / 255], dtype=torch.float32)
    assert torch.equal(degrade.quantise(eight), eight)


def test_the_mean_of_ties_rounds_up_whatever_the_order():
    ties = torch.tensor([[0, 1], [1, 0]], dtype=torch.float32)[None, None] / 255
    area = degrade.get("area")
    for flipped in (ties, ties.flip(-1), ties.flip(-2), ties.mT):
        assert degrade.quantise(area(flipped, 2)).item() * 255 == pytest.approx(1.0)


def test_sides_that_do_not_divide_are_refused():
    with pytest.raises(DatasetError, match=r"modcrop\(hr, 4\)"):
        degrade.get("bicubic")(torch.rand(1, 1, 30, 32), 4)


def test_modcrop_cuts_arrays_and_tensors():
    array = np.zeros((31, 34), dtype=np.uint8)
    assert degrade.modcrop(array, 4).shape == (28, 32)
    assert degrade.modcrop(torch.zeros(2, 1, 31, 34), 3).shape == (2, 1, 30, 33)
    assert np.shares_memory(degrade.modcrop(array, 4), array)


@pytest.mark.slow
def test_lr_hash_of_a_fixed_image_is_pinned():
    # A change of these numbers is a new version of the degradation, never an edit of this test alone.
    rows, columns = np.mgrid[0:96, 0:120]
    pixels = ((rows * 7 + columns * 13 + (rows * columns) // 5) % 256).astype(np.uint8)
    found = {}
    for name in MADE:
        degradation = degrade.get(name)
        for scale in degradation.scales or (2, 3, 4):
            lr = degrade.quantise(degradation(as_tensor(pixels), scale, LrPosition.whole(KEY))) * 255
            digest = hashlib.sha256(lr.round().to(torch.uint8).numpy().tobytes()).hexdigest()
            found[degradation.id, scale] = digest[:12]
    assert found == {
        ("bicubic@1", 2): "c6d3e8bc0b93",
        ("bicubic@1", 3): "6f61f4e473c8",
        ("bicubic@1", 4): "fa7c355c2599",
        ("area@1", 2): "4652f2182256",
        ("area@1", 3): "199440e8a62d",
        ("area@1", 4): "6673e9660b5a",
        ("bicubic_legacy@1", 2): "70b12860ef9c",
        ("bicubic_legacy@1", 3): "e4edc76e17b3",
        ("bicubic_legacy@1", 4): "f5cb5affe3af",
        ("cv2_cubic@1", 2): "bc63ac71e459",
        ("cv2_cubic@1", 3): "9677b494cc45",
        ("cv2_cubic@1", 4): "dffab9348e6b",
        ("sem_pixel@1", 2): "d546c35994da",
        ("sem_pixel@1", 3): "8e2095ba6d69",
        ("sem_pixel@1", 4): "64dfb93acbfc",
        ("sem_defocus@1", 2): "4beafa1c678e",
        ("sem_defocus@1", 3): "2ed25911520a",
        ("sem_defocus@1", 4): "b525a9d14955",
        ("sem_lowdose@1", 1): "9a3fd0dbdd72",
    }
