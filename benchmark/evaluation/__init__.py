"""Scoring models under a pinned protocol: ``evaluate`` runs them, ``leaderboard`` reads the scores.

Nothing heavy is imported until it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from srbench.evaluation.evaluate import EvaluationSummary, Outcome, evaluate
    from srbench.statistics.leaderboard import leaderboard

__all__ = ["EvaluationSummary", "Outcome", "evaluate", "leaderboard"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'srbench.evaluation' has no attribute {name!r}")
    module = "statistics" if name == "leaderboard" else "runner"
    return getattr(importlib.import_module(f"srbench.evaluation.{module}"), name)
