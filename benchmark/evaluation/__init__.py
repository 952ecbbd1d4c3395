"""Scoring models under a pinned protocol: ``evaluate`` runs them, ``leaderboard`` reads the scores.

Nothing heavy is imported until it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from srbench.evaluation.runner import evaluate
    from srbench.evaluation.statistics import leaderboard
    from srbench.evaluation.summary import EvaluationSummary, Outcome

__all__ = ["EvaluationSummary", "Outcome", "evaluate", "leaderboard"]

_PLACES = {
    "evaluate": "runner",
    "leaderboard": "statistics",
    "EvaluationSummary": "summary",
    "Outcome": "summary",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(f"srbench.evaluation.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'srbench.evaluation' has no attribute {name!r}")
