"""What the statistics promise where the truth is known: coverage, and false winners among equals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from srbench.statistics.bootstrap import GroupMeans, Seeds, cluster
from srbench.statistics.interval import interval, mean_p
from srbench.statistics.paired_tests import (
    ComparisonSettings,
    beats_all,
    compare_pair,
    hodges_lehmann,
    probability_of_improvement,
)
from srbench.statistics.ranking import ranking
from srbench.statistics.score_matrix import Method, ScoreMatrix
from srbench.store import Run

pytestmark = pytest.mark.slow
REPETITIONS = 400


def even(values: np.ndarray, strata: int = 1) -> GroupMeans:
    count = len(values)
    return GroupMeans(values, np.full(count, 1 / count), np.arange(count) % strata, count)


def methods_of(count: int) -> tuple[Method, ...]:
    runs = [Run(f"m{column}", "v", "", -1) for column in range(count)]
    return tuple(Method(run, (column,), (run,)) for column, run in enumerate(runs))


def matrix_of(values: np.ndarray) -> ScoreMatrix:
    names = tuple(f"i{index:03}" for index in range(len(values)))
    return ScoreMatrix(names, names, ("c",) * len(values), values, methods_of(values.shape[1]))


def test_the_tile_bootstrap_covers_less_than_half_and_the_cluster_bootstrap_what_it_says() -> None:
    """25 images of 12 tiles, SD 0.3 dB between and 0.1 dB within images: 44 % against 91 to 95 %."""
    generator = np.random.default_rng(1)
    images, tiles, trials = 25, 12, 1_500
    by_image = [f"g{image}" for image in range(images) for _ in range(tiles)]
    by_tile = [f"t{tile}" for tile in range(images * tiles)]
    covered = np.zeros(2)
    for _ in range(trials):
        between = generator.normal(0, 0.3, (images, 1))
        values = (between + generator.normal(0, 0.1, (images, tiles))).ravel()
        for kind, units in enumerate((by_image, by_tile)):
            found = interval(cluster(values, units, ["a"] * len(units)))
            covered[kind] += found.low <= 0.0 <= found.high
    by_cluster, by_single_tile = covered / trials
    assert 0.91 <= by_cluster <= 0.96
    assert 0.40 <= by_single_tile <= 0.49


def skewed(generator: np.random.Generator, size: int) -> np.ndarray:
    """Log-normal with a mean of zero; its skewness is 6.2."""
    return np.asarray(generator.lognormal(0, 1, size) - np.exp(0.5))


NOISES = {
    "gaussian": lambda generator, size: generator.normal(0, 1, size),
    "t3": lambda generator, size: generator.standard_t(3, size),
    "lognormal": skewed,
}


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("sizes", [(8, 8, 8), (5, 5, 4, 2, 6), (2,) * 10, (60,)], ids=str)
def test_intervals_cover(noise: str, sizes: tuple[int, ...]) -> None:
    """Categories at different levels, among them the sizes of the test split of sem_open."""
    generator = np.random.default_rng(2)
    strata = np.repeat(np.arange(len(sizes)), sizes)
    weights = 1 / (len(sizes) * np.array(sizes)[strata])
    truth, hits = 2.5 * (len(sizes) - 1), 0
    for _ in range(REPETITIONS):
        values = 5.0 * strata + NOISES[noise](generator, len(strata))
        low, high, _ = interval(GroupMeans(values, weights, strata, len(strata)))
        hits += low <= truth <= high
    assert hits / REPETITIONS >= 0.92


@pytest.mark.parametrize("level", [0.0, 1.0, 3.0, 5.0])
@pytest.mark.parametrize("noise", [1.0, 3.0])
def test_the_only_group_of_a_category_is_covered_though_noisy_and_at_another_level(
    level: float, noise: float
) -> None:
    """Drawn together with the smallest other category, it was covered in 68 to 98 of 100 cases."""
    generator = np.random.default_rng(9)
    names = [f"g{index:02}" for index in range(25)]
    kinds = [f"c{index // 8}" for index in range(25)]
    hits = 0
    for _ in range(REPETITIONS):
        values = generator.normal(0, 1, 25)
        values[24] = level + noise * values[24]
        low, high, _ = interval(cluster(values, names, kinds))
        hits += low <= level / 4 <= high
    assert hits / REPETITIONS >= 0.92


@pytest.mark.parametrize("groups", [12, 24, 60])
def test_skewed_differences_with_a_mean_of_zero_are_rarely_called_certain(groups: int) -> None:
    """Wilcoxon's test, which is one of symmetry, calls 14 of 100 exponential ones so at 24 groups."""
    generator = np.random.default_rng(10)
    trials, false = 4_000, np.zeros(2)
    for _ in range(trials):
        for kind, values in enumerate(
            (generator.exponential(1, groups) - 1, generator.lognormal(0, 0.5, groups) - np.exp(0.125))
        ):
            false[kind] += mean_p(even(values)) < 0.05
    assert np.all(false / trials <= 0.06)


