"""Guard ``split_hygiene``: no scored image, and no repetition of one, is among the images trained on.

Two questions. Of the dataset: are its splits apart (equal pixels, the same field again, one group on both
sides, images of published test sets to train on)? Of the weights: what were they trained on, and does that
hold scored images? Answers are kept by the fingerprints of the data, since a large set takes minutes.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from srbench import datasets
from srbench.checks.base import Finding, Status
from srbench.datasets import DatasetError, Micrograph, MicrographSet, near_duplicates
from srbench.datasets.base import SPLITS, Split
from srbench.datasets.near_duplicates import (
    CANDIDATE,
    DIMENSIONS,
    SAME,
    Thumbnail,
    agreement,
    descriptor,
    thumbnail,
)
from srbench.utils.files import pixel_hash, write_text
from srbench.utils.image import Pixels, to_uint8
from srbench.utils.progress import ProgressCallback, ProgressEvent, silent
from srbench.weights import WeightsHeader

# File names by which images of published test sets are known, wherever they turn up.
#
# A benchmark whose training folder held ``Urban100_img_079_SRF_4_HR.png`` has been published; that name alone
# says that a test image was trained on.

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


# Which images of one set show the same field of view as an image of another set.
#
# Equal pixels are found by their hash. The same field recorded, exported or cut again is looked for in three
# steps, each for what is left of the one before:
#
# 1. candidates have alike ``near_duplicates.descriptor``;
# 2. ``near_duplicates.agreement`` of their details of 24 to 104 pixels (of 1024 across) must reach 0.6;
# 3. the phases of their Fourier transforms must agree (``phase_agreement``, at least 0.4). Two gratings of one
#    pitch pass the second step, since they are strong in the same few frequencies; here all frequencies count
#    the same, and edges that are rough in other places, or other noise, have other phases.
#
# Images are enlarged to about 1024 pixels across by repetition, and two images are cut to one width, so that
# small images and pairs of slightly different size are compared at one scale.
#
# Measured on all pairs of ``sem_open`` (12,561), ``sem_synthetic`` (21,945) and its suite ``small`` (2,415),
# each specimen or scene another: none is taken for the same. Among pairs drawn at random the phases agree to
# 0.08 in ``sem_open`` and 0.20 in the others; of gratings of one pitch with smooth or rough edges, 0.10. 68 of
# these images, again as JPEG of quality 60 to 95, brighter, paler, with gamma 0.7, moved by 1 to 4 pixels, cut
# by 2 or 5 %, blurred by 1 pixel, with noise of 3 or 5 %, or moved and paler and JPEG: the phases agree to 0.57
# or more, and all are found but one of those cut by 5 %, whose descriptor differs. Not looked for are other
# magnifications, turned images and moves by more than a sixteenth of the width.

Grey = NDArray[np.uint8]
Plane = NDArray[np.float64]

FIELD_RULES = 1
"""Raised whenever the same images would be judged otherwise."""

SMALLEST = 48
"""Pixels a side below which two images are only compared bit by bit."""

SAME_PHASES = 0.4
_WIDTH, _MEANS = 1024, 512
_BAND = (0.02, 0.15)
_REACH = 16
_TILE = 2048
_REMEMBERED = 8192


@dataclass(frozen=True)
class Picture:
    """An image to compare.

    Attributes:
        name: what a reader calls it.
        pixels: gives its pixels.
    """

    name: str
    pixels: Callable[[], Pixels]


@dataclass(frozen=True)
class Repetition:
    """Two pictures of one field.

    Attributes:
        first: name of the one.
        second: name of the other.
        agreement: of their phases; 1 where the pixels are equal.
        equal: whether every pixel is equal.
    """

    first: str
    second: str
    agreement: float
    equal: bool


@dataclass(frozen=True)
class Described:
    """A set of pictures with what is compared first.

    Attributes:
        pictures: the pictures.
        hashes: of their pixels.
        descriptors: ``(n, 96)``; zeros for what is too small.
    """

    pictures: tuple[Picture, ...]
    hashes: tuple[str, ...]
    descriptors: NDArray[np.int16]

    @functools.cached_property
    def lengths(self) -> Plane:
        """Length of each descriptor."""
        lengths: Plane = np.sqrt((self.descriptors.astype(np.float64) ** 2).sum(axis=1))
        return lengths


def describe(pictures: Sequence[Picture], progress: ProgressCallback) -> Described:
    """Read every picture once."""
    hashes, descriptors = [], []
    for done, picture in enumerate(pictures, start=1):
        pixels = picture.pixels()
        hashes.append(pixel_hash(pixels))
        descriptors.append(_descriptor(to_uint8(pixels)))
        progress(ProgressEvent("compare the splits", done, len(pictures), "images"))
    stacked = np.array(descriptors, np.int16).reshape(len(pictures), -1)
    return Described(tuple(pictures), tuple(hashes), stacked)


def repetitions(one: Described, other: Described) -> list[Repetition]:
    """The pairs of one picture of each set that show the same field."""
    twins = _equal_pixels(one, other)
    found = [Repetition(one.pictures[i].name, other.pictures[j].name, 1.0, True) for i, j in sorted(twins)]

    @functools.lru_cache(_REMEMBERED)
    def thumbnail_of(first: bool, index: int, width: int) -> Thumbnail:
        return _thumbnail(_grey((one if first else other).pictures[index]), width)

    for i, j in _candidates(one, other):
        if (i, j) in twins:
            continue
        first, second = one.pictures[i], other.pictures[j]
        width = min(first.pixels().shape[1], second.pixels().shape[1])
        if agreement(thumbnail_of(True, i, width), thumbnail_of(False, j, width)) >= SAME:
            agreeing = phase_agreement(_grey(first), _grey(second))
            if agreeing >= SAME_PHASES:
                found.append(Repetition(first.name, second.name, agreeing, False))
    return found


def phase_agreement(one: Grey, other: Grey) -> float:
    """Share of the Fourier samples whose phases fit one shift, about 0 to 1: 1 for equal images.

    The peak of the phase-only correlation, over shifts up to a sixteenth of the width and over the detail
    sizes from 1/77 to a tenth of the width (of images 512 or more across; coarser in smaller ones).

    Args:
        one: ``(H, W)``.
        other: an image of about the same size; the larger one is cut at the right and at the bottom.

    Source:
        Kuglin and Hines, The phase correlation image alignment method, Proc. IEEE Int. Conf. Cybernetics and
        Society, 1975.
    """
    from scipy import fft

    means = _aligned(one, other)
    shape = means[0].shape
    window = np.outer(*(np.hanning(side + 2)[1:-1] for side in shape))
    first, second = (fft.rfft2((plane - plane.mean()) * window) for plane in means)
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    band = (frequency > _BAND[0]) & (frequency < _BAND[1])
    cross = first * np.conj(second)
    phases = np.where(band, cross / np.maximum(np.abs(cross), np.finfo(np.float64).tiny), 0.0)
    reach = np.arange(-(shape[1] // _REACH), shape[1] // _REACH + 1)
    correlation = fft.irfft2(phases, shape)[np.ix_(reach % shape[0], reach % shape[1])]
    most = fft.irfft2(band.astype(np.complex128), shape)[0, 0]
    return float(correlation.max() / most) if most > 0 else 0.0


def _aligned(one: Grey, other: Grey) -> tuple[Plane, Plane]:
    """Block means of both, cut to one size of at most about 512 across."""
    height, width = (min(pair) for pair in zip(one.shape, other.shape, strict=True))
    cell = max(round(width / _MEANS), 1)
    rows, columns = height // cell, width // cell
    planes = (image[: rows * cell, : columns * cell] for image in (one, other))
    first, second = (plane.reshape(rows, cell, columns, cell).mean(axis=(1, 3)) for plane in planes)
    return first, second


def _equal_pixels(one: Described, other: Described) -> set[tuple[int, int]]:
    places: dict[str, list[int]] = {}
    for index, digest in enumerate(one.hashes):
        places.setdefault(digest, []).append(index)
    return {(i, j) for j, digest in enumerate(other.hashes) for i in places.get(digest, ())}


def _candidates(one: Described, other: Described) -> Iterator[tuple[int, int]]:
    """Pairs with a high cosine, tile by tile, so that memory does not depend on the number of images."""
    for left in range(0, len(other.pictures), _TILE):
        columns = slice(left, left + _TILE)
        for top in range(0, len(one.pictures), _TILE):
            rows = slice(top, top + _TILE)
            # Whole numbers so bounded that float32 adds them without rounding.
            products = one.descriptors[rows].astype(np.float32) @ other.descriptors[columns].T.astype(
                np.float32
            )
            least = CANDIDATE * one.lengths[rows, None] * other.lengths[columns]
            for i, j in np.argwhere((products >= least) & (products > 0)):
                yield top + int(i), left + int(j)


def _descriptor(grey: Grey) -> NDArray[np.int16]:
    if min(grey.shape) < SMALLEST:
        return np.zeros(DIMENSIONS, np.int16)
    return descriptor(_enlarged(grey))


def _thumbnail(grey: Grey, width: int) -> Thumbnail:
    return thumbnail(_enlarged(grey[:, :width]))


def _enlarged(grey: Grey) -> Grey:
    """About 1024 pixels across by repetition, or as it is where it is that wide."""
    factor = max(round(_WIDTH / grey.shape[1]), 1)
    return grey if factor == 1 else grey.repeat(factor, axis=0).repeat(factor, axis=1)


def _grey(picture: Picture) -> Grey:
    return to_uint8(picture.pixels())


GUARD = "split_hygiene"
SPLIT_RULES = 1
"""Raised whenever the same data would be judged otherwise."""

Scored = Split | Literal["all"]


def check(
    micrographs: MicrographSet,
    split: str,
    header: WeightsHeader | None,
    *,
    cache: Path,
    progress: ProgressCallback = silent,
    foreign: bool = False,
    every: bool = True,
) -> Finding:
    """Look at the dataset's splits and at what the weights were trained on.

    Args:
        micrographs: the dataset.
        split: the split that is scored, or ``all``.
        header: of the weights; None where nothing was trained, or where ``foreign``.
        cache: folder of things that can be made again; answers are kept in ``hygiene`` below it.
        progress: told of every image read.
        foreign: there are weights, but srbench did not write them.
        every: compare the pixels of drawn scenes too, which takes the time of drawing all of them; those of
            recorded images are compared in any case.

    Returns:
        ``failed`` with the images concerned; ``unchecked`` where nobody can say what the weights saw.
    """
    scored = cast(Scored, split)
    drawn = micrographs.card.kind == "synthetic" and not every
    found = [_as_drawn(micrographs) if drawn else _of_dataset(micrographs, cache, progress)]
    if header is not None:
        found.append(_of_weights(micrographs, scored, header, cache, progress))
    elif foreign:
        found.append(
            _finding(
                "unchecked",
                "The weights do not say what they were trained on. Weights that srbench trains do.",
            )
        )
    else:
        found.append(_finding("passed", "The method learns nothing."))
    return _both(found)


def _both(found: Sequence[Finding]) -> Finding:
    """Failed where one failed; passed only where both did: clean splits say nothing of unknown weights."""
    worst = [[one for one in found if one.status == status] for status in ("failed", "unchecked", "passed")]
    status = next(group[0].status for group in worst if group)
    told = worst[0] or found
    return _finding(status, " ".join(one.detail for one in told))


def _of_dataset(micrographs: MicrographSet, cache: Path, progress: ProgressCallback) -> Finding:
    make = functools.partial(_dataset_apart, micrographs, progress)
    return _kept(cache, [micrographs.name, micrographs.fingerprint], make)


def _as_drawn(micrographs: MicrographSet) -> Finding:
    """Of scenes drawn by lot, without drawing them."""
    problems = _shared_groups(micrographs.images)
    if problems:
        return _finding("failed", f"The splits of {micrographs.name} mix: {'. '.join(problems)}.")
    return _finding(
        "passed",
        f"Every scene of {micrographs.name} is drawn from random numbers of its own, and none is in two "
        "splits (the audit compares their pixels too).",
    )


def _of_weights(
    micrographs: MicrographSet, split: Scored, header: WeightsHeader, cache: Path, progress: ProgressCallback
) -> Finding:
    if not header.dataset or not header.data:
        return _finding("unchecked", "The weights do not say what they were trained on.")
    if header.data == micrographs.fingerprint:
        return _of_own_training(micrographs, split)
    try:
        if not datasets.is_local(header.dataset):
            return _finding(
                "unchecked",
                f"The weights were trained on {header.dataset}, which is not here to compare with: srbench "
                "reads no folder on the word of a file. If it is yours, type srbench datasets show with it.",
            )
        trained = datasets.open(header.dataset)
    except DatasetError as error:
        return _finding(
            "unchecked",
            f"The weights were trained on {header.dataset}, which is not here to compare with: {error}",
        )
    if trained.fingerprint != header.data:
        return _finding(
            "unchecked",
            f"The weights were trained on another state of {header.dataset} (fingerprint {header.data[:12]}) "
            f"than the one that is here ({trained.fingerprint[:12]}); bring that one back, or train again.",
        )
    make = functools.partial(_trained_apart, micrographs, split, trained, progress)
    return _kept(cache, [micrographs.name, micrographs.fingerprint, split, trained.name, header.data], make)


def _of_own_training(micrographs: MicrographSet, split: Scored) -> Finding:
    count = len(micrographs.split("train"))
    trained = f"The weights were trained on the train split of this very data ({count} images)"
    if split in ("train", "all"):
        return _finding("failed", f"{trained}, and those images are among the scored ones (split {split}).")
    if split == "val":
        return _finding("passed", f"{trained}; the scored val split may have chosen the checkpoint.")
    return _finding("passed", f"{trained}, the scored split is another.")


def _dataset_apart(micrographs: MicrographSet, progress: ProgressCallback) -> Finding:
    problems = [*_shared_groups(micrographs.images), *_test_names(micrographs, micrographs.split("train"))]
    sides: dict[str, Sequence[Micrograph]] = {name: micrographs.split(name) for name in SPLITS}
    sides = {name: images for name, images in sides.items() if images}
    counts = ", ".join(f"{name} {len(images)}" for name, images in sides.items())
    if len(sides) > 1:
        described = {
            name: describe(_pictures(micrographs, images, name), progress) for name, images in sides.items()
        }
        for one, other in itertools.combinations(described.values(), 2):
            problems += _repeated(one, other)
    if problems:
        return _finding("failed", f"The splits of {micrographs.name} ({counts}) mix: {'. '.join(problems)}.")
    if len(sides) == 1:
        return _finding("passed", f"{micrographs.name} has one split alone ({counts}).")
    small = sum(min(image.height, image.width) < SMALLEST for image in micrographs.images)
    return _finding("passed", f"{_nothing_shared(micrographs.name, counts)}{_too_small(small)}")


def _trained_apart(
    micrographs: MicrographSet, split: Scored, trained: MicrographSet, progress: ProgressCallback
) -> Finding:
    """Compare the scored images with the training images of another set."""
    scored, seen = micrographs.split(split), trained.split("train")
    one = describe(_pictures(micrographs, scored, "scored"), progress)
    other = describe(_pictures(trained, seen, f"train of {trained.name}"), progress)
    problems = [*_repeated(one, other), *_test_names(trained, seen)]
    what = f"The weights were trained on the {len(seen)} train images of {trained.name}"
    if problems:
        return _finding("failed", f"{what}. {'. '.join(problems)}.")
    small = sum(min(image.height, image.width) < SMALLEST for image in scored)
    return _finding(
        "passed", f"{what}; none of the {len(scored)} scored ones is among them.{_too_small(small)}"
    )


def _nothing_shared(name: str, counts: str) -> str:
    return (
        f"No image of {name} is in two of its splits ({counts}): no equal pixels, no field of view twice, no "
        "group on both sides, no file name of a published test set in train."
    )


def _too_small(count: int) -> str:
    return f" {count} images under {SMALLEST} pixels were only compared bit by bit." if count else ""


def _pictures(micrographs: MicrographSet, images: Sequence[Micrograph], where: str) -> list[Picture]:
    return [
        Picture(f"{image.id} ({where})", functools.partial(micrographs.pixels, image.id)) for image in images
    ]


def _repeated(one: Described, other: Described) -> list[str]:
    """What to say of the repetitions, nothing where there are none."""
    found = repetitions(one, other)
    equal = [_pair(pair) for pair in found if pair.equal]
    alike = [_pair(pair) for pair in found if not pair.equal]
    told = []
    if equal:
        told.append(f"{_pairs(equal)} with equal pixels: {listing(equal)}")
    if alike:
        told.append(f"{_pairs(alike)} of the same field of view: {listing(alike)}")
    return told


def _pairs(found: Sequence[str]) -> str:
    return f"{len(found)} pair{'s' if len(found) > 1 else ''}"


def _pair(pair: Repetition) -> str:
    alike = "" if pair.equal else f" ({pair.agreement:.0%} of the phases agree)"
    return f"{pair.first} and {pair.second}{alike}"


def _shared_groups(images: Sequence[Micrograph]) -> list[str]:
    sides: dict[str, set[str]] = {}
    for image in images:
        sides.setdefault(image.group, set()).add(image.split)
    shared = [f"{group} in {' and '.join(sorted(where))}" for group, where in sides.items() if len(where) > 1]
    return [f"groups on both sides: {listing(shared)}"] if shared else []


def _test_names(micrographs: MicrographSet, train: Sequence[Micrograph]) -> list[str]:
    found = known(image.id for image in train)
    if not found:
        return []
    return [f"train images of {micrographs.name} have names of test sets: {listing(found)}"]


def _finding(status: Status, detail: str) -> Finding:
    return Finding(GUARD, status, detail)


def _kept(cache: Path, what: Sequence[str], make: Callable[[], Finding]) -> Finding:
    """The answer from the disk, else made and put there; none where images cannot be read."""
    rules = [SPLIT_RULES, FIELD_RULES, near_duplicates.RULES]
    key = hashlib.sha256(json.dumps([rules, *what]).encode()).hexdigest()[:24]
    path = cache / "hygiene" / f"{key}.json"
    found = _read(path)
    if found is not None:
        return found
    try:
        found = make()
    except (DatasetError, OSError) as error:
        return _finding("unchecked", f"The splits could not be compared: {error}")
    write_text(path, json.dumps(found.stored()))
    return found


def _read(path: Path) -> Finding | None:
    """A kept answer; None where there is none or it is damaged."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        known = raw["status"] in ("passed", "failed")
        return _finding(raw["status"], str(raw["detail"])) if known else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
