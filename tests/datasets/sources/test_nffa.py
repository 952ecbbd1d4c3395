"""The NFFA sets as sources: fetched from a local repository, imported, told by md5, pinned, verified."""

import errno
import hashlib
import json
import random
import shutil
from collections import namedtuple

import pytest

from srbench.datasets import source
from srbench.datasets.download import PartialFile, RetryPolicy
from srbench.datasets.sources.nffa import releases as nffa_releases
from srbench.datasets.sources.nffa import sets as nffa
from srbench.datasets.sources.nffa.releases import (
    CLASSES,
    CSM_SR,
    MAJORITY,
    OLDER,
    V2,
    V2_RECORD,
    Release,
    Source,
    Tar,
)
from srbench.datasets.sources.nffa.sets import Sem, Sem100, SemHierarchical, SemMajority
from srbench.utils.errors import DatasetError, DatasetMissing, SrbenchError, StorageError
from srbench.utils.files import sha256_file

OLD = CSM_SR.record.ids[0]
SHORT, LONG = V2_RECORD.record.ids
QUICK = RetryPolicy(attempts=2, backoff=0.0, timeout=2.0)
DICE = random.Random(11)
TARS = {f"{name}.tar": DICE.randbytes(DICE.randrange(2_000, 9_000)) for name in CLASSES}
OTHERS = {name: bytes(reversed(data)) for name, data in TARS.items()}


def md5(data):
    return hashlib.md5(data).hexdigest()


def release_of(tars, identifier="nffa-100-v2.0"):
    """A release whose published checksums are those of small tars."""
    known = {
        name[:-4]: Tar(md5(data), len(data), hashlib.sha256(data).hexdigest()) for name, data in tars.items()
    }
    return Release(identifier, "100% SEM Dataset, version 2.0", known)


@pytest.fixture
def published(monkeypatch):
    """TARS are version 2.0, and its record is known to hold it."""
    release = release_of(TARS)
    known = Source(V2_RECORD.record, release)
    monkeypatch.setattr(nffa_releases, "RELEASES", (release,))
    monkeypatch.setattr(nffa_releases, "RECORDS", (CSM_SR, known, MAJORITY))
    monkeypatch.setattr(Sem, "sources", (CSM_SR, known))
    monkeypatch.setattr(Sem, "accepted", (CSM_SR, known))
    monkeypatch.setattr(Sem100, "sources", (known,))
    monkeypatch.setattr(Sem100, "accepted", (known,))
    return release


@pytest.fixture
def small(monkeypatch):
    """Tars of unknown size count as small, so that the tests need no 30 GB."""
    monkeypatch.setattr("srbench.datasets.sources.nffa.fetch.V2", release_of(TARS))


@pytest.fixture
def make(srbench_home, repository, small):
    """``make(Sem)``: the source at the local repository."""
    return lambda kind: kind(repository.url, QUICK)


@pytest.fixture
def csm_sr(repository):
    """The record that CSM-SR links, in the old interface."""
    return lambda tars=TARS, **how: repository.old(OLD, CSM_SR.record.bucket, tars, **how)


def remarks(events):
    return "\n".join(event for event in events if isinstance(event, str))


def inventory(entry):
    return json.loads((entry.folder / "archives.json").read_text())["content"]


def on_disk(entry):
    return {path.name: path.read_bytes() for path in (entry.folder / "archives").glob("*.tar")}


def folder_of(path, tars):
    path.mkdir(parents=True)
    for name, data in tars.items():
        (path / name).write_bytes(data)
    return path


# The tables


def test_the_published_tables_are_whole():
    """As in the reference: ten classes, 21,169 images, 13.58 GB; no md5 twice."""
    assert tuple(V2.tars) == tuple(OLDER.tars) == CLASSES and len(CLASSES) == 10
    assert V2.size == 13_578_803_200 and OLDER.size is None
    sums = [tar.md5 for release in (V2, OLDER) for tar in release.tars.values()]
    assert len(set(sums)) == 20 and all(len(one) == 32 and int(one, 16) for one in sums)
    assert all(len(tar.sha256) == 64 for tar in V2.tars.values())


