"""Which networks an evaluation runs: names and weights on disk to a list of jobs."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srbench import models, plugins, preregistration
from srbench.config import EvaluationConfig
from srbench.datasets import default_degradation, degrade
from srbench.models import ModelCard
from srbench.store import EXTERNAL, run_weights
from srbench.utils.errors import SrbenchError
from srbench.utils.files import sha256_file

if TYPE_CHECKING:
    from srbench.weights import TrainedWeights, WeightsHeader


DEFAULT_SCALE = 4
BASELINE = "bicubic"
"""The model that differences are taken from."""


@dataclass(frozen=True)
class Job:
    """One network to run, or the reason why it cannot be run.

    Attributes:
        card: None when the model's file does not import.
        channels: channels to build it with.
        weights: weights file; None for a model without. The folder of images that another program made.
        header: of the weights file, where srbench wrote it.
        failure: why it failed before it was run.
        missing: what is missing and what to type.
        scale: magnification of the weights, where they decided it.
        rgb_to_grey: convert colour weights for the grey network.
        foreign: the network is no registered one: spandrel builds it from the weights.
        gain: validation PSNR of the weights above that of bicubic interpolation, dB; NaN where not known.
        remarks: which weights were chosen, and which were passed over.
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
    gain: float = math.nan
    remarks: tuple[str, ...] = ()

    @property
    def seed(self) -> int:
        """Training seed, -1 where nothing was trained or nothing is known."""
        return self.header.seed if self.header else -1

    @property
    def weights_id(self) -> str:
        """What tells runs of different weights apart: the file's sha256, another where it is converted."""
        return run_weights(self.sha256, self.rgb_to_grey)

    @property
    def leaking(self) -> bool:
        """Whether this variant sees HR."""
        return self.card is not None and self.variant in self.card.leaking

    @property
    def is_ours(self) -> bool:
        """Whether srbench itself has the network."""
        return self.card is not None and self.card.module.startswith("srbench.models.") and not self.foreign

    @property
    def external(self) -> bool:
        """Whether another program made the images."""
        return self.card is not None and self.card.family == EXTERNAL

    @property
    def label(self) -> str:
        """For progress and summaries."""
        seed = f" seed {self.seed}" if self.seed >= 0 else ""
        return f"{self.model} {self.variant}{seed}"

    def describe_weights(self) -> dict[str, Any]:
        """For the manifest."""
        if self.weights is None:
            return {}
        described = {} if self.header is None else asdict(self.header)
        if not described.get("lineage"):  # nothing to say, as in manifests of earlier versions
            described.pop("lineage", None)
        if self.header is None and not self.external:
            from srbench.weights import published

            entry = published.known_file(self.weights.name, self.sha256)
            if entry is not None and entry.is_content(self.sha256):
                described = {"source": entry.url, "licence": entry.licence, "remark": entry.note}
        if math.isfinite(self.gain):
            described["gain_over_bicubic"] = self.gain
        described.update(preregistration.training_of(self.weights))
        return {**described, "file": str(self.weights), "sha256": self.sha256}

    def describe_card(self) -> dict[str, Any]:
        """For the manifest."""
        if self.card is None:
            return {}
        stored = ("title", "family", "year", "paper", "summary", "licence")
        return {**{name: getattr(self.card, name) for name in stored}, "leaking": self.leaking}

    def source_file(self) -> str:
        """The file that registered the model; the worker imports it when it does not know the name."""
        module = self.card.module if self.card else ""
        return str(plugins.module_file(module) or "") if module else ""


@dataclass(frozen=True)
class EvaluationRequest:
    """What jobs are resolved for.

    Attributes:
        config: scale, variant, weights and the like.
        dataset: name of the dataset.
        channels: channels of the images; what has no weights to decide it is built for them.
        data: fingerprint of the dataset.
    """

    config: EvaluationConfig
    dataset: str
    channels: int = 1
    data: str = ""

    @property
    def scale(self) -> int:
        """The scale where no weights decide it."""
        return self.config.scale or DEFAULT_SCALE


