"""What a stage means for a network: which parameters learn, which parts stand still, how it runs."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from srbench.models.recipe import Batch, Clip, LearningRate, Optimiser, Outputs, Recipe, Stage
from srbench.utils.errors import SrbenchError


def build_optimiser(spec: Optimiser, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """The torch optimiser over ``parameters``."""
    if spec.name == "sgd":
        return torch.optim.SGD(parameters, lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay)
    kind = torch.optim.AdamW if spec.name == "adamw" else torch.optim.Adam
    return kind(parameters, lr=spec.lr, betas=spec.betas, eps=spec.eps, weight_decay=spec.weight_decay)


def set_lr(
    optimiser: torch.optim.Optimizer, spec: Optimiser, schedule: LearningRate, fraction: float
) -> float:
    """Set the learning rate for this fraction of the stage; a pure function of it, nothing to restore."""
    lr = spec.lr * schedule(fraction)
    for group in optimiser.param_groups:
        group["lr"] = lr
    return lr


def clip_gradients(parameters: Sequence[nn.Parameter], clip: Clip | None, lr: float) -> torch.Tensor:
    """Clip in place.

    Args:
        parameters: those whose gradients are clipped.
        clip: how; None leaves the gradients alone.
        lr: current learning rate, for the adjustable kind (VDSR, section 3.2).

    Returns:
        Total norm of the gradients before clipping, a scalar; not finite when any entry is not.
    """
    limit = clip.value if clip is not None and clip.kind == "norm" else math.inf
    norm = nn.utils.clip_grad_norm_(parameters, limit)
    if clip is not None and clip.kind != "norm":
        bound = clip.value / lr if clip.kind == "adjustable" and lr > 0 else clip.value
        nn.utils.clip_grad_value_(parameters, bound)
    return norm


class StageForward(nn.Module):
    """A stage's forward pass as a module (what ``torch.compile`` takes), under autocast, results in float32.

    Args:
        network: the generator.
        stage: whose ``forward`` is called.
        scale: magnification.
        autocast: run in bfloat16 where torch's autocast list says so.
    """

    def __init__(self, network: nn.Module, stage: Stage, scale: int, autocast: bool) -> None:
        super().__init__()
        self.network = network
        self._forward = stage.forward
        self._scale = scale
        self._autocast = autocast

    def forward(self, lr: Tensor, hr: Tensor) -> Outputs:
        """The stage's outputs for a batch."""
        with torch.autocast(lr.device.type, torch.bfloat16, enabled=self._autocast):
            outputs = self._forward(self.network, Batch(lr, hr, self._scale))
        low = (torch.bfloat16, torch.float16)
        return {name: value.float() if value.dtype in low else value for name, value in outputs.items()}


def select_parameters(network: nn.Module, stage: Stage, learnable: frozenset[str]) -> list[nn.Parameter]:
    """Let the stage's parameters learn and freeze the others; parameters fixed by the network stay fixed.

    Args:
        network: the generator.
        stage: its ``trainable`` prefixes decide.
        learnable: names of the parameters that required gradients when the network was made.

    Raises:
        SrbenchError: a prefix that fits no parameter (a misspelt name would silently train nothing).
    """
    named = [(name, parameter) for name, parameter in network.named_parameters() if name in learnable]
    for prefix in stage.trainable:
        if not any(name.startswith(prefix) for name, _ in named):
            parts = ", ".join(sorted({name.partition(".")[0] for name, _ in named}))
            raise SrbenchError(
                f"Stage {stage.name!r} trains {prefix!r}, but no learnable parameter starts so. It has: "
                f"{parts}."
            )
    chosen = []
    for name, parameter in named:
        parameter.requires_grad_(name.startswith(stage.trainable))
        if parameter.requires_grad:
            chosen.append(parameter)
    return chosen


def set_modes(network: nn.Module, stage: Stage) -> None:
    """Training mode for what learns, evaluation mode for frozen parts.

    A frozen part is a fixed function: its batch normalisation keeps its statistics and its dropout is off.
    """
    network.train()
    for name, module in network.named_modules():
        path = f"{name}." if name else ""
        reached = any(path.startswith(prefix) or prefix.startswith(path) for prefix in stage.trainable)
        if not reached:
            module.eval()


def move_loss_modules(recipe: Recipe, device: torch.device) -> None:
    """Put every network that a loss or a forward pass holds (VGG features) onto the device."""
    for stage in recipe.stages:
        holders: list[Callable[..., Any]] = [term.loss for term in stage.terms]
        holders += [stage.forward, *(spec.loss for spec in stage.discriminators)]
        for holder in holders:
            for module in _modules_in(holder, set()):
                module.to(device)


def check_recipe(recipe: Recipe, scale: int, processes: int) -> None:
    """Refuse what could not run, before anything is written.

    Raises:
        SrbenchError: everything that is wrong with patches, batches and names of stages.
    """
    problems = [problem for stage in recipe.stages for problem in _problems(stage, scale, processes)]
    names = [stage.name for stage in recipe.stages]
    if len(set(names)) < len(names) or not names:
        problems.append(f"stage names must be unique, found {', '.join(names) or 'no stage'}")
    if problems:
        raise unrunnable(problems)


def unrunnable(problems: Sequence[str]) -> SrbenchError:
    """The error to raise for a recipe of which this is wrong."""
    return SrbenchError("This recipe cannot run:\n" + "\n".join(f"  {problem}" for problem in problems))


def _problems(stage: Stage, scale: int, processes: int) -> Iterator[str]:
    if stage.patch % scale:
        nearest = max(1, round(stage.patch / scale)) * scale
        yield (
            f"stage {stage.name!r}: patch {stage.patch} is not a multiple of the scale {scale}; "
            f"--set stages.{stage.name}.patch={nearest}"
        )
    if stage.batch % processes:
        nearest = -(-stage.batch // processes) * processes
        yield (
            f"stage {stage.name!r}: batch {stage.batch} cannot be shared by {processes} processes; "
            f"--set stages.{stage.name}.batch={nearest}"
        )


def _modules_in(holder: object, seen: set[int]) -> Iterator[nn.Module]:
    """Networks reachable from a callable: itself, its fields, bound object, partial arguments and closure."""
    if id(holder) in seen:
        return
    seen.add(id(holder))
    if isinstance(holder, nn.Module):
        yield holder
        return
    for part in _parts(holder):
        yield from _modules_in(part, seen)


def _parts(holder: object) -> Sequence[object]:
    if isinstance(holder, functools.partial):
        return [holder.func, *holder.args, *holder.keywords.values()]
    if inspect.ismethod(holder):
        return [holder.__self__]
    if inspect.isfunction(holder):
        return [cell.cell_contents for cell in holder.__closure__ or ()]
    if isinstance(holder, (list, tuple)):
        return list(holder)
    if isinstance(holder, dict):
        return list(holder.values())
    if is_dataclass(holder) and not isinstance(holder, type):
        return [getattr(holder, entry.name) for entry in fields(holder)]
    if callable(holder) and not isinstance(holder, type):
        return list(vars(holder).values()) if hasattr(holder, "__dict__") else []
    return []
