"""Training compute: what an update of each stage costs, and recipes cut to a number of multiply-adds.

Equal iterations favour large networks and equal minutes the machine at hand; equal multiply-adds say what
each architecture makes of the same work.
"""

from __future__ import annotations

from dataclasses import replace

from srbench.inference.profiling import CountedOperations
from srbench.models import Recipe, SRModel
from srbench.training import reproducibility
from srbench.training.trial import IMAGES, Trial
from srbench.utils.errors import SrbenchError

LAPTOP_MULTIPLY_ADDS = 2e13
"""Of the budget ``laptop``: about a quarter of an hour on two CPU cores."""
FEW_UPDATES = 200
"""Updates of a stage with discriminators below which they hardly learn anything."""


def multiply_adds_per_update(model: SRModel, recipe: Recipe) -> tuple[int, ...]:
    """Multiply-adds of one update in each stage: forward and backward passes of all networks.

    One update of a copy is run on two noise images and its convolutions and matrix products are counted
    (a backward pass is twice the forward one, but for what stands still); networks inside of losses and
    discriminators count as well. ``model`` and the random streams are left as they were.
    """
    costs = []
    with reproducibility.preserved():
        trial = Trial(model, recipe)
        for index, stage in enumerate(recipe.stages):
            with CountedOperations() as counter:
                trial.update(index)
            costs.append(counter.flops // 2 * stage.batch // IMAGES)
    return tuple(costs)


def within(recipe: Recipe, model: SRModel, multiply_adds: float) -> tuple[Recipe, int]:
    """The recipe with as many updates as the multiply-adds allow, and what these cost.

    Its stages keep their proportions, schedules, patches and batches.

    Raises:
        SrbenchError: not even one update of each stage fits.
    """
    costs = multiply_adds_per_update(model, recipe)
    whole = sum(cost * stage.iterations for cost, stage in zip(costs, recipe.stages, strict=True))
    share = multiply_adds / whole
    stages = tuple(
        replace(stage, iterations=max(1, int(stage.iterations * share))) for stage in recipe.stages
    )
    spent = sum(cost * stage.iterations for cost, stage in zip(costs, stages, strict=True))
    if spent > 1.1 * multiply_adds:
        raise SrbenchError(
            f"{model.card.name} {model.variant} needs {spent:.1e} multiply-adds for a single update of each "
            f"stage, more than the {multiply_adds:.1e} of the budget. Choose a smaller --variant, or "
            "--budget short."
        )
    notes = [
        f"Stage {stage.name!r} has {stage.iterations} updates in this budget: too few for its discriminator "
        "to learn much."
        for stage in stages
        if stage.discriminators and stage.iterations < FEW_UPDATES
    ]
    return replace(recipe, stages=stages, notes=(*recipe.notes, *notes)), spent
