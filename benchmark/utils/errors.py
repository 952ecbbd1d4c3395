"""Errors the user can act on. The command line prints their message without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SrbenchError(Exception):
    """Says what was expected, what was found and what to do next."""


class DatasetError(SrbenchError):
    """Something is wrong with a dataset or with what was asked of it."""


class DatasetMissing(DatasetError):
    """The dataset is known but not on disk; the message says what to type."""


class ModelError(SrbenchError):
    """A model was asked for something it does not offer; the message says what it does offer."""


class WrongSize(ModelError):
    """A network gave an image of another size than it must."""


class StorageError(SrbenchError):
    """A file or folder cannot be written, or another process holds it; what was there is unchanged."""


def near_miss(name: str, names: Iterable[str]) -> str:
    """``" (did you mean 'x'?)"``, or nothing when none of the names is close."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def unknown_name(
    what: str, name: str, names: Iterable[str], error: type[SrbenchError] = SrbenchError
) -> SrbenchError:
    """The error to raise for a name that is not among ``names``: the near miss first, then all of them."""
    there = list(names)
    return error(f"Unknown {what} {name!r}{near_miss(name, there)}. Known: {', '.join(there)}.")
