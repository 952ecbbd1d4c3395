"""SwinIR against the numbers of the authors' code."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from srbench.models import ModelError, card, create
from srbench.models.attention import DropPath
from srbench.models.base import pad_to_multiple
from srbench.models.baselines.swinir import (
    CONFIGS,
    DIV2K_MEAN,
    SwinIRBase,
    SwinIRConfig,
    Upsampler,
    build_swinir,
    strip_tables,
    swin_radius,
    upsampler_radius,
)
from srbench.models.recipe import Batch, LossInputs

FULL = ["classical_x2", "classical_x4", "light_x4", "real_x4", "denoising_x1"]
FIXTURE_TINY = SwinIRConfig(60, (2, 2), 6, "pixelshuffle")


def build(tag):
    """The registered network of a fixture; the fixture's small one is no variant."""
    variant, scale = tag.split("_x")
    if variant == "tiny":
        return build_swinir(int(scale), DIV2K_MEAN, FIXTURE_TINY)
    variant = "classical" if variant == "denoising" else variant
    return create("swinir", scale=int(scale), channels=3, variant=variant).network


@pytest.mark.slow
@pytest.mark.parametrize("tag", ["tiny_x4", *FULL])
def test_reproduces_the_authors_network(golden, tag):
    fixture = golden(f"swinir_{tag}")
    network = build(tag).double().eval()
    network.load_state_dict(fixture.state(), strict=True)
    for suffix in ("", "_b") if "x_b" in fixture.arrays else ("",):
        lr, expected = fixture.input(f"x{suffix}"), fixture.output(f"y{suffix}")
        with torch.no_grad():
            output = network(pad_to_multiple(lr, 8))[..., : expected.shape[-2], : expected.shape[-1]]
        torch.testing.assert_close(output, expected, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_inference_pads_as_the_authors_network_does(golden):
    fixture = golden("swinir_light_x4")
    model = create("swinir", scale=4, channels=3, variant="light")
    model.network.double().load_state_dict(fixture.state())
    expected = fixture.output("y_b").clamp(0, 1)
    torch.testing.assert_close(model.infer(fixture.input("x_b")), expected, atol=1e-6, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("tag", ["tiny_x4", *FULL])
def test_keys_and_counts_are_the_authors(golden, tag):
    spec = golden(f"swinir_{tag}").spec
    with torch.device("meta"):
        network = build(tag)
    learned = {key: shape for key, shape in spec["keys"].items() if spec["rules"][key] != "skip"}
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == learned
    assert sum(parameter.numel() for parameter in network.parameters()) == spec["params_trainable"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "scale", "count", "gmac"),
    [
        ("classical", 2, 11_752_487, 2871.9),
        ("classical", 3, 11_937_127, 1312.4),
        ("classical", 4, 11_900_199, 769.87413504),
        ("light", 2, 910_152, 240.9),
        ("light", 3, 918_267, 109.2),
        ("light", 4, 929_628, 62.7107328),
        ("real", 4, 11_715_559, 804.60297216),
    ],
)
def test_parameters_and_multiply_adds_at_720p(variant, scale, count, gmac):
    """LR of 1280x720, padded to whole windows."""
    height, width = (math.ceil(math.ceil(side / scale) / 8) * 8 for side in (720, 1280))
    with torch.device("meta"):
        network = create("swinir", scale=scale, channels=3, variant=variant).network
        lr = torch.empty(1, 3, height, width)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(lr)
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    precision = 1e-9 if scale == 4 else 2e-4 if variant == "classical" else 1e-3
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmac, rel=precision)


@pytest.mark.slow
@pytest.mark.parametrize("tag", ["tiny_x4", "classical_x4", "denoising_x1"])
def test_checkpoints_with_masks_and_tables_are_converted(golden, tag):
    fixture = golden(f"swinir_{tag}")
    keys = fixture.spec["keys"]
    stored = fixture.state() | {
        key: torch.zeros(keys[key]) for key, rule in fixture.spec["rules"].items() if rule == "skip"
    }
    assert len(stored) == len(keys)
    converted = strip_tables(stored)
    build(tag).load_state_dict(converted, strict=True)
    assert all(converted[key] is stored[key] for key in converted)
    again = strip_tables(converted)
    assert again.keys() == converted.keys() and all(again[key] is converted[key] for key in converted)


def test_unknown_weights_come_back_as_they_are():
    foreign = {"attn_mask": torch.ones(2), "blocks.0.relative_position_index": torch.ones(())}
    for state in (foreign, {}):
        assert strip_tables(state) == state
        assert create("swinir", scale=2, variant="tiny").convert(state) == state


NARROW = {
    name: SwinIRConfig(4, config.depths, 1, config.upsampler, upsampling_features=2)
    for name, config in CONFIGS.items()
}


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "scale"), [("classical", 4), ("light", 4), ("real", 4), ("tiny", 2)])
def test_full_depth_looks_as_far_as_it_says(variant, scale, probe):
    """The farthest reach over all places in a window, since windows lie on a fixed grid."""
    narrow = build_swinir(scale, (0.0,), NARROW[variant])
    with torch.device("meta"):
        stated = create("swinir", scale=scale, variant=variant).receptive_radius
    assert narrow.receptive_radius == stated
    assert max(probe(narrow, scale, int(stated) + 2 + place) for place in range(8)) == stated


