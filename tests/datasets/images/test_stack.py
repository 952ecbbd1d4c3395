"""Several scans of one field: every page read, one grey scale for all, shifts and noise measured."""

import struct

import cv2
import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter, shift

from srbench.datasets.images.decode import BadImage, read_header
from srbench.datasets.images.stack import decode_stack, noise_level, shift_between


def tiff(pages):
    done, data = cv2.imencodemulti(".tif", [np.ascontiguousarray(page) for page in pages])
    assert done
    return data.tobytes()


@pytest.fixture
def pages(picture):
    return [picture(seed) for seed in range(4)]


def test_every_page_comes_back_in_order(pages):
    stack = decode_stack([tiff(pages)])
    assert len(stack.pages) == 4 and stack.scaling == "8 bits, as they are"
    assert all(np.array_equal(found, page) for found, page in zip(stack.pages, pages, strict=True))
    header = read_header(tiff(pages))
    assert (header.width, header.height, header.pages) == (128, 96, 4)


def test_several_files_are_a_stack_too(pages):
    stack = decode_stack([tiff(pages[:1]), tiff(pages[1:3]), tiff(pages[3:])])
    assert all(np.array_equal(found, page) for found, page in zip(stack.pages, pages, strict=True))


def test_bits_are_judged_over_all_pages(pages):
    deep = [page.astype(np.uint16) * 256 for page in pages]
    assert decode_stack([tiff(deep)]).pages[0].dtype == np.uint8
    deep[3][0, 0] += 1  # one page needs 16 bits, so all are told in 16
    stack = decode_stack([tiff(deep)])
    assert stack.scaling == "16 bits, as they are"
    assert all(np.array_equal(found, page) for found, page in zip(stack.pages, deep, strict=True))


@pytest.mark.parametrize(
    ("top", "factor", "scaling"),
    [(1.0, 65535, "white at 1:"), (255.0, 257, "white at 255:"), (60000.0, 1, "white at 65535:")],
)
def test_fractions_are_kept_on_one_scale(pages, top, factor, scaling):
    scans = [(page / 255 * top * 0.99).astype(np.float32) for page in pages]
    stack = decode_stack([tiff(scans)])
    assert scaling in stack.scaling
    for found, scan in zip(stack.pages, scans, strict=True):
        assert found.dtype == np.uint16
        assert np.abs(found - scan.astype(np.float64) * factor).max() <= 0.5


def test_whole_numbers_in_a_float_file_are_exact(pages):
    stack = decode_stack([tiff([page.astype(np.float32) for page in pages])])
    assert stack.scaling.startswith("8 significant bits of 32") and np.array_equal(stack.pages[2], pages[2])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda page: page.astype(np.float32) - 50.5, "no grey levels"),
        (lambda page: page.astype(np.float32) * 1000.5, "no grey levels"),
        (lambda page: np.where(page > 200, np.nan, page).astype(np.float32), "not numbers"),
        (lambda page: page.astype(np.float32) - 50, "no grey levels"),
        (lambda page: page[:20], "too small"),
    ],
)
def test_what_holds_no_grey_levels_is_refused(picture, change, reason):
    page = picture()
    page[0, 0], page[0, 1] = 0, 255
    with pytest.raises(BadImage, match=reason):
        decode_stack([tiff([change(page), change(page)])])


def test_pages_of_two_sizes_are_refused(pages):
    with pytest.raises(BadImage, match="pages differ in size: 128x90, 128x96"):
        decode_stack([tiff([pages[0], pages[1][:90]])])


def test_the_sum_of_the_pages_is_bounded_before_decoding(pages, monkeypatch):
    monkeypatch.setattr(tifffile, "TiffPage", lambda *_: pytest.fail("read"))
    with pytest.raises(BadImage, match="4 pages of 49,152 pixels are more than the limit of 40,000"):
        decode_stack([tiff(pages)], max_pixels=40_000)


def test_a_later_page_that_claims_to_be_huge_is_refused_by_its_header(pages):
    data = bytearray(tiff(pages[:2]))
    second = struct.unpack_from("<I", data, 4)[0]
    (entries,) = struct.unpack_from("<H", data, second)
    (second,) = struct.unpack_from("<I", data, second + 2 + 12 * entries)
    (entries,) = struct.unpack_from("<H", data, second)
    for entry in range(second + 2, second + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", data, entry)[0] == 257:
            struct.pack_into("<HI", data, entry + 2, 4, 1)
            struct.pack_into("<I", data, entry + 8, 1 << 30)
    with pytest.raises(BadImage, match="128x1073741824"):
        decode_stack([bytes(data)])


def test_a_file_cut_within_a_later_page_is_refused(pages):
    data = tiff(pages)
    with pytest.raises(BadImage, match="cut short"):
        decode_stack([data[: len(data) * 3 // 4]])


@pytest.mark.slow
@pytest.mark.parametrize("moved", [(0, 0), (3, -5), (-2.4, 1.3)])
def test_a_known_shift_is_measured(moved):
    generator = np.random.default_rng(3)
    scene = gaussian_filter(generator.random((192, 256)), 2)
    scene = (scene - scene.min()) / np.ptp(scene) * 200 + 20

    def scan(image):
        return np.clip(np.rint(image + generator.normal(0, 4, image.shape)), 0, 255).astype(np.uint8)

    measured = shift_between(scan(scene), scan(shift(scene, moved, order=3, mode="reflect")))
    assert measured.rows == pytest.approx(moved[0], abs=0.15)
    assert measured.columns == pytest.approx(moved[1], abs=0.15)
    assert 0 < measured.response <= 1


def test_scans_of_different_fields_have_a_weak_response(picture):
    generator = np.random.default_rng(0)
    first, second = (generator.integers(0, 256, (128, 128)).astype(np.uint8) for _ in range(2))
    assert shift_between(first, second).response < 0.1 < shift_between(first, first).response


@pytest.mark.parametrize("sigma", [2.0, 8.0])
def test_noise_is_measured_beside_structure(sigma):
    rows, columns = np.mgrid[:200, :200]
    scene = 120 + 40 * np.sin(rows / 9) + 40 * (columns > 100)
    noisy = np.rint(scene + np.random.default_rng(1).normal(0, sigma, scene.shape)).astype(np.uint8)
    assert noise_level(noisy) == pytest.approx(sigma, rel=0.08)
