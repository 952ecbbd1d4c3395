"""One row of a leaderboard: what it is called, whether it is ranked, and its numbers.

Ranked are trained networks and interpolations. Not ranked are the noise ceiling, the control, variants that
see the HR image, weights of the smoke budget, which were trained for seconds to show that the software works,
and every run about which a guard found something wrong. The seeds of one training are one row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from srbench.evaluation import statistics
from srbench.evaluation.guards.cards import Finding
from srbench.evaluation.selection import training_of
from srbench.reporting.cells import Cell
from srbench.reporting.guards import RunId, badge_of, failures, run_of, stored_findings
from srbench.store import Manifest

__all__ = ["Cell", "Row", "RunId", "Standing", "badges_of", "gather", "run_of", "standing_of", "title_of"]

Standing = Literal["network", "interpolation", "ceiling", "control", "unranked"]
SECTIONS: Mapping[Standing, str] = {
    "network": "Networks",
    "interpolation": "Interpolations (nothing learned)",
    "ceiling": "Noise ceiling (a second acquisition of the same field, not a model)",
    "control": "Control (invents texture on purpose, not a model)",
    "unranked": "Shown, not ranked",
}
REFERENCE_TITLES: Mapping[str, str] = {
    statistics.NOISE_CEILING: "Noise ceiling",
    statistics.CONTROL: "Control: invented texture",
}
RANKED: tuple[Standing, ...] = ("network", "interpolation")
SMOKE = "smoke budget: not a result"
LEAKING = "sees the HR image: not ranked"
BASELINE = "bicubic"


@dataclass(frozen=True)
class Row:
    """One row of the leaderboard.

    Attributes:
        manifest: the run; of several seeds the first.
        standing: the section of the table it belongs to.
        cells: metric id to its cell.
        costs: cost metric id to its value, missing ones absent.
        cost_reasons: cost metric id to why it has no value.
        badges: short warnings that must stand beside the name.
        twin_mark: start of the weights' hash where another row has the same name otherwise.
        repeats: the runs of the other seeds of the same training.
        faults: badge to the sentence behind it, for failed guards.
    """

    manifest: Manifest
    standing: Standing
    cells: Mapping[str, Cell]
    costs: Mapping[str, float]
    cost_reasons: Mapping[str, str]
    badges: tuple[str, ...]
    twin_mark: str = ""
    repeats: tuple[Manifest, ...] = ()
    faults: Mapping[str, str] = field(default_factory=dict)

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """All runs behind the row, one a seed."""
        return (self.manifest, *self.repeats)

    @property
    def run(self) -> RunId:
        """What identifies the row within its block: its first run."""
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
        """Variant, budget, seeds and foreign training data, as far as there is something to say."""
        seeds = [m.key.seed for m in self.manifests if m.key.seed >= 0]
        names = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}" if seeds else ""
        parts = _parts(self.manifest, names)
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
    def is_reference(self) -> bool:
        """Whether srbench made its images itself, for orientation."""
        return self.standing in ("ceiling", "control")

    @property
    def is_comparable(self) -> bool:
        """Whether it did the task: made HR from LR. Others would squeeze the models in a plot together."""
        return not self.is_reference and LEAKING not in self.badges

    @property
    def shapes_crops(self) -> bool:
        """Whether its output has a say in which regions are shown."""
        return self.standing in RANKED

    def detail_of(self, manifest: Manifest) -> str:
        """What tells one of its runs from all others."""
        seed = f"seed {manifest.key.seed}" if manifest.key.seed >= 0 else ""
        mark = f"weights {self.twin_mark}" if self.twin_mark else ""
        return ", ".join(part for part in (*_parts(manifest, seed), mark) if part)

    def label_of(self, manifest: Manifest) -> str:
        """Title of the row and detail of one of its runs."""
        detail = self.detail_of(manifest)
        return f"{self.title} ({detail})" if detail else self.title


def title_of(manifest: Manifest) -> str:
    """A model's printed name: its card's title, else its registered name."""
    known = REFERENCE_TITLES.get(manifest.key.model)
    return known or str(manifest.card.get("title") or manifest.key.model)


def gather(
    manifests: Iterable[Manifest], findings: Mapping[RunId, tuple[Finding, ...]]
) -> list[tuple[Manifest, ...]]:
    """The runs of each row: the seeds of one training together, by seed, every other run alone.

    A seed about which a guard found something else than about the others stands alone, so that it takes
    nobody's rank; so do runs of one training and seed with different weights.
    """
    alike: dict[tuple[object, ...], list[Manifest]] = {}
    for manifest in manifests:
        own = findings.get(run_of(manifest), ())
        trained = manifest.key.seed >= 0
        name = training_of(manifest) if trained else run_of(manifest)
        alike.setdefault((trained, name, badges_of(manifest, own)), []).append(manifest)
    return [group for runs in alike.values() for group in _distinct(runs)]


def standing_of(manifest: Manifest, findings: Iterable[Finding] | None = None) -> Standing:
    """The section a run belongs to; everything that must not be ranked is a reference or ``unranked``."""
    if manifest.key.model == statistics.NOISE_CEILING:
        return "ceiling"
    if manifest.key.model == statistics.CONTROL:
        return "control"
    if badges_of(manifest, findings):
        return "unranked"
    return "interpolation" if manifest.card.get("family") == "interpolation" else "network"


def badges_of(manifest: Manifest, findings: Iterable[Finding] | None = None) -> tuple[str, ...]:
    """Why a run is not ranked, in the words printed beside its name.

    Args:
        manifest: the run.
        findings: what the guards found; when None what the manifest itself says.
    """
    leaking = manifest.card.get("leaking", False)
    leaks = leaking if isinstance(leaking, bool) else manifest.key.variant in (leaking or ())
    smoke = manifest.weights.get("budget") == "smoke"
    found = stored_findings(manifest) if findings is None else findings
    faults = tuple(badge_of(one) for one in failures(found))
    return ((LEAKING,) if leaks else ()) + ((SMOKE,) if smoke else ()) + faults


def _parts(manifest: Manifest, seeds: str) -> list[str]:
    key, weights = manifest.key, manifest.weights
    parts = [key.variant if key.weights else ""]
    parts.append(f"{weights['budget']} budget" if weights.get("budget") else "")
    parts.append(seeds)
    trained_on = weights.get("dataset")
    parts.append(f"trained on {trained_on}" if trained_on and trained_on != key.dataset else "")
    return parts


def _distinct(runs: list[Manifest]) -> list[tuple[Manifest, ...]]:
    ordered = sorted(runs, key=lambda manifest: (manifest.key.seed, manifest.key.weights))
    seeds = {manifest.key.seed for manifest in ordered}
    return [tuple(ordered)] if len(seeds) == len(ordered) else [(manifest,) for manifest in ordered]
