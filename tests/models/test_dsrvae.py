"""dSRVAE against the numbers of the authors' code: networks, discriminator, patches and their blending."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from srbench.models import ModelError, create
from srbench.models.baselines.dsrvae.model import from_authors
from srbench.models.baselines.dsrvae.network import (
    DSRVAE,
    SRSN,
    Denoiser,
    DenoiserConfig,
    ResnetBlock,
    patch_starts,
    spans,
)
from srbench.models.baselines.dsrvae.recipe import DSRVAEDiscriminator, largest_pool

SMALL = DenoiserConfig(features=4, dim=4, planes=8, feat_size=2, hidden=8, z_dim=6, blocks=1)
"""Patches of 32 pixels, which overlap by 8."""


def shapes(state):
    return {key: list(value.shape) for key, value in state.items()}


def size_of(network):
    return sum(parameter.numel() for parameter in network.parameters())


def giga_multiply_adds(network, *inputs):
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(*inputs)
    return counter.get_total_flops() / 2e9


@pytest.fixture
def small():
    """A pipeline that changes images noticeably."""
    network = DSRVAE(Denoiser(1, SMALL), SRSN(2, 1, blocks=1, features=4), 2).double().eval()
    nn.init.normal_(network.denoiser.SR_mu[0].weight, std=0.1)
    return network


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["", "_b"])
def test_srsn_reproduces_the_authors(golden, suffix):
    fixture = golden("dsrvae_srsn_x4")
    network = create("dsrvae", scale=4, channels=3, variant="srsn").network
    network.load_state_dict(fixture.state())
    with torch.no_grad():
        output = network.double().eval()(fixture.input(f"x{suffix}"))
    torch.testing.assert_close(output, fixture.output(f"y{suffix}"), atol=1e-6, rtol=0)


@pytest.mark.slow
def test_srsn_has_the_authors_keys_size_and_cost(golden):
    spec = golden("dsrvae_srsn_x4").spec
    with torch.device("meta"):
        network = create("dsrvae", scale=4, channels=3, variant="srsn").network
        lr = torch.empty(1, 3, 180, 320)
    assert shapes(network.state_dict()) == spec["keys"]
    assert size_of(network) == spec["params"] == 298_948
    assert giga_multiply_adds(network, lr) == pytest.approx(spec["macs"]["1280x720"], rel=1e-9)


def test_shortcut_of_a_block_is_rectified():
    block = ResnetBlock(3)
    nn.init.zeros_(block.conv2.weight)
    nn.init.zeros_(block.conv2.bias)
    x = torch.randn(2, 3, 5, 5)
    kept = x.clone()
    assert torch.equal(block(x), x.clamp_min(0))
    assert torch.equal(x, kept)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_srsn_looks_as_far_as_it_says(scale, probe):
    narrow = SRSN(scale, channels=1, features=1)
    stated = create("dsrvae", scale=scale, variant="srsn").receptive_radius
    assert narrow.receptive_radius == stated
    assert probe(narrow, scale, int(stated) + 2) == stated


@pytest.mark.slow
def test_denoiser_reproduces_the_authors(golden):
    fixture = golden("dsrvae_denoiser")
    denoiser = Denoiser(3, DenoiserConfig())
    denoiser.load_state_dict(fixture.state())
    with torch.no_grad():
        output = denoiser.double().eval()(fixture.input(), fixture.input("x_in1"))
    torch.testing.assert_close(output, fixture.output(), atol=1e-6, rtol=0)


@pytest.mark.slow
def test_denoiser_has_the_authors_keys_size_and_cost(golden):
    spec = golden("dsrvae_denoiser").spec
    with torch.device("meta"):
        network = create("dsrvae", scale=4, channels=3).network
        patch, code = torch.empty(1, 3, 128, 128), torch.empty(1, 512)
    denoiser = network.denoiser
    assert shapes(denoiser.state_dict()) == spec["keys"]
    assert size_of(denoiser) == spec["params"] == 74_451_178
    assert size_of(network) == 74_451_178 + 298_948
    cost = giga_multiply_adds(denoiser, patch, code)
    assert cost == pytest.approx(spec["macs"]["per 128x128 LR patch"], rel=1e-9)


def test_training_denoiser_of_the_authors_is_understood(golden):
    theirs = {key: torch.empty(shape) for key, shape in golden("dsrvae_denoiser_train").spec["keys"].items()}
    expected = {f"denoiser.{key}": shape for key, shape in golden("dsrvae_denoiser").spec["keys"].items()}
    assert shapes(from_authors(theirs)) == expected


@pytest.mark.slow
def test_both_networks_of_the_authors_in_one_file_are_the_full_variant(golden):
    specs = (golden("dsrvae_denoiser").spec, golden("dsrvae_srsn_x4").spec)
    theirs = {key: torch.empty(shape) for spec in specs for key, shape in spec["keys"].items()}
    assert len(theirs) == sum(spec["n_keys"] for spec in specs)
    with torch.device("meta"):
        model = create("dsrvae", scale=4, channels=3)
    assert shapes(model.convert(theirs)) == shapes(model.network.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["full", "srsn", "tiny"])
def test_other_state_dicts_pass_unchanged(variant):
    with torch.device("meta"):
        model = create("dsrvae", scale=4, variant=variant)
    own = model.network.state_dict()
    assert shapes(model.convert(own)) == shapes(own)
    assert model.convert({"SR_final.0.weight": own}) == {"SR_final.0.weight": own}
    assert model.convert({}) == {}


@pytest.mark.slow
def test_discriminator_reproduces_the_authors(golden):
    fixture = golden("dsrvae_d")
    discriminator = DSRVAEDiscriminator(3)
    missing, unexpected = discriminator.load_state_dict(fixture.state(), strict=False)
    assert not unexpected and all(key.endswith("num_batches_tracked") for key in missing)
    with torch.no_grad():
        logits = discriminator.double().eval()(fixture.input())
    torch.testing.assert_close(logits[:, 0], fixture.output(), atol=1e-7, rtol=0)
    assert shapes(discriminator.state_dict()) == fixture.spec["keys"]
    assert size_of(discriminator) == fixture.spec["params"] == 7_915_281


@pytest.mark.slow
@pytest.mark.parametrize(("patch", "pool"), [(8, 1), (48, 1), (32, 2), (192, 2), (128, 4), (384, 4)])
def test_discriminator_gives_one_logit_an_image(patch, pool):
    assert largest_pool(patch) == pool
    with torch.device("meta"):
        discriminator = DSRVAEDiscriminator(1, patch, features=2, pool=pool, hidden=3)
        assert discriminator(torch.empty(3, 1, patch, patch)).shape == (3, 1)


@pytest.mark.parametrize(("patch", "pool"), [(64, 4), (48, 2), (0, 1), (500, 4)])
def test_discriminator_refuses_patches_it_cannot_reduce(patch, pool):
    with pytest.raises(ModelError, match=f"multiple of {8 * pool**2}, found {patch}"):
        DSRVAEDiscriminator(1, patch, pool=pool)


@pytest.mark.parametrize("patch", [0, 4, 50])
def test_no_poolings_fit_every_patch(patch):
    with pytest.raises(ModelError, match="multiple of 8"):
        largest_pool(patch)


def test_starts_of_patches_are_the_authors():
    assert patch_starts(128, 128, 8) == Counter({0: 2})  # they run the only patch twice
    assert patch_starts(240, 128, 8) == Counter({0: 1, 112: 1})
    assert patch_starts(241, 128, 8) == Counter({0: 1, 113: 2})
    assert patch_starts(300, 128, 8) == Counter({0: 1, 120: 1, 172: 1})


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(length=st.integers(1, 150), feat_size=st.integers(1, 3), scale=st.sampled_from([2, 3, 4, 8]))
def test_patches_cover_every_pixel_with_weight_one(length, feat_size, scale):
    patch = 16 * feat_size
    total = torch.zeros(length * scale, dtype=torch.float64)
    for span in spans(length, patch, 8, scale, like=total):
        assert span.stop - span.start == min(patch, length) and span.start >= 0 and span.stop <= length
        assert (span.weights > 0).all()
        total[span.hr(scale)] += span.weights
    torch.testing.assert_close(total, torch.ones_like(total))


def blend_like_the_authors(network, lr, patch, overlap, scale):
    """Every patch by itself on a two-dimensional grid, accumulated with its weights and divided by them."""
    height, width = lr.shape[-2:]
    fade, side = overlap * scale, patch * scale
    profile = torch.ones(side, dtype=lr.dtype)
    profile[:fade] = torch.linspace(0.1, 1, fade, dtype=lr.dtype)
    profile[-fade:] = profile[:fade].flip(0)
    total = torch.zeros(1, 1, height * scale, width * scale, dtype=lr.dtype)
    weights = torch.zeros_like(total)
    for row in range(math.ceil(height / (patch - overlap))):
        for column in range(math.ceil(width / (patch - overlap))):
            top = min(row * (patch - overlap), height - patch)
            left = min(column * (patch - overlap), width - patch)
            cut = lr[..., top : top + patch, left : left + patch]
            sr = network.srsn(network.denoiser(cut, network.z.to(lr.dtype)))
            place = (..., slice(top * scale, top * scale + side), slice(left * scale, left * scale + side))
            total[place] += sr * profile[:, None] * profile
            weights[place] += profile[:, None] * profile
    return total / weights


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), [(32, 32), (40, 53), (75, 33)])
def test_patches_are_blended_like_the_authors(small, height, width):
    lr = torch.rand(2, 1, height, width, dtype=torch.float64)
    with torch.no_grad():
        expected = torch.cat([blend_like_the_authors(small, image, 32, 8, 2) for image in lr.split(1)])
        torch.testing.assert_close(small(lr), expected)
        assert (small(lr) - small.srsn(lr)).abs().max() > 0.01


def test_small_images_see_the_corner_of_the_decoded_code(small):
    lr = torch.rand(1, 1, 9, 60, dtype=torch.float64)
    with torch.no_grad():
        sr, decoded = small(lr), small.denoiser.decode(small.z)
        left = small.srsn(small.denoiser.restore(lr[..., :32], decoded))
    torch.testing.assert_close(sr[..., :48], left[..., :48])


def test_denoiser_refuses_what_exceeds_a_patch(small):
    with pytest.raises(ModelError, match="at most 32 LR pixels a side, found 8x33"):
        small.denoiser(torch.rand(1, 1, 8, 33), small.z)


@pytest.mark.slow
def test_output_is_not_random():
    first, second = (create("dsrvae", scale=2, variant="tiny") for _ in range(2))
    nn.init.normal_(first.network.denoiser.SR_mu[0].weight)
    second.network.load_state_dict(first.network.state_dict())
    lr = torch.rand(1, 1, 40, 33)
    torch.manual_seed(5)
    answer = first.infer(lr)
    torch.manual_seed(6)
    assert torch.equal(second.infer(lr), answer)
    other = DSRVAE(first.network.denoiser, first.network.srsn, 2)
    other.z = -other.z
    assert not torch.allclose(other.eval()(lr), first.network.eval()(lr))


@pytest.mark.slow
def test_code_is_standard_normal():
    with torch.device("meta"):
        assert create("dsrvae", scale=4).network.z.device.type == "meta"
    code = DSRVAE(Denoiser(1, DenoiserConfig(4, 4, 8, 2, 8, z_dim=4096)), nn.Identity(), 1).z
    assert code.shape == (1, 4096)
    assert abs(float(code.mean())) < 0.05 and abs(float(code.std()) - 1) < 0.05
    assert abs(float((code.abs() < 1).float().mean()) - 0.6827) < 0.03


def test_untrained_network_finds_no_noise():
    lr = torch.rand(1, 1, 9, 32)
    tiny = create("dsrvae", scale=4, variant="tiny")
    assert torch.equal(tiny.network.denoiser(lr, tiny.network.z), lr)
    torch.testing.assert_close(tiny.infer(lr), create("bicubic", scale=4).infer(lr))


def test_enlargement_is_pytorchs_bicubic():
    network = SRSN(3, 1, blocks=1, features=2)
    seen = []
    network.LR_feat.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    lr = torch.rand(1, 1, 5, 7)
    network(lr)
    theirs = F.interpolate(lr, size=(15, 21), mode="bicubic", align_corners=False)
    torch.testing.assert_close(seen[0], theirs)
