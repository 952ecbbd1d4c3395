"""EDSR against the numbers of the authors' code."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from srbench.models import card, create
from srbench.models.baselines.edsr import (
    CONFIGS,
    DIV2K_MEAN,
    EDSR,
    EDSRConfig,
    MeanShift,
    edsr_mean,
    from_other_layouts,
    mean_shift,
)

FIXTURES = [("baseline", 2), ("baseline", 4), ("full", 2), ("full", 4)]
LR_AT_720P = {2: (360, 640), 4: (180, 320)}


def build(golden, variant, scale):
    """The registered network with the fixture's weights; the mean shift stays as constructed."""
    network = create("edsr", scale=scale, channels=3, variant=variant).network
    missing, unexpected = network.load_state_dict(golden(f"edsr_{variant}_x{scale}").state(), strict=False)
    assert not unexpected
    assert all("mean" in key for key in missing)
    return network


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scale", "suffix"), [(2, ""), (2, "_b"), (4, ""), (4, "_b")], ids=["x2", "x2 odd", "x4", "x4 odd"]
)
def test_baseline_reproduces_the_authors_network(golden, scale, suffix):
    fixture = golden(f"edsr_baseline_x{scale}")
    network = build(golden, "baseline", scale).double()
    with torch.no_grad():
        output = 255 * network(fixture.input(f"x{suffix}") / 255)
    expected = fixture.output(f"y{suffix}")
    torch.testing.assert_close(output, expected, atol=1e-6 * expected.std().item(), rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 4])
def test_full_network_reproduces_the_authors_in_float32(golden, scale):
    fixture = golden(f"edsr_full_x{scale}")
    network = build(golden, "full", scale)
    with torch.no_grad():
        output = 255 * network((fixture.input() / 255).float())
    tolerance = 20 * fixture.spec["outputs"]["y"]["max_abs_diff_fp32_vs_fp64"]
    torch.testing.assert_close(output.double(), fixture.output(), atol=tolerance, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "scale"), FIXTURES)
def test_keys_and_counts_are_the_authors(golden, variant, scale):
    spec = golden(f"edsr_{variant}_x{scale}").spec
    with torch.device("meta"):
        network = create("edsr", scale=scale, channels=3, variant=variant).network
    state = network.state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == spec["keys"]
    assert sum(value.numel() for value in state.values()) == spec["params"]
    assert sum(parameter.numel() for parameter in network.parameters()) == spec["params_trainable"]


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "count"), [("baseline", 1_554_523), ("full", 43_680_027)])
def test_x3_has_the_published_size(variant, count):
    with torch.device("meta"):
        state = create("edsr", scale=3, channels=3, variant=variant).network.state_dict()
    assert sum(value.numel() for value in state.values()) == count


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "scale"), FIXTURES)
def test_multiply_adds_are_the_authors(golden, variant, scale):
    height, width = LR_AT_720P[scale]
    with torch.device("meta"):
        network = create("edsr", scale=scale, channels=3, variant=variant).network
        lr = torch.empty(1, 3, height, width)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(lr)
    # The authors shift the mean by 1x1 convolutions, nine multiply-adds a pixel, before and after.
    mean_shifts = 9 * height * width * (1 + scale**2)
    expected = golden(f"edsr_{variant}_x{scale}").spec["macs"]["GMAC"]
    assert (counter.get_total_flops() / 2 + mean_shifts) / 1e9 == pytest.approx(expected, rel=1e-9)


def test_mean_shift_equals_the_authors_convolution():
    image = torch.rand(2, 3, 4, 5)
    shift = MeanShift([-255 * value for value in DIV2K_MEAN])
    convolved = torch.nn.functional.conv2d(image, shift.weight, shift.bias)
    torch.testing.assert_close(shift(image), convolved)


def test_grey_mean_is_the_luminance_of_the_colour_mean():
    assert edsr_mean(3) == DIV2K_MEAN
    assert edsr_mean(1) == pytest.approx((0.43683,), abs=1e-5)


