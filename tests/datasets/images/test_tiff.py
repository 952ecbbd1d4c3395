"""TIFF as tifffile and Pillow read it, every kind by one set of rules, and every damaged strip named."""

import io
import logging
import struct

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from srbench.datasets.images.decode import BadImage, decode, decode_bytes, decode_labels, read_raw_bytes
from srbench.datasets.images.depth import common_depth


def written(array, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def pages(*arrays):
    """A file of several pages: ``(array, options)`` each."""
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for array, options in arrays:
            writer.write(array, contiguous=False, metadata=None, **options)
    return stream.getvalue()


def raw(data, **options):
    return read_raw_bytes(data, **options)[0]


def with_bits(values, bits, order=">"):
    """A TIFF of ``bits`` significant bits packed one behind the other, as cameras write them."""
    height, width = values.shape
    rows = [
        np.packbits((row[:, None] >> np.arange(bits - 1, -1, -1)) & 1 != 0).tobytes()
        for row in values.astype(int)
    ]
    data = b"".join(rows)
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: len(data)}
    mark = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8 + len(data))
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags.items())
    return mark + data + struct.pack(order + "H", len(tags)) + entries + bytes(4)


COMPRESSIONS = {
    "none": {},
    "lzw": {"compression": "lzw"},
    "deflate": {"compression": "deflate"},
    "packbits": {"compression": "packbits"},
    "zstd": {"compression": "zstd"},
    "lzma": {"compression": "lzma"},
}
LAYOUTS = {
    "strip": {},
    "strips": {"rowsperstrip": 20},
    "tiles": {"tile": (32, 48)},
    "big": {"bigtiff": True},
    "big-endian": {"byteorder": ">", "rowsperstrip": 7},
}
DTYPES = ["uint8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"]


@pytest.mark.slow
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_kind_is_read_as_tifffile_reads_it(picture, compression, layout):
    grey = picture(1, 70, 100)
    colour = np.dstack([picture(seed, 70, 100) for seed in range(3)])
    for dtype in DTYPES if compression in ("none", "lzw", "deflate") else ["uint16"]:
        for predictor in (False, True) if compression in ("lzw", "deflate", "zstd") else (False,):
            if predictor and dtype == "float16" and layout == "big-endian":
                continue  # tifffile cannot write it
            for array, planar in ((grey, None), (colour, "contig"), (colour.transpose(2, 0, 1), "separate")):
                options = {**COMPRESSIONS[compression], **LAYOUTS[layout], "predictor": predictor}
                if planar:
                    options |= {"photometric": "rgb", "planarconfig": planar}
                data = written(array.astype(dtype), **options)
                expected = tifffile.imread(io.BytesIO(data))
                expected = expected.transpose(1, 2, 0) if planar == "separate" else expected
                found = raw(data).array
                assert found.dtype == np.dtype(dtype) and np.array_equal(found, expected), (dtype, planar)


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int16", "float32"])
def test_min_is_white_is_turned_round_at_every_depth(inverted, dtype):
    ramp = np.tile(np.linspace(0, 255 if dtype == "uint8" else 4095, 64).astype(dtype), (64, 1))
    data = written(ramp.max() - ramp, photometric="miniswhite") if inverted else written(ramp)
    full = 255 if dtype == "uint8" else 65535
    expected = np.rint(ramp.astype(float) * full / ramp.max())
    assert np.array_equal(decode_bytes(data).pixels, expected)
    assert any("min-is-white" in note for note in decode_bytes(data).notes) is inverted


def test_inverted_fractions():
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1))
    pixels = decode_bytes(written(1 - ramp, photometric="miniswhite")).pixels
    assert np.abs(pixels - np.rint(ramp * 65535.0)).max() <= 1


def test_16_bit_min_is_white_of_the_case(tmp_path):
    ramp = np.tile((np.arange(96) * 600).astype(np.uint16), (64, 1))
    pixels = decode_bytes(written(65535 - ramp, photometric="miniswhite")).pixels
    assert (pixels[0, 0], pixels[0, 95]) == (0, 57000)
    small = decode_bytes(written(255 - (ramp >> 8).astype(np.uint8), photometric="miniswhite")).pixels
    assert np.array_equal(small, ramp >> 8)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("layout", [{}, {"tile": (32, 32)}, {"rowsperstrip": 16}])
