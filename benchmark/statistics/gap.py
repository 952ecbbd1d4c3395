"""What synthetic LR hides: scores on the recorded LR less those on LR made from the same references.

Paired by image, for the same model and weights. What does well on synthetic LR alone has learned the
degradation, not the instrument.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from srbench.datasets.base import RECORDED
from srbench.statistics.interval import Interval, interval
from srbench.statistics.score_matrix import numbered_runs, rows_of, score_matrix
from srbench.store import Conditions, Run

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RealMinusSynthetic:
    """The gap of one model in one metric, on the images that have both scores.

    Attributes:
        real: mean on the recorded LR.
        synthetic: mean on the synthetic LR.
        difference: real minus synthetic, mean of the paired differences.
        interval: its 95 % interval over groups (and training seeds, from three on).
        n_images: images with both.
        n_groups: groups of them.
    """

    real: float
    synthetic: float
    difference: float
    interval: Interval
    n_images: int
    n_groups: int


def recorded_and_synthetic(conditions: Iterable[Conditions]) -> list[tuple[Conditions, Conditions]]:
    """Conditions that differ in nothing but how LR came about: recorded, and made from HR."""
    distinct = sorted(set(conditions))
    by_rest: dict[Conditions, list[Conditions]] = {}
    for each in distinct:
        by_rest.setdefault(each._replace(degradation=""), []).append(each)
    return [
        (real, synthetic)
        for alike in by_rest.values()
        for real in alike
        for synthetic in alike
        if is_recorded(real) and not is_recorded(synthetic)
    ]


def is_recorded(conditions: Conditions) -> bool:
    """Whether LR is the one that the dataset holds."""
    return conditions.degradation.partition("@")[0] == RECORDED


def real_minus_synthetic(
    real: pd.DataFrame, synthetic: pd.DataFrame, metric: str, trainings: Mapping[Run, Hashable]
) -> dict[Hashable, RealMinusSynthetic]:
    """The gap of each training that was scored on both.

    Args:
        real: score rows on the recorded LR.
        synthetic: score rows on the synthetic LR, of the same data.
        metric: id.
        trainings: run to the training it is a seed of; other runs are left out. A seed counts where it was
            scored on both.
    """
    sides = [rows_of(scores, metric) for scores in (real, synthetic)]
    scored = [{run for run in numbered_runs(rows)[0] if run in trainings} for rows in sides if len(rows)]
    if len(scored) < 2 or not (common := scored[0] & scored[1]):
        return {}
    matrices = []
    for rows in sides:
        runs, numbers = numbered_runs(rows)
        chosen = np.array([run in common for run in runs])[numbers]
        matrices.append(score_matrix(rows[chosen], trainings))
    shared = sorted(set(matrices[0].images) & set(matrices[1].images))
    parts = []
    for matrix in matrices:
        at = {image: number for number, image in enumerate(matrix.images)}
        parts.append(matrix.part(np.array([at[image] for image in shared], dtype=np.intp)))
    both = np.isfinite(parts[0].values) & np.isfinite(parts[1].values)
    parts = [replace(part, values=np.where(both, part.values, np.nan)) for part in parts]
    difference = replace(parts[0], values=parts[0].values - parts[1].values)
    gaps = {}
    for method in difference.methods:
        clusters = difference.clusters(method)
        if clusters.images:
            gaps[trainings[method.runs[0]]] = RealMinusSynthetic(
                parts[0].clusters(method).mean,
                parts[1].clusters(method).mean,
                clusters.mean,
                interval(clusters),
                clusters.images,
                len(clusters.values),
            )
    return gaps
