"""NFFA frames: no bar is left wherever it floats, and little is lost where there is none."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers import nffa_archives
from srbench.datasets.images.databar import has_databar
from srbench.datasets.images.decode import BadImage
from srbench.datasets.sources.nffa.prepare import cut_row, read_frame

FIXTURES = Path(__file__).parents[1] / "fixtures"
REAL = Path(os.environ.get("SRBENCH_TEST_SEM_OPEN", "no such folder"))


@pytest.fixture(scope="module")
def grey():
    return nffa_archives.scene(11)


@pytest.fixture(scope="module")
def awkward():
    return nffa_archives.awkward_members("Tips")


def through_jpeg(image, quality=100):
    return cv2.imdecode(np.frombuffer(nffa_archives.jpeg(image, quality), np.uint8), cv2.IMREAD_GRAYSCALE)


@pytest.mark.slow
@pytest.mark.parametrize("top", [512, 529, 590, 629, 640, 663, 677, 690])
@pytest.mark.parametrize("quality", [70, 95])
def test_floating_bars_go_with_all_that_is_below_them(grey, top, quality):
    frame = read_frame(nffa_archives.jpeg(nffa_archives.with_bar(grey, top=top), quality))
    expected = min(top - 8, 624) // 12 * 12
    height, width = frame.pixels.shape
    assert width == 1020 and height in (expected, expected - 12) and height % 12 == 0
    clean = through_jpeg(grey, quality)[:height, :width].astype(int)
    assert np.abs(frame.pixels - clean).mean() < 0.5
    assert not has_databar(frame.pixels) and frame.notes == ()


def test_the_real_bar():
    strip = cv2.imread(str(FIXTURES / "databar_bright.png"), cv2.IMREAD_GRAYSCALE)
    assert cut_row(strip) == min(169 - 3, len(strip) * 624 // 768)
    assert not has_databar(strip[: cut_row(strip)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1024, 768), (624, 1020)),
        ((1023, 767), (612, 1020)),
        ((1022, 766), (612, 1020)),
        ((2048, 1536), (1248, 2040)),
        ((512, 384), (312, 504)),
    ],
)
def test_the_rule_scales_with_the_frame(size, expected):
    assert read_frame(nffa_archives.frame(4, size=size)).pixels.shape == expected
    # A bar at 560 of 768, with a margin that grows with the frame.
    top = 560 * size[1] // 768
    pixels = read_frame(nffa_archives.frame(4, size=size, top=top)).pixels
    assert pixels.shape[0] <= top - 8 * size[1] / 768 and not has_databar(pixels)
    assert pixels.shape[0] >= top - 8 * size[1] / 768 - 13


def test_without_a_bar_only_the_blanket_is_cut(grey):
    frame = read_frame(nffa_archives.jpeg(grey, 95))
    assert np.array_equal(frame.pixels, through_jpeg(grey, 95)[:624, :1020]) and frame.notes == ()
    assert frame.pixels.flags.c_contiguous and frame.pixels.base is None


@pytest.mark.slow
def test_the_colour_of_the_bar_is_not_the_images(grey):
    image = nffa_archives.with_bar(grey, top=640)
    assert np.ptp(image[640:], axis=2).max() > 100
    assert read_frame(nffa_archives.jpeg(image)).notes == ()
    tinted = image.copy()
    tinted[100:200, 100:200, 2] //= 2
    (note,) = read_frame(nffa_archives.jpeg(tinted)).notes
    assert "coloured pixels above the cut" in note
    assert 9_000 < int(note.split()[0].replace(",", "")) < 12_000


@pytest.mark.slow
def test_a_saturated_specimen_loses_rows_and_nothing_more(grey):
    bright = grey.copy()
    bright[560:640] = 255
    assert read_frame(nffa_archives.jpeg(bright, 95)).pixels.shape == (552 // 12 * 12, 1020)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("cut short", "cut short"),
        ("no image", "not an image"),
        ("empty", "empty file"),
        ("tiny", "too small"),
        ("one value", "nothing to measure"),
        ("white band", "databar, or a nearly white band"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(awkward, name, why):
    data = awkward[nffa_archives.member_name("Tips", name)]
    with pytest.raises(BadImage, match=why):
        read_frame(data)


def test_claims_of_size_are_checked_before_decoding():
    data = bytearray(nffa_archives.frame(1, size=(128, 96), bar=False))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(BadImage, match="more than the limit"):
        read_frame(bytes(data))


@pytest.mark.slow
def test_sixteen_bit_files_too(grey):
    done, data = cv2.imencode(
        ".png", nffa_archives.with_bar(grey, top=600)[..., 1].astype(np.uint16) * 256 + 7
    )
    frame = read_frame(data.tobytes())
    assert done and frame.pixels.dtype == np.uint16 and frame.pixels.shape == (588, 1020)


@pytest.mark.skipif(
    not REAL.is_dir(), reason="set SRBENCH_TEST_SEM_OPEN to the folder of the real micrographs"
)
def test_on_real_micrographs_every_bar_goes_and_nothing_is_cut_without_one():
    generator = np.random.default_rng(3)
    for path in sorted(REAL.glob("*/images/*.png"))[::5]:
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)[:1024]
        factor = max(1024 / grey.shape[1], 768 / grey.shape[0])
        wide = cv2.resize(grey, None, fx=factor + 1e-3, fy=factor + 1e-3, interpolation=cv2.INTER_CUBIC)
        wide = np.ascontiguousarray(wide[:768, :1024])
        assert read_frame(nffa_archives.jpeg(wide, 90)).pixels.shape == (624, 1020), path
        top = int(generator.integers(512, 691))
        frame = read_frame(nffa_archives.jpeg(nffa_archives.with_bar(wide, top=top), 90))
        assert len(frame.pixels) in (min(top - 8, 624) // 12 * 12, min(top - 7, 624) // 12 * 12), path
