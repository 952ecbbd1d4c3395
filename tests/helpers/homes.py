"""srbench homes for tests that share their rendered scenes, each of which takes up to a second to draw."""

from __future__ import annotations

import os
from pathlib import Path

SCENES = "SRBENCH_TEST_SCENES"
"""Names the shared folder; the session sets it."""


def with_scenes(home: Path) -> Path:
    """A home whose rendered scenes lie in the shared folder."""
    (home / "cache").mkdir(parents=True, exist_ok=True)
    (home / "cache" / "sem_synthetic").symlink_to(os.environ[SCENES], target_is_directory=True)
    return home
