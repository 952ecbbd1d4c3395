"""Databars: found where they are, at the right row, in every style; not found where none is."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from srbench.datasets.images import databar
from srbench.datasets.images.databar import (
    crop_micrograph,
    cut_databar,
    decode_micrograph,
    find_databar,
    has_databar,
    image_region,
    row_shares,
    without_databar,
)
from srbench.datasets.images.decode import BadImage, RawImage
from srbench.datasets.images.depth import common_depth

FIXTURES = Path(__file__).parents[1] / "fixtures"


def draw_bar(pixels, top, height, level, *, frame=None):
    """Paint a bar with text and a scale bar, as an instrument does."""
    drawn = pixels.copy()
    ink = 0 if level > 127 else 255
    drawn[top : top + height] = level
    strip = drawn[top : top + height]
    for line, text in enumerate(("HV 5.00 kV  mag 1 200 x  WD 13.4 mm", "det ETD  2/6/2020  Institute")):
        row = int(height * (0.45 + 0.45 * line))
        cv2.putText(strip, text, (10, row), cv2.FONT_HERSHEY_SIMPLEX, height / 90, ink, 1, cv2.LINE_AA)
    cv2.line(strip, (drawn.shape[1] - 150, height // 3), (drawn.shape[1] - 20, height // 3), ink, 2)
    if frame is not None:
        drawn[top] = frame
        drawn[top + height - 1] = frame
    return drawn


@given(
    seed=st.integers(0, 2**32 - 1),
    level=st.integers(0, 255),
    spread=st.sampled_from([0.0, 0.5, 2.0, 4.0, 6.0, 9.0, 14.0, 40.0]),
    text=st.floats(0, 0.4),
    width=st.integers(1, 200),
)
def test_rows_are_passed_over_only_where_no_level_has_the_share_of_a_blank_row(
    seed, level, spread, text, width
):
    generator = np.random.default_rng(seed)
    rows = generator.normal(level, spread, (40, width))
    written = generator.random(rows.shape) < text
    rows[written] = generator.integers(0, 256, written.sum())
    rows = np.clip(np.rint(rows), 0, 255).astype(np.uint8)
    nearest = [(np.abs(row.astype(int) - np.arange(256)[:, None]) <= 6).mean(axis=1).max() for row in rows]
    assert not (databar._surely_not_blank(rows) & (np.array(nearest) >= 0.83)).any()
    levels = generator.integers(0, 256, len(rows))
    distance = np.abs(rows.astype(int) - levels[:, None])
    tolerance = np.where((levels > 30) & (levels < 225), 1, 6)[:, None]
    assert np.array_equal(databar._share(rows, levels), (distance <= tolerance).mean(axis=1))


@pytest.mark.parametrize("width", [1, 3, 1024, (1 << 23) + 1])
def test_shares_of_rows_are_means(width):
    flags = np.random.default_rng(0).random((2, width)) < 0.3
    flags = np.concatenate([flags, np.ones((1, width), bool)])
    assert np.array_equal(row_shares(flags), flags.mean(axis=1))
    white = databar._row_sums(np.full((1, width), 255, np.uint8))
    assert white.tolist() == [255 * width]


def test_most_rows_of_a_specimen_are_passed_over(picture):
    assert databar._surely_not_blank(picture(3, 480, 640)).mean() > 0.9


@pytest.mark.parametrize("name", ["bright", "dark"])
def test_real_bars(name):
    pixels = cv2.imread(str(FIXTURES / f"databar_{name}.png"), cv2.IMREAD_GRAYSCALE)
    expected = {"bright": (169, 187, 255), "dark": (164, 242, 4)}[name]
    bar = find_databar(pixels)
    assert (bar.top, bar.bottom, bar.level) == expected
    assert has_databar(pixels)
    cut, _ = cut_databar(pixels)
    assert len(cut) == expected[0] - 8 and not has_databar(cut)


@pytest.mark.slow
@pytest.mark.parametrize("level", [255, 250, 0, 4, 128, 211])
@pytest.mark.parametrize("frame", [None, 0, 255])
@pytest.mark.parametrize("below", [0, 18])
def test_drawn_bars_of_every_style(picture, level, frame, below):
    scene = picture(level, 480, 640)
    drawn = draw_bar(scene, 480 - 50 - below, 50, level, frame=frame)
    bar = find_databar(drawn)
    assert bar is not None and abs(bar.level - level) <= 6
    assert bar.top == 430 - below and abs(bar.bottom - (480 - below)) <= 1
    cut, _ = cut_databar(drawn)
    assert np.array_equal(cut, scene[: 422 - below]) and np.shares_memory(cut, drawn)
    assert not has_databar(cut)


@pytest.mark.slow
@pytest.mark.parametrize("level", [255, 0])
@pytest.mark.parametrize("quality", [70, 90])
def test_bars_in_jpeg_files(picture, level, quality):
    drawn = draw_bar(picture(7, 480, 640), 415, 50, level)
    _, data = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, quality])
    bar = find_databar(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))
    # Where the bar's edge is not on the 8-pixel grid, the rows above it are smeared: hence the cut's margin.
    assert bar is not None and abs(bar.top - 415) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("tail", [0, 5, 18])
@pytest.mark.parametrize("quality", [85, 95])
def test_a_real_bar_shrunk_and_compressed(picture, tail, quality):
    strip = cv2.imread(str(FIXTURES / "databar_dark.png"), cv2.IMREAD_GRAYSCALE)[164:]
    strip = cv2.resize(strip, (400, 49), interpolation=cv2.INTER_AREA)
    scene = picture(4, 360, 400)
    top = 360 - tail - 49
    scene[top : top + 49] = strip
    _, data = cv2.imencode(".jpg", scene, [cv2.IMWRITE_JPEG_QUALITY, quality])
    cut, bar = cut_databar(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))
    assert bar is not None and abs(bar.top - top) <= 3 and not has_databar(cut)


@pytest.mark.slow
@pytest.mark.parametrize(("above", "below"), [(36, 56), (120, 4), (90, 250)])
@pytest.mark.parametrize("softness", [0.01, 6])
def test_a_straight_interface_to_a_smooth_layer_or_a_void_is_no_bar(above, below, softness):
    rows = np.mgrid[:300, :400][0]
    step = (1 + np.tanh((rows - 215) / softness)) / 2
    noise = np.random.default_rng(0).normal(0, 2.0, rows.shape)
    scene = np.clip(above + (below - above) * step + noise, 0, 255).astype(np.uint8)
    assert find_databar(scene) is None


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0, 4, 8])
def test_bars_in_16_and_12_bit_images(picture, shift):
    drawn = draw_bar(picture(3, 480, 640), 430, 50, 255).astype(np.uint16) << shift
    assert find_databar(drawn).top == 430


@pytest.mark.parametrize("seed", range(8))
def test_no_bar_where_there_is_none(picture, seed):
    assert not has_databar(picture(seed, 240, 320))


@pytest.mark.slow
def test_black_and_white_regions_of_a_specimen_are_no_bars(picture):
    scene = picture(1, 300, 400)
    rows = np.arange(300)[:, None]
    horizon = 200 + 25 * np.sin(np.arange(400) / 40)
    dark = np.where(rows > horizon, 0, scene).astype(np.uint8)  # an uneven edge above a black void
    tilted = np.where(rows > 180 + np.arange(400) / 4, 255, scene).astype(np.uint8)
    hole = scene.copy()
    hole[200:280, 40:330] = 0  # flat, but not from edge to edge
    for image in (dark, tilted, hole, np.zeros((200, 200), np.uint8)):
        assert find_databar(image) is None


def test_a_bar_cannot_take_most_of_the_image(picture):
    scene = picture(1, 300, 400)
    scene[170:] = 0
    assert find_databar(scene) is None


def test_a_nearly_white_band_anywhere_fails_the_final_check(picture):
    scene = picture(2, 300, 400)
    scene[20:34] = 240
    assert find_databar(scene) is None and has_databar(scene)


@pytest.mark.parametrize("level", [0, 65535])
@pytest.mark.parametrize("brightest", [300, 1200, 4095])
def test_a_full_range_bar_over_a_dark_12_bit_image_is_cut_and_has_no_say_in_the_depth(
    picture, level, brightest
):
    specimen = np.rint(picture(5, 480, 640) / 255 * brightest).astype(np.uint16)
    drawn = (
        draw_bar(np.full((480, 640), level // 257, np.uint8), 434, 46, level // 257).astype(np.uint16) * 257
    )
    drawn[:434] = specimen[:434]
    raw = RawImage(drawn)
    region = image_region(raw)
    assert (region.rows, region.columns) == (slice(0, 426), slice(0, 640))
    bits = {300: 10, 1200: 12, 4095: 12}[brightest]
    assert common_depth([without_databar(raw)]).bits == bits
    micrograph = crop_micrograph(raw)
    assert np.array_equal(micrograph.pixels, np.rint(specimen[:426] * (65535.0 / (2**bits - 1))))
    assert "databar cut: rows 426 to 480 dropped" in micrograph.notes


@pytest.mark.slow
def test_a_dark_upper_half_is_no_reason_to_cut_a_bright_lower_one(picture):
    for seed in range(4):
        scene = picture(seed, 480, 640).astype(np.uint16) * 257
        scene[:300] //= 60
        scene[350:400, 100:200] //= 30
        assert find_databar(scene) is None


def framed(picture, *, rows=442, line=True):
    """An FEI export: a green frame around the image, black lines inside of it, a grey databar below."""
    pixels = np.repeat(draw_bar(picture(2, 480, 512), rows, 480 - rows, 0, frame=255)[..., None], 3, axis=2)
    if line:
        pixels[1, :, :] = pixels[:rows, 1, :] = 0
    pixels[[0, rows - 1]] = pixels[:rows, 0] = pixels[:rows, -1] = (0, 255, 0)
    return pixels


@pytest.mark.parametrize("rows_above", [None, 442])
@pytest.mark.parametrize("line", [False, True])
def test_the_coloured_frame_of_an_export_is_cut_with_its_bar(tmp_path, picture, rows_above, line):
    pixels = framed(picture, line=line)
    micrograph = crop_micrograph(RawImage(pixels, rows_above_databar=rows_above))
    first = 2 if line else 1
    assert (micrograph.rows, micrograph.columns) == (slice(first, 441), slice(first, 511))
    assert (micrograph.file_rows, micrograph.file_columns) == (480, 512)
    assert np.array_equal(micrograph.pixels, pixels[first:441, first:511, 0])
    assert micrograph.notes[0].startswith("coloured frame cut")
    assert micrograph.notes[1] == "databar cut: rows 442 to 480 dropped"
    path = tmp_path / "export.tif"
    tifffile.imwrite(path, pixels)
    assert np.array_equal(decode_micrograph(path).pixels, micrograph.pixels)


def test_a_frame_without_a_bar_is_cut_too(picture):
    whole = framed(picture)[:442]
    assert crop_micrograph(RawImage(whole)).pixels.shape == (439, 509)


def test_rows_of_the_tags_cut_what_the_picture_does_not_show(picture):
    pixels = picture(1, 480, 640)
    micrograph = crop_micrograph(RawImage(pixels, rows_above_databar=430))
    assert np.array_equal(micrograph.pixels, pixels[:430])
    assert crop_micrograph(RawImage(pixels, rows_above_databar=480)).pixels.shape == (480, 640)
    assert crop_micrograph(RawImage(pixels, rows_above_databar=100)).pixels.shape == (
        480,
        640,
    )  # of another image


def test_pages_are_chosen_and_blank_ones_are_no_micrographs(tmp_path, picture):
    path = tmp_path / "pages.tif"
    tifffile.imwrite(
        path, np.stack([picture(1), picture(2), np.full((96, 128), 7, np.uint8)]), photometric="minisblack"
    )
    assert np.array_equal(decode_micrograph(path, page=1).pixels, picture(2))
    with pytest.raises(BadImage, match=r"pages\.tif: every pixel has the value 7"):
        decode_micrograph(path, page=2)
    with pytest.raises(BadImage, match="expected page 3"):
        decode_micrograph(path, page=3)
    assert (crop_micrograph(RawImage(np.full((96, 128), 7, np.uint8))).pixels == 7).all()


REAL = Path(os.environ.get("SRBENCH_TEST_KRISS", "no such folder"))


@pytest.mark.skipif(not REAL.is_dir(), reason="set SRBENCH_TEST_KRISS to the folder of the real FEI exports")
def test_real_fei_exports():
    for path in sorted(REAL.rglob("*.tif"))[::10]:
        micrograph = decode_micrograph(path)
        assert (micrograph.rows, micrograph.columns) == (slice(2, 441), slice(2, 511)), path
