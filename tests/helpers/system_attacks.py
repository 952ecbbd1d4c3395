"""Ways out of the sandbox that are no reading of HR: to other processes, shared memory, the machine.

Each returns what shows that it worked, and raises or returns nothing where it did not. The environment says:
SRBENCH_TEST_HR, a file in a hidden folder; SRBENCH_TEST_VICTIM, a process of the same user that sleeps;
SRBENCH_TEST_SHARED, the name of a file in /dev/shm; SRBENCH_TEST_KEY, the key of a System V segment.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

HR = os.environ.get("SRBENCH_TEST_HR", "")
VICTIM = int(os.environ.get("SRBENCH_TEST_VICTIM", "0"))
SHARED = os.environ.get("SRBENCH_TEST_SHARED", "")
KEY = int(os.environ.get("SRBENCH_TEST_KEY", "0"))
ATTACKS: dict[str, Callable[[], bytes]] = {}
SOME_SYSTEMS = {
    *("another_s_environment", "another_s_files", "another_s_limits", "another_s_maps"),
    *("another_s_memory", "another_s_memory_written", "attribute_of_hr", "bpf_program", "change_root"),
    *("core_pattern", "descriptor_of_another", "files_of_a_folder_watched_all", "host_name"),
    *("io_uring", "kernel_log", "key_ring", "keys_of_shared_memory", "message_queue", "mount_call"),
    *("netlink", "new_namespaces", "new_namespaces_by_clone", "open_by_handle", "own_limits_raised"),
    *("page_faults", "performance_counters", "trace"),
}
"""What some systems forbid to every program."""


def attack(function: Callable[[], bytes]) -> Callable[[], bytes]:
    ATTACKS[function.__name__] = function
    return function


def call(number: int, *arguments: object) -> int:
    """A system call of x86-64 by its number; raises what the kernel answers."""
    libc = ctypes.CDLL(None, use_errno=True)
    wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result = int(libc.syscall(ctypes.c_long(number), *wide))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def calling(name: str, number: int, *arguments: object) -> None:
    """An attack that consists of one call."""
    ATTACKS[name] = lambda: b"%d" % (call(number, *arguments) + 1)


# Shared memory, semaphores, queues.


@attack
def shared_file_read() -> bytes:
    return Path("/dev/shm", SHARED).read_bytes()


@attack
def shared_file_written() -> bytes:
    with Path("/dev/shm", SHARED).open("r+b") as file:
        return b"%d" % file.write(b"changed")


@attack
def shared_file_made() -> bytes:
    path = Path("/dev/shm", f"{SHARED}-made")
    path.write_bytes(b"left behind")
    path.unlink()
    return b"made"


@attack
def shared_files_listed() -> bytes:
    return " ".join(path.name for path in Path("/dev/shm").iterdir()).encode()


@attack
def posix_semaphore() -> bytes:
    from multiprocessing import Semaphore

    return repr(Semaphore()).encode()


@attack
def system_v_attached() -> bytes:
    identifier = call(29, KEY, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    address = libc.shmat(identifier, None, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "not attached")
    return ctypes.string_at(address, 6)


@attack
def system_v_made() -> bytes:
    identifier = call(29, 0, 4096, 0o600)
    call(31, identifier, 0, None)
    return b"made"


@attack
def keys_of_shared_memory() -> bytes:
    return Path("/proc/sysvipc/shm").read_bytes()


calling("system_v_semaphores", 64, KEY, 1, 0o1600)
calling("system_v_messages", 68, KEY, 0o1600)
calling("message_queue", 240, b"srbench-test", os.O_RDONLY)


# Other processes.


def of_victim(part: str) -> Callable[[], bytes]:
    return lambda: Path(f"/proc/{VICTIM}", part).read_bytes()


ATTACKS["another_s_command"] = of_victim("cmdline")
ATTACKS["another_s_status"] = of_victim("status")
ATTACKS["another_s_environment"] = of_victim("environ")
ATTACKS["another_s_maps"] = of_victim("maps")


@attack
def processes_listed() -> bytes:
    return b" ".join(path.name.encode() for path in Path("/proc").iterdir() if path.name.isdigit())


@attack
def another_s_files() -> bytes:
    return b" ".join(bytes(Path(f"/proc/{VICTIM}/fd/{n}").readlink()) for n in range(3))


@attack
def another_s_memory() -> bytes:
    buffer = ctypes.create_string_buffer(8)
    here = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)
    for line in Path(f"/proc/{VICTIM}/maps").read_text().splitlines():
        there = (ctypes.c_size_t * 2)(int(line.split("-")[0], 16), 8)
        with contextlib.suppress(OSError):
            call(310, VICTIM, here, 1, there, 1, 0)
            return buffer.raw
    raise OSError("nothing to read")


@attack
def another_s_memory_written() -> bytes:
    Path(f"/proc/{VICTIM}/mem").open("r+b").close()
    return b"opened"


@attack
def trace() -> bytes:
    call(101, 16, VICTIM, 0, 0)
    os.waitpid(VICTIM, 0x40000000)
    call(101, 17, VICTIM, 0, 0)
    return b"attached"


@attack
def descriptor_of_another() -> bytes:
    return b"%d" % call(438, call(434, VICTIM, 0), 1, 0)


@attack
def signal_to_another() -> bytes:
    os.kill(VICTIM, signal.SIGURG)  # which is ignored
    return b"sent"


@attack
def signal_to_a_thread_of_another() -> bytes:
    return b"%d" % (call(234, VICTIM, VICTIM, int(signal.SIGURG)) + 1)


@attack
def signal_to_a_group() -> bytes:
    os.killpg(VICTIM, signal.SIGURG)
    return b"sent"


@attack
def signal_by_descriptor() -> bytes:
    return b"%d" % (call(424, call(434, VICTIM, 0), int(signal.SIGURG), None, 0) + 1)


@attack
def another_s_limits() -> bytes:
    return repr(resource.prlimit(VICTIM, resource.RLIMIT_NOFILE)).encode()


@attack
def another_slowed_down() -> bytes:
    before = os.getpriority(os.PRIO_PROCESS, VICTIM)
    os.setpriority(os.PRIO_PROCESS, VICTIM, before + 1)
    return b"nicer"


@attack
def all_of_the_user_slowed_down() -> bytes:
    os.setpriority(os.PRIO_PGRP, VICTIM, 19)
    return b"nicer"


@attack
def another_moved_to_one_core() -> bytes:
    core = {min(os.sched_getaffinity(VICTIM))}
    before = os.sched_getaffinity(VICTIM)
    os.sched_setaffinity(VICTIM, core)
    return b"moved" if os.sched_getaffinity(VICTIM) != before or len(before) == 1 else b""


@attack
def another_rescheduled() -> bytes:
    os.sched_setscheduler(VICTIM, os.SCHED_BATCH, os.sched_param(0))
    return b"batch"


calling("another_s_disk_priority", 251, 1, VICTIM, 3 << 13)


@attack
def another_first_to_be_killed() -> bytes:
    Path(f"/proc/{VICTIM}/oom_score_adj").write_text("900")
    return b"set"


# To get away, and to more rights.


@attack
def own_session() -> bytes:
    if os.getpid() != os.getsid(0):
        os.setsid()
    elif os.fork() == 0:
        before = os.getsid(0)
        os.setsid()
        os._exit(os.getsid(0) != before)
    else:
        return b"left" if os.waitstatus_to_exitcode(os.wait()[1]) else b""
    return b"left" if os.getsid(0) == os.getpid() else b""


@attack
def own_group() -> bytes:
    child = os.fork()
    if child == 0:
        before = os.getpgrp()
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        os._exit(os.getpgrp() != before)
    return b"left" if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) else b""


@attack
def own_limits_raised() -> bytes:
    resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, resource.RLIM_INFINITY))
    return b"raised"


@attack
def new_namespaces() -> bytes:
    child = os.fork()
    if child == 0:
        try:
            call(272, 0x10000000)
            os._exit(1)
        finally:
            os._exit(0)
    return b"new" if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) else b""


@attack
def new_namespaces_by_clone() -> bytes:
    child = call(56, 0x10000011, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return b"new"


@attack
def change_root() -> bytes:
    child = os.fork()
    if child == 0:
        try:
            os.chroot("/")
            os._exit(1)
        finally:
            os._exit(0)
    return b"new" if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) else b""


calling("key_ring", 248, b"user", b"srbench-test", b"x", 1, -3)
calling("page_faults", 323, 1)
calling("performance_counters", 298, ctypes.create_string_buffer(128), 0, -1, -1, 0)
calling("bpf_program", 321, 0, ctypes.create_string_buffer(b"\1\0\0\0\4\0\0\0\4\0\0\0\1", 72), 72)
calling("io_uring", 425, 1, ctypes.create_string_buffer(120))
calling("mount_call", 428, -100, b"/", 1)  # open_tree, a copy of all mounts
calling("kernel_log", 103, 10, None, 0)


@attack
def host_name() -> bytes:
    socket.sethostname(socket.gethostname())
    return b"set"


@attack
def core_pattern() -> bytes:
    Path("/proc/sys/kernel/core_pattern").open("r+b").close()
    return b"opened"


@attack
def netlink() -> bytes:
    return repr(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)).encode()


@attack
def pair_of_datagrams() -> bytes:
    """Each end sends to any local service."""
    return repr(socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)).encode()


# What belongs to others on the disk.


@attack
def hr_opened_for_writing() -> bytes:
    Path(HR).open("r+b").close()
    return b"opened"


@attack
def hr_made_unreadable() -> bytes:
    before = Path(HR).stat().st_mode
    Path(HR).chmod(0o640)
    after = Path(HR).stat().st_mode
    Path(HR).chmod(before)
    return b"changed" if before != after else b""


@attack
def hr_dated_back() -> bytes:
    before = Path(HR).stat().st_mtime_ns
    os.utime(HR, ns=(before, before - 1))
    return b"changed" if Path(HR).stat().st_mtime_ns != before else b""


@attack
def attribute_of_hr() -> bytes:
    os.setxattr(HR, "user.srbench", b"x")
    return b"set"


@attack
def file_made_among_hidden() -> bytes:
    path = Path(HR).with_name("made")
    path.touch()
    path.unlink()
    return b"made"


@attack
def file_made_among_temporary() -> bytes:
    with tempfile.NamedTemporaryFile(dir=os.environ["SRBENCH_TEST_TEMPORARY"]):
        return b"made"


@attack
def folder_watched() -> bytes:
    return b"%d" % call(254, call(294, 0), os.fsencode(Path(HR).parent), 0x100)


calling("files_of_a_folder_watched_all", 300, 0, 0)
calling("open_by_handle", 304, -100, ctypes.create_string_buffer(b"\x08\0\0\0\1", 16), 0)


@attack
def lease_of_software() -> bytes:
    import fcntl

    with Path(__file__).open("rb") as file:
        return b"%d" % (fcntl.fcntl(file, 1024, fcntl.F_RDLCK) + 1)
