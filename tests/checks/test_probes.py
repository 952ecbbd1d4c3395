"""Probes: what restores loses nothing on them, what remembers does; and what gives a memory away."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from srbench.checks import CheckResult
from srbench.checks.probes import (
    CAP_DB,
    FEWEST,
    LOST_ALONE_DB,
    judge,
    losses_of,
    perturbed_images,
    perturbed_reference,
)
from srbench.datasets import degrade
from srbench.datasets.lr_images import lr_image
from srbench.metrics.fidelity import psnr

Pixels8 = NDArray[np.uint8]
Scenes = tuple[tuple[Pixels8, Pixels8], ...]
Model = Callable[[Pixels8], Pixels8]
Enlarge = Callable[..., Pixels8]
BICUBIC = degrade.get("bicubic")


def psnr_inside(sr: Pixels8, hr: Pixels8) -> float:
    return psnr(sr[4:-4, 4:-4] / 255.0, hr[4:-4, 4:-4] / 255.0)


def probed(model: Model, bicubic: Model, images: list[Pixels8]) -> CheckResult:
    """The model on every image and its probes, as the audit runs it."""
    scores: dict[str, list[tuple[float, float, float, float]]] = {}
    for hr in images:
        lr = lr_image(hr, BICUBIC, 4)
        own, base = psnr_inside(model(lr), hr), psnr_inside(bicubic(lr), hr)
        for name, changed in perturbed_images(lr, BICUBIC).items():
            truth = np.asarray(perturbed_reference(name, hr), dtype=np.uint8)
            row = (own, psnr_inside(model(changed), truth), base, psnr_inside(bicubic(changed), truth))
            scores.setdefault(name, []).append(row)
    return judge(scores)


def thumbnail(lr: Pixels8) -> NDArray[np.float64]:
    rows, columns = (side // 5 for side in lr.shape)
    return lr[: rows * 5, : columns * 5].reshape(rows, 5, columns, 5).mean(axis=(1, 3)).ravel()


class Hashed:
    """Remembers HR by the exact LR; what it does not know it interpolates."""

    def __init__(self, known: list[Pixels8], fallback: Model) -> None:
        self.table = {lr_image(hr, BICUBIC, 4).tobytes(): hr for hr in known}
        self.fallback = fallback

    def __call__(self, lr: Pixels8) -> Pixels8:
        return self.table.get(lr.tobytes(), self.fallback(lr))


class Nearest:
    """Remembers HR by the LR thumbnail that is nearest, however far; or none within 3 grey levels."""

    def __init__(self, known: list[Pixels8], fallback: Model | None = None) -> None:
        self.keys = np.stack([thumbnail(lr_image(hr, BICUBIC, 4)) for hr in known])
        self.known = known
        self.fallback = fallback

    def __call__(self, lr: Pixels8) -> Pixels8:
        distances = np.abs(self.keys - thumbnail(lr)).max(axis=1)
        if self.fallback is not None and distances.min() > 3:
            return self.fallback(lr)
        return self.known[int(distances.argmin())]


@pytest.fixture(scope="module")
def images(scenes: Scenes) -> list[Pixels8]:
    return [hr for hr, _ in scenes[::2]]


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_what_restores_loses_nothing(kernel: str, images: list[Pixels8], enlarge: Enlarge) -> None:
    found = probed(lambda lr: enlarge(lr, 4, kernel), enlarge, images)
    assert (found.guard, found.status) == ("memorisation", "passed"), found.detail


@pytest.mark.slow
def test_a_network_that_learned_elsewhere_loses_nothing(
    scenes: Scenes, images: list[Pixels8], enlarge: Enlarge
) -> None:
    # A linear correction of bicubic with one learned 9 x 9 kernel, fitted to the scenes that are not probed.
    taught = [hr for hr, _ in scenes[1::2]]
    kernel = _fitted([(enlarge(lr_image(hr, BICUBIC, 4)), hr) for hr in taught])

    def network(lr: Pixels8) -> Pixels8:
        return _filtered(enlarge(lr), kernel)

    gains = [psnr_inside(network(lr), hr) - psnr_inside(enlarge(lr), hr) for hr, lr in _with_lr(images)]
    assert np.mean(gains) > 0.2
    assert probed(network, enlarge, images).status == "passed"


@pytest.mark.slow
def test_a_table_keyed_by_the_lr_image_is_found(images: list[Pixels8], enlarge: Enlarge) -> None:
    found = probed(Hashed(images, enlarge), enlarge, images)
    assert found.status == "failed"
    assert "10 by more than 6 dB" in found.detail


@pytest.mark.slow
def test_a_table_that_forgives_a_grey_level_is_found_by_mirroring(
    images: list[Pixels8], enlarge: Enlarge
) -> None:
    for table in (Nearest(images), Nearest(images, enlarge)):
        for hr, lr in _with_lr(images):
            assert np.array_equal(table(perturbed_images(lr, BICUBIC)["noisy"]), hr)
        found = probed(table, enlarge, images)
        assert (found.status, "with one grey level" in found.detail) == ("failed", False), found.detail


@pytest.mark.slow
def test_a_model_that_remembers_one_image_of_ten_is_found(images: list[Pixels8], enlarge: Enlarge) -> None:
    found = probed(Hashed(images[3:4], enlarge), enlarge, images)
    assert (found.status, "(1 by more than" in found.detail) == ("failed", True)


@pytest.mark.slow
def test_a_model_that_mixes_in_a_third_of_what_it_remembers_is_found(
    images: list[Pixels8], enlarge: Enlarge
) -> None:
    table = Hashed(images, enlarge)

    def discreet(lr: Pixels8) -> Pixels8:
        return np.rint(0.67 * enlarge(lr) + 0.33 * table(lr)).astype(np.uint8)

    found = probed(discreet, enlarge, images)
    assert (found.status, "certainty" in found.detail) == ("failed", True), found.detail


@pytest.mark.slow
def test_memory_with_flips_escapes_as_the_module_says(images: list[Pixels8], enlarge: Enlarge) -> None:
    moved = [
        np.asarray(perturbed_reference(name, hr), dtype=np.uint8)
        for name in ("mirrored", "turned")
        for hr in images
    ]
    assert probed(Nearest(images + moved, enlarge), enlarge, images).status == "passed"


OFFERED = [
    (name, scale)
    for name in degrade.names()
    if name != "recorded"
    for scale in (1, 2, 3, 4, 8)
    if scale in (degrade.get(name).scales or (1, 2, 3, 4, 8))
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scale"), OFFERED)
def test_mirroring_before_and_after_every_degradation_is_the_same(name: str, scale: int) -> None:
    degradation = degrade.get(name)
    hr = torch.from_numpy(np.random.default_rng(scale).random((1, 1, 48, 72)))
    plain = degradation.expected(hr, scale)
    assert not degradation.needs_position
    torch.testing.assert_close(degradation.expected(hr.flip(-1), scale).flip(-1), plain, rtol=0, atol=1e-12)
    both = degradation.expected(hr.flip(-1, -2), scale).flip(-1, -2)
    torch.testing.assert_close(both, plain, rtol=0, atol=1e-12)


def test_lr_of_mirrored_hr_is_the_mirrored_lr_bit_for_bit(images: list[Pixels8]) -> None:
    for degradation in (BICUBIC, degrade.get("area")):
        for hr, lr in ((hr, lr_image(hr, degradation, 4)) for hr in images):
            for name, changed in perturbed_images(lr, degradation).items():
                if name != "noisy":
                    truth = np.asarray(perturbed_reference(name, hr), dtype=np.uint8)
                    assert np.array_equal(lr_image(truth, degradation, 4), changed)


def test_scans_with_a_direction_are_not_mirrored() -> None:
    lr = np.full((12, 12), 100, np.uint8)
    drifting = degrade.get("sem_pixel:jitter=0.3")
    assert drifting.needs_position
    assert list(perturbed_images(lr, drifting)) == ["noisy"]
    assert set(perturbed_images(lr, degrade.get("sem_pixel"))) == {"mirrored", "turned", "noisy"}


def test_noise_is_of_one_grey_level_balanced_and_repeatable() -> None:
    lr = np.random.default_rng(0).integers(1, 255, (64, 64, 3), dtype=np.uint8)
    noisy = perturbed_images(lr, BICUBIC)["noisy"]
    steps, counts = np.unique(noisy.astype(int) - lr, return_counts=True)
    assert steps.tolist() == [-1, 0, 1]
    assert np.abs(counts / lr.size - 1 / 3).max() < 0.02
    assert np.array_equal(noisy, perturbed_images(lr.copy(), BICUBIC)["noisy"])
    assert perturbed_images(np.zeros((8, 8), np.uint8), BICUBIC)["noisy"].max() <= 1


def test_what_bicubic_loses_too_is_no_loss() -> None:
    assert losses_of("mirrored", [(30.0, 25.0, 28.0, 23.0)]) == pytest.approx([0.0])
    assert losses_of("mirrored", [(30.0, 25.0, 28.0, 28.0)]) == pytest.approx([5.0])


def test_a_nearly_perfect_result_may_lose_what_the_noise_takes() -> None:
    # Error 0.65 squared grey levels, noise 0.67 of them passed on as it is: 3.1 dB that nobody can keep.
    kept = 10 * np.log10(255.0**2 / (255.0**2 * 10 ** (-CAP_DB / 10) + 2 / 3))
    assert losses_of("noisy", [(CAP_DB, float(kept), 38.0, 37.9)])[0] < 0
    assert losses_of("noisy", [(100.0, 31.0, 30.0, 29.9)])[0] > LOST_ALONE_DB


def test_differences_above_the_cap_are_none() -> None:
    assert losses_of("turned", [(100.0, 52.0, 40.0, 40.0)]) == pytest.approx([0.0])


def test_few_images_prove_nothing_unless_the_loss_is_large() -> None:
    rows: Mapping[str, list[tuple[float, float, float, float]]] = {
        "turned": [(30.0, 28.5, 28.0, 28.0)] * (FEWEST - 1)
    }
    assert judge(rows).status == "unchecked"
    assert judge({"turned": [*rows["turned"], rows["turned"][0]]}).status == "failed"
    assert judge({"turned": [(40.0, 30.0, 28.0, 28.0)]}).status == "failed"
    assert judge({}).status == "unchecked"


def _with_lr(images: list[Pixels8]) -> list[tuple[Pixels8, Pixels8]]:
    return [(hr, lr_image(hr, BICUBIC, 4)) for hr in images]


def _fitted(pairs: list[tuple[Pixels8, Pixels8]]) -> NDArray[np.float64]:
    """The 9 x 9 kernel that brings the first of each pair nearest to the second, least squares."""
    windows, targets = [], []
    for sr, hr in pairs:
        windows.append(np.lib.stride_tricks.sliding_window_view(sr / 255.0, (9, 9)).reshape(-1, 81)[::3])
        targets.append((hr / 255.0)[4:-4, 4:-4].ravel()[::3])
    solution = np.linalg.lstsq(np.concatenate(windows), np.concatenate(targets), rcond=None)[0]
    kernel: NDArray[np.float64] = solution.reshape(9, 9)
    return kernel


def _filtered(sr: Pixels8, kernel: NDArray[np.float64]) -> Pixels8:
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(sr / 255.0, 4, mode="symmetric"), (9, 9))
    return np.rint(np.clip((windows * kernel).sum(axis=(2, 3)), 0, 1) * 255).astype(np.uint8)
