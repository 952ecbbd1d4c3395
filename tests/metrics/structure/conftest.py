"""Drawn scenes whose geometry is known in closed form, and cases made of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import erf

from srbench.metrics.registry import Case

Floats = NDArray[np.float64]
Discs = list[tuple[float, float, float]]


def draw_discs(discs: Discs, size: int = 384, ground: float = 0.2, bright: float = 0.8) -> Floats:
    """Antialiased discs (y, x, radius): a pixel's coverage is linear in its distance to the outline."""
    y, x = np.mgrid[:size, :size]
    share = np.zeros((size, size))
    for row, column, radius in discs:
        reach = int(radius) + 2
        part = np.s_[
            max(round(row) - reach, 0) : round(row) + reach + 1,
            max(round(column) - reach, 0) : round(column) + reach + 1,
        ]
        covered = np.clip(radius + 0.5 - np.hypot(y[part] - row, x[part] - column), 0, 1)
        share[part] = np.maximum(share[part], covered)
    return ground + (bright - ground) * share


def place_discs(seed: int, radii: Floats, size: int = 384, gap: float = 6.0) -> Discs:
    """Discs that neither touch each other nor the border, the largest placed first."""
    generator, placed = np.random.default_rng(seed), []
    for radius in sorted(radii, reverse=True):
        for _ in range(4000):
            y, x = generator.uniform(radius + 12, size - radius - 12, 2)
            if all(np.hypot(y - v, x - u) > radius + r + gap for v, u, r in placed):
                placed.append((float(y), float(x), float(radius)))
                break
    assert len(placed) == len(radii)
    return placed


def rough_edge(generator: np.random.Generator, rows: int, sigma: float, xi: float, hurst: float) -> Floats:
    """An edge with the PSD of Palasantzas, exactly ``sigma`` in standard deviation."""
    frequency = np.fft.rfftfreq(4 * rows)
    psd = 1 / (1 + (2 * np.pi * frequency * xi) ** 2) ** (hurst + 0.5)
    noise = generator.normal(size=(2, len(frequency)))
    edge = np.fft.irfft(np.sqrt(psd) * (noise[0] + 1j * noise[1]))[:rows]
    place = np.arange(rows) - (rows - 1) / 2
    edge = edge - edge.mean() - (edge @ place) / (place @ place) * place
    return np.asarray(edge * sigma / edge.std())


def draw_lines(left: Floats, right: Floats, width: int, blur: float = 0.7) -> Floats:
    """Lines between ``left`` and ``right`` edges ``(lines, rows)`` under a Gaussian spot, 0.2 to 0.8."""
    x = np.arange(width)
    image = np.full((left.shape[1], width), 0.2)
    for low, high in zip(left, right, strict=True):
        for edge, sign in ((low, 1.0), (high, -1.0)):
            image += 0.3 * sign * (1 + erf((x[None] - edge[:, None]) / (np.sqrt(2) * blur)))
    return image


def make_case(
    sr: Floats,
    hr: Floats,
    scale: int = 4,
    truth: Mapping[str, Any] | None = None,
    category: str = "",
    second: Floats | None = None,
) -> Case:
    """A case as the protocol makes it, without rounding."""
    cut = (slice(scale, -scale), slice(scale, -scale))
    lr = np.zeros((hr.shape[0] // scale, hr.shape[1] // scale))
    return Case(
        sr[cut], hr[cut], sr, hr, lr, scale, truth=truth, category=category,
        second=None if second is None else second[cut],
    )  # fmt: skip


@pytest.fixture(scope="session")
def particle_field() -> Discs:
    """55 discs of radius 7 to 20 px."""
    return place_discs(3, np.random.default_rng(3).uniform(7, 20, 55), size=512)


@pytest.fixture(scope="session")
def particle_truth(particle_field: Discs) -> dict[str, Any]:
    """Their truth, as a synthetic scene would store it."""
    entries = [
        {"y": y, "x": x, "diameter": 2 * r, "border": False, "touching": False} for y, x, r in particle_field
    ]
    return {"kind": "particles", "particles": entries, "small_features": []}


@pytest.fixture(scope="session")
def draw() -> SimpleNamespace:
    """The functions of this file."""
    return SimpleNamespace(
        discs=draw_discs, place=place_discs, rough_edge=rough_edge, lines=draw_lines, case=make_case
    )
