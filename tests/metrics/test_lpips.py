"""LPIPS with a trunk from disk: checked, built once, never downloaded, fed the range it was made for."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from srbench.evaluation.scorer import measure
from srbench.metrics import lpips as metric
from srbench.metrics import registry
from srbench.metrics.registry import Case, MetricUnavailable
from srbench.utils.image import Plane
from srbench.weights import imagenet as pretrained


@pytest.fixture(autouse=True)
def _empty_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*_: Any) -> None:
        raise AssertionError("the network was reached")

    monkeypatch.setenv("SRBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    metric._installed_network.cache_clear()
    yield
    metric._installed_network.cache_clear()


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """The convolutions of an AlexNet with random weights."""
    from torchvision.models import alexnet

    torch.manual_seed(0)
    with torch.device("meta"):
        shapes = alexnet(weights=None).features.state_dict(prefix="features.")
    return {name: 0.02 * torch.randn(tensor.shape) for name, tensor in shapes.items()}


@pytest.fixture
def trunk(
    state: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, torch.Tensor]:
    """A file of them, named as PyTorch would name it."""
    folder = tmp_path / "home" / "weights"
    folder.mkdir(parents=True)
    torch.save(state, folder / "new.pth")
    digest = hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()
    name = f"alexnet-owt-{digest[:8]}.pth"
    (folder / "new.pth").rename(folder / name)
    files = {**pretrained.FILES, "alexnet": replace(pretrained.FILES["alexnet"], file=name)}
    monkeypatch.setattr(pretrained, "FILES", files)
    return state


def case(noise: float = 0.1, side: int = 48) -> Case:
    generator = np.random.default_rng(0)
    hr: Plane = generator.random((side, side))
    sr = np.clip(hr + noise * generator.standard_normal(hr.shape), 0, 1)
    return Case(sr=sr, hr=hr, full_sr=sr, full_hr=hr, lr=hr[::2, ::2], scale=2)


def test_without_a_trunk_the_reason_names_file_url_and_folder(tmp_path: Path) -> None:
    reason = registry.get("lpips").needs()
    assert "alexnet-owt-7be5be79.pth" in reason
    assert "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth" in reason
    assert "folder weights" in reason and str(tmp_path) not in reason  # scores that hold it are published
    value, why = measure(registry.get("lpips"), case())
    assert np.isnan(value) and "alexnet-owt-7be5be79.pth" in why


def test_a_trunk_with_other_bytes_than_its_name_says_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "alexnet-owt-7be5be79.pth").write_bytes(b"not AlexNet")
    assert "is not what its name says" in registry.get("lpips").needs()


@pytest.mark.slow
def test_values_are_those_of_the_package_fed_the_range_it_expects(trunk: dict[str, torch.Tensor]) -> None:
    import lpips as package

    assert registry.get("lpips").needs() == ""
    pair = case()
    value, why = measure(registry.get("lpips"), pair)
    assert why == "" and value > 0
    network = package.LPIPS(net="alex", pnet_rand=True, verbose=False)
    features = {name.removeprefix("features."): tensor for name, tensor in trunk.items()}
    for name, tensor in network.net.named_parameters():
        tensor.data.copy_(features[name.partition(".")[2]])
    inputs = [torch.tensor(plane, dtype=torch.float32).repeat(1, 3, 1, 1) for plane in (pair.sr, pair.hr)]
    expected = float(network(*inputs, normalize=True))
    assert value == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_identical_images_have_distance_zero_and_more_noise_more(trunk: dict[str, torch.Tensor]) -> None:
    values = [measure(registry.get("lpips"), case(noise))[0] for noise in (0.0, 0.05, 0.3)]
    assert values[0] == 0.0 and values[0] < values[1] < values[2]
    assert metric._installed_network.cache_info().misses == 1  # built once


def test_a_small_image_is_refused() -> None:
    with pytest.raises(MetricUnavailable, match="32 x 32"):
        registry.get("lpips").compute(case(side=20))


def test_it_is_labelled_perceptual() -> None:
    lpips = registry.get("lpips")
    assert lpips.family == "perceptual" and "not evidence of structure" in lpips.explanation
    assert lpips.direction == "lower" and lpips.id == "lpips-alex-0.1"
