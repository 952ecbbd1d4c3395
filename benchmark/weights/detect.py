"""Which registered networks a state dict fits, by the names and shapes of its tensors."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from srbench.utils.errors import ModelError, SrbenchError
from srbench.utils.files import read_json, write_text
from srbench.utils.paths import cache_folder
from srbench.weights.io import WeightsHeader

if TYPE_CHECKING:
    from torch import Tensor

    from srbench.models import ModelCard

Shapes = Mapping[str, tuple[int, ...]]

FEW = 16
"""Up to so many tensors, a network is never left out: its ends are most of it."""

_SAMPLE = 64
_OURS = "srbench.models."


def could_match(
    card: ModelCard, variant: str, shapes: Shapes, layout: Callable[[str, str, int, int], Shapes]
) -> bool:
    """Whether ``shapes`` may be this variant at some scale and channel count; never False for one that is.

    Scale and channels change the ends of a network; most tensors stay. A sample of the tensors of a variant
    at its first scale therefore tells most variants apart, and few networks are built to compare with.

    Args:
        card: of a registered model.
        variant: one of its variants.
        shapes: names and shapes of a state dict.
        layout: gives the names and shapes of model, variant, scale and channels.
    """
    expected = _samples().get(f"{card.name} {variant}") if card.module.startswith(_OURS) else None
    if expected is None:
        expected = sample(layout(card.name, variant, card.scales[0], card.channels[0]))
        _store(card, variant, expected)
    matching = sum(shapes.get(name) == shape for name, shape in expected.items())
    return len(expected) <= FEW or matching >= 0.3 * len(expected)


def sample(shapes: Shapes) -> Shapes:
    """Some of the tensors, evenly over the sorted names; all where there are few."""
    step = max(len(shapes) // _SAMPLE, 1)
    return {name: shapes[name] for name in sorted(shapes)[::step]}


@functools.cache
def _samples() -> dict[str, Shapes]:
    """The samples on disk, those of this process added: the largest networks take about a second to build."""
    try:
        content = read_json(_file())
        return {
            variant: {name: tuple(shape) for name, shape in shapes.items()}
            for variant, shapes in content.items()
        }
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _store(card: ModelCard, variant: str, shapes: Shapes) -> None:
    """Remember a sample; only of srbench's own models, whose sources the file's name stands for."""
    if not card.module.startswith(_OURS):
        return
    _samples()[f"{card.name} {variant}"] = shapes
    try:
        write_text(_file(), json.dumps(_samples()))
    except SrbenchError:
        return  # the next process builds the network again


def _file() -> Path:
    return cache_folder() / "layouts" / f"{_fingerprint()}.json"


@functools.cache
def _fingerprint() -> str:
    """A hash of the sources of the models and of the packages that bring parts of networks."""
    from srbench import models

    digest = hashlib.sha256()
    for name in ("torch", "torchvision", "timm"):
        with contextlib.suppress(PackageNotFoundError):
            digest.update(f"{name} {version(name)}\n".encode())
    root = Path(models.__file__).parent
    for source in sorted(root.rglob("*.py")):
        digest.update(source.relative_to(root).as_posix().encode() + source.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def layout(model: str, variant: str, scale: int, channels: int) -> Shapes:
    """Names and shapes of a registered network's tensors, built without memory for its numbers.

    Raises:
        ModelError: there is no such network, or it cannot be built.
    """
    from srbench.models.registry import create_on_meta

    try:
        built = create_on_meta(model, scale=scale, channels=channels, variant=variant)
    except ModelError:
        raise
    except Exception as error:  # whatever the code of a third party raises
        network = WeightsHeader(model, variant, scale, channels).described
        raise ModelError(
            f"{network} cannot be built, so that weights cannot be compared with it "
            f"({type(error).__name__}: {error}). Mend the model's code, or what it needs."
        ) from error
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

    Raises:
        ModelError: nothing fits, and one of ``only`` could not be compared: the message says why. Without
            ``only`` such a model says nothing of these weights.
    """
    from srbench import models

    matches: list[WeightsHeader] = []
    failures: list[ModelError] = []
    for name in only or models.model_names():
        try:
            matches += _detect_model(name, state)
        except ModelError as error:
            failures.append(error)
    if only and failures and not matches:
        raise failures[0]
    return matches


def difference(expected: Shapes, actual: Shapes) -> str:
    """How two layouts differ, in words; empty where they do not."""
    missing = sorted(expected.keys() - actual.keys())
    extra = sorted(actual.keys() - expected.keys())
    if missing or extra:
        examples = [f"lacks {missing[0]!r}"] if missing else []
        examples += [f"has {extra[0]!r}"] if extra else []
        return f"{len(missing)} tensors missing, {len(extra)} unknown ({', '.join(examples)})"
    for name, shape in expected.items():
        if shape != actual[name]:
            return f"{name} has shape {actual[name]}, expected {shape}"
    return ""


def _detect_model(name: str, state: Mapping[str, Tensor]) -> list[WeightsHeader]:
    """The networks of a model that fit.

    Raises:
        ModelError: none does, and the model or one of its networks could not be compared.
    """
    from srbench import models, plugins
    from srbench.models.registry import converter

    if plugins.is_foreign(name):
        answer = plugins.ask("srbench.weights.detect:detect_shapes", name, shapes_of(state))
        return [WeightsHeader(name, str(variant), int(s), int(c)) for variant, s, c in answer]
    try:
        card = models.card(name)
        convert = converter(card.name)
    except ModelError:
        raise
    except Exception as error:  # a third-party file may raise anything
        raise ModelError(f"{name} cannot be imported ({type(error).__name__}: {error}).") from error
    if not card.trainable:
        return []
    try:
        shapes = shapes_of(convert(state))
    except Exception:  # a layout that only resembles the one which is converted
        return []
    matches: list[WeightsHeader] = []
    failures: list[ModelError] = []
    for network in itertools.product(card.variants, card.scales, card.channels):
        try:
            if could_match(card, network[0], shapes, layout) and layout(card.name, *network) == shapes:
                matches.append(WeightsHeader(card.name, *network))
        except ModelError as error:
            failures.append(error)
    if failures and not matches:
        raise failures[0]
    return matches


def detect_shapes(name: str, shapes: Mapping[str, Sequence[int]]) -> list[tuple[str, int, int]]:
    """In a confined process: variant, scale and channels of the networks of a plug-in that tensors fit."""
    import torch

    from srbench.models import registry

    registry.registered_card(name)
    state = {tensor: torch.empty(tuple(shape), device="meta") for tensor, shape in shapes.items()}
    return [(match.variant, match.scale, match.channels) for match in _detect_model(name, state)]
