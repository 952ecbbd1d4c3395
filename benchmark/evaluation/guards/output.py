"""Whether what a model gives are undamaged images: no JPEG, the LR image's range and colours, no databar.

Looks at finished 8-bit images beside the LR images that they came from. Size, type and finite values are
enforced where they come in (:mod:`srbench.evaluation.runner`, :mod:`srbench.evaluation.tiling`); a run that
ended there is told of by :func:`finding_for_bad_output`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.interface import Pixels
from srbench.evaluation.guards.cards import Finding, merge
from srbench.evaluation.guards.colours import ChannelOrders, finding_of_spread
from srbench.evaluation.guards.jpeg import comb
from srbench.evaluation.protocol import to_uint8

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
Array = NDArray[np.float64]


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
    from srbench.datasets.databar import has_databar

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
