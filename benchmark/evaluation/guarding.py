"""The guards of one evaluation: what is found about its data once, and about each run while it is scored.

A run is watched image by image (:class:`RunWatch`); what can be seen only by running the model again is the
audit's (:mod:`srbench.evaluation.audit`), and until then such a guard is unchecked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.interface import Pixels, ProgressCallback
from srbench.evaluation.guards import Finding, degradation, hygiene, twins
from srbench.evaluation.guards.output import OutputWatch, finding_for_bad_output
from srbench.evaluation.jobs import Job
from srbench.evaluation.launch import WorkerFailed
from srbench.evaluation.lr_cache import Entry, LrCache, cut_to_scale
from srbench.evaluation.protocol import to_eight_bits
from srbench.evaluation.run import BadOutput
from srbench.evaluation.setting import Setting, channels_of

Pixels8 = NDArray[np.uint8]
_NOT_AUDITED = (
    Finding("lr_only", "unchecked", "Not run a second time; type srbench eval with --audit."),
    Finding("nothing_remembered", "unchecked", "Not run on changed images; type srbench eval with --audit."),
)


class Guarding:
    """The guards of all runs of one evaluation.

    Args:
        setting: what is scored.
        lr: what the models are given.
        cache: where findings about data are kept.
        audit: look at everything, not at a sample.
        progress: told of long work.
    """

    def __init__(
        self, setting: Setting, lr: LrCache, cache: Path, audit: bool, progress: ProgressCallback
    ) -> None:
        self.setting = setting
        self.cache = cache
        self.progress = progress
        self.audit = audit
        self.degraded = degradation.check(
            setting.micrographs,
            setting.images,
            lr,
            setting.scorer.degradation,
            setting.scorer.scale,
            every=audit,
        )

    def watch(self, job: Job) -> RunWatch:
        """Watches one run of this job."""
        return RunWatch(self.setting, job)

    def of_data(self, job: Job) -> list[Finding]:
        """What is found about the images, the splits, and what the job's weights were trained on."""
        apart = hygiene.check(
            self.setting.micrographs,
            self.setting.split,
            job.header,
            cache=self.cache,
            progress=self.progress,
            foreign=job.weights is not None and job.header is None,
            every=self.audit,
        )
        return [apart, self.degraded]


class RunWatch:
    """Looks at every image of one run, and hears what its worker says of its own process.

    Args:
        setting: what is scored.
        job: whose run.
    """

    def __init__(self, setting: Setting, job: Job) -> None:
        scorer = setting.scorer
        self.micrographs = setting.micrographs
        self.scale = scorer.scale
        self.job = job
        kind = setting.micrographs.card.kind
        colour = channels_of(setting.micrographs) == 3
        self._output = OutputWatch(self.scale, colour=colour, bars=kind not in ("synthetic", "photographs"))
        known = twins.TwinWatch.valid_for(scorer.degradation)
        self._twins = twins.TwinWatch(self.scale, scorer.degradation) if known else None
        self._isolation: Mapping[str, Any] = {}
        self._attempts: Sequence[str] = ()

    def hear(self, message: Mapping[str, Any]) -> None:
        """One message of the worker."""
        self._isolation = message.get("isolation", self._isolation)
        self._attempts = message.get("attempts", self._attempts)
        if "channel_spread" in message:
            self._output.heard_spread(float(message["channel_spread"]))

    def look(self, entry: Entry, sr: Pixels8, hr: Pixels, lr: Pixels8) -> None:
        """One image, as it is scored."""
        self._output.look(entry.image, sr, to_eight_bits(hr), lr)
        twin = self.micrographs.opposite_phase(entry.image, self.scale) if self._twins else None
        if self._twins is not None and twin is not None:
            self._twins.look(
                entry.image, sr, to_eight_bits(hr), to_eight_bits(cut_to_scale(twin, self.scale))
            )

    def findings(self, audited: Sequence[Finding] = ()) -> list[Finding]:
        """After the last image; with what the audit found, where there was one."""
        return [self.hidden(), *self._twins_finding(), *self._output.findings(), *(audited or _NOT_AUDITED)]

    def hidden(self) -> Finding:
        """Whether the process could read HR, and whether it tried to."""
        if self.job.leaking:
            return Finding(
                "hr_hidden", "failed", "This variant is given the HR image: it is no model but an oracle."
            )
        if self._attempts:
            shown = ", ".join(self._attempts[:3]) + (" ..." if len(self._attempts) > 3 else "")
            return Finding("hr_hidden", "failed", f"The model tried to read what is hidden from it: {shown}.")
        words = str(self._isolation.get("words", "Nothing is known of the process it ran in."))
        if self._isolation.get("level") == "kernel":
            return Finding("hr_hidden", "passed", words)
        return Finding("hr_hidden", "unchecked", words)

    def of_failure(self, error: WorkerFailed | BadOutput) -> list[Finding]:
        """What a run that failed shows all the same."""
        found = []
        if isinstance(error, BadOutput) or error.bad_output:
            found.append(finding_for_bad_output(str(error).partition(": ")[2] or str(error)))
        if isinstance(error, WorkerFailed):
            self._attempts = error.attempts
        tried = self.hidden()
        return [*([tried] if tried.status == "failed" else []), *found]

    def _twins_finding(self) -> list[Finding]:
        return [self._twins.finding()] if self._twins is not None and self._twins.leanings else []
