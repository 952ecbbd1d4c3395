"""Check ``contamination``: no scored image, and no repetition of one, is among the images trained on.

Of the dataset: are its splits apart (equal pixels, the same field again, one group on both sides, images of
published test sets to train on)? Of the weights: what were they trained on, and does that hold scored images?
Results are cached by the fingerprints of the data, since a large set takes minutes. How repetitions are
recognised, with measured error rates: docs/guards.md.
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

import numpy as np
from numpy.typing import NDArray

from srbench import datasets
from srbench.checks.base import CheckResult
from srbench.datasets import Micrograph, MicrographSet, near_duplicates
from srbench.datasets.base import SPLITS
from srbench.utils.errors import SrbenchError
from srbench.utils.files import pixel_hash, read_json, write_text
from srbench.utils.image import Pixels, to_uint8
from srbench.utils.progress import ProgressCallback, ProgressEvent, count_of, silent
from srbench.weights import WeightsHeader

CONTAMINATION = "contamination"
_result = functools.partial(CheckResult, CONTAMINATION)
SPLIT_RULES = (1, 1)
"""Versions of the judgement and of the comparison; raised when the same data would be judged otherwise."""

_NOT_SAID = "The weights do not say what they were trained on."


def check(
    micrographs: MicrographSet,
    split: str,
    header: WeightsHeader | None,
    *,
    cache: Path,
    progress: ProgressCallback = silent,
    foreign: bool = False,
    every: bool = True,
) -> CheckResult:
    """Compare the dataset's splits with each other and with what the weights were trained on.

    Args:
        micrographs: the dataset.
        split: the split that is scored, as it is stored.
        header: of the weights; None where nothing was trained, or where ``foreign``.
        cache: folder of things that can be made again; results are kept in ``hygiene`` below it.
        progress: called for every image read.
        foreign: there are weights, but srbench did not write them.
        every: compare the pixels of drawn scenes too, which takes the time of drawing all of them; those of
            recorded images are compared in any case.

    Returns:
        ``failed`` with the images concerned; ``unchecked`` where nobody can say what the weights saw.
    """
    if micrographs.card.kind == "synthetic" and not every:
        of_data = _check_groups_of_scenes(micrographs)
    elif split.startswith("all") and not micrographs.has_splits:
        of_data = _result("passed", f"{micrographs.name} has no splits of its own and is scored whole.")
    else:
        compare = functools.partial(_compare_splits, micrographs, progress)
        of_data = _cached(cache, [micrographs.name, micrographs.fingerprint], compare)
    if header is not None:
        of_weights = _check_trainings(micrographs, split, header, cache, progress)
    elif foreign:
        of_weights = [_result("unchecked", f"{_NOT_SAID} Weights that srbench trains do.")]
    else:
        of_weights = [_result("passed", "The method learns nothing.")]
    # Passed only where all did: clean splits say nothing of unknown weights.
    results = [of_data, *of_weights]
    failed = [result for result in results if result.status == "failed"]
    unchecked = [result for result in results if result.status == "unchecked"]
    status = (failed or unchecked or results)[0].status
    return _result(status, " ".join(result.detail for result in failed or results))


def _check_groups_of_scenes(micrographs: MicrographSet) -> CheckResult:
    """Whether scenes drawn at random are in one split each, without drawing them."""
    problems = _shared_groups(micrographs.images)
    if problems:
        detail = f"The splits of {micrographs.name} mix: {'. '.join(problems)}."
        return _result("failed", detail)
    return _result(
        "passed",
        f"Every scene of {micrographs.name} is drawn from random numbers of its own, and none is in two "
        "splits (the audit compares their pixels too).",
    )


def _check_trainings(
    micrographs: MicrographSet,
    split: str,
    header: WeightsHeader,
    cache: Path,
    progress: ProgressCallback,
) -> list[CheckResult]:
    """Of the weights, and of those that they started from where these saw other data."""
    results = [_check_weights(micrographs, split, header, cache, progress)]
    seen = {(header.dataset, header.data)}
    for ancestor in header.lineage:
        data = ancestor.header.dataset, ancestor.header.data
        if not ancestor.header.dataset or data not in seen:
            before = _check_weights(micrographs, split, ancestor.header, cache, progress)
            detail = f"{ancestor.images.capitalize()}. {before.detail}" if ancestor.images else before.detail
            results.append(_result(before.status, f"Before, as {ancestor.name}: {detail}"))
        seen.add(data)
    return results


def _check_weights(
    micrographs: MicrographSet,
    split: str,
    header: WeightsHeader,
    cache: Path,
    progress: ProgressCallback,
) -> CheckResult:
    if header.dataset and header.data == micrographs.fingerprint:
        count = len(micrographs.split("train"))
        trained_on = (
            f"The weights were trained on the train split of this very data ({count_of(count, 'image')})"
        )
        if split.partition("-")[0] in ("train", "all"):
            detail = f"{trained_on}, and those images are among the scored ones (split {split})."
            return _result("failed", detail)
        if split.startswith("val"):
            detail = f"{trained_on}; the scored val split may have chosen the checkpoint."
        else:
            detail = f"{trained_on}, the scored split is another."
        return _result("passed", detail)
    trained = _training_set(header) if header.dataset and header.data else _NOT_SAID
    if isinstance(trained, str):
        return _result("unchecked", trained)
    compare = functools.partial(_compare_with_training, micrographs, split, trained, progress)
    key = [micrographs.name, micrographs.fingerprint, split, trained.name, header.data]
    return _cached(cache, key, compare)


def _training_set(header: WeightsHeader) -> MicrographSet | str:
    """The data that weights were trained on, or why they cannot be compared."""
    absent = f"The weights were trained on {header.dataset}, which is not here to compare with:"
    try:
        if not datasets.is_local(header.dataset):
            return (
                f"{absent} srbench reads no folder because a weights file names it. If it is yours, type "
                "srbench datasets show with it."
            )
        trained = datasets.open(header.dataset)
    except SrbenchError as error:
        return f"{absent} {error}"
    if trained.fingerprint != header.data:
        return (
            f"The weights were trained on another state of {header.dataset} (fingerprint {header.data[:12]}) "
            f"than the one that is here ({trained.fingerprint[:12]}); bring that one back, or train again."
        )
    return trained


def _compare_splits(micrographs: MicrographSet, progress: ProgressCallback) -> CheckResult:
    problems = [*_shared_groups(micrographs.images), *_test_names(micrographs, micrographs.split("train"))]
    splits: dict[str, Sequence[Micrograph]] = {name: micrographs.split(name) for name in SPLITS}
    splits = {name: images for name, images in splits.items() if images}
    counts = ", ".join(f"{name} {len(images)}" for name, images in splits.items())
    if len(splits) > 1:
        described = [
            describe(_pictures(micrographs, images, name), progress) for name, images in splits.items()
        ]
        for first, second in itertools.combinations(described, 2):
            problems += _repetitions_in_words(first, second)
    if problems:
        detail = f"The splits of {micrographs.name} ({counts}) mix: {'. '.join(problems)}."
        return _result("failed", detail)
    if len(splits) == 1:
        return _result("passed", f"{micrographs.name} has one split alone ({counts}).")
    return _result(
        "passed",
        f"No image of {micrographs.name} is in two of its splits ({counts}): no equal pixels, no field of "
        "view twice, no group on both sides, no file name of a published test set in train."
        f"{_too_small(micrographs.images)}",
    )


def _compare_with_training(
    micrographs: MicrographSet, split: str, trained: MicrographSet, progress: ProgressCallback
) -> CheckResult:
    """Compare the scored images with the training images of another set."""
    scored, training = micrographs.split(split), trained.split("train")
    problems = _repetitions_in_words(
        describe(_pictures(micrographs, scored, "scored"), progress),
        describe(_pictures(trained, training, f"train of {trained.name}"), progress),
    )
    problems += _test_names(trained, training)
    what = f"The weights were trained on {count_of(len(training), 'train image')} of {trained.name}"
    if problems:
        return _result("failed", f"{what}. {'. '.join(problems)}.")
    detail = f"{what}; none of the {len(scored)} scored ones is among them.{_too_small(scored)}"
    return _result("passed", detail)


def _too_small(images: Sequence[Micrograph]) -> str:
    count = sum(min(image.height, image.width) < SMALLEST for image in images)
    return f" {count_of(count, 'image')} under {SMALLEST} pixels: only compared bit by bit." if count else ""


def _pictures(micrographs: MicrographSet, images: Sequence[Micrograph], side: str) -> list[Picture]:
    return [(f"{image.id} ({side})", functools.partial(micrographs.pixels, image.id)) for image in images]


def _repetitions_in_words(first: Described, second: Described) -> list[str]:
    """What to say of the repetitions, nothing where there are none."""
    pairs = repetitions(first, second)
    equal = [f"{pair.first} and {pair.second}" for pair in pairs if pair.equal]
    similar = [
        f"{pair.first} and {pair.second} ({pair.agreement:.0%} of the phases agree)"
        for pair in pairs
        if not pair.equal
    ]
    return [
        f"{len(group)} pair{'s' if len(group) > 1 else ''} {what}: {listing(group)}"
        for group, what in ((equal, "with equal pixels"), (similar, "of the same field of view"))
        if group
    ]


def _shared_groups(images: Sequence[Micrograph]) -> list[str]:
    splits: dict[str, set[str]] = {}
    for image in images:
        splits.setdefault(image.group, set()).add(image.split)
    shared = [
        f"{group} in {' and '.join(sorted(names))}" for group, names in splits.items() if len(names) > 1
    ]
    return [f"groups on both sides: {listing(shared)}"] if shared else []


def _test_names(micrographs: MicrographSet, train: Sequence[Micrograph]) -> list[str]:
    names = names_of_test_sets(image.id for image in train)
    return [f"train images of {micrographs.name} have names of test sets: {listing(names)}"] if names else []


def listing(items: Sequence[str], most: int = 3) -> str:
    """The first few, and how many more."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return "; ".join(items[:most]) + more


