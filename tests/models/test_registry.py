"""Names to models: errors that help, lazy imports, models of other distributions; inference on LR."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from srbench.models import ModelError, card, create, list_models, model_names, register_model, registry
from srbench.models.base import ModelCard, SRModel, pad_to_multiple
from srbench.models.recipe import default_recipe

OWN = {"nearest", "bilinear", "bicubic", "lanczos", "vdsr", "edsr", "srgan"}


@pytest.fixture
def empty_registry(monkeypatch):
    """Registrations of a test vanish with it."""
    fresh = copy.deepcopy(registry.MODELS)
    fresh._index = None
    monkeypatch.setattr(registry, "MODELS", fresh)


def register(name, module="a.b", **changes):
    def factory(scale, channels, variant):
        return nn.Upsample(scale_factor=scale)

    factory.__name__, factory.__module__ = name, module
    fields = {
        "title": "T",
        "family": "regression",
        "paper": "",
        "year": 2000,
        "scales": (2,),
        "variants": ("v",),
    }
    return register_model(**{**fields, **changes})(factory)


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd="/"
    ).stdout.strip()


def test_names_are_those_of_the_files():
    assert set(model_names()) >= OWN
    assert model_names() == sorted(model_names())


@pytest.mark.slow
def test_names_are_found_without_importing_anything_heavy():
    code = """
import sys
from srbench.models import model_names
assert "vdsr" in model_names() and "edsr" in model_names()
print(sorted(name for name in sys.modules if name.startswith("srbench.models.baselines")))
"""
    assert run_python(code) == "[]"


@pytest.mark.slow
def test_creating_a_model_imports_only_its_own_file():
    code = """
import sys
from srbench.models import create
create("vdsr", scale=2, variant="tiny")
assert "srbench.models.baselines.vdsr" in sys.modules
others = ("srbench.models.baselines.edsr", "srbench.models.csm_sr", "timm", "torchvision", "cv2", "lpips")
print([name for name in others if name in sys.modules])
"""
    assert run_python(code) == "[]"


def test_cards_are_ordered_by_year():
    cards = list_models()
    assert {entry.name for entry in cards} >= OWN
    assert [entry.year for entry in cards] == sorted(entry.year for entry in cards)


def test_every_network_names_authors_and_title_as_bibtex_takes_them():
    for model in list_models():
        if model.trainable and model.module.startswith("srbench.models."):
            assert model.publication, model.name
            assert all(name.count(",") == 1 for name in model.authors.split(" and ")), model.name


def test_cards_by_pattern():
    assert {entry.name for entry in list_models("bi*")} == {"bilinear", "bicubic"}
    assert list_models("no such *") == []


@pytest.mark.parametrize(("typed", "meant"), [("vdrs", "vdsr"), ("bicubik", "bicubic"), ("EDSR", "edsr")])
def test_unknown_name_lists_all_and_suggests_the_nearest(typed, meant):
    with pytest.raises(ModelError) as caught:
        create(typed, scale=4)
    assert repr(typed) in str(caught.value)
    assert all(name in str(caught.value) for name in OWN)
    if typed.islower():
        assert f"did you mean {meant!r}?" in str(caught.value)


def test_hopeless_name_gets_no_suggestion():
    with pytest.raises(ModelError) as caught:
        card("zzzzzzzz")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"scale": 8}, "vdsr has no scale 8.* offers: 1, 2, 3, 4"),
        ({"scale": 4, "channels": 2}, "vdsr has no channels 2.* offers: 1, 3"),
        ({"scale": 4, "variant": "papper"}, r"no variant 'papper' \(did you mean 'paper'\?\).*paper, tiny"),
    ],
)
def test_what_a_model_does_not_offer_is_refused_with_what_it_does(asked, message):
    with pytest.raises(ModelError, match=message):
        create("vdsr", **asked)


def test_first_variant_is_the_default():
    assert create("vdsr", scale=2).variant == "paper"


def test_a_name_belongs_to_one_file(empty_registry):
    register("twin", "first.file")
    with pytest.raises(ModelError, match=r"'twin' is registered twice: by first\.file and by second\.file"):
        register("twin", "second.file")
    assert card("twin").module == "first.file"


def test_a_file_may_be_imported_again(empty_registry):
    register("again", title="old")
    register("again", title="new")
    assert card("again").title == "new"


def test_a_model_without_a_recipe_gets_the_default_one(empty_registry):
    register("plain")
    model = create("plain", scale=2)
    assert model.recipe_factory is default_recipe
    assert model.recipe("smoke").stages[0].terms[0].name == "l1"


PLUGIN = """
from torch import nn
from srbench.models import register_model

@register_model(title="Guest", family="regression", paper="https://example.org", year=2030, scales=(2, 5),
                variants=("only",), trainable=False, summary="A guest.")
def guest(scale: int, channels: int, variant: str) -> nn.Module:
    return nn.Upsample(scale_factor=scale)
