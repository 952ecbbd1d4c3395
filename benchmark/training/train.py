"""``srbench.train``: one call trains one model, or goes on with a run that was interrupted."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from srbench import datasets, models
from srbench.config import StageSettings, TrainConfig, TrainingBudget, TrainSettings, apply, for_pairs
from srbench.datasets import degrade
from srbench.datasets.base import Micrograph, MicrographSet
from srbench.models import ModelCard, ModelError, Recipe, SRModel
from srbench.training import reproducibility
from srbench.training.checkpoint import CURRENT, PREVIOUS, load_checkpoint
from srbench.training.compute import LAPTOP_MULTIPLY_ADDS, within
from srbench.training.crops import DevicePixels, MappedPixels, PixelSource, belongs_on_device, bytes_needed
from srbench.training.data import CropReader, large_enough
from srbench.training.distributed import Processes, join
from srbench.training.logs import RunLog
from srbench.training.loop import Loop, Task
from srbench.training.manifest import RunManifest, describe, differences, session
from srbench.training.output import RunOutput, progress_of
from srbench.training.reproducibility import repeatable, sensible_threads
from srbench.training.run_folder import CONFIG, MANIFEST, RunFolder, run_folder_name
from srbench.training.signals import StopRequest, stop_requests
from srbench.training.stage import check_recipe, move_loss_modules
from srbench.training.start import Start, discriminators_of, find_start, last_stage, load_start
from srbench.training.state import Best, NonFiniteGuard, TrainingState
from srbench.training.trial import check_patches, largest_patch
from srbench.training.validation import Validator
from srbench.utils.errors import SrbenchError
from srbench.utils.files import write_text
from srbench.utils.memory import kept_memory
from srbench.utils.paths import runs_folder
from srbench.utils.processes import refuse_while_imported
from srbench.utils.progress import ProgressCallback, count_of, human_bytes, progress_reporter, silent
from srbench.utils.typed_json import typed
from srbench.version import __version__
from srbench.weights import WeightsHeader
from srbench.weights.find import WEIGHTS
from srbench.weights.imagenet import pretrained

_INITIAL_STREAM = 0
_TRAINING_STREAM = 1
_HARMLESS = {"checkpoint_every", "log_every", "pixels", "prefetch", "threads", "tensorboard"}
"""Settings that do not change what is learned: a resumed run may differ in them."""

_SHOWN_BY_RECIPE = set(StageSettings.model_fields)
"""Settings whose effect is described with the recipe."""


@dataclass(frozen=True)
class TrainResult:
    """A finished run.

    Attributes:
        folder: of the run.
        weights: the final weights (averaged ones where the recipe averages).
        iterations: generator updates done.
        seconds: wall time, earlier sessions of a resumed run included.
        config: what was trained, the variant filled in.
        best: metrics of the best validation (``psnr`` in dB, ``gain_over_bicubic`` in dB); empty where the
            dataset has no validation images. Its weights are ``best.safetensors`` in the folder.
    """

    folder: Path
    weights: Path
    iterations: int
    seconds: float
    config: TrainConfig
    best: Mapping[str, float] = field(default_factory=dict)


def train(
    model: str | None = None,
    *,
    dataset: str | os.PathLike[str] | None = None,
    scale: int | None = None,
    variant: str | None = None,
    channels: int | None = None,
    budget: TrainingBudget | None = None,
    seed: int | None = None,
    degradation: str | None = None,
    reading: datasets.ReadingOptions | None = None,
    start: str | os.PathLike[str] | None = None,
    plan_sha256: str | None = None,
    config: str | os.PathLike[str] | TrainConfig | None = None,
    overrides: Sequence[str] = (),
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    device: str = "auto",
    progress: ProgressCallback | None = None,
) -> TrainResult | None:
    """Train a model on a dataset as its recipe says.

    Under ``torchrun`` the processes share each batch. Ctrl-C and SIGTERM save a checkpoint at the end of the
    step. A resumed run ends with the weights, bit for bit, that it would have had uninterrupted (same machine
    kind, versions, threads and number of processes).

    Args:
        model: this and the arguments up to ``plan_sha256`` are the fields of
            :class:`~srbench.config.TrainConfig`; what is None is taken from ``config``, else its default.
        dataset: see there.
        scale: see there.
        variant: see there.
        channels: see there.
        budget: see there.
        seed: see there.
        degradation: see there.
        reading: see there.
        start: see there.
        plan_sha256: see there.
        config: a YAML file with settings, or all of them, beside which none of the others is taken.
        overrides: settings ``a.b=c`` over the file.
        out: folder of the run; one below the srbench home when None.
        resume: go on with an interrupted run; starts one where there is none, does nothing where it is
            finished.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        progress: takes progress and messages; shown on the terminal when None.

    Returns:
        The result; None on all processes of a distributed run but the main one.

    Raises:
        SrbenchError, ModelError, DatasetError: something the caller can mend; the message says how.
        TrainingInterrupted: stopped from outside, after saving.
    """
    refuse_while_imported("train")
    options = {
        "model": model,
        "dataset": None if dataset is None else os.fspath(dataset),
        "scale": scale,
        "variant": variant,
        "channels": channels,
        "budget": budget,
        "seed": seed,
        "degradation": degradation,
        "reading": reading,
        "start": None if start is None else os.fspath(start),
        "plan_sha256": plan_sha256,
    }
    chosen, parent = check_config(
        config if isinstance(config, TrainConfig) else TrainConfig.of(options, config, overrides)
    )
    folder = RunFolder(Path(out) if out is not None else runs_folder() / folder_name(chosen, parent))
    with ExitStack() as stack:
        processes = stack.enter_context(join(device))
        stack.enter_context(reproducibility.preserved())
        threads = chosen.train.threads or sensible_threads(processes.local_world)
        stack.enter_context(repeatable(chosen.train.deterministic, threads))
        stop = stack.enter_context(stop_requests())
        if processes.device.type == "cpu":
            stack.enter_context(kept_memory())
        if not processes.main:
            progress = silent
        elif progress is None:
            progress = stack.enter_context(progress_reporter())
        state = processes.from_main(folder.check(resume) if processes.main else None)
        if state == "complete":
            progress(f"{folder.path} holds this run, finished: nothing to do.")
            if not processes.main:
                return None
            # What a process left that was killed when all was done; a folder that cannot be written has none.
            with suppress(SrbenchError), folder.lock():
                return _finished(folder, chosen)
            return _finished(folder, chosen)
        prepared = prepare(chosen, processes, progress, parent)
        if processes.main:
            stack.enter_context(folder.lock(prepared.space_needed))
        # Another process may have trained here since, and is done now.
        state = processes.from_main(folder.check(resume) if processes.main else None)
        if state == "complete":
            progress(f"{folder.path} holds this run, finished by another process: nothing to do.")
            return _finished(folder, chosen) if processes.main else None
        going_on = state == "unfinished" and (folder.path / CURRENT).is_file()
        return _execute(chosen, folder, going_on, prepared, threads, progress, stop)


def check_config(config: TrainConfig) -> tuple[TrainConfig, Start | None]:
    """The configuration with its variant filled in, and what it starts from.

    Raises:
        SrbenchError, ModelError, DatasetError: it cannot train; says why.
    """
    card = models.card(config.model)
    if not card.trainable:
        raise ModelError(f"{card.name} has no parameters to train; evaluate it directly.")
    is_said = config.model_fields_set >= {"scale", "degradation"}
    if not is_said and datasets.source(config.dataset).card.pairs:
        config = for_pairs(config, datasets.open(config.dataset, config.reading).recorded_scale)
    start = None
    if config.start is not None:
        start = find_start(config)
        scale = config.scale if "scale" in config.model_fields_set else start.network.scale
        of_weights = {"start": str(start.path), "scale": scale, "variant": start.network.variant}
        config = config.model_copy(update=of_weights)
    degrade.check_task(degrade.get(config.degradation), config.scale)
    counts = [config.train.iterations, *(stage.iterations for stage in config.stages.values())]
    if config.budget == "laptop" and any(counts):
        raise SrbenchError(
            "The budget laptop decides the iterations by their multiply-adds; leave iterations out, or "
            "choose --budget short."
        )
    filled = {
        "model": card.name,
        "variant": config.variant or card.variants[0],
        "dataset": datasets.full_name(config.dataset),
    }
    return config.model_copy(update=filled), start


def folder_name(config: TrainConfig, start: Start | None = None) -> str:
    """What the folder of a run is called by default; ``config`` as :func:`check_config` gives it."""
    return run_folder_name(
        config.model,
        str(config.variant),
        config.dataset,
        config.scale,
        config.budget,
        config.seed,
        # What a name may leave out or say twice (defaults, the version) makes no other folder.
        degradation=degrade.get(config.degradation).id.rpartition("@")[0],
        channels=config.channels,
        start=start.sha256 if start else "",
    )


@dataclass(frozen=True)
class Prepared:
    """A task with what is known of it.

    Attributes:
        task: to give to the loop.
        identity: plain values that a resumed run must agree with.
        header: of the weights it will make.
        facts: for the manifest.
        notes: for the user, and kept with the weights.
        remarks: on the data, for the user.
        discriminators: weights that discriminators start from.
    """

    task: Task
    identity: Mapping[str, Any]
    header: WeightsHeader
    facts: Mapping[str, Any]
    notes: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    discriminators: Mapping[str, Mapping[str, torch.Tensor]] = field(default_factory=dict)

    @property
    def space_needed(self) -> int:
        """Bytes on disk, roughly: three checkpoints (weights, average, two moments), two weights files."""
        state = self.task.model.network.state_dict().values()
        weights: int = sum(tensor.numel() * tensor.element_size() for tensor in state)
        return (3 * 4 + 2) * weights


def prepare(
    config: TrainConfig, processes: Processes, progress: ProgressCallback, start: Start | None = None
) -> Prepared:
    """Build everything and check it, before anything is written.

    Args:
        config: of the run, its variant filled in.
        processes: that will train.
        progress: told of what takes long.
        start: what it starts from, if anything.

    Raises:
        SrbenchError, ModelError, DatasetError: what is wrong and what to do.
    """
    micrographs = datasets.open(config.dataset, config.reading, progress)
    channels = choose_channels(config.channels, micrographs.card.channels, models.card(config.model))
    if start is not None and config.channels is None:
        channels = start.network.channels
    model, published, notes = _build(config, channels, start)
    recipe = apply(config, published)
    check_recipe(recipe, config.scale, processes.world)
    discriminators, of_discriminators = discriminators_of(start, recipe) if start else ({}, [])
    degradation = degrade.get(config.degradation)
    images = micrographs.split("train")
    if not images:
        groups = count_of(len({image.group for image in micrographs.images}), "group")
        raise SrbenchError(
            f"{micrographs.name} has no training images ({len(micrographs)} images in {groups}); train on "
            "another dataset and evaluate on this one, or name other groups in the groups.csv of your folder."
        )
    patch = max(stage.patch for stage in recipe.stages)
    suited, small = large_enough(images, patch, config.scale)
    if not suited:
        side = max(min(image.height, image.width) for image in images)
        smaller = largest_patch(model, recipe, published, side)
        # What is set for a stage goes before train.patch.
        set_apart = [f"stages.{name}" for name, settings in config.stages.items() if settings.patch]
        words = " ".join(f"--set {name}.patch={smaller}" for name in ("train", *set_apart))
        raise SrbenchError(
            f"No training image holds a crop of {patch} px; the largest has a short side of {side} px. "
            + (f"Use smaller crops: {words}." if smaller else "Train on larger images.")
        )
    # After the patches are known to be no larger than the images, before any pixel is read.
    check_patches(model, recipe, published)
    multiply_adds = 0
    if config.budget == "laptop":
        recipe, multiply_adds = within(recipe, model, LAPTOP_MULTIPLY_ADDS)
    layout = torch.channels_last if config.train.channels_last else torch.preserve_format
    model.network.to(processes.device, memory_format=layout)  # type: ignore[call-overload]
    move_loss_modules(recipe, processes.device)
    validator = _validator(config, micrographs, processes)
    remarks = micrographs.remarks()
    notes += [*of_discriminators, *recipe.notes]
    if small:
        name, reason = next(iter(small.items()))
        notes.append(f"{count_of(len(small), 'training image')} left out: {name} {reason}.")
    if validator is None:
        notes.append("The dataset has no validation images: nothing is validated, no best weights are kept.")
    source = _pixel_source(config, micrographs, suited, processes.device, progress)
    reader = CropReader(micrographs, suited, degradation, config.scale, config.seed, source)
    autocast = wants_autocast(config.train.amp, processes.device)
    reproducibility.seed_streams(_TRAINING_STREAM, config.seed, processes.rank)
    described = describe(recipe)
    card = micrographs.card
    return Prepared(
        task=Task(model, recipe, reader, degradation, validator, config.train, autocast, processes),
        identity={
            "model": config.model,
            "variant": config.variant,
            "scale": config.scale,
            "channels": channels,
            "dataset": config.dataset,
            "data": micrographs.fingerprint,
            "degradation": degradation.id,
            "budget": config.budget,
            "seed": config.seed,
            "train": config.train.model_dump(exclude=_HARMLESS | _SHOWN_BY_RECIPE),
            "recipe": described,
            **({"start": start.sha256} if start else {}),
        },
        header=WeightsHeader(
            model=config.model,
            variant=str(config.variant),
            scale=config.scale,
            channels=channels,
            dataset=config.dataset,
            seed=config.seed,
            budget=config.budget,
            data=micrographs.fingerprint,
            notes=tuple(notes),
            version=__version__,
            degradation=degradation.id,
            multiply_adds=multiply_adds,
            lineage=start.lineage if start else (),
        ),
        facts={
            "model": {
                "name": config.model,
                "title": model.card.title,
                "variant": config.variant,
                "scale": config.scale,
                "channels": channels,
                "parameters": sum(parameter.numel() for parameter in model.network.parameters()),
            },
            "dataset": {
                "name": config.dataset,
                "title": card.title,
                "kind": card.kind,
                "licence": card.licence,
                "terms": card.terms,
                "citation": card.citation,
                "channels": card.channels,
                "fingerprint": micrographs.fingerprint,
                "train_images": len(suited),
                "val_images": len(micrographs.split("val")),
                "skipped": {**micrographs.skipped, **small},
                "remarks": remarks,
            },
            "degradation": degradation.id,
            "degradation_settings": dict(degradation.settings),
            "seed": config.seed,
            "budget": config.budget,
            "multiply_adds": multiply_adds or None,
            "settings": config.model_dump(exclude_none=True, include={"train", "stages"}),
            **({"plan_sha256": config.plan_sha256} if config.plan_sha256 else {}),
            "recipe": described,
            "lineage": [asdict(ancestor) for ancestor in start.lineage] if start else [],
            "pixels": "device" if isinstance(source, DevicePixels) else "mapped",
        },
        notes=tuple(notes),
        remarks=tuple(remarks),
        discriminators=discriminators,
    )


def wants_autocast(amp: str, device: torch.device) -> bool:
    """Whether the forward pass runs in bfloat16.

    Raises:
        SrbenchError: requested on a GPU that has no bfloat16.
    """
    has_bf16 = device.type != "cuda" or torch.cuda.is_bf16_supported()
    if amp == "bf16" and not has_bf16:
        raise SrbenchError("This GPU has no bfloat16; use --set train.amp=none.")
    return amp == "bf16" or (amp == "auto" and device.type == "cuda" and has_bf16)


def choose_channels(requested: int | None, data: int, card: ModelCard) -> int:
    """Channels of the network: those requested, else those of the data where the model has them, else grey.

    Args:
        requested: by the caller; the model refuses what it does not offer.
        data: channels of the dataset.
        card: of the model.
    """
    if requested is not None:
        return requested
    return next((count for count in (data, 1) if count in card.channels), card.channels[0])


def _pixel_source(
    config: TrainConfig,
    micrographs: MicrographSet,
    images: Sequence[Micrograph],
    device: torch.device,
    progress: ProgressCallback,
) -> PixelSource:
    """The training pixels on the device where they fit, else crops from the memory maps."""
    needed = bytes_needed(images, config.scale)
    if belongs_on_device(config.train.pixels, needed, device):
        progress(f"Training pixels: {human_bytes(needed)} to {device}")
        return DevicePixels(micrographs, images, config.scale, device, progress)
    return MappedPixels(micrographs, images, config.scale, pinned=device.type == "cuda")


def _build(config: TrainConfig, channels: int, start: Start | None) -> tuple[SRModel, Recipe, list[str]]:
    """Network, recipe without the user's settings, and what to note of the start."""
    reproducibility.seed_streams(_INITIAL_STREAM, config.seed)
    model = models.create(config.model, scale=config.scale, channels=channels, variant=config.variant)
    budget = "short" if config.budget == "laptop" else config.budget
    recipe = model.recipe(budget, pretrained)
    if start is not None:
        recipe = last_stage(recipe)
    if recipe.initialise is not None:
        recipe.initialise(model.network)
    return model, recipe, load_start(start, model) if start else []