def resolve_scale(jobs: Sequence[Job], request: EvaluationRequest) -> int:
    """The scale of an evaluation: the one typed, else that of the given weights."""
    return next((job.scale for job in jobs if job.scale), request.scale)


def resolve(names: Sequence[str] | str, request: EvaluationRequest) -> list[Job]:
    """The jobs behind ``names``, or behind every registered model that offers the scale (``"all"``).

    Without any name the given weights say whose they are. Models that need none may be named beside theirs.

    Raises:
        ModelError: a named model, variant or scale does not exist.
        SrbenchError: ``weights`` was given with more than one model, is not a readable file, or fits
            another network or several; a leaking variant was named without ``oracle``.
    """
    weights = request.config.weights
    listed = list(dict.fromkeys([names] if isinstance(names, str) else names))
    if weights is not None and names != "all" and not listed:
        jobs = [_given(weights, request)]
    elif weights is not None:
        trained = [name for name in listed if names != "all" and models.card(name).trainable]
        if names == "all" or len(trained) > 1:
            given = "--all" if names == "all" else f"{len(trained)} models"
            raise SrbenchError(f"One weights file belongs to one model, found {given}; name that model.")
        beside = replace(request, config=request.config.model_copy(update={"weights": None}))
        owners = trained or listed
        jobs = [job for name in listed for job in _of_named(name, request if name in owners else beside)]
    elif names == "all":
        jobs = [job for name in models.model_names() for job in _of_any(name, request)]
    else:
        jobs = [job for name in listed for job in _of_named(name, request)]
    for job in jobs:
        if job.leaking and not request.config.oracle:
            raise SrbenchError(
                f"{job.model} {job.variant} looks at the HR image it should predict. To run it all the same, "
                "as a row that is never ranked, add --oracle (oracle=True)."
            )
    return jobs


def _of_any(name: str, request: EvaluationRequest) -> list[Job]:
    """Jobs of one of all models; one that does not import fails alone."""
    variant = request.config.variant
    try:
        card = plugins.card(name)
    except Exception as error:  # a third-party file may raise anything
        return [Job(name, variant or "default", failure=f"{type(error).__name__}: {error}")]
    suits = variant is None or not card.trainable or variant in card.variants
    # At magnification 1 every interpolation gives the image back; one such row is enough.
    repeated = request.scale == 1 and card.family == "interpolation" and card.name != BASELINE
    return _of_card(card, request) if request.scale in card.scales and suits and not repeated else []


def _of_named(name: str, request: EvaluationRequest) -> list[Job]:
    card, config = plugins.card(name), request.config
    open_scale = config.scale is None and config.weights is not None
    if not open_scale and request.scale not in card.scales:
        offered = ", ".join(f"x{scale}" for scale in card.scales)
        raise models.ModelError(f"{name} has no scale x{request.scale}. It offers: {offered}.")
    if card.trainable and config.variant not in (None, *card.variants):
        offered = ", ".join(card.variants)
        raise models.ModelError(f"{name} has no variant {config.variant!r}. It offers: {offered}.")
    return _of_card(card, request)


def _of_card(card: ModelCard, request: EvaluationRequest) -> list[Job]:
    channels = next((n for n in (request.channels, 1) if n in card.channels), card.channels[0])
    config = request.config
    if not card.trainable:
        if config.weights is not None:
            raise SrbenchError(f"{card.name} needs no weights; leave --weights out.")
        # A variant names a size of networks; interpolations have only their own.
        variant = config.variant if config.variant in card.variants else card.variants[0]
        return [Job(card.name, variant, card, channels)]
    if config.weights is not None:
        return [_given(config.weights, request, card, channels)]
    return _trained(card, channels, request)


