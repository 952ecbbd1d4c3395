"""File names by which images of published test sets are known, wherever they turn up.

A benchmark whose training folder held ``Urban100_img_079_SRF_4_HR.png`` has been published; that name alone
says that a test image was trained on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# Not Set5, Set14 and B100: somebody's fifth set of specimens is called so too.
_SETS = r"bsds?100|urban100|manga109|sun-?hays80|div2k_valid(?:_hr)?"

NAMES: tuple[tuple[re.Pattern[str], str], ...] = (
    # What Huang, Singh and Ahuja (CVPR 2015, github.com/jbhuang0604/SelfExSR) call every image of the five
    # sets they hand out; all papers on Urban100 use their files.
    (re.compile(r"(?:^|[/_-])img_\d{3}_srf_\d(?:_(?:hr|lr))?(?=[._-]|$)"), "the test sets of SelfExSR"),
    (re.compile(rf"(?:^|/)(?:{_SETS})[/_-]"), "a test set of that name"),
)
"""Patterns of lower-case paths, and whose names they are."""

WHOLE_SETS: tuple[tuple[str, frozenset[str]], ...] = (
    # Bevilacqua et al., BMVC 2012.
    ("Set5", frozenset({"baby", "bird", "butterfly", "head", "woman"})),
    # Zeyde, Elad and Protter, 2010.
    (
        "Set14",
        frozenset(
            {"baboon", "barbara", "bridge", "coastguard", "comic", "face", "flowers", "foreman"}
            | {"lenna", "man", "monarch", "pepper", "ppt3", "zebra"}
        ),
    ),
)
"""Sets whose names are plain words: one may be a coincidence, most of a set is not."""

_MOST = 0.6
_SCALE = re.compile(r"(?:_?x\d|_hr|_gt)+$")


def known(names: Iterable[str]) -> list[str]:
    """Which of these names belong to published test sets, each as ``name (whose)``.

    Args:
        names: image ids or file names, with or without folders and suffixes.
    """
    listed = list(names)
    found = [f"{name} ({whose})" for name in listed if (whose := _whose(name))]
    words = [_word(name) for name in listed]
    for title, members in WHOLE_SETS:
        present = members & set(words)
        if len(present) >= _MOST * len(members):
            found.append(f"{', '.join(sorted(present))} ({title})")
    return found


def _whose(name: str) -> str:
    path = name.replace("\\", "/").lower()
    return next((whose for pattern, whose in NAMES if pattern.search(path)), "")


def _word(name: str) -> str:
    """``train/Baby_x4.png`` to ``baby``."""
    stem = name.replace("\\", "/").rpartition("/")[2].lower().partition(".")[0]
    return _SCALE.sub("", stem)


def listing(found: Sequence[str], most: int = 3) -> str:
    """The first few, and how many more."""
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return "; ".join(found[:most]) + more
