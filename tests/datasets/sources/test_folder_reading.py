"""A user's folder: one name, one bit depth, pixel sizes, pages, groups, links, LR beside HR, remarks."""

import json
import os
import shutil
import sys

import numpy as np
import pytest
import tifffile

from srbench import datasets
from srbench.datasets import DatasetError, DatasetMissing, ReadingOptions
from srbench.datasets import open as open_dataset


@pytest.fixture
def mine(tmp_path, srbench_home):
    path = tmp_path / "mine"
    path.mkdir()
    return path


def write(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels, **options)


def scene(seed, top=255, dtype=np.uint8):
    """One picture by its seed, its brightest pixel at ``top``: ``(64, 72)``."""
    generator = np.random.default_rng(seed)
    waves = np.add.outer(np.sin(np.arange(64) / 5 + seed), np.sin(np.arange(72) / 7)) + generator.random(
        (64, 72)
    )
    waves -= waves.min()
    return np.rint(waves / waves.max() * top).astype(dtype)


# One name


def test_every_spelling_is_one_dataset(mine, monkeypatch, tmp_path):
    write(mine / "a.tif", scene(1))
    (tmp_path / "link").symlink_to(mine)
    monkeypatch.chdir(tmp_path)
    whole = f"folder:{mine.resolve()}"
    spellings = [
        "mine",
        "./mine",
        "mine/",
        str(mine),
        "folder:mine",
        "folder:mine/",
        "folder:./mine/.",
        "link",
    ]
    spellings += [f"folder:../{tmp_path.name}/mine", "mine/../mine"]
    assert {datasets.full_name(name) for name in spellings} == {whole}
    assert {open_dataset(name).name for name in spellings[:4]} == {whole}
    monkeypatch.chdir(mine)
    assert datasets.full_name(".") == whole and open_dataset(".").name == whole
    monkeypatch.setenv("HOME", str(tmp_path))
    assert datasets.full_name("~/mine") == datasets.full_name("folder:~/mine") == whole
    assert (
        datasets.full_name("sem_open") == "sem_open" and datasets.full_name("of_a_plug-in") == "of_a_plug-in"
    )
    assert datasets.full_name("folder:gone") == f"folder:{mine.resolve() / 'gone'}"


def test_a_folder_that_is_not_there_is_called_so(mine):
    for name in (f"{mine}/none", "./none", f"folder:{mine}/none"):
        with pytest.raises(DatasetError, match="is not a folder"):
            open_dataset(name)
    with pytest.raises(DatasetMissing):
        open_dataset("folder")


def test_state_and_verification(mine):
    source = datasets.source(str(mine))
    assert source.state().state == "absent"
    with pytest.raises(DatasetError, match="holds no files"):
        source.open()
    write(mine / "a.tif", scene(1))
    assert source.state().state == "absent"
    opened = source.open()
    state = source.state()
    assert (state.state, state.images) == ("ready", 1) and state.bytes == 64 * 72
    assert not source.verify().problems
    shard = next(opened.folder.glob("shard-*"))
    shard.write_bytes(bytes([shard.read_bytes()[0] ^ 1]) + shard.read_bytes()[1:])
    assert list(source.verify().problems) == ["a.tif"]
    write(mine / "b.tif", scene(2))
    assert source.state().state == "absent"  # what is packed is no longer what is there
    assert source.verify().checked and source.state().images == 2


