"""A hidden HR image, and processes that are confined as workers are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from helpers.sandbox_stage import Stage, prepared


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with prepared(tmp_path_factory.mktemp("stage")) as ready:
        yield ready
