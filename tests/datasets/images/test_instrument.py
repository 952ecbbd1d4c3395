"""Pixel sizes and other facts of instruments, from tags that tifffile wrote and text files beside images."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from srbench.datasets.images.instrument import InstrumentFacts, read_instrument

ROWS, COLUMNS = 40, 64
FEI = (
    "[User]\r\nUserText=x\r\n[Beam]\r\nBeam=EBeam\r\n[EBeam]\r\nHFW=6.4e-07\r\n[Scan]\r\nDwelltime=3e-06\r\n"
    "{scan}[Image]\r\nResolutionX=64\r\nResolutionY=30\r\n"
)
ZEISS = "\r\n0\r\n0\r\n0\r\n3e-009\r\n1\r\n"
TESCAN = "AccFrames=1\r\nImageStripSize=8\r\nPixelSizeX=2.5e-09\r\nPixelSizeY=2.5e-09\r\nDwellTime=1e-06\r\n"


def write(path: Path, tags: dict[int, str | bytes] | None = None, **options: Any) -> Path:
    extra = []
    for code, value in (tags or {}).items():
        data = value if isinstance(value, bytes) else value.encode("cp1252")
        extra.append((code, 7, len(data), data, True))
    tifffile.imwrite(
        path, np.zeros((ROWS, COLUMNS), np.uint8), extratags=extra, **{"metadata": None, **options}
    )
    return path


def size(path: Path) -> tuple[float | None, str]:
    facts = read_instrument(path)
    return facts.pixel_size_nm, facts.source


@pytest.mark.parametrize("code", [34680, 34682])
def test_fei_says_pixel_rows_and_dwell_time(tmp_path: Path, code: int) -> None:
    text = FEI.format(scan="PixelWidth=5.828e-09\r\nPixelHeight=5.832e-09\r\n")
    facts = read_instrument(write(tmp_path / "a.tif", {code: text}))
    assert facts == InstrumentFacts(pytest.approx(5.83), "FEI tag", 30, None, 3e-6)


def test_fei_without_a_pixel_size_has_the_width_of_its_field(tmp_path: Path) -> None:
    assert size(write(tmp_path / "a.tif", {34682: FEI.format(scan="")})) == (pytest.approx(10.0), "FEI tag")


def test_fei_xml(tmp_path: Path) -> None:
    xml = (
        '<?xml version="1.0"?><Metadata xmlns:nil="http://schemas.fei.com/Metadata/v1/2013/07"><BinaryResult>'
        '<PixelSize><X unit="m" unitPrefixPower="1">6.5e-09</X><Y unit="m" unitPrefixPower="1">6.5e-09</Y>'
        "</PixelSize></BinaryResult></Metadata>"
    )
    assert size(write(tmp_path / "a.tif", {34683: xml})) == (pytest.approx(6.5), "FEI tag")


def test_a_file_of_another_width_than_its_fei_tag_is_noted(tmp_path: Path) -> None:
    text = FEI.format(scan="PixelWidth=5e-09\r\n").replace("ResolutionX=64", "ResolutionX=128")
    facts = read_instrument(write(tmp_path / "a.tif", {34682: text}))
    assert facts.pixel_size_nm == pytest.approx(5.0) and facts.image_rows is None
    assert facts.notes[0].startswith("cut or resized")


@pytest.mark.parametrize(
    ("values", "expected", "notes"),
    [
        ("AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 2.615 \u00b5m\r\n", 2615.0, 0),
        ("AP_PIXEL_SIZE\r\nPixel Size = 11.5 nm\r\n", 11.5, 0),
        ("AP_PIXEL_SIZE\r\nPixel Size = 950.0 pm\r\n", 0.95, 0),
        (
            "AP_PIXEL_SIZE\r\nPixel Size = 3.5 nm\r\nAP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 7.0 nm\r\n",
            7.0,
            1,
        ),
        (
            "AP_PIXEL_SIZE\r\nPixel Size = 7.01 nm\r\nAP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 7.0 nm\r\n",
            7.0,
            0,
        ),
    ],
)
def test_zeiss_has_the_size_of_the_image_first(
    tmp_path: Path, values: str, expected: float, notes: int
) -> None:
    path = write(tmp_path / "a.tif", {34118: ZEISS + values})
    facts = read_instrument(path)
    assert (facts.pixel_size_nm, facts.source) == (pytest.approx(expected), "Zeiss tag")
    assert len(facts.notes) == notes and facts.image_rows is None


def test_tescan_text_behind_its_preview(tmp_path: Path) -> None:
    preview = bytes(range(256)) * 4
    path = write(tmp_path / "a.tif", {50431: preview + b"\x02\x00\x10\x00" + TESCAN.encode()})
    assert read_instrument(path) == InstrumentFacts(pytest.approx(2.5), "TESCAN tag", ROWS - 8, None, 1e-6)


@pytest.mark.parametrize("name", ["a.hdr", "a-tif.hdr", "a.HDR"])
def test_tescan_header_beside_the_image(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "a.tif")
    (tmp_path / name).write_text("[MAIN]\n" + TESCAN)
    assert read_instrument(path) == InstrumentFacts(pytest.approx(2.5), "TESCAN .hdr", ROWS - 8, None, 1e-6)


def test_a_header_that_may_be_of_two_images_is_noted(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.tif"), tmp_path / "a.png"]
    Image.new("L", (COLUMNS, ROWS)).save(paths[1])
    (tmp_path / "a.hdr").write_text("[MAIN]\n" + TESCAN)
    assert [len(read_instrument(path).notes) for path in paths] == [1, 1]
    (tmp_path / "a.hdr").rename(tmp_path / "a-tif.hdr")
    assert [read_instrument(path).pixel_size_nm for path in paths] == [pytest.approx(2.5), None]
    assert not read_instrument(paths[0]).notes


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_hitachi_text_beside_the_image(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (COLUMNS, ROWS)).save(path)
    text = "[SemImageFile]\r\nImageName=a.png\r\nDataSize=64x36\r\nPixelSize=24.8\r\nUser=Zo\u00eb\r\n"
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    assert read_instrument(path) == InstrumentFacts(24.8, "Hitachi .txt", 36)


def test_hitachi_text_of_another_image_of_the_same_stem_is_left_alone(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.tif"), tmp_path / "a.bmp"
    Image.new("L", (COLUMNS, ROWS)).save(second)
    (tmp_path / "a.txt").write_text("ImageName=a.bmp\nPixelSize=24.8\n")
    assert size(first) == (None, "") and size(second) == (24.8, "Hitachi .txt")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$CM_MAG 5000\n$$SM_MICRON_BAR 160\n$$SM_MICRON_MARKER 5um\n", 31.25),
        ("$SM_MICRON_BAR 213\n$SM_MICRON_MARKER 100nm\n", 100 / 213),
        ("$CM_PIXEL_SIZE 4.2 nm\n$$SM_MICRON_BAR 1\n$$SM_MICRON_MARKER 5um\n", 4.2),
    ],
)
def test_jeol_text_beside_the_image(tmp_path: Path, text: str, expected: float) -> None:
    path = write(tmp_path / "a.tif")
    (tmp_path / "a.txt").write_text(text + "$CM_FULL_SIZE 64 32\n")
    assert read_instrument(path) == InstrumentFacts(pytest.approx(expected), "JEOL .txt", 32)


def test_text_for_an_image_of_another_width_is_not_believed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif")
    (tmp_path / "a.txt").write_text("$$SM_MICRON_BAR 160\n$$SM_MICRON_MARKER 5um\n$CM_FULL_SIZE 1280 960\n")
    facts = read_instrument(path)
    assert facts.pixel_size_nm is None and len(facts.notes) == 1


@pytest.mark.parametrize(("unit", "per_nm"), [("nm", 1), ("um", 1e-3), ("\\u00B5m", 1e-3), ("micron", 1e-3)])
def test_imagej(tmp_path: Path, unit: str, per_nm: float) -> None:
    path = write(
        tmp_path / "a.tif", imagej=True, resolution=(0.25 / per_nm, 0.25 / per_nm), metadata={"unit": unit}
    )
    assert size(path) == (pytest.approx(4.0, rel=1e-5), "ImageJ tag")


def test_ome(tmp_path: Path) -> None:
    metadata = {"PhysicalSizeX": 0.0125, "PhysicalSizeXUnit": "\u00b5m", "SignificantBits": 12}
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.zeros((ROWS, COLUMNS), np.uint16), metadata=metadata)
    assert read_instrument(path) == InstrumentFacts(pytest.approx(12.5), "OME", None, 12)


def test_tvips_counts_in_nanometres(tmp_path: Path) -> None:
    first = np.zeros(1, np.dtype([("Version", "i4"), *tifffile.TIFF.TVIPS_HEADER_V1[1:]]))
    second = np.zeros(1, np.dtype(tifffile.TIFF.TVIPS_HEADER_V2))
    first["Version"], second["PixelSizeX"], second["PixelSizeY"] = 2, 0.5, 0.5
    second["Magic"] = 0xAAAAAAAA
    path = write(tmp_path / "a.tif", {37706: first.tobytes() + second.tobytes()}, byteorder="<")
    assert size(path) == (pytest.approx(0.5), "TVIPS tag")


def test_olympus_sis(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", {33560: bytes(68)}, byteorder="<")
    data = path.read_bytes()
    general = struct.pack("<10xhdd8xd2x34s32s", -9, 1.75, 1.75, 1000.0, b"", b"")
    header = struct.pack("<4s6xhhhhh6x32sH", b"SIS0", 0, 0, 1, 1, 120, b"x", 1)
    header += struct.pack("<hhI", 1, 1, len(data))
    with tifffile.TiffFile(path) as tiff:
        at = tiff.pages.first.tags[33560].valueoffset
    path.write_bytes(data[:at] + header + data[at + len(header) :] + general)
    assert size(path) == (pytest.approx(1.75), "SIS tag")


def test_mrc_has_its_cell_in_angstrom(tmp_path: Path) -> None:
    header = bytearray(1024)
    struct.pack_into("<3i", header, 0, COLUMNS, ROWS, 1)
    struct.pack_into("<3i", header, 28, COLUMNS, ROWS, 1)
    struct.pack_into("<3f", header, 40, COLUMNS * 15.0, ROWS * 15.0, 15.0)
    header[208:212] = b"MAP "
    (tmp_path / "a.mrc").write_bytes(header)
    assert size(tmp_path / "a.mrc") == (pytest.approx(1.5), "MRC header")


@pytest.mark.parametrize("dpi", [72, 96, 150, 200, 300, 600, 1200])
def test_the_resolution_of_screens_and_printers_is_never_believed(tmp_path: Path, dpi: int) -> None:
    inch = write(tmp_path / "inch.tif", resolution=(dpi, dpi), resolutionunit="INCH")
    centimetre = write(tmp_path / "cm.tif", resolution=(dpi / 2.54, dpi / 2.54), resolutionunit="CENTIMETER")
    png = tmp_path / "a.png"
    Image.new("L", (COLUMNS, ROWS)).save(png, dpi=(dpi, dpi))
    assert {size(path) for path in (inch, centimetre, png)} == {(None, "")}


def test_a_resolution_that_no_device_has_is_believed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", resolution=(2e6, 2e6), resolutionunit="CENTIMETER")
    assert size(path) == (pytest.approx(5.0), "TIFF resolution")
    Image.new("L", (COLUMNS, ROWS)).save(tmp_path / "a.png", dpi=(343_170_900 * 0.0254,) * 2)
    assert size(tmp_path / "a.png") == (pytest.approx(2.914, abs=1e-5), "PNG pHYs")


@pytest.mark.parametrize("value", ["0", "-5e-09", "nan", "inf", "3", "1e-14"])
def test_impossible_sizes_are_ignored_with_a_note(tmp_path: Path, value: str) -> None:
    facts = read_instrument(write(tmp_path / "a.tif", {34682: FEI.format(scan=f"PixelWidth={value}\r\n")}))
    assert facts.pixel_size_nm is None and len(facts.notes) == 1


def test_what_is_not_square_has_its_width_and_a_note(tmp_path: Path) -> None:
    text = FEI.format(scan="PixelWidth=5e-09\r\nPixelHeight=7e-09\r\n")
    facts = read_instrument(write(tmp_path / "a.tif", {34682: text}))
    assert facts.pixel_size_nm == pytest.approx(5.0) and len(facts.notes) == 1


@pytest.mark.parametrize("code", [34680, 34682, 34683, 34118, 50431, 33560, 37706, 270, 281, 282, 296])
def test_damaged_metadata_raise_nothing_and_print_nothing(
    tmp_path: Path, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(code).integers(0, 256, 300, np.uint8).tobytes()
    assert read_instrument(write(tmp_path / "a.tif", {code: noise})).pixel_size_nm is None
    assert read_instrument(write(tmp_path / "b.tif", {code: b"<x><OME>"})).pixel_size_nm is None
    whole = write(tmp_path / "c.tif", {code: FEI.format(scan="")}).read_bytes()
    for end in (0, 4, 9, 100, len(whole) // 2):
        (tmp_path / "c.tif").write_bytes(whole[:end])
        read_instrument(tmp_path / "c.tif")
    read_instrument(tmp_path / "missing.tif")
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.skipif(
    "SRBENCH_TEST_KRISS" not in os.environ,
    reason="set SRBENCH_TEST_KRISS to the folder of the real FEI exports",
)
def test_every_real_fei_file_says_what_its_manifest_says() -> None:
    root = Path(os.environ["SRBENCH_TEST_KRISS"])
    files = json.loads((root / "MANIFEST.json").read_text())["files"]
    for file in files:
        facts = read_instrument(root / file["path"])
        assert facts == InstrumentFacts(
            pytest.approx(file["pixel_nm"]),
            "FEI tag",
            442,
            None,
            pytest.approx(file["dwell_s"]),
            stage_um=pytest.approx((file["stage_x_m"] * 1e6, file["stage_y_m"] * 1e6)),
        )
    assert len(files) == 100
