"""HMANet against the numbers of the authors' code, and its parts against loops over pixels."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from srbench.models import card, create
from srbench.models.attention import DropPath, shift_mask
from srbench.models.baselines.hmanet import (
    DynamicPositionBias,
    GridAttention,
    HMANetConfig,
    RasterAttention,
    SqueezeExcitation,
    build_hmanet,
    strip_tables,
)
from srbench.models.baselines.swinir import DIV2K_MEAN

FIXTURE_TINY = HMANetConfig(60, (2, 2), 6, position_hidden=1)
TAGS = ["tiny_x4", "x2", "x4"]


def build(tag):
    """The registered network of a fixture; the fixture's small one is no variant."""
    scale = int(tag[-1])
    if tag.startswith("tiny"):
        return build_hmanet(scale, DIV2K_MEAN, FIXTURE_TINY)
    return create("hmanet", scale=scale, channels=3).network


@pytest.mark.slow
@pytest.mark.parametrize(("tag", "sizes"), [("tiny_x4", ("net32", "net48")), ("x4", ("net48", "netb"))])
def test_reproduces_the_authors_network(golden, tag, sizes):
    """Inputs are padded already; net48 is not square, so that height and width cannot be confused."""
    fixture = golden(f"hmanet_{tag}")
    network = build(tag).double().eval()
    network.load_state_dict(fixture.state(), strict=True)
    for size in sizes:
        with torch.no_grad():
            output = network(fixture.input(f"x_{size}"))
        torch.testing.assert_close(output, fixture.output(f"y_{size}"), atol=1e-6, rtol=0)


@pytest.mark.slow
def test_reproduces_the_authors_x2_in_float32(golden):
    fixture = golden("hmanet_x2")
    network = build("x2").eval()
    network.load_state_dict(fixture.state(), strict=True)
    with torch.no_grad():
        output = network(fixture.input("x_net32").float()).double()
    tolerance = 20 * fixture.spec["outputs"]["y_net32"]["max_abs_diff_fp32_vs_fp64"]
    torch.testing.assert_close(output, fixture.output("y_net32"), atol=tolerance, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("tag", TAGS)
def test_keys_and_counts_are_the_authors(golden, tag):
    spec = golden(f"hmanet_{tag}").spec
    with torch.device("meta"):
        network = build(tag)
    learned = {key: shape for key, shape in spec["keys"].items() if spec["rules"][key] != "skip"}
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == learned
    assert sum(parameter.numel() for parameter in network.parameters()) == spec["params_trainable"]


@pytest.mark.slow
def test_x3_has_the_published_size():
    with torch.device("meta"):
        network = build("x3")
    assert sum(parameter.numel() for parameter in network.parameters()) == 69_907_315


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width", "gmac"), [(64, 64, 217.362861828), (192, 320, 3735.78368922)])
def test_multiply_adds_are_the_authors(height, width, gmac):
    with torch.device("meta"):
        network, lr = build("x4"), torch.empty(1, 3, height, width)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(lr)
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmac, rel=1e-9)


@pytest.mark.slow
def test_checkpoints_with_an_index_table_are_converted(golden):
    fixture = golden("hmanet_tiny_x4")
    stored = {**fixture.state(), "relative_position_index_SA": torch.zeros(256, 256)}
    assert stored.keys() == fixture.spec["keys"].keys()
    converted = strip_tables(stored)
    build("tiny_x4").load_state_dict(converted, strict=True)
    assert all(converted[key] is stored[key] for key in converted)
    assert strip_tables(converted).keys() == converted.keys()


def test_unknown_weights_come_back_as_they_are():
    for state in ({"relative_position_index_SA": torch.ones(2), "conv.weight": torch.ones(1)}, {}):
        assert strip_tables(state) == state
        assert create("hmanet", scale=2, variant="tiny").convert(state) == state


def test_position_bias_is_the_perceptron_of_each_offset():
    position = DynamicPositionBias(4, 3).double()
    bias = position(2, 3)
    places = list(itertools.product(range(2), range(3)))
    for (query, (y, x)), (key, (v, u)) in itertools.product(enumerate(places), repeat=2):
        hidden = position.pos_proj(torch.tensor([y - v, x - u]).double())
        expected = position.pos3(position.pos2(position.pos1(hidden)))
        torch.testing.assert_close(bias[:, query, key], expected)


