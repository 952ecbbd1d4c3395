"""Whether what a model gives are undamaged images: no JPEG, the LR image's range and colours, no databar.

Looks at finished 8-bit images beside the LR images that they came from. Size, type and finite values are
enforced where they come in (:mod:`srbench.evaluation.evaluate`, :mod:`srbench.inference.tiling`); a run that
ended there is told of by :func:`finding_for_bad_output`.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from srbench.checks.base import Finding, merge
from srbench.utils.image import Pixels, to_uint8

if TYPE_CHECKING:
    from torch import Tensor

# Whether red, green and blue come out of a model in their places.
#
# On colour data they are compared with those of the LR image. On grey data a colour network is given three
# equal channels and its three are averaged, which would hide a wrong order; there its raw output must be grey.

GUARD = "lossless_output"

SWAPPED = 0.5
"""Distance to LR of the best order of channels, as a share of the distance of the order given, below which
they are swapped. Of single photographs with red and blue exchanged the share is 0.01 to 0.17, for networks
trained for a minute; in the right order it is 1."""
COLOURED = 2.0
"""Distance in grey levels below which the order does not matter: images almost without colour."""

TINTED = 5.0
"""Grey levels by which the three channels may differ, on average, on a grey image. EDSR, SwinIR and SRGAN
trained for a minute on photographs differ by at most 0.7 on micrographs that they never saw. One whose mean
colour (of DIV2K) is subtracted in one order and added in another differs by 7.6."""


class ChannelOrders:
    """Adds up, for every order of the three channels, how far the results are from their LR images."""

    def __init__(self) -> None:
        self.images = 0
        self._squares: dict[tuple[int, ...], float] = {}

    def add(self, small: NDArray[np.float64], lr: NDArray[np.uint8]) -> None:
        """Take one result brought to LR size, ``(h, w, 3)``, and its LR image, both in grey levels."""
        self.images += 1
        for order in itertools.permutations(range(3)):
            square = float(np.square(small[..., order] - lr).mean())
            self._squares[order] = self._squares.get(order, 0.0) + square

    def finding(self) -> Finding:
        """Whether another order than the given one fits the LR images."""
        distance = {order: (total / self.images) ** 0.5 for order, total in self._squares.items()}
        given, best = distance[0, 1, 2], min(distance, key=lambda order: distance[order])
        images = f"{self.images} colour image{'s' if self.images > 1 else ''}"
        if given <= COLOURED or distance[best] >= SWAPPED * given:
            detail = f"Red, green and blue are in their places: {given:.1f} grey levels from LR ({images})."
            return Finding(GUARD, "passed", detail)
        read = "".join("RGB"[channel] for channel in best)
        return Finding(
            GUARD,
            "failed",
            f"The channels are in another order: read as {read} the result is {distance[best]:.1f} grey "
            f"levels from the LR images, as it is {given:.1f} ({images}).",
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


def finding_of_spread(spread: float) -> Finding:
    """What the :func:`channel_spread` of a colour network on grey data says."""
    seen = f"the channels of this colour network differ by {spread:.1f} grey levels on a grey image"
    if spread <= TINTED:
        return Finding(GUARD, "passed", f"On average {seen} (at most {TINTED:.0f} are let pass).")
    return Finding(
        GUARD,
        "failed",
        f"What is scored is the mean of three channels, but {seen} (at most {TINTED:.0f} are let pass): its "
        "weights expect another order of channels, or another mean colour is subtracted than in training.",
    )


# Whether an image went through JPEG: its block coefficients lie on the comb of a quantisation table.
#
# JPEG rounds each of the 64 cosine coefficients of an 8 x 8 block to a multiple of that coefficient's entry in
# a table, which the quality sets. After decoding, the coefficients of the pixels still lie within rounding of
# those multiples. Nothing else puts them there: neither the checkerboards of transposed convolutions, nor the
# windows of attention, nor the squares of nearest interpolation know the table, whatever their period.
#
# Tables are those of annex K of ITU-T T.81, scaled as the Independent JPEG Group's encoder scales them: what
# Pillow, OpenCV, imageio and MATLAB write. The block grid is the one that starts at the image's corner.

SIDE = 8
QUALITIES = range(5, 99)
"""Qualities looked for. Of 99 and 100 nothing is left to see: the tables are all ones, as rounding's own."""
MOST_BLOCKS = 4096
"""Blocks looked at, spread evenly over the image."""
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

Array = NDArray[np.float64]
Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class Comb:
    """How well an image's block coefficients lie on the comb of the table that fits best.

    Attributes:
        quality: of that table, 5 to 98; 0 where the image is too flat to say.
        strength: 1 where every coefficient is a multiple of its step, about 0 where they lie anywhere.
    """

    quality: int
    strength: float


