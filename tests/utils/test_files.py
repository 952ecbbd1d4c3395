"""Files written whole or not at all, one writer at a time, changes noticed; names that every system takes."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srbench.utils import files
from srbench.utils.errors import DatasetError, SrbenchError, StorageError
from srbench.utils.files import (
    FileHash,
    atomic_write,
    canonical_json,
    hash_file,
    locked,
    pixel_hash,
    read_checksummed,
    safe_name,
    sha256_file,
    unique_name,
    write_bytes,
    write_checksummed,
    write_text,
)
from srbench.utils.text import id_to_name, name_to_id, printable

FORBIDDEN = set('<>:"/\\|?*=, \t\n') | {chr(code) for code in range(32)}


_AWKWARD = r"\xu5c0e9a" + "\n\x1b\x85\u202e\udc80\udce9\ud800 é猫"


@given(st.one_of(st.text(), st.text(alphabet=_AWKWARD, max_size=12), st.binary().map(os.fsdecode)))
def test_ids_of_files_can_be_stored_and_printed_and_lead_back(name: str) -> None:
    text = name_to_id(name)
    assert id_to_name(text) == name
    assert text.encode("utf-8").decode() == printable(text) == text and len(text.splitlines()) <= 1


def test_ids_of_ordinary_files_are_their_names() -> None:
    for name in ("a.png", "sub/Prüf körper 猫.tif", "back\\slash.png", "x41\\u.png"):
        assert name_to_id(name) == name
    assert name_to_id(os.fsdecode(b"prob\xe9.png")) == r"prob\xe9.png"
    assert name_to_id(r"prob\xe9.png") == r"prob\x5cxe9.png"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sem_pixel:dose=60,jitter=0.3@1", "sem_pixel_dose_60_jitter_0.3@1"),
        ("folder:/data/my images", "folder_data_my_images"),
        ("bicubic", "bicubic"),
        ("C:\\micrographs\\new", "C_micrographs_new"),
        ("../../etc", "etc"),
        ("Prüfkörper", "Pr_fk_rper"),
        ("", "_"),
        ("...", "_"),
        ("nul", "_nul"),
        ("COM1.tif", "_COM1.tif"),
        ("company", "company"),
    ],
)
def test_names_that_are_read_again(text: str, expected: str) -> None:
    assert safe_name(text) == expected


@pytest.mark.slow
@given(st.text())
def test_no_text_makes_a_name_that_some_system_refuses(text: str) -> None:
    name = safe_name(text)
    assert name and not set(name) & FORBIDDEN and name.isascii()
    assert name == Path(name).name and not name.startswith(".") and not name.endswith((".", " "))
    assert safe_name(name) in (name, f"_{name}", name.strip("_.") or "_")


@pytest.mark.slow
@given(st.text(), st.text())
def test_different_texts_have_different_unique_names_whatever_case_counts_for(one: str, other: str) -> None:
    names = [unique_name(text) for text in (one, other)]
    assert (names[0].lower() == names[1].lower()) == (one == other)
    for name in names:
        assert not set(name) & FORBIDDEN and name.isascii() and len(name) <= 80 + len("-12345678")


def test_unique_names_stay_readable() -> None:
    assert unique_name("bicubic") == "bicubic"
    assert unique_name("a/b").startswith("a_b-") and unique_name("a/b") != unique_name("a_b") == "a_b"
    assert unique_name("SEM") != unique_name("sem") == "sem"
    long = unique_name("x" * 300)
    assert long.startswith("x" * 80 + "-") and long != unique_name("x" * 301)


# --- writing ------------------------------------------------------------------------------------------------


def test_what_is_written_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    write_text(path, "grüße")
    write_bytes(path, "grüßen".encode())
    assert path.read_text(encoding="utf-8") == "grüßen" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("when", ["write", "flush", "rename"])
def test_a_full_disk_leaves_what_was_there(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_bytes(path, b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if when == "flush":
        monkeypatch.setattr(files.os, "fsync", full)
    if when == "rename":
        monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageError, match=r"No space left.*Free some space"), atomic_write(path) as file:
        file.write(b"half of what is n")
        if when == "write":
            full()
    monkeypatch.undo()
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_what_fails_while_it_is_written_for_another_reason_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(DatasetError, match="damaged"), atomic_write(path) as file:
        file.write(b"half")
        raise DatasetError("the archive is damaged")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="Choose another folder"):
        write_bytes(tmp_path / "file" / "a", b"")


# --- locks --------------------------------------------------------------------------------------------------


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    with locked(folder):
        with pytest.raises(StorageError, match="Another srbench"), locked(folder):
            pytest.fail("two at once")
        with locked(tmp_path / "other"):
            pass
    with locked(folder):
        pass


@pytest.mark.slow
def test_who_waits_comes_next(tmp_path: Path) -> None:
    order = []
    released = threading.Event()

    def first() -> None:
        with locked(tmp_path):
            order.append("first")
            released.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    while not order:
        time.sleep(0.001)
    threading.Timer(0.02, released.set).start()
    with locked(tmp_path, wait=10):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


@pytest.mark.slow
def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    hold = (
        "import sys, time; from pathlib import Path; from srbench.utils.files import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        with pytest.raises(StorageError), locked(tmp_path):
            pytest.fail("two at once")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with locked(tmp_path, wait=5):
        pass


# --- hashes -------------------------------------------------------------------------------------------------


def test_hashes_are_those_of_hashlib_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BLOCK", 7)
    data, seen = bytes(range(40)), list[int]()
    (tmp_path / "a").write_bytes(data)
    md5, sha256 = hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest()
    assert hash_file(tmp_path / "a", seen.append).result == FileHash(40, md5, sha256)
    assert sha256_file(tmp_path / "a") == sha256 and seen == [7, 14, 21, 28, 35, 40]


def test_pixels_have_one_hash_whatever_their_memory(tmp_path: Path) -> None:
    pixels = np.arange(24, dtype=np.uint16).reshape(4, 6)
    for same in (np.asfortranarray(pixels), pixels.astype(">u2"), np.repeat(pixels, 2, axis=1)[:, ::2]):
        assert pixel_hash(same) == pixel_hash(pixels)
    others = (pixels.reshape(6, 4), pixels.astype(np.uint8), pixels + np.uint16(1))
    assert pixel_hash(pixels) not in {pixel_hash(other) for other in others}


CONTENT = {"name": "grüße", "hashes": ["ab", "cd"], "size": 12, "share": 0.1, "none": None}


def test_checksummed_json_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_checksummed(tmp_path / "a.json", "") is None
    assert read_checksummed(tmp_path / "no folder" / "a.json", "") is None
    write_checksummed(tmp_path / "a.json", CONTENT)
    assert read_checksummed(tmp_path / "a.json", "") == CONTENT
    again = dict(reversed(CONTENT.items()))
    assert canonical_json(again) == canonical_json(CONTENT) != canonical_json({**CONTENT, "size": 13})


@pytest.mark.slow
def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_checksummed(path, CONTENT)
    data = path.read_bytes()
    changes = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in range(len(data))]
    for changed in (*changes, data[:-1], data + b"\n", b"", b"[]", b"{}", b"null"):
        path.write_bytes(changed)
        with pytest.raises(SrbenchError, match="Fetch it again"):
            read_checksummed(path, "Fetch it again.")


def test_a_file_that_cannot_be_read_is_no_missing_one(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(SrbenchError, match="cannot be read"):
        read_checksummed(tmp_path / "a.json", "")
