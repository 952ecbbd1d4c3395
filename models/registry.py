"""Names to models. A model is a factory function under this package decorated with ``register_model``.

The function's name is the model's, and its file is imported only when the model is built. ``cards.json``,
written by ``srbench models index``, holds cards and sizes beside the hash of the file that they were read
from. Other distributions add models through the entry-point group ``srbench.models``.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
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
from srbench.utils.errors import ModelError, near_miss
from srbench.utils.registry import Registry

CARDS_FILE = Path(__file__).with_name("cards.json")


@dataclass(frozen=True)
class ModelEntry:
    """What a model's file registers."""

    card: ModelCard
    factory: NetworkFactory
    recipe: RecipeFactory
    convert: StateConverter


MODELS: Registry[ModelEntry] = Registry(
    "model",
    package="srbench.models",
    marker="@register_model",
    group="srbench.models",
    error=ModelError,
)


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
    publication: str = "",
    authors: str = "",
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
            publication,
            authors,
        )
        MODELS.register(name, ModelEntry(card, factory, recipe or default_recipe, convert), module)
        return factory

    return register


def model_names() -> list[str]:
    """All names, without importing any implementation."""
    return MODELS.names()


def list_models(pattern: str = "*") -> list[ModelCard]:
    """Cards of the models whose name matches the shell-style ``pattern``, by year, then name."""
    cards = [card(name) for name in fnmatch.filter(model_names(), pattern)]
    return sorted(cards, key=lambda card: (card.year, card.name))


def card(name: str) -> ModelCard:
    """The card of one model, without importing its implementation where ``cards.json`` is up to date.

    Raises:
        ModelError: no model has this name; the message lists near misses and all names.
    """
    if name not in MODELS and (stored := _stored(name)):
        return stored_card(stored)
    return registered_card(name)


def registered_card(name: str) -> ModelCard:
    """The card as the implementation registers it, which imports it."""
    return MODELS.get(name).card


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
    stored, module = _stored_cards().get(name), MODELS.module_of(name)
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
    return MODELS.get(name).convert


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
    entry = MODELS.get(name)
    chosen = entry.card.variants[0] if variant is None else variant
    _check_offer(entry.card, "variant", chosen, entry.card.variants)
    _check_offer(entry.card, "scale", scale, entry.card.scales)
    _check_offer(entry.card, "channels", channels, entry.card.channels)
    network = entry.factory(scale, channels, chosen)
    return SRModel(network, entry.card, scale, channels, chosen, entry.recipe, entry.convert)


def create_on_meta(name: str, *, scale: int, channels: int = 1, variant: str | None = None) -> SRModel:
    """Build a model without memory for its numbers; on the CPU where its code needs them while it is built.

    Random streams stay as they are. Arguments and errors are those of :func:`create`; what the model's own
    code raises on the CPU is raised here.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"), _without_initial_values():
                return create(name, scale=scale, channels=channels, variant=variant)
        except Exception:
            return create(name, scale=scale, channels=channels, variant=variant)


_initialisers_lock = threading.RLock()


@contextlib.contextmanager
def _without_initial_values() -> Iterator[None]:
    """Nothing is drawn for tensors on the meta device, which took most of the time of building there."""
    from torch.nn import init

    def leave(draw: Callable[..., Any]) -> Callable[..., Any]:
        return lambda tensor, *words, **named: tensor if tensor.is_meta else draw(tensor, *words, **named)

    with _initialisers_lock:
        drawing = {name: getattr(init, name) for name in dir(init) if name.endswith("_") and name[0] != "_"}
        try:
            for name, draw in drawing.items():
                setattr(init, name, leave(draw))
            yield
        finally:
            for name, draw in drawing.items():
                setattr(init, name, draw)


def _check_offer(card: ModelCard, what: str, requested: object, offered: tuple[object, ...]) -> None:
    if requested not in offered:
        texts = [str(value) for value in offered]
        raise ModelError(
            f"{card.name} has no {what} {requested!r}{near_miss(str(requested), texts)}. "
            f"It offers: {', '.join(texts)}."
        )
