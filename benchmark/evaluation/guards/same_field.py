"""Which images of one set show the same field of view as an image of another set.

Equal pixels are found by their hash. The same field recorded, exported or cut again is looked for in three
steps, each for what is left of the one before:

1. candidates have alike ``near_duplicates.descriptor``;
2. ``near_duplicates.agreement`` of their details of 24 to 104 pixels (of 1024 across) must reach 0.6;
3. the phases of their Fourier transforms must agree (``phase_agreement``, at least 0.4). Two gratings of one
   pitch pass the second step, since they are strong in the same few frequencies; here all frequencies count
   the same, and edges that are rough in other places, or other noise, have other phases.

Images are enlarged to about 1024 pixels across by repetition, and two images are cut to one width, so that
small images and pairs of slightly different size are compared at one scale.

Measured on all pairs of ``sem_open`` (12,561), ``sem_synthetic`` (21,945) and its suite ``small`` (2,415),
each specimen or scene another: none is taken for the same. Among pairs drawn at random the phases agree to
0.08 in ``sem_open`` and 0.20 in the others; of gratings of one pitch with smooth or rough edges, 0.10. 68 of
these images, again as JPEG of quality 60 to 95, brighter, paler, with gamma 0.7, moved by 1 to 4 pixels, cut
by 2 or 5 %, blurred by 1 pixel, with noise of 3 or 5 %, or moved and paler and JPEG: the phases agree to 0.57
or more, and all are found but one of those cut by 5 %, whose descriptor differs. Not looked for are other
magnifications, turned images and moves by more than a sixteenth of the width.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.interface import Pixels, ProgressCallback, ProgressEvent
from srbench.datasets.near_duplicates import (
    CANDIDATE,
    DIMENSIONS,
    SAME,
    Thumbnail,
    agreement,
    descriptor,
    thumbnail,
)
from srbench.datasets.storage import pixel_hash
from srbench.evaluation.protocol import to_uint8

Grey = NDArray[np.uint8]
Plane = NDArray[np.float64]

RULES = 1
"""Raised whenever the same images would be judged otherwise."""

SMALLEST = 48
"""Pixels a side below which two images are only compared bit by bit."""

SAME_PHASES = 0.4
_WIDTH, _MEANS = 1024, 512
_BAND = (0.02, 0.15)
_REACH = 16
_TILE = 2048
_REMEMBERED = 8192


@dataclass(frozen=True)
class Picture:
    """An image to compare.

    Attributes:
        name: what a reader calls it.
        pixels: gives its pixels.
    """

    name: str
    pixels: Callable[[], Pixels]


@dataclass(frozen=True)
class Repetition:
    """Two pictures of one field.

    Attributes:
        first: name of the one.
        second: name of the other.
        agreement: of their phases; 1 where the pixels are equal.
        equal: whether every pixel is equal.
    """

    first: str
    second: str
    agreement: float
    equal: bool


@dataclass(frozen=True)
class Described:
    """A set of pictures with what is compared first.

    Attributes:
        pictures: the pictures.
        hashes: of their pixels.
        descriptors: ``(n, 96)``; zeros for what is too small.
    """

    pictures: tuple[Picture, ...]
    hashes: tuple[str, ...]
    descriptors: NDArray[np.int16]

    @functools.cached_property
    def lengths(self) -> Plane:
        """Length of each descriptor."""
        lengths: Plane = np.sqrt((self.descriptors.astype(np.float64) ** 2).sum(axis=1))
        return lengths


def describe(pictures: Sequence[Picture], progress: ProgressCallback) -> Described:
    """Read every picture once."""
    hashes, descriptors = [], []
    for done, picture in enumerate(pictures, start=1):
        pixels = picture.pixels()
        hashes.append(pixel_hash(pixels))
        descriptors.append(_descriptor(to_uint8(pixels)))
        progress(ProgressEvent("compare the splits", done, len(pictures), "images"))
    stacked = np.array(descriptors, np.int16).reshape(len(pictures), -1)
    return Described(tuple(pictures), tuple(hashes), stacked)


def repetitions(one: Described, other: Described) -> list[Repetition]:
    """The pairs of one picture of each set that show the same field."""
    twins = _equal_pixels(one, other)
    found = [Repetition(one.pictures[i].name, other.pictures[j].name, 1.0, True) for i, j in sorted(twins)]

    @functools.lru_cache(_REMEMBERED)
    def thumbnail_of(first: bool, index: int, width: int) -> Thumbnail:
        return _thumbnail(_grey((one if first else other).pictures[index]), width)

    for i, j in _candidates(one, other):
        if (i, j) in twins:
            continue
        first, second = one.pictures[i], other.pictures[j]
        width = min(first.pixels().shape[1], second.pixels().shape[1])
        if agreement(thumbnail_of(True, i, width), thumbnail_of(False, j, width)) >= SAME:
            agreeing = phase_agreement(_grey(first), _grey(second))
            if agreeing >= SAME_PHASES:
                found.append(Repetition(first.name, second.name, agreeing, False))
    return found


def phase_agreement(one: Grey, other: Grey) -> float:
    """Share of the Fourier samples whose phases fit one shift, about 0 to 1: 1 for equal images.

    The peak of the phase-only correlation, over shifts up to a sixteenth of the width and over the detail
    sizes from 1/77 to a tenth of the width (of images 512 or more across; coarser in smaller ones).

    Args:
        one: ``(H, W)``.
        other: an image of about the same size; the larger one is cut at the right and at the bottom.

    Source:
        Kuglin and Hines, The phase correlation image alignment method, Proc. IEEE Int. Conf. Cybernetics and
        Society, 1975.
    """
    from scipy import fft

    means = _aligned(one, other)
    shape = means[0].shape
    window = np.outer(*(np.hanning(side + 2)[1:-1] for side in shape))
    first, second = (fft.rfft2((plane - plane.mean()) * window) for plane in means)
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    band = (frequency > _BAND[0]) & (frequency < _BAND[1])
    cross = first * np.conj(second)
    phases = np.where(band, cross / np.maximum(np.abs(cross), np.finfo(np.float64).tiny), 0.0)
    reach = np.arange(-(shape[1] // _REACH), shape[1] // _REACH + 1)
    correlation = fft.irfft2(phases, shape)[np.ix_(reach % shape[0], reach % shape[1])]
    most = fft.irfft2(band.astype(np.complex128), shape)[0, 0]
    return float(correlation.max() / most) if most > 0 else 0.0


def _aligned(one: Grey, other: Grey) -> tuple[Plane, Plane]:
    """Block means of both, cut to one size of at most about 512 across."""
    height, width = (min(pair) for pair in zip(one.shape, other.shape, strict=True))
    cell = max(round(width / _MEANS), 1)
    rows, columns = height // cell, width // cell
    planes = (image[: rows * cell, : columns * cell] for image in (one, other))
    first, second = (plane.reshape(rows, cell, columns, cell).mean(axis=(1, 3)) for plane in planes)
    return first, second


def _equal_pixels(one: Described, other: Described) -> set[tuple[int, int]]:
    places: dict[str, list[int]] = {}
    for index, digest in enumerate(one.hashes):
        places.setdefault(digest, []).append(index)
    return {(i, j) for j, digest in enumerate(other.hashes) for i in places.get(digest, ())}


def _candidates(one: Described, other: Described) -> Iterator[tuple[int, int]]:
    """Pairs with a high cosine, tile by tile, so that memory does not depend on the number of images."""
    for left in range(0, len(other.pictures), _TILE):
        columns = slice(left, left + _TILE)
        for top in range(0, len(one.pictures), _TILE):
            rows = slice(top, top + _TILE)
            # Whole numbers so bounded that float32 adds them without rounding.
            products = one.descriptors[rows].astype(np.float32) @ other.descriptors[columns].T.astype(
                np.float32
            )
            least = CANDIDATE * one.lengths[rows, None] * other.lengths[columns]
            for i, j in np.argwhere((products >= least) & (products > 0)):
                yield top + int(i), left + int(j)


def _descriptor(grey: Grey) -> NDArray[np.int16]:
    if min(grey.shape) < SMALLEST:
        return np.zeros(DIMENSIONS, np.int16)
    return descriptor(_enlarged(grey))


def _thumbnail(grey: Grey, width: int) -> Thumbnail:
    return thumbnail(_enlarged(grey[:, :width]))


def _enlarged(grey: Grey) -> Grey:
    """About 1024 pixels across by repetition, or as it is where it is that wide."""
    factor = max(round(_WIDTH / grey.shape[1]), 1)
    return grey if factor == 1 else grey.repeat(factor, axis=0).repeat(factor, axis=1)


def _grey(picture: Picture) -> Grey:
    return to_uint8(picture.pixels())
