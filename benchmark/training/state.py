"""Everything that changes during a run, in one place: what a checkpoint saves is this, and nothing else."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from srbench.models.recipe import DiscriminatorSpec, Progress, Recipe, Stage
from srbench.training import rng
from srbench.training.ema import AveragedWeights
from srbench.training.guard import Guard
from srbench.training.optim import build_optimiser
from srbench.training.stage import select_parameters

_DISCRIMINATOR_STREAM = 2


@dataclass
class DiscriminatorState:
    """A discriminator at work: its spec, its network, the parameters that learn, its optimiser."""

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

    def beaten_by(self, metrics: Mapping[str, float]) -> bool:
        """Whether these metrics have a higher PSNR."""
        return metrics.get("psnr", -math.inf) > self.metrics.get("psnr", -math.inf)


class TrainingState:
    """The networks, optimisers and counters of a run.

    A stage has an optimiser of its own. A discriminator named in several stages goes on with its network, and
    with its optimiser as long as the recipe words it alike. Averaged weights go on from stage to stage while
    each asks for them; a stage that does not drops them.

    Args:
        network: the generator on its device.
        recipe: what will be executed.
        seed: of the run; discriminators are initialised from it alone.
        guard: counts skipped updates.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, seed: int, guard: Guard) -> None:
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
        """Enter a stage: freeze, unfreeze, make optimiser, discriminators and averaged weights."""
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
            "critics": {name: state.to_dict() for name, state in self.discriminators.items()},
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
        for name, discriminator in self.discriminators.items():
            # Recipes of older versions call their discriminators critics.
            before = name.replace("discriminator", "critic")
            state = saved["critics"].get(name) or saved["critics"][before]
            discriminator.network.load_state_dict(state["network"])
            discriminator.optimiser.load_state_dict(state["optimiser"])

    def _discriminator(self, spec: DiscriminatorSpec, stage: int, position: int) -> DiscriminatorState:
        known = self.discriminators.get(spec.name)
        if known is not None:
            same = known.spec.optimiser == spec.optimiser
            optimiser = known.optimiser if same else build_optimiser(spec.optimiser, known.parameters)
            return DiscriminatorState(spec, known.network, known.parameters, optimiser)
        # Its own stream: the same discriminator in every process, whatever was drawn before.
        with rng.preserved():
            rng.seed_streams(_DISCRIMINATOR_STREAM, self._seed, stage, position)
            network = spec.build().to(self._device).train()
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        return DiscriminatorState(spec, network, parameters, build_optimiser(spec.optimiser, parameters))
