"""pyiqa behind the metric registry: any name, the right images go in, and nothing is fetched or unpickled.

Most tests run against a small package of the same name and layout, whose metrics misbehave one way each.
"""

from __future__ import annotations

import hashlib
import math
import pickle
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from srbench.evaluation.scorer import measure
from srbench.metrics import pyiqa as pyiqa_metrics
from srbench.metrics import registry
from srbench.metrics.perceptual import as_scalar, grey_as_colour
from srbench.metrics.registry import Case, MetricUnavailable, get
from srbench.utils.errors import SrbenchError

SETTINGS = """
def full(lower=False, scores='0, ~1', **options):
    return {'metric_mode': 'FR', 'lower_better': lower, 'score_range': scores, 'metric_opts': options}

DEFAULT_CONFIGS = {
    'vif': full(),
    'lpips': full(lower=True, scores='0, 1', net='alex', version='0.1'),
    'lpips-vgg+': full(lower=True, scores='0, 1', net='vgg', version='0.1'),
    'dists': full(lower=True, scores='0, 1'),
    'topiq_fr': full(scores='~0, ~1', semantic_model_name='resnet50', model_name='fr_res50'),
    'fetches': full(), 'opens': full(), 'connects': full(), 'hub': full(), 'loads': full(), 'late': full(),
    'negative': full(), 'two': full(), 'picky': full(), 'broken': full(),
    'niqe': {'metric_mode': 'NR', 'metric_opts': {}},
}
"""

