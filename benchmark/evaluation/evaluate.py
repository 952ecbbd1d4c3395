"""Scoring models: one process a model, one run in the store a model, failures recorded and passed over."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from srbench import datasets
from srbench.checks import CheckResult, merge_by_check
from srbench.checks.base import is_audited
from srbench.checks.integrity import sha256_of_scores
from srbench.config import EvaluationConfig, for_pairs
from srbench.datasets import MicrographSet
from srbench.datasets.lr_images import Entry
from srbench.evaluation.audit import Audit
from srbench.evaluation.context import EvaluationContext, channels_of, reading_of
from srbench.evaluation.jobs import EvaluationRequest, Job, resolve, resolve_scale
from srbench.evaluation.messages import Finished, ImageDone, ImageTiling, Message, Ready, Warm, encode
from srbench.evaluation.monitor import DataChecks, ExternalMonitor, RunMonitor
from srbench.evaluation.parts import PartRecord, RunPart, RunParts, images_of_part, remove_parts
from srbench.evaluation.reference_rows import ImageRow, NoImage, pack_hr, reference_rows
from srbench.evaluation.scorer import UNAVAILABLE, ImageInputs, Scorer
from srbench.evaluation.scoring_pool import ScoringPool
from srbench.evaluation.worker_client import (
    BadOutput,
    InferenceRequest,
    RunningWorker,
    RunOutputs,
    WorkerClient,
    WorkerFailed,
    scratch_folder,
)
from srbench.inference.backends import device_for
from srbench.metrics import registry
from srbench.store import RESULTS_SETTING, RunKey, Score, ScoreStore
from srbench.utils.errors import SrbenchError
from srbench.utils.files import HOME_SETTING, check_writable, pixel_hash
from srbench.utils.image import to_uint8
from srbench.utils.paths import home, results_folder
from srbench.utils.processes import refuse_while_imported
from srbench.utils.progress import ProgressCallback, ProgressEvent, count_of, silent
from srbench.weights import left_out

OutcomeStatus = Literal["scored", "skipped", "failed", "missing"]
_STATUSES: tuple[OutcomeStatus, ...] = ("scored", "skipped", "failed", "missing")
_REPORTED = "Parameters, multiply-adds and activations are as the model's own process reported them."
_DRAWN_SCENES = "sem_synthetic"
"""The dataset of ``--all`` where no micrographs are on disk."""


@dataclass(frozen=True)
class Outcome:
    """What became of one model.

    Attributes:
        label: model, variant and seed.
        status: ``scored``, ``skipped`` (already scored), ``failed`` or ``missing`` (no weights).
        detail: how much was scored, or the reason.
        guards: what its guards found, as the manifest holds it.
        leaking: whether it is a variant that is meant to see HR.
    """

    label: str
    model: str
    status: OutcomeStatus
    detail: str
    run_id: str = ""
    guards: tuple[Mapping[str, str], ...] = ()
    leaking: bool = False

    @property
    def failed_guards(self) -> tuple[Mapping[str, str], ...]:
        """The findings of failed guards."""
        return tuple(guard for guard in self.guards if guard["status"] == "failed")


@dataclass(frozen=True)
class EvaluationSummary:
    """What became of every model, under which conditions, and where the scores are.

    Attributes:
        results: the results folder.
        outcomes: one a model and dataset.
        conditions: what the numbers mean, in a line.
        parts: one a dataset, where there are several; ``outcomes`` are theirs.
    """

    results: Path
    outcomes: tuple[Outcome, ...]
    conditions: str = ""
    parts: tuple[EvaluationSummary, ...] = ()

    def of(self, status: OutcomeStatus) -> tuple[Outcome, ...]:
        """The outcomes with this status."""
        return tuple(outcome for outcome in self.outcomes if outcome.status == status)

    @property
    def scored(self) -> tuple[Outcome, ...]:
        """Models scored now."""
        return self.of("scored")

    @property
    def skipped(self) -> tuple[Outcome, ...]:
        """Models scored earlier."""
        return self.of("skipped")

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """Models that failed."""
        return self.of("failed")

    @property
    def missing(self) -> tuple[Outcome, ...]:
        """Models without weights."""
        return self.of("missing")

    @property
    def caught(self) -> tuple[Outcome, ...]:
        """Models of which a guard failed, but for those that are meant to see HR."""
        return tuple(outcome for outcome in self.outcomes if outcome.failed_guards and not outcome.leaking)

    def text(self) -> str:
        """For each dataset: conditions, a line a model with its failed guards, and a line of totals."""
        if self.parts:
            return "\n\n".join(part.text() for part in self.parts)
        lines = [self.conditions] if self.conditions else []
        width = max((len(outcome.label) for outcome in self.outcomes), default=0)
        for outcome in self.outcomes:
            lines.append(f"{outcome.label:<{width}}  {outcome.status:<7}  {outcome.detail}")
            lines += [
                f"    guard {guard['guard']} FAILED: {guard['detail']}" for guard in outcome.failed_guards
            ]
        counts = [f"{len(self.of(status))} {status}" for status in _STATUSES]
        if self.caught:
            counts.append(f"{len(self.caught)} not ranked because a guard failed")
        return "\n".join([*lines, f"{', '.join(counts)}; scores in {self.results}"])


def evaluate(
    models: Sequence[str] | str,
    *,
    dataset: str | os.PathLike[str] | MicrographSet | None = None,
    progress: ProgressCallback = silent,
    **options: Any,
) -> EvaluationSummary:
    """Score models on a dataset and store the scores.

    Every model runs in a process of its own that is given LR images, weights and the scale and nothing else.
    What fails is recorded with its reason; the others go on. What is already scored is skipped. The guards
    (``docs/guards.md``) watch every run; what they find is stored with it.

    Args:
        models: registered names, or ``"all"`` for every one that offers the scale. Of a trained model each
            variant and seed with weights is scored; leaking variants only with ``oracle``. None (``()``)
            where ``weights`` says whose they are.
        dataset: name as for ``srbench.datasets.open``, folder of images, or an opened dataset. None, for all
            models: every set of SEM micrographs on this disk, else ``sem_synthetic``.
        progress: told of every image.
        **options: the fields of :class:`~srbench.config.EvaluationConfig`, as ``scale=4`` or ``audit=True``.

    Raises:
        DatasetError: no such dataset or degradation, nothing in the split, or a degradation that has nothing
            to restore at this scale.
        ModelError: no such model, variant or scale.
        SrbenchError: no such option, protocol, metric or weights file, named models without a dataset, or
            the results folder cannot be written.
    """
    refuse_while_imported("evaluate")
    config = EvaluationConfig.of(options)
    check_writable(config.results or results_folder(), RESULTS_SETTING if config.results else HOME_SETTING)
    if config.backend != "torch":
        device_for(config.backend, config.device)  # a missing one is one error, not one a model
    if dataset is None:
        if models != "all":
            raise SrbenchError(
                "Name the dataset: --dataset NAME (dataset=NAME). Only --all (models='all') runs without one."
            )
        if config.reading != datasets.ReadingOptions():
            raise SrbenchError("Bits, pixel size, pages and what to measure are for a folder: name it.")
        opened = _sem_on_disk(config)
        progress(f"No dataset was named; evaluating on {', '.join(data.name for data in opened)}.")
    else:
        opened = [_opened(dataset, config, progress)]
    parts = [evaluate_on(micrographs, models, config, progress) for micrographs in opened]
    if len(parts) == 1:
        return parts[0]
    outcomes = tuple(outcome for part in parts for outcome in part.outcomes)
    return EvaluationSummary(parts[0].results, outcomes, parts=tuple(parts))


def _opened(
    dataset: str | os.PathLike[str] | MicrographSet, config: EvaluationConfig, progress: ProgressCallback
) -> MicrographSet:
    if not isinstance(dataset, MicrographSet):
        return datasets.open(os.fspath(dataset), config.reading, progress)
    if config.reading not in (datasets.ReadingOptions(), dataset.reading):
        raise SrbenchError(
            "An opened dataset has been read already: give these options to srbench.datasets.open."
        )
    return dataset


def _sem_on_disk(config: EvaluationConfig) -> list[MicrographSet]:
    """Every set of SEM micrographs that can be read and has images in the split, else the drawn scenes.

    Sets of pairs are left out where their LR was recorded for another scale than the caller wants.
    """
    opened, split = [], config.split or "test"
    for card in datasets.list_datasets():
        with contextlib.suppress(SrbenchError):  # damage to one dataset must not hide the others
            if card.kind == "real" and datasets.source(card.name).state().state in ("embedded", "ready"):
                micrographs = datasets.open(card.name)
                scale = for_pairs(config, micrographs.recorded_scale).scale
                fits = micrographs.recorded_scale in (None, scale) or "degradation" in config.model_fields_set
                if fits and any(split in ("all", image.split) for image in micrographs.images):
                    opened.append(micrographs)
    return opened or [datasets.open(_DRAWN_SCENES)]


def evaluate_on(
    micrographs: MicrographSet,
    models: Sequence[str] | str,
    config: EvaluationConfig,
    progress: ProgressCallback,
    rows: Sequence[ImageRow] = (),
) -> EvaluationSummary:
    """Score models, and ``rows`` that no model makes, on one dataset; see :func:`evaluate`."""
    for remark in micrographs.remarks():
        progress(f"Note: {remark}")
    config = for_pairs(config, micrographs.recorded_scale)
    request = EvaluationRequest(config, micrographs.name, channels_of(micrographs), micrographs.fingerprint)
    jobs = resolve(models, request)
    if config.weights is None:
        for problem in left_out(config.runs):
            progress(problem)
    for job in jobs:
        for remark in job.remarks:
            progress(remark)
    headers = [job.header for job in jobs if job.header is not None]
    scale = resolve_scale(jobs, request)
    context = EvaluationContext.create(micrographs, config, scale, progress, headers=headers)
    image_rows = (*reference_rows(context), *rows)
    to_score: list[ImageRow | Job] = [*image_rows, *jobs]
    outcomes = []
    with ScoringPool(config.workers, progress) as pool:
        evaluation = _Evaluation(context, config, progress, pool)
        with contextlib.closing(evaluation):
            evaluation.start_next(jobs)
            for number, row in enumerate(to_score):
                pool.left = (len(to_score) - number) * len(evaluation.entries())
                if isinstance(row, Job):
                    outcomes.append(evaluation.score(row, jobs[number - len(image_rows) + 1 :]))
                else:
                    outcomes.append(evaluation.score_images(row))
    for problem in evaluation.store.problems:
        progress(problem)
    conditions = context.conditions(chosen=config.protocol is not None)
    return EvaluationSummary(evaluation.store.root, tuple(outcomes), conditions)


@dataclass(frozen=True)
class _StartedJob:
    """A job whose worker runs; closing the resources ends it and removes its folder."""

    job: Job
    worker: RunningWorker
    resources: contextlib.ExitStack


class _Evaluation:
    """Runs job after job into the store."""

    def __init__(
        self,
        context: EvaluationContext,
        config: EvaluationConfig,
        progress: ProgressCallback,
        pool: ScoringPool,
    ) -> None:
        self.context = context
        self.config = config
        self.progress = progress
        self.pool = pool
        self.store = ScoreStore(config.results or results_folder())
        self.store.remove_leftovers()
        hidden = (home(), self.store.root, pool.folder, *context.micrographs.hr_paths())
        self.client = WorkerClient(context.scorer.scale, config, hidden)
        self.data_checks = DataChecks(context, config.audit, progress)
        self.audit = Audit(context, self.client, progress)
        self.previewed = frozenset(image.id for image in context.spread(config.previews))
        self._next: _StartedJob | None = None

    def close(self) -> None:
        """End what was started ahead."""
        if self._next is not None:
            started, self._next = self._next, None
            started.resources.close()

    def start_next(self, jobs: Sequence[Job]) -> None:
        """Let the worker of the first of these jobs that is to be run import and load, beside other work."""
        self.close()
        if self.config.part is not None:  # which part is to be run is not known yet
            return
        # What prevents it is said when its turn comes.
        with contextlib.suppress(SrbenchError, OSError):
            for job in jobs:
                if not (job.failure or job.missing) and self._scorer_of_open_work(self.context.key(job)):
                    self._next = self._started(job, self.entries())
                    return

    def entries(self, number: int | None = None) -> tuple[Entry, ...]:
        """The images of a part, from 1, or all for 0; of the part that is wanted when None."""
        entries, (chosen, count) = self.context.lr.entries, self.config.part or (0, 1)
        return entries[images_of_part(len(entries), chosen if number is None else number, count)]

    def _started(self, job: Job, entries: Sequence[Entry]) -> _StartedJob:
        if self._next is not None and self._next.job is job:
            started, self._next = self._next, None
            return started
        with contextlib.ExitStack() as stack:
            scratch = stack.enter_context(scratch_folder(self._scratch_bytes(job)))
            hr = pack_hr(self.context, scratch) if job.leaking else None
            request = replace(
                InferenceRequest.of(self.context.lr, hr), layouts=tuple(entry.layout for entry in entries)
            )
            worker = self.client.run(job, request, scratch)
            stack.callback(worker.close)
            return _StartedJob(job, worker, stack.pop_all())

    def score(self, job: Job, later: Sequence[Job] = ()) -> Outcome:
        """Score one model and, where that is wanted, audit it, whatever happens to it.

        The worker of the first of the ``later`` ones is started while the last images are scored.
        """
        if job.failure:
            return self._failed(job, job.failure)
        if job.missing:
            self.store.write_run(self.context.manifest(job, "missing", job.missing), [])
            return self._outcome(job, "missing", job.missing)
        monitor = functools.partial(RunMonitor, self.context, job)
        scorer = self._scorer_of_open_work(self.context.key(job))
        if scorer is None:
            stored = self.store.manifest(self.context.key(job))
            only_part = self.config.part is not None and self.config.part[0] > 0
            if only_part or not self.config.audit or stored is None or is_audited(stored):
                return self._skipped(job)
            return self._audited(job, monitor(), None, self._skipped(job))
        try:
            run = self._run_of(job, scorer, monitor, functools.partial(self._enlarge, job, later))
        except (WorkerFailed, BadOutput) as error:
            return self._failed(job, str(error), monitor().of_failure(error))
        if isinstance(run, Outcome):
            return run
        outcome = self._complete(job, run)
        if not self.config.audit or run.monitor is None:
            return outcome
        return self._audited(job, run.monitor, run.outputs(), outcome)

    def _enlarge(self, job: Job, later: Sequence[Job], run: _ModelRun) -> None:
        """Have the model enlarge the images of a run."""
        started = self._started(job, run.entries)
        with started.resources:
            for message in started.worker:
                run.on_message(message)
        self.start_next(later)
        run.score_gathered()

    def _scratch_bytes(self, job: Job) -> int:
        """What lies in a worker's folder at most: one image at a time, and all HR of a leaking variant."""
        of_images = [self.context.scorer.scale**2 * math.prod(e.layout[1:]) for e in self.context.lr.entries]
        return max(of_images, default=0) + (sum(of_images) if job.leaking else 0)

    def score_images(self, row: ImageRow) -> Outcome:
        """Score a row whose images no model makes now."""
        scorer = self._scorer_of_open_work(self.context.key(row.job))
        if scorer is None:
            return self._skipped(row.job)
        monitor = functools.partial(ExternalMonitor, self.context, row.job) if row.job.external else None

        def draw(run: _ModelRun) -> None:
            for entry in run.entries:
                try:
                    run.add(entry, row.image(entry))
                except NoImage as error:
                    run.add(entry, str(error))
            run.score_gathered()

        run = self._run_of(row.job, scorer, monitor, draw)
        if isinstance(run, Outcome):
            return run
        if not run.hashes:
            last = run.scores[-1].reason if run.done and run.scores else "no image of the split has LR"
            return self._failed(row.job, f"none of its images can be scored; the last: {last}")
        return self._complete(row.job, run, row.notes())

    def _run_of(
        self,
        job: Job,
        scorer: Scorer,
        monitor: Callable[[], RunMonitor] | None,
        fill: Callable[[_ModelRun], None],
    ) -> _ModelRun | Outcome:
        """A run with all its images; what became of the part where only one is wanted, which is kept then.

        Args:
            job: whose run.
            scorer: of its images.
            monitor: makes its guards.
            fill: enlarges and scores the images of a run.
        """

        def empty(number: int) -> _ModelRun:
            guards, entries = monitor() if monitor else None, self.entries(number)
            run = _ModelRun(
                self.context, scorer, self.pool, self.previewed, entries, job.label, self.progress, guards
            )
            if number == 0:
                for name, reason in self.context.lr.unusable.items():
                    run.scores += scorer.without_value(self.context.images[name], reason)
            return run

        def filled(number: int) -> _ModelRun:
            run, start = empty(number), time.monotonic()
            fill(run)
            run.wall_seconds = time.monotonic() - start
            return run

        if self.config.part is None:
            return filled(0)
        number, count = self.config.part
        limits = (self.config.device, self.config.tile, self.config.max_bytes)
        names = [metric.id for metric in scorer.metrics], sorted(self.previewed)
        parts = RunParts(self.store.root, self.context.manifest(job, "complete"), count, limits, names)
        run = empty(number)
        status: OutcomeStatus = "skipped"
        for each in [number] if number else range(1, count + 1):
            part = parts.read(each)
            if part is None:
                self.progress(f"{job.label}: part {each} of {count} is to be scored.")
                part, status = filled(each).part(), "scored"
                parts.write(each, part)
            run.extend(part)
        return self._outcome(job, status, f"part {number} of {count}: {run.summary}") if number else run

    def _audited(
        self, job: Job, monitor: RunMonitor, outputs: RunOutputs | None, outcome: Outcome
    ) -> Outcome:
        """Audit a stored run and write what was found into its manifest."""
        stored = self.store.manifest(self.context.key(job))
        assert stored is not None
        try:
            findings = self.audit.findings(job, monitor, outputs, stored)
        except WorkerFailed as error:
            words = f"It ran when it was scored and failed when it was run again: {error}"
            findings = [CheckResult("determinism", "failed", words)]
        guards = self._stored_guards(job, monitor.findings(findings))
        self.store.rewrite(replace(stored, guards=guards))
        return replace(outcome, guards=tuple(guards), detail=f"{outcome.detail}; audited")

    def _stored_guards(self, job: Job, of_run: Sequence[CheckResult]) -> list[dict[str, str]]:
        return [finding.to_json() for finding in merge_by_check([*of_run, *self.data_checks.findings(job)])]

    def _scorer_of_open_work(self, key: RunKey) -> Scorer | None:
        """A scorer for what was asked for and what is stored already; None when nothing is left to do."""
        scorer = self.context.scorer
        if not self.store.is_complete(key):
            return scorer
        rows = self.store.scores([key])
        rows = rows[rows["image"] != ""]
        stored = set(rows["metric"])
        unavailable = set(rows["metric"][rows["reason"].astype(str).str.startswith(UNAVAILABLE)])
        requested = {metric.id for metric in scorer.metrics}
        obtainable = {metric.id for metric in scorer.metrics if not metric.needs()}
        manifest = self.store.manifest(key)
        # Another pixel size, other masks or other things to measure, on the same pixels: what is stored says
        # less.
        same = manifest is None or (
            reading_of(manifest) == self.context.reading
            and manifest.data.get("masks_sha256", "") == self.context.micrographs.masks_sha256
        )
        if not self.config.force and requested <= stored and not unavailable & obtainable and same:
            return None
        metrics = [metric for metric in registry.stored(stored | requested) if metric.per_image]
        return scorer.with_metrics(metrics)

    def _complete(self, job: Job, run: _ModelRun, notes: Sequence[str] = ()) -> Outcome:
        scores = [*run.scores, *run.cost_scores()]
        guards = self._stored_guards(job, run.monitor.findings()) if run.monitor else []
        manifest = self.context.manifest(
            job,
            "complete",
            notes=[*run.notes(), *([] if job.is_ours or run.ready is None else [_REPORTED]), *notes],
            device=run.device,
            cost=run.cost(),
            guards=guards,
            outputs=run.hashes,
            scores_sha256=sha256_of_scores(scores),
        )
        for entry in self.context.lr.entries:
            if entry.image in run.previews:
                hr, lr = self.context.hr(entry.image), self.context.lr.pixels(entry)
                self.store.write_reference(self.context.reference_id, entry.image, "hr", to_uint8(hr))
                self.store.write_reference(self.context.reference_id, entry.image, "lr", to_uint8(lr))
        self.store.write_run(manifest, scores, run.previews)
        for key in self._outdated(job):
            self.store.remove(key)
        remove_parts(self.store.root, manifest.key)
        return self._outcome(job, "scored", run.summary, guards)

    def _outdated(self, job: Job) -> list[RunKey]:
        """What a complete run puts an end to."""
        key = self.context.key(job)
        if job.external:  # other files that were in the same folder earlier
            return [
                stored.key
                for stored in self.store.manifests()
                if stored.key != key
                and replace(stored.key, weights=key.weights) == key
                and stored.weights.get("file") == str(job.weights)
            ]
        # The record that this model had no weights goes, now that it has.
        untrained = self.context.key(Job(job.model, job.variant))
        stored_run = self.store.manifest(untrained)
        return [untrained] if stored_run is not None and stored_run.status == "missing" else []

    def _failed(self, job: Job, reason: str, findings: Sequence[CheckResult] = ()) -> Outcome:
        guards = [finding.to_json() for finding in findings]
        if not self.store.is_complete(self.context.key(job)):  # an earlier complete run is still true
            self.store.write_run(self.context.manifest(job, "failed", reason, guards=guards), [])
        return self._outcome(job, "failed", reason, guards)

    def _skipped(self, job: Job) -> Outcome:
        remove_parts(self.store.root, self.context.key(job))  # where it was killed before it could
        return self._outcome(job, "skipped", "already scored; --force scores again")

    def _outcome(
        self, job: Job, status: OutcomeStatus, detail: str, guards: Sequence[Mapping[str, str]] = ()
    ) -> Outcome:
        run_id = self.context.key(job).run_id
        return Outcome(job.label, job.model, status, detail, run_id, tuple(guards), job.leaking)


