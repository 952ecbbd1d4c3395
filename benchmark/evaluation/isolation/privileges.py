"""Root without its privileges: with them, the memory of the whole machine can be read (/proc/kcore, bpf)."""

from __future__ import annotations

import ctypes

from srbench.evaluation.isolation.system_calls import Unavailable

_VERSION_3 = 0x20080522
_KEPT = (0, 1, 3)
"""chown, dac_override, fowner: the files that root may use in a container often belong to another user."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def drop() -> None:
    """Give up every capability but those on owned files; an ordinary user has none to give up.

    Raises:
        Unavailable: the system refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not all(hasattr(libc, name) for name in ("capget", "capset")):
        raise Unavailable("this C library cannot give up capabilities")
    header, held = _Header(_VERSION_3, 0), (_Data * 2)()
    kept = sum(1 << bit for bit in _KEPT)
    if libc.capget(ctypes.byref(header), held) != 0:
        raise Unavailable("the capabilities of this process cannot be read")
    left = held[0].permitted & kept
    after = (_Data * 2)(_Data(left, left, 0), _Data(0, 0, 0))
    if libc.capset(ctypes.byref(header), after) != 0:
        raise Unavailable("the system refuses to take capabilities away")
