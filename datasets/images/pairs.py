"""LR and HR of the same fields in one folder: which files they are, by names, sizes and pictures.

Taken as one set of images, the LR of an image would be trained on or scored as HR, often in another split
than the image itself; :func:`lr_beside_hr` notices that. :func:`match_by_name` pairs them.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import PurePosixPath
from typing import Literal

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
# Words of names, at any of these characters.
_BETWEEN = re.compile(r"[-_. ]+")
_HIGH_WORD = r"(?:hr|hq|gt|high(?:res(?:olution)?)?|slow|clean|target|reference|large)"
_IS_HIGH = re.compile(_HIGH_WORD)
_IS_LOW = re.compile(
    r"(?:lr|lq|low(?:res(?:olution)?)?|fast|noisy|input|small|bicubic|down(?:sampled|scaled))(?:x[1-8])?"
)
_IS_SECOND = re.compile(r"repeats?|repetitions?|second")
# Of folders alone: slow_2.png is the second image, the folder slow_2 holds second scans.
_IS_SECOND_FOLDER = re.compile(rf"{_HIGH_WORD}[-_. ]?(?:2|b)")
_IS_SCALE = re.compile("x[1-8]|[1-8]x")
_IS_DWELL = re.compile(r"\d+(?:ns|us|\u00b5s|\u03bcs|ms)|res|resolution")
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


Role = Literal["lr", "hr", "second"]
"""What a file of a folder of pairs is: LR or the fast scan, the reference, or a second scan of it."""


@dataclass(frozen=True)
class Matched:
    """Which files of a folder are recordings of one field.

    Attributes:
        lr: reference to its LR.
        second: reference to its second scan, where there is one.
        alone: every other file, with the reason.
    """

    lr: Mapping[str, str]
    second: Mapping[str, str]
    alone: Mapping[str, str]


def match_by_name(files: Iterable[str]) -> Matched:
    """Pair LR, reference and second scans by folders and names.

    The deepest folder that says what is in it decides (``lr``, ``fast``, ``low``, ``noisy`` ... or ``hr``,
    ``slow``, ``high``, ``clean`` ...; ``hr2``, ``slow_2``, ``repeat`` ... for a second scan), else the words
    of the file's name do. Files belong together where the rest of their folders is the same and their names
    are: as they stand, without endings such as ``_x4`` and ``_lr``, or without words such as ``fast`` and
    dwell times such as ``30us``.

    Args:
        files: names relative to the folder, with forward slashes.
    """
    roles: dict[str, tuple[Role, str]] = {}
    alone: dict[str, str] = {}
    for file in files:
        role, folders = _role(file)
        if role is None:
            alone[file] = "no partner: neither its folders nor its name say lr, fast, hr or slow"
        else:
            roles[file] = role, folders
    lr, second = (_matched(roles, role) for role in ("lr", "second"))
    taken = {*lr, *lr.values(), *second.values()}
    for file, (role, _) in roles.items():
        if file not in taken:
            partner = "HR or slow scan" if role != "hr" else "LR or fast scan"
            alone[file] = f"no partner: not exactly one {partner} bears its name"
    second = {hr: scan for hr, scan in second.items() if hr in lr}
    return Matched(lr, second, alone)


def folders_of_fields(file: str) -> list[str]:
    """The folders that a file of a pair lies in, without those that say which recording it is."""
    folders = (
        "" if _IS_SECOND_FOLDER.fullmatch(folder.lower()) else _without_words(folder)
        for folder in PurePosixPath(file).parts[:-1]
    )
    return [folder for folder in folders if folder]


def _role(file: str) -> tuple[Role | None, str]:
    """What a file is, and the folders that its partners share."""
    path = PurePosixPath(file.lower())
    role = None
    for folder in reversed(path.parts[:-1]):
        role = "second" if _IS_SECOND_FOLDER.fullmatch(folder) else _said(folder)
        if role is not None:
            break
    return role or _said(path.stem), "/".join(folders_of_fields(file)).lower()


def _said(name: str) -> Role | None:
    words = [word for word in _BETWEEN.split(name) if word]
    if any(map(_IS_SECOND.fullmatch, words)):
        return "second"
    low, high, scale = (any(map(kind.fullmatch, words)) for kind in (_IS_LOW, _IS_HIGH, _IS_SCALE))
    if low and high:
        return None
    if high:
        return "hr"
    return "lr" if low or scale else None


def _without_words(name: str) -> str:
    """A name without the words that say which recording it is."""
    kinds = (_IS_HIGH, _IS_LOW, _IS_SECOND, _IS_SCALE, _IS_DWELL)
    words = (word for word in _BETWEEN.split(name) if word)
    return "_".join(word for word in words if not any(kind.fullmatch(word.lower()) for kind in kinds))


def _matched(roles: Mapping[str, tuple[Role, str]], role: Role) -> dict[str, str]:
    """Reference to the one file of this role that bears its name; the plainest agreement goes first."""
    pairs: dict[str, str] = {}
    stems = {file: PurePosixPath(file).stem.lower() for file in roles}
    for name_of in (str, lambda stem: _ENDING.sub("", stem), lambda stem: _without_words(stem) or stem):
        sides: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
        taken = {*pairs, *pairs.values()}
        for file, (its_role, folders) in roles.items():
            if file not in taken and its_role in (role, "hr"):
                references, others = sides.setdefault((folders, name_of(stems[file])), ([], []))
                (references if its_role == "hr" else others).append(file)
        for references, others in sides.values():
            if len(references) == len(others) == 1:
                pairs[references[0]] = others[0]
    return pairs


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
