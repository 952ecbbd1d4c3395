"""What a scene is, and the registry of scene kinds. A new kind is one new file in this package.

A scene function draws a scene's geometry; the geometry knows its own truth and can be rendered into material
maps, from which ``imaging`` makes a micrograph. As truth and rendering both start from the same numbers, an
object can be left out and everything else stays as it is (``Scene.without``): a counterfactual pair.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from srbench.datasets.synthetic.draws import Draws
from srbench.datasets.synthetic.geometry import FineGrid
from srbench.datasets.synthetic.imaging import Layers, Optics


class Scene(ABC):
    """One scene: exact geometry, how it is imaged, and its rendering."""

    size: int
    optics: Optics

    @abstractmethod
    def truth(self) -> dict[str, Any]:
        """The exact geometry, JSON-like; lengths in HR pixels, pixel centres at whole numbers."""

    @abstractmethod
    def layers(self, grid: FineGrid) -> Layers:
        """The scene drawn on the fine grid."""

    @abstractmethod
    def without(self, feature: int) -> Scene:
        """The same scene lacking entry ``feature`` of the truth's ``small_features``.

        Raises:
            IndexError: there is no such feature.
        """


SceneFunction = Callable[[Draws, int], Scene]
"""Random numbers and the image's side in HR pixels to a scene."""


@dataclass(frozen=True)
class SceneKind:
    """A registered kind; ``code`` enters the seeds and never changes."""

    name: str
    code: int
    draw: SceneFunction


_registered: dict[str, SceneKind] = {}


def register_scene(code: int) -> Callable[[SceneFunction], SceneFunction]:
    """Register the decorated scene function under its own name.

    Args:
        code: number of the kind in the seeds, its own: biological 0, fibres 1, films 2, mems 3, nanowires 4,
            particles 5, patterned 6, porous 7, powder 8, tips 9.

    Raises:
        ValueError: another kind has this name or code.
    """

    def register(draw: SceneFunction) -> SceneFunction:
        kind = SceneKind(draw.__name__, code, draw)
        for known in _registered.values():
            if (known.name == kind.name) != (known.code == kind.code):
                raise ValueError(
                    f"Scene kind {kind.name!r} (code {code}) clashes with {known.name!r} (code {known.code})."
                )
        _registered[kind.name] = kind
        return draw

    return register


def scene_kinds() -> Mapping[str, SceneKind]:
    """All kinds by name; imports every file of this package once."""
    package = importlib.import_module("srbench.datasets.synthetic")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"srbench.datasets.synthetic.{module.name}")
    return dict(sorted(_registered.items()))
