"""The configurations of evaluation (:class:`EvaluationConfig`) and training, typed and checked.

Training is configured by YAML and ``--set a.b=c``, laid over a recipe; a setting that is absent leaves the
recipe's own value. ``train.*`` reaches every stage, ``stages.<name>.*`` one stage and wins over ``train.*``.
Unknown names and wrong values are all reported at once.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from srbench.datasets.base import RECORDED, ReadingOptions
from srbench.utils.errors import SrbenchError, near_miss, unknown_name
from srbench.utils.yaml_text import Lines, parse_yaml, read_yaml

if TYPE_CHECKING:
    from srbench.models.recipe import Clip, Recipe, Stage

Count = int | None
TrainingBudget = Literal["smoke", "laptop", "short", "paper"]
_CLIP = r"^(none|(norm|value|adjustable):[0-9]{0,9}\.?[0-9]{1,9}([eE][-+]?[0-9]{1,2})?)$"
# No training is larger; beyond, numbers of other programs overflow.
_MOST_ITERATIONS, _MOST_IN_BATCH, _LARGEST_PATCH, _MOST_THREADS = 10**9, 1 << 16, 1 << 16, 1 << 12
_LARGEST_SEED = (1 << 63) - 1
_MOST_SCALE = 64
_MOST_PARTS = 10_000
_LONGEST_VALUE = 80
SHA256 = r"^[0-9a-f]{64}$"


class StageSettings(BaseModel):
    """What can be changed of a stage; None keeps the recipe's value.

    Attributes:
        iterations: generator updates.
        batch: crops in a batch, over all processes.
        patch: HR side of a crop in pixels, a multiple of the scale.
        lr: base learning rate of the generator.
        discriminator_lr: base learning rate of every discriminator.
        clip: gradient clipping of the generator: ``none``, ``norm:0.5``, ``value:0.1`` or ``adjustable:0.4``.
        ema: decay of the averaged weights, 0 for no averaging.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    iterations: Count = Field(default=None, ge=1, le=_MOST_ITERATIONS)
    batch: Count = Field(default=None, ge=1, le=_MOST_IN_BATCH)
    patch: Count = Field(default=None, ge=1, le=_LARGEST_PATCH)
    lr: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    discriminator_lr: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        # The second is its name in older configurations.
        validation_alias=AliasChoices("discriminator_lr", "critic_lr"),
    )
    clip: str | None = Field(default=None, pattern=_CLIP)
    ema: float | None = Field(default=None, ge=0, lt=1)


class TrainSettings(StageSettings):
    """Settings of the whole run; those of :class:`StageSettings` reach every stage.

    Attributes:
        iterations: generator updates over all stages; every stage keeps its share.
        amp: ``bf16`` autocast of the forward pass, ``none``, or ``auto`` (bf16 where CUDA has it).
        compile: ``torch.compile`` of the forward pass.
        channels_last: memory layout of the network.
        deterministic: refuse speed that costs repeatability (deterministic kernels, no cuDNN search).
        threads: CPU threads of torch; chosen from the machine when None.
        prefetch: batches read ahead by a background thread, 0 to read inside the loop.
        pixels: where training pixels lie: ``device`` (uploaded once, crops are cut there), ``mapped`` (crops
            are read from memory maps), or ``auto`` (``device`` on CUDA, where they take no more than a third
            of the free memory). The crops are the same.
        validate_every: steps between validations; a twentieth of the run, at least 50, when None.
        validation_images: validation micrographs used at most.
        validation_patch: HR side in pixels of the central crop validated of each.
        checkpoint_every: steps between checkpoints; a twentieth of the run, 50 to 2000, when None.
        log_every: steps between log rows; a hundredth of the run, at most 100, when None.
        bad_updates: non-finite updates in a row after which training stops.
        tensorboard: write TensorBoard event files.
    """

    amp: Literal["none", "bf16", "auto"] = "auto"
    compile: bool = False
    channels_last: bool = False
    deterministic: bool = True
    threads: Count = Field(default=None, ge=1, le=_MOST_THREADS)
    prefetch: int = Field(default=2, ge=0, le=_MOST_THREADS)
    pixels: Literal["auto", "device", "mapped"] = "auto"
    validate_every: Count = Field(default=None, ge=1, le=_MOST_ITERATIONS)
    validation_images: int = Field(default=8, ge=1, le=_MOST_ITERATIONS)
    validation_patch: int = Field(default=512, ge=16, le=_LARGEST_PATCH)
    checkpoint_every: Count = Field(default=None, ge=1, le=_MOST_ITERATIONS)
    log_every: Count = Field(default=None, ge=1, le=_MOST_ITERATIONS)
    bad_updates: int = Field(default=10, ge=1, le=_MOST_ITERATIONS)
    tensorboard: bool = True