def _cached(cache: Path, what: Sequence[str], make: Callable[[], CheckResult]) -> CheckResult:
    """The result from the disk, else made and stored; unchecked where images cannot be read."""
    rules = [*SPLIT_RULES, near_duplicates.RULES]
    key = hashlib.sha256(json.dumps([rules, *what]).encode()).hexdigest()[:24]
    path = cache / "hygiene" / f"{key}.json"
    try:
        stored = CheckResult.from_json(read_json(path))
        if stored.status != "unchecked":
            return stored
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # there is none, or it is damaged
    try:
        result = make()
    except (SrbenchError, OSError) as error:
        return _result("unchecked", f"The splits could not be compared: {error}")
    write_text(path, json.dumps(result.to_json()))
    return result


# Not Set5, Set14 and B100: somebody's fifth set of specimens is called so too.
_SETS = r"bsds?100|urban100|manga109|sun-?hays80|div2k_valid(?:_hr)?"

NAMES: tuple[tuple[re.Pattern[str], str], ...] = (
    # What Huang, Singh and Ahuja (CVPR 2015, github.com/jbhuang0604/SelfExSR) call every image of the five
    # sets they hand out; all papers on Urban100 use their files.
    (re.compile(r"(?:^|[/_-])img_\d{3}_srf_\d(?:_(?:hr|lr))?(?=[._-]|$)"), "the test sets of SelfExSR"),
    (re.compile(rf"(?:^|/)(?:{_SETS})[/_-]"), "a test set of that name"),
)
"""Patterns of lower-case paths, and whose names they are. A published benchmark's training folder held
``Urban100_img_079_SRF_4_HR.png``."""

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


