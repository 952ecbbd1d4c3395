"""Scoring models: one process a model, one run in the store a model, failures recorded and passed over."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from srbench import datasets
from srbench.datasets import MicrographSet
from srbench.datasets.interface import ProgressCallback, silent
from srbench.evaluation import lr_cache
from srbench.evaluation.audit import Audit, is_audited
from srbench.evaluation.errands import Errand, Made, Workers, scratch_folder
from srbench.evaluation.guarding import Guarding, RunWatch
from srbench.evaluation.guards import Finding, merged
from srbench.evaluation.guards.rows import sha256_of_scores
from srbench.evaluation.jobs import DEFAULT_DEGRADATION, Job, Wanted, magnification, resolve
from srbench.evaluation.launch import WorkerFailed
from srbench.evaluation.lr_cache import LrCache
from srbench.evaluation.metrics import registry
from srbench.evaluation.protocol import to_uint8
from srbench.evaluation.references import Reference, pack_hr, references
from srbench.evaluation.run import BadOutput, ModelRun
from srbench.evaluation.scoring import UNAVAILABLE, Scorer
from srbench.evaluation.setting import Setting, channels_of, make_setting, over_categories
from srbench.evaluation.summary import EvaluationSummary, Outcome
from srbench.home import cache_folder, home, results_folder
from srbench.store import RunKey, ScoreStore

SILENCE = 3600.0
"""Seconds for one image after which a model counts as hung."""


def evaluate(
    models: Sequence[str] | str,
    *,
    dataset: str | MicrographSet,
    scale: int | None = None,
    split: str = "test",
    variant: str | None = None,
    weights: Path | None = None,
    runs: Path | None = None,
    results: Path | None = None,
    degradation: str = DEFAULT_DEGRADATION,
    protocol: str | None = None,
    metrics: Sequence[str] | None = None,
    device: str = "auto",
    force: bool = False,
    previews: int = 6,
    tile: int | None = None,
    max_bytes: int | None = None,
    timeout: float = SILENCE,
    oracle: bool = False,
    rgb_to_grey: bool = False,
    audit: bool = False,
    progress: ProgressCallback = silent,
) -> EvaluationSummary:
    """Score models on a dataset and store the scores.

    Every model runs in a process of its own that is given LR images, weights and the scale and nothing else.
    What fails is recorded with its reason; the others go on. What is already scored is skipped. The guards
    (``docs/guards.md``) watch every run; what they find is stored with it.

    Args:
        models: registered names, or ``"all"`` for every one that offers the scale. Of a trained model each
            variant and seed with weights is scored; leaking variants only with ``oracle``. None (``()``)
            where ``weights`` says whose they are.
        dataset: name as for ``srbench.datasets.open``, or an opened dataset.
        scale: magnification; that of ``weights``, else 4, when None.
        split: ``train``, ``val``, ``test`` or ``all``.
        variant: only this variant (models without training have only their own).
        weights: one weights file for one model; variant and channels are told from its tensors.
        runs: folder of the trained runs; the one of the srbench home when None.
        results: results folder; the one of the srbench home when None.
        degradation: how LR is made from HR, with settings where it has some (``sem_pixel:dose=60``).
        protocol: what a number means; ``matlab-y`` for photographs, else ``sem-grey``, when None.
        metrics: names of metrics; the default ones when None.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        force: score again what is already scored.
        previews: images whose SR is kept for the report, chosen over the categories.
        tile: side of tiles in LR pixels; chosen by memory when None.
        max_bytes: memory for activations; half of what is free when None.
        timeout: seconds for one image after which a model counts as hung.
        oracle: run variants that look at the HR image too; their rows are never ranked.
        rgb_to_grey: convert colour ``weights`` for the grey network instead of running the colour network
            on grey images.
        audit: run every model again under conditions that an honest one does not notice, models that are
            scored already too.
        progress: told of every image.

    Raises:
        DatasetError: no such dataset or degradation, nothing in the split, or a degradation that has nothing
            to restore at this scale.
        ModelError: no such model, variant or scale.
        SrbenchError: no such protocol, metric or weights file, or the results folder cannot be written.
    """
    opened = datasets.open(dataset) if isinstance(dataset, str) else dataset
    wanted = Wanted(
        scale, opened.name, variant, weights, runs, oracle, rgb_to_grey, channels_of(opened), degradation
    )
    jobs = resolve(models, wanted)
    scale = magnification(jobs, wanted)
    setting = make_setting(
        opened, split=split, degradation=degradation, protocol=protocol, metrics=metrics, scale=scale
    )
    lr = lr_cache.prepare(
        opened, setting.images, setting.scorer.degradation, scale, cache_folder() / "lr", progress
    )
    store = ScoreStore(results or results_folder())
    how = How(
        {"device": device, "tile": tile, "max_bytes": max_bytes}, timeout, force, previews, audit, progress
    )
    evaluation = _Evaluation(setting, lr, store, how)
    yardsticks = map(evaluation.reference, references(setting, lr))
    done = (*yardsticks, *map(evaluation.score, jobs))
    return EvaluationSummary(store.root, done, setting.conditions(chosen=protocol is not None))


@dataclass(frozen=True)
class How:
    """Choices that do not change any score."""

    limits: Mapping[str, Any]
    timeout: float
    force: bool
    previews: int
    audit: bool
    progress: ProgressCallback


class _Evaluation:
    """Runs job after job into the store."""

    def __init__(self, setting: Setting, lr: LrCache, store: ScoreStore, how: How) -> None:
        self.setting = setting
        self.lr = lr
        self.store = store
        self.how = how
        hidden = (home(), store.root, *setting.micrographs.hr_paths())
        self.workers = Workers(setting.scorer.scale, how.limits, how.timeout, hidden)
        self.guarding = Guarding(setting, lr, cache_folder(), how.audit, how.progress)
        self.audit = Audit(setting, lr, self.workers, how.progress)
        self.images = {image.id: image for image in setting.images}
        usable = [self.images[entry.image] for entry in lr.entries]
        self.previewed = frozenset(image.id for image in over_categories(usable, how.previews))

    def score(self, job: Job) -> Outcome:
        """Score one model and, where that was asked for, audit it, whatever happens to it."""
        if job.failure:
            return self._failed(job, job.failure)
        if job.missing:
            return self._missing(job)
        watch = self.guarding.watch(job)
        scorer = self._open_work(self.setting.key(job))
        if scorer is None:
            return self._audited_later(job, watch)
        start = time.monotonic()
        run = self._run(scorer, job, watch)
        try:
            self._run_worker(job, run)
        except (WorkerFailed, BadOutput) as error:
            return self._failed(job, str(error), watch.of_failure(error))
        outcome = self._complete(job, run, time.monotonic() - start)
        return self._audited(job, watch, run.made(), outcome) if self.how.audit else outcome

    def reference(self, row: Reference) -> Outcome:
        """Score a row that no model made."""
        scorer = self._open_work(self.setting.key(row.job))
        if scorer is None:
            return self._skipped(row.job)
        start = time.monotonic()
        run = self._run(scorer, row.job)
        for entry in self.lr.entries:
            pixels = row.image(entry)
            if pixels is None:
                run.without(entry, row.reason)
            else:
                run.score(entry, pixels)
        return self._complete(row.job, run, time.monotonic() - start)

    def _run(self, scorer: Scorer, job: Job, watch: RunWatch | None = None) -> ModelRun:
        return ModelRun(scorer, self.images, self.lr, self.previewed, job.label, self.how.progress, watch)

    def _audited_later(self, job: Job, watch: RunWatch) -> Outcome:
        """Audit a run that was scored earlier, unless it was audited as well."""
        stored = self.store.manifest(self.setting.key(job))
        if not self.how.audit or stored is None or is_audited(stored):
            return self._skipped(job)
        return self._audited(job, watch, None, self._skipped(job))

    def _audited(self, job: Job, watch: RunWatch, made: Made | None, outcome: Outcome) -> Outcome:
        """Audit a stored run and write what was found into its manifest."""
        stored = self.store.manifest(self.setting.key(job))
        assert stored is not None
        try:
            found = self.audit.findings(job, watch, made, stored)
        except WorkerFailed as error:
            words = f"It ran when it was scored and failed when it was run again: {error}"
            found = [Finding("lr_only", "failed", words)]
        guards = self._stored_guards(job, watch.findings(found))
        self.store.rewrite(replace(stored, guards=guards))
        return replace(outcome, guards=tuple(guards), detail=f"{outcome.detail}; audited")

    def _stored_guards(self, job: Job, own: Sequence[Finding]) -> list[dict[str, str]]:
        return [one.stored() for one in merged([*own, *self.guarding.of_data(job)])]

    def _run_worker(self, job: Job, run: ModelRun) -> None:
        with scratch_folder() as folder:
            scratch = Path(folder)
            errand = Errand.of(self.lr, pack_hr(self.setting, self.lr, scratch) if job.leaking else None)
            for message in self.workers.run(job, errand, scratch):
                run.take(message)

    def _open_work(self, key: RunKey) -> Scorer | None:
        """A scorer for what was asked for and what is stored already; None when nothing is left to do."""
        scorer = self.setting.scorer
        if not self.store.is_complete(key):
            return scorer
        rows = self.store.scores([key])
        rows = rows[rows["image"] != ""]
        stored = set(rows["metric"])
        unavailable = set(rows["metric"][rows["reason"].astype(str).str.startswith(UNAVAILABLE)])
        wanted = {metric.id for metric in scorer.metrics}
        obtainable = {metric.id for metric in scorer.metrics if not metric.needs()}
        if not self.how.force and wanted <= stored and not unavailable & obtainable:
            return None
        kept = [metric for metric in registry.stored(stored | wanted) if metric.per_image]
        return Scorer(scorer.micrographs, scorer.protocol, kept, scorer.degradation, scorer.scale)

    def _complete(self, job: Job, run: ModelRun, seconds: float) -> Outcome:
        scores = [*run.scores, *run.cost_scores()]
        manifest = self.setting.manifest(
            job, self.lr, "complete", device=run.device, cost=run.cost(seconds), notes=run.notes()
        )
        guards = self._stored_guards(job, run.watch.findings()) if run.watch else []
        manifest = replace(
            manifest, guards=guards, outputs=run.outputs, scores_sha256=sha256_of_scores(scores)
        )
        self._write_references(run)
        self.store.write_run(manifest, scores, run.previews)
        self._forget_missing(job)
        return self._outcome(job, "scored", f"{run.done} images in {seconds:.0f} s", guards)

    def _failed(self, job: Job, reason: str, found: Sequence[Finding] = ()) -> Outcome:
        guards = [one.stored() for one in found]
        if not self.store.is_complete(self.setting.key(job)):  # an earlier complete run is still true
            manifest = self.setting.manifest(job, self.lr, "failed", reason)
            self.store.write_run(replace(manifest, guards=guards), [])
        return self._outcome(job, "failed", reason, guards)

    def _missing(self, job: Job) -> Outcome:
        self.store.write_run(self.setting.manifest(job, self.lr, "missing", job.missing), [])
        return self._outcome(job, "missing", job.missing)

    def _skipped(self, job: Job) -> Outcome:
        return self._outcome(job, "skipped", "already scored; --force scores again")

    def _outcome(
        self, job: Job, status: Any, detail: str, guards: Sequence[Mapping[str, str]] = ()
    ) -> Outcome:
        run_id = self.setting.key(job).run_id
        return Outcome(job.label, job.model, status, detail, run_id, tuple(guards), job.leaking)

    def _write_references(self, run: ModelRun) -> None:
        for entry in self.lr.entries:
            if entry.image in run.previews:
                hr = to_uint8(run.scorer.reference(self.images[entry.image]))
                self.store.write_reference(self.setting.reference_id, entry.image, "hr", hr)
                lr = to_uint8(self.lr.pixels(entry))
                self.store.write_reference(self.setting.reference_id, entry.image, "lr", lr)

    def _forget_missing(self, job: Job) -> None:
        """Remove the record that this model had no weights, now that it has."""
        untrained = self.setting.key(Job(job.model, job.variant))
        manifest = self.store.manifest(untrained)
        if manifest is not None and manifest.status == "missing":
            shutil.rmtree(self.store.root / "runs" / untrained.run_id, ignore_errors=True)
