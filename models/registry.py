"""Names to models. A model is a factory function under this package decorated with ``register_model``.

The name of the function is the name of the model. Files are found by reading (not importing) the package; an
implementation is imported only when its model is built. ``cards.json``, written by ``srbench models index``,
holds cards and sizes beside the hash of the file that they were read from. Other distributions add models
through the entry-point group ``srbench.models``: the entry point's name is the model's, its value the module
(or the factory inside it) whose import registers it.
"""

from __future__ import annotations

import ast
import difflib
import fnmatch
import functools
import hashlib
import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from srbench.models.base import (
    ModelCard,
    NetworkFactory,
    RecipeFactory,
    ReleasedWeights,
    SRModel,
    StateConverter,
)
from srbench.utils.errors import ModelError

ENTRY_POINT_GROUP = "srbench.models"
CARDS_FILE = Path(__file__).with_name("cards.json")


@dataclass(frozen=True)
class _Entry:
    card: ModelCard
    factory: NetworkFactory
    recipe: RecipeFactory
    convert: StateConverter


_registered: dict[str, _Entry] = {}


def register_model(
    *,
    title: str,
    family: str,
    paper: str,
    year: int,
    scales: tuple[int, ...],
    variants: tuple[str, ...],
    recipe: RecipeFactory | None = None,
    channels: tuple[int, ...] = (1, 3),
    trainable: bool = True,
    leaking: tuple[str, ...] = (),
    summary: str = "",
    licence: str = "Apache-2.0",
    released: tuple[ReleasedWeights, ...] = (),
    convert: StateConverter = dict,
) -> Callable[[NetworkFactory], NetworkFactory]:
    """Register the decorated factory ``(scale, channels, variant) -> nn.Module`` under its own name.

    The arguments are the fields of :class:`~srbench.models.base.ModelCard`; ``recipe`` maps a
    ``RecipeRequest`` to a ``Recipe`` and defaults to plain L1 regression (``recipe.default_recipe``);
    ``convert`` renames the tensors of other people's checkpoints (none by default).

    Raises:
        ModelError: another file already registered this name.
    """

    def register(factory: NetworkFactory) -> NetworkFactory:
        from srbench.models.recipe import default_recipe

        name, module = factory.__name__, factory.__module__
        known = _registered.get(name)
        if known is not None and known.card.module != module:
            raise ModelError(
                f"Model name {name!r} is registered twice: "
                f"by {known.card.module} and by {module}. Rename one."
            )
        card = ModelCard(
            name,
            title,
            family,
            paper,
            year,
            scales,
            variants,
            channels,
            trainable,
            leaking,
            summary,
            licence,
            module,
            released,
        )
        _registered[name] = _Entry(card, factory, recipe or default_recipe, convert)
        return factory

    return register


def model_names() -> list[str]:
    """All known names, without importing any implementation."""
    return sorted({*_index(), *_registered})


def list_models(pattern: str = "*") -> list[ModelCard]:
    """Cards of the models whose name matches the shell-style ``pattern``, by year, then name."""
    cards = [card(name) for name in fnmatch.filter(model_names(), pattern)]
    return sorted(cards, key=lambda card: (card.year, card.name))


def card(name: str) -> ModelCard:
    """The card of one model, without importing its implementation where ``cards.json`` is up to date.

    Raises:
        ModelError: no model has this name; the message lists near misses and all names.
    """
    if name not in _registered and (stored := _stored(name)):
        return stored_card(stored)
    return registered_card(name)


def registered_card(name: str) -> ModelCard:
    """The card as the implementation registers it, which imports it."""
    return _resolve(name).card


def stored_card(stored: Mapping[str, Any]) -> ModelCard:
    """The card of an entry of ``cards.json``."""
    content: dict[str, Any] = {**stored["card"]}
    for name in ("scales", "variants", "channels", "leaking"):
        content[name] = tuple(content[name])
    content["released"] = tuple(ReleasedWeights(**file) for file in content["released"])
    return ModelCard(**content)


