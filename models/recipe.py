"""How a network is trained, as data: stages, loss terms, discriminators, schedules; the loop lives elsewhere.

A recipe names what the authors published (budget ``paper``, source cited) or a shorter version of it. All
schedules are pure functions of the step, so that a run can be resumed at any step without hidden state, and
they are written in fractions of a stage, so that a shorter budget keeps their shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

Budget = Literal["smoke", "short", "paper"]
BUDGETS: tuple[Budget, ...] = ("smoke", "short", "paper")

PretrainedSource = Callable[[str], Mapping[str, Tensor] | None]
"""Name of an ImageNet network to its state dict, or None when its weights are not on disk."""


def nothing_pretrained(name: str) -> Mapping[str, Tensor] | None:
    """A pretrained source that has nothing."""
    del name
    return None


@dataclass(frozen=True)
class RecipeRequest:
    """What a recipe may depend on.

    ``pretrained`` gives the state dict of a named ImageNet network (``"vgg19"``, ``"efficientnet_b0"``, ...)
    or None when its file is not on disk; a recipe then states its fallback in ``Recipe.notes``.
    """

    budget: Budget
    scale: int
    channels: int
    variant: str
    pretrained: PretrainedSource


@dataclass(frozen=True)
class Batch:
    """Training pairs on the training device: ``lr (N,C,h,w)`` and ``hr (N,C,s*h,s*w)``, both in [0, 1]."""

    lr: Tensor
    hr: Tensor
    scale: int


Outputs = Mapping[str, Tensor]
"""What a training forward pass gives: ``"sr"`` the super-resolved batch, other keys as the recipe likes."""

Forward = Callable[[nn.Module, Batch], Outputs]


def plain_forward(network: nn.Module, batch: Batch) -> Outputs:
    """``sr = network(lr)``."""
    return {"sr": network(batch.lr)}


@dataclass(frozen=True)
class LossInputs:
    """What a loss term or a discriminator's loss may look at (float32, also under autocast)."""

    batch: Batch
    outputs: Outputs
    discriminators: Mapping[str, nn.Module] = field(default_factory=dict)

    @property
    def sr(self) -> Tensor:
        """The super-resolved batch."""
        return self.outputs["sr"]

    @property
    def hr(self) -> Tensor:
        """The ground truth batch."""
        return self.batch.hr


@dataclass(frozen=True)
class Progress:
    """Where a stage stands: ``step`` of ``total``, and the latest validation metrics (empty at first)."""

    step: int
    total: int
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def fraction(self) -> float:
        """Share of the stage done, 0 to 1."""
        return min(self.step / self.total, 1.0) if self.total else 1.0


Weight = float | Callable[[Progress], float]


@dataclass(frozen=True)
class Ramp:
    """A loss weight going linearly from ``start`` to ``end`` over the stage."""

    start: float
    end: float

    def __call__(self, progress: Progress) -> float:
        return self.start + (self.end - self.start) * progress.fraction


@dataclass(frozen=True)
class LossTerm:
    """``weight * loss(inputs)``; ``loss`` is a function or a frozen module giving a scalar tensor."""

    name: str
    loss: Callable[[LossInputs], Tensor]
    weight: Weight = 1.0

    def weight_at(self, progress: Progress) -> float:
        """The weight at this point of the stage."""
        return self.weight(progress) if callable(self.weight) else float(self.weight)


@dataclass(frozen=True)
class PixelLoss:
    """Turns ``function(sr, hr) -> scalar`` into the loss of a term."""

    function: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, inputs: LossInputs) -> Tensor:
        return self.function(inputs.sr, inputs.hr)


LearningRate = Callable[[float], float]
"""Fraction of the stage done (0 to 1) to the factor on the base learning rate."""


@dataclass(frozen=True)
class ConstantRate:
    """The base learning rate throughout."""

    def __call__(self, fraction: float) -> float:
        return 1.0


@dataclass(frozen=True)
class StepRate:
    """Multiply by ``gamma`` at each of the fractions ``at`` of the stage."""

    at: tuple[float, ...]
    gamma: float

    def __call__(self, fraction: float) -> float:
        return math.pow(self.gamma, sum(fraction >= milestone for milestone in self.at))


@dataclass(frozen=True)
class CosineRate:
    """Half a cosine from 1 to ``floor``."""

    floor: float = 0.0

    def __call__(self, fraction: float) -> float:
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * min(fraction, 1.0)))


@dataclass(frozen=True)
class CosineRestarts:
    """``cycles`` equal halves of a cosine, each from 1 to ``floor``, one after the other.

    Source:
        Loshchilov and Hutter 2017 (arXiv 1608.03983), with cycles of equal length.
    """

    cycles: int
    floor: float = 0.0

    def __call__(self, fraction: float) -> float:
        within = 1.0 if fraction >= 1 else fraction * self.cycles % 1
        return CosineRate(self.floor)(within)


