"""What holds for every registered model and variant, whoever wrote it: nothing here knows a model by name."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import Tensor, nn

from srbench.models import ModelError, create, list_models
from srbench.models.base import NOTHING_LEARNED, pad_to_multiple
from srbench.models.recipe import Batch

CARDS = list_models()
SMALLEST = [(card.name, card.variants[-1]) for card in CARDS]
FULL = [(card.name, variant) for card in CARDS for variant in card.variants[:-1]]
TRAINABLE = {card.name for card in CARDS if card.trainable}

every_model = pytest.mark.parametrize(("name", "variant"), SMALLEST)
every_full_variant = pytest.mark.parametrize(("name", "variant"), FULL)


def build(name, variant, channels=1):
    """The model at x4 where it has that, so that all are compared at the benchmark's main magnification."""
    scales = next(card.scales for card in CARDS if card.name == name)
    return create(name, scale=4 if 4 in scales else scales[-1], channels=channels, variant=variant)


def lr_like(model, height=13, width=9, batch=1):
    return torch.rand(batch, model.channels, height, width)


def answer_to(model, lr):
    """What a leaking variant is given as HR; None for all others."""
    return lr.repeat_interleave(model.scale, -1).repeat_interleave(model.scale, -2) if model.leaking else None


def infer(model, lr):
    return model.infer(lr, oracle_hr=answer_to(model, lr))


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_card_is_complete(card):
    assert card.title and card.summary.endswith(".")
    assert card.paper.startswith("https://")
    learned = ("regression", "adversarial", "variational", "attention")
    assert card.family in (learned if card.trainable else NOTHING_LEARNED)
    assert 1950 < card.year < 2100
    assert 1 in card.channels
    assert set(card.leaking) <= set(card.variants)
    assert card.module.startswith("srbench.models.")
    assert not card.trainable or card.variants[-1] == "tiny"


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        pytest.param(
            *entry,
            marks=[pytest.mark.slow] if entry[0] not in ("edsr", "srgan", "lapsrn", "swift_srgan") else [],
        )
        for entry in FULL
    ],
)
def test_full_variants_enlarge_odd_sizes(name, variant):
    """Shapes alone, without memory for the numbers."""
    with torch.device("meta"):
        model = build(name, variant, channels=3)
        lr = pad_to_multiple(lr_like(model), model.size_multiple)
        images = [image for image in (lr, answer_to(model, lr)) if image is not None]
        with torch.no_grad():
            sr = model.network.eval()(*images)
    assert sr.shape == (1, 3, lr.shape[-2] * model.scale, lr.shape[-1] * model.scale)


@functools.cache
def kinds_of_layers(name, variant):
    with torch.device("meta"):
        return frozenset(type(module) for module in build(name, variant).network.modules())


def has_layers_of_its_own(name, variant):
    """Whether it has a kind of layer that neither the tiny variant has nor a full one listed after it."""
    variants = next(card.variants for card in CARDS if card.name == name)
    later = variants[variants.index(variant) + 1 :]
    return bool(kinds_of_layers(name, variant).difference(*(kinds_of_layers(name, other) for other in later)))


@pytest.mark.slow
@every_full_variant
def test_full_variants_with_layers_of_their_own_infer(name, variant):
    """What the tests below ask of the smallest variants, of one network built once."""
    if not has_layers_of_its_own(name, variant):
        return
    model = build(name, variant)
    before = {key: value.clone() for key, value in model.network.state_dict().items()}
    lr = lr_like(model, 7, 9, batch=2)
    sr = infer(model, lr)
    assert sr.isfinite().all() and sr.min() >= 0 and sr.max() <= 1
    torch.testing.assert_close(infer(model, lr[1:]), sr[1:], atol=1e-5, rtol=0)
    assert all(torch.equal(value, before[key]) for key, value in model.network.state_dict().items())
    if sum(value.numel() for value in before.values()) < 1e8:  # 15 seconds where a CPU has no bfloat16
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert (infer(model, lr[1:]).float() - sr[1:]).abs().mean() < 0.02


@pytest.mark.slow
@every_model
@pytest.mark.parametrize("channels", [1, 3])
def test_infers_odd_sizes(name, variant, channels):
    model = build(name, variant, channels)
    sr = infer(model, lr_like(model))
    assert sr.shape == (1, channels, 13 * model.scale, 9 * model.scale)
    assert sr.dtype == torch.float32
    assert sr.isfinite().all()
    assert sr.min() >= 0 and sr.max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scale"), [(card.name, scale) for card in CARDS for scale in card.scales])
def test_every_scale_enlarges_by_it(name, scale):
    model = create(name, scale=scale, variant=dict(SMALLEST)[name])
    assert infer(model, lr_like(model, 7, 10)).shape == (1, 1, 7 * scale, 10 * scale)


