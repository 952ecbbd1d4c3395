"""sem_open: its frozen manifest, importing a folder, fetching from a server, verifying, refusing."""

import hashlib
import json
import os
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
import pytest

from srbench.datasets import DatasetMissing
from srbench.datasets import open as open_dataset
from srbench.datasets import source as dataset_source
from srbench.datasets.download import RetryPolicy
from srbench.datasets.images.databar import find_databar, has_databar
from srbench.datasets.sources import sem_open
from srbench.datasets.sources.sem_open import Catalogue, CatalogueImage, CatalogueMask, SemOpen, catalogue
from srbench.utils.errors import DatasetError
from srbench.utils.files import pixel_hash

REAL = Path(os.environ.get("SRBENCH_TEST_SEM_OPEN", "no such folder"))
QUICK = RetryPolicy(attempts=3, backoff=0.0, timeout=2.0)


# The packaged manifest


def groups(category):
    found = defaultdict(int)
    for image in catalogue().included:
        if image.category == category:
            found[image.group.partition("/")[2]] += 1
    return dict(found)


def test_groups_are_the_specimens_described():
    assert groups("powder") == {"Sc1": 4, "Sc2": 3, "Sc3": 2, "Sc4": 2}
    assert groups("lung cells") == {
        "DC-CS": 13, "DC-NiO": 14, "DC-IPDI": 11, "DC-Ag": 5, "DC-untreated": 6,
        "ME-CS": 6, "ME-NiO": 2, "ME-IPDI": 7, "ME-Ag": 2, "ME-untreated": 3,
    }  # fmt: skip
    assert groups("EBC") == {
        "010417_4_S248": 2, "1426": 3, "032919_10": 1, "032919_6": 1, "040617_2_S127_2": 1,
        "040617_3_S041": 3, "050317_3_S044": 6, "070516_1_S116": 2, "070516_3_S247": 2,
        "S879_062216_3-31cyc": 1,
    }  # fmt: skip
    assert groups("superalloy") == {"spots": 18, "45kx": 1, "SE-50kx": 1, "lshr": 1, "me3": 1, "pt2": 1}
    assert groups("steel") == {
        "970C-90M-Q": 6, "970C-90M-AR": 2, "970C-3H-Q": 6, "970C-24H-Q": 1, "970C-5M-Q": 1, "800C-3H-Q": 2,
        "800C-8H-Q": 4, "800C-24H-Q": 4, "800C-85H-Q": 5, "900C-90M-Q": 1, "1000C-5M-Q": 1, "sample47": 1,
    }  # fmt: skip


def test_the_split_is_by_group_and_covers_every_category():
    splits, categories = defaultdict(set), defaultdict(set)
    for image in catalogue().included:
        splits[image.group].add(image.split)
        categories[image.split].add(image.category)
    assert all(len(found) == 1 for found in splits.values())
    assert set(categories) == {"train", "val", "test"}
    assert all(
        found == {"powder", "steel", "lung cells", "EBC", "superalloy"} for found in categories.values()
    )
    test_groups = {image.group for image in catalogue().included if image.split == "test"}
    for category, kind in {"steel": 6, "lung": 5, "ebc": 5, "super": 4, "powder": 2}.items():
        assert sum(group.startswith(f"{category}/") for group in test_groups) == kind


def test_the_split_is_frozen():
    lines = "".join(f"{image.id}\t{image.group}\t{image.split}\n" for image in catalogue().included)
    digest = hashlib.sha256(lines.encode()).hexdigest()
    assert digest == "fe2e72a13344fdd99e30c2b6d88e93561e1170f920cd7b198344a5af2e659179"


def test_counts_and_the_near_duplicate():
    known = catalogue()
    assert len(known.images) == 160 and len(known.included) == 159
    (reason,) = known.dropped.values()
    assert "near-duplicate" in reason and "0.997" in reason
    assert len({image.id for image in known.images}) == 160
    assert len({image.pixels_sha256 for image in known.images}) == 160


