"""Decoding: exact pixels from every container, and every unusable file refused with a reason."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srbench.datasets.images.decode import BadImage, RawImage, decode, decode_bytes, read_header
from srbench.datasets.images.depth import Depth

KINDS = {".png": "PNG", ".tif": "TIFF", ".bmp": "BMP", ".jpg": "JPEG"}


def encode(array, suffix=".png", *parameters):
    done, data = cv2.imencode(suffix, array, list(parameters))
    assert done
    return data.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_lossless_containers_keep_every_pixel(tmp_path, picture, suffix):
    path = tmp_path / f"image{suffix}"
    path.write_bytes(encode(picture(), suffix))
    decoded = decode(path)
    assert np.array_equal(decoded.pixels, picture()) and decoded.notes == ()


@pytest.mark.parametrize("suffix", KINDS)
def test_headers_say_kind_and_size(picture, suffix):
    header = read_header(encode(picture(0, 70, 90), suffix))
    assert (header.kind, header.width, header.height, header.pages) == (KINDS[suffix], 90, 70, 1)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_stay_16_bits(picture, suffix):
    deep = picture(0, dtype=np.uint16)
    assert np.array_equal(decode_bytes(encode(deep, suffix)).pixels, deep)


@pytest.mark.parametrize("step", [256, 257])
def test_16_bit_files_with_8_significant_bits_become_8_bit(picture, step):
    decoded = decode_bytes(encode(picture().astype(np.uint16) * step, ".tif"))
    assert decoded.pixels.dtype == np.uint8 and np.array_equal(decoded.pixels, picture())
    assert decoded.notes == ("8 significant bits of 16",)


def test_one_odd_value_keeps_16_bits(picture):
    deep = picture().astype(np.uint16) * 256
    deep[5, 5] += 1
    assert np.array_equal(decode_bytes(encode(deep)).pixels, deep)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_in_colour_channels_is_taken_exactly(picture, channels, dtype):
    grey = picture(0, dtype=dtype)
    array = np.repeat(grey[..., None], channels, axis=2)
    if channels == 4:
        array[..., 3] = picture(9, dtype=dtype)  # transparency is dropped, not blended
    decoded = decode_bytes(encode(array))
    assert np.array_equal(decoded.pixels, grey)
    assert decoded.notes == (("alpha dropped",) if channels == 4 else ())


def test_colour_becomes_bt601_luma(picture):
    array = np.stack([picture(1), picture(2), picture(3)], axis=2)  # blue, green, red
    decoded = decode_bytes(encode(array))
    exact = 0.114 * array[..., 0] + 0.587 * array[..., 1] + 0.299 * array[..., 2]
    assert np.array_equal(decoded.pixels, np.floor(np.round(exact, 6) + 0.5).astype(np.uint8))
    assert "luma" in decoded.notes[0]


@pytest.mark.slow
@given(st.integers(0, 255))
def test_luma_of_grey_is_grey(level):
    pixels, _ = Depth().grey(RawImage(np.full((2, 2, 3), level, np.uint8)))
    assert (pixels == level).all()


def test_whole_numbers_in_float_files_are_exact(picture):
    decoded = decode_bytes(encode(picture(0, dtype=np.uint16).astype(np.float32), ".tif"))
    assert np.array_equal(decoded.pixels, picture(0, dtype=np.uint16))
    assert decoded.notes == ("float32 file with whole numbers",)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda a: a / 200, "white is not known"),
        (lambda a: a - 300, "no grey levels"),
        (lambda a: a * 1000, "no grey levels"),
        (lambda a: np.where(a == a.max(), np.nan, a), "not numbers"),
        (lambda a: np.where(a == a.max(), np.inf, a), "not numbers"),
    ],
)
def test_float_files_that_only_their_owner_can_rescale(picture, spoil, words):
    with pytest.raises(BadImage, match=words):
        decode_bytes(encode(spoil(picture().astype(np.float32)).astype(np.float32), ".tif"))


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
def test_truncated_files_are_refused(tmp_path, picture, suffix, keep):
    data = encode(picture(0, 200, 300), suffix)
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(BadImage, match=r"cut.*(cut short|damaged)"):
        decode(path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty file"),
        (b"hello, this is text", "not an image srbench reads"),
        (b"GIF89a" + bytes(100), "not an image srbench reads"),
        (b"\x89PNG\r\n\x1a\n" + b"junk" * 40, "cut short|damaged"),
        (b"II\x2a\x00" + b"\xff" * 60, "damaged"),
        (b"\xff\xd8\xff\xe0" + bytes(50), "damaged"),
        (b"BM" + bytes(60), "BMP"),
    ],
)
def test_what_is_no_image_is_refused(data, words):
    with pytest.raises(BadImage, match=words):
        decode_bytes(data)


def test_a_flipped_bit_in_a_png_is_found(picture):
    data = bytearray(encode(picture()))
    data[len(data) // 2] ^= 1
    with pytest.raises(BadImage, match="checksum"):
        decode_bytes(bytes(data))


def png_claiming(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b"")


def test_decompression_bombs_are_refused_before_decoding():
    with pytest.raises(BadImage, match=r"100000x100000 px is more than the limit"):
        decode_bytes(png_claiming(100_000, 100_000))
    with pytest.raises(BadImage, match="more than the limit of 1,000"):
        decode_bytes(png_claiming(100, 100), max_pixels=1000)


@pytest.mark.parametrize("size", [(1, 1), (47, 300), (300, 47)])
def test_too_small_images_are_refused(picture, size):
    with pytest.raises(BadImage, match="too small"):
        decode_bytes(encode(np.ascontiguousarray(picture(0, 300, 300)[: size[0], : size[1]])))


def test_blank_images_are_refused():
    with pytest.raises(BadImage, match="every pixel has the value 7"):
        decode_bytes(encode(np.full((60, 60), 7, np.uint8)))


def test_errors_name_the_file(tmp_path):
    with pytest.raises(BadImage, match=r"gone\.png: cannot be read: No such file"):
        decode(tmp_path / "gone.png")


def test_the_first_of_several_pages_is_taken_and_said(tmp_path, picture):
    path = str(tmp_path / "pages.tif")
    assert cv2.imwritemulti(path, [picture(1), picture(2), picture(3)])
    decoded = decode(tmp_path / "pages.tif")
    assert np.array_equal(decoded.pixels, picture(1)) and decoded.notes == ("first of several pages: 1 of 3",)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(data=st.data(), suffix=st.sampled_from([".png", ".tif", ".bmp", ".jpg"]))
def test_damaged_files_never_do_more_than_be_refused(data, suffix):
    whole = bytearray(encode(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64).astype(np.uint8), suffix))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(2, min(len(whole) - 1, 400)))] = data.draw(st.integers(0, 255))
    try:
        pixels = decode_bytes(bytes(whole)).pixels
    except BadImage:
        return
    assert pixels.ndim == 2 and min(pixels.shape) >= 48


def test_progressive_jpeg_with_a_thumbnail(picture):
    thumbnail = encode(picture(1, 64, 64), ".jpg")
    whole = encode(picture(2, 200, 300), ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    data = whole[:2] + segment + whole[2:]
    assert decode_bytes(data).pixels.shape == (200, 300)
    with pytest.raises(BadImage, match="cut short"):
        decode_bytes(data[:-2])  # the thumbnail's end marker is not the image's


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_tiff_in_both_byte_orders_and_sizes(order, big):
    pixels = np.arange(50 * 60).reshape(50, 60).astype(np.uint8)
    entry, offset = ("HHQQ", "Q") if big else ("HHII", "I")
    start = 16 if big else 8
    tags = {256: 60, 257: 50, 258: 8, 259: 1, 262: 1, 273: start, 277: 1, 278: 50, 279: pixels.size}
    mark = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    head = mark + (struct.pack(order + "HHQ", 8, 0, start + pixels.size) if big else b"")
    head += b"" if big else struct.pack(order + "I", start + pixels.size)
    directory = struct.pack(order + ("Q" if big else "H"), len(tags))
    for tag, value in tags.items():
        directory += struct.pack(order + entry, tag, 16 if big else 4, 1, value)
    data = head + pixels.tobytes() + directory + struct.pack(order + offset, 0)
    assert read_header(data).width == 60
    assert np.array_equal(decode_bytes(data).pixels, pixels)
    with pytest.raises(BadImage):
        decode_bytes(data[:-40])
