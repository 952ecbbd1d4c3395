"""LR beside HR: found by names, sizes and pictures; other folders of equal names are left alone."""

import numpy as np
import pytest

from srbench.datasets.images.pairs import LrBesideHr, lr_beside_hr


@pytest.fixture(scope="module")
def shrunk(picture):
    """``shrunk(seed, ratio)``: the mean of ratio x ratio pixels of a picture."""

    def make(seed, ratio=4):
        pixels = picture(seed, 192, 240)
        return pixels.reshape(192 // ratio, ratio, 240 // ratio, ratio).mean(axis=(1, 3)).astype(np.uint8)

    return make


def found(images):
    sizes = {file: pixels.shape for file, pixels in images.items()}
    return lr_beside_hr(list(images), sizes, lambda file: images[file])


@pytest.mark.parametrize(
    ("hr", "lr"),
    [
        ("HR/s{}.png", "LR/s{}.png"),
        ("hr/s{}.png", "lr_bicubic/X4/s{}x4.png"),
        ("DIV2K_train_HR/000{}.png", "DIV2K_train_LR_bicubic/X4/000{}x4.png"),
        ("s{}.png", "lowres/s{}.tif"),
        ("images/s{}.png", "x4/s{}.png"),
        ("slow/s{}.png", "fast/s{}.png"),
        ("a/s{}.png", "b/s{}.png"),
        ("s{}.png", "s{}_LR.png"),
        ("img_00{}_SRF_4_HR.png", "img_00{}_SRF_4_LR.png"),
        ("train/HR/s{}.png", "train/LR/s{}.png"),
    ],
)
@pytest.mark.parametrize("ratio", [2, 4])
def test_lr_of_the_same_names_is_found(picture, shrunk, hr, lr, ratio):
    images = {hr.format(n): picture(n, 192, 240) for n in range(3)}
    images |= {lr.format(n): shrunk(n, ratio) for n in range(3)}
    at = [name.rpartition("/")[0] or "." for name in (hr, lr)]
    assert found(images) == LrBesideHr(at[0], at[1], ratio)
    assert f"1/{ratio} of the size" in str(found(images))


def test_scans_of_one_size_are_told_by_their_names_and_pictures(picture):
    noise = np.random.default_rng(1).integers(-20, 20, (192, 240))
    slow = {f"slow/{n}.png": picture(n, 192, 240) for n in range(3)}
    fast = {f"fast/{n}.png": np.clip(picture(n, 192, 240) + noise, 0, 255).astype(np.uint8) for n in range(3)}
    assert found(slow | fast) == LrBesideHr("slow", "fast", 1)
    # Names that say the dwell time: the scans of the fields follow each other in one order.
    timed = {name.replace("fast/", "low/100ns_"): pixels for name, pixels in fast.items()}
    high = {name.replace("slow/", "high/30us_"): pixels for name, pixels in slow.items()}
    assert found(high | timed) == LrBesideHr("high", "low", 1)
    timed["low/100ns_7"] = timed.pop("low/100ns_0.png")
    assert found(high | timed) is None  # another order: other fields
    # Another magnification of the same specimens, numbered alike.
    other = {f"low/{n}.png": picture(n + 50, 192, 240) for n in range(3)}
    assert found({name.replace("slow", "high"): pixels for name, pixels in slow.items()} | other) is None


def test_numbers_and_sizes_alone_make_no_pair(picture):
    images = {f"A/{n}.tif": picture(n, 192, 240) for n in range(4)}
    images |= {f"B/{n}.tif": picture(n + 9, 96, 120) for n in range(4)}
    assert found(images) is None
    assert found({f"s/{n}.tif": picture(n, 64 * (1 + n % 2), 64 * (1 + n % 2)) for n in range(4)}) is None
    assert found({f"{n}/image.tif": picture(n, 64, 64) for n in range(30)}) is None
    assert found({}) is None


def test_one_pair_among_many_others_does_not_condemn_a_folder(picture, shrunk):
    images = {f"A/{n}.tif": picture(n, 192, 240) for n in range(8)}
    images |= {f"B/{n + 7}.tif": shrunk(n + 7) for n in range(8)}
    assert found(images) is None


def test_folders_that_say_hr_and_lr_need_no_equal_names(picture):
    images = {"HR/a.png": picture(1, 64, 64), "LR/b.png": picture(2, 64, 64)}
    assert found(images) == LrBesideHr("HR", "LR", None)
    assert found({name.replace("HR", "hour"): pixels for name, pixels in images.items()}) is None
    assert lr_beside_hr(["x/HR/a.png", "x/LR/a.png"], {}, images.__getitem__) == LrBesideHr(
        "x/HR", "x/LR", None
    )
