"""Score rows of one metric as a table of images by runs, checked for being comparable.

What differs in protocol, data, degradation, scale or split is refused, and so are runs that place an image in
different groups. A run without a value for some images is shown, but not ranked.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from srbench.errors import SrbenchError
from srbench.evaluation.bootstrap import Clusters, Floats, Seeds, cluster

if TYPE_CHECKING:
    import pandas as pd

Flags = NDArray[np.bool_]
NOISE_CEILING = "noise_ceiling"
"""Model name of the rows of a second acquisition of each field."""
CONTROL = "random_texture"
"""Model name of the rows of images with texture invented on purpose."""
REFERENCES = (NOISE_CEILING, CONTROL)
"""Rows that the harness makes itself: shown for orientation, never ranked."""
RUN = ["model", "variant", "weights", "seed"]
EVIDENCE = 3
"""Different fractional values that two runs must share to count as one output."""
FIXED = ("dataset", "data", "split", "degradation", "scale", "protocol")


class Run(NamedTuple):
    """What identifies a run within its conditions."""

    model: str
    variant: str
    weights: str
    seed: int


@dataclass(frozen=True)
class Entry:
    """What is compared: a run, or a method with all its training seeds.

    Attributes:
        run: how it is named; where it has several, ``weights`` lists the starts of theirs and ``seed`` is -1.
        columns: its columns in the panel.
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

    def is_same_method(self, other: Entry) -> bool:
        """Whether both are the same model and variant, as two seeds are."""
        return self.run[:2] == other.run[:2]


@dataclass(frozen=True)
class Panel:
    """One value an image and run.

    Attributes:
        images: ids, sorted.
        groups: group of each image.
        categories: category of each image.
        values: ``(N, R)``, NaN where missing.
        entries: what is compared, in the order of their names.
    """

    images: tuple[str, ...]
    groups: tuple[str, ...]
    categories: tuple[str, ...]
    values: Floats
    entries: tuple[Entry, ...]

    def scored(self, entry: Entry) -> Flags:
        """``(N,)`` whether all runs of the entry have a value for the image."""
        return np.asarray(np.isfinite(self.values[:, entry.columns]).all(axis=1))

    def clusters(self, entry: Entry, minus: Entry | None = None) -> Clusters:
        """The groups' means of an entry, or its paired differences from another on common images."""
        common = self.scored(entry) if minus is None else self.scored(entry) & self.scored(minus)
        sides = [(entry, 1.0)] if minus is None else [(entry, 1.0), (minus, -1.0)]
        if all(len(side.columns) == 1 for side, _ in sides):
            single = [sign * self.values[:, side.columns[0]] for side, sign in sides]
            return self._cluster(np.sum(single, axis=0), common)
        parts = [[self._cluster(sign * self.values[:, c], common) for c in s.columns] for s, sign in sides]
        whole = parts[0][0]
        members = [np.stack([one.values for one in part]) for part in parts]
        seeds = tuple(Seeds(side.key, own) for (side, _), own in zip(sides, members, strict=True))
        means = np.sum([own.mean(0) for own in members], axis=0)
        return Clusters(means, whole.weights, whole.strata, whole.images, seeds)

    def _cluster(self, values: Floats, mask: Flags) -> Clusters:
        return cluster(np.where(mask, values, np.nan), self.groups, self.categories)

    def expected(self, entries: Sequence[Entry]) -> Flags:
        """``(N,)`` images that a ranked entry must have a value for: those that any of these has one for.

        An image for which the metric is not defined at all is nobody's omission.
        """
        columns = [column for entry in entries for column in entry.columns]
        return np.asarray(np.isfinite(self.values[:, columns]).any(axis=1))

    @cached_property
    def of_category(self) -> dict[str, Panel]:
        """The panel of each category alone."""
        kinds = np.array(self.categories)
        return {str(kind): self.part(np.flatnonzero(kinds == kind)) for kind in sorted(set(self.categories))}

    def part(self, rows: NDArray[np.intp]) -> Panel:
        """The panel of some images (their numbers)."""
        images, groups, kinds = (
            tuple(names[row] for row in rows) for names in (self.images, self.groups, self.categories)
        )
        return Panel(images, groups, kinds, self.values[rows], self.entries)


