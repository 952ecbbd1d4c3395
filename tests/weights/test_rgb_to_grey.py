"""Colour weights on grey networks: exact where it can be, refused where it cannot, never silently wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from srbench import models, weights
from srbench.models import ModelCard, SRModel
from srbench.models.base import GreyShift
from srbench.models.recipe import default_recipe
from srbench.utils.errors import SrbenchError
from srbench.weights import WeightsHeader
from srbench.weights.rgb_to_grey import to_grey

torch.set_num_threads(1)
EXACT = 1e-2
"""Grey levels that float32 rounding may make."""


def wrapped(network: nn.Module, channels: int, scale: int) -> SRModel:
    card = ModelCard("stack", "Stack", "regression", "", 2026, (scale,), ("only",))
    return SRModel(network, card, scale, channels, "only", default_recipe)


class Stack(nn.Module):
    """Convolutions that treat colour as networks do: mixed in the first layer, told apart in the last."""

    def __init__(
        self, channels: int, scale: int, width: int, unshuffle: int, skip: bool, padding: str
    ) -> None:
        super().__init__()
        self.size_multiple = unshuffle
        self.unshuffle = nn.PixelUnshuffle(unshuffle)
        outputs = channels * (scale * unshuffle) ** 2
        self.head = nn.Conv2d(channels * unshuffle**2, width, 3, padding=1, padding_mode=padding)
        self.norm = nn.BatchNorm2d(width)
        self.act = nn.PReLU()
        self.tail = nn.Sequential(nn.Conv2d(width, outputs, 3, padding=1), nn.PixelShuffle(scale * unshuffle))
        self.scale, self.skip = scale, skip

    def forward(self, lr: Tensor) -> Tensor:
        sr: Tensor = self.tail(self.act(self.norm(self.head(self.unshuffle(lr)))))
        if not self.skip:
            return sr
        return sr + lr.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    scale=st.sampled_from([2, 3]),
    width=st.integers(1, 9),
    unshuffle=st.sampled_from([1, 2]),
    skip=st.booleans(),
    padding=st.sampled_from(["zeros", "reflect", "replicate"]),
)
def test_a_stack_of_convolutions_becomes_grey_exactly(
    seed: int, scale: int, width: int, unshuffle: int, skip: bool, padding: str
) -> None:
    torch.manual_seed(seed)
    grey, colour = (
        wrapped(Stack(channels, scale, width, unshuffle, skip, padding), channels, scale)
        for channels in (1, 3)
    )
    proof = to_grey(grey, colour, colour.network.state_dict())
    assert max(proof.interior, proof.border) < EXACT
    lr = torch.rand(2, 1, 12, 14)
    # infer replicates and averages: an image the proof has not seen
    torch.testing.assert_close(grey.infer(lr), colour.infer(lr), rtol=0, atol=1e-4)


class Shifted(nn.Module):
    """Subtracts a mean of each colour and adds it again; may work on every second pixel in between."""

    MEANS = (0.6, 0.3, 0.1)
    GREY = 0.4

    def __init__(self, channels: int, step: int = 1) -> None:
        super().__init__()
        self.step = self.size_multiple = step
        values = self.MEANS if channels == 3 else (self.GREY,)
        self.register_buffer("mean", torch.tensor(values).view(1, -1, 1, 1))
        self.first = nn.Conv2d(channels * step**2, 6, 3, padding=1)
        self.last = nn.Conv2d(6, channels * step**2, 3, padding=1)
        self.receptive_radius = 2 * step + step - 1
        shift = (self.GREY - self.MEANS[0], self.GREY - self.MEANS[1], self.GREY - self.MEANS[2])
        self.grey_shift = GreyShift("first", "last", shift) if channels == 3 else None

    def forward(self, lr: Tensor) -> Tensor:
        mean = self.get_buffer("mean")
        features = torch.relu(self.first(F.pixel_unshuffle(lr - mean, self.step)))
        sr: Tensor = F.pixel_shuffle(self.last(features), self.step) + mean
        return sr


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**20), step=st.sampled_from([1, 2]))
def test_colour_means_are_exact_inside_and_reported_at_the_border(seed: int, step: int) -> None:
    torch.manual_seed(seed)
    grey, colour = (wrapped(Shifted(channels, step), channels, 1) for channels in (1, 3))
    own_mean = grey.network.state_dict()["mean"].clone()
    proof = to_grey(grey, colour, colour.network.state_dict())
    assert proof.interior < EXACT and proof.margin == 3 * step - 1
    assert proof.border > EXACT  # zero padding stands for another colour
    assert torch.equal(grey.network.state_dict()["mean"], own_mean)
    lr = torch.rand(1, 1, 16, 16)
    ours = grey.network(lr)
    theirs = colour.network(lr.expand(-1, 3, -1, -1)).mean(1, keepdim=True)
    inside = slice(proof.margin, -proof.margin)
    torch.testing.assert_close(ours[..., inside, inside], theirs[..., inside, inside], rtol=0, atol=1e-5)


def test_means_that_nobody_declares_are_refused() -> None:
    torch.manual_seed(0)
    grey, colour = wrapped(Shifted(1), 1, 1), wrapped(Shifted(3), 3, 1)
    colour.network.grey_shift = None  # type: ignore[assignment]
    before = {name: tensor.clone() for name, tensor in grey.network.state_dict().items()}
    with pytest.raises(SrbenchError, match=r"off by .* grey levels .*channels=3"):
        to_grey(grey, colour, colour.network.state_dict())
    assert all(torch.equal(tensor, before[name]) for name, tensor in grey.network.state_dict().items())


class Depthwise(nn.Module):
    """Each colour has its own kernel before they are mixed: one grey kernel cannot be three."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depth = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.point = nn.Conv2d(channels, 8, 1)
        self.last = nn.Conv2d(8, channels, 3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        sr: Tensor = self.last(torch.relu(self.point(self.depth(lr))))
        return sr


@pytest.mark.slow
def test_depthwise_first_layers_are_refused() -> None:
    torch.manual_seed(0)
    colour = wrapped(Depthwise(3), 3, 1)
    with pytest.raises(
        SrbenchError, match=r"treats the three colours in a way that one channel cannot repeat"
    ):
        to_grey(wrapped(Depthwise(1), 1, 1), colour, colour.network.state_dict())


class Transposed(nn.Module):
    """The first layer of transposed convolutions has its inputs in front."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, 5, 4, stride=2, padding=1)
        self.last = nn.Conv2d(5, channels, 3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        sr: Tensor = self.last(torch.relu(self.up(lr)))
        return sr


@pytest.mark.slow
def test_transposed_convolutions_are_summed_over_their_inputs() -> None:
    torch.manual_seed(0)
    colour = wrapped(Transposed(3), 3, 2)
    proof = to_grey(wrapped(Transposed(1), 1, 2), colour, colour.network.state_dict())
    assert max(proof.interior, proof.border) < EXACT


def test_another_network_altogether_cannot_be_made_grey() -> None:
    colour = wrapped(Transposed(3), 3, 2)
    wider = Transposed(1)
    wider.up = nn.ConvTranspose2d(1, 7, 4, stride=2, padding=1)
    with pytest.raises(SrbenchError, match=r"cannot be made grey: up\.weight has shape"):
        to_grey(wrapped(wider, 1, 2), colour, colour.network.state_dict())


def saved(path: Path, name: str, variant: str, header: bool = False) -> Path:
    torch.manual_seed(0)
    made = models.create(name, scale=2, channels=3, variant=variant)
    for tensor in made.network.state_dict().values():  # no layer of zeros, which would hide a mistake
        if tensor.is_floating_point() and not tensor.any():
            tensor.normal_(0, 0.05)
    if header:
        weights.save(path, made.network.state_dict(), WeightsHeader(name, variant, 2, 3))
    else:
        torch.save(made.network.state_dict(), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("header", [False, True])
def test_colour_weights_in_a_grey_model_need_a_word(tmp_path: Path, header: bool) -> None:
    path = saved(tmp_path / "w.safetensors" if header else tmp_path / "w.pth", "vdsr", "tiny", header)
    model = models.create("vdsr", scale=2, variant="tiny")
    with pytest.raises(SrbenchError, match=r"3 channels \(RGB\).*channels=3.*--rgb-to-grey"):
        weights.load(model, path)
    drawn = torch.get_rng_state()
    loaded = weights.load(model, path, rgb_to_grey=True)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert loaded.grey is not None and max(loaded.grey.interior, loaded.grey.border) < EXACT
    assert loaded.notes == (loaded.grey.described,) and "converted from colour" in loaded.notes[0]


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        pytest.param("edsr", "baseline", marks=pytest.mark.slow),
        ("edsr", "tiny"),
        pytest.param("srgan", "srresnet", marks=pytest.mark.slow),
        ("swinir", "tiny"),
    ],
)
def test_networks_of_the_benchmark_become_grey(tmp_path: Path, name: str, variant: str) -> None:
    path = saved(tmp_path / "w.pth", name, variant)
    grey, colour = (models.create(name, scale=2, channels=channels, variant=variant) for channels in (1, 3))
    weights.load(colour, path)
    loaded = weights.load(grey, path, rgb_to_grey=True)
    assert loaded.grey is not None and loaded.grey.interior < 0.5
    lr = torch.rand(1, 1, 96, 96) * 0.2 + 0.4
    margin = 2 * loaded.grey.margin
    inside = slice(margin, 192 - margin)
    ours, theirs = (255 * model.infer(lr)[..., inside, inside] for model in (grey, colour))
    assert float((ours - theirs).abs().max()) < 0.5


@pytest.mark.slow
def test_swift_srgan_is_refused_honestly(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", "swift_srgan", "paper")
    with pytest.raises(SrbenchError, match=r"channels=3"):
        weights.load(models.create("swift_srgan", scale=2, variant="paper"), path, rgb_to_grey=True)
