"""Everything that changes during a run, in one place: what a checkpoint saves is this, and nothing else."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from srbench.models.recipe import DiscriminatorSpec, Progress, Recipe, Stage
from srbench.training import reproducibility
from srbench.training.stage import build_optimiser, select_parameters
from srbench.utils.errors import SrbenchError


class AveragedWeights:
    """Exponential moving average of a network's state.

    Buffers are averaged too: the running statistics of batch normalisation belong to the weights they were
    gathered with, and a network that averages only its parameters is evaluated with statistics of another.
    The decay warms up as ``min(decay, (1 + n) / (10 + n))`` after ``n`` updates, so that a short run is not
    dominated by its initial weights.

    Args:
        network: the network to follow.
    """

    def __init__(self, network: nn.Module) -> None:
        self.updates = 0
        self.average = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, decay: float) -> None:
        """Take in the network's present state."""
        decay = min(decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        state = network.state_dict()
        real = [name for name, average in self.average.items() if average.is_floating_point()]
        # One call for all tensors: a network has hundreds of them, and each launch costs.
        torch._foreach_lerp_([self.average[name] for name in real], [state[name] for name in real], 1 - decay)
        for name in self.average.keys() - set(real):
            self.average[name].copy_(state[name])

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[None]:
        """The network holds the averaged weights inside, its own again afterwards."""
        before = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        _copy_into(network, self.average)
        try:
            yield
        finally:
            _copy_into(network, before)

    def state(self) -> dict[str, object]:
        """What a checkpoint keeps."""
        return {"updates": self.updates, "average": self.average}

    def load(self, state: Mapping[str, object]) -> None:
        """Take back what :meth:`state` gave."""
        saved = state["average"]
        assert isinstance(saved, Mapping)
        self.updates = int(str(state["updates"]))
        for name, tensor in self.average.items():
            tensor.copy_(saved[name])


@torch.no_grad()
def _copy_into(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    for name, tensor in network.state_dict().items():
        tensor.copy_(state[name])


class Buffers:
    """A module's floating-point buffers as they were, to undo what a non-finite forward pass did to them.

    Skipping the optimiser's step keeps the weights, but batch normalisation has taken the bad batch into its
    running statistics by then, and would carry NaN into every later validation.
    """

    def __init__(self, *modules: nn.Module) -> None:
        self._buffers = [
            buffer for module in modules for buffer in module.buffers() if buffer.is_floating_point()
        ]
        self._before = [buffer.clone() for buffer in self._buffers]

    @torch.no_grad()
    def restore(self) -> None:
        """Put the buffers back."""
        for buffer, before in zip(self._buffers, self._before, strict=True):
            buffer.copy_(before)


class NonFiniteGuard:
    """Counts updates skipped because a gradient was not finite, and ends a run that makes no other.

    Args:
        limit: steps with a skipped update, in a row, after which :meth:`after_step` raises.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.skipped = 0
        self.in_a_row = 0

    def after_step(self, bad: Sequence[str], stage: str, step: int, losses: Mapping[str, Tensor]) -> None:
        """Judge a step.

        Args:
            bad: what was not updated in it (``generator``, names of discriminators).
            stage: name of the stage.
            step: step within it.
            losses: the step's loss values, for the message.

        Raises:
            SrbenchError: too many bad steps in a row.
        """
        if not bad:
            self.in_a_row = 0
            return
        self.skipped += 1
        self.in_a_row += 1
        if self.in_a_row >= self.limit:
            values = ", ".join(f"{name} {float(value):.4g}" for name, value in losses.items())
            raise SrbenchError(
                f"Training diverged: in stage {stage!r}, up to step {step}, the gradient of "
                f"{', '.join(bad)} was not finite {self.in_a_row} times in a row (last losses: "
                f"{values}). The weights were left as they were. Train again with --out and a lower rate "
                f"(--set stages.{stage}.lr=...), with clipping (--set stages.{stage}.clip=norm:1) or without "
                "bf16 (--set train.amp=none)."
            )


_DISCRIMINATOR_STREAM = 2


@dataclass
class DiscriminatorState:
    """A discriminator at work: its specification, network, learning parameters and optimiser."""

    spec: DiscriminatorSpec
    network: nn.Module
    parameters: list[nn.Parameter]
    optimiser: torch.optim.Optimizer

    def to_dict(self) -> dict[str, Any]:
        """Tensors and plain values only."""
        return {"network": dict(self.network.state_dict()), "optimiser": self.optimiser.state_dict()}

    def freeze(self, frozen: bool) -> None:
        """Whether its parameters take gradients."""
        for parameter in self.parameters:
            parameter.requires_grad_(not frozen)


@dataclass(frozen=True)
class Best:
    """The best validation so far: the step it was made after and its metrics (empty before the first)."""

    step: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)

    def improves_on(self, other: Best) -> bool:
        """Whether its PSNR is higher."""
        return self.metrics.get("psnr", -math.inf) > other.metrics.get("psnr", -math.inf)


class TrainingState:
    """The networks, optimisers and counters of a run.

    A stage has an optimiser of its own. A discriminator named in several stages goes on with its network, and
    with its optimiser as long as its specification is the same. Averaged weights go on from stage to stage
    while each asks for them; a stage that does not drops them.

    Args:
        network: the generator on its device.
        recipe: what will be executed.
        seed: of the run; discriminators are initialised from it alone.
        guard: counts skipped updates.
        discriminators: weights that discriminators start from, by their names.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        seed: int,
        guard: NonFiniteGuard,
        discriminators: Mapping[str, Mapping[str, Tensor]] | None = None,
    ) -> None:
        self.network = network
        self.guard = guard
        self.discriminators: dict[str, DiscriminatorState] = {}
        self.ema: AveragedWeights | None = None
        self.stage_index = 0
        self.step = 0
        self.total_step = 0
        self.metrics: dict[str, float] = {}
        self.best = Best()
        self._seconds_before, self._started = 0.0, time.monotonic()
        self._recipe = recipe
        self._seed = seed
        self._initial = discriminators or {}
        self._device = next(network.parameters()).device
        self._learnable = frozenset(
            name for name, parameter in network.named_parameters() if parameter.requires_grad
        )
        self.begin_stage(0)

    @property
    def stage(self) -> Stage:
        """The stage being executed."""
        return self._recipe.stages[self.stage_index]

    @property
    def progress(self) -> Progress:
        """Where the stage stands, for schedules."""
        return Progress(self.step, self.stage.iterations, self.metrics)

    @property
    def total(self) -> int:
        """Generator updates of the whole run."""
        return self._recipe.iterations

    @property
    def seconds(self) -> float:
        """Wall time spent on the run, earlier sessions included."""
        return self._seconds_before + time.monotonic() - self._started

    @contextmanager
    def final_weights(self) -> Iterator[None]:
        """Inside, the network holds the weights that the run would give if it ended now."""
        if self.ema is None:
            yield
            return
        with self.ema.applied(self.network):
            yield

    def begin_stage(self, index: int) -> None:
        """Enter a stage: make its optimiser, discriminators and averaged weights, freeze the rest."""
        self.stage_index, self.step = index, 0
        stage = self.stage
        self.parameters = select_parameters(self.network, stage, self._learnable)
        self.optimiser = build_optimiser(stage.optimiser, self.parameters)
        for position, discriminator in enumerate(stage.discriminators):
            self.discriminators[discriminator.name] = self._discriminator(discriminator, index, position)
        if stage.ema is None:
            self.ema = None
        elif self.ema is None:
            self.ema = AveragedWeights(self.network)

    def stage_discriminators(self) -> list[DiscriminatorState]:
        """The discriminators of this stage."""
        return [self.discriminators[discriminator.name] for discriminator in self.stage.discriminators]

    def to_dict(self) -> dict[str, Any]:
        """Tensors and plain values only."""
        return {
            "stage": self.stage_index,
            "step": self.step,
            "total_step": self.total_step,
            "metrics": dict(self.metrics),
            "best": {"step": self.best.step, "metrics": dict(self.best.metrics)},
            "seconds": self.seconds,
            "skipped": self.guard.skipped,
            "skipped_in_a_row": self.guard.in_a_row,
            "network": dict(self.network.state_dict()),
            "optimiser": self.optimiser.state_dict(),
            "ema": self.ema.state() if self.ema else None,
            # The key has kept its name, so that runs begun before go on.
            "critics": {name: discriminator.to_dict() for name, discriminator in self.discriminators.items()},
        }

    def load_dict(self, saved: Mapping[str, Any]) -> None:
        """Go to the point where :meth:`to_dict` was called, walking through the stages before it."""
        for index in range(1, saved["stage"] + 1):
            self.begin_stage(index)
        self.step, self.total_step = saved["step"], saved["total_step"]
        self.metrics = dict(saved["metrics"])
        self.best = Best(**saved["best"])
        self._seconds_before, self._started = saved["seconds"], time.monotonic()
        self.guard.skipped, self.guard.in_a_row = saved["skipped"], saved["skipped_in_a_row"]
        self.network.load_state_dict(saved["network"])
        self.optimiser.load_state_dict(saved["optimiser"])
        if self.ema:
            self.ema.load(saved["ema"])
        # Discriminators named "critic" in earlier versions go on under today's name.
        stored = {
            name.replace("critic", "discriminator"): saved["critics"][name] for name in saved["critics"]
        }
        for name, discriminator in self.discriminators.items():
            content = stored[name.replace("critic", "discriminator")]
            discriminator.network.load_state_dict(content["network"])
            discriminator.optimiser.load_state_dict(content["optimiser"])

    def _discriminator(self, spec: DiscriminatorSpec, stage: int, position: int) -> DiscriminatorState:
        existing = self.discriminators.get(spec.name)
        if existing is not None:
            same = existing.spec.optimiser == spec.optimiser
            optimiser = existing.optimiser if same else build_optimiser(spec.optimiser, existing.parameters)
            return DiscriminatorState(spec, existing.network, existing.parameters, optimiser)
        # Its own stream: the same discriminator in every process, whatever was drawn before.
        with reproducibility.preserved():
            reproducibility.seed_streams(_DISCRIMINATOR_STREAM, self._seed, stage, position)
            network = spec.build()
        if spec.name in self._initial:
            network.load_state_dict(self._initial[spec.name])
        network.to(self._device).train()
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        return DiscriminatorState(spec, network, parameters, build_optimiser(spec.optimiser, parameters))