def rows_of(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The image rows of one metric.

    Raises:
        SrbenchError: they mix conditions; the message says which runs stand where.
    """
    rows: pd.DataFrame = scores[(scores["metric"] == metric) & (scores["image"] != "")]
    for column in FIXED:
        found = sorted(rows[column].unique(), key=str) if column in rows else []
        if len(found) > 1:
            where = "; ".join(f"{value!s}: {_models(rows[rows[column] == value])}" for value in found)
            raise SrbenchError(
                f"Scores of {metric!r} mix {len(found)} values of {column!r} ({where}): a mean over them "
                f"would compare nothing. Select one: scores[scores[{column!r}] == {found[0]!r}]."
            )
    return rows


def _models(rows: pd.DataFrame) -> str:
    names = sorted(map(str, rows["model"].unique()))
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def panel_of(rows: pd.DataFrame, trainings: Mapping[Run, Hashable] | None = None) -> Panel:
    """Arrange rows of one metric.

    Args:
        rows: as ``rows_of`` gives them, at least one.
        trainings: run to the training it repeats; runs with an equal one are seeds of one entry. A run that
            is not named, or all without it, are entries of their own.

    Raises:
        SrbenchError: an image is in two groups or categories.
    """
    places = rows[["image", "group", "category"]].drop_duplicates().sort_values("image", kind="stable")
    twice = places["image"][places["image"].duplicated()]
    if len(twice):
        raise SrbenchError(
            f"Image {twice.iloc[0]!r} is scored under two groups or categories: the runs saw different "
            "versions of the dataset. Evaluate the models again on the present one."
        )
    ordered = rows.sort_values([*RUN, "image", "value"], kind="stable")
    values = ordered.groupby(["image", *RUN])["value"].mean().unstack(RUN).reindex(places["image"])
    values = values.sort_index(axis=1)
    runs = [Run(str(m), str(v), str(w), int(s)) for m, v, w, s in values.columns]
    images, groups, kinds = (tuple(map(str, places[name])) for name in ("image", "group", "category"))
    return Panel(
        images,
        groups,
        kinds,
        values.to_numpy(dtype=np.float64),
        _entries(runs, trainings or {}),
    )


def _entries(runs: Sequence[Run], trainings: Mapping[Run, Hashable]) -> tuple[Entry, ...]:
    families: dict[Hashable, list[int]] = {}
    for column, run in enumerate(runs):
        families.setdefault((run[:2], trainings[run]) if run in trainings else run, []).append(column)
    return tuple(_entry(runs, columns) for columns in families.values())


def _entry(runs: Sequence[Run], columns: Sequence[int]) -> Entry:
    own = tuple(runs[column] for column in columns)
    name = own[0]
    if len(own) > 1:
        name = name._replace(weights="+".join(run.weights[:8] for run in own), seed=-1)
    return Entry(name, tuple(columns), own)


def candidates(panel: Panel, unranked: Collection[tuple[str, str]]) -> list[Entry]:
    """The entries that may be ranked at all: no reference rows, no ``unranked`` pairs."""
    barred = {tuple(pair) for pair in unranked}
    return [e for e in panel.entries if e.run.model not in REFERENCES and e.run[:2] not in barred]


def twins(scores: pd.DataFrame) -> dict[Run, Run]:
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
    found: dict[Run, Run] = {}
    for key, own in table[table["evidence"] >= EVIDENCE].iterrows():
        run = Run(*key)
        first = seen.setdefault((int(own["signature"]), int(own["count"])), run)
        if first != run:
            found[run] = first
    return found


def look_alike(panel: Panel) -> bool:
    """Whether two runs agree on every image in this metric, which is cheap to see."""
    return bool(len(np.unique(panel.values, axis=1).T) < panel.values.shape[1])