def test_position_bias_keeps_its_precision_under_autocast_and_follows_its_weights():
    position = DynamicPositionBias(4, 3).eval()
    exact = position(3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(position(3, 3), exact)
    with torch.no_grad():
        position.pos3[2].bias += 1
    torch.testing.assert_close(position(3, 3), exact + 1)


def test_grid_attention_joins_pixels_whole_intervals_apart():
    grid = GridAttention(heads=2, interval=4, hidden=3).double()
    gqkv = torch.randn(1, 8, 12, 4 * 6, dtype=torch.float64, requires_grad=True)
    grid(gqkv)[0, 5, 2].sum().backward()
    touched = gqkv.grad.abs().sum((0, 3)) > 0
    expected = torch.zeros(8, 12, dtype=torch.bool)
    expected[5 % 4 :: 4, 2 % 4 :: 4] = True
    assert torch.equal(touched, expected)


def test_grid_attention_is_two_attentions_in_a_row():
    """Grid tokens as queries gather, then as keys spread; one head, every group on its own."""
    module = GridAttention(heads=1, interval=2, hidden=3).double()
    x = torch.randn(1, 4, 6, 4 * 5, dtype=torch.float64)
    output = module(x)
    for top, left in itertools.product(range(2), repeat=2):
        grid, query, key, value = x[0, top::2, left::2].reshape(6, 4, 5).unbind(1)
        first, second = (t.pos(2, 3)[0] for t in (module.attn_transform1, module.attn_transform2))
        gathered = torch.softmax(grid @ key.T / 5**0.5 + first, dim=1) @ value
        spread = torch.softmax(query @ grid.T / 5**0.5 + second, dim=1) @ gathered
        torch.testing.assert_close(output[0, top::2, left::2], spread.view(2, 3, 5))


def test_shifted_part_has_both_peculiarities_of_the_released_code():
    """Runs of raster pixels instead of windows, put back as windows; rolled back along pixel and channel."""
    window, height, width, features = 4, 8, 12, 3
    module = RasterAttention(features, 1, window).double()
    qkv = torch.randn(1, height, width, 3 * features, dtype=torch.float64)
    mask = shift_mask(height, width, window, qkv.device).double()
    rolled = qkv.roll((-2, -2), (1, 2)).reshape(-1, window**2, 3, features)
    as_windows = torch.zeros(height, width, features, dtype=torch.float64)
    for index, run in enumerate(rolled):
        query, key, value = run.unbind(1)
        logits = query @ key.T / features**0.5 + module.bias()[0] + mask[index, 0]
        top, left = divmod(index, width // window)
        block = module.proj(torch.softmax(logits, dim=1) @ value).view(window, window, features)
        as_windows[top * window : (top + 1) * window, left * window : (left + 1) * window] = block
    expected = as_windows.view(height * width, features).roll((2, 2), (0, 1)).view(1, height, width, features)
    torch.testing.assert_close(module(qkv, mask), expected)


def test_channel_attention_is_its_definition():
    module, x = SqueezeExcitation(6).double(), torch.randn(2, 3, 5, 6, dtype=torch.float64)
    hidden = x.mean((1, 2)) @ module.fc1.weight[:, :, 0, 0].T + module.fc1.bias
    hidden = hidden * torch.sigmoid(hidden)
    gate = torch.sigmoid(hidden @ module.fc2.weight[:, :, 0, 0].T + module.fc2.bias)
    torch.testing.assert_close(module(x), x * gate[:, None, None])


@pytest.mark.slow
def test_every_pixel_depends_on_every_other():
    model = create("hmanet", scale=2, variant="tiny")
    assert math.isinf(model.receptive_radius)
    with torch.device("meta"):
        paper = create("hmanet", scale=2)
    assert math.isinf(paper.receptive_radius) and paper.size_multiple == 16
    body = model.network.body.double().eval()
    with torch.no_grad():
        body.conv_last.weight.normal_()
    lr = torch.rand(1, 1, 16, 24, dtype=torch.float64, requires_grad=True)
    body(lr)[0, 0, 0, 0].backward()
    assert (lr.grad != 0).all()


@pytest.mark.slow
def test_grey_shift_and_dropped_branches_are_those_of_swinir():
    with torch.device("meta"):
        colour, grey = (create("hmanet", scale=4, channels=channels).network for channels in (3, 1))
    assert colour.grey_shift.shift == tuple(-mean for mean in DIV2K_MEAN)
    assert (colour.grey_shift.first, colour.grey_shift.last) == ("conv_first", "conv_last")
    assert grey.grey_shift is None
    rates = [module.rate for module in colour.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0.1 * block / 35 for block in range(36)])


@pytest.mark.slow
def test_paper_recipe_is_the_authors_two_option_files():
    with torch.device("meta"):
        pretraining, fine_tuning = create("hmanet", scale=4).recipe("paper").stages
    assert (pretraining.iterations, pretraining.batch, pretraining.patch) == (800_000, 32, 256)
    assert (fine_tuning.iterations, fine_tuning.batch, fine_tuning.patch) == (250_000, 32, 256)
    for stage, rate in ((pretraining, 2e-4), (fine_tuning, 5e-6)):
        assert (stage.optimiser.lr, stage.optimiser.betas, stage.ema) == (rate, (0.9, 0.99), 0.999)
    milestones = [at / 800 for at in (299, 300, 500, 650, 700, 750)]
    assert [pretraining.schedule(f) for f in milestones] == [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32]
    milestones = [at / 250 for at in (124, 125, 200, 225, 240)]
    assert [fine_tuning.schedule(f) for f in milestones] == [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16]


def test_released_weights_are_fetched_by_hand():
    released = card("hmanet").released
    assert {entry.scale for entry in released} == {2, 3, 4}
    assert all(not entry.direct and entry.variant == "paper" for entry in released)


def test_untrained_tiny_is_bicubic():
    lr = torch.rand(1, 1, 8, 16)
    torch.testing.assert_close(
        create("hmanet", scale=4, variant="tiny").infer(lr), create("bicubic", scale=4).infer(lr)
    )
