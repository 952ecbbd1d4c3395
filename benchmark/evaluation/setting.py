"""What all models of one evaluation share: images, protocol, metrics, and how their runs are named."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, cast

from srbench.datasets import DatasetError, Micrograph, MicrographSet, degrade
from srbench.datasets.interface import SPLITS, Split
from srbench.evaluation.jobs import Job
from srbench.evaluation.lr_cache import LrCache
from srbench.evaluation.protocol import named
from srbench.evaluation.scoring import Scorer, choose_metrics
from srbench.store import Manifest, RunKey, Status


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
            notes=[*job.notes, *recipe_notes, *notes],
        )

    def _data(self, lr: LrCache) -> dict[str, Any]:
        return {
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
    protocol: str,
    metrics: Sequence[str] | None,
    scale: int,
) -> Setting:
    """Resolve the names.

    Raises:
        DatasetError: unknown split or degradation, or nothing in the split.
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
    scorer = Scorer(micrographs, named(protocol), choose_metrics(metrics), degrade.get(degradation), scale)
    return Setting(micrographs, images, split, scorer)


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