# Links


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_linked_split_folders_are_followed(mine, tmp_path):
    write(tmp_path / "x" / "a.tif", scene(1))
    write(tmp_path / "y" / "b.tif", scene(2))
    (mine / "train").symlink_to(tmp_path / "x")
    (mine / "test").symlink_to(tmp_path / "y")
    (tmp_path / "x" / "circle").symlink_to(mine)
    opened = open_dataset(str(mine))
    assert {image.id: image.split for image in opened.images} == {
        "train/a.tif": "train",
        "test/b.tif": "test",
    }
    assert opened.has_splits
    # What is hidden from models: also where the links lead to, but for folders around everything.
    (mine / "test" / "up").symlink_to(tmp_path)
    write(tmp_path / "z" / "c.tif", scene(3))
    hidden = open_dataset(str(mine)).hr_paths()
    assert {mine, tmp_path / "x", tmp_path / "y", tmp_path / "z" / "c.tif"} <= set(hidden)
    assert tmp_path not in hidden


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_a_folder_and_files_of_any_bytes(tmp_path, srbench_home):
    odd = tmp_path / os.fsdecode(b"prob\xe9")
    name = os.fsdecode(b"b\xff.tif")
    write(odd / "a.tif", scene(1))
    (odd / "a.tif").rename(odd / name)
    write(odd / "masks" / "a.tif", (scene(1) > 9).astype(np.uint8))
    (odd / "masks" / "a.tif").rename(odd / "masks" / name)
    (odd / "groups.csv").write_text("file,group\nb\\xff.tif,s\n")
    opened = open_dataset(f"folder:{odd}")
    # Ids and the set's own name are text that can be stored, and lead back to the files.
    (image,) = opened.images
    assert (image.id, image.group, image.has_mask) == (r"b\xff.tif", "s", True)
    assert np.array_equal(opened.pixels(image.id), scene(1)) and not opened.skipped
    assert opened.name == rf"folder:{tmp_path.resolve()}/prob\xe9"
    assert datasets.full_name(opened.name) == opened.name
    assert open_dataset(opened.name).fingerprint == opened.fingerprint
    shutil.rmtree(odd)
    assert datasets.full_name(opened.name) == opened.name  # also when it is gone


# Depth


