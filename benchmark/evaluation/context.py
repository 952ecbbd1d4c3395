"""What all models of one evaluation share: images, protocol, metrics, and how their runs are named."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from srbench.config import EvaluationConfig
from srbench.datasets import DatasetError, Micrograph, MicrographSet, ReadingOptions, degrade, lr_images
from srbench.datasets.base import SPLITS
from srbench.datasets.lr_images import LrCache, cut_to_scale
from srbench.evaluation.jobs import Job
from srbench.evaluation.scorer import Scorer, choose_metrics
from srbench.metrics.protocol import default_for, named
from srbench.store import Manifest, RunKey, Status
from srbench.utils.image import Pixels
from srbench.utils.paths import cache_folder
from srbench.utils.progress import ProgressCallback, count_of, silent
from srbench.utils.typed_json import typed
from srbench.version import __version__

if TYPE_CHECKING:
    from srbench.weights import WeightsHeader

HR_CACHE_BYTES = 1 << 30
"""A thousand micrographs of a megapixel; the others are read anew for every model."""

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
class EvaluationContext:
    """The data and conditions of an evaluation.

    Attributes:
        micrographs: the dataset.
        split: the split that is scored, as it is stored: ``test``, ``all-limit6``.
        reason: how many images that are, and why these.
        images: its micrographs by id, in their order.
        scorer: protocol, metrics, degradation and scale.
        lr: the LR images that every model is given.
        backend: what runs the networks.
        plan_sha256: of the plan that the evaluation belongs to; empty without one.
    """

    micrographs: MicrographSet
    split: str
    reason: str
    images: Mapping[str, Micrograph]
    scorer: Scorer
    lr: LrCache
    backend: str = "torch"
    plan_sha256: str = ""
    _hr: dict[str, Pixels] = field(default_factory=dict, repr=False, compare=False)

    @staticmethod
    def create(
        micrographs: MicrographSet,
        config: EvaluationConfig,
        scale: int,
        progress: ProgressCallback = silent,
        *,
        headers: Iterable[WeightsHeader] = (),
    ) -> EvaluationContext:
        """Resolve the names and make the LR images.

        Args:
            micrographs: the dataset.
            config: of the evaluation.
            scale: magnification.
            progress: called for every LR image written.
            headers: of the weights that are scored: what they were trained on is not scored by default.

        Raises:
            DatasetError: unknown split or degradation, nothing in the split, or nothing to restore at this
                scale.
            SrbenchError: unknown protocol or metric.
        """
        split, reason = choose_split(micrographs, config, headers)
        images = micrographs.split(split)
        degradation = degrade.get(config.degradation)
        degrade.check_task(degradation, scale)
        protocol = named(config.protocol or default_for(micrographs.card.kind))
        if channels_of(micrographs) == 3:
            protocol = protocol.for_colour()
        scorer = Scorer(micrographs, protocol, choose_metrics(config.metrics), degradation, scale)
        micrographs.make_ready([image.id for image in images], config.workers, progress)
        lr = lr_images.prepare(micrographs, images, degradation, scale, cache_folder() / "lr", progress)
        by_id = {image.id: image for image in images}
        return EvaluationContext(
            micrographs, split, reason, by_id, scorer, lr, config.backend, config.plan_sha256 or ""
        )

    def hr(self, image_id: str) -> Pixels:
        """The reference, cut to a multiple of the scale.

        What has been read stays in memory up to ``HR_CACHE_BYTES``. Nothing is dropped for a later image:
        every model goes through the images in the same order, so that the oldest is needed next.
        """
        if image_id in self._hr:
            return self._hr[image_id]
        pixels = cut_to_scale(self.micrographs.pixels(image_id), self.scorer.scale)
        if sum(cached.nbytes for cached in self._hr.values()) + pixels.nbytes <= HR_CACHE_BYTES:
            self._hr[image_id] = pixels
        return pixels

    def spread(self, count: int) -> list[Micrograph]:
        """At most ``count`` images that have LR, over the categories."""
        return over_categories([self.images[entry.image] for entry in self.lr.entries], count)

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
        """What the numbers mean, and of which images; ``chosen`` where the caller named the protocol."""
        kind = self.micrographs.card.kind
        protocol = self.scorer.protocol.id + ("" if chosen else f" (default for {_KIND_WORDS[kind]})")
        data = f"{self.micrographs.name}, {self.split}, x{self.scorer.scale}"
        return f"{data}, LR by {self.scorer.degradation.id}, protocol {protocol}\n{self.reason}"

    @property
    def reading(self) -> dict[str, Any]:
        """What the user said of the files, for the manifest; empty where nothing was said."""
        options = self.micrographs.reading
        return {} if options == ReadingOptions() else asdict(options)

    def manifest(
        self, job: Job, status: Status, reason: str = "", notes: Sequence[str] = (), **of_run: Any
    ) -> Manifest:
        """The manifest of a run of this job; ``of_run`` are further fields of it."""
        micrographs, degradation = self.micrographs, self.scorer.degradation
        card = micrographs.card
        recipe_notes = job.header.notes if job.header else ()
        shares_noise = degradation.noise is not None and card.kind in ("real", "user")
        return Manifest(
            key=self.key(job),
            status=status,
            reason=reason,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            command=shlex.join(sys.argv),
            versions=versions(self.backend),
            data={
                **{name: getattr(card, name) for name in ("title", "kind", "licence", "terms", "citation")},
                "channels": channels_of(micrographs),
                "lr_made_by": degradation.summary,
                # those too that the id leaves out as defaults
                "lr_settings": ", ".join(f"{k}={v:g}" for k, v in degradation.settings.items()),
                "images": len(self.images),
                "groups": len({image.group for image in self.images.values()}),
                "fingerprint": micrographs.fingerprint,
                "masks_sha256": micrographs.masks_sha256,
                "lr_sha256": self.lr.sha256,
                "reference_id": self.reference_id,
                "skipped": {**micrographs.skipped, **self.lr.unusable},
                "remarks": micrographs.remarks(),
                "selection": self.reason,
                "reading": self.reading,
            },
            protocol=self.scorer.protocol.describe(),
            weights=job.describe_weights(),
            card=job.describe_card(),
            notes=[*job.notes, *recipe_notes, *([_SHARED_NOISE] if shares_noise else []), *notes],
            plan_sha256=self.plan_sha256,
            **of_run,
        )


def choose_split(
    micrographs: MicrographSet, config: EvaluationConfig, headers: Iterable[WeightsHeader]
) -> tuple[str, str]:
    """The split to score, as it is stored, and how many images that are and why these.

    Without a choice of the caller a user's folder without split folders is scored whole, unless one of the
    weights was trained on it: hash splits of a few images leave one to score.

    Raises:
        DatasetError: no such split, or nothing in it.
    """
    split, reason = config.split, f"split {config.split}"
    if split is None and micrographs.card.kind == "user" and not micrographs.has_splits:
        name, data = micrographs.name, micrographs.fingerprint
        trained = [header for header in headers if header.is_trained_on(name, data)]
        split = "test" if trained else "all"
        reason = (
            f"split test, because {trained[0].model} was trained on others of this folder"
            if trained
            else "all, the folder has no split folders and no model here was trained on it"
        )
    elif split is None:
        split, reason = "test", "split test"
    if split not in (*SPLITS, "all"):
        raise DatasetError(f"Unknown split {split!r}; there are {', '.join(SPLITS)} and all.")
    images = micrographs.split(split)
    if not images:
        counts = ", ".join(f"{name} {len(micrographs.split(name))}" for name in SPLITS)
        raise DatasetError(
            f"{micrographs.name} has no images in split {split!r} ({counts}); choose another --split."
        )
    if config.limit is not None and config.limit < len(images):
        split = f"{split}-limit{config.limit}"
        reason = f"the first of {len(images)} over the groups (--limit); {reason}"
    return split, f"{count_of(len(micrographs.split(split)), 'image')}: {reason}"


def reading_of(manifest: Manifest) -> dict[str, Any]:
    """What the user had said of the files when this run was stored; see ``EvaluationContext.reading``."""
    stored = manifest.data.get("reading")
    if not stored:
        return {}
    try:
        return asdict(typed(ReadingOptions, stored))
    except (ValueError, DatasetError):  # equal to nothing that a user may say
        return {"unreadable": stored}


def channels_of(micrographs: MicrographSet) -> int:
    """3 where the dataset has a colour image, else 1."""
    return max((image.channels for image in micrographs.images), default=1)


def versions(backend: str) -> dict[str, str]:
    """Versions of what the numbers depend on."""
    import importlib.metadata
    import platform

    import cv2
    import numpy
    import scipy
    import torch

    return {
        "srbench": __version__,
        "python": platform.python_version(),
        **{module.__name__: str(module.__version__) for module in (numpy, scipy, torch)},
        "opencv": cv2.__version__,
        **({} if backend == "torch" else {backend: importlib.metadata.version(backend)}),
    }


def over_categories(images: Sequence[Micrograph], count: int) -> list[Micrograph]:
    """The first ``count`` images, taking the categories in turn."""
    turns: dict[str, int] = {}
    ranked = []
    for image in images:
        turn = turns[image.category] = turns.get(image.category, 0) + 1
        ranked.append((turn, image.category, image))
    return [image for _, _, image in sorted(ranked, key=lambda entry: entry[:2])[:count]]