class TrainConfig(BaseModel):
    """A training run: what the options of ``srbench train``, ``--set``, its YAML files and the API fill.

    Attributes:
        model: a registered name.
        dataset: a dataset's name, ``name:argument`` or a folder of images.
        scale: magnification; that of the recorded LR, where the dataset has some, when not given.
        variant: of the model; its first when None.
        channels: of the network: 1 (grey) or 3 (RGB); those of the dataset when None.
        budget: ``smoke``, ``laptop`` (the same multiply-adds for every network), ``short`` or ``paper``.
        seed: decides initial weights, order of the data, crops and augmentation.
        degradation: how LR is made from HR: a name, with settings if any (``sem_pixel:dose=60``);
            ``recorded`` when not given and the dataset has recorded LR.
        reading: what the user says of the files of a folder.
        train: settings of the run.
        stages: settings of single stages, by their names.
        start: weights to start from: a file, the folder of a run or its name, or a name of ``srbench weights
            list``. Variant, scale and channels are then those of the weights, when not given; of the recipe
            the last stage is trained alone, at a tenth of its rates, which ``train`` and ``stages`` may set.
        plan_sha256: of the plan that this run belongs to, if any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    dataset: str
    scale: int = Field(default=4, ge=1, le=_MOST_SCALE)
    variant: str | None = None
    channels: Count = Field(default=None, ge=1)
    budget: TrainingBudget = "short"
    seed: int = Field(default=0, ge=0, le=_LARGEST_SEED)
    degradation: str = "bicubic"
    reading: ReadingOptions = ReadingOptions()
    train: TrainSettings = TrainSettings()
    stages: dict[str, StageSettings] = {}
    start: str | None = Field(default=None, min_length=1)
    plan_sha256: str | None = Field(default=None, pattern=SHA256)

    @staticmethod
    def of(
        options: Mapping[str, Any],
        path: str | os.PathLike[str] | None = None,
        overrides: Sequence[str] = (),
    ) -> TrainConfig:
        """Read a configuration.

        Args:
            options: fields by name, applied last; those that are None are left to the others.
            path: YAML file.
            overrides: ``a.b=c`` texts, applied over the file in their order; values are YAML, ``1e-4`` a
                number.

        Raises:
            SrbenchError: unreadable file, malformed override, unknown setting or wrong value; the message
                lists everything that is wrong.
        """
        content, places = read_settings(Path(path)) if path is not None else ({}, {})
        for override in overrides:
            _set(content, override)
        content = {name: _numbers(value) if name in _SECTIONS else value for name, value in content.items()}
        given = {name: value for name, value in options.items() if value is not None}
        settings = content.get("train")
        if isinstance(settings, dict) and (set_in_train := settings.pop("degradation", None)) is not None:
            # Where it stood before it became a field of its own.
            if given.get("degradation", "bicubic") not in ("bicubic", set_in_train):
                raise SrbenchError(
                    f"Two degradations: {given['degradation']!r} as argument, {set_in_train!r} as "
                    "train.degradation in the configuration. Give one."
                )
            given["degradation"] = set_in_train
        try:
            return TrainConfig.model_validate({**content, **given})
        except ValidationError as error:
            source = f" in {path}" if path is not None else ""
            raise SrbenchError(
                f"Wrong configuration{source}:\n{explained(error, places, TrainConfig)}"
            ) from None

    def to_yaml(self) -> str:
        """The text of ``config.yaml``; reading it back gives an equal configuration."""
        return yaml.safe_dump(self.model_dump(exclude_none=True), sort_keys=False)


_SECTIONS = ("train", "stages")


def apply(config: TrainConfig, recipe: Recipe) -> Recipe:
    """The recipe with the configuration laid over it.

    Raises:
        SrbenchError: the configuration names a stage that the recipe lacks, or asks for fewer iterations
            than there are stages.
    """
    names = [stage.name for stage in recipe.stages]
    for name in config.stages:
        if name not in names:
            raise unknown_name("stage", name, names)
    stages = tuple(
        _adjusted(_adjusted(replace(stage, iterations=count), config.train), config.stages.get(stage.name))
        for stage, count in zip(recipe.stages, _iterations(config, recipe), strict=True)
    )
    return replace(recipe, stages=stages)


def _iterations(config: TrainConfig, recipe: Recipe) -> list[int]:
    published = [stage.iterations for stage in recipe.stages]
    total = config.train.iterations
    if total is None:
        return published
    if total < len(published):
        raise SrbenchError(
            f"train.iterations is {total}, but the recipe has {len(published)} stages; "
            "give each at least one."
        )
    return _proportional(total, published)


def _proportional(total: int, weights: Sequence[int]) -> list[int]:
    """Split ``total`` in proportion, each part at least 1 (largest remainder)."""
    exact = [total * weight / sum(weights) for weight in weights]
    parts = [max(1, math.floor(value)) for value in exact]
    by_remainder = sorted(range(len(parts)), key=lambda index: parts[index] - exact[index])
    for index in by_remainder[: max(total - sum(parts), 0)]:
        parts[index] += 1
    while sum(parts) > total:
        parts[parts.index(max(parts))] -= 1
    return parts


def _adjusted(stage: Stage, settings: StageSettings | None) -> Stage:
    """The stage with these settings; the total of ``train.iterations`` has been shared out before."""
    if settings is None:
        return stage
    changes: dict[str, Any] = {}
    copied = ("batch", "patch") if isinstance(settings, TrainSettings) else ("iterations", "batch", "patch")
    for name in copied:
        if getattr(settings, name) is not None:
            changes[name] = getattr(settings, name)
    if settings.lr is not None:
        changes["optimiser"] = replace(stage.optimiser, lr=settings.lr)
    if settings.discriminator_lr is not None:
        changes["discriminators"] = tuple(
            replace(discriminator, optimiser=replace(discriminator.optimiser, lr=settings.discriminator_lr))
            for discriminator in stage.discriminators
        )
    if settings.clip is not None:
        changes["clip"] = _clip(settings.clip)
    if settings.ema is not None:
        changes["ema"] = settings.ema or None
    return replace(stage, **changes)


def _clip(text: str) -> Clip | None:
    from srbench.models.recipe import Clip

    if text == "none":
        return None
    kind, _, value = text.partition(":")
    return Clip(kind, float(value))  # type: ignore[arg-type]


def read_settings(path: Path) -> tuple[dict[str, Any], Lines]:
    """The settings of a YAML file, and the lines they stand in.

    Raises:
        SrbenchError: it cannot be read, or holds something else.
    """
    content, lines = read_yaml(path)
    if content is None:
        return {}, {}
    if not isinstance(content, dict):
        raise SrbenchError(
            f"{path} holds a {type(content).__name__}; expected settings such as 'train: {{lr: 1e-4}}'."
        )
    return content, lines


def _set(content: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    path = name.strip().split(".")
    if not equals or not all(path) or len(path) < 2:
        raise SrbenchError(f"Cannot read --set {override!r}; write it like --set train.lr=1e-4.")
    inner = content
    for key in path[:-1]:
        if inner.get(key) is None:
            inner[key] = {}
        inner = inner[key]
        if not isinstance(inner, dict):
            raise SrbenchError(f"--set {override!r}: {key} is the value {inner!r}, with no settings inside.")
    try:
        inner[path[-1]] = parse_yaml(text)[0]
    except SrbenchError as error:
        raise SrbenchError(f"--set {override!r}: the value is not YAML ({error}).") from error


def _numbers(value: Any) -> Any:
    """YAML 1.1 reads ``1e-4`` as text; here it is the number everybody means."""
    if isinstance(value, Mapping):
        return {str(key): _numbers(entry) for key, entry in value.items()}
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def explained(error: ValidationError, places: Lines, model: type[BaseModel]) -> str:
    """One line for each problem: where it is, what was expected and found, near misses of unknown names.

    Args:
        error: of reading settings as ``model``.
        places: lines of the file that they stand in.
        model: whose names are known.
    """
    return "\n".join(f"  {_explain(problem, places, model)}" for problem in error.errors())


def _explain(problem: Any, places: Lines, model: type[BaseModel]) -> str:
    path = tuple(str(part) for part in problem["loc"])
    # Only settings have lines: what is wrong with an entry of a list stands below the setting.
    names = tuple(part for part in path if not part.isdecimal())
    line = next((places[names[:end]] for end in range(len(names), 0, -1) if names[:end] in places), None)
    where = ("" if line is None else f"line {line}, ") + (".".join(path) or "the file")
    if problem["type"] == "missing":
        return f"{where}: missing"
    if problem["type"] != "extra_forbidden":
        return f"{where}: {problem['msg']} (found {_short(problem['input'])})"
    fields = sorted(_section(model, path[:-1]).model_fields)
    return f"{where}: unknown setting{near_miss(path[-1], fields)}. Known: {', '.join(fields)}."


def _section(model: type[BaseModel], path: Sequence[str]) -> type[BaseModel]:
    """The settings that ``path`` leads to: by the name of a field, of an entry, or its number in a list."""
    kind: Any = model
    for name in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = kind.model_fields[name].annotation
        else:
            kind = next(inner for inner in get_args(kind) if isinstance(inner, type) and inner is not str)
    section: type[BaseModel] = kind
    return section


def _short(value: Any) -> str:
    """What was found, in a line of an error."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        text = "an absurd number"
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