def test_every_origin_is_pinned():
    for image in catalogue().images:
        assert len(image.commit) == 40 and int(image.commit, 16)
        assert len(image.source_sha256) == len(image.sha256) == len(image.pixels_sha256) == 64
        micrograph = catalogue().micrograph(image)
        assert "MIT" in micrograph.licence and image.path in micrograph.source


def test_pixel_sizes_come_from_the_scale_bars():
    sizes = {image.id: image.pixel_size_nm for image in catalogue().images}
    assert sizes["CS_DCs_1000x_A"] == pytest.approx(50_000 / 372, rel=0.003)
    assert sizes["NiO_DC_5000x_B"] == pytest.approx(5_000 / 242, rel=0.003)  # its bar says 6500x
    assert sizes["CS_DCs_12000x_C"] == pytest.approx(4_000 / 357, rel=0.003)
    assert sizes["train_uhcs0007"] is None


def test_an_edited_split_is_refused(monkeypatch, tmp_path):
    packaged = json.loads((Path(sem_open.__file__).with_name("sem_open.json")).read_text(encoding="utf-8"))
    first = next(image for image in packaged["images"] if image["split"] == "test")
    first["split"] = "train"
    (tmp_path / "sem_open.json").write_text(json.dumps(packaged))
    monkeypatch.setattr("srbench.datasets.sources.sem_open.resources.files", lambda _: tmp_path)
    with pytest.raises(DatasetError, match="not the frozen one"):
        catalogue.__wrapped__()


def test_addresses_are_escaped():
    image = next(image for image in catalogue().images if "#2_S127(2)" in image.path)
    url = SemOpen()._url(image, image.path)
    assert url == (
        "https://raw.githubusercontent.com/nasa/pretrained-microscopy-models/"
        "f50b5689a71cf6f86016fb4a5c5a2bb31e0397f3/benchmark_segmentation_data/EBC1/test/"
        "040617%232_S127%282%290015.tif"
    )
    lung = next(image for image in catalogue().images if image.id == "CS_DCs_1000x_A")
    assert "b75f6bde54036464778d65f9b1cdf8664d53cc1f/Datasets/Lung%20Cells%20SEM" in SemOpen()._url(
        lung, lung.path
    )


def test_masks_say_which_labels_are_objects():
    """Single particles, carbides and precipitates are; the classes of UHCS and EBC divide the whole image."""
    stored = defaultdict(set)
    for image in catalogue().included:
        if image.mask is not None:
            assert len(image.mask.source_sha256) == len(image.mask.labels_sha256) == 64
            stored[image.category, image.mask.stored].add((image.mask.objects, image.measure))
    assert dict(stored) == {
        ("powder", "polygons"): {(None, ())},
        ("steel", "binary"): {(None, ("particles",))},
        ("superalloy", "overlay"): {((1,), ())},
        ("steel", "thirds"): {((), ())},
        ("EBC", "numbers"): {((), ())},
    }


# Importing, fetching, verifying: a small catalogue of the same kinds of files


@pytest.fixture
def small(monkeypatch, tmp_path, file_server, picture):
    """Four images as upstream has them, the folder a user may hold, a server, and the catalogue of both."""
    grey = {name: picture(seed, 70, 90) for seed, name in enumerate(("keep", "rgb", "deep", "twin"))}
    bar = np.full((20, 90), 4, np.uint8)
    upstream = {
        "keep": ("a/keep.png", grey["keep"]),
        "rgb": ("b/04#2_S(2) 1.tif", np.repeat(grey["rgb"][..., None], 3, axis=2)),
        "deep": ("c d/deep.tif", np.vstack([grey["deep"], bar]).astype(np.uint16) * 256),
        "twin": ("a/twin.png", grey["twin"]),
    }
    folder, images = tmp_path / "have", []
    for index, (name, (path, array)) in enumerate(upstream.items()):
        data = cv2.imencode(Path(path).suffix, array)[1].tobytes()
        commit = f"{index:040x}"
        file_server.content[quote(f"/owner/repo/{commit}/{path}")] = data
        rows = 20 if name == "deep" else 0
        local = data if name == "keep" else cv2.imencode(".png", local_grey(array))[1].tobytes()
        file = folder / "source" / "images" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(local)
        images.append(
            CatalogueImage(
                id=name, source="source", file=f"source/images/{name}.png",
                sha256=hashlib.sha256(local).hexdigest(), commit=commit, path=path,
                source_sha256=hashlib.sha256(data).hexdigest(), conversion="", databar_rows=rows,
                height=70, width=90, pixels_sha256=pixel_hash(grey[name]), group=f"g/{name}", category="c",
                split="test", pixel_size_nm=None, dropped="a twin" if name == "twin" else "",
            )
        )  # fmt: skip
    images = [with_mask(image, folder, file_server) for image in images]
    known = Catalogue("1", {"source": {"repo": "owner/repo", "licence": "MIT"}}, tuple(images))
    monkeypatch.setattr(sem_open, "catalogue", lambda: known)
    del grey["twin"]
    return grey, folder