PACKAGE = """
import os, socket, urllib.request, torch
from pyiqa.utils.download_util import download_url_to_file

FOLDER = os.path.dirname(__file__)
SEEN = []

def create_metric(name, device):
    print('chatter of', name)
    if name == 'fetches':
        url, place = 'https://example.org/w/net-01234567.pth', os.path.join(FOLDER, 'net-01234567.pth')
        download_url_to_file(url, place)
    if name == 'opens':
        urllib.request.urlopen('https://example.org/clip/ViT.pt')
    if name == 'connects':
        socket.create_connection(('127.0.0.1', 9))
    if name == 'hub':
        hf_hub_download('some/net', 'model.safetensors')
    if name == 'loads':
        torch.load(open(os.path.join(FOLDER, 'which')).read(), weights_only=False)
    if name == 'broken':
        raise KeyError('inside')
    def metric(sr, hr):
        SEEN.append((sr, hr))
        if name == 'late':
            torch.hub.download_url_to_file('https://example.org/late.pth', os.path.join(FOLDER, 'late.pth'))
        if name == 'picky':
            raise AssertionError('too small for me')
        return {'negative': torch.tensor(-0.5), 'two': torch.zeros(2)}.get(name, torch.tensor([0.25]))
    return metric

def hf_hub_download(repo_id, filename):
    from huggingface_hub import constants
    raise FileNotFoundError('offline mode' if constants.HF_HUB_OFFLINE else 'retried for 48 s')
"""


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    for cached in (pyiqa_metrics.network, pyiqa_metrics.settings):
        cached.cache_clear()
    yield
    for cached in (pyiqa_metrics.network, pyiqa_metrics.settings):
        cached.cache_clear()


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package called pyiqa, version 9.9; its folder."""
    folder = tmp_path / "site" / "pyiqa"
    (folder / "utils").mkdir(parents=True)
    (folder / "default_model_configs.py").write_text(SETTINGS)
    (folder / "__init__.py").write_text(PACKAGE)
    (folder / "utils" / "__init__.py").touch()
    (folder / "utils" / "download_util.py").write_text("from torch.hub import download_url_to_file\n")
    about = tmp_path / "site" / "pyiqa-9.9.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: pyiqa\nVersion: 9.9\n")
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyiqa"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(folder.parent))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyiqa"]:
        del sys.modules[name]


def case(side: int = 64, seed: int = 0) -> Case:
    random = np.random.default_rng(seed)
    hr = np.round(255 * random.random((side, side))) / 255
    sr = np.round(255 * np.clip(hr + random.normal(0, 0.05, hr.shape), 0, 1)) / 255
    return Case(sr=sr, hr=hr, full_sr=sr, full_hr=hr, lr=hr[::4, ::4], scale=4)


def test_grey_is_repeated_and_the_order_is_distorted_then_reference(fake: Path) -> None:
    """VIF is asymmetric, so the order of the two images matters."""
    one = case()
    assert get("pyiqa_vif").compute(one) == 0.25
    (seen,) = sys.modules["pyiqa"].SEEN
    for tensor, plane in zip(seen, (one.sr, one.hr), strict=True):
        assert tensor.shape == (1, 3, 64, 64) and tensor.dtype == torch.float32
        assert all(np.allclose(channel.numpy(), plane) for channel in tensor[0])


@pytest.mark.parametrize(
    ("name", "identity", "direction", "bounds"),
    [
        ("pyiqa_vif", "pyiqa_vif-pyiqa9.9", "higher", (0.0, math.inf)),
        ("pyiqa_lpips", "pyiqa_lpips-alex-0.1-pyiqa9.9", "lower", (0.0, math.inf)),
        ("pyiqa_lpips-vgg+", "pyiqa_lpips-vgg+-vgg-0.1-pyiqa9.9", "lower", (0.0, math.inf)),
        ("pyiqa_dists", "pyiqa_dists-vgg16-pyiqa9.9", "lower", (0.0, math.inf)),
        ("pyiqa_topiq_fr", "pyiqa_topiq_fr-resnet50-fr_res50-pyiqa9.9", "higher", (-math.inf, math.inf)),
    ],
)
def test_name_network_version_direction_and_range(
    name: str, identity: str, direction: str, bounds: tuple[float, float], fake: Path
) -> None:
    metric = get(name)
    assert (metric.name, metric.id, metric.direction, metric.bounds) == (name, identity, direction, bounds)
    assert get(identity) == get(f"{name}-pyiqa") == metric
    assert get(identity.replace("9.9", "0.1.2")).direction == direction  # a row of another version
    assert not metric.default and metric.per_image and metric.explanation.endswith(".")
    assert "pyiqa" not in sys.modules  # its table is read without the seconds of importing it


def test_learned_metrics_carry_their_label_and_formulas_do_not(fake: Path) -> None:
    assert "perceptual, not evidence of structure" in get("pyiqa_dists").explanation
    assert get("pyiqa_dists").family == "perceptual"
    assert get("pyiqa_vif").family == "fidelity" and "perceptual" not in get("pyiqa_vif").explanation


def test_stored_rows_find_their_metric_again(fake: Path) -> None:
    ids = ["psnr", "pyiqa_lpips-vgg+-vgg-0.1-pyiqa9.9", "pyiqa_vif-pyiqa0.1", "gone", "pyiqa_gone"]
    assert [metric.name for metric in registry.stored(ids)] == ["psnr", "pyiqa_lpips-vgg+"]


@pytest.mark.parametrize("name", ["pyiqa_dist", "pyiqa_niqe"])
def test_unknown_names_and_metrics_without_a_reference_are_refused(name: str, fake: Path) -> None:
    with pytest.raises(SrbenchError, match=r"lpips-vgg\+"):
        get(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fetches", ["net-01234567.pth", "https://example.org/w/net-01234567.pth", "site/pyiqa"]),
        ("opens", ["ViT.pt", "https://example.org/clip/ViT.pt", ".cache/clip"]),
        ("connects", ["download nothing"]),
        ("hub", ["model.safetensors", "https://huggingface.co/some/net", "hf download some/net", "hub"]),
        ("broken", ["pyiqa 9.9 cannot build broken", "KeyError", "inside"]),
    ],
)
def test_what_is_missing_becomes_a_reason_with_file_and_place(
    name: str, words: list[str], fake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metric = get(f"pyiqa_{name}")
    reason = metric.needs()
    assert all(word in reason for word in words), reason
    value, why = measure(metric, case())
    assert math.isnan(value) and why == reason
    assert capsys.readouterr().out == ""


def test_weights_wanted_as_late_as_the_first_image_are_missing_too(fake: Path) -> None:
    assert get("pyiqa_late").needs() == ""
    value, why = measure(get("pyiqa_late"), case())
    assert math.isnan(value) and why.startswith(
        "late.pth is not on disk: download https://example.org/late.pth"
    )


def test_the_doors_open_again(fake: Path) -> None:
    from huggingface_hub import constants

    before = torch.load, torch.hub.download_url_to_file, socket.socket.connect, constants.HF_HUB_OFFLINE
    get("pyiqa_broken").needs()
    get("pyiqa_vif").compute(case())
    after = torch.load, torch.hub.download_url_to_file, socket.socket.connect, constants.HF_HUB_OFFLINE
    assert before == after


class Bomb:
    """Writes a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return Path.touch, (self.path,)


