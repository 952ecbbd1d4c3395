"""Databars: found where they are, at the right row, in every style; not found where none is."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from srbench.datasets.images.databar import cut_databar, find_databar, has_databar

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
