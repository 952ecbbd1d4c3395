"""What all models of one evaluation share: images, protocol, metrics, and how their runs are named."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, cast

from srbench.datasets import DatasetError, Micrograph, MicrographSet, degrade
from srbench.datasets.degrade import Degradation
from srbench.datasets.interface import SPLITS, Split
from srbench.evaluation.jobs import Job
from srbench.evaluation.lr_cache import LrCache
from srbench.evaluation.protocol import Protocol, default_for, named
from srbench.evaluation.scoring import Scorer, choose_metrics
from srbench.evaluation.task import check_task
from srbench.store import Manifest, RunKey, Status

_KIND_WORDS = {
    "real": "real micrographs",
    "synthetic": "synthetic scenes",
    "photographs": "photographs",
    "user": "a user's images",
}
_SHARED_NOISE = (
    "LR was made from recordings that hold noise themselves: the noise of the dose comes on top of what LR "
    "and HR share."
)


@dataclass(frozen=True)
class Setting:
    """The conditions of an evaluation."""

    micrographs: MicrographSet
    images: tuple[Micrograph, ...]
    split: str
    scorer: Scorer

    def key(self, job: Job) -> RunKey:
        """The identity of a run of this job."""
        return RunKey(
            job.model,
            job.variant,
            job.weights_id,
            job.seed,
            self.micrographs.name,
            self.micrographs.fingerprint,
            self.split,
            self.scorer.degradation.id,
            self.scorer.scale,
            self.scorer.protocol.id,
        )

    @property
    def reference_id(self) -> str:
        """What HR and LR previews are stored under."""
        name, data = self.micrographs.name, self.micrographs.fingerprint[:12]
        return f"{name}-{data}-{self.scorer.degradation.id}-x{self.scorer.scale}"

    def conditions(self, chosen: bool) -> str:
        """One line of what the numbers mean; ``chosen`` where the caller named the protocol."""
        kind = self.micrographs.card.kind
        protocol = self.scorer.protocol.id + ("" if chosen else f" (default for {_KIND_WORDS[kind]})")
        place = f"{self.micrographs.name}, {self.split}, x{self.scorer.scale}"
        return f"{place}, LR by {self.scorer.degradation.id}, protocol {protocol}"

    def manifest(
        self,
        job: Job,
        lr: LrCache,
        status: Status,
        reason: str = "",
        device: Mapping[str, Any] | None = None,
        cost: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
    ) -> Manifest:
        """The manifest of a run of this job."""
        recipe_notes = job.header.notes if job.header else ()
        return Manifest(
            key=self.key(job),
            status=status,
            reason=reason,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            command=shlex.join(sys.argv),
            versions=versions(),
            device=device or {},
            data=self._data(lr),
            protocol=self.scorer.protocol.describe(),
            weights=job.describe_weights(),
            cost=cost or {},
            card=job.describe_card(),
            notes=[*job.notes, *recipe_notes, *self._notes(), *notes],
        )

    def _notes(self) -> list[str]:
        noisy = self.scorer.degradation.noise is not None
        return [_SHARED_NOISE] if noisy and self.micrographs.card.kind in ("real", "user") else []

    def _data(self, lr: LrCache) -> dict[str, Any]:
        card = self.micrographs.card
        return {
            "title": card.title,
            "kind": card.kind,
            "licence": card.licence,
            "terms": card.terms,
            "citation": card.citation,
            "channels": channels_of(self.micrographs),
            "lr_made_by": self.scorer.degradation.summary,
            "lr_settings": _settings(self.scorer.degradation),
            "images": len(self.images),
            "groups": len({image.group for image in self.images}),
            "fingerprint": self.micrographs.fingerprint,
            "lr_sha256": lr.sha256,
            "reference_id": self.reference_id,
            "skipped": {**self.micrographs.skipped, **lr.unusable},
        }


def make_setting(
    micrographs: MicrographSet,
    *,
    split: str,
    degradation: str,
    protocol: str | None,
    metrics: Sequence[str] | None,
    scale: int,
) -> Setting:
    """Resolve the names.

    Raises:
        DatasetError: unknown split or degradation, nothing in the split, or nothing to restore at this scale.
        SrbenchError: unknown protocol or metric.
    """
    if split not in (*SPLITS, "all"):
        raise DatasetError(f"Unknown split {split!r}; there are {', '.join(SPLITS)} and all.")
    images = micrographs.split(cast(Split, split))
    if not images:
        counts = ", ".join(f"{name} {len(micrographs.split(name))}" for name in SPLITS)
        raise DatasetError(
            f"{micrographs.name} has no images in split {split!r} ({counts}); choose another --split."
        )
    chosen = degrade.get(degradation)
    check_task(chosen, scale)
    scorer = Scorer(micrographs, _protocol(protocol, micrographs), choose_metrics(metrics), chosen, scale)
    return Setting(micrographs, images, split, scorer)


def channels_of(micrographs: MicrographSet) -> int:
    """3 where the dataset has a colour image, else 1."""
    return max((image.channels for image in micrographs.images), default=1)


def _settings(degradation: Degradation) -> str:
    """All settings, those that the id leaves out as defaults too."""
    known = degradation.settings.items()
    return ", ".join(f"{name}={value:g}" for name, value in known)


def _protocol(name: str | None, micrographs: MicrographSet) -> Protocol:
    """The named protocol, or the one for this kind of data, as it is for the dataset's channels."""
    protocol = named(name or default_for(micrographs.card.kind))
    return protocol.for_colour() if channels_of(micrographs) == 3 else protocol


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    import platform

    import cv2
    import numpy
    import scipy
    import torch

    import srbench

    modules = {"srbench": srbench, "numpy": numpy, "scipy": scipy, "torch": torch, "opencv": cv2}
    found = {name: str(module.__version__) for name, module in modules.items()}
    return {"python": platform.python_version(), **found}


def over_categories(images: Sequence[Micrograph], count: int) -> list[Micrograph]:
    """The first ``count`` images, taking the categories in turn."""
    turns: dict[str, int] = {}
    ranked = []
    for image in images:
        turn = turns[image.category] = turns.get(image.category, 0) + 1
        ranked.append((turn, image.category, image))
    return [image for _, _, image in sorted(ranked, key=lambda entry: entry[:2])[:count]]
