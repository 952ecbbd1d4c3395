"""The guards of one evaluation: what is found about its data once, and about each run while it is scored.

What can be seen only by running the model again is the audit's (:mod:`srbench.evaluation.audit`), and until
then such a guard is unchecked.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srbench.checks import CheckResult, contamination, degradation, memorisation
from srbench.checks.output import ImageObservation, OutputCheck, result_for_bad_output
from srbench.datasets.lr_images import Entry, cut_to_scale
from srbench.evaluation.context import EvaluationContext, channels_of
from srbench.evaluation.jobs import Job
from srbench.evaluation.messages import Finished, Message, Ready, Warm
from srbench.evaluation.worker_client import BadOutput, WorkerFailed
from srbench.models.base import NOTHING_LEARNED
from srbench.store import REFERENCES
from srbench.utils.image import Pixels, to_eight_bits
from srbench.utils.paths import cache_folder
from srbench.utils.progress import ProgressCallback

_NOT_AUDITED = (
    CheckResult("determinism", "unchecked", "Not run a second time; type srbench eval with --audit."),
    CheckResult("memorisation", "unchecked", "Not run on changed images; type srbench eval with --audit."),
)
_OUTSIDE = "Not checked: made outside srbench."
_ENFORCED = "kernel"
"""The level of isolation that holds whatever a model calls."""


class DataChecks:
    """What is found about the images, the splits, and what weights were trained on.

    ``every`` checks all images, not a sample.
    """

    def __init__(self, context: EvaluationContext, every: bool, progress: ProgressCallback) -> None:
        self.context = context
        self.every = every
        self.progress = progress

    @functools.cached_property
    def _degradation(self) -> CheckResult:
        return degradation.check(
            self.context.micrographs,
            tuple(self.context.images.values()),
            self.context.lr,
            self.context.scorer.degradation,
            self.context.scorer.scale,
            every=self.every,
        )

    def findings(self, job: Job) -> list[CheckResult]:
        """For the weights of this job; none of another program, whose training and input nobody knows."""
        if job.external:
            return []
        family = job.card.family if job.card else ""
        unlearned = family in NOTHING_LEARNED or job.model in REFERENCES
        splits = contamination.check(
            self.context.micrographs,
            self.context.split,
            job.header,
            cache=cache_folder(),
            progress=self.progress,
            # A network that comes without a file brings what it learned along.
            foreign=job.header is None and (job.weights is not None or not unlearned),
            every=self.every,
        )
        return [splits, self._degradation]


@dataclass(frozen=True)
class Observations:
    """What images showed, before it is judged.

    Attributes:
        outputs: what each is like.
        preferences: of the scenes with two truths, in their order.
        not_valid: why these prove nothing.
    """

    outputs: tuple[ImageObservation, ...]
    preferences: tuple[tuple[str, float], ...] = ()
    not_valid: str = ""


class RunMonitor:
    """Sees every image of one run, and what its workers say of their own processes."""

    def __init__(self, context: EvaluationContext, job: Job) -> None:
        scorer = context.scorer
        self.micrographs = context.micrographs
        self.scale = scorer.scale
        self.job = job
        kind = self.micrographs.card.kind
        colour = channels_of(self.micrographs) == 3
        self._output = OutputCheck(self.scale, colour=colour, bars=kind not in ("synthetic", "photographs"))
        testable = memorisation.MemorisationTest.valid_for(scorer.degradation)
        self._memorisation = (
            memorisation.MemorisationTest(self.scale, scorer.degradation) if testable else None
        )
        self._isolation: Mapping[str, Any] | None = None
        self._attempts: Sequence[str] = ()

    def on_message(self, message: Message) -> None:
        """One message of a worker; of several the least confined counts, and what any of them tried."""
        if isinstance(message, Ready):
            if self._isolation is None or self._isolation.get("level") == _ENFORCED:
                self._isolation = message.isolation or {}
        elif isinstance(message, Finished):
            self._attempts = tuple(dict.fromkeys((*self._attempts, *message.attempts)))
        elif isinstance(message, Warm) and message.channel_spread is not None:
            self._output.set_channel_spread(message.channel_spread)

    def on_image(self, entry: Entry, sr: NDArray[np.uint8], hr: Pixels, lr: NDArray[np.uint8]) -> None:
        """One image, as it is scored."""
        reference = to_eight_bits(hr)
        self._output.add(entry.image, sr, reference, lr)
        if self._memorisation is None:
            return
        opposite = self.micrographs.opposite_phase(entry.image, self.scale)
        if opposite is not None:
            self._memorisation.add(
                entry.image, sr, reference, to_eight_bits(cut_to_scale(opposite, self.scale))
            )

    @property
    def observations(self) -> Observations:
        """What the images so far showed."""
        outputs, test = tuple(self._output.observations), self._memorisation
        if test is None:
            return Observations(outputs)
        return Observations(outputs, tuple(test.preferences.items()), test.not_valid)

    def extend(self, observations: Observations) -> None:
        """Take over what further images showed another monitor of this run."""
        self._output.observations += observations.outputs
        if self._memorisation is not None:
            if not self._memorisation.preferences:  # the first scene decides
                self._memorisation.not_valid = observations.not_valid
            self._memorisation.preferences |= dict(observations.preferences)

    def findings(self, audited: Sequence[CheckResult] = ()) -> list[CheckResult]:
        """After the last image; with what the audit found, where there was one."""
        remembered = (
            [self._memorisation.result()]
            if self._memorisation is not None and self._memorisation.preferences
            else []
        )
        return [self.hr_access(), *remembered, *self._output.results(), *(audited or _NOT_AUDITED)]

    def hr_access(self) -> CheckResult:
        """Whether the process could read HR, and whether it tried to."""
        if self.job.leaking:
            return CheckResult(
                "hr_access", "failed", "This variant is given the HR image: it is no model but an oracle."
            )
        if self._attempts:
            shown = ", ".join(self._attempts[:3]) + (" ..." if len(self._attempts) > 3 else "")
            return CheckResult(
                "hr_access", "failed", f"The model tried to read what is hidden from it: {shown}."
            )
        isolation = self._isolation or {}
        words = str(isolation.get("words", "Nothing is known of the process it ran in."))
        enforced = isolation.get("level") == _ENFORCED
        return CheckResult("hr_access", "passed" if enforced else "unchecked", words)

    def of_failure(self, error: WorkerFailed | BadOutput) -> list[CheckResult]:
        """What a run that failed shows all the same."""
        findings = []
        if isinstance(error, WorkerFailed):
            self._attempts = error.attempts
        access = self.hr_access()
        if access.status == "failed":
            findings.append(access)
        if isinstance(error, BadOutput) or error.bad_output:
            findings.append(result_for_bad_output(str(error).partition(": ")[2] or str(error)))
        return findings


class ExternalMonitor(RunMonitor):
    """Sees every image that another program made: what can be checked of pixels alone is.

    Whether the program saw HR, the scored images or another LR cannot be known afterwards.
    """

    def __init__(self, context: EvaluationContext, job: Job) -> None:
        super().__init__(context, job)
        self._images = 0
        self._equal: list[str] = []

    def on_image(self, entry: Entry, sr: NDArray[np.uint8], hr: Pixels, lr: NDArray[np.uint8]) -> None:
        """One image, as it is scored."""
        super().on_image(entry, sr, hr, lr)
        self._images += 1
        if np.array_equal(sr, to_eight_bits(hr)):
            self._equal.append(entry.image)

    def findings(self, audited: Sequence[CheckResult] = ()) -> list[CheckResult]:
        """After the last image; there is no model that could be audited."""
        del audited
        unknown = ("determinism", "contamination", "memorisation", "degradation")
        unchecked = (CheckResult(name, "unchecked", _OUTSIDE) for name in unknown)
        return [self.hr_access(), *unchecked, *self._output.results()]

    def hr_access(self) -> CheckResult:
        """Whether images are HR itself; more of what the program saw is not known."""
        if not self._equal:
            return CheckResult("hr_access", "unchecked", _OUTSIDE)
        words = (
            f"{len(self._equal)} of {self._images} images are the HR image itself, bit for bit (first: "
            f"{self._equal[0]}). Give the folder of the super-resolved images."
        )
        return CheckResult("hr_access", "failed", words)
