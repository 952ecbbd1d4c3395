"""Ways to get at an HR image that was not given; each returns what it got, and raises where it got nothing.

Told by the environment: SRBENCH_TEST_HR, a PNG in a hidden folder; SRBENCH_TEST_PORT, a server that answers
with its bytes; SRBENCH_TEST_SOCKET, the same on a local socket; SRBENCH_TEST_TEMPORARY, the system's folder
for temporary files; SRBENCH_TEST_ADDRESS, where the parent keeps something in memory.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

HR = os.environ.get("SRBENCH_TEST_HR", "")
ATTACKS: dict[str, Callable[[], bytes]] = {}
NATIVE = {"native_open", "opencv", "parent_memory_call", "bind_mount", "native_child"}
"""What Python is not told of: only the kernel stops it."""
SOME_SYSTEMS = {"bind_mount", "parent_files", "parent_root", "parent_memory", "parent_memory_call"}
"""What some systems forbid to every program."""
UNSEEN = NATIVE | {"forked", "server", "local_service", "other_runs"}
"""What is in no record: native, seen in another process only, or no path with HR."""


def attack(function: Callable[[], bytes]) -> Callable[[], bytes]:
    ATTACKS[function.__name__] = function
    return function


def libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def must(done: bool) -> None:
    if not done:
        raise OSError(ctypes.get_errno(), "refused")


@attack
def plain_open() -> bytes:
    return Path(HR).read_bytes()


@attack
def numpy_fromfile() -> bytes:
    import numpy as np

    return np.fromfile(HR, dtype=np.uint8).tobytes()


@attack
def opencv() -> bytes:
    import cv2

    image = cv2.imread(HR, cv2.IMREAD_UNCHANGED)
    if image is None:
        raise OSError("not read")
    return bytes(image.tobytes())


@attack
def native_open() -> bytes:
    return _libc_read(HR)


def _libc_read(path: str) -> bytes:
    handle = libc().open(os.fsencode(path), os.O_RDONLY)
    must(handle >= 0)
    return os.read(handle, 1 << 16)


@attack
def child() -> bytes:
    return subprocess.check_output(["cat", HR], stderr=subprocess.DEVNULL)


@attack
def shell() -> bytes:
    os.system(f"cat '{HR}' > copied 2> /dev/null")
    return Path("copied").read_bytes()


@attack
def native_child() -> bytes:
    libc().system(f"cat '{HR}' > copied 2> /dev/null".encode())
    return Path("copied").read_bytes()


@attack
def forked() -> bytes:
    read, write = os.pipe()
    if os.fork() == 0:
        try:
            os.write(write, Path(HR).read_bytes())
        finally:
            os._exit(0)
    os.close(write)
    return os.read(read, 1 << 16)


@attack
def later_thread() -> bytes:
    contents: list[bytes] = []

    def steal() -> None:
        contents.append(Path(HR).read_bytes())

    threading.excepthook = lambda _: None
    thread = threading.Thread(target=steal)
    thread.start()
    thread.join()
    return b"".join(contents)


@attack
def symbolic_link() -> bytes:
    Path("link.png").unlink(missing_ok=True)
    Path("link.png").symlink_to(HR)
    return Path("link.png").read_bytes()


@attack
def linked_folder() -> bytes:
    Path("folder").symlink_to(Path(HR).parent)
    return Path("folder", Path(HR).name).read_bytes()


@attack
def hard_link() -> bytes:
    os.link(HR, "hard.png")
    return Path("hard.png").read_bytes()


@attack
def listing() -> bytes:
    return " ".join(path.name for path in Path(HR).parent.iterdir()).encode()


@attack
def scanning() -> bytes:
    with os.scandir(Path(HR).parent) as entries:
        return " ".join(entry.name for entry in entries).encode()


@attack
def other_runs() -> bytes:
    """The folder for temporary files, where runs beside this one keep theirs."""
    return " ".join(path.name for path in Path(os.environ["SRBENCH_TEST_TEMPORARY"]).iterdir()).encode()


@attack
def moved() -> bytes:
    Path(HR).rename("moved.png")
    try:
        return Path("moved.png").read_bytes()
    finally:
        Path("moved.png").rename(HR)


@attack
def through_own_root() -> bytes:
    return Path(f"/proc/self/root{HR}").read_bytes()


@attack
def parent_files() -> bytes:
    """The parent of a worker has files open."""
    folder = Path(f"/proc/{os.getppid()}/fd")
    return " ".join(str(link.readlink()) for link in folder.iterdir()).encode()


@attack
def parent_root() -> bytes:
    return Path(f"/proc/{os.getppid()}/root{HR}").read_bytes()


@attack
def parent_memory() -> bytes:
    parent = Path(f"/proc/{os.getppid()}")
    start = _first_region(parent)
    with (parent / "mem").open("rb", buffering=0) as memory:
        memory.seek(start)
        return memory.read(64)


def _first_region(parent: Path) -> int:
    for line in (parent / "maps").read_text().splitlines():
        region, rights = line.split()[:2]
        if rights.startswith("r"):
            return int(region.partition("-")[0], 16)
    raise OSError("nothing mapped")


@attack
def parent_memory_call() -> bytes:
    """Our parent's memory at an address of ours: the same program lies there without randomisation."""
    start = int(os.environ["SRBENCH_TEST_ADDRESS"])
    buffer = ctypes.create_string_buffer(64)
    here = struct.pack("PN", ctypes.addressof(buffer), 64)
    there = struct.pack("PN", start, 64)
    must(libc().process_vm_readv(os.getppid(), here, 1, there, 1, 0) == 64)
    return buffer.raw


@attack
def bind_mount() -> bytes:
    """In a name space of its own, where anyone may mount."""
    new_user, new_mounts, bind = 0x10000000, 0x00020000, 4096
    Path("mounted").mkdir()
    must(libc().unshare(new_user | new_mounts) == 0)
    must(libc().mount(os.fsencode(Path(HR).parent), b"mounted", None, bind, None) == 0)
    return _libc_read(f"mounted/{Path(HR).name}")


@attack
def server() -> bytes:
    with socket.create_connection(("127.0.0.1", int(os.environ["SRBENCH_TEST_PORT"])), 5) as connection:
        return connection.recv(64)


@attack
def local_service() -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(os.environ["SRBENCH_TEST_SOCKET"])
        return connection.recv(64)


@attack
def the_dataset() -> bytes:
    from srbench import datasets

    opened = datasets.open(f"folder:{Path(HR).parent}")
    return opened.pixels(opened.images[0].id).tobytes()


@attack
def drawn_again() -> bytes:
    """The synthetic scenes follow from their names: the drawing code is as good as the images."""
    from srbench import datasets

    opened = datasets.open("sem_synthetic")
    return opened.pixels(opened.images[0].id).tobytes()


@attack
def raw_disk() -> bytes:
    """With the rights of root every file can be read from the disk itself."""
    for disk in Path("/sys/class/block").iterdir():
        device = Path("/dev", disk.name)
        if device.is_block_device() and (start := _start_of(device)):
            return start
    raise OSError("no disk")


def _start_of(device: Path) -> bytes:
    with device.open("rb") as disk:
        return disk.read(512)


@attack
def kernel_memory() -> bytes:
    with Path("/proc/kcore").open("rb", buffering=0) as memory:
        return memory.read(64)
