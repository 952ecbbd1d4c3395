"""LR beside HR in one folder of images: found by names, sizes and pictures, because LR is no further HR.

Taken as one set, the LR of an image would be trained on or scored as HR, often in another split than the
image itself.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import PurePosixPath

import numpy as np

from srbench.utils.image import Pixels

RATIOS = (2, 3, 4, 8)
Shape = tuple[int, int]
"""Rows and columns."""

# Whole words of a name: what is before and behind them is no letter.
_LOW = re.compile(r"(?<![a-z])(?:lr|lq|low[-_ ]?res(?:olution)?|bicubic|down(?:sampled|scaled))(?![a-wyz])")
_HIGH = re.compile(r"(?<![a-z])(?:hr|hq|gt|high[-_ ]?res(?:olution)?)(?![a-z])")
# Words that may mean something else, as a low magnification: the pictures decide.
_PERHAPS_LOW = re.compile(
    r"(?<![a-z])(?:x[2348]|[2348]x|low|small|fast|noisy|input|thumb(?:nail)?s?)(?![a-z0-9])"
)
_PERHAPS_HIGH = re.compile(r"(?<![a-z])(?:high|large|slow|clean|target|reference)(?![a-z0-9])")
_ENDING = re.compile(r"(?:[-_. ](?:lr|hr|lq|hq|gt|bicubic|srf[-_]?\d)|[-_. ]?x[1-8])+$")
_LOOKED_AT = 8
# Correlation of block means: repetitions of one field have 0.83 and more, other fields 0.27 and less
# (docs/datasets.md).
_SAME = 0.6
# More files of one name than this are numbered alike by the instrument.
_MOST_NAMESAKES = 20


@dataclass(frozen=True)
class LrBesideHr:
    """A folder of LR images and the folder of their HR; ``.`` is the top.

    Attributes:
        hr: folder.
        lr: folder; the same where endings of the names tell the two apart.
        ratio: HR sides over LR sides; 1 for scans of one size, None where the names alone say it.
    """

    hr: str
    lr: str
    ratio: int | None

    def __str__(self) -> str:
        where = (
            f"The folder {self.hr} holds"
            if self.hr == self.lr
            else f"The folders {self.hr} and {self.lr} hold"
        )
        if self.ratio is None:
            return f"{where} HR and LR, by their names"
        size = "of the same size" if self.ratio == 1 else f"at 1/{self.ratio} of the size"
        return f"{where} the same images {size}"


def lr_beside_hr(
    files: Sequence[str], sizes: Mapping[str, Shape], read: Callable[[str], Pixels]
) -> LrBesideHr | None:
    """The first folder of LR images beside their HR, None where there is none.

    Folders (or endings of names) that say LR are believed where HR of the same names, or a folder that says
    HR, lies beside them. Others are LR where at least half of their images share a name with a larger one,
    all by one ratio, and show the same picture; so do scans of one size in folders such as ``fast`` and
    ``slow``.

    Args:
        files: the images, as relative names with forward slashes.
        sizes: of those that can be read.
        read: gives grey pixels ``(H, W)``.
    """
    folders = Counter(_folder(file) for file in files)
    by_stem: dict[str, list[str]] = {}
    for file in sizes:
        by_stem.setdefault(_ENDING.sub("", PurePosixPath(file).stem.lower()), []).append(file)
    pairs: dict[tuple[str, str, int], list[tuple[str, str]]] = {}
    for namesakes in by_stem.values():
        for files_of_one in combinations(namesakes if len(namesakes) <= _MOST_NAMESAKES else (), 2):
            hr, lr = sorted(files_of_one, key=lambda file: (-sizes[file][1], _is_low(file), file))
            if (ratio := _ratio(hr, lr, sizes)) is not None:
                pairs.setdefault((_folder(hr), _folder(lr), ratio), []).append((hr, lr))
    for (hr, lr, ratio), members in sorted(pairs.items()):
        together = folders[hr] / 2 if hr == lr else min(folders[hr], folders[lr])
        if len(members) < together / 2:
            continue
        if all(_LOW.search(low.lower()) for _, low in members) or _same_pictures(members, read):
            return LrBesideHr(hr, lr, ratio)
    return _by_folders(files, sizes, read)


def _by_folders(
    files: Sequence[str], sizes: Mapping[str, Shape], read: Callable[[str], Pixels]
) -> LrBesideHr | None:
    """Two folders side by side, of which one says HR and the other LR, whatever their files are called."""
    members: dict[str, list[str]] = {}
    for file in sorted(files):
        members.setdefault(_folder(file), []).append(file)
    named = {folder: PurePosixPath(folder.lower()) for folder in members}
    highs, lows = (
        [folder for folder, path in named.items() if sure.search(path.name) or perhaps.search(path.name)]
        for sure, perhaps in ((_HIGH, _PERHAPS_HIGH), (_LOW, _PERHAPS_LOW))
    )
    for hr, lr in product(highs, lows):
        if named[hr].parent != named[lr].parent or named[hr] == named[lr]:
            continue
        if _HIGH.search(named[hr].name) and _LOW.search(named[lr].name):
            return LrBesideHr(hr, lr, None)
        if _PERHAPS_HIGH.search(named[hr].name) and _PERHAPS_LOW.search(named[lr].name):
            # Scans of the same fields in one order, as 30us_001.tif and 100ns_001.tif.
            pairs = list(zip(members[hr], members[lr], strict=False))
            ratios = {_ratio(*pair, sizes) if sizes.keys() >= set(pair) else None for pair in pairs}
            same = len(members[hr]) == len(members[lr]) and len(ratios) == 1 and None not in ratios
            if same and _same_pictures(pairs, read):
                return LrBesideHr(hr, lr, ratios.pop())
    return None


def _folder(file: str) -> str:
    return str(PurePosixPath(file).parent)


def _is_low(file: str) -> bool:
    name = str(PurePosixPath(file).with_suffix("")).lower()
    return bool(_LOW.search(name) or _PERHAPS_LOW.search(name))


def _ratio(hr: str, lr: str, sizes: Mapping[str, Shape]) -> int | None:
    """HR over LR where both sides agree; 1 only where the names tell the faster scan from the slower."""
    (rows, columns), (lr_rows, lr_columns) = sizes[hr], sizes[lr]
    if (rows, columns) == (lr_rows, lr_columns):
        return 1 if _is_low(lr) and not _is_low(hr) else None
    agreeing = (
        ratio
        for ratio in RATIOS
        if abs(rows - ratio * lr_rows) < ratio and abs(columns - ratio * lr_columns) < ratio
    )
    return next(agreeing, None)


def _same_pictures(pairs: list[tuple[str, str]], read: Callable[[str], Pixels]) -> bool:
    from srbench.datasets.near_duplicates import descriptor

    agreements = []
    for hr, lr in pairs[:: max(len(pairs) // _LOOKED_AT, 1)][:_LOOKED_AT]:
        large, small = read(hr), read(lr)
        repeats = max(round(large.shape[1] / small.shape[1]), 1)
        # On one grid, so that the blocks of both cover the same part of the field.
        small = small.repeat(repeats, axis=0).repeat(repeats, axis=1)
        rows, columns = np.minimum(large.shape, small.shape)
        first, second = (descriptor(pixels[:rows, :columns]).astype(np.float64) for pixels in (large, small))
        lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
        agreements.append(float(first @ second) / lengths if lengths else 0.0)
    return statistics.median(agreements) >= _SAME
