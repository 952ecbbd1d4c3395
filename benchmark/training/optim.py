"""Optimisers, learning rates and gradient clipping as a recipe words them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from srbench.models.recipe import Clip, LearningRate, Optimiser


def build_optimiser(spec: Optimiser, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """The torch optimiser over ``parameters``."""
    if spec.name == "sgd":
        return torch.optim.SGD(parameters, lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay)
    kind = torch.optim.AdamW if spec.name == "adamw" else torch.optim.Adam
    return kind(parameters, lr=spec.lr, betas=spec.betas, eps=spec.eps, weight_decay=spec.weight_decay)


def set_rate(
    optimiser: torch.optim.Optimizer, spec: Optimiser, schedule: LearningRate, fraction: float
) -> float:
    """Set the learning rate for this fraction of the stage; a pure function of it, nothing to restore."""
    rate = spec.lr * schedule(fraction)
    for group in optimiser.param_groups:
        group["lr"] = rate
    return rate


def clip_gradients(parameters: Sequence[nn.Parameter], clip: Clip | None, rate: float) -> torch.Tensor:
    """Clip in place.

    Args:
        parameters: those whose gradients are clipped.
        clip: how; None leaves the gradients alone.
        rate: current learning rate, for the adjustable kind (VDSR, section 3.2).

    Returns:
        Total norm of the gradients before clipping, a scalar; not finite when any entry is not.
    """
    limit = clip.value if clip is not None and clip.kind == "norm" else math.inf
    norm = nn.utils.clip_grad_norm_(parameters, limit)
    if clip is not None and clip.kind != "norm":
        bound = clip.value / rate if clip.kind == "adjustable" and rate > 0 else clip.value
        nn.utils.clip_grad_value_(parameters, bound)
    return norm
