"""Frozen geometry as JSON-like records for the truth."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def record(instance: DataclassInstance) -> dict[str, Any]:
    """The fields of a dataclass, nested ones too, its tuples as lists: equal to what JSON gives back."""
    result: dict[str, Any] = _plain(asdict(instance))
    return result


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value