@dataclass
class _ModelRun:
    """One model's images as they come from its worker: scored, previewed, and added up to its cost.

    ``entries`` are all images of the evaluation, or those of a part. The SR of images in ``previewed`` is
    stored; what no model made has no ``monitor``. ``gathered`` are the images, or the reasons why there is
    none, that are not scored yet.
    """

    context: EvaluationContext
    scorer: Scorer
    pool: ScoringPool
    previewed: frozenset[str]
    entries: Sequence[Entry]
    label: str
    progress: ProgressCallback
    monitor: RunMonitor | None = None
    done: int = 0
    gathered: list[tuple[Entry, NDArray[np.uint8] | str]] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)
    scores: list[Score] = field(default_factory=list)
    previews: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    said: list[Message] = field(default_factory=list)
    wall_seconds: float = 0.0
    seconds: float = 0.0
    megapixels: float = 0.0
    tilings: list[ImageTiling] = field(default_factory=list)

    @property
    def ready(self) -> Ready | None:
        """What its worker said of the network; the first of several."""
        return next((message for message in self.said if isinstance(message, Ready)), None)

    @property
    def device(self) -> Mapping[str, Any]:
        """What the worker computes on; empty without one."""
        return self.ready.device if self.ready else {}

    def on_message(self, message: Message) -> None:
        """Handle one message of the worker, which waits meanwhile.

        Raises:
            BadOutput: the image it wrote has another size or type than it must have.
        """
        if self.monitor is not None:
            self.monitor.on_message(message)
        if not isinstance(message, ImageDone):
            self.said.append(message)
        else:
            entry, sr, scale = self.entries[message.index], message.pixels, self.scorer.scale
            expected = (entry.height * scale, entry.width * scale)
            # A grey network answers a colour image with its luma.
            if sr.shape not in (expected, (*expected, entry.channels)) or sr.dtype != np.uint8:
                raise BadOutput(f"gave {sr.dtype} {sr.shape} for an image that must be uint8 {expected}")
            self.seconds += message.seconds
            self.megapixels += sr.shape[0] * sr.shape[1] / 1e6
            self.tilings.append(message.tiling)
            self.add(entry, sr)

    def add(self, entry: Entry, sr: NDArray[np.uint8] | str) -> None:
        """Take one image, ``(H, W)`` or ``(H, W, 3)`` of colour, or the reason why there is none."""
        self.gathered.append((entry, sr))
        images = [some.nbytes for _, some in self.gathered if not isinstance(some, str)]
        if self.pool.is_full(len(images), sum(images)):
            self.score_gathered()
        else:
            self._show(f"{self.done + len(self.gathered)} enlarged")

    def score_gathered(self) -> None:
        """Score what has been taken; in the order in which it was. Previews show the luma scored."""
        gathered, self.gathered = self.gathered, []
        images = [(entry, sr) for entry, sr in gathered if not isinstance(sr, str)]
        results = iter(self.pool.results(self.scorer, images, self._inputs))
        for entry, sr in gathered:
            if isinstance(sr, str):
                self.scores += self.scorer.without_value(self.context.images[entry.image], sr)
            else:
                _, (scores, note) = next(results)
                self.scores += scores
                if note:
                    self.scorer.notes[note] = None
                if entry.image in self.previewed:
                    self.previews[entry.image] = to_uint8(sr)
            self.done += 1
            self._show()

    def _inputs(self, image: tuple[Entry, NDArray[np.uint8]]) -> ImageInputs:
        """What is scored of an image; the guards see it at the same time, once."""
        entry, sr = image
        hr, lr = self.context.hr(entry.image), self.context.lr.pixels(entry)
        if entry.image not in self.hashes:
            self.hashes[entry.image] = pixel_hash(sr)
            if self.monitor is not None:
                self.monitor.on_image(entry, sr, hr, lr)
        return self.scorer.inputs(self.context.images[entry.image], sr, hr, lr)

    def _show(self, detail: str = "") -> None:
        self.progress(ProgressEvent(self.label, self.done, len(self.entries), "images", detail))

    def part(self) -> RunPart:
        """All of it, to be kept until the other parts are there."""
        record = PartRecord(
            said=tuple(map(encode, self.said)),
            isolation=self.ready.isolation if self.ready else None,
            images=self.done,
            tilings=tuple(self.tilings),
            wall_seconds=self.wall_seconds,
            inference_seconds=self.seconds,
            megapixels=self.megapixels,
            notes=tuple(self.scorer.notes),
            observations=self.monitor.observations if self.monitor else None,
        )
        return RunPart(record, self.scores, self.hashes, self.previews)

    def extend(self, part: RunPart) -> None:
        """Take over a part, the next in the order of the images."""
        record, is_first = part.record, not self.said
        for message in record.messages():
            if is_first or not isinstance(message, Warm):  # how a network tints is seen on the first image
                self.on_message(message)
        if self.monitor is not None and record.observations is not None:
            self.monitor.extend(record.observations)
        self.done += record.images
        self.tilings += record.tilings
        self.wall_seconds += record.wall_seconds
        self.seconds += record.inference_seconds
        self.megapixels += record.megapixels
        self.scorer.notes |= dict.fromkeys(record.notes)
        self.scores += part.scores
        self.hashes |= part.hashes
        self.previews |= part.previews
        self._show()

    @property
    def summary(self) -> str:
        """How much was done."""
        absent = self.done - len(self.hashes)
        without = f", {absent} of them without a result" if absent else ""
        return f"{count_of(self.done, 'image')} in {self.wall_seconds:.0f} s{without}"

    def cost_scores(self) -> list[Score]:
        """The rows without an image; none for what is not a model."""
        if self.ready is None or self.ready.cost is None:
            return []
        measured = {
            **asdict(self.ready.cost),
            "seconds_per_mpx": self.seconds / self.megapixels if self.megapixels else math.nan,
        }
        return [
            Score(name, value, reason="" if math.isfinite(value) else "no image was run")
            for name, value in measured.items()
        ]

    def cost(self) -> dict[str, Any]:
        """For the manifest."""
        tilings = self.tilings
        peaks = [message.peak_bytes for message in self.said if isinstance(message, Finished)]
        return {
            "wall_seconds": round(self.wall_seconds, 3),
            "inference_seconds": round(self.seconds, 3),
            "peak_mb": round(max(peaks, default=0.0) / 1e6, 1),
            "tiling": {
                "most_tiles": max(tiling.tiles for tiling in tilings),
                "smallest_tile": min(tiling.tile for tiling in tilings),
                "halo": max(tiling.halo for tiling in tilings),
                "exact": all(tiling.exact for tiling in tilings),
                "retries": sum(tiling.retries for tiling in tilings),
            }
            if tilings
            else {},
        }

    def outputs(self) -> RunOutputs:
        """What came out and how, for an audit that repeats it."""
        return RunOutputs(self.hashes, tuple(tiling.settings for tiling in self.tilings), self.device)

    def notes(self) -> list[str]:
        """What a reader must know."""
        notes = [*(self.ready.notes if self.ready else ()), *self.scorer.notes]
        devices = [message.device for message in self.said if isinstance(message, Ready)]
        named = dict.fromkeys(f"{device['name']}, threads: {device['threads']}" for device in devices)
        if len(named) > 1:
            notes.append(f"Parts of the images were run on different devices ({'; '.join(named)}).")
        inexact = sum(not tiling.exact for tiling in self.tilings)
        if inexact:
            notes.append(
                f"{inexact} of {len(self.tilings)} images were run in tiles smaller than what the network "
                "looks at: their pixels are an approximation of the whole-image result."
            )
        return notes