def test_weights_that_hold_more_than_tensors_are_not_unpickled(fake: Path) -> None:
    trace, weights = fake / "exploded", fake / "weights.pth"
    weights.write_bytes(pickle.dumps(Bomb(trace)))
    (fake / "which").write_text(str(weights))
    assert "holds more than tensors" in get("pyiqa_loads").needs()
    assert not trace.exists()


def test_the_hash_in_the_name_of_a_file_is_checked(fake: Path) -> None:
    plain = fake / "plain.pth"
    torch.save({"a": torch.zeros(2)}, plain)
    digest = hashlib.sha256(plain.read_bytes()).hexdigest()[:8]
    right, wrong = fake / f"net-{digest}.pth", fake / "net-0badc0de.pth"
    for path in (right, wrong):
        shutil.copy(plain, path)
    reasons = []
    for path in (plain, right, wrong):
        (fake / "which").write_text(str(path))
        pyiqa_metrics.network.cache_clear()
        reasons.append(get("pyiqa_loads").needs())
    assert reasons[:2] == ["", ""]
    assert "net-0badc0de.pth is not what its name says" in reasons[2] and "Delete it" in reasons[2]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("negative", "gave -0.5, outside its range 0 to inf"),
        ("two", "does not give one number"),
        ("picky", "refuses this image: too small for me"),
    ],
)
def test_answers_that_cannot_be_right_are_no_scores(name: str, reason: str, fake: Path) -> None:
    value, why = measure(get(f"pyiqa_{name}"), case())
    assert math.isnan(value) and reason in why


def test_grey_levels_outside_zero_to_one_are_refused() -> None:
    assert grey_as_colour(np.full((4, 4), 200.0), data_range=255.0).max() <= 1.0
    for wrong in (-0.01, 1.01, math.nan):
        with pytest.raises(MetricUnavailable, match=r"\[0, 1\]"):
            grey_as_colour(np.full((4, 4), wrong))


@pytest.mark.parametrize("answer", [torch.tensor(math.nan), torch.tensor(1.2), None, torch.zeros(0)])
def test_only_as_scalar_within_bounds_is_an_answer(answer: object) -> None:
    with pytest.raises(MetricUnavailable):
        as_scalar(answer, (0.0, 1.0), "it")
    assert as_scalar(torch.tensor([[1.00005]]), (0.0, 1.0), "it") == pytest.approx(1.00005)


def test_not_installed_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyiqa_metrics, "available", lambda: False)
    monkeypatch.setattr(pyiqa_metrics.importlib.util, "find_spec", lambda name: None)
    metric = get("pyiqa_dists")
    assert "pip install 'srbench[pyiqa]'" in metric.needs() and "Noncommercial" in metric.needs()
    assert metric.direction == "none" and metric.id == "pyiqa_dists-pyiqa"
    assert get(metric.id).name == metric.name == "pyiqa_dists"
    with pytest.raises(MetricUnavailable, match=r"pip install 'srbench\[pyiqa\]'"):
        metric.compute(case())
    with pytest.raises(SrbenchError, match="not installed here"):
        get("pyiqa_dists-vgg16-pyiqa0.1.16")


def test_pyiqa_itself_orders_a_mild_and_a_strong_distortion() -> None:
    pytest.importorskip("pyiqa", reason="the pyiqa extra is not installed")
    mild = case(192)
    strong_sr = np.clip(mild.hr + np.random.default_rng(5).normal(0, 0.3, mild.hr.shape), 0, 1)
    strong = Case(sr=strong_sr, hr=mild.hr, full_sr=strong_sr, full_hr=mild.hr, lr=mild.lr, scale=4)
    for name in ("pyiqa_fsim", "pyiqa_vif", "pyiqa_ms_ssim"):
        assert get(name).compute(mild) > get(name).compute(strong)
    assert get("pyiqa_gmsd").compute(mild) < get("pyiqa_gmsd").compute(strong)


@pytest.mark.slow
def test_every_metric_of_pyiqa_gives_a_number_or_a_reason() -> None:
    pytest.importorskip("pyiqa", reason="the pyiqa extra is not installed")
    for name in pyiqa_metrics.settings():
        metric = get(f"pyiqa_{name}")
        assert get(metric.id) == metric
        reason = metric.needs()
        if not reason and name != "mad":  # minutes for one image
            value, why = measure(metric, case(192))
            assert math.isfinite(value), (name, why)
        elif reason:
            assert "not on disk" in reason, (name, reason)