def comb(sr: Grey, hr: Grey) -> Comb:
    """The comb in ``sr`` that it does not have from ``hr``.

    A reference may itself come from a JPEG file, and a result that equals it shows its comb. So only those
    coefficients count that say another multiple than the reference does.

    Args:
        sr: ``(H, W)`` 8-bit grey levels.
        hr: the same shape.
    """
    blocks = _telling_blocks(sr)
    found, known = _coefficients(sr, blocks), _coefficients(hr, blocks)
    strengths = _strengths(found)
    if not len(found) or not np.isfinite(strengths).any():
        return Comb(0, 0.0)
    best = int(np.nanargmax(strengths))
    return _confirmed(QUALITIES[best], found, known)


def quantisation_table(quality: int) -> NDArray[np.int64]:
    """The ``(8, 8)`` steps of the luminance coefficients, row = vertical frequency, at quality 1 to 100."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    steps: NDArray[np.int64] = np.clip((np.array(_LUMINANCE) * percent + 50) // 100, 1, 255)
    return steps


def _telling_blocks(pixels: Grey) -> NDArray[np.int64]:
    """Numbers of the blocks to look at: without black or white, where clipping moved the coefficients.

    Of blocks that are equal, as in a drawn grating, one: a single pattern can lie near some comb by chance.
    """
    blocks = _blocks(pixels).reshape(-1, SIDE * SIDE)
    inside = np.flatnonzero((blocks.min(axis=1) > 0) & (blocks.max(axis=1) < 255))
    _, first = np.unique(np.ascontiguousarray(blocks[inside]).view(f"V{SIDE * SIDE}"), return_index=True)
    distinct = np.sort(inside[first.ravel()])
    return distinct[:: max(1, -(-len(distinct) // MOST_BLOCKS))]


def _blocks(pixels: Grey) -> Grey:
    """``(n, 8, 8)``, row by row; what is left over at the right and the bottom is cut."""
    height, width = (side // SIDE for side in pixels.shape)
    cut = pixels[: height * SIDE, : width * SIDE].reshape(height, SIDE, width, SIDE)
    blocks: Grey = cut.transpose(0, 2, 1, 3).reshape(-1, SIDE, SIDE)
    return blocks


def _coefficients(pixels: Grey, numbers: NDArray[np.int64]) -> Array:
    """``(n, 63)`` orthonormal cosine coefficients of blocks, without that of the mean.

    The mean is left out because squares of nearest interpolation put it on a comb.
    """
    blocks = _blocks(pixels)[numbers].astype(np.float64)
    basis = _cosines()
    coefficients: Array = (basis @ blocks @ basis.T).reshape(-1, SIDE * SIDE)[:, 1:]
    return coefficients


@functools.cache
def _cosines() -> Array:
    frequency, position = np.arange(SIDE)[:, None], np.arange(SIDE)[None, :]
    basis = np.sqrt(2 / SIDE) * np.cos(np.pi * (2 * position + 1) * frequency / (2 * SIDE))
    basis[0] /= np.sqrt(2)
    scaled: Array = basis
    return scaled


@functools.cache
def _tables() -> NDArray[np.int64]:
    """``(qualities, 63)`` steps."""
    return np.stack([quantisation_table(quality).ravel()[1:] for quality in QUALITIES])


def _strengths(found: Array) -> Array:
    """The strength of the comb of every quality, by histogram; NaN where too few values say anything."""
    waves, counted = _teeth()
    levels = np.minimum(np.abs(found) / _BIN + 0.5, _BINS - 1).astype(np.int64)
    histogram = np.stack([np.bincount(column, minlength=_BINS) for column in levels.T]).astype(np.float64)
    totals, counts = histogram @ waves.T, histogram @ counted.T
    steps = _tables()
    column = np.arange(steps.shape[1])
    # A step of 1 has no comb; its place in the sums is that of step 2 and is left out by its count of 0.
    place = np.maximum(steps - _STEPS[0], 0)
    return _mean_strength(totals[column, place], np.where(steps > 1, counts[column, place], 0.0))


@functools.cache
def _teeth() -> tuple[Array, Array]:
    """For every step the cosine that is 1 on its multiples, over the bins, and the bins that are counted.

    Not counted are values that round to zero: an image without fine detail has them all near zero.
    """
    level = np.arange(_BINS) * _BIN
    counted = (level > _STEPS[:, None] / 2) & (level < (_BINS - 1) * _BIN)
    return np.cos(2 * np.pi * level / _STEPS[:, None]) * counted, counted.astype(np.float64)


def _confirmed(quality: int, found: Array, known: Array) -> Comb:
    """The strength of one quality's comb, from coefficients that say another multiple than the reference."""
    steps = quantisation_table(quality).ravel()[1:]
    multiple = np.rint(found / steps)
    own = (multiple != 0) & (multiple != np.rint(known / steps)) & (steps > 1)
    strength = _mean_strength((np.cos(2 * np.pi * found / steps) * own).sum(axis=0), own.sum(axis=0))
    return Comb(quality, float(strength)) if np.isfinite(strength) else Comb(0, 0.0)


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


