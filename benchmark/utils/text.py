"""Texts of strangers as text that can be stored and printed: no control characters, no broken UTF-16."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

# Control characters, separators of lines, what turns the direction of writing, and lone surrogates, which
# Python puts for the bytes of a file's name that are not UTF-8 (PEP 383).
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4}))")


def printable(text: str) -> str:
    r"""``text`` in one line that any terminal and file takes.

    Bytes that were not UTF-8 become ``\xe9``, control characters ``\x0a`` or ``\u0085``.
    """
    return _UNPRINTABLE.sub(_escaped, text)


def printable_lines(text: str) -> str:
    """``text`` with its lines as they are, each :func:`printable`."""
    return "\n".join(map(printable, text.split("\n")))


def printable_values(content: Any) -> Any:
    """JSON content whose texts are all :func:`printable_lines`, keys too."""
    if isinstance(content, str):
        return printable_lines(content)
    if isinstance(content, Mapping):
        return {printable_values(name): printable_values(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [printable_values(value) for value in content]
    return content


def json_values(content: Any) -> Any:
    """:func:`printable_values`; named tuples as mappings, None for numbers that are not finite."""
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if hasattr(content, "_asdict"):
        content = content._asdict()
    if isinstance(content, Mapping):
        return {printable_values(name): json_values(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [json_values(value) for value in content]
    return printable_values(content)


def listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def name_to_id(name: str) -> str:
    r"""The name of a file as text that can be stored and printed: :func:`printable`, and reversible.

    A backslash that begins what looks like such an escape becomes ``\x5c``; other names stay as they are.
    """
    return printable(_ESCAPE.sub(lambda match: rf"\x5c{match[0][1:]}", name))


def id_to_name(text: str) -> str:
    """The name of a file behind what :func:`name_to_id` made of it."""

    def character(match: re.Match[str]) -> str:
        code = int(match[1] or match[2], 16)
        return chr(code + 0xDC00 if match[1] and code >= 0x80 else code)

    return _ESCAPE.sub(character, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"
