"""A filter of system calls for what is no file: sockets, shared memory, other processes, mounts, metadata.

Landlock guards files, not what a process asks of others through the kernel. A filter sees the number of a
call and its arguments as numbers: it can tell "my own process" from another, not where a pointer leads.
Numbers and formats: Linux, ``arch/*/include/*/unistd*.h`` and
``include/uapi/linux/{seccomp,filter,audit}.h``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from srbench.sandbox.linux import PR_SET_NO_NEW_PRIVS, Unavailable, prctl

_PR_SET_SECCOMP, _FILTER_MODE = 22, 2
_LOAD_WORD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _JUMP_IF_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE, _OFFSET_ARGUMENTS = 0, 4, 16
_OTHER_ABI = 0x40000000
"""Numbers from here on are x86-64's second set of calls (x32), in which sockets have other numbers."""

ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
REFUSE = _ERRNO | errno.EACCES
ABSENT = _ERRNO | errno.ENOSYS
"""As an older kernel answers, so that the C library falls back to an older call."""
IGNORE = _ERRNO
"""Nothing is done and the caller hears of success: for calls that honest libraries make by habit."""

Instruction = tuple[int, int, int, int]


@dataclass(frozen=True)
class Rule:
    """What becomes of some calls.

    Attributes:
        calls: their names.
        answer: what the kernel returns instead of making the call.
        only: argument and values; the call is made where each of these arguments has one of its values.
        never: argument and values with which the call is not made, whatever ``only`` says; others are.
        bits: argument and bits with any of which the call is not made; other calls are.
    """

    calls: str
    answer: int = REFUSE
    only: tuple[tuple[int, tuple[int, ...]], ...] = ()
    never: tuple[int, tuple[int, ...]] | None = None
    bits: tuple[int, int] | None = None

    def instructions(self) -> list[Instruction]:
        """What follows once the number of the call matched; ends in all cases."""
        program: list[Instruction] = []
        for argument, values in self.only:
            program.append((_LOAD_WORD, 0, 0, _offset(argument)))
            program += _jumps(values, over=1)
            program.append((_RETURN, 0, 0, self.answer))
        if self.bits:
            program.append((_LOAD_WORD, 0, 0, _offset(self.bits[0])))
            program += [(_JUMP_IF_BITS, 0, 1, self.bits[1]), (_RETURN, 0, 0, self.answer)]
        if self.never:
            program.append((_LOAD_WORD, 0, 0, _offset(self.never[0])))
            program += _jumps(self.never[1], over=1)
        if self.only or self.bits or self.never:
            program.append((_RETURN, 0, 0, ALLOW))
        if self.never or not (self.only or self.bits):
            program.append((_RETURN, 0, 0, self.answer))
        return program


def _offset(argument: int) -> int:
    """Of the low word of an argument on the little-endian machines that there are filters for."""
    return _OFFSET_ARGUMENTS + 8 * argument


def _jumps(values: Sequence[int], over: int) -> list[Instruction]:
    """Comparisons that pass ``over`` instructions after the last of them where a value is met."""
    return [
        (_JUMP_IF_EQUAL, len(values) - 1 - index + over, 0, value & 0xFFFFFFFF)
        for index, value in enumerate(values)
    ]


_NEW_NAMESPACES = 0x7E020000
_SAME_PARENT = 0x00008000
"""A child that is the parent's: the harness would have to collect it."""


