"""Whether a measurement on super-resolved images can be trusted: the first table of the page.

Each row gets a verdict on every measurement that has values in its block. A row of several training seeds
gets the least of its seeds' verdicts, because who uses a network has one set of weights.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, cast

from srbench.metrics import registry
from srbench.metrics.measurements import LOST
from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.text import csv_text, number
from srbench.statistics.lengths import Lengths, Quantity
from srbench.statistics.tolerance import (
    FEWEST_GROUPS,
    MOST_LOST,
    ONE_BY_ONE,
    TOLERANCES,
    Status,
    Tolerance,
    ToleranceVerdict,
    judge,
    tolerance_of,
)
from srbench.store import RUN, Run
from srbench.utils.errors import SrbenchError

if TYPE_CHECKING:
    import pandas as pd

LEAST_FIRST: tuple[Status, ...] = ("not trusted", "undecided", "trusted")
SIGNS: Mapping[Status, str] = {"trusted": "✓", "not trusted": "✗", "undecided": "?"}


@dataclass(frozen=True)
class Measurement:
    """A column of the table of verdicts.

    Attributes:
        name: metric name, a key of ``TOLERANCES``.
        title: what is printed.
        tolerance: how much it may change.
        summary: how many ranked rows got which verdict, in words.
    """

    name: str
    title: str
    tolerance: Tolerance
    summary: str = ""

    @property
    def decimals(self) -> int:
        """For its values."""
        return self.tolerance.decimals

    def change(self, value: float) -> str:
        """A change in a sentence: a decimal shorter than in tables, where that suits the tolerance."""
        shorter = max(self.decimals - 1, 1)
        coarse = 10.0**-shorter > 0.4 * self.tolerance.value
        return number(value, self.decimals if coarse else shorter, signed=True)


@dataclass(frozen=True)
class Judgement:
    """The verdict on one row; of several seeds the least one.

    Attributes:
        verdict: of the run named by ``seed``.
        seed: training seed of this run.
        n_seeds: how many runs were judged.
        agreeing: how many of them got this verdict.
    """

    verdict: ToleranceVerdict
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

    def evidence(self, measurement: Measurement) -> str:
        """What decided it, in a few words: the change, or what was lost."""
        verdict = self.verdict
        if self.lost_too_many:
            return f"lost in {verdict.lost} of {verdict.images + verdict.lost}"
        if not math.isfinite(verdict.change):
            return self.few
        value = f"{measurement.change(verdict.change)} {verdict.unit}".rstrip()
        within = abs(verdict.change) <= verdict.tolerance
        if verdict.status == "not trusted" and within and verdict.within < ONE_BY_ONE:
            return f"{value} on average only"
        return value

    @property
    def lost_too_many(self) -> bool:
        """Whether it is not trusted because images can no longer be measured."""
        verdict = self.verdict
        return verdict.status == "not trusted" and verdict.lost > MOST_LOST * (verdict.images + verdict.lost)

    @property
    def reason(self) -> str:
        """The sentence behind the verdict."""
        return f"Seed {self.seed}: {self.verdict.reason}" if self.n_seeds > 1 else self.verdict.reason


@dataclass(frozen=True)
class TrustTable:
    """The verdicts of a block.

    Attributes:
        measurements: the columns.
        judgements: row to measurement to what was judged.
        refused: measurement to why a tolerance that the user chose was not used.
    """

    measurements: tuple[Measurement, ...]
    judgements: Mapping[Run, Mapping[str, Judgement]]
    refused: Mapping[str, str]


def trust(
    board: Leaderboard,
    chosen: Mapping[str, Quantity] | None = None,
    only: Collection[str] | None = None,
) -> TrustTable:
    """Judge every row on every measurement that has values; an empty table where there are none.

    Args:
        board: the rows.
        chosen: tolerances in place of the defaults, as ``chosen_tolerances`` gives them. One in nm is not
            used where the pixel size of an image is unknown.
        only: the measurements; all when None.
    """
    rows: pd.DataFrame = board.block.scores[board.block.scores["image"] != ""]
    judged: dict[str, dict[Run, Judgement]] = {}
    columns = []
    refused = {}
    for name in TOLERANCES if only is None else [name for name in TOLERANCES if name in only]:
        bias, on_hr = (rows[rows["metric"] == registry.get(metric).id] for metric in (name, f"{name}_hr"))
        images = bias.loc[bias["value"].notna(), "image"].unique()
        if not len(images):
            continue
        sizes = [board.lengths.sizes.get(image, math.nan) for image in images]
        try:
            tolerance = tolerance_of(name, (chosen or {}).get(name), sizes)
        except SrbenchError as error:
            tolerance, refused[name] = tolerance_of(name, None, sizes), str(error)
        judged[name] = _judged(board, name, tolerance, bias, on_hr)
        ranked = [judgement for run, judgement in judged[name].items() if run in board.group.ranked]
        columns.append(_measurement(name, tolerance, ranked))
    judgements = {
        row.run: {name: by_row[row.run] for name, by_row in judged.items() if row.run in by_row}
        for row in board.rows
    }
    return TrustTable(tuple(columns), judgements, refused)


def spread(judged: Sequence[Judgement], measurement: Measurement) -> str:
    """The evidence of equal verdicts on several rows, in a few words."""
    lost = [judgement.verdict.lost for judgement in judged if judgement.lost_too_many]
    if lost:
        measurable = max(judgement.verdict.images + judgement.verdict.lost for judgement in judged)
        return f"lost in up to {max(lost)} of {measurable}"
    changes = [j.verdict.change for j in judged if math.isfinite(j.verdict.change)]
    if not changes:
        return judged[0].few
    low, high = measurement.change(min(changes)), measurement.change(max(changes))
    unit = judged[0].verdict.unit
    return f"{low if low == high else f'{low} to {high}'} {unit}".rstrip()


def csv_trust(board: Leaderboard, table: TrustTable) -> str:
    """One line a row and measurement with all digits; empty where none could be made."""
    records = [
        {
            **dict(zip(("model", "variant", "weights"), row.run[:3], strict=True)),
            **{"title": row.title, "standing": row.kind, "seed": judgement.seed},
            **{"seeds": judgement.n_seeds, "agreeing": judgement.agreeing},
            **asdict(judgement.verdict),
        }
        for row in board.rows
        for judgement in table.judgements[row.run].values()
    ]
    return csv_text(records)


def _measurement(name: str, tolerance: Tolerance, ranked: Sequence[Judgement]) -> Measurement:
    counts = Counter(judgement.verdict.status for judgement in ranked)
    words = [f"{counts[status]} {status}" for status in reversed(LEAST_FIRST) if counts[status]]
    summary = f"ranked: {', '.join(words)}" if ranked else "no ranked model"
    return Measurement(name, registry.get(name).title.removesuffix(" bias"), tolerance, summary)


def _judged(
    board: Leaderboard, name: str, tolerance: Tolerance, bias: pd.DataFrame, on_hr: pd.DataFrame
) -> dict[Run, Judgement]:
    """Row to its judgement."""
    bias_of, hr_of = (
        {Run(*cast(Run, run)): part for run, part in rows.groupby(RUN)} for rows in (bias, on_hr)
    )
    judged = {}
    for first, runs in board.group.rows.items():
        verdicts = [
            (run.seed, _verdict(board.lengths, name, tolerance, bias_of[run], hr_of.get(run)))
            for run in runs
            if run in bias_of
        ]
        if verdicts:
            # Of several seeds the least verdict.
            seed, verdict = min(verdicts, key=lambda pair: (LEAST_FIRST.index(pair[1].status), pair[0]))
            agreeing = sum(other.status == verdict.status for _, other in verdicts)
            judged[first] = Judgement(verdict, seed, len(verdicts), agreeing)
    return judged


def _verdict(
    lengths: Lengths, name: str, tolerance: Tolerance, bias: pd.DataFrame, on_hr: pd.DataFrame | None
) -> ToleranceVerdict:
    rows = bias.sort_values("image", kind="stable")
    errors = {} if on_hr is None else dict(zip(on_hr["image"], on_hr["value"], strict=True))
    return judge(
        name,
        rows["value"].astype(float).tolist(),
        [float(errors.get(image, math.nan)) for image in rows["image"]],
        list(map(str, rows["group"])),
        list(map(str, rows["category"])),
        tolerance=tolerance,
        pixel_sizes_nm=[lengths.sizes.get(image, math.nan) for image in rows["image"]],
        lost=int(rows["reason"].str.startswith(LOST).sum()),
    )
