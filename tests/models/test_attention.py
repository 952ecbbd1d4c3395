"""Window attention against loops over pixels, and its masks against the geometry they stand for."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from srbench.models.attention import (
    FORBIDDEN,
    DropPath,
    Mlp,
    ShiftMasks,
    WindowAttention,
    attend,
    convolve,
    initialise_linear,
    join_windows,
    relative_bias,
    roll,
    scaled_dot_product,
    shift_mask,
    split_windows,
)


def reference(query, key, value, logits_bias):
    """Attention of one head by definition, ``(P, D)`` each."""
    logits = query @ key.T / query.shape[-1] ** 0.5 + logits_bias
    weights = logits.exp() / logits.exp().sum(1, keepdim=True)
    return weights @ value


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([2, 4]),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_joining_undoes_splitting(images, rows, columns, window, parts, heads):
    x = torch.rand(images, rows * window, columns * window, parts * heads * 2)
    split = split_windows(x, window, parts, heads)
    assert split.shape == (parts, images, rows * columns, heads, window**2, 2)
    joined = [join_windows(part, *x.shape[1:3]) for part in split]
    assert torch.equal(torch.cat(joined, dim=-1), x)


def test_windows_and_pixels_are_in_raster_order():
    rows, columns = torch.meshgrid(torch.arange(4), torch.arange(6), indexing="ij")
    windows = split_windows(torch.stack((rows, columns), -1)[None], 2, 1, 1)[0, 0, :, 0]
    assert windows[0].tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert windows[1].tolist() == [[0, 2], [0, 3], [1, 2], [1, 3]]
    assert windows[3].tolist() == [[2, 0], [2, 1], [3, 0], [3, 1]]


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("learning", [False, True])
def test_attention_is_its_definition(masked, learning):
    qkv = torch.randn(3, 2, 4, 3, 9, 5, dtype=torch.float64, requires_grad=learning)
    bias = torch.randn(3, 9, 9, dtype=torch.float64, requires_grad=learning)
    mask = torch.randn(4, 1, 9, 9) if masked else None
    attended = attend(qkv, bias, mask)
    assert attended.shape == (2, 4, 3, 9, 5)
    for image, window, head in itertools.product(range(2), range(4), range(3)):
        extra = bias[head] if mask is None else bias[head] + mask[window, 0]
        expected = reference(*qkv[:, image, window, head], extra)
        torch.testing.assert_close(attended[image, window, head], expected)


def test_training_on_a_cpu_has_the_gradients_of_the_fused_call():
    inputs = [torch.randn(2, 3, 8, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    bias = torch.randn(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    seed = torch.randn(2, 3, 8, 4, dtype=torch.float64)
    ours = torch.autograd.grad(scaled_dot_product(*inputs, bias), (*inputs, bias), seed)
    fused = F.scaled_dot_product_attention(*inputs, attn_mask=bias)
    for own, expected in zip(ours, torch.autograd.grad(fused, (*inputs, bias), seed), strict=True):
        torch.testing.assert_close(own, expected)


def test_attention_takes_a_float32_bias_to_half_precision():
    qkv, bias = torch.randn(3, 1, 4, 2, 16, 8), torch.randn(2, 16, 16)
    mask = shift_mask(8, 8, 4, qkv.device)
    rounded = attend(qkv.bfloat16(), bias, mask)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), attend(qkv, bias, mask), atol=0.05, rtol=0.05)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (4, 2)])
def test_relative_bias_depends_on_the_offset_alone(height, width):
    table = torch.rand(2, 2 * height - 1, 2 * width - 1)
    bias = relative_bias(table, height, width)
    places = list(itertools.product(range(height), range(width)))
    for (query, (y, x)), (key, (v, u)) in itertools.product(enumerate(places), repeat=2):
        assert torch.equal(bias[:, query, key], table[:, height - 1 + y - v, width - 1 + x - u])


def test_bias_of_a_window_follows_the_authors_index():
    """``(dy + w - 1)(2w - 1) + dx + w - 1``, the rule behind the tables of released weights."""
    window, attention = 3, WindowAttention(4, 2, 3)
    y, x = (axis.flatten() for axis in torch.meshgrid(torch.arange(3), torch.arange(3), indexing="ij"))
    index = (y[:, None] - y + window - 1) * (2 * window - 1) + x[:, None] - x + window - 1
    expected = attention.relative_position_bias_table[index].permute(2, 0, 1)
    assert torch.equal(attention.bias(), expected)


@pytest.mark.parametrize(("height", "width", "window"), [(16, 16, 8), (8, 12, 4), (16, 48, 8)])
def test_mask_keeps_apart_what_only_the_roll_brought_together(height, width, window):
    """Two pixels of a window may attend to each other where they were less than a window apart before."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    rolled = roll(torch.stack((rows, columns), -1)[None], -(window // 2))
    place = split_windows(rolled, window, 1, 1)[0, 0, :, 0]
    near = ((place[:, :, None] - place[:, None]).abs() < window).all(-1)
    mask = shift_mask(height, width, window, torch.device("cpu"))
    assert mask.shape == (height * width // window**2, 1, window**2, window**2)
    assert torch.equal(mask[:, 0] == 0, near)
    assert set(mask.unique().tolist()) == {0.0, FORBIDDEN}


def test_a_single_window_is_cut_into_its_four_quarters():
    mask = shift_mask(4, 4, 4, torch.device("cpu"))[0, 0]
    y, x = torch.arange(16) // 4 // 2, torch.arange(16) % 4 // 2
    assert torch.equal(mask == 0, (y[:, None] == y) & (x[:, None] == x))


def test_masks_are_made_once_a_size_and_forgotten_in_order():
    masks = ShiftMasks(4, capacity=2)
    device = torch.device("cpu")
    first, second = masks(8, 8, device), masks(8, 12, device)
    assert masks(8, 8, device) is first and masks(8, 12, device) is second
    masks(12, 8, device)
    assert masks(8, 12, device) is second
    assert masks(8, 8, device) is not first
    assert torch.equal(masks(8, 8, device), shift_mask(8, 8, 4, device))


def test_masks_made_while_inferring_serve_training():
    masks = ShiftMasks(4)
    with torch.inference_mode():
        mask = masks(8, 8, torch.device("cpu"))
    assert not mask.is_inference()
    qkv = torch.randn(3, 1, 4, 2, 16, 3, requires_grad=True)
    bias = torch.zeros(2, 16, 16, requires_grad=True)
    attend(qkv, bias, mask).sum().backward()
    assert qkv.grad.isfinite().all()


@pytest.mark.slow
def test_masks_follow_the_device_and_a_copy_of_the_network():
    masks = copy.deepcopy(ShiftMasks(4))
    assert masks(8, 8, torch.device("meta")).is_meta
    assert not masks(8, 8, torch.device("cpu")).is_meta


def test_window_attention_moves_nothing_between_windows():
    attention = WindowAttention(6, 2, 4).double()
    qkv = torch.randn(1, 8, 12, 18, dtype=torch.float64, requires_grad=True)
    attention(qkv)[0, 5, 6].sum().backward()  # window of rows 4..7, columns 4..7
    touched = qkv.grad.abs().sum((0, 3)) > 0
    expected = torch.zeros(8, 12, dtype=torch.bool)
    expected[4:8, 4:8] = True
    assert torch.equal(touched, expected)


def test_drop_path_leaves_out_whole_images_and_keeps_the_mean():
    drop, x = DropPath(0.25), torch.ones(4000, 2, 3)
    dropped = drop(x)
    assert dropped[:, 0, 0].unique().tolist() == pytest.approx([0, 4 / 3])
    assert dropped.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(dropped, dropped[:, :1, :1].expand_as(dropped))


def test_drop_path_is_the_identity_when_evaluating_or_at_rate_zero():
    x = torch.rand(8, 2)
    assert DropPath(0.9).eval()(x) is x
    assert DropPath(0.0)(x) is x


def test_mlp_has_the_exact_gelu():
    mlp, x = Mlp(3, 5).double(), torch.randn(2, 3, dtype=torch.float64)
    hidden = F.linear(x, mlp.fc1.weight, mlp.fc1.bias)
    gelu = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    torch.testing.assert_close(mlp(x), F.linear(gelu, mlp.fc2.weight, mlp.fc2.bias))


def test_convolving_tokens_is_convolving_the_map():
    convolution, x = torch.nn.Conv2d(3, 5, 3, padding=1), torch.rand(2, 6, 4, 3)
    expected = convolution(x.movedim(-1, 1).contiguous()).movedim(1, -1)
    torch.testing.assert_close(convolve(convolution, x), expected)


def test_linear_layers_start_small_and_without_bias():
    network = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.LayerNorm(64)).apply(initialise_linear)
    assert network[0].weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not network[0].bias.any() and (network[1].weight == 1).all()
