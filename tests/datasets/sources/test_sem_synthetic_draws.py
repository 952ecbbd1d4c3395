"""Other draws of the synthetic suites: other scenes of the same kinds, never the published ones."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.submitted import DATASET, KINDS, tiny_suite
from srbench import datasets
from srbench.datasets import DatasetError
from srbench.datasets.synthetic.suite import SyntheticScene


@pytest.mark.slow
def test_a_draw_has_other_scenes_of_the_same_kinds() -> None:
    with tiny_suite():
        published, drawn = datasets.open(DATASET), datasets.open("sem_synthetic:tiny,seed=3")
        other = datasets.open("sem_synthetic:tiny,seed=4")
        again = datasets.open("sem_synthetic:tiny,seed=03")
        kinds = [sorted(image.category for image in opened.images) for opened in (published, drawn)]
        assert kinds[0] == kinds[1] == sorted([*KINDS, *KINDS])
        assert len({opened.fingerprint for opened in (published, drawn, other)}) == 3
        assert again.name == drawn.name == "sem_synthetic:tiny,seed=3"
        assert again.fingerprint == drawn.fingerprint
        assert {image.split for image in drawn.images} == {"test"}
        first = drawn.images[0]
        kind, number = first.id.rsplit("-", 1)
        assert np.array_equal(
            drawn.pixels(first.id), SyntheticScene(kind, int(number), first.height).pixels()
        )
        assert datasets.registry.is_local("sem_synthetic:tiny,seed=4")
        assert not datasets.registry.is_local("sem_synthetic:tiny,seed=5")


@pytest.mark.parametrize(
    "text", ["seed=", "seed=-1", "nine,seed=1", "demo,seed=1,2", f"seed={2**32}", "demo,", "x"]
)
def test_other_arguments_are_refused(text: str) -> None:
    with pytest.raises(DatasetError):
        datasets.open(f"sem_synthetic:{text}")


def test_names_have_one_spelling() -> None:
    names = ("default", "demo", "seed=7", "default,seed=7", "demo, seed=007")
    full = [datasets.registry.full_name(f"sem_synthetic:{name}") for name in names]
    tails = ["", ":demo", ":seed=7", ":seed=7", ":demo,seed=7"]
    assert full == [f"sem_synthetic{tail}" for tail in tails]
