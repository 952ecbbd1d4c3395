"""Both forms of the VGG critic against the numbers of BasicSR's and of SPSR's code."""

from __future__ import annotations

import pytest
import torch

from srbench.models import ModelError
from srbench.models.discriminators import BiasedVGGCritic, VGGCritic

FORMS = [(VGGCritic, "esrgan_vgg128_d"), (BiasedVGGCritic, "spsr_vgg128_d")]
KINDS = [VGGCritic, BiasedVGGCritic]


@pytest.mark.parametrize(("kind", "tag"), FORMS)
def test_logits_are_the_reference(golden, kind, tag):
    fixture = golden(tag)
    critic = kind(3)
    missing, unexpected = critic.load_state_dict(fixture.state(), strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
    with torch.no_grad():
        logits = critic.double().eval()(fixture.input())
    torch.testing.assert_close(logits, fixture.output(), atol=1e-7, rtol=0)


@pytest.mark.parametrize(("kind", "tag"), FORMS)
def test_keys_and_size_are_the_reference(golden, kind, tag):
    spec = golden(tag).spec
    with torch.device("meta"):
        critic = kind(3)
    assert {key: list(value.shape) for key, value in critic.state_dict().items()} == spec["keys"]
    assert sum(parameter.numel() for parameter in critic.parameters()) == spec["params"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("patch", [32, 48, 128, 130])
def test_one_logit_an_image(kind, patch):
    critic = kind(1, patch, features=2, hidden=3)
    assert critic(torch.rand(3, 1, patch, patch)).shape == (3, 1)


def test_a_gradient_map_of_130_fits_the_critic_for_128():
    """SPSR's gradient maps are two pixels larger than its patches; halving rounds that away."""
    with torch.device("meta"):
        critic = BiasedVGGCritic(3, 128)
        assert critic(torch.empty(2, 3, 130, 130)).shape == (2, 1)
        assert BiasedVGGCritic(3, 130).classifier[0].in_features == critic.classifier[0].in_features == 8192


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("patch", [0, 16, 31])
def test_patches_that_vanish_are_refused(kind, patch):
    with pytest.raises(ModelError, match=f"32 pixels or more, found {patch}; use an HR patch of 32"):
        kind(1, patch)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(96, 96), (128, 160), (160, 128)])
def test_images_of_another_size_are_refused(kind, size):
    critic = kind(1, 128, features=2)
    with pytest.raises(ModelError, match=f"128x128 pixels, found {size[0]}x{size[1]}"):
        critic(torch.rand(1, 1, *size))


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_to_tell_noise_from_a_ramp(kind):
    critic = kind(1, 32, features=4, hidden=8).train()
    optimiser = torch.optim.Adam(critic.parameters(), lr=2e-3)
    real = torch.cat((torch.ones(4, 1), torch.zeros(4, 1)))

    def draw():
        ramps = torch.rand(4, 1, 1, 1) * torch.linspace(0, 1, 32).expand(4, 1, 32, 32)
        return torch.cat((ramps, torch.rand(4, 1, 32, 32)))

    for _ in range(20):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(critic(draw()), real)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    logits = critic(draw())
    assert logits[:4].min() > logits[4:].max()


def test_weights_of_the_older_form_keep_the_variance():
    """He et al. 2015: the variance of a weight is 2 over the inputs of its unit; biases start at zero."""
    critic = BiasedVGGCritic(3)
    convolution, linear = critic.features[26], critic.classifier[0]
    for layer in (convolution, linear):
        inputs = layer.weight[0].numel()
        assert layer.weight.var().item() == pytest.approx(2 / inputs, rel=0.02)
        assert not layer.bias.any()
