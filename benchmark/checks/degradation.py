"""Check ``degradation``: the LR images that a model was given are those that the row names.

LR is made again from HR, or read again where it was recorded, and compared with the bytes of the pack. Sums
run in float64, ties round in one way and noise is a function of the image's name, so a version of a
degradation has one result: any difference fails. Below 60 dB other pixels were given: another kernel, another
image, an earlier state of the data. Above it few pixels differ, or by a grey level, as after damage or with
another version of the arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from srbench.checks.base import CheckResult
from srbench.datasets import DatasetError, Micrograph, MicrographSet, degrade
from srbench.datasets.degrade import Degradation
from srbench.datasets.lr_images import LrCache, cut_to_scale, lr_image, lr_of, position_of
from srbench.metrics.fidelity import psnr
from srbench.metrics.protocol import Protocol
from srbench.utils.files import sha256_file
from srbench.utils.image import Pixels

DEGRADATION = "degradation"
SAMPLE = 3
"""Images made again unless all are."""

OTHER_PIXELS = 60.0
"""dB below which a difference cannot be one of rounding: a grey level in every fifteenth pixel."""

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
) -> CheckResult:
    """Make LR again and compare.

    Args:
        micrographs: the data set with HR.
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
    if problem := _damage_of_pack(images, lr):
        return CheckResult(DEGRADATION, "failed", problem)
    if not lr.entries:
        detail = "No image is large enough for an LR image; nothing was compared."
        return CheckResult(DEGRADATION, "unchecked", detail)
    chosen = lr.entries
    if not every:  # the first, the last and what lies evenly between
        indices = np.linspace(0, len(chosen) - 1, min(SAMPLE, len(chosen))).round().astype(int)
        chosen = tuple(lr.entries[int(index)] for index in indices)
    settings = ", ".join(f"{name} {value:g}" for name, value in degradation.settings.items())
    conditions = f"{degradation.id} (x{scale}{', ' if settings else ''}{settings}; resize {Protocol.resize})"
    source, again = f"{conditions} makes of HR", f"made again from HR by {conditions}"
    if degradation.recorded:
        source, again = f"{micrographs.name} holds ({degradation.id})", f"read again ({degradation.id})"
    for entry in chosen:
        hr = cut_to_scale(micrographs.pixels(entry.image), scale)
        expected = lr_of(micrographs, entry.image, hr, degradation, scale)
        try:
            given = lr.pixels(entry)
        except ValueError:  # the pack ends before this image
            given = np.zeros((0, 0), np.uint8)
        if not np.array_equal(expected, given):
            problem = _difference(entry.image, hr, expected, given, source, scale)
            return CheckResult(DEGRADATION, "failed", problem)
    how_many = "All" if len(chosen) == len(lr.entries) else f"{len(chosen)} of"
    return CheckResult(
        DEGRADATION,
        "passed",
        f"{how_many} {len(lr.entries)} LR images, {again}, "
        "are equal bit for bit to what the model was given.",
    )


def _damage_of_pack(images: Sequence[Micrograph], lr: LrCache) -> str:
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


def _difference(
    image_id: str,
    hr: Pixels,
    expected: NDArray[np.uint8],
    given: NDArray[np.uint8],
    source: str,
    scale: int,
) -> str:
    """What is different, how much, and what the given image looks like."""
    if given.shape != expected.shape:
        size, size_expected = (" x ".join(map(str, pixels.shape[:2])) for pixels in (given, expected))
        return (
            f"The LR image of {image_id} has {size} pixels, what {source} has {size_expected}: the "
            "pack is of other data. Delete the srbench cache and score again."
        )
    share = float(np.mean(given != expected))
    agreement = psnr(given / 255.0, expected / 255.0)
    what = (
        f"The LR image of {image_id} is not what {source}: {share:.2%} of its pixels differ, "
        f"{agreement:.1f} dB."
    )
    if agreement >= OTHER_PIXELS:
        return f"{what} Above {OTHER_PIXELS:g} dB: damage, or another version made it. Score again."
    psnr_by_degradation: dict[str, float] = {}
    for card in degrade.cards():
        other = degrade.get(card.name)
        try:
            candidate = lr_image(hr, other, scale, position_of(image_id))
        except DatasetError:  # not defined for this scale, or recorded
            continue
        psnr_by_degradation[other.id] = psnr(given / 255.0, candidate / 255.0)
    name, value = max(psnr_by_degradation.items(), key=lambda item: item[1])
    if value > max(agreement, LOOKS_LIKE):
        return f"{what} It looks like what {name} makes ({value:.1f} dB)."
    return f"{what} Below {OTHER_PIXELS:g} dB: another degradation, or HR has changed since. Score again."
