"""The audit of one run: the model is run again under conditions that an honest one does not notice.

1. HR replaced by noise wherever the harness hands it over, files of the data set out of reach, images in
   another order: the pixels must be the same, bit for bit. Only where they are not is the model run again
   under each of the changes alone, to say which one it noticed.
2. Some LR images mirrored, turned and with one grey level of noise more: the model must do about as well as
   on the images themselves, compared with what bicubic does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.interface import ProgressCallback, ProgressEvent
from srbench.datasets.storage import pixel_hash
from srbench.evaluation.errands import (
    Errand,
    Made,
    TilePlan,
    Workers,
    plan_of,
    reordered,
    scratch_folder,
)
from srbench.evaluation.guards import Finding
from srbench.evaluation.jobs import Job
from srbench.evaluation.lr_cache import LrCache
from srbench.evaluation.probing import Probing
from srbench.evaluation.references import pack_hr
from srbench.evaluation.setting import Setting
from srbench.store import Manifest

if TYPE_CHECKING:
    from srbench.evaluation.guarding import RunWatch

Pixels8 = NDArray[np.uint8]


class Audit:
    """Audits the runs of one evaluation.

    Args:
        setting: what is scored.
        lr: what the models are given.
        workers: start the model's processes.
        progress: told of every image.
    """

    def __init__(self, setting: Setting, lr: LrCache, workers: Workers, progress: ProgressCallback) -> None:
        self.setting = setting
        self.lr = lr
        self.workers = workers
        self.progress = progress
        self.images = {image.id: image for image in setting.images}
        self._device: Mapping[str, Any] = {}

    def findings(
        self, job: Job, watch: RunWatch, made: Made | None, stored: Manifest | None
    ) -> list[Finding]:
        """Run the job's model again; findings of ``hr_hidden``, ``lr_only`` and ``nothing_remembered``.

        Args:
            job: whose run.
            watch: saw the images when they were scored; is shown them where they are run anew.
            made: what the model gave when it was scored just now; None where that was earlier, then it is
                run once more for it.
            stored: the manifest of that earlier run.

        Raises:
            WorkerFailed: it ran when it was scored, but not now.
        """
        first = made or self._again(job, self._errand(()), "as scored", watch=watch)
        found = [*self._swapped(job, first), self._probed(job, first)]
        if made is None and stored is not None:
            found += _same_as_scored(first, stored)
        return found

    def _swapped(self, job: Job, first: Made) -> list[Finding]:
        """Guards 1 and 2: what the pixels depend on."""
        order = _another_order(len(self.lr.entries))
        errand = self._errand(first.plans)
        both = self._again(job, errand, "HR swapped, other order", order, noise=True)
        if both.outputs == first.outputs:
            count = len(first.outputs)
            return [
                Finding(
                    "hr_hidden", "passed", f"With HR replaced by noise all {count} outputs are the same."
                ),
                Finding(
                    "lr_only", "passed", f"Run again in another order, all {count} outputs are the same."
                ),
            ]
        return self._which(job, errand, first)

    def _which(self, job: Job, errand: Errand, first: Made) -> list[Finding]:
        """Each change alone: nothing, HR, order."""
        count = len(first.outputs)
        again = self._again(job, errand, "as scored")
        if again.outputs != first.outputs:
            restless = _differing(first.outputs, again.outputs)
            words = f"Run again on the same LR it gave other pixels for {restless} of {count} images"
            return [
                Finding("hr_hidden", "unchecked", f"{words}, so that a swap of HR shows nothing."),
                Finding("lr_only", "failed", f"{words}."),
            ]
        order = _another_order(count)
        swapped = _differing(first.outputs, self._again(job, errand, "HR swapped", noise=True).outputs)
        moved = _differing(first.outputs, self._again(job, errand, "other order", order).outputs)
        return [
            _changed("hr_hidden", "With HR replaced by noise", swapped, count),
            _changed("lr_only", "Run in another order", moved, count),
        ]

    def _probed(self, job: Job, first: Made) -> Finding:
        """Guard 4: images that a look-up table does not know."""
        if job.leaking:
            return Finding("nothing_remembered", "unchecked", "Not asked of a variant that is given HR.")
        plans = dict(zip((entry.image for entry in self.lr.entries), first.plans, strict=True))
        return Probing(self.setting, self.lr).finding(
            lambda errand: self._answers(job, errand, "mirrored and noisy"), plans
        )

    def _errand(self, plans: tuple[TilePlan, ...]) -> Errand:
        return replace(Errand.of(self.lr), plans=plans)

    def _again(
        self,
        job: Job,
        errand: Errand,
        label: str,
        order: Sequence[int] = (),
        noise: bool = False,
        watch: RunWatch | None = None,
    ) -> Made:
        """Run the images, in this order, and hash what comes out."""
        order = order or range(len(errand.layouts))
        outputs: dict[str, str] = {}
        plans: dict[int, TilePlan] = {}
        with scratch_folder() as folder:
            hr = pack_hr(self.setting, self.lr, Path(folder), noise) if job.leaking else None
            asked = reordered(replace(errand, hr=hr), order)
            for place, sr, tiling in self._run(job, asked, Path(folder), label, watch):
                entry = self.lr.entries[order[place]]
                outputs[entry.image] = pixel_hash(sr)
                plans[order[place]] = plan_of(tiling)
                if watch is not None:
                    reference = self.setting.scorer.reference(self.images[entry.image])
                    watch.look(entry, sr, reference, self.lr.pixels(entry))
        return Made(outputs, tuple(plans[index] for index in sorted(plans)), self._device)

    def _answers(self, job: Job, errand: Errand, label: str) -> list[Pixels8]:
        with scratch_folder() as folder:
            return [sr for _, sr, _ in self._run(job, errand, Path(folder), label)]

    def _run(
        self, job: Job, errand: Errand, scratch: Path, label: str, watch: RunWatch | None = None
    ) -> Iterator[tuple[int, Pixels8, Mapping[str, Any]]]:
        total = len(errand.layouts)
        for message in self.workers.run(job, errand, scratch):
            self._device = message.get("device", self._device)
            if watch is not None:
                watch.hear(message)
            if message["event"] != "image":
                continue
            yield message["index"], message["pixels"], message["tiling"]
            self.progress(
                ProgressEvent(f"audit of {job.label}: {label}", message["index"] + 1, total, "images")
            )


def _another_order(count: int) -> list[int]:
    """The images backwards: no image keeps its place but the middle one, and none its predecessor."""
    return list(range(count))[::-1]


def is_audited(manifest: Manifest) -> bool:
    """Whether a stored run has been audited."""
    return any(one["guard"] == "lr_only" and one["status"] != "unchecked" for one in manifest.guards)


def _changed(guard: str, change: str, differing: int, count: int) -> Finding:
    if differing:
        return Finding(guard, "failed", f"{change} {differing} of {count} outputs are others.")
    return Finding(guard, "passed", f"{change} all {count} outputs are the same.")


def _differing(first: Mapping[str, str], second: Mapping[str, str]) -> int:
    return sum(first[image] != second[image] for image in first)


def _same_as_scored(now: Made, stored: Manifest) -> list[Finding]:
    """Whether the scores, of an earlier run, belong to the pixels that the model gives today."""
    if not stored.outputs:
        words = "The scores come from before outputs were recorded; score again with --force."
        return [Finding("lr_only", "unchecked", words)]
    changed = _differing(stored.outputs, now.outputs)
    if not changed:
        return []
    words = f"{changed} of {len(stored.outputs)} images differ from the output that was scored"
    if now.device == stored.device:
        return [Finding("lr_only", "failed", f"{words}, on the same device.")]
    return [Finding("lr_only", "unchecked", f"{words}, on another device; score again with --force.")]
