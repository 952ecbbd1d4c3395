"""Whether a model knows what its LR images do not tell: scenes with a twin of the same LR, bit for bit.

In a synthetic scene lie fine lamellae whose phase was drawn by lot and whose two phases give one LR image
(:mod:`srbench.datasets.synthetic.ambiguous`). A model may draw lamellae or leave the patch blank; which of
the two phases it leans to, by however little, is a toss of a fair coin, because the lot was drawn without
looking at anything the model can see. That stays so for a model with a taste: one that always prefers a ridge
on the first pixel is right as often as the lot fell there (of the published lots of 20, 60 and 30 scenes no
taste is right more often than chance allows one time in 20).

The strength of the leaning does not depend on the lot either, only its sign does. So the test is Wilcoxon's
of signed ranks, exact: a model is caught that is right too often, or only where it leans most. Of 12
networks x4 with 10 % of HR mixed into their output all were found over the 20 scenes of sem_synthetic:small,
with 5 % 11 over the 60 of sem_synthetic; below half a grey level 8-bit rounding hides what is known.

What escapes: a model that remembers other parts of the scenes than the lamellae, and one that knows only a
few of the scenes: of 20 fewer than 14, of 60 fewer than some 22, the others being guessed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from srbench.checks.base import Finding
from srbench.datasets.degrade import Degradation
from srbench.utils.image import Pixels

GUARD = "nothing_remembered"

BY_CHANCE = 1e-4
"""Probability by chance below which a model is said to know. A table has 20 to 50 rows, each tested once: one
honest table in 200 would accuse anybody at all. Right in 14 of 14 scenes reaches it, in 13 of 13 does not."""

DEGRADATIONS = ("bicubic", "area")
"""Those with a zero at the period of the lamellae; where nothing is random, twins then have one LR image."""

LIMIT = 0.2
"""What one LR pixel may say. Without it an edge through the patch, which a model draws a little beside its
place, drowns what the rest says: of 60 scenes x4 with 5 % of HR added to a trained EDSR 46 lean to the truth
instead of 53, to an ESRGAN 47 instead of 53."""

_DIGITS = 9
TIE = 1e-9
"""Leaning that arithmetic on whole grey levels cannot tell from none."""

Pixels8 = NDArray[np.uint8]


def same_lr(hr: Pixels, twin: Pixels, degradation: Degradation, scale: int) -> bool:
    """Whether two HR images give the same LR pixels; the promise on which everything here rests."""
    from srbench.datasets.lr_images import cut_to_scale, lr_image

    first, second = (lr_image(cut_to_scale(one, scale), degradation, scale) for one in (hr, twin))
    return bool(np.array_equal(first, second))


def leaning(sr: Pixels8, hr: Pixels8, twin: Pixels8, scale: int) -> float:
    """How far a result lies from the middle of two twins towards the true one.

    In every LR pixel ``sr`` less the mean of both is projected onto half their difference, and what exceeds
    ``LIMIT`` is cut. The mean over the LR pixels, weighted with the square of the difference, is given in
    units of ``LIMIT``; its sign is the side taken. When the twins change places it changes its sign and
    nothing else.

    Args:
        sr: ``(H, W)`` grey levels.
        hr: the reference.
        twin: the other image of the same LR.
        scale: side of an LR pixel; it divides H and W.

    Returns:
        1 for ``hr`` itself, -1 for ``twin``, 0 where no side is taken, as where the patch is left blank.
    """
    towards = (hr.astype(np.float64) - twin) / 2
    error = sr - (hr.astype(np.float64) + twin) / 2
    weights = _sums(towards * towards, scale)
    projections = _sums(error * towards, scale)
    there = weights > 0
    if not there.any():
        return 0.0
    cut = np.clip(projections[there] / weights[there], -LIMIT, LIMIT)
    return float(np.average(cut, weights=weights[there])) / LIMIT


def _sums(plane: NDArray[np.float64], scale: int) -> NDArray[np.float64]:
    """Over each ``scale`` x ``scale`` square."""
    height, width = (side // scale for side in plane.shape)
    total: NDArray[np.float64] = plane.reshape(height, scale, width, scale).sum(axis=(1, 3))
    return total


class TwinWatch:
    """Counts in how many scenes a model leans to the true twin.

    Args:
        scale: magnification.
        degradation: how LR was made; with it the first scene is checked to have one LR with its twin. None
            where the caller has.
    """

    def __init__(self, scale: int, degradation: Degradation | None = None) -> None:
        self.scale = scale
        self.degradation = degradation
        self.leanings: dict[str, float] = {}
        self._unlike = ""

    @staticmethod
    def valid_for(degradation: Degradation) -> bool:
        """Whether twins have one LR image under this degradation."""
        return degradation.name in DEGRADATIONS and not degradation.stochastic

    def look(self, image_id: str, sr: Pixels8, hr: Pixels8, twin: Pixels8) -> None:
        """Look at one scene that has a twin; all ``(H, W)`` uint8."""
        if self.degradation is not None and not self.leanings and not self._unlike:
            self._check(image_id, hr, twin)
        self.leanings[image_id] = leaning(sr, hr, twin, self.scale)

    def finding(self) -> Finding:
        """Whether it was right more often than by chance."""
        if self._unlike:
            return Finding(GUARD, "unchecked", self._unlike)
        sides = [one for one in self.leanings.values() if abs(one) > TIE]
        right, least = sum(one > 0 for one in sides), scenes_needed()
        if len(sides) < least:
            return Finding(GUARD, "unchecked", _too_few(len(sides), least))
        chance = by_chance(sides)
        seen = (
            f"In {right} of {len(sides)} scenes whose LR image cannot decide between two truths the model "
            f"leans to the right one (probability by chance {_readable(chance)}"
        )
        mean = float(np.mean(sides))
        if chance >= BY_CHANCE:
            return Finding(GUARD, "passed", f"{seen}).")
        return Finding(
            GUARD,
            "failed",
            f"{seen}; mean leaning {mean:+.2f}, where 1 is the truth): it has seen these HR images, in "
            "training or while it ran.",
        )

    def _check(self, image_id: str, hr: Pixels8, twin: Pixels8) -> None:
        assert self.degradation is not None
        if not self.valid_for(self.degradation):
            self._unlike = (
                f"Twins have one LR image for the degradations {' and '.join(DEGRADATIONS)} alone, not for "
                f"{self.degradation.name}; evaluate with one of them."
            )
        elif not same_lr(hr, twin, self.degradation, self.scale):
            self._unlike = (
                f"The LR image of {image_id} differs from its twin's, so the truth can be told from it."
            )


def by_chance(leanings: Sequence[float]) -> float:
    """Probability that fair signs give the positive leanings so large a sum of ranks (exact, one-sided).

    Ranks are by absolute value, ties share their mean rank; of leanings of one size it is the binomial test.

    Reference:
        Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1(6), 1945.
    """
    sizes = np.round(np.abs(leanings), _DIGITS)
    # Twice the mean rank is a whole number: how many are smaller, and how many are not larger, plus one.
    doubled = [int((sizes < size).sum() + (sizes <= size).sum()) + 1 for size in sizes]
    reached = sum(rank for rank, one in zip(doubled, leanings, strict=True) if one > 0)
    chances = np.ones(1)
    for rank in doubled:
        chances = np.pad(chances, (0, rank)) / 2 + np.pad(chances, (rank, 0)) / 2
    return min(float(chances[reached:].sum()), 1.0)


def scenes_needed() -> int:
    """Scenes below which not even being right in all of them is too much for chance: 14."""
    return math.floor(-math.log2(BY_CHANCE)) + 1


def _too_few(sides: int, least: int) -> str:
    return (
        f"The model took a side in {sides} scene{'' if sides == 1 else 's'} with a twin of the same LR "
        f"image; fewer than {least} prove nothing. Evaluate the whole test split of sem_synthetic."
    )


def _readable(probability: float) -> str:
    return f"{probability:.2f}" if probability >= 0.01 else f"{probability:.0e}"
