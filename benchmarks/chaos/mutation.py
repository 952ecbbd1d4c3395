"""Damage: bytes flipped, cut, repeated and replaced by numbers that parsers stumble over."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np

Random = np.random.Generator

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1)
TEXTS = (
    "",
    "\x1b[2J\x1b]0;title\x07",
    "\u202egpj.exe",
    "\ud800",
    "a\0b",
    "=1+1",
    "../../etc/passwd",
    "/dev/zero",
    "x" * 5000,
    "9" * 5000,
    "NaN",
    "1e999",
    "<script>alert(1)</script>",
    "\\input{/etc/passwd}",
    "a\nb",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1 << 31,
    1 << 63,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    0.5,
    [],
    {},
    [None],
    {"": None},
    *TEXTS,
)


def damaged(random: Random, data: bytes) -> bytes:
    """A file with one to four kinds of damage."""
    content = bytearray(data)
    for _ in range(int(random.integers(1, 5))):
        if not content:
            return bytes(content)
        at = int(random.integers(len(content)))
        # Headers are short and decide most.
        if random.random() < 0.5:
            at = int(random.integers(min(len(content), 256)))
        kind = int(random.integers(8))
        if kind == 0:
            content[at] ^= 1 << int(random.integers(8))
        elif kind == 1:
            content[at] = int(random.integers(256))
        elif kind == 2:
            del content[at:]
        elif kind == 3:
            length = int(random.integers(1, 64))
            del content[at : at + length]
        elif kind == 4:
            length = int(random.integers(1, 64))
            content[at:at] = content[at : at + length] * int(random.integers(1, 4))
        elif kind == 5:
            content[at : at + 64] = bytes(random.integers(0, 256, 64, dtype=np.uint8))
        else:
            width = int(random.choice([1, 2, 4, 8]))
            number = int(_NUMBERS[int(random.integers(len(_NUMBERS)))]) & ((1 << 8 * width) - 1)
            order = "little" if random.random() < 0.5 else "big"
            content[at : at + width] = number.to_bytes(width, order)  # type: ignore[arg-type]
    return bytes(content)


def damaged_json(random: Random, content: Any) -> str:
    """JSON of content in which values were replaced, removed or nested, or the text of it damaged."""
    changed = json.loads(json.dumps(content))
    for _ in range(int(random.integers(1, 4))):
        parent, key = _some_place(random, changed)
        if parent is None:
            return json.dumps(VALUES[int(random.integers(len(VALUES)))])
        kind = int(random.integers(5))
        if kind == 0:
            del parent[key]
        elif kind == 1:
            parent[key] = [copy.deepcopy(parent[key])]
        elif kind == 2 and isinstance(parent, dict):
            parent[str(random.integers(1000))] = copy.deepcopy(parent[key])
        else:
            parent[key] = copy.deepcopy(VALUES[int(random.integers(len(VALUES)))])
    text = json.dumps(changed)
    if random.random() < 0.05:
        return text.replace("{", '{"a":' + "[" * 100_000, 1)
    if random.random() < 0.05:
        return damaged(random, text.encode()).decode("latin-1")
    return text


def _some_place(random: Random, content: Any) -> tuple[Any, Any]:
    """A container within the content and one of its keys."""
    places: list[tuple[Any, Any]] = []

    def visit(value: Any) -> None:
        if isinstance(value, dict | list):
            for key in list(value) if isinstance(value, dict) else range(len(value)):
                places.append((value, key))
                visit(value[key])

    visit(content)
    return places[int(random.integers(len(places)))] if places else (None, None)
