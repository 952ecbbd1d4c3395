"""The fake dataset and models, known to srbench for the length of a test; runs go into a temporary home."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import training_fakes


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    from srbench.datasets import registry as datasets
    from srbench.models import registry as models
    from srbench.utils.errors import DatasetError, ModelError
    from srbench.utils.registry import Registry

    monkeypatch.setenv("SRBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(datasets, "DATASETS", Registry("dataset", error=DatasetError))
    monkeypatch.setattr(models, "MODELS", Registry("model", error=ModelError))
    training_fakes.register_fakes()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Collected:
    """A progress callback that keeps events and messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.events: list[Any] = []

    def __call__(self, event: Any) -> None:
        (self.messages if isinstance(event, str) else self.events).append(event)


@pytest.fixture
def progress() -> Collected:
    return Collected()


@pytest.fixture
def train(progress: Collected) -> Callable[..., Any]:
    """``srbench.training.train`` with settings for tests."""
    from srbench.training import train as real

    def call(model: str = "tiny_sr", *overrides: str, **options: Any) -> Any:
        chosen = {"dataset": "textures", "scale": 2, "device": "cpu", "progress": progress, **options}
        return real(model, overrides=("train.tensorboard=false", "train.threads=1", *overrides), **chosen)

    return call
