"""Joined sets hold what their members hold, under names of their own."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from srbench import datasets
from srbench.datasets.registry import full_name, is_local, source
from srbench.utils.errors import DatasetError, DatasetMissing

SMALL, DEMO = "sem_synthetic:small", "sem_synthetic:demo"
BOTH = f"joined:{SMALL}+{DEMO}"


def test_images_are_those_of_the_members_with_their_splits() -> None:
    joined = datasets.open(BOTH)
    members = {name: datasets.open(name) for name in (SMALL, DEMO)}
    assert len(joined) == sum(map(len, members.values()))
    for image in joined.images:
        member, _, name = image.id.rpartition("/")
        (origin,) = (one for one in members[member].images if one.id == name)
        assert (image.split, image.category, image.height) == (origin.split, origin.category, origin.height)
        assert image.group == f"{member}/{origin.group}"
    assert joined.card.kind == "synthetic" and joined.has_splits
    chosen = next(image.id for image in joined.images if image.id.startswith(f"{DEMO}/"))
    plain = chosen.rpartition("/")[2]
    assert np.array_equal(joined.pixels(chosen), members[DEMO].pixels(plain))
    assert joined.truth(chosen) == members[DEMO].truth(plain)
    assert set(joined.hr_paths()) >= set(members[SMALL].hr_paths())


def test_order_and_repetition_make_no_other_set() -> None:
    again = f"joined:{DEMO} + {SMALL}+{DEMO}"
    assert full_name(again) == full_name(BOTH) == datasets.open(again).name
    assert datasets.open(again).fingerprint == datasets.open(BOTH).fingerprint
    assert datasets.open(BOTH).fingerprint != datasets.open(SMALL).fingerprint
    assert source(BOTH).state().state == "ready"


def test_a_folder_is_a_member_and_is_not_opened_for_a_strangers_file(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for number in range(3):
        image = generator.integers(0, 256, (64, 72)).astype(np.uint8)
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    name = f"joined:{tmp_path}+{SMALL}"
    assert not is_local(name) and is_local(BOTH)
    joined = datasets.open(name)
    assert joined.card.kind == "real" and not joined.has_splits
    assert f"folder:{tmp_path}" in full_name(name)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("joined", DatasetMissing),
        ("joined:sem_synthetic", DatasetMissing),
        ("joined:sem_synthetic+sem_syntetic", DatasetError),
        (f"joined:{BOTH}+sem_synthetic", DatasetError),
    ],
)
def test_what_cannot_be_joined(name: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        datasets.open(name)


def test_a_member_that_is_absent_says_what_to_type() -> None:
    with pytest.raises(DatasetMissing, match="srbench data"):
        datasets.open(f"joined:{SMALL}+n2n_sem")
