"""Every registered model in tiles: the pixels of the whole image, or a stated distance from them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from srbench.inference import tiling
from srbench.inference.tiling import Tiler
from srbench.models import SRModel, create, list_models

CARDS = list_models()
VARIANTS = [(card.name, variant) for card in CARDS for variant in card.variants]
SMALLEST = [
    # csm_sr looks far: even of its tiny variant the measured radius takes seconds.
    pytest.param(card.name, card.variants[-1], marks=[pytest.mark.slow] if card.name == "csm_sr" else [])
    for card in CARDS
]

GLOBAL_BOUND = 0.02
"""Mean difference in [0, 1] allowed where a network looks at the whole image and a tile cannot show it."""


def build(name: str, variant: str) -> SRModel:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    scales = next(card.scales for card in CARDS if card.name == name)
    model = create(name, scale=4 if 4 in scales else scales[-1], variant=variant)
    wake(model.network)
    return model


def wake(network: nn.Module) -> None:
    """Give layers that start at zero small weights, so that nothing is hidden behind them."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1 and not parameter.any():
                parameter.normal_(std=0.02)


def whole_and_tiled(model: SRModel, height: int, width: int, tile: int) -> tuple[torch.Tensor, torch.Tensor]:
    lr = torch.nn.functional.avg_pool2d(torch.rand(1, 1, height + 2, width + 2), 3, 1)
    hr = lr.repeat_interleave(model.scale, -1).repeat_interleave(model.scale, -2) if model.leaking else None
    run = Tiler(model, tile=tile)(lr, oracle_hr=hr)
    assert run.tiles > 1
    assert run.exact == math.isfinite(Tiler(model).radius)
    whole = Tiler(model, tile=max(height, width))(lr, oracle_hr=hr)
    assert whole.tiles == 1
    return whole.sr, run.sr


@pytest.mark.slow
@pytest.mark.parametrize("sides", [(16, 33), (50, 71)], ids=str)
@pytest.mark.parametrize(("name", "variant"), SMALLEST)
def test_tiles_of_small_networks_equal_the_whole(
    name: str, variant: str, sides: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiling, "GLOBAL_HALO", 16)
    model = build(name, variant)
    whole, tiled = whole_and_tiled(model, *sides, tile=16)
    if math.isfinite(Tiler(model).radius):
        torch.testing.assert_close(tiled, whole, atol=2e-6, rtol=0)
    else:
        assert (tiled - whole).abs().mean() < GLOBAL_BOUND


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_every_variant_runs_in_tiles(name: str, variant: str) -> None:
    whole, tiled = whole_and_tiled(build(name, variant), 17, 8, tile=16)
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)
