"""The audit of one run: the model is run again under conditions that an honest one does not notice.

1. HR replaced by noise wherever the harness hands it over, files of the data set out of reach, images in
   another order: the pixels must be the same, bit for bit. Only where they are not is the model run again
   under each of the changes alone, to say which one it noticed.
2. Some LR images mirrored, turned and with one grey level of noise more: the model must do about as well as
   on the images themselves, compared with what bicubic does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srbench.checks import CheckResult, probes
from srbench.datasets.degrade import quantise
from srbench.datasets.lr_images import Entry
from srbench.evaluation.context import EvaluationContext
from srbench.evaluation.jobs import Job
from srbench.evaluation.messages import ImageDone, Ready, TileSettings
from srbench.evaluation.monitor import RunMonitor
from srbench.evaluation.reference_rows import pack_hr
from srbench.evaluation.worker_client import (
    InferenceRequest,
    RunOutputs,
    WorkerClient,
    scratch_folder,
    write_pack,
)
from srbench.metrics import registry
from srbench.store import Manifest
from srbench.utils.files import pixel_hash
from srbench.utils.image import Pixels
from srbench.utils.progress import ProgressCallback, ProgressEvent

_UNCHANGED = "plain"
_PERTURBED = 12
"""Images that are changed, over all categories."""


class Audit:
    """Audits the runs of one evaluation."""

    def __init__(self, context: EvaluationContext, client: WorkerClient, progress: ProgressCallback) -> None:
        self.context = context
        self.client = client
        self.progress = progress
        self._device: Mapping[str, Any] = {}

    def findings(
        self, job: Job, monitor: RunMonitor, outputs: RunOutputs | None, stored: Manifest | None
    ) -> list[CheckResult]:
        """Run the job's model again; findings of ``hr_access``, ``determinism`` and ``memorisation``.

        Args:
            job: whose run.
            monitor: saw the images when they were scored; is shown them where they are run anew.
            outputs: what the model gave when it was scored just now; None where that was earlier, then it is
                run once more for it.
            stored: the manifest of that earlier run.

        Raises:
            WorkerFailed: it ran when it was scored, but not now.
        """
        request = InferenceRequest.of(self.context.lr)
        first = outputs or self._outputs(job, request, "as scored", monitor=monitor)
        request = replace(request, tilings=first.tilings)
        findings = [*self._swapped(job, request, first), self._perturbed(job, first)]
        if outputs is None and stored is not None:
            findings += _same_as_scored(first, stored)
        return findings

    def _swapped(self, job: Job, request: InferenceRequest, first: RunOutputs) -> list[CheckResult]:
        """What the pixels depend on: both changes at once, and where it is needed each alone."""
        count = len(first.hashes)
        # Backwards: no image keeps its index but the middle one, and none its predecessor.
        order = range(count)[::-1]
        both = self._outputs(job, request, "HR swapped, other order", order, noise=True)
        if both.hashes == first.hashes:
            return [
                CheckResult(
                    "hr_access", "passed", f"With HR replaced by noise all {count} outputs are the same."
                ),
                CheckResult(
                    "determinism", "passed", f"Run again in another order, all {count} outputs are the same."
                ),
            ]
        again = self._outputs(job, request, "as scored")
        if again.hashes != first.hashes:
            changed = _differing(first.hashes, again.hashes)
            words = f"Run again on the same LR it gave other pixels for {changed} of {count} images"
            return [
                CheckResult("hr_access", "unchecked", f"{words}, so that a swap of HR shows nothing."),
                CheckResult("determinism", "failed", f"{words}."),
            ]
        swapped = self._outputs(job, request, "HR swapped", noise=True)
        moved = self._outputs(job, request, "other order", order)
        return [
            _compared("hr_access", "With HR replaced by noise", first, swapped),
            _compared("determinism", "Run in another order", first, moved),
        ]

    def _perturbed(self, job: Job, first: RunOutputs) -> CheckResult:
        """Images that a look-up table does not hold."""
        if job.leaking:
            return CheckResult("memorisation", "unchecked", "Not asked of a variant that is given HR.")
        tilings = dict(zip((entry.image for entry in self.context.lr.entries), first.tilings, strict=True))

        def run(request: InferenceRequest) -> list[NDArray[np.uint8]]:
            with scratch_folder() as folder:
                images = self._run(job, request, Path(folder), "mirrored and noisy")
                return [message.pixels for message in images]

        return PerturbationTest(self.context).finding(run, tilings)

    def _outputs(
        self,
        job: Job,
        request: InferenceRequest,
        label: str,
        order: Sequence[int] = (),
        noise: bool = False,
        monitor: RunMonitor | None = None,
    ) -> RunOutputs:
        """Run the images, in this order, and hash what comes out."""
        order = order or range(len(request.layouts))
        hashes: dict[str, str] = {}
        tilings: dict[int, TileSettings] = {}
        with scratch_folder() as folder:
            hr = pack_hr(self.context, Path(folder), noise) if job.leaking else None
            reordered = replace(request, hr=hr).reordered(order)
            for message in self._run(job, reordered, Path(folder), label, monitor):
                entry = self.context.lr.entries[order[message.index]]
                hashes[entry.image] = pixel_hash(message.pixels)
                tilings[order[message.index]] = message.tiling.settings
                if monitor is not None:
                    lr = self.context.lr.pixels(entry)
                    monitor.on_image(entry, message.pixels, self.context.hr(entry.image), lr)
        return RunOutputs(hashes, tuple(tilings[index] for index in sorted(tilings)), self._device)

    def _run(
        self,
        job: Job,
        request: InferenceRequest,
        scratch: Path,
        label: str,
        monitor: RunMonitor | None = None,
    ) -> Iterator[ImageDone]:
        total = len(request.layouts)
        for message in self.client.run(job, request, scratch):
            if isinstance(message, Ready):
                self._device = message.device
            if monitor is not None:
                monitor.on_message(message)
            if isinstance(message, ImageDone):
                yield message
                self.progress(
                    ProgressEvent(f"audit of {job.label}: {label}", message.index + 1, total, "images")
                )


class PerturbationTest:
    """What a model loses, in dB, on images that it cannot have stored."""

    def __init__(self, context: EvaluationContext) -> None:
        self.context = context
        self.scale = context.scorer.scale
        chosen = {image.id for image in context.spread(_PERTURBED)}
        self.entries = [entry for entry in context.lr.entries if entry.image in chosen]

    def finding(
        self, run: Callable[[InferenceRequest], list[NDArray[np.uint8]]], tilings: Mapping[str, TileSettings]
    ) -> CheckResult:
        """The finding for the model behind ``run``; ``tilings`` says how its images were scored."""
        cases = [(entry, *case) for entry in self.entries for case in self._perturbations(entry)]
        with scratch_folder() as folder:
            pack = Path(folder) / "probes.bin"
            layouts = write_pack(pack, (lr for _, _, lr, _ in cases))
            answers = run(InferenceRequest(pack, layouts, tuple(tilings[entry.image] for entry, *_ in cases)))
        scores: dict[str, dict[str, tuple[float, float]]] = {}
        for (entry, name, lr, hr), sr in zip(cases, answers, strict=True):
            pair = self._psnr(sr, hr, lr), self._psnr(self._bicubic(lr), hr, lr)
            scores.setdefault(name, {})[entry.image] = pair
        plain = scores.pop(_UNCHANGED)
        return probes.judge(
            {
                name: [(plain[image][0], pair[0], plain[image][1], pair[1]) for image, pair in pairs.items()]
                for name, pairs in scores.items()
            }
        )

    def _perturbations(self, entry: Entry) -> list[tuple[str, NDArray[np.uint8], Pixels]]:
        """Name, LR and HR of the image itself and of each change."""
        lr, hr = self.context.lr.pixels(entry), self.context.hr(entry.image)
        changed = probes.perturbed_images(lr, self.context.scorer.degradation)
        return [
            (_UNCHANGED, lr, hr),
            *((name, image, probes.perturbed_reference(name, hr)) for name, image in changed.items()),
        ]

    def _psnr(self, sr: NDArray[np.uint8], hr: Pixels, lr: NDArray[np.uint8]) -> float:
        case = self.context.scorer.protocol.case(sr, hr, lr, self.scale)
        return float(registry.get("psnr").compute(case))

    def _bicubic(self, lr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Keys' interpolation as the model of this name gives it."""
        import torch

        from srbench import models

        planes = torch.from_numpy(lr / np.float64(255.0)).float()
        stacked = planes[None, None] if lr.ndim == 2 else planes.permute(2, 0, 1)[None]
        model = models.create("bicubic", scale=self.scale, channels=stacked.shape[1])
        sr = (quantise(model.infer(stacked)) * 255.0).round().to(torch.uint8)[0].numpy()
        return np.ascontiguousarray(sr[0] if lr.ndim == 2 else sr.transpose(1, 2, 0))


def _differing(first: Mapping[str, str], second: Mapping[str, str]) -> int:
    return sum(first[image] != second[image] for image in first)


def _compared(guard: str, change: str, first: RunOutputs, second: RunOutputs) -> CheckResult:
    count, differing = len(first.hashes), _differing(first.hashes, second.hashes)
    if differing:
        return CheckResult(guard, "failed", f"{change} {differing} of {count} outputs are others.")
    return CheckResult(guard, "passed", f"{change} all {count} outputs are the same.")


def _same_as_scored(now: RunOutputs, stored: Manifest) -> list[CheckResult]:
    """Whether the scores, of an earlier run, belong to the pixels that the model gives today."""
    if not stored.outputs:
        words = "The scores come from before outputs were recorded; score again with --force."
        return [CheckResult("determinism", "unchecked", words)]
    changed = _differing(stored.outputs, now.hashes)
    if not changed:
        return []
    words = f"{changed} of {len(stored.outputs)} images differ from the output that was scored"
    if now.device == stored.device:
        return [CheckResult("determinism", "failed", f"{words}, on the same device.")]
    return [CheckResult("determinism", "unchecked", f"{words}, on another device; score again with --force.")]
