"""A limit of memory makes tiles; where the smallest does not fit, nothing is tried."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from srbench.inference import tiling
from srbench.inference.tiling import Tiler
from srbench.models import ModelCard, SRModel
from srbench.models.recipe import default_recipe
from srbench.utils.errors import SrbenchError


class Blur(nn.Module):
    """A convolution, then pixels repeated; counts its runs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 4, 3, padding=1)
        self.runs = 0

    def forward(self, lr: Tensor) -> Tensor:
        self.runs += lr.device.type != "meta"
        return nn.functional.pixel_shuffle(torch.sigmoid(self.layer(lr)), 2)


@pytest.fixture
def model() -> SRModel:
    card = ModelCard("fake", "Fake", "regression", "", 2026, (2,), ("only",))
    return SRModel(Blur(), card, 2, 1, "only", default_recipe)


@pytest.mark.parametrize("tile", [None, 16, 4096])
def test_what_cannot_fit_is_refused_with_both_numbers_before_the_attempt(
    model: SRModel, monkeypatch: pytest.MonkeyPatch, tile: int | None
) -> None:
    monkeypatch.setattr(tiling, "available_bytes", lambda device: 1_000_000)
    with pytest.raises(SrbenchError, match=r"4\.\d MB of memory.* 1\.0 MB"):
        Tiler(model, tile=tile)(torch.zeros(1, 1, 500, 500))
    assert model.network.runs == 0


def test_what_fits_in_small_tiles_is_run_in_them(model: SRModel, monkeypatch: pytest.MonkeyPatch) -> None:
    lr = torch.rand(1, 1, 100, 100)
    whole = Tiler(model, output="uint8")(lr)
    monkeypatch.setattr(tiling, "available_bytes", lambda device: 200_000)
    result = Tiler(model, output="uint8")(lr)
    assert result.tiles > whole.tiles == 1 and torch.equal(result.sr, whole.sr)


SCRIPT = """
import resource, torch
from srbench import models
from srbench.inference.tiling import Tiler
from srbench.utils.errors import SrbenchError
torch.set_num_threads(1)
model = models.create("edsr", scale=2, channels=1, variant="tiny")
Tiler(model)(torch.zeros(1, 1, 48, 48))
vms = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (vms + 60_000_000, -1))
result = Tiler(model, output="uint8")(torch.zeros(1, 1, 500, 500))
print(result.tiles, result.retries)
try:
    Tiler(model).tiling(5000, 5000)
except SrbenchError as error:
    print("refused")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a limit of Linux")
def test_under_a_limit_of_the_kernel_an_image_is_tiled_or_refused() -> None:
    """60 MB left: 500 x 500 pixels go through without running out once; 5,000 x 5,000 are refused."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, cwd="/")
    tiles, retries, refused = done.stdout.split()
    assert int(tiles) > 1 and int(retries) == 0 and refused == "refused"