DEFAULT_DEGRADATION = "bicubic"


def _checked_part(part: tuple[int, int]) -> tuple[int, int]:
    number, count = part
    if not 0 <= number <= count or not 1 <= count <= _MOST_PARTS:
        raise ValueError(f"expected (k, n) with n from 1 to {_MOST_PARTS} and k from 0 to n")
    return part


class EvaluationConfig(BaseModel):
    """How models are scored: the options of ``srbench eval`` and the keywords of ``srbench.evaluate``.

    Attributes:
        scale: magnification; that of the recorded LR or of ``weights``, else 4, when None.
        split: ``train``, ``val``, ``test`` or ``all``; when None ``test``, or ``all`` of a user's folder that
            has no split folders and that no model of the evaluation was trained on.
        limit: score this many images of the split, spread over its groups; the stored split says so
            (``all-limit6``).
        reading: what the user says of the files of a folder.
        variant: only this variant (models without training have only their own).
        weights: one weights file for one model; variant and channels are read from its tensors.
        runs: folder of the trained runs; the one of the srbench home when None.
        results: results folder; the one of the srbench home when None.
        degradation: how LR is made from HR, with settings where it has some (``sem_pixel:dose=60``);
            ``recorded`` when not given and the dataset has recorded LR.
        protocol: what a number means; ``matlab-y`` for photographs, else ``sem-grey``, when None.
        metrics: names of metrics; the default ones when None.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        backend: what runs the networks: ``torch``, or on the CPU ``onnxruntime`` or ``openvino``.
        force: score again what is already scored.
        previews: images whose SR is kept for the report, chosen over the categories.
        tile: side of tiles in LR pixels; chosen by memory when None.
        max_bytes: memory for activations; half of what is free when None.
        timeout: seconds for one image after which a model counts as hung.
        oracle: run variants that look at the HR image too; their rows are never ranked.
        rgb_to_grey: convert colour ``weights`` for the grey network instead of running the colour network
            on grey images.
        audit: run every model again under conditions that an honest one does not notice, models that are
            scored already too.
        workers: processes that compute metrics, 1 for none beside the caller's; when None as many as there
            are cores, once there is work for them.
        part: ``(k, n)``: score only the k-th of n parts of the images and keep it, without an audit.
            ``(0, n)``: join the n parts to the run that None gives, scoring those that are not there yet.
        plan_sha256: of the plan that this evaluation belongs to, if any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: Count = Field(default=None, ge=1, le=_MOST_SCALE)
    split: str | None = None
    limit: Count = Field(default=None, ge=1)
    reading: ReadingOptions = ReadingOptions()
    variant: str | None = None
    weights: Path | None = None
    runs: Path | None = None
    results: Path | None = None
    degradation: str = DEFAULT_DEGRADATION
    protocol: str | None = None
    metrics: tuple[str, ...] | None = None
    device: str = "auto"
    backend: Literal["torch", "onnxruntime", "openvino"] = "torch"
    force: bool = False
    previews: int = Field(default=6, ge=0, le=_MOST_ITERATIONS)
    tile: Count = Field(default=None, ge=1)
    max_bytes: Count = Field(default=None, ge=1)
    timeout: float = Field(default=3600.0, gt=0, allow_inf_nan=False)
    oracle: bool = False
    rgb_to_grey: bool = False
    audit: bool = False
    workers: Count = Field(default=None, ge=1, le=_MOST_THREADS)
    part: Annotated[tuple[int, int], AfterValidator(_checked_part)] | None = None
    plan_sha256: str | None = Field(default=None, pattern=SHA256)

    @staticmethod
    def of(options: Mapping[str, Any]) -> EvaluationConfig:
        """The configuration with these options; paths may be ``str`` or ``os.PathLike``.

        Raises:
            SrbenchError: an unknown option or a wrong value; the message lists everything that is wrong.
        """
        for name in options:
            if name not in EvaluationConfig.model_fields:
                raise unknown_name("option", name, EvaluationConfig.model_fields)
        try:
            given = {name: value for name, value in options.items() if value is not None}
            return EvaluationConfig.model_validate(given)
        except ValidationError as error:
            lines = (
                f"  {'.'.join(map(str, problem['loc']))}: {problem['msg']} (found {_short(problem['input'])})"
                for problem in error.errors()
            )
            raise SrbenchError("\n".join(["Wrong options of an evaluation:", *lines])) from None


Config = TypeVar("Config", TrainConfig, EvaluationConfig)


def for_pairs(config: Config, recorded_scale: int | None) -> Config:
    """Scale and degradation of a dataset's recorded LR, where the caller has left them out.

    Args:
        config: as the caller gave it.
        recorded_scale: of the dataset; None where it has no recorded LR.
    """
    if recorded_scale is None:
        return config
    recorded = {"scale": recorded_scale, "degradation": RECORDED}
    return config.model_copy(
        update={name: value for name, value in recorded.items() if name not in config.model_fields_set}
    )
