"""The processes of a run: one by default, several under ``torchrun`` (gloo on CPU, nccl on CUDA).

Every process holds the same networks and optimisers and works on its share of the global batch; gradients are
averaged by an all-reduce after each backward pass. torch's DistributedDataParallel would overlap that with
the backward pass, but it waits for every parameter that the outputs reach, which a recipe may leave out of a
stage's loss, and it does not support gradient penalties; one plain all-reduce serves all networks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from srbench.utils.errors import SrbenchError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Processes:
    """This process among those of the run.

    Attributes:
        device: where this process computes.
        rank: its number.
        world: how many there are.
        local_world: how many of them are on this machine.
    """

    device: torch.device
    rank: int = 0
    world: int = 1
    local_world: int = 1

    @property
    def main(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This process's part of a list."""
        return items[self.rank :: self.world]

    def gather(self, value: Any) -> list[Any]:
        """Everybody's value, by rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def from_main(self, value: Item) -> Item:
        """The main process's value, on all."""
        if self.world == 1:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        result: Item = box[0]
        return result

    def any(self, flag: bool) -> bool:
        """Whether the flag is up on any process."""
        if self.world == 1:
            return flag
        votes = torch.tensor(int(flag), device=self.device)
        dist.all_reduce(votes, dist.ReduceOp.MAX)
        return bool(votes.item())

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, in one message."""
        collected = list(tensors)
        if self.world == 1 or not collected:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in collected])
        dist.all_reduce(flat)
        parts = torch.split(flat / self.world, [tensor.numel() for tensor in collected])
        for tensor, part in zip(collected, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average the gradients; one missing here may be there elsewhere, so it counts as zero."""
        if self.world == 1:
            return
        gradients = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        self.average(gradients)

    def copy_buffers(self, module: nn.Module) -> None:
        """Everybody takes the main process's buffers: each share of a batch gives its own statistics."""
        if self.world > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)


@contextmanager
def join(device: str) -> Iterator[Processes]:
    """The processes of this run; starts and ends the group under ``torchrun``.

    Args:
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises:
        SrbenchError: no such device on this machine.
    """
    chosen = choose_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        with _current(chosen):
            yield Processes(chosen)
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    with _current(chosen):
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
        local_world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        try:
            yield Processes(chosen, dist.get_rank(), dist.get_world_size(), local_world)
        finally:
            dist.destroy_process_group()


def _current(device: torch.device) -> AbstractContextManager[object]:
    """Make a CUDA device the current one, whose random stream and memory the run accounts for."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def choose_device(name: str) -> torch.device:
    """The torch device a user means.

    Raises:
        SrbenchError: not a device, or not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SrbenchError(f"{name!r} is not a device; use auto, cpu, cuda, cuda:1 or mps.") from error
    available = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= available.get(device.type, 0):
        raise SrbenchError(
            f"Device {name!r} is not on this machine ({available['cuda']} CUDA devices). Use --device auto."
        )
    return device
