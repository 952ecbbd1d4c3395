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