def test_seeds_are_covered_by_the_joint_interval_only() -> None:
    """A method's true mean is over trainings too: where 5 seeds scatter, images alone cover too little."""
    generator = np.random.default_rng(4)
    trials, seeds, groups = 1_000, 5, 25
    hits = np.zeros(2)
    for _ in range(trials):
        members = generator.normal(0, 0.2, (seeds, 1)) + generator.normal(0, 0.3, groups)[None]
        plain = even(members.mean(0))
        sides = (Seeds(1, members),)
        joint = GroupMeans(plain.values, plain.weights, plain.strata, plain.images, sides)
        for kind, clusters in enumerate((joint, plain)):
            found = interval(clusters)
            hits[kind] += found.low <= 0.0 <= found.high
    assert hits[0] / trials > 0.93
    assert hits[1] / trials < 0.82


@pytest.mark.parametrize(("models", "groups"), [(2, 25), (4, 25), (4, 40), (8, 12)])
def test_equal_models_have_a_winner_in_at_most_five_of_a_hundred_tables(models: int, groups: int) -> None:
    """No margin, the strictest case: every winner is a false one."""
    generator = np.random.default_rng(5)
    rule = ComparisonSettings("higher", 0.0, samples=500)
    trials, false = 600, 0
    for _ in range(trials):
        values = generator.normal(0, 2, (groups, 1)) + generator.normal(0, 0.3, (groups, models))
        matrix = matrix_of(values)
        order = np.argsort(-values.mean(axis=0))
        leader, *rivals = [matrix.methods[index] for index in order]
        false += beats_all([compare_pair(matrix, leader, rival, rule) for rival in rivals])
    allowed = 0.05 + 2 * np.sqrt(0.05 * 0.95 / trials)
    assert false / trials <= allowed


def test_differences_at_the_margin_are_rarely_called_better_or_equivalent() -> None:
    """At the edge of the margin both words are wrong half-truths; each is allowed in 5 of 100 cases."""
    generator = np.random.default_rng(6)
    rule = ComparisonSettings("higher", 0.1, samples=500)
    trials, words = 600, []
    for _ in range(trials):
        values = generator.normal(0, 2, (25, 1)) + generator.normal(0, 0.05, (25, 2))
        values[:, 0] += 0.1
        matrix = matrix_of(values)
        words.append(compare_pair(matrix, *matrix.methods, rule).verdict)
    allowed = 0.05 + 2 * np.sqrt(0.05 * 0.95 / trials)
    assert words.count("better") / trials <= allowed
    assert words.count("equivalent") / trials <= allowed
    assert words.count("worse") == 0


def test_the_median_and_the_probability_cover() -> None:
    """Wilson's coverage moves between 90 and 98 % with the true share; over all shares it is what it says."""
    generator = np.random.default_rng(7)
    trials = 2_000
    hits = np.zeros(2)
    for _ in range(trials):
        median_truth = generator.uniform(-2, 2)
        values = generator.normal(median_truth, 1, 25)
        share_truth = float(norm.cdf(median_truth))
        median, share = hodges_lehmann(values), probability_of_improvement(even(values))
        hits += [median.low <= median_truth <= median.high, share.low <= share_truth <= share.high]
    assert np.all(hits / trials > 0.935)


def test_rank_intervals_cover_the_true_rank() -> None:
    generator = np.random.default_rng(8)
    truth = np.array([0.3, 0.2, 0.1, 0.0])
    trials, hits = 300, 0
    for _ in range(trials):
        values = generator.normal(0, 2, (25, 1)) + generator.normal(0, 0.3, (25, 4)) + truth
        matrix = matrix_of(values)
        ranked = ranking(matrix, matrix.methods, ComparisonSettings("higher", 0.1, samples=500))
        hits += sum(r.low <= 1 + r.method.columns[0] <= r.high for r in ranked)
    assert hits / trials / 4 > 0.93
