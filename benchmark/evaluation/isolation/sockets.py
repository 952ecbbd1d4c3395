"""No sockets: a filter in the Linux kernel refuses them to the process and its children (seccomp).

A model that asks a server for the answer, or asks a service of the user's session over a local socket to read
a file for it, cheats as well. Landlock forbids TCP alone. Formats: Linux, ``include/uapi/linux/seccomp.h``,
``filter.h`` and ``audit.h``. Pairs of connected sockets, with which Python talks to its own children, remain.
"""

from __future__ import annotations

import ctypes
import errno
import platform
from dataclasses import dataclass

from srbench.evaluation.isolation.system_calls import (
    PR_SET_NO_NEW_PRIVS,
    PR_SET_SECCOMP,
    Unavailable,
    prctl,
)

_FILTER_MODE = 2
_LOAD_WORD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EACCES
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE = 0, 4
_IO_URING_SETUP = 425
"""The same number everywhere; its queue opens sockets without a call that a filter would see."""
_OTHER_ABI = 0x40000000
"""Numbers from here on are x86-64's second set of calls (x32), in which sockets have other numbers."""


@dataclass(frozen=True)
class Architecture:
    """What the kernel calls an architecture, and its numbers of the calls that reach a socket."""

    audit: int
    socket: int
    connect: int


ARCHITECTURES = {
    "x86_64": Architecture(0xC000003E, 41, 42),
    "aarch64": Architecture(0xC00000B7, 198, 203),
}
Instruction = tuple[int, int, int, int]


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("operand", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def program(architecture: Architecture) -> list[Instruction]:
    """The filter as (code, jump if true, jump if false, operand): refuse sockets, allow everything else."""
    refused = (architecture.socket, architecture.connect, _IO_URING_SETUP)
    tests = [
        (_JUMP_IF_AT_LEAST, _OTHER_ABI),
        *((_JUMP_IF_EQUAL, number) for number in refused),
    ]
    # The last two instructions are "allow" and "refuse"; jumps count the instructions that are passed over.
    checks = [(code, len(tests) - place, 0, operand) for place, (code, operand) in enumerate(tests)]
    return [
        (_LOAD_WORD, 0, 0, _OFFSET_ARCHITECTURE),
        (_JUMP_IF_EQUAL, 0, len(tests) + 2, architecture.audit),
        (_LOAD_WORD, 0, 0, _OFFSET_NUMBER),
        *checks,
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]


def forbid() -> None:
    """Refuse sockets to this process and its later children, for good.

    Raises:
        Unavailable: this kernel has no such filters, or the architecture is not known here.
    """
    known = ARCHITECTURES.get(platform.machine())
    if known is None or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise Unavailable(f"the filter of sockets is not written for {platform.machine()}")
    instructions = program(known)
    array = (_Instruction * len(instructions))(*(_Instruction(*one) for one in instructions))
    filled = _Program(len(instructions), array)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_SECCOMP, _FILTER_MODE, ctypes.byref(filled))
