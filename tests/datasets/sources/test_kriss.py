"""kriss: its frozen manifest, importing a folder, fetching from a server, registration of the real files."""

import hashlib
import itertools
import math
import os
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from srbench.datasets.download import RetryPolicy
from srbench.datasets.images.databar import crop_micrograph
from srbench.datasets.images.decode import read_raw
from srbench.datasets.images.registration import Registration, register
from srbench.datasets.sources import kriss
from srbench.datasets.sources.kriss import Kriss, PairCatalogue, ScanFile, ScannedField, catalogue
from srbench.utils.errors import DatasetError

REAL = Path(os.environ.get("SRBENCH_TEST_KRISS", "no such folder"))
QUICK = RetryPolicy(attempts=3, backoff=0.0, timeout=2.0)


def test_fields_closer_than_their_width_are_in_one_group_and_one_split():
    fields = catalogue().fields
    assert len(fields) == 50 and len({field.group for field in fields}) == 36
    for one, other in itertools.combinations(fields, 2):
        if math.dist(one.stage_um, other.stage_um) < 4.2:
            assert one.group == other.group
    splits = defaultdict(set)
    for field in fields:
        splits[field.group].add(field.split)
    assert all(len(found) == 1 for found in splits.values())
    assert Counter(field.split for field in fields) == {"train": 30, "val": 8, "test": 12}


def test_the_split_is_frozen_and_every_file_is_named_once():
    manifest = catalogue()
    lines = "".join(f"{field.id}\t{field.group}\t{field.split}\n" for field in manifest.fields)
    digest = hashlib.sha256(lines.encode()).hexdigest()
    assert digest == "a00f6be0a0d3d29134a3e84d54e8b16e5217e579b8d794c5c6e98cf8085736c9"
    assert len({scan.sha256 for scan in manifest.scans}) == len({scan.path for scan in manifest.scans}) == 100
    assert {field.fast.dwell_s for field in manifest.fields} == {1e-07}
    assert {field.slow.dwell_s for field in manifest.fields} == {3e-05}


@pytest.mark.skipif(not REAL.is_dir(), reason="set SRBENCH_TEST_KRISS to the folder of the real FEI exports")
@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 27, 49])
def test_measured_again_the_fast_scans_lie_where_the_manifest_says(index):
    field = catalogue().fields[index]
    fast, slow = (crop_micrograph(read_raw(REAL / s.path)[0]).pixels for s in (field.fast, field.slow))
    corners = np.array([[0, 0, 438, 438], [0, 508, 0, 508]], float)
    found, stored = (
        registration.positions(*corners)
        for registration in (register(fast, slow, 1), Registration(field.matrix, field.correlation))
    )
    assert np.abs(found - stored).max() < 0.02


@pytest.fixture
def small(monkeypatch, tmp_path, file_server, picture):
    """Two fields, the slow scan two pixels off; the folder a user may hold, a server, and their catalogue."""
    fields, folder, pixels = [], tmp_path / "have", {}
    for index, split in enumerate(("train", "test")):
        scene = cv2.GaussianBlur(picture(index, 110, 130), (0, 0), 1.5)
        scans = {"fast": ("low", scene[4:100, 4:120]), "slow": ("high", scene[2:102, 3:123])}
        pixels[f"field-{index}"] = scans
        named = {}
        for role, (place, image) in scans.items():
            path = f"Data/time/{place}/{role}_{index}.png"
            data = cv2.imencode(".png", image)[1].tobytes()
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
            file_server.content[f"/owner/repo/abc/{path}"] = data
            named[role] = ScanFile(path, hashlib.sha256(data).hexdigest(), 1e-7)
        matrix = ((1.0, 0.0, 2.0), (0.0, 1.0, 1.0))
        name = f"field-{index}"
        fields.append(
            ScannedField(name, name, split, (index * 9.0, 0.0), named["fast"], named["slow"], matrix, 1.0)
        )
    known = PairCatalogue("1", "owner/repo", "abc", "", tuple(fields))
    monkeypatch.setattr(kriss, "catalogue", lambda: known)
    return folder, pixels


@pytest.fixture
def dataset(srbench_home, file_server):
    return Kriss(file_server.url(""), QUICK)


def test_import_gives_the_fast_scan_as_it_is_and_the_slow_one_on_its_grid(small, dataset):
    folder, pixels = small
    assert dataset.import_from(folder).images == 2
    opened = dataset.open()
    assert opened.recorded_scale == 1 and opened.card.kind == "real"
    for name, scans in pixels.items():
        lr, hr = opened.lr(name), opened.pixels(name)
        assert lr.shape == hr.shape
        fast = scans["fast"][1]
        window = next(  # where the fast scan was cut
            (top, left)
            for top, left in itertools.product(range(6), repeat=2)
            if np.array_equal(fast[top : top + lr.shape[0], left : left + lr.shape[1]], lr)
        )
        assert (
            np.abs(hr.astype(int) - fast[window[0] :, window[1] :][: hr.shape[0], : hr.shape[1]]).max() <= 1
        )
        # By whole pixels the slow scan needs no interpolation here: as recorded, where HR lies.
        assert np.abs(opened.as_recorded(name).astype(int) - hr).max() <= 1
        alignment = opened.registration(name)
        assert alignment.shift_px == (2.0, 1.0) and alignment.residual_px < 0.02
    assert any("residual of the registration" in remark for remark in opened.remarks())
    assert not dataset.verify().problems


def test_import_takes_the_folders_inside_and_fetch_gives_the_same(small, dataset):
    folder, _ = small
    prints = set()
    for inside in (folder, folder / "Data", folder / "Data" / "time"):
        dataset.import_from(inside)
        prints.add(dataset.open().fingerprint)
    dataset.folder.rename(dataset.folder.with_name("elsewhere"))
    dataset.fetch()
    assert {dataset.open().fingerprint} == prints


def test_missing_and_changed_files_are_named_and_nothing_changes(small, dataset):
    folder, _ = small
    dataset.import_from(folder)
    before = dataset.open().fingerprint
    (folder / "Data/time/low/fast_1.png").write_bytes((folder / "Data/time/low/fast_0.png").read_bytes())
    with pytest.raises(DatasetError, match=r"1 of 2 fields .*\n.*fast_1"):
        dataset.import_from(folder)
    (folder / "Data/time/high/slow_0.png").unlink()
    with pytest.raises(DatasetError, match=r"1 of 4 files .*slow_0.png.*data fetch kriss"):
        dataset.import_from(folder)
    assert dataset.open().fingerprint == before


def test_a_changed_split_is_refused(monkeypatch):
    catalogue.cache_clear()
    first = catalogue()
    monkeypatch.setattr(kriss, "typed", lambda kind, content: replace(first, split_sha256="0" * 64))
    catalogue.cache_clear()
    with pytest.raises(DatasetError, match="install"):
        catalogue()
    catalogue.cache_clear()
