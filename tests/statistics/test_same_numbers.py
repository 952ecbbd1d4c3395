"""Every number that was made faster, against the plain way of computing it, which is restated here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from srbench.checks.integrity import sha256_of_frame, sha256_of_scores
from srbench.statistics.bootstrap import GroupMeans, Seeds, bootstrap_means, cluster
from srbench.statistics.leaderboard import leaderboard
from srbench.statistics.score_matrix import duplicate_runs, score_matrix
from srbench.store import RUN, Manifest, Run, RunKey, Score, ScoreStore

CHUNK = 1_000
KEY = RunKey("m", "v", "w" * 64, 3, "d", "f", "test", "bicubic@1", 4, "p")


def plain_cluster(values: np.ndarray, groups: Sequence[str], kinds: Sequence[str]) -> GroupMeans:
    """Image by image."""
    cells: dict[tuple[str, str], list[float]] = {}
    for value, group, kind in zip(values, groups, kinds, strict=True):
        if not np.isnan(value):
            cells.setdefault((group, kind), []).append(float(value))
    sizes = Counter(kind for _, kind in cells)
    names = sorted({group for group, _ in cells})
    of_group: dict[str, list[str]] = {name: [] for name in names}
    totals = {name: [0.0, 0.0] for name in names}
    for (group, kind), members in sorted(cells.items()):
        weight = 1.0 / (len(sizes) * sizes[kind])
        totals[group][0] += weight * float(np.mean(members))
        totals[group][1] += weight
        of_group[group].append(kind)
    weights = np.array([totals[name][1] for name in names])
    means = np.array([totals[name][0] / totals[name][1] for name in names])
    strata = plain_strata([tuple(of_group[name]) for name in names])
    return GroupMeans(means, weights, strata, sum(map(len, cells.values())))


def plain_strata(kinds: list[tuple[str, ...]]) -> np.ndarray:
    """What is drawn together: a group that would be alone with others that are, or with the smallest kind."""
    counts = Counter(kinds)
    lonely = {kind for kind, count in counts.items() if count == 1}
    if len(lonely) == 1 and len(counts) > 1:
        lonely.add(min((count, kind) for kind, count in counts.items() if kind not in lonely)[1])
    labels = ["" if kind in lonely else "+".join(("", *kind)) for kind in kinds]
    order = {label: index for index, label in enumerate(sorted(set(labels)))}
    return np.array([order[label] for label in labels], dtype=np.int64)


def plain_means(clusters: GroupMeans, values: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """A thousand resamples at a time, a product for every column and stratum."""
    order = np.argsort(clusters.strata, kind="stable")
    weights, values = clusters.weights[order], values[order]
    sizes = np.bincount(clusters.strata)
    generator = np.random.default_rng(seed)
    means = np.zeros(samples)
    for first in range(0, samples, CHUNK):
        rows = min(CHUNK, samples - first)
        blocks = []
        for size in sizes:
            drawn = generator.integers(0, size, size=(rows, max(size - 1, 1)))
            flat = (drawn + size * np.arange(rows)[:, None]).ravel()
            blocks.append(np.bincount(flat, minlength=rows * size).reshape(rows, size))
        for start, size, counts in zip(np.cumsum([0, *sizes]), sizes, blocks, strict=False):
            part = slice(start, start + size)
            shares = weights[part].sum() / (counts @ weights[part])
            means[first : first + rows] += shares * (counts @ (weights[part] * values[part]))
    return means


def layout(seed: int, images: int = 300) -> tuple[np.ndarray, list[str], list[str]]:
    """Missing values, groups of several images and of two categories, categories of one group.

    With seed 0 one category has a single group.
    """
    generator = np.random.default_rng(seed)
    groups = generator.integers(0, 60, images)
    kinds = np.where(generator.random(images) < 0.02, generator.integers(0, 9, images), groups % 5)
    if not seed:
        kinds = np.where(groups == 7, 5, groups % 5)
    values = generator.normal(30, 2, images)
    values[generator.random(images) < 0.1] = np.nan
    return values, [f"g{group:02}" for group in groups], [f"c{kind}" for kind in kinds]


@pytest.mark.parametrize("seed", range(6))
def test_clusters_are_those_of_a_loop_over_the_images(seed: int) -> None:
    values, groups, kinds = layout(seed)
    found, plain = cluster(values, groups, kinds), plain_cluster(values, groups, kinds)
    assert found.values == pytest.approx(plain.values, rel=1e-12, abs=0)
    assert found.weights == pytest.approx(plain.weights, rel=1e-12, abs=0)
    assert found.images == plain.images
    if seed:  # several groups are the only ones of their categories: one stratum
        assert found.strata.tolist() == plain.strata.tolist() and found.alone == 0
    nothing = cluster(np.full(3, np.nan), ["a", "a", "b"], ["c"] * 3)
    assert not len(nothing.values) and np.isnan(nothing.mean)


@pytest.mark.parametrize("seed", [0, 7])
def test_resamples_of_many_at_once_are_those_of_each_alone(seed: int) -> None:
    samples = 2_300
    values, groups, kinds = layout(seed)
    parts = [cluster(values + shift, groups, kinds) for shift in (0.0, 1.0)]
    other = cluster(values[:200], groups[:200], kinds[:200])
    members = np.stack([parts[0].values, parts[0].values + 0.5, parts[0].values * 1.01])
    seeded = GroupMeans(members.mean(0), parts[0].weights, parts[0].strata, 300, (Seeds(5, members),))
    every = [parts[0], other, seeded, parts[1]]
    found = bootstrap_means(every, samples, 11)
    layouts = {0: (values, groups, kinds), 1: (values[:200], groups[:200], kinds[:200])}
    layouts[3] = layouts[0]
    for column, part in ((0, parts[0]), (1, other), (3, parts[1])):
        drawn_together = replace(part, strata=plain_cluster(*layouts[column]).strata)
        plain = plain_means(drawn_together, part.values, samples, 11)
        assert found[:, column] == pytest.approx(plain, abs=1e-12)
    generator = np.random.default_rng([11, 5])
    drawn = generator.integers(0, 3, size=(samples, 2))
    shares = np.stack([(drawn == seed).sum(axis=1) for seed in range(3)], axis=1) / 2
    seeded = replace(seeded, strata=plain_cluster(values, groups, kinds).strata)
    of_seeds = [plain_means(seeded, row, samples, 11) for row in members]
    assert found[:, 2] == pytest.approx(np.sum(shares * np.stack(of_seeds, axis=1), axis=1), abs=1e-12)


def test_equal_columns_give_equal_resamples_whatever_stands_beside_them() -> None:
    values, groups, kinds = layout(3)
    base = [cluster(values * factor, groups, kinds) for factor in np.linspace(1, 2, 11)]
    found = bootstrap_means([*base, base[0], base[4]], 200)
    assert np.array_equal(found[:, 0], found[:, 11]) and np.array_equal(found[:, 4], found[:, 12])


def stored(tmp_path: object, images: int = 40) -> ScoreStore:
    store = ScoreStore(str(tmp_path))
    for model, shift in (("a", 0.0), ("b", 0.5), ("c", 0.0)):
        generator = np.random.default_rng(0)
        scores = [
            Score(metric, value, f"i{index}", f"g{index // 2}", f"c{index % 2 * 0}", pixel_size_nm=size)
            for metric in ("psnr", "ssim")
            for index, (value, size) in enumerate(
                zip(generator.normal(shift, 1, images), generator.normal(5, 1, images), strict=True)
            )
        ]
        scores[0] = Score("psnr", float("nan"), "i0", "g0", "c0", "why")
        key = RunKey(model, "v", "", -1, *list(vars(KEY).values())[4:])
        store.write_run(Manifest(key, "complete", scores_sha256=sha256_of_scores(scores)), scores)
    return store


def test_rows_are_hashed_and_arranged_as_one_by_one(tmp_path: object) -> None:
    store = stored(tmp_path)
    for manifest, table in store.runs():
        assert table is not None and sha256_of_frame(table) == manifest.scores_sha256
        assert sha256_of_frame(table.sample(frac=1.0, random_state=0)) == manifest.scores_sha256
    rows = store.scores()
    plain = rows.astype({name: object for name in rows.columns if name not in ("seed", "scale", "value")})
    plain["pixel_size_nm"] = plain["pixel_size_nm"].astype(float)
    assert duplicate_runs(rows) == duplicate_runs(plain) == {Run("c", "v", "", -1): Run("a", "v", "", -1)}
    psnr = plain[plain["metric"] == "psnr"]
    table = psnr.groupby(["image", *RUN])["value"].mean().unstack(RUN).sort_index(axis=1)
    matrix = score_matrix(psnr)
    assert list(table.index) == list(matrix.images)
    assert np.array_equal(table.to_numpy(dtype=float), matrix.values, equal_nan=True)
    tiles = score_matrix(pd.concat([psnr, psnr.assign(value=psnr["value"] + 1.0)]))
    assert tiles.values == pytest.approx(matrix.values + 0.5, abs=1e-12, nan_ok=True)
    one, other = leaderboard(rows, "psnr", samples=200), leaderboard(plain, "psnr", samples=200)
    assert [(row.run, row.mean, row.reason) for row in one] == [(r.run, r.mean, r.reason) for r in other]
