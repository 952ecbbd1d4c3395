"""Which files of a folder are taken for images: links followed without circles, hidden files left out."""

import os
import sys
from pathlib import Path

import pytest

from srbench.datasets.images.walk import image_files

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


def test_files_are_named_in_order_and_hidden_ones_left_out(tmp_path):
    for name in ("b.png", "a/z.png", "a.png", "._a.tif", ".DS_Store", ".cache/c.png", "a/.d/e.png", "note"):
        touch(tmp_path / name)
    assert list(image_files(tmp_path)) == ["a.png", "a/z.png", "b.png", "note"]
    assert list(image_files(tmp_path / "none")) == []


def test_links_to_folders_are_followed_and_circles_are_not(tmp_path):
    touch(tmp_path / "elsewhere" / "x.png")
    touch(tmp_path / "elsewhere" / "deep" / "y.png")
    root = tmp_path / "mine"
    root.mkdir()
    (root / "train").symlink_to(tmp_path / "elsewhere")
    (root / "test").symlink_to(tmp_path / "elsewhere" / "deep")
    (root / "again").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    (tmp_path / "elsewhere" / "deep" / "up").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "deep" / "back").symlink_to(root)
    assert list(image_files(root)) == [
        "self",  # leads nowhere: whoever reads it says so
        "test/up/x.png",
        "test/y.png",
        "train/deep/y.png",
        "train/x.png",
    ]
    # From a link as the root: the same rule.
    assert list(image_files(root / "train")) == ["deep/back/self", "deep/y.png", "x.png"]


def test_an_output_folder_is_not_entered_whatever_its_path(tmp_path):
    for name in ("a.png", "out/a_x2.png", "other/b.png"):
        touch(tmp_path / name)
    (tmp_path / "link").symlink_to(tmp_path / "out")
    for output in (tmp_path / "other" / ".." / "out", Path(os.path.relpath(tmp_path / "out"))):
        assert list(image_files(tmp_path, leave_out=[output, tmp_path / "absent"])) == [
            "a.png",
            "other/b.png",
        ]


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_names_of_any_bytes(tmp_path):
    name = os.fsdecode(b"prob\xe9.png")
    touch(tmp_path / name)
    assert list(image_files(tmp_path)) == [name]
