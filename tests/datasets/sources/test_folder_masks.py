"""Masks in a user's folder: found where people put them, cut with the databar, refused with a reason."""

import cv2
import numpy as np
import pytest

from srbench.datasets import open as open_dataset
from srbench.datasets.packed.writer import verify_packed
from srbench.datasets.sources import folder
from srbench.datasets.sources.folder import pair_masks


@pytest.fixture
def mine(tmp_path, srbench_home):
    path = tmp_path / "mine"
    path.mkdir()
    return path


@pytest.fixture
def labels():
    """``labels(height, width, dtype)``: every row and column told apart, so that a shifted cut would show."""

    def make(height=96, width=128, dtype=np.uint8):
        rows, columns = np.mgrid[:height, :width]
        return ((rows * 7 + columns) % 251).astype(dtype) * (200 if dtype == np.uint16 else 1)

    return make


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a.png", "masks/a.png"),
        ("a.tif", "masks/a_mask.PNG"),
        ("a.png", "a_mask.tif"),
        ("Powder/a.png", "Powder/masks/a.png"),
        ("Powder/a.png", "Powder/a_mask.png"),
        ("Powder/a.png", "masks/Powder/a.png"),
        ("images/a.png", "masks/a.png"),
        ("train/images/a.png", "train/masks/a.bmp"),
        ("train/a.png", "masks/train/a.png"),
        ("a.png", "Masks/a.png"),
    ],
)
def test_masks_are_found_where_people_put_them(mine, picture, labels, image, mask):
    write(mine / image, picture(1))
    write(mine / mask, labels())
    opened = open_dataset(f"folder:{mine}")
    assert [(found.id, found.has_mask) for found in opened.images] == [(image, True)]
    assert np.array_equal(opened.mask(image), labels()) and not opened.skipped
    assert np.array_equal(opened.pixels(image), picture(1))


def test_the_nearest_mask_counts():
    files = ["s/a.png", "s/masks/a.png", "s/a_mask.png", "masks/s/a.png"]
    found = pair_masks(files)
    assert found.of == {"s/a.png": "s/masks/a.png"} and found.files == frozenset(files[1:])
    assert pair_masks([files[0], *files[2:]]).of == {"s/a.png": "s/a_mask.png"}


def test_an_image_that_is_merely_called_mask_stays_an_image(mine, picture):
    write(mine / "photo_mask.png", picture(1))
    write(mine / "masks.png", picture(2))
    opened = open_dataset(f"folder:{mine}")
    assert len(opened) == 2 and not any(image.has_mask for image in opened.images)


def with_bar(grey):
    """The picture with a black databar with text below it."""
    bar = np.zeros((40, grey.shape[1]), np.uint8)
    cv2.putText(bar, "20 kV  1 um", (5, 28), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2)
    return np.vstack([grey, bar])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_mask_is_cut_with_the_databar(mine, picture, labels, dtype):
    whole = with_bar(picture(1, 160, 200))
    write(mine / "a.png", whole)
    write(mine / "masks" / "a.png", labels(*whole.shape, dtype))
    opened = open_dataset(f"folder:{mine}")
    pixels, mask = opened.pixels("a.png"), opened.mask("a.png")
    assert "databar cut" in opened.notes["a.png"] and pixels.shape[0] < whole.shape[0]
    assert mask.shape == pixels.shape and mask.dtype == dtype
    assert np.array_equal(mask, labels(*whole.shape, dtype)[: pixels.shape[0]])
    assert np.array_equal(pixels, whole[: pixels.shape[0]])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path, m: write(path, m[:-1]), "a mask of 128x95 px for an image of 128x96 px"),
        (lambda path, m: write(path, np.dstack([m, m, 255 - m])), "a coloured picture of labels"),
        (lambda path, m: write(path.with_suffix(".jpg"), m), "JPEG changes labels"),
        (lambda path, m: write(path.with_suffix(".tif"), m.astype(np.float32)), "float32 values"),
        (lambda path, m: path.write_bytes(b"rubbish"), "not an image"),
    ],
)
def test_an_unusable_mask_is_skipped_and_its_image_stays(mine, picture, labels, make, reason):
    write(mine / "a.png", picture(1))
    (mine / "masks").mkdir()
    make(mine / "masks" / "a.png", labels())
    opened = open_dataset(f"folder:{mine}")
    assert [image.id for image in opened.images] == ["a.png"]
    assert opened.mask("a.png") is None and not opened.images[0].has_mask
    assert len(opened.skipped) == 1 and reason in next(iter(opened.skipped.values()))


def test_masks_without_an_image_or_whose_image_was_skipped_are_told(mine, picture, labels):
    write(mine / "a.png", picture(1))
    write(mine / "tiny.png", picture(2, 20, 20))
    write(mine / "masks" / "tiny.png", labels(20, 20))
    write(mine / "masks" / "gone.png", labels())
    opened = open_dataset(f"folder:{mine}")
    assert opened.skipped["masks/tiny.png"] == "its image was skipped: tiny.png"
    assert opened.skipped["masks/gone.png"] == "a mask without an image"
    assert [image.id for image in opened.images] == ["a.png"]


@pytest.mark.slow
def test_a_mask_counts_as_data(mine, picture, labels):
    write(mine / "a.png", picture(1))
    plain = open_dataset(f"folder:{mine}").fingerprint
    write(mine / "masks" / "a.png", labels())
    first = open_dataset(f"folder:{mine}").fingerprint
    write(mine / "masks" / "a.png", 250 - labels())
    assert len({plain, first, open_dataset(f"folder:{mine}").fingerprint}) == 3


def test_a_flipped_byte_in_a_mask_is_found(mine, picture, labels):
    write(mine / "a.png", picture(1))
    write(mine / "masks" / "a.png", labels())
    opened = open_dataset(f"folder:{mine}")
    shard = opened.folder / opened.stored("a.png").shard
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1  # the mask lies behind its image
    shard.write_bytes(data)
    assert verify_packed(opened.folder).problems["a.png"].startswith("mask changed on disk")


def test_a_pack_of_the_first_format_is_packed_anew(mine, picture):
    write(mine / "a.png", picture(1))
    manifest = open_dataset(f"folder:{mine}").folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 2', '"format": 1'))
    assert len(open_dataset(f"folder:{mine}")) == 1


def test_the_documentation_names_every_place():
    for place in ("sample/masks/a.png", "sample/a_mask.png", "masks/a.png", "masks/sample/a.png"):
        assert f"``{place}``" in folder.Folder.__doc__
