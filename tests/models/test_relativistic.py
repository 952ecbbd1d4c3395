"""The relativistic average losses against their closed form, and what the two players are shown."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from srbench.models.losses.adversarial import (
    RelativisticDiscriminator,
    RelativisticGenerator,
    relativistic_discriminator_loss,
)
from srbench.models.recipe import Batch, LossInputs


class Brightness(nn.Module):
    """A discriminator whose logit is its gain times the mean of the image."""

    def __init__(self, gain=1.0):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))
        self.sizes = []

    def forward(self, image):
        self.sizes.append(tuple(image.shape[-2:]))
        return self.gain * image.mean((1, 2, 3))[:, None]


def inputs(discriminator, hr=0.8, sr=0.3):
    """Two HR and two SR images of equal brightness each."""
    images = {"hr": torch.full((2, 1, 8, 8), hr), "sr": torch.full((2, 1, 8, 8), sr).requires_grad_()}
    batch = Batch(images["hr"][..., ::4, ::4], images["hr"], 4)
    return LossInputs(batch, {"sr": images["sr"]}, {"judge": discriminator})


def by_hand(real, fake, label):
    """Mean over images of ``-log`` of the probability that the label gives, both halves averaged."""
    total = 0.0
    for above, below, truth in ((real, fake, label), (fake, real, 1 - label)):
        mean = sum(below) / len(below)
        probabilities = [1 / (1 + math.exp(-(logit - mean))) for logit in above]
        total += sum(-math.log(p if truth else 1 - p) for p in probabilities) / len(above)
    return total / 2


def test_closed_form():
    real, fake = [0.3, -1.2, 2.0], [0.9, 0.1, -0.4]
    given = [torch.tensor(logits, dtype=torch.float64) for logits in (real, fake)]
    loss = relativistic_discriminator_loss(*given)
    assert loss.item() == pytest.approx(by_hand(real, fake, 1), rel=1e-12)


def test_an_undecided_discriminator_costs_log_two():
    logits = torch.full((4, 1), 3.0)
    assert relativistic_discriminator_loss(logits, logits).item() == pytest.approx(math.log(2))


def test_sides_are_swapped_between_the_players():
    discriminator = Brightness(2.0)
    given = inputs(discriminator)
    real, fake = discriminator(given.hr), discriminator(given.sr)
    expected = by_hand(real.flatten().tolist(), fake.flatten().tolist(), 0)
    assert RelativisticGenerator("judge")(given).item() == pytest.approx(expected, rel=1e-6)


def test_only_differences_count_and_large_ones_stay_finite():
    real, fake = torch.randn(5, 1), torch.randn(5, 1)
    shifted = relativistic_discriminator_loss(real + 7, fake + 7)
    torch.testing.assert_close(shifted, relativistic_discriminator_loss(real, fake))
    far = torch.tensor([[1e4]])
    assert relativistic_discriminator_loss(-far, far).item() == pytest.approx(2e4)


def test_terms_equal_binary_cross_entropy():
    discriminator = Brightness(2.0)
    given = inputs(discriminator)
    real, fake = discriminator(given.hr), discriminator(given.sr)
    ones, zeros = torch.ones_like(real), torch.zeros_like(real)
    entropy = F.binary_cross_entropy_with_logits
    of_discriminator = (entropy(real - fake.mean(), ones) + entropy(fake - real.mean(), zeros)) / 2
    of_generator = (entropy(real - fake.mean(), zeros) + entropy(fake - real.mean(), ones)) / 2
    torch.testing.assert_close(RelativisticDiscriminator()(discriminator, given), of_discriminator)
    torch.testing.assert_close(RelativisticGenerator("judge")(given), of_generator)


def test_the_generator_learns_from_its_own_images_only():
    discriminator = Brightness()
    given = inputs(discriminator)
    loss = RelativisticGenerator("judge")(given)
    (of_sr,) = torch.autograd.grad(loss, given.sr, retain_graph=True)
    assert (of_sr < 0).all()  # brighter looks more real to this discriminator
    # d loss / d gain by hand: real logits are constants, the fake one of every image is gain * 0.3.
    (of_gain,) = torch.autograd.grad(loss, discriminator.gain)
    expected = -torch.sigmoid(torch.tensor(0.8 - 0.3)) * 0.3
    assert of_gain.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.slow
def test_the_discriminator_learns_to_tell_them_apart():
    discriminator = Brightness(0.0)
    (of_gain,) = torch.autograd.grad(
        RelativisticDiscriminator()(discriminator, inputs(discriminator)), discriminator.gain
    )
    assert of_gain < 0


def test_a_view_is_what_the_discriminator_sees():
    def cropped(image):
        return image[..., :3, :5]

    discriminator = Brightness()
    given = inputs(discriminator)
    RelativisticGenerator("judge", cropped)(given)
    RelativisticDiscriminator(cropped)(discriminator, given)
    assert discriminator.sizes == [(3, 5)] * 4
