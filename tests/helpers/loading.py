"""Running a file of helpers anew."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

HELPERS = Path(__file__).parent


def load(name: str, folder: Path = HELPERS) -> ModuleType:
    """Execute ``<name>.py`` again, whatever was imported before: its models register again."""
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
