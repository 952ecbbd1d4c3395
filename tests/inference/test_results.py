"""Names of results: one for a source whatever else there is, two for two sources, none too long."""

from __future__ import annotations

import itertools
import os
from pathlib import Path, PurePosixPath

import pytest

from srbench.datasets.images.write import ImageFormat
from srbench.inference.results import ResultRecord, read_record, result_name
from srbench.utils.files import write_bytes


def name(source: str, chosen: ImageFormat | None = None) -> str:
    return str(result_name(PurePosixPath(source), "edsr", 2, chosen))


@pytest.mark.parametrize(
    ("source", "chosen", "expected"),
    [
        ("a.tif", None, "a_edsr_x2.tif"),
        ("a.TIFF", None, "a_edsr_x2.TIFF"),
        ("sub dir/a.png", None, "sub dir/a_edsr_x2.png"),
        ("a.jpg", None, "a.jpg_edsr_x2.png"),
        ("a.bmp", "tiff", "a.bmp_edsr_x2.tif"),
        ("a.tif", "png", "a.tif_edsr_x2.png"),
        ("a.mrc", None, "a.mrc_edsr_x2.tif"),
    ],
)
def test_names(source: str, chosen: ImageFormat | None, expected: str) -> None:
    assert name(source, chosen) == expected


@pytest.mark.parametrize("chosen", [None, "tiff", "png"])
def test_no_two_sources_share_a_name(chosen: ImageFormat | None) -> None:
    stems = ["a", "a.b", "a.png", "a.tif", "a_edsr_x2", "a.jpg_edsr_x2", "L" * 230, "L" * 231, "M" * 240]
    suffixes = [".tif", ".TIF", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".JPG"]
    sources = {stem + suffix for stem, suffix in itertools.product(stems, suffixes)}
    assert len({name(source, chosen) for source in sources}) == len(sources)


@pytest.mark.parametrize("stem", [b"L" * 251, "\u00e4".encode() * 125, "\u4f60".encode() * 83, b"\xe9" * 250])
def test_long_names_are_shortened_and_can_be_written(tmp_path: Path, stem: bytes) -> None:
    source = os.fsdecode(stem + b".tif")
    target = tmp_path / name(source)
    write_bytes(target, b"x")
    assert target.read_bytes() == b"x" and target.name.endswith("_edsr_x2.tif")
    assert len(os.fsencode(target.name)) > 200
    if b"\xe9" not in stem or stem.startswith("\u00e4".encode()):
        assert os.fsencode(target.name).decode("utf-8")  # no half characters


def test_any_bytes_of_a_name_survive(tmp_path: Path) -> None:
    source = os.fsdecode(b"prob\xe9.tif")
    write_bytes(tmp_path / name(source), b"x")
    assert [os.fsencode(path.name) for path in tmp_path.iterdir()] == [b"prob\xe9_edsr_x2.tif"]


def test_a_file_of_somebody_else_has_no_record(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II")
    assert read_record(tmp_path / "a.tif") == [] == read_record(tmp_path / "missing.png")
    record = ResultRecord("edsr", "tiny", "ab", "sem", 2, "", "cd")
    assert "no result of srbench" in record.conflict(tmp_path / "a.tif")
