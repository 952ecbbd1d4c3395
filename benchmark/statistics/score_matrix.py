"""Score rows of one metric as a matrix of images by runs, checked for being comparable.

What differs in protocol, data, degradation, scale or split is refused, and so are runs that put an image into
different groups. A run without a value for some images is shown, but not ranked.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from srbench.statistics.bootstrap import Floats, GroupMeans, Seeds, cluster
from srbench.store import RUN, Conditions, Run
from srbench.utils.errors import SrbenchError

if TYPE_CHECKING:
    import pandas as pd

Flags = NDArray[np.bool_]
EVIDENCE = 3
"""Different fractional values that two runs must share to count as one output."""


@dataclass(frozen=True)
class Method:
    """What is compared: a run, or a training with all its seeds.

    Attributes:
        run: how it is named; where it has several, ``weights`` lists the starts of theirs and ``seed`` is -1.
        columns: its columns in the matrix.
        runs: what stands in these columns.
    """

    run: Run
    columns: tuple[int, ...]
    runs: tuple[Run, ...]

    @property
    def key(self) -> int:
        """Names its stream of seed draws; the same in every table and process."""
        return zlib.crc32(repr(self.run).encode())

    @property
    def label(self) -> str:
        """Short name: ``model``, with the variant, seed or weights of a trained one."""
        detail = self.run.variant + (f" seed {self.run.seed}" if self.run.seed >= 0 else "")
        return f"{self.run.model}:{detail}" if detail else self.run.model

    def is_same_variant(self, other: Method) -> bool:
        """Whether both are the same model and variant, as two seeds are."""
        return self.run[:2] == other.run[:2]


@dataclass(frozen=True)
class ScoreMatrix:
    """One value an image and run.

    Attributes:
        images: ids, sorted.
        groups: group of each image.
        categories: category of each image.
        values: ``(N, R)``, NaN where missing.
        methods: what is compared, in the order of their names.
    """

    images: tuple[str, ...]
    groups: tuple[str, ...]
    categories: tuple[str, ...]
    values: Floats
    methods: tuple[Method, ...]

    def scored(self, method: Method) -> Flags:
        """``(N,)`` whether all runs of the method have a value for the image."""
        return np.asarray(np.isfinite(self.values[:, method.columns]).all(axis=1))

    def scored_by_any(self, methods: Sequence[Method]) -> Flags:
        """``(N,)`` images that a ranked method must have a value for: those that any of these has one for.

        An image for which the metric is not defined at all counts against none.
        """
        columns = [column for method in methods for column in method.columns]
        return np.asarray(np.isfinite(self.values[:, columns]).any(axis=1))

    def clusters(self, method: Method, minus: Method | None = None) -> GroupMeans:
        """The groups' means of a method, or its paired differences from another on common images."""
        common = self.scored(method) if minus is None else self.scored(method) & self.scored(minus)
        sides = [(method, 1.0)] if minus is None else [(method, 1.0), (minus, -1.0)]
        if all(len(side.columns) == 1 for side, _ in sides):
            single = [sign * self.values[:, side.columns[0]] for side, sign in sides]
            return self._cluster(np.sum(single, axis=0), common)
        parts = [[self._cluster(sign * self.values[:, c], common) for c in s.columns] for s, sign in sides]
        whole = parts[0][0]
        members = [np.stack([clusters.values for clusters in part]) for part in parts]
        seeds = tuple(Seeds(side.key, values) for (side, _), values in zip(sides, members, strict=True))
        means = np.sum([values.mean(0) for values in members], axis=0)
        return GroupMeans(means, whole.weights, whole.strata, whole.images, seeds)

    def _cluster(self, values: Floats, mask: Flags) -> GroupMeans:
        return cluster(np.where(mask, values, np.nan), self.groups, self.categories)

    @cached_property
    def of_category(self) -> dict[str, ScoreMatrix]:
        """The matrix of each category alone."""
        kinds = np.array(self.categories)
        return {str(kind): self.part(np.flatnonzero(kinds == kind)) for kind in sorted(set(self.categories))}

    def part(self, rows: NDArray[np.intp]) -> ScoreMatrix:
        """The matrix of some images (their numbers)."""
        images, groups, kinds = (
            tuple(names[row] for row in rows) for names in (self.images, self.groups, self.categories)
        )
        return ScoreMatrix(images, groups, kinds, self.values[rows], self.methods)

    def has_duplicate_columns(self) -> bool:
        """Whether two runs agree on every image in this metric, which is cheap to see."""
        return bool(len(np.unique(self.values, axis=1).T) < self.values.shape[1])


