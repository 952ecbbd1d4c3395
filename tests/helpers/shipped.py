"""Another set of shipped weights than the package's, for tests of what is taken where."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from srbench import models, weights
from srbench.utils.files import sha256_file
from srbench.weights import ShippedWeights, WeightsHeader

find = importlib.import_module("srbench.weights.find")
"""The module; the package has a function of that name."""


def entry(
    folder: Path, model: str, gain: float, *, scale: int = 2, recommended: bool = False
) -> ShippedWeights:
    """Weights of a small network, written into ``folder``."""
    data, lr = "f" * 64, "bicubic@1"
    header = WeightsHeader(model, "tiny", scale, 1, "sem_open", 0, "laptop", 9, data, degradation=lr)
    path = folder / f"{model}-x{scale}.safetensors"
    weights.save(path, models.create(model, scale=scale, variant="tiny").network.state_dict(), header)
    return ShippedWeights(
        *(path.name, sha256_file(path), model, "tiny", scale, "sr", "sem_open", data, "train", lr),
        *("laptop", 0, gain, f"{model} did well.", "CC0-1.0", recommended),
    )


@contextlib.contextmanager
def instead(folder: Path, entries: Sequence[ShippedWeights] = ()) -> Iterator[Path]:
    """These are what is shipped, as long as the block runs."""
    folder.mkdir(exist_ok=True)
    (folder / find.INDEX).write_text(json.dumps([asdict(item) for item in entries]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(find, "SHIPPED", folder)
        find.shipped.cache_clear()
        yield folder
    find.shipped.cache_clear()