def test_releases_are_told_by_md5_alone():
    def of(tars):
        return nffa_releases.identify({name: tar.md5 for name, tar in tars.items()})

    assert of(V2.tars).version == "nffa-100-v2.0" and of(OLDER.tars).version == "nffa-100-older"
    part = {name: V2.tars[name] for name in ("Fibres", "Tips")}
    assert of(part).version.startswith("nffa-100-v2.0-partial-2of10-")
    assert set(of(part).missing) == set(CLASSES) - set(part) and "2 of 10 classes" in of(part).title
    other = {name: V2.tars[name] for name in ("Fibres", "Powder")}
    assert of(part).version != of(other).version
    mixed = of({**V2.tars, "Tips": OLDER.tars["Tips"]})
    assert mixed.version.startswith("nffa-md5-") and "several releases" in mixed.title
    unknown = of({name: Tar(f"{index:032x}") for index, name in enumerate(CLASSES)})
    assert unknown.version.startswith("nffa-md5-") and "no release that srbench knows" in unknown.title
    assert len({unknown.version, mixed.version}) == 2


def test_all_four_are_registered():
    for name in ("sem", "sem_100", "sem_majority", "sem_hierarchical"):
        entry = source(name)
        assert entry.card.name == name and entry.card.licence == "CC-BY-4.0"
        assert "10.1038/sdata.2018.172" in entry.card.citation and "names the authors" in entry.card.terms
    assert source("sem").card.download_bytes == 13_578_803_200


# Fetching


@pytest.mark.slow
def test_sem_from_the_record_that_csm_sr_links(make, csm_sr):
    entry, events = make(Sem), []
    assert entry.state().state == "absent" and "srbench data fetch sem" in entry.state().next_step
    csm_sr()
    entry.fetch(events.append)
    assert on_disk(entry) == TARS and entry.state().state == "downloaded"
    assert entry.state().next_step.startswith("Type: srbench data prepare sem")
    told = inventory(entry)
    assert told["record"] == OLD and told["licence"] == "CC-BY-4.0" and "Aversa" in told["citation"]
    assert told["version"].startswith("nffa-md5-") and "of no release that srbench knows" in remarks(events)
    assert OLD in remarks(events) and "publishes no checksum" not in remarks(events)
    downloaded = [event for event in events if not isinstance(event, str) and event.label == "download"]
    assert downloaded[-1].done == downloaded[-1].total == sum(map(len, TARS.values()))
    with pytest.raises(DatasetMissing, match="srbench data prepare sem"):
        entry.open()


@pytest.mark.slow
def test_the_release_is_recognised_by_md5(make, csm_sr, published):
    csm_sr()
    entry, events = make(Sem), []
    entry.fetch(events.append)
    assert inventory(entry)["version"] == "nffa-100-v2.0"
    assert "These are: 100% SEM Dataset, version 2.0." in remarks(events)


@pytest.mark.slow
def test_sem_falls_back_to_version_2_and_says_so(make, repository, published):
    repository.new(SHORT, TARS)
    entry, events = make(Sem), []
    entry.fetch(events.append)
    assert on_disk(entry) == TARS
    assert inventory(entry)["record"] == SHORT and inventory(entry)["version"] == "nffa-100-v2.0"
    assert f"Record {OLD}" in remarks(events) and f"Instead: Record {SHORT}" in remarks(events)


@pytest.mark.slow
def test_an_interrupted_fallback_goes_on_with_its_own_record(make, repository, csm_sr, published):
    repository.new(SHORT, TARS)
    repository.server.script = {
        f"/api/records/{SHORT}/files/Tips.tar/content": ["serve", "truncate", "truncate"]
    }
    repository.server.script = {f"/api/records/{SHORT}/files/Tips.tar/content": [404]}
    entry = make(Sem)
    with pytest.raises(DatasetError, match=r"1 of 10 files could not be downloaded(.|\n)*Tips.tar.*404"):
        entry.fetch()
    assert entry.state().state == "partial" and entry.state().bytes == sum(map(len, TARS.values())) - len(
        TARS["Tips.tar"]
    )
    csm_sr(OTHERS)  # the first record is back, with other files
    repository.server.log.clear()
    entry.fetch()
    assert on_disk(entry) == TARS and not any(OLD in path for path in repository.asked())


@pytest.mark.slow
def test_neither_record_can_be_had(make):
    with pytest.raises(DatasetError) as caught:
        make(Sem).fetch()
    message = str(caught.value)
    assert OLD in message and SHORT in message and "404" in message
    assert "srbench data import sem --from" in message