@pytest.mark.slow
@every_model
def test_images_of_a_batch_do_not_see_each_other(name, variant):
    model = build(name, variant)
    lr = lr_like(model, batch=3)
    one_by_one = torch.cat([infer(model, image) for image in lr.split(1)])
    torch.testing.assert_close(infer(model, lr), one_by_one, atol=1e-5, rtol=0)


@pytest.mark.slow
@every_model
def test_inference_leaves_the_network_as_it_was(name, variant):
    model = build(name, variant)
    before = {key: value.clone() for key, value in model.network.state_dict().items()}
    model.network.train()
    lr = lr_like(model)
    first = infer(model, lr)
    assert model.network.training
    assert all(torch.equal(value, before[key]) for key, value in model.network.state_dict().items())
    assert torch.equal(infer(model, lr), first)


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        pytest.param(*entry, marks=[pytest.mark.slow] if entry in FULL else [])
        for entry in SMALLEST + FULL
        if entry[0] in TRAINABLE
    ],
)
def test_training_reaches_every_parameter(name, variant):
    model = build(name, variant)
    network = model.network.train()
    lr = pad_to_multiple(lr_like(model, 8, 8, batch=2), model.size_multiple)
    hr = lr.repeat_interleave(model.scale, -1).repeat_interleave(model.scale, -2)
    missed: list[str] = []
    # Stochastic depth leaves out a branch of both images now and then, and an unlucky draw shuts every ReLU
    # of a narrow layer or gives a slope the sign that the next ReLU hides: hardly six times in a row.
    for _ in range(6):
        draw_weights(network)
        for stage in model.recipe("smoke").stages:
            outputs = stage.forward(network, Batch(lr, hr, model.scale)).values()
            torch.stack([noisy_sum(output) for output in outputs if output.requires_grad]).sum().backward()
        missed = [key for key, parameter in network.named_parameters() if untouched(parameter)]
        if not missed:
            break
    assert missed == []


def draw_weights(network: nn.Module) -> nn.Module:
    """Weights without zeros, since a layer that starts at zero hides those before it; frozen ones stay."""
    with torch.no_grad():
        for parameter in (one for one in network.parameters() if one.requires_grad):
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
            parameter.normal_(std=fan_in**-0.5)
    return network


def noisy_sum(output: Tensor) -> Tensor:
    return (output * torch.randn_like(output)).sum()


def untouched(parameter: nn.Parameter) -> bool:
    if not parameter.requires_grad:
        return False
    return parameter.grad is None or not parameter.grad.isfinite().all() or not parameter.grad.any()


@pytest.mark.slow
@every_model
def test_state_dict_round_trip(name, variant):
    torch.manual_seed(1)
    source = build(name, variant)
    torch.manual_seed(2)
    target = build(name, variant)
    lr = lr_like(source)
    target.network.load_state_dict(source.network.state_dict(), strict=True)
    assert torch.equal(infer(target, lr), infer(source, lr))


@pytest.mark.slow
@every_model
def test_runs_under_bfloat16_autocast(name, variant):
    model = build(name, variant)
    lr = lr_like(model)
    exact = infer(model, lr)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = infer(model, lr)
    assert rounded.isfinite().all()
    assert (rounded.float() - exact).abs().mean() < 0.02


# Tracing thousands of layers takes a minute. Filters are not made of tensors.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "variant"), [(card.name, card.variants[-1]) for card in CARDS if card.family != "filter"]
)
def test_compiles_into_one_graph(name, variant):
    model = build(name, variant)
    network = model.network.eval()
    lr = pad_to_multiple(lr_like(model), model.size_multiple)
    images = [image for image in (lr, answer_to(model, lr)) if image is not None]
    torch._dynamo.reset()
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(*images), network(*images))


def test_only_leaking_variants_are_given_the_answer():
    honest = create("bicubic", scale=2)
    with pytest.raises(ModelError, match="works from the LR image alone"):
        honest.infer(torch.rand(1, 1, 4, 4), oracle_hr=torch.rand(1, 1, 8, 8))


LEAKING = [(card.name, variant) for card in CARDS for variant in card.leaking]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variant"), LEAKING)
def test_leaking_variants_want_the_answer_explicitly(name, variant):
    model = build(name, variant)
    with pytest.raises(ModelError, match="pass it explicitly as oracle_hr"):
        model.infer(torch.rand(1, 1, 8, 8))
    with pytest.raises(ModelError, match="times as large"):
        model.infer(torch.rand(1, 1, 8, 8), oracle_hr=torch.rand(1, 1, 8, 8))


@pytest.mark.parametrize(
    "card",
    [
        pytest.param(card, marks=[pytest.mark.slow] if card.name in ("csm_sr", "spsr") else [], id=card.name)
        for card in CARDS
    ],
)
def test_looks_no_farther_than_it_says(card, probe):
    model = build(card.name, card.variants[-1])
    stated = model.receptive_radius
    if stated is None or math.isinf(stated):
        return  # it may look at everything
    assert probe(model.network, model.scale, int(stated) + 2) <= stated
