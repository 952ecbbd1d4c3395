"""Two scans of one field brought onto one grid: where the pixels of one lie in the other, and how well.

The LR image (or fast scan) is never resampled: the reference is warped onto its grid by splines and both are
cut to what they share. A shift found by correlation is refined to an affine map by maximising the enhanced
correlation coefficient (Evangelidis and Psarakis, IEEE TPAMI 30(10), 2008), which neither gain nor offset
changes. What the map leaves is measured in blocks. Measured accuracy: docs/datasets.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.images.raw import BadImage
from srbench.utils.image import Pixels

Plane = NDArray[np.float64]

# Standard deviations of the smoothing before each fit, in LR pixels: wide to get there, then as narrow as the
# noise of a fast scan allows.
_SMOOTHING = (4.0, 2.0)
# Below it two smoothed images do not show the same field: pairs have 0.9 and more, other fields 0.3 and less.
_LEAST_CORRELATION = 0.5
_SPLINE_ORDER: Final = 5
# Reference pixels between the last pixel used and the edge, beyond which a spline has nothing to go by.
_MARGIN = 3.0
_BLOCK = 32
# Scan lines over which a shift a line is smoothed: a single line is noise.
_ROW_LENGTH = 48.0
LEFT_OUT = "pair left out"
"""Begins the reason of a pair that cannot be used."""
_ROW_STEPS = 6


@dataclass(frozen=True)
class Registration:
    """Where the pixels of an LR image lie in its reference.

    Positions are (row, column) in pixels; the centre of the first pixel is (0, 0).

    Attributes:
        matrix: ``(2, 3)``: position in the reference of LR position (r, c), as ``matrix @ (r, c, 1)``.
        correlation: of the two smoothed images where they overlap, 1 for equal ones.
        row_shifts: ``(h, 2)`` reference pixels added to the positions of each LR row; empty for none.
    """

    matrix: tuple[tuple[float, float, float], tuple[float, float, float]]
    correlation: float
    row_shifts: tuple[tuple[float, float], ...] = field(default=(), repr=False)

    def positions(self, rows: Plane, columns: Plane) -> Plane:
        """``(2, ...)`` reference positions of LR positions, which may lie between pixels."""
        (a, b, down), (c, d, right) = self.matrix
        positions = np.stack([a * rows + b * columns + down, c * rows + d * columns + right])
        if self.row_shifts:
            shifts = np.array(self.row_shifts)
            lines = np.arange(len(shifts))
            positions += np.stack([np.interp(rows, lines, shifts[:, axis]) for axis in (0, 1)])
        return positions


@dataclass(frozen=True)
class Alignment:
    """How well the recordings of one field lie on one grid.

    Attributes:
        shift_px: rows and columns of the reference from its centre to where that of LR lies.
        residual_px: root mean square, over blocks, of the shift that is left, in pixels of the reference.
        overlap: share of the recorded LR image that is left.
    """

    shift_px: tuple[float, float]
    residual_px: float
    overlap: float

    @property
    def note(self) -> str:
        """For the notes of an image."""
        down, right = self.shift_px
        moved = f"{down:.1f} px down, {right:.1f} px right"
        return f"reference warped onto the grid of LR: {moved}, residual {self.residual_px:.2g} px"


@dataclass(frozen=True)
class RegisteredPair:
    """A pair on one grid, cut to what both show.

    Attributes:
        lr: ``(h, w)``, the recorded pixels.
        hr: ``(scale h, scale w)``, the reference warped onto the grid of ``lr``; of its own type.
        as_recorded: the reference where ``hr`` lies, moved by no part of a pixel.
        alignment: how well.
        window: first and last row and column of the LR image that are left: (top, bottom, left, right).
    """

    lr: Pixels
    hr: Pixels
    as_recorded: Pixels
    alignment: Alignment
    window: tuple[int, int, int, int]


def register(lr: Pixels, reference: Pixels, scale: int, *, rows: bool = False) -> Registration:
    """Find where the pixels of an LR image lie in its reference.

    Args:
        lr: ``(h, w)`` grey.
        reference: grey, of about ``scale`` times the size.
        scale: pixels of the reference in one of LR.
        rows: fit a shift of each scan line too, smooth over the lines.

    Raises:
        BadImage: the two do not show the same field.
    """
    import cv2

    down, right = _shift(lr, reference, scale)
    centre = (scale - 1) / 2.0
    # OpenCV's order is (column, row).
    warp = np.array([[scale, 0.0, right + centre], [0.0, scale, down + centre]], np.float32)
    limit = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 200, 1e-7)
    correlation = 0.0
    try:
        for sigma in _SMOOTHING:
            template = _smooth(lr, sigma).astype(np.float32)
            image = _smooth(reference, sigma * scale).astype(np.float32)
            refined: Any
            correlation, refined = cv2.findTransformECC(
                template, image, warp, cv2.MOTION_AFFINE, limit, np.ones(image.shape, np.uint8), 1
            )
            warp = refined.astype(np.float32)
    except cv2.error:  # no overlap, or nothing that the two have in common
        correlation = 0.0
    if not correlation >= _LEAST_CORRELATION:
        raise BadImage(
            f"the two do not show the same field: their correlation is {correlation:.2f}, expected "
            f"{_LEAST_CORRELATION} or more"
        )
    (d, c, x), (b, a, y) = ([float(value) for value in line] for line in warp)
    registration = Registration(((a, b, y), (c, d, x)), float(correlation))
    return _with_row_shifts(lr, reference, scale, registration) if rows else registration


def on_one_grid(lr: Pixels, reference: Pixels, scale: int, registration: Registration) -> RegisteredPair:
    """Warp the reference onto the grid of the LR image and cut both to what they share.

    Raises:
        BadImage: they share nothing.
    """
    from scipy.ndimage import map_coordinates

    top, bottom, left, right = window = _shared(lr.shape, reference.shape, scale, registration)
    overlap = (bottom - top) * (right - left) / lr.size
    if not overlap:
        raise BadImage("the two have no pixel in common")
    rows, columns = (
        (np.arange((end - start) * scale) + 0.5) / scale - 0.5 + start
        for start, end in ((top, bottom), (left, right))
    )
    positions = registration.positions(*np.meshgrid(rows, columns, indexing="ij"))
    warped = map_coordinates(reference.astype(np.float64), positions, order=_SPLINE_ORDER, mode="mirror")
    most = np.iinfo(reference.dtype).max
    hr: Pixels = reference.dtype.type(np.floor(np.clip(warped, 0.0, most) + 0.5))
    cut: Pixels = lr[top:bottom, left:right].copy()
    centre = np.array([[(side - 1) / 2.0] for side in lr.shape])
    moved = registration.positions(*centre)[:, 0] - centre[:, 0] * scale - (scale - 1) / 2.0
    shift = (float(moved[0]), float(moved[1]))
    starts = (round(max(float(line[0, 0]), 0.0)) for line in positions)
    near = tuple(slice(start, start + side) for start, side in zip(starts, hr.shape, strict=True))
    alignment = Alignment(shift, residual(cut, hr, scale), overlap)
    return RegisteredPair(cut, hr, reference[near].copy(), alignment, window)


def with_second(
    pair: RegisteredPair, second: Pixels, scale: int, *, rows: bool = False
) -> tuple[RegisteredPair, Pixels, Alignment]:
    """A second recording of the reference brought onto the grid of a pair; all cut to what the three share.

    Args:
        pair: on one grid.
        second: grey, of about the size of the reference.
        scale: pixels of the reference in one of LR.
        rows: fit a shift of each scan line too.

    Returns:
        The pair and the second recording, and how well the latter lies on the former.

    Raises:
        BadImage: it does not show the same field, or too little of it.
    """
    again = on_one_grid(pair.hr, second, 1, register(pair.hr, second, 1, rows=rows))
    top, left = (-(-start // scale) for start in again.window[::2])
    bottom, right = (end // scale for end in again.window[1::2])
    if top >= bottom or left >= right:
        raise BadImage("its second scan and the pair have no pixel in common")
    fine = np.s_[top * scale : bottom * scale, left * scale : right * scale]
    inner = np.s_[
        top * scale - again.window[0] : bottom * scale - again.window[0],
        left * scale - again.window[2] : right * scale - again.window[2],
    ]
    lr = pair.lr[top:bottom, left:right]
    alignment = replace(pair.alignment, overlap=pair.alignment.overlap * lr.size / pair.lr.size)
    start_row, _, start_column, _ = pair.window
    window = (start_row + top, start_row + bottom, start_column + left, start_column + right)
    recorded = pair.as_recorded[fine].copy()
    cut = RegisteredPair(lr.copy(), pair.hr[fine].copy(), recorded, alignment, window)
    return cut, again.hr[inner].copy(), again.alignment


def residual(lr: Pixels, hr: Pixels, scale: int) -> float:
    """Root mean square of the shifts left between blocks of a pair on one grid, in pixels of ``hr``.

    The shift of a block is found twice, from the even and from the odd lines of LR, whose noise is not the
    same: the mean of their products holds no noise of LR. Blocks weigh by how well their content fixes a
    shift, so that empty ones say nothing.

    Args:
        lr: ``(h, w)`` grey.
        hr: ``(scale h, scale w)`` grey.
        scale: pixels of ``hr`` in one of ``lr``.
    """
    from scipy.ndimage import gaussian_filter1d

    second = _smooth(binned(hr, scale), _SMOOTHING[-1])
    lines = gaussian_filter1d(lr.astype(np.float64), _SMOOTHING[-1], axis=1, mode="nearest")
    gain, offset = np.polyfit(second.ravel(), _smooth(lr, _SMOOTHING[-1]).ravel(), 1)
    slopes = np.stack(np.gradient(gain * second))
    errors = []
    for first in (0, 1):
        taken = np.zeros((len(lines), 1))
        taken[first::2] = 1.0
        seen, weight = (
            gaussian_filter1d(part, _SMOOTHING[-1], axis=0, mode="nearest") for part in (lines * taken, taken)
        )
        errors.append(seen / weight - gain * second - offset)
    total = information = 0.0
    row_blocks, column_blocks = (
        np.array_split(np.arange(side), max(round(side / _BLOCK), 1)) for side in lr.shape
    )
    for rows, columns in product(row_blocks, column_blocks):
        block = np.ix_(rows, columns)
        slope = np.stack([part[block].ravel() for part in slopes])
        matrix = slope @ slope.T
        even, odd = (slope @ error[block].ravel() for error in errors)
        # Along lines a shift is not seen: what is minimised there says nothing.
        total += float(even @ np.linalg.pinv(matrix, rcond=1e-6, hermitian=True) @ odd)
        information += float(np.trace(matrix)) / 2.0
    return scale * float(np.sqrt(max(total, 0.0) / information)) if information else float("inf")


def _shift(lr: Pixels, reference: Pixels, scale: int) -> tuple[float, float]:
    """Whole pixels of the reference by which its content lies further down and right than that of LR."""
    from skimage.registration import phase_cross_correlation

    small = binned(reference, scale)
    rows, columns = (min(sides) for sides in zip(lr.shape, small.shape, strict=True))
    window = np.outer(np.hanning(rows), np.hanning(columns))
    bands = [(_smooth(image, 2.0) - _smooth(image, 16.0))[:rows, :columns] * window for image in (lr, small)]
    # Not divided by the magnitudes: that would give the noise of every frequency a voice.
    shift = phase_cross_correlation(bands[1], bands[0], normalization=None)[0]
    return float(shift[0]) * scale, float(shift[1]) * scale


def _smooth(image: NDArray[np.generic], sigma: float) -> Plane:
    from scipy.ndimage import gaussian_filter

    smooth: Plane = gaussian_filter(image.astype(np.float64), sigma, mode="nearest")
    return smooth


def binned(image: Pixels, scale: int) -> Plane:
    """Means over ``scale`` x ``scale`` pixels, what is left over at the lower and right edge cut."""
    rows, columns = (side // scale for side in image.shape)
    cut = image[: rows * scale, : columns * scale].astype(np.float64)
    means: Plane = cut.reshape(rows, scale, columns, scale).mean(axis=(1, 3))
    return means


def _shared(
    lr: Sequence[int], reference: Sequence[int], scale: int, registration: Registration
) -> tuple[int, int, int, int]:
    """The rows and columns of LR whose every pixel lies in the reference: (top, bottom, left, right)."""
    rows, columns = np.meshgrid(*(np.arange(side, dtype=np.float64) for side in lr), indexing="ij")
    reach = (scale - 1) / 2.0 + _MARGIN
    positions = registration.positions(rows, columns)
    inside = np.ones(tuple(lr), bool)
    for line, side in zip(positions, reference, strict=True):
        inside &= (line >= reach) & (line <= side - 1 - reach)
    top, bottom, left, right = 0, lr[0], 0, lr[1]
    while top < bottom and left < right and not inside[top:bottom, left:right].all():
        part = ~inside[top:bottom, left:right]
        outside = [part[0].mean(), part[-1].mean(), part[:, 0].mean(), part[:, -1].mean()]
        side = int(np.argmax(outside))
        top, bottom = top + (side == 0), bottom - (side == 1)
        left, right = left + (side == 2), right - (side == 3)
    return (top, bottom, left, right) if top < bottom and left < right else (0, 0, 0, 0)


def _with_row_shifts(lr: Pixels, reference: Pixels, scale: int, registration: Registration) -> Registration:
    """Add a shift of each scan line: least squares with the second differences over lines held small."""
    from scipy.linalg import solveh_banded
    from scipy.ndimage import map_coordinates

    grid = np.meshgrid(*(np.arange(side, dtype=np.float64) for side in lr.shape), indexing="ij")
    first, second = _smooth(lr, _SMOOTHING[-1]), _smooth(reference, _SMOOTHING[-1] * scale)
    lines, across = lr.shape[0], grid[1] - (lr.shape[1] - 1) / 2.0
    penalty = np.zeros((3, lines))
    for row, values in enumerate(((1.0,), (-2.0, -4.0), (1.0, 5.0, 6.0))):
        # The product of the matrix of second differences with itself, its upper diagonals.
        start = 2 - row
        penalty[row, start:] = values[-1]
        for end, value in enumerate(values[:-1]):
            penalty[row, [start + end, lines - 1 - end]] = value
    matrix, shifts = np.array(registration.matrix), np.zeros((lines, 2))
    for _ in range(_ROW_STEPS):
        positions = replace(registration, matrix=_rows_of(matrix), row_shifts=_rows_of(shifts)).positions(
            *grid
        )
        seen = map_coordinates(second, positions, order=3, mode="nearest")
        inside = np.ones(lr.shape, bool)
        for line, side in zip(positions, reference.shape, strict=True):
            inside &= (line >= _MARGIN) & (line <= side - 1 - _MARGIN)
        gain, offset = np.polyfit(seen[inside], first[inside], 1)
        error = np.where(inside, first - gain * seen - offset, 0.0)
        for axis, slope in enumerate(np.gradient(gain * seen)):
            slope = np.where(inside, slope / scale, 0.0)
            # What grows along the lines is the map's part; the first fit took some of it from the shifts.
            growth = float(
                (slope * error * across).sum() / (slope * across).ravel().dot((slope * across).ravel())
            )
            matrix[axis, 1] += growth
            matrix[axis, 2] -= growth * (lr.shape[1] - 1) / 2.0
            strength = (slope * slope).sum(axis=1)
            stiffness = float(strength.mean()) * (_ROW_LENGTH / (2.0 * np.pi)) ** 4
            bands = stiffness * penalty
            bands[2] += strength
            pull = np.convolve(np.diff(shifts[:, axis], 2), (1.0, -2.0, 1.0)) * stiffness
            left = (slope * (error - slope * growth * across)).sum(axis=1)
            shifts[:, axis] += solveh_banded(bands, left - pull)
    return replace(registration, matrix=_rows_of(matrix), row_shifts=_rows_of(shifts))


def _rows_of(array: Plane) -> Any:
    return tuple(map(tuple, array.tolist()))