@dataclass(frozen=True)
class Optimiser:
    """``adam``, ``adamw`` or ``sgd`` with the usual meaning of the fields (torch.optim)."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.9
    weight_decay: float = 0.0
    eps: float = 1e-8


@dataclass(frozen=True)
class Clip:
    """Gradient clipping.

    ``norm``: total norm to ``value``; ``value``: every entry to ``[-value, value]``; ``adjustable``: every
    entry to ``[-value/lr, value/lr]`` with the current learning rate (VDSR, section 3.2).
    """

    kind: Literal["norm", "value", "adjustable"]
    value: float


@dataclass(frozen=True)
class DiscriminatorSpec:
    """A network trained against the generator.

    Attributes:
        name: its key in ``LossInputs.discriminators``; the same name in a later stage continues the same
            discriminator.
        build: makes the network, freshly initialised.
        loss: ``(discriminator, inputs) -> scalar``; ``inputs.outputs`` come detached from the generator.
        steps: discriminator updates for each generator update.
    """

    name: str
    build: Callable[[], nn.Module]
    loss: Callable[[nn.Module, LossInputs], Tensor]
    optimiser: Optimiser = Optimiser()
    schedule: LearningRate = ConstantRate()
    steps: int = 1
    clip: Clip | None = None


@dataclass(frozen=True)
class Stage:
    """One phase of training.

    Attributes:
        name: short name, unique in the recipe.
        iterations: generator updates.
        batch: crops in a batch (over all processes).
        patch: HR side of a crop in pixels, a multiple of the scale.
        terms: the generator's loss.
        trainable: prefixes of the names of the parameters that learn; ``("",)`` is all of them.
        forward: the training forward pass.
        ema: decay of the averaged weights, None for none.
    """

    name: str
    iterations: int
    batch: int
    patch: int
    terms: tuple[LossTerm, ...]
    optimiser: Optimiser = Optimiser()
    schedule: LearningRate = ConstantRate()
    discriminators: tuple[DiscriminatorSpec, ...] = ()
    trainable: tuple[str, ...] = ("",)
    forward: Forward = plain_forward
    clip: Clip | None = None
    ema: float | None = None

    def against(
        self,
        build: Callable[[], nn.Module],
        loss: Callable[[nn.Module, LossInputs], Tensor],
        name: str = "discriminator",
    ) -> Stage:
        """The stage with one more discriminator, which learns by the generator's optimiser and schedule."""
        added = DiscriminatorSpec(name, build, loss, self.optimiser, self.schedule)
        return replace(self, discriminators=(*self.discriminators, added))


@dataclass(frozen=True)
class StageBudget:
    """What differs between the budgets and variants of a stage.

    Attributes:
        iterations: generator updates.
        batch: crops in a batch.
        patch: side of a crop, in HR or LR pixels as the recipe says.
        lr: base learning rate.
        ema: decay of the averaged weights, None for none.
    """

    iterations: int
    batch: int
    patch: int
    lr: float = 1e-4
    ema: float | None = None

    def stage(self, name: str, *terms: LossTerm, **fields: Any) -> Stage:
        """A stage of this size by Adam; ``fields`` of :class:`Stage` replace or add to that."""
        sized = {name: getattr(self, name) for name in ("iterations", "batch", "patch", "ema")}
        return Stage(name=name, terms=terms, **{**sized, "optimiser": Optimiser(lr=self.lr), **fields})


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        stages: executed in order.
        source: where the numbers come from (paper and section, authors' code at a commit).
        notes: departures and fallbacks, printed before training and stored with the run.
        initialise: applied to the fresh network once before the first stage (pretrained parts).
    """

    stages: tuple[Stage, ...]
    source: str
    notes: tuple[str, ...] = ()
    initialise: Callable[[nn.Module], None] | None = None

    @property
    def iterations(self) -> int:
        """Generator updates over all stages."""
        return sum(stage.iterations for stage in self.stages)

    def replace_stages(self, **changes: object) -> Recipe:
        """The same recipe with these fields of every stage replaced."""
        return replace(self, stages=tuple(replace(stage, **changes) for stage in self.stages))  # type: ignore[arg-type]


def default_recipe(request: RecipeRequest) -> Recipe:
    """L1 regression with Adam 1e-4 and cosine decay: what a model gets that brings no recipe of its own."""
    budget = {
        "smoke": StageBudget(60, 4, 12),
        "short": StageBudget(20_000, 16, 48),
        "paper": StageBudget(300_000, 16, 48),
    }[request.budget]
    stage = budget.stage(
        "regression",
        LossTerm("l1", PixelLoss(F.l1_loss)),
        patch=budget.patch * request.scale,
        schedule=CosineRate(0.01),
        ema=0.999,
    )
    return Recipe(stages=(stage,), source="srbench default: L1 regression, no published recipe claimed")
