"""Both forms of the VGG discriminator against the numbers of BasicSR's and of SPSR's code."""

from __future__ import annotations

import pytest
import torch

from srbench.models import ModelError
from srbench.models.discriminators import BiasedVGGDiscriminator, VGGDiscriminator

FORMS = [(VGGDiscriminator, "esrgan_vgg128_d"), (BiasedVGGDiscriminator, "spsr_vgg128_d")]
KINDS = [VGGDiscriminator, BiasedVGGDiscriminator]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "tag"), FORMS)
def test_logits_are_the_reference(golden, kind, tag):
    fixture = golden(tag)
    discriminator = kind(3)
    missing, unexpected = discriminator.load_state_dict(fixture.state(), strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
    with torch.no_grad():
        logits = discriminator.double().eval()(fixture.input())
    torch.testing.assert_close(logits, fixture.output(), atol=1e-7, rtol=0)


@pytest.mark.parametrize(("kind", "tag"), FORMS)
def test_keys_and_size_are_the_reference(golden, kind, tag):
    spec = golden(tag).spec
    with torch.device("meta"):
        discriminator = kind(3)
    assert {key: list(value.shape) for key, value in discriminator.state_dict().items()} == spec["keys"]
    assert sum(parameter.numel() for parameter in discriminator.parameters()) == spec["params"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("patch", [32, 48, 128, 130])
def test_one_logit_an_image(kind, patch):
    discriminator = kind(1, patch, features=2, hidden=3)
    assert discriminator(torch.rand(3, 1, patch, patch)).shape == (3, 1)


@pytest.mark.slow
def test_a_gradient_map_of_130_fits_the_discriminator_for_128():
    """SPSR's gradient maps are two pixels larger than its patches; halving rounds that away."""
    with torch.device("meta"):
        discriminator = BiasedVGGDiscriminator(3, 128)
        assert discriminator(torch.empty(2, 3, 130, 130)).shape == (2, 1)
        assert (
            BiasedVGGDiscriminator(3, 130).classifier[0].in_features
            == discriminator.classifier[0].in_features
            == 8192
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("patch", [0, 16, 31])
def test_patches_that_vanish_are_refused(kind, patch):
    with pytest.raises(ModelError, match=f"32 pixels or more, found {patch}; use an HR patch of 32"):
        kind(1, patch)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(96, 96), (128, 160), (160, 128)])
def test_images_of_another_size_are_refused(kind, size):
    discriminator = kind(1, 128, features=2)
    with pytest.raises(ModelError, match=f"128x128 pixels, found {size[0]}x{size[1]}"):
        discriminator(torch.rand(1, 1, *size))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_to_tell_noise_from_a_ramp(kind):
    discriminator = kind(1, 32, features=4, hidden=8).train()
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=2e-3)
    real = torch.cat((torch.ones(4, 1), torch.zeros(4, 1)))

    def draw():
        ramps = torch.rand(4, 1, 1, 1) * torch.linspace(0, 1, 32).expand(4, 1, 32, 32)
        return torch.cat((ramps, torch.rand(4, 1, 32, 32)))

    for _ in range(20):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(discriminator(draw()), real)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    logits = discriminator(draw())
    assert logits[:4].min() > logits[4:].max()


@pytest.mark.slow
def test_weights_of_the_older_form_keep_the_variance():
    """He et al. 2015: the variance of a weight is 2 over the inputs of its unit; biases start at zero."""
    discriminator = BiasedVGGDiscriminator(3)
    convolution, linear = discriminator.features[26], discriminator.classifier[0]
    for layer in (convolution, linear):
        inputs = layer.weight[0].numel()
        assert layer.weight.var().item() == pytest.approx(2 / inputs, rel=0.02)
        assert not layer.bias.any()