def _validator(config: TrainConfig, micrographs: MicrographSet, processes: Processes) -> Validator | None:
    images = [
        image for image in micrographs.split("val") if min(image.height, image.width) >= 4 * config.scale
    ]
    if not images:
        return None
    return Validator(
        micrographs,
        images,
        degrade.get(config.degradation),
        config.scale,
        config.train.validation_images,
        config.train.validation_patch,
        processes,
    )


def _execute(
    config: TrainConfig,
    folder: RunFolder,
    going_on: bool,
    prepared: Prepared,
    threads: int,
    progress: ProgressCallback,
    stop: StopRequest,
) -> TrainResult | None:
    task, processes = prepared.task, prepared.task.processes
    guard = NonFiniteGuard(config.train.bad_updates)
    state = TrainingState(task.model.network, task.recipe, config.seed, guard, prepared.discriminators)
    if going_on:
        _restore(folder, prepared, state, progress)
    manifest, log = None, None
    if processes.main:
        started = session(processes.device, processes.world, threads, task.autocast)
        manifest = RunManifest(folder.path, {**prepared.facts, "notes": list(prepared.notes)}, started)
        # Before any other file: it says whose folder this is, should the process be killed at this moment.
        manifest.write("running", progress_of(state))
        log = RunLog(folder.path, state.total_step, config.train.tensorboard)
        lineage = [f"start: {ancestor.described}" for ancestor in prepared.header.lineage]
        head = "".join(f"# {line}\n" for line in [shlex.join(sys.argv), *lineage])
        write_text(folder.path / CONFIG, f"{head}{config.to_yaml()}")
    output = RunOutput(folder.path, prepared.identity, prepared.header, manifest, log, processes)
    for note in (*prepared.remarks, *prepared.notes):
        progress(f"Note: {note}")
    progress(f"{'Going on with' if going_on else 'Training into'} {folder.path}")
    with _status_kept(output, state):
        Loop(task, state, output, progress, stop).run()
        output.finish(state)
    if not processes.main:
        return None
    return TrainResult(
        folder=folder.path,
        weights=folder.path / WEIGHTS,
        iterations=state.total_step,
        seconds=state.seconds,
        config=config,
        best=dict(state.best.metrics),
    )


