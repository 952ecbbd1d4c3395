"""Repeated scans: every page in its place, dwell times only where known, shifts measured, not mended."""

import hashlib
import io
import zipfile

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from srbench.datasets import DatasetError, DatasetMissing
from srbench.datasets import open as open_dataset
from srbench.datasets.download import RetryPolicy
from srbench.datasets.packed.format import read_index
from srbench.datasets.packed.writer import verify_packed
from srbench.datasets.sources import n2n_sem
from srbench.datasets.sources.n2n_sem import N2nSem

SHIFTS = ((0, 0), (1, 0), (0, -2), (3, 1), (0, 0), (-1, 2), (0, 0))
DWELL = (0.2, 0.5, 1.0, 1.0, 2.1, 5.0, 20.0)


def field(seed, pages=7, height=120, width=160):
    """Scans of one scene: noise falls with the dwell time, and some scans lie elsewhere."""
    generator = np.random.default_rng(seed)
    scene = gaussian_filter(generator.random((height, width)), 1.5)
    scene = (scene - scene.min()) / np.ptp(scene) * 180 + 40
    scans = []
    for dwell, moved in list(zip(DWELL, SHIFTS, strict=True))[:pages]:
        noisy = np.roll(scene, moved, axis=(0, 1)) + generator.normal(0, 6 / np.sqrt(dwell), scene.shape)
        scans.append(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    return scans


def tiff(pages):
    done, data = cv2.imencodemulti(".tif", list(pages))
    assert done
    return data.tobytes()


def zip_bytes(files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


@pytest.fixture(scope="module")
def fields():
    return {"train": field(1), "test": field(2)}


@pytest.fixture(scope="module")
def archive_bytes(fields):
    files = {f"SEM/{name}.tif": tiff(pages) for name, pages in fields.items()}
    return zip_bytes({**files, "SEM/readme.txt": b"hello", "__MACOSX/SEM/._train.tif": b"rubbish"})


@pytest.fixture
def archive(tmp_path, archive_bytes):
    path = tmp_path / "given" / "SEM.zip"
    path.parent.mkdir()
    path.write_bytes(archive_bytes)
    return path


def remarks_of(call, *arguments):
    events = []
    report = call(*arguments, events.append)
    return report, [event for event in events if isinstance(event, str)]


@pytest.mark.slow
def test_the_published_layout(srbench_home, archive, fields):
    report, remarks = remarks_of(N2nSem().import_from, archive)
    assert report.images == 2 and "is not the published file" in remarks[0]
    assert "not an image" in report.skipped["SEM/readme.txt"]
    opened = open_dataset("n2n_sem")
    assert {image.id: image.split for image in opened.images} == {"SEM/train": "train", "SEM/test": "test"}
    assert all(image.has_truth and image.channels == 1 and image.bits == 8 for image in opened.images)
    for name, pages in fields.items():
        assert np.array_equal(opened.pixels(f"SEM/{name}"), pages[6])
        for index in range(6):
            assert np.array_equal(opened.acquisition(f"SEM/{name}", index), pages[index])
        assert opened.acquisition(f"SEM/{name}", 6) is None
    assert opened.manifest.licence == "CC-BY-4.0" and "SEM.zip (sha256 " in opened.manifest.source


@pytest.mark.slow
def test_truth_tells_dwell_times_noise_and_measured_shifts(srbench_home, archive, fields):
    N2nSem().import_from(archive)
    truth = open_dataset("n2n_sem").truth("SEM/train")
    assert truth["dwell_times"] == {"known": True, "confirmed": False}
    assert (truth["hr"]["page"], truth["hr"]["dwell_us"], truth["hr"]["scans_averaged"]) == (6, 5.0, 4)
    scans = truth["acquisitions"]
    assert [scan["dwell_us"] for scan in scans] == [0.2, 0.5, 1.0, 1.0, 2.1, 5.0]
    assert [scan["index"] for scan in scans] == [scan["page"] for scan in scans] == list(range(6))
    for scan, (rows, columns) in zip(scans, SHIFTS, strict=False):
        assert scan["shift_px"]["rows"] == pytest.approx(rows, abs=0.2)
        assert scan["shift_px"]["columns"] == pytest.approx(columns, abs=0.2)
    noise = [scan["noise_grey_levels"] for scan in scans]
    assert noise[0] > noise[1] > noise[2] > noise[4] > noise[5] > truth["hr"]["noise_grey_levels"]
    assert noise[0] == pytest.approx(6 / np.sqrt(0.2), rel=0.15)


@pytest.mark.slow
def test_from_the_folder_that_holds_the_archive_or_its_files(tmp_path, srbench_home, archive, fields):
    N2nSem().import_from(archive.parent)
    first = open_dataset("n2n_sem").fingerprint
    files = tmp_path / "files" / "SEM"
    files.mkdir(parents=True)
    for name, pages in fields.items():
        (files / f"{name}.tif").write_bytes(tiff(pages))
    N2nSem().import_from(files.parent)
    opened = open_dataset("n2n_sem")
    assert opened.fingerprint == first and opened.manifest.source == "a folder"


@pytest.mark.slow
def test_a_folder_of_single_pages_is_a_field_whose_dwell_times_nobody_knows(tmp_path, srbench_home, fields):
    for name, pages in fields.items():
        folder = tmp_path / "given" / name
        folder.mkdir(parents=True)
        for page, pixels in enumerate(reversed(pages)):
            assert cv2.imwrite(str(folder / f"{page}.tif"), pixels)
    N2nSem().import_from(tmp_path / "given")
    opened = open_dataset("n2n_sem")
    assert {image.id: image.split for image in opened.images} == {"train": "train", "test": "test"}
    assert np.array_equal(opened.pixels("train"), fields["train"][6])  # the least noisy: here page 0
    truth = opened.truth("train")
    assert truth["hr"]["page"] == 0 and truth["hr"]["dwell_us"] is None
    assert not truth["dwell_times"]["known"]
    assert [scan["page"] for scan in truth["acquisitions"]] == [1, 2, 3, 4, 5, 6]


def test_other_page_counts_have_no_dwell_times(tmp_path, srbench_home):
    given = tmp_path / "given"
    given.mkdir()
    (given / "val_a.tiff").write_bytes(tiff(field(3, pages=3)))
    N2nSem().import_from(given)
    opened = open_dataset("n2n_sem")
    assert opened.images[0].split == "val"
    assert not opened.truth("val_a")["dwell_times"]["known"]
    assert np.array_equal(opened.pixels("val_a"), field(3, pages=3)[2])


def test_a_last_page_that_is_not_the_cleanest_is_told(tmp_path, srbench_home, fields):
    given = tmp_path / "given"
    given.mkdir()
    (given / "test.tif").write_bytes(tiff(fields["test"][::-1]))
    _, remarks = remarks_of(N2nSem().import_from, given)
    assert remarks == ["test: page 6 is taken as HR image, though page 0 has less noise"]


def test_averages_with_fractions_keep_their_scale(tmp_path, srbench_home, fields):
    scans = [page.astype(np.float32) for page in fields["train"]]
    scans[6] = scans[6] * 0.75 + 0.25
    given = tmp_path / "given"
    given.mkdir()
    (given / "train.tif").write_bytes(tiff(scans))
    N2nSem().import_from(given)
    opened = open_dataset("n2n_sem")
    assert opened.pixels("train").dtype == np.uint16 and opened.images[0].bits == 16
    assert np.abs(opened.pixels("train") / 257 - scans[6]).max() <= 0.501 / 257
    assert np.array_equal(opened.acquisition("train", 0), fields["train"][0].astype(np.uint16) * 257)
    assert "white at 255" in opened.truth("train")["scaling"]


def test_the_second_recording_lies_on_the_reference(srbench_home, tmp_path):
    """The least noisy of the other scans, which lies -1 and 2 px away; its contrast stays as it was."""
    scans = field(4, height=160, width=200)
    given = tmp_path / "given"
    given.mkdir()
    (given / "test.tif").write_bytes(tiff(scans))
    N2nSem().import_from(given)
    opened = open_dataset("n2n_sem")
    second = opened.second("test")
    inside = (slice(20, -20), slice(20, -20))
    expected = np.roll(scans[5], (1, -2), axis=(0, 1)).astype(float)
    moved, unmoved = (np.abs(scan - expected)[inside].mean() for scan in (second.astype(float), scans[5]))
    assert moved < 1.0 < 5.0 < unmoved
    assert second.astype(float)[inside].std() == pytest.approx(expected[inside].std(), rel=0.02)
    assert opened.second("test") is second


def test_a_scan_that_was_averaged_into_the_reference_is_no_second_one(srbench_home, tmp_path):
    """HR is the mean of four scans, one of which is the fifth page: the next best one is taken."""
    scans = [scan.astype(float) for scan in field(5)]
    noise = [np.random.default_rng(n).normal(0, 3, scans[0].shape) for n in range(4)]
    scans[5] = scans[6] + noise[0]
    scans[6] = scans[6] + np.mean(noise, axis=0)
    pages = [np.clip(np.rint(scan), 0, 255).astype(np.uint8) for scan in scans]
    given = tmp_path / "given"
    given.mkdir()
    (given / "test.tif").write_bytes(tiff(pages))
    N2nSem().import_from(given)
    opened = open_dataset("n2n_sem")
    noise_of = {scan["index"]: scan["noise_grey_levels"] for scan in opened.truth("test")["acquisitions"]}
    best, following = sorted(noise_of, key=noise_of.get)[:2]
    assert best == 5
    assert np.array_equal(opened.second("test"), opened.acquisition("test", following))


def test_bad_fields_are_skipped_and_the_others_kept(tmp_path, srbench_home, fields):
    given = tmp_path / "given"
    given.mkdir()
    (given / "train.tif").write_bytes(tiff(fields["train"]))
    whole = tiff(fields["test"])
    (given / "cut.tif").write_bytes(whole[: len(whole) // 2])
    (given / "sizes.tif").write_bytes(tiff([fields["test"][0], fields["test"][1][:60]]))
    report = N2nSem().import_from(given)
    assert report.images == 1
    assert "cut short" in report.skipped["cut.tif"] and "differ in size" in report.skipped["sizes"]


def test_nothing_usable_lists_what_was_found(tmp_path, srbench_home, picture):
    given = tmp_path / "given"
    given.mkdir()
    assert cv2.imwrite(str(given / "lonely.tif"), picture())
    with pytest.raises(DatasetError) as error:
        N2nSem().import_from(given)
    for part in ("SEM/train.tif", "lonely.tif", "a single page", "Nothing was changed"):
        assert part in str(error.value)
    with pytest.raises(DatasetError, match="is not there"):
        N2nSem().import_from(tmp_path / "nowhere")
    with pytest.raises(DatasetMissing, match="srbench data fetch n2n_sem"):
        open_dataset("n2n_sem")


@pytest.mark.slow
def test_fetch_checks_the_hash_resumes_and_leaves_no_download(
    file_server, srbench_home, archive_bytes, monkeypatch
):
    file_server.content["/SEM.zip"] = archive_bytes
    source = N2nSem(file_server.url("/SEM.zip"), RetryPolicy(attempts=3, backoff=0.01, timeout=5.0))
    with pytest.raises(DatasetError, match=r"sha256 .*expected 03aca31eac4d"):
        source.fetch()
    monkeypatch.setattr(n2n_sem, "SHA256", hashlib.sha256(archive_bytes).hexdigest())
    file_server.script["/SEM.zip"] = ["truncate"]
    assert source.fetch().images == 2
    assert file_server.ranges and not source.downloads.exists()
    requests = file_server.requests["/SEM.zip"]
    assert source.fetch().images == 2 and file_server.requests["/SEM.zip"] == requests


@pytest.mark.slow
@pytest.mark.parametrize("part", ["pixels", "acquisition 3"])
def test_a_flipped_byte_in_any_scan_is_found(srbench_home, archive, part):
    N2nSem().import_from(archive)
    opened = open_dataset("n2n_sem")
    records = {record.image.id: record for record in read_index(opened.folder, opened.manifest)}
    stored = dict(records["SEM/test"].parts())[part]
    shard = opened.folder / stored.shard
    data = bytearray(shard.read_bytes())
    data[stored.offset + 5] ^= 8
    shard.write_bytes(data)
    problems = verify_packed(opened.folder).problems
    assert list(problems) == ["SEM/test"] and problems["SEM/test"].startswith(part)
    assert N2nSem().verify().problems == problems
