"""Tiles equal the whole image, memory limits are kept, and running out of memory loses nothing."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from srbench.inference import device as memory
from srbench.inference import tiling as tiling_module
from srbench.inference.profiling import measured_radius
from srbench.inference.tiling import Inference, Tiler
from srbench.models import ModelCard, SRModel, create
from srbench.models.recipe import default_recipe
from srbench.utils.errors import SrbenchError

torch.set_num_threads(1)


def infer(model: SRModel, lr: Tensor, **options: Any) -> Inference:
    return Tiler(model, **options)(lr)


def model_of(network: nn.Module, scale: int = 2, channels: int = 1) -> SRModel:
    described = ModelCard("fake", "Fake", "regression", "", 2026, (scale,), ("only",))
    return SRModel(network, described, scale, channels, "only", default_recipe)


class Net(nn.Module):
    """Some convolutions, each looking ``dilation`` pixels far, and sub-pixel upsampling."""

    def __init__(self, scale: int = 2, depth: int = 3, dilation: int = 1, channels: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers: list[nn.Module] = [nn.Conv2d(channels, 6, 3, padding=1)]
        layers += [nn.Conv2d(6, 6, 3, padding=dilation, dilation=dilation) for _ in range(depth - 1)]
        self.layers = nn.ModuleList(layers)
        self.last = nn.Conv2d(6, channels * scale**2, 1)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, lr: Tensor) -> Tensor:
        x = lr
        for layer in self.layers:
            x = torch.tanh(layer(x))
        sr: Tensor = self.shuffle(self.last(x)) * 0.2 + 0.5
        return sr


class Windowed(nn.Module):
    """Each 4 x 4 window sees its own mean, then a convolution: only sizes divisible by 4 work."""

    size_multiple = 4

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.mix = nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        if lr.shape[-1] % 4 or lr.shape[-2] % 4:
            raise ValueError("not divisible")
        mean = nn.functional.avg_pool2d(lr, 4)
        sr: Tensor = nn.functional.pixel_shuffle(
            self.mix(lr - mean.repeat_interleave(4, 2).repeat_interleave(4, 3)), 2
        )
        return sr + 0.5


class Normalised(nn.Module):
    """Looks at the whole image."""

    receptive_radius = math.inf

    def forward(self, lr: Tensor) -> Tensor:
        flat = (lr - lr.mean(dim=(2, 3), keepdim=True)) * 0.5 + 0.5
        return flat.repeat_interleave(2, 2).repeat_interleave(2, 3)


def image(height: int, width: int, channels: int = 1) -> Tensor:
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(3))


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    height=st.integers(1, 47),
    width=st.integers(1, 47),
    tile=st.integers(1, 60),
    depth=st.integers(1, 3),
    dilation=st.integers(1, 3),
)
def test_tiles_equal_the_whole_image(height: int, width: int, tile: int, depth: int, dilation: int) -> None:
    model = model_of(Net(depth=depth, dilation=dilation))
    lr = image(height, width)
    tiled = infer(model, lr, tile=tile)
    assert tiled.exact
    torch.testing.assert_close(tiled.sr, model.infer(lr), atol=1e-5, rtol=0)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(height=st.integers(1, 41), width=st.integers(1, 41), tile=st.integers(1, 30))
def test_tiles_of_a_windowed_network_keep_its_grid(height: int, width: int, tile: int) -> None:
    model = model_of(Windowed())
    lr = image(height, width)
    tiled = infer(model, lr, tile=tile)
    assert tiled.exact and tiled.tile % 4 == 0
    torch.testing.assert_close(tiled.sr, model.infer(lr), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_a_declared_radius_is_trusted_and_a_missing_one_measured() -> None:
    assert measured_radius(model_of(Net(depth=3))) == 3
    assert measured_radius(model_of(Net(depth=3, dilation=2))) == 5
    assert measured_radius(model_of(Normalised()), last_side=96) == math.inf
    assert 4 <= measured_radius(model_of(Windowed())) <= 8
    declared = Net(depth=3)
    declared.receptive_radius = 9.0  # type: ignore[assignment]
    assert Tiler(model_of(declared)).radius == 9


@pytest.mark.slow
def test_a_memory_limit_makes_tiles_and_the_same_image() -> None:
    model = model_of(Net())
    lr = image(120, 90)
    whole = memory.activation_bytes(model, 120, 90) * memory.WORKSPACE_FACTOR
    limited = infer(model, lr, max_bytes=int(whole / 5))
    assert limited.tiles > 4 and limited.exact
    assert infer(model, lr, max_bytes=int(whole) + 1).tiles == 1
    torch.testing.assert_close(limited.sr, model.infer(lr), atol=1e-5, rtol=0)


def test_on_a_cpu_tiles_are_small_where_that_runs_few_pixels_more(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(Net())
    budget = memory.activation_bytes(model, 160, 160) * memory.WORKSPACE_FACTOR
    monkeypatch.setattr(tiling_module, "ENOUGH_ON_CPU", budget)
    monkeypatch.setattr(tiling_module, "available_bytes", lambda device: 1e12)
    chosen = Tiler(model).tiling(400, 330)
    monkeypatch.setattr(tiling_module, "MORE_PIXELS", 0.0)
    largest = Tiler(model).tiling(400, 330)
    assert chosen.exact and chosen.tile < 0.6 * largest.tile and chosen.halo == largest.halo == 3

    def pixels(side: int) -> int:
        starts = [
            (start, min(start + side, whole), whole)
            for whole in (400, 330)
            for start in range(0, whole, side)
        ]
        rows, columns = (
            sum(min(end + 3, size) - max(start - 3, 0) for start, end, size in starts if size == whole)
            for whole in (400, 330)
        )
        return rows * columns

    assert pixels(chosen.tile) <= 1.1 * pixels(largest.tile)


def test_what_a_network_needs_is_found_out_once_until_its_weights_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted: list[tuple[int, int]] = []

    def count(model: SRModel, height: int, width: int) -> int:
        del model
        counted.append((height, width))
        return height * width

    monkeypatch.setattr(tiling_module, "activation_bytes", count)
    monkeypatch.setattr(tiling_module, "measured_radius", lambda model: float(len(counted)))
    network = Net()
    for _ in range(2):
        assert Tiler(model_of(network)).tiling(40, 40).tile == 40
    assert counted == [(40, 40)] and Tiler(model_of(network)).radius == 1.0
    Tiler(model_of(network)).tiling(44, 40)
    assert len(counted) == 2 and Tiler(model_of(network)).radius == 1.0
    with torch.no_grad():
        network.last.weight.mul_(2.0)
    assert Tiler(model_of(network)).radius == 2.0
    assert Tiler(model_of(Net())).tiling(40, 40).tile == 40 and len(counted) == 3


@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_on_a_cpu_is_given_the_same_values_with_the_channels_last(channels: int) -> None:
    seen: list[Tensor] = []

    class Seen(Net):
        def forward(self, lr: Tensor) -> Tensor:
            if lr.device.type == "cpu" and lr.dtype == torch.float32:  # not where it is only examined
                seen.append(lr)
            return super().forward(lr)

    model = model_of(Seen(channels=channels), channels=channels)
    lr = image(31, 40, channels)
    result = infer(model, lr, tile=16)
    assert {given.stride(1) for given in seen} == {1} and {given.stride(3) for given in seen} == {channels}
    torch.testing.assert_close(result.sr, model.infer(lr), atol=1e-5, rtol=0)


def test_what_is_counted_on_the_meta_device_is_what_the_cpu_allocates() -> None:
    model = model_of(Net())
    assert memory.activation_bytes(model, 40, 56) == memory.count_peak(model, 40, 56)
    assert memory.activation_bytes(model, 80, 56) == 2 * memory.activation_bytes(model, 40, 56)


def test_a_chain_of_operations_keeps_only_what_is_alive() -> None:
    pixels = 64 * 64 * 4
    with memory.PeakMemory() as counter:
        x = torch.zeros(1, 1, 64, 64)
        for _ in range(10):
            x = x + 1.0
    assert counter.peak == 2 * pixels


@pytest.mark.slow
def test_a_global_network_is_whole_where_it_fits_and_flagged_where_not() -> None:
    model = model_of(Normalised())
    lr = image(200, 200)
    whole = infer(model, lr)
    assert whole.exact and whole.tiles == 1
    tiled = infer(model, lr, tile=64)
    assert not tiled.exact and tiled.summary()["exact"] is False
    limited = infer(model, lr, max_bytes=memory.activation_bytes(model, 100, 100))
    assert not limited.exact and limited.tiles > 1 and limited.sr.shape == (1, 1, 400, 400)


class Scarce(nn.Module):
    """Runs out of memory above a number of pixels, in the words of the given error."""

    def __init__(self, limit: int, error: Exception) -> None:
        super().__init__()
        self.inner = Net()
        self.limit = limit
        self.error = error
        self.receptive_radius = 3

    def forward(self, lr: Tensor) -> Tensor:
        if lr.shape[-1] * lr.shape[-2] > self.limit and lr.device.type != "meta":
            raise self.error
        sr: Tensor = self.inner(lr)
        return sr


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("not enough memory: you tried to allocate 1 bytes."),
        MemoryError(),
    ],
)
def test_running_out_of_memory_makes_smaller_tiles_not_wrong_pixels(error: Exception) -> None:
    model = model_of(Scarce(40 * 40, error))
    lr = image(120, 77)
    result = infer(model, lr)
    assert result.retries > 0 and result.tiles > 4 and result.exact
    torch.testing.assert_close(result.sr, model_of(Net()).infer(lr), atol=1e-5, rtol=0)


def test_running_out_of_memory_in_the_middle_keeps_the_finished_tiles() -> None:
    class Sometimes(Scarce):
        calls = 0

        def forward(self, lr: Tensor) -> Tensor:
            self.calls += lr.device.type != "meta"
            self.limit = 30 * 30 if self.calls == 4 else 1 << 30
            return super().forward(lr)

    model = model_of(Sometimes(0, MemoryError()))
    lr = image(96, 96)
    result = infer(model, lr, tile=32)
    assert result.retries == 1
    torch.testing.assert_close(result.sr, model_of(Net()).infer(lr), atol=1e-5, rtol=0)


def test_memory_that_never_suffices_is_an_error_not_an_endless_loop() -> None:
    with pytest.raises(SrbenchError, match=r"does not fit into the memory of cpu even in tiles"):
        infer(model_of(Scarce(2, MemoryError())), image(40, 40))


def test_another_error_is_not_taken_for_memory() -> None:
    model = model_of(Scarce(2, RuntimeError("mat1 and mat2 shapes cannot be multiplied")))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        infer(model, image(40, 40))


def test_nan_is_an_error() -> None:
    class Broken(nn.Module):
        def forward(self, lr: Tensor) -> Tensor:
            return nn.functional.pixel_shuffle(lr.expand(-1, 4, -1, -1) / 0.0 * 0.0, 2)

    with pytest.raises(SrbenchError, match="gave NaN"):
        infer(model_of(Broken()), image(8, 8))


def test_eight_bit_output_is_the_rounded_image() -> None:
    model = model_of(Net())
    lr = image(50, 31)
    result = infer(model, lr, tile=20, output="uint8")
    assert result.sr.dtype == torch.uint8
    assert (result.sr - model.infer(lr) * 255.0).abs().max() <= 0.501


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_tiles_on_a_gpu_equal_the_whole_image_on_the_cpu() -> None:
    model = model_of(Net())
    lr = image(100, 77)
    expected = model.infer(lr)
    with torch.backends.cudnn.flags(allow_tf32=False):
        result = infer(model, lr, device="cuda", tile=40)
    torch.testing.assert_close(result.sr, expected, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_a_process_that_is_told_the_needs_chooses_as_one_that_counts_them_and_imports_no_compiler() -> None:
    script = """
import sys
from srbench.inference.device import activation_bytes
from srbench.inference.tiling import Tiler, tell_needs
from srbench.models import create

def tiling(*needs):
    model = create("edsr", scale=4, variant="tiny")
    tell_needs(model.network, needs)
    return Tiler(model, device="cpu", max_bytes=int(1e7)).tiling(60, 60), model

told, _ = tiling(*((side, side, NEEDED[side]) for side in NEEDED))
assert "torch._dynamo" not in sys.modules
counted, model = tiling()
assert told == counted and told.tile < 60, (told, counted)
assert {side: activation_bytes(model, side, side) for side in NEEDED} == NEEDED
"""
    model = create("edsr", scale=4, variant="tiny")
    tiler = Tiler(model, device="cpu", max_bytes=int(1e7))
    tiler.tiling(60, 60)
    needed = {side: needed for (side, _), needed in tiling_module._needs_of(model.network).bytes.items()}
    subprocess.run([sys.executable, "-c", f"NEEDED = {needed}{script}"], check=True)
