"""The fingerprint of a run's score rows: rows that were changed, added or taken away later do not have it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from srbench.store import Score

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("metric", "image", "group", "category", "value", "reason")
"""What a row says beyond the key of its run, in the order of ``Score``'s text."""


def sha256_of_scores(scores: Iterable[Score]) -> str:
    """sha256 (hex) of the rows in any order; every bit of a value counts."""
    return _digest((s.metric, s.image, s.group, s.category, s.value, s.reason) for s in scores)


def sha256_of_frame(rows: pd.DataFrame) -> str:
    """The same of stored rows, columns ``COLUMNS``."""
    return _digest(rows[list(COLUMNS)].itertuples(index=False, name=None))


def _digest(rows: Iterable[tuple[object, ...]]) -> str:
    lines = sorted(
        "\x1f".join([*map(str, before), float(str(value)).hex(), str(reason)])
        for *before, value, reason in rows
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
