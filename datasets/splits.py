"""Splits by group: a group is never on both sides, and lands on the same side on every machine."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from srbench.datasets.base import Micrograph, Split
from srbench.utils.errors import DatasetError

_SHARE = 0.15


def split_groups(groups: Iterable[str]) -> Mapping[str, Split]:
    """Assign each group to a split: 70 % train, 15 % val, 15 % test of the groups, by a hash of their names.

    ``test`` is never empty, ``train`` only for a single group, ``val`` only for fewer than three. When groups
    come or go, the others keep their split but for those at the two boundaries.
    """
    ranked = sorted(set(groups), key=lambda group: (_rank_key(group), group))
    share = max(round(_SHARE * len(ranked)), 1)
    val_end = 2 * share if len(ranked) > 2 else share
    splits: dict[str, Split] = dict.fromkeys(ranked, "train")
    splits.update(dict.fromkeys(ranked[share:val_end], "val"))
    splits.update(dict.fromkeys(ranked[:share], "test"))
    return splits


def split_images(images: Iterable[tuple[str, str]], *, seed: int = 1) -> Mapping[str, Split]:
    """Assign each group to a split so that every category has 70 % train, 15 % val, 15 % test *images*.

    For groups of different sizes and several categories; :func:`split_groups` counts groups instead. A group
    belongs to the category most of its images have. Within a category the groups are taken in the order of
    a hash of their names: the first that still fit make up ``test``, then ``val``; the rest, and so every
    group too large for 15 %, is ``train``. Where none fits, the smallest is taken: a category of two groups
    has a ``test``, one of three a ``val`` too.

    Args:
        images: (group, category) of every image, in any order.
        seed: another seed, another split.

    Returns:
        Group to split: the same on every machine.
    """
    counts = Counter(images)
    categories: dict[str, tuple[int, str]] = {}
    sizes: Counter[str] = Counter()
    for (group, category), count in sorted(counts.items()):
        sizes[group] += count
        if count > categories.get(group, (0, ""))[0]:
            categories[group] = (count, category)
    members: dict[str, list[str]] = {}
    for group, (_, category) in categories.items():
        members.setdefault(category, []).append(group)
    splits: dict[str, Split] = {}
    for groups in members.values():
        splits.update(_split_category(groups, sizes, seed))
    return splits


def split_hash(images: Iterable[Micrograph]) -> str:
    """sha256 (hex) over id, group and split of every image, in the order of the ids: names a split."""
    lines = sorted(f"{image.id}\t{image.group}\t{image.split}\n" for image in images)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


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


def _rank_key(group: str) -> bytes:
    return hashlib.sha256(f"srbench split 1\n{group}".encode("utf-8", "surrogateescape")).digest()


def _split_category(groups: Sequence[str], sizes: Mapping[str, int], seed: int) -> Mapping[str, Split]:
    ranked = sorted(groups, key=lambda group: (_rank_key(f"images {seed}\n{group}"), group))
    share = max(round(_SHARE * sum(sizes[group] for group in groups)), 1)
    splits: dict[str, Split] = dict.fromkeys(groups, "train")
    both: tuple[Split, ...] = ("test", "val")
    held_out = both[: len(groups) - 1]
    for number, side in enumerate(held_out):
        left = [group for group in ranked if splits[group] == "train"]
        # A group for each side still to come, train among them, is left, whatever the sizes.
        most = len(left) - (len(held_out) - number)
        splits.update(dict.fromkeys(_fill(left, sizes, share)[:most], side))
    return splits


def _fill(ranked: Sequence[str], sizes: Mapping[str, int], share: int) -> list[str]:
    """The groups, in their order, that fit into ``share`` images; at least one."""
    taken: list[str] = []
    free = share
    for group in ranked:
        if sizes[group] <= free:
            taken.append(group)
            free -= sizes[group]
    return taken or [min(ranked, key=lambda group: sizes[group])]