def _given(path: Path, request: EvaluationRequest, card: ModelCard | None = None, channels: int = 1) -> Job:
    """The job of a weights file; without the card of a named model its tensors say whose it is."""
    from srbench import weights

    path = weights.locate(path)
    variant, scale = request.config.variant, request.config.scale
    try:
        network = weights.identify(path, model=card.name if card else None, variant=variant, scale=scale)
    except weights.UnknownNetwork:
        if card is not None:
            raise
        return _foreign(path, request)
    except weights.DamagedWeights as error:
        if card is None:
            raise
        variant = variant or card.variants[0]
        return Job(card.name, variant, card, channels, path, sha256_file(path), failure=str(error))
    # Colour weights run as they are, on replicated grey images, unless they are to be converted.
    card = plugins.card(network.model)
    convert = request.config.rgb_to_grey and network.channels == 3 and 1 in card.channels
    return Job(
        card.name,
        network.variant,
        card,
        1 if convert else network.channels,
        path,
        sha256_file(path),
        weights.read_header(path),
        scale=network.scale,
        rgb_to_grey=convert,
    )


def _foreign(path: Path, request: EvaluationRequest) -> Job:
    """The job of a network that spandrel knows."""
    from srbench.weights import spandrel as spandrel_adapter

    config = request.config
    model = spandrel_adapter.load(
        path, scale=config.scale, variant=config.variant, rgb_to_grey=config.rgb_to_grey
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


def _trained(card: ModelCard, channels: int, request: EvaluationRequest) -> list[Job]:
    """A job for each variant and seed trained on this dataset and degradation, else on the nearest.

    Where there are no weights of the user's, those shipped with srbench are taken.
    """
    from srbench import weights
    from srbench.weights.find import best_of_each_kind

    config = request.config
    scale, variant, runs = request.scale, config.variant, config.runs
    there = weights.candidates(card.name, scale=scale, variant=variant, runs=runs)
    if variant is None and not config.oracle:
        there = [file for file in there if file.header.variant not in card.leaking]
    files = best_of_each_kind(there)
    files = [file for file in files if _trained_last_on(file.header, request)] or files
    files = [file for file in files if _degraded_alike(file.header, request)] or files
    chosen = {file.path for file in files}
    others = [file for file in there if file.path not in chosen]
    remarks = [
        f"{card.name}: shipped with srbench, {file.name}, {file.training}" for file in files if file.shipped
    ]
    if others:
        remarks.append(f"{card.name}: passed over {'; '.join(file.described for file in others)}")
    jobs = [
        Job(
            card.name,
            file.header.variant,
            card,
            file.header.channels,
            file.path,
            file.sha256,
            file.header,
            notes=_notes_of(file, request),
            gain=file.gain,
            remarks=() if number else tuple(remarks),
        )
        for number, file in enumerate(files)
    ]
    return jobs or [_untrained(card, channels, request)]


def _trained_last_on(header: WeightsHeader, request: EvaluationRequest) -> bool:
    """Whether this dataset is what weights were made for, not only what they started from."""
    return replace(header, lineage=()).is_trained_on(request.dataset, request.data)


def _degraded_alike(header: WeightsHeader, request: EvaluationRequest) -> bool:
    """Whether weights were trained on LR like that of the evaluation (old files do not say: then, yes)."""
    return header.degradation in ("", degrade.get(request.config.degradation).id)


def _notes_of(file: TrainedWeights, request: EvaluationRequest) -> tuple[str, ...]:
    header, notes = file.header, []
    if file.shipped is not None:
        notes.append(f"weights shipped with srbench, {file.shipped.licence}")
    if not _trained_last_on(header, request):
        notes.append(f"trained on {header.dataset or 'unknown data'}")
    if not _degraded_alike(header, request):
        notes.append(f"trained on LR made by {header.degradation}")
    return tuple(notes)


def _untrained(card: ModelCard, channels: int, request: EvaluationRequest) -> Job:
    variant = request.config.variant or card.variants[0]
    command = ["srbench", "train", card.name, "--dataset", request.dataset, "--scale", str(request.scale)]
    if variant != card.variants[0]:
        command += ["--variant", variant]
    if request.config.degradation != default_degradation(request.dataset):
        command += ["--degradation", request.config.degradation]
    command += request.config.reading.arguments
    return Job(card.name, variant, card, channels, missing=f"no trained weights; type: {shlex.join(command)}")