def rules(pid: int, signals_scoped: bool) -> list[Rule]:
    """What the process ``pid`` and its children are refused.

    Args:
        pid: its number; it leads its process group and keeps it.
        signals_scoped: whether Landlock keeps their signals among themselves; the filter must where it does
            not, and then knows but this one process.
    """
    mine = (0, pid)
    listed = [
        # A model that asks a server, or a service of the session over a local socket, for the answer cheats
        # as well. Pairs of connected sockets remain, but for those that send to any address.
        Rule("socket connect io_uring_setup io_uring_enter io_uring_register"),
        Rule("socketpair", only=((0, (1,)),), bits=(1, 2)),
        # Memory and queues that all processes of a user share.
        Rule(
            "shmget shmat shmctl semget semop semtimedop semctl msgget msgsnd msgrcv msgctl mq_open mq_unlink"
        ),
        # Memory, descriptors, limits, places on processors and priorities of other processes.
        Rule("process_vm_readv process_vm_writev process_madvise process_mrelease ptrace kcmp"),
        Rule("pidfd_open pidfd_getfd pidfd_send_signal userfaultfd perf_event_open bpf"),
        Rule(
            "prlimit64 sched_setscheduler sched_setparam sched_setattr migrate_pages move_pages",
            only=((0, mine),),
        ),
        Rule("setpriority", only=((0, (0,)), (1, mine))),
        Rule("ioprio_set", only=((0, (1,)), (1, mine))),
        # By the number of a thread, which nobody knows beforehand: libraries of threads bind theirs so.
        Rule("sched_setaffinity", IGNORE, only=((0, mine),)),
        # All that a model starts stays in its process group and ends with it; it ends with its parent.
        Rule("setsid setpgid", IGNORE),
        Rule("prctl", IGNORE, never=(0, (1,))),
        Rule("clone", bits=(0, _NEW_NAMESPACES | _SAME_PARENT)),
        Rule("clone3", ABSENT),
        # Landlock lets through: who owns a file, its mode, times and attributes, watching a folder, leases.
        Rule("chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat", IGNORE),
        Rule("utime utimes futimesat utimensat", IGNORE),
        Rule("setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat"),
        Rule("file_setattr inotify_init inotify_init1 inotify_add_watch fanotify_init fanotify_mark"),
        Rule("fcntl", never=(1, (1024, 1026))),
        # Keys, mounts, and the machine itself, for which the capabilities are gone already.
        Rule(
            "add_key request_key keyctl mount umount2 pivot_root chroot open_tree open_tree_attr move_mount"
        ),
        Rule("fsopen fsconfig fsmount fspick mount_setattr unshare setns open_by_handle_at"),
        Rule("kexec_load kexec_file_load init_module finit_module delete_module reboot swapon swapoff acct"),
        Rule(
            "quotactl quotactl_fd settimeofday clock_settime clock_adjtime sethostname setdomainname syslog"
        ),
        Rule("iopl ioperm vhangup"),
    ]
    if not signals_scoped:
        listed += [
            Rule("kill", only=((0, (0, pid, -pid)),)),
            Rule("tgkill rt_sigqueueinfo rt_tgsigqueueinfo", only=((0, (pid,)),)),
            Rule("tkill"),
        ]
    return listed


@dataclass(frozen=True)
class Architecture:
    """What the kernel calls an architecture, and its numbers of the calls; it need not have them all."""

    audit: int
    calls: dict[str, int]


