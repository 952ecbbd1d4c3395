"""Which registered networks a state dict fits, by the names and shapes of its tensors."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from srbench.weights import narrowing
from srbench.weights.header import WeightsHeader
from srbench.weights.narrowing import Shapes

if TYPE_CHECKING:
    from torch import Tensor

    from srbench.models import ModelCard


@functools.cache
def layout(model: str, variant: str, scale: int, channels: int) -> Shapes:
    """Names and shapes of a registered network's tensors, built without memory for its numbers.

    Raises:
        ModelError: there is no such network.
    """
    import torch

    from srbench import models

    with torch.device("meta"):
        built = models.create(model, scale=scale, channels=channels, variant=variant)
    return shapes_of(built.network.state_dict())


def shapes_of(state: Mapping[str, Tensor]) -> Shapes:
    """Names and shapes of a state dict, without the batch counters.

    Those change no result, and files written before PyTorch 0.4.1 lack them.
    """
    return {name: tuple(tensor.shape) for name, tensor in state.items() if not is_counter(name)}


def is_counter(name: str) -> bool:
    """Whether a tensor counts the batches of a normalisation's training."""
    return name.endswith("num_batches_tracked")


def detect(state: Mapping[str, Tensor], *, only: Sequence[str] | None = None) -> list[WeightsHeader]:
    """Every registered network these weights fit exactly, other people's layouts included.

    More than one where networks have the same tensors, as VDSR has at every magnification.

    Args:
        state: names to tensors, as ``read_state`` gives them.
        only: look at these models alone.

    Returns:
        Headers that carry model, variant, scale and channels; the default variant first.
    """
    from srbench import models

    return [fit for name in only or models.model_names() for fit in _fits_of(name, state)]


def recognise(state: Mapping[str, Tensor]) -> list[str]:
    """Descriptions of every registered network that these weights fit exactly."""
    return [header.described for header in detect(state)]


def difference(expected: Shapes, found: Shapes) -> str:
    """How two layouts differ, in words; empty where they do not."""
    missing = sorted(expected.keys() - found.keys())
    extra = sorted(found.keys() - expected.keys())
    if missing or extra:
        examples = [f"lacks {missing[0]!r}"] if missing else []
        examples += [f"has {extra[0]!r}"] if extra else []
        return f"{len(missing)} tensors missing, {len(extra)} unknown ({', '.join(examples)})"
    for name, shape in expected.items():
        if shape != found[name]:
            return f"{name} has shape {found[name]}, expected {shape}"
    return ""


def _fits_of(name: str, state: Mapping[str, Tensor]) -> list[WeightsHeader]:
    """The configurations of one model that fit; a model that cannot be built here fits nothing."""
    from srbench import models

    try:
        card = models.card(name)
        return _fitting(card, state) if card.trainable else []
    except Exception:  # a third-party file may raise anything, and says nothing of these weights
        return []


def _fitting(card: ModelCard, state: Mapping[str, Tensor]) -> list[WeightsHeader]:
    from srbench.models.registry import converter

    shapes = shapes_of(converter(card.name)(state))
    return [
        WeightsHeader(card.name, variant, scale, channels)
        for variant in card.variants
        if narrowing.plausible(card, variant, shapes, layout)
        for scale, channels in itertools.product(card.scales, card.channels)
        if layout(card.name, variant, scale, channels) == shapes
    ]
