"""The rows of a leaderboard: what each is called, whether it is ranked, and its numbers.

Ranked are trained networks and interpolations. Not ranked are the noise ceiling, the control, variants that
see the HR image, weights of the smoke budget, which were trained for seconds to show that the software works,
images made outside srbench, and every run with a failed check. The seeds of one training are one row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from srbench.checks.base import (
    CHECKS,
    LEAKING,
    CheckResult,
    merge,
    reasons_unranked,
    stored_results,
)
from srbench.models.base import NOTHING_LEARNED
from srbench.reporting.blocks import Block
from srbench.reporting.text import Measure
from srbench.statistics.bootstrap import Floats
from srbench.statistics.compare import training_of
from srbench.statistics.interval import interval
from srbench.statistics.leaderboard import LeaderboardRow, leaderboard
from srbench.statistics.score_matrix import (
    ScoreMatrix,
    duplicate_runs,
    numbered_runs,
    rows_of,
    score_matrix,
)
from srbench.store import CONTROL, NOISE_CEILING, OTHER_PROGRAM, REFERENCES, Manifest, Run

if TYPE_CHECKING:
    import pandas as pd

RowKind = Literal["network", "interpolation", "ceiling", "control", "unranked"]
SECTIONS: Mapping[RowKind, str] = {
    "network": "Networks",
    "interpolation": "Interpolations and filters (nothing learned)",
    "ceiling": "Noise ceiling (a second acquisition of the same field, not a model)",
    "control": "Control (invents texture on purpose, not a model)",
    "unranked": "Shown, not ranked",
}
SECOND_SCAN = "Second scan (of the same field, with noise of its own; not a model)"
"""What the noise ceiling is called where the truth is free of noise: there it bounds nothing."""
REFERENCE_TITLES: Mapping[str, str] = {
    NOISE_CEILING: "Noise ceiling",
    CONTROL: "Control: invented texture",
}
RANKED: tuple[RowKind, ...] = ("network", "interpolation")
BASELINE = "bicubic"
NEVER = "scored before srbench checked; type --force to score it again."
NOT_RECORDED = "this run does not say; type --force to score it again."


@dataclass(frozen=True)
class Row:
    """One row of the leaderboard.

    Attributes:
        manifest: the run; of several seeds the first.
        kind: the section of the table it belongs to.
        cells: metric id to its numbers.
        costs: cost metric id to its value, missing ones absent.
        cost_reasons: cost metric id to why it has no value.
        badges: short warnings that must stand beside the name.
        weights_start: start of the weights' hash where another row has the same name otherwise.
        repeats: the runs of the other seeds of the same training.
        faults: badge to the sentence behind it, for failed checks.
    """

    manifest: Manifest
    kind: RowKind
    cells: Mapping[str, LeaderboardRow]
    costs: Mapping[str, float]
    cost_reasons: Mapping[str, str]
    badges: tuple[str, ...]
    weights_start: str = ""
    repeats: tuple[Manifest, ...] = ()
    faults: Mapping[str, str] = field(default_factory=dict)

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """All runs behind the row, one a seed."""
        return (self.manifest, *self.repeats)

    @property
    def run(self) -> Run:
        """What identifies the row within its block: its first run."""
        return self.manifest.key.run

    @property
    def identifier(self) -> str:
        """The run as one string."""
        return "|".join(map(str, self.run))

    @property
    def title(self) -> str:
        """The model's printed name."""
        return title_of(self.manifest)

    @property
    def parts(self) -> tuple[str, ...]:
        """Variant, budget, seeds, foreign training data and so on, as far as there is something to say."""
        seeds = [m.key.seed for m in self.manifests if m.key.seed >= 0]
        names = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}" if seeds else ""
        return self._parts(self.manifest, names)

    @property
    def detail(self) -> str:
        """The same on one line."""
        return ", ".join(self.parts)

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
        return self.kind in ("ceiling", "control")

    @property
    def is_comparable(self) -> bool:
        """Whether it did the task: made HR from LR. Others would squeeze the models in a plot together."""
        return not self.is_reference and LEAKING not in self.badges

    def detail_of(self, manifest: Manifest) -> str:
        """What tells one of its runs from all others."""
        return ", ".join(self._parts(manifest, f"seed {manifest.key.seed}" if manifest.key.seed >= 0 else ""))

    def label_of(self, manifest: Manifest) -> str:
        """Title of the row and detail of one of its runs."""
        detail = self.detail_of(manifest)
        return f"{self.title} ({detail})" if detail else self.title

    def _parts(self, manifest: Manifest, seeds: str) -> tuple[str, ...]:
        key, weights = manifest.key, manifest.weights
        trained_on = weights.get("dataset")
        parts = [
            OTHER_PROGRAM if manifest.external else key.variant if key.weights else "",
            f"{weights['budget']} budget" if weights.get("budget") else "",
            seeds,
            f"trained on {trained_on}" if trained_on and trained_on != key.dataset else "",
            "fine-tuned" if weights.get("lineage") else "",
            f"weights {self.weights_start}" if self.weights_start else "",
        ]
        return tuple(part for part in parts if part)


