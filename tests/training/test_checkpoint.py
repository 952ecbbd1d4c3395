"""Checkpoints: whole or absent, two kept, damage found, no code in them."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from srbench.training.checkpoint import CURRENT, PREVIOUS, load_checkpoint, save_checkpoint
from srbench.utils.errors import SrbenchError


def content(step: int, size: int = 5000) -> dict[str, object]:
    return {"state": {"total_step": step, "network": {"w": torch.full((size,), float(step))}}}


def test_what_was_saved_is_loaded(tmp_path):
    save_checkpoint(tmp_path, content(3))
    loaded = load_checkpoint(tmp_path)
    assert loaded["state"]["total_step"] == 3
    assert torch.equal(loaded["state"]["network"]["w"], torch.full((5000,), 3.0))
    assert [path.name for path in tmp_path.iterdir()] == [CURRENT]


def test_the_last_two_are_kept(tmp_path):
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, content(step))
    assert load_checkpoint(tmp_path)["state"]["total_step"] == 3
    (tmp_path / PREVIOUS).replace(tmp_path / CURRENT)
    assert load_checkpoint(tmp_path)["state"]["total_step"] == 2


def flip(path: Path) -> None:
    """One bit, in the middle of the tensor's bytes."""
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    raw[largest.header_offset + 1000 + largest.file_size // 2] ^= 1
    path.write_bytes(raw)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def garbage(path: Path) -> None:
    path.write_bytes(b"not a checkpoint at all")


def other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello", "world")


@pytest.mark.parametrize("damage", [flip, cut, garbage, other_zip])
def test_damage_is_found_and_the_way_out_named(tmp_path, damage):
    save_checkpoint(tmp_path, content(1))
    save_checkpoint(tmp_path, content(2))
    damage(tmp_path / CURRENT)
    with pytest.raises(SrbenchError) as raised:
        load_checkpoint(tmp_path)
    message = str(raised.value)
    assert f"{tmp_path / CURRENT} is damaged" in message
    assert f"of step 1, is whole: go on with it by renaming {tmp_path / PREVIOUS} to {CURRENT}" in message
    (tmp_path / PREVIOUS).replace(tmp_path / CURRENT)
    assert load_checkpoint(tmp_path)["state"]["total_step"] == 1


def test_damage_without_an_earlier_one(tmp_path):
    save_checkpoint(tmp_path, content(1))
    flip(tmp_path / CURRENT)
    with pytest.raises(SrbenchError, match="There is no earlier checkpoint"):
        load_checkpoint(tmp_path)


def test_another_format_is_refused(tmp_path):
    torch.save({"format": 99}, tmp_path / CURRENT)
    with pytest.raises(SrbenchError, match=r"format 99.*reads format 1"):
        load_checkpoint(tmp_path)
    torch.save([1, 2], tmp_path / CURRENT)
    with pytest.raises(SrbenchError, match="not a checkpoint of srbench"):
        load_checkpoint(tmp_path)


class Harmful:
    def __reduce__(self):
        return Path.touch, (Path("harm-was-done"),)


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": 1, "state": Harmful()}, tmp_path / CURRENT)
    with pytest.raises(SrbenchError, match="is damaged"):
        load_checkpoint(tmp_path)
    assert not (tmp_path / "harm-was-done").exists()


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import torch
from srbench.utils.errors import SrbenchError
from srbench.training.checkpoint import save_checkpoint

folder = Path(sys.argv[1])
save_checkpoint(folder, {"state": {"total_step": 1, "w": torch.zeros(1000)}})
save_checkpoint(folder, {"state": {"total_step": 2, "w": torch.zeros(1000)}})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    save_checkpoint(folder, {"state": {"total_step": 3, "w": torch.zeros(500_000)}})
except SrbenchError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_disk_that_fills_up_leaves_the_earlier_checkpoints(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path.parent,
        check=True,
    )
    assert f"Cannot write {tmp_path / CURRENT}" in done.stdout, done.stderr
    assert load_checkpoint(tmp_path)["state"]["total_step"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [PREVIOUS, CURRENT]
