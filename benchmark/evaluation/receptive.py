"""How far a network looks: the receptive radius, declared by the network or measured by gradients."""

from __future__ import annotations

import copy
import dataclasses
import math

import torch
from torch import Tensor

from srbench.models import SRModel

FIRST_SIDE = 48
LAST_SIDE = 384


def receptive_radius(model: SRModel) -> float:
    """LR pixels to each side that an output pixel depends on: declared, else measured; inf when global."""
    declared = model.receptive_radius
    return measured_radius(model) if declared is None else declared


def measured_radius(model: SRModel, last_side: int = LAST_SIDE) -> float:
    """Measure the radius with gradients of the network as it is, in float64.

    A block of outputs as large as the size multiple is differentiated with respect to the input, on growing
    images, until no gradient reaches the image's edge.

    Args:
        model: network with the weights that will be used (a layer of zeros looks nowhere).
        last_side: largest image tried.

    Returns:
        LR pixels; ``inf`` when even ``last_side`` is too small, as for an operator over the whole image.
    """
    probe = dataclasses.replace(model, network=copy.deepcopy(model.network).double().eval())
    side = math.ceil(FIRST_SIDE / model.size_multiple) * model.size_multiple
    while side <= max(last_side, model.size_multiple):
        radius = _radius_on(probe, side)
        if radius is not None:
            return float(radius)
        side *= 2
    return math.inf


def _radius_on(model: SRModel, side: int) -> int | None:
    """The radius seen on a ``side x side`` image, None when the gradient reaches its edge."""
    multiple = model.size_multiple
    start = side // 2 // multiple * multiple
    touched = _gradient(model, side, start, multiple).amax(dim=(0, 1)) > 0
    if not touched.any():
        return 0
    rows = torch.nonzero(touched.any(dim=1)).flatten()
    columns = torch.nonzero(touched.any(dim=0)).flatten()
    first = int(min(rows.min(), columns.min()))
    last = int(max(rows.max(), columns.max()))
    if first == 0 or last == side - 1:
        return None
    return max(start - first, last - (start + multiple - 1), 0)


def _gradient(model: SRModel, side: int, start: int, multiple: int) -> Tensor:
    """Sum of absolute gradients over two random images: where one rectifier is closed another is open."""
    generator = torch.Generator().manual_seed(0)
    device = next(iter(model.network.parameters()), torch.zeros(0)).device
    total = torch.zeros(1, model.channels, side, side, dtype=torch.float64, device=device)
    for _ in range(2):
        image = torch.rand(total.shape, generator=generator, dtype=torch.float64).to(device).requires_grad_()
        with torch.enable_grad():
            sr = model.network(image)
            window = sr[..., start * model.scale : (start + multiple) * model.scale, :]
            window = window[..., start * model.scale : (start + multiple) * model.scale]
            signs = torch.randn(window.shape, generator=generator, dtype=torch.float64).to(device)
            (gradient,) = torch.autograd.grad((window * signs).sum(), image)
        total += gradient.abs()
    return total
