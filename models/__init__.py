"""Super-resolution networks and how each is trained: pure torch, no disk, no command line.

``create(name, scale=4)`` gives an :class:`~srbench.models.interface.SRModel`; ``list_models()`` gives the
cards of all of them. A new model is one new file in this package, see ``registry.register_model``.
"""

from srbench.models.interface import GreyShift, ModelCard, ModelError, ReleasedWeights, SRModel
from srbench.models.recipe import Budget, Recipe
from srbench.models.registry import card, create, list_models, model_names, register_model

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
