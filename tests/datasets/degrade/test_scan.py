"""Scan distortions, measured in LR images as one measures them in micrographs, against what was asked for."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.signal import lfilter

from srbench.datasets import degrade
from srbench.datasets.degrade import LrPosition, noise_key
from srbench.datasets.degrade.noise import Stream
from srbench.datasets.degrade.sampling import CHARGE_TAIL, Scan, sample_angle

KEY = noise_key("a scan")


def stripes(rows, columns, scale, frequency):
    """Vertical stripes with ``frequency`` cycles an LR pixel."""
    centres = (np.arange(columns * scale) + 0.5) / scale - 0.5
    line = 0.5 + 0.4 * np.cos(2 * math.pi * frequency * centres)
    return torch.from_numpy(np.broadcast_to(line, (1, 1, rows * scale, columns * scale)).copy())


def texture(rows, columns, scale, seed=0):
    """A smooth random field, most of which is below the LR Nyquist frequency."""
    noise = np.random.default_rng(seed).standard_normal((rows * scale, columns * scale))
    frequency = np.hypot(np.fft.fftfreq(rows * scale)[:, None], np.fft.fftfreq(columns * scale)) * scale
    field = np.fft.ifft2(np.fft.fft2(noise) * np.exp(-((frequency / 0.15) ** 2))).real
    return torch.from_numpy(np.clip(0.5 + field / field.std() * 0.15, 0, 1))[None, None]


def phases(lines, frequency):
    """How far right of its place each line was read, from the phase of its stripes (least squares)."""
    columns = np.arange(lines.shape[-1])
    waves = [np.cos, np.sin]
    basis = np.stack([np.ones(len(columns)), *(w(2 * math.pi * frequency * columns) for w in waves)], 1)
    _, cosine, sine = np.linalg.lstsq(basis, lines.T, rcond=None)[0]
    return np.arctan2(-sine, cosine) / (2 * math.pi * frequency)


def measured(name, key=KEY, rows=600):
    """Displacement to the right of every line of an LR image of stripes."""
    lr = degrade.get(name)(stripes(rows, 80, 3, 0.1), 3, LrPosition.whole(key))[0, 0, :, 12:-12].numpy()
    still = degrade.get("sem_pixel:dose=inf")(stripes(3, 80, 3, 0.1), 3)[0, 0, :1, 12:-12].numpy()
    return phases(lr, 0.1) - phases(still, 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("jitter", [0.1, 0.3, 0.6])
def test_the_jitter_of_the_lines_of_an_image(jitter):
    """600 lines: chi-square interval of the standard deviation; lines are independent of one another."""
    found = measured(f"sem_pixel:dose=inf,jitter={jitter}")
    low, high = np.sqrt(stats.chi2.ppf([1e-3, 1 - 1e-3], 599) / 599)
    assert jitter * low < found.std(ddof=1) < jitter * high
    assert abs(found.mean()) < 4 * jitter / math.sqrt(600)
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 4 / math.sqrt(600)
    assert stats.kstest(found / jitter, "norm").pvalue > 1e-3
    asked = Scan(jitter=jitter).displacement(LrPosition.whole(KEY), (600, 80))[0]
    assert np.abs(found - asked[:, 1].numpy()).max() < 1e-3
    assert asked[:, 0].abs().max() == 0


@pytest.mark.slow
def test_jitter_is_cut_at_four_standard_deviations():
    shift = Scan(jitter=0.5).displacement(LrPosition.whole(*range(200)), (1000, 1))[..., 1]
    assert 1.9 < shift.abs().max() <= 2.0
    assert shift.std().item() == pytest.approx(0.5, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("key", [1, 2, 3])
def test_drift_by_phase_correlation_of_bands(key):
    """From the first line to the last the specimen moves by ``drift``, in the direction the key says."""
    registration = pytest.importorskip("skimage.registration")
    hr = texture(384, 160, 2)
    still = degrade.get("sem_pixel:dose=inf")(hr, 2)[0, 0].numpy()
    moved = degrade.get("sem_pixel:dose=inf,drift=6")(hr, 2, LrPosition.whole(key))[0, 0].numpy()
    angle = sample_angle(torch.tensor([key]), Stream.DRIFT).item()
    for top in (8, 160, 312):
        band, window = slice(top, top + 64), np.outer(np.hanning(64), np.hanning(160))
        pair = [(image[band] - image[band].mean()) * window for image in (moved, still)]
        shift, _, _ = registration.phase_cross_correlation(*pair, upsample_factor=50, normalization=None)
        expected = 6 * ((top + 32) / 384 - 0.5) * np.array([math.sin(angle), math.cos(angle)])
        assert np.abs(-shift - expected).max() < 0.15


def test_drift_is_spread_over_the_whole_image_whatever_crop_is_given():
    whole = Scan(drift=3).displacement(LrPosition.whole(KEY), (100, 50))[0]
    assert (whole[-1] - whole[0]).norm().item() == pytest.approx(3 * 99 / 100)
    assert whole.norm(dim=-1).max() <= 1.5
    place = LrPosition(torch.tensor([KEY]), torch.tensor([[40, 0]]), torch.tensor([[100, 50]]))
    assert torch.equal(Scan(drift=3).displacement(place, (10, 50))[0], whole[40:50])


@pytest.mark.slow
def test_vibration_is_bounded_and_made_of_sines():
    """Six sines of equal amplitude in random directions have a variance of amplitude^2 / 24 along an axis."""
    shift = Scan(vibration=0.6).displacement(LrPosition.whole(*range(500)), (400, 1))
    assert shift.norm(dim=-1).max() <= 0.6
    assert shift.var().item() == pytest.approx(0.36 / 24, rel=0.05)
    power = np.abs(np.fft.rfft(shift[0, :, 1].numpy() * np.hanning(400))) ** 2
    assert np.sort(power)[-24:].sum() > 0.97 * power.sum()  # six lines, four cells wide with the window
    found = measured("sem_pixel:dose=inf,vibration=0.5", rows=200)
    asked = Scan(vibration=0.5).displacement(LrPosition.whole(KEY), (200, 80))[0, :, 1].numpy()
    assert np.abs(found - asked)[4:-4].max() < 1e-3


@pytest.mark.slow
def test_displacements_add_up_and_differ_between_images():
    place = LrPosition.whole(1, 2)
    parts = [Scan(jitter=0.2), Scan(drift=1.0), Scan(vibration=0.3)]
    total = sum(scan.displacement(place, (50, 20)) for scan in parts)
    both = Scan(0.2, 1.0, 0.3)
    assert torch.allclose(both.displacement(place, (50, 20)), total, atol=1e-15)
    assert both.displacement(place, (50, 20)).abs().max() <= both.reach
    assert not torch.allclose(total[0], total[1])


@pytest.mark.slow
@pytest.mark.parametrize(("strength", "tau"), [(0.05, 2.0), (0.3, 5.0), (0.5, 20.0)])
def test_charging_is_the_recursive_filter_of_its_definition(strength, tau):
    """s_i = rho s_(i-1) + (1 - rho) I_i from long before the image; what is cut off is a thousandth."""
    hr = texture(16, 96, 2, seed=3)
    made = degrade.get(f"sem_pixel:dose=inf,charging={strength},tau={tau:g}")
    still = degrade.get("sem_pixel:dose=inf")
    past = torch.cat((hr.flip(-1), hr), -1).repeat(1, 1, 1, 3)  # mirrored again and again
    rho = math.exp(-1 / tau)
    signal = still(past, 2)[0, 0].numpy()
    charge = lfilter([1 - rho], [1, -rho], signal, axis=1)
    expected = (signal - strength * (charge - 0.5))[:, -96:]
    found = made(hr, 2)[0, 0].numpy()
    assert np.abs(found - expected)[2:-2].max() < strength * CHARGE_TAIL
    assert np.abs(found - still(hr, 2)[0, 0].numpy()).max() > 0.02 * strength


def test_charging_leaves_a_dark_streak_behind_bright_things_only():
    hr = torch.full((1, 1, 40, 480), 0.5, dtype=torch.float64)
    hr[..., 16:24, 200:220] = 1.0
    charged, still = (degrade.get(f"sem_pixel:dose=inf{more}") for more in (",charging=0.3", ""))
    difference = charged(hr, 4) - still(hr, 4)
    row = difference[0, 0, 5].numpy()
    assert np.abs(row[:48]).max() < 1e-5  # the beam has not been there yet
    tail = row[56:70]
    assert (tail < 0).all() and (np.diff(tail) > 0).all()
    assert np.diff(np.log(-tail)).mean() == pytest.approx(-1 / 5, abs=0.02)
    assert np.abs(difference[0, 0, 0].numpy()).max() < 1e-5  # another line


def test_charging_keeps_mid_grey_and_gives_counting_noise_of_what_is_left():
    grey = torch.full((1, 1, 32, 128), 0.5, dtype=torch.float64)
    made = degrade.get("sem_pixel:dose=60,charging=0.4")
    assert (made.expected(grey, 2) - 0.5).abs().max() < 1e-5
    assert not made.needs_position and made.stochastic
    bright = grey + 0.5
    settled = made.expected(bright, 2)
    assert torch.allclose(settled, torch.tensor(1 - 0.4 * 0.5).double(), atol=1e-5)
    lr = made(bright.expand(1, 1, 32, 128).repeat(1, 1, 8, 2), 2, LrPosition.whole(KEY))
    assert lr.var().item() == pytest.approx(
        made.noise.variance(settled, LrPosition.whole(1)).mean().item(), rel=0.06
    )
