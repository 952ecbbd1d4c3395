"""PNG, BMP, JPEG and MRC: as Pillow reads them, or refused by name, and silent on the terminal."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from srbench.datasets.images.decode import BadImage, decode_bytes, decode_labels, read_header, read_raw_bytes


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(samples, bits, colour_type, *extra):
    """A PNG of ``(H, W)`` or ``(H, W, C)`` samples of ``bits`` each."""
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1)
    packed = np.packbits(
        ((rows[..., None].astype(int) >> np.arange(bits - 1, -1, -1)) & 1).reshape(height, -1), axis=1
    )
    body = b"".join(b"\0" + row.tobytes() for row in packed)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0))
    return b"".join(
        (b"\x89PNG\r\n\x1a\n", header, *extra, chunk(b"IDAT", zlib.compress(body)), chunk(b"IEND", b""))
    )


def labels_of(tmp_path, data):
    path = tmp_path / "labels"
    path.write_bytes(data)
    return decode_labels(path)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_png_of_every_depth(tmp_path, bits):
    values = np.random.default_rng(bits).integers(0, 1 << bits, (64, 75))
    data = png(values, bits, 0, chunk(b"gAMA", struct.pack(">I", 45455)), chunk(b"sBIT", b"\1"))
    scale = 255 // ((1 << bits) - 1) if bits < 8 else 1
    assert np.array_equal(read_raw_bytes(data)[0].array, values * scale)
    assert np.array_equal(labels_of(tmp_path, data), values)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("transparent", [(), (chunk(b"tRNS", b"\0"),)])
def test_palette_png_is_looked_up_in_images_and_kept_in_labels(tmp_path, bits, transparent):
    values = np.random.default_rng(bits).integers(0, 1 << bits, (64, 75))
    palette = np.random.default_rng(9).integers(0, 256, (1 << bits, 3)).astype(np.uint8)
    data = png(values, bits, 3, chunk(b"PLTE", palette.tobytes()), *transparent)
    assert np.array_equal(decode_bytes(data, colour=True).pixels, palette[values])
    assert np.array_equal(labels_of(tmp_path, data), values)


@pytest.mark.parametrize("bits", [8, 16])
def test_alpha_of_png_is_dropped(bits):
    samples = np.random.default_rng(bits).integers(0, 1 << bits, (64, 75, 2))
    decoded = decode_bytes(png(samples, bits, 4))
    assert np.array_equal(decoded.pixels, samples[..., 0]) and decoded.notes == ("alpha dropped",)
    key = chunk(b"tRNS", struct.pack(">H", int(samples[0, 0, 0])))
    assert np.array_equal(decode_bytes(png(samples[..., 0], bits, 0, key)).pixels, samples[..., 0])


def test_a_damaged_colour_profile_says_nothing(capfd):
    values = np.random.default_rng(0).integers(0, 256, (64, 64))
    decode_bytes(png(values, 8, 0, chunk(b"iCCP", b"x\0\0" + zlib.compress(b"junk" * 40))))
    assert capfd.readouterr() == ("", "")


def test_png_data_that_end_early_are_refused(capfd):
    values = np.random.default_rng(0).integers(0, 256, (64, 64))
    short = bytearray(png(values[:32], 8, 0))
    short[20:24] = struct.pack(">I", 64)
    short[29:33] = struct.pack(">I", zlib.crc32(short[12:29]))
    with pytest.raises(BadImage, match="damaged"):
        decode_bytes(bytes(short))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGB"])
def test_bmp_as_pillow_reads_it(tmp_path, picture, mode):
    colour = np.dstack([picture(seed) for seed in range(3)])
    image = Image.fromarray(colour).convert(mode)
    stream = io.BytesIO()
    image.save(stream, "BMP")
    found = decode_bytes(stream.getvalue(), colour=True).pixels
    assert np.array_equal(found, np.asarray(image.convert("RGB")))
    if mode in ("L", "P"):
        assert np.array_equal(labels_of(tmp_path, stream.getvalue()), np.asarray(image))


@pytest.mark.parametrize(("bits", "compression"), [(16, 0), (16, 3), (32, 3)])
def test_bmp_with_bit_fields_is_refused_by_name(bits, compression):
    body = bytes(64 * 64 * bits // 8)
    header = struct.pack("<IiiHHIIiiII", 40, 64, 64, 1, bits, compression, len(body), 0, 0, 0, 0)
    masks = struct.pack("<III", 0xF800, 0x7E0, 0x1F) if compression == 3 else b""
    start = 14 + len(header) + len(masks)
    data = b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + header + masks + body
    with pytest.raises(BadImage, match="bit fields"):
        decode_bytes(data)


def test_a_bmp_whose_rows_end_behind_the_file_is_refused(picture):
    stream = io.BytesIO()
    Image.fromarray(picture()).save(stream, "BMP")
    with pytest.raises(BadImage, match="cut short"):
        decode_bytes(stream.getvalue()[:-40])


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_as_pillow_reads_it(picture, mode, progressive, subsampling):
    colour = np.dstack([picture(seed, 67, 85) for seed in range(3)])
    stream = io.BytesIO()
    Image.fromarray(colour).convert(mode).save(
        stream, "JPEG", subsampling=subsampling, progressive=progressive
    )
    if mode == "CMYK" and subsampling != "4:4:4":
        with pytest.raises(BadImage, match="unusual chroma subsampling"):
            decode_bytes(stream.getvalue())
        return
    found = decode_bytes(stream.getvalue(), colour=True).pixels
    expected = np.asarray(Image.open(stream).convert("RGB"))
    assert np.abs(found.astype(int) - expected).max() <= (1 if mode == "CMYK" else 0)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.4, 0.6, 0.9, 0.98])
def test_a_jpeg_with_an_end_too_early_is_refused(picture, capfd, progressive, share):
    stream = io.BytesIO()
    Image.fromarray(picture(3, 200, 300)).save(stream, "JPEG", progressive=progressive)
    data = stream.getvalue()
    for ending in (b"\xff\xd9", b"", b"\xff\xd9" + data[-200:]):
        with pytest.raises(BadImage, match="damaged or cut short"):
            decode_bytes(data[: int(len(data) * share)] + ending)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_progressive_jpeg_that_ends_between_two_scans_is_refused(picture, mode):
    stream = io.BytesIO()
    Image.fromarray(picture(3, 96, 96)).convert(mode).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    scans = [at for at in range(len(data) - 1) if data[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 4 and decode_bytes(data).pixels.shape == (96, 96)
    for start in scans[1:]:
        with pytest.raises(BadImage, match="damaged"):
            decode_bytes(data[:start] + b"\xff\xd9")


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float32"])
def test_mrc_is_read_where_its_reader_is_installed(tmp_path, dtype):
    mrcfile = pytest.importorskip("mrcfile")
    values = np.random.default_rng(0).integers(0, 100, (3, 64, 75)).astype(dtype)
    mrcfile.write(tmp_path / "a.mrc", values)
    data = (tmp_path / "a.mrc").read_bytes()
    header = read_header(data)
    assert (header.kind, header.width, header.height, header.pages) == ("MRC", 75, 64, 3)
    images = read_raw_bytes(data, pages="all")
    assert all(np.array_equal(image.array, section) for image, section in zip(images, values, strict=True))
    assert read_raw_bytes(data)[0].notes == ("first of several pages: 1 of 3",)
    with pytest.raises(BadImage, match="damaged or cut short"):
        read_raw_bytes(data[:-10])


@pytest.mark.parametrize("version", [3, 4])
def test_digital_micrograph_files_are_refused_with_what_to_do(version):
    with pytest.raises(BadImage, match=f"DM{version}.*save it as TIFF"):
        decode_bytes(struct.pack(">I", version) + bytes(600))
