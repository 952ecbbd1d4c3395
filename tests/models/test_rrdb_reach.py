"""ESRGAN and SPSR at full depth look exactly as far as they say.

Their 345 convolutions in a row are too many for the usual probe: random taps of that many kernels multiply
to less than a float64 can hold. Here every kernel has two taps of one, at the ends of a row or of a column,
so that the farthest path keeps its strength.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from srbench.models import create
from srbench.models.baselines import esrgan, spsr
from srbench.models.baselines.esrgan import RRDBNet, radius_behind_unshuffle
from srbench.models.baselines.spsr import SPSR, SPSRConfig
from srbench.models.layers import receptive_radius

NETWORKS = {"esrgan": (RRDBNet, esrgan.CONFIGS["paper"]), "spsr": (SPSR, spsr.CONFIGS["paper"])}


def look_sideways(network: nn.Module, axis: int) -> nn.Module:
    """Every 3x3 kernel sees only its two outermost pixels along the axis."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.bias)
            centre = module.kernel_size[0] // 2
            ends = module.weight.data.zero_().select(5 - axis, centre)
            ends[..., 0], ends[..., -1] = 1.0, 1.0
    return network.double()


def reach(network: nn.Module, scale: int, position: int, axis: int) -> int:
    """LR pixels from ``position`` to the farthest one that its outputs depend on."""
    shape = [1, 1, 4, 4]
    shape[axis] = 2 * position + getattr(network, "size_multiple", 1)
    lr = torch.rand(shape, dtype=torch.float64, requires_grad=True)
    outputs = network(lr).narrow(axis, position * scale, scale)
    (gradient,) = torch.autograd.grad(outputs.sum(), lr)
    seen = gradient.isfinite().all() and gradient.abs().sum([dim for dim in range(4) if dim != axis])
    return int((seen.nonzero() - position).abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("name", NETWORKS)
def test_full_depth_looks_as_far_as_it_says(name, scale, axis):
    build, size = NETWORKS[name]
    narrow = look_sideways(build(scale, 1, replace(size, features=1, growth=1)), axis)
    with torch.device("meta"):
        stated = create(name, scale=scale).receptive_radius
    assert narrow.receptive_radius == stated
    first = 2 * (int(stated) // 2 + 2)
    # The two pixels of an unshuffled cell look differently far to each side.
    positions = range(first, first + getattr(narrow, "size_multiple", 1))
    assert max(reach(narrow, scale, position, axis) for position in positions) == stated


@pytest.mark.slow
@pytest.mark.parametrize("shared", [(1,), (2,), (1, 2)])
def test_the_gradient_branch_may_look_farther_than_the_image_branch(shared, probe):
    network = SPSR(4, 1, SPSRConfig(2, 1, 1, shared))
    assert probe(network, 4, int(network.receptive_radius) + 2) == network.receptive_radius


def test_without_unshuffle_the_radius_is_the_usual_one():
    assert radius_behind_unshuffle((9, 1, 3), (2, 2), 1) == receptive_radius((9, 1, 3), (2, 2))
