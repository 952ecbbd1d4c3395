"""Which networks an evaluation runs: names and weights on disk to a list of jobs."""

from __future__ import annotations

import hashlib
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srbench import models
from srbench.errors import SrbenchError
from srbench.files import sha256_file
from srbench.models import ModelCard

if TYPE_CHECKING:
    from srbench.weights import WeightsHeader


DEFAULT_SCALE = 4
DEFAULT_DEGRADATION = "bicubic"
BASELINE = "bicubic"
"""The model that differences are taken from."""


@dataclass(frozen=True)
class Job:
    """One network to run, or the reason why it cannot be run.

    Attributes:
        model: registered name.
        variant: its variant.
        card: what is known of it; None when its file does not import.
        channels: channels to build it with.
        weights: weights file; None for a model without.
        sha256: of the weights file.
        header: of the weights file, where srbench wrote it.
        failure: why it failed before it was run.
        missing: what is missing and what to type.
        notes: for the manifest.
        scale: magnification of the weights, where they decided it.
        rgb_to_grey: convert colour weights for the grey network.
        foreign: the network is no registered one: spandrel builds it from the weights.
    """

    model: str
    variant: str
    card: ModelCard | None = None
    channels: int = 1
    weights: Path | None = None
    sha256: str = ""
    header: WeightsHeader | None = None
    failure: str = ""
    missing: str = ""
    notes: tuple[str, ...] = ()
    scale: int | None = None
    rgb_to_grey: bool = False
    foreign: bool = False

    @property
    def seed(self) -> int:
        """Training seed, -1 where nothing was trained or nothing is known."""
        return self.header.seed if self.header else -1

    @property
    def weights_id(self) -> str:
        """What tells runs of different weights apart: the file's sha256, another where it is converted."""
        if not self.rgb_to_grey:
            return self.sha256
        return hashlib.sha256(f"{self.sha256} rgb-to-grey".encode()).hexdigest()

    @property
    def leaking(self) -> bool:
        """Whether this variant sees HR."""
        return self.card is not None and self.variant in self.card.leaking

    @property
    def label(self) -> str:
        """For progress and summaries."""
        seed = f" seed {self.seed}" if self.seed >= 0 else ""
        return f"{self.model} {self.variant}{seed}"

    def describe_weights(self) -> dict[str, Any]:
        """For the manifest."""
        if self.weights is None:
            return {}
        header = {} if self.header is None else dict(vars(self.header))
        return {**header, "file": str(self.weights), "sha256": self.sha256}

    def describe_card(self) -> dict[str, Any]:
        """For the manifest."""
        if self.card is None:
            return {}
        kept = ("title", "family", "year", "paper", "summary", "licence")
        return {**{name: getattr(self.card, name) for name in kept}, "leaking": self.leaking}

    def source_file(self) -> str:
        """The file that registered the model; the worker imports it when it does not know the name."""
        module = sys.modules.get(self.card.module) if self.card else None
        return str(getattr(module, "__file__", None) or "")


@dataclass(frozen=True)
class Wanted:
    """What the caller asked for.

    Attributes:
        scale: magnification; None leaves it to given weights.
        dataset: name of the dataset.
        variant: only this variant.
        weights: one weights file.
        runs: folder of the trained runs.
        oracle: leaking variants too.
        rgb_to_grey: convert colour weights for the grey network.
        channels: channels of the images; what has no weights to decide it is built for them.
        degradation: how LR is made.
    """

    scale: int | None
    dataset: str
    variant: str | None = None
    weights: Path | None = None
    runs: Path | None = None
    oracle: bool = False
    rgb_to_grey: bool = False
    channels: int = 1
    degradation: str = DEFAULT_DEGRADATION

    @property
    def magnification(self) -> int:
        """The scale where no weights decide it."""
        return self.scale or DEFAULT_SCALE


