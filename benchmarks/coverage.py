"""What the intervals and tests of a mean cover where the truth is known; prints the tables of the docs.

    OMP_NUM_THREADS=1 python benchmarks/coverage.py [REPETITIONS]

First coverage and median width of nominal 95 % intervals, then how often a difference whose mean is zero is
called significant at 5 %: by Wilcoxon's signed-rank test, and by the test that the interval inverts.
"""

from __future__ import annotations

import sys

import numpy as np
from scipy.stats import wilcoxon

from srbench.statistics.bootstrap import cluster
from srbench.statistics.interval import interval, mean_p

NOISES = {
    "gaussian": lambda generator, size: generator.normal(0, 1, size),
    "t3": lambda generator, size: generator.standard_t(3, size),
    "lognormal": lambda generator, size: generator.lognormal(0, 1, size) - np.exp(0.5),
    "exponential": lambda generator, size: generator.exponential(1, size) - 1.0,
    "lognormal 0.5": lambda generator, size: generator.lognormal(0, 0.5, size) - np.exp(0.125),
}
LAYOUTS = ((8, 8, 8), (5, 5, 4, 2, 6), (2,) * 10, (12,), (60,))


def covered(sizes, noise, level, scale, repetitions):
    """Share of the intervals that hold the truth, and their median width."""
    generator = np.random.default_rng(0)
    strata = np.repeat(np.arange(len(sizes)), sizes)
    names, kinds = [f"g{index:03}" for index in range(len(strata))], [f"c{kind:02}" for kind in strata]
    offsets, scales = np.array(level)[strata], np.array(scale)[strata]
    hits, widths = 0, []
    for _ in range(repetitions):
        values = offsets + scales * NOISES[noise](generator, len(strata))
        low, high, _ = interval(cluster(values, names, kinds))
        hits += low <= np.mean(level) <= high
        widths.append(high - low)
    return hits / repetitions, float(np.median(widths))


def main() -> None:
    """Print both tables."""
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 4_000
    for sizes in LAYOUTS:
        level, scale = [5.0 * index for index in range(len(sizes))], [1.0] * len(sizes)
        for noise in ("gaussian", "t3", "lognormal"):
            share, width = covered(sizes, noise, level, scale, repetitions)
            print(f"{sizes} {noise}: {100 * share:.1f} %, width {width:.2f}", flush=True)
    for noise, level in ((1.0, 0.0), (1.0, 3.0), (3.0, 1.0), (3.0, 3.0), (3.0, 5.0)):
        place, scale = [0.0, 0.0, 0.0, level], [1.0, 1.0, 1.0, noise]
        share, width = covered((8, 8, 8, 1), "gaussian", place, scale, repetitions)
        print(
            f"single group, noise {noise:g}, level {level:g}: {100 * share:.1f} %, width {width:.2f}",
            flush=True,
        )
    for noise in ("exponential", "lognormal 0.5", "lognormal"):
        for groups in (12, 24, 60):
            generator = np.random.default_rng(1)
            names, kinds = [f"g{index:02}" for index in range(groups)], ["c"] * groups
            drawn = [NOISES[noise](generator, groups) for _ in range(repetitions)]
            ranks = np.mean([wilcoxon(values).pvalue < 0.05 for values in drawn])
            means = np.mean([mean_p(cluster(values, names, kinds)) < 0.05 for values in drawn])
            print(
                f"{noise}, {groups} groups: Wilcoxon {100 * ranks:.1f} %, here {100 * means:.1f} %",
                flush=True,
            )


if __name__ == "__main__":
    main()
