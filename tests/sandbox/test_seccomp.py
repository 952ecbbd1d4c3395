"""The filter of system calls, run by a second interpreter of filters, on numbers of the kernel's headers."""

from __future__ import annotations

import errno
import platform
import re
from pathlib import Path

import pytest

from srbench.sandbox import seccomp
from srbench.sandbox.linux import Unavailable

ALLOWED, REFUSED, IGNORED = 0x7FFF0000, 0x00050000 | errno.EACCES, 0x00050000
OWN = 4321
UNIX, INTERNET, STREAM, DATAGRAM = 1, 2, 1, 2
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


def run(program: list[seccomp.Instruction], number: int, audit: int, *arguments: int) -> int:
    """What the kernel's interpreter of filters returns (Documentation/networking/filter.rst)."""
    data = {0: number, 4: audit}
    data |= {16 + 8 * index: value & 0xFFFFFFFF for index, value in enumerate((*arguments, 0, 0, 0))}
    position = accumulator = 0
    while True:
        code, if_true, if_false, operand = program[position]
        assert max(if_true, if_false) < 256 and operand < 1 << 32
        if code == 0x06:
            return operand
        position += 1
        if code == 0x20:
            accumulator = data[operand]
            continue
        holds = {0x15: accumulator == operand, 0x35: accumulator >= operand, 0x45: accumulator & operand}[
            code
        ]
        position += if_true if holds else if_false


def program(name: str, scoped: bool = True) -> list[seccomp.Instruction]:
    return seccomp.filter_program(seccomp.ARCHITECTURES[name], seccomp.rules(OWN, scoped))


@pytest.mark.parametrize("name", sorted(seccomp.ARCHITECTURES))
def test_what_is_in_no_rule_is_allowed_and_the_kernel_takes_the_filter(name: str) -> None:
    architecture = seccomp.ARCHITECTURES[name]
    named = {
        architecture.calls[c]
        for r in seccomp.rules(OWN, False)
        for c in r.calls.split()
        if c in architecture.calls
    }
    filled = program(name, scoped=False)
    assert len(filled) < 4096  # BPF_MAXINSNS
    for number in set(range(600)) - named:
        assert run(filled, number, architecture.audit) == ALLOWED, number
    assert run(filled, 0x40000000 + 41, architecture.audit) == REFUSED
    assert run(filled, 0, 0x40000003) == REFUSED  # calls of 32 bit programs have other numbers


@pytest.mark.parametrize("name", sorted(seccomp.ARCHITECTURES))
@pytest.mark.parametrize(
    ("call", "arguments", "answer"),
    [
        ("socket", (), REFUSED),
        ("socketpair", (UNIX, STREAM | 0x80000), ALLOWED),
        ("socketpair", (UNIX, DATAGRAM), REFUSED),
        ("socketpair", (INTERNET, STREAM), REFUSED),
        ("shmget", (), REFUSED),
        ("ptrace", (), REFUSED),
        ("prlimit64", (0,), ALLOWED),
        ("prlimit64", (OWN,), ALLOWED),
        ("prlimit64", (OWN + 1,), REFUSED),
        ("setpriority", (0, 0), ALLOWED),
        ("setpriority", (0, 7), REFUSED),
        ("setpriority", (2, 0), REFUSED),  # all of a user
        ("sched_setaffinity", (0,), ALLOWED),
        ("sched_setaffinity", (7,), IGNORED),
        ("clone", (0x3D0F00,), ALLOWED),  # a thread
        ("clone", (0x1200011,), ALLOWED),  # fork
        ("clone", (0x10000011,), REFUSED),  # CLONE_NEWUSER
        ("clone3", (), 0x00050000 | errno.ENOSYS),
        ("prctl", (1, 0), IGNORED),  # PR_SET_PDEATHSIG
        ("prctl", (15,), ALLOWED),
        ("fcntl", (3, 1024), REFUSED),  # F_SETLEASE
        ("fcntl", (3, 3), ALLOWED),
        ("setsid", (), IGNORED),
        ("fchmod", (), IGNORED),
        ("kill", (1,), REFUSED),
        ("kill", (-1,), REFUSED),
        ("kill", (-OWN,), ALLOWED),
        ("tgkill", (OWN, 9), ALLOWED),
        ("tgkill", (9, 9), REFUSED),
    ],
)
def test_a_call_is_judged_by_its_arguments(
    name: str, call: str, arguments: tuple[int, ...], answer: int
) -> None:
    architecture = seccomp.ARCHITECTURES[name]
    filled = program(name, scoped=False)
    assert run(filled, architecture.calls[call], architecture.audit, *arguments) == answer


def test_where_landlock_scopes_signals_children_can_be_ended() -> None:
    architecture = seccomp.ARCHITECTURES["x86_64"]
    assert run(program("x86_64"), architecture.calls["kill"], architecture.audit, OWN + 1) == ALLOWED


@pytest.mark.parametrize("name", sorted(seccomp.ARCHITECTURES))
def test_the_numbers_are_those_of_the_kernel(name: str) -> None:
    header = HEADERS[name]
    if not header.exists():
        pytest.skip("the kernel's headers are not installed")
    numbers = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text()))
    calls = seccomp.ARCHITECTURES[name].calls
    known = {call: number for call, number in calls.items() if call in numbers}
    assert known == {call: int(numbers[call]) for call in known} and len(known) > 80
    named = {call for rule in seccomp.rules(OWN, False) for call in rule.calls.split()}
    assert calls.keys() <= named and named & numbers.keys() <= calls.keys()


def test_an_architecture_without_a_filter_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(Unavailable, match="not written for riscv64"):
        seccomp.restrict_calls(True)