def magnification(jobs: Sequence[Job], wanted: Wanted) -> int:
    """The scale of an evaluation: the one typed, else that of the given weights."""
    return next((job.scale for job in jobs if job.scale), wanted.magnification)


def resolve(names: Sequence[str] | str, wanted: Wanted) -> list[Job]:
    """The jobs behind ``names``, or behind every registered model that offers the scale (``"all"``).

    Without any name the given weights say whose they are.

    Raises:
        ModelError: a named model, variant or scale does not exist.
        SrbenchError: ``weights`` was given with more than one model, is not a readable file, or fits
            another network or several; a leaking variant was named without ``oracle``.
    """
    if names == "all":
        _refuse_weights(wanted, "--all")
        return _allowed([job for name in models.model_names() for job in _of_any(name, wanted)], wanted)
    listed = list(dict.fromkeys([names] if isinstance(names, str) else names))
    if wanted.weights is not None and not listed:
        return _allowed([_given_alone(wanted.weights, wanted)], wanted)
    if len(listed) != 1:
        _refuse_weights(wanted, f"{len(listed)} models")
    return _allowed([job for name in listed for job in _of_named(name, wanted)], wanted)


def _allowed(jobs: list[Job], wanted: Wanted) -> list[Job]:
    """The jobs, none of which sees HR unless that was asked for."""
    for job in jobs:
        if job.leaking and not wanted.oracle:
            raise SrbenchError(
                f"{job.model} {job.variant} looks at the HR image it should predict. To run it all the same, "
                "as a row that is never ranked, add --oracle (oracle=True)."
            )
    return jobs


def _refuse_weights(wanted: Wanted, what: str) -> None:
    if wanted.weights is not None:
        raise SrbenchError(f"One weights file belongs to one model, found {what}; name that model.")


def _of_any(name: str, wanted: Wanted) -> list[Job]:
    """Jobs of one of all models; one that does not import fails alone."""
    try:
        card = models.card(name)
    except Exception as error:  # a third-party file may raise anything
        return [Job(name, wanted.variant or "default", failure=f"{type(error).__name__}: {error}")]
    offered = wanted.magnification in card.scales
    suits = wanted.variant is None or not card.trainable or wanted.variant in card.variants
    return _of_card(card, wanted) if offered and suits and not _is_repeated(card, wanted) else []


def _is_repeated(card: ModelCard, wanted: Wanted) -> bool:
    """At magnification 1 every interpolation gives the image back; one such row is enough."""
    return wanted.magnification == 1 and card.family == "interpolation" and card.name != BASELINE


def _of_named(name: str, wanted: Wanted) -> list[Job]:
    card = models.card(name)
    open_scale = wanted.scale is None and wanted.weights is not None
    if not open_scale and wanted.magnification not in card.scales:
        offered = ", ".join(f"x{scale}" for scale in card.scales)
        raise models.ModelError(f"{name} has no scale x{wanted.magnification}. It offers: {offered}.")
    known = not card.trainable or wanted.variant is None or wanted.variant in card.variants
    if not known:
        offered = ", ".join(card.variants)
        raise models.ModelError(f"{name} has no variant {wanted.variant!r}. It offers: {offered}.")
    return _of_card(card, wanted)


def _of_card(card: ModelCard, wanted: Wanted) -> list[Job]:
    channels = next((n for n in (wanted.channels, 1) if n in card.channels), card.channels[0])
    if not card.trainable:
        if wanted.weights is not None:
            raise SrbenchError(f"{card.name} needs no weights; leave --weights out.")
        # A variant names a size of networks; interpolations have only their own.
        variant = wanted.variant if wanted.variant in card.variants else card.variants[0]
        return [Job(card.name, variant, card, channels)]
    if wanted.weights is not None:
        return [_given(card, channels, wanted.weights, wanted)]
    return _trained(card, channels, wanted)


