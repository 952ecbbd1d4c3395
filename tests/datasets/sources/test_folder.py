"""A user's folder: what is taken, what is skipped and why, groups, splits, the cache."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srbench.datasets import DatasetError, Micrograph
from srbench.datasets import open as open_dataset
from srbench.datasets.sources import folder
from srbench.datasets.splits import check_groups, split_groups
from srbench.utils.errors import StorageError


@pytest.fixture
def mine(tmp_path, srbench_home):
    path = tmp_path / "My images"
    path.mkdir()
    return path


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def splits_of(opened):
    return {image.id: image.split for image in opened.images}


@pytest.mark.slow
def test_files_below_are_found_and_taken_exactly(mine, picture):
    write(mine / "a.png", picture(1))
    write(mine / "Powder" / "deep" / "b.TIF", picture(2, dtype=np.uint16))
    write(mine / "Powder" / "c.bmp", picture(3))
    opened = open_dataset(f"folder:{mine}")
    assert [image.id for image in opened.images] == ["Powder/c.bmp", "Powder/deep/b.TIF", "a.png"]
    assert np.array_equal(opened.pixels("Powder/deep/b.TIF"), picture(2, dtype=np.uint16))
    by_id = {image.id: image for image in opened.images}
    assert by_id["a.png"].category == "My images" and by_id["Powder/c.bmp"].category == "Powder"
    assert by_id["Powder/deep/b.TIF"].bits == 16 and by_id["a.png"].bits == 8
    assert opened.name == f"folder:{mine}" and opened.card.kind == "user"
    assert all(image.group == image.id for image in opened.images)


@pytest.mark.slow
def test_the_path_alone_is_enough(mine, picture):
    write(mine / "a.png", picture(1))
    assert len(open_dataset(str(mine))) == 1


@pytest.mark.slow
def test_what_cannot_be_used_is_listed_with_its_reason(mine, picture):
    write(mine / "good.png", picture(1))
    write(mine / "again.png", picture(1))
    write(mine / "tiny.png", picture(2, 20, 20))
    write(mine / "blank.png", np.zeros((80, 80), np.uint8))
    (mine / "cut.png").write_bytes((mine / "good.png").read_bytes()[:2000])
    (mine / "notes.txt").write_text("my notes")
    (mine / ".hidden.png").write_bytes(b"")
    float_image = picture(3).astype(np.float32)
    float_image[0, 0] = np.nan
    write(mine / "float.tif", float_image)
    opened = open_dataset(f"folder:{mine}")
    assert [image.id for image in opened.images] == ["again.png"]
    assert {file: reason.split(":")[0][:26] for file, reason in opened.skipped.items()} == {
        "good.png": "the same picture as again.",
        "tiny.png": "20x20 px is too small",
        "blank.png": "every pixel has the value ",
        "cut.png": "the file is damaged or cut",
        "notes.txt": "not a PNG, TIFF, JPEG or B",
        "float.tif": "pixels that are not number",
    }


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_odd_names_and_broken_links(mine, picture):
    write(mine / "a.png", picture(1))
    odd = r"m\xe4rz \xff.png"
    (mine / os.fsdecode(b"m\xe4rz \xff.png")).write_bytes((mine / "a.png").read_bytes() + b" ")
    write(mine / "übermäßig 猫.png", picture(2))
    (mine / "gone.png").symlink_to(mine / "nowhere.png")
    opened = open_dataset(f"folder:{mine}")
    assert {image.id for image in opened.images} == {"a.png", "übermäßig 猫.png"}
    assert opened.skipped == {
        odd: "the same picture as a.png",
        "gone.png": "cannot be read: No such file or directory",
    }
    write(mine / "a.png", picture(3))
    assert odd in {image.id for image in open_dataset(f"folder:{mine}").images}


@pytest.mark.slow
def test_databars_are_cut_and_noted(mine, picture):
    drawn = picture(1, 300, 400)
    drawn[250:] = 255
    drawn[262:280, 20:120:3] = 0
    write(mine / "bar.png", drawn)
    short = picture(2, 60, 400)
    short[44:] = 0
    short[50:54, 20:120:3] = 255
    write(mine / "short.png", short)
    opened = open_dataset(f"folder:{mine}")
    assert np.array_equal(opened.pixels("bar.png"), drawn[:242])
    assert opened.notes["bar.png"] == "databar cut: rows 242 to 300 dropped"
    assert "only 36 rows are left above its databar" in opened.skipped["short.png"]


def test_a_folder_without_usable_images_says_why(mine):
    with pytest.raises(DatasetError, match="holds no files"):
        open_dataset(f"folder:{mine}")
    (mine / "a.png").write_bytes(b"junk")
    (mine / "b.txt").write_text("x")
    with pytest.raises(
        DatasetError, match=r"(?s)None of the 2 files.*a\.png: not an image.*b\.txt: not a PNG"
    ):
        open_dataset(f"folder:{mine}")
    with pytest.raises(DatasetError, match="is not a folder"):
        open_dataset(f"folder:{mine}/none")
    with pytest.raises(DatasetError, match="Say which folder"):
        open_dataset("folder")


@pytest.mark.slow
def test_the_pack_is_reused_until_a_file_changes(mine, picture, monkeypatch):
    write(mine / "a.png", picture(1))
    first = open_dataset(f"folder:{mine}")
    packs = []
    real = folder.Folder.pack
    monkeypatch.setattr(folder.Folder, "pack", lambda *given: (packs.append(given), real(*given)))
    assert open_dataset(f"folder:{mine}").fingerprint == first.fingerprint and not packs
    write(mine / "a.png", picture(2))
    os.utime(mine / "a.png", ns=(1, 1))
    changed = open_dataset(f"folder:{mine}")
    assert len(packs) == 1 and np.array_equal(changed.pixels("a.png"), picture(2))
    next(changed.folder.glob("shard-*")).write_bytes(b"")
    assert np.array_equal(open_dataset(f"folder:{mine}").pixels("a.png"), picture(2))  # damaged: made again


@pytest.mark.slow
def test_several_processes_open_a_new_folder_at_once(mine, picture, tmp_path):
    for seed in range(8):
        write(mine / f"{seed}.png", picture(seed, 300, 400))
    code = "import sys, srbench.datasets as d; print(d.open(sys.argv[1]).fingerprint)"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, f"folder:{mine}"], stdout=subprocess.PIPE, text=True, cwd=tmp_path
        )
        for _ in range(3)
    ]
    printed = {child.communicate()[0] for child in children}
    assert printed == {open_dataset(f"folder:{mine}").fingerprint + "\n"}


def test_split_folders_are_respected(mine, picture):
    for seed, name in enumerate(("train/Tips/a", "train/b", "valid/c", "test/d", "stray", "other/e")):
        write(mine / f"{name}.png", picture(seed))
    opened = open_dataset(f"folder:{mine}")
    assert splits_of(opened) == {
        "train/Tips/a.png": "train",
        "train/b.png": "train",
        "valid/c.png": "val",
        "test/d.png": "test",
    }
    assert set(opened.skipped) == {"stray.png", "other/e.png"}
    assert {image.id: image.category for image in opened.images}["train/Tips/a.png"] == "Tips"


def test_a_duplicate_stays_in_test_not_in_train(mine, picture):
    write(mine / "train" / "a.png", picture(1))
    write(mine / "train" / "b.png", picture(2))
    write(mine / "test" / "z.png", picture(1))
    opened = open_dataset(f"folder:{mine}")
    assert splits_of(opened) == {"test/z.png": "test", "train/b.png": "train"}
    assert opened.skipped["train/a.png"] == "the same picture as test/z.png"


def test_groups_csv(mine, picture):
    for index in range(6):
        write(mine / f"{index}.png", picture(index))
    (mine / "groups.csv").write_text(
        "file,group,category\n0.png,s1,steel\n1.png,s1,\n./2.png, s2 ,steel\n", encoding="utf-8-sig"
    )
    opened = open_dataset(f"folder:{mine}")
    by_id = {image.id: image for image in opened.images}
    assert [by_id[f"{index}.png"].group for index in range(4)] == ["s1", "s1", "s2", "3.png"]
    assert by_id["0.png"].split == by_id["1.png"].split
    assert by_id["0.png"].category == "steel" and by_id["1.png"].category == "My images"
    assert "groups.csv" not in opened.skipped


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,specimen\na.png,1\n", "needs the columns file,group"),
        ("", "needs the columns file,group"),
        ("file,group\ngone.png,1\n", r"names files that are not there: gone\.png"),
    ],
)
def test_a_wrong_groups_csv_is_explained(mine, picture, text, words):
    write(mine / "a.png", picture(1))
    (mine / "groups.csv").write_text(text)
    with pytest.raises(DatasetError, match=words):
        open_dataset(f"folder:{mine}")


def test_a_group_in_two_split_folders_is_refused(mine, picture):
    write(mine / "train" / "a.png", picture(1))
    write(mine / "test" / "b.png", picture(2))
    (mine / "groups.csv").write_text("file,group\ntrain/a.png,s1\ntest/b.png,s1\n")
    with pytest.raises(DatasetError, match="Group 's1' is in two splits"):
        open_dataset(f"folder:{mine}")


@pytest.mark.slow
@given(st.sets(st.text(max_size=8), min_size=1, max_size=60))
def test_splits_are_deterministic_and_never_without_test(groups):
    splits = split_groups(sorted(groups))
    assert splits == split_groups(sorted(groups, reverse=True)) and set(splits) == groups
    counts = {name: list(splits.values()).count(name) for name in ("train", "val", "test")}
    assert counts["test"] == max(1, round(0.15 * len(groups)))
    assert counts["train"] > 0 or len(groups) == 1
    assert counts["val"] > 0 or len(groups) < 3


@pytest.mark.slow
@given(st.sets(st.integers(0, 10**6), min_size=5, max_size=60))
def test_one_more_group_moves_few_others(numbers):
    groups = [str(number) for number in numbers]
    before, after = split_groups(groups), split_groups([*groups, "one more"])
    assert sum(before[group] != after[group] for group in groups) <= 4


def test_check_groups_names_the_images():
    images = [Micrograph("a", "g", "c", "train", 9, 9), Micrograph("b", "g", "c", "test", 9, 9)]
    with pytest.raises(DatasetError, match="a in train, b in test"):
        check_groups(images)
    check_groups(images[:1] * 3)


def test_an_unwritable_home_is_explained(mine, picture, monkeypatch, tmp_path):
    write(mine / "a.png", picture(1))
    blocker = tmp_path / "blocker"
    blocker.write_text("")
    monkeypatch.setenv("SRBENCH_HOME", str(blocker))
    with pytest.raises(StorageError, match=r"Cannot write to .*SRBENCH_HOME"):
        open_dataset(f"folder:{mine}")