SQUARE = [10, 30, 30, 10], [20, 20, 40, 40]
"""Columns and rows of a polygon: 20 x 20 pixels."""
DRAWN = {
    "keep": ("numbers", np.kron([[0, 1], [2, 0]], np.ones((35, 45))).astype(np.uint8), (2,)),
    "rgb": ("overlay", np.kron([[0, 1], [2, 0]], np.ones((35, 45))).astype(np.uint8), (1,)),
    "deep": ("polygons", np.pad(np.ones((20, 20), np.uint16), ((20, 30), (10, 60))), None),
}
"""How each image's mask is stored upstream, its labels and which of them are objects."""


def with_mask(image, folder, server):
    """The image with its mask, upstream and in the folder."""
    if image.id not in DRAWN:
        return image
    stored, labels, objects = DRAWN[image.id]
    shown = labels
    if stored == "overlay":
        shown = np.full((70, 90, 4), (200, 200, 200, 255), np.uint8)  # blue, green, red, alpha
        shown[labels == 1], shown[labels == 2] = (255, 0, 0, 255), (0, 0, 255, 255)
    suffix = "json" if stored == "polygons" else "png"
    if stored == "polygons":
        x, y = SQUARE
        regions = [{"shape_attributes": {"name": "polygon", "all_points_x": x, "all_points_y": y}}]
        entry = {"filename": Path(image.path).name, "regions": regions}
        data = local = json.dumps({"_via_img_metadata": {"deep.tif1": entry}}).encode()
    else:
        data, local = (cv2.imencode(".png", array)[1].tobytes() for array in (shown, labels))
    path, file = f"masks of/{image.id}.{suffix}", f"source/masks/{image.id}.{suffix}"
    server.content[quote(f"/owner/repo/{image.commit}/{path}")] = data
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_bytes(local)
    mask = CatalogueMask(
        file, hashlib.sha256(local).hexdigest(), path, hashlib.sha256(data).hexdigest(), stored,
        pixel_hash(labels), objects,
    )  # fmt: skip
    return replace(image, mask=mask)


def local_grey(array):
    plain = array[..., 0] if array.ndim == 3 else array
    return (plain >> 8).astype(np.uint8) if plain.dtype == np.uint16 else plain


@pytest.fixture
def dataset(srbench_home, file_server):
    return SemOpen(file_server.url(""), QUICK)


def check(dataset, grey, masks=tuple(DRAWN)):
    opened = dataset.open()
    assert {image.id for image in opened.images} == set(grey)
    assert all(np.array_equal(opened.pixels(name), pixels) for name, pixels in grey.items())
    assert all(np.array_equal(opened.mask(name), DRAWN[name][1]) for name in masks)
    assert dataset.state().state == "ready" and dataset.state().images == 3
    assert not dataset.verify().problems
    return opened


def test_import_takes_the_folder(small, dataset):
    grey, folder = small
    assert dataset.state().state == "absent"
    events = []
    report = dataset.import_from(folder, events.append)
    assert report.images == 3 and list(report.skipped) == ["source/images/twin.png"]
    assert [event.done for event in events] == [1, 2, 3] and events[-1].total == 3
    opened = check(dataset, grey)
    assert opened.skipped == report.skipped


