"""Synthetic scenes that lack one of their small features, to test what truth and metrics say of it."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.synthetic.imaging import grey_levels
from srbench.datasets.synthetic.scene import Scene
from srbench.datasets.synthetic.suite import SyntheticScene


def _middles(item: Any) -> list[tuple[float, float]]:
    """Where truth may say that a part of a scene lies."""
    item = item[1] if isinstance(item, tuple) else item
    middles = [getattr(item, name) for name in ("middle", "centre", "tip") if hasattr(item, name)]
    return [*middles, *([(item.y, item.x)] if hasattr(item, "y") else [])]


def scene_without(scene: Scene, *numbers: int) -> Scene:
    """The scene lacking these entries of its truth's ``small_features``."""
    listed = scene.truth()["small_features"]
    for feature in [listed[number] for number in numbers]:
        scene = _without(scene, feature)
    return scene


def _without(scene: Scene, feature: dict[str, Any]) -> Scene:
    place = feature["y"], feature["x"]
    for field in fields(scene):
        parts = getattr(scene, field.name)
        if not isinstance(parts, tuple):
            continue
        for position, part in enumerate(parts):
            if place in _middles(part):
                rest = [replace(part, cap=0.0)] if feature["type"] == "cap" else []
                return replace(scene, **{field.name: (*parts[:position], *rest, *parts[position + 1 :])})
    raise AssertionError(f"The scene has nothing at {place}.")


def pixels_without(scene: SyntheticScene, *numbers: int) -> NDArray[np.uint8]:
    """The image lacking these features; contrast, brightness and lamellae stay as they are."""
    image, window = scene._unpatched
    added = scene.pixels().astype(np.int16) - image
    without = grey_levels(scene._signal(scene_without(scene.scene, *numbers)), window)
    return np.clip(without + added, 0, 255).astype(np.uint8)
