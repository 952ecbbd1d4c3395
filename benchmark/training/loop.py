"""The one training loop: executes the stages of any recipe and knows no model.

A step ends at a boundary, where everything that changes is in :class:`TrainingState` and equal on all
processes. Logging, validation, checkpoints and stopping happen there and only there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from srbench.config import TrainSettings
from srbench.datasets.degrade import Degradation
from srbench.models import Recipe, SRModel
from srbench.models.recipe import Batch, Clip, LossInputs, Outputs, Stage
from srbench.training.data import CropReader, RawBatch, make_pairs, read_ahead
from srbench.training.distributed import Processes
from srbench.training.output import RunOutput
from srbench.training.signals import StopRequest, TrainingInterrupted
from srbench.training.stage import StageForward, clip_gradients, set_lr, set_modes
from srbench.training.state import Best, Buffers, TrainingState
from srbench.training.validation import Validator, format_metrics
from srbench.utils.errors import SrbenchError
from srbench.utils.progress import ProgressCallback, ProgressEvent


@dataclass
class Update:
    """What an iteration did: values for the log (scalars), and what could not be updated."""

    values: dict[str, Tensor | float] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)


class StageUpdater:
    """Performs the iterations of the state's present stage.

    Args:
        state: what is updated.
        scale: magnification.
        settings: compile, amp.
        autocast: whether the forward pass runs in bfloat16.
        processes: those that share the batch.
    """

    def __init__(
        self, state: TrainingState, scale: int, settings: TrainSettings, autocast: bool, processes: Processes
    ) -> None:
        self._state = state
        self._processes = processes
        self._discriminators = state.stage_discriminators()
        self._networks = {entry.spec.name: entry.network for entry in self._discriminators}
        forward = StageForward(state.network, state.stage, scale, autocast)
        self._forward: Callable[[Tensor, Tensor], Outputs] = (
            torch.compile(forward) if settings.compile else forward
        )
        set_modes(state.network, state.stage)

    @property
    def batches_needed(self) -> int:
        """Batches an iteration takes."""
        return max([1, *(learner.spec.steps for learner in self._discriminators)])

    def __call__(self, batches: Sequence[Batch]) -> Update:
        """One iteration on ``batches_needed`` batches. Counts no step and judges no divergence."""
        update = Update()
        networks = [self._state.network, *self._networks.values()]
        buffers = Buffers(*networks)
        outputs = self._update_generator(batches[0], update)
        if not update.bad:
            self._update_discriminators(batches, outputs, update)
        if update.bad:
            buffers.restore()
        for network in networks:
            self._processes.copy_buffers(network)
        if self._state.ema and self._state.stage.ema and "generator" not in update.bad:
            self._state.ema.update(self._state.network, self._state.stage.ema)
        return update

    def _update_generator(self, batch: Batch, update: Update) -> Outputs:
        state, stage = self._state, self._state.stage
        lr = set_lr(state.optimiser, stage.optimiser, stage.schedule, state.progress.fraction)
        for learner in self._discriminators:
            learner.freeze(True)
        outputs = self._forward(batch.lr, batch.hr)
        loss = self._loss(LossInputs(batch, outputs, self._networks), update)
        update.values.update({"loss": loss.detach(), "lr": lr})
        self._apply("generator", loss, state.parameters, state.optimiser, stage.clip, lr, update)
        return {name: value.detach() for name, value in outputs.items()}

    def _loss(self, inputs: LossInputs, update: Update) -> Tensor:
        """The weighted sum; a term whose weight is 0 is not computed."""
        stage = self._state.stage
        total: Tensor | None = None
        for term in stage.terms:
            weight = term.weight_at(self._state.progress)
            if weight == 0.0:
                continue
            value = _scalar(term.loss(inputs), f"loss term {term.name!r} of stage {stage.name!r}")
            update.values[f"loss/{term.name}"] = value.detach()
            total = weight * value if total is None else total + weight * value
        if total is None or not total.requires_grad:
            raise SrbenchError(
                f"Stage {stage.name!r} has nothing to learn from at step {self._state.step}: no loss term "
                "with a weight other than 0 depends on the parameters it trains."
            )
        return total

    def _update_discriminators(self, batches: Sequence[Batch], outputs: Outputs, update: Update) -> None:
        for draw, batch in enumerate(batches):
            if draw:
                with torch.no_grad():
                    outputs = self._forward(batch.lr, batch.hr)
            inputs = LossInputs(batch, outputs, self._networks)
            for learner in self._discriminators:
                spec = learner.spec
                if draw >= spec.steps:
                    continue
                lr = set_lr(learner.optimiser, spec.optimiser, spec.schedule, self._state.progress.fraction)
                learner.freeze(False)
                loss = _scalar(spec.loss(learner.network, inputs), f"loss of discriminator {spec.name!r}")
                update.values[f"discriminator/{spec.name}"] = loss.detach()
                self._apply(spec.name, loss, learner.parameters, learner.optimiser, spec.clip, lr, update)
                learner.freeze(True)

    def _apply(
        self,
        name: str,
        loss: Tensor,
        parameters: Sequence[nn.Parameter],
        optimiser: torch.optim.Optimizer,
        clip: Clip | None,
        lr: float,
        update: Update,
    ) -> None:
        """Backward, average, clip, step; a gradient that is not finite is dropped and noted instead."""
        loss.backward()  # type: ignore[no-untyped-call]
        self._processes.average_gradients(parameters)
        norm = clip_gradients(parameters, clip, lr)
        if bool(norm.isfinite()):
            optimiser.step()
            update.values[f"gradient/{name}"] = norm
        else:
            update.bad.append(name)
        optimiser.zero_grad(set_to_none=True)


class Meter:
    """Means of logged values since the last reset, without waiting for the device at every step."""

    def __init__(self) -> None:
        self._sums: dict[str, Any] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor | float]) -> None:
        """Count an iteration's values."""
        for name, value in values.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def means_and_reset(self) -> dict[str, float]:
        """Mean of each value since the last call."""
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means