LOSSLESS, NO_BAR = "lossless_output", "databar_border"

COMB = 0.5
"""Strength of the JPEG comb, median over the images. Measured on sem_synthetic, its small suite and sem_open:
at most 0.1 for the four interpolations at x2, x3, x4, x8, for 31 trained and 45 untrained networks, for HR,
and for HR that was a JPEG of quality 50 to 95 itself, with noise or a blur added. No single image is above
0.15, but for an untrained LapSRN, whose fixed checkerboard reaches 0.45. Of bicubic x4 and x8 it is 0.98 at
quality 50, 0.95 at 75, 0.79 at 90, 0.67 at 95 (no image below 0.85 at 75); at 98 some sets escape."""

INVERTED = -0.5
"""Correlation of SR, brought to LR size, with LR, median over the images. Trained networks reach 0.9 and
more, those stopped after seconds 0.4."""
OFF_GREY = 25.0
"""Grey levels by which the mean over the images may be off: trained networks stay below 6. A range of -1 to 1
taken for 0 to 1 lowers or raises the mean by up to half the range."""
EVEN, STRUCTURED = 1.0, 2.0
"""Standard deviation, in grey levels, of an image without content, and of one that surely has some."""

Pixels8 = NDArray[np.uint8]


@dataclass(frozen=True)
class _Look:
    """What one image showed; ``quality`` 0 where it is too smooth to say whether it went through JPEG."""

    image: str
    quality: int
    comb: float
    even: bool
    structured: bool
    correlation: float
    offset: float
    bar: bool


class OutputWatch:
    """Looks at every image of a run as it comes, and tells in the end.

    Args:
        scale: magnification.
        colour: whether the data has colour.
        bars: whether a databar can be told from the sample: not in drawn scenes and photographs, which have
            rows as smooth as a bar's.
    """

    def __init__(self, scale: int, colour: bool, bars: bool = True) -> None:
        self.scale = scale
        self.colour = colour
        self.bars = bars
        self._looks: list[_Look] = []
        self._orders = ChannelOrders()
        self._spread: float | None = None

    def heard_spread(self, levels: float) -> None:
        """Take what the worker of a colour network on grey data says; see :func:`colours.channel_spread`."""
        self._spread = levels

    def look(self, image_id: str, sr: Pixels8, hr: Pixels, lr: Pixels8) -> None:
        """Look at one image.

        Args:
            image_id: told where something is wrong.
            sr: ``(H, W)`` or ``(H, W, 3)`` uint8.
            hr: the reference, of the same height and width.
            lr: the input, ``scale`` times smaller.
        """
        grey, reference, given = to_uint8(sr), to_uint8(hr), to_uint8(lr)
        small = _shrunk(grey, self.scale)
        found = comb(grey, reference)
        self._looks.append(
            _Look(
                image=image_id,
                quality=found.quality,
                comb=found.strength,
                even=float(grey.std()) < EVEN,
                structured=float(given.std()) > STRUCTURED,
                correlation=_correlation(small, given),
                offset=float(small.mean() - given.mean()),
                bar=self.bars and _drew_a_bar(grey, reference, given, self.scale),
            )
        )
        if self.colour and sr.ndim == lr.ndim == 3:
            self._orders.add(_shrunk(sr, self.scale), lr)

    def findings(self) -> tuple[Finding, ...]:
        """One of the guard ``lossless_output`` and one of ``databar_border``."""
        if not self._looks:
            why = "No image was looked at, because none was scored."
            return Finding(LOSSLESS, "unchecked", why), Finding(NO_BAR, "unchecked", why)
        found = [_jpeg(self._looks), _range(self._looks)]
        if self._orders.images:
            found.append(self._orders.finding())
        if self._spread is not None:
            found.append(finding_of_spread(self._spread))
        return merge(found), self._databars()

    def _databars(self) -> Finding:
        cut = f"{self.scale} px of border are cut before scoring"
        if not self.bars:
            detail = f"Drawn scenes and photographs have no databar to learn from; {cut}."
            return Finding(NO_BAR, "passed", detail)
        drawn, images = [one.image for one in self._looks if one.bar], _count(self._looks)
        if not drawn:
            return Finding(NO_BAR, "passed", f"No databar was drawn in {images}; {cut}.")
        return Finding(
            NO_BAR,
            "failed",
            f"The model drew a databar that the reference does not have in {len(drawn)} of {images} (first: "
            f"{drawn[0]}). It learned to: cut the bars from the images it is trained on.",
        )


