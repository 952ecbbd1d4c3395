"""Losses of the SRGAN family that the paper does not have, against torchvision and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from srbench.models import ModelError
from srbench.models.losses.adversarial import linear_discriminator_loss, linear_generator_loss
from srbench.models.losses.perceptual import MobileNetContentLoss, VGGContentLoss, VGGFeatures, vgg_layers
from srbench.models.losses.pixel import total_variation
from srbench.models.recipe import Batch, LossInputs


def inputs(sr, hr):
    return LossInputs(Batch(hr[..., ::4, ::4], hr, 4), {"sr": sr})


def test_total_variation_equals_the_ports_sums():
    """The normalisation as the ports write it: sums over the batch, by the elements of one image, by N."""
    image = torch.rand(3, 2, 5, 7, dtype=torch.float64)
    batch, channels, height, width = image.shape
    down = sum((image[:, :, y + 1] - image[:, :, y]).pow(2).sum() for y in range(height - 1))
    right = sum((image[..., x + 1] - image[..., x]).pow(2).sum() for x in range(width - 1))
    expected = (
        2 * (down / (channels * (height - 1) * width) + right / (channels * height * (width - 1))) / batch
    )
    assert total_variation(image).item() == pytest.approx(expected.item(), rel=1e-12)


def test_total_variation_of_simple_images():
    ramp = 0.25 * torch.arange(6.0).expand(2, 1, 4, 6)
    assert total_variation(torch.full((1, 3, 4, 4), 0.7)).item() == 0
    assert total_variation(ramp).item() == pytest.approx(2 * 0.25**2)
    assert total_variation(ramp.mT).item() == pytest.approx(2 * 0.25**2)


@pytest.mark.parametrize("shape", [(1, 1, 1, 5), (1, 1, 5, 1), (1, 5, 5)])
def test_total_variation_needs_neighbours(shape):
    with pytest.raises(ModelError, match="2x2"):
        total_variation(torch.rand(shape))


def game(real, fake):
    """The two losses of a discriminator that answers so to HR and to SR."""
    hr, sr = torch.zeros(1), torch.ones(1)
    answers = lambda image: real if image is hr else fake  # noqa: E731
    inputs = LossInputs(Batch(sr, hr, 1), {"sr": sr}, {"discriminator": answers})
    return linear_generator_loss(inputs), linear_discriminator_loss(answers, inputs)


def test_linear_game_in_closed_form():
    real, fake = torch.tensor([0.9, 0.7]), torch.tensor([0.2, 0.4])
    assert [loss.item() for loss in game(real, fake)] == pytest.approx([0.7, 1 - 0.8 + 0.3])
    assert game(fake, fake)[1].item() == pytest.approx(1)


def test_a_certain_discriminator_hardly_teaches_the_generator():
    """Through the sigmoid the gradient is p(1 - p), where that of cross entropy is 1 - p."""
    for logit in (-6.0, 0.0, 6.0):
        raw = torch.tensor([logit], dtype=torch.float64, requires_grad=True)
        game(raw.sigmoid(), raw.sigmoid())[0].backward()
        probability = 1 / (1 + math.exp(-logit))
        assert raw.grad.item() == pytest.approx(-probability * (1 - probability), rel=1e-9)


@pytest.fixture(scope="module")
def mobilenet():
    """torchvision's network with random weights and statistics measured with them, so that it sees."""
    from torchvision.models import mobilenet_v2

    torch.manual_seed(0)
    network = mobilenet_v2(weights=None).train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over batches, from the first on
    with torch.no_grad():
        network(torch.rand(16, 3, 64, 64))
    return network.eval()


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_mobilenet_content_is_the_distance_of_torchvisions_features(mobilenet, channels):
    sr, hr = torch.rand(2, channels, 64, 64), torch.rand(2, channels, 64, 64)
    loss = MobileNetContentLoss(mobilenet.state_dict()).train()
    with torch.no_grad():
        of_sr, of_hr = (mobilenet.features(image.repeat(1, 3 // channels, 1, 1)) for image in (sr, hr))
    assert of_sr.shape == (2, 1280, 2, 2)
    assert F.mse_loss(of_sr, of_hr) > 1e-2
    assert loss(inputs(sr, hr)).item() == pytest.approx((of_sr - of_hr).pow(2).mean().item(), rel=1e-4)


@pytest.mark.slow
def test_mobilenet_is_frozen_but_lets_the_gradient_of_sr_through(mobilenet):
    loss = MobileNetContentLoss(mobilenet.state_dict()).train()
    before = {key: value.clone() for key, value in loss.state_dict().items()}
    sr = torch.rand(1, 1, 64, 64, requires_grad=True)
    loss(inputs(sr, torch.rand(1, 1, 64, 64))).backward()
    assert sr.grad.any()
    assert not any(module.training for module in loss.modules())
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    assert all(torch.equal(value, before[key]) for key, value in loss.state_dict().items())


@pytest.mark.slow
def test_mobilenet_refuses_other_weights(mobilenet):
    state = mobilenet.state_dict()
    del state["features.3.conv.0.0.weight"]
    with pytest.raises(ModelError, match=r"features\.3\.conv\.0\.0\.weight.*mobilenet_v2-b0353104"):
        MobileNetContentLoss(state)


@pytest.fixture(scope="module")
def vgg16():
    """torchvision's VGG-16 up to its last pooling, with random weights."""
    from torchvision.models.vgg import cfgs, make_layers

    torch.manual_seed(0)
    layers = make_layers(cfgs["D"]).eval()
    for layer in layers:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    return layers


@pytest.mark.slow
def test_vgg16_content_without_normalisation_is_torchvisions(vgg16):
    state = {f"features.{key}": value for key, value in vgg16.state_dict().items()}
    sr, hr = torch.rand(1, 1, 32, 48), torch.rand(1, 1, 32, 48)
    loss = VGGContentLoss(state, {"pool5": 1.0}, network="vgg16", normalise=False)
    with torch.no_grad():
        of_sr, of_hr = (vgg16[:31](image.repeat(1, 3, 1, 1)) for image in (sr, hr))
    assert F.mse_loss(of_sr, of_hr) > 1e-3
    assert loss(inputs(sr, hr)).item() == pytest.approx(F.mse_loss(of_sr, of_hr).item(), rel=1e-5)


@pytest.mark.slow
def test_vgg16_has_fewer_convolutions_and_says_which(vgg16):
    assert vgg_layers("vgg16")["pool5"] == 30 and vgg_layers("vgg19")["pool5"] == 36
    with pytest.raises(ModelError, match=r"VGG-16 has no layers.*conv5_4"):
        VGGFeatures({}, ("conv5_4",), network="vgg16")
    with pytest.raises(ModelError, match=r"VGG-16 weights.*vgg16-397923af"):
        VGGFeatures({}, ("conv5_3",), network="vgg16")
