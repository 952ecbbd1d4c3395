"""The state dicts within a checkpoint, whatever it keeps them under, and without prefixes of their tensors.

Training code saves a network in a dictionary (``{"params_ema": ...}``, ``{"net_g": ...}``), below the name of
an attribute (``generator.``, ``module.model.``) and beside others (a discriminator, an optimiser). Which of
them is the network is decided by whoever knows its tensors; here they are listed, the likeliest first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    State = dict[str, Tensor]

_USUAL = ("params_ema", "params", "state_dict", "model_state_dict", "model", "generator", "netG")
_WITHIN = 2
"""How deep dictionaries are looked into."""


def state_dicts(content: Mapping[Any, Any]) -> Iterator[State]:
    """Every dictionary of tensors in a checkpoint, then the same without prefixes; averaged weights first."""
    tables = [
        (name, {_plain_key(key): tensor for key, tensor in tensors.items()})
        for name, tensors in _tables(content, "", _WITHIN)
    ]
    tables.sort(key=lambda table: _rank(*table))
    for _, state in tables:
        yield state
    for _, state in tables:
        yield from _without_prefixes(state)


def _tables(content: Mapping[Any, Any], name: str, within: int) -> Iterator[tuple[str, State]]:
    import torch

    named = {key: value for key, value in content.items() if isinstance(key, str)}
    if tensors := {key: value for key, value in named.items() if isinstance(value, torch.Tensor)}:
        yield name, tensors
    if within:
        for key, value in named.items():
            if isinstance(value, Mapping):
                yield from _tables(value, key, within - 1)


def _rank(name: str, state: State) -> tuple[bool, int, int]:
    """Order: averaged weights, then the usual names, then the checkpoint itself, then the largest."""
    usual = (*_USUAL, "")
    return "ema" not in name.lower(), usual.index(name) if name in usual else len(usual), -len(state)


def _without_prefixes(state: State) -> Iterator[State]:
    """Without what all names begin with, part for part; then what lies below each of their first parts."""
    stripped = list(_stripped(state))
    yield from stripped
    parts = _by_first_part(stripped[-1] if stripped else state)
    for part in sorted(parts, key=lambda part: _rank(part, parts[part])) if len(parts) > 1 else ():
        yield parts[part]
        yield from _stripped(parts[part])


def _stripped(state: State) -> Iterator[State]:
    while len(parts := _by_first_part(state)) == 1 and len(part := next(iter(parts.values()))) == len(state):
        state = part
        yield state


def _by_first_part(state: State) -> dict[str, State]:
    parts: dict[str, State] = {}
    for name, tensor in state.items():
        first, dot, rest = name.partition(".")
        if dot:
            parts.setdefault(first, {})[rest] = tensor
    return parts


def _plain_key(name: str) -> str:
    """The name without what data-parallel and compiled networks put before it, in whatever order."""
    while (shorter := name.removeprefix("module.").removeprefix("_orig_mod.")) != name:
        name = shorter
    return name
