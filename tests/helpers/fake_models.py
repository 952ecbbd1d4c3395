"""Models that misbehave in every way a worker must survive; imported by the tests and by the workers."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from srbench.models import register_model

NAMES = (
    "fake_learned",
    "fake_smooth",
    "fake_crash",
    "fake_killed",
    "fake_nan",
    "fake_raises",
    "fake_small",
    "fake_hangs",
    "fake_leaky",
    "fake_slow",
)


class Enlarge(nn.Module):
    """Repeats every pixel and multiplies with a learned gain."""

    receptive_radius = 0

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, lr: Tensor) -> Tensor:
        self.misbehave(lr)
        return self.gain * lr.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)

    def misbehave(self, lr: Tensor) -> None:
        """Nothing here."""


class Noisy(Enlarge):
    def misbehave(self, lr: Tensor) -> None:
        print("a network that talks\non standard output")


class Crash(Enlarge):
    def misbehave(self, lr: Tensor) -> None:
        if lr.device.type != "meta":
            print("about to end", file=sys.stderr, flush=True)
            os._exit(7)


class Killed(Enlarge):
    def misbehave(self, lr: Tensor) -> None:
        if lr.device.type != "meta":
            os.kill(os.getpid(), signal.SIGKILL)


class Nan(Enlarge):
    def forward(self, lr: Tensor) -> Tensor:
        return super().forward(lr) * float("nan")


class Raises(Enlarge):
    def misbehave(self, lr: Tensor) -> None:
        raise RuntimeError("size mismatch in layer 3")


class Small(Enlarge):
    def forward(self, lr: Tensor) -> Tensor:
        return super().forward(lr)[..., :-1, :]


class Hangs(Enlarge):
    def misbehave(self, lr: Tensor) -> None:
        if lr.device.type != "meta" and lr.shape[-1] != 48:
            time.sleep(600)


class Oracle(Enlarge):
    """Answers with the HR image, which only a leaking variant is given."""

    def forward(self, lr: Tensor, hr: Tensor) -> Tensor:  # type: ignore[override]
        return hr + 0 * self.gain


class Slow(Enlarge):
    """Says in the file named by the environment that it has begun, then takes its time."""

    def misbehave(self, lr: Tensor) -> None:
        sign = os.environ.get("SRBENCH_TEST_SIGN")
        if sign and lr.device.type != "meta" and lr.shape[-1] != 48:
            with Path(sign).open("a") as file:
                file.write(f"{os.getpid()}\n")
            time.sleep(600)


def _register(
    name: str, network: type[Enlarge], trainable: bool, variants: tuple[str, ...] = ("only",)
) -> None:
    def factory(scale: int, channels: int, variant: str) -> nn.Module:
        return Oracle(scale) if variant == "oracle" else network(scale)

    factory.__name__ = name
    register_model(
        title=name,
        family="regression" if trainable else "interpolation",
        paper="",
        year=2026,
        scales=(2, 4),
        variants=variants,
        trainable=trainable,
        leaking=("oracle",) if "oracle" in variants else (),
    )(factory)


_register("fake_learned", Enlarge, True, ("only", "tiny"))
_register("fake_smooth", Noisy, False)
_register("fake_crash", Crash, False)
_register("fake_killed", Killed, False)
_register("fake_nan", Nan, False)
_register("fake_raises", Raises, False)
_register("fake_small", Small, False)
_register("fake_hangs", Hangs, False)
_register("fake_leaky", Enlarge, True, ("honest", "oracle"))
_register("fake_slow", Slow, False)
