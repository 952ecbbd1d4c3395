"""Scoring models: one process a model, one run in the store a model, failures recorded and passed over."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srbench import datasets
from srbench.datasets import MicrographSet
from srbench.datasets.interface import ProgressSink, silent
from srbench.evaluation import lr_cache
from srbench.evaluation.errands import Errand, Workers, scratch_folder, write_pack
from srbench.evaluation.jobs import DEFAULT_DEGRADATION, Job, Wanted, magnification, resolve
from srbench.evaluation.launch import WorkerFailed
from srbench.evaluation.lr_cache import LrCache
from srbench.evaluation.metrics import registry
from srbench.evaluation.protocol import to_eight_bits, to_uint8
from srbench.evaluation.run import BadOutput, ModelRun
from srbench.evaluation.scoring import UNAVAILABLE, Scorer
from srbench.evaluation.setting import Setting, channels_of, make_setting, over_categories
from srbench.evaluation.statistics import NOISE_CEILING
from srbench.evaluation.summary import EvaluationSummary, Outcome
from srbench.home import cache_folder, home, results_folder
from srbench.models import ModelCard
from srbench.store import RunKey, ScoreStore

CEILING_CARD = ModelCard(
    NOISE_CEILING,
    "Noise ceiling",
    "reference",
    "",
    2026,
    scales=(),
    variants=("second_acquisition",),
    trainable=False,
    summary="A second recording of the same field: the noise of the reference allows no more.",
)

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
    progress: ProgressSink = silent,
) -> EvaluationSummary:
    """Score models on a dataset and store the scores.

    Every model runs in a process of its own that is given LR images, weights and the scale and nothing else.
    What fails is recorded with its reason; the others go on. What is already scored is skipped.

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
    how = How({"device": device, "tile": tile, "max_bytes": max_bytes}, timeout, force, previews, progress)
    evaluation = _Evaluation(setting, lr, store, how)
    outcomes = [evaluation.noise_ceiling(), *map(evaluation.score, jobs)]
    done = tuple(outcome for outcome in outcomes if outcome is not None)
    return EvaluationSummary(store.root, done, setting.conditions(chosen=protocol is not None))


@dataclass(frozen=True)
class How:
    """Choices that do not change any score."""

    limits: Mapping[str, Any]
    timeout: float
    force: bool
    previews: int
    progress: ProgressSink


class _Evaluation:
    """Runs job after job into the store."""

    def __init__(self, setting: Setting, lr: LrCache, store: ScoreStore, how: How) -> None:
        self.setting = setting
        self.lr = lr
        self.store = store
        self.how = how
        hidden = (home(), store.root, *setting.micrographs.places())
        self.workers = Workers(setting.scorer.scale, how.limits, how.timeout, hidden)
        self.images = {image.id: image for image in setting.images}
        usable = [self.images[entry.image] for entry in lr.entries]
        self.previewed = frozenset(image.id for image in over_categories(usable, how.previews))

    def score(self, job: Job) -> Outcome:
        """Score one model, whatever happens to it."""
        if job.failure:
            return self._failed(job, job.failure)
        if job.missing:
            return self._missing(job)
        scorer = self._open_work(self.setting.key(job))
        if scorer is None:
            return self._skipped(job)
        start = time.monotonic()
        run = self._run(scorer, job)
        try:
            self._run_worker(job, run)
        except (WorkerFailed, BadOutput) as error:
            return self._failed(job, str(error))
        return self._complete(job, run, time.monotonic() - start)

    def noise_ceiling(self) -> Outcome | None:
        """A second acquisition of each field scored like a model: nobody can be asked for more.

        None where the dataset has no second acquisitions.
        """
        acquire = self.setting.micrographs.acquisition
        if all(acquire(entry.image, 1) is None for entry in self.lr.entries):
            return None
        job = Job(NOISE_CEILING, CEILING_CARD.variants[0], CEILING_CARD)
        scorer = self._open_work(self.setting.key(job))
        if scorer is None:
            return self._skipped(job)
        start = time.monotonic()
        run = self._run(scorer, job)
        for entry in self.lr.entries:
            pixels = acquire(entry.image, 1)
            if pixels is None:
                run.without(entry, "the dataset has no second acquisition of this field")
            else:
                run.score(entry, to_eight_bits(lr_cache.cut_to_scale(pixels, scorer.scale)))
        return self._complete(job, run, time.monotonic() - start)

    def _run(self, scorer: Scorer, job: Job) -> ModelRun:
        return ModelRun(scorer, self.images, self.lr, self.previewed, job.label, self.how.progress)

    def _run_worker(self, job: Job, run: ModelRun) -> None:
        with scratch_folder() as folder:
            scratch = Path(folder)
            errand = Errand.of(self.lr, self._pack_references(scratch) if job.leaking else None)
            for message in self.workers.run(job, errand, scratch):
                run.take(message)

    def _pack_references(self, scratch: Path) -> Path:
        """The 8-bit HR images in the order of the LR pack, for a variant that is meant to see them."""
        reference = self.setting.scorer.reference
        images = (to_eight_bits(reference(self.images[entry.image])) for entry in self.lr.entries)
        write_pack(scratch / "hr.bin", images)
        return scratch / "hr.bin"

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
        kept = [metric for metric in registry.stored(stored | wanted) if metric.of_images]
        return Scorer(scorer.micrographs, scorer.protocol, kept, scorer.degradation, scorer.scale)

    def _complete(self, job: Job, run: ModelRun, seconds: float) -> Outcome:
        manifest = self.setting.manifest(
            job, self.lr, "complete", device=run.device, cost=run.cost(seconds), notes=run.notes()
        )
        self._write_references(run)
        self.store.write_run(manifest, [*run.scores, *run.cost_scores()], run.previews)
        self._forget_missing(job)
        return self._outcome(job, "scored", f"{run.done} images in {seconds:.0f} s")

    def _failed(self, job: Job, reason: str) -> Outcome:
        if not self.store.is_complete(self.setting.key(job)):  # an earlier complete run is still true
            self.store.write_run(self.setting.manifest(job, self.lr, "failed", reason), [])
        return self._outcome(job, "failed", reason)

    def _missing(self, job: Job) -> Outcome:
        self.store.write_run(self.setting.manifest(job, self.lr, "missing", job.missing), [])
        return self._outcome(job, "missing", job.missing)

    def _skipped(self, job: Job) -> Outcome:
        return self._outcome(job, "skipped", "already scored; --force scores again")

    def _outcome(self, job: Job, status: Any, detail: str) -> Outcome:
        return Outcome(job.label, job.model, status, detail, self.setting.key(job).run_id)

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