"""


@pytest.mark.slow
@pytest.mark.parametrize("loaded_late", [False, True])
def test_other_distributions_add_models_by_entry_point(empty_registry, monkeypatch, tmp_path, loaded_late):
    module = f"guest_of_srbench_{loaded_late}"
    (tmp_path / f"{module}.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    points = {"srbench.models": [SimpleNamespace(name="guest", module=module)]}
    monkeypatch.setattr("srbench.utils.registry.entry_points", lambda group: points.get(group, []))
    assert "guest" in model_names()
    assert module not in sys.modules
    if loaded_late:
        assert card("guest").year == 2030
    assert create("guest", scale=5).infer(torch.rand(1, 1, 3, 3)).shape == (1, 1, 15, 15)
    assert list_models()[-1].name == "guest"


def test_an_entry_point_cannot_take_the_place_of_our_own_model(empty_registry, monkeypatch):
    thief = SimpleNamespace(name="vdsr", module="no.such.module")
    monkeypatch.setattr("srbench.utils.registry.entry_points", lambda group: [thief])
    assert card("vdsr").module == "srbench.models.baselines.vdsr"


class Recorder(nn.Module):
    """Repeats pixels, remembers what it was given, and returns a known colour cast."""

    def __init__(self, multiple: int = 1, cast: tuple[float, ...] = (0.0,)) -> None:
        super().__init__()
        self.size_multiple = multiple
        self.cast = torch.tensor(cast).view(1, -1, 1, 1)
        self.seen: list[torch.Tensor] = []

    def forward(self, lr):
        assert not self.training
        self.seen.append(lr)
        return lr.repeat_interleave(2, -1).repeat_interleave(2, -2) + self.cast


def wrap(network, channels=1):
    facts = ModelCard("fake", "Fake", "regression", "", 2000, (2,), ("v",))
    return SRModel(network, facts, 2, channels, "v", default_recipe)


def test_inference_pads_to_the_size_multiple_and_crops():
    network = Recorder(multiple=8)
    lr = torch.rand(2, 1, 11, 16)
    sr = wrap(network).infer(lr)
    assert network.seen[0].shape == (2, 1, 16, 16)
    assert torch.equal(network.seen[0][..., :11, :], lr)
    assert torch.equal(sr, lr.repeat_interleave(2, -1).repeat_interleave(2, -2))


@pytest.mark.parametrize(("side", "multiple"), [(7, 4), (3, 8), (1, 8), (8, 8)])
def test_padding_continues_the_image(side, multiple):
    image = torch.rand(1, 1, side, side)
    padded = pad_to_multiple(image, multiple)
    assert padded.shape[-1] % multiple == 0 and padded.shape[-1] - side < multiple
    assert torch.equal(padded[..., :side, :side], image)
    assert padded.min() >= image.min() and padded.max() <= image.max()
    if side == 7:
        assert torch.equal(padded[..., :7, 7], image[..., :7, 5])


def test_grey_on_a_colour_network_is_replicated_and_averaged():
    network = Recorder(cast=(0.0, 0.1, 0.2))
    grey = 0.5 * torch.rand(1, 1, 4, 4)
    sr = wrap(network, channels=3).infer(grey)
    assert torch.equal(network.seen[0], grey.expand(-1, 3, -1, -1))
    assert sr.shape == (1, 1, 8, 8)
    torch.testing.assert_close(sr[..., ::2, ::2], grey + 0.1)


def test_output_is_clamped_and_keeps_double_precision():
    lr = torch.rand(1, 1, 4, 4, dtype=torch.float64)
    sr = wrap(Recorder(cast=(0.9,)).double()).infer(lr)
    assert sr.max() == 1 and sr.dtype == torch.float64


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 2, 4, 4), (1, 3, 4, 4)])
def test_inference_refuses_what_the_network_cannot_take(shape):
    with pytest.raises(ModelError, match=r"fake expects \(N, 1, H, W\), found"):
        wrap(Recorder()).infer(torch.rand(shape))


def test_training_mode_survives_a_failing_network():
    class Broken(nn.Module):
        def forward(self, lr):
            raise RuntimeError("out of memory")

    network = Broken().train()
    with pytest.raises(RuntimeError, match="out of memory"):
        wrap(network).infer(torch.rand(1, 1, 4, 4))
    assert network.training


@pytest.mark.slow
def test_the_stored_cards_are_those_that_the_files_register():
    """After a change of a model's file: ``srbench models index``."""
    from srbench.cli.models import measured_sizes

    for name in model_names():
        registered = registry.registered_card(name)
        if not registered.module.startswith("srbench.models."):
            continue
        stored = registry._stored(name)
        assert stored is not None, f"{name}: type srbench models index"
        assert registry.stored_card(stored) == registered
        assert stored["sizes"] == measured_sizes(registered)


def test_a_file_that_has_changed_is_read_again(monkeypatch):
    monkeypatch.setattr(registry, "source_hash", lambda module: "other")
    assert registry._stored("edsr") is None and registry.stored_sizes("edsr") is None
    assert card("edsr") == registry.registered_card("edsr")


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["models", "list"], ["models", "show", "swinir"], ["models", "list", "--json"]]
)
def test_cards_are_shown_without_torch(arguments):
    script = (
        "import sys, contextlib, srbench.cli\n"
        f"sys.argv = ['srbench', *{arguments}]\n"
        "with contextlib.suppress(SystemExit): srbench.cli.main()\n"
        "assert not {'torch', 'numpy', 'pandas'} & set(sys.modules), 'type srbench models index'"
    )
    before = os.times()
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert spent < 0.6  # processor seconds: a busy machine makes it wait, not work
