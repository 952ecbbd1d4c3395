"""Bit depth: the same picture at every depth is the same picture, one depth for all images of a folder."""

import io
import json
from dataclasses import asdict

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from srbench.datasets.images.decode import BadImage, RawImage, decode_bytes
from srbench.datasets.images.depth import Depth, common_depth
from srbench.utils.errors import DatasetError


def ramp(top, dtype, size=64):
    """Levels 0 to ``top``, each ends of the scale included."""
    return np.rint(np.linspace(0, 1, size * size).reshape(size, size) * top).astype(dtype)


def light(pixels):
    return pixels / np.iinfo(pixels.dtype).max


@pytest.mark.parametrize(
    ("top", "dtype", "bits"),
    [
        (255, np.uint8, 8),
        (255, np.uint16, 8),
        (1023, np.uint16, 10),
        (4095, np.uint16, 12),
        (4095, np.int16, 12),
        (4095, np.uint32, 12),
        (16383, np.int32, 14),
        (65535, np.uint16, 16),
        (4095, np.float32, 12),
        (1023, np.float16, 10),
    ],
)
def test_the_same_picture_in_every_depth_is_the_same_picture(top, dtype, bits):
    raw = RawImage(ramp(top, dtype))
    depth = common_depth([raw])
    assert depth.bits == bits
    pixels, _ = depth.grey(raw)
    assert pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert np.abs(light(pixels) - np.linspace(0, 1, 4096).reshape(64, 64)).max() <= 0.5 / top + 1e-5


def test_tiff_and_png_of_12_bits_in_16_are_read_alike():
    import cv2

    values = ramp(4000, np.uint16)
    stream = io.BytesIO()
    tifffile.imwrite(stream, values)
    png = cv2.imencode(".png", values)[1].tobytes()
    for data in (stream.getvalue(), png):
        decoded = decode_bytes(data)
        assert np.array_equal(decoded.pixels, np.rint(values * 65535.0 / 4095))
        assert decoded.notes == ("12 significant bits of 16: largest value 4000",)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_black_and_white_are_the_ends_of_the_scale(bits):
    pixels, _ = Depth(bits, 2.0**bits - 1).grey(RawImage(np.array([[0, 2**bits - 1]], np.uint16)))
    assert pixels.tolist() == [[0, 65535]]


def test_one_depth_for_all_deep_files_and_8_bits_are_left_alone():
    dark, bright, small = (
        RawImage(ramp(600, np.uint16)),
        RawImage(ramp(3000, np.uint16)),
        RawImage(ramp(9, np.uint8)),
    )
    depth = common_depth([dark, small, bright.range])
    assert depth.bits == 12
    assert depth.grey(dark)[0].max() == round(600 * 65535 / 4095)
    assert np.array_equal(depth.grey(small)[0], small.array) and depth.grey(small)[1] == ()
    assert common_depth([small]) == Depth() and common_depth([]) == Depth()


def test_what_tags_declare_comes_first_unless_more_is_stored():
    dark = RawImage(ramp(600, np.uint16), declared_bits=12)
    assert common_depth([dark]).bits == 12
    assert common_depth([dark, RawImage(ramp(300, np.uint16), declared_bits=14)]).bits == 14
    wrong = common_depth([dark, RawImage(ramp(5000, np.uint16))])
    assert wrong.bits == 14 and "tags say 12" in wrong.note
    assert "tags say 12" in common_depth([RawImage(ramp(65535, np.uint16), declared_bits=12)]).note


def test_given_bits_override_and_are_checked():
    raw = RawImage(ramp(600, np.uint16), declared_bits=12)
    depth = common_depth([raw], bits=16)
    assert np.array_equal(depth.grey(raw)[0], raw.array)
    with pytest.raises(BadImage, match="do not fit 9 bits"):
        common_depth([raw], bits=9).grey(raw)
    fractions = RawImage(ramp(1.5, np.float32) * 0 + 1.5)
    assert common_depth([fractions], bits=8).grey(fractions)[0][0, 0] == 2
    assert common_depth([RawImage(ramp(9, np.uint8))], bits=12) == Depth()
    for bits in (7, 17):
        with pytest.raises(DatasetError, match="8 to 16"):
            common_depth([raw], bits=bits)


@pytest.mark.parametrize("step", [256, 257])
def test_multiples_throughout_have_8_significant_bits(step):
    raw = RawImage(ramp(255, np.uint16) * step)
    depth = common_depth([raw])
    assert np.array_equal(depth.grey(raw)[0], ramp(255, np.uint8))
    assert np.array_equal(depth.stored(depth.grey(raw)[0] / 255, raw), raw.array)
    assert common_depth([raw, RawImage(raw.array + np.uint16(1) * (raw.array < 9))]).bits == 16


