"""What went wrong, in the user's words. The command line prints these without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SrbenchError(Exception):
    """An error the user can act on: says what was expected, what was found and what to do next."""


def unknown(what: str, asked: str, known: Iterable[str]) -> SrbenchError:
    """The error for a name nobody knows: near miss first, then the list."""
    names = sorted(known)
    close = difflib.get_close_matches(asked, names, n=1, cutoff=0.5)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return SrbenchError(f"Unknown {what} {asked!r}{hint}. Known: {', '.join(names)}.")
