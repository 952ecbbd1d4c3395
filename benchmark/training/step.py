"""One iteration of a stage: one generator update, then its discriminators' updates.

The order is that of BasicSR's ESRGAN: the generator learns against the discriminators as they stand (their
parameters frozen), then each discriminator learns from the same outputs, detached, that the generator has
just been judged by. A discriminator with several steps gets a fresh batch for each further one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from srbench.errors import SrbenchError
from srbench.models.recipe import Batch, Clip, LossInputs, Outputs
from srbench.training.distributed import Processes
from srbench.training.guard import Buffers
from srbench.training.optim import clip_gradients, set_rate
from srbench.training.stage import StageForward, set_modes
from srbench.training.state import DiscriminatorState, TrainingState

if TYPE_CHECKING:
    from srbench.config import TrainSettings


@dataclass
class Update:
    """What an iteration did: values for the log (scalars), and what could not be updated."""

    values: dict[str, Tensor | float] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)

    @property
    def losses(self) -> dict[str, Tensor]:
        """The loss values alone."""
        return {name: value for name, value in self.values.items() if isinstance(value, Tensor)}


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
        forward = StageForward(state.network, state.stage, scale, autocast)
        self._forward: Callable[[Tensor, Tensor], Outputs] = (
            torch.compile(forward) if settings.compile else forward
        )
        set_modes(state.network, state.stage)

    @property
    def batches_needed(self) -> int:
        """Batches an iteration takes."""
        return max([1, *(discriminator.spec.steps for discriminator in self._discriminators)])

    def __call__(self, batches: Sequence[Batch]) -> Update:
        """One iteration on ``batches_needed`` batches. Counts no step and judges no divergence."""
        update = Update()
        buffers = Buffers(
            self._state.network, *(discriminator.network for discriminator in self._discriminators)
        )
        outputs = self._update_generator(batches[0], update)
        if not update.bad:
            self._update_discriminators(batches, outputs, update)
        if update.bad:
            buffers.restore()
        for module in (
            self._state.network,
            *(discriminator.network for discriminator in self._discriminators),
        ):
            self._processes.copy_buffers(module)
        if self._state.ema and self._state.stage.ema and "generator" not in update.bad:
            self._state.ema.update(self._state.network, self._state.stage.ema)
        return update

    def _update_generator(self, batch: Batch, update: Update) -> Outputs:
        state, stage = self._state, self._state.stage
        rate = set_rate(state.optimiser, stage.optimiser, stage.schedule, state.progress.fraction)
        for discriminator in self._discriminators:
            discriminator.freeze(True)
        outputs = self._forward(batch.lr, batch.hr)
        loss = self._loss(LossInputs(batch, outputs, self._discriminator_networks()), update)
        update.values.update({"loss": loss.detach(), "lr": rate})
        self._apply("generator", loss, state.parameters, state.optimiser, stage.clip, rate, update)
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
            active = [
                discriminator for discriminator in self._discriminators if draw < discriminator.spec.steps
            ]
            if draw:
                with torch.no_grad():
                    outputs = self._forward(batch.lr, batch.hr)
            for discriminator in active:
                self._update_discriminator(
                    discriminator, LossInputs(batch, outputs, self._discriminator_networks()), update
                )

    def _update_discriminator(
        self, discriminator: DiscriminatorState, inputs: LossInputs, update: Update
    ) -> None:
        spec = discriminator.spec
        rate = set_rate(discriminator.optimiser, spec.optimiser, spec.schedule, self._state.progress.fraction)
        discriminator.freeze(False)
        loss = _scalar(spec.loss(discriminator.network, inputs), f"loss of discriminator {spec.name!r}")
        update.values[f"discriminator/{spec.name}"] = loss.detach()
        self._apply(
            spec.name, loss, discriminator.parameters, discriminator.optimiser, spec.clip, rate, update
        )
        discriminator.freeze(True)

    def _apply(
        self,
        name: str,
        loss: Tensor,
        parameters: Sequence[nn.Parameter],
        optimiser: torch.optim.Optimizer,
        clip: Clip | None,
        rate: float,
        update: Update,
    ) -> None:
        """Backward, average, clip, step; a gradient that is not finite is dropped and noted instead."""
        loss.backward()  # type: ignore[no-untyped-call]
        self._processes.average_gradients(parameters)
        norm = clip_gradients(parameters, clip, rate)
        if bool(norm.isfinite()):
            optimiser.step()
            update.values[f"gradient/{name}"] = norm
        else:
            update.bad.append(name)
        optimiser.zero_grad(set_to_none=True)

    def _discriminator_networks(self) -> Mapping[str, nn.Module]:
        return {discriminator.spec.name: discriminator.network for discriminator in self._discriminators}


class Meter:
    """Means of logged values since the last reset, without waiting for the device at every step."""

    def __init__(self) -> None:
        self._sums: dict[str, Any] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor | float]) -> None:
        """Take in an iteration's values."""
        for name, value in values.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """The means, and start again."""
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means


def average_means(means: Mapping[str, float], processes: Processes) -> dict[str, float]:
    """The mean over the processes of values that all of them have."""
    rows: Iterable[Mapping[str, float]] = processes.gather(dict(means))
    collected = list(rows)
    shared = [name for name in means if all(name in row for row in collected)]
    return {name: sum(row[name] for row in collected) / len(collected) for name in shared}


def _scalar(value: Tensor, what: str) -> Tensor:
    if value.ndim:
        raise SrbenchError(
            f"The {what} gave a tensor of shape {tuple(value.shape)}; a loss is a scalar, use .mean()."
        )
    return value
