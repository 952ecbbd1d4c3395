"""What a network costs (parameters, multiply-adds, memory) and how far it reaches (the receptive radius)."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from srbench.inference.device import activation_bytes, device_of, infer_blank, on_meta
from srbench.models import SRModel

COUNTED_SIDE = 96
"""LR side on which multiply-adds are counted: large enough that padding to windows hardly matters."""
FIRST_SIDE = 48
LAST_SIDE = 384
"""Sides of the images on which the receptive radius is measured."""


def count_parameters(network: nn.Module) -> int:
    """Number of parameters, each shared one once."""
    return sum(parameter.numel() for parameter in network.parameters())


def multiply_adds(model: SRModel, height: int, width: int) -> int:
    """Multiply-adds of super-resolving one ``height x width`` LR image.

    Counts convolutions and matrix products, as is the custom: additions, activations and interpolations are
    free. One multiply-add is one multiplication and one addition (two FLOPs).
    """
    try:
        return _count(on_meta(model), height, width)
    except Exception:  # a network that cannot run without numbers
        return _count(model, height, width)


def gigamacs_per_megapixel(model: SRModel) -> float:
    """Multiply-adds in units of 1e9 for each 1e6 pixels of the super-resolved image."""
    output_pixels = (COUNTED_SIDE * model.scale) ** 2
    return multiply_adds(model, COUNTED_SIDE, COUNTED_SIDE) / output_pixels / 1e3


def megabytes_per_megapixel(model: SRModel) -> float:
    """Peak of the tensors that one inference on a whole image makes, in MB for each 1e6 output pixels.

    Counted, so that machines and what else runs on them make no difference; the memory that the process
    really took is in the run's manifest.
    """
    output_pixels = (COUNTED_SIDE * model.scale) ** 2
    return activation_bytes(model, COUNTED_SIDE, COUNTED_SIDE) / output_pixels


def network_cost(model: SRModel) -> dict[str, float]:
    """What the metrics of cost are called, and their values."""
    return {
        "params": count_parameters(model.network),
        "gmacs_per_mpx": gigamacs_per_megapixel(model),
        "peak_mb_per_mpx": megabytes_per_megapixel(model),
    }


class CountedOperations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Context manager: ``flops`` of the convolutions and matrix products, by torch's own formulas.

    Backward passes inside count too.
    """

    def __init__(self) -> None:
        from torch.utils.flop_counter import flop_registry  # which imports triton

        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0
        self._formulas = flop_registry

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # as in device.PeakMemory

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        formula = self._formulas.get(func._overloadpacket)
        if formula is None:
            with self:  # a composite operation counts by its parts
                result = func.decompose(*args, **options)
            return func(*args, **options) if result is NotImplemented else result
        result = func(*args, **options)
        self.flops += int(formula(*args, **options, out_val=result))
        return result


def _count(model: SRModel, height: int, width: int) -> int:
    counter = CountedOperations()
    infer_blank(model, height, width, counter)
    return counter.flops // 2


def measured_radius(model: SRModel, last_side: int = LAST_SIDE) -> float:
    """Measure the radius with gradients of the network as it is.

    They are in float64, or in float32 where its code makes tensors of that type. A block of outputs as large
    as the size multiple is differentiated with respect to the input, on growing images, until no gradient
    reaches the image's edge.

    Args:
        model: network with the weights that will be used (a layer of zeros reaches no pixel).
        last_side: largest image tried.

    Returns:
        LR pixels; ``inf`` when even ``last_side`` is too small, as for an operator over the whole image.
    """
    try:
        return _radius_in(torch.float64, model, last_side)
    except RuntimeError:  # tensors of two types met
        return _radius_in(torch.float32, model, last_side)


def _radius_in(dtype: torch.dtype, model: SRModel, last_side: int) -> float:
    probed = dataclasses.replace(model, network=copy.deepcopy(model.network).to(dtype).eval())
    side = math.ceil(FIRST_SIDE / model.size_multiple) * model.size_multiple
    while side <= max(last_side, model.size_multiple):
        radius = _radius_on(probed, side, dtype)
        if radius is not None:
            return float(radius)
        side *= 2
    return math.inf


def _radius_on(model: SRModel, side: int, dtype: torch.dtype) -> int | None:
    """The radius on a ``side x side`` image, None when the gradient reaches its edge."""
    multiple = model.size_multiple
    start = side // 2 // multiple * multiple
    touched = _gradient(model, side, start, multiple, dtype).amax(dim=(0, 1)) > 0
    if not touched.any():
        return 0
    rows = torch.nonzero(touched.any(dim=1)).flatten()
    columns = torch.nonzero(touched.any(dim=0)).flatten()
    first = int(min(rows.min(), columns.min()))
    last = int(max(rows.max(), columns.max()))
    if first == 0 or last == side - 1:
        return None
    return max(start - first, last - (start + multiple - 1), 0)


def _gradient(model: SRModel, side: int, start: int, multiple: int, dtype: torch.dtype) -> Tensor:
    """Sum of absolute gradients over two random images: where one rectifier is closed another is open."""
    generator = torch.Generator().manual_seed(0)
    device = device_of(model)
    total = torch.zeros(1, model.channels, side, side, dtype=dtype, device=device)
    block = slice(start * model.scale, (start + multiple) * model.scale)
    for _ in range(2):
        image = torch.rand(total.shape, generator=generator, dtype=dtype).to(device).requires_grad_()
        with torch.enable_grad():
            window = model.network(image)[..., block, block]
            signs = torch.randn(window.shape, generator=generator, dtype=dtype).to(device)
            (gradient,) = torch.autograd.grad((window * signs).sum(), image)
        total += gradient.abs()
    return total
