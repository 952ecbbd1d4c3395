"""Noise of a finite dose: mean, variance, distribution and spectrum against the closed form."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from srbench.datasets import degrade
from srbench.datasets.degrade import LrPosition, noise_key
from srbench.datasets.synthetic import imaging as synthetic

DOSES = [20, 60, 150, 600]
LEVELS = [0, 13, 128, 240, 255]
KEY = noise_key("a field of one grey level")


def field(level, size=(256, 256)):
    return torch.full((1, 1, *size), level / 255.0, dtype=torch.float64)


@pytest.mark.slow
@pytest.mark.parametrize("dose", DOSES)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["sem_pixel", "sem_defocus"])
def test_mean_and_variance_by_dose_and_grey_level(name, dose, level):
    """65,536 pixels: the variance is known to 0.55 %, so an error of 3 % is five standard deviations."""
    made = degrade.get(f"{name}:dose={dose}")
    expected = field(level)
    lr = made(field(level, (512, 512)), 2, LrPosition.whole(KEY)).flatten().numpy()
    variance = made.noise.variance(expected, LrPosition.whole(1))[0, 0, 0, 0].item()
    assert variance == pytest.approx(synthetic.noise_variance(np.array(level / 255.0), dose), rel=1e-12)
    assert abs(lr.mean() - level / 255.0) < 4 * math.sqrt(variance / lr.size)
    kurtosis = 3 + 1 / (dose * 0.15)  # of Poisson's law, at most: widens the interval of a chi-square
    interval = 4 * math.sqrt((kurtosis - 1) / lr.size)
    assert interval < 0.03
    assert abs(lr.var() / variance - 1) < interval


@pytest.mark.slow
def test_read_noise_and_pedestal_enter_the_variance():
    for read, pedestal in ((0.0, 0.0), (0.05, 0.0), (0.0, 0.4), (0.1, 0.3)):
        made = degrade.get(f"sem_lowdose:dose=40,read={read},pedestal={pedestal}")
        lr = made(field(102), 1, LrPosition.whole(KEY)).flatten().numpy()
        signal = pedestal + (1 - pedestal) * 0.4
        closed = signal / (40 * (1 - pedestal) ** 2) + read**2
        assert made.noise.variance(field(102), LrPosition.whole(1))[0, 0, 0, 0].item() == pytest.approx(
            closed, rel=1e-12
        )
        assert abs(lr.mean() - 0.4) < 4 * math.sqrt(closed / lr.size)
        assert abs(lr.var() / closed - 1) < 0.03


def test_what_is_counted_are_whole_electrons_of_poissons_law():
    lr = degrade.get("sem_lowdose:dose=20,read=0,pedestal=0")(field(204), 1, LrPosition.whole(KEY)).flatten()
    counts = (lr * 20).numpy()
    assert np.abs(counts - counts.round()).max() < 1e-9
    cells = np.clip(counts.round(), 7, 26)
    law = stats.poisson.cdf(np.arange(7, 26), 16)
    expected = np.diff(np.concatenate(([0], law, [1]))) * counts.size
    observed = np.bincount(cells.astype(int) - 7, minlength=20)
    assert 1e-4 < stats.chisquare(observed, expected).pvalue < 1 - 1e-4


@pytest.mark.slow
def test_the_noise_is_that_of_the_synthetic_acquisitions():
    """Same law as ``synthetic.noise.acquire``, from other random numbers: two samples, Kolmogorov-Smirnov."""
    from srbench.datasets.synthetic.rng import RandomStream

    truth = np.full((256, 256), 90, dtype=np.uint8)
    theirs = synthetic.acquire(truth, RandomStream(1, 0, 0, 0), 60.0).ravel()
    ours = degrade.quantise(degrade.get("sem_lowdose")(field(90), 1, LrPosition.whole(KEY))) * 255
    assert stats.ks_2samp(theirs, ours.round().flatten().numpy()).pvalue > 1e-3


@pytest.mark.slow
def test_the_spectrum_of_the_noise_is_white():
    made = degrade.get("sem_pixel:dose=60")
    residue = (made(field(140, (512, 512)), 2, LrPosition.whole(KEY)) - 140 / 255.0)[0, 0].numpy()
    variance = made.noise.variance(field(140), LrPosition.whole(1))[0, 0, 0, 0].item()
    power = np.abs(np.fft.fft2(residue)) ** 2 / residue.size / variance
    rings = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    for low in np.arange(0.02, 0.5, 0.08):
        ring = power[(rings >= low) & (rings < low + 0.08)]
        assert abs(ring.mean() - 1) < 4 / math.sqrt(ring.size / 2)


@pytest.mark.slow
def test_acquisitions_of_one_image_are_independent():
    made = degrade.get("sem_pixel:dose=20")
    keys = [noise_key("image", acquisition) for acquisition in range(4)]
    noise = made(field(128, (512, 512)).expand(4, -1, -1, -1), 2, LrPosition.whole(*keys)) - 128 / 255
    correlation = np.corrcoef(noise.flatten(1).numpy())
    assert np.abs(correlation - np.eye(4)).max() < 4 / 256
    assert torch.equal(
        made(field(128), 2, LrPosition.whole(keys[1])), made(field(128), 2, LrPosition.whole(keys[1]))
    )


@pytest.mark.slow
def test_channels_of_a_colour_image_are_independent():
    made = degrade.get("sem_lowdose:dose=20")
    noise = made(field(128).expand(-1, 3, -1, -1), 1, LrPosition.whole(KEY)) - 128 / 255
    correlation = np.corrcoef(noise[0].flatten(1).numpy())
    assert np.abs(correlation - np.eye(3)).max() < 4 / 256


@pytest.mark.slow
def test_chi_square_of_an_honest_result_is_one():
    """What the consistency of a noisy LR image is judged by: (LR - expected)^2 over the variance."""
    made = degrade.get("sem_pixel:dose=60")
    hr = torch.rand(1, 1, 512, 512, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    lr, expected = made(hr, 2, LrPosition.whole(KEY)), made.expected(hr, 2)
    chi = ((lr - expected) ** 2 / made.noise.variance(expected, LrPosition.whole(1))).mean().item()
    assert abs(chi - 1) < 4 * math.sqrt(2.2 / lr.numel())


def test_darker_than_nothing_counts_nothing():
    made = degrade.get("sem_lowdose:dose=20,read=0")
    below = torch.full((1, 1, 4, 4), -0.5, dtype=torch.float64)
    assert torch.allclose(made.noise.sample(below, LrPosition.whole(1)), torch.tensor(-0.15 / 0.85).double())
    assert made.noise.variance(below, LrPosition.whole(1)).abs().max() == 0
