"""A field of particles and its truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from helpers.drawn_scenes import Disc, place_discs


@pytest.fixture(scope="session")
def particle_field() -> list[Disc]:
    """55 discs of radius 7 to 20 px."""
    return place_discs(3, np.random.default_rng(3).uniform(7, 20, 55), 512)


@pytest.fixture(scope="session")
def particle_truth(particle_field: list[Disc]) -> dict[str, Any]:
    """Their truth, as a synthetic scene would store it."""
    entries = [
        {"y": y, "x": x, "diameter": 2 * r, "border": False, "touching": False} for y, x, r in particle_field
    ]
    return {"kind": "particles", "particles": entries, "small_features": []}
