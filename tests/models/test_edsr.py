"""EDSR against the numbers of the authors' code."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from srbench.models import create
from srbench.models.baselines.edsr import DIV2K_MEAN, EDSR, SIZES, MeanShift, Size, edsr_mean

FIXTURES = [("baseline", 2), ("baseline", 4), ("full", 2), ("full", 4)]
LR_AT_720P = {2: (360, 640), 4: (180, 320)}


def build(golden, variant, scale):
    """The registered network with the fixture's weights; the mean shift stays as constructed."""
    network = create("edsr", scale=scale, channels=3, variant=variant).network
    missing, unexpected = network.load_state_dict(golden(f"edsr_{variant}_x{scale}").state(), strict=False)
    assert not unexpected
    assert all("mean" in key for key in missing)
    return network


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


@pytest.mark.parametrize("scale", [2, 4])
def test_full_network_reproduces_the_authors_in_float32(golden, scale):
    fixture = golden(f"edsr_full_x{scale}")
    network = build(golden, "full", scale)
    with torch.no_grad():
        output = 255 * network((fixture.input() / 255).float())
    tolerance = 20 * fixture.spec["outputs"]["y"]["max_abs_diff_fp32_vs_fp64"]
    torch.testing.assert_close(output.double(), fixture.output(), atol=tolerance, rtol=0)


@pytest.mark.parametrize(("variant", "scale"), FIXTURES)
def test_keys_and_counts_are_the_authors(golden, variant, scale):
    spec = golden(f"edsr_{variant}_x{scale}").spec
    with torch.device("meta"):
        network = create("edsr", scale=scale, channels=3, variant=variant).network
    state = network.state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == spec["keys"]
    assert sum(value.numel() for value in state.values()) == spec["params"]
    assert sum(parameter.numel() for parameter in network.parameters()) == spec["params_trainable"]


@pytest.mark.parametrize(("variant", "count"), [("baseline", 1_554_523), ("full", 43_680_027)])
def test_x3_has_the_published_size(variant, count):
    with torch.device("meta"):
        state = create("edsr", scale=3, channels=3, variant=variant).network.state_dict()
    assert sum(value.numel() for value in state.values()) == count


@pytest.mark.parametrize(("variant", "scale"), FIXTURES)
def test_multiply_adds_are_the_authors(golden, variant, scale):
    height, width = LR_AT_720P[scale]
    with torch.device("meta"):
        network = create("edsr", scale=scale, channels=3, variant=variant).network
        lr = torch.empty(1, 3, height, width)
    counter = FlopCounterMode(display=False)
    with counter:
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


def test_output_stays_fine_grained_under_autocast():
    model = create("edsr", scale=2, variant="baseline")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sr = model.network(torch.rand(1, 1, 16, 16))
    assert sr.dtype == torch.float32
    assert (255 * sr).unique().numel() > 300  # bfloat16 knows 128 values between 128 and 256


def test_untrained_tiny_is_bicubic():
    lr = torch.rand(1, 1, 9, 8)
    torch.testing.assert_close(
        create("edsr", scale=4, variant="tiny").infer(lr), create("bicubic", scale=4).infer(lr)
    )


@pytest.mark.parametrize("variant", ["baseline", "full"])
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_full_depth_looks_as_far_as_it_says(variant, scale, probe):
    narrow = EDSR(scale, Size(SIZES[variant].blocks, 1, SIZES[variant].residual_scale), edsr_mean(1))
    with torch.device("meta"):
        stated = create("edsr", scale=scale, variant=variant).receptive_radius
    assert narrow.receptive_radius == stated
    assert probe(narrow, scale, int(stated) + 2) == stated


@pytest.mark.parametrize("variant", ["baseline", "full"])
def test_paper_recipe_is_the_authors_option_file(variant):
    with torch.device("meta"):
        model = create("edsr", scale=4, channels=3, variant=variant)
    (stage,) = model.recipe("paper").stages
    assert (stage.iterations, stage.batch, stage.patch) == (300_000, 16, 192)
    assert (stage.optimiser.name, stage.optimiser.lr) == ("adam", 1e-4)
    assert stage.optimiser.betas == (0.9, 0.999)
    assert [stage.schedule(epoch / 300) for epoch in (0, 199, 200, 299)] == [1, 1, 0.5, 0.5]
