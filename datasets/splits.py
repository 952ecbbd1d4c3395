"""Splits by group: a group is never on both sides, and lands on the same side on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from srbench.datasets.interface import DatasetError, Micrograph, Split

_SHARE = 0.15


def split_groups(groups: Iterable[str]) -> Mapping[str, Split]:
    """Assign each group to a split: 70 % train, 15 % val, 15 % test of the groups, by a hash of their names.

    ``test`` is never empty, ``train`` only for a single group, ``val`` only for fewer than three. When groups
    come or go, the others keep their split but for those at the two boundaries.
    """
    ranked = sorted(set(groups), key=lambda group: (_place(group), group))
    share = max(round(_SHARE * len(ranked)), 1)
    val_end = 2 * share if len(ranked) > 2 else share
    return {group: _by_rank(rank, share, val_end) for rank, group in enumerate(ranked)}


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


def _place(group: str) -> bytes:
    return hashlib.sha256(f"srbench split 1\n{group}".encode("utf-8", "surrogateescape")).digest()


def _by_rank(rank: int, test_end: int, val_end: int) -> Split:
    if rank < test_end:
        return "test"
    return "val" if rank < val_end else "train"
