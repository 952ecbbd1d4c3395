"""Which device to run on, how much memory it has, and how much a forward pass needs.

The need is counted, not guessed: the network runs once on torch's meta device (shapes without numbers) while
every tensor's creation and release is followed.
"""

from __future__ import annotations

import copy
import dataclasses
import weakref
from collections import Counter
from collections.abc import Mapping
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from srbench.models import SRModel
from srbench.utils.errors import SrbenchError
from srbench.utils.memory import available_memory

WORKSPACE_FACTOR = 2.0
"""Convolution libraries reorder and unfold tensors in buffers of their own that torch does not see."""


def pick_device(name: str) -> torch.device:
    """The device called ``name``; with ``auto`` a CUDA device where there is one, else the CPU.

    Raises:
        SrbenchError: a CUDA device was requested and there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise SrbenchError(
            f"Device {name!r} was asked for, but torch finds no CUDA device; use --device cpu."
        )
    return torch.device(name)


class PeakMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Context manager: ``peak`` is the largest number of bytes that were alive at once in new tensors."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._alive = 0
        self._views: Counter[int] = Counter()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Else torch imports its compiler, seconds of it, only to keep it away from the method below.
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        existing = {_storage(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._follow(leaf, existing)
        return result

    def _follow(self, tensor: Tensor, existing: set[int]) -> None:
        storage = _storage(tensor)
        if storage in existing and not self._views[storage]:
            return  # a view of a weight or of the input, which were there before
        size = tensor.untyped_storage().nbytes()
        if not self._views[storage]:
            self._alive += size
            self.peak = max(self.peak, self._alive)
        self._views[storage] += 1
        weakref.finalize(tensor, self._forget, storage, size)

    def _forget(self, storage: int, size: int) -> None:
        self._views[storage] -= 1
        if not self._views[storage]:
            del self._views[storage]
            self._alive -= size


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def on_meta(model: SRModel) -> SRModel:
    """The same model with a copy of its network on the meta device."""
    return dataclasses.replace(model, network=copy.deepcopy(model.network).to("meta"))


def activation_bytes(model: SRModel, height: int, width: int) -> int:
    """Bytes a forward pass of one ``height x width`` LR image needs at its peak, without the weights.

    A network that cannot run without numbers is run on a small image and its need scaled with the area.
    """
    try:
        return count_peak(on_meta(model), height, width)
    except Exception:  # whatever a network does that the meta device lacks
        side = max(model.size_multiple, 32)
        return count_peak(model, side, side) * height * width // side**2


def count_peak(model: SRModel, height: int, width: int) -> int:
    """Peak bytes of the tensors one inference makes, on the device of the network."""
    counter = PeakMemory()
    infer_blank(model, height, width, counter)
    return counter.peak


def infer_blank(model: SRModel, height: int, width: int, counter: TorchDispatchMode) -> None:
    """Super-resolve a black LR image while ``counter`` follows every operation."""
    lr, hr = blank_images(model, height, width, device_of(model))
    with counter:
        model.infer(lr, oracle_hr=hr)


def blank_images(
    model: SRModel, height: int, width: int, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """A black ``height x width`` LR image, and a black HR image for a leaking variant."""
    lr = torch.zeros(1, model.channels, height, width, device=device)
    sides = height * model.scale, width * model.scale
    return lr, lr.new_zeros(1, model.channels, *sides) if model.leaking else None


def device_of(model: SRModel) -> torch.device:
    """Where the network's tensors are (CPU for a network without any)."""
    for tensor in (*model.network.parameters(), *model.network.buffers()):
        return torch.device(tensor.device)
    return torch.device("cpu")


def available_bytes(device: torch.device) -> int:
    """Memory that can still be taken on ``device``, within the process's limits where it is the CPU's."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return available_memory()


def peak_resident_bytes() -> int:
    """Largest resident size this process ever had."""
    try:
        import resource
        import sys

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    except ImportError:  # Windows
        info: Any = psutil.Process().memory_info()
        return int(getattr(info, "peak_wset", info.rss))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on whichever device."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    text = str(error).lower()
    signs = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")
    return isinstance(error, RuntimeError) and any(sign in text for sign in signs)


def reset_peak(device: torch.device) -> None:
    """Start counting the peak anew where the device can (a process cannot forget its own)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """Most bytes held at once: tensors on a CUDA device, the resident size of the process on the CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return peak_resident_bytes()