def stored_sizes(name: str) -> Mapping[str, Mapping[str, str]] | None:
    """Variant to what ``srbench models index`` measured of it; None where its file has changed since."""
    stored = _stored(name)
    return stored["sizes"] if stored else None


def source_hash(module: str) -> str:
    """sha256 of a module of this package, whatever ends its lines."""
    file = Path(__file__).parent.joinpath(*module.split(".")[2:])
    source = file.with_suffix(".py") if file.with_suffix(".py").is_file() else file / "__init__.py"
    return hashlib.sha256(source.read_text(encoding="utf-8").encode()).hexdigest()


def _stored(name: str) -> Mapping[str, Any] | None:
    """What ``cards.json`` holds of a model of this package whose file is still the one it was read from."""
    stored, module = _stored_cards().get(name), _index().get(name)
    if stored is None or module is None or module != stored["card"]["module"]:
        return None
    return stored if source_hash(module) == stored["source"] else None


@functools.cache
def _stored_cards() -> Mapping[str, Mapping[str, Any]]:
    if not CARDS_FILE.is_file():
        return {}
    cards: Mapping[str, Mapping[str, Any]] = json.loads(CARDS_FILE.read_text(encoding="utf-8"))
    return cards


def converter(name: str) -> StateConverter:
    """What brings other people's state dicts of a model to the names used here, without building it.

    Raises:
        ModelError: no model has this name; the message lists near misses and all names.
    """
    return _resolve(name).convert


def create(name: str, *, scale: int, channels: int = 1, variant: str | None = None) -> SRModel:
    """Build a model with freshly initialised weights.

    Args:
        name: a registered name.
        scale: magnification.
        channels: image channels, 1 for grey SEM (default) or 3.
        variant: a variant of the card; the card's first when None.

    Raises:
        ModelError: unknown name, scale, channel count or variant; the message lists what there is.
    """
    entry = _resolve(name)
    chosen = entry.card.variants[0] if variant is None else variant
    _check_offer(entry.card, "variant", chosen, entry.card.variants)
    _check_offer(entry.card, "scale", scale, entry.card.scales)
    _check_offer(entry.card, "channels", channels, entry.card.channels)
    network = entry.factory(scale, channels, chosen)
    return SRModel(network, entry.card, scale, channels, chosen, entry.recipe, entry.convert)


def _check_offer(card: ModelCard, what: str, asked: object, offered: tuple[object, ...]) -> None:
    if asked not in offered:
        listing = ", ".join(str(value) for value in offered)
        raise ModelError(
            f"{card.name} has no {what} {asked!r}{_near(str(asked), offered)}. It offers: {listing}."
        )


def _resolve(name: str) -> _Entry:
    if name not in _registered and name in (index := _index()):
        importlib.import_module(index[name])
    if name not in _registered:
        known = model_names()
        raise ModelError(
            f"Unknown model {name!r}{_near(name, tuple(known))}. Known models: {', '.join(known)}."
        )
    return _registered[name]


def _near(asked: str, offered: tuple[object, ...]) -> str:
    close = difflib.get_close_matches(asked, [str(value) for value in offered], n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


@functools.cache
def _index() -> Mapping[str, str]:
    """Model name to the module that registers it: this package's files, then entry points."""
    root = Path(__file__).parent
    index: dict[str, str] = {}
    for file in sorted(root.rglob("*.py")):
        module = ".".join(["srbench.models", *file.relative_to(root).with_suffix("").parts])
        for name in _decorated_functions(file):
            index[name] = module.removesuffix(".__init__")
    for point in entry_points(group=ENTRY_POINT_GROUP):
        index.setdefault(point.name, point.module)
    return index


def _decorated_functions(file: Path) -> list[str]:
    source = file.read_text(encoding="utf-8")
    if "@register_model" not in source:
        return []
    functions = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
    return [function.name for function in functions if any(map(_is_registration, function.decorator_list))]


def _is_registration(decorator: ast.expr) -> bool:
    return (
        isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Name)
        and decorator.func.id == "register_model"
    )
