"""Whether what a model gives are undamaged images: no JPEG, the LR image's range and colours, no databar.

Examines finished 8-bit images beside the LR images that they came from. Size, type and finite values are
enforced where images arrive (:mod:`srbench.evaluation.worker_client`, :mod:`srbench.inference.tiling`); a run
that ended there gets :func:`result_for_bad_output`.

JPEG rounds each of the 64 cosine coefficients of an 8 x 8 block to a multiple of an entry of its quantisation
table, and the decoded pixels still have coefficients near those multiples, as on a comb (docs/guards.md).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from srbench.checks.base import CheckResult, Status, merge
from srbench.utils.image import Pixels, to_uint8

if TYPE_CHECKING:
    from torch import Tensor

LOSSLESS, NO_BAR = "lossless_output", "databar_border"
_lossless = functools.partial(CheckResult, LOSSLESS)

COMB = 0.5
"""Strength of the JPEG comb, median over the images, above which images went through JPEG. At most 0.1 for
networks, interpolations and HR that was a JPEG itself; 0.98 of bicubic x4 at quality 50, 0.67 at 95. All
measured limits of this module: docs/guards.md."""
INVERTED = -0.5
"""Correlation of SR, brought to LR size, with LR, median over the images. Trained networks reach 0.9."""
OFF_GREY = 25.0
"""Grey levels by which the mean over the images may be off: trained networks stay below 6. A range of -1 to 1
taken for 0 to 1 lowers or raises the mean by up to half the range."""
EVEN, STRUCTURED = 1.0, 2.0
"""Standard deviation, in grey levels, of an image without content, and of one that surely has some."""
SWAPPED = 0.5
"""Distance to LR of the best order of channels, as a share of the distance of the order given, below which
they are swapped: 0.01 to 0.17 for single photographs with red and blue exchanged, 1 in the right order."""
COLOURED = 2.0
"""Distance in grey levels below which the order does not matter: images almost without colour."""
ORDERS = tuple(itertools.permutations(range(3)))
TINTED = 5.0
"""Grey levels by which the three channels may differ, on average, on a grey image. Trained networks differ by
at most 0.7, one whose mean colour is subtracted in one order and added in another by 7.6."""

JPEG_SIDE = 8
QUALITIES = range(5, 99)
"""Qualities looked for. Of 99 and 100 nothing is left to see: the tables are all ones, as rounding's own."""
MOST_BLOCKS = 4096
"""Blocks examined, spread evenly over the image."""
FEWEST_VALUES = 16
"""Values of a coefficient away from zero below which it is left out."""
FEWEST_COEFFICIENTS = 5
"""Coefficients of a block below which nothing is said of an image: it is too flat."""

_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_STEPS = np.arange(2, 256)
_BIN = 0.125
_BINS = 1024

Pixels8 = NDArray[np.uint8]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class ImageObservation:
    """What one image showed.

    ``quality`` is 0 where it is too smooth to say whether it went through JPEG. ``orders`` are the mean
    square distances to LR in every order of the channels, none of grey images.
    """

    image: str
    quality: int
    comb: float
    even: bool
    structured: bool
    correlation: float
    offset: float
    bar: bool
    orders: tuple[float, ...]


