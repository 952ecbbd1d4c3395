"""Only regular files are opened, at once or not at all; JSON and YAML of strangers have bounds."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from srbench.utils.errors import SrbenchError
from srbench.utils.files import open_regular, parse_json, read_regular, sha256_file
from srbench.utils.text import printable_values
from srbench.utils.typed_json import typed
from srbench.utils.yaml_text import parse_yaml

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs here")


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """Whoever waits for a FIFO is killed."""
    signal.alarm(10)
    yield
    signal.alarm(0)


def test_what_is_no_regular_file_is_refused_without_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(tmp_path)  # a socket's path may have 108 bytes
    listener.bind("socket")
    for name in ("fifo", "zero", "folder", "socket"):
        for read in (open_regular, sha256_file):
            with pytest.raises(OSError) as error:
                read(tmp_path / name)
            assert error.value.errno == errno.EINVAL
    listener.close()


def test_a_regular_file_is_read_through_a_link_up_to_its_bound(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert read_regular(tmp_path / "b", 5) == b"12345"
    with pytest.raises(OSError) as error:
        read_regular(tmp_path / "b", 4)
    assert error.value.errno == errno.EFBIG


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 60 + "]" * 60, "9" * 5000, "{", b"\xff"])
def test_json_that_is_none_or_too_deep_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


def test_json_is_checked_by_type() -> None:
    assert typed(dict[str, int], {"a": 1}) == {"a": 1}
    with pytest.raises(ValueError):
        typed(dict[str, int], {"a": [1]})


def test_texts_lose_what_a_terminal_or_utf8_cannot_take() -> None:
    content = {"a\x1b[2J": ["\ud800", "b\u202e", "one\ntwo", 5, None]}
    assert printable_values(content) == {"a\\x1b[2J": ["\\ud800", "b\\u202e", "one\ntwo", 5, None]}


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        "train: &a\n  lr: *a\n",
        "&a {<<: *a}",
        "[" * 5000,
        "a: 2001-02-31",
        "a: !!python/object/apply:os.system [ls]",
        "? [a]\n: b",
        "a: " + "9" * 5000,
        "a: " + "1:" * 3000 + "1",
        "a: \x00",
        "a: b\n" * 100_000,
    ],
    ids=lambda text: text[:12],
)
def test_yaml_that_is_absurd_is_an_error_of_srbench(text: str) -> None:
    with pytest.raises(SrbenchError):
        parse_yaml(text)


def test_yaml_gives_the_line_of_each_setting() -> None:
    content, lines = parse_yaml("model: x\ntrain: &t\n  lr: 1e-4\nother: *t\n")
    assert content == {"model": "x", "train": {"lr": "1e-4"}, "other": {"lr": "1e-4"}}
    assert lines["train", "lr"] == 3 and lines["model",] == 1
