"""Whether a measurement on super-resolved images can be trusted: what the page says before anything else.

Each row of the table gets the verdict of :func:`srbench.evaluation.verdicts.judge` on every measurement that
has values in its block. A row of several training seeds gets the least of its seeds' verdicts, because who
uses a network has one set of weights.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from srbench.evaluation.metrics import registry
from srbench.evaluation.metrics.measurements import LOST
from srbench.evaluation.verdicts import FEWEST_GROUPS, TOLERANCES, Status, Tolerance, Verdict, judge
from srbench.reporting.cells import Cohort
from srbench.reporting.formats import csv_text
from srbench.reporting.guards import RunId
from srbench.reporting.leaderboard import Leaderboard

if TYPE_CHECKING:
    import pandas as pd

LEAST_FIRST: tuple[Status, ...] = ("not trusted", "undecided", "trusted")
SIGNS: Mapping[str, str] = {"trusted": "✓", "not trusted": "✗", "undecided": "?"}


@dataclass(frozen=True)
class Measurement:
    """A column of the table of verdicts.

    Attributes:
        name: metric name, a key of ``TOLERANCES``.
        title: what is printed.
        tolerance: how much it may change.
        decimals: for its values.
        summary: how many ranked rows got which verdict, in words.
    """

    name: str
    title: str
    tolerance: Tolerance
    decimals: int
    summary: str = ""


@dataclass(frozen=True)
class Judgement:
    """The verdict on one row; of several seeds the least one.

    Attributes:
        verdict: of the run named by ``seed``.
        seed: training seed of this run.
        n_seeds: how many runs were judged.
        agreeing: how many of them got this verdict.
    """

    verdict: Verdict
    seed: int
    n_seeds: int
    agreeing: int

    @property
    def sign(self) -> str:
        """A sign for the verdict, which its word always accompanies."""
        return SIGNS[self.verdict.status]

    @property
    def seeds(self) -> str:
        """Which seed the verdict is of; empty with one."""
        if self.n_seeds < 2:
            return ""
        return f"seed {self.seed}; {self.agreeing} of {self.n_seeds} seeds"

    @property
    def few(self) -> str:
        """Says so where there are too few images for any verdict."""
        groups = self.verdict.groups
        if groups >= FEWEST_GROUPS or self.verdict.status != "undecided":
            return ""
        if not self.verdict.images:
            return "no image has a value"
        return f"only {groups} independent image{'s' if groups != 1 else ''}"

    @property
    def reason(self) -> str:
        """The sentence behind the verdict."""
        return f"Seed {self.seed}: {self.verdict.reason}" if self.n_seeds > 1 else self.verdict.reason


@dataclass(frozen=True)
class TrustTable:
    """The verdicts of a block: measurements, and row to measurement to what was judged."""

    measurements: tuple[Measurement, ...]
    judgements: Mapping[RunId, Mapping[str, Judgement]]


def trust(board: Leaderboard) -> TrustTable:
    """Judge every row on every measurement that has values; an empty table where there are none."""
    judged = {name: found for name in TOLERANCES if (found := _judged(board.cohort, name))}
    ranked = {row.run for row in board.rows if row.run in board.cohort.ranked}
    columns = [
        _measurement(name, [j for run, j in found.items() if run in ranked]) for name, found in judged.items()
    ]
    rows = {
        row.run: {name: found[row.run] for name, found in judged.items() if row.run in found}
        for row in board.rows
    }
    return TrustTable(tuple(columns), rows)


def csv_trust(board: Leaderboard, table: TrustTable) -> str:
    """One line a row and measurement with all digits; empty where none could be made."""
    records = [
        {
            **dict(zip(("model", "variant", "weights"), row.run[:3], strict=True)),
            **{"title": row.title, "standing": row.standing, "seed": judgement.seed},
            **{"seeds": judgement.n_seeds, "agreeing": judgement.agreeing},
            **asdict(judgement.verdict),
        }
        for row in board.rows
        for judgement in table.judgements[row.run].values()
    ]
    return csv_text(records)


def _measurement(name: str, ranked: Sequence[Judgement]) -> Measurement:
    metric, tolerance = registry.get(name), TOLERANCES[name]
    counts = Counter(judgement.verdict.status for judgement in ranked)
    words = [f"{counts[status]} {status}" for status in reversed(LEAST_FIRST) if counts[status]]
    summary = f"ranked: {', '.join(words)}" if ranked else "no ranked model"
    title = metric.title.removesuffix(" bias")
    return Measurement(name, title, tolerance, 2 if tolerance.unit else 3, summary)


def _judged(cohort: Cohort, name: str) -> dict[RunId, Judgement]:
    """Row to its judgement; empty where no run has a value."""
    scores = cohort.scores
    ids = {"bias": registry.get(name).id, "hr": registry.get(f"{name}_hr").id}
    kinds = {
        kind: scores[(scores["metric"] == metric) & (scores["image"] != "")] for kind, metric in ids.items()
    }
    if not kinds["bias"]["value"].notna().any():
        return {}
    by_run = {kind: {tuple(run): own for run, own in rows.groupby(_RUN)} for kind, rows in kinds.items()}
    found = {}
    for first, runs in cohort.rows.items():
        own = [
            (run[3], _verdict(name, by_run["bias"][run], by_run["hr"].get(run)))
            for run in runs
            if run in by_run["bias"]
        ]
        if own:
            found[first] = _least(own)
    return found


_RUN = ["model", "variant", "weights", "seed"]


def _verdict(name: str, bias: pd.DataFrame, on_hr: pd.DataFrame | None) -> Verdict:
    rows = bias.sort_values("image", kind="stable")
    images = list(rows["image"])
    known = {} if on_hr is None else dict(zip(on_hr["image"], on_hr["value"], strict=True))
    errors = [float(known.get(image, math.nan)) for image in images]
    return judge(
        name,
        rows["value"].astype(float).tolist(),
        errors,
        list(map(str, rows["group"])),
        list(map(str, rows["category"])),
        lost=int(rows["reason"].str.startswith(LOST).sum()),
    )


def _least(verdicts: Sequence[tuple[int, Verdict]]) -> Judgement:
    seed, verdict = min(verdicts, key=lambda one: (LEAST_FIRST.index(one[1].status), one[0]))
    agreeing = sum(other.status == verdict.status for _, other in verdicts)
    return Judgement(verdict, seed, len(verdicts), agreeing)
