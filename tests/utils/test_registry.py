"""The registry: names without imports, one name once, and what to type where there is none."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from srbench.utils import registry as registry_module
from srbench.utils.errors import DatasetError, ModelError, SrbenchError
from srbench.utils.registry import Registry

FILES = {
    "__init__.py": "",
    "base.py": """
from srbench.utils.errors import DatasetError
from srbench.utils.registry import Registry
CUPS = Registry("cup", package="cupboard", marker="@register_cup", error=DatasetError, hint="Buy one.")
def register_cup(title):
    def decorator(factory):
        CUPS.register(factory.__name__, title, factory.__module__)
        return factory
    return decorator
""",
    "espresso.py": """
from cupboard.base import register_cup
@register_cup("Espresso")
def espresso(): ...
@register_cup("Doppio")
def doppio(): ...
def not_a_cup(): ...
""",
    "deep/__init__.py": "",
    "deep/mug.py": "from cupboard import base\n@base.register_cup('no')\ndef unmarked(): ...\n",
    "deep/tea.py": "from cupboard.base import register_cup\n@register_cup('Tea')\ndef tea(): ...\n",
    # Marked, with the name nowhere to be read: registered in a loop.
    "glasses.py": """
from cupboard.base import CUPS, register_cup as again  # not @register_cup(
for name in ("wine", "water"):
    CUPS.register(name, name.title(), __name__)
""",
}


def cupboard(folder: Path, **changed: str) -> Registry[str]:
    """The registry of a package of cups that lies in ``folder``."""
    for name, text in {**FILES, **{f"{name}.py": text for name, text in changed.items()}}.items():
        path = folder / "cupboard" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    cups: Registry[str] = importlib.import_module("cupboard.base").CUPS
    return cups


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for module in loaded():
        del sys.modules[module]


def loaded() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] in ("cupboard", "carafe")]


def test_a_value_is_imported_when_it_is_asked_for_and_nothing_else(folder: Path) -> None:
    cups = cupboard(folder)
    assert cups.module_of("tea") == "cupboard.deep.tea"
    assert cups.module_of("unmarked") is None and "tea" not in cups
    before = loaded()
    assert cups.get("tea") == "Tea" and "tea" in cups
    assert set(loaded()) - set(before) == {"cupboard.deep", "cupboard.deep.tea"}
    assert cups.get("doppio") == "Doppio"
    assert "cupboard.glasses" not in sys.modules


def test_all_names_take_only_the_files_that_do_not_show_theirs(folder: Path) -> None:
    cups = cupboard(folder)
    assert cups.names() == ["doppio", "espresso", "tea", "water", "wine"]
    assert "cupboard.glasses" in sys.modules
    assert not {"cupboard.espresso", "cupboard.deep.tea", "cupboard.deep.mug"} & set(sys.modules)
    assert cups.values() == ["Doppio", "Espresso", "Tea", "Water", "Wine"]
    assert "cupboard.deep.mug" not in sys.modules


def test_a_name_that_only_an_unnamed_file_registers_is_found_without_asking_for_all(folder: Path) -> None:
    cups = cupboard(folder)
    assert cups.get("wine") == "Wine" and cups.module_of("wine") == "cupboard.glasses"


def test_an_unknown_name_gets_the_near_miss_all_names_and_the_hint(folder: Path) -> None:
    cups = cupboard(folder)
    with pytest.raises(DatasetError) as raised:
        cups.get("expresso")
    message = str(raised.value)
    assert "cup 'expresso'" in message and "did you mean 'espresso'?" in message
    assert "doppio, espresso, tea, water, wine" in message and message.endswith("Buy one.")
    with pytest.raises(DatasetError) as raised:
        cups.get("zzz")
    assert "did you mean" not in str(raised.value)


def test_a_file_that_fails_on_import_fails_alone(folder: Path) -> None:
    broken = (
        "from cupboard.base import register_cup\nimport no_such_module\n@register_cup('x')\ndef x(): ...\n"
    )
    cups = cupboard(folder, broken=broken)
    assert "x" in cups.names() and cups.get("tea") == "Tea"
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        cups.get("x")
    assert "x" not in cups and cups.get("espresso") == "Espresso"


@pytest.mark.parametrize("error", [SrbenchError, ModelError])
def test_one_name_in_two_modules_is_refused_and_the_first_stays(error: type[SrbenchError]) -> None:
    values: Registry[int] = Registry("lens", error=error)
    values.register("macro", 1, "first.file")
    with pytest.raises(error, match=r"'macro' .*first\.file.*second\.file") as raised:
        values.register("macro", 2, "second.file")
    assert type(raised.value) is error
    assert values.get("macro") == 1 and values.module_of("macro") == "first.file"


def test_a_module_may_register_its_names_again() -> None:
    values: Registry[int] = Registry("lens")
    for value in (1, 2):
        values.register("macro", value, "first.file")
    assert values.get("macro") == 2 and values.names() == ["macro"]


def test_entry_points_of_other_distributions_are_imported_when_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cups = cupboard(folder)
    (folder / "carafe.py").write_text(
        "from cupboard.base import CUPS\nCUPS.register('carafe', 'Carafe', __name__)\n", encoding="utf-8"
    )
    points = [
        metadata.EntryPoint("carafe", "carafe", "cups"),
        metadata.EntryPoint("tea", "carafe", "cups"),  # does not displace the package's own
        metadata.EntryPoint("gone", "no_such_distribution", "cups"),
        metadata.EntryPoint("silent", "cupboard", "cups"),  # registers nothing of that name
    ]

    def entry_points(group: str) -> list[Any]:
        return [point for point in points if point.group == group]

    monkeypatch.setattr(registry_module, "entry_points", entry_points)
    cups.group = "cups"
    assert {"carafe", "gone", "tea"} < set(cups.names()) and "carafe" not in sys.modules
    assert cups.module_of("tea") == "cupboard.deep.tea" and cups.get("tea") == "Tea"
    assert cups.get("carafe") == "Carafe"
    with pytest.raises(ModuleNotFoundError, match="no_such_distribution"):
        cups.get("gone")
    with pytest.raises(DatasetError, match="'silent'"):
        cups.get("silent")


def test_every_registry_of_srbench_is_one() -> None:
    """And each knows a name that is always there, without a network or a file of data."""
    from srbench.datasets.registry import DATASETS
    from srbench.models.registry import MODELS

    for values, name, error in ((MODELS, "bicubic", ModelError), (DATASETS, "sem_synthetic", DatasetError)):
        assert isinstance(values, Registry) and name in values.names() and values.error is error
        module = values.module_of(name)
        assert module is not None and module.startswith(f"{values.package}.")
