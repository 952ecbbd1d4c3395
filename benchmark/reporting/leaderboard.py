"""The leaderboard of one block: one row a run, one cell a metric. All statistics come from the harness.

Ranked are trained networks and interpolations. Not ranked, and computed apart so that they influence neither
"best" nor the correction for multiple tests: the noise ceiling, variants that see the HR image, and weights
of the smoke budget, which were trained for seconds to show that the software works.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from srbench.evaluation import statistics
from srbench.evaluation.bootstrap import cluster
from srbench.reporting.blocks import Block
from srbench.reporting.formats import decimals_for
from srbench.reporting.measures import Family, Measure, families, measures
from srbench.store import Manifest

if TYPE_CHECKING:
    import pandas as pd

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
    """

    manifest: Manifest
    standing: Standing
    cells: Mapping[str, Cell]
    costs: Mapping[str, float]
    cost_reasons: Mapping[str, str]
    badges: tuple[str, ...]

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
        return str(self.manifest.card.get("title") or self.manifest.key.model)

    @property
    def detail(self) -> str:
        """Variant, budget and seed, as far as there is something to say."""
        key = self.manifest.key
        parts = [key.variant if key.weights else "", str(self.manifest.weights.get("budget", ""))]
        parts.append(f"seed {key.seed}" if key.seed >= 0 else "")
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
    def shapes_crops(self) -> bool:
        """Whether its output has a say in which regions are shown."""
        return self.standing in ("network", "interpolation")


@dataclass(frozen=True)
class Leaderboard:
    """A block with everything computed from its rows.

    Attributes:
        block: the runs.
        rows: by standing, then by the first metric, best first.
        columns: the metrics, in printing order.
        cost_columns: the properties of the models, in printing order.
        decimals: metric id to decimals that the intervals of its means support.
        diff_decimals: the same for differences to bicubic, whose intervals are narrower.
        group_differences: metric id to run to the difference from bicubic in each group of images.
        categories: category to the rows' cells on its images alone (ranked runs and the ceiling).
    """

    block: Block
    rows: tuple[Row, ...]
    columns: tuple[Measure, ...]
    cost_columns: tuple[Measure, ...]
    decimals: Mapping[str, int]
    diff_decimals: Mapping[str, int]
    group_differences: Mapping[str, Mapping[RunId, tuple[float, ...]]]
    categories: Mapping[str, Mapping[RunId, Mapping[str, Cell]]]

    @cached_property
    def families(self) -> list[Family]:
        """The metric columns under their headings."""
        return families(self.columns)

    @property
    def n_images(self) -> int:
        """Images of the most complete metric."""
        return max((row.n_images for row in self.rows), default=0)

    @property
    def n_groups(self) -> int:
        """Independent groups behind the most complete metric."""
        return max((row.n_groups for row in self.rows), default=0)

    def section(self, standing: Standing) -> list[Row]:
        """The rows of one section."""
        return [row for row in self.rows if row.standing == standing]


def leaderboard(block: Block) -> Leaderboard:
    """Compute the leaderboard of a block."""
    scores = block.scores
    columns = measures(scores.loc[scores["image"] != "", "metric"].unique())
    cost_columns = measures(scores.loc[scores["image"] == "", "metric"].unique())
    cells = {column.id: _cells(block, scores, column) for column in columns}
    rows = [_row(manifest, cells, scores) for manifest in block.complete]
    decimals = {name: _decimals((c.low, c.high) for c in own.values()) for name, own in cells.items()}
    finer = {name: _decimals((c.diff_low, c.diff_high) for c in own.values()) for name, own in cells.items()}
    return Leaderboard(
        block,
        rows=tuple(sorted(rows, key=lambda row: _place(row, columns))),
        columns=tuple(columns),
        cost_columns=tuple(cost_columns),
        decimals=decimals,
        diff_decimals=finer,
        group_differences={column.id: _group_differences(scores, column) for column in columns},
        categories=_by_category(block, columns),
    )


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


def _cells(block: Block, scores: pd.DataFrame, column: Measure) -> dict[RunId, Cell]:
    """The cells of one metric: ranked runs together, all others against the baseline alone."""
    runs = {run_of(manifest): standing_of(manifest) for manifest in block.complete}
    ranked = {run for run, standing in runs.items() if standing in ("network", "interpolation")}
    others = set(runs) - ranked
    with_baseline = others | {run for run in ranked if run[0] == BASELINE}
    cells = _table(scores, column, with_baseline) if others else {}
    cells.update(_table(scores, column, ranked))
    return _with_reasons(scores, column, cells)


