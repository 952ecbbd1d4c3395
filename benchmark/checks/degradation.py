"""Guard ``pinned_degradation``: the LR images that a model was given are those that the row names.

LR is made again from HR and compared with the bytes of the pack. Sums run in float64, ties round in one way
and noise is a function of the image's name, so that a version of a degradation has one result: any difference
fails. Its size tells what it is. Below 60 dB other pixels were given: another kernel, another image, an
earlier state of the data. Above it few pixels differ, or by a grey level, as after damage or with another
version of the arithmetic; the scores still do not belong to the name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from srbench.checks.base import Finding, Status
from srbench.datasets import DatasetError, Micrograph, MicrographSet, degrade
from srbench.datasets.degrade import Degradation
from srbench.datasets.lr_images import Entry, LrCache, cut_to_scale, lr_image, position_of
from srbench.metrics.fidelity import psnr
from srbench.metrics.protocol import Protocol
from srbench.utils.files import sha256_file
from srbench.utils.image import Pixels

GUARD = "pinned_degradation"
SAMPLE = 3
"""Images made again unless all are."""

OTHER_PIXELS = 60.0
"""dB below which a difference cannot be one of rounding: a grey level in every fifteenth pixel."""

Bytes = NDArray[np.uint8]

LOOKS_LIKE = 45.0
"""dB from which on another library's version of a kernel is recognised: a grey level in each pixel is 48."""


def check(
    micrographs: MicrographSet,
    images: Sequence[Micrograph],
    lr: LrCache,
    degradation: Degradation,
    scale: int,
    *,
    every: bool,
) -> Finding:
    """Make LR again and compare.

    Args:
        micrographs: where HR is.
        images: those that are scored.
        lr: the pack that models were given.
        degradation: what the rows name.
        scale: magnification.
        every: all images instead of three spread over the split.

    Returns:
        ``passed`` where every byte compared is equal and the file is the one that was listed; ``failed``
        with the PSNR and, where one fits better, the degradation that the pack looks like; ``unchecked``
        where no image was large enough for an LR image.
    """
    if problem := _not_whole(images, lr):
        return _finding("failed", problem)
    if not lr.entries:
        return _finding("unchecked", "No image is large enough for an LR image; nothing was compared.")
    chosen = lr.entries if every else _spread(lr.entries)
    for entry in chosen:
        hr = cut_to_scale(micrographs.pixels(entry.image), scale)
        expected = lr_image(hr, degradation, scale, position_of(entry.image))
        given = _given(lr, entry)
        if not np.array_equal(expected, given):
            return _finding("failed", _difference(entry.image, hr, expected, given, degradation, scale))
    how_many = "All" if len(chosen) == len(lr.entries) else f"{len(chosen)} of"
    return _finding(
        "passed",
        f"{how_many} {len(lr.entries)} LR images, made again from HR by {_conditions(degradation, scale)}, "
        "are equal bit for bit to what the model was given.",
    )


def _not_whole(images: Sequence[Micrograph], lr: LrCache) -> str:
    """What is wrong with the pack as a file; empty where nothing is."""
    try:
        digest = sha256_file(lr.file)
    except OSError as error:
        return f"The LR images are gone ({lr.file}: {error.strerror or error}); score again."
    if digest != lr.sha256:
        return (
            f"{lr.file} has changed since it was made (sha256 {digest[:12]}, expected {lr.sha256[:12]}): the "
            "model was not given the LR images that were listed. Delete its folder and score again."
        )
    packed = {entry.image for entry in lr.entries}
    lost = [image.id for image in images if image.id not in packed and image.id not in lr.unusable]
    if lost:
        return f"The pack lacks {len(lost)} of {len(images)} images ({', '.join(lost[:3])}); score again."
    return ""


def _spread(entries: Sequence[Entry]) -> list[Entry]:
    """The first, the last and what lies evenly between."""
    places = np.linspace(0, len(entries) - 1, min(SAMPLE, len(entries))).round().astype(int)
    return [entries[int(place)] for place in places]


def _given(lr: LrCache, entry: Entry) -> Bytes:
    """The bytes of an image; empty where the pack ends before it."""
    try:
        return lr.pixels(entry)
    except ValueError:
        return np.zeros((0, 0), np.uint8)


def _difference(
    image_id: str, hr: Pixels, expected: Bytes, given: Bytes, degradation: Degradation, scale: int
) -> str:
    """What is different, how much, and what the given image looks like."""
    named = _conditions(degradation, scale)
    if given.shape != expected.shape:
        return (
            f"The LR image of {image_id} has {_size(given)} pixels, {named} gives {_size(expected)}: the "
            "pack is of other data. Delete the srbench cache and score again."
        )
    share = float(np.mean(given != expected))
    agreement = psnr(given / 255.0, expected / 255.0)
    what = (
        f"The LR image of {image_id} is not what {named} makes of HR: {share:.2%} of its pixels differ, "
        f"{agreement:.1f} dB."
    )
    if agreement >= OTHER_PIXELS:
        return f"{what} Above {OTHER_PIXELS:g} dB: damage, or another version made it. Score again."
    looks_like = _nearest(image_id, hr, given, scale)
    name, value = max(looks_like.items(), key=lambda item: item[1])
    if value > max(agreement, LOOKS_LIKE):
        return f"{what} It looks like what {name} makes ({value:.1f} dB)."
    return f"{what} Below {OTHER_PIXELS:g} dB: another degradation, or HR has changed since. Score again."


def _nearest(image_id: str, hr: Pixels, given: Bytes, scale: int) -> Mapping[str, float]:
    """PSNR of the given image against what each known degradation makes with its own settings."""
    found = {}
    for card in degrade.cards():
        known = degrade.get(card.name)
        try:
            made = lr_image(hr, known, scale, position_of(image_id))
        except DatasetError:  # not defined for this scale
            continue
        found[known.id] = psnr(given / 255.0, made / 255.0)
    return found


def _conditions(degradation: Degradation, scale: int) -> str:
    settings = ", ".join(f"{name} {value:g}" for name, value in degradation.settings.items())
    return f"{degradation.id} (x{scale}{', ' if settings else ''}{settings}; resize {Protocol.resize})"


def _size(pixels: Bytes) -> str:
    return " x ".join(map(str, pixels.shape[:2]))


def _finding(status: Status, detail: str) -> Finding:
    return Finding(GUARD, status, detail)
