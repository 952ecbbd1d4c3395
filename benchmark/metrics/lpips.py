"""LPIPS: distance in the features of an image-classification network. Perceptual, not evidence of structure.

Zhang, Isola, Efros, Shechtman and Wang, "The unreasonable effectiveness of deep features as a perceptual
metric", CVPR 2018. The linear heads come with the ``lpips`` package, the AlexNet trunk must be on disk; it is
checked against the hash in its name and nothing is ever downloaded.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from srbench.metrics.perceptual import LABEL, as_scalar, grey_as_colour
from srbench.metrics.registry import Case, MetricUnavailable, register_metric
from srbench.utils.errors import SrbenchError
from srbench.utils.image import Plane

if TYPE_CHECKING:
    from torch import Tensor, nn

NET, VERSION = "alex", "0.1"
MINIMUM_SIDE = 32


def trunk_problem() -> str:
    """Why LPIPS cannot be computed here: the trunk's file, URL and folder; empty when it can."""
    from srbench.weights import imagenet as pretrained

    try:
        return "" if pretrained.locate("alexnet") else pretrained.describe("alexnet")
    except SrbenchError as error:
        return str(error)


@register_metric(
    title="LPIPS (perceptual)",
    direction="lower",
    bounds=(0.0, float("inf")),
    explanation=f"How different the images look to a network trained on photographs; {LABEL}.",
    family="perceptual",
    tag=f"{NET}-{VERSION}",
    needs=trunk_problem,
)
def lpips(case: Case) -> float:
    """LPIPS (AlexNet, version 0.1) of the image without its border, grey repeated over three channels."""
    if min(case.sr.shape) < MINIMUM_SIDE:
        raise MetricUnavailable(f"LPIPS needs at least {MINIMUM_SIDE} x {MINIMUM_SIDE} pixels")
    return distance(_installed_network(), case.sr, case.hr, case.data_range)


def distance(network: nn.Module, sr: Plane, hr: Plane, data_range: float = 1.0) -> float:
    """LPIPS of two planes in [0, data_range]."""
    import torch

    # The network was made for [-1, 1].
    images = (grey_as_colour(plane, data_range) * 2.0 - 1.0 for plane in (sr, hr))
    with torch.inference_mode():
        return as_scalar(network(*images), (0.0, float("inf")), "LPIPS")


def build_network(trunk: Mapping[str, Tensor]) -> nn.Module:
    """The LPIPS network with the given AlexNet state dict as its trunk."""
    package: Any = __import__("lpips")
    # pnet_rand keeps the package from downloading a trunk; every one of its tensors is replaced below.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls torchvision by an old name of an argument
        network: nn.Module = package.LPIPS(net=NET, version=VERSION, pnet_rand=True, verbose=False)
    inner = network.get_submodule("net")
    layers = {name: trunk[f"features.{name.partition('.')[2]}"] for name in inner.state_dict()}
    inner.load_state_dict(layers)
    return network.eval().requires_grad_(False)


@functools.cache
def _installed_network() -> nn.Module:
    from srbench.weights import imagenet as pretrained

    trunk = pretrained.pretrained("alexnet")
    if trunk is None:
        raise MetricUnavailable(pretrained.describe("alexnet"))
    return build_network(trunk)
