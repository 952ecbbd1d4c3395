"""Nested paths: the deepest decides, and grants that cannot be undone say exactly the same."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srbench.sandbox.policy import (
    grants,
    inside,
    is_hidden,
    list_folder,
    split_folders,
    without_hidden,
)

ROOT = Path("/r")
names = st.sampled_from("ab")
paths = st.lists(names, max_size=4).map(lambda parts: ROOT.joinpath(*parts))
sets = st.frozensets(paths, max_size=5)
LEAVES = [ROOT.joinpath(*parts, "file") for parts in itertools.product("ab", repeat=4)]
"""A tree in which every folder down to the fourth level has children a and b, and the last ones a file."""


def children(folder: Path) -> Iterable[Path]:
    depth = len(folder.relative_to(ROOT).parts)
    return [folder / name for name in "ab"] if depth < 4 else [folder / "file"] if depth == 4 else []


@pytest.mark.slow
@settings(deadline=None)
@given(sets, sets)
def test_grants_cover_exactly_what_is_readable_and_not_hidden(
    readable: frozenset[Path], hidden: frozenset[Path]
) -> None:
    granted = grants(readable, hidden, children)
    for leaf in LEAVES:
        expected = any(inside(leaf, path) for path in readable) and not is_hidden(leaf, readable, hidden)
        assert any(inside(leaf, grant) for grant in granted) == expected, leaf


@pytest.mark.slow
@settings(deadline=None)
@given(sets, sets)
def test_no_grant_holds_a_hidden_path_that_does_not_exist_yet(
    readable: frozenset[Path], hidden: frozenset[Path]
) -> None:
    later = frozenset(path / "later" for path in hidden)
    for grant in grants(readable, later, children):
        assert not any(inside(path, grant) for path in later)


@pytest.mark.slow
@settings(deadline=None)
@given(paths, sets, sets)
def test_the_deepest_path_decides_and_a_tie_hides(
    path: Path, readable: frozenset[Path], hidden: frozenset[Path]
) -> None:
    """Walking up from the path, the first path met says which."""
    met = next((step for step in (path, *path.parents) if step in readable | hidden), None)
    assert is_hidden(path, readable, hidden) == (met in hidden)


@pytest.mark.slow
@settings(deadline=None)
@given(sets, sets)
def test_split_folders_are_the_readable_ones_that_are_not_granted_whole(
    readable: frozenset[Path], hidden: frozenset[Path]
) -> None:
    granted = grants(readable, hidden, children)
    visible = {path for path in readable if not is_hidden(path, readable, hidden)}
    assert set(split_folders(readable, hidden)) == visible - set(granted)


def test_data_in_a_package_folder_a_package_folder_in_data_and_weights_at_home(tmp_path: Path) -> None:
    site = tmp_path / "venv" / "site-packages"
    for part in ("torch/lib", "numpy", "data/hr", "srbench/datasets/synthetic", "srbench/cli"):
        (site / part).mkdir(parents=True)
    (site / "single.py").touch()
    weights = site / "data" / "weights.safetensors"
    weights.touch()
    hidden = [site / "data", site / "srbench" / "datasets" / "synthetic"]
    granted = {path.relative_to(site).as_posix() for path in grants([site, weights], hidden)}
    assert granted == {"torch", "numpy", "single.py", "srbench/cli", "data/weights.safetensors"}
    assert split_folders([site], hidden) == [site]


def test_an_interpreter_inside_a_data_folder_stays_readable_and_nothing_else_there(tmp_path: Path) -> None:
    library = tmp_path / "data" / "venv" / "lib"
    library.mkdir(parents=True)
    assert grants([library], [tmp_path / "data"]) == [library]
    assert without_hidden([library, tmp_path / "code"], [tmp_path / "data"]) == (tmp_path / "code",)
    assert is_hidden(tmp_path / "data" / "hr.png", [library], [tmp_path / "data"])


def test_links_are_not_granted_for_they_may_lead_to_what_is_hidden(tmp_path: Path) -> None:
    (tmp_path / "open" / "deep").mkdir(parents=True)
    (tmp_path / "open" / "hidden").mkdir()
    (tmp_path / "open" / "link").symlink_to("hidden")
    assert list_folder(tmp_path / "missing") == []
    assert grants([tmp_path / "open"], [tmp_path / "open" / "hidden"]) == [tmp_path / "open" / "deep"]
