"""Which files of a folder or archive are the HR photographs of a set, in any of the layouts in circulation.

Known are: plain files (``Set5/baby.png``), ``HR`` folders (``benchmark/Set5/HR/baby.png``), BasicSR's
``original`` and ``GTmod12``, Huang's ``image_SRF_4/img_001_SRF_4_HR.png`` and ``HR/Set5/x4/baby_HR_x4.png``.
What lies in LR folders (``x4``, ``LR_bicubic/X2``, ``LRbicx4``, ``DIV2K_train_LR_x8``), is called like an LR
image (``0801x4.png``, ``..._LR.png``) or is some method's output in Huang's folders is left aside.

Some layouts hold HR images cut to a multiple of the scale. Where the same image is there more than once, the
one that was cut least is taken.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

_HUANG = re.compile(r"(?P<id>.+?)_SRF_(?P<cut>\d+)_(?P<what>.+)", re.IGNORECASE)
_CUT_NAME = re.compile(r"(?P<id>.+?)_HR_?x(?P<cut>\d+)", re.IGNORECASE)
_LR_NAME = re.compile(r".+?(?:_LR(?:BI|BD|DN)?(?:_?x?\d+)?|[_-]?x[2348])", re.IGNORECASE)
_HR_ENDING = re.compile(r"_(?:HR|GT)$", re.IGNORECASE)
_LR_FOLDER = re.compile(r"(?:.*_)?LR(?:bi\w*|x\d+|[_-].*)?|bicubic", re.IGNORECASE)
_SCALE_FOLDER = re.compile(r"x_?(\d{1,2})(?:_sub)?", re.IGNORECASE)
_CUT_FOLDER = re.compile(r"(?:GTmod|image_SRF_)(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Chosen:
    """The HR photographs of a set.

    Attributes:
        files: image id to path.
        cut: the scale to whose multiple the chosen images were cut, 1 where they are whole.
        skipped: paths that could have been one, with the reason why they are not.
    """

    files: Mapping[str, str]
    cut: int
    skipped: Mapping[str, str] = field(default_factory=dict)


def choose(paths: Iterable[str], folders: Collection[str], others: Collection[str]) -> Chosen:
    """Choose among the paths of image files, which use forward slashes.

    Args:
        paths: relative to the folder or archive.
        folders: what folders of this set are called (``b100``, ``bsd100``), lower case without punctuation;
            where a folder is called so, nothing outside of such folders is taken.
        others: the same of the other sets.
    """
    candidates = [path for path in sorted(paths) if not _inside(path, others) or _inside(path, folders)]
    own = [path for path in candidates if _inside(path, folders)]
    found: dict[str, tuple[int, str]] = {}
    skipped: dict[str, str] = {}
    for path in own or candidates:
        known = _identify(path)
        if known is None:
            continue
        name, cut = known
        before = found.get(name)
        if before is not None and before[0] == cut:
            skipped[path] = f"the same name as {before[1]}"
        elif before is None or cut < before[0]:
            found[name] = (cut, path)
    files = {name: path for name, (_, path) in sorted(found.items())}
    return Chosen(files, max((cut for cut, _ in found.values()), default=1), skipped)


def _inside(path: str, folders: Collection[str]) -> bool:
    """Whether a folder of the path is called so; ``set1`` is not ``set14``."""
    parts = [re.sub(r"[^a-z0-9]", "", part.lower()) for part in path.split("/")[:-1]]
    return any(re.match(rf"{folder}(?!\d)", part) for part in parts for folder in folders)


def _identify(path: str) -> tuple[str, int] | None:
    """Id of the image and the multiple it was cut to; None for what is no HR image by its path."""
    *parents, file = path.split("/")
    stem = file.rpartition(".")[0]
    huang = _HUANG.fullmatch(stem)
    if huang:
        return (huang["id"], int(huang["cut"])) if huang["what"].upper() in ("HR", "GT") else None
    cut = _cut_by_folders(parents)
    named = _CUT_NAME.fullmatch(stem)
    if named and cut is not None:
        return named["id"], max(cut, int(named["cut"]))
    if cut is None or _LR_NAME.fullmatch(stem):
        return None
    return _HR_ENDING.sub("", stem), cut


def _cut_by_folders(parents: list[str]) -> int | None:
    """The multiple that the folders tell of, 1 where they tell of none; None in a folder of LR images."""
    if any(_LR_FOLDER.fullmatch(part) for part in parents):
        return None
    cut = max((int(match[1]) for part in parents if (match := _CUT_FOLDER.fullmatch(part))), default=1)
    scales = [int(match[1]) for part in parents if (match := _SCALE_FOLDER.fullmatch(part))]
    if not scales:
        return cut
    # HR/Set5/x4 holds HR images for x4; x4 alone holds LR images.
    return max(cut, *scales) if any(part.upper() == "HR" for part in parents) else None
