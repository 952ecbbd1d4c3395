"""Calls of the Linux kernel for which Python has no function."""

from __future__ import annotations

import ctypes
import os
from typing import Any

PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38


class Unavailable(Exception):
    """This kernel, or what it runs in, does not offer a means of isolation; the message says which."""


def system_call(what: str, number: int, *arguments: Any) -> int:
    """Its result.

    Raises:
        Unavailable: it failed; ``what`` names the means it belongs to.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    # Every argument as wide as a register: the variable part of a C call is not widened by itself.
    wide = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return _checked(what, int(libc.syscall(ctypes.c_long(number), *wide)))


def prctl(option: int, *arguments: Any) -> int:
    """``prctl(2)`` with the missing arguments 0.

    Raises:
        Unavailable: it failed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    wide = [ctypes.c_ulong(one) if isinstance(one, int) else one for one in arguments]
    wide += [ctypes.c_ulong(0)] * (4 - len(wide))
    return _checked("prctl", int(libc.prctl(option, *wide)))


def _checked(what: str, result: int) -> int:
    if result < 0:
        raise Unavailable(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result
