"""Swift-SRGAN: SRGAN made fast by depthwise separable convolutions.

Krishnan and Krishnan, "SwiftSRGAN: Rethinking super-resolution for efficient and real-time inference", 2021,
arXiv 2111.14320. Modules are named as in the authors' code, so that their checkpoints load. 201,209 numbers
at x4 in three colours; 1,088 of them are slopes of activations that are built and never applied, and are kept
as buffers.

Departures: the authors' network for x8 would enlarge by 16 (it takes ``scale // 2`` doublings); here it takes
three. x3, which they do not offer, is a single sub-pixel convolution. The variant ``tiny`` is a few small
blocks on top of the bicubic image, without the final tanh, made to train in seconds.
"""

from __future__ import annotations

from torch import nn

from srbench.models.baselines.swift_srgan_networks import SwiftGenerator, tiny_swift
from srbench.models.baselines.swift_srgan_recipe import swift_srgan_recipe
from srbench.models.interface import ReleasedWeights
from srbench.models.registry import register_model


def _released(scale: int) -> ReleasedWeights:
    file = f"swift_srgan_{scale}x.pth.tar"
    return ReleasedWeights(
        file=file,
        variant="paper",
        scale=scale,
        url=f"https://github.com/Koushik0901/Swift-SRGAN/releases/download/v0.1/{file}",
        licence="CC0-1.0",
        note="Trained by the authors on photographs, against a critic.",
    )


@register_model(
    title="Swift-SRGAN",
    family="adversarial",
    paper="https://arxiv.org/abs/2111.14320",
    year=2021,
    scales=(2, 3, 4, 8),
    variants=("paper", "tiny"),
    recipe=swift_srgan_recipe,
    released=(_released(2), _released(4)),
    summary="SRGAN with an eighth of the weights, made to run in real time; it too may invent texture.",
)
def swift_srgan(scale: int, channels: int, variant: str) -> nn.Module:
    """16 separable blocks of width 64 (``paper``), or 3 of 32 that start at bicubic (``tiny``)."""
    return tiny_swift(scale, channels) if variant == "tiny" else SwiftGenerator(scale, channels)
