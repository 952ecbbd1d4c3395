"""What a network costs: parameters, multiply-adds and memory, counted without running it on numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from srbench.evaluation.memory import activation_bytes, blank_images, device_of, on_meta
from srbench.models import SRModel

COUNTED_SIDE = 96
"""LR side on which multiply-adds are counted: large enough that padding to windows hardly matters."""


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


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Context manager: ``flops`` of the convolutions and matrix products, by torch's own formulas."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # as in memory.PeakMemory

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        formula = flop_registry.get(func._overloadpacket)
        if formula is None:
            with self:  # a composite operation counts by its parts
                result = func.decompose(*args, **options)
            return func(*args, **options) if result is NotImplemented else result
        result = func(*args, **options)
        self.flops += int(formula(*args, **options, out_val=result))
        return result


def _count(model: SRModel, height: int, width: int) -> int:
    lr, hr = blank_images(model, height, width, device_of(model))
    counter = _Operations()
    with counter:
        model.infer(lr, oracle_hr=hr)
    return counter.flops // 2
