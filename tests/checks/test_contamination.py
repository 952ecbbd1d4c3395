"""Splits that mix and weights that saw the scored images are found; sets that only look alike are not."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from srbench import datasets
from srbench.checks import CheckResult, contamination
from srbench.checks.contamination import Picture, names_of_test_sets
from srbench.datasets import DatasetCard, Micrograph, MicrographSet, near_duplicates
from srbench.utils.image import Pixels
from srbench.utils.progress import silent
from srbench.weights import Ancestor, WeightsHeader

Bytes = NDArray[np.uint8]
HEADER = WeightsHeader("vdsr", "tiny", 4, 1, seed=0, budget="short")


@functools.cache
def scene(seed: int, height: int = 240, width: int = 320) -> Bytes:
    """Grains of many sizes under some noise: what micrographs of one specimen have in common."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(height, width))
    layers = [cv2.GaussianBlur(noise, (0, 0), s) * s for s in (1.5, 4.0, 11.0, 30.0)]
    waves = sum(np.roll(layer, 37 * i, axis=1) for i, layer in enumerate(layers))
    grey = 120 + 32 * waves / np.std(waves) + generator.normal(0, 3, (height, width))
    pixels = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    pixels.setflags(write=False)
    return pixels


class Drawn(MicrographSet):
    """Images by id, with the split before the slash."""

    def __init__(self, store: Mapping[str, Pixels], groups: Mapping[str, str] | None = None) -> None:
        self.name = "drawn"
        self.card = DatasetCard("drawn", "Drawn", "user", "", "CC0-1.0")
        self.skipped: Mapping[str, str] = {}
        self.store = dict(store)
        self.reads = 0
        self.images = tuple(
            Micrograph(name, (groups or {}).get(name, name), "a", self._split(name), *pixels.shape[:2])
            for name, pixels in sorted(self.store.items())
        )

    @staticmethod
    def _split(name: str) -> Any:
        return name.partition("/")[0]

    @property
    def fingerprint(self) -> str:
        return str(abs(hash(tuple((name, pixels.tobytes()) for name, pixels in self.store.items()))))

    def pixels(self, image_id: str) -> Pixels:
        self.reads += 1
        return self.store[image_id]


def set_of(**further: Pixels) -> Drawn:
    """Six different images over the splits; ``train__x=...`` adds ``train/x``."""
    names = ("train/a", "train/b", "train/c", "val/d", "test/e", "test/f")
    store: dict[str, Pixels] = {name: scene(seed) for seed, name in enumerate(names)}
    return Drawn({**store, **{name.replace("__", "/"): pixels for name, pixels in further.items()}})


def judge(micrographs: MicrographSet, cache: Path, split: str = "test", **more: Any) -> CheckResult:
    return contamination.check(micrographs, split, more.pop("header", None), cache=cache, **more)


def jpeg(pixels: Bytes, quality: int) -> Bytes:
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


TEST_IMAGE = scene(4)
AGAIN = {
    "JPEG 60": jpeg(TEST_IMAGE, 60),
    "JPEG 90": jpeg(TEST_IMAGE, 90),
    "brighter": np.clip(TEST_IMAGE * 0.8 + 45, 0, 255).astype(np.uint8),
    "moved by 3 px": TEST_IMAGE[3:, 3:],
    "moved the other way": TEST_IMAGE[:-3, :-3],
    "gamma": np.rint(255 * (TEST_IMAGE / 255.0) ** 0.7).astype(np.uint8),
    "moved, paler, JPEG 70": jpeg((TEST_IMAGE[2:, 3:] * 0.8 + 20).astype(np.uint8), 70),
    "16 bit": TEST_IMAGE.astype(np.uint16) * 257,
}


@pytest.mark.slow
def test_clean_splits_pass(tmp_path: Path) -> None:
    found = judge(set_of(), tmp_path)
    assert found.status == "passed"
    assert "train 3, val 1, test 2" in found.detail and "learns nothing" in found.detail