def test_import_finds_files_by_name_and_takes_other_encodings(small, dataset, tmp_path):
    grey, folder = small
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in folder.rglob("images/*.png"):
        array = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(flat / file.name), array, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    dataset.import_from(flat)
    check(dataset, grey, masks=())


@pytest.mark.slow
def test_import_and_fetch_give_the_same_data(small, dataset):
    dataset.import_from(small[1])
    imported = dataset.open().fingerprint
    dataset.folder.rename(dataset.folder.with_name("elsewhere"))
    dataset.fetch()
    assert dataset.open().fingerprint == imported


def test_a_partial_folder_is_counted_and_named_and_changes_nothing(small, dataset):
    grey, folder = small
    dataset.import_from(folder)
    (folder / "source/images/rgb.png").unlink()
    (folder / "source/images/deep.png").unlink()
    with pytest.raises(DatasetError, match=r"2 of 3 .*missing.*rgb\.png, source/images/deep\.png"):
        dataset.import_from(folder)
    check(dataset, grey)
    with pytest.raises(DatasetError, match="is not a folder"):
        dataset.import_from(folder / "nowhere")


def test_images_without_their_masks_are_taken_and_are_the_same_data(small, dataset):
    _, folder = small
    dataset.import_from(folder)
    with_masks = dataset.open()
    shutil.rmtree(folder / "source/masks")
    report = dataset.import_from(folder)
    without = dataset.open()
    absent = {name: why for name, why in report.skipped.items() if "mask" in name}
    assert len(absent) == 3 and all("not in the folder" in why for why in absent.values())
    assert any("3" in line and "mask" in line for line in without.remarks())
    assert without.fingerprint == with_masks.fingerprint
    assert with_masks.masks_sha256 and not without.masks_sha256
    assert not any(image.has_mask for image in without.images)


def test_masks_of_other_labels_are_named_and_left_out(small, dataset):
    _, folder = small
    cv2.imwrite(str(folder / "source/masks/keep.png"), np.ones((70, 90), np.uint8))
    (folder / "source/masks/deep.json").write_text('{"_via_img_metadata": {"a": {"filename": "b"}}}')
    report = dataset.import_from(folder)
    assert "other labels" in report.skipped["source/masks/keep.png of keep"]
    assert "no polygons of deep.tif" in report.skipped["source/masks/deep.json of deep"]
    assert {image.id for image in dataset.open().images if image.has_mask} == {"rgb"}


def test_objects_are_the_labels_that_the_catalogue_names(small, dataset):
    dataset.import_from(small[1])
    opened = dataset.open()
    of = {image.id: opened.objects(image) for image in opened.images}
    assert np.array_equal(of["keep"], 2 * (DRAWN["keep"][1] == 2)) and of["keep"].dtype == np.uint8
    assert np.array_equal(of["deep"], DRAWN["deep"][1])
    assert opened.objects(replace(opened.images[0], mask_objects=())) is None


def test_files_with_other_pixels_are_named_and_change_nothing(small, dataset, picture):
    grey, folder = small
    dataset.import_from(folder)
    cv2.imwrite(str(folder / "source/images/rgb.png"), picture(99, 70, 90))
    (folder / "source/images/deep.png").write_bytes(b"not an image")
    with pytest.raises(DatasetError) as caught:
        dataset.import_from(folder)
    assert "2 of 3" in str(caught.value) and "rgb.png: has other pixels" in str(caught.value)
    assert "deep.png: not an image" in str(caught.value)
    check(dataset, grey)


@pytest.mark.slow
def test_fetch_downloads_converts_and_cleans_up(small, dataset):
    grey, _ = small
    report = dataset.fetch()
    assert report.images == 3
    check(dataset, grey)
    assert not dataset.downloads.exists()


@pytest.mark.slow
def test_fetch_asks_for_nothing_when_all_is_there(small, dataset, file_server):
    dataset.fetch()
    file_server.requests.clear()
    assert dataset.fetch().images == 3
    assert not file_server.requests