def average_means(means: Mapping[str, float], processes: Processes) -> dict[str, float]:
    """The mean over the processes of values that all of them have."""
    rows: list[dict[str, float]] = processes.gather(dict(means))
    shared = [name for name in means if all(name in row for row in rows)]
    return {name: sum(row[name] for row in rows) / len(rows) for name in shared}


def _scalar(value: Tensor, what: str) -> Tensor:
    if value.ndim:
        raise SrbenchError(
            f"The {what} gave a tensor of shape {tuple(value.shape)}; a loss is a scalar, use .mean()."
        )
    return value


@dataclass(frozen=True)
class Task:
    """What is trained, on what: nothing in here changes while it runs.

    ``validator`` is None where the dataset has no validation images.
    """

    model: SRModel
    recipe: Recipe
    reader: CropReader
    degradation: Degradation
    validator: Validator | None
    settings: TrainSettings
    autocast: bool
    processes: Processes


class Loop:
    """Runs a task from where its state stands to the end.

    Args:
        task: what to do.
        state: where it stands.
        output: takes logs, weights and checkpoints.
        progress: shows the run to its user.
        stop: whether somebody asked the run to stop.
    """

    def __init__(
        self,
        task: Task,
        state: TrainingState,
        output: RunOutput,
        progress: ProgressCallback,
        stop: StopRequest,
    ) -> None:
        self._task, self._state, self._output = task, state, output
        self._progress, self._stop = progress, stop
        self._total = task.recipe.iterations
        often = max(50, math.ceil(self._total / 20))
        self._log_every = task.settings.log_every or min(100, math.ceil(self._total / 100))
        self._validate_every = task.settings.validate_every or often
        self._checkpoint_every = task.settings.checkpoint_every or min(2000, often)
        self._meter = Meter()
        self._busy = 0.0
        self._images = 0

    def run(self) -> None:
        """All stages that are left.

        Raises:
            TrainingInterrupted: somebody asked to stop; a checkpoint was saved.
            SrbenchError: training diverged, memory or disk ran out.
        """
        if self._state.total_step == 0:
            self._validate()
        while True:
            self._run_stage()
            if self._state.stage_index + 1 == len(self._task.recipe.stages):
                return
            self._state.begin_stage(self._state.stage_index + 1)

    def _run_stage(self) -> None:
        task, state = self._task, self._state
        updater = StageUpdater(state, task.model.scale, task.settings, task.autocast, task.processes)
        steps = range(state.total_step, state.total_step + state.stage.iterations - state.step)
        read = self._reader(state.stage, updater.batches_needed)
        with closing(read_ahead(read, steps, task.settings.prefetch)) as raw_batches:
            for raw in raw_batches:
                self._iterate(updater, raw)
                self._boundary()

    def _reader(self, stage: Stage, draws: int) -> Callable[[int], list[RawBatch]]:
        task, processes = self._task, self._task.processes
        pin = processes.device.type == "cuda"

        def read(step: int) -> list[RawBatch]:
            raw = [
                task.reader.read(step, stage.batch, stage.patch, draw, processes.rank, processes.world)
                for draw in range(draws)
            ]
            return [batch.pinned() for batch in raw] if pin else raw

        return read

    def _iterate(self, updater: StageUpdater, raw: Sequence[RawBatch]) -> None:
        state = self._state
        start = time.perf_counter()
        try:
            update = updater([self._pairs(batch) for batch in raw])
        except torch.cuda.OutOfMemoryError as error:
            raise SrbenchError(
                f"The GPU has too little memory for stage {state.stage.name!r} (batch {state.stage.batch}, "
                f"patch {state.stage.patch}): use a smaller one, --set stages.{state.stage.name}.batch=N."
            ) from error
        self._busy += time.perf_counter() - start
        self._images += state.stage.batch
        state.step += 1
        state.total_step += 1
        self._judge(update)

    def _pairs(self, raw: RawBatch) -> Batch:
        like = next(self._task.model.network.parameters())
        batch = make_pairs(raw, self._task.degradation, like, self._task.model.channels)
        if not self._task.settings.channels_last:
            return batch
        last = torch.channels_last
        return replace(
            batch, lr=batch.lr.contiguous(memory_format=last), hr=batch.hr.contiguous(memory_format=last)
        )

    def _judge(self, update: Update) -> None:
        state = self._state
        if update.bad:
            self._progress(
                f"Step {state.total_step}: gradient of {', '.join(update.bad)} not finite, update skipped."
            )
        else:
            self._meter.add(update.values)
        losses = {name: value for name, value in update.values.items() if isinstance(value, Tensor)}
        state.guard.after_step(update.bad, state.stage.name, state.step, losses)

    def _boundary(self) -> None:
        step = self._state.total_step
        last = step == self._total
        if last or step % self._log_every == 0:
            self._log()
        if last or step % self._validate_every == 0:
            self._validate()
        stopping = self._task.processes.any(self._stop.requested)
        if last or stopping or step % self._checkpoint_every == 0:
            self._output.checkpoint(self._state)
        if stopping and not last:
            raise TrainingInterrupted(self._output.folder, step, self._total)

    def _log(self) -> None:
        state = self._state
        means = average_means(self._meter.means_and_reset(), self._task.processes)
        speed = self._images / self._busy if self._busy else 0.0
        self._busy, self._images = 0.0, 0
        self._output.scalars(
            state.total_step, "train", {**means, "images_per_second": speed}, stage=state.stage.name
        )
        detail = f"{state.stage.name}, loss {means.get('loss', math.nan):.4g}, {speed:.1f} images/s"
        self._progress(ProgressEvent("training", state.total_step, self._total, "steps", detail))

    def _validate(self) -> None:
        task, state = self._task, self._state
        if task.validator is None:
            return
        with state.final_weights():
            state.metrics = task.validator(task.model)
            candidate = Best(state.total_step, dict(state.metrics))
            better = candidate.improves_on(state.best)
            if better:
                state.best = candidate
                self._output.best(state)
            if task.processes.main:
                self._output.image(state.total_step, task.validator.preview(task.model))
        set_modes(state.network, state.stage)
        self._output.scalars(state.total_step, "val", state.metrics)
        mark = ", best so far" if better and state.total_step else ""
        self._progress(f"Step {state.total_step}: validation {format_metrics(state.metrics)}{mark}")