@pytest.mark.slow
def test_output_stays_fine_grained_under_autocast():
    model = create("edsr", scale=2, variant="baseline")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sr = model.network(torch.rand(1, 1, 16, 16))
    assert sr.dtype == torch.float32
    assert (255 * sr).unique().numel() > 300  # bfloat16 knows 128 values between 128 and 256


@pytest.mark.parametrize("scale", [1, 4])
def test_untrained_tiny_is_bicubic(scale):
    lr = torch.rand(1, 1, 9, 8)
    torch.testing.assert_close(
        create("edsr", scale=scale, variant="tiny").infer(lr), create("bicubic", scale=scale).infer(lr)
    )


def test_magnification_1_is_the_network_without_its_upsampler():
    enlarging, denoising = (EDSR(scale, EDSRConfig(2, 4, 0.5), DIV2K_MEAN).double() for scale in (2, 1))
    shared = {key: value for key, value in enlarging.state_dict().items() if not key.startswith("tail.0.")}
    assert denoising.state_dict().keys() == shared.keys()
    denoising.load_state_dict(shared)
    features = []
    enlarging.tail.register_forward_pre_hook(lambda module, inputs: features.append(inputs[0]))
    image = torch.rand(1, 3, 6, 5).double()
    with torch.no_grad():
        enlarging(image)
        expected = enlarging.add_mean(enlarging.tail[1](features[0])) / 255
        torch.testing.assert_close(denoising(image), expected)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["baseline", "full"])
@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_full_depth_looks_as_far_as_it_says(variant, scale, probe):
    narrow = EDSR(
        scale, EDSRConfig(CONFIGS[variant].blocks, 1, CONFIGS[variant].residual_scale), edsr_mean(1)
    )
    with torch.device("meta"):
        stated = create("edsr", scale=scale, variant=variant).receptive_radius
    assert narrow.receptive_radius == stated
    assert probe(narrow, scale, int(stated) + 2) == stated


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["baseline", "full"])
def test_paper_recipe_is_the_authors_option_file(variant):
    with torch.device("meta"):
        model = create("edsr", scale=4, channels=3, variant=variant)
    (stage,) = model.recipe("paper").stages
    assert (stage.iterations, stage.batch, stage.patch) == (300_000, 16, 192)
    assert (stage.optimiser.name, stage.optimiser.lr) == ("adam", 1e-4)
    assert stage.optimiser.betas == (0.9, 0.999)
    assert [stage.schedule(epoch / 300) for epoch in (0, 199, 200, 299)] == [1, 1, 0.5, 0.5]


def in_basicsr_layout(state):
    """BasicSR's names for the tensors of an EDSR; it keeps the means outside of the state dict."""
    renamed = {}
    blocks = max(int(key.split(".")[1]) for key in state if key.startswith("body."))
    for key, value in state.items():
        part, *path, kind = key.split(".")
        if part == "head":
            renamed[f"conv_first.{kind}"] = value
        elif part == "body" and path == [str(blocks)]:
            renamed[f"conv_after_body.{kind}"] = value
        elif part == "body":
            renamed[f"body.{path[0]}.conv{1 + int(path[2]) // 2}.{kind}"] = value
        elif part == "tail":
            renamed[f"upsample.{path[1]}.{kind}" if path[0] == "0" else f"conv_last.{kind}"] = value
    return renamed


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_weights_in_basicsr_layout_give_the_same_output(scale):
    source = create("edsr", scale=scale, channels=3, variant="baseline")
    target = create("edsr", scale=scale, channels=3, variant="baseline")
    foreign = in_basicsr_layout(source.network.state_dict())
    assert not set(foreign) & set(source.network.state_dict())
    target.network.load_state_dict(target.convert(foreign), strict=True)
    lr = torch.rand(1, 3, 9, 7)
    assert torch.equal(target.infer(lr), source.infer(lr))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_converted_means_follow_the_dtype_of_the_weights(dtype):
    state = create("edsr", scale=2, channels=3, variant="baseline").network.to(dtype).state_dict()
    assert {value.dtype for value in from_other_layouts(in_basicsr_layout(state)).values()} == {dtype}