def _table(scores: pd.DataFrame, column: Measure, runs: set[RunId]) -> dict[RunId, Cell]:
    identity = zip(*(scores[name] for name in statistics.RUN), strict=True)
    rows = scores[np.fromiter((run in runs for run in identity), dtype=bool, count=len(scores))]
    unranked = {run[:2] for run in runs if run[0] == statistics.NOISE_CEILING}
    table = statistics.leaderboard(rows, column.id, direction=column.direction, unranked=unranked)  # type: ignore[arg-type]
    return {_run(record): _cell(record) for record in table.to_dict("records")}


def _run(record: Mapping[Any, Any]) -> RunId:
    return str(record["model"]), str(record["variant"]), str(record["weights"]), int(record["seed"])


def _cell(record: Mapping[Any, Any]) -> Cell:
    return Cell(
        mean=float(record["mean"]),
        low=float(record["low"]),
        high=float(record["high"]),
        diff=float(record["diff_bicubic"]),
        diff_low=float(record["diff_low"]),
        diff_high=float(record["diff_high"]),
        p_holm=float(record["p_holm"]),
        n_images=int(record["n_images"]),
        n_groups=int(record["n_groups"]),
        best=bool(record["best"]),
        note=str(record["note"]),
    )


def _with_reasons(scores: pd.DataFrame, column: Measure, cells: Mapping[RunId, Cell]) -> dict[RunId, Cell]:
    reasons: dict[RunId, list[str]] = {}
    for record in statistics.missing(scores, column.id).to_dict("records"):
        images = int(record["n_images"])
        reasons.setdefault(_run(record), []).append(
            f"{record['reason']} ({images} image{'s' if images != 1 else ''})"
        )
    return {run: replace(cell, reason="; ".join(reasons.get(run, []))) for run, cell in cells.items()}


def _group_differences(scores: pd.DataFrame, column: Measure) -> dict[RunId, tuple[float, ...]]:
    """What the interval of a difference rests on: one paired mean a group."""
    rows = scores[(scores["metric"] == column.id) & (scores["image"] != "")]
    images = rows.set_index("image")[["group", "category"]].groupby(level=0).first()
    by_run = {
        _run(dict(zip(statistics.RUN, run, strict=True))): own.set_index("image")["value"].reindex(
            images.index
        )
        for run, own in rows.groupby(statistics.RUN)
    }
    baseline = next((values for run, values in by_run.items() if run[0] == BASELINE), None)
    if baseline is None:
        return {}
    groups, categories = list(images["group"]), list(images["category"])
    return {
        run: tuple(cluster((values - baseline).to_numpy(dtype=np.float64), groups, categories).values)
        for run, values in by_run.items()
        if run[0] != BASELINE
    }


def _row(manifest: Manifest, cells: Mapping[str, Mapping[RunId, Cell]], scores: pd.DataFrame) -> Row:
    run = run_of(manifest)
    own = {metric: by_run[run] for metric, by_run in cells.items() if run in by_run}
    costs, reasons = _costs(scores, run)
    return Row(manifest, standing_of(manifest), own, costs, reasons, badges_of(manifest))


def _costs(scores: pd.DataFrame, run: RunId) -> tuple[dict[str, float], dict[str, str]]:
    rows = scores[scores["image"] == ""]
    for name, value in zip(statistics.RUN, run, strict=True):
        rows = rows[rows[name] == value]
    pairs = [(str(r["metric"]), float(r["value"]), str(r["reason"])) for r in rows.to_dict("records")]
    values = {metric: value for metric, value, _ in pairs if math.isfinite(value)}
    return values, {metric: reason for metric, _, reason in pairs if reason}


def _decimals(intervals: Iterable[tuple[float, float]]) -> int:
    return decimals_for((high - low) / 2 for low, high in intervals)


def _place(row: Row, columns: Sequence[Measure]) -> tuple[int, float, str, str, int]:
    """Sections in order; within one the best mean of the first directed metric, missing ones last."""
    first = next((column for column in columns if column.direction != "none"), None)
    cell = row.cells.get(first.id) if first else None
    mean = cell.mean if cell and math.isfinite(cell.mean) else math.nan
    merit = mean if first and first.direction == "lower" else -mean
    place = merit if math.isfinite(merit) else math.inf
    return list(SECTIONS).index(row.standing), place, row.manifest.key.model, row.identifier, 0


def _by_category(block: Block, columns: Sequence[Measure]) -> dict[str, Mapping[RunId, Mapping[str, Cell]]]:
    """Category to run to metric to cell; empty where there is only one category."""
    scores = block.scores
    names = sorted(set(scores.loc[scores["image"] != "", "category"]))
    if len(names) < 2:
        return {}
    return {name: _category(block, scores[scores["category"] == name], columns) for name in names}


def _category(block: Block, scores: pd.DataFrame, columns: Sequence[Measure]) -> dict[RunId, dict[str, Cell]]:
    result: dict[RunId, dict[str, Cell]] = {run_of(manifest): {} for manifest in block.complete}
    for column in columns:
        for run, cell in _cells(block, scores, column).items():
            result[run][column.id] = cell
    return result
