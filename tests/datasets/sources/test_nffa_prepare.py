"""NFFA sets prepared: everything usable comes out once, grouped and split; killed runs end in equal bytes."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from helpers import nffa_archives
from srbench.datasets import near_duplicates
from srbench.datasets.base import DatasetCard
from srbench.datasets.images.databar import has_databar
from srbench.datasets.packed.format import PackedSet
from srbench.datasets.packed.writer import verify_packed
from srbench.datasets.sources.nffa import prepare as nffa_prepare
from srbench.datasets.sources.nffa.prepare import ClassArchive, prepare_nffa
from srbench.datasets.splits import split_hash
from srbench.utils.errors import DatasetError, StorageError
from srbench.utils.files import locked

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
CARD = DatasetCard("sem", "NFFA", "real", "tests", "CC-BY-4.0")
SIZE = (384, 288)
SHARD = 1 << 20


def prepare(built, folder, **options):
    settings = {"name": "sem", "version": "7", "licence": "CC-BY-4.0", "workers": 1, "shard_bytes": SHARD}
    archives = [ClassArchive(one.category, one.path, one.md5) for one in built]
    return prepare_nffa(archives, folder, **{**settings, **options})


def content(folder):
    """Every file of the pack, to compare packs byte for byte."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    counts = {"Tips": 34, "Fibres": 40}
    folder = tmp_path_factory.mktemp("tars")
    return nffa_archives.build(folder, counts, size=SIZE, awkward=True, evil=True, twins=0.3)


@pytest.fixture(scope="module")
def reference(built, tmp_path_factory):
    """The pack of an undisturbed run."""
    folder = tmp_path_factory.mktemp("reference")
    return folder, prepare(built, folder)


def test_everything_usable_comes_out_grey_and_without_bars(built, reference):
    folder, report = reference
    packed = PackedSet(folder, CARD)
    assert report.images == len(packed) and report.folder == folder
    good = {f"{one.category}/{Path(name).stem}" for one in built for name in one.frames}
    ids = {image.id for image in packed.images}
    assert good <= ids
    extra = ("same file", "odd size", "large", "coloured")
    assert len(ids - good) == 2 * (len(extra) + 1)  # and the one with another class's digit
    for image in packed.images:
        pixels = packed.pixels(image.id)
        assert pixels.shape == (image.height, image.width) and pixels.ndim == 2
        assert image.height % 12 == image.width % 12 == 0 and not has_databar(pixels)
        assert image.licence == "CC-BY-4.0" and image.category == image.id.split("/")[0]
        assert image.source.startswith(f"{image.category}.tar:{image.category}/L")
    assert verify_packed(folder).problems == {}
    assert (packed.manifest.name, packed.manifest.version) == ("sem", "7")
    assert all(one.md5 in packed.manifest.source for one in built)
    assert not (folder / ".staging").exists()


def test_pixels_are_those_of_the_file_above_the_bar(reference):
    folder, _ = reference
    packed = PackedSet(folder, CARD)
    members = nffa_archives.class_members("Fibres", 40, size=SIZE, twins=0.3)
    for name, data in list(members.items())[:10]:
        colour = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        pixels = packed.pixels(f"Fibres/{Path(name).stem}")
        above = colour[: pixels.shape[0], : pixels.shape[1]].astype(int)
        assert np.abs(above.mean(axis=2) - pixels).max() <= 8


def test_every_refused_member_has_its_reason(reference):
    _, report = reference
    for category in ("Tips", "Fibres"):

        def reason(name, category=category):
            return report.skipped[f"{category}.tar:{nffa_archives.member_name(category, name)}"]

        assert "cut short" in reason("cut short") and "not an image" in reason("no image")
        assert "empty file" in reason("empty") and "too small" in reason("tiny")
        assert "nothing to measure" in reason("one value") and "white band" in reason("white band")
        assert report.skipped[f"{category}.tar:{category}/README.txt"] == "not an image file by its name"
        assert report.skipped[f"{category}.tar:{category}/soft.jpg"].startswith("a link")
        names = {nffa_archives.member_name(category, name) for name in ("same file", "same file again")}
        first, second = sorted(names)
        assert report.skipped[f"{category}.tar:{second}"] == f"the same picture as {category}.tar:{first}"
        assert f"{category}.tar:{first}" not in report.skipped
    assert len(report.skipped) == 2 * (6 + 9 + 1 + 1)