def test_no_connection_is_no_reason_for_another_record(srbench_home):
    with pytest.raises(DatasetError, match="cannot be reached"):
        Sem("http://127.0.0.1:9", QUICK).fetch()


@pytest.mark.slow
def test_what_has_no_checksum_is_pinned_aloud(make, csm_sr, repository):
    csm_sr(listed=False)
    entry, events = make(Sem), []
    entry.fetch(events.append)
    assert (
        "This record publishes no checksum that srbench knows; pinned what came: Biological.tar"
        in remarks(events)
    )
    pins = json.loads((entry.folder / "pins.json").read_text())["content"]
    pin = pins[f"{OLD}/Tips.tar"]
    assert (pin["size"], pin["md5"]) == (len(TARS["Tips.tar"]), md5(TARS["Tips.tar"]))
    assert pin["sha256"] == hashlib.sha256(TARS["Tips.tar"]).hexdigest() and "/Tips.tar" in pin["url"]
    # the same again is welcome, something else is not
    (entry.folder / "archives" / "Tips.tar").unlink()
    entry.fetch()
    (entry.folder / "archives" / "Tips.tar").unlink()
    path = f"/api/files/{CSM_SR.record.bucket}/Tips.tar"
    repository.server.content[path] = OTHERS["Tips.tar"]
    with pytest.raises(DatasetError, match=r"Tips.tar: wrong content: sha256"):
        entry.fetch()
    assert "Tips.tar" not in on_disk(entry)
    repository.server.content[path] = TARS["Tips.tar"][:-1]
    with pytest.raises(DatasetError, match=r"Tips.tar: the server has only|Tips.tar: .*bytes, expected"):
        entry.fetch()


@pytest.mark.slow
def test_what_arrived_before_a_failure_is_pinned_all_the_same(make, csm_sr, repository):
    csm_sr(listed=False)
    repository.server.script = {f"/api/files/{CSM_SR.record.bucket}/Tips.tar": [403]}
    entry, events = make(Sem), []
    with pytest.raises(DatasetError, match="403"):
        entry.fetch(events.append)
    assert len(json.loads((entry.folder / "pins.json").read_text())["content"]) == 9
    assert "pinned what came" in remarks(events)
    entry.fetch()
    assert on_disk(entry) == TARS


@pytest.mark.slow
def test_a_list_that_contradicts_a_pin_is_refused(make, csm_sr):
    csm_sr(listed=False)
    entry = make(Sem)
    entry.fetch()
    (entry.folder / "archives" / "Tips.tar").unlink()
    csm_sr(OTHERS)
    with pytest.raises(DatasetError, match=r"lists .*\.tar with md5 .*The record has changed"):
        entry.fetch()


@pytest.mark.slow
def test_a_list_that_contradicts_what_is_published_is_refused(make, repository, published):
    repository.new(SHORT, {**TARS, "Nanowires.tar": OTHERS["Nanowires.tar"]})
    with pytest.raises(DatasetError, match=rf"lists Nanowires.tar with md5 {md5(OTHERS['Nanowires.tar'])}"):
        make(Sem100).fetch()
    whole = [path for path, headers in repository.server.log if headers.get("Range") != "bytes=0-0"]
    assert not [path for path in whole if path.endswith("content")]  # not one tar was asked for


@pytest.mark.slow
def test_a_wrong_tar_is_discarded_and_named(make, repository, published):
    repository.new(SHORT, TARS)
    broken = bytearray(TARS["Powder.tar"])
    broken[777] ^= 1
    repository.server.content[f"/api/records/{SHORT}/files/Powder.tar/content"] = bytes(broken)
    entry = make(Sem100)
    with pytest.raises(DatasetError, match=r"Powder.tar: wrong content: (sha256|md5)"):
        entry.fetch()
    assert on_disk(entry) == {name: data for name, data in TARS.items() if name != "Powder.tar"}
    assert not list((entry.folder / "archives").glob("*.part"))


@pytest.mark.slow
def test_a_record_that_lacks_a_class_is_refused(make, csm_sr):
    csm_sr({name: data for name, data in TARS.items() if name not in ("Tips.tar", "Powder.tar")})
    with pytest.raises(DatasetError, match=r"has no Powder.tar, Tips.tar; it holds: Biological.tar"):
        make(Sem).fetch()