def _given(card: ModelCard, channels: int, path: Path, wanted: Wanted) -> Job:
    from srbench import weights

    try:
        network = weights.identify(path, model=card.name, variant=wanted.variant, scale=wanted.scale)
    except weights.DamagedWeights as error:
        variant = wanted.variant or card.variants[0]
        return Job(card.name, variant, card, channels, path, sha256_file(path), failure=str(error))
    return _of_file(network, path, wanted)


def _given_alone(path: Path, wanted: Wanted) -> Job:
    """The job of a weights file whose model was not named."""
    from srbench import weights

    try:
        return _of_file(weights.identify(path, variant=wanted.variant, scale=wanted.scale), path, wanted)
    except weights.UnknownNetwork:
        return _foreign(path, wanted)


def _of_file(network: WeightsHeader, path: Path, wanted: Wanted) -> Job:
    """Colour weights run as they are, on replicated grey images, unless they are to be converted."""
    from srbench.weights import read_header

    card = models.card(network.model)
    convert = wanted.rgb_to_grey and network.channels == 3 and 1 in card.channels
    return Job(
        card.name,
        network.variant,
        card,
        1 if convert else network.channels,
        path,
        sha256_file(path),
        read_header(path),
        scale=network.scale,
        rgb_to_grey=convert,
    )


def _foreign(path: Path, wanted: Wanted) -> Job:
    """The job of a network that spandrel knows."""
    from srbench import spandrel_adapter

    model = spandrel_adapter.load(
        path, scale=wanted.scale, variant=wanted.variant, rgb_to_grey=wanted.rgb_to_grey
    )
    return Job(
        model.card.name,
        model.variant,
        model.card,
        model.channels,
        path,
        sha256_file(path),
        notes=(spandrel_adapter.provenance(),),
        scale=model.scale,
        foreign=True,
    )


def _trained(card: ModelCard, channels: int, wanted: Wanted) -> list[Job]:
    """A job for each variant and seed trained on this dataset and degradation, else on the nearest."""
    from srbench import weights

    found = weights.find(card.name, scale=wanted.magnification, variant=wanted.variant, runs=wanted.runs)
    if wanted.variant is None and not wanted.oracle:
        found = [one for one in found if one.header.variant not in card.leaking]
    found = [one for one in found if one.header.dataset == wanted.dataset] or found
    found = [one for one in found if _degraded_alike(one.header, wanted)] or found
    jobs = [
        Job(card.name, one.header.variant, card, one.header.channels, one.path, one.sha256, one.header)
        for one in found
    ]
    jobs = [replace(job, notes=_trained_otherwise(job, wanted)) for job in jobs]
    return jobs or [_untrained(card, channels, wanted)]


def _degraded_alike(header: WeightsHeader, wanted: Wanted) -> bool:
    """Whether weights were trained on LR like that of the evaluation (old files do not say: then, yes)."""
    from srbench.datasets import degrade

    return header.degradation in ("", degrade.get(wanted.degradation).id)


def _trained_otherwise(job: Job, wanted: Wanted) -> tuple[str, ...]:
    if job.header is None:
        return ()
    notes = []
    if job.header.dataset != wanted.dataset:
        notes.append(f"trained on {job.header.dataset or 'unknown data'}")
    if not _degraded_alike(job.header, wanted):
        notes.append(f"trained on LR made by {job.header.degradation}")
    return tuple(notes)


def _untrained(card: ModelCard, channels: int, wanted: Wanted) -> Job:
    variant = wanted.variant or card.variants[0]
    command = [
        "srbench",
        "train",
        card.name,
        "--dataset",
        wanted.dataset,
        "--scale",
        str(wanted.magnification),
    ]
    if variant != card.variants[0]:
        command += ["--variant", variant]
    if wanted.degradation != DEFAULT_DEGRADATION:
        command += ["--degradation", wanted.degradation]
    return Job(card.name, variant, card, channels, missing=f"no trained weights; type: {shlex.join(command)}")
