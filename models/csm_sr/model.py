"""CSM-SR under its registered name."""

from __future__ import annotations

from torch import nn

from srbench.models.csm_sr.recipe import csm_sr_recipe
from srbench.models.csm_sr.released.recipe import ORACLE, RELEASED_BUDGETS, released_recipe
from srbench.models.recipe import Recipe, RecipeRequest
from srbench.models.registry import register_model


def recipe(request: RecipeRequest) -> Recipe:
    """The text's three stages, or the released code's one for the variants named after it."""
    chosen = released_recipe if request.variant in RELEASED_BUDGETS else csm_sr_recipe
    return chosen(request)


@register_model(
    title="CSM-SR",
    family="adversarial",
    paper="https://github.com/aaivu/CSM-SR",
    publication="Structure-Informed Super Resolution Technique for Scientific Imaging",
    authors=(
        "Prabashwara, Randika and Wickramarathna, Gayani and Perera, Oshadi and Thayasivam, Uthayasanker"
    ),
    year=2025,
    scales=(2, 3, 4, 8),
    variants=(
        "published",
        "gradient_branch",
        "released",
        "released_arch8",
        "released_arch7",
        ORACLE,
        "tiny",
    ),
    leaking=(ORACLE,),
    recipe=recipe,
    summary=(
        "Looks at the micrograph at three resolutions and at its content through an EfficientNet; trained to "
        "keep edges, structure and texture before it learns to look sharp."
    ),
)
def csm_sr(scale: int, channels: int, variant: str) -> nn.Module:
    """CSM-SR, conditioned on the LR image alone in every variant but ``oracle``.

    Nobody has published weights of it: the authors' repository holds none.

    Args:
        scale: 2, 3, 4 or 8; the released graphs are x4 and generalised here.
        channels: image channels, 1 or 3.
        variant: ``published``: the text of the project page, 5.5 M parameters at x4.
            ``gradient_branch``: the same with a second branch for the gradient map.
            ``released``, ``released_arch8``, ``released_arch7``: the graphs of the released code (59.1 M,
            5.8 M, 2.2 M parameters), trained as that code trains them, mistakes included.
            ``oracle``: ``released`` conditioned on the HR image as its authors do; leaking, never ranked.
            ``tiny``: 0.16 M, trains on a CPU in seconds.
    """
    if variant in RELEASED_BUDGETS:
        from srbench.models.csm_sr.released.network import build_released

        return build_released(scale, channels, variant)
    from srbench.models.csm_sr.network import CONFIGS, CSMSR, GradientGuidedCSMSR

    kind = GradientGuidedCSMSR if variant == "gradient_branch" else CSMSR
    return kind(scale, channels, CONFIGS[variant])