@pytest.mark.slow
def test_files_that_are_none_of_the_ten_are_left_alone_and_named(make, csm_sr):
    csm_sr({**TARS, "README.txt": b"hello", "Extra.tar": b"x"})
    entry, events = make(Sem), []
    entry.fetch(events.append)
    assert "Left alone, being no tars of the ten classes: Extra.tar, README.txt" in remarks(events)
    assert on_disk(entry) == TARS


@pytest.mark.slow
def test_what_is_whole_is_not_asked_for_again(make, csm_sr, repository):
    csm_sr()
    entry = make(Sem)
    entry.fetch()
    repository.server.log.clear()
    entry.fetch()
    assert not repository.asked()


@pytest.mark.slow
def test_a_record_that_the_user_names(make, repository, csm_sr):
    repository.new("abcd1-23456", TARS)
    entry = make(SemHierarchical)
    with pytest.raises(
        DatasetError, match=r"is not known.*--record ID.*srbench data import sem_hierarchical"
    ):
        entry.fetch()
    entry.from_record("https://b2share.eudat.eu/records/abcd1-23456").fetch()
    assert on_disk(entry) == TARS and inventory(entry)["record"] == "abcd1-23456"
    with pytest.raises(DatasetError, match=r"already fetched, from record abcd1-23456.*delete"):
        entry.from_record("other-record").fetch()


def test_a_known_record_of_another_set_is_refused(make):
    with pytest.raises(DatasetError, match=r"which is not sem_majority. Type: srbench data fetch sem_100"):
        make(SemMajority).from_record(SHORT)
    with pytest.raises(DatasetError, match=r"Type: srbench data fetch sem_majority"):
        make(Sem100).from_record(MAJORITY.record.ids[0])
    assert make(Sem100).from_record(LONG).sources == (V2_RECORD,)  # either identifier


@pytest.mark.slow
def test_tars_of_two_records_are_not_mixed_where_nothing_tells_them_apart(make, csm_sr, repository):
    csm_sr(listed=False)
    repository.server.script = {f"/api/files/{CSM_SR.record.bucket}/Tips.tar": [403]}
    entry = make(Sem)
    with pytest.raises(DatasetError, match="403"):
        entry.fetch()
    repository.new("abcd1-23456", OTHERS, listed=False)
    with pytest.raises(DatasetError, match=rf"holds tars of record {OLD}.*no checksums.*delete that folder"):
        entry.from_record("abcd1-23456").fetch()
    repository.new("abcd1-23456", OTHERS)  # with a list, checksums decide
    entry.from_record("abcd1-23456").fetch()
    assert on_disk(entry) == OTHERS


Disk = namedtuple("Disk", "total used free")


@pytest.mark.slow
def test_too_small_a_disk_is_noticed_before_a_byte_is_asked_for(make, csm_sr, repository, monkeypatch):
    csm_sr()
    size = sum(map(len, TARS.values()))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(0, 0, size + 10))
    entry = make(Sem)
    with pytest.raises(DatasetError, match=r"needed for the tars and about .* prepared data.*--no-prepare"):
        entry.fetch()
    assert not on_disk(entry)
    entry.then_prepare = False
    entry.fetch()
    assert on_disk(entry) == TARS
    (entry.folder / "archives" / "Tips.tar").unlink()  # only what is missing counts
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(0, 0, len(TARS["Tips.tar"])))
    entry.fetch()
    (entry.folder / "archives" / "Tips.tar").unlink()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(0, 0, len(TARS["Tips.tar"]) - 1))
    with pytest.raises(DatasetError, match="SRBENCH_HOME"):
        entry.fetch()


@pytest.mark.slow
def test_a_disk_that_fills_up_keeps_what_arrived(make, csm_sr, monkeypatch):
    csm_sr()
    append = PartialFile.append

    def full(part, file, data):
        append(part, file, data[:1500])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PartialFile, "append", full)
    entry = make(Sem)
    with pytest.raises(StorageError, match=r"No space left.*Free some space"):
        entry.fetch()
    assert entry.state().state == "partial" and entry.state().bytes >= 1500
    monkeypatch.undo()


# Importing