@pytest.mark.parametrize("top", [1023, 4095, 16383, 65535])
def test_detector_bits_are_brought_to_full_scale(mine, top):
    for seed in range(3):
        # Only one image reaches the top: the others must be read by the same depth.
        write(mine / f"{seed}.tif", scene(seed, top if seed == 0 else top // 3, np.uint16))
    opened = open_dataset(str(mine))
    for seed in range(3):
        stored = scene(seed, top if seed == 0 else top // 3, np.uint16).astype(np.float64)
        assert np.array_equal(opened.pixels(f"{seed}.tif"), np.floor(stored * 65535 / top + 0.5))
    bits = top.bit_length()
    said = [remark for remark in opened.remarks() if "significant bits" in remark]
    assert said == ([f"{bits} significant bits of 16: 3 images"] if bits < 16 else [])
    assert all(str(top) in note for note in opened.notes.values())


def test_files_too_large_to_be_held_are_read_twice(mine, monkeypatch):
    for seed in range(2):
        write(mine / f"{seed}.tif", scene(seed, 4095 >> seed, np.uint16))
    first = open_dataset(str(mine)).fingerprint
    monkeypatch.setattr("srbench.datasets.sources.user_folder._HELD_BYTES", 0)
    monkeypatch.setenv("SRBENCH_HOME", str(mine.parent / "other"))
    assert open_dataset(str(mine)).fingerprint == first


def test_eight_bit_files_stay_beside_deep_ones(mine):
    write(mine / "a.tif", scene(1))
    write(mine / "b.tif", scene(2, 4095, np.uint16))
    opened = open_dataset(str(mine))
    assert np.array_equal(opened.pixels("a.tif"), scene(1)) and opened.pixels("b.tif").max() == 65535
    assert {image.id: image.bits for image in opened.images} == {"a.tif": 8, "b.tif": 16}


def test_given_bits_go_first_and_have_a_pack_of_their_own(mine):
    write(mine / "a.tif", scene(1, 4095, np.uint16))
    plain, given = open_dataset(str(mine)), open_dataset(str(mine), ReadingOptions(bits=16))
    assert plain.pixels("a.tif").max() == 65535 and given.pixels("a.tif").max() == 4095
    assert plain.fingerprint != given.fingerprint and plain.name == given.name
    assert any("16 significant bits, as given" in remark for remark in given.remarks())
    assert plain.pixels("a.tif").max() == 65535  # neither has replaced the other


def test_options_are_checked_and_are_for_folders_alone(mine):
    for wrong in ({"bits": 17}, {"bits": 7}, {"pixel_size_nm": 0.0}, {"pages": "some"}, {"measure": ("x",)}):
        with pytest.raises(DatasetError):
            ReadingOptions(**wrong)
    with pytest.raises(DatasetError, match="folders of your own"):
        open_dataset("sem_synthetic", ReadingOptions(bits=12))
    options = ReadingOptions(12, 5.8, "all", ("lines", "pores"))
    words = "--bits 12 --pixel-size-nm 5.8 --pages all --measure lines --measure pores"
    assert options.arguments == words.split() and ReadingOptions().arguments == []
    assert open_dataset("sem_synthetic", ReadingOptions()).card.name == "sem_synthetic"


# Pixel size, pages, what to measure


def test_pixel_sizes_come_from_the_files_or_from_their_owner(mine):
    write(mine / "a.tif", scene(1), imagej=True, resolution=(1 / 0.005, 1 / 0.005), metadata={"unit": "um"})
    write(mine / "b.tif", scene(2), resolution=(300, 300), resolutionunit="INCH")
    opened = open_dataset(str(mine))
    a, b = opened.images
    assert a.pixel_size_nm == pytest.approx(5.0) and a.pixel_size_source == "ImageJ tag"
    assert b.pixel_size_nm is None and b.pixel_size_source == ""
    assert "pixel size 5 nm (ImageJ tag): 1 image" in opened.remarks()
    assert "pixel size unknown: 1 image" in opened.remarks()
    given = open_dataset(str(mine), ReadingOptions(pixel_size_nm=7.5, measure=("particles",)))
    assert {image.pixel_size_nm for image in given.images} == {7.5}
    assert {image.measure for image in given.images} == {("particles",)}
    assert "the file says 5 nm (ImageJ tag)" in given.notes["a.tif"] and "b.tif" not in given.notes
    assert given.fingerprint == opened.fingerprint  # the same pixels


def test_pages(mine):
    write(mine / "s.tif", np.stack([scene(seed) for seed in range(3)]), photometric="minisblack")
    write(mine / "t.tif", scene(5))
    first = open_dataset(str(mine))
    assert [image.id for image in first.images] == ["s.tif", "t.tif"]
    assert "first of several pages: 1 image" in first.remarks()
    every = open_dataset(str(mine), ReadingOptions(pages="all"))
    assert [image.id for image in every.images] == ["s.tif#1", "s.tif#2", "s.tif#3", "t.tif"]
    assert {image.group for image in every.images} == {"s.tif", "t.tif"}
    assert np.array_equal(every.pixels("s.tif#2"), scene(1))
    (mine / "groups.csv").write_text("file,group,category\ns.tif,steel 1,steel\nt.tif,steel 1,\n")
    grouped = open_dataset(str(mine), ReadingOptions(pages="all"))
    assert {image.group for image in grouped.images} == {"steel 1"}
    assert {image.id: image.category for image in grouped.images}["s.tif#3"] == "steel"


def test_a_mask_of_a_file_with_several_pages_is_of_none_of_them(mine):
    write(mine / "s.tif", np.stack([scene(seed) for seed in range(2)]), photometric="minisblack")
    write(mine / "masks" / "s.tif", (scene(0) > 99).astype(np.uint8))
    assert open_dataset(str(mine)).mask("s.tif") is not None
    every = open_dataset(str(mine), ReadingOptions(pages="all"))
    assert (
        not any(image.has_mask for image in every.images) and "several pages" in every.skipped["masks/s.tif"]
    )


# Masks


def test_images_of_one_stem_never_share_a_mask(mine):
    write(mine / "a.tif", scene(1))
    write(mine / "a.tiff", scene(2))
    mask = (scene(1) > 128).astype(np.uint8)
    write(mine / "masks" / "a.tif", mask)
    opened = open_dataset(str(mine))
    assert opened.mask("a.tif") is None and opened.mask("a.tiff") is None
    assert "a.tiff_mask.png" in opened.skipped["masks/a.tif"]


@pytest.mark.parametrize("place", ["masks/a.tif.tif", "a.tif_mask.tif"])
def test_a_name_with_the_suffix_says_whose_mask_it_is(mine, place):
    write(mine / "a.tif", scene(1))
    write(mine / "a.tiff", scene(2))
    mask = (scene(1) > 128).astype(np.uint8)
    write(mine / place, mask)
    named = open_dataset(str(mine))
    assert np.array_equal(named.mask("a.tif"), mask) and named.mask("a.tiff") is None and not named.skipped


def test_a_mask_is_cut_as_its_image_with_the_frame(mine):
    inner = scene(1)
    colour = np.repeat(np.pad(inner, 1)[..., None], 3, axis=2)
    colour[[0, -1]] = colour[:, [0, -1]] = (0, 255, 0)
    write(mine / "a.tif", colour, photometric="rgb")
    labels = np.arange(colour.shape[0] * colour.shape[1], dtype=np.uint16).reshape(colour.shape[:2])
    write(mine / "masks" / "a.tif", labels)
    opened = open_dataset(str(mine))
    cut = labels[1:-1, 1:-1]
    assert opened.pixels("a.tif").shape == inner.shape and np.array_equal(opened.mask("a.tif"), cut)


# Groups


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,group\na.tif,s1\nb.tif\n", "line 3: no group beside 'b.tif'"),
        ("file,group\na.tif,\n", "line 2: no group beside 'a.tif'"),
        ("file,group\n,s1\n", "line 2: no file beside 's1'"),
        ("file;group\na.tif;s1\n", "needs the columns file,group"),
    ],
)
def test_rows_of_groups_csv_are_whole(mine, text, words):
    write(mine / "a.tif", scene(1))
    write(mine / "b.tif", scene(2))
    (mine / "groups.csv").write_text(text)
    with pytest.raises(DatasetError, match=words):
        open_dataset(str(mine))


def test_groups_csv_in_any_case(mine):
    write(mine / "a.tif", scene(1))
    write(mine / "b.tif", scene(2))
    (mine / "Groups.CSV").write_text("file,group\na.tif,s\nb.tif,s\n\n")
    opened = open_dataset(str(mine))
    assert {image.group for image in opened.images} == {"s"} and not opened.skipped
    if not (mine / "groups.csv").exists():  # a file system that tells cases apart
        (mine / "groups.csv").write_text("file,group\na.tif,t\n")
        with pytest.raises(DatasetError, match="Keep one"):
            open_dataset(str(mine))


# LR beside HR


def test_lr_beside_hr_is_refused_with_what_to_do(mine):
    for seed in range(3):
        pixels = np.kron(scene(seed), np.ones((4, 4), np.uint8))
        write(mine / "HR" / f"s{seed}.tif", pixels)
        write(mine / "LR" / f"s{seed}.tif", pixels[::4, ::4])
    with pytest.raises(DatasetError, match=r"HR and LR hold the same images at 1/4.*HR images alone"):
        open_dataset(str(mine))
    assert len(open_dataset(str(mine / "HR"))) == 3


# Remarks and limits


def test_remarks_count_what_was_done_and_skipped(mine):
    write(mine / "a.tif", np.dstack([scene(1), scene(2), scene(3)]), photometric="rgb")
    write(mine / "b.tif", scene(4))
    write(mine / "c.tif", scene(4), compression="lzw")
    for size in (20, 21):
        write(mine / f"{size}.tif", np.arange(size * size, dtype=np.uint8).reshape(size, size))
    (mine / "notes.txt").write_text("x")
    opened = open_dataset(f"folder:{mine}")
    assert opened.remarks() == [
        "colour, converted to BT.601 luma: 1 image",
        "pixel size unknown: 2 images",
        "4 files skipped: 20x20 px is too small (2); the same picture (1); "
        "not a PNG, TIFF, JPEG or BMP file by its name (1)",
    ]


def test_a_limit_takes_the_same_few_images_over_the_groups(mine):
    groups = {"a.tif": "1", "b.tif": "1", "c.tif": "2", "d.tif": "3", "e.tif": "3"}
    for seed, name in enumerate(groups):
        write(mine / name, scene(seed))
    rows = "".join(f"{name},{group}\n" for name, group in groups.items())
    (mine / "groups.csv").write_text(f"file,group\n{rows}")
    opened = open_dataset(str(mine))
    assert [image.id for image in opened.split("all-limit3")] == ["a.tif", "c.tif", "d.tif"]
    assert [image.id for image in opened.split("all-limit4")] == ["a.tif", "b.tif", "c.tif", "d.tif"]
    assert opened.split("all-limit9") == opened.split("all") == opened.images
    (test,) = {image.group for image in opened.split("test")}
    assert len(opened.split("test-limit1")) == 1 and opened.split("test-limit1")[0].group == test
    assert not opened.has_splits


def test_the_manifest_of_a_pack_is_plain_json(mine):
    write(mine / "a.tif", scene(1, 4095, np.uint16))
    opened = open_dataset(str(mine), ReadingOptions(measure=("lines", "pores")))
    manifest = json.loads((opened.folder / "manifest.json").read_text())
    assert manifest["notes"] == {"a.tif": "12 significant bits of 16: largest value 4095"}
    assert opened.images[0].measure == ("lines", "pores")
