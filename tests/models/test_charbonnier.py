"""The Charbonnier penalty against its formula, its limits and its derivative."""

from __future__ import annotations

import math

import pytest
import torch

from srbench.models import ModelError
from srbench.models.losses.pixel import charbonnier_loss


def test_sums_over_an_image_and_averages_over_the_batch():
    sr = torch.tensor([[[[0.3, 0.0]]], [[[0.0, 0.0]]]], dtype=torch.float64)
    hr = torch.tensor([[[[0.0, 0.0]]], [[[0.4, 0.0]]]], dtype=torch.float64)
    expected = (math.hypot(0.3, 0.1) + 0.1 + math.hypot(0.4, 0.1) + 0.1) / 2
    assert charbonnier_loss(sr, hr, epsilon=0.1).item() == pytest.approx(expected, rel=1e-12)


def test_default_epsilon_is_that_of_the_paper():
    images = torch.rand(3, 2, 5, 4)
    assert charbonnier_loss(images, images).item() == pytest.approx(1e-3 * 2 * 5 * 4, rel=1e-5)


def test_far_from_zero_it_is_the_absolute_difference():
    sr, hr = torch.rand(2, 1, 8, 8, dtype=torch.float64), torch.rand(2, 1, 8, 8, dtype=torch.float64) + 2
    absolute = (hr - sr).sum() / 2
    assert charbonnier_loss(sr, hr).item() == pytest.approx(absolute.item(), rel=1e-6)


def test_derivative_is_that_of_the_formula_and_finite_at_zero():
    sr = torch.linspace(-2e-3, 2e-3, 9, dtype=torch.float64).view(1, 1, 3, 3).requires_grad_()
    charbonnier_loss(sr, torch.zeros_like(sr)).backward()
    with torch.no_grad():
        expected = sr / (sr.square() + 1e-6).sqrt()
    torch.testing.assert_close(sr.grad, expected)
    assert sr.grad[0, 0, 1, 1] == 0


def test_refuses_what_would_broadcast():
    with pytest.raises(ModelError, match="one shape"):
        charbonnier_loss(torch.rand(2, 1, 4, 4), torch.rand(2, 1, 1, 4))
