"""The common losses against scikit-image, torchvision and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.metrics import structural_similarity

from srbench.models import ModelError
from srbench.models.losses.adversarial import discriminator_loss, generator_loss
from srbench.models.losses.perceptual import VGGContentLoss, VGGFeatures, vgg_layers
from srbench.models.losses.pixel import ssim, ssim_map
from srbench.models.recipe import Batch, LossInputs


def pair(channels=1, height=24, width=31, dtype=torch.float64):
    hr = torch.rand(2, channels, height, width, dtype=dtype)
    return (hr + 0.2 * torch.randn_like(hr)).clamp(0, 1), hr


def reference_map(sr, hr, data_range=1.0):
    """scikit-image's map of one plane, without the border it pads."""
    _, full = structural_similarity(
        sr,
        hr,
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return full[5:-5, 5:-5]


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_equals_scikit_image(channels):
    sr, hr = pair(channels)
    expected = [
        reference_map(a.numpy(), b.numpy()) for a, b in zip(sr.flatten(0, 1), hr.flatten(0, 1), strict=True)
    ]
    np.testing.assert_allclose(ssim_map(sr, hr).flatten(0, 1), np.stack(expected), atol=1e-9)
    assert ssim(sr, hr).item() == pytest.approx(np.mean(expected), abs=1e-10)
    assert ssim(sr.float(), hr.float()).item() == pytest.approx(np.mean(expected), abs=1e-5)


def test_ssim_on_another_data_range():
    sr, hr = pair()
    assert ssim(255 * sr, 255 * hr, data_range=255).item() == pytest.approx(ssim(sr, hr).item(), abs=1e-9)


def test_ssim_of_an_image_with_itself_is_one_and_it_is_symmetric():
    sr, hr = pair()
    assert ssim(hr, hr).item() == pytest.approx(1, abs=1e-12)
    assert ssim(sr, hr).item() == pytest.approx(ssim(hr, sr).item(), abs=1e-12)


@pytest.mark.slow
def test_ssim_has_the_right_gradient():
    sr, hr = (image[:1, :, :12, :12] for image in pair())
    assert torch.autograd.gradcheck(lambda x: ssim(x, hr), (sr.clone().requires_grad_(),))


def test_ssim_is_not_ruined_by_autocast():
    sr, hr = pair(dtype=torch.float32)
    plain = ssim(sr, hr)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ssim(sr, hr), plain)
    assert ssim(sr.bfloat16(), hr.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(("height", "width"), [(10, 30), (30, 10)])
def test_ssim_refuses_images_below_its_window(height, width):
    with pytest.raises(ModelError, match=f"at least 11x11 pixels, found {height}x{width}"):
        ssim(*pair(1, height, width))


def test_ssim_refuses_unequal_shapes():
    with pytest.raises(ModelError, match="one shape"):
        ssim(torch.rand(1, 1, 20, 20), torch.rand(1, 1, 20, 21))


def game(real, fake):
    """The two losses of a discriminator that answers so to HR and to SR."""
    hr, sr = torch.zeros(1), torch.ones(1)
    answers = lambda image: real if image is hr else fake  # noqa: E731
    inputs = LossInputs(Batch(sr, hr, 1), {"sr": sr}, {"discriminator": answers})
    return generator_loss(inputs), discriminator_loss(answers, inputs)


def test_undecided_discriminator_costs_log_two():
    undecided = torch.zeros(4, 1)
    of_generator, of_discriminator = game(undecided, undecided)
    assert of_generator.item() == pytest.approx(math.log(2))
    assert of_discriminator.item() == pytest.approx(2 * math.log(2))


def test_adversarial_terms_are_cross_entropy_on_logits():
    real, fake = torch.randn(5, 1, 4, 4), torch.randn(5, 1, 4, 4)
    one, zero = torch.ones_like(real), torch.zeros_like(fake)
    as_fake, as_real = (F.binary_cross_entropy_with_logits(fake, label) for label in (zero, one))
    expected = F.binary_cross_entropy_with_logits(real, one) + as_fake
    torch.testing.assert_close(game(real, fake), (as_real, expected))


def test_scales_count_equally_whatever_their_size():
    maps = [torch.randn(2, 1, side, side) for side in (16, 8, 4)]
    each = [torch.stack(losses) for losses in zip(*(game(logits, logits) for logits in maps), strict=True)]
    torch.testing.assert_close(game(maps, maps), tuple(losses.mean() for losses in each))


def test_certain_logits_stay_finite():
    certain = torch.tensor([1e4, -1e4])
    assert all(torch.isfinite(loss) for loss in game(certain, certain))


TAPS = ("conv1_2", "relu1_2", "pool2", "conv3_3", "relu5_4")


@pytest.mark.slow
def test_vgg_features_equal_torchvision(vgg_state):
    from torchvision.models.vgg import cfgs, make_layers

    theirs = make_layers(cfgs["E"])
    theirs.load_state_dict({name.removeprefix("features."): value for name, value in vgg_state.items()})
    for layer in theirs:
        if isinstance(layer, torch.nn.ReLU):
            layer.inplace = False
    image = torch.rand(1, 3, 32, 40)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x, expected = (image - mean.view(3, 1, 1)) / std.view(3, 1, 1), []
    for layer in theirs:
        x = layer(x)
        expected.append(x)
    found = VGGFeatures(vgg_state, TAPS)(image)
    assert set(found) == set(TAPS)
    for name, index in vgg_layers().items():
        if name in TAPS:
            torch.testing.assert_close(found[name], expected[index])


def test_vgg_sees_grey_as_three_equal_channels(vgg_state):
    vgg = VGGFeatures(vgg_state, ("relu2_2",))
    grey = torch.rand(1, 1, 16, 16)
    torch.testing.assert_close(vgg(grey)["relu2_2"], vgg(grey.repeat(1, 3, 1, 1))["relu2_2"])


def test_vgg_is_frozen_but_lets_gradients_through(vgg_state):
    vgg = VGGFeatures(vgg_state, ("relu2_2",))
    image = torch.rand(1, 1, 16, 16, requires_grad=True)
    vgg(image)["relu2_2"].sum().backward()
    assert image.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in vgg.parameters())


