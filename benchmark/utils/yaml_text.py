"""YAML that anybody may have written: plain values and the lines they stand in, of bounded size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from srbench.utils.errors import SrbenchError
from srbench.utils.files import read_regular

LONGEST_YAML = 1 << 16
"""Bytes of a file of settings; the largest are below 10 kB."""

_DEEPEST = 20
_MOST_VALUES, _MOST_BRACKETS = 10_000, 300
_LONGEST_INTEGER = 1 << 10

Lines = Mapping[tuple[str, ...], int]
"""The line, from 1, of each setting by the names that lead to it."""


def parse_yaml(text: str) -> tuple[Any, Lines]:
    """The plain values of a YAML text.

    Anchors may be repeated, but what they expand to counts.

    Raises:
        SrbenchError: not YAML, or too long, too deep, too large or inside itself; the message has the line.
    """
    if len(text) > LONGEST_YAML:
        raise SrbenchError(f"{len(text):,} characters; settings have at most {LONGEST_YAML:,}")
    # PyYAML takes time by the square of how deep they are nested.
    if text.count("[") + text.count("{") > _MOST_BRACKETS:
        raise SrbenchError(f"more than {_MOST_BRACKETS} brackets")
    lines: dict[tuple[str, ...], int] = {}
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, lines
        _measure(node, {}, set())
        _collect(node, (), lines)
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f"line {mark.line + 1}: "
        raise SrbenchError(f"{where}{error.problem or error.context or 'not YAML'}") from error
    except yaml.YAMLError as error:  # characters that YAML does not have
        raise SrbenchError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise SrbenchError(f"nested more than {_DEEPEST} deep") from error
    finally:
        if loader is not None:
            loader.dispose()


def read_yaml(path: Path) -> tuple[Any, Lines]:
    """The plain values of a YAML file, and the lines they stand in.

    Raises:
        SrbenchError: it cannot be read, or is not YAML that is read.
    """
    try:
        return parse_yaml(read_regular(path, LONGEST_YAML).decode("utf-8"))
    except (OSError, ValueError) as error:  # a name with a zero byte, or bytes that are not UTF-8
        reason = getattr(error, "strerror", None) or error
        raise SrbenchError(f"Cannot read {path}: {reason}.") from error
    except SrbenchError as error:
        raise SrbenchError(f"{path} is not YAML that is read: {error}.") from error


class _Loader(yaml.SafeLoader):
    """Plain values only; a value that is none of its kind, as the 31st of February, is told with its line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, int) and value.bit_length() > _LONGEST_INTEGER:
                raise ValueError("an absurd number")
            return value
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
            reason = f"{type(error).__name__}: {str(error)[:200]}"
            raise yaml.constructor.ConstructorError(None, None, reason, node.start_mark) from error


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _measure(node: yaml.Node, measured: dict[int, tuple[int, int]], above: set[int]) -> tuple[int, int]:
    """Values that a node expands to, and how deep they are nested."""
    if id(node) in measured:
        return measured[id(node)]
    if id(node) in above:
        raise yaml.MarkedYAMLError(problem="an anchor inside itself", problem_mark=node.start_mark)
    above.add(id(node))
    values, depth = 1, 0
    for child in _children(node):
        more, deep = _measure(child, measured, above)
        values, depth = values + more, max(depth, deep)
    above.discard(id(node))
    if values > _MOST_VALUES or depth >= _DEEPEST:
        limit = f"more than {_MOST_VALUES:,} values, or nested more than {_DEEPEST} deep"
        raise yaml.MarkedYAMLError(problem=limit, problem_mark=node.start_mark)
    measured[id(node)] = values, depth + 1
    return measured[id(node)]


def _collect(node: yaml.Node, parents: tuple[str, ...], lines: dict[tuple[str, ...], int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = (*parents, str(key.value) if isinstance(key, yaml.ScalarNode) else "")
            lines[path] = key.start_mark.line + 1
            _collect(value, path, lines)