def has_exact_truth(manifest: Manifest) -> bool:
    """Whether HR is drawn and not recorded: free of noise, and its geometry known."""
    kind = manifest.data.get("kind")
    return kind == "synthetic" if kind else manifest.key.dataset.startswith("sem_synthetic")


def title_of(manifest: Manifest) -> str:
    """A model's printed name: its card's title, else its registered name."""
    model = manifest.key.model
    if model == NOISE_CEILING and has_exact_truth(manifest):
        return SECOND_SCAN.partition(" (")[0]
    title = REFERENCE_TITLES.get(model) or str(manifest.card.get("title") or model)
    unchanged = manifest.key.scale == 1 and manifest.card.get("family") == "interpolation"
    return f"{title} (LR as it is)" if unchanged else title


def row_kind(manifest: Manifest, findings: Iterable[CheckResult]) -> RowKind:
    """The section a run belongs to; everything that must not be ranked is a reference or ``unranked``."""
    if manifest.key.model == NOISE_CEILING:
        return "ceiling"
    if manifest.key.model == CONTROL:
        return "control"
    if reasons_unranked(manifest, findings):
        return "unranked"
    return "interpolation" if manifest.card.get("family") in NOTHING_LEARNED else "network"


def gather(
    manifests: Iterable[Manifest], findings: Mapping[Run, tuple[CheckResult, ...]]
) -> list[tuple[Manifest, ...]]:
    """The runs of each row: the seeds of one training together, by seed, every other run alone.

    A seed whose checks gave something else than those of the others stands alone and does not cost them
    their rank; so do runs of one training and seed with different weights.
    """
    alike: dict[tuple[object, ...], list[Manifest]] = {}
    for manifest in manifests:
        trained = manifest.key.seed >= 0
        name = training_of(manifest) if trained else manifest.key.run
        badges = reasons_unranked(manifest, findings.get(manifest.key.run, ()))
        alike.setdefault((trained, name, badges), []).append(manifest)
    rows: list[tuple[Manifest, ...]] = []
    for runs in alike.values():
        ordered = sorted(runs, key=lambda manifest: (manifest.key.seed, manifest.key.weights))
        distinct = len({manifest.key.seed for manifest in ordered}) == len(ordered)
        rows += [tuple(ordered)] if distinct else [(manifest,) for manifest in ordered]
    return rows


def findings_of(block: Block) -> dict[Run, tuple[CheckResult, ...]]:
    """The results of the checks of each complete run, in the order of ``CHECKS``; unknown ones at the end.

    It is what the run stored and what the table itself shows. Nothing that failed is left out, not even a
    check that this version does not know. Reference rows, which no model made, have only what was checked.
    """
    from srbench.checks import integrity as table

    of_table = table.check_table(block.complete, block.scores) if block.complete else {}
    names = [guard.name for guard in CHECKS]
    findings = {}
    for manifest in block.complete:
        run = manifest.key.run
        by_guard: dict[str, list[CheckResult]] = {}
        for finding in (*stored_results(manifest), *of_table.get(run, ())):
            by_guard.setdefault(finding.guard, []).append(finding)
        why = NOT_RECORDED if manifest.guards else NEVER
        expected = [name for name in names if run.model not in REFERENCES or name in by_guard]
        findings[run] = tuple(
            merge(by_guard[name]) if name in by_guard else CheckResult(name, "unchecked", why)
            for name in (*expected, *(name for name in by_guard if name not in names))
        )
    return findings


