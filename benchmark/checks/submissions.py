"""What submissions say, and what became of their claims.

A submission is a results folder with ``submission.yaml``, ``plan.yaml`` (written before the run) and, once
somebody has run the weights again, ``verification.yaml``. Where several were collected into one results
folder, these files lie in ``submissions/NAME/`` of it. They are files of strangers: plain YAML of bounded
size, in which nothing unknown may stand.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from srbench.config import explained
from srbench.store import Conditions, Run, results_digest, run_weights
from srbench.utils.errors import SrbenchError
from srbench.utils.files import read_regular, write_text
from srbench.utils.text import printable_values
from srbench.utils.yaml_text import LONGEST_YAML, read_yaml

SUBMISSION_FILE, PLAN_FILE, VERIFICATION_FILE = "submission.yaml", "plan.yaml", "verification.yaml"
COLLECTED = "submissions"
"""Folder of a results folder that holds the files of each submission collected there."""

Status = Literal["claimed", "reproduced", "audited", "failed"]
MEANINGS: dict[Status, str] = {
    "claimed": "nobody has run the weights again",
    "reproduced": "run again, the weights gave the same images and scores",
    "audited": "reproduced, no check failed, and scenes drawn after the submission give the same gain",
    "failed": "run again, something was not as claimed",
}

Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$", max_length=60)]
"""Part of the name of a folder."""
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]
Text = Annotated[str, StringConstraints(max_length=4000)]
Attempts = Annotated[int, Field(ge=1, le=1_000_000)]
Scale = Annotated[int, Field(ge=1, le=64)]


class _Content(BaseModel):
    """Content of a YAML file: no field but those named, none changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PlannedData(_Content):
    """What a method will be scored on."""

    dataset: Line
    split: Line
    degradation: Line
    scale: Scale


class ClaimedData(PlannedData):
    """What it was scored on; ``fingerprint`` is that of the dataset."""

    protocol: Line
    fingerprint: Hash

    @property
    def conditions(self) -> Conditions:
        """As the store names them."""
        return Conditions(
            self.dataset, self.split, self.degradation, self.scale, self.protocol, self.fingerprint
        )


class Claim(_Content):
    """Means over the images of one data set, by metric id, to five digits."""

    data: ClaimedData
    scores: dict[Line, float] = Field(min_length=1)


class SubmittedWeights(_Content):
    """One file of weights, which is not part of the submission; ``url`` says where it is had."""

    file: Line
    sha256: Hash
    url: Line
    seed: int = -1
    rgb_to_grey: bool = False

    @property
    def run_weights(self) -> str:
        """``Run.weights`` of what they were run as."""
        return run_weights(self.sha256, self.rgb_to_grey)


class TrainingData(_Content):
    """What weights were trained on; the fingerprint is empty for data that srbench does not know."""

    dataset: Line
    fingerprint: Hash | Literal[""]


class SubmissionPlan(_Content):
    """``plan.yaml``: what will be claimed, before anything is scored.

    Attributes:
        format: of this file.
        written: when.
        method: registered name.
        variant: its variant.
        group: who submits.
        date: of the submission's name.
        data: what it will be scored on.
        metrics: names of all metrics that will be claimed, the one that decides first.
        attempts: how many times something will be scored on these data before one is chosen.
        expectation: what is expected and why, in words.
    """

    format: Literal[1] = 1
    written: datetime
    method: Word
    variant: Word
    group: Word
    date: date
    data: list[PlannedData] = Field(min_length=1)
    metrics: list[Line] = Field(min_length=1)
    attempts: Attempts = 1
    expectation: Text = ""

    @property
    def name(self) -> str:
        """Of the submission and its folder."""
        return f"{self.method}_{self.group}_{self.date.isoformat()}"


class Submission(_Content):
    """``submission.yaml``: what is claimed.

    Attributes:
        format: of this file.
        title: as printed.
        authors: of the method.
        contact: who answers questions.
        paper: address or reference.
        licence: of the weights.
        code: address of the code; empty where srbench has it.
        weights: files; several are seeds of one training.
        trained_on: everything the weights and those that they started from learned from.
        extra_data: in words, what else was used (pretrained parts, tuning); ``none`` where nothing was.
        attempts: how many times something was scored on these data before this was chosen, this included.
        claims: what is claimed.
    """

    format: Literal[1] = 1
    title: Line
    authors: list[Line] = Field(min_length=1)
    contact: Line
    paper: Line
    licence: Line
    code: str = Field(default="", max_length=300)
    weights: list[SubmittedWeights] = []
    trained_on: list[TrainingData] = []
    extra_data: Line
    attempts: Attempts
    claims: list[Claim] = Field(min_length=1)


class FreshScore(_Content):
    """A gain over bicubic interpolation on the published scenes and on those drawn after the submission.

    ``low`` and ``high`` are the 95 % interval of published minus fresh gain.
    """

    metric: Line
    published: float
    fresh: float
    low: float
    high: float
    agrees: bool


