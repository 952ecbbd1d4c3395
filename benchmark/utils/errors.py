"""What went wrong, in the user's words. The command line prints these without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DatasetError(ValueError):
    """A dataset is damaged or cannot do what was requested; the message says what to do next."""


class DatasetMissing(DatasetError):
    """The dataset exists but is not on disk; the message says what to type."""


class ModelError(ValueError):
    """A model was asked for something it does not offer; the message says what it does offer."""


class WrongSize(ModelError):
    """A network gave an image of another size than it must."""


class SrbenchError(Exception):
    """An error the user can act on: says what was expected, what was found and what to do next."""


def unknown(what: str, asked: str, known: Iterable[str]) -> SrbenchError:
    """The error for a name nobody knows: near miss first, then the list."""
    names = sorted(known)
    close = difflib.get_close_matches(asked, names, n=1, cutoff=0.5)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return SrbenchError(f"Unknown {what} {asked!r}{hint}. Known: {', '.join(names)}.")


# The error for a name nobody knows: the near miss first, then what there is.


def near_miss(asked: str, known: Iterable[str]) -> str:
    """``" (did you mean 'x'?)"``, or nothing when no known name is close."""
    close = difflib.get_close_matches(asked, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def unknown_name(what: str, asked: str, known: Iterable[str]) -> DatasetError:
    """The error to raise when ``asked`` is not among ``known``."""
    names = list(known)
    return DatasetError(f"Unknown {what} {asked!r}{near_miss(asked, names)}. Known: {', '.join(names)}.")
