"""Running a file of helpers anew, and taking back what it registered."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from srbench.models import registry

HELPERS = Path(__file__).parent


def load(name: str, folder: Path = HELPERS) -> ModuleType:
    """Execute ``<name>.py`` again, whatever was imported before: its models register again."""
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def models_as_before() -> Iterator[None]:
    """Models that are not srbench's and were registered inside are unknown afterwards."""
    before, inside = registry.MODELS, copy.deepcopy(registry.MODELS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "MODELS", inside)
        yield
    # A module is imported once only: what it registered inside must stay.
    for name, module in inside._modules.items():
        if module.startswith("srbench."):
            before.register(name, inside.get(name), module)


@contextlib.contextmanager
def registered(name: str) -> Iterator[ModuleType]:
    """The models of a file of helpers, as long as the block runs."""
    with models_as_before():
        yield load(name)