@pytest.mark.slow
def test_an_interrupted_fetch_goes_on(small, dataset, file_server):
    grey, _ = small
    paths = sorted(path for path in file_server.content if "masks%20of" not in path)
    file_server.script = {paths[1]: [404]}
    with pytest.raises(DatasetError, match="1 of 6 files"):
        dataset.fetch()
    assert dataset.state().state == "partial" and dataset.state().images == 2
    with pytest.raises(DatasetMissing):
        dataset.open()
    file_server.requests.clear()
    dataset.fetch()
    assert list(file_server.requests) == [paths[1]]
    check(dataset, grey)


@pytest.mark.slow
def test_fetch_repairs_what_verify_found(small, dataset):
    grey, _ = small
    dataset.fetch()
    manifest = dataset.open().manifest
    shard = dataset.folder / next(iter(manifest.shards))
    data = bytearray(shard.read_bytes())
    data[1234] ^= 1
    shard.write_bytes(data)
    assert list(dataset.verify().problems) == ["keep"]
    dataset.fetch()
    check(dataset, grey)


def test_verify_compares_with_the_packaged_manifest(small, dataset, monkeypatch):
    dataset.fetch()
    known = sem_open.catalogue()
    changed = [CatalogueImage(**{**vars(image), "pixels_sha256": "0" * 64}) for image in known.images]
    monkeypatch.setattr(sem_open, "catalogue", lambda: Catalogue("1", known.sources, tuple(changed)))
    assert set(dataset.verify().problems) == {"keep", "rgb", "deep"}


def test_a_pack_of_another_version_is_not_used(small, dataset, monkeypatch):
    dataset.fetch()
    known = sem_open.catalogue()
    monkeypatch.setattr(sem_open, "catalogue", lambda: Catalogue("2", known.sources, known.images))
    with pytest.raises(DatasetError, match="holds version 1 of sem_open, this srbench has version 2"):
        dataset.open()


def test_missing_says_what_to_type(srbench_home):
    with pytest.raises(DatasetMissing, match=r"srbench data import sem_open --from DIR.*srbench data fetch"):
        open_dataset("sem_open")
    with pytest.raises(DatasetError, match="takes no argument"):
        open_dataset("sem_open:x")
    assert "srbench data fetch sem_open" in dataset_source("sem_open").state().next_step
    with pytest.raises(DatasetMissing):
        dataset_source("sem_open").verify()


def test_the_mirror_can_be_chosen(monkeypatch):
    monkeypatch.setenv(sem_open.URL_VARIABLE, "https://mirror.example/raw/")
    url = dataset_source("sem_open")._url(catalogue().images[0], catalogue().images[0].path)
    assert url.startswith("https://mirror.example/raw/") and "//" not in url[8:]


# The real files: SRBENCH_TEST_SEM_OPEN=/path/to/sem-open


@pytest.mark.slow
@pytest.mark.skipif(
    not REAL.is_dir(), reason="set SRBENCH_TEST_SEM_OPEN to the folder of the real micrographs"
)
def test_the_real_micrographs(srbench_home):
    dataset = SemOpen()
    dataset.import_from(REAL)
    opened = dataset.open()
    assert len(opened) == 159 and not dataset.verify().problems
    assert sum(image.has_mask for image in opened.images) == 84
    particles = [
        opened.mask(image.id).max()
        for image in opened.images
        if image.group[:6] == "powder" and image.has_mask
    ]
    assert sum(particles) == 1360
    assert opened.fingerprint == "b5e4a2b277600d7701b050b47f13f1604a70f6a1e3a5cdea9bd17db5c5a47491"
    for image in opened.images:
        pixels = opened.pixels(image.id)
        assert pixels.shape == (image.height, image.width) and not has_databar(pixels)
    for image in catalogue().images:
        whole = cv2.imread(str(REAL / image.file), cv2.IMREAD_UNCHANGED)
        bar = find_databar(whole)
        assert (bar.top if bar else len(whole)) == len(whole) - image.databar_rows, image.id
