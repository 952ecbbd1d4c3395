"""SRGAN: a residual network (SRResNet) first trained for pixels, then against a critic.

Ledig et al., "Photo-realistic single image super-resolution using a generative adversarial network", CVPR
2017, arXiv 1609.04802. The authors published no code. The variants are the networks that go by this name:

- ``srresnet``: the paper's, modules named as in Lornatang/SRGAN-PyTorch;
- ``msrresnet``: BasicSR's without batch normalisation, on top of the bilinear image;
- ``small5``: the widespread port with five blocks and its own losses (leftthomas/SRGAN);
- ``tiny``: two narrow blocks on top of the bicubic image, made to train in seconds.

Checkpoints of all three repositories load under their own names.

Departures: HR is in [0, 1] as LR is, not in [-1, 1]; the output is linear (but for ``small5``) and clamped
only at inference. The paper enlarges x4 by two doublings; here x2 is one, x8 three, and x3 a single
sub-pixel convolution.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from srbench.models.baselines.srgan_basicsr_recipe import basicsr_recipe
from srbench.models.baselines.srgan_generators import (
    FiveBlockSRResNet,
    MSRResNet,
    SRResNet,
    tiny_srresnet,
)
from srbench.models.baselines.srgan_port_recipe import port_recipe
from srbench.models.baselines.srgan_recipe import paper_recipe
from srbench.models.interface import RecipeFactory, RecipeRequest, ReleasedWeights
from srbench.models.recipe import Recipe
from srbench.models.registry import register_model

RECIPES: dict[str, RecipeFactory] = {
    "srresnet": paper_recipe,
    "msrresnet": basicsr_recipe,
    "small5": port_recipe,
    "tiny": paper_recipe,
}


def srgan_recipe(request: RecipeRequest) -> Recipe:
    """How the authors of each variant train it; ``tiny`` follows the paper."""
    return RECIPES[request.variant](request)


def _lornatang(kind: str, scale: int) -> ReleasedWeights:
    file = f"{kind}_x{scale}-SRGAN_ImageNet.pth.tar"
    return ReleasedWeights(
        file=file,
        variant="srresnet",
        scale=scale,
        url=f"https://huggingface.co/goodfellowliu/SRGAN-PyTorch/resolve/main/{file}",
        licence="Apache-2.0",
        note="From Lornatang/SRGAN-PyTorch, trained on ImageNet photographs"
        + (" for pixels." if kind == "SRResNet" else " against a critic."),
    )


def _basicsr(experiment: str, iterations: str, scale: int) -> ReleasedWeights:
    return ReleasedWeights(
        file=f"{experiment}.pth",
        variant="msrresnet",
        scale=scale,
        url="https://github.com/XPixelGroup/BasicSR/blob/master/docs/ModelZoo.md",
        licence="Apache-2.0",
        direct=False,
        note=f"net_g_{iterations}.pth of the reproduced model {experiment}; trained on DIV2K photographs.",
    )


def _leftthomas(scale: int) -> ReleasedWeights:
    return ReleasedWeights(
        file=f"netG_epoch_{scale}_100.pth",
        variant="small5",
        scale=scale,
        url="https://github.com/leftthomas/SRGAN",
        licence="MIT",
        direct=False,
        note="In the folder epochs of the repository; trained on VOC2012 photographs.",
    )


RELEASED = (
    *(_lornatang(kind, scale) for kind in ("SRResNet", "SRGAN") for scale in (2, 4, 8)),
    _basicsr("002_MSRResNet_x2_f64b16_DIV2K_1000k_B16G1_001pretrain_wandb", "1000000", 2),
    _basicsr("003_MSRResNet_x3_f64b16_DIV2K_1000k_B16G1_001pretrain_wandb", "1000000", 3),
    _basicsr("001_MSRResNet_x4_f64b16_DIV2K_1000k_B16G1_wandb", "1000000", 4),
    _basicsr("004_MSRGAN_x4_f64b16_DIV2K_400k_B16G1_wandb", "400000", 4),
    *(_leftthomas(scale) for scale in (2, 4, 8)),
)

NETWORKS: dict[str, Callable[[int, int], nn.Module]] = {
    "srresnet": SRResNet,
    "msrresnet": MSRResNet,
    "small5": FiveBlockSRResNet,
    "tiny": tiny_srresnet,
}


@register_model(
    title="SRGAN",
    family="adversarial",
    paper="https://arxiv.org/abs/1609.04802",
    year=2017,
    scales=(2, 3, 4, 8),
    variants=("srresnet", "msrresnet", "small5", "tiny"),
    recipe=srgan_recipe,
    released=RELEASED,
    summary="The first adversarial super-resolution network: sharp, and willing to invent texture.",
)
def srgan(scale: int, channels: int, variant: str) -> nn.Module:
    """A generator of the SRGAN family.

    Args:
        scale: 2, 3, 4 or 8.
        channels: image channels, 1 or 3.
        variant: ``srresnet`` (16 blocks of width 64), ``msrresnet`` (the same without normalisation),
            ``small5`` (5 blocks, output in (0, 1)) or ``tiny`` (2 blocks of 16 on the bicubic image).
    """
    return NETWORKS[variant](scale, channels)