@pytest.mark.parametrize("absent", ["_mean.", "add_mean.", "_mean.bias"])
@pytest.mark.parametrize(
    ("variant", "channels"), [("baseline", 1), ("baseline", 3), ("tiny", 1), ("tiny", 3)]
)
def test_constant_means_may_be_missing(variant, channels, absent):
    if variant == "tiny":
        network = create("edsr", scale=2, channels=channels, variant="tiny").network
    else:
        network = EDSR(2, EDSRConfig(blocks=1, features=8, residual_scale=1.0), edsr_mean(channels))
    state = network.state_dict()
    without = {key: value for key, value in state.items() if absent not in key}
    converted = from_other_layouts(without)
    assert converted.keys() == state.keys() != without.keys()
    assert all(torch.equal(converted[key], state[key]) for key in state)


@pytest.mark.slow
def test_unknown_weights_come_back_as_they_are():
    own = create("edsr", scale=2, channels=3, variant="baseline").network.state_dict()
    basicsr = in_basicsr_layout(own)
    other_network = basicsr | {"body.0.rg.0.weight": torch.ones(1)}
    no_deep_layer = {key: value for key, value in basicsr.items() if not key.startswith("conv_after")}
    for state in (own, other_network, no_deep_layer, {}, {"conv_first.weight": torch.ones(())}):
        converted = from_other_layouts(state)
        assert converted.keys() == state.keys()
        assert all(converted[key] is state[key] for key in state)


def test_grey_shift_turns_the_colour_network_into_a_grey_one():
    """Biases folded as stated: away from the zero padding, the grey network is the colour one averaged."""
    size = EDSRConfig(blocks=1, features=8, residual_scale=1.0)
    colour = EDSR(2, size, edsr_mean(3)).double()
    grey = EDSR(2, size, edsr_mean(1)).double()
    shift, state = torch.tensor(mean_shift().shift).double(), dict(colour.state_dict())
    first, last = state["head.0.weight"], state["tail.1.weight"]
    state |= {key: value for key, value in grey.state_dict().items() if "mean" in key}
    state["head.0.weight"] = first.sum(1, keepdim=True)
    state["head.0.bias"] = state["head.0.bias"] + torch.einsum("ochw,c->o", first, shift)
    state["tail.1.weight"] = last.mean(0, keepdim=True)
    state["tail.1.bias"] = (state["tail.1.bias"] - shift).mean(0, keepdim=True)
    grey.load_state_dict(state)
    lr = torch.rand(1, 1, 20, 20).double()
    border = 2 * colour.receptive_radius
    averaged = colour(lr.expand(-1, 3, -1, -1)).mean(1, keepdim=True)
    inside = (..., slice(border, -border), slice(border, -border))
    torch.testing.assert_close(grey(lr)[inside], averaged[inside], atol=1e-7, rtol=0)


@pytest.mark.slow
def test_only_networks_with_colour_means_have_a_grey_shift():
    with torch.device("meta"):
        colour = create("edsr", scale=2, channels=3, variant="full").network
        grey = create("edsr", scale=2, channels=1, variant="full").network
        tiny = create("edsr", scale=2, channels=3, variant="tiny").network
    assert colour.grey_shift == mean_shift()
    assert isinstance(colour.get_submodule("head.0"), torch.nn.Conv2d)
    assert isinstance(colour.get_submodule("tail.1"), torch.nn.Conv2d)
    assert getattr(grey, "grey_shift", None) is None and getattr(tiny, "grey_shift", None) is None


def test_released_weights_name_their_own_hash():
    released = card("edsr").released
    everything = sorted((variant, scale) for variant in ("baseline", "full") for scale in (2, 3, 4))
    for direct in (True, False):
        assert sorted((e.variant, e.scale) for e in released if e.direct is direct) == everything
    assert all(f"-{entry.sha256}.pt" in entry.file and len(entry.sha256) == 8 for entry in released)
