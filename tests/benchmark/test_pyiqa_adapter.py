"""pyiqa behind the metric registry: the right images go in, missing weights become a reason."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from srbench.evaluation.metrics import pyiqa_metrics
from srbench.evaluation.metrics.registry import Case, MetricUnavailable, get


def case(side: int = 64, seed: int = 0) -> Case:
    random = np.random.default_rng(seed)
    hr = np.round(255 * random.random((side, side))) / 255
    sr = np.round(255 * np.clip(hr + random.normal(0, 0.05, hr.shape), 0, 1)) / 255
    return Case(sr=sr, hr=hr, full_sr=sr, full_hr=hr, lr=hr[::4, ::4], scale=4)


@pytest.fixture(autouse=True)
def _fresh_cache() -> None:
    pyiqa_metrics._network.cache_clear()


def test_grey_is_repeated_and_the_order_is_distorted_then_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """VIF is asymmetric, so the order of the two images matters."""
    seen: list[torch.Tensor] = []

    def create_metric(name: str, device: str) -> object:
        assert (name, device) == ("vif", "cpu")
        return lambda *images: seen.extend(images) or torch.tensor(0.25)

    monkeypatch.setitem(sys.modules, "pyiqa", SimpleNamespace(create_metric=create_metric, __spec__=object()))
    one = case()
    assert get("pyiqa_vif").compute(one) == 0.25
    for tensor, plane in zip(seen, (one.sr, one.hr), strict=True):
        assert tensor.shape == (1, 3, 64, 64)
        assert np.allclose(tensor[0, 2].numpy(), plane)


def test_missing_weights_become_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_metric(name: str, device: str) -> object:
        raise OSError("weights cannot be had")

    monkeypatch.setitem(sys.modules, "pyiqa", SimpleNamespace(create_metric=create_metric, __spec__=object()))
    monkeypatch.setattr(pyiqa_metrics.importlib.metadata, "version", lambda name: "0.0")
    with pytest.raises(MetricUnavailable, match="weights cannot be had"):
        get("pyiqa_dists").compute(case())


def test_not_installed_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyiqa_metrics.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MetricUnavailable, match=r"pip install 'srbench\[pyiqa\]'"):
        get("pyiqa_fsim").compute(case())


def test_pyiqa_itself_orders_a_mild_and_a_strong_distortion() -> None:
    pytest.importorskip("pyiqa", reason="the pyiqa extra is not installed")
    mild = case(128)
    strong_sr = np.clip(mild.hr + np.random.default_rng(5).normal(0, 0.3, mild.hr.shape), 0, 1)
    strong = Case(sr=strong_sr, hr=mild.hr, full_sr=strong_sr, full_hr=mild.hr, lr=mild.lr, scale=4)
    for name in ("pyiqa_fsim", "pyiqa_vif"):
        assert get(name).compute(mild) > get(name).compute(strong)
