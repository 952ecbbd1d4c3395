"""From what was asked for to a task that can run: model, recipe, data, and what identifies the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from srbench import __version__, datasets, models
from srbench.config import RunConfig, StageSettings, apply
from srbench.datasets import degrade
from srbench.datasets.degrade import Degradation
from srbench.datasets.interface import Micrograph, MicrographSet
from srbench.errors import SrbenchError
from srbench.models import ModelCard, Recipe, SRModel
from srbench.models.recipe import Budget
from srbench.pretrained import pretrained
from srbench.training import rng
from srbench.training.data import CropReader, large_enough
from srbench.training.describe import describe
from srbench.training.device_pixels import DevicePixels, belongs_on_device, bytes_needed
from srbench.training.distributed import Processes
from srbench.training.echo import Echo
from srbench.training.loop import Task
from srbench.training.pixels import MappedPixels, PixelSource
from srbench.training.stage import check_recipe, move_loss_modules
from srbench.training.validation import Validator
from srbench.weights import WeightsHeader

_INITIAL_STREAM = 0
_TRAINING_STREAM = 1
_HARMLESS = {"checkpoint_every", "log_every", "pixels", "prefetch", "threads", "tensorboard"}
"""Settings that do not change what is learned: a resumed run may differ in them."""

_SHOWN_BY_RECIPE = {*StageSettings.model_fields, "degradation"}
"""Settings whose effect is described with the recipe or beside it."""


@dataclass(frozen=True)
class Request:
    """What was asked for, names resolved; ``channels`` None leaves them to the dataset."""

    model: str
    variant: str
    dataset: str
    scale: int
    channels: int | None
    budget: Budget
    seed: int
    degradation: str
    config: RunConfig


@dataclass(frozen=True)
class Prepared:
    """A task with what is known of it.

    Attributes:
        task: to give to the loop.
        identity: plain values that a resumed run must agree with.
        header: of the weights it will make.
        facts: for the manifest.
        notes: for the user.
    """

    task: Task
    identity: Mapping[str, Any]
    header: WeightsHeader
    facts: Mapping[str, Any]
    notes: tuple[str, ...]

    @property
    def space_needed(self) -> int:
        """Bytes on disk, roughly: three checkpoints (weights, average, two moments), two weights files."""
        state = self.task.model.network.state_dict().values()
        weights: int = sum(tensor.numel() * tensor.element_size() for tensor in state)
        return (3 * 4 + 2) * weights


def prepare(request: Request, processes: Processes, echo: Echo) -> Prepared:
    """Build everything and check it, before anything is written.

    Args:
        request: what was asked for.
        processes: that will train.
        echo: told of what takes long.

    Raises:
        SrbenchError, ModelError, DatasetError: what is wrong and what to do.
    """
    micrographs = datasets.open(request.dataset)
    channels = choose_channels(request.channels, micrographs.card.channels, models.card(request.model))
    request = replace(request, channels=channels)
    model, recipe = _build(request, channels, processes)
    degradation = degrade.get(request.degradation)
    patch = max(stage.patch for stage in recipe.stages)
    images, small = _training_images(micrographs, patch, request.scale)
    validator = _validator(request, micrographs, degradation, processes)
    notes = recipe.notes + _data_notes(small, validator)
    source = _pixel_source(request, micrographs, images, processes.device, echo)
    reader = CropReader(micrographs, images, degradation, request.scale, request.seed, source)
    settings = request.config.train
    autocast = wants_autocast(settings.amp, processes.device)
    rng.seed_streams(_TRAINING_STREAM, request.seed, processes.rank)
    return Prepared(
        task=Task(model, recipe, reader, degradation, validator, settings, autocast, processes),
        identity=_identity(request, recipe, micrographs, degradation),
        header=_header(request, channels, micrographs, degradation, notes),
        facts={
            **_facts(request, model, recipe, micrographs, degradation, images, small),
            "pixels": "device" if isinstance(source, DevicePixels) else "mapped",
        },
        notes=notes,
    )


def wants_autocast(amp: str, device: torch.device) -> bool:
    """Whether the forward pass runs in bfloat16.

    Raises:
        SrbenchError: asked for on a GPU that has no bfloat16.
    """
    has_bf16 = device.type != "cuda" or torch.cuda.is_bf16_supported()
    if amp == "bf16" and not has_bf16:
        raise SrbenchError("This GPU has no bfloat16; use --set train.amp=none.")
    return amp == "bf16" or (amp == "auto" and device.type == "cuda" and has_bf16)


def choose_channels(wish: int | None, data: int, card: ModelCard) -> int:
    """Channels of the network: as wished, else those of the data where the model offers them, else grey.

    Args:
        wish: the caller's; the model refuses what it does not offer.
        data: channels of the dataset.
        card: of the model.
    """
    if wish is not None:
        return wish
    return next((count for count in (data, 1) if count in card.channels), card.channels[0])


def _pixel_source(
    request: Request,
    micrographs: MicrographSet,
    images: Sequence[Micrograph],
    device: torch.device,
    echo: Echo,
) -> PixelSource:
    """The training pixels on the device where they fit, else crops from the memory maps."""
    needed = bytes_needed(images, request.scale)
    if belongs_on_device(request.config.train.pixels, needed, device):
        echo.note(f"Training pixels: {needed / 1e9:.2f} GB to {device}")
        return DevicePixels(micrographs, images, request.scale, device, echo.note)
    return MappedPixels(micrographs, images, request.scale, pinned=device.type == "cuda")


def _build(request: Request, channels: int, processes: Processes) -> tuple[SRModel, Recipe]:
    rng.seed_streams(_INITIAL_STREAM, request.seed)
    model = models.create(request.model, scale=request.scale, channels=channels, variant=request.variant)
    recipe = apply(request.config, model.recipe(request.budget, pretrained))
    check_recipe(recipe, request.scale, processes.world)
    if recipe.initialise is not None:
        recipe.initialise(model.network)
    layout = torch.channels_last if request.config.train.channels_last else torch.preserve_format
    model.network.to(processes.device, memory_format=layout)  # type: ignore[call-overload]
    move_loss_modules(recipe, processes.device)
    return model, recipe


def _training_images(
    micrographs: MicrographSet, patch: int, scale: int
) -> tuple[list[Micrograph], Mapping[str, str]]:
    images = micrographs.split("train")
    if not images:
        raise SrbenchError(
            f"{micrographs.name} has no training images ({len(micrographs)} images in all); train on another "
            "dataset and evaluate on this one."
        )
    return large_enough(images, patch, scale)


def _validator(
    request: Request, micrographs: MicrographSet, degradation: Degradation, processes: Processes
) -> Validator | None:
    images = [
        image for image in micrographs.split("val") if min(image.height, image.width) >= 4 * request.scale
    ]
    if not images:
        return None
    train = request.config.train
    return Validator(
        micrographs,
        images,
        degradation,
        request.scale,
        train.validation_images,
        train.validation_patch,
        processes,
    )


def _data_notes(small: Mapping[str, str], validator: Validator | None) -> tuple[str, ...]:
    notes = []
    if small:
        name, reason = next(iter(small.items()))
        notes.append(f"{len(small)} training images left out: {name} {reason}.")
    if validator is None:
        notes.append("The dataset has no validation images: nothing is validated, no best weights are kept.")
    return tuple(notes)


def _identity(
    request: Request, recipe: Recipe, micrographs: MicrographSet, degradation: Degradation
) -> dict[str, Any]:
    return {
        "model": request.model,
        "variant": request.variant,
        "scale": request.scale,
        "channels": request.channels,
        "dataset": request.dataset,
        "data": micrographs.fingerprint,
        "degradation": degradation.id,
        "budget": request.budget,
        "seed": request.seed,
        "train": request.config.train.model_dump(exclude=_HARMLESS | _SHOWN_BY_RECIPE),
        "recipe": describe(recipe),
    }


def _header(
    request: Request,
    channels: int,
    micrographs: MicrographSet,
    degradation: Degradation,
    notes: tuple[str, ...],
) -> WeightsHeader:
    return WeightsHeader(
        model=request.model,
        variant=request.variant,
        scale=request.scale,
        channels=channels,
        dataset=request.dataset,
        seed=request.seed,
        budget=request.budget,
        data=micrographs.fingerprint,
        notes=notes,
        version=__version__,
        degradation=degradation.id,
    )


def _facts(
    request: Request,
    model: SRModel,
    recipe: Recipe,
    micrographs: MicrographSet,
    degradation: Degradation,
    images: Sequence[Micrograph],
    small: Mapping[str, str],
) -> dict[str, Any]:
    card = micrographs.card
    return {
        "model": {
            "name": request.model,
            "title": model.card.title,
            "variant": request.variant,
            "scale": request.scale,
            "channels": request.channels,
            "parameters": sum(parameter.numel() for parameter in model.network.parameters()),
        },
        "dataset": {
            "name": request.dataset,
            "title": card.title,
            "kind": card.kind,
            "licence": card.licence,
            "terms": card.terms,
            "citation": card.citation,
            "channels": card.channels,
            "fingerprint": micrographs.fingerprint,
            "train_images": len(images),
            "val_images": len(micrographs.split("val")),
            "skipped": {**micrographs.skipped, **small},
        },
        "degradation": degradation.id,
        "degradation_settings": dict(degradation.settings),
        "seed": request.seed,
        "budget": request.budget,
        "settings": request.config.model_dump(exclude_none=True),
        "recipe": describe(recipe),
    }
