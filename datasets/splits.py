"""Splits by group: a group is never on both sides, and lands on the same side on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from srbench.datasets.interface import DatasetError, Micrograph, Split

_TEST_SHARE = 0.15
_VAL_SHARE = 0.15


def split_groups(groups: Iterable[str]) -> Mapping[str, Split]:
    """Assign each group to a split by a hash of its name: about 70 % train, 15 % val, 15 % test.

    A group keeps its split when others come or go, except that one group is moved where ``test`` would be
    empty, one where ``train`` would be, and with three or more groups one where ``val`` would be.
    """
    ranked = sorted(set(groups), key=lambda group: (_place(group), group))
    splits = {group: _by_place(_place(group)) for group in ranked}
    if ranked and "test" not in splits.values():
        splits[ranked[0]] = "test"
    if len(ranked) > 1 and "train" not in splits.values():
        splits[ranked[-1]] = "train"
    if len(ranked) > 2 and "val" not in splits.values():
        splits[_to_spare(ranked, splits)] = "val"
    return splits


def check_groups(images: Iterable[Micrograph]) -> None:
    """Refuse images of one group in two splits.

    Raises:
        DatasetError: names the first such group and its images.
    """
    seen: dict[str, Micrograph] = {}
    for image in images:
        first = seen.setdefault(image.group, image)
        if first.split != image.split:
            raise DatasetError(
                f"Group {image.group!r} is in two splits: {first.id} in {first.split}, {image.id} in "
                f"{image.split}. Images of one specimen belong in one split: move them together."
            )


def _place(group: str) -> float:
    digest = hashlib.sha256(f"srbench split 1\n{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _by_place(place: float) -> Split:
    if place < _TEST_SHARE:
        return "test"
    return "val" if place < _TEST_SHARE + _VAL_SHARE else "train"


def _to_spare(ranked: list[str], splits: Mapping[str, Split]) -> str:
    """A group that its split can do without, train's first."""
    for split in ("train", "test"):
        members = [group for group in ranked if splits[group] == split]
        if len(members) > 1:
            return members[0]
    return ranked[1]
