"""Packs: what goes in comes out, views not copies, and no crash, full disk or flipped bit goes unnoticed."""

import errno
import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srbench.datasets.base import DatasetCard, Micrograph
from srbench.datasets.images.registration import Alignment
from srbench.datasets.packed import writer as pack_writer
from srbench.datasets.packed.format import PackedSet, read_index, read_manifest
from srbench.datasets.packed.writer import packing, verify_packed
from srbench.utils import files as storage
from srbench.utils.errors import DatasetError, DatasetMissing, StorageError
from srbench.utils.files import pixel_hash

CARD = DatasetCard("toy", "Toy", "user", "for tests", "none")


def pack(folder, images, *, shard_bytes=1 << 20, version="1", split="test"):
    with packing(folder, name="toy", version=version, shard_bytes=shard_bytes) as writer:
        for name, pixels in images.items():
            writer.add(name, pixels)
        return writer.finish(
            Micrograph(name, f"group-{name}", "c", split, *pixels.shape, bits=pixels.dtype.itemsize * 8)
            for name, pixels in images.items()
        )


@pytest.fixture
def images(picture):
    return {
        "a": picture(1, 60, 80),
        "b": picture(2, 49, 131, np.uint16),
        "c": picture(3, 100, 50),
    }


def leftovers(folder):
    manifest = read_manifest(folder)
    used = {"manifest.json", manifest.index, *manifest.shards, storage.LOCK}
    return {path.name for path in folder.iterdir()} - used


@pytest.mark.parametrize("shard_bytes", [1, 6000, 1 << 20])
def test_round_trip_of_mixed_sizes_and_depths(tmp_path, images, shard_bytes):
    pack(tmp_path, images, shard_bytes=shard_bytes)
    opened = PackedSet(tmp_path, CARD)
    assert [image.id for image in opened.images] == ["a", "b", "c"]
    for name, pixels in images.items():
        found = opened.pixels(name)
        assert found.dtype == pixels.dtype and np.array_equal(found, pixels)
        assert not found.flags.writeable
    assert len(opened.manifest.shards) == {1: 3, 6000: 2, 1 << 20: 1}[shard_bytes]
    assert not verify_packed(tmp_path).problems
    assert not leftovers(tmp_path)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40), st.booleans()), min_size=1, max_size=6),
    shard_bytes=st.integers(1, 4000),
)
def test_any_sizes_survive(tmp_path_factory, shapes, shard_bytes):
    folder = tmp_path_factory.mktemp("pack")
    generator = np.random.default_rng(0)
    images = {
        f"{index}": generator.integers(0, 65536 if deep else 256, (height, width)).astype(
            np.uint16 if deep else np.uint8
        )
        for index, (height, width, deep) in enumerate(shapes)
    }
    pack(folder, images, shard_bytes=shard_bytes)
    opened = PackedSet(folder, CARD)
    assert all(np.array_equal(opened.pixels(name), pixels) for name, pixels in images.items())
    assert not verify_packed(folder).problems


def test_pixels_and_crops_are_views_of_the_mapped_file(tmp_path, images):
    pack(tmp_path, images)
    opened = PackedSet(tmp_path, CARD)
    crop = opened.pixels("a")[10:20, 10:20]
    assert np.shares_memory(crop, opened.pixels("a"))
    assert np.shares_memory(opened.pixels("a").base, opened.pixels("c").base)  # one mapping, no copies
    with pytest.raises(ValueError, match="read-only"):
        crop[0, 0] = 1


def test_twin_images_in_two_shards(tmp_path, picture):
    twins = {"a": picture(1), "b": picture(1)}
    pack(tmp_path, twins, shard_bytes=1)
    opened = PackedSet(tmp_path, CARD)
    assert np.array_equal(opened.pixels("a"), opened.pixels("b"))
    assert not verify_packed(tmp_path).problems


def test_a_set_travels_to_worker_processes_without_its_pixels(tmp_path, images):
    pack(tmp_path, images)
    opened = PackedSet(tmp_path, CARD)
    opened.pixels("a")
    data = pickle.dumps(opened)
    assert len(data) < 5000
    assert np.array_equal(pickle.loads(data).pixels("b"), images["b"])


