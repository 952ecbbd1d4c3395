"""Rendered scenes are stored on the disk, and used only where their hashes are the published ones."""

import numpy as np
import pytest

import srbench.datasets
from srbench.datasets import DatasetError
from srbench.datasets.sources import sem_synthetic
from srbench.datasets.synthetic.suite import SyntheticScene, load_scene

IMAGE = "patterned-1000"


@pytest.fixture
def opened(srbench_home):
    return srbench.datasets.open("sem_synthetic:small")


def refuse(*_):
    pytest.fail("a scene was drawn")


@pytest.mark.slow
def test_a_second_process_does_not_draw_again(opened, monkeypatch):
    first, truth = opened.pixels(IMAGE), opened.truth(IMAGE)
    monkeypatch.setattr(SyntheticScene, "__init__", refuse)
    again = srbench.datasets.open("sem_synthetic:small")
    assert np.array_equal(again.pixels(IMAGE), first)
    assert again.truth(IMAGE) == truth
    assert not again.pixels(IMAGE).flags.writeable


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "other", "noise", "empty"])
def test_a_damaged_file_is_drawn_again(opened, damage, srbench_home):
    pixels = opened.pixels(IMAGE)
    (file,) = srbench_home.rglob("*.npz")
    content = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "noise":
        content[len(content) // 3] ^= 0xFF
        file.write_bytes(content)
    else:
        np.savez(file, pixels=np.zeros((192, 192), np.uint8), truth=np.zeros(2, np.uint8))
    entry = opened._entry(IMAGE)
    assert load_scene(IMAGE, entry) is None
    assert np.array_equal(srbench.datasets.open("sem_synthetic:small").pixels(IMAGE), pixels)
    assert load_scene(IMAGE, entry) is not None


@pytest.mark.slow
def test_a_file_with_other_truth_is_replaced(opened, srbench_home):
    """As a version of srbench with other truth has stored it: the pixels are right."""
    pixels = opened.pixels(IMAGE)
    (file,) = srbench_home.rglob("*.npz")
    np.savez(file, pixels=pixels, truth=np.frombuffer(b'{"kind":"patterned"}', np.uint8))
    assert srbench.datasets.open("sem_synthetic:small").truth(IMAGE) == opened.truth(IMAGE)
    assert load_scene(IMAGE, opened._entry(IMAGE)) is not None


@pytest.mark.slow
def test_a_home_that_cannot_be_written_does_no_harm(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("SRBENCH_HOME", str(blocked / "home"))
    assert srbench.datasets.open("sem_synthetic:small").pixels(IMAGE).shape == (192, 192)


@pytest.mark.slow
def test_a_scene_that_is_not_the_published_one_is_not_kept(opened, monkeypatch, srbench_home):
    entry = {**opened._entry(IMAGE), "pixels": "0" * 64}
    with pytest.raises(DatasetError, match="came out different from the published"):
        sem_synthetic.stored_or_rendered(IMAGE, entry, 192)
    assert not list(srbench_home.rglob("*.npz"))


@pytest.mark.slow
def test_prepare_draws_everything_in_worker_processes(srbench_home, monkeypatch):
    published = sem_synthetic._published()
    few = dict(list(published["suites"]["small"]["images"].items())[:3])
    monkeypatch.setattr(
        sem_synthetic,
        "_published",
        lambda: {**published, "suites": {"small": {"size": 192, "images": few}}},
    )
    events = []
    report = srbench.datasets.source("sem_synthetic").prepare(events.append, workers=2)
    assert report.images == 3
    assert (events[-1].done, events[-1].total) == (3, 3)
    assert {file.stem for file in srbench_home.rglob("*.npz")} == set(few)
    monkeypatch.setattr(SyntheticScene, "__init__", refuse)
    for image in srbench.datasets.open("sem_synthetic:small").images:
        assert image.height == 192
    assert sem_synthetic.stored_or_rendered(next(iter(few)), few[next(iter(few))], 192).pixels.shape == (
        192,
        192,
    )


class Scene:
    """Stands in for a drawn one."""

    def __init__(self):
        self.pixels = np.zeros((192, 192), np.uint8)


def test_only_scenes_that_are_missing_are_drawn_on_all_cores_and_never_a_few(opened, monkeypatch):
    images, drawn = [image.id for image in opened.images[:10]], []

    def in_processes(_, work, workers, *rest):
        drawn.append((workers, [image_id for image_id, *_ in work]))
        return [Scene() for _ in work]

    monkeypatch.setattr(sem_synthetic, "_in_processes", in_processes)
    opened.make_ready(images[:3])
    opened.make_ready(images, workers=1)
    assert drawn == []
    opened.make_ready(images[1:], workers=2)
    assert drawn == [(2, images[1:])]
    opened.make_ready(images[1:], workers=2)
    assert len(drawn) == 1
    assert not any(opened.pixels(image).flags.writeable for image in images[1:])


def test_a_process_that_dies_leaves_the_scenes_to_be_drawn_here(opened, monkeypatch):
    def in_processes(*_):
        raise DatasetError("a process has died")

    monkeypatch.setattr(sem_synthetic, "_in_processes", in_processes)
    opened.make_ready([image.id for image in opened.images], workers=2)
    assert opened._loaded == {}