def test_planes_apart_are_the_same_image(picture, dtype, layout):
    colour = np.dstack([picture(seed, dtype=np.dtype(dtype).type) for seed in range(3)])
    apart = written(colour.transpose(2, 0, 1), photometric="rgb", planarconfig="separate", **layout)
    together = written(colour, photometric="rgb", planarconfig="contig", **layout)
    assert np.array_equal(decode_bytes(apart, colour=True).pixels, colour)
    assert np.array_equal(decode_bytes(apart).pixels, decode_bytes(together).pixels)


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_alpha_is_dropped_and_never_multiplied(picture, kind, dtype):
    grey = picture(1, dtype=np.dtype(dtype).type)
    alpha = picture(2, dtype=np.dtype(dtype).type)
    data = written(np.dstack([grey] * 3 + [alpha]), photometric="rgb", extrasamples=[kind])
    decoded = decode_bytes(data)
    assert np.array_equal(decoded.pixels, grey) and decoded.notes == ("alpha dropped",)
    data = written(
        np.dstack([grey, alpha]), photometric="minisblack", extrasamples=[kind], planarconfig="contig"
    )
    assert np.array_equal(decode_bytes(data).pixels, grey)


def test_further_samples_are_dropped_and_said(picture):
    data = written(np.dstack([picture(1), picture(2)]), photometric="minisblack", planarconfig="contig")
    decoded = decode_bytes(data)
    assert np.array_equal(decoded.pixels, picture(1)) and decoded.notes == ("further samples dropped: 1",)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_rows_are_taken_as_stored_in_images_and_masks(tmp_path, picture, orientation):
    path = tmp_path / "turned.tif"
    path.write_bytes(written(picture(), extratags=[(274, "H", 1, orientation, True)]))
    decoded = decode(path)
    assert np.array_equal(decoded.pixels, picture())
    assert decoded.notes == (f"orientation tag ignored: {orientation}",)
    assert np.array_equal(decode_labels(path), picture())


def test_a_thumbnail_in_front_is_skipped(picture):
    data = pages((picture(1, 64, 64), {"subfiletype": 1}), (picture(2), {}))
    decoded = decode_bytes(data)
    assert np.array_equal(decoded.pixels, picture(2)) and "thumbnail skipped" in decoded.notes[0]
    (image,) = read_raw_bytes(data, pages="all")
    assert (image.page, image.pages) == (0, 1)


def test_a_mask_page_is_no_image(picture):
    data = bytearray(
        pages((picture(1), {"subfiletype": 2}), (picture(2), {}), (picture(3), {"subfiletype": 2}))
    )
    at = bytes(data).index(struct.pack("<HHII", 254, 4, 1, 2))
    data[at + 8] = 4  # transparency mask
    images = read_raw_bytes(bytes(data), pages="all")
    assert all(np.array_equal(image.array, picture(seed)) for image, seed in zip(images, (2, 3), strict=True))
    assert [image.page for image in images] == [0, 1]


def test_levels_of_a_pyramid_are_no_pages(picture):
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(picture(), subifds=1)
        writer.write(picture()[::2, ::2], subfiletype=1)
    images = read_raw_bytes(stream.getvalue(), pages="all")
    assert len(images) == 1 and np.array_equal(images[0].array, picture())
    assert "thumbnail skipped" in images[0].notes[0]


def test_a_file_of_nothing_but_reduced_pages_gives_the_largest(picture):
    data = pages((picture(1, 64, 64), {"subfiletype": 1}), (picture(2), {"subfiletype": 1}))
    assert np.array_equal(raw(data).array, picture(2))


@pytest.mark.parametrize("imagej", [False, True])
def test_one_page_of_a_stack_is_taken_and_said(picture, imagej):
    stack = np.stack([picture(seed) for seed in range(6)])
    data = written(stack, imagej=imagej, photometric="minisblack")
    assert decode_bytes(data).notes == ("first of several pages: 1 of 6",)
    images = read_raw_bytes(data, pages="all")
    assert all(np.array_equal(image.array, page) for image, page in zip(images, stack, strict=True))
    assert {image.pages for image in images} == {6} and not any(image.notes for image in images)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("order", "<>")
