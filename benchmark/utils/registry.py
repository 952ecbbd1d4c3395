"""The one registry: of models, datasets, metrics, degradations and kinds of scenes.

Names come from decorated functions and classes in a package's files, and from entry points of other
distributions. Files are found by reading them; what is not asked for is not imported.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Generic, TypeVar

from srbench.utils.errors import SrbenchError, unknown_name

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to values of one type.

    Args:
        what: what a value is, for messages (``"model"``).
        package: package in whose files values are registered, at any depth; none where the module that makes
            the registry registers them all.
        marker: text by which those files are known, as ``"@register_model"``. A function decorated so has the
            name of the value, and only its file is imported for it; other marked files are for every name.
        group: entry-point group of other distributions; an entry point's name is the value's, its value the
            module whose import registers it.
        error: class of the errors raised.
        hint: a sentence that ends the error for an unknown name.
    """

    def __init__(
        self,
        what: str,
        *,
        package: str = "",
        marker: str = "",
        group: str = "",
        error: type[SrbenchError] = SrbenchError,
        hint: str = "",
    ) -> None:
        self.what, self.package, self.marker, self.group = what, package, marker, group
        self.error, self.hint = error, hint
        self._values: dict[str, T] = {}
        self._modules: dict[str, str] = {}
        self._index: dict[str, str] | None = None
        self._unnamed: list[str] = []

    def register(self, name: str, value: T, module: str) -> None:
        """Add a value; ``module`` may register its own names again, as when it is reloaded.

        Raises:
            SrbenchError: another module has registered this name.
        """
        other = self._modules.get(name, module)
        if other != module:
            raise self.error(
                f"{self.what.capitalize()} name {name!r} is registered twice: by {other} and by {module}. "
                "Rename one."
            )
        self._values[name], self._modules[name] = value, module

    def names(self) -> list[str]:
        """All names in alphabetical order; what is found by its decorated function is not imported for it."""
        index = self._indexed()
        while self._unnamed:
            importlib.import_module(self._unnamed.pop(0))
        return sorted({*index, *self._values})

    def module_of(self, name: str) -> str | None:
        """The module that registers ``name``, which need not be imported yet; None where none is known."""
        return self._modules.get(name) or self._indexed().get(name)

    def __contains__(self, name: str) -> bool:
        """Whether ``name`` is registered by now, that is, its module imported."""
        return name in self._values

    def get(self, name: str) -> T:
        """The value called ``name``.

        Raises:
            SrbenchError: there is none; the message has the near miss and all names.
        """
        if name not in self._values and name in (index := self._indexed()):
            importlib.import_module(index[name])
        if name not in self._values:
            names = self.names()
            if name not in self._values:
                raise self.error(f"{unknown_name(self.what, name, names)} {self.hint}".strip())
        return self._values[name]

    def values(self) -> list[T]:
        """All values in the order of their names, everything imported."""
        return [self.get(name) for name in self.names()]

    def _indexed(self) -> dict[str, str]:
        """Name to the module that registers it; modules that do not show their names become unnamed."""
        if self._index is None:
            self._index = {}
            for module, source in self._sources():
                names = [
                    node.name
                    for node in ast.parse(source).body
                    if isinstance(node, ast.FunctionDef)
                    and any(f"@{ast.unparse(d)}".startswith(f"{self.marker}(") for d in node.decorator_list)
                ]
                self._index.update(dict.fromkeys(names, module))
                if not names:
                    self._unnamed.append(module)
            for point in entry_points(group=self.group) if self.group else ():
                self._index.setdefault(point.name, point.module)
        return self._index

    def _sources(self) -> Iterator[tuple[str, str]]:
        """Module and source of the package's marked files."""
        spec = importlib.util.find_spec(self.package) if self.package else None
        for root in spec.submodule_search_locations or () if spec else ():
            for file in sorted(Path(root).rglob("*.py")):
                source = file.read_text(encoding="utf-8")
                if self.marker in source:
                    parts = file.relative_to(root).with_suffix("").parts
                    yield ".".join([self.package, *parts]).removesuffix(".__init__"), source