class OutputCheck:
    """Examines every image of a run as it comes, and judges the run in the end.

    Args:
        scale: magnification.
        colour: whether the data has colour.
        bars: whether a databar can be told from the sample: not in drawn scenes and photographs, which have
            rows as smooth as a bar's.

    Attributes:
        observations: what each image so far showed.
    """

    def __init__(self, scale: int, colour: bool, bars: bool = True) -> None:
        self.scale = scale
        self.colour = colour
        self.bars = bars
        self.observations: list[ImageObservation] = []
        self._spread: float | None = None

    def set_channel_spread(self, levels: float) -> None:
        """Set what the worker of a colour network on grey data reports; see :func:`channel_spread`."""
        self._spread = levels

    def add(self, image_id: str, sr: Pixels8, hr: Pixels, lr: Pixels8) -> None:
        """Add one image.

        Args:
            image_id: printed where something is wrong.
            sr: ``(H, W)`` or ``(H, W, 3)`` uint8.
            hr: the reference, of the same height and width.
            lr: the input, ``scale`` times smaller.
        """
        from srbench.datasets.images.databar import has_databar

        grey, reference, given = to_uint8(sr), to_uint8(hr), to_uint8(lr)
        # A bright, noisy foot of an image looks like a white bar once the noise is gone, in LR as in SR.
        bar = self.bars and has_databar(grey) and not has_databar(reference)
        bar = bar and not has_databar(given.repeat(self.scale, axis=0).repeat(self.scale, axis=1))
        small = _shrunk(grey, self.scale)
        jpeg = comb(grey, reference)
        orders: tuple[float, ...] = ()
        if self.colour and sr.ndim == lr.ndim == 3:
            shrunk = _shrunk(sr, self.scale)
            orders = tuple(float(np.square(shrunk[..., order] - lr).mean()) for order in ORDERS)
        self.observations.append(
            ImageObservation(
                image=image_id,
                quality=jpeg.quality,
                comb=jpeg.strength,
                even=float(grey.std()) < EVEN,
                structured=float(given.std()) > STRUCTURED,
                correlation=_correlation(small, given),
                offset=float(small.mean() - given.mean()),
                bar=bar,
                orders=orders,
            )
        )

    def results(self) -> tuple[CheckResult, ...]:
        """One of the check ``lossless_output`` and one of ``databar_border``."""
        if not self.observations:
            why = "No image was examined, because none was scored."
            return _lossless("unchecked", why), CheckResult(NO_BAR, "unchecked", why)
        results = [_judge_jpeg(self.observations), _judge_range(self.observations)]
        if coloured := [seen for seen in self.observations if seen.orders]:
            results.append(_judge_orders(coloured))
        if self._spread is not None:
            results.append(result_for_spread(self._spread))
        return merge(results), self._judge_databars()

    def _judge_databars(self) -> CheckResult:
        cut = f"{self.scale} px of border are cut before scoring"
        images = _count(self.observations)
        with_bar = [seen.image for seen in self.observations if seen.bar]
        if with_bar:
            return CheckResult(
                NO_BAR,
                "failed",
                f"The model drew a databar that the reference does not have in {len(with_bar)} of {images} "
                f"(first: {with_bar[0]}). It learned to: cut the bars from the images it is trained on.",
            )
        detail = f"No databar was drawn in {images}"
        if not self.bars:
            detail = "Drawn scenes and photographs have no databar to learn from"
        return CheckResult(NO_BAR, "passed", f"{detail}; {cut}.")


def result_for_bad_output(reason: str) -> CheckResult:
    """The result of a run that ended because the output was no image of the right size, type and values.

    Args:
        reason: what was wrong, as a sentence or as what follows "the model".
    """
    reason = reason.strip().rstrip(".")
    return _lossless("failed", f"The run ended because the output could not be used: {reason}.")


def _judge_jpeg(observations: Sequence[ImageObservation]) -> CheckResult:
    decidable = [seen for seen in observations if seen.quality]
    if not decidable:
        detail = f"Whether JPEG was used cannot be said: {_count(observations)}, all too smooth or too small."
        return _lossless("unchecked", detail)
    strength = float(np.median([seen.comb for seen in decidable]))
    if strength <= COMB:
        others = len(observations) - len(decidable)
        smooth = f" ({others} more are too smooth to say)" if others else ""
        return _lossless(
            "passed",
            f"No trace of JPEG in {_count(decidable)}{smooth}: the comb of its coefficients has strength "
            f"{max(strength, 0.0):.2f} (median; a JPEG's is near 1).",
        )
    qualities = [seen.quality for seen in decidable if seen.comb > COMB]
    return _lossless(
        "failed",
        f"{len(qualities)} of {_count(decidable)} went through JPEG, of quality {np.median(qualities):.0f} "
        "or near: the cosine coefficients of their 8 x 8 blocks are multiples of that quality's steps. Have "
        "the model give its pixels uncompressed.",
    )


def _judge_range(observations: Sequence[ImageObservation]) -> CheckResult:
    offset = float(np.mean([seen.offset for seen in observations]))
    even = [seen.image for seen in observations if seen.even and seen.structured]
    correlations = [seen.correlation for seen in observations if seen.structured]
    correlation = float(np.median(correlations)) if correlations else 0.0
    status: Status = "failed"
    if even:
        detail = (
            f"{len(even)} of {_count(observations)} are one even grey though their LR images are not (first: "
            f"{even[0]}). That happens when an output of 0 to 255 is cut at 1, or when weights are broken."
        )
    elif correlation <= INVERTED:
        detail = (
            f"Black and white are exchanged: correlation with LR {correlation:+.2f}, median of "
            f"{_count(correlations)}."
        )
    elif abs(offset) > OFF_GREY:
        detail = (
            f"The mean grey is {offset:+.0f} of 255 levels off that of LR, over {_count(observations)}. That "
            "happens when a range of -1 to 1 or of 0 to 255 is taken for 0 to 1."
        )
    else:
        status, detail = "passed", f"The mean grey is {offset:+.1f} of 255 levels off that of LR."
    return _lossless(status, detail)