def rows_of(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The image rows of one metric.

    Raises:
        SrbenchError: they mix conditions; the message says which runs have which.
    """
    rows: pd.DataFrame = scores[(scores["metric"] == metric) & (scores["image"] != "")]
    for column in Conditions._fields:
        values = sorted(rows[column].unique(), key=str) if column in rows else []
        if len(values) > 1:
            models = [sorted(map(str, rows["model"][rows[column] == value].unique())) for value in values]
            where = "; ".join(
                f"{value}: {', '.join(names[:4])}" + (f" and {len(names) - 4} more" if names[4:] else "")
                for value, names in zip(values, models, strict=True)
            )
            raise SrbenchError(
                f"Scores of {metric!r} mix {len(values)} values of {column!r} ({where}): a mean over them "
                f"would compare nothing. Select one: scores[scores[{column!r}] == {values[0]!r}]."
            )
    return rows


def score_matrix(rows: pd.DataFrame, trainings: Mapping[Run, Hashable] | None = None) -> ScoreMatrix:
    """Arrange rows of one metric.

    Args:
        rows: as ``rows_of`` gives them, at least one.
        trainings: run to the training it repeats; runs with an equal one are seeds of one method. A run that
            is not named, or all without it, are methods of their own.

    Raises:
        SrbenchError: an image is in two groups or categories.
    """
    images = rows[["image", "group", "category"]].drop_duplicates().sort_values("image", kind="stable")
    twice = images["image"][images["image"].duplicated()]
    if len(twice):
        raise SrbenchError(
            f"Image {twice.iloc[0]!r} is scored under two groups or categories: the runs saw different "
            "versions of the dataset. Evaluate the models again on the present one."
        )
    ordered = rows.sort_values([*RUN, "image", "value"], kind="stable")
    values = ordered.groupby(["image", *RUN])["value"].mean().unstack(RUN).reindex(images["image"])
    values = values.sort_index(axis=1)
    runs = [Run(str(m), str(v), str(w), int(s)) for m, v, w, s in values.columns]
    ids, groups, kinds = (tuple(map(str, images[name])) for name in ("image", "group", "category"))
    return ScoreMatrix(ids, groups, kinds, values.to_numpy(dtype=np.float64), _methods(runs, trainings or {}))


def _methods(runs: Sequence[Run], trainings: Mapping[Run, Hashable]) -> tuple[Method, ...]:
    by_training: dict[Hashable, list[int]] = {}
    for column, run in enumerate(runs):
        by_training.setdefault((run[:2], trainings[run]) if run in trainings else run, []).append(column)
    methods = []
    for columns in by_training.values():
        seeds = tuple(runs[column] for column in columns)
        name = seeds[0]
        if len(seeds) > 1:
            name = name._replace(weights="+".join(run.weights[:8] for run in seeds), seed=-1)
        methods.append(Method(name, tuple(columns), seeds))
    return tuple(methods)


def duplicate_runs(scores: pd.DataFrame) -> dict[Run, Run]:
    """Runs that score exactly like an earlier run on every image in every metric, and that run.

    Most likely one output under two names. Counts and zeros agree by chance, so at least ``EVIDENCE``
    different fractional values must agree.
    """
    import pandas as pd

    rows = scores[(scores["image"] != "") & scores["value"].notna()]
    rows = rows.assign(hashed=pd.util.hash_pandas_object(rows[["image", "metric", "value"]], index=False))
    fractional = rows["value"].where(~np.isclose(rows["value"], rows["value"].round()))
    by_run = rows.assign(fractional=fractional).groupby(RUN, sort=True)
    table = by_run.agg(
        signature=("hashed", "sum"), count=("hashed", "size"), evidence=("fractional", "nunique")
    )
    seen: dict[tuple[int, int], Run] = {}
    duplicates: dict[Run, Run] = {}
    for key, values in table[table["evidence"] >= EVIDENCE].iterrows():
        run = Run(*key)
        first = seen.setdefault((int(values["signature"]), int(values["count"])), run)
        if first != run:
            duplicates[run] = first
    return duplicates