def test_fingerprint_depends_on_pixels_splits_and_groups_only(tmp_path, images):
    first = pack(tmp_path / "1", images).fingerprint
    assert (
        pack(tmp_path / "2", dict(reversed(images.items())), shard_bytes=1, version="9").fingerprint == first
    )
    assert pack(tmp_path / "3", images, split="train").fingerprint != first
    changed = {**images, "a": images["a"] ^ 1}
    assert pack(tmp_path / "4", changed).fingerprint != first


def test_one_flipped_byte_is_found_and_named(tmp_path, images):
    pack(tmp_path, images)
    opened = PackedSet(tmp_path, CARD)
    stored = opened.stored("b")
    shard = tmp_path / stored.shard
    data = bytearray(shard.read_bytes())
    data[stored.offset + 77] ^= 4
    shard.write_bytes(data)
    assert list(verify_packed(tmp_path).problems) == ["b"]
    data[stored.offset + 77] ^= 4
    data[stored.offset + stored.nbytes + 1] ^= 1  # the gap behind this image
    shard.write_bytes(data)
    assert list(verify_packed(tmp_path).problems) == [stored.shard]


@pytest.fixture
def colour(picture):
    """A colour image with a mask, two further scans and a truth; a plain grey one beside it."""
    red, green, blue = (picture(seed, 60, 81, np.uint16) for seed in (11, 12, 13))
    pixels = np.dstack([red, green, blue])
    mask = (picture(14, 60, 81) // 60).astype(np.uint8)
    return {"pixels": pixels, "mask": mask, "scans": [pixels + 1, pixels + 2], "truth": {"radii": [1.5, 2]}}


def pack_colour(folder, colour, picture, *, shard_bytes=1 << 20):
    with packing(folder, name="toy", version="1", shard_bytes=shard_bytes) as writer:
        writer.add(
            "rich",
            colour["pixels"],
            mask=colour["mask"],
            acquisitions=iter(colour["scans"]),
            truth=colour["truth"],
        )
        writer.add("plain", picture(1))
        images = [
            Micrograph("rich", "g", "c", "test", 60, 81, bits=16),
            Micrograph("plain", "h", "c", "test", 96, 128),
        ]
        return writer.finish(images)


@pytest.mark.parametrize("shard_bytes", [1, 1 << 20])
def test_colour_masks_acquisitions_and_truth_come_back(tmp_path, colour, picture, shard_bytes):
    pack_colour(tmp_path, colour, picture, shard_bytes=shard_bytes)
    opened = pickle.loads(pickle.dumps(PackedSet(tmp_path, CARD)))
    plain, rich = opened.images
    assert (rich.channels, rich.has_mask, rich.has_truth) == (3, True, True)
    assert (plain.channels, plain.has_mask, plain.has_truth) == (1, False, False)
    assert np.array_equal(opened.pixels("rich"), colour["pixels"])
    assert np.array_equal(opened.mask("rich"), colour["mask"]) and opened.mask("rich").dtype == np.uint8
    for index, scan in enumerate(colour["scans"]):
        assert np.array_equal(opened.acquisition("rich", index), scan)
    assert opened.acquisition("rich", 2) is None
    assert (opened.mask("plain"), opened.acquisition("plain", 0), opened.truth("plain")) == (None, None, None)
    assert not opened.mask("rich").flags.writeable
    opened.truth("rich")["radii"].append(3)
    assert opened.truth("rich") == {"radii": [1.5, 2]}  # nobody's changes reach the set
    with pytest.raises(DatasetError, match="numbered from 0"):
        opened.acquisition("rich", -1)
    with pytest.raises(DatasetError, match="no image 'nope'"):
        opened.mask("nope")
    assert not verify_packed(tmp_path).problems


@pytest.mark.parametrize("part", ["pixels", "mask", "acquisition 1"])
def test_one_flipped_byte_in_any_part_is_found_and_named(tmp_path, colour, picture, part):
    manifest = pack_colour(tmp_path, colour, picture)
    records = {record.image.id: record for record in read_index(tmp_path, manifest)}
    stored = dict(records["rich"].parts())[part]
    shard = tmp_path / stored.shard
    data = bytearray(shard.read_bytes())
    data[stored.offset + stored.nbytes - 1] ^= 1
    shard.write_bytes(data)
    problems = verify_packed(tmp_path).problems
    assert list(problems) == ["rich"] and problems["rich"].startswith(f"{part} changed on disk")


def test_fingerprint_depends_on_masks_and_acquisitions(tmp_path, colour, picture):
    changes = [
        {},
        {"mask": colour["mask"] ^ 1},
        {"scans": colour["scans"][::-1]},
        {"pixels": colour["pixels"][..., ::-1]},
    ]
    found = [
        pack_colour(tmp_path / str(index), {**colour, **change}, picture).fingerprint
        for index, change in enumerate(changes)
    ]
    assert len(set(found)) == len(changes)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"mask": np.zeros((60, 80), np.uint8)},
            r"mask: expected \(60, 81\) uint8 or uint16, found \(60, 80\)",
        ),
        ({"mask": np.zeros((60, 81), np.int32)}, "mask: .*found .* int32"),
        ({"scans": [np.zeros((60, 81, 3), np.uint8)]}, "acquisition 0: expected .* uint16, found .* uint8"),
    ],
)
def test_masks_and_acquisitions_must_fit_their_image(tmp_path, colour, picture, wrong, message):
    with pytest.raises(DatasetError, match=message):
        pack_colour(tmp_path, {**colour, **wrong}, picture)


