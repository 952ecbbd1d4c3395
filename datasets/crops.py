"""Crops of an image with their surroundings, mirrored where it ends: LR made from a crop is then exact."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.interface import DatasetError

Scalar = TypeVar("Scalar", bound=np.generic)


def read_crop(pixels: NDArray[Scalar], top: int, left: int, height: int, width: int) -> NDArray[Scalar]:
    """Cut ``(height, width)`` at (top, left), which may lie outside the image in part.

    A training pair of ``size`` HR pixels at (top, left), both multiples of ``scale``::

        context = degradation.context(scale)
        around = read_crop(pixels, top - context, left - context, size + 2 * context, size + 2 * context)
        lr = degradation(as_tensor(around), scale)
        border = context // scale
        lr = lr[..., border : lr.shape[-2] - border, border : lr.shape[-1] - border]

    equals the same window of the whole image's LR, at the image's edges too, provided ``pixels`` was cut by
    ``modcrop`` first (the mirror stands where the LR image ends).

    Args:
        pixels: ``(H, W)`` or ``(H, W, 3)``.
        top: first row, negative above the image.
        left: first column, negative left of the image.
        height: rows, at least 1.
        width: columns, at least 1.

    Returns:
        A view where the window lies inside the image; otherwise a copy in which the outside is the image
        mirrored at its border with the edge pixel repeated, as often as needed.

    Raises:
        DatasetError: an empty window, or pixels of another shape.
    """
    if pixels.ndim not in (2, 3) or height < 1 or width < 1:
        raise DatasetError(
            f"read_crop needs (H, W[, 3]) pixels and a window, found {pixels.shape}, {height}x{width}."
        )
    bottom, right = top + height, left + width
    if top >= 0 and left >= 0 and bottom <= pixels.shape[0] and right <= pixels.shape[1]:
        return pixels[top:bottom, left:right]
    return _along(_along(pixels, 0, top, height), 1, left, width)


def _along(pixels: NDArray[Scalar], axis: int, start: int, length: int) -> NDArray[Scalar]:
    """A range of one axis: a view where it lies inside, else a copy of the mirrored pixels."""
    available = pixels.shape[axis]
    if start >= 0 and start + length <= available:
        return pixels[start : start + length] if axis == 0 else pixels[:, start : start + length]
    return pixels.take(mirror(np.arange(start, start + length), available), axis)


def mirror(positions: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Map positions outside ``0..length-1`` into it: mirrored, edge repeated (MATLAB's ``symmetric``)."""
    folded = np.mod(positions, 2 * length)
    mirrored: NDArray[np.int64] = np.where(folded < length, folded, 2 * length - 1 - folded)
    return mirrored
