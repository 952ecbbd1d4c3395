"""What a set says of itself to the guards: where its pixels lie, and other images of the same LR."""

import numpy as np
import pytest

from srbench import datasets
from srbench.datasets import degrade


@pytest.fixture(scope="module")
def scenes():
    return datasets.open("sem_synthetic:small")


@pytest.mark.slow
def test_the_twin_has_the_same_lr_and_other_pixels(scenes):
    image = scenes.split("test")[0].id
    import torch

    for scale in (2, 3, 4):
        pair = [scenes.pixels(image), scenes.opposite_phase(image, scale)]
        planes = [torch.from_numpy(one.astype(np.float64) / 255)[None, None] for one in pair]
        lr = [degrade.quantise(degrade.get("bicubic")(plane, scale)) for plane in planes]
        assert torch.equal(*lr) and not np.array_equal(*pair)
    assert scenes.opposite_phase(image, 5) is None


@pytest.mark.slow
def test_scenes_lie_in_the_cache_and_in_what_draws_them(scenes, tmp_path, monkeypatch):
    monkeypatch.setenv("SRBENCH_HOME", str(tmp_path))
    drawing, cache = scenes.hr_paths()
    assert (drawing / "suite.py").is_file()
    scenes.pixels(scenes.images[0].id)
    assert tmp_path in cache.parents


def test_a_folder_set_lies_in_its_pack_and_in_the_folder(tmp_path, monkeypatch):
    import cv2

    monkeypatch.setenv("SRBENCH_HOME", str(tmp_path / "home"))
    root = tmp_path / "mine"
    root.mkdir()
    noise = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        cv2.imwrite(str(root / f"{name}.png"), noise.integers(0, 256, (64, 64), dtype=np.uint8))
    opened = datasets.open(f"folder:{root}")
    pack, source = opened.hr_paths()
    assert source == root.resolve() and any(pack.iterdir())
    assert opened.opposite_phase(opened.images[0].id, 2) is None
