"""A recipe in plain words and values: what the manifest shows and a resumed run is held to."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from srbench.models.recipe import Recipe


def describe(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain values: numbers stay numbers, functions and networks become their names."""
    described = _plain(recipe)
    assert isinstance(described, dict)
    return described


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two descriptions, one line each: ``train.lr: was 0.0001, is 0.0002``."""
    old, new = dict(_leaves(before, "")), dict(_leaves(now, ""))
    absent = "absent"
    return [
        f"{name}: was {old.get(name, absent)!r}, is {new.get(name, absent)!r}"
        for name in {**old, **new}
        if old.get(name, absent) != new.get(name, absent)
    ]


def _plain(value: object) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if is_dataclass(value) and not isinstance(value, type):
        return _plain_dataclass(value)
    if isinstance(value, functools.partial):
        arguments = [_plain(entry) for entry in value.args]
        return {"call": _name(value.func), "arguments": arguments, **_plain(value.keywords)}
    return _name(value)


def _plain_dataclass(value: Any) -> Any:
    content = {entry.name: _plain(getattr(value, entry.name)) for entry in fields(value)}
    if not callable(value):
        return content
    # A schedule or a loss written as a dataclass: its name matters as much as its numbers.
    return {"call": type(value).__qualname__, **content} if content else type(value).__qualname__


def _name(value: object) -> str:
    """A name without an address, equal in every process."""
    owner = getattr(value, "__self__", None)
    if owner is not None and not isinstance(owner, type) and hasattr(value, "__name__"):
        return f"{type(owner).__qualname__}.{value.__name__}"
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def _leaves(value: object, path: str) -> Iterator[tuple[str, Any]]:
    inner: list[tuple[str, object]] = []
    if isinstance(value, Mapping):
        inner = [(str(key), entry) for key, entry in value.items()]
    elif isinstance(value, (list, tuple)):
        inner = [(_label(index, entry), entry) for index, entry in enumerate(value)]
    if not inner:
        yield path, value
    for key, entry in inner:
        yield from _leaves(entry, f"{path}.{key}" if path else key)


def _label(index: int, entry: object) -> str:
    """Stages, terms and discriminators by their names, other list entries by number."""
    return str(entry["name"]) if isinstance(entry, Mapping) and "name" in entry else str(index)
