"""Costs against numbers worked out by hand, and devices that are not there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from srbench.inference.device import is_out_of_memory, pick_device
from srbench.inference.profiling import (
    count_parameters,
    gigamacs_per_megapixel,
    measured_radius,
    megabytes_per_megapixel,
    multiply_adds,
)
from srbench.models import ModelCard, SRModel, create
from srbench.models.recipe import default_recipe
from srbench.utils.errors import SrbenchError


def model_of(network: nn.Module) -> SRModel:
    card = ModelCard("fake", "Fake", "regression", "", 2026, (2,), ("only",))
    return SRModel(network, card, 2, 1, "only", default_recipe)


class Hand(nn.Module):
    """A 3 x 3 convolution to 8 channels and a 1 x 1 convolution to 4: 72 + 32 multiply-adds an LR pixel."""

    def __init__(self, on_numbers: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 4, 1, bias=False)
        self.on_numbers = on_numbers

    def forward(self, lr: Tensor) -> Tensor:
        if self.on_numbers:
            lr = lr + float(lr.sum().item())  # impossible without numbers
        return nn.functional.pixel_shuffle(self.second(self.first(lr)), 2)


class Attention(nn.Module):
    """Scores between all pixels and their weighted mean: 2 * 5 * n^2 multiply-adds for n pixels."""

    def forward(self, lr: Tensor) -> Tensor:
        tokens = lr.flatten(2).mT.expand(-1, -1, 5)
        mixed = torch.softmax(tokens @ tokens.mT, dim=-1) @ tokens
        image = mixed[..., 0].unflatten(-1, lr.shape[-2:])[:, None]
        return image.repeat_interleave(2, 2).repeat_interleave(2, 3)


@pytest.mark.parametrize("on_numbers", [False, True])
def test_multiply_adds_and_parameters_are_those_counted_by_hand(on_numbers: bool) -> None:
    model = model_of(Hand(on_numbers))
    assert count_parameters(model.network) == 8 * 9 + 8 + 32
    assert multiply_adds(model, 10, 12) == 120 * (72 + 32)
    assert gigamacs_per_megapixel(model) == pytest.approx(104 / 4 / 1e3)


def test_memory_is_that_counted_by_hand() -> None:
    """While the second convolution runs, 8 planes go in and 4 come out: 48 bytes an LR pixel, 4 SR pixels."""
    assert megabytes_per_megapixel(model_of(Hand())) == pytest.approx(12)


def test_matrix_products_of_attention_are_counted() -> None:
    assert multiply_adds(model_of(Attention()), 6, 7) == 2 * 5 * 42**2


@pytest.mark.slow
def test_counts_agree_with_torchs_own_counter_on_a_real_network() -> None:
    model = create("edsr", scale=4, variant="tiny")
    with FlopCounterMode(display=False) as counter:
        model.infer(torch.zeros(1, 1, 24, 24))
    assert multiply_adds(model, 24, 24) == counter.get_total_flops() // 2


class SinglePrecision(nn.Module):
    """Reaches two LR pixels, with a kernel that is made in ``forward``."""

    def forward(self, lr: Tensor) -> Tensor:
        return (
            nn.functional.conv2d(lr, torch.ones(1, 1, 5, 5), padding=2)
            .repeat_interleave(2, 2)
            .repeat_interleave(2, 3)
        )


def test_a_network_that_makes_single_precision_is_probed_in_it() -> None:
    assert measured_radius(model_of(SinglePrecision())) == 2


def test_counting_leaves_the_model_where_it_was() -> None:
    model = model_of(Hand())
    multiply_adds(model, 8, 8)
    assert {parameter.device.type for parameter in model.network.parameters()} == {"cpu"}


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")
    with pytest.raises(SrbenchError, match="use --device cpu"):
        pick_device("cuda")


def test_only_lack_of_memory_is_taken_for_lack_of_memory() -> None:
    assert is_out_of_memory(RuntimeError("CUDA error: out of memory"))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not is_out_of_memory(ValueError("not enough memory"))