def test_notes_say_what_is_odd(reference):
    folder, _ = reference
    notes = PackedSet(folder, CARD).notes
    stem = Path(nffa_archives.member_name("Fibres", "other digit", digit=0)).stem
    assert notes[f"Fibres/{stem}"] == "its name says L0 (Porous_Sponge), its folder Fibres"
    stem = Path(nffa_archives.member_name("Tips", "coloured")).stem
    assert "coloured pixels above the cut" in notes[f"Tips/{stem}"]
    assert len(notes) == 4


def test_frames_of_one_field_are_one_group(reference):
    """The builder shows the field of the frame before again, with the share it was asked for."""
    folder, _ = reference
    groups = {image.id: image.group for image in PackedSet(folder, CARD).images}
    repeated = 0
    for category, count in (("Tips", 34), ("Fibres", 40)):
        ids = [f"{category}/{Path(nffa_archives.member_name(category, f'0 {n}')).stem}" for n in range(count)]
        for number in range(1, count):
            generator = np.random.default_rng([0, nffa_archives.DIGITS[category], number])
            same_field = generator.random() < 0.3
            before = np.random.default_rng([0, nffa_archives.DIGITS[category], number - 1])
            before_repeats = number > 1 and before.random() < 0.3
            # The one before may itself show an earlier field, which this one then does not show.
            if same_field and not before_repeats:
                repeated += 1
                assert groups[ids[number]] == groups[ids[number - 1]]
            if not same_field and not before_repeats:
                assert groups[ids[number]] != groups[ids[number - 1]]
    assert repeated > 10
    assert set(groups.values()) <= set(groups)


def test_the_split_is_by_group_and_counts_images_of_each_class(reference):
    folder, _ = reference
    packed = PackedSet(folder, CARD)
    sides = {}
    for image in packed.images:
        assert sides.setdefault(image.group, image.split) == image.split
    for category in ("Tips", "Fibres"):
        counts = Counter(image.split for image in packed.images if image.category == category)
        share = round(0.15 * counts.total())
        assert abs(counts["test"] - share) <= 1 and abs(counts["val"] - share) <= 1
    summary = json.loads((folder / "preparation.json").read_bytes())
    assert summary["split_sha256"] == split_hash(packed.images)
    assert summary["images"] == len(packed) and summary["groups"] == len(sides)
    assert summary["largest_group"] == max(Counter(image.group for image in packed.images).values())
    assert summary["images_by_class_and_split"]["Tips"]["test"] > 0
    assert sum(summary["refused_by_reason"].values()) == len(packed.skipped)


def test_workers_do_not_change_a_byte(built, reference, tmp_path):
    events = []
    prepare(built, tmp_path / "two", workers=2, progress=events.append)
    assert content(tmp_path / "two") == content(reference[0])
    total = sum(one.path.stat().st_size for one in built)
    done = [event.done for event in events if event.unit == "B"]
    assert (
        done == sorted(done) and done[-1] == total and {e.total for e in events if e.unit == "B"} == {total}
    )


def test_the_order_of_the_archives_does_not_matter(built, reference, tmp_path):
    prepare(built[::-1], tmp_path)
    assert content(tmp_path) == content(reference[0])


def test_a_second_call_does_nothing(built, reference, monkeypatch, tmp_path):
    prepare(built, tmp_path)
    monkeypatch.setattr(nffa_prepare, "examine", lambda data: pytest.fail("decoded again"))
    report = prepare(built, tmp_path)
    assert report == dataclasses.replace(reference[1], folder=tmp_path)


