"""srbench: trains and evaluates super-resolution networks on scanning electron micrographs.

The verbs are :func:`train`, :func:`evaluate` and :func:`report`; the rooms are ``srbench.models``,
``srbench.datasets`` and ``srbench.weights``. Nothing heavy is imported until it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from srbench.evaluation import evaluate
    from srbench.reporting import report
    from srbench.training import train

__version__ = "0.1.0"
__all__ = ["__version__", "evaluate", "report", "train"]

_VERBS = {"train": "srbench.training", "evaluate": "srbench.evaluation", "report": "srbench.reporting"}
_ROOMS = ("models", "datasets", "weights")


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        return getattr(importlib.import_module(_VERBS[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"srbench.{name}")
    raise AttributeError(f"module 'srbench' has no attribute {name!r}")