def test_hashes_of_grey_pixels_are_the_published_ones():
    """A shape, a dtype and little-endian rows: ``sem_open.json`` and old fingerprints hold such hashes."""
    grey = np.arange(6, dtype=np.uint16).reshape(2, 3)
    assert pixel_hash(grey) == hashlib.sha256(b"2x3 uint16\n" + grey.astype("<u2").tobytes()).hexdigest()
    colour = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    assert pixel_hash(colour) == hashlib.sha256(b"2x3x3 uint8\n" + colour.tobytes()).hexdigest()


def test_the_manifest_tells_licence_terms_and_source(tmp_path, picture):
    said = {"licence": "CC-BY-4.0", "terms": "name the authors", "source": "https://example.org, release 2"}
    with packing(tmp_path, name="toy", version="1", **said) as writer:
        writer.add("a", picture())
        writer.finish([Micrograph("a", "g", "c", "test", 96, 128)])
    manifest = read_manifest(tmp_path)
    assert {name: getattr(manifest, name) for name in said} == said


def test_a_pack_of_the_first_format_is_refused_and_replaced(tmp_path, images):
    manifest = pack(tmp_path, images)
    old = {key: value for key, value in asdict(manifest).items() if key not in ("licence", "terms", "source")}
    (tmp_path / "manifest.json").write_text(json.dumps({**old, "format": 1}))
    with pytest.raises(DatasetError, match=r"another version of srbench \(format 1, expected 2\).*import"):
        PackedSet(tmp_path, CARD)
    pack(tmp_path, images)
    assert len(PackedSet(tmp_path, CARD)) == 3 and not leftovers(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["truncate", "remove", "index", "manifest", "format"])
def test_damage_is_an_error_at_opening(tmp_path, images, harm):
    manifest = pack(tmp_path, images)
    shard, path = tmp_path / next(iter(manifest.shards)), tmp_path / "manifest.json"
    if harm == "truncate":
        os.truncate(shard, 100)
    elif harm == "remove":
        shard.unlink()
    elif harm == "index":
        index = tmp_path / manifest.index
        index.write_bytes(index.read_bytes().replace(b'"test"', b'"train"'))
    elif harm == "manifest":
        path.write_bytes(path.read_bytes()[:50])
    else:
        path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(DatasetError, match=r"delete its manifest\.json and import"):
        PackedSet(tmp_path, CARD)
    pack(tmp_path, images)  # packing again heals it
    assert not verify_packed(tmp_path).problems


def test_nothing_packed_is_missing(tmp_path):
    with pytest.raises(DatasetMissing, match="Nothing is packed"):
        PackedSet(tmp_path, CARD)


