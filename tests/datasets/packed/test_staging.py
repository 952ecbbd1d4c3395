"""Staging: whatever is torn off its end is done again, and the rest stays; the bytes are the same."""

import hashlib
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from srbench.datasets.packed.staging import (
    Staged,
    Staging,
    finished_shards,
    read_pixels,
    staged_members,
)
from srbench.utils.errors import StorageError
from srbench.utils.files import pixel_hash

KEY = {"archive": "a", "rules": "1"}
SHARD = 40_000


def pixels_of(number):
    generator = np.random.default_rng(number)
    shape = (60 + number % 7, 50 + number % 5)
    return generator.integers(0, 60_000 if number % 9 == 0 else 256, shape).astype(
        np.uint16 if number % 9 == 0 else np.uint8
    )


def feed(staging, count=80):
    """Give every member that is not staged yet, as a reader of the archive would."""
    given_now = 0
    for number in range(count):
        name = f"A/{number}.jpg"
        if name in staging.members:
            continue
        given_now += 1
        if number % 11 == 3:
            staging.add(Staged(name, "broken"), None)
        else:
            pixels = pixels_of(number)
            described = Staged(
                name, "", None, bytes([number]), (f"note {number}",) if number % 5 == 0 else ()
            )
            staging.add(described, pixels, pixel_hash(pixels))
    return given_now


def whole(folder, **options):
    staging = Staging(folder, KEY, SHARD)
    given_now = feed(staging, **options)
    staging.finish({"../evil": "leads out"})
    return given_now


def state(folder):
    shards = {
        name: (shard.size, shard.sha256, shard.path.read_bytes())
        for name, shard in finished_shards(folder).items()
    }
    return list(staged_members(folder)), shards


@pytest.mark.slow
def test_what_was_given_is_found_again(tmp_path):
    assert whole(tmp_path) == 80
    found, shards = state(tmp_path)
    assert found[-1] == Staged("../evil", "leads out") and len(found) == 81
    for number, item in enumerate(found[:-1]):
        assert item.member == f"A/{number}.jpg"
        if item.stored is None:
            assert item.reason == "broken" and number % 11 == 3
            continue
        expected = pixels_of(number)
        read = read_pixels(tmp_path, item.stored)
        assert read.dtype == expected.dtype and np.array_equal(read, expected)
        assert item.descriptor == bytes([number]) and item.stored.sha256 == pixel_hash(expected)
        assert item.stored.offset % 64 == 0
    assert len(shards) > 3
    for size, digest, data in shards.values():
        assert len(data) == size and hashlib.sha256(data).hexdigest() == digest
    again = Staging(tmp_path, KEY, SHARD)
    assert again.complete and len(again.members) == 80
    again.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    whole(folder)
    return state(folder)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_torn_tail_ends_in_the_same_bytes(tmp_path, undisturbed, data):
    folder = tmp_path / "torn"
    shutil.rmtree(folder, ignore_errors=True)
    staging = Staging(folder, KEY, SHARD)
    feed(staging, count=data.draw(st.integers(0, 80)))
    staging.flush()
    staging.close()
    # The journal keeps any prefix, then perhaps garbage; behind it the shards may be longer than it says.
    journal = folder / "journal"
    content = journal.read_bytes()
    kept = content[: data.draw(st.integers(0, len(content)))]
    journal.write_bytes(kept + data.draw(st.binary(max_size=60)))
    last = max(folder.glob("*.bin"), key=lambda path: int(path.stem))
    with last.open("ab") as file:
        file.write(data.draw(st.binary(max_size=200)))
    whole(folder)
    assert state(folder) == undisturbed


@pytest.mark.slow
def test_only_the_torn_part_is_done_again(tmp_path):
    staging = Staging(tmp_path, KEY, SHARD)
    feed(staging, count=70)
    staging.close()  # killed: what was not flushed is lost
    assert 0 < whole(tmp_path) <= 80 - 64


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["shorter", "gone", "other pixels"])
def test_shards_that_do_not_hold_what_the_journal_says_are_thrown_away(tmp_path, undisturbed, damage):
    staging = Staging(tmp_path, KEY, SHARD)
    feed(staging)
    staging.flush()
    staging.close()
    last = max(tmp_path.glob("*.bin"), key=lambda path: int(path.stem))
    content = last.read_bytes()
    if damage == "gone":
        last.unlink()
    else:
        last.write_bytes(content[:-1] if damage == "shorter" else content[:-1] + bytes([content[-1] ^ 1]))
    assert whole(tmp_path) == 80
    assert state(tmp_path) == undisturbed


@pytest.mark.slow
def test_another_archive_or_other_rules_begin_anew(tmp_path):
    whole(tmp_path)
    other = Staging(tmp_path, {**KEY, "rules": "2"}, SHARD)
    assert not other.complete and not other.members
    other.close()
    assert not list(staged_members(tmp_path)) and sorted(path.name for path in tmp_path.iterdir()) == [
        "0.bin",
        "journal",
    ]


@pytest.mark.slow
def test_a_full_disk_is_told(tmp_path):
    staging = Staging(tmp_path, KEY, SHARD)

    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    staging._shard.close()
    staging._shard = Full()
    with pytest.raises(StorageError, match="Free some space"):
        feed(staging)
    staging.close()
    assert whole(tmp_path) == 80
