"""macOS: the worker is started under ``sandbox-exec`` with a profile that hides files and the network.

The profile's language is Apple's and undocumented; ``sandbox-exec`` is called deprecated by its manual page
and is nevertheless what browsers and package managers confine their processes with. It is generated and
tested as text here; it was never run by us, who have no macOS. What it achieves is not taken on trust: every
worker tries to read hidden files before the model is loaded and reports what happened.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

PROGRAM = "sandbox-exec"


def available() -> bool:
    """Whether this is macOS with the program."""
    return sys.platform == "darwin" and shutil.which(PROGRAM) is not None


def wrap(command: list[str], profile: str) -> list[str]:
    """The command, confined by ``profile``."""
    return [PROGRAM, "-p", profile, *command]


def make_profile(readable: Iterable[Path], writable: Iterable[Path], hidden: Iterable[Path]) -> str:
    """Everything is allowed but the network and hidden places.

    Of two rules that fit the last one decides, so that places are written shallow ones first, and of equals
    the hidden one last. Names and sizes may be asked for: paths cannot be followed otherwise.
    """
    rules = [
        *((place, "allow", "file-read*") for place in readable),
        *((place, "allow", "file-read* file-write*") for place in writable),
        *((place, "deny", "file-read* file-write*") for place in hidden),
    ]
    ordered = sorted(dict.fromkeys(rules), key=lambda rule: (len(rule[0].parts), rule[1] == "deny"))
    lines = [f"({verdict} {what} (subpath {_quoted(place)}))" for place, verdict, what in ordered]
    return "\n".join(
        [
            "(version 1)",
            "(allow default)",
            "(deny network*)",
            "(deny mach-priv-task-port)",
            *lines,
            "(allow file-read-metadata)",
        ]
    )


def _quoted(place: Path) -> str:
    text = str(place).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
