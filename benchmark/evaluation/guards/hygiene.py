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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, cast

from srbench import datasets
from srbench.datasets import DatasetError, Micrograph, MicrographSet, near_duplicates
from srbench.datasets.interface import SPLITS, ProgressCallback, Split, silent
from srbench.evaluation.guards import known_names, same_field
from srbench.evaluation.guards.cards import Finding, Status
from srbench.evaluation.guards.same_field import Described, Picture, Repetition
from srbench.files import write_text
from srbench.weights import WeightsHeader

GUARD = "split_hygiene"
RULES = 1
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
            name: same_field.describe(_pictures(micrographs, images, name), progress)
            for name, images in sides.items()
        }
        for one, other in itertools.combinations(described.values(), 2):
            problems += _repeated(one, other)
    if problems:
        return _finding("failed", f"The splits of {micrographs.name} ({counts}) mix: {'. '.join(problems)}.")
    if len(sides) == 1:
        return _finding("passed", f"{micrographs.name} has one split alone ({counts}).")
    small = sum(min(image.height, image.width) < same_field.SMALLEST for image in micrographs.images)
    return _finding("passed", f"{_nothing_shared(micrographs.name, counts)}{_too_small(small)}")


def _trained_apart(
    micrographs: MicrographSet, split: Scored, trained: MicrographSet, progress: ProgressCallback
) -> Finding:
    """Compare the scored images with the training images of another set."""
    scored, seen = micrographs.split(split), trained.split("train")
    one = same_field.describe(_pictures(micrographs, scored, "scored"), progress)
    other = same_field.describe(_pictures(trained, seen, f"train of {trained.name}"), progress)
    problems = [*_repeated(one, other), *_test_names(trained, seen)]
    what = f"The weights were trained on the {len(seen)} train images of {trained.name}"
    if problems:
        return _finding("failed", f"{what}. {'. '.join(problems)}.")
    small = sum(min(image.height, image.width) < same_field.SMALLEST for image in scored)
    return _finding(
        "passed", f"{what}; none of the {len(scored)} scored ones is among them.{_too_small(small)}"
    )


def _nothing_shared(name: str, counts: str) -> str:
    return (
        f"No image of {name} is in two of its splits ({counts}): no equal pixels, no field of view twice, no "
        "group on both sides, no file name of a published test set in train."
    )


def _too_small(count: int) -> str:
    return (
        f" {count} images under {same_field.SMALLEST} pixels were only compared bit by bit." if count else ""
    )


def _pictures(micrographs: MicrographSet, images: Sequence[Micrograph], where: str) -> list[Picture]:
    return [
        Picture(f"{image.id} ({where})", functools.partial(micrographs.pixels, image.id)) for image in images
    ]


def _repeated(one: Described, other: Described) -> list[str]:
    """What to say of the repetitions, nothing where there are none."""
    found = same_field.repetitions(one, other)
    equal = [_pair(pair) for pair in found if pair.equal]
    alike = [_pair(pair) for pair in found if not pair.equal]
    told = []
    if equal:
        told.append(f"{_pairs(equal)} with equal pixels: {known_names.listing(equal)}")
    if alike:
        told.append(f"{_pairs(alike)} of the same field of view: {known_names.listing(alike)}")
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
    return [f"groups on both sides: {known_names.listing(shared)}"] if shared else []


def _test_names(micrographs: MicrographSet, train: Sequence[Micrograph]) -> list[str]:
    found = known_names.known(image.id for image in train)
    if not found:
        return []
    return [f"train images of {micrographs.name} have names of test sets: {known_names.listing(found)}"]


def _finding(status: Status, detail: str) -> Finding:
    return Finding(GUARD, status, detail)


def _kept(cache: Path, what: Sequence[str], make: Callable[[], Finding]) -> Finding:
    """The answer from the disk, else made and put there; none where images cannot be read."""
    rules = [RULES, same_field.RULES, near_duplicates.RULES]
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