def test_import_takes_stock_and_copies_nothing(make, tmp_path, published):
    folder = folder_of(tmp_path / "mine" / "nffa", TARS)
    (folder / "notes.txt").write_text("x")
    entry, events = make(Sem), []
    entry.import_from(tmp_path / "mine", events.append)  # one level of folders
    assert entry.state().state == "downloaded" and not on_disk(entry)
    assert inventory(entry)["version"] == "nffa-100-v2.0" and inventory(entry)["record"] == ""
    assert {item["path"] for item in inventory(entry)["archives"]} == {str(folder / name) for name in TARS}
    hashed = [event for event in events if not isinstance(event, str) and event.label == "hash"]
    assert hashed[-1].done == hashed[-1].total == sum(map(len, TARS.values()))


def test_a_part_of_the_classes_may_be_imported_and_is_called_so(make, tmp_path, published):
    some = {name: TARS[name] for name in ("Fibres.tar", "Tips.tar")}
    entry, events = make(Sem), []
    entry.import_from(folder_of(tmp_path / "mine", some), events.append)
    assert "2 of 10 classes; missing: Biological" in entry.state().next_step
    assert inventory(entry)["version"].startswith("nffa-100-v2.0-partial-2of10")
    assert "without Biological" in remarks(events)
    more = {name: TARS[name] for name in TARS if name not in some}
    entry.import_from(folder_of(tmp_path / "more", more))  # the rest from another folder
    assert inventory(entry)["version"] == "nffa-100-v2.0" and "missing" not in entry.state().next_step


@pytest.mark.slow
def test_fetch_completes_an_import(make, repository, tmp_path, published):
    """Tars of the right md5 that lie elsewhere are not downloaded once more."""
    some = {name: TARS[name] for name in ("Nanowires.tar", "Tips.tar")}
    repository.new(SHORT, TARS)
    entry = make(Sem100)
    entry.import_from(folder_of(tmp_path / "mine", some))
    entry.fetch()
    assert set(on_disk(entry)) == set(TARS) - set(some) and inventory(entry)["version"] == "nffa-100-v2.0"
    assert not repository.server.sent[f"/api/records/{SHORT}/files/Tips.tar/content"]
    where = {item["category"]: item["path"] for item in inventory(entry)["archives"]}
    assert where["Tips"] == str(tmp_path / "mine" / "Tips.tar")


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ([], r"Expected Biological.tar, Fibres.tar, .*found none"),
        (["Fibers.tar"], r"found none"),
        (["a/b/Fibres.tar"], r"found none"),
        (["a/Fibres.tar", "b/Fibres.tar"], r"are both tars of Fibres"),
        (["Fibres/L9_0.jpg", "Tips/L5_0.jpg"], r"found unpacked folders \(Fibres, Tips\).*tar -cf"),
    ],
)
def test_import_says_what_it_expected(make, tmp_path, made, words):
    folder = folder_of(tmp_path / "mine", {})
    for name in made:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    entry = make(Sem)
    with pytest.raises(DatasetError, match=words):
        entry.import_from(folder)
    assert entry.state().state == "absent"


def test_the_command_for_unpacked_folders_works(make, tmp_path):
    """What the message tells the user to type is typed."""
    import subprocess

    folder = folder_of(tmp_path / "mine", {})
    for name in ("Fibres", "Tips"):
        folder_of(folder / name, {"L9_0.jpg": b"x"})
    entry = make(Sem)
    with pytest.raises(DatasetError) as caught:
        entry.import_from(folder)
    subprocess.run(["bash", "-c", str(caught.value).rpartition("release: ")[2]], check=True)
    entry.import_from(folder)
    assert [item["category"] for item in inventory(entry)["archives"]] == ["Fibres", "Tips"]


@pytest.mark.slow
def test_data_are_never_taken_for_what_they_are_not(make, tmp_path, published):
    theirs, unknown = folder_of(tmp_path / "theirs", TARS), folder_of(tmp_path / "unknown", OTHERS)
    with pytest.raises(DatasetError, match=r"Of no release of the 100% set.*Biological.tar.*import sem"):
        make(Sem100).import_from(unknown)
    for kind in (SemMajority, SemHierarchical):
        with pytest.raises(DatasetError, match=r'is of the "100% SEM Dataset, version 2.0" by its md5, not'):
            make(kind).import_from(theirs)
        make(kind).import_from(unknown)
    for kind in (Sem, Sem100):
        make(kind).import_from(theirs)


# Verifying


