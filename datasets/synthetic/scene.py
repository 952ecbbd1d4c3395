"""What a scene is, and the registry of scene kinds. A new kind is one new file in this package.

A scene function samples a scene's geometry; the geometry knows its truth and can be rendered into material
maps, from which ``imaging`` makes a micrograph. Truth holds what a measurement reads, and nothing else.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from srbench.datasets.synthetic.geometry import FineGrid
from srbench.datasets.synthetic.imaging import Layers, Optics
from srbench.datasets.synthetic.rng import RandomStream


class Scene(ABC):
    """One scene: exact geometry, how it is imaged, and its rendering."""

    size: int
    optics: Optics

    @abstractmethod
    def truth(self) -> dict[str, Any]:
        """What measurements need, JSON-like; lengths in HR pixels, pixel centres at whole numbers.

        ``small_features``, of every kind: ``type``, ``y``, ``x`` and ``diameter`` (or ``length``).
        """

    @abstractmethod
    def layers(self, grid: FineGrid) -> Layers:
        """The scene rendered on the fine grid."""


def feature_entries(items: Iterable[Any], kind: str | None = None) -> list[dict[str, Any]]:
    """Round things as ``small_features`` of the truth: their type (or ``kind``), place and diameter."""
    return [
        {"type": kind or item.type, "y": item.y, "x": item.x, "diameter": item.diameter} for item in items
    ]


SceneFunction = Callable[[RandomStream, int], Scene]
"""Random numbers and the image's side in HR pixels to a scene."""


@dataclass(frozen=True)
class SceneKind:
    """A registered kind; ``code`` enters the seeds and never changes."""

    name: str
    code: int
    sample: SceneFunction


_registered: dict[str, SceneKind] = {}


def register_scene(code: int) -> Callable[[SceneFunction], SceneFunction]:
    """Register the decorated scene function under its own name.

    Args:
        code: number of the kind in the seeds: biological 0, fibres 1, films 2, mems 3, nanowires 4,
            particles 5, patterned 6, porous 7, powder 8, tips 9.

    Raises:
        ValueError: another kind has this name or code.
    """

    def register(sample: SceneFunction) -> SceneFunction:
        kind = SceneKind(sample.__name__, code, sample)
        for other in _registered.values():
            if (other.name == kind.name) != (other.code == kind.code):
                raise ValueError(
                    f"Scene kind {kind.name!r} (code {code}) clashes with {other.name!r} (code {other.code})."
                )
        _registered[kind.name] = kind
        return sample

    return register


def scene_kinds() -> Mapping[str, SceneKind]:
    """All kinds by name; imports every file of this package once."""
    package = importlib.import_module("srbench.datasets.synthetic.kinds")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_registered.items()))
