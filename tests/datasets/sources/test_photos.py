"""The photograph sets: from folders, archives and a server into a colour pack, and every way it can fail."""

import hashlib
import io
import tarfile
import zipfile
from dataclasses import replace

import cv2
import numpy as np
import pytest

from srbench.datasets import DatasetError, DatasetMissing, list_datasets, source
from srbench.datasets import open as open_dataset
from srbench.datasets.download import RetryPolicy
from srbench.datasets.sources.photo_sets import (
    B100,
    Div2k,
    Flickr2k,
    Manga109,
    Set5,
    Set14,
    Urban100,
)

NAMES = ("baby", "bird", "butterfly", "head", "woman")
QUICK = RetryPolicy(attempts=2, backoff=0.01, timeout=5.0)


@pytest.fixture
def photo(picture):
    """``photo(seed)``: RGB pixels and the bytes of a PNG file of them."""

    def make(seed, height=60, width=72):
        rgb = np.dstack([picture(3 * seed + channel, height, width) for channel in range(3)])
        return rgb, png(rgb[..., ::-1])

    return make


def png(array):
    done, data = cv2.imencode(".png", array)
    assert done
    return data.tobytes()


@pytest.fixture
def benchmark_files(photo):
    """The layout of EDSR's benchmark.tar, with fewer images in the larger sets."""
    files = {f"benchmark/Set5/HR/{name}.png": photo(seed)[1] for seed, name in enumerate(NAMES)}
    files |= {f"benchmark/Set5/LR_bicubic/X4/{name}x4.png": photo(90)[1] for name in NAMES}
    files |= {f"benchmark/Set14/HR/img{seed}.png": photo(20 + seed)[1] for seed in range(3)}
    files |= {f"benchmark/B100/HR/{1000 + seed}.png": photo(40 + seed)[1] for seed in range(2)}
    files |= {f"benchmark/Urban100/HR/img{seed:03}.png": photo(50 + seed)[1] for seed in range(2)}
    return files


