"""Weights say whose they are: networks are told from their tensors, in their own and in foreign names."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from helpers.loading import models_as_before
from srbench import models, weights
from srbench.utils.errors import SrbenchError
from srbench.weights import WeightsHeader
from srbench.weights.detect import FEW, could_match, layout, shapes_of
from srbench.weights.detect import _samples as samples

TRAINABLE = [name for name in models.model_names() if models.card(name).trainable]


def meta_state(name: str, variant: str, scale: int, channels: int) -> dict[str, Tensor]:
    """A state dict without numbers."""
    with torch.device("meta"):
        built = models.create(name, scale=scale, channels=channels, variant=variant)
    return built.network.state_dict()


def networks(found: list[WeightsHeader]) -> set[tuple[str, str, int, int]]:
    return {one.network for one in found}


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINABLE)
def test_every_variant_is_detected(name: str) -> None:
    card = models.card(name)
    for variant in card.variants:
        network = (name, variant, card.scales[-1], card.channels[-1])
        found = weights.detect(meta_state(*network))
        assert network in networks(found)
        assert {one.model for one in found} == {name}
        assert {one.channels for one in found} == {card.channels[-1]}


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINABLE)
def test_narrowing_never_leaves_out_a_network_that_fits(name: str) -> None:
    card = models.card(name)
    for variant, scale, channels in itertools.product(card.variants, card.scales, card.channels):
        shapes = layout(name, variant, scale, channels)
        assert could_match(card, variant, shapes, layout), (variant, scale, channels)


@pytest.mark.slow
def test_narrowing_leaves_out_most_of_the_others() -> None:
    state = shapes_of(meta_state("edsr", "baseline", 2, 3))
    kept = [
        (name, variant)
        for name in TRAINABLE
        for variant in models.card(name).variants
        if len(layout(name, variant, models.card(name).scales[0], 1)) > FEW
        and could_match(models.card(name), variant, state, layout)
    ]
    assert ("edsr", "baseline") in kept and len(kept) < 4


def test_samples_survive_the_process_and_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRBENCH_HOME", str(tmp_path))
    built: list[tuple[str, str, int, int]] = []

    def counted(*network: object) -> Mapping[str, tuple[int, ...]]:
        built.append(network)  # type: ignore[arg-type]
        return layout(*network)  # type: ignore[arg-type]

    card = models.card("edsr")
    first = ("edsr", "baseline", card.scales[0], 1)
    shapes = layout(*first)
    for _ in range(2):
        samples.cache_clear()  # as in a new process
        assert could_match(card, "baseline", shapes, counted)
    assert built == [first]
    (file,) = (tmp_path / "cache" / "layouts").iterdir()
    assert len(json.loads(file.read_text())) == 1
    file.write_text("[1, 2")
    samples.cache_clear()
    assert could_match(card, "baseline", shapes, counted) and len(built) == 2
    samples.cache_clear()


GOLDEN = Path(__file__).parents[1] / "golden"
AUTHORS = {
    "dsrvae_srsn_x4": ("dsrvae", "srsn", 4, 3),
    "edsr_baseline_x2": ("edsr", "baseline", 2, 3),
    "edsr_full_x4": ("edsr", "full", 4, 3),
    "esrgan_x4": ("esrgan", "paper", 4, 3),
    "hmanet_x4": ("hmanet", "paper", 4, 3),
    "lapsrn_x4": ("lapsrn", "paper", 4, 1),
    "msrresnet_x4": ("srgan", "msrresnet", 4, 3),
    "spsr_x4": ("spsr", "paper", 4, 3),
    "srgan_leftthomas_x4": ("srgan", "small5", 4, 3),
    "srresnet_x4": ("srgan", "srresnet", 4, 3),
    "swiftsrgan_x4": ("swift_srgan", "paper", 4, 3),
    "swinir_classical_x2": ("swinir", "classical", 2, 3),
    "swinir_light_x4": ("swinir", "light", 4, 3),
    "swinir_real_x4": ("swinir", "real", 4, 3),
    "vdsr": ("vdsr", "paper", 4, 1),
}
DISCRIMINATORS = (
    "dsrvae_d",
    "esrgan_vgg128_d",
    "spsr_vgg128_d",
    "srgan_d96",
    "srgan_leftthomas_d",
    "swiftsrgan_d",
)


def authors_state(tag: str) -> dict[str, Tensor]:
    """The layout of the authors' own network, index tables and masks included, without numbers."""
    keys = json.loads((GOLDEN / f"{tag}.keys.json").read_text())["keys"]
    return {name: torch.empty(shape, device="meta") for name, shape in keys.items()}


