"""The error for a name nobody knows: the near miss first, then what there is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from srbench.datasets.interface import DatasetError


def near_miss(asked: str, known: Iterable[str]) -> str:
    """``" (did you mean 'x'?)"``, or nothing when no known name is close."""
    close = difflib.get_close_matches(asked, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def unknown_name(what: str, asked: str, known: Iterable[str]) -> DatasetError:
    """The error to raise when ``asked`` is not among ``known``."""
    names = list(known)
    return DatasetError(f"Unknown {what} {asked!r}{near_miss(asked, names)}. Known: {', '.join(names)}.")