def test_an_unknown_image_is_named(tmp_path, images):
    pack(tmp_path, images)
    with pytest.raises(DatasetError, match="no image 'nope'"):
        PackedSet(tmp_path, CARD).pixels("nope")


def test_refuses_repeated_ids_transparency_and_nothing(tmp_path, picture):
    with packing(tmp_path, name="toy", version="1") as writer:
        writer.add("a", picture())
        with pytest.raises(DatasetError, match="Two images"):
            writer.add("a", picture())
        with pytest.raises(DatasetError, match=r"expected \(H, W\)"):
            writer.add("b", np.zeros((4, 4, 4), np.uint8))
        with pytest.raises(DatasetError, match="no images"):
            writer.finish([])


def test_repacking_replaces_and_leaves_no_rubbish(tmp_path, images, picture):
    pack(tmp_path, images)
    before = PackedSet(tmp_path, CARD)
    held = before.pixels("a")
    pack(tmp_path, {"z": picture(9)})
    assert [image.id for image in PackedSet(tmp_path, CARD).images] == ["z"]
    assert np.array_equal(held, images["a"])  # what was mapped stays readable
    assert not leftovers(tmp_path)


def test_an_exception_while_packing_keeps_the_old_state(tmp_path, images, picture):
    before = pack(tmp_path, images)
    with pytest.raises(RuntimeError), packing(tmp_path, name="toy", version="2") as writer:
        writer.add("z", picture(9))
        raise RuntimeError
    assert read_manifest(tmp_path) == before
    assert not leftovers(tmp_path)


def test_a_full_disk_keeps_the_old_state_and_says_what_to_do(tmp_path, images, picture, monkeypatch):
    before = pack(tmp_path, images)

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pack_writer.Shard, "append", full)
    with pytest.raises(StorageError, match=r"No space left.*SRBENCH_HOME"):
        pack(tmp_path, {"z": picture(9)})
    monkeypatch.undo()
    assert read_manifest(tmp_path) == before and not leftovers(tmp_path)
    pack(tmp_path, {"z": picture(9)})
    assert len(PackedSet(tmp_path, CARD)) == 1


@pytest.mark.parametrize("moment", ["index", "manifest"])
def test_a_disk_that_fills_at_the_very_end_keeps_the_old_state(
    tmp_path, images, picture, monkeypatch, moment
):
    before = pack(tmp_path, images)
    real_flush, calls = storage.flush, []

    def full(file):
        calls.append(file)
        if len(calls) == (1 if moment == "index" else 2):
            raise OSError(errno.ENOSPC, "No space left on device")
        real_flush(file)

    monkeypatch.setattr(storage, "flush", full)  # the shard is flushed by pack_writer's own name
    with pytest.raises(StorageError, match="No space left"):
        pack(tmp_path, {"z": picture(9)})
    assert read_manifest(tmp_path) == before
    assert not verify_packed(tmp_path).problems


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_really_full_device(tmp_path, images, monkeypatch):
    before = pack(tmp_path, images)
    real = pack_writer.Shard

    class OnFullDevice(real):
        def __init__(self, path):
            super().__init__(path)
            self.file.close()
            self.file = Path("/dev/full").open("wb")  # noqa: SIM115

    monkeypatch.setattr(pack_writer, "Shard", OnFullDevice)
    with pytest.raises(StorageError, match="No space left"):
        pack(tmp_path, {"z": np.zeros((400, 400), np.uint8)})
    assert read_manifest(tmp_path) == before


def test_a_folder_that_cannot_be_written(tmp_path, images):
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    with pytest.raises(StorageError, match=r"Cannot write to .*SRBENCH_HOME"):
        pack(blocker / "pack", images)


def test_a_second_writer_is_told_to_wait(tmp_path, images):
    with (
        packing(tmp_path, name="toy", version="1"),
        pytest.raises(StorageError, match="Another srbench is writing"),
        packing(tmp_path, name="toy", version="1"),
    ):
        pass
    pack(tmp_path, images)