LARGE = ("dsrvae", "esrgan", "hmanet", "spsr", "swinir")
"""Building the variants of these takes long even without numbers."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tag", "network"),
    [
        pytest.param(tag, network, marks=[pytest.mark.slow] if network[0] in LARGE else [], id=tag)
        for tag, network in AUTHORS.items()
    ],
)
def test_the_authors_own_layouts_are_detected(tag: str, network: tuple[str, str, int, int]) -> None:
    found = networks(weights.detect(authors_state(tag), only=[network[0]]))
    assert network in found and {one[1] for one in found} == {network[1]}


@pytest.mark.parametrize("tag", DISCRIMINATORS)
def test_discriminators_are_no_networks(tag: str) -> None:
    """A discriminator given by mistake fits nothing."""
    assert weights.detect(authors_state(tag), only=["edsr", "srgan", "swift_srgan"]) == []


def test_the_same_tensors_at_every_scale_are_all_named() -> None:
    found = weights.detect(meta_state("vdsr", "paper", 3, 1), only=["edsr", "vdsr"])
    assert networks(found) == {("vdsr", "paper", scale, 1) for scale in (1, 2, 3, 4)}


@pytest.mark.slow
def test_a_model_that_does_not_import_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    known = models.card

    def card(name: str) -> models.ModelCard:
        if name == "vdsr":
            raise ImportError("no module named magic")
        return known(name)

    monkeypatch.setattr(models, "card", card)
    (header,) = weights.detect(meta_state("edsr", "tiny", 4, 1), only=["edsr", "vdsr"])
    assert header.network == ("edsr", "tiny", 4, 1)


class Stubborn(nn.Conv2d):
    """Cannot be built without numbers, as CARN-M and HiT-SRF cannot; at x3 not at all."""

    def __init__(self, scale: int, channels: int) -> None:
        super().__init__(channels, channels * scale**2, 3, padding=1)
        if scale == 3:
            raise ValueError("no multiple of the window")
        self.rates = [float(rate) for rate in torch.linspace(0, 0.1, scale)]

    def forward(self, lr: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(super().forward(lr), len(self.rates))


@pytest.fixture
def stubborn() -> Iterator[None]:
    with models_as_before():

        @models.register_model(
            title="Stubborn", family="regression", paper="", year=2026, scales=(2, 3, 4), variants=("only",)
        )
        def stubborn(scale: int, channels: int, variant: str) -> nn.Module:
            return Stubborn(scale, channels)

        layout.cache_clear()
        yield
        layout.cache_clear()


@pytest.mark.usefixtures("stubborn")
def test_a_network_that_needs_numbers_while_it_is_built_is_built_with_them(tmp_path: Path) -> None:
    """What cannot be built at all does not hide the rest, and is named where nothing fits."""
    built = models.create("stubborn", scale=4, channels=3)
    torch.save(built.network.state_dict(), tmp_path / "w.pth")
    before = torch.get_rng_state()
    assert weights.identify(tmp_path / "w.pth", model="stubborn").network == ("stubborn", "only", 4, 3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.save({"weight": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(SrbenchError, match="ValueError: no multiple of the window"):
        weights.identify(tmp_path / "w.pth", model="stubborn")


def basicsr_edsr(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """BasicSR's names for EDSR, as its ``edsr_arch.py`` gives them; it keeps no mean layers."""
    renamed = {}
    for name, tensor in state.items():
        if "_mean." in name:
            continue
        name = re.sub(r"^head\.0\.", "conv_first.", name)
        name = re.sub(r"^body\.(\d+)\.body\.0\.", r"body.\1.conv1.", name)
        name = re.sub(r"^body\.(\d+)\.body\.2\.", r"body.\1.conv2.", name)
        name = re.sub(r"^body\.16\.(weight|bias)$", r"conv_after_body.\1", name)
        name = re.sub(r"^tail\.0\.", "upsample.", name)
        renamed[re.sub(r"^tail\.1\.", "conv_last.", name)] = tensor
    return renamed


