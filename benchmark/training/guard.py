"""Updates that are not finite: skipped, counted, and after too many in a row the end of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from srbench.errors import SrbenchError


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


class Guard:
    """Counts skipped updates.

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
