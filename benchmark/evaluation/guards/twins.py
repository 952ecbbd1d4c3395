"""Whether a model knows what its LR images do not tell: scenes with a twin of the same LR, bit for bit.

In a synthetic scene lie fine lamellae whose phase was drawn by lot and whose two phases give one LR image
(:mod:`srbench.datasets.synthetic.undecidable`). A model may draw lamellae or leave the patch blank; which of
the two phases it leans to, by however little, is a toss of a fair coin, because the lot was drawn without
looking at anything the model can see. That stays so for a model with a taste: one that always prefers a ridge
on the first pixel is right as often as the lot fell there. A model that is right too often has seen HR
pixels, in training or while it ran, and it does not matter by how much it leans: an honest one leans by 0.1
to either side, by chance, and one that knows by 0.05 to one side.

What escapes: a model that remembers other parts of the scenes than the lamellae, and one that knows only a
few of the scenes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.degrade import Degradation
from srbench.datasets.interface import Pixels
from srbench.evaluation.guards.cards import Finding

GUARD = "nothing_remembered"

BY_CHANCE = 1e-4
"""Probability by chance below which a model is said to know. A table has 20 to 50 rows, each tested once: one
honest table in 200 would accuse anybody at all. 14 of 14 scenes reach it, 18 of 20, 45 of 60."""

DEGRADATIONS = ("bicubic", "area")
"""Those with a zero at the period of the lamellae; where nothing is random, twins then have one LR image."""

TIE = 1e-9
"""Leaning that arithmetic on whole grey levels cannot tell from none."""

Pixels8 = NDArray[np.uint8]


def same_lr(hr: Pixels, twin: Pixels, degradation: Degradation, scale: int) -> bool:
    """Whether two HR images give the same LR pixels; the promise on which everything here rests."""
    from srbench.evaluation.lr_cache import cut_to_scale, lr_image

    first, second = (lr_image(cut_to_scale(one, scale), degradation, scale) for one in (hr, twin))
    return bool(np.array_equal(first, second))


def leaning(sr: Pixels8, hr: Pixels8, twin: Pixels8) -> float:
    """How far a result lies from the middle of two twins towards the true one.

    The projection of ``sr`` less the mean of both onto half their difference: 1 for ``hr`` itself, -1 for
    ``twin``, 0 where it takes no side, as where it leaves the patch blank.

    Args:
        sr: ``(H, W)`` grey levels.
        hr: the reference.
        twin: the other image of the same LR.
    """
    towards = (hr.astype(np.float64) - twin) / 2
    middle = (hr.astype(np.float64) + twin) / 2
    length = float((towards * towards).sum())
    projection = float(((sr - middle) * towards).sum())
    return projection / length if length else 0.0


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
        self.leanings[image_id] = leaning(sr, hr, twin)

    def finding(self) -> Finding:
        """Whether it was right more often than by chance."""
        if self._unlike:
            return Finding(GUARD, "unchecked", self._unlike)
        sides = [one for one in self.leanings.values() if abs(one) > TIE]
        right, least = sum(one > 0 for one in sides), scenes_needed()
        if len(sides) < least:
            return Finding(GUARD, "unchecked", _too_few(len(sides), least))
        chance = by_chance(right, len(sides))
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


def by_chance(right: int, scenes: int) -> float:
    """Probability that a fair coin is right in ``right`` or more of ``scenes`` (exact)."""
    return sum(math.comb(scenes, count) for count in range(right, scenes + 1)) / (1 << scenes)


def scenes_needed() -> int:
    """Scenes below which not even being right in all of them is too much for chance: 14."""
    return next(count for count in range(1, 64) if by_chance(count, count) < BY_CHANCE)


def _too_few(sides: int, least: int) -> str:
    return (
        f"The model took a side in {sides} scene{'' if sides == 1 else 's'} with a twin of the same LR "
        f"image; fewer than {least} prove nothing. Evaluate the whole test split of sem_synthetic."
    )


def _readable(probability: float) -> str:
    return f"{probability:.2f}" if probability >= 0.01 else f"{probability:.0e}"