def finding_for_bad_output(reason: str) -> Finding:
    """What is told of a run that ended because the output was no image of the right size, type and values.

    Args:
        reason: what was wrong, as a sentence or as what follows "the model".
    """
    said = reason.strip().rstrip(".")
    return Finding(LOSSLESS, "failed", f"The run ended because the output could not be used: {said}.")


def _jpeg(looks: list[_Look]) -> Finding:
    said = [one for one in looks if one.quality]
    if not said:
        detail = f"Whether JPEG was used cannot be said: {_count(looks)}, all too smooth or too small."
        return Finding(LOSSLESS, "unchecked", detail)
    strength = float(np.median([one.comb for one in said]))
    if strength <= COMB:
        smooth = f" ({len(looks) - len(said)} more are too smooth to say)" if len(said) < len(looks) else ""
        return Finding(
            LOSSLESS,
            "passed",
            f"No trace of JPEG in {_count(said)}{smooth}: the comb of its coefficients has strength "
            f"{max(strength, 0.0):.2f} (median; a JPEG's is near 1).",
        )
    combed = [one.quality for one in said if one.comb > COMB]
    return Finding(
        LOSSLESS,
        "failed",
        f"{len(combed)} of {_count(said)} went through JPEG, of quality {np.median(combed):.0f} or near: the "
        "cosine coefficients of their 8 x 8 blocks are multiples of that quality's steps. Have the model "
        "give its pixels uncompressed.",
    )


def _range(looks: list[_Look]) -> Finding:
    offset = float(np.mean([one.offset for one in looks]))
    problem = _evenness(looks) or _inversion(looks) or _shift(offset, looks)
    if problem:
        return Finding(LOSSLESS, "failed", problem)
    return Finding(LOSSLESS, "passed", f"The mean grey is {offset:+.1f} of 255 levels off that of LR.")


def _evenness(looks: list[_Look]) -> str:
    even = [one.image for one in looks if one.even and one.structured]
    if not even:
        return ""
    return (
        f"{len(even)} of {_count(looks)} are one even grey though their LR images are not (first: "
        f"{even[0]}). That happens when an output of 0 to 255 is cut at 1, or when weights are broken."
    )


def _inversion(looks: list[_Look]) -> str:
    told = [one.correlation for one in looks if one.structured]
    middle = float(np.median(told)) if told else 0.0
    if middle > INVERTED:
        return ""
    return f"Black and white are exchanged: correlation with LR {middle:+.2f}, median of {_count(told)}."


def _shift(offset: float, looks: list[_Look]) -> str:
    if abs(offset) <= OFF_GREY:
        return ""
    return (
        f"The mean grey is {offset:+.0f} of 255 levels off that of LR, over {_count(looks)}. That happens "
        "when a range of -1 to 1 or of 0 to 255 is taken for 0 to 1."
    )


def _drew_a_bar(sr: Pixels8, hr: Pixels8, lr: Pixels8, scale: int) -> bool:
    """Whether a databar is in ``sr`` that neither the reference nor the LR image gave any reason for."""
    from srbench.datasets.images.databar import has_databar

    # A bright, noisy foot of an image looks like a white bar as soon as the noise is gone, in LR as in SR.
    enlarged = lr.repeat(scale, axis=0).repeat(scale, axis=1)
    return has_databar(sr) and not has_databar(hr) and not has_databar(enlarged)


def _shrunk(pixels: Pixels8, scale: int) -> Array:
    """Mean of each ``scale`` x ``scale`` square in grey levels, ``(H/scale, W/scale)`` or with channels."""
    height, width = pixels.shape[0] // scale, pixels.shape[1] // scale
    squares = pixels.reshape(height, scale, width, scale, *pixels.shape[2:])
    means: Array = squares.mean(axis=(1, 3), dtype=np.float64)
    return means


def _correlation(small: Array, lr: Pixels8) -> float:
    """Pearson's; 0 where one of the two is constant."""
    a, b = small - small.mean(), lr - lr.mean(dtype=np.float64)
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / size if size > 0.0 else 0.0


def _count(images: list[_Look] | list[float]) -> str:
    return "1 image" if len(images) == 1 else f"{len(images)} images"