@pytest.mark.slow
def test_basicsr_names_load_and_are_detected(tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = models.create("edsr", scale=4, channels=3, variant="baseline")
    path = tmp_path / "net_g_latest.pth"
    torch.save({"params_ema": basicsr_edsr(made.network.state_dict())}, path)
    assert weights.identify(path, model="edsr").network == ("edsr", "baseline", 4, 3)
    loaded = models.create("edsr", scale=4, channels=3, variant="baseline")
    weights.load(loaded, path)
    lr = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(loaded.infer(lr), made.infer(lr), rtol=0, atol=1e-6)


def old_esrgan(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The names of the authors' code before December 2018: layers numbered in a row."""
    ends = {
        "conv_first": "model.0",
        "trunk_conv": "model.1.sub.23",
        "upconv1": "model.3",
        "upconv2": "model.6",
        "HRconv": "model.8",
        "conv_last": "model.10",
    }
    renamed = {}
    for name, tensor in state.items():
        layer, _, rest = name.partition(".")
        block = re.sub(r"^(\d+)\.(RDB\d)\.(conv\d)\.", r"model.1.sub.\1.\2.\3.0.", rest)
        renamed[block if layer == "RRDB_trunk" else f"{ends[layer]}.{rest}"] = tensor
    return renamed


@pytest.mark.slow
def test_esrgan_of_the_old_layout_is_recognised() -> None:
    state = meta_state("esrgan", "paper", 4, 3)
    assert networks(weights.detect(old_esrgan(state), only=["esrgan"])) == networks(
        weights.detect(state, only=["esrgan"])
    )
    assert ("esrgan", "paper", 4, 3) in networks(weights.detect(state, only=["esrgan"]))


@pytest.mark.slow
def test_batch_counters_may_be_missing(tmp_path: Path) -> None:
    """PyTorch before 0.4.1 did not write them."""
    made = models.create("srgan", scale=4, variant="srresnet")
    state = made.network.state_dict()
    old = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    assert len(old) < len(state)
    torch.save(old, tmp_path / "old.pth")
    loaded = models.create("srgan", scale=4, variant="srresnet")
    weights.load(loaded, tmp_path / "old.pth")
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.network.state_dict().items())
    assert weights.identify(tmp_path / "old.pth", model="srgan").network == ("srgan", "srresnet", 4, 1)


def saved(path: Path, name: str, **options: object) -> Path:
    torch.save(models.create(name, **options).network.state_dict(), path)  # type: ignore[arg-type]
    return path


@pytest.mark.slow
@pytest.mark.usefixtures("few_models")
def test_what_was_typed_must_agree(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", "edsr", scale=2, variant="tiny")
    assert weights.identify(path, model="edsr", scale=2).network == ("edsr", "tiny", 2, 1)
    with pytest.raises(SrbenchError, match=r"holds edsr variant tiny, x2, 1 channel, not x4\."):
        weights.identify(path, scale=4)
    with pytest.raises(SrbenchError, match=r"not edsr, variant full\."):
        weights.identify(path, model="edsr", variant="full")
    with pytest.raises(
        SrbenchError, match=r"does not fit any variant of srgan.*looks like edsr variant tiny"
    ):
        weights.identify(path, model="srgan")


@pytest.mark.usefixtures("few_models")
def test_what_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", "vdsr", scale=2, variant="tiny")
    with pytest.raises(SrbenchError, match=r"fits 4 networks alike: .*say it with --scale"):
        weights.identify(path)
    assert weights.identify(path, scale=3).scale == 3


@pytest.mark.usefixtures("few_models")
def test_unknown_tensors_are_nobodys(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.zeros(3, 3)}, tmp_path / "w.pth")
    with pytest.raises(weights.UnknownNetwork, match=r"fits no registered network \(1 tensors, 'a.weight'"):
        weights.identify(tmp_path / "w.pth")
