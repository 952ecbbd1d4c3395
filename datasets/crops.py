"""Crops of an image with their surroundings, mirrored where it ends: LR made from a crop is then exact.

A training pair of ``size`` HR pixels at (top, left), both multiples of ``scale``::

    context = degradation.context(scale)
    around = read_crop(pixels, top - context, left - context, size + 2 * context, size + 2 * context)
    lr = degradation(as_tensor(around), scale)
    border = context // scale
    lr = lr[..., border : lr.shape[-2] - border, border : lr.shape[-1] - border]

equals the same window of the whole image's LR, at the image's edges too, provided ``pixels`` was cut by
``modcrop`` first (the mirror stands where the LR image ends).
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.interface import DatasetError

Scalar = TypeVar("Scalar", bound=np.generic)


def read_crop(pixels: NDArray[Scalar], top: int, left: int, height: int, width: int) -> NDArray[Scalar]:
    """Cut ``(height, width)`` at (top, left), which may lie outside the image in part.

    Args:
        pixels: ``(H, W)``.
        top: first row, negative above the image.
        left: first column, negative left of the image.
        height: rows, at least 1.
        width: columns, at least 1.

    Returns:
        A view where the window lies inside the image; otherwise a copy in which the outside is the image
        mirrored at its border with the edge pixel repeated, as often as needed.

    Raises:
        DatasetError: an empty window, or pixels that are not ``(H, W)``.
    """
    if pixels.ndim != 2 or min(height, width) < 1:
        raise DatasetError(
            f"read_crop needs (H, W) pixels and a window, found {pixels.shape}, {height}x{width}."
        )
    rows = _along(top, height, pixels.shape[0])
    columns = _along(left, width, pixels.shape[1])
    # One axis at a time: two index arrays at once would pick points, not a window.
    crop: NDArray[Scalar] = pixels[rows][:, columns]
    return crop


def mirror(positions: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Map positions outside ``0..length-1`` into it: mirrored, edge repeated (MATLAB's ``symmetric``)."""
    folded = np.mod(positions, 2 * length)
    mirrored: NDArray[np.int64] = np.where(folded < length, folded, 2 * length - 1 - folded)
    return mirrored


def _along(start: int, length: int, available: int) -> slice | NDArray[np.int64]:
    """A slice where the range is inside, so that no pixel is copied; else mirrored indices."""
    if start >= 0 and start + length <= available:
        return slice(start, start + length)
    return mirror(np.arange(start, start + length), available)
