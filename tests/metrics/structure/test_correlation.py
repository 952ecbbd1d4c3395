"""Two-point correlation against a loop over all pairs and against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from srbench.metrics.structure import correlation_error, two_point_correlation


def by_pairs(mask: np.ndarray, reach: int) -> np.ndarray:
    """The definition: every displacement over the pairs of pixels inside, then rings of displacements."""
    height, width = mask.shape
    sums, counts = np.zeros(reach + 1), np.zeros(reach + 1)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            ring = round(float(np.hypot(dy, dx)))
            if ring > reach:
                continue
            one = mask[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)]
            other = mask[max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)]
            sums[ring] += (one & other).mean()
            counts[ring] += 1
    return sums / counts


@pytest.mark.parametrize("shape", [(30, 41), (37, 29)])
def test_correlation_is_that_of_all_pairs(shape: tuple[int, int]) -> None:
    masks = np.random.default_rng(1).uniform(size=(2, *shape)) < 0.4
    masks[1, 5:20, 8:] = True
    for mask in masks:
        correlation = two_point_correlation(mask, 9)
        # The half plane of displacements counts those with dy = 0 twice.
        assert correlation == pytest.approx(_half_plane(mask, 9), abs=1e-12)
        assert np.abs(correlation - by_pairs(mask, 9)).max() < 0.01


def _half_plane(mask: np.ndarray, reach: int) -> np.ndarray:
    height, width = mask.shape
    values: list[list[float]] = [[] for _ in range(reach + 1)]
    for dy in range(reach + 1):
        for dx in range(-reach, reach + 1):
            ring = round(float(np.hypot(dy, dx)))
            if ring <= reach:
                one = mask[dy:, max(dx, 0) : width + min(dx, 0)]
                other = mask[: height - dy, max(-dx, 0) : width + min(-dx, 0)]
                values[ring].append(float((one & other).mean()))
    return np.array([np.mean(ring) for ring in values])


def test_checkerboard() -> None:
    board = np.indices((64, 64)).sum(0) % 2 == 0
    found = two_point_correlation(board, 1)
    assert float(found[0]) == pytest.approx(0.5)
    # Ring 1 holds the steps (0, +-1), (1, 0), never alike, and (1, +-1), always alike.
    assert float(found[1]) == pytest.approx(2 / 5 * 0.5, abs=1e-3)


def test_stripes_repeat_themselves() -> None:
    stripes = np.tile(np.arange(96) % 16 < 8, (96, 1))
    assert float(two_point_correlation(stripes, 40)[0]) == pytest.approx(0.5)


def test_random_dots_are_independent() -> None:
    mask = np.random.default_rng(2).uniform(size=(400, 300)) < 0.3
    found = two_point_correlation(mask, 32)
    assert found[0] == pytest.approx(0.3, abs=0.005)
    assert found[1:] == pytest.approx(np.full(32, found[0] ** 2), abs=0.002)


@pytest.mark.slow
def test_boolean_discs_follow_the_covariance_of_their_union() -> None:
    """Poisson discs: the pore phase has S2(r) = exp(-lambda |union of two discs at distance r|)."""
    generator, size, radius, density = np.random.default_rng(4), 700, 8.0, 0.002
    count = generator.poisson(density * (size + 40) ** 2)
    y, x = np.mgrid[:size, :size]
    covered = np.zeros((size, size), dtype=bool)
    for row, column in generator.uniform(-20, size + 20, (count, 2)):
        part = np.s_[max(int(row) - 9, 0) : int(row) + 11, max(int(column) - 9, 0) : int(column) + 11]
        covered[part] |= np.hypot(y[part] - row, x[part] - column) <= radius
    found = two_point_correlation(~covered, 24)
    r = np.arange(25.0)
    half = np.clip(r / (2 * radius), 0, 1)
    lens = 2 * radius**2 * (np.arccos(half) - half * np.sqrt(1 - half**2))
    wanted = np.exp(-density * (2 * np.pi * radius**2 - lens))
    assert np.abs(found - wanted).max() < 0.02


def test_error_is_zero_for_the_same_mask_and_scales_with_the_phase() -> None:
    generator = np.random.default_rng(5)
    reference = generator.uniform(size=(80, 80)) < 0.5
    fewer = reference & (generator.uniform(size=(80, 80)) < 0.8)
    assert float(correlation_error(reference, reference, 16)) == 0.0
    # Everywhere but at r = 0: |0.4^2 - 0.5^2| / 0.25.
    assert float(correlation_error(fewer, reference, 16)) == pytest.approx(0.36, abs=0.03)


def test_error_needs_two_phases() -> None:
    assert np.isnan(correlation_error(*np.zeros((2, 40, 40), dtype=bool), 8))


def test_a_mirrored_structure_goes_unnoticed() -> None:
    """Blind spot: the same statistics in other places."""
    mask = np.random.default_rng(6).normal(size=(96, 96)) > 0.3
    assert float(correlation_error(mask[::-1, ::-1], mask, 24)) < 1e-12
