"""SPSR: an ESRGAN generator that is guided by a second branch, which super-resolves the image's gradients.

Ma et al., "Structure-preserving super resolution with gradient guidance", CVPR 2020, arXiv 2003.13081.
Checkpoints of Maclory/SPSR load (:func:`to_published_names`).

The paper enlarges x4. The authors' code also has x2 and x8, by one and three doublings, and x3, whose pixels
are repeated three times at once; these are offered here without published weights. Only dense blocks start
small, as in ESRGAN: the authors scale every convolution by 0.1, most of which trained weights then replace.
The variant ``tiny`` is the same network in small on top of the bicubic image, made to train in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from srbench.models.baselines.spsr_network import SPSR, Size
from srbench.models.baselines.spsr_recipe import spsr_recipe
from srbench.models.interface import ReleasedWeights
from srbench.models.layers import OnBicubic
from srbench.models.registry import register_model

SIZES = {"paper": Size(23, 64, 32, (5, 10, 15, 20)), "tiny": Size(2, 8, 4, (1,))}


def to_published_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop the second name that the authors' files have for ``HR_conv0_new``, the last layer of ``model``.

    A file that has only that name is given the other. Other state dicts come back as they are.
    """
    if "f_concat.0.weight" not in state:
        return dict(state)
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        part, _, rest = name.partition(".")
        number, _, kind = rest.partition(".")
        # Every step of the upsampler is three layers, the second of which has weights.
        if part == "model" and number.isdigit() and int(number) > 1 and int(number) % 3 == 2:
            renamed.setdefault(f"HR_conv0_new.0.{kind}", value)
        else:
            renamed[name] = value
    return renamed


def tiny_spsr(scale: int, channels: int) -> nn.Module:
    """A small generator that corrects the bicubic image."""
    body = SPSR(scale, channels, SIZES["tiny"])
    last = body.f_HR_conv1[0]
    assert isinstance(last, nn.Conv2d)
    return OnBicubic(body, last, scale)


@register_model(
    title="SPSR",
    family="adversarial",
    paper="https://arxiv.org/abs/2003.13081",
    year=2020,
    scales=(2, 3, 4, 8),
    variants=("paper", "tiny"),
    recipe=spsr_recipe,
    summary="ESRGAN with a second branch that restores edges first and keeps the image's structure to them.",
    released=(
        ReleasedWeights(
            "spsr.pth",
            "paper",
            4,
            "https://github.com/Maclory/SPSR",
            direct=False,
            note="The paper's SPSR; DIV2K, MATLAB bicubic LR.",
        ),
    ),
    convert=to_published_names,
)
def spsr(scale: int, channels: int, variant: str) -> nn.Module:
    """Image branch of 23 blocks of width 64 (``paper``) or two of 8 (``tiny``); x4 as published."""
    return tiny_spsr(scale, channels) if variant == "tiny" else SPSR(scale, channels, SIZES[variant])