@contextmanager
def _status_kept(output: RunOutput, state: TrainingState) -> Iterator[None]:
    """The manifest says that the run is running, and afterwards how it ended."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        output.note_status("interrupted", state, str(interrupt))
        raise
    except Exception as error:
        output.note_status("failed", state, f"{type(error).__name__}: {error}")
        raise
    finally:
        output.close()


def _restore(folder: RunFolder, prepared: Prepared, state: TrainingState, progress: ProgressCallback) -> None:
    saved = load_checkpoint(folder.path)
    try:
        _go_on(saved, folder, prepared, state, progress)
    except SrbenchError:
        raise
    except Exception as error:  # whoever wrote the file may have put anything anywhere
        raise SrbenchError(
            f"{folder.path / CURRENT} does not hold the state of this run ({type(error).__name__}: {error}). "
            f"Rename {PREVIOUS}, if there is one, to {CURRENT}, or give --out FOLDER to start a new run."
        ) from error


def _go_on(
    saved: Mapping[str, Any],
    folder: RunFolder,
    prepared: Prepared,
    state: TrainingState,
    progress: ProgressCallback,
) -> None:
    # Earlier versions kept the name of a folder as it was typed.
    identity = {**saved["identity"], "dataset": datasets.full_name(saved["identity"]["dataset"])}
    changed = differences(identity, prepared.identity)
    if changed:
        lines = "\n".join(f"  {line}" for line in changed)
        raise SrbenchError(
            f"{folder.path} holds a run with other settings:\n{lines}\nRepeat the command that made it (see "
            "its manifest.json), or give --out FOLDER to start a new run."
        )
    state.load_dict(saved["state"])
    processes, streams = prepared.task.processes, saved["random"]
    if len(streams) == processes.world:
        reproducibility.restore(streams[processes.rank])
        return
    reproducibility.seed_streams(state.total_step, len(streams), processes.rank)
    progress(
        f"The run had {len(streams)} processes and goes on with {processes.world}: the same batches, "
        "but not the same bits."
    )


def _finished(folder: RunFolder, config: TrainConfig) -> TrainResult:
    """The result of a run that has been finished before.

    Raises:
        SrbenchError: it was trained otherwise than ``config`` says, or its manifest is damaged.
    """
    _refuse_another(folder, config)
    try:
        reached = typed(_Reached, (folder.manifest or {})["progress"])
    except (ValueError, KeyError) as error:
        raise SrbenchError(
            f"{folder.path / MANIFEST} is damaged ({error}); train again with --out FOLDER, or delete it."
        ) from error
    return TrainResult(
        folder=folder.path,
        weights=folder.path / WEIGHTS,
        iterations=reached.step,
        seconds=reached.seconds,
        config=config,
        best=reached.best.metrics,
    )


def _refuse_another(folder: RunFolder, config: TrainConfig) -> None:
    """The user may have chosen the folder of a finished run, and its name says nothing of settings."""
    try:
        stored = typed(_StoredRun, folder.manifest or {})
        before = {
            "model": stored.model["name"],
            "variant": stored.model["variant"],
            "scale": stored.model["scale"],
            "dataset": datasets.full_name(stored.dataset["name"]),
            "degradation": stored.degradation,
            "budget": stored.budget,
            "seed": stored.seed,
            **_decisive(stored.settings.train, stored.settings.stages),
        }
    except (ValueError, KeyError):  # of a version that wrote something else: nothing can be said
        return
    names = {name: getattr(config, name) for name in before if name not in ("train", "stages")}
    now = {
        **names,
        "degradation": degrade.get(config.degradation).id,
        **_decisive(config.train, config.stages),
    }
    if changed := differences(before, now):
        lines = "\n".join(f"  {line}" for line in changed)
        raise SrbenchError(
            f"{folder.path} holds a finished run with other settings:\n{lines}\nGive --out FOLDER to train "
            "with these, or remove it."
        )


def _decisive(train: TrainSettings, stages: Mapping[str, StageSettings]) -> dict[str, Any]:
    """The settings that change what is learned."""
    return {
        "train": train.model_dump(exclude=_HARMLESS),
        "stages": {name: stage.model_dump() for name, stage in stages.items()},
    }


@dataclass(frozen=True)
class _Settings:
    """The settings in the manifest of a run."""

    train: TrainSettings = field(default_factory=TrainSettings)
    stages: Mapping[str, StageSettings] = field(default_factory=dict)


@dataclass(frozen=True)
class _StoredRun:
    """What the manifest of a run says of the training."""

    model: Mapping[str, Any]
    dataset: Mapping[str, Any]
    degradation: str
    budget: str
    seed: int
    settings: _Settings = field(default_factory=_Settings)


@dataclass(frozen=True)
class _Reached:
    """The progress in the manifest of a finished run."""

    step: int
    seconds: float
    best: Best
