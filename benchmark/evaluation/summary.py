"""What an evaluation did, model by model."""

from __future__ import annotations

from collections.abc import Mapping
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
        guards: what its guards found, as the manifest holds it.
        leaking: whether it is a variant that is meant to see HR.
    """

    label: str
    model: str
    status: OutcomeStatus
    detail: str
    run_id: str = ""
    guards: tuple[Mapping[str, str], ...] = ()
    leaking: bool = False

    @property
    def broken(self) -> tuple[Mapping[str, str], ...]:
        """The findings of failed guards."""
        return tuple(one for one in self.guards if one["status"] == "failed")


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

    @property
    def caught(self) -> tuple[Outcome, ...]:
        """Models that a guard found fault with, but for those that are meant to see HR."""
        return tuple(one for one in self.outcomes if one.broken and not one.leaking)

    def text(self) -> str:
        """The conditions, a line a model, what its guards found fault with, and a line of totals."""
        width = max((len(outcome.label) for outcome in self.outcomes), default=0)
        lines = [line for one in self.outcomes for line in _lines(one, width)]
        counts = [f"{len(self.of(status))} {status}" for status in ("scored", "skipped", "failed", "missing")]
        head = [self.conditions] if self.conditions else []
        if self.caught:
            counts.append(f"{len(self.caught)} not ranked because a guard failed")
        return "\n".join([*head, *lines, f"{', '.join(counts)}; scores in {self.results}"])


def _lines(outcome: Outcome, width: int) -> list[str]:
    first = f"{outcome.label:<{width}}  {outcome.status:<7}  {outcome.detail}"
    found = [f"    guard {one['guard']} FAILED: {one['detail']}" for one in outcome.broken]
    return [first, *found]