KILLED = """
    import sys, time
    from pathlib import Path
    import numpy as np
    from srbench.datasets.packed import writer
    from srbench.datasets.base import Micrograph

    folder, moment = Path(sys.argv[1]), sys.argv[2]

    def hang(*_):
        print("now", flush=True)
        time.sleep(60)

    if moment == "before the manifest":
        real = writer.write_bytes
        writer.write_bytes = lambda path, data: (
            hang() if path.name == "manifest.json" else real(path, data)
        )
    with writer.packing(folder, name="toy", version="2", shard_bytes=5000) as pack:
        images = []
        for index in range(6):
            pixels = np.full((64, 64), index, np.uint8)
            pixels[0, 0] = 200
            pack.add(f"n{index}", pixels)
            images.append(Micrograph(f"n{index}", "g", "c", "test", 64, 64))
            if index == 4 and moment == "between images":
                hang()
        pack.finish(images)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize("moment", ["between images", "before the manifest"])
def test_kill_9_while_packing_leaves_the_old_state(tmp_path, images, moment):
    before = pack(tmp_path, images)
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), moment],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path.parent,
    )
    assert child.stdout.readline() == "now\n"
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL

    assert read_manifest(tmp_path) == before
    assert not verify_packed(tmp_path).problems
    assert leftovers(tmp_path)
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), "not at all"], cwd=tmp_path.parent
    )
    assert child.returncode == 0
    opened = PackedSet(tmp_path, CARD)
    assert [image.id for image in opened.images] == [f"n{index}" for index in range(6)]
    assert opened.pixels("n5")[0, 0] == 200 and opened.pixels("n5")[5, 5] == 5
    assert not leftovers(tmp_path)


@pytest.mark.slow
def test_opening_does_not_read_the_pixels(tmp_path):
    pack(tmp_path, {"big": np.zeros((4000, 4000), np.uint8)})
    manifest = read_manifest(tmp_path)
    shard = tmp_path / next(iter(manifest.shards))
    accessed = time.time_ns() - 10**12
    os.utime(shard, ns=(accessed, accessed))
    opened = PackedSet(tmp_path, CARD)
    assert not opened._shards
    opened.pixels("big")
    assert list(opened._shards) == [shard.name]


def test_recorded_lr_a_second_scan_and_their_alignment_come_back(tmp_path, picture):
    hr, second, lr = picture(1, 60, 80), picture(2, 60, 80), picture(3, 30, 40)
    alignment = Alignment((1.5, -2.25), 0.125, 0.9)
    image = Micrograph("a", "g", "c", "test", 60, 80, pixel_size_nm=4.0)
    fingerprints = []
    for part in (lr, picture(4, 30, 40)):
        with packing(tmp_path, name="toy", version="1") as writer:
            writer.add(
                "a", hr, lr=part, second=second, as_recorded=picture(5, 59, 81), registration=alignment
            )
            writer.finish([image])
        fingerprints.append(PackedSet(tmp_path, CARD).fingerprint)
    opened = pickle.loads(pickle.dumps(PackedSet(tmp_path, CARD)))
    assert opened.recorded_scale == 2 and opened.registration("a") == alignment
    assert np.array_equal(opened.lr("a"), picture(4, 30, 40)) and np.array_equal(opened.second("a"), second)
    assert np.array_equal(opened.as_recorded("a"), picture(5, 59, 81))
    assert any("0.12 px (0.5 nm)" in remark for remark in opened.remarks())
    assert fingerprints[0] != fingerprints[1]
    shard = next(tmp_path.glob("shard-*.bin"))
    damaged = bytearray(shard.read_bytes())
    damaged[damaged.find(opened.lr("a").tobytes())] ^= 1
    shard.write_bytes(damaged)
    assert "LR" in verify_packed(tmp_path).problems["a"]


def test_lr_and_second_scans_of_another_shape_are_refused(tmp_path, picture):
    hr = picture(1, 60, 80)
    wrong = ({"lr": picture(2, 30, 41)}, {"lr": picture(2, 31, 40)}, {"second": picture(2, 60, 79)})
    with packing(tmp_path, name="toy", version="1") as writer:
        for beside in wrong:
            with pytest.raises(DatasetError, match="a: "):
                writer.add("a", hr, **beside)
