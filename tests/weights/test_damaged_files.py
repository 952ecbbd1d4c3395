"""Weights files that no network has: named as damaged or unsafe at once, and left out among other runs."""

from __future__ import annotations

import io
import json
import os
import struct
import tarfile
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from srbench import weights
from srbench.utils.errors import SrbenchError
from srbench.weights import DamagedWeights, UnsafeWeights, WeightsHeader

HEADER = WeightsHeader("vdsr", "tiny", 4, 1, "d", 1, "smoke")
WEIGHT = torch.ones(4, 4)
pytestmark = pytest.mark.filterwarnings("ignore")


def zipped(pickled: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def colliding(count: int) -> bytes:
    """A dictionary whose integer keys have one hash."""
    keys = (b"\x8a\x0c" + (n * ((1 << 61) - 1)).to_bytes(12, "little") + b"N" for n in range(count))
    return b"\x80\x02}(" + b"".join(keys) + b"u."


def safetensors(header: Any) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(64)


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("sys_info"))
    return file.getvalue()


ENTRY = {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}
FILES = {
    "empty.pth": b"",
    "compressed.pth": zipped(b"\x80\x02}." + bytes(10_000), zipfile.ZIP_DEFLATED),
    "one hash.pth": zipped(colliding(60_000)),
    "nested.pth": zipped(b"\x80\x02" + b"]" * 10_000 + b"a" * 9_999 + b"."),
    "memo.pth": zipped(b"\x80\x02}r\xff\xff\xff\x7f."),
    "tar.pth": tar(),
    "header of a terabyte.safetensors": struct.pack("<Q", 1 << 40) + b"{}",
    "nested.safetensors": struct.pack("<Q", 100_004) + b'{"a"' + b"[" * 100_000,
    "overlap.safetensors": safetensors({"a": ENTRY, "b": ENTRY}),
    "beyond.safetensors": safetensors({"a": {**ENTRY, "data_offsets": [0, 1 << 62]}}),
    "float8.safetensors": safetensors({"a": {**ENTRY, "dtype": "F8_E4M3", "shape": [64]}}),
    "unknown.safetensors": safetensors({"a": {**ENTRY, "dtype": "F3"}}),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_weights_file_is_named_as_damaged(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name])
    with pytest.raises(DamagedWeights):
        weights.read_state(path)
    assert weights.read_header(path) is None


ODD = {
    "integer key": {1: WEIGHT},
    "float8": {"a": WEIGHT.to(torch.float8_e4m3fn)},
    "complex": {"a": WEIGHT.to(torch.complex64)},
    "sparse": {"a": WEIGHT.to_sparse()},
    "expanded": {"a": torch.zeros(1).expand(1 << 40)},
    "meta": {"a": WEIGHT.to("meta")},
    "list": [WEIGHT],
    "no tensor": {"a": 5},
}


@pytest.mark.parametrize("zip_format", [True, False])
@pytest.mark.parametrize("what", ODD)
def test_tensors_of_no_network_are_named_as_damaged(what: str, zip_format: bool, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(ODD[what], path, _use_new_zipfile_serialization=zip_format)
    with pytest.raises(DamagedWeights):
        weights.read_state(path)


def test_objects_that_could_run_code_are_unsafe_and_not_made(tmp_path: Path) -> None:
    path, witness = tmp_path / "w.pth", tmp_path / "ran"
    command = f"mkdir {witness}".encode()
    path.write_bytes(
        zipped(b"\x80\x02cos\nsystem\nX" + struct.pack("<I", len(command)) + command + b"\x85R.")
    )
    with pytest.raises(UnsafeWeights):
        weights.read_state(path)
    assert not witness.exists()


def test_names_with_control_characters_are_cleaned(tmp_path: Path) -> None:
    torch.save({"a\x1b[2J\ud800": WEIGHT}, tmp_path / "w.pth")
    assert list(weights.read_state(tmp_path / "w.pth")) == ["a\\x1b[2J\\ud800"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scale", "four"),
        ("scale", 10**400),
        ("channels", None),
        ("dataset", []),
        ("model", {}),
        ("notes", 5),
        ("seed", 1 << 70),
    ],
)
def test_a_header_of_other_types_is_left_out_and_named(name: str, value: object, tmp_path: Path) -> None:
    for folder, header in (("good", asdict(HEADER)), ("bad", {**asdict(HEADER), name: value})):
        (tmp_path / folder).mkdir()
        data = save({"a": WEIGHT}, metadata={"srbench": json.dumps(header)})
        (tmp_path / folder / "weights.safetensors").write_bytes(data)
    (tmp_path / "fifo").mkdir()
    os.mkfifo(tmp_path / "fifo" / "weights.safetensors")
    (usable,) = weights.find("vdsr", scale=4, runs=tmp_path)
    assert usable.path.parent.name == "good"
    problems = weights.left_out(tmp_path)
    assert [Path(problem.split(" is left out")[0]).parent.name for problem in problems] == ["bad", "fifo"]


def test_a_name_longer_than_the_file_system_allows_is_no_file() -> None:
    with pytest.raises(SrbenchError):
        weights.read_state(Path("x" * 5000))
