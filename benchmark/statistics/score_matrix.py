"""Score rows of one metric as a matrix of images by runs, checked for being comparable.

What differs in protocol, data, degradation, scale or split is refused, and so are runs that put an image into
different groups. A run without a value for some images is shown, but not ranked.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srbench.statistics.bootstrap import Floats, GroupMeans, Groups, Seeds, Shares
from srbench.store import RUN, Conditions, Run
from srbench.utils.errors import SrbenchError

if TYPE_CHECKING:
    import pandas as pd

Flags = NDArray[np.bool_]
EVIDENCE = 3
"""Different fractional values that two runs must share to count as one output."""
_MASKS = 8


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
        shares = self._shares_of(common)
        if all(len(side.columns) == 1 for side, _ in sides):
            single = [sign * self.values[:, side.columns[0]] for side, sign in sides]
            return shares.cluster(np.sum(single, axis=0))
        members = [
            np.stack([shares.means(sign * self.values[:, c]) for c in side.columns]) for side, sign in sides
        ]
        seeds = tuple(Seeds(side.key, values) for (side, _), values in zip(sides, members, strict=True))
        means = np.sum([values.mean(0) for values in members], axis=0)
        return replace(shares.cluster(self.values[:, 0]), values=means, sides=seeds)

    def _shares_of(self, mask: Flags) -> Shares:
        """Most methods have values for the same images, so the last masks are remembered."""
        key = mask.tobytes()
        if key not in self._shares:
            if len(self._shares) >= _MASKS:
                self._shares.clear()
            self._shares[key] = self._groups.shares(mask)
        return self._shares[key]

    @cached_property
    def _groups(self) -> Groups:
        return Groups(self.groups, self.categories)

    @cached_property
    def _shares(self) -> dict[bytes, Shares]:
        return {}

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
        return len({column.tobytes() for column in self.values.T}) < len(self.values.T)


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
    numbers, ids = _numbered(rows["image"])
    first = np.unique(numbers, return_index=True)[1]
    of_image: dict[str, tuple[str, ...]] = {}
    for column in ("group", "category"):
        codes, names = _numbered(rows[column])
        twice = np.flatnonzero(codes != codes[first][numbers])
        if len(twice):
            raise SrbenchError(
                f"Image {ids[numbers[twice].min()]!r} is scored under two groups or categories: the runs saw "
                "different versions of the dataset. Evaluate the models again on the present one."
            )
        of_image[column] = tuple(map(names.__getitem__, codes[first].tolist()))
    runs, columns = numbered_runs(rows)
    flat = numbers * len(runs) + columns
    values = rows["value"].to_numpy(dtype=np.float64)
    present = ~np.isnan(values)
    flat, values = flat[present], values[present]
    size = len(ids) * len(runs)
    counts = np.bincount(flat, minlength=size)
    if counts.max(initial=0) > 1:
        # Tiles of an image are added in the order of their values, whatever that of the rows.
        order = np.lexsort((values, flat))
        flat, values = flat[order], values[order]
    sums = np.bincount(flat, weights=values, minlength=size)
    with np.errstate(invalid="ignore"):
        means = (sums / counts).reshape(len(ids), len(runs))
    methods = _methods(runs, trainings or {})
    return ScoreMatrix(tuple(ids), of_image["group"], of_image["category"], means, methods)


def _numbered(column: pd.Series[Any]) -> tuple[NDArray[np.int64], list[str]]:
    """The number of each entry among the names of the column, and these in their order."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype) and column.cat.categories.is_monotonic_increasing:
        codes = column.cat.codes.to_numpy()
        present = np.bincount(codes, minlength=len(column.cat.categories)) > 0
        return (np.cumsum(present) - 1)[codes], [str(name) for name in column.cat.categories[present]]
    codes, uniques = pd.factorize(column)
    names = [str(name) for name in uniques]
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    return rank[codes], [names[index] for index in order]


def numbered_runs(rows: pd.DataFrame) -> tuple[list[Run], NDArray[np.int64]]:
    """The runs in the order of their identities, and the number of each row's run among them."""
    numbers = np.zeros(len(rows), dtype=np.int64)
    names: list[Sequence[Any]] = []
    for column in RUN:
        if column == "seed":
            seeds, codes = np.unique(rows[column].to_numpy(dtype=np.int64), return_inverse=True)
            names.append(seeds.tolist())
        else:
            codes, texts = _numbered(rows[column])
            names.append(texts)
        numbers = numbers * len(names[-1]) + codes
    distinct, of_row = np.unique(numbers, return_inverse=True)
    indices = np.unravel_index(distinct, [len(column) for column in names])
    parts = [[column[index] for index in each] for column, each in zip(names, indices, strict=True)]
    return [Run(*run) for run in zip(*parts, strict=True)], of_row


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

    valued = (scores["image"] != "") & scores["value"].notna()
    rows = scores.loc[valued, ["image", "metric", "value", *RUN]]
    if rows.empty:
        return {}
    hashed = pd.util.hash_pandas_object(rows[["image", "metric", "value"]], index=False).to_numpy()
    values = rows["value"].to_numpy(dtype=np.float64)
    runs, of_row = numbered_runs(rows)
    signatures: dict[tuple[int, int], list[int]] = {}
    order = np.argsort(of_row, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(of_row))[:-1])
    for number, part in enumerate(parts):
        key = int(hashed[part].sum(dtype=np.uint64)), len(part)
        signatures.setdefault(key, []).append(number)
    duplicates = []
    for first, *others in signatures.values():
        of_first = values[parts[first]] if others else values[:0]
        fractional = of_first[~np.isclose(of_first, of_first.round())]
        if len(np.unique(fractional)) >= EVIDENCE:
            duplicates += [(other, first) for other in others]
    return {runs[other]: runs[first] for other, first in sorted(duplicates)}
