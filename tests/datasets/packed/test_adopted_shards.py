"""Adopted shards: linked into a pack beside written ones, kept where they were until the pack is made."""

import hashlib

import numpy as np
import pytest

from srbench.datasets.base import DatasetCard, Micrograph
from srbench.datasets.packed import writer as pack_writer
from srbench.datasets.packed.format import PackedSet, Stored
from srbench.datasets.packed.writer import packing, verify_packed
from srbench.utils.errors import DatasetError
from srbench.utils.files import pixel_hash

CARD = DatasetCard("toy", "Toy", "user", "tests", "none")
PICTURES = {
    name: np.random.default_rng(seed).integers(0, 256, (20, 32), np.uint8) for seed, name in enumerate("abcd")
}


def staged(path, names):
    """A shard file as somebody else would write it, with holes, and where the pictures lie in it."""
    data, stored = b"", {}
    for name in names:
        data += bytes(-len(data) % 64 + 128)
        pixels = PICTURES[name]
        stored[name] = Stored("", len(data), 20, 32, "uint8", pixel_hash(pixels))
        data += pixels.tobytes()
    path.write_bytes(data)
    return len(data), hashlib.sha256(data).hexdigest(), stored


def adopt(writer, path, size, digest, stored):
    writer.adopt(pack_writer.AdoptedShard(path, size, digest), stored)


def image(name):
    return Micrograph(name, name, "", "train", 20, 32)


def packed(folder, shards, written=()):
    with packing(folder, name="toy", version="1") as writer:
        for path, facts in shards.items():
            adopt(writer, path, *facts)
        for name in written:
            writer.add(name, PICTURES[name])
        names = [name for _, _, stored in shards.values() for name in stored]
        writer.finish(map(image, [*names, *written]))
    return PackedSet(folder, CARD)


def check(found, names):
    assert [one.id for one in found.images] == sorted(names)
    for name in names:
        assert np.array_equal(found.pixels(name), PICTURES[name])
    assert verify_packed(found.folder).problems == {}


def test_adopted_and_written_shards_make_one_pack(tmp_path):
    paths = {tmp_path / "one.bin": "ab", tmp_path / "two.bin": "c"}
    shards = {path: staged(path, names) for path, names in paths.items()}
    found = packed(tmp_path / "pack", shards, written="d")
    check(found, "abcd")
    assert len(found.manifest.shards) == 3
    for path, (size, digest, _) in shards.items():
        linked = tmp_path / "pack" / f"shard-{digest[:16]}.bin"
        assert path.samefile(linked) and linked.stat().st_size == size
    # What was packed so is the same set as when it is written.
    assert found.fingerprint == packed(tmp_path / "written", {}, written="abcd").fingerprint


def test_where_there_are_no_links_the_shard_moves(tmp_path, monkeypatch):
    def no_links(*args):
        raise OSError(1, "Operation not permitted")

    path = tmp_path / "one.bin"
    shards = {path: staged(path, "ab")}
    monkeypatch.setattr(pack_writer.os, "link", no_links)
    check(packed(tmp_path / "pack", shards), "ab")
    assert not path.exists()


def test_a_pack_that_is_not_finished_leaves_the_shard(tmp_path):
    path = tmp_path / "one.bin"
    facts = staged(path, "ab")
    with packing(tmp_path / "pack", name="toy", version="1") as writer:
        adopt(writer, path, *facts)
    assert path.stat().st_size == facts[0] and not list((tmp_path / "pack").glob("shard-*"))


def test_a_damaged_file_of_the_same_name_is_replaced(tmp_path):
    path = tmp_path / "one.bin"
    shards = {path: staged(path, "ab")}
    found = packed(tmp_path / "pack", shards)
    (name,) = found.manifest.shards
    (tmp_path / "pack" / name).unlink()
    (tmp_path / "pack" / name).write_bytes(bytes(shards[path][0]))
    assert verify_packed(tmp_path / "pack").problems
    check(packed(tmp_path / "pack", shards), "ab")
    check(packed(tmp_path / "pack", shards), "ab")  # and over a link to itself
    assert not list((tmp_path / "pack").glob(".shard*"))


def test_what_does_not_fit_is_refused(tmp_path):
    path = tmp_path / "one.bin"
    size, digest, stored = staged(path, "ab")
    with packing(tmp_path / "pack", name="toy", version="1") as writer:
        with pytest.raises(DatasetError, match=f"has {size:,} bytes, expected {size + 1:,}"):
            adopt(writer, path, size + 1, digest, stored)
        with pytest.raises(DatasetError, match="has 0 bytes"):
            adopt(writer, tmp_path / "none.bin", size, digest, stored)
        outside = {"a": Stored("", size - 10, 20, 32, "uint8", "")}
        with pytest.raises(DatasetError, match="images up to"):
            adopt(writer, path, size, digest, outside)
        writer.add("b", PICTURES["b"])
        with pytest.raises(DatasetError, match="Two images are called 'b'"):
            adopt(writer, path, size, digest, stored)
