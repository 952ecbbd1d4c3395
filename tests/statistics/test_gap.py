"""Real minus synthetic: paired by image, with the interval of the paired differences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from srbench.statistics.bootstrap import cluster
from srbench.statistics.gap import real_minus_synthetic, recorded_and_synthetic
from srbench.statistics.interval import interval
from srbench.store import Conditions, Manifest, Run, RunKey, Score, ScoreStore

REAL, SYNTHETIC = "recorded@1", "sem_pixel:dose=20@1"
GROUPS = [f"g{number // 2}" for number in range(12)]
KINDS = ["powder" if number < 8 else "tips" for number in range(12)]


def rows(
    root: Path, degradation: str, values: dict[Run, Callable[[int], float]], images: int = 12
) -> pd.DataFrame:
    store = ScoreStore(root)
    for run, value in values.items():
        key = RunKey(*run, "scans", "d" * 64, "test", degradation, 1, "sem-grey-0a1b2c3d")
        scores = [
            Score("psnr", value(i), f"f{i:02}", GROUPS[i], KINDS[i], "none" if np.isnan(value(i)) else "")
            for i in range(images)
        ]
        store.write_run(Manifest(key, "complete"), scores)
    return store.scores()


def of(seed: int, level: float) -> Callable[[int], float]:
    drawn = level + np.random.default_rng(seed).normal(size=12)
    return lambda i: float(drawn[i])


def test_it_is_the_mean_and_interval_of_the_paired_differences(tmp_path: Path) -> None:
    run, other = Run("vdsr", "tiny", "a" * 64, 0), Run("bicubic", "matlab", "", -1)
    real = rows(tmp_path / "r", REAL, {run: of(1, 20), other: of(2, 19)})
    synthetic = rows(tmp_path / "s", SYNTHETIC, {run: of(3, 22)}, images=10)
    gaps = real_minus_synthetic(real, synthetic, "psnr", {run: "vdsr", other: "bicubic"})
    assert gaps.keys() == {"vdsr"}
    differences = np.array([of(1, 20)(i) - of(3, 22)(i) for i in range(10)])
    expected = cluster(differences, GROUPS[:10], KINDS[:10])
    gap = gaps["vdsr"]
    assert gap.difference == pytest.approx(expected.mean)
    assert gap.interval == pytest.approx(interval(expected))
    assert gap.real - gap.synthetic == pytest.approx(gap.difference)
    assert (gap.n_images, gap.n_groups) == (10, 5)


def test_an_image_without_a_value_on_one_of_them_does_not_count(tmp_path: Path) -> None:
    run = Run("bicubic", "matlab", "", -1)
    real = rows(tmp_path / "r", REAL, {run: lambda i: float("nan") if i == 3 else 20.0 + i})
    synthetic = rows(tmp_path / "s", SYNTHETIC, {run: lambda i: 21.0 + i})
    gap = real_minus_synthetic(real, synthetic, "psnr", {run: 0})[0]
    assert gap.difference == pytest.approx(-1.0) and gap.n_images == 11


def test_seeds_are_paired_with_themselves(tmp_path: Path) -> None:
    seeds = [Run("edsr", "tiny", str(seed) * 64, seed) for seed in range(3)]
    far_apart = {run: 10.0 * run.seed for run in seeds}
    real = rows(tmp_path / "r", REAL, {run: lambda i, run=run: 20 + far_apart[run] + i for run in seeds})
    synthetic = rows(
        tmp_path / "s", SYNTHETIC, {run: lambda i, run=run: 21 + far_apart[run] + i for run in seeds[:2]}
    )
    gap = real_minus_synthetic(real, synthetic, "psnr", dict.fromkeys(seeds, "edsr"))["edsr"]
    assert gap.difference == pytest.approx(-1.0)
    assert gap.interval.high - gap.interval.low == pytest.approx(0.0, abs=1e-9)


def test_only_what_differs_in_nothing_else_is_paired() -> None:
    base = Conditions("scans", "test", REAL, 1, "sem-grey", "d" * 64)
    synthetic = base._replace(degradation=SYNTHETIC)
    others = [synthetic._replace(scale=2), synthetic._replace(split="all"), synthetic._replace(data="e" * 64)]
    assert recorded_and_synthetic([base, synthetic, *others]) == [(base, synthetic)]
    assert recorded_and_synthetic([synthetic, *others]) == []


def test_a_metric_that_nobody_has_gives_nothing(tmp_path: Path) -> None:
    run = Run("bicubic", "matlab", "", -1)
    real = rows(tmp_path / "r", REAL, {run: of(1, 20)})
    synthetic = rows(tmp_path / "s", SYNTHETIC, {run: of(2, 20)})
    assert real_minus_synthetic(real, synthetic, "ssim", {run: 0}) == {}
    assert real_minus_synthetic(real, synthetic, "psnr", {}) == {}