def names_of_test_sets(names: Iterable[str]) -> list[str]:
    """Which of these names belong to published test sets, each as ``name (whose)``.

    Args:
        names: image ids or file names, with or without folders and suffixes.
    """
    matches, words = [], set()
    for name in names:
        path = name.replace("\\", "/").lower()
        if whose := next((whose for pattern, whose in NAMES if pattern.search(path)), ""):
            matches.append(f"{name} ({whose})")
        # train/Baby_x4.png to baby
        words.add(_SCALE.sub("", path.rpartition("/")[2].partition(".")[0]))
    for title, members in WHOLE_SETS:
        present = members & words
        if len(present) >= _MOST * len(members):
            matches.append(f"{', '.join(sorted(present))} ({title})")
    return matches


SMALLEST = 48
"""Pixels a side below which two images are only compared bit by bit."""
SAME_PHASES = 0.4
"""Agreement of phases from which on two candidates show one field: 0.2 or less among pairs of different
fields, 0.57 or more among repetitions (docs/guards.md)."""
_WIDTH, _MEANS = 1024, 512
_BAND = (0.02, 0.15)
_REACH = 16
_TILE = 2048
_CACHE_SIZE = 8192

Picture = tuple[str, Callable[[], Pixels]]
"""Name as printed, and what reads the pixels."""
Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class Repetition:
    """Names of two pictures of one field; ``agreement`` of their phases is 1 where the pixels are equal."""

    first: str
    second: str
    agreement: float
    equal: bool


@dataclass(frozen=True)
class Described:
    """Pictures, the hashes of their pixels, and ``(n, 96)`` descriptors; zeros for what is too small."""

    pictures: tuple[Picture, ...]
    hashes: tuple[str, ...]
    descriptors: NDArray[np.int16]


def describe(pictures: Sequence[Picture], progress: ProgressCallback) -> Described:
    """Read every picture once."""
    hashes, descriptors = [], []
    for done, (_, read) in enumerate(pictures, start=1):
        pixels = read()
        grey = to_uint8(pixels)
        hashes.append(pixel_hash(pixels))
        if min(grey.shape) < SMALLEST:
            descriptors.append(np.zeros(near_duplicates.DIMENSIONS, np.int16))
        else:
            descriptors.append(near_duplicates.descriptor(_enlarged(grey)))
        progress(ProgressEvent("compare the splits", done, len(pictures), "images"))
    stacked = np.array(descriptors, np.int16).reshape(len(pictures), -1)
    return Described(tuple(pictures), tuple(hashes), stacked)


