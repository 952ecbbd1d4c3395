"""Parts of a run: its images in slices that several processes score, joined to the run that one would store.

A part is kept as a run in a score store of its own, below ``parts`` of the results: its rows, previews and
hashes, what its worker said, and what each of its images showed the guards; no SR images. Values of an image
depend on it alone, and guards judge what all images showed: a joined run has the rows and the manifest of an
undivided one, but for measured times and memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srbench.checks.integrity import sha256_of_scores
from srbench.evaluation.messages import ImageTiling, Message, Ready, decode
from srbench.evaluation.monitor import Observations
from srbench.store import Manifest, RunKey, Score, ScoreStore, read_png
from srbench.utils.typed_json import typed

_PARTS = "parts"
_FIELDS = [field.name for field in fields(Score)]


@dataclass(frozen=True)
class PartRecord:
    """What is kept of a part beside its rows, previews and hashes.

    Attributes:
        said: messages of the worker but those of images, a line each; none of rows that no model makes.
        isolation: how strongly the worker was confined.
        images: how many were taken.
        tilings: theirs, in their order.
        wall_seconds: from start to end.
        inference_seconds: of the network alone.
        megapixels: of SR.
        notes: what a reader must know of the scores.
        observations: what the images showed; None where no guard looked.
    """

    said: tuple[str, ...]
    isolation: Mapping[str, Any] | None
    images: int
    tilings: tuple[ImageTiling, ...]
    wall_seconds: float
    inference_seconds: float
    megapixels: float
    notes: tuple[str, ...]
    observations: Observations | None

    def messages(self) -> list[Message]:
        """What the worker said, with what the client knew of its isolation."""
        said = map(decode, self.said)
        return [
            replace(message, isolation=self.isolation) if isinstance(message, Ready) else message
            for message in said
        ]


@dataclass(frozen=True)
class RunPart:
    """A part: its record, its rows in the order of its images, hashes and previews by image."""

    record: PartRecord
    scores: Sequence[Score]
    hashes: Mapping[str, str]
    previews: Mapping[str, NDArray[np.uint8]]


def images_of_part(images: int, number: int, count: int) -> slice:
    """Which of so many images, in their order, are those of a part, from 1, of ``count``; all of part 0."""
    return slice(-(-images * (number - 1) // count), -(-images * number // count)) if number else slice(None)


class RunParts:
    """The parts of one run on disk.

    Args:
        results: folder of the score store.
        manifest: of the run, as far as it is known before its images are scored. Parts that were made under
            other conditions, by another version or for another plan are not its parts.
        conditions: what else must be equal, as JSON.
    """

    def __init__(self, results: Path, manifest: Manifest, *conditions: Any) -> None:
        self._key = manifest.key
        described = replace(manifest, created="", command="").to_json()
        digest = hashlib.sha256(json.dumps([described, conditions]).encode()).hexdigest()[:12]
        self._start = results / _PARTS / f"{_run_digest(self._key)}-{digest}"

    def read(self, number: int) -> RunPart | None:
        """A part; None where it is not there whole."""
        store = self._store(number)
        with contextlib.suppress(KeyError, ValueError):  # not there, damaged, or rows that are not its own
            ((manifest, rows),) = store.runs()
            record = typed(PartRecord, manifest.data["part"])
            files = {name: store.preview(manifest.key, name) or Path() for name in manifest.previews}
            previews = {name: pixels for name in files if (pixels := read_png(files[name])) is not None}
            scores = [] if rows is None else [Score(*row) for row in rows[_FIELDS].itertuples(index=False)]
            if sha256_of_scores(scores) == manifest.scores_sha256 and len(previews) == len(files):
                return RunPart(record, scores, manifest.outputs, previews)
        return None

    def write(self, number: int, part: RunPart) -> None:
        """Keep a part, whole or not at all.

        Raises:
            SrbenchError: the results folder cannot be written.
        """
        manifest = Manifest(
            self._key,
            "complete",
            data={"part": asdict(part.record)},
            outputs=part.hashes,
            scores_sha256=sha256_of_scores(part.scores),
        )
        self._store(number).write_run(manifest, part.scores, part.previews)

    def _store(self, number: int) -> ScoreStore:
        return ScoreStore(f"{self._start}-{number}")


def remove_parts(results: Path, key: RunKey) -> None:
    """Remove all parts of a run that is stored whole."""
    for part in (results / _PARTS).glob(f"{_run_digest(key)}-*"):
        shutil.rmtree(part, ignore_errors=True)


def _run_digest(key: RunKey) -> str:
    return key.run_id.rpartition("-")[2]
