"""srbench: trains and evaluates super-resolution networks on scanning electron micrographs.

The verbs are :func:`train`, :func:`evaluate`, :func:`score`, :func:`infer`, :func:`compare`,
:func:`load_scores` and :func:`report`; the packages are ``srbench.models``, ``srbench.datasets``,
``srbench.metrics`` and ``srbench.weights``. Nothing heavy is imported until it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from srbench.version import __version__

if TYPE_CHECKING:
    from srbench import metrics
    from srbench.evaluation.evaluate import evaluate
    from srbench.evaluation.external import score
    from srbench.inference.predict import infer
    from srbench.reporting import report
    from srbench.statistics.compare import compare
    from srbench.store import load_scores
    from srbench.training.train import train

_VERBS = {
    "compare": "srbench.statistics.compare",
    "evaluate": "srbench.evaluation.evaluate",
    "infer": "srbench.inference.predict",
    "load_scores": "srbench.store",
    "report": "srbench.reporting",
    "score": "srbench.evaluation.external",
    "train": "srbench.training.train",
}
_PACKAGES = {
    "datasets": "srbench.datasets",
    "metrics": "srbench.metrics",
    "models": "srbench.models",
    "weights": "srbench.weights",
}

__all__ = [
    "__version__",
    "compare",
    "datasets",
    "evaluate",
    "infer",
    "load_scores",
    "metrics",
    "models",
    "report",
    "score",
    "train",
    "weights",
]


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        value = getattr(importlib.import_module(_VERBS[name]), name)
    elif name in _PACKAGES:
        value = importlib.import_module(_PACKAGES[name])
    else:
        raise AttributeError(f"module 'srbench' has no attribute {name!r}")
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
