"""The numbers of single images: a table beside the crops of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.text import Measure
from srbench.statistics.tolerance import TOLERANCES
from srbench.store import RUN, Run


@dataclass(frozen=True)
class ImageTable:
    """The values of one image.

    Attributes:
        columns: the metrics seen first and the measurements, as far as a row has a value.
        values: row to metric id to its value, of several training seeds their mean.
    """

    columns: tuple[Measure, ...]
    values: Mapping[Run, Mapping[str, float]]


def image_tables(board: Leaderboard, images: Collection[str]) -> dict[str, ImageTable]:
    """Image id to its table."""
    chosen = [c for c in board.columns if c in board.first_view or c.name in TOLERANCES]
    scores = board.group.scores
    scores = scores[scores["image"].isin(list(images)) & scores["metric"].isin([c.id for c in chosen])]
    means: dict[str, dict[Run, dict[str, list[float]]]] = {image: {} for image in images}
    rows = scores[scores["value"].notna()][["image", "metric", "value", *RUN]]
    for image, metric, value, *run in rows.itertuples(index=False, name=None):
        row = board.group.row_of.get(Run(*run))
        if row is not None:
            means[image].setdefault(row, {}).setdefault(metric, []).append(value)
    return {
        image: ImageTable(
            tuple(column for column in chosen if any(column.id in values for values in by_row.values())),
            {
                row: {metric: sum(values) / len(values) for metric, values in by_metric.items()}
                for row, by_metric in by_row.items()
            },
        )
        for image, by_row in means.items()
    }
