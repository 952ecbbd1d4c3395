"""Folders of the harness under the srbench home: runs, weights, results."""

from pathlib import Path

from srbench.datasets.home import home

__all__ = ["cache_folder", "home", "results_folder", "runs_folder", "weights_folder"]


def runs_folder() -> Path:
    """Where ``srbench train`` puts its runs unless ``--out`` is given."""
    return home() / "runs"


def weights_folder() -> Path:
    """Where downloaded or hand-placed weights are looked for."""
    return home() / "weights"


def results_folder() -> Path:
    """Where ``srbench eval`` puts its scores unless ``--results`` is given."""
    return home() / "results"


def cache_folder() -> Path:
    """What can be deleted at any time and is made again."""
    return home() / "cache"
