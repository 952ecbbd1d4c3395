"""Degradations: a crop with its context gives the LR of the whole image, rounding, names and refusals."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from srbench.datasets import degrade
from srbench.datasets.crops import read_crop
from srbench.datasets.interface import DatasetError


def as_tensor(pixels):
    return torch.from_numpy(pixels.astype(np.float32) / 255.0)[None, None]


def lr_of_crop(pixels, top, left, height, width, degradation, scale):
    context = degradation.context(scale)
    around = read_crop(pixels, top - context, left - context, height + 2 * context, width + 2 * context)
    border = context // scale
    lr = degradation(as_tensor(around), scale)
    return lr[..., border : lr.shape[-2] - border, border : lr.shape[-1] - border]


@st.composite
def windows(draw):
    scale = draw(st.sampled_from([2, 3, 4, 8]))
    rows, columns = draw(st.integers(1, 14)), draw(st.integers(1, 14))
    height, width = draw(st.integers(1, rows)), draw(st.integers(1, columns))
    top = draw(st.sampled_from([0, rows - height, draw(st.integers(0, rows - height))]))
    left = draw(st.sampled_from([0, columns - width, draw(st.integers(0, columns - width))]))
    return scale, (rows, columns), (top, left, height, width), draw(st.integers(0, 2**32 - 1))


@settings(max_examples=150, deadline=None)
@given(case=windows(), name=st.sampled_from(degrade.names()))
def test_lr_of_a_crop_is_a_crop_of_the_lr(case, name):
    scale, (rows, columns), (top, left, height, width), seed = case
    pixels = np.random.default_rng(seed).integers(0, 256, (rows * scale, columns * scale), dtype=np.uint8)
    degradation = degrade.get(name)
    whole = degradation(as_tensor(pixels), scale)[..., top : top + height, left : left + width]
    crop = lr_of_crop(pixels, top * scale, left * scale, height * scale, width * scale, degradation, scale)
    assert (crop - whole).abs().max() < 1e-6
    assert torch.equal(degrade.quantise(crop), degrade.quantise(whole))


@pytest.mark.parametrize("name", degrade.names())
def test_the_context_is_enough_and_not_too_much(name):
    degradation, scale = degrade.get(name), 4
    context = degradation.context(scale)
    image = torch.rand(1, 1, 80, 80, dtype=torch.float64, requires_grad=True)
    degradation(image, scale)[0, 0, 10, 10].backward()
    rows = image.grad[0, 0].abs().sum(1).nonzero()
    assert rows.min() >= 40 - context and rows.max() < 44 + context
    assert context % scale == 0
    assert rows.min() < 40 - context + scale  # one LR pixel less would cut weights


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


def test_names_ids_and_versions():
    assert degrade.names()[0] == "bicubic"
    assert degrade.get("bicubic").id == "bicubic@1"
    assert degrade.get("area@1") is degrade.get("area")
    with pytest.raises(DatasetError, match="did you mean 'bicubic'"):
        degrade.get("bicubik")
    with pytest.raises(DatasetError, match=r"makes bicubic@1, not bicubic@7"):
        degrade.get("bicubic@7")


def test_sides_that_do_not_divide_are_refused():
    with pytest.raises(DatasetError, match=r"modcrop\(hr, 4\)"):
        degrade.get("bicubic")(torch.rand(1, 1, 30, 32), 4)


def test_modcrop_cuts_arrays_and_tensors():
    array = np.zeros((31, 34), dtype=np.uint8)
    assert degrade.modcrop(array, 4).shape == (28, 32)
    assert degrade.modcrop(torch.zeros(2, 1, 31, 34), 3).shape == (2, 1, 30, 33)
    assert np.shares_memory(degrade.modcrop(array, 4), array)


def test_lr_hash_of_a_fixed_image_is_pinned():
    # A change of these numbers is a new version of the degradation, never an edit of this test alone.
    rows, columns = np.mgrid[0:96, 0:120]
    pixels = ((rows * 7 + columns * 13 + (rows * columns) // 5) % 256).astype(np.uint8)
    found = {}
    for name in degrade.names():
        for scale in (2, 3, 4):
            lr = degrade.quantise(degrade.get(name)(as_tensor(pixels), scale)) * 255
            digest = hashlib.sha256(lr.round().to(torch.uint8).numpy().tobytes()).hexdigest()
            found[degrade.get(name).id, scale] = digest[:12]
    assert found == {
        ("bicubic@1", 2): "c6d3e8bc0b93",
        ("bicubic@1", 3): "6f61f4e473c8",
        ("bicubic@1", 4): "fa7c355c2599",
        ("area@1", 2): "4652f2182256",
        ("area@1", 3): "199440e8a62d",
        ("area@1", 4): "6673e9660b5a",
    }
