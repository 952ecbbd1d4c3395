"""One metric's panel with who is ranked and how: everything a leaderboard says, computed once."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from srbench.errors import SrbenchError
from srbench.evaluation.contrast import Contrast, Direction, Rule, beats_all, contrast, corrected
from srbench.evaluation.margins import margin_of
from srbench.evaluation.panel import Entry, Flags, Panel, Run, candidates, panel_of, rows_of
from srbench.evaluation.ranking import Ranking, ranking

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class MetricTable:
    """Who is compared with whom in one metric, and what came out.

    Attributes:
        panel: the values.
        rule: how differences are judged.
        baseline: model that differences are taken from.
        candidates: entries that may be ranked.
    """

    panel: Panel
    rule: Rule
    baseline: str
    candidates: tuple[Entry, ...]

    @cached_property
    def expected(self) -> Flags:
        """``(N,)`` images that a ranked entry must have a value for."""
        return self.panel.expected(self.candidates or self.panel.entries)

    def lacks(self, entry: Entry) -> int:
        """Images that it must have a value for to be ranked and has not."""
        return int(np.count_nonzero(self.expected & ~self.panel.scored(entry)))

    @cached_property
    def ranked(self) -> list[Entry]:
        """The candidates that have a value for every expected image."""
        return [entry for entry in self.candidates if self.expected.any() and not self.lacks(entry)]

    @cached_property
    def ranking(self) -> Ranking:
        """The ranked entries in order; empty where neither direction is better."""
        return ranking(self.panel, self.ranked if self.rule.sign else [], self.rule)

    @cached_property
    def _contrasts(self) -> tuple[dict[Entry, Contrast], dict[Entry, Contrast]]:
        baseline = next((e for e in self.panel.entries if e.run.model == self.baseline), None)
        others = [e for e in self.panel.entries if e != baseline] if baseline else []
        pairs = [(entry, baseline) for entry in others if baseline] + self._neighbours()
        found = corrected([contrast(self.panel, first, second, self.rule) for first, second in pairs])
        ahead = len(others)
        return {c.first: c for c in found[:ahead]}, {c.first: c for c in found[ahead:]}

    def _neighbours(self) -> list[tuple[Entry, Entry]]:
        """Each ranked entry with the next one of another model or variant."""
        order = [place.entry for place in self.ranking.places]
        after = [
            (entry, next((e for e in order[index + 1 :] if not e.is_same_method(entry)), None))
            for index, entry in enumerate(order)
        ]
        return [(entry, following) for entry, following in after if following]

    @property
    def to_baseline(self) -> dict[Entry, Contrast]:
        """Every other entry against the baseline; empty without it."""
        return self._contrasts[0]

    @property
    def to_next(self) -> dict[Entry, Contrast]:
        """Every ranked entry against the next one of another model or variant."""
        return self._contrasts[1]

    @cached_property
    def best(self) -> Entry | None:
        """The leader where it is better than every other ranked model."""
        order = [place.entry for place in self.ranking.places]
        rivals = [entry for entry in order if not entry.is_same_method(order[0])]
        return order[0] if rivals and beats_all(self.panel, order[0], rivals, self.rule) else None


def table_of(
    scores: pd.DataFrame,
    metric: str,
    direction: Direction | None,
    baseline: str,
    unranked: Collection[tuple[str, str]],
    margin: float | None,
    trainings: Mapping[Run, Hashable] | None,
    samples: int,
    seed: int,
) -> MetricTable | None:
    """The table of one metric, None without rows; arguments and errors of ``statistics.leaderboard``."""
    rows = rows_of(scores, metric)
    if rows.empty:
        return None
    panel = panel_of(rows, trainings)
    size = margin_of(metric, None if margin is None else {metric: margin}).value
    rule = Rule(direction or direction_of(metric), size, samples, seed)
    return MetricTable(panel, rule, baseline, tuple(candidates(panel, unranked)))


def direction_of(metric: str) -> Direction:
    """What the registry says; ``none`` for a metric it does not know (a plug-in that is not installed)."""
    from srbench.evaluation.metrics import registry

    try:
        return registry.get(metric).direction
    except SrbenchError:
        return "none"
