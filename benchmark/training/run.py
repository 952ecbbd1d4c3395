"""``srbench.train``: one call trains one model, or goes on with a run that was interrupted."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from srbench import models
from srbench.config import RunConfig, load_config
from srbench.datasets import degrade
from srbench.errors import SrbenchError, unknown
from srbench.evaluation.jobs import check_task
from srbench.files import write_text
from srbench.home import runs_folder
from srbench.models import ModelError
from srbench.models.recipe import BUDGETS, Budget
from srbench.training import rng
from srbench.training.checkpoint import CURRENT, PREVIOUS, load_checkpoint
from srbench.training.describe import differences
from srbench.training.determinism import repeatable, sensible_threads
from srbench.training.distributed import Processes, join
from srbench.training.echo import Echo, Silent, terminal_echo
from srbench.training.folder import CONFIG, WEIGHTS, RunFolder, State, run_folder_name
from srbench.training.guard import Guard
from srbench.training.interrupt import StopRequest, stop_requests
from srbench.training.logs import RunLog
from srbench.training.loop import Loop
from srbench.training.manifest import RunManifest, session
from srbench.training.output import RunOutput
from srbench.training.setup import Prepared, Request, prepare
from srbench.training.state import TrainingState


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
