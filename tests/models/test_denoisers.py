"""The classical denoisers on known noise: nearly the best strength there is, nothing done without noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from srbench.models import create
from srbench.models.baselines.denoisers import noise_like

FILTERS = ("gaussian", "total_variation", "non_local_means")


@pytest.fixture
def scene():
    """Discs and a ramp, ``(96, 112)`` in [0, 1]."""
    y, x = np.mgrid[:96, :112]
    image = 0.3 + 0.2 * x / 112
    for top, left, radius in ((25, 30, 14), (60, 70, 20), (75, 20, 9)):
        image[np.hypot(y - top, x - left) < radius] = 0.8
    return ndimage.gaussian_filter(image, 0.8)


def white(scene, rng):
    return scene + 0.1 * rng.standard_normal(scene.shape)


def counted(scene, rng):
    """Poisson noise: stronger where it is bright."""
    return rng.poisson(40 * scene) / 40


def correlated(scene, rng):
    """As a detector that is slow for the scan makes it: smooth along the lines."""
    noise = ndimage.gaussian_filter1d(rng.standard_normal(scene.shape), 1.0, axis=1)
    return scene + 0.1 * noise / noise.std()


def error(image, scene):
    return float(np.square(image - scene).mean())


@pytest.mark.parametrize("add", [white, counted, correlated])
@pytest.mark.parametrize(
    "name", ["gaussian", *(pytest.param(name, marks=pytest.mark.slow) for name in FILTERS[1:])]
)
def test_the_strength_is_nearly_the_best_of_those_there_are(name, add, scene):
    noisy = add(scene, np.random.default_rng(0))
    network = create(name, scale=1).network
    level = float(noise_like(noisy).std())
    errors = [error(network.smooth(noisy, level, strength), scene) for strength in network.strengths]
    chosen = error(network.denoised(noisy), scene)
    assert chosen < 0.6 * error(noisy, scene)
    assert chosen <= 1.2 * min(errors)


@pytest.mark.parametrize("add", [white, correlated])
def test_noise_is_measured_and_independent_of_what_it_was_taken_from(add):
    image = add(np.full((300, 300), 0.5), np.random.default_rng(1))
    noise, own = noise_like(image), image - 0.5
    assert noise.std() == pytest.approx(own.std(), rel=0.02)
    for rows, columns in ((0, 0), (1, 0), (0, 1)):
        moved = np.roll(noise, (rows, columns), axis=(0, 1))
        assert abs(np.corrcoef(moved.ravel(), own.ravel())[0, 1]) < 0.02
    along = [np.corrcoef(plane[:, 1:].ravel(), plane[:, :-1].ravel())[0, 1] for plane in (noise, own)]
    across = np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1]
    assert along[0] == pytest.approx(along[1], abs=0.02) and abs(across) < 0.02


@pytest.mark.parametrize("name", FILTERS)
def test_an_image_without_noise_is_given_back(name):
    model = create(name, scale=1, channels=3)
    flat = torch.full((2, 3, 9, 8), 0.25)
    ramp = torch.linspace(0, 1, 16).expand(1, 3, 2, 16)
    assert torch.equal(model.infer(flat), flat) and torch.equal(model.infer(ramp), ramp)


def test_every_channel_has_a_strength_of_its_own(scene):
    noisy = np.stack([scene, white(scene, np.random.default_rng(0)), scene + 0.02 * scene.std()])
    together = create("gaussian", scale=1, channels=3).infer(torch.from_numpy(noisy)[None])
    for channel, plane in enumerate(noisy):
        alone = create("gaussian", scale=1).infer(torch.from_numpy(plane)[None, None])
        assert torch.equal(together[:, channel : channel + 1], alone)
