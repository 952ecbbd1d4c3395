"""Shrinking inside networks equals the resize of the data side, and is what it says beyond that."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from srbench.datasets.images.resize import resize
from srbench.models import ModelError
from srbench.models.layers import BicubicDownsample, InterpolationUpsample

SCALES = (1, 2, 4, 8)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("sides", [(7, 5), (1, 3), (1, 1)])
def test_equals_the_resize_of_the_data_side(scale, sides):
    image = torch.rand(2, 3, sides[0] * scale, sides[1] * scale, dtype=torch.float64)
    torch.testing.assert_close(BicubicDownsample(scale)(image), resize(image, sides), atol=1e-14, rtol=0)


@pytest.mark.parametrize("scale", [3, 5])
def test_odd_factors_are_as_good_as_float32(scale):
    image = torch.rand(1, 1, 4 * scale, 6 * scale, dtype=torch.float64)
    torch.testing.assert_close(BicubicDownsample(scale)(image), resize(image, (4, 6)), atol=2e-7, rtol=0)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_inside_the_border_it_is_torchs_antialiased_bicubic(scale):
    image = torch.rand(1, 1, 9 * scale, 11 * scale, dtype=torch.float64)
    theirs = F.interpolate(image, size=(9, 11), mode="bicubic", antialias=True)
    inside = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(BicubicDownsample(scale)(image)[inside], theirs[inside], atol=1e-12, rtol=0)


@pytest.mark.parametrize("scale", SCALES)
def test_a_straight_ramp_stays_one(scale):
    lr = torch.arange(12, dtype=torch.float64).expand(1, 1, 12, 12) / 12
    hr = InterpolationUpsample("bicubic", scale)(lr)
    inside = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(BicubicDownsample(scale)(hr)[inside], lr[inside], atol=1e-12, rtol=0)


@pytest.mark.parametrize("scale", [2, 8])
def test_reaches_as_far_as_it_says(scale):
    shrink = BicubicDownsample(scale)
    image = torch.rand(1, 1, 9 * scale, 9 * scale, dtype=torch.float64, requires_grad=True)
    shrink(image)[..., 4, 4].sum().backward()
    seen = image.grad[0, 0].abs().sum(0).nonzero() // scale - 4
    assert (int(seen.min()), int(seen.max())) == (-shrink.receptive_radius, shrink.receptive_radius)


def test_half_precision_is_summed_in_float32():
    image = torch.rand(1, 1, 32, 32).bfloat16()
    exact = BicubicDownsample(4)(image.float())
    assert torch.equal(BicubicDownsample(4)(image), exact.bfloat16())


def test_has_nothing_to_learn_or_to_store():
    shrink = BicubicDownsample(4)
    assert not list(shrink.parameters()) and not shrink.state_dict()
    assert "1/4" in repr(shrink)


@pytest.mark.parametrize("side", [7, 9])
def test_refuses_sides_it_cannot_divide(side):
    with pytest.raises(ModelError, match="multiples of 4"):
        BicubicDownsample(4)(torch.rand(1, 1, 8, side))


def test_refuses_factors_that_are_none():
    with pytest.raises(ModelError, match="positive integers"):
        BicubicDownsample(0)