def test_radius_of_a_single_block_by_hand():
    # Two convolutions after the block reach two pixels, into the neighbouring window; from its first pixel
    # that window reaches seven farther, and the convolution before the block one more.
    assert swin_radius((1,), 8, 0) == 2 + 7 + 1


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_enlarging_looks_as_far_as_it_says(scale, probe):
    for upsampler in get_args(Upsampler):
        if upsampler == "residual" and scale > 1:
            continue
        network = SwinIRBase(scale, 2, (0.0,), [], 1, upsampler, 2)
        # With conv_first and conv_after_body.
        assert probe(network, scale, 10) == upsampler_radius(upsampler, scale) + 2


@pytest.mark.slow
def test_training_after_inference_and_inference_after_training():
    model = create("swinir", scale=2, variant="light")
    lr = torch.rand(1, 1, 16, 24)
    before = model.infer(lr)
    network = model.network.train()
    network(lr).mean().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter -= 0.1 * parameter.grad
    assert not torch.equal(model.infer(lr), before)
    model.network(lr).mean().backward()


def test_sizes_that_windows_do_not_tile_are_refused():
    network = create("swinir", scale=2, variant="tiny").network
    with pytest.raises(ModelError, match="do not tile 8x12"):
        network(torch.rand(1, 1, 8, 12))


@pytest.mark.slow
def test_branches_are_left_out_more_often_with_depth_and_only_in_training():
    network = create("swinir", scale=2, variant="light").network
    rates = [module.rate for module in network.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0.1 * block / 23 for block in range(24)])
    lr = torch.rand(2, 1, 8, 8)
    assert not torch.equal(network.train()(lr), network(lr))
    assert torch.equal(network.eval()(lr), network(lr))


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["classical", "light", "real"])
def test_grey_shift_names_the_layers_that_carry_the_mean(variant):
    with torch.device("meta"):
        colour = create("swinir", scale=4, channels=3, variant=variant).network
        grey = create("swinir", scale=4, variant=variant).network
    shift = colour.grey_shift
    assert shift.shift == tuple(-mean for mean in DIV2K_MEAN)
    assert colour.get_submodule(shift.first) is colour.conv_first
    assert isinstance(colour.get_submodule(shift.last), torch.nn.Conv2d)
    assert grey.grey_shift is None


@pytest.mark.slow
@pytest.mark.parametrize("upsampler", get_args(Upsampler))
def test_grey_shift_turns_the_colour_network_into_a_grey_one(upsampler):
    """Biases folded as stated: away from the zero padding, the grey network is the colour one averaged."""
    config = SwinIRConfig(8, (2,), 2, upsampler, upsampling_features=6)
    scale = 1 if upsampler == "residual" else 2
    colour = build_swinir(scale, DIV2K_MEAN, config).double().eval()
    grey = build_swinir(scale, (0.0,), config).double().eval()
    shift = torch.tensor(colour.grey_shift.shift).double()
    state, last = dict(colour.state_dict()), colour.last
    state["conv_first.bias"] = state["conv_first.bias"] + torch.einsum(
        "ochw,c->o", state["conv_first.weight"], shift
    )
    state["conv_first.weight"] = state["conv_first.weight"].sum(1, keepdim=True)
    assert colour.grey_shift.last == ("" if upsampler == "residual" else last)
    for part, offset in (("weight", 0.0), ("bias", -shift.mean() if colour.grey_shift.last else 0.0)):
        tensor = state[f"{last}.{part}"]
        state[f"{last}.{part}"] = tensor.unflatten(0, (3, -1)).mean(0) + offset
    grey.load_state_dict(state)
    lr, border = torch.rand(1, 1, 64, 64).double(), scale * int(colour.receptive_radius)
    inside = (..., slice(border, -border), slice(border, -border))
    with torch.no_grad():
        averaged = colour(lr.expand(-1, 3, -1, -1)).mean(1, keepdim=True)
        torch.testing.assert_close(grey(lr)[inside], averaged[inside], atol=1e-7, rtol=0)


@pytest.mark.parametrize("scale", [1, 4])
def test_untrained_tiny_is_bicubic(scale):
    lr = torch.rand(1, 1, 8, 16)
    torch.testing.assert_close(
        create("swinir", scale=scale, variant="tiny").infer(lr), create("bicubic", scale=scale).infer(lr)
    )


@pytest.mark.slow
def test_released_weights_fit_what_they_are_listed_for():
    released = card("swinir").released
    assert len(released) == 21
    for entry in released:
        assert entry.url.endswith(f"/releases/download/v0.0/{entry.file}") and entry.direct
        assert entry.licence == "Apache-2.0"
        if entry.scale == 1:
            assert entry.variant == "classical"
            assert ("grayDN" if entry.channels == 1 else "colorDN") in entry.file
            continue
        assert f"_x{entry.scale}" in entry.file and entry.channels == 3
        kind = {"classical": "classicalSR", "light": "lightweightSR", "real": "realSR"}[entry.variant]
        assert kind in entry.file


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["classical", "light"])
def test_paper_recipe_at_magnification_1_is_kairs(variant):
    with torch.device("meta"):
        (stage,) = create("swinir", scale=1, variant=variant).recipe("paper").stages
    assert (stage.iterations, stage.batch, stage.patch, stage.optimiser.lr) == (1_600_000, 8, 128, 2e-4)
    assert stage.optimiser.betas == (0.9, 0.999)
    halved = [
        stage.schedule(step / 1_600_000) for step in (799_999, 800_000, 1_200_000, 1_400_000, 1_599_999)
    ]
    assert halved == [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16]
    (term,) = stage.terms
    sr, hr = torch.rand(2, 3, 1, 128, 128)
    loss = term.weight * term.loss(LossInputs(Batch(hr, hr, 1), {"sr": sr}))
    torch.testing.assert_close(loss, ((sr - hr).square() + 1e-6).sqrt().mean())
