"""One run of a leaderboard: what it is called, whether it is ranked, and its numbers.

Ranked are trained networks and interpolations. Not ranked are the noise ceiling, variants that see the HR
image, and weights of the smoke budget, which were trained for seconds to show that the software works.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from srbench.evaluation import statistics
from srbench.store import Manifest

RunId = tuple[str, str, str, int]
Standing = Literal["network", "interpolation", "ceiling", "unranked"]
SECTIONS: Mapping[Standing, str] = {
    "network": "Networks",
    "interpolation": "Interpolations (nothing learned)",
    "ceiling": "Noise ceiling (a second acquisition of the same field, not a model)",
    "unranked": "Shown, not ranked",
}
SMOKE = "smoke budget: not a result"
LEAKING = "sees the HR image: not ranked"
BASELINE = "bicubic"


@dataclass(frozen=True)
class Cell:
    """One metric of one run, as :func:`srbench.evaluation.statistics.leaderboard` gives it."""

    mean: float
    low: float
    high: float
    diff: float
    diff_low: float
    diff_high: float
    p_holm: float
    n_images: int
    n_groups: int
    best: bool
    note: str
    reason: str = ""


@dataclass(frozen=True)
class Row:
    """One run of the leaderboard.

    Attributes:
        manifest: the run.
        standing: the section of the table it belongs to.
        cells: metric id to its cell.
        costs: cost metric id to its value, missing ones absent.
        cost_reasons: cost metric id to why it has no value.
        badges: short warnings that must stand beside the name.
        twin_mark: start of the weights' hash where another run has the same name otherwise.
    """

    manifest: Manifest
    standing: Standing
    cells: Mapping[str, Cell]
    costs: Mapping[str, float]
    cost_reasons: Mapping[str, str]
    badges: tuple[str, ...]
    twin_mark: str = ""

    @property
    def run(self) -> RunId:
        """What identifies the run within its block."""
        return run_of(self.manifest)

    @property
    def identifier(self) -> str:
        """The run as one string."""
        return "|".join(map(str, self.run))

    @property
    def title(self) -> str:
        """The model's printed name."""
        return title_of(self.manifest)

    @property
    def detail(self) -> str:
        """Variant, budget, seed and foreign training data, as far as there is something to say."""
        key, weights = self.manifest.key, self.manifest.weights
        parts = [key.variant if key.weights else ""]
        parts.append(f"{weights['budget']} budget" if weights.get("budget") else "")
        parts.append(f"seed {key.seed}" if key.seed >= 0 else "")
        trained_on = weights.get("dataset")
        parts.append(f"trained on {trained_on}" if trained_on and trained_on != key.dataset else "")
        parts.append(f"weights {self.twin_mark}" if self.twin_mark else "")
        return ", ".join(part for part in parts if part)

    @property
    def label(self) -> str:
        """Title and detail on one line."""
        return f"{self.title} ({self.detail})" if self.detail else self.title

    @property
    def family(self) -> str:
        """The model's family, for colours."""
        return str(self.manifest.card.get("family", ""))

    @property
    def n_images(self) -> int:
        """Images behind its most complete metric."""
        return max((cell.n_images for cell in self.cells.values()), default=0)

    @property
    def n_groups(self) -> int:
        """Independent groups behind its most complete metric."""
        return max((cell.n_groups for cell in self.cells.values()), default=0)

    @property
    def is_comparable(self) -> bool:
        """Whether it did the task: made HR from LR. Others would squeeze the models in a plot together."""
        return self.standing != "ceiling" and LEAKING not in self.badges

    @property
    def shapes_crops(self) -> bool:
        """Whether its output has a say in which regions are shown."""
        return self.standing in ("network", "interpolation")


def title_of(manifest: Manifest) -> str:
    """A model's printed name: its card's title, else its registered name."""
    if manifest.key.model == statistics.NOISE_CEILING:
        return "Noise ceiling"
    return str(manifest.card.get("title") or manifest.key.model)


def run_of(manifest: Manifest) -> RunId:
    """What identifies a run within its block."""
    key = manifest.key
    return key.model, key.variant, key.weights, key.seed


def standing_of(manifest: Manifest) -> Standing:
    """The section a run belongs to; everything that must not be ranked is ``unranked`` or the ceiling."""
    if manifest.key.model == statistics.NOISE_CEILING:
        return "ceiling"
    if badges_of(manifest):
        return "unranked"
    return "interpolation" if manifest.card.get("family") == "interpolation" else "network"


def badges_of(manifest: Manifest) -> tuple[str, ...]:
    """Why a run is not ranked, in the words printed beside its name."""
    leaking = manifest.card.get("leaking", False)
    leaks = leaking if isinstance(leaking, bool) else manifest.key.variant in (leaking or ())
    smoke = manifest.weights.get("budget") == "smoke"
    return ((LEAKING,) if leaks else ()) + ((SMOKE,) if smoke else ())
