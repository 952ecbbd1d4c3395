"""What an evaluation did, model by model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

OutcomeStatus = Literal["scored", "skipped", "failed", "missing"]


@dataclass(frozen=True)
class Outcome:
    """What became of one model.

    Attributes:
        label: model, variant and seed.
        model: registered name.
        status: ``scored``, ``skipped`` (already scored), ``failed`` or ``missing`` (no weights).
        detail: how much was scored, or the reason.
        run_id: folder of the run in the results.
    """

    label: str
    model: str
    status: OutcomeStatus
    detail: str
    run_id: str = ""


@dataclass(frozen=True)
class EvaluationSummary:
    """What became of every model, under which conditions, and where the scores are."""

    results: Path
    outcomes: tuple[Outcome, ...]
    conditions: str = ""

    def of(self, status: OutcomeStatus) -> tuple[Outcome, ...]:
        """The outcomes with this status."""
        return tuple(outcome for outcome in self.outcomes if outcome.status == status)

    @property
    def scored(self) -> tuple[Outcome, ...]:
        """Models scored now."""
        return self.of("scored")

    @property
    def skipped(self) -> tuple[Outcome, ...]:
        """Models scored earlier."""
        return self.of("skipped")

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """Models that failed."""
        return self.of("failed")

    @property
    def missing(self) -> tuple[Outcome, ...]:
        """Models without weights."""
        return self.of("missing")

    def text(self) -> str:
        """The conditions, a line a model and a line of totals."""
        width = max((len(outcome.label) for outcome in self.outcomes), default=0)
        lines = [f"{one.label:<{width}}  {one.status:<7}  {one.detail}" for one in self.outcomes]
        counts = [f"{len(self.of(status))} {status}" for status in ("scored", "skipped", "failed", "missing")]
        head = [self.conditions] if self.conditions else []
        return "\n".join([*head, *lines, f"{', '.join(counts)}; scores in {self.results}"])