def test_an_exact_copy_under_another_name(tmp_path: Path) -> None:
    found = judge(set_of(train__z=TEST_IMAGE.copy()), tmp_path)
    assert found.status == "failed"
    assert "1 pair with equal pixels: train/z (train) and test/e (test)" in found.detail


@pytest.mark.slow
def test_the_same_field_again_is_recognised_however_it_was_changed() -> None:
    others = {name: pixels for name, pixels in set_of().store.items() if name != "test/e"}
    changed, given = (
        contamination.describe(
            [(name, functools.partial(np.copy, px)) for name, px in images.items()], silent
        )
        for images in ({**others, **AGAIN}, {"test/e": TEST_IMAGE})
    )
    assert {pair.first for pair in contamination.repetitions(changed, given)} == set(AGAIN)


@pytest.mark.slow
@pytest.mark.parametrize("side", ["train", "val"])
def test_the_same_field_in_another_split_is_named(tmp_path: Path, side: str) -> None:
    found = judge(set_of(**{f"{side}__z": AGAIN["moved, paler, JPEG 70"]}), tmp_path)
    assert found.status == "failed"
    assert f"of the same field of view: {side}/z ({side}) and test/e (test) (" in found.detail


@pytest.mark.parametrize(
    "size", [(96, 96), *(pytest.param(s, marks=pytest.mark.slow) for s in ((160, 130), (900, 1538)))]
)
def test_small_and_large_images_are_compared_alike(tmp_path: Path, size: tuple[int, int]) -> None:
    height, width = size
    store: dict[str, Pixels] = {f"train/{seed}": scene(seed, height, width) for seed in range(3)}
    store["test/x"] = scene(9, height, width)
    assert judge(Drawn(store), tmp_path).status == "passed"
    again = (store["test/x"][3:, 3:] * 0.8 + 20).astype(np.uint8)
    assert judge(Drawn({**store, "train/z": again}), tmp_path).status == "failed"


def test_one_group_in_two_splits(tmp_path: Path) -> None:
    micrographs = Drawn(set_of().store, {"train/a": "wafer 7", "test/e": "wafer 7"})
    found = judge(micrographs, tmp_path)
    assert found.status == "failed"
    assert "groups on both sides: wafer 7 in test and train" in found.detail