def tar_bytes(files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def zip_bytes(files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


def write(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def remarks_of(call, *arguments):
    events = []
    report = call(*arguments, events.append)
    return report, [event for event in events if isinstance(event, str)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "tar", "zip", "folder with the archive"])
def test_set5_from_every_container(tmp_path, srbench_home, benchmark_files, photo, kind):
    place = tmp_path / "given"
    if kind == "folder":
        write(place, benchmark_files)
    elif kind == "folder with the archive":
        write(place, {"benchmark.tar": tar_bytes(benchmark_files)})
    else:
        place.write_bytes((tar_bytes if kind == "tar" else zip_bytes)(benchmark_files))
    report, remarks = remarks_of(Set5().import_from, place)
    assert (report.images, dict(report.skipped)) == (5, {})
    assert [text for text in remarks if "instead of" in text] == []
    opened = open_dataset("set5")
    assert [image.id for image in opened.images] == list(NAMES)
    assert {image.split for image in opened.images} == {"test"}
    assert all(image.channels == 3 and image.category == "Set5" for image in opened.images)
    for seed, name in enumerate(NAMES):
        assert np.array_equal(opened.pixels(name), photo(seed)[0])
    assert opened.manifest.version == "1" and opened.manifest.licence == "none found"
    assert not Set5().verify().problems and Set5().state().state == "ready"


@pytest.mark.slow
def test_equal_data_from_any_container_has_one_fingerprint(tmp_path, monkeypatch, benchmark_files):
    found = set()
    for kind, make in (("tar", tar_bytes), ("zip", zip_bytes)):
        monkeypatch.setenv("SRBENCH_HOME", str(tmp_path / kind / "home"))
        archive = tmp_path / f"given.{kind}"
        archive.write_bytes(make(benchmark_files))
        Set5().import_from(archive)
        found.add(open_dataset("set5").fingerprint)
    assert len(found) == 1


def test_grey_photographs_get_three_equal_channels(tmp_path, srbench_home, photo, picture):
    files = {"Set14/colour.png": photo(1)[1], "Set14/grey.png": png(picture(7))}
    Set14().import_from(write(tmp_path / "given", files))
    opened = open_dataset("set14")
    grey = opened.pixels("grey")
    assert grey.shape == (96, 128, 3) and all(np.array_equal(grey[..., c], picture(7)) for c in range(3))
    assert opened.notes["grey"] == "grey, as three equal channels"
    assert {image.channels for image in opened.images} == {3}


def test_another_number_of_images_is_told_loudly_and_has_another_version(tmp_path, srbench_home, photo):
    files = {f"{name}.png": photo(seed)[1] for seed, name in enumerate(NAMES[:4])}
    report, remarks = remarks_of(Set5().import_from, write(tmp_path / "given", files))
    assert report.images == 4
    assert "set5: 4 instead of 5 images" in remarks[-1] and "published" in remarks[-1]
    opened = open_dataset("set5")
    assert opened.manifest.version == "1, 4 instead of 5 images"
    assert opened.notes["set5"] == "4 instead of 5 images"


def test_images_cut_for_a_scale_are_told(tmp_path, srbench_home, photo):
    files = {
        f"Set5/image_SRF_4/img_{seed:03}_SRF_4_{what}.png": photo(seed + (50 if what == "LR" else 0))[1]
        for seed in range(1, 6)
        for what in ("HR", "LR")
    }
    _, remarks = remarks_of(Set5().import_from, write(tmp_path / "given", files))
    assert "cut to multiples of 4" in remarks[-1]
    opened = open_dataset("set5")
    assert opened.manifest.version == "1, images cut to multiples of 4"
    assert np.array_equal(opened.pixels("img_003"), photo(3)[0])


def test_images_that_lose_nothing_to_their_cut_are_those_of_the_tables(tmp_path, srbench_home, photo):
    sides = [(512, 512), (288, 288), (256, 256), (280, 280), (228, 344)]
    for folder, cut in (("whole", 0), ("less", 4)):
        files = {
            f"Set5/image_SRF_4/img_{seed:03}_SRF_4_HR.png": photo(
                seed, height - (cut if seed == 3 else 0), width
            )[1]
            for seed, (width, height) in enumerate(sides)
        }
        _, remarks = remarks_of(Set5().import_from, write(tmp_path / folder, files))
        assert any("published tables" in remark for remark in remarks) == bool(cut)
        assert open_dataset("set5").manifest.version == ("1, images cut to multiples of 4" if cut else "1")


def test_bad_files_and_duplicates_are_skipped_with_their_reason(tmp_path, srbench_home, photo):
    files = {f"{name}.png": photo(seed)[1] for seed, name in enumerate(NAMES)}
    files |= {"again.png": photo(0)[1], "cut.png": photo(9)[1][:700], "tiny.png": photo(8, 20, 20)[1]}
    report = Set5().import_from(write(tmp_path / "given", files))
    assert report.images == 5
    assert report.skipped["baby.png"] == "the same picture as again.png"
    assert "cut short" in report.skipped["cut.png"] and "too small" in report.skipped["tiny.png"]


@pytest.mark.slow
def test_an_archive_that_tries_to_leave_its_folder(tmp_path, srbench_home, benchmark_files, photo):
    archive = tmp_path / "evil.zip"
    archive.write_bytes(zip_bytes({**benchmark_files, "../../Set5/HR/out.png": photo(70)[1]}))
    report = Set5().import_from(archive)
    assert report.images == 5 and "leads out" in report.skipped["../../Set5/HR/out.png"]
    assert not list(tmp_path.rglob("out.png"))


@pytest.mark.slow
def test_a_damaged_archive_changes_nothing(tmp_path, srbench_home, benchmark_files):
    whole = tmp_path / "benchmark.tar"
    whole.write_bytes(tar_bytes(benchmark_files))
    Set5().import_from(whole)
    before = open_dataset("set5").fingerprint
    cut = tmp_path / "cut.tar"
    cut.write_bytes(tar_bytes(benchmark_files)[:9000])
    with pytest.raises(DatasetError, match="cut short"):
        Set5().import_from(cut)
    assert open_dataset("set5").fingerprint == before and not Set5().verify().problems


def test_nothing_of_the_set_says_what_was_expected_and_found(tmp_path, srbench_home, photo):
    given = write(tmp_path / "given", {"holiday.png": photo(1)[1], "LR/x.png": photo(2)[1]})
    with pytest.raises(DatasetError) as error:
        Div2k().import_from(given)
    for part in ("900 HR images", "0001.png to 0900.png", "DIV2K_train_HR.zip", "holiday.png", "data fetch"):
        assert part in str(error.value)
    with pytest.raises(DatasetError, match="no image files"):
        Set5().import_from(write(tmp_path / "other", {"notes.txt": b"x"}))
    with pytest.raises(DatasetError, match="is not there"):
        Set5().import_from(tmp_path / "nowhere")


def test_nothing_usable_changes_nothing(tmp_path, srbench_home, photo):
    with pytest.raises(DatasetError, match=r"No image of set5 can be used:\n.*cut short"):
        Set5().import_from(write(tmp_path / "given", {"a.png": photo(1)[1][:500]}))
    assert Set5().state().state == "absent"


def div2k_files(photo):
    numbers = (1, 2, 790, 791, 800, 801, 810, 900)
    files = {}
    for number in numbers:
        part = "train" if number <= 800 else "valid"
        files[f"DIV2K_{part}_HR/{number:04}.png"] = photo(number)[1]
    return files


def test_div2k_from_its_two_archives(tmp_path, srbench_home, photo):
    files = div2k_files(photo)
    parts = {part: {n: d for n, d in files.items() if part in n} for part in ("train", "valid")}
    archives = {f"DIV2K_{part}_HR.zip": zip_bytes(part_files) for part, part_files in parts.items()}
    _, remarks = remarks_of(Div2k().import_from, write(tmp_path / "given", archives))
    assert sum("not the published file: md5" in text for text in remarks) == 2
    opened = open_dataset("div2k")
    assert {image.id: image.split for image in opened.images} == {
        "0001": "train",
        "0002": "train",
        "0790": "train",
        "0791": "val",
        "0800": "val",
        "0801": "test",
        "0810": "test",
        "0900": "test",
    }
    assert opened.manifest.version == "1, 8 instead of 900 images"
    assert "DIV2K_valid_HR.zip (md5 " in opened.manifest.source
    assert opened.manifest.terms == Div2k.card.terms


def test_foreign_names_do_not_get_into_div2k(tmp_path, srbench_home, photo):
    files = {
        **div2k_files(photo),
        "DIV2K_train_HR/0901.png": photo(3)[1],
        "DIV2K_train_HR/cat.png": photo(4)[1],
    }
    report = Div2k().import_from(write(tmp_path / "given", files))
    assert report.images == 8
    assert set(report.skipped) == {"DIV2K_train_HR/0901.png", "DIV2K_train_HR/cat.png"}


def test_flickr2k_is_for_training_and_leaves_its_lr_images_aside(tmp_path, srbench_home, photo):
    files = {f"Flickr2K/Flickr2K_HR/{number:06}.png": photo(number)[1] for number in (1, 2650)}
    files |= {"Flickr2K/Flickr2K_LR_bicubic/X2/000001x2.png": photo(5)[1]}
    files |= {"Flickr2K/Flickr2K_LR_unknown/X2/000001x2.png": photo(6)[1]}
    archive = tmp_path / "Flickr2K.tar"
    archive.write_bytes(tar_bytes(files))
    assert Flickr2k().import_from(archive).images == 2
    assert {image.split for image in open_dataset("flickr2k").images} == {"train"}


@pytest.fixture
def served(file_server, benchmark_files, monkeypatch):
    """A server with a small benchmark.tar whose hash the sets are told to expect."""
    body = tar_bytes(benchmark_files)
    file_server.content["/mirror/benchmark.tar"] = body
    for kind in (Set5, Set14, B100, Urban100):
        archive = replace(kind.photos.archives[0], md5=hashlib.md5(body).hexdigest())
        monkeypatch.setattr(kind, "photos", replace(kind.photos, archives=(archive,)))
    monkeypatch.setenv("SRBENCH_PHOTO_URL", file_server.url("/mirror"))
    return file_server


@pytest.mark.slow
def test_one_download_serves_four_sets(served, srbench_home):
    for kind, count in ((Set5, 5), (Set14, 3), (B100, 2), (Urban100, 2)):
        report, remarks = remarks_of(kind(retry=QUICK).fetch)
        assert report.images == count
        assert "is kept: it holds other sets too" in " ".join(remarks)
    assert served.requests["/mirror/benchmark.tar"] == 1
    assert open_dataset("b100").manifest.source.startswith("https://cv.snu.ac.kr/research/EDSR/benchmark.tar")
    assert Set5(retry=QUICK).fetch().images == 5  # intact: nothing is downloaded or packed again
    assert served.requests["/mirror/benchmark.tar"] == 1


@pytest.mark.slow
def test_an_interrupted_download_goes_on(served, srbench_home):
    served.script["/mirror/benchmark.tar"] = ["truncate", 404]
    with pytest.raises(DatasetError, match=r"benchmark\.tar"):
        Set5(retry=QUICK).fetch()
    state = Set5().state()
    assert state.state == "partial" and state.bytes > 0 and "srbench data fetch set5" in state.next_step
    assert Set5(retry=QUICK).fetch().images == 5
    assert served.ranges[-1][1] > 0


@pytest.mark.slow
def test_a_wrong_md5_is_refused(file_server, srbench_home, benchmark_files):
    file_server.content["/benchmark.tar"] = tar_bytes(benchmark_files)
    with pytest.raises(DatasetError, match=r"md5 .*expected 4ace41d33c23"):
        Set5(base_url=file_server.url(""), retry=QUICK).fetch()
    assert Set5().state().state == "absent"


@pytest.mark.slow
def test_a_set_with_an_archive_of_its_own_leaves_no_download(file_server, srbench_home, photo, monkeypatch):
    bodies = {
        "DIV2K_train_HR.zip": zip_bytes({"DIV2K_train_HR/0001.png": photo(1)[1]}),
        "DIV2K_valid_HR.zip": zip_bytes({"DIV2K_valid_HR/0801.png": photo(2)[1]}),
    }
    file_server.content = {f"/{name}": body for name, body in bodies.items()}
    archives = tuple(
        replace(archive, md5=hashlib.md5(bodies[archive.file]).hexdigest(), size=len(bodies[archive.file]))
        for archive in Div2k.photos.archives
    )
    monkeypatch.setattr(Div2k, "photos", replace(Div2k.photos, archives=archives))
    div2k = Div2k(base_url=file_server.url(""), retry=QUICK)
    assert div2k.fetch().images == 2
    assert not div2k.downloads.exists()


def test_manga109_is_imported_only_and_says_where_to_apply(tmp_path, srbench_home, photo):
    with pytest.raises(DatasetError, match=r"cannot be fetched.*www\.manga109\.org.*data import manga109"):
        Manga109().fetch()
    with pytest.raises(DatasetMissing, match=r"Apply for it at http://www\.manga109\.org"):
        open_dataset("manga109")
    Manga109().import_from(write(tmp_path / "given", {"Manga109/ARMS.png": photo(1)[1]}))
    assert [image.id for image in open_dataset("manga109").images] == ["ARMS"]


def test_missing_sets_say_what_to_type_and_take_no_argument(srbench_home):
    with pytest.raises(
        DatasetMissing, match=r"srbench data fetch urban100, or: srbench data import urban100"
    ):
        open_dataset("urban100")
    with pytest.raises(DatasetError, match="takes no argument"):
        open_dataset("set5:x4")


@pytest.mark.slow
def test_a_flipped_byte_is_found_and_a_fetch_repairs_it(served, srbench_home):
    Set5(retry=QUICK).fetch()
    opened = open_dataset("set5")
    stored = opened.stored("head")
    shard = opened.folder / stored.shard
    data = bytearray(shard.read_bytes())
    data[stored.offset] ^= 1
    shard.write_bytes(data)
    assert list(Set5().verify().problems) == ["head"]
    Set5(retry=QUICK).fetch()
    assert not Set5().verify().problems


def test_a_pack_of_other_rules_is_refused(tmp_path, srbench_home, benchmark_files, monkeypatch):
    Set5().import_from(write(tmp_path / "given", benchmark_files))
    monkeypatch.setattr(Set5, "rules", "2")
    with pytest.raises(DatasetError, match="holds version 1 of set5, this srbench has version 2"):
        open_dataset("set5")


def test_a_damaged_manifest_does_not_break_the_list_of_datasets(tmp_path, srbench_home, benchmark_files):
    Set5().import_from(write(tmp_path / "given", benchmark_files))
    (Set5().folder / "manifest.json").write_text('{"format": 1}')
    assert Set5().state().state == "partial" and "data fetch set5" in Set5().state().next_step


def test_cards_tell_licence_terms_citation_and_size():
    cards = {card.name: card for card in list_datasets() if card.kind == "photographs"}
    assert set(cards) >= {"div2k", "flickr2k", "set5", "set14", "b100", "urban100", "manga109"}
    for name in ("div2k", "flickr2k", "set5", "set14", "b100", "urban100", "manga109"):
        card = cards[name]
        assert card.channels == 3 and card.licence and card.terms and card.citation and card.urls
        assert source(name).photos.count in (5, 14, 100, 109, 900, 2650)
    assert cards["manga109"].obtain == ("import",)
