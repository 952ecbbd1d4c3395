"""Colour kept on demand, label images kept as they are, and what a camera notes in a file left alone."""

import io
import struct

import cv2
import numpy as np
import pytest
import tifffile

from srbench.datasets.images.decode import BadImage, decode, decode_bytes, decode_labels


def encode(array, suffix=".png"):
    done, data = cv2.imencode(suffix, array)
    assert done
    return data.tobytes()


@pytest.fixture
def rgb(picture):
    return np.dstack([picture(1), picture(2), picture(3)])


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_colour_comes_back_in_the_order_red_green_blue(tmp_path, rgb, suffix):
    path = tmp_path / f"image{suffix}"
    path.write_bytes(encode(rgb[..., ::-1], suffix))  # OpenCV writes blue, green, red
    decoded = decode(path, colour=True)
    assert np.array_equal(decoded.pixels, rgb) and decoded.notes == ()
    assert decoded.pixels.flags.c_contiguous
    assert decode(path).pixels.ndim == 2


def test_transparency_is_dropped_and_16_bits_are_kept(picture):
    deep = np.dstack([picture(seed, dtype=np.uint16) for seed in range(4)])
    decoded = decode_bytes(encode(deep), colour=True)
    assert np.array_equal(decoded.pixels, deep[..., 2::-1]) and decoded.notes == ("alpha dropped",)


@pytest.mark.parametrize("step", [256, 257])
def test_8_significant_bits_are_judged_over_all_channels(rgb, step):
    deep = rgb.astype(np.uint16) * step
    decoded = decode_bytes(encode(deep[..., ::-1]), colour=True)
    assert np.array_equal(decoded.pixels, rgb) and decoded.notes == ("8 significant bits of 16",)
    deep[3, 4, 2] += 1
    assert np.array_equal(decode_bytes(encode(deep[..., ::-1]), colour=True).pixels, deep)


def test_a_grey_file_gives_three_equal_channels(picture):
    decoded = decode_bytes(encode(picture()), colour=True)
    assert all(np.array_equal(decoded.pixels[..., channel], picture()) for channel in range(3))
    assert decoded.notes == ("grey, as three equal channels",)


def test_five_channels_are_refused():
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.zeros((64, 64, 5), np.uint8), photometric="minisblack", planarconfig="contig")
    with pytest.raises(BadImage, match="5 channels; expected grey, RGB or RGBA"):
        decode_bytes(stream.getvalue())


def exif(orientation):
    """An Exif segment with one tag, the orientation of the camera."""
    tiff = b"II*\x00" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    return b"\xff\xe1" + struct.pack(">H", 8 + len(tiff)) + b"Exif\x00\x00" + tiff


@pytest.mark.parametrize("colour", [False, True])
def test_the_orientation_that_a_camera_notes_is_ignored(picture, colour):
    plain = encode(picture(0, 60, 90), ".jpg")
    turned = plain[:2] + exif(6) + plain[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape[:2] == (
        90,
        60,
    )  # is believed
    found = decode_bytes(turned, colour=colour).pixels
    assert np.array_equal(found, decode_bytes(plain, colour=colour).pixels) and found.shape[:2] == (60, 90)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_labels_keep_their_numbers(tmp_path, dtype):
    labels = np.repeat(np.arange(50, dtype=dtype)[:, None] * (256 if dtype == np.uint16 else 5), 60, axis=1)
    path = tmp_path / "labels.png"
    path.write_bytes(encode(labels))
    found = decode_labels(path)
    assert found.dtype == dtype and np.array_equal(found, labels)  # 16 bits stay 16 bits here
    path.write_bytes(encode(np.repeat(labels[..., None], 3, axis=2)))
    assert np.array_equal(decode_labels(path), labels)
    path.write_bytes(encode(np.zeros((4, 5), dtype)))
    assert not decode_labels(path).any()  # nothing segmented is a valid answer


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda rgb: encode(rgb), "a coloured picture of labels"),
        (lambda rgb: encode(rgb[..., 0], ".jpg"), "JPEG changes labels"),
        (lambda rgb: encode(rgb[..., 0].astype(np.float32), ".tif"), "float32 values; expected labels"),
        (lambda rgb: encode(rgb[..., 0])[:500], "cut short"),
    ],
)
def test_what_is_no_label_image_is_refused(tmp_path, rgb, content, reason):
    path = tmp_path / "labels.bin"
    path.write_bytes(content(rgb))
    with pytest.raises(BadImage, match=reason):
        decode_labels(path)


def test_labels_that_are_not_there(tmp_path):
    with pytest.raises(BadImage, match="cannot be read"):
        decode_labels(tmp_path / "none.png")