def repetitions(first: Described, second: Described) -> list[Repetition]:
    """The pairs of one picture of each set that show the same field.

    Candidates have alike descriptors; their details must correlate, which gratings of one pitch do too; and
    the phases of their Fourier transforms must agree.
    """
    by_hash: dict[str, list[int]] = {}
    for i, digest in enumerate(first.hashes):
        by_hash.setdefault(digest, []).append(i)
    equal = {(i, j) for j, digest in enumerate(second.hashes) for i in by_hash.get(digest, ())}
    pairs = [Repetition(first.pictures[i][0], second.pictures[j][0], 1.0, True) for i, j in sorted(equal)]

    @functools.lru_cache(_CACHE_SIZE)
    def thumbnail_of(described: int, index: int, width: int) -> near_duplicates.Thumbnail:
        grey = to_uint8((first, second)[described].pictures[index][1]())
        return near_duplicates.thumbnail(_enlarged(grey[:, :width]))

    for i, j in _candidates(first, second):
        if (i, j) in equal:
            continue
        (name, read), (other_name, read_other) = first.pictures[i], second.pictures[j]
        width = min(read().shape[1], read_other().shape[1])
        details = near_duplicates.agreement(thumbnail_of(0, i, width), thumbnail_of(1, j, width))
        if details >= near_duplicates.SAME:
            phases = phase_agreement(to_uint8(read()), to_uint8(read_other()))
            if phases >= SAME_PHASES:
                pairs.append(Repetition(name, other_name, phases, False))
    return pairs


def phase_agreement(first: Grey, second: Grey) -> float:
    """Share of the Fourier samples whose phases fit one shift, about 0 to 1: 1 for equal images.

    The peak of the phase-only correlation, over shifts up to a sixteenth of the width and over the detail
    sizes from 1/77 to a tenth of the width (of images 512 or more across; coarser in smaller ones).

    Args:
        first: ``(H, W)``.
        second: an image of about the same size; the larger one is cut at the right and at the bottom.

    Source:
        Kuglin and Hines, The phase correlation image alignment method, Proc. IEEE Int. Conf. Cybernetics and
        Society, 1975.
    """
    from scipy import fft

    # Block means of both, cut to one size of at most about 512 across.
    height, width = (min(pair) for pair in zip(first.shape, second.shape, strict=True))
    cell = max(round(width / _MEANS), 1)
    shape = height // cell, width // cell
    cut = (image[: shape[0] * cell, : shape[1] * cell] for image in (first, second))
    means = [image.reshape(shape[0], cell, shape[1], cell).mean(axis=(1, 3)) for image in cut]
    window = np.outer(*(np.hanning(side + 2)[1:-1] for side in shape))
    transforms = [fft.rfft2((plane - plane.mean()) * window) for plane in means]
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    band = (frequency > _BAND[0]) & (frequency < _BAND[1])
    cross = transforms[0] * np.conj(transforms[1])
    phases = np.where(band, cross / np.maximum(np.abs(cross), np.finfo(np.float64).tiny), 0.0)
    reach = np.arange(-(shape[1] // _REACH), shape[1] // _REACH + 1)
    correlation = fft.irfft2(phases, shape)[np.ix_(reach % shape[0], reach % shape[1])]
    most = fft.irfft2(band.astype(np.complex128), shape)[0, 0]
    return float(correlation.max() / most) if most > 0 else 0.0


def _candidates(first: Described, second: Described) -> Iterator[tuple[int, int]]:
    """Pairs with a high cosine, tile by tile, so that memory does not depend on the number of images."""
    lengths = [np.sqrt((d.descriptors.astype(np.float64) ** 2).sum(axis=1)) for d in (first, second)]
    for left in range(0, len(second.pictures), _TILE):
        columns = slice(left, left + _TILE)
        others = second.descriptors[columns].T.astype(np.float32)
        for top in range(0, len(first.pictures), _TILE):
            rows = slice(top, top + _TILE)
            # Whole numbers so bounded that float32 adds them without rounding.
            products = first.descriptors[rows].astype(np.float32) @ others
            least = near_duplicates.CANDIDATE * lengths[0][rows, None] * lengths[1][columns]
            for i, j in np.argwhere((products >= least) & (products > 0)):
                yield top + int(i), left + int(j)


def _enlarged(grey: Grey) -> Grey:
    """About 1024 pixels across by repetition, or as it is where it is that wide."""
    factor = max(round(_WIDTH / grey.shape[1]), 1)
    return grey if factor == 1 else grey.repeat(factor, axis=0).repeat(factor, axis=1)
