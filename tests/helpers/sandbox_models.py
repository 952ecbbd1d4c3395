"""Models that look for the HR image wherever they can; imported by the tests and by the workers."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path
from types import ModuleType

from torch import Tensor, nn

from srbench.models import register_model

NAMES = ("fake_thief", "fake_thief_at_import")
METHODS = (
    "plain_open",
    "numpy_fromfile",
    "opencv",
    "native_open",
    "child",
    "later_thread",
    "symbolic_link",
    "listing",
    "other_runs",
    "parent_files",
)


def _attacks() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "sandbox_attacks", Path(__file__).with_name("sandbox_attacks.py")
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Thief(nn.Module):
    """Enlarges, after it has tried everything; says what it got."""

    receptive_radius = 0

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, lr: Tensor) -> Tensor:
        if lr.device.type != "meta" and lr.shape[-1] != 48:
            self.steal()
        return lr.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)

    def steal(self) -> None:
        assert Path(tempfile.gettempdir()).is_relative_to(Path.cwd()), tempfile.gettempdir()
        assert Path.home().is_relative_to(Path.cwd()), Path.home()
        attacks, got = _attacks(), []
        for name in METHODS:
            try:
                if attacks.ATTACKS[name]():
                    got.append(name)
            except Exception:
                continue
        if got:
            raise RuntimeError(f"stole by {', '.join(got)}")


def _register(name: str, early: bool) -> None:
    def factory(scale: int, channels: int, variant: str) -> nn.Module:
        if early:
            Path(os.environ["SRBENCH_TEST_HR"]).read_bytes()
        return Thief(scale)

    factory.__name__ = name
    register_model(
        title=name,
        family="interpolation",
        paper="",
        year=2026,
        scales=(4,),
        variants=("only",),
        trainable=False,
    )(factory)


_register("fake_thief", early=False)
_register("fake_thief_at_import", early=True)