def test_few_bits_are_brought_to_eight_and_labels_are_not(tmp_path, bits, order):
    values = np.random.default_rng(bits).integers(0, 1 << bits, (64, 75))
    data = with_bits(values, bits, order)
    assert np.array_equal(decode_bytes(data).pixels, values * (255 // ((1 << bits) - 1)))
    path = tmp_path / "labels.tif"
    path.write_bytes(data)
    assert np.array_equal(decode_labels(path), values)


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("order", "<>")
def test_packed_bits_declare_the_depth(bits, order):
    values = np.random.default_rng(bits).integers(0, 1 << (bits - 2), (64, 75))
    image = raw(with_bits(values, bits, order))
    assert np.array_equal(image.array, values) and image.declared_bits == bits
    pixels, notes = common_depth([image]).grey(image)
    assert np.array_equal(pixels, np.rint(values * 65535 / ((1 << bits) - 1)))
    assert notes[0].startswith(f"{bits} significant bits of 16")


@pytest.mark.parametrize(
    ("options", "bits"),
    [
        ({"extratags": [(281, "H", 1, 4095, True)]}, 12),
        ({"extratags": [(281, "H", 1, 1500, True)]}, None),  # the largest value declares nothing
        ({"ome": True, "metadata": {"axes": "YX", "SignificantBits": 14}}, 14),
        ({}, None),
    ],
)
def test_tags_that_declare_significant_bits(picture, options, bits):
    assert raw(written(picture(0, dtype=np.uint16) >> 6, **options)).declared_bits == bits


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("scale", [1, 256, 257])
def test_palettes_are_looked_up_in_images_and_kept_in_labels(tmp_path, picture, inverted, scale):
    levels = np.arange(256)[:: -1 if inverted else 1].astype(np.uint16) * scale
    data = written(picture(), photometric="palette", colormap=np.stack([levels] * 3))
    assert np.array_equal(decode_bytes(data).pixels, levels[picture()] // scale)
    coloured = np.stack([levels, levels[::-1], levels])
    rgb = decode_bytes(written(picture(), photometric="palette", colormap=coloured), colour=True).pixels
    assert np.array_equal(rgb, (coloured // scale)[:, picture()].transpose(1, 2, 0))
    path = tmp_path / "labels.tif"
    path.write_bytes(data)
    assert np.array_equal(decode_labels(path), picture())


def through_pillow(image, **options):
    stream = io.BytesIO()
    image.save(stream, "TIFF", **options)
    return stream.getvalue()


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt", "packbits", "raw"])
def test_bilevel_images_and_masks(tmp_path, picture, compression):
    black_and_white = picture() > 128
    image = Image.fromarray(black_and_white)
    data = through_pillow(image, compression=None if compression == "raw" else compression)
    if compression not in ("packbits", "raw") and not hasattr(imagecodecs, "CCITTFAX4"):  # on Python 3.10
        with pytest.raises(BadImage, match="CCITT"):
            decode_bytes(data)
        return
    assert np.array_equal(decode_bytes(data).pixels, black_and_white * 255)
    path = tmp_path / "mask.tif"
    path.write_bytes(data)
    assert set(np.unique(decode_labels(path))) == {0, 1}


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "YCbCr"])
@pytest.mark.parametrize("compression", [None, "jpeg", "tiff_lzw"])
def test_colour_models_as_pillow_reads_them(picture, mode, compression):
    colour = np.dstack([picture(seed, 96, 128) // 2 + 60 for seed in range(3)])
    data = through_pillow(Image.fromarray(colour).convert(mode), compression=compression)
    try:
        expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except OSError:
        pytest.skip("before 13 Pillow cannot read the uncompressed YCbCr that it writes")
    found = decode_bytes(data, colour=True).pixels.astype(int)
    assert np.abs(found - expected).max() <= (2 if mode in ("CMYK", "YCbCr") else 0)


def test_lossless_jpeg_2000_is_read(picture):
    for dtype in (np.uint8, np.uint16):
        image = picture(1, dtype=dtype)
        assert np.array_equal(raw(written(image, compression="jpeg2000", rowsperstrip=32)).array, image)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda a: written(a, compression="jpegxl"), "compression 50002"),
        (lambda a: written(a, compression="png"), "compression 34933"),
        (lambda a: written(a.astype(np.complex64)), "64 bits"),
        (
            lambda a: written(np.stack([a] * 4), photometric="minisblack", volumetric=True, tile=(2, 32, 32)),
            "volumes",
        ),
        (lambda a: written(a, photometric="cfa"), "interpretation 32803"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(picture, monkeypatch, data, words):
    content = data(picture(0, 64, 64))
    monkeypatch.setattr("srbench.datasets.images.tiff._samples", lambda *_: pytest.fail("decoded"))
    with pytest.raises(BadImage, match=words):
        decode_bytes(content)


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("compression", ["lzw", "deflate", "packbits", "zstd", "lzma", "jpeg", "jpeg2000"])
def test_a_damaged_strip_is_named(picture, capfd, compression, dtype, tiled):
    if compression == "jpeg" and dtype == "uint16":
        pytest.skip("JPEG of 16 bits does not exist")
    layout = {"tile": (32, 128)} if tiled else {"rowsperstrip": 32}
    data = written(picture(1, 256, 128, np.dtype(dtype).type), compression=compression, **layout)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        start, length = file.pages[0].dataoffsets[4], file.pages[0].databytecounts[4]
    part = data[start : start + length]
    damages = [bytes(length), part[length // 3 :] + part[: length // 3]]
    if compression != "jpeg2000":
        damages.append(part[: length // 2] + bytes(length - length // 2))
    for damage in damages:
        with pytest.raises(BadImage, match=f"{'tile' if tiled else 'strip'} 5 of 8 \\("):
            decode_bytes(data[:start] + damage + data[start + length :])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("compression", ["deflate", "lzma"])
def test_a_flipped_byte_is_found_where_there_is_a_checksum(picture, compression):
    data = bytearray(written(picture(), compression=compression))
    data[len(data) // 2] ^= 0x10
    with pytest.raises(BadImage, match="strip 1 of 1"):
        decode_bytes(bytes(data))


def with_strip(compression, code, rows):
    """A TIFF of 64x64 px that says ``compression`` and holds ``code``, cut as one strip of ``rows``."""
    tags = {256: 64, 257: 64, 258: 8, 259: compression, 262: 1, 273: 8, 277: 1, 278: rows, 279: len(code)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    code += b"\0" * (len(code) % 2)
    return (
        b"II*\0" + struct.pack("<I", 8 + len(code)) + code + struct.pack("<H", len(tags)) + entries + bytes(4)
    )


@pytest.mark.parametrize("codec", ["lzw", "packbits", "deflate"])
def test_a_strip_of_another_length_is_refused(codec):
    import imagecodecs

    tag = {"lzw": 5, "packbits": 32773, "deflate": 8}[codec]
    pixels = np.random.default_rng(0).integers(0, 256, 64 * 70, dtype=np.uint8).tobytes()
    encode = getattr(imagecodecs, f"{codec}_encode")
    assert raw(with_strip(tag, encode(pixels[: 64 * 64]), 64)).array.tobytes() == pixels[: 64 * 64]
    for rows in (63, 65, 70):
        with pytest.raises(BadImage, match="strip 1 of 1"):
            decode_bytes(with_strip(tag, encode(pixels[: 64 * rows]), 64))


def test_a_missing_strip_and_one_beyond_the_end_are_refused(picture):
    data = written(picture(), rowsperstrip=32)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tag = file.pages[0].tags[279]
        offset, size = tag.valueoffset, tag.valuebytecount // tag.count
    missing = bytearray(data)
    missing[offset + size : offset + 2 * size] = bytes(size)
    with pytest.raises(BadImage, match=r"strip 2 of 3 .* is missing"):
        decode_bytes(bytes(missing))
    with pytest.raises(BadImage, match="cut short"):
        decode_bytes(data[:-10])


def test_half_a_jpeg_with_an_end_marker_is_refused(picture, capfd):
    stream = io.BytesIO()
    Image.fromarray(picture(1, 200, 200)).save(stream, "JPEG")
    data = stream.getvalue()
    assert decode_bytes(data).pixels.shape == (200, 200)
    with pytest.raises(BadImage, match="premature end"):
        decode_bytes(data[: len(data) // 2] + b"\xff\xd9")
    assert capfd.readouterr() == ("", "")


def test_nothing_is_said_on_the_terminal(picture, capfd, caplog):
    data = bytearray(
        written(picture(), extratags=[(34682, "s", 0, "[User]\nx", True), (50431, "B", 4, b"abcd", True)])
    )
    decode_bytes(bytes(data))
    at = bytes(data).index(struct.pack("<HH", 305, 2))
    data[at + 8 : at + 12] = b"\xff\xff\xff\x7f"  # the offset of the software's name
    with caplog.at_level(logging.DEBUG):
        decode_bytes(bytes(data))
    assert capfd.readouterr() == ("", "") and not caplog.records
    assert not logging.getLogger("tifffile").disabled


def test_tags_that_claim_more_than_the_file_holds_are_refused(picture):
    data = bytearray(written(picture()))
    at = bytes(data).index(struct.pack("<HH", 305, 2))
    data[at + 4 : at + 8] = struct.pack("<I", 1 << 30)
    with pytest.raises(BadImage, match="tags claim"):
        decode_bytes(bytes(data))


def test_pages_that_run_in_circles_end(picture):
    data = bytearray(pages((picture(1), {}), (picture(2), {})))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        first, second = (page.offset for page in file.pages)
    at = bytes(data).index(struct.pack("<I", second), first)
    data[at : at + 4] = struct.pack("<I", first)
    assert len(read_raw_bytes(bytes(data), pages="all")) == 1


def test_the_pages_together_are_bounded(picture):
    data = pages(*[(picture(seed), {}) for seed in range(4)])
    assert len(read_raw_bytes(data, max_pixels=20_000)) == 1
    with pytest.raises(BadImage, match="more than the limit of 20,000"):
        read_raw_bytes(data, pages="all", max_pixels=20_000)
