"""One submission for all tests that change a copy of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.submitted import copy, stage, submit


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with stage():
        return submit(tmp_path_factory.mktemp("submission"))


@pytest.fixture
def here() -> Iterator[None]:
    with stage():
        yield


@pytest.fixture
def submission(original: Path, tmp_path: Path, here: None) -> Path:
    return copy(original, tmp_path)
