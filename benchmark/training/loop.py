"""The one training loop: executes the stages of any recipe and knows no model.

A step ends at a boundary, where everything that changes is in :class:`TrainingState` and equal on all
processes. Logging, validation, checkpoints and stopping happen there and only there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import torch

from srbench.config import TrainSettings
from srbench.datasets.degrade import Degradation
from srbench.errors import SrbenchError
from srbench.models import Recipe, SRModel
from srbench.models.recipe import Batch, Stage
from srbench.training.data import CropReader, RawBatch, make_pairs
from srbench.training.distributed import Processes
from srbench.training.echo import Echo, StepReport
from srbench.training.interrupt import StopRequest, TrainingInterrupted
from srbench.training.output import RunOutput
from srbench.training.prefetch import read_ahead
from srbench.training.stage import set_modes
from srbench.training.state import Best, TrainingState
from srbench.training.step import Meter, StageUpdater, Update, average_means
from srbench.training.validation import Validator, format_metrics


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


@dataclass(frozen=True)
class Intervals:
    """Steps between log rows, validations and checkpoints."""

    log: int
    validate: int
    checkpoint: int

    @staticmethod
    def of(settings: TrainSettings, total: int) -> Intervals:
        """As set, or in proportion to the run."""
        often = max(50, math.ceil(total / 20))
        return Intervals(
            settings.log_every or min(100, math.ceil(total / 100)),
            settings.validate_every or often,
            settings.checkpoint_every or min(2000, often),
        )


class Loop:
    """Runs a task from where its state stands to the end.

    Args:
        task: what to do.
        state: where it stands.
        output: takes logs, weights and checkpoints.
        echo: tells the user.
        stop: whether somebody asked the run to stop.
    """

    def __init__(
        self, task: Task, state: TrainingState, output: RunOutput, echo: Echo, stop: StopRequest
    ) -> None:
        self._task, self._state, self._output = task, state, output
        self._echo, self._stop = echo, stop
        self._total = task.recipe.iterations
        self._every = Intervals.of(task.settings, self._total)
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
            self._echo.note(
                f"Step {state.total_step}: gradient of {', '.join(update.bad)} not finite, update skipped."
            )
        else:
            self._meter.add(update.values)
        state.guard.after_step(update.bad, state.stage.name, state.step, update.losses)

    def _boundary(self) -> None:
        step = self._state.total_step
        last = step == self._total
        if last or step % self._every.log == 0:
            self._log()
        if last or step % self._every.validate == 0:
            self._validate()
        stopping = self._task.processes.any(self._stop.asked)
        if last or stopping or step % self._every.checkpoint == 0:
            self._output.checkpoint(self._state)
        if stopping and not last:
            raise TrainingInterrupted(self._output.folder, step, self._total)

    def _log(self) -> None:
        state = self._state
        means = average_means(self._meter.take(), self._task.processes)
        speed = self._images / self._busy if self._busy else 0.0
        self._busy, self._images = 0.0, 0
        self._output.scalars(
            state.total_step, "train", {**means, "images_per_second": speed}, stage=state.stage.name
        )
        loss = means.get("loss", math.nan)
        self._echo.step(StepReport(state.total_step, self._total, state.stage.name, loss, speed))

    def _validate(self) -> None:
        task, state = self._task, self._state
        if task.validator is None:
            return
        with state.final_weights():
            state.metrics = task.validator(task.model)
            better = state.best.beaten_by(state.metrics)
            if better:
                state.best = Best(state.total_step, dict(state.metrics))
                self._output.best(state)
            if task.processes.main:
                self._output.image(state.total_step, task.validator.preview(task.model))
        set_modes(state.network, state.stage)
        self._output.scalars(state.total_step, "val", state.metrics)
        mark = ", best so far" if better and state.total_step else ""
        self._echo.note(f"Step {state.total_step}: validation {format_metrics(state.metrics)}{mark}")