class Verification(_Content):
    """``verification.yaml``: what somebody found who ran the weights again.

    Attributes:
        format: of this file.
        digest: ``submission_digest`` of what was verified; another submission was not.
        results: ``srbench.store.results_digest`` of all its runs, baselines too.
        outcome: what became of the claims.
        by: who.
        self_verified: whether those who submitted it did.
        date: when.
        versions: of srbench and what it computes with.
        device: what it ran on.
        runs: id of each submitted run to what running it again gave.
        baselines: the same of the runs beside them.
        suite: scenes drawn after the submission; empty where none were.
        scores: on these scenes.
        problems: what was not as claimed.
    """

    format: Literal[1] = 1
    digest: Hash
    results: Hash
    outcome: Literal["reproduced", "audited", "failed"]
    by: Line
    self_verified: bool
    date: date
    versions: dict[str, str]
    device: Line
    runs: dict[str, str]
    baselines: dict[str, str] = {}
    suite: str = ""
    scores: list[FreshScore] = []
    problems: list[str] = []


File = TypeVar("File", Submission, SubmissionPlan, Verification)


@dataclass(frozen=True)
class Submitted:
    """A submission as it lies on disk.

    Attributes:
        name: of its folder.
        submission: what is claimed.
        planned: what was planned.
        verification: what was found, None where nobody has looked.
        digest: ``submission_digest`` with the runs that were verified; without them where none were.
    """

    name: str
    submission: Submission
    planned: SubmissionPlan
    verification: Verification | None
    digest: str

    @property
    def outdated(self) -> bool:
        """Whether something was changed after it was verified."""
        return self.verification is not None and self.verification.digest != self.digest

    @property
    def status(self) -> Status:
        """What became of the claims."""
        return "claimed" if self.verification is None or self.outdated else self.verification.outcome

    @property
    def status_in_words(self) -> str:
        """Status, by whom, and how many attempts there were."""
        by = ""
        if self.verification is not None and not self.outdated:
            by = f" by {self.verification.by}" + (
                ", self-verified" if self.verification.self_verified else ""
            )
        changed = ", changed since it was verified" if self.outdated else ""
        count = self.submission.attempts
        return f"{self.status}{by}{changed}; {count} attempt{'' if count == 1 else 's'}"

    @property
    def runs(self) -> tuple[Run, ...]:
        """The submitted runs, without the baselines beside them."""
        method = (self.planned.method, self.planned.variant)
        weights = [(entry.run_weights, entry.seed) for entry in self.submission.weights] or [("", -1)]
        return tuple(Run(*method, *entry) for entry in weights)


def read_submitted(folder: Path, results: Path | None = None) -> Submitted:
    """The submission in a folder; its runs lie in ``results``, in the folder itself when None.

    Raises:
        SrbenchError: a file is missing or does not hold what it must; all that is wrong with it, by lines.
    """
    submission, planned = (
        read_file(folder / SUBMISSION_FILE, Submission),
        read_file(folder / PLAN_FILE, SubmissionPlan),
    )
    path = folder / VERIFICATION_FILE
    verification = read_file(path, Verification) if os.path.lexists(path) else None
    digest = submission_digest(folder, results or folder, verification.runs if verification else ())
    return Submitted(planned.name, submission, planned, verification, digest)


def submission_digest(folder: Path, results: Path, run_ids: Iterable[str]) -> str:
    """sha256 (hex) of what is claimed, what was planned, and the manifests of these runs."""
    hashes = [
        hashlib.sha256(read_regular(folder / name, LONGEST_YAML)).hexdigest()
        for name in (SUBMISSION_FILE, PLAN_FILE)
    ]
    hashes.append(results_digest(results, set(run_ids)))
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def submitted_in(results: str | os.PathLike[str]) -> tuple[list[Submitted], list[str]]:
    """The submissions of a results folder, by name, and a line for each that cannot be read."""
    root = Path(results)
    folders = [root] if (root / SUBMISSION_FILE).is_file() else []
    folders += sorted(path.parent for path in root.glob(f"{COLLECTED}/[!.]*/{SUBMISSION_FILE}"))
    submissions, problems = [], []
    for folder in folders:
        try:
            submissions.append(read_submitted(folder, root))
        except SrbenchError as error:
            problems.append(f"The submission in {folder} cannot be read: {error}")
    return submissions, problems


def by_run(submissions: Sequence[Submitted]) -> dict[Run, Submitted]:
    """Each submitted run to its submission."""
    return {run: submitted for submitted in submissions for run in submitted.runs}


def read_file(path: Path, kind: type[File]) -> File:
    """One of the three files.

    Raises:
        SrbenchError: it cannot be read, is no YAML, or holds something else than it must.
    """
    content, lines = read_yaml(path)
    try:
        return kind.model_validate(printable_values(content))
    except ValidationError as error:
        raise SrbenchError(f"{path} does not hold what it must:\n{explained(error, lines, kind)}") from None


def write_file(path: Path, content: _Content) -> None:
    """Write one of the three files; errors as :func:`srbench.utils.files.write_text`."""
    plain = content.model_dump(mode="json")
    write_text(path, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=110))