@pytest.mark.slow
def test_colour_images_are_compared_by_their_grey(tmp_path: Path) -> None:
    colour = {name: np.stack([px, px, px // 2], axis=-1) for name, px in set_of().store.items()}
    assert judge(Drawn(colour), tmp_path).status == "passed"  # type: ignore[arg-type]
    copied = {**colour, "train/z": np.clip(colour["test/e"] * 0.9, 0, 255).astype(np.uint8)}
    assert judge(Drawn(copied), tmp_path).status == "failed"  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("rough", [0, 5, 25])
def test_gratings_of_one_pitch_are_not_one_field(tmp_path: Path, rough: int) -> None:
    """Same pitch and direction, edges rough in other places or not at all: what misleads a correlation."""

    def grating(seed: int) -> Bytes:
        generator = np.random.default_rng(seed)
        edges = cv2.GaussianBlur(generator.normal(size=(240, 320)), (0, 0), sigmaX=12, sigmaY=3) * rough
        lines = np.tanh(4 * np.sin((np.arange(320) + edges) * 2 * np.pi / 40))
        grey = 120 + 60 * cv2.GaussianBlur(lines, (0, 0), 1.0) + generator.normal(0, 3, lines.shape)
        return np.clip(grey, 0, 255).astype(np.uint8)

    thumbnails = [near_duplicates.thumbnail(contamination._enlarged(grating(seed))) for seed in (1, 3)]
    assert near_duplicates.agreement(*thumbnails) > near_duplicates.SAME
    store: dict[str, Pixels] = {"train/a": grating(1), "train/b": grating(2), "test/c": grating(3)}
    assert judge(Drawn(store), tmp_path).status == "passed"
    assert judge(Drawn({**store, "train/d": jpeg(grating(3), 80)}), tmp_path).status == "failed"


@pytest.mark.slow
def test_featureless_images_are_not_one_field(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    light = 100 + 40 * np.hypot(*np.mgrid[-1:1:240j, -1:1:320j])
    frames = [np.rint(light + generator.normal(0, 8, light.shape)).astype(np.uint8) for _ in range(6)]
    flat = np.full((240, 320), 90, np.uint8)
    store: dict[str, Pixels] = {f"{'train' if i % 2 else 'test'}/{i}": f for i, f in enumerate(frames)}
    store["train/flat"], store["test/flat"] = flat, flat + 1
    assert judge(Drawn(store), tmp_path).status == "passed"


def test_tiny_images_are_compared_bit_by_bit(tmp_path: Path) -> None:
    store: dict[str, Pixels] = {f"train/{i}": scene(i, 20, 30) for i in range(3)}
    store["test/x"] = scene(7, 20, 30)
    found = judge(Drawn(store), tmp_path)
    assert found.status == "passed" and "4 images under 48 pixels" in found.detail
    assert judge(Drawn({**store, "train/z": store["test/x"]}), tmp_path).status == "failed"


def test_one_split_alone_has_nothing_to_mix_and_is_not_read(tmp_path: Path) -> None:
    micrographs = Drawn({"test/a": scene(1), "test/b": scene(1)})
    assert judge(micrographs, tmp_path).status == "passed"
    assert micrographs.reads == 0


@pytest.mark.parametrize(
    "name",
    [
        "train/Urban100_img_079_SRF_4_HR.png",
        "train_HR/img_003_SRF_2.png",
        "img_012_SRF_4_LR.png",
        "train/urban100/img004.png",
        "Manga109/Akuhamu.png",
        "DIV2K_valid_HR/0801.png",
        "train\\BSD100\\3096.png",
    ],
)
def test_names_of_published_test_sets_are_known(name: str) -> None:
    assert names_of_test_sets([name])


@pytest.mark.parametrize(
    "name",
    [
        *(
            "train/img001.png",
            "set5/wafer.tif",
            "head.png",
            "train/0801.png",
            "SRF_4.png",
            "img_1234_SRF.png",
        ),
        *("L2_0a1b.jpg", "bridge_x4.png", "urban.png", "b100_10kV.tif"),
    ],
)
def test_names_that_a_microscopist_gives_are_not(name: str) -> None:
    assert not names_of_test_sets([name])


def test_plain_words_count_when_most_of_a_set_is_there() -> None:
    names = ["train/Baby.png", "bird_x4.png", "butterfly_HR.png", "head.bmp"]
    assert names_of_test_sets(names) == ["baby, bird, butterfly, head (Set5)"]
    assert not names_of_test_sets(names[:2])


@pytest.mark.slow
def test_a_test_image_of_urban100_in_the_training_folder(tmp_path: Path) -> None:
    found = judge(set_of(**{"train__Urban100_img_079_SRF_4_HR.png": scene(20)}), tmp_path)
    assert found.status == "failed"
    assert "train/Urban100_img_079_SRF_4_HR.png (the test sets of SelfExSR)" in found.detail
    scored = judge(set_of(**{"test__Urban100_img_079_SRF_4_HR.png": scene(20)}), tmp_path)
    assert scored.status == "passed"


# Folders, as a user has them.


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SRBENCH_HOME", str(tmp_path / "home"))
    return tmp_path


def folder(root: Path, images: Mapping[str, Bytes]) -> MicrographSet:
    for name, pixels in images.items():
        path = root / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), pixels)
    return datasets.open(f"folder:{root}")


CLEAN = {"train/a": scene(0), "train/b": scene(1), "val/c": scene(2), "test/d": scene(3), "test/e": scene(4)}


@pytest.mark.slow
def test_folder_sets(home: Path) -> None:
    assert judge(folder(home / "clean", CLEAN), home).status == "passed"
    # A copy in every pixel never gets in: opening leaves it out of train.
    copied = folder(home / "copied", {**CLEAN, "train/z": CLEAN["test/e"]})
    assert "train/z.png" in copied.skipped and judge(copied, home).status == "passed"
    saved = folder(home / "saved", {**CLEAN, "train/other name": jpeg(CLEAN["test/e"], 75)})
    found = judge(saved, home)
    assert found.status == "failed"
    assert "train/other name.png (train) and test/e.png (test)" in found.detail


@pytest.mark.slow
def test_weights_trained_on_the_train_split_of_the_scored_set(home: Path) -> None:
    micrographs = folder(home / "mine", CLEAN)
    header = replace(HEADER, dataset=micrographs.name, data=micrographs.fingerprint)
    assert judge(micrographs, home, header=header).status == "passed"
    assert "chosen the checkpoint" in judge(micrographs, home, "val", header=header).detail
    for split in ("train", "all"):
        found = judge(micrographs, home, split, header=header)
        assert found.status == "failed"
        assert "those images are among the scored ones" in found.detail


@pytest.mark.slow
@pytest.mark.parametrize("how", ["copies", "JPEG"])
def test_weights_trained_on_a_folder_that_holds_the_test_split(home: Path, how: str) -> None:
    micrographs = folder(home / "mine", CLEAN)
    images = {f"train/{i}": px if how == "copies" else jpeg(px, 80) for i, px in enumerate(CLEAN.values())}
    everything = folder(home / "everything", images)
    header = replace(HEADER, dataset=everything.name, data=everything.fingerprint)
    found = judge(micrographs, home, header=header)
    assert found.status == "failed"
    assert "2 pairs" in found.detail and "test/d.png (scored)" in found.detail
    assert ("with equal pixels" in found.detail) == (how == "copies")


@pytest.mark.slow
def test_weights_trained_on_another_set(home: Path) -> None:
    micrographs = folder(home / "mine", CLEAN)
    other = folder(home / "other", {"train/x": scene(30), "train/y": scene(31), "test/d": CLEAN["test/d"]})
    header = replace(HEADER, dataset=other.name, data=other.fingerprint)
    found = judge(micrographs, home, header=header)
    assert found.status == "passed"  # what the other set tests on was not trained on
    assert "none of the 2 scored ones" in found.detail


@pytest.mark.slow
def test_weights_whose_training_data_are_not_here(home: Path) -> None:
    micrographs = folder(home / "mine", CLEAN)
    gone = replace(HEADER, dataset=f"folder:{home / 'gone'}", data="0" * 64)
    unknown = replace(HEADER, dataset="", data="")
    changed = replace(HEADER, dataset=micrographs.name, data="0" * 64)
    for header, words in (
        (gone, "not here to compare with"),
        (unknown, "do not say what they were trained on"),
        (changed, "another state of folder:"),
    ):
        found = judge(micrographs, home, header=header)
        assert found.status == "unchecked"
        assert words in found.detail
        assert "No image of folder:" in found.detail  # what is known is told too


def test_drawn_scenes_are_drawn_for_an_audit_only(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = datasets.open("sem_synthetic:small")
    monkeypatch.setattr(type(scenes), "pixels", lambda *_: pytest.fail("a scene was drawn"))
    found = contamination.check(scenes, "test", None, cache=home, every=False)
    assert found.status == "passed" and "random numbers of its own" in found.detail
    scenes.images = (*scenes.images, replace(scenes.images[0], split="val", id="again"))
    assert scenes.images[0].split != "val"
    assert contamination.check(scenes, "test", None, cache=home, every=False).status == "failed"


@pytest.mark.slow
def test_no_folder_is_read_on_the_word_of_a_weights_file(home: Path) -> None:
    micrographs = folder(home / "mine", CLEAN)
    theirs = folder(home / "theirs", CLEAN)
    header = replace(HEADER, dataset=theirs.name, data="0" * 64)
    assert "another state of" in judge(micrographs, home, header=header).detail  # known: looked at
    shutil.rmtree(datasets.home() / "cache")
    micrographs = folder(home / "mine", CLEAN)
    assert "because a weights file names it" in judge(micrographs, home, header=header).detail
    assert len(list((datasets.home() / "cache" / "folder").iterdir())) == 1


@pytest.mark.slow
def test_foreign_weights_are_unchecked_and_no_weights_are_not(home: Path) -> None:
    micrographs = folder(home / "mine", CLEAN)
    assert judge(micrographs, home, foreign=True).status == "unchecked"
    assert judge(micrographs, home).status == "passed"
    mixed = folder(home / "mixed", {**CLEAN, "train/z": jpeg(CLEAN["test/e"], 75)})
    assert judge(mixed, home, foreign=True).status == "failed"


@pytest.mark.slow
def test_answers_are_kept_until_the_data_change(tmp_path: Path) -> None:
    micrographs = set_of()
    first = judge(micrographs, tmp_path)
    reads = micrographs.reads
    assert judge(micrographs, tmp_path) == first
    assert micrographs.reads == reads
    (kept,) = (tmp_path / "hygiene").iterdir()
    for damage in ("{", "[]", json.dumps({"status": "splendid", "detail": ""})):
        kept.write_text(damage)
        assert judge(micrographs, tmp_path) == first
    assert micrographs.reads == 4 * reads
    assert judge(set_of(train__z=TEST_IMAGE), tmp_path).status == "failed"


def test_images_that_cannot_be_read_leave_the_question_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(self: Drawn, image_id: str) -> Pixels:
        raise datasets.DatasetError(f"{image_id} is damaged; import it again.")

    with monkeypatch.context() as patch:
        patch.setattr(Drawn, "pixels", unreadable)
        found = judge(set_of(), tmp_path)
    assert found.status == "unchecked"
    assert "train/a is damaged; import it again" in found.detail
    assert judge(set_of(), tmp_path).status == "passed"  # it was not kept


@pytest.mark.slow
def test_tiles_of_the_comparison_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures: list[Picture] = [(str(seed), functools.partial(scene, seed)) for seed in range(5)]
    again: list[Picture] = [(f"{seed} again", functools.partial(jpeg, scene(seed), 80)) for seed in (1, 4, 8)]
    one, other = (contamination.describe(part, silent) for part in (pictures, again))
    whole = contamination.repetitions(one, other)
    monkeypatch.setattr(contamination, "_TILE", 2)
    assert sorted(map(str, contamination.repetitions(one, other))) == sorted(map(str, whole))
    assert [(pair.first, pair.second) for pair in whole] == [("1", "1 again"), ("4", "4 again")]


@pytest.mark.slow
def test_scenes_of_one_kind_look_alike_and_pass(tmp_path: Path) -> None:
    found = judge(datasets.open("sem_synthetic:small"), tmp_path)
    assert found.status == "passed"
    assert "train 40, val 10, test 20" in found.detail


def test_what_the_weights_started_from_counts_as_trained_on(tmp_path):
    data = set_of()
    parent = Ancestor("ab", "parent", replace(HEADER, dataset="drawn", data=data.fingerprint))
    between = Ancestor("cd", "between", replace(HEADER, dataset="elsewhere", data="00"))
    for lineage in ((parent,), (between, parent)):
        header = replace(HEADER, dataset="elsewhere", data="ff", lineage=lineage)
        caught = judge(data, tmp_path, "train", header=header)
        assert caught.status == "failed" and "parent" in caught.detail
        # The last training is on data that are not here, whatever the others were on.
        assert judge(data, tmp_path, "test", header=header).status == "unchecked"


def test_a_second_training_on_the_same_data_is_said_once(tmp_path):
    data = set_of()
    own = replace(HEADER, dataset="drawn", data=data.fingerprint)
    tuned = replace(own, lineage=(Ancestor("ab", "parent", own),))
    assert judge(data, tmp_path, header=tuned) == judge(data, tmp_path, header=own)


def test_photographs_that_weights_started_from_are_named_but_not_here(tmp_path):
    data = set_of()
    own = replace(HEADER, dataset="drawn", data=data.fingerprint)
    published = Ancestor("ab", "published.pth", HEADER, images="photographs")
    result = judge(data, tmp_path, header=replace(own, lineage=(published,)))
    assert result.status == "unchecked" and "Photographs" in result.detail
