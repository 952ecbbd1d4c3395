"""The worker confines itself: the kernel's means, the interpreter's hook, then it tries hidden files."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from srbench.errors import SrbenchError
from srbench.evaluation.isolation import landlock, privileges, sockets, strength, system, witnesses
from srbench.evaluation.isolation.confinement import Confinement, confinement_of
from srbench.evaluation.isolation.strength import Strength
from srbench.evaluation.isolation.system_calls import Unavailable
from srbench.evaluation.isolation.territory import grants, split_folders, without_hidden
from srbench.evaluation.isolation.watch import Watch

SWITCH = "SRBENCH_ISOLATION"
"""Environment variable: ``on``, ``interpreter`` (leave the kernel's means away) or ``off``."""

NOTE = "confinement.json"
"""Beside the job file; deleted as soon as it is read, so that a model is not told where HR lies."""


@dataclass(frozen=True)
class Confined:
    """What was applied to this process; ``watch`` is None where nothing is hidden."""

    strength: Strength
    watch: Watch | None = None

    def attempts(self) -> list[str]:
        """Hidden places that were asked for until now."""
        return self.watch.attempts if self.watch else []


def switch() -> str:
    """``on``, ``interpreter`` or ``off``, as the environment has it.

    Raises:
        SrbenchError: it has something else.
    """
    chosen = os.environ.get(SWITCH) or "on"
    if chosen not in ("on", "interpreter", "off"):
        raise SrbenchError(f"{SWITCH} must be on, interpreter or off, found {chosen!r}; unset it.")
    return chosen


def note(confinement: Confinement, tried: Sequence[Path]) -> str:
    """What the parent writes for :func:`confine_by`."""
    return json.dumps({"confinement": confinement.stored(), "witnesses": [str(file) for file in tried]})


def confine_by(file: Path) -> Confined:
    """Confine this process as the parent's note says; not at all where there is none, or by ``off``."""
    if not file.exists():
        return Confined(strength.none("no confinement was asked for"))
    content = json.loads(file.read_text(encoding="utf-8"))
    file.unlink()
    if switch() == "off":
        return Confined(strength.none(f"isolation was turned off by {SWITCH}=off"))
    tried = [Path(witness) for witness in content["witnesses"]]
    return confine(confinement_of(content["confinement"]), tried)


def confine(confinement: Confinement, tried: Sequence[Path]) -> Confined:
    """Confine this process and its later children for good, and try hidden files.

    Must come before any code of the model, and before a second thread.

    Args:
        confinement: what may be read and what not.
        tried: existing files that must be out of reach afterwards.
    """
    installed = system.software()
    readable = open_places(confinement, installed)
    mechanism, reason = "", f"left out by {SWITCH}=interpreter"
    if switch() == "on":
        try:
            mechanism = _by_kernel(confinement, installed, readable)
        except (Unavailable, OSError) as error:
            reason = str(error)
    reached = witnesses.readable_by(witnesses.native_opens, tried)
    by_kernel = bool(mechanism) and reached is None
    watch = Watch(readable, confinement.hidden, confinement.closed, alone=not by_kernel)
    watch.install()
    if by_kernel:
        return Confined(_kernel(mechanism, len(tried)), watch)
    if mechanism:
        reason = f"{mechanism} was applied and a hidden file could be read all the same"
    return Confined(_interpreter(reason, tried, watch), watch)


def open_places(confinement: Confinement, installed: system.Software) -> tuple[Path, ...]:
    """All that may be read, of the job and of the system."""
    loose = without_hidden(installed.loose, confinement.hidden)
    return (*confinement.readable, *confinement.writable, *installed.firm, *loose, *installed.devices)


def _by_kernel(confinement: Confinement, installed: system.Software, readable: tuple[Path, ...]) -> str:
    """Apply what this system has; what it is called.

    Raises:
        Unavailable: it has nothing.
    """
    landlock.version()
    privileges.drop()
    hidden = (*confinement.hidden, *confinement.closed)
    # Rights add up down a path: where a folder of packages is split, its names can be listed or not at all.
    listable = [one for one in split_folders(readable, hidden) if one in system.import_roots()]
    writable = grants((*confinement.writable, *installed.devices), hidden)
    known = landlock.restrict(grants(readable, hidden), listable, writable)
    return f"landlock-{known}{_and_sockets()}"


def _and_sockets() -> str:
    try:
        sockets.forbid()
    except Unavailable:
        return ""
    return ", seccomp"


def _kernel(mechanism: str, tried: int) -> Strength:
    network = "; it had no network" if "seccomp" in mechanism else ""
    files = "1 hidden file" if tried == 1 else f"{tried} hidden files"
    return Strength(
        "kernel",
        mechanism,
        f"The operating system let the model's process read the LR images, its weights and the installed "
        f"software only ({mechanism}){network}. Before the model was loaded, {files} were tried in vain.",
    )


def _interpreter(reason: str, tried: Sequence[Path], watch: Watch) -> Strength:
    reached = witnesses.readable_by(witnesses.python_opens, tried)
    watch.forget()
    if reached is not None:
        return strength.none(f"a hidden file could be opened before the model was loaded ({reason})")
    return Strength(
        "interpreter",
        "audit hook",
        "Python refused the model's code the files with HR, other programs and the network; native code was "
        f"not stopped ({reason}).",
    )
