"""How strong the isolation of a worker really is, in words for whoever reads the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["kernel", "interpreter", "none"]


@dataclass(frozen=True)
class Strength:
    """What was applied to a worker, and tried there.

    Attributes:
        level: ``kernel``: the operating system refuses hidden files, whatever asks for them.
            ``interpreter``: Python's own file calls refuse; native code is not stopped. ``none``: nothing.
        mechanism: by what (``landlock-7, seccomp``).
        words: one or two sentences for a report.
    """

    level: Level
    mechanism: str
    words: str

    def stored(self) -> dict[str, str]:
        """For a message or a manifest."""
        return asdict(self)


def strength_of(stored: Mapping[str, Any]) -> Strength:
    """What :meth:`Strength.stored` gave."""
    return Strength(stored["level"], str(stored["mechanism"]), str(stored["words"]))


def none(reason: str) -> Strength:
    """No isolation, and why."""
    return Strength("none", "", f"The model could read every file of this user: {reason}.")
