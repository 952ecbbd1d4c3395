"""The beam spot: its optical transfer, aliasing, displaced lines and astigmatism against closed forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from srbench.datasets import degrade
from srbench.datasets.degrade import LrPosition
from srbench.datasets.degrade.noise import Stream
from srbench.datasets.degrade.sampling import Spot, beam_spot, sample_angle, sample_lines
from srbench.datasets.images.resize import resize


def wave(size, scale, down, right, phase=0.3):
    """A sinusoid on HR pixels whose frequencies are in cycles per LR pixel, and the same on LR pixels."""
    rows, columns = ((np.arange(side * scale) + 0.5) / scale - 0.5 for side in size)
    angle = 2 * math.pi * (down * rows[:, None] + right * columns[None, :]) + phase
    return torch.from_numpy(0.5 + 0.45 * np.cos(angle))[None, None]


def transferred(size, down, right, transfer, shift=None, phase=0.3):
    """The sinusoid that a spot with this transfer sees at the (displaced) centres of LR pixels."""
    shift = np.zeros((size[0], 2)) if shift is None else shift
    rows = np.arange(size[0])[:, None] + shift[:, :1]
    columns = np.arange(size[1])[None, :] + shift[:, 1:]
    return 0.5 + 0.45 * transfer * np.cos(2 * math.pi * (down * rows + right * columns) + phase)


def inner(image, border):
    return np.asarray(image)[..., border:-border, border:-border]


@pytest.mark.parametrize("scale", [3, 4, 8])
@pytest.mark.parametrize(("name", "sigma"), [("sem_pixel", 0.35), ("sem_defocus", 0.6)])
@pytest.mark.parametrize("frequency", [0.0, 0.1, 0.25, 0.45, 0.5, 0.7, 0.95])
def test_the_optical_transfer_is_gaussian_and_beyond_nyquist_it_is_aliased(name, sigma, scale, frequency):
    """exp(-2 pi^2 sigma^2 f^2); at 0.95 cycles a pixel LR shows a slow wave of 0.05 that is not in HR."""
    made = degrade.get(f"{name}:dose=inf")
    transfer = math.exp(-2 * math.pi**2 * sigma**2 * frequency**2)
    hr = wave((20, 24), scale, 0.0, frequency)
    across = made(hr, scale)[0, 0].numpy()
    along = made(hr.mT.contiguous(), scale)[0, 0].numpy().T
    expected = transferred((20, 24), 0.0, frequency, transfer)
    for found in (across, along):
        assert np.abs(inner(found - expected, 4)).max() < 3e-5


def test_aliases_survive_where_an_antialiased_image_has_none():
    """The measured amplitude at 0.05 cycles a pixel of a wave of 0.95."""
    hr = wave((20, 60), 4, 0.0, 0.95)
    basis = np.exp(2j * math.pi * 0.05 * np.arange(40))
    amplitude = {
        name: 2 * abs(np.mean((degrade.get(name)(hr, 4)[0, 0, 10, 10:-10].numpy() - 0.5) * basis))
        for name in ("sem_pixel:dose=inf", "bicubic")
    }
    assert amplitude["sem_pixel:dose=inf"] == pytest.approx(
        0.45 * math.exp(-2 * math.pi**2 * 0.35**2 * 0.95**2), rel=0.01
    )
    assert amplitude["bicubic"] < amplitude["sem_pixel:dose=inf"] / 3


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_a_spot_sits_in_the_middle_of_its_pixel(scale):
    """A ramp stays a ramp through the centres, and the mirrored image gives the mirrored LR."""
    ramp = torch.linspace(0.1, 0.9, 24 * scale, dtype=torch.float64).expand(1, 1, 8 * scale, -1)
    made = degrade.get("sem_pixel:dose=inf")
    step = 0.8 / (24 * scale - 1)
    expected = 0.1 + step * ((np.arange(24) + 0.5) * scale - 0.5)
    assert np.abs((made(ramp, scale)[0, 0, 3].numpy() - expected)[3:-3]).max() < 1e-5
    image = torch.rand(1, 1, 8 * scale, 8 * scale, dtype=torch.float64)
    assert torch.allclose(made(image.flip(-1), scale).flip(-1), made(image, scale), atol=1e-12)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    scale=st.sampled_from([1, 2, 3, 4, 8]),
    sigma=st.floats(0.1, 1.5),
    rows=st.integers(1, 8),
    columns=st.integers(1, 8),
)
def test_lines_in_place_are_a_resize(scale, sigma, rows, columns):
    image = torch.rand(2, 3, rows * scale, columns * scale, dtype=torch.float64)
    still = torch.zeros(2, rows, 2, dtype=torch.float64)
    lines = sample_lines(image, scale, Spot(sigma), still)
    assert torch.allclose(lines, resize(image, (rows, columns), beam_spot(Spot(sigma))), rtol=0, atol=1e-13)
    # A round spot has no direction, and an elliptical one that is hardly so differs hardly: by a pixel that
    # lies exactly on the cut, where the profile is 4e-6 of its peak.
    almost = sample_lines(image, scale, Spot(sigma, 1 + 1e-9), still, torch.tensor([0.3, 2.0]).double())
    assert torch.allclose(almost, lines, rtol=0, atol=2e-5)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    scale=st.sampled_from([3, 4, 8]),
    down=st.floats(-0.4, 0.4),
    right=st.floats(-0.4, 0.4),
    ratio=st.sampled_from([1.0, 1.3, 2.0]),
    angle=st.floats(0, math.pi),
    seed=st.integers(0, 2**32 - 1),
)
def test_displaced_lines_see_the_wave_where_they_are(scale, down, right, ratio, angle, seed):
    """Every line has a displacement of its own, and the ellipse its transfer exp(-2 pi^2 f' Sigma f)."""
    shift = np.random.default_rng(seed).uniform(-2, 2, (30, 2))
    hr = wave((30, 32), scale, down, right)
    found = sample_lines(
        hr, scale, Spot(0.4, ratio), torch.from_numpy(shift)[None], torch.tensor([angle]).double()
    )
    along = right * math.cos(angle) + down * math.sin(angle)
    across = down * math.cos(angle) - right * math.sin(angle)
    transfer = math.exp(-2 * math.pi**2 * 0.4**2 * ((ratio * along) ** 2 + across**2))
    expected = transferred((30, 32), down, right, transfer, shift)
    assert np.abs(inner(found[0, 0].numpy() - expected, 7)).max() < 2e-5


def test_a_lead_is_what_lies_to_the_left():
    image = torch.rand(1, 1, 16, 48, dtype=torch.float64)
    still = torch.zeros(1, 4, 2, dtype=torch.float64)
    wide = sample_lines(image, 4, Spot(0.35), still, lead=5)
    assert wide.shape == (1, 1, 4, 17)
    assert torch.equal(wide[..., 5:], sample_lines(image, 4, Spot(0.35), still))
    mirrored = torch.cat((image[..., :20].flip(-1), image), -1)
    assert torch.allclose(wide[..., 3:], sample_lines(mirrored, 4, Spot(0.35), still)[..., 3:], atol=1e-14)


def moments(image):
    """Covariance of an image taken as a distribution, order (columns, rows)."""
    rows, columns = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
    weight = image / image.sum()
    x, y = columns - (weight * columns).sum(), rows - (weight * rows).sum()
    return np.array([[(weight * a * b).sum() for b in (x, y)] for a in (x, y)])


def ellipse(long, short, angle):
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return turn @ np.diag([long**2, short**2]) @ turn.T


@pytest.mark.slow
@pytest.mark.parametrize("angle", [0, 30, 90, 135])
def test_astigmatism_by_the_second_moments_of_a_point(angle):
    """A spot of sigma 1 is sampled finely enough for its moments to be exact."""
    point = torch.zeros(1, 1, 31 * 3, 31 * 3, dtype=torch.float64)
    point[0, 0, 46, 46] = 1.0
    lr = degrade.get(f"sem_pixel:dose=inf,spot=1,astigmatism=1.5,angle={angle}")(point, 3)[0, 0].numpy()
    assert lr.sum() == pytest.approx(1 / 9, rel=1e-4)
    assert np.abs(moments(lr) - ellipse(1.5, 1.0, math.radians(angle))).max() < 2e-3


@pytest.mark.slow
def test_without_an_angle_each_image_has_its_own():
    point = torch.zeros(8, 1, 31 * 3, 31 * 3, dtype=torch.float64)
    point[..., 46, 46] = 1.0
    place = LrPosition.whole(*range(8))
    lr = degrade.get("sem_pixel:dose=inf,spot=1,astigmatism=1.5")(point, 3, place)[:, 0].numpy()
    angles = sample_angle(place.keys, Stream.ASTIGMATISM).numpy()
    for image, angle in zip(lr, angles, strict=True):
        assert np.abs(moments(image) - ellipse(1.5, 1.0, angle)).max() < 2e-3
    assert np.ptp(angles) > 1
