"""Averaged weights: an exponential moving average over parameters and buffers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class AveragedWeights:
    """Exponential moving average of a network's state.

    Buffers are averaged too: the running statistics of batch normalisation belong to the weights they were
    gathered with, and a network that averages only its parameters is evaluated with statistics of another.
    The decay warms up as ``min(decay, (1 + n) / (10 + n))`` after ``n`` updates, so that a short run is not
    dominated by its initial weights.

    Args:
        network: the network to follow.
    """

    def __init__(self, network: nn.Module) -> None:
        self.updates = 0
        self.average = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, decay: float) -> None:
        """Take in the network's present state."""
        decay = min(decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        state = network.state_dict()
        real = [name for name, average in self.average.items() if average.is_floating_point()]
        # One call for all tensors: a network has hundreds of them, and each launch costs.
        torch._foreach_lerp_([self.average[name] for name in real], [state[name] for name in real], 1 - decay)
        for name in self.average.keys() - set(real):
            self.average[name].copy_(state[name])

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[None]:
        """The network holds the averaged weights inside, its own again afterwards."""
        own = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        _copy_into(network, self.average)
        try:
            yield
        finally:
            _copy_into(network, own)

    def state(self) -> dict[str, object]:
        """What a checkpoint keeps."""
        return {"updates": self.updates, "average": self.average}

    def load(self, state: Mapping[str, object]) -> None:
        """Take back what :meth:`state` gave."""
        saved = state["average"]
        assert isinstance(saved, Mapping)
        self.updates = int(str(state["updates"]))
        for name, tensor in self.average.items():
            tensor.copy_(saved[name])


@torch.no_grad()
def _copy_into(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    for name, tensor in network.state_dict().items():
        tensor.copy_(state[name])