@pytest.mark.parametrize(
    ("low", "high", "dtype", "bits"),
    [
        (-100, 100, np.int16, 8),
        (-2048, 2047, np.int16, 12),
        (-3, 3000, np.int16, 14),
        (-20000, 9, np.int32, 16),
    ],
)
def test_negative_values_are_offset_by_half_of_the_range(low, high, dtype, bits):
    raw = RawImage(np.linspace(low, high, 4096).reshape(64, 64).astype(dtype))
    depth = common_depth([raw])
    assert (depth.bits, depth.offset) == (bits, 2.0 ** (bits - 1))
    full = 255 if bits == 8 else 65535
    expected = np.rint((raw.array.astype(float) + 2 ** (bits - 1)) * full / (2**bits - 1))
    pixels, notes = depth.grey(raw)
    assert np.array_equal(pixels, expected) and any("signed" in note for note in notes)
    assert np.array_equal(depth.stored(light(pixels), raw), raw.array)


def test_signed_bytes_are_offset_too():
    raw = RawImage(np.arange(-128, 128).reshape(16, 16).astype(np.int8))
    assert np.array_equal(common_depth([raw]).grey(raw)[0].ravel(), np.arange(256))


@pytest.mark.parametrize(
    ("top", "white"), [(0.7, 1), (1, 1), (3, 255), (255, 255), (256, 65535), (65535, 65535)]
)
def test_fractions_have_the_first_white_that_holds_them(top, white):
    raw = RawImage((np.linspace(0, 1, 4096) * top).reshape(64, 64).astype(np.float32))
    depth = common_depth([raw])
    assert depth.float_white == white
    assert np.array_equal(depth.grey(raw)[0], np.floor(raw.array.astype(float) * (65535 / white) + 0.5))


def test_fractions_and_integers_of_one_folder_keep_their_own_white():
    fractions, deep = RawImage(ramp(1, np.float64) * 0.5 + 0.25), RawImage(ramp(4000, np.uint16))
    depth = common_depth([fractions, deep])
    assert (depth.bits, depth.float_white) == (12, 1.0)
    assert depth.grey(fractions)[0].max() == 49151 and depth.grey(deep)[0].max() == 64015


def test_overshoots_of_0_to_1_are_refused_one_by_one():
    over, plain = RawImage(ramp(1.2, np.float64) * 0 + 1.2), RawImage(np.full((4, 4), 0.25))
    depth = common_depth([over, plain])
    assert depth.grey(plain)[0][0, 0] == 16384
    with pytest.raises(BadImage, match=r"clip them to 0..1, or say --bits"):
        depth.grey(over)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 70000.0])
def test_what_are_no_grey_levels_has_no_say_and_is_refused(value):
    bad = RawImage(np.array([[0.0, value]], np.float32))
    good = RawImage(ramp(4000, np.uint16))
    assert common_depth([bad, good]) == common_depth([good])
    with pytest.raises(BadImage, match=r"not numbers|no grey levels"):
        common_depth([bad]).grey(bad)


@pytest.mark.parametrize("dtype", [np.uint16, np.float64])
def test_colour_of_every_depth_is_bt601_luma(dtype):
    rgb = np.random.default_rng(0).integers(0, 4096, (16, 16, 3)).astype(dtype)
    depth = common_depth([RawImage(rgb)])
    assert depth.bits == 12
    pixels, notes = depth.grey(RawImage(rgb))
    exact = rgb @ np.array([0.299, 0.587, 0.114]) * 65535 / 4095
    assert np.abs(pixels - exact).max() <= 9 and "colour, converted to BT.601 luma" in notes
    assert np.array_equal(depth.colour(RawImage(rgb))[0], np.rint(rgb * 65535.0 / 4095))


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["uint8", "uint16", "int16", "int32", "float32"]),
    st.integers(0, 65535),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_stored_is_the_inverse(dtype, top, inverted, seed):
    limit = np.iinfo(dtype).max if dtype != "float32" else 65535
    values = np.random.default_rng(seed).integers(0, min(top, limit) + 1, (8, 8)).astype(dtype)
    raw = RawImage(values, inverted=inverted)
    depth = common_depth([raw])
    assert np.array_equal(depth.stored(light(depth.grey(raw)[0]), raw), values)
    assert depth.stored(np.zeros((2, 2, 3)), raw).shape == (2, 2, 3)


def test_a_depth_survives_json():
    depth = common_depth([RawImage(ramp(4000, np.uint16)), RawImage(np.full((2, 2), 0.3))])
    assert Depth(**json.loads(json.dumps(asdict(depth)))) == depth