PROGRAM = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from srbench.datasets.packed import staging
    from srbench.datasets.sources.nffa.prepare import ClassArchive, prepare_nffa
    staging._AT_ONCE = 5

    def tell(event):
        print(event.label, event.done, flush=True)

    if __name__ == "__main__":
        folder, workers, *archives = sys.argv[1:]
        archives = [ClassArchive(a.split("|")[0], Path(a.split("|")[1]), a.split("|")[2]) for a in archives]
        prepare_nffa(
            archives, Path(folder), name="sem", version="7", licence="CC-BY-4.0",
            workers=int(workers), shard_bytes=1 << 20, progress=tell,
        )
    """
)


def start(tmp_path, built, folder, workers):
    script = tmp_path / "run.py"
    script.write_text(PROGRAM, encoding="utf-8")
    archives = [f"{one.category}|{one.path}|{one.md5}" for one in built]
    command = [sys.executable, str(script), str(folder), str(workers), *archives]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def workers_of(process):
    """Its spawned processes, without the one that multiprocessing itself needs."""
    return [child for child in process.children() if any("spawn_main" in part for part in child.cmdline())]


def kill_after(process, lines, pause):
    """Kill it once it has told this many lines and a little later; whether it was still at work."""
    for _ in range(lines):
        if not process.stdout.readline():
            break
    time.sleep(pause)
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    return process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("seed", range(2))
def test_killed_runs_end_in_the_same_bytes(built, reference, tmp_path, seed):
    moments = random.Random(seed)
    folder = tmp_path / "pack"
    killed = 0
    for _ in range(5):
        process = start(tmp_path, built, folder, workers=1 + seed % 2)
        killed += kill_after(process, moments.randint(1, 22), moments.random() * 0.05)
    assert killed >= 2
    process = start(tmp_path, built, folder, workers=1 + seed % 2)
    process.communicate()
    assert process.returncode == 0
    assert content(folder) == content(reference[0])
    assert PackedSet(folder, CARD).fingerprint == PackedSet(reference[0], CARD).fingerprint


@pytest.mark.parametrize("pause", [0.0, 0.01])
def test_killed_while_the_pack_is_made(built, reference, tmp_path, pause):
    folder = tmp_path / "pack"
    process = start(tmp_path, built, folder, workers=1)
    for line in process.stdout:
        if line.startswith("find near-duplicates"):
            break
    kill_after(process, 0, pause)
    prepare(built, folder)
    assert content(folder) == content(reference[0])


@pytest.mark.parametrize("step", ["write_bytes", "packing", "split_images"])
def test_a_failure_while_the_pack_is_made_costs_nothing_that_was_staged(
    built, reference, tmp_path, monkeypatch, step
):
    def fail(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(nffa_prepare, step, fail)
        with pytest.raises(KeyboardInterrupt):
            prepare(built, tmp_path)
    monkeypatch.setattr(nffa_prepare, "examine", lambda data: pytest.fail("decoded again"))
    prepare(built, tmp_path)
    assert content(tmp_path) == content(reference[0])


def test_killed_workers_are_told_and_nothing_is_lost(built, reference, tmp_path):
    killed = []

    def kill_one(event):
        if event.label == "prepare Tips" and not killed:
            killed.append(workers_of(psutil.Process())[0])
            killed[0].kill()

    with pytest.raises(DatasetError, match="worker process has died"):
        prepare(built, tmp_path, workers=2, progress=kill_one)
    prepare(built, tmp_path)
    assert content(tmp_path) == content(reference[0])


def test_workers_end_with_a_killed_parent(built, tmp_path):
    process = start(tmp_path, built, tmp_path / "pack", workers=2)
    process.stdout.readline()
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    kill_after(process, 0, 0)
    gone, alive = psutil.wait_procs(children, timeout=20)
    assert not alive and len(gone) == len(children)


def test_a_changed_archive_is_done_again_and_the_others_are_not(built, reference, tmp_path, monkeypatch):
    folder = tmp_path / "pack"
    with monkeypatch.context() as patch:
        patch.setattr(nffa_prepare, "split_images", lambda images: pytest.fail("far enough"))
        with pytest.raises(pytest.fail.Exception):
            prepare(built, folder)
    other = nffa_archives.build(tmp_path / "other", {"Tips": 9}, size=SIZE, seed=5)[0]
    seen = []
    real = nffa_prepare.examine
    monkeypatch.setattr(nffa_prepare, "examine", lambda data: seen.append(data) or real(data))
    report = prepare([other, built[1]], folder)
    assert len(seen) == 9
    images = PackedSet(folder, CARD).images
    assert Counter(image.category for image in images)["Tips"] == 9 and report.images == len(images)
    fresh = tmp_path / "fresh"
    prepare([other, built[1]], fresh)
    assert content(folder) == content(fresh)


def test_other_rules_begin_anew(built, reference, tmp_path, monkeypatch):
    prepare(built, tmp_path)
    monkeypatch.setattr(near_duplicates, "RULES", "next")
    seen = []
    real = nffa_prepare.examine
    monkeypatch.setattr(nffa_prepare, "examine", lambda data: seen.append(data) or real(data))
    prepare(built, tmp_path)
    assert len(seen) > 80
    assert PackedSet(tmp_path, CARD).fingerprint == PackedSet(reference[0], CARD).fingerprint


@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_archive_is_told_and_the_others_are_kept(built, reference, tmp_path, monkeypatch, workers):
    tips, fibres = built
    whole = fibres.path.read_bytes()
    fibres_cut = dataclasses.replace(fibres, path=tmp_path / "Fibres.tar")
    fibres_cut.path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"(?s)Fibres.tar is damaged at byte .*other 1 of 2"):
        prepare([tips, fibres_cut], tmp_path / "pack", workers=workers)
    assert not (tmp_path / "pack" / "manifest.json").exists()
    fibres_cut.path.write_bytes(whole)
    seen = []
    real = nffa_prepare.examine
    monkeypatch.setattr(nffa_prepare, "examine", lambda data: seen.append(data) or real(data))
    prepare([tips, fibres_cut], tmp_path / "pack")
    assert 40 <= len(seen) <= 52  # those of Fibres alone: its size has changed
    assert content(tmp_path / "pack") == content(reference[0])


def test_equal_pictures_across_classes_and_equal_names(tmp_path):
    frames = [nffa_archives.frame(seed, size=SIZE) for seed in range(6)]
    one = {"Tips/L5_a.jpg": frames[0], "Tips/deeper/L5_b.jpg": frames[1], "Tips/L5_b.jpg": frames[2]}
    two = {"Fibres/L9_z.jpg": frames[0], "Fibres/L9_y.jpg": frames[3]}
    made = []
    for category, members in (("Tips", one), ("Fibres", two)):
        path = nffa_archives.write_tar(tmp_path / f"{category}.tar", members)
        made.append(nffa_archives.Built(category, path, nffa_archives.md5_of(path), ()))
    report = prepare(made, tmp_path / "pack")
    assert [image.id for image in PackedSet(tmp_path / "pack", CARD).images] == [
        "Fibres/L9_y", "Fibres/L9_z", "Tips/L5_b",
    ]  # fmt: skip
    assert report.skipped["Tips.tar:Tips/L5_a.jpg"] == "the same picture as Fibres.tar:Fibres/L9_z.jpg"
    assert "another picture under the name of" in report.skipped["Tips.tar:Tips/deeper/L5_b.jpg"]


def test_what_is_wrong_is_said_at_once(built, tmp_path):
    with pytest.raises(DatasetError, match="no archives"):
        prepare([], tmp_path)
    with pytest.raises(DatasetError, match="Two archives for Tips"):
        prepare([built[0], built[0]], tmp_path)
    gone = dataclasses.replace(built[0], path=tmp_path / "no.tar")
    with pytest.raises(DatasetError, match=r"are missing: .*no\.tar"):
        prepare([gone], tmp_path)
    path = nffa_archives.write_tar(tmp_path / "Tips.tar", {"Tips/L5_a.jpg": b"none"})
    with pytest.raises(DatasetError, match="no images"):
        prepare([nffa_archives.Built("Tips", path, "md5", ())], tmp_path / "pack")
    with locked(tmp_path / "busy" / ".staging"), pytest.raises(StorageError, match="Another srbench"):
        prepare(built, tmp_path / "busy")


MEASURE = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    import psutil
    import scipy.fft  # 25 MB that would otherwise appear only where there are candidates
    from srbench.datasets.sources.nffa.prepare import ClassArchive, prepare_nffa

    peaks = {}

    def measure(event):
        main = psutil.Process()
        for process in (main, *main.children()):
            resident = process.memory_info().rss / 2**20
            kind = process is main
            peaks[kind] = max(peaks.get(kind, 0), resident)

    if __name__ == "__main__":
        tar, folder, workers = sys.argv[1:]
        report = prepare_nffa(
            [ClassArchive("Tips", Path(tar), "md5")], Path(folder), name="sem", version="1",
            licence="x", workers=int(workers), progress=measure,
        )
        print(report.images, peaks[True], peaks.get(False, 0))
    """
)


@pytest.fixture(scope="module")
def few_and_many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sizes")
    return {
        count: nffa_archives.build(folder / str(count), {"Tips": count}, size=SIZE, bars=0)[0].path
        for count in (40, 400)
    }


def test_memory_does_not_grow_with_the_number_of_images(few_and_many, tmp_path):
    """Neither of the process that writes nor of its workers."""
    script = tmp_path / "measure.py"
    script.write_text(MEASURE, encoding="utf-8")
    peaks = {}
    for count, path in few_and_many.items():
        command = [sys.executable, str(script), str(path), str(tmp_path / f"pack{count}"), "2"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
        )
        images, *mib = map(float, done.stdout.split())
        assert images == count
        peaks[count] = np.array(mib)
    # 360 images more are 31 MB of grey pixels, as many of JPEG, and three times that while being decoded.
    assert (peaks[400] - peaks[40]).max() < 15