@dataclass(frozen=True, eq=False)
class ComparisonGroup:
    """Who is compared with whom in a block.

    Attributes:
        scores: all score rows of the block, lengths as they are shown.
        rows: the first run of each row of the table to all its runs, one a seed.
        ranked: first runs of the rows that are ranked.
        baseline: model that differences are taken from.
        attempts: of submitted runs, how many there were.
    """

    scores: pd.DataFrame
    rows: Mapping[Run, Sequence[Run]]
    ranked: Collection[Run]
    baseline: str
    attempts: Mapping[Run, int] = field(default_factory=dict)

    @cached_property
    def row_of(self) -> dict[Run, Run]:
        """Run to the first run of the row that it is a seed of."""
        return {run: first for first, runs in self.rows.items() for run in runs}

    def matrix(self, metric: str) -> ScoreMatrix | None:
        """The values of one metric, seeds together; None without rows."""
        rows = rows_of(self.scores, metric)
        return None if rows.empty else score_matrix(rows, self.row_of)

    @cached_property
    def duplicates(self) -> dict[Run, Run]:
        """Runs that score exactly like an earlier one."""
        return duplicate_runs(self.scores)


def cells_of(group: ComparisonGroup, column: Measure) -> dict[Run, LeaderboardRow]:
    """Row to its numbers in one metric.

    Rows that are not ranked are computed apart, against the baseline alone, so that they influence neither
    "best" nor ranks nor the correction for multiple tests.
    """
    scores = rows_of(group.scores, column.id)
    runs, of_row = numbered_runs(scores)
    base = {first for first in group.rows if first.model == group.baseline}
    ranked = set(group.ranked)
    others = set(group.rows) - ranked
    cells: dict[Run, LeaderboardRow] = {}
    # A baseline that may not be ranked still is what differences are taken from.
    for rows, excluded in ((ranked, base - ranked), (others, base | others)):
        if not rows:
            continue
        shown = np.array([group.row_of.get(run) in rows | base for run in runs], dtype=bool)
        for cell in leaderboard(
            scores[shown[of_row]],
            column.id,
            direction=column.direction,
            baseline=group.baseline,
            unranked={run[:2] for run in excluded},
            trainings=group.row_of,
            duplicates=group.duplicates,
            attempts=group.attempts,
        ):
            first = group.row_of[cell.runs[0]]
            if first in rows:
                cells[first] = cell
    return cells


@dataclass(frozen=True)
class CategoryMean:
    """A row's mean in one metric on the images of one category."""

    mean: float
    low: float
    high: float
    n_images: int
    n_groups: int


def by_category(
    group: ComparisonGroup, columns: Sequence[Measure]
) -> dict[str, dict[Run, dict[str, CategoryMean]]]:
    """Category to row to metric to mean and interval; empty where there is only one category."""
    categories = sorted(map(str, group.scores.loc[group.scores["image"] != "", "category"].unique()))
    if len(categories) < 2:
        return {}
    means: dict[str, dict[Run, dict[str, CategoryMean]]] = {
        category: {run: {} for run in group.rows} for category in categories
    }
    for column in columns:
        matrix = group.matrix(column.id)
        for category, part in matrix.of_category.items() if matrix else ():
            for method in part.methods:
                clusters = part.clusters(method)
                low, high, _ = interval(clusters)
                means[category][group.row_of[method.runs[0]]][column.id] = CategoryMean(
                    clusters.mean, low, high, clusters.images, len(clusters.values)
                )
    return means


def group_differences(group: ComparisonGroup, metric: str) -> dict[Run, Floats]:
    """What the interval of a difference rests on: one paired mean a group of images."""
    matrix = group.matrix(metric)
    methods = matrix.methods if matrix else ()
    baseline = next((method for method in methods if method.run.model == group.baseline), None)
    if matrix is None or baseline is None:
        return {}
    return {
        group.row_of[method.runs[0]]: matrix.clusters(method, baseline).values
        for method in methods
        if method != baseline
    }
