"""Whether a model knows what its LR images do not tell: fine lamellae in scenes, of two phases and one LR.

The phase was drawn at random (:mod:`srbench.datasets.synthetic.ambiguous`), so an honest model is right in
half of the scenes, also one that always prefers the same phase. How strongly it prefers a phase does not
depend on which was drawn, only the sign does; so the test is Wilcoxon's of signed ranks, exact. A model is
caught that is right too often, or only where its preference is strongest. Measured power: docs/guards.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from srbench.checks.base import CheckResult
from srbench.datasets.degrade import Degradation
from srbench.datasets.lr_images import cut_to_scale, lr_image
from srbench.utils.image import Pixels

MEMORISATION = "memorisation"

BY_CHANCE = 1e-4
"""Probability by chance below which a model is said to know. A table has 20 to 50 rows, each tested once: one
honest table in 200 would accuse anybody at all. Right in 14 of 14 scenes reaches it, in 13 of 13 does not."""

DEGRADATIONS = ("bicubic", "area")
"""Those with a zero at the period of the lamellae; where nothing is random, both phases have one LR image."""

LIMIT = 0.2
"""What one LR pixel may say. Without it an edge through the patch, which a model draws a little beside its
true position, outweighs what the rest says."""

TIE = 1e-9
"""Preference that arithmetic on whole grey levels cannot tell from none."""
_DIGITS = 9

Pixels8 = NDArray[np.uint8]


def same_lr(hr: Pixels, opposite_phase: Pixels, degradation: Degradation, scale: int) -> bool:
    """Whether two HR images give the same LR pixels, on which the whole test rests."""
    first, second = (lr_image(cut_to_scale(x, scale), degradation, scale) for x in (hr, opposite_phase))
    return bool(np.array_equal(first, second))


def preference(sr: Pixels8, hr: Pixels8, opposite_phase: Pixels8, scale: int) -> float:
    """How far a result lies from the middle of two phases towards the true one.

    In every LR pixel ``sr`` less the mean of both is projected onto half their difference, and what exceeds
    ``LIMIT`` is cut. The mean over the LR pixels, weighted with the square of the difference, is given in
    units of ``LIMIT``; its sign is the phase preferred. When the two images change places it changes its sign
    and nothing else.

    Args:
        sr: ``(H, W)`` grey levels.
        hr: the reference.
        opposite_phase: the other image of the same LR.
        scale: side of an LR pixel; it divides H and W.

    Returns:
        1 for ``hr`` itself, -1 for ``opposite_phase``, 0 for no preference, as where the patch is left blank.
    """
    towards = (hr.astype(np.float64) - opposite_phase) / 2
    error = sr - (hr.astype(np.float64) + opposite_phase) / 2
    weights = _sums(towards * towards, scale)
    projections = _sums(error * towards, scale)
    differs = weights > 0
    if not differs.any():
        return 0.0
    cut = np.clip(projections[differs] / weights[differs], -LIMIT, LIMIT)
    return float(np.average(cut, weights=weights[differs])) / LIMIT


def _sums(plane: NDArray[np.float64], scale: int) -> NDArray[np.float64]:
    """Over each ``scale`` x ``scale`` square."""
    height, width = (side // scale for side in plane.shape)
    total: NDArray[np.float64] = plane.reshape(height, scale, width, scale).sum(axis=(1, 3))
    return total


class MemorisationTest:
    """Counts in how many scenes a model prefers the true phase.

    Args:
        scale: magnification.
        degradation: how LR was made; with it both phases of the first scene are checked to have one LR
            image. None where the caller has.

    Attributes:
        preferences: of the scenes so far, by image.
        not_valid: why the scenes prove nothing; empty where they do.
    """

    def __init__(self, scale: int, degradation: Degradation | None = None) -> None:
        self.scale = scale
        self.degradation = degradation
        self.preferences: dict[str, float] = {}
        self.not_valid = ""

    @staticmethod
    def valid_for(degradation: Degradation) -> bool:
        """Whether both phases have one LR image under this degradation."""
        return degradation.name in DEGRADATIONS and not degradation.stochastic

    def add(self, image_id: str, sr: Pixels8, hr: Pixels8, opposite_phase: Pixels8) -> None:
        """Add one scene; all images ``(H, W)`` uint8."""
        if self.degradation is not None and not self.preferences and not self.not_valid:
            if not self.valid_for(self.degradation):
                self.not_valid = (
                    f"Both phases have one LR image for the degradations {' and '.join(DEGRADATIONS)} alone, "
                    f"not for {self.degradation.name}; evaluate with one of them."
                )
            elif not same_lr(hr, opposite_phase, self.degradation, self.scale):
                self.not_valid = (
                    f"The LR image of {image_id} differs from that of the opposite phase, so the truth can "
                    "be told from it."
                )
        self.preferences[image_id] = preference(sr, hr, opposite_phase, self.scale)

    def result(self) -> CheckResult:
        """Whether the model was right more often than by chance."""
        if self.not_valid:
            return CheckResult(MEMORISATION, "unchecked", self.not_valid)
        decided = [value for value in self.preferences.values() if abs(value) > TIE]
        right, least = sum(value > 0 for value in decided), scenes_needed()
        if len(decided) < least:
            return CheckResult(
                MEMORISATION,
                "unchecked",
                f"The model preferred a phase in {len(decided)} scene{'' if len(decided) == 1 else 's'} that "
                f"have two truths for one LR image; fewer than {least} prove nothing. Evaluate the whole "
                "test split of sem_synthetic.",
            )
        chance = by_chance(decided)
        summary = (
            f"In {right} of {len(decided)} scenes whose LR image cannot decide between two truths the model "
            f"prefers the right one (probability by chance {chance:{'.2f' if chance >= 0.01 else '.0e'}}"
        )
        if chance >= BY_CHANCE:
            return CheckResult(MEMORISATION, "passed", f"{summary}).")
        return CheckResult(
            MEMORISATION,
            "failed",
            f"{summary}; mean preference {np.mean(decided):+.2f}, where 1 is the truth): it has seen these "
            "HR images, in training or while it ran.",
        )


def by_chance(preferences: Sequence[float]) -> float:
    """Probability that fair signs give the positive preferences so large a sum of ranks (exact, one-sided).

    Ranks are by absolute value, ties share their mean rank; of preferences of one size it is the binomial
    test.

    Reference:
        Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1(6), 1945.
    """
    sizes = np.round(np.abs(preferences), _DIGITS)
    # Twice the mean rank is a whole number: how many are smaller, and how many are not larger, plus one.
    doubled = [int((sizes < size).sum() + (sizes <= size).sum()) + 1 for size in sizes]
    reached = sum(rank for rank, value in zip(doubled, preferences, strict=True) if value > 0)
    chances = np.ones(1)
    for rank in doubled:
        chances = np.pad(chances, (0, rank)) / 2 + np.pad(chances, (rank, 0)) / 2
    return min(float(chances[reached:].sum()), 1.0)


def scenes_needed() -> int:
    """Scenes below which not even being right in all of them is too much for chance: 14."""
    return math.floor(-math.log2(BY_CHANCE)) + 1
