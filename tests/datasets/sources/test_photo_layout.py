"""Which files of a folder or archive are HR photographs, in the layouts that are in circulation."""

import pytest

from srbench.datasets.sources.photos import find_photos

SET5 = ("baby", "bird", "butterfly", "head", "woman")
OWN, OTHERS = ("set5",), ("set14", "b100", "bsd100", "urban100")


def layout(pattern, names=SET5):
    return [pattern.format(name) for name in names]


@pytest.mark.parametrize(
    ("paths", "cut"),
    [
        (layout("{}.png"), 1),
        (layout("{}_GT.bmp"), 1),
        (layout("Set5/original/{}.png") + layout("Set5/GTmod12/{}.png") + layout("Set5/LRbicx4/{}.png"), 1),
        (layout("Set5/GTmod12/{}.png") + layout("Set5/LRbicx4/{}.png"), 12),
        (
            layout("benchmark/Set5/HR/{}.png")
            + layout("benchmark/Set5/LR_bicubic/X4/{}x4.png")
            + layout("benchmark/Set14/HR/{}.png"),
            1,
        ),
        (layout("HR/Set5/x4/{}_HR_x4.png") + layout("LR/LRBI/Set5/x4/{}_LRBI_x4.png"), 4),
        (layout("{}.png") + layout("x2/{}.png") + layout("X4/{}x4.png") + layout("LR/{}.png"), 1),
    ],
)
def test_the_five_images_are_found(paths, cut):
    chosen = find_photos(paths, OWN, OTHERS)
    assert tuple(chosen.files) == SET5 and chosen.cut == cut and not chosen.skipped
    assert all("Set14" not in path for path in chosen.files.values())


def test_huangs_folders_hold_hr_lr_and_the_output_of_methods():
    paths = [
        f"Set5_SR/Set5/image_SRF_{scale}/img_{number:03}_SRF_{scale}_{what}.png"
        for scale in (2, 3, 4)
        for number in range(1, 6)
        for what in ("HR", "LR", "bicubic", "nearest", "SelfExSR")
    ]
    chosen = find_photos(paths, OWN, OTHERS)
    assert list(chosen.files) == [f"img_00{number}" for number in range(1, 6)]
    assert all("image_SRF_2" in path and path.endswith("_HR.png") for path in chosen.files.values())
    assert chosen.cut == 2  # cut least
    only = [path for path in paths if "SRF_4" in path]
    assert find_photos(only, OWN, OTHERS).cut == 4


def test_div2k_without_its_lr_folders():
    paths = [
        "DIV2K/DIV2K_train_HR/0001.png",
        "DIV2K/DIV2K_train_LR_bicubic/X2/0001x2.png",
        "DIV2K/DIV2K_train_LR_x8/0001x8.png",
        "DIV2K/DIV2K_valid_HR/0801.png",
        "Flickr2K/Flickr2K_HR/000001.png",
    ]
    chosen = find_photos(paths, ("div2k",), ("flickr2k",))
    assert chosen.files == {"0001": paths[0], "0801": paths[3]}


def test_names_of_sets_are_whole():
    assert find_photos(["set1/a.png", "Set14/b.png"], ("set1",), ("set14",)).files == {"a": "set1/a.png"}
    assert find_photos(["BSDS100/a.png"], ("bsds100",), ("set5",)).files == {"a": "BSDS100/a.png"}


def test_two_files_of_one_name_are_told():
    chosen = find_photos(["one/a.png", "two/a.png", "two/b.png"], OWN, OTHERS)
    assert chosen.files == {"a": "one/a.png", "b": "two/b.png"}
    assert chosen.skipped == {"two/a.png": "the same name as one/a.png"}


@pytest.mark.parametrize("name", ["101085", "img_100", "ARMS", "AisazuNihaIrarenai", "bridge", "LOVELRANGE"])
def test_ordinary_names_are_hr(name):
    assert find_photos([f"{name}.png"], OWN, OTHERS).files == {name: f"{name}.png"}
