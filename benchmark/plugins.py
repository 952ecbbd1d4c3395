"""Models of other distributions: what they are is asked of a confined process, never of their module here.

To import a stranger's module is to run it, and here it could change the harness itself. What it answers is
data: known keys, types and ranges, printable text. The module's place comes from the installed entry point.
"""

from __future__ import annotations

import fnmatch
import functools
import importlib.machinery
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from srbench import models
from srbench.models import ModelCard, ModelError, registry
from srbench.utils.errors import SrbenchError
from srbench.utils.paths import home, results_folder
from srbench.utils.text import printable

_MAX_TEXT, _MAX_ITEMS = 2_000, 64
_NAME = re.compile(r"[\w.+@-]{1,100}")
_YEARS, _SCALES = range(3000), range(1, 65)


def is_foreign(name: str) -> bool:
    """Whether another distribution brings this model, and nobody has imported it here."""
    module = registry.MODELS.module_of(name)
    return module is not None and not module.startswith("srbench.") and name not in registry.MODELS


def card(name: str) -> ModelCard:
    """The card of a model, srbench's own or a stranger's.

    Raises:
        ModelError: no model has this name, or the plug-in that should bring it fails or tells nonsense.
    """
    if not is_foreign(name):
        return models.card(name)
    return _foreign_card(name, registry.MODELS.module_of(name) or "")


def list_cards(pattern: str = "*") -> tuple[list[ModelCard], list[str]]:
    """Cards of the models whose name matches, by year, then name; and what went wrong with plug-ins."""
    cards, problems = [], []
    for name in fnmatch.filter(registry.model_names(), pattern):
        try:
            cards.append(card(name))
        except SrbenchError as error:
            problems.append(str(error))
    return sorted(cards, key=lambda card: (card.year, card.name)), problems


def ask(function: str, name: str, *arguments: Any) -> Any:
    """What a function of srbench says of a foreign model in a confined process.

    Raises:
        ModelError: the plug-in fails there.
    """
    from srbench.sandbox import ask as confined

    module = registry.MODELS.module_of(name) or ""
    try:
        return confined.ask(
            function,
            name,
            *arguments,
            module_file=module_file(module),
            hidden=(home(), results_folder()),
        )
    except SrbenchError as error:
        raise ModelError(f"The plug-in {module}, which brings {name}, failed: {error}") from error


def module_file(module: str) -> Path | None:
    """The file of a module, without importing the packages that it lies in."""
    if module in sys.modules:
        file = getattr(sys.modules[module], "__file__", None)
        return Path(file) if file else None
    spec: importlib.machinery.ModuleSpec | None = None
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        inside = None if spec is None else spec.submodule_search_locations
        name = ".".join(parts[:depth])
        specs = (finder.find_spec(name, inside) for finder in sys.meta_path)
        spec = next(filter(None, specs), None)
        if spec is None:
            return None
    return Path(spec.origin) if spec and spec.origin and spec.has_location else None


def describe(name: str) -> dict[str, Any]:
    """In the confined process: the card as the plug-in registers it."""
    return asdict(registry.registered_card(name))


@functools.cache
def _foreign_card(name: str, module: str) -> ModelCard:
    try:
        return _checked(name, ask("srbench.plugins:describe", name), module)
    except (TypeError, ValueError, KeyError) as error:
        reason = printable(str(error))[:200]
        raise ModelError(f"The card of {name} from the plug-in {module} is none: {reason}") from error


def _checked(name: str, content: Any, module: str) -> ModelCard:
    """The card in an answer.

    Raises:
        TypeError, ValueError, KeyError: it is none.
    """
    from pydantic import TypeAdapter
    from pydantic_core import to_json

    cleaned = _cleaned(content)
    if not isinstance(cleaned, Mapping) or cleaned.keys() != {entry.name for entry in fields(ModelCard)}:
        raise ValueError("other fields than a card has")
    card: ModelCard = TypeAdapter(ModelCard).validate_json(to_json(cleaned), strict=True)
    if card.name != name:
        raise ValueError(f"it is that of {card.name}")
    if not card.variants or not all(map(_NAME.fullmatch, card.variants)):
        raise ValueError(f"variants {card.variants}")
    for values, allowed in (
        (card.scales, _SCALES),
        (card.channels, (1, 3)),
        ((card.year,), _YEARS),
        ((*card.leaking, card.variants[0]), card.variants),
    ):
        if not values or not all(value in allowed for value in values):
            raise ValueError(f"{values} is not among {allowed}")
    return replace(card, module=module)


def _cleaned(value: Any, depth: int = 0) -> Any:
    if depth > 4 or (isinstance(value, (list, dict)) and len(value) > _MAX_ITEMS):
        raise ValueError("too much for a card")
    if isinstance(value, str):
        return printable(value)[:_MAX_TEXT]
    if isinstance(value, list):
        return [_cleaned(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {name: _cleaned(item, depth + 1) for name, item in value.items()}
    return value