def _shrunk(pixels: Pixels8, scale: int) -> Array:
    """Mean of each ``scale`` x ``scale`` square in grey levels, ``(H/scale, W/scale)`` or with channels."""
    height, width = pixels.shape[0] // scale, pixels.shape[1] // scale
    squares = pixels.reshape(height, scale, width, scale, *pixels.shape[2:])
    means: Array = squares.mean(axis=(1, 3), dtype=np.float64)
    return means


def _correlation(small: Array, lr: Pixels8) -> float:
    """Pearson's; 0 where one of the two is constant."""
    a, b = small - small.mean(), lr - lr.mean(dtype=np.float64)
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0.0 else 0.0


def _count(images: Sequence[object]) -> str:
    return "1 image" if len(images) == 1 else f"{len(images)} images"


def _judge_orders(coloured: Sequence[ImageObservation]) -> CheckResult:
    """Whether another order than the given one fits the LR images.

    On grey data a colour network is given three equal channels and its three are averaged, which would hide a
    wrong order; there :func:`channel_spread` examines its raw output.
    """
    distances = np.sqrt(np.mean([seen.orders for seen in coloured], axis=0))
    given, best = distances[0], distances.min()
    images = f"{len(coloured)} colour image{'s' if len(coloured) > 1 else ''}"
    if given <= COLOURED or best >= SWAPPED * given:
        return _lossless(
            "passed", f"Red, green and blue are in order: {given:.1f} grey levels from LR ({images})."
        )
    read = "".join("RGB"[channel] for channel in ORDERS[int(distances.argmin())])
    return _lossless(
        "failed",
        f"The channels are in another order: read as {read} the result is {best:.1f} grey levels from the LR "
        f"images, as it is {given:.1f} ({images}).",
    )


def channel_spread(raw: Tensor) -> float:
    """How far a colour network tints a grey image, in grey levels of 255.

    Args:
        raw: its output ``(N, 3, H, W)`` in [0, 1] for three equal channels, before they are averaged.

    Returns:
        Mean absolute deviation of the channels from their mean.
    """
    shown = raw.double().clamp(0.0, 1.0)
    return float((shown - shown.mean(dim=1, keepdim=True)).abs().mean()) * 255.0


def result_for_spread(spread: float) -> CheckResult:
    """Judge the :func:`channel_spread` of a colour network on grey data."""
    summary = (
        f"the channels of this colour network differ by {spread:.1f} grey levels on a grey image (at most "
        f"{TINTED:.0f} are let pass)"
    )
    if spread <= TINTED:
        return _lossless("passed", f"On average {summary}.")
    return _lossless(
        "failed",
        f"What is scored is the mean of three channels, but {summary}: its weights expect another order of "
        "channels, or another mean colour is subtracted than in training.",
    )


@dataclass(frozen=True)
class Comb:
    """How well block coefficients lie on the comb of the table that fits best.

    ``quality`` is that of the table, 5 to 98; 0 where the image is too flat to say. ``strength`` is 1 where
    every coefficient is a multiple of its step, about 0 where they lie anywhere.
    """

    quality: int
    strength: float


