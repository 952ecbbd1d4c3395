"""``srbench.train``: one call trains one model, or goes on with a run that was interrupted."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from srbench import __version__, datasets, models
from srbench.config import RunConfig, StageSettings, apply, load_config
from srbench.datasets import degrade
from srbench.datasets.degrade import Degradation
from srbench.datasets.interface import Micrograph, MicrographSet
from srbench.errors import SrbenchError, unknown
from srbench.evaluation.task import check_task
from srbench.files import write_text
from srbench.home import runs_folder
from srbench.models import ModelCard, ModelError, Recipe, SRModel
from srbench.models.recipe import BUDGETS, Budget
from srbench.pretrained import pretrained
from srbench.training import rng
from srbench.training.checkpoint import CURRENT, PREVIOUS, load_checkpoint
from srbench.training.data import CropReader, large_enough
from srbench.training.distributed import Processes, join
from srbench.training.echo import Echo, Silent, terminal_echo
from srbench.training.folder import CONFIG, WEIGHTS, RunFolder, State, run_folder_name
from srbench.training.interrupt import StopRequest, stop_requests
from srbench.training.logs import RunLog
from srbench.training.loop import Loop, Task
from srbench.training.manifest import RunManifest, describe, differences, session
from srbench.training.output import RunOutput
from srbench.training.pixels import DevicePixels, MappedPixels, PixelSource, belongs_on_device, bytes_needed
from srbench.training.rng import repeatable, sensible_threads
from srbench.training.stage import check_recipe, move_loss_modules
from srbench.training.state import Guard, TrainingState
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


@dataclass(frozen=True)
class TrainResult:
    """A finished run.

    Attributes:
        folder: of the run.
        weights: the final weights (averaged ones where the recipe averages).
        iterations: generator updates done.
        seconds: wall time, earlier sessions of a resumed run included.
        best: metrics of the best validation (``psnr`` in dB, ``gain_over_bicubic`` in dB); empty where the
            dataset has no validation images. Its weights are ``best.safetensors`` in the folder.
    """

    folder: Path
    weights: Path
    iterations: int
    seconds: float
    best: Mapping[str, float] = field(default_factory=dict)


def train(
    model: str,
    *,
    dataset: str,
    scale: int,
    variant: str | None = None,
    channels: int | None = None,
    budget: Budget = "short",
    out: Path | None = None,
    resume: bool = False,
    seed: int = 0,
    device: str = "auto",
    overrides: Sequence[str] = (),
    config: Path | None = None,
    degradation: str = "bicubic",
    echo: Echo | None = None,
) -> TrainResult | None:
    """Train a model on a dataset as its recipe says.

    Under ``torchrun`` the processes share each batch. Ctrl-C and SIGTERM save a checkpoint at the end of the
    step. A resumed run ends with the weights, bit for bit, that it would have had uninterrupted (same machine
    kind, versions, threads and number of processes).

    Args:
        model: a registered name.
        dataset: a dataset's name, ``name:argument`` or a folder of images.
        scale: magnification.
        variant: a variant of the model; its first when None.
        channels: of the network: 1 (grey) or 3 (RGB); those of the dataset when None.
        budget: ``smoke``, ``short`` or ``paper``.
        out: folder of the run; one below the srbench home when None.
        resume: go on with an interrupted run; starts one where there is none, does nothing where it is
            finished.
        seed: decides initial weights, order of the data, crops and augmentation.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        overrides: settings ``a.b=c`` over the configuration, see :mod:`srbench.config`.
        config: a YAML file with settings.
        degradation: how LR is made from HR: a name, with settings if any (``sem_pixel:dose=60``).
        echo: where progress is shown; the terminal when None.

    Returns:
        The result; None on all processes of a distributed run but the main one.

    Raises:
        SrbenchError, ModelError, DatasetError: something the caller can mend; the message says how.
        TrainingInterrupted: stopped from outside, after saving.
    """
    settings = load_config(config, overrides)
    request = _request(model, variant, dataset, scale, channels, budget, seed, degradation, settings)
    folder = RunFolder(out or runs_folder() / _name(request))
    with ExitStack() as stack:
        processes = stack.enter_context(join(device))
        stack.enter_context(rng.preserved())
        threads = settings.train.threads or sensible_threads(processes.local_world)
        stack.enter_context(repeatable(settings.train.deterministic, threads))
        stop = stack.enter_context(stop_requests())
        shown = stack.enter_context(_echo(echo, processes))
        found = processes.from_main(folder.check(resume) if processes.main else None)
        if found == "complete":
            shown.note(f"{folder.path} holds this run, finished: nothing to do.")
            return _finished(folder) if processes.main else None
        prepared = prepare(request, processes, shown)
        if processes.main:
            stack.enter_context(folder.claimed(prepared.space_needed))
        return _execute(request, folder, found, prepared, threads, shown, stop)


def _request(
    model: str,
    variant: str | None,
    dataset: str,
    scale: int,
    channels: int | None,
    budget: str,
    seed: int,
    degradation: str,
    config: RunConfig,
) -> Request:
    card = models.card(model)
    if not card.trainable:
        raise ModelError(f"{card.name} has no parameters to train; evaluate it directly.")
    if budget not in BUDGETS:
        raise unknown("budget", budget, BUDGETS)
    if seed < 0:
        raise SrbenchError(f"The seed is {seed}; expected a number of at least 0.")
    configured = config.train.degradation
    if configured is not None and degradation not in ("bicubic", configured):
        raise SrbenchError(
            f"Two degradations: {degradation!r} as argument, {configured!r} as train.degradation in the "
            "configuration. Give one."
        )
    check_task(degrade.get(configured or degradation), scale)
    return Request(
        card.name,
        variant or card.variants[0],
        dataset,
        scale,
        channels,
        budget,
        seed,
        configured or degradation,
        config,
    )


def _name(request: Request) -> str:
    return run_folder_name(
        request.model,
        request.variant,
        request.dataset,
        request.scale,
        request.budget,
        request.seed,
        # What a name may leave out or say twice (defaults, the version) makes no other folder.
        degradation=degrade.get(request.degradation).id.rpartition("@")[0],
        channels=request.channels,
    )


def _echo(echo: Echo | None, processes: Processes) -> AbstractContextManager[Echo]:
    if not processes.main:
        return nullcontext(Silent())
    return terminal_echo() if echo is None else nullcontext(echo)


def _execute(
    request: Request,
    folder: RunFolder,
    found: State | None,
    prepared: Prepared,
    threads: int,
    echo: Echo,
    stop: StopRequest,
) -> TrainResult | None:
    task = prepared.task
    processes = task.processes
    state = TrainingState(
        task.model.network, task.recipe, request.seed, Guard(request.config.train.bad_updates)
    )
    going_on = found == "unfinished" and (folder.path / CURRENT).is_file()
    if going_on:
        _restore(folder, prepared, state, echo)
    output = _output(request, folder, prepared, state, threads)
    for note in prepared.notes:
        echo.note(f"Note: {note}")
    echo.note(f"{'Going on with' if going_on else 'Training into'} {folder.path}")
    _run(Loop(task, state, output, echo, stop), output, state)
    if not processes.main:
        return None
    (folder.path / PREVIOUS).unlink(missing_ok=True)
    return TrainResult(
        folder.path, folder.path / WEIGHTS, state.total_step, state.seconds, dict(state.best.metrics)
    )


def _run(loop: Loop, output: RunOutput, state: TrainingState) -> None:
    """Run the loop and leave a manifest that says how it ended."""
    try:
        output.note_status("running", state)
        loop.run()
        output.finish(state)
    except KeyboardInterrupt as interrupt:
        output.note_status("interrupted", state, str(interrupt))
        raise
    except Exception as error:
        output.note_status("failed", state, f"{type(error).__name__}: {error}")
        raise
    finally:
        output.close()


def _restore(folder: RunFolder, prepared: Prepared, state: TrainingState, echo: Echo) -> None:
    saved = load_checkpoint(folder.path)
    changed = differences(saved["identity"], prepared.identity)
    if changed:
        lines = "\n".join(f"  {line}" for line in changed)
        raise SrbenchError(
            f"{folder.path} holds a run with other settings:\n{lines}\nRepeat the command that made it (see "
            "its manifest.json), or give --out FOLDER to start a new run."
        )
    state.load_dict(saved["state"])
    processes, streams = prepared.task.processes, saved["random"]
    if len(streams) == processes.world:
        rng.restore(streams[processes.rank])
        return
    rng.seed_streams(state.total_step, len(streams), processes.rank)
    echo.note(
        f"The run had {len(streams)} processes and goes on with {processes.world}: the same batches, "
        "but not the same bits."
    )


def _output(
    request: Request, folder: RunFolder, prepared: Prepared, state: TrainingState, threads: int
) -> RunOutput:
    task = prepared.task
    processes = task.processes
    manifest, log = None, None
    if processes.main:
        started = session(processes.device, processes.world, threads, task.autocast)
        manifest = RunManifest(folder.path, {**prepared.facts, "notes": list(prepared.notes)}, started)
        log = RunLog(folder.path, state.total_step, request.config.train.tensorboard)
        write_text(folder.path / CONFIG, f"# {shlex.join(sys.argv)}\n{request.config.to_yaml()}")
    return RunOutput(folder.path, prepared.identity, prepared.header, manifest, log, processes)


def _finished(folder: RunFolder) -> TrainResult:
    progress = (folder.manifest or {})["progress"]
    return TrainResult(
        folder.path,
        folder.path / WEIGHTS,
        progress["step"],
        progress["seconds"],
        progress["best"]["metrics"],
    )
