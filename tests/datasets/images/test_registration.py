"""Registration against warps that are known, at the noise of a fast scan."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from srbench.datasets.images.raw import BadImage
from srbench.datasets.images.registration import on_one_grid, register, residual

DOSE = 30
SIDES = (300, 320)


@pytest.fixture(scope="module")
def scene():
    """A noise-free field of discs on a rough ground, larger than the scans of it."""
    random = np.random.default_rng(3)
    rows, columns = np.mgrid[:680, :700]
    ground = ndimage.gaussian_filter(random.normal(0, 1, rows.shape), 5)
    image = 70 + 150 * ground
    for row, column, radius in zip(
        *random.uniform([[0], [0], [9]], [[680], [700], [22]], (3, 170)), strict=True
    ):
        near = np.s_[max(int(row) - 22, 0) : int(row) + 23, max(int(column) - 22, 0) : int(column) + 23]
        distance = np.hypot(rows[near] - row, columns[near] - column) / radius
        image[near] = np.where(distance < 1, 150 + 40 * np.sqrt(np.maximum(1 - distance**2, 0)), image[near])
    return np.clip(ndimage.gaussian_filter(image, 1.2), 0, 255)


def scans(scene, scale, matrix, shift, row_shifts=None, dose=DOSE):
    """A fast scan, its reference, and where every pixel of the fast scan lies in the reference."""
    reference = scene[: SIDES[0] * scale + 30, : SIDES[1] * scale + 30]
    grid = np.mgrid[: SIDES[0], : SIDES[1]].astype(float)
    places = (
        np.tensordot(scale * np.asarray(matrix), grid, 1) + np.reshape(shift, (2, 1, 1)) + (scale - 1) / 2
    )
    if row_shifts is not None:
        places += row_shifts[:, :, None]
    seen = ndimage.map_coordinates(
        ndimage.gaussian_filter(scene, 0.4 * scale if scale > 1 else 0.01), places, order=5, mode="nearest"
    )
    counts = np.random.default_rng(1).poisson(np.clip(seen, 0, 255) / 255 * dose)
    fast = np.clip((counts / dose * 255).round(), 0, 255).astype(np.uint8)
    return fast, reference.round().astype(np.uint8), places


def turned(degrees, shear=0.0):
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ [[1, shear], [0, 1]]


def errors(registration, places):
    found = registration.positions(*np.mgrid[: places.shape[1], : places.shape[2]].astype(float))
    return (found - places)[:, 10:-10, 10:-10]


@pytest.mark.parametrize(
    ("scale", "matrix", "shift"),
    [
        (1, np.eye(2), (7.3, -2.6)),
        (1, turned(0.7), (4.2, 1.9)),
        (1, turned(-0.3, shear=0.006) * 1.0045, (2.5, 6.1)),
        pytest.param(2, turned(0.4, shear=-0.004), (9.4, 3.7), marks=pytest.mark.slow),
    ],
)
def test_known_maps_are_found_to_a_tenth_of_a_pixel_along_each_axis(scene, scale, matrix, shift):
    fast, reference, places = scans(scene, scale, matrix, shift)
    error = errors(register(fast, reference, scale), places) / scale
    assert np.sqrt((error**2).mean(axis=(1, 2))).max() < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1, 2])
def test_known_shifts_of_lines_are_found_to_a_tenth_of_a_pixel_along_each_axis(scene, scale):
    lines = np.arange(SIDES[0])
    moved = scale * np.stack([0.6 * np.sin(lines / 30), 0.8 * np.cos(lines / 22)])
    fast, reference, places = scans(scene, scale, turned(0.3), (6.0, 4.0), moved)
    plain, by_row = (errors(register(fast, reference, scale, rows=rows), places) for rows in (False, True))
    assert np.sqrt((by_row**2).mean(axis=(1, 2))).max() < 0.1 * scale
    assert np.sqrt((plain**2).mean(axis=(1, 2))).min() > 0.3 * scale


@pytest.mark.slow
def test_the_recorded_pixels_stay_and_the_reference_is_warped_onto_them(scene):
    fast, reference, places = scans(scene, 2, turned(0.5), (8.3, 2.2))
    pair = on_one_grid(fast, reference, 2, register(fast, reference, 2))
    top, bottom, left, right = pair.window
    assert np.array_equal(pair.lr, fast[top:bottom, left:right])
    assert pair.hr.shape == (2 * pair.lr.shape[0], 2 * pair.lr.shape[1]) and pair.hr.dtype == np.uint8
    assert pair.alignment.overlap == pair.lr.size / fast.size > 0.8
    # The reference at the positions that are known, as spline interpolation gives it there.
    fine = np.stack([ndimage.zoom(place, 2, order=1, grid_mode=True, mode="nearest") for place in places])
    expected = ndimage.map_coordinates(reference.astype(float), fine, order=5, mode="mirror")
    expected = expected[2 * top : 2 * bottom, 2 * left : 2 * right]
    error = np.abs(pair.hr - np.clip(expected, 0, 255))[4:-4, 4:-4]
    assert np.mean(error) < 1.5
    assert pair.alignment.residual_px < 0.2
    shift = phase_cross_correlation(
        pair.as_recorded.astype(float), pair.hr.astype(float), upsample_factor=10
    )[0]
    assert pair.as_recorded.shape == pair.hr.shape and np.abs(shift).max() <= 1.0


def test_what_is_left_is_measured_in_pixels_of_the_reference(scene):
    inside = np.s_[100:356, 100:356]
    image = scene[inside].round().astype(np.uint8)
    moved = ndimage.shift(scene[50:406, 50:406], (0.0, 0.8), order=5)[50:-50, 50:-50]
    moved = moved.clip(0, 255).round().astype(np.uint8)
    assert residual(image, image, 1) == pytest.approx(0.0, abs=1e-9)
    assert residual(image, moved, 1) == pytest.approx(0.8, abs=0.1)
    small = image.reshape(128, 2, 128, 2).mean(axis=(1, 3)).round().astype(np.uint8)
    assert residual(small, moved, 2) == pytest.approx(0.8, abs=0.1)


def test_gain_and_offset_change_nothing(scene):
    fast, reference, _ = scans(scene, 1, np.eye(2), (3.4, 5.7))
    darker = (20 + 0.5 * reference.astype(float)).round().astype(np.uint8)
    first, second = (register(fast, image, 1) for image in (reference, darker))
    assert np.allclose(first.matrix, second.matrix, atol=0.02)


@pytest.mark.slow
def test_another_field_and_an_empty_one_are_refused(scene):
    fast, reference, _ = scans(scene, 1, np.eye(2), (0, 0))
    other = scene[::-1, ::-1][: reference.shape[0], : reference.shape[1]].round().astype(np.uint8)
    for wrong in (other, np.full_like(reference, 80)):
        with pytest.raises(BadImage, match="same field"):
            register(fast, wrong, 1)
