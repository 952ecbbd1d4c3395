"""The multi-scale discriminator, and the game it plays."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from srbench.models.csm_sr.discriminator import MultiScaleDiscriminator
from srbench.models.losses.adversarial import DISCRIMINATOR, discriminator_loss, generator_loss
from srbench.models.recipe import Batch, LossInputs


def small(channels: int = 1) -> MultiScaleDiscriminator:
    torch.manual_seed(0)
    return MultiScaleDiscriminator(channels, features=8, strides=2)


def sharp_and_soft(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    sharp = torch.rand(8, 1, 32, 32, generator=generator).round()
    # Softer for the fine discriminator, and darker for the coarse ones, who see no sharpness.
    return sharp, 0.5 * F.avg_pool2d(sharp, 5, 1, 2)


def inputs(hr: Tensor, sr: Tensor, discriminator: MultiScaleDiscriminator) -> LossInputs:
    return LossInputs(Batch(hr[..., ::4, ::4], hr, 4), {"sr": sr}, {DISCRIMINATOR: discriminator})


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [24, 48, 96, 100])
def test_one_logit_map_for_each_resolution(channels, side) -> None:
    maps = MultiScaleDiscriminator(channels, features=8)(torch.rand(2, channels, side, side + 4))
    assert len(maps) == 3
    sizes = [tuple(logits.shape[-2:]) for logits in maps]
    assert sizes == sorted(set(sizes), reverse=True)
    assert all(logits.shape[:2] == (2, 1) for logits in maps)


@pytest.mark.slow
def test_names_in_checkpoints_are_those_of_older_runs() -> None:
    assert {name.partition(".")[0] for name in small().state_dict()} == {"critics"}


@pytest.mark.slow
def test_the_coarse_discriminators_see_only_the_averaged_image() -> None:
    discriminator = small().eval()
    checkerboard = (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 1.0
    image, grey = checkerboard[None, None], torch.full((1, 1, 32, 32), 0.5)
    of_image, of_grey = discriminator(image), discriminator(grey)
    assert not torch.allclose(of_image[0], of_grey[0], atol=1e-4)
    for coarse in (1, 2):
        torch.testing.assert_close(of_image[coarse], of_grey[coarse])


@pytest.mark.slow
def test_a_discriminator_learns_to_tell_two_distributions_apart() -> None:
    discriminator, generator = small(), torch.Generator().manual_seed(1)
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        real, fake = sharp_and_soft(generator)
        loss = discriminator_loss(discriminator, inputs(real, fake, discriminator))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    real, fake = sharp_and_soft(generator)
    for of_real, of_fake in zip(discriminator(real), discriminator(fake), strict=True):
        assert float(of_real.detach().min()) > float(of_fake.detach().max())


def test_undecided_discriminators_pay_two_log_two_and_confident_right_ones_nothing() -> None:
    """Theirs pays 11 for being right and 1 for calling everything false (csmsr_losses.json)."""

    class Fixed(torch.nn.Module):
        def __init__(self, real: float, fake: float) -> None:
            super().__init__()
            self.real, self.fake = real, fake

        def forward(self, image: Tensor) -> list[Tensor]:
            logit = self.real if image.mean() > 0.5 else self.fake
            return [torch.full((1, 1, 4, 4), float(logit)), torch.full((1, 1, 2, 2), float(logit))]

    real, fake = torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)

    def paid(at_real: float, at_fake: float) -> float:
        discriminator = Fixed(at_real, at_fake)
        return float(discriminator_loss(discriminator, inputs(real, fake, discriminator)))

    assert paid(0, 0) == pytest.approx(2 * torch.tensor(2.0).log().item())
    assert paid(10, -10) < 1e-3
    assert paid(-10, -10) > 9


@pytest.mark.slow
def test_the_generator_is_pulled_towards_what_the_discriminator_calls_real() -> None:
    discriminator, generator = small(), torch.Generator().manual_seed(1)
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=3e-3)
    for _ in range(40):
        real, fake = sharp_and_soft(generator)
        optimiser.zero_grad()
        discriminator_loss(discriminator, inputs(real, fake, discriminator)).backward()
        optimiser.step()
    real, fake = sharp_and_soft(generator)
    discriminator.eval().requires_grad_(False)
    fake.requires_grad_()
    before = generator_loss(inputs(real, fake, discriminator))
    (gradient,) = torch.autograd.grad(before, fake)
    after = generator_loss(inputs(real, fake.detach() - 0.1 * gradient.sign(), discriminator))
    assert float(after) < float(before.detach())


@pytest.mark.slow
def test_its_weights_survive_saving() -> None:
    discriminator = small()
    discriminator(torch.rand(1, 1, 32, 32))
    other = MultiScaleDiscriminator(1, features=8, strides=2)
    other.load_state_dict(discriminator.state_dict())
    image = torch.rand(1, 1, 32, 32)
    for ours, theirs in zip(discriminator.eval()(image), other.eval()(image), strict=True):
        torch.testing.assert_close(ours, theirs)
