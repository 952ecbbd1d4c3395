"""Super-resolution networks and how each is trained: pure torch, no disk, no command line.

``create(name, scale=4)`` gives an :class:`~srbench.models.base.SRModel`; ``list_models()`` gives the
cards of all of them. A new model is one new file in this package, see ``registry.register_model``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from srbench.models.base import GreyShift, ModelCard, ReleasedWeights, SRModel
from srbench.models.registry import card, create, list_models, model_names, register_model
from srbench.utils.errors import ModelError

if TYPE_CHECKING:
    from srbench.models.recipe import Budget, Recipe

__all__ = [
    "Budget",
    "GreyShift",
    "ModelCard",
    "ModelError",
    "Recipe",
    "ReleasedWeights",
    "SRModel",
    "card",
    "create",
    "list_models",
    "model_names",
    "register_model",
]


def __getattr__(name: str) -> Any:
    if name in ("Budget", "Recipe"):  # recipes import torch, cards do not
        from srbench.models import recipe

        return getattr(recipe, name)
    raise AttributeError(f"module 'srbench.models' has no attribute {name!r}")