def test_vgg_is_no_deeper_than_asked_for(vgg_state):
    assert len(VGGFeatures(vgg_state, ("relu1_1",)).features) == 2


def test_vgg_ignores_the_classifier_and_needs_no_deeper_layers(vgg_state):
    first_two = ("features.0.", "features.2.")
    shallow = {name: value for name, value in vgg_state.items() if name.startswith(first_two)}
    VGGFeatures({**shallow, "classifier.0.weight": torch.zeros(3)}, ("relu1_2",))


def test_vgg_refuses_other_weights(vgg_state):
    wrong = {**vgg_state, "features.0.weight": torch.zeros(64, 1, 3, 3)}
    with pytest.raises(ModelError, match=r"first: features\.0\.weight"):
        VGGFeatures(wrong, ("relu1_1",))
    with pytest.raises(ModelError, match="relu6_1"):
        VGGFeatures(vgg_state, ("relu6_1",))


@pytest.mark.slow
def test_content_loss_is_the_weighted_sum_of_feature_distances(vgg_state):
    sr, hr = (image.float() for image in pair(1, 32, 32))
    inputs = LossInputs(Batch(hr, hr, 1), {"sr": sr.requires_grad_()})
    weights = {"conv2_2": 0.5, "relu3_4": 2.0}
    loss = VGGContentLoss(vgg_state, weights, F.l1_loss, feature_scale=0.1)(inputs)
    vgg = VGGFeatures(vgg_state, tuple(weights))
    expected = sum(
        weight * 0.1 * (vgg(sr)[name] - vgg(hr)[name]).abs().mean() for name, weight in weights.items()
    )
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert sr.grad.abs().sum() > 0