_NUMBERS = """
socket 41 198  connect 42 203  io_uring_setup 425 425  io_uring_enter 426 426
io_uring_register 427 427  socketpair 53 199  shmget 29 194  shmat 30 196  shmctl 31 195
semget 64 190  semop 65 193  semtimedop 220 192  semctl 66 191  msgget 68 186  msgsnd 69 189
msgrcv 70 188  msgctl 71 187  mq_open 240 180  mq_unlink 241 181  process_vm_readv 310 270
process_vm_writev 311 271  process_madvise 440 440  process_mrelease 448 448  ptrace 101 117
kcmp 312 272  pidfd_open 434 434  pidfd_getfd 438 438  pidfd_send_signal 424 424
userfaultfd 323 282  perf_event_open 298 241  bpf 321 280  prlimit64 302 261
sched_setscheduler 144 119  sched_setparam 142 118  sched_setattr 314 274  migrate_pages 256 238
move_pages 279 239  setpriority 141 140  ioprio_set 251 30  sched_setaffinity 203 122
setsid 112 157  setpgid 109 154  prctl 157 167  clone 56 220  clone3 435 435  chmod 90 -
fchmod 91 52  fchmodat 268 53  fchmodat2 452 452  chown 92 -  fchown 93 55  lchown 94 -
fchownat 260 54  utime 132 -  utimes 235 -  futimesat 261 -  utimensat 280 88  setxattr 188 5
lsetxattr 189 6  fsetxattr 190 7  setxattrat 463 463  removexattr 197 14  lremovexattr 198 15
fremovexattr 199 16  removexattrat 466 466  file_setattr 469 469  inotify_init 253 -
inotify_init1 294 26  inotify_add_watch 254 27  fanotify_init 300 262  fanotify_mark 301 263
fcntl 72 25  add_key 248 217  request_key 249 218  keyctl 250 219  mount 165 40  umount2 166 39
pivot_root 155 41  chroot 161 51  open_tree 428 428  open_tree_attr 467 467  move_mount 429 429
fsopen 430 430  fsconfig 431 431  fsmount 432 432  fspick 433 433  mount_setattr 442 442
unshare 272 97  setns 308 268  open_by_handle_at 304 265  kexec_load 246 104
kexec_file_load 320 294  init_module 175 105  finit_module 313 273  delete_module 176 106
reboot 169 142  swapon 167 224  swapoff 168 225  acct 163 89  quotactl 179 60  quotactl_fd 443 443
settimeofday 164 170  clock_settime 227 112  clock_adjtime 305 266  sethostname 170 161
setdomainname 171 162  syslog 103 116  iopl 172 -  ioperm 173 -  vhangup 153 58  kill 62 129
tgkill 234 131  rt_sigqueueinfo 129 138  rt_tgsigqueueinfo 297 240  tkill 200 130
"""
"""Each call with its numbers on x86-64 and on 64-bit Arm, in the order of the rules."""


def _calls(column: int) -> dict[str, int]:
    words = _NUMBERS.split()
    numbers = zip(words[::3], words[column::3], strict=True)
    return {call: int(number) for call, number in numbers if number != "-"}


ARCHITECTURES = {
    "x86_64": Architecture(0xC000003E, _calls(1)),
    "aarch64": Architecture(0xC00000B7, _calls(2)),
}


def filter_program(architecture: Architecture, listed: Sequence[Rule]) -> list[Instruction]:
    """The filter as (code, jump if true, jump if false, operand); what is in no rule is allowed."""
    program: list[Instruction] = [
        (_LOAD_WORD, 0, 0, _OFFSET_ARCHITECTURE),
        # The calls of 32-bit programs have other numbers.
        (_JUMP_IF_EQUAL, 1, 0, architecture.audit),
        (_RETURN, 0, 0, REFUSE),
        (_LOAD_WORD, 0, 0, _OFFSET_NUMBER),
        (_JUMP_IF_AT_LEAST, 0, 1, _OTHER_ABI),
        (_RETURN, 0, 0, REFUSE),
    ]
    for rule, number in _numbered(architecture, listed):
        block = rule.instructions()
        program += [(_JUMP_IF_EQUAL, 0, len(block), number), *block]
    return [*program, (_RETURN, 0, 0, ALLOW)]


def _numbered(architecture: Architecture, listed: Sequence[Rule]) -> Iterator[tuple[Rule, int]]:
    for rule in listed:
        for call in rule.calls.split():
            if call in architecture.calls:
                yield rule, architecture.calls[call]


class _FilterInstruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("operand", ctypes.c_uint32),
    )


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_FilterInstruction)))


def restrict_calls(signals_scoped: bool) -> None:
    """Apply the rules to this process and its later children, for good.

    Args:
        signals_scoped: as for :func:`rules`.

    Raises:
        Unavailable: this kernel has no such filters, or none is written for the architecture.
    """
    architecture = ARCHITECTURES.get(platform.machine())
    if architecture is None or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise Unavailable(f"the filter of system calls is not written for {platform.machine()}")
    instructions = filter_program(architecture, rules(os.getpid(), signals_scoped))
    array = (_FilterInstruction * len(instructions))(
        *(_FilterInstruction(*values) for values in instructions)
    )
    filled = _FilterProgram(len(instructions), array)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(_PR_SET_SECCOMP, _FILTER_MODE, ctypes.byref(filled))
