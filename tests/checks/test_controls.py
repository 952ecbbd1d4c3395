"""The control has the roughness of the reference and none of its detail, and the table shows that it lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from helpers.loading import load
from srbench.datasets import degrade
from srbench.datasets.images.resize import resize, resize_by
from srbench.datasets.lr_images import lr_image
from srbench.evaluation.context import over_categories
from srbench.evaluation.reference_rows import periodic_spectrum, random_texture
from srbench.metrics.fidelity import psnr
from srbench.utils.errors import SrbenchError

Pixels = NDArray[np.uint8]
BICUBIC = degrade.get("bicubic")


@pytest.fixture(scope="module")
def bench() -> Any:
    return load("liar", Path(__file__).parents[2] / "benchmarks")


def field(seed: int, height: int = 192, width: int = 160) -> Pixels:
    """Grains of many sizes in the middle of the grey range: nothing is clipped."""
    generator = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    noise = np.fft.rfft2(generator.normal(size=(height, width))) / (0.02 + frequency)
    waves = np.fft.irfft2(noise, s=(height, width))
    return np.rint(128 + 24 * waves / waves.std()).clip(0, 255).astype(np.uint8)


def rings(plane: NDArray[np.float64], lowest: float, count: int = 6) -> NDArray[np.float64]:
    """Power under a Hann window in ``count`` rings from ``lowest`` to the Nyquist frequency."""
    height, width = plane.shape
    window = np.hanning(height)[:, None] * np.hanning(width)
    power = np.abs(np.fft.fft2((plane - plane.mean()) * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    edges = np.linspace(lowest, 0.5, count + 1)
    return np.histogram(frequency, edges, weights=power)[0]


def bicubic(lr: Pixels, scale: int) -> NDArray[np.float64]:
    return np.asarray(resize_by(torch.from_numpy(lr / 255.0), scale))


@pytest.mark.parametrize("scale", [2, 4])
def test_is_as_rough_as_the_reference_in_every_ring(scale: int) -> None:
    hr = field(1)
    sr = random_texture(hr, lr_image(hr, BICUBIC, scale), scale, "a")
    lowest = 0.5 / scale + 0.02
    # Windows see different parts of the two: a tenth of a ring's power is what a few hundred samples leave.
    np.testing.assert_allclose(rings(sr / 255.0, lowest) / rings(hr / 255.0, lowest), 1.0, atol=0.15)


def test_what_is_added_has_no_mean_and_nothing_that_lr_could_hold() -> None:
    hr = field(2)
    lr = lr_image(hr, BICUBIC, 4)
    added = random_texture(hr, lr, 4, "a") / 255.0 - bicubic(lr, 4)
    assert abs(added.mean()) < 1e-4
    power = np.abs(np.fft.fft2(added)) ** 2
    frequency = np.hypot(np.fft.fftfreq(192)[:, None], np.fft.fftfreq(160))
    # What is left below is the rounding to 8 bits: white, of variance 1/12.
    rounding = added.size / 12 / 255**2 * np.count_nonzero(frequency < 0.12)
    assert power[frequency < 0.12].sum() < 1.2 * rounding
    assert power[frequency > 0.13].sum() > 50 * rounding


@pytest.mark.slow
def test_no_detail_is_in_its_place() -> None:
    hr, correlations = field(3), []
    lr = lr_image(hr, BICUBIC, 4)
    fine = hr / 255.0 - bicubic(lr, 4)
    for name in "abcdefgh":
        added = random_texture(hr, lr, 4, name) / 255.0 - bicubic(lr, 4)
        correlations.append(np.corrcoef(fine.ravel(), added.ravel())[0, 1])
    assert np.abs(correlations).max() < 0.06
    assert min(correlations) < 0 < max(correlations)


def test_directions_are_those_of_the_reference() -> None:
    wave = np.sin(np.arange(160) * 2 * np.pi * 40 / 160)
    lines = np.rint(128 + 60 * np.tile(wave, (192, 1))).astype(np.uint8)
    sr = random_texture(lines, lr_image(lines, BICUBIC, 4), 4, "lines") / 255.0
    assert np.ptp(sr, axis=1).min() > 0.4
    assert np.ptp(sr, axis=0).max() < 0.05


def test_borders_that_do_not_fit_add_nothing() -> None:
    """A slope has no fine detail, but a Fourier transform sees its borders as one sharp edge."""
    rows, columns = np.mgrid[0:96, 0:120]
    slope = np.rint(40 + 0.9 * rows + 0.7 * columns).astype(np.uint8)
    lr = lr_image(slope, BICUBIC, 4)
    added = random_texture(slope, lr, 4, "a") / 255.0 - bicubic(lr, 4)
    assert added.std() < 1.2 / 255.0
    naive = np.abs(np.fft.rfft2(slope / 255.0))[np.hypot(*np.ogrid[0:96, 0:61]) > 40]
    split_off = np.abs(periodic_spectrum(slope / 255.0))[np.hypot(*np.ogrid[0:96, 0:61]) > 40]
    assert np.square(split_off).sum() < 0.01 * np.square(naive).sum()


def test_the_periodic_component_of_a_periodic_image_is_the_image() -> None:
    rows, columns = np.mgrid[0:24, 0:30]
    torus = np.cos(2 * np.pi * (rows + 0.5) / 24) * np.cos(2 * np.pi * (columns + 0.5) / 30)
    np.testing.assert_allclose(periodic_spectrum(torus), np.fft.rfft2(torus), atol=1e-9)


def test_the_periodic_component_is_that_of_moisans_first_equation() -> None:
    """p = u - s, where s has the discrete Laplacian of the jumps and no mean: solved as a linear system."""
    u = np.random.default_rng(0).random((6, 7))
    jumps = np.zeros_like(u)
    for axis in (0, 1):
        turned, out = np.moveaxis(u, axis, 0), np.moveaxis(jumps, axis, 0)
        out[0] += turned[-1] - turned[0]
        out[-1] += turned[0] - turned[-1]
    identity = np.eye(u.size).reshape(u.size, *u.shape)
    laplacian = sum(np.roll(identity, step, axis) for step in (1, -1) for axis in (1, 2)) - 4 * identity
    matrix = np.vstack([laplacian.reshape(u.size, -1).T, np.ones(u.size)])
    smooth = np.linalg.lstsq(matrix, np.append(jumps.ravel(), 0.0), rcond=None)[0].reshape(u.shape)
    np.testing.assert_allclose(np.fft.irfft2(periodic_spectrum(u), s=u.shape), u - smooth, atol=1e-10)


def test_lr_hardly_sees_the_lie() -> None:
    """The texture shows in LR by what bicubic shrinking lets through just above its Nyquist frequency."""
    hr = field(4)
    lr = lr_image(hr, BICUBIC, 4)
    sizes = lr.shape
    seen = []
    for sr in (random_texture(hr, lr, 4, "a") / 255.0, np.rint(bicubic(lr, 4) * 255) / 255.0):
        seen.append(psnr(resize(torch.from_numpy(sr), sizes).numpy(), lr / 255.0))
    assert seen[1] - 6 < seen[0] < seen[1] + 1
    assert seen[0] > psnr(np.roll(lr, 1, 0) / 255.0, lr / 255.0) + 3


def test_same_on_every_machine() -> None:
    """The phases are exact; what is left are last digits, which rounding to 8 bits swallows."""
    hr = (np.add.outer(np.arange(64) ** 2, 3 * np.arange(48) ** 2) * 37 // 11 % 180 + 40).astype(np.uint8)
    lr = lr_image(hr, BICUBIC, 4)
    sr = random_texture(hr, lr, 4, "scene/0")
    assert np.array_equal(sr, random_texture(hr.copy(), lr, 4, "scene/0"))
    assert not np.array_equal(sr, random_texture(hr, lr, 4, "scene/1"))
    assert sr[::16, ::12].tolist() == [
        [52, 123, 144, 159],
        [149, 121, 59, 189],
        [161, 170, 230, 131],
        [39, 84, 88, 190],
    ]
    assert int(sr.sum()) == 394496


def test_colours_keep_their_detail_and_their_depth_does_not_matter() -> None:
    grey = field(5)
    colour = np.stack([grey, grey, np.full_like(grey, 90)], axis=-1)
    sr = random_texture(colour, lr_image(colour, BICUBIC, 4), 4, "a")
    assert sr.shape == colour.shape
    assert np.array_equal(sr[..., 0], sr[..., 1])
    assert (sr[..., 2] == 90).all()
    lr = lr_image(grey, BICUBIC, 4)
    deep = grey.astype(np.uint16) * 257
    assert np.array_equal(random_texture(deep, lr, 4, "a"), random_texture(grey, lr, 4, "a"))
    assert np.array_equal(sr[..., 0], random_texture(grey, lr, 4, "a"))


def test_a_milder_lie_has_as_much_less_of_it() -> None:
    hr = field(6)
    lr = lr_image(hr, BICUBIC, 4)
    full, half = (random_texture(hr, lr, 4, "a", strength=s) / 255.0 - bicubic(lr, 4) for s in (1.0, 0.5))
    np.testing.assert_allclose(full, 2 * half, atol=2 / 255.0)


@pytest.mark.parametrize(
    ("shape", "lr_shape", "scale", "words"),
    [
        ((40, 40), (40, 40), 1, "at magnification 1 there is none"),
        ((40, 40), (9, 10), 4, r"needs HR of \(36, 40\)"),
        ((40, 40), (10, 10, 3), 4, "same channels"),
    ],
)
def test_refuses_what_it_cannot_lie_about(
    shape: tuple[int, ...], lr_shape: tuple[int, ...], scale: int, words: str
) -> None:
    with pytest.raises(SrbenchError, match=words):
        random_texture(np.zeros(shape, np.uint8), np.zeros(lr_shape, np.uint8), scale, "a")


@pytest.mark.slow
def test_amount_is_right_and_all_of_it_invented(bench: Any) -> None:
    scorer = bench.scorer_of("sem_synthetic:small", 4, ["gained_hf", "hallucinated_hf", "recovered_hf"])
    images = over_categories(scorer.micrographs.split("test"), 10)
    values, _ = bench.measured(images, scorer)
    assert 0.85 < np.mean(values["gained_hf"]["liar"]) < 1.1
    assert np.mean(values["hallucinated_hf"]["liar"]) > 0.9
    assert np.mean(values["recovered_hf"]["liar"]) < 0.12
    assert np.mean(values["gained_hf"]["bicubic"]) < 0.15


@pytest.mark.slow
def test_the_table_tells_the_liar_from_an_honest_blur_where_ssim_does_not(bench: Any) -> None:
    names = ["psnr", "ssim", "recovered_hf", "hallucinated_hf", "gained_hf", "frc_cutoff"]
    scorer = bench.scorer_of("sem_synthetic:small", 4, names)
    images = over_categories(scorer.micrographs.split("test"), 10)
    # At full strength a blur as low in SSIM shows nothing at all.
    values, _ = bench.measured(images, scorer, strength=0.25)
    assert np.allclose(values["ssim"]["liar"], values["ssim"]["blur"], atol=5e-4)
    apart = {name: bench.difference(values[name], images) for name in names}
    # Paired intervals that exclude zero, on the right side; PSNR takes the liar for the better one.
    assert apart["hallucinated_hf"][1] > 0
    assert apart["gained_hf"][1] > 0
    assert apart["recovered_hf"][2] < 0
    assert apart["frc_cutoff"][2] < 0
    assert apart["psnr"][1] > 0