def flipped(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.slow
def test_one_flipped_byte_anywhere_is_found_and_named(make, csm_sr, tmp_path):
    csm_sr(listed=False)
    entry = make(Sem)
    with pytest.raises(DatasetMissing, match="Nothing whole"):
        entry.verify()
    entry.fetch()
    assert entry.verify().problems == {} and entry.verify().checked == 10
    dice = random.Random(3)
    keep = tmp_path / "keep"
    shutil.copytree(entry.folder, keep)
    files = [path for path in sorted(entry.folder.rglob("*")) if path.is_file() and path.name != ".lock"]
    assert {path.suffix for path in files} == {".tar", ".json"} and len(files) == 13
    for path in files:
        flipped(path, dice.randrange(path.stat().st_size))
        try:
            named = " ".join(entry.verify().problems)
        except SrbenchError as error:
            named = str(error)
        if path.name != "record.json":  # asked for in the next fetch only
            assert str(path) in named, path
        shutil.copy2(keep / path.relative_to(entry.folder), path)
    assert entry.verify().problems == {}


@pytest.mark.slow
def test_a_tar_that_has_gone_is_missed_until_it_is_prepared(make, csm_sr):
    csm_sr()
    entry = make(Sem)
    entry.fetch()
    gone = entry.folder / "archives" / "Tips.tar"
    gone.unlink()
    assert entry.verify().problems == {str(gone): "is gone"} and entry.state().state == "partial"
    with pytest.raises(DatasetError, match=r"Gone or changed since they were hashed: .*Tips.tar.*fetch sem"):
        entry.prepare()


@pytest.mark.slow
def test_a_damaged_inventory_hides_no_other_dataset(make, csm_sr):
    csm_sr()
    entry = make(Sem)
    entry.fetch()
    flipped(entry.folder / "archives.json", 40)
    assert (
        entry.state().state == "partial" and "has changed since srbench wrote it" in entry.state().next_step
    )


def test_sem_takes_no_argument(make):
    with pytest.raises(DatasetError, match="takes no argument"):
        make(Sem).open("x")
    with pytest.raises(DatasetMissing, match="srbench data fetch sem"):
        make(Sem).open()


# Preparing


@pytest.fixture(scope="module")
def real_tars(tmp_path_factory):
    """Three classes in the true layout."""
    from helpers import nffa_archives as builder

    folder = tmp_path_factory.mktemp("tars")
    builder.build(folder, {"Fibres": 7, "Powder": 6, "Tips": 6}, size=(256, 192))
    return folder


@pytest.mark.slow
def test_from_tars_to_images(make, real_tars, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(real_tars, mine)
    entry, events = make(Sem), []
    entry.import_from(mine)
    report = entry.prepare(events.append, workers=1)
    assert report.images == entry.state().images > 10 and entry.state().state == "ready"
    assert "3 of 10 classes" in entry.state().next_step
    opened = entry.open()
    assert opened.manifest.version == inventory(entry)["version"]
    assert {image.category for image in opened.images} == {"Fibres", "Powder", "Tips"}
    assert opened.manifest.licence == "CC-BY-4.0" and "names the authors" in opened.manifest.terms
    assert "no longer needed" in remarks(events)
    assert entry.verify().problems == {}
    again = entry.prepare(workers=1)  # nothing to do
    assert again.images == report.images
    before = opened.fingerprint
    shutil.rmtree(mine)  # the user tidies up
    assert entry.state().state == "ready" and entry.open().fingerprint == before
    assert entry.verify().problems == {} and entry.prepare().images == report.images


def test_tars_that_changed_are_not_prepared(make, real_tars, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(real_tars, mine)
    entry = make(Sem)
    entry.import_from(mine)
    (mine / "Tips.tar").write_bytes(b"other")
    with pytest.raises(DatasetError, match=r"changed since they were hashed: .*Tips.tar"):
        entry.prepare(workers=1)


def test_nothing_to_prepare(make):
    with pytest.raises(DatasetMissing, match=r"no tars of sem to prepare.*fetch sem"):
        make(Sem).prepare()


@pytest.mark.slow
def test_hashes_are_of_the_files(make, csm_sr):
    csm_sr()
    entry = make(Sem)
    entry.fetch()
    for item in inventory(entry)["archives"]:
        path = entry.folder / "archives" / f"{item['category']}.tar"
        assert item["sha256"] == sha256_file(path) and item["md5"] == md5(path.read_bytes())
    assert nffa.Sem.card.module == "srbench.datasets.sources.nffa.sets"
