"""dSRVAE's two stages: their losses against closed forms, what they move, what they reach."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Normal, kl_divergence

from srbench.models import ModelError, create
from srbench.models.baselines.dsrvae.recipe import (
    ShotNoise,
    Thumbnail,
    VGGCode,
    VGGCycleLoss,
    cycle_error,
    divergence,
    fidelity,
    restoration_discriminator_loss,
    restoration_generator_loss,
    shrink,
    untrained_vgg19,
)
from srbench.models.losses.adversarial import DISCRIMINATOR
from srbench.models.recipe import Batch, LossInputs

PAPER = {"full": [(65_000, 64), (134_000, 6)], "srsn": [(134_000, 6)]}


def torch_shrink(image, scale):
    return F.interpolate(image, scale_factor=1 / scale, mode="bicubic", align_corners=False)


def inputs_at(scale, channels=1, side=6, **discriminators):
    lr = torch.rand(2, channels, side, side)
    hr, sr, sr_clean = (torch.rand(2, channels, side * scale, side * scale) for _ in range(3))
    return LossInputs(Batch(lr, hr, scale), {"sr": sr.requires_grad_(), "sr_clean": sr_clean}, discriminators)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_shrinking_is_pytorchs(scale):
    image = torch.rand(2, 3, 5 * scale, 4 * scale, dtype=torch.float64, requires_grad=True)
    ours, theirs = shrink(image, scale), torch_shrink(image, scale)
    torch.testing.assert_close(ours, theirs)
    pull = torch.randn_like(theirs)
    gradients = [torch.autograd.grad((small * pull).sum(), image)[0] for small in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_divergence_is_the_difference_of_log_densities():
    mu, logvar, z = torch.randn(3, 4, 5, dtype=torch.float64)
    inputs = LossInputs(Batch(z, z, 1), {"mu": mu, "logvar": logvar, "z": z})
    densities = Normal(mu, (logvar / 2).exp()).log_prob(z) - Normal(0.0, 1.0).log_prob(z)
    torch.testing.assert_close(divergence(inputs), densities.sum())


def test_divergence_is_kullback_leiblers_in_the_mean():
    mu, logvar = torch.tensor([0.7, -0.2]), torch.tensor([-1.0, 0.5])
    posterior = Normal(mu, (logvar / 2).exp())
    z = posterior.sample((100_000,))
    inputs = LossInputs(Batch(z, z, 1), {"mu": mu, "logvar": logvar, "z": z})
    # The log variance has no batch axis here, so that it is counted once for every sample by broadcasting.
    expected = kl_divergence(posterior, Normal(0.0, 1.0)).sum()
    assert float(divergence(inputs)) / len(z) == pytest.approx(float(expected), rel=0.02)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_cycle_error_is_the_authors(scale):
    inputs = inputs_at(scale)
    sr, sr_clean, lr = inputs.sr, inputs.outputs["sr_clean"], inputs.batch.lr
    expected = ((torch_shrink(sr, scale) - lr).abs().mean() + (sr_clean - sr).abs().mean()) / 2
    torch.testing.assert_close(cycle_error(inputs), expected)


def test_fidelity_counts_both_outputs():
    inputs = inputs_at(2)
    errors = [(inputs.outputs[name] - inputs.hr).abs().mean() for name in ("sr", "sr_clean")]
    torch.testing.assert_close(fidelity(inputs), sum(errors) / 2)


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "channels"), [(2, 1), (3, 3)])
def test_vgg_cycle_compares_features_before_the_last_activation(vgg_state, scale, channels):
    from torchvision.models.vgg import cfgs, make_layers

    layers = make_layers(cfgs["E"])
    layers.load_state_dict({name.removeprefix("features."): value for name, value in vgg_state.items()})
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def phi(image):
        return layers[:35]((image.expand(-1, 3, -1, -1) - mean) / std)

    inputs = inputs_at(scale, channels, side=16)
    sr, sr_clean = inputs.sr, inputs.outputs["sr_clean"]
    with torch.no_grad():
        to_lr = (torch_shrink(phi(sr), scale) - phi(inputs.batch.lr)).abs().mean()
        expected = (to_lr + (phi(sr_clean) - phi(sr)).abs().mean()) / 2
    loss = VGGCycleLoss(vgg_state)(inputs)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-8)
    (gradient,) = torch.autograd.grad(loss, sr)
    assert gradient.isfinite().all() and gradient.any()


class Brightness(nn.Module):
    """A discriminator that needs no training."""

    def forward(self, image):
        return 4 * image.mean((1, 2, 3))[:, None] - 2


@pytest.mark.parametrize("names", [("sr", "sr_clean"), ("sr",)])
def test_adversarial_terms_are_the_authors_means(names):
    discriminator = Brightness()
    inputs = inputs_at(2, **{DISCRIMINATOR: discriminator})
    inputs = replace(inputs, outputs={name: inputs.outputs[name] for name in names})
    cross_entropy = F.binary_cross_entropy_with_logits

    def judged(image, label):
        logits = discriminator(image)
        return cross_entropy(logits, torch.full_like(logits, label))

    fakes = [inputs.outputs[name] for name in names]
    whole = (sum(judged(fake, 1.0) for fake in fakes) + judged(inputs.hr, 0.0)) / (len(fakes) + 1)
    ours, theirs = (
        torch.autograd.grad(loss, inputs.sr)[0] for loss in (restoration_generator_loss(inputs), whole)
    )
    torch.testing.assert_close(ours, theirs)
    expected = (judged(inputs.hr, 1.0) + sum(judged(fake, 0.0) for fake in fakes)) / (len(fakes) + 1)
    torch.testing.assert_close(restoration_discriminator_loss(discriminator, inputs), expected)


@pytest.mark.parametrize("grey", [0.1, 0.5, 0.8])
def test_noise_has_the_variance_of_counts(grey):
    noisy = ShotNoise(electrons=400, readout=0.02)(torch.full((4000, 1, 6, 6), grey, dtype=torch.float64))
    # The strength is uniform in [0, 1], its square 1/3 in the mean.
    assert float(noisy.var()) == pytest.approx((grey / 400 + 0.02**2) / 3, rel=0.06)
    assert float(noisy.mean()) == pytest.approx(grey, abs=1e-3)
    by_image = noisy.flatten(1).std(dim=1)
    assert float(by_image.max()) > 5 * float(by_image.min())


def test_noise_comes_from_the_global_generator_and_stays_in_range():
    clean = torch.rand(3, 1, 8, 8).round()
    torch.manual_seed(1)
    first = ShotNoise()(clean)
    torch.manual_seed(1)
    assert torch.equal(ShotNoise()(clean), first)
    assert not torch.equal(ShotNoise()(clean), first)
    assert first.min() >= 0 and first.max() <= 1


@pytest.mark.slow
def test_encoder_sees_vgg_down_to_its_last_pooling(vgg_state):
    from torchvision.models.vgg import cfgs, make_layers

    layers = make_layers(cfgs["E"])
    layers.load_state_dict({name.removeprefix("features."): value for name, value in vgg_state.items()})
    patch = torch.rand(1, 3, 128, 128)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        expected = layers[:37]((patch - mean) / std).flatten(1)
    code = VGGCode(vgg_state, 128)
    torch.testing.assert_close(code(patch), expected, rtol=1e-4, atol=1e-7)
    assert expected.shape == (1, create("dsrvae", scale=4).network.denoiser.config.code)


@pytest.mark.slow
def test_untrained_vgg_tells_patches_apart_and_is_always_the_same():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second = untrained_vgg19(), untrained_vgg19()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    code = VGGCode(first, 32)(torch.stack([torch.zeros(1, 32, 32), torch.rand(1, 32, 32)]))
    assert code.shape == (2, 512)
    assert 0.1 < float(code.std()) < 10
    assert float((code[0] - code[1]).abs().mean()) > 0.1 * float(code.std())


@pytest.mark.slow
def test_smaller_patches_are_mirrored_for_the_encoder(vgg_state):
    code = VGGCode(vgg_state, 32)
    patch = torch.rand(1, 1, 20, 20)
    assert torch.equal(code(patch), code(F.pad(patch, (0, 12, 0, 12), mode="reflect")))
    with pytest.raises(ModelError, match="at most 32 LR pixels a side, found 40x8"):
        code(torch.rand(1, 1, 40, 8))


def test_thumbnail_is_the_mean_of_squares():
    patch = torch.rand(2, 3, 16, 16)
    expected = patch.mean(1).view(2, 4, 4, 4, 4).mean((2, 4)).flatten(1)
    torch.testing.assert_close(Thumbnail(4)(patch), expected)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["full", "srsn"])
def test_paper_recipe_is_the_authors_scripts(variant, vgg_state):
    with torch.device("meta"):
        model = create("dsrvae", scale=4, channels=3, variant=variant)
    recipe = model.recipe("paper", pretrained=lambda name: vgg_state)
    assert [(stage.iterations, stage.batch) for stage in recipe.stages] == PAPER[variant]
    for stage in recipe.stages:
        assert stage.patch == 512
        assert (stage.optimiser.name, stage.optimiser.lr) == ("adam", 1e-4)
        assert [stage.schedule(f) for f in (0, 0.49, 0.5, 1)] == pytest.approx([1, 1, 0.1, 0.1])
    weights = {term.name: term.weight for term in recipe.stages[-1].terms}
    assert weights == {"l1" if variant == "srsn" else "cycle": 1, "vgg": 1, "adversarial": 1e-4}
    (discriminator,) = recipe.stages[-1].discriminators
    assert sum(parameter.numel() for parameter in discriminator.build().parameters()) == 7_915_281


@pytest.mark.slow
def test_denoiser_learns_pixels_and_divergence_at_equal_weight():
    with torch.device("meta"):
        model = create("dsrvae", scale=4)
    terms = model.recipe("paper").stages[0].terms
    assert [(term.name, term.weight) for term in terms] == [("l1", 1.0), ("divergence", 1.0)]


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "terms"), [("full", ["cycle", "adversarial"]), ("srsn", ["l1"])])
def test_without_vgg_weights_the_recipe_says_what_replaces_them(variant, terms):
    with torch.device("meta"):
        model = create("dsrvae", scale=4, variant=variant)
    recipe = model.recipe("paper")
    assert [term.name for term in recipe.stages[-1].terms] == terms
    assert len(recipe.stages[-1].discriminators) == ("adversarial" in terms)
    assert any("VGG-19" in note for note in recipe.notes)
    assert "epoch" in recipe.notes[0]


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("budget", ["smoke", "short", "paper"])
@pytest.mark.parametrize(
    "variant",
    [pytest.param("full", marks=pytest.mark.slow), pytest.param("srsn", marks=pytest.mark.slow), "tiny"],
)
def test_discriminator_of_every_recipe_judges_its_patches(scale, budget, variant, vgg_state):
    with torch.device("meta"):
        model = create("dsrvae", scale=scale, variant=variant)
    stage = model.recipe(budget, pretrained=lambda name: vgg_state).stages[-1]
    with torch.device("meta"):
        for discriminator in stage.discriminators:
            assert discriminator.build()(torch.empty(2, 1, stage.patch, stage.patch)).shape == (2, 1)
    assert stage.discriminators or (variant, budget) == ("srsn", "smoke")


def trained_parts(model, scenes, train, index, iterations):
    before = {key: value.clone() for key, value in model.network.state_dict().items()}
    recipe = model.recipe("smoke")
    stage = replace(recipe.stages[index], iterations=iterations)
    train(model, replace(recipe, stages=(stage,)), scenes(4))
    return {key for key, value in model.network.state_dict().items() if not torch.equal(value, before[key])}


@pytest.mark.slow
@pytest.mark.parametrize(("index", "part"), [(0, "denoiser."), (1, "srsn.")])
def test_each_stage_trains_its_half(index, part, scenes, train):
    model = create("dsrvae", scale=4, variant="tiny")
    moved = trained_parts(model, scenes, train, index, iterations=3)
    ours = {key for key, _ in model.network.named_parameters() if key.startswith(part)}
    # A slope in front of a rectifier: above zero it changes nothing, as in the authors' network.
    assert ours - {"srsn.body.LR_feat.act.weight"} <= moved <= ours


@pytest.mark.slow
def test_discriminator_learns(scenes):
    stage = create("dsrvae", scale=4, variant="tiny").recipe("smoke").stages[1]
    data, discriminator = scenes(4), stage.discriminators[0].build()
    optimiser = torch.optim.Adam(discriminator.parameters(), 1e-3)
    rng, losses = np.random.default_rng(0), []
    for _ in range(30):
        batch = data.batch(rng, stage, 1)
        fake = (batch.hr + 0.2 * torch.randn_like(batch.hr)).clamp(0, 1)
        loss = stage.discriminators[0].loss(discriminator, LossInputs(batch, {"sr": fake, "sr_clean": fake}))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
        if np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5]):
            break
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def denoises(stage, losses):
    return stage == "denoise" and len(losses) >= 25 and np.mean(losses[-20:]) < 0.2 * np.mean(losses[:5])


@pytest.mark.slow
def test_denoiser_learns_to_denoise(scenes, train):
    model, data = create("dsrvae", scale=4, variant="tiny"), scenes(4)
    recipe = model.recipe("smoke")
    stage = replace(recipe.stages[0], iterations=250)
    clean = data.degrade(data.train)[..., :32, :32]
    noisy = ShotNoise(electrons=50)(clean)

    @torch.no_grad()
    def is_cleaner():
        denoised = model.network.denoiser(noisy, model.network.z)
        return F.mse_loss(denoised, clean) < 0.8 * F.mse_loss(noisy, clean)

    def enough(stage, losses):
        return len(losses) % 10 == 0 and denoises(stage, losses) and is_cleaner()

    losses = train(model, replace(recipe, stages=(stage,)), data, enough).losses
    assert is_cleaner()
    assert denoises("denoise", losses["denoise"])


@pytest.mark.slow
def test_tiny_smoke_run_beats_bicubic_on_a_scene_it_has_not_seen(smoke):
    smoke("dsrvae", before=denoises)


@pytest.mark.slow
def test_smoke_run_of_the_published_network_lowers_every_loss(scenes, train):
    def has_fallen(_, losses):
        return len(losses) > 3 and np.mean(losses[-3:]) < 0.8 * losses[0]

    model = create("dsrvae", scale=4, variant="srsn")
    losses = train(model, model.recipe("smoke"), scenes(4), has_fallen).losses
    assert all(has_fallen(stage, of_stage) for stage, of_stage in losses.items())
