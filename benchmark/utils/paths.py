"""Where data, weights and runs live: ``$SRBENCH_HOME``, else the platform's folder for user data."""

import os
from pathlib import Path

import platformdirs


def home() -> Path:
    """The srbench home folder (absolute; not created here)."""
    configured = os.environ.get("SRBENCH_HOME")
    return (
        Path(configured).expanduser().resolve()
        if configured
        else Path(platformdirs.user_data_dir("srbench", False))
    )


def dataset_folder(name: str) -> Path:
    """The folder that holds what is on disk of dataset ``name``."""
    return home() / "data" / name


# Folders of the harness under the srbench home: runs, weights, results.


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
