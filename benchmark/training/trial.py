"""An update of each stage on noise, by a copy of the networks: what it costs, and whether it can be made."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from srbench.config import TrainSettings
from srbench.models import Recipe, SRModel
from srbench.models.recipe import Batch, Stage
from srbench.training import reproducibility
from srbench.training.distributed import Processes
from srbench.training.loop import StageUpdater
from srbench.training.stage import unrunnable
from srbench.training.state import NonFiniteGuard, TrainingState
from srbench.utils.errors import SrbenchError

IMAGES = 2
"""In the batch of noise: batch normalisation needs more than one."""
_TRIED = 12
"""Sizes, from the largest down, in search of one that images hold."""
_LISTED = 3
"""Sizes, or ranges of sizes, that a message names."""


class Trial:
    """A copy of a network, with discriminators of its own, that makes an update in each stage asked for.

    The random streams go on; :func:`reproducibility.preserved` puts them back.

    Args:
        model: its network is left as it was.
        recipe: what is tried.
    """

    def __init__(self, model: SRModel, recipe: Recipe) -> None:
        self._model = model
        network = copy.deepcopy(model.network)
        self._state = TrainingState(network, recipe, 0, NonFiniteGuard(IMAGES * len(recipe.stages)))
        self._judging: dict[str, tuple[int, ...]] = {}

    def update(self, index: int) -> None:
        """The update of a stage, in its middle, where no ramp of a loss weight stands at zero.

        Args:
            index: of the stage, not of one before the last one tried.
        """
        state = self._state
        while state.stage_index < index:
            state.begin_stage(state.stage_index + 1)
        stage = state.stage
        state.step = stage.iterations // 2
        like = next(state.network.parameters())
        updater = StageUpdater(state, self._model.scale, TrainSettings(), False, Processes(like.device))
        side = (stage.patch, stage.patch)
        hr = torch.rand(IMAGES, self._model.channels, *side, device=like.device, dtype=like.dtype)
        lr = torch.nn.functional.avg_pool2d(hr, self._model.scale)
        with self._watched():
            updater([Batch(lr, hr, self._model.scale)] * updater.batches_needed)

    def failed_discriminator(self) -> tuple[str, nn.Module, tuple[int, ...]] | None:
        """Which one the last update ended in, if it did: its name, it, the shape of what it was shown."""
        for name, shape in self._judging.items():
            return name, self._state.discriminators[name].network, shape
        return None

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Inside, it is known which discriminator is at work."""
        self._judging.clear()
        hooks = []
        for learner in self._state.stage_discriminators():

            def begin(module: nn.Module, images: tuple[Any, ...], name: str = learner.spec.name) -> None:
                if images and isinstance(images[0], Tensor):
                    self._judging[name] = tuple(images[0].shape)

            def end(module: nn.Module, images: Any, judged: Any, name: str = learner.spec.name) -> None:
                self._judging.pop(name, None)

            hooks.append(learner.network.register_forward_pre_hook(begin))
            hooks.append(learner.network.register_forward_hook(end))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def check_patches(model: SRModel, recipe: Recipe, published: Recipe) -> None:
    """Refuse patches on which a stage could not make its first update.

    Stages whose patch is the published recipe's are not tried, the others on ``model``'s device.

    Args:
        model: left as it was, as are the random streams.
        recipe: with the user's settings.
        published: the same without them.

    Raises:
        SrbenchError: what is wrong with the patch of each stage, and what would do.
    """
    changed = [
        index
        for index, (stage, before) in enumerate(zip(recipe.stages, published.stages, strict=True))
        if stage.patch != before.patch
    ]
    if not changed:
        return
    problems, cause = [], None
    with reproducibility.preserved():
        trial = Trial(model, recipe)
        for index in changed:
            try:
                trial.update(index)
            # Recipes come from anywhere: whatever is raised now would be raised after the stages before.
            except Exception as error:
                cause = error
                usual = published.stages[index].patch
                problems.append(_problem(model, recipe.stages[index], usual, trial, error))
    if problems:
        raise unrunnable(problems) from cause


def largest_patch(model: SRModel, recipe: Recipe, published: Recipe, side: int) -> int | None:
    """An HR patch of at most ``side`` pixels that all stages take, the largest if it is near, or None."""
    step = model.scale * model.size_multiple
    usual = max(stage.patch for stage in published.stages)
    tried: tuple[int, ...] = (*range(side // step * step, 0, -step)[:_TRIED], usual)
    for patch in tried:
        with suppress(SrbenchError):
            if patch <= side:
                check_patches(model, recipe.replace_stages(patch=patch), published)
                return patch
    return None


def _problem(model: SRModel, stage: Stage, usual: int, trial: Trial, error: Exception) -> str:
    """What is wrong with a stage's patch, in words; ``usual`` is the one that its recipe was written for."""
    step = model.scale * model.size_multiple
    what, sizes, nearest = f"stage {stage.name!r}", "", usual
    failed = trial.failed_discriminator()
    if failed is not None:
        name, network, shape = failed
        what = f"the {name} of stage {stage.name!r}"
        sizes = _sizes_taken(network, shape, stage.patch, usual, step)
    elif stage.patch % step and usual % step == 0:
        sizes, nearest = f"multiples of {step}", max(1, round(stage.patch / step)) * step
    advice = f"--set stages.{stage.name}.patch={nearest}" + (
        " (the recipe's own)" if nearest == usual else ""
    )
    if sizes:
        return f"{what} takes HR patches of {sizes} pixels, found {stage.patch}; {advice}"
    kind = "" if isinstance(error, SrbenchError) else f"{type(error).__name__}: "
    reason = (str(error).splitlines() or [""])[0]
    return f"{what} does not take HR patches of {stage.patch} pixels ({kind}{reason}); {advice}"


def _sizes_taken(network: nn.Module, shape: tuple[int, ...], patch: int, usual: int, step: int) -> str:
    """The HR patches near ``patch`` that a discriminator can judge, in words; empty where that is not known.

    Only shapes are followed (torch's ``meta`` device): nothing is computed.

    Args:
        network: the discriminator; left as it is.
        shape: of what it was shown of patches that it did not take.
        patch: side of these.
        usual: a side that it does take.
        step: patches are multiples of it.
    """
    shapes_only = copy.deepcopy(network).to("meta")
    # A discriminator may be shown a view that is wider than the image.
    border = shape[-1] - patch

    def takes(side: int) -> bool:
        try:
            shapes_only(torch.empty(*shape[:-2], side + border, side + border, device="meta"))
        except Exception:
            return False
        return True

    if not takes(usual):
        return ""
    ranges: list[list[int]] = []
    for side in filter(takes, range(step, 2 * max(patch, usual), step)):
        if ranges and ranges[-1][1] == side - step:
            ranges[-1][1] = side
        else:
            ranges.append([side, side])
    near = sorted(ranges, key=lambda ends: min(abs(patch - end) for end in ends))[:_LISTED]
    return ", ".join(f"{low} to {high}" if high > low else f"{low}" for low, high in sorted(near))