def comb(sr: Pixels8, hr: Pixels8) -> Comb:
    """The comb in ``sr`` that it does not have from ``hr``.

    A reference may itself come from a JPEG file, and a result that equals it shows its comb. So only those
    coefficients count that say another multiple than the reference does. The block grid is the one that
    starts at the image's corner.

    Args:
        sr: ``(H, W)`` 8-bit grey levels.
        hr: the same shape.
    """
    blocks = _blocks(sr).reshape(-1, JPEG_SIDE**2)
    # Black or white was clipped, which moved the coefficients. Of blocks that are equal, as in a drawn
    # grating, one is examined: a single pattern can lie near some comb by chance.
    inside = np.flatnonzero((blocks.min(axis=1) > 0) & (blocks.max(axis=1) < 255))
    _, first = np.unique(np.ascontiguousarray(blocks[inside]).view(f"V{JPEG_SIDE**2}"), return_index=True)
    distinct = np.sort(inside[first.ravel()])
    examined = distinct[:: max(1, -(-len(distinct) // MOST_BLOCKS))]
    coefficients = _coefficients(sr, examined)
    strengths = _strengths(coefficients)
    if not len(coefficients) or not np.isfinite(strengths).any():
        return Comb(0, 0.0)
    quality = QUALITIES[int(np.nanargmax(strengths))]
    steps = quantisation_table(quality).ravel()[1:]
    multiple = np.rint(coefficients / steps)
    new = (multiple != 0) & (multiple != np.rint(_coefficients(hr, examined) / steps)) & (steps > 1)
    strength = _mean_strength((np.cos(2 * np.pi * coefficients / steps) * new).sum(axis=0), new.sum(axis=0))
    return Comb(quality, float(strength)) if np.isfinite(strength) else Comb(0, 0.0)


def quantisation_table(quality: int) -> NDArray[np.int64]:
    """The ``(8, 8)`` steps of the luminance coefficients, row = vertical frequency, at quality 1 to 100.

    Those of annex K of ITU-T T.81, scaled as the Independent JPEG Group's encoder scales them: what Pillow,
    OpenCV, imageio and MATLAB write.
    """
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    steps: NDArray[np.int64] = np.clip((np.array(_LUMINANCE) * percent + 50) // 100, 1, 255)
    return steps


def _blocks(pixels: Pixels8) -> Pixels8:
    """``(n, 8, 8)``, row by row; what is left over at the right and the bottom is cut."""
    height, width = (side // JPEG_SIDE for side in pixels.shape)
    cut = pixels[: height * JPEG_SIDE, : width * JPEG_SIDE].reshape(height, JPEG_SIDE, width, JPEG_SIDE)
    blocks: Pixels8 = cut.transpose(0, 2, 1, 3).reshape(-1, JPEG_SIDE, JPEG_SIDE)
    return blocks


def _coefficients(pixels: Pixels8, numbers: NDArray[np.int64]) -> Array:
    """``(n, 63)`` orthonormal cosine coefficients of blocks, without that of the mean.

    The mean is left out because squares of nearest interpolation put it on a comb.
    """
    blocks = _blocks(pixels)[numbers].astype(np.float64)
    basis = _cosines()
    coefficients: Array = (basis @ blocks @ basis.T).reshape(-1, JPEG_SIDE**2)[:, 1:]
    return coefficients


@functools.cache
def _cosines() -> Array:
    frequency, position = np.arange(JPEG_SIDE)[:, None], np.arange(JPEG_SIDE)[None, :]
    basis: Array = np.sqrt(2 / JPEG_SIDE) * np.cos(np.pi * (2 * position + 1) * frequency / (2 * JPEG_SIDE))
    basis[0] /= np.sqrt(2)
    return basis


def _strengths(coefficients: Array) -> Array:
    """The strength of the comb of every quality, by histogram; NaN where too few values say anything."""
    waves, counted = _teeth()
    levels = np.minimum(np.abs(coefficients) / _BIN + 0.5, _BINS - 1).astype(np.int64)
    histogram = np.stack([np.bincount(column, minlength=_BINS) for column in levels.T]).astype(np.float64)
    totals, counts = histogram @ waves.T, histogram @ counted.T
    steps = _tables()
    column = np.arange(steps.shape[1])
    # A step of 1 has no comb; its index in the sums is that of step 2 and is left out by its count of 0.
    index = np.maximum(steps - _STEPS[0], 0)
    return _mean_strength(totals[column, index], np.where(steps > 1, counts[column, index], 0.0))


@functools.cache
def _tables() -> NDArray[np.int64]:
    """``(qualities, 63)`` steps of every quality that is looked for."""
    return np.stack([quantisation_table(quality).ravel()[1:] for quality in QUALITIES])


@functools.cache
def _teeth() -> tuple[Array, Array]:
    """For every step the cosine that is 1 on its multiples, over the bins, and the bins that are counted.

    Not counted are values that round to zero: an image without fine detail has them all near zero.
    """
    level = np.arange(_BINS) * _BIN
    counted = (level > _STEPS[:, None] / 2) & (level < (_BINS - 1) * _BIN)
    return np.cos(2 * np.pi * level / _STEPS[:, None]) * counted, counted.astype(np.float64)


def _mean_strength(totals: Array, counts: Array) -> Array:
    """Mean over the coefficients (last axis) with enough values; NaN where these are too few.

    Each coefficient weighs the same, however many values it has: a texture can crowd one, never all.
    """
    enough = counts >= FEWEST_VALUES
    means = np.where(enough, totals / np.maximum(counts, 1), 0.0)
    number = enough.sum(axis=-1)
    strength: Array = np.where(
        number >= FEWEST_COEFFICIENTS, means.sum(axis=-1) / np.maximum(number, 1), np.nan
    )
    return strength
