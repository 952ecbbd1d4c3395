"""A benchmark as one file: which networks are trained and scored, on what, how long and how often."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from srbench import datasets, models, plugins
from srbench.config import StageSettings, TrainingBudget, TrainSettings, explained, read_settings
from srbench.datasets import degrade
from srbench.evaluation.jobs import DEFAULT_SCALE
from srbench.models import ModelCard, ModelError
from srbench.utils.errors import SrbenchError, unknown_name
from srbench.utils.files import read_regular
from srbench.utils.yaml_text import LONGEST_YAML

_MOST = 10_000
Entry = TypeVar("Entry")


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


Listed = Annotated[tuple[Entry, ...], BeforeValidator(_as_list), Field(min_length=1)]
"""One value, or a list of them."""


class Combinations(BaseModel):
    """All combinations of these; what is not given is taken from the plan, or left open where it excludes.

    Attributes:
        models: registered names; of those that are not trained variant, budget and seed do not matter.
        variants: of the networks; the first of each when not given.
        seeds: of the trainings.
        budgets: of the trainings.
        datasets: names, ``name:argument`` or folders: trained and, unless said otherwise, scored on.
        scales: magnifications; that of the recorded LR, else 4, when not given.
        degradations: how LR is made; the recorded one, else bicubic, when not given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: Listed[str] | None = None
    variants: Listed[str] | None = None
    seeds: Listed[int] | None = None
    budgets: Listed[TrainingBudget] | None = None
    datasets: Listed[str] | None = None
    scales: Listed[int] | None = None
    degradations: Listed[str] | None = None


class EvaluationSection(BaseModel):
    """How the networks are scored; what is not described here is as in ``srbench eval``.

    Attributes:
        datasets: scored on instead of the training's own.
        split: see there.
        limit: see there.
        metrics: see there.
        protocol: see there.
        previews: see there.
        audit: see there.
        oracle: see there.
        workers: see there; the cores of this machine are shared by the tasks that are done at a time.
        images_a_part: of a larger set each network's images are scored in parts of at most so many, which are
            tasks of their own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    datasets: Listed[str] | None = None
    split: str | None = None
    limit: int | None = None
    metrics: Listed[str] | None = None
    protocol: str | None = None
    previews: int | None = None
    audit: bool | None = None
    oracle: bool | None = None
    workers: int | None = None
    images_a_part: int = Field(default=1000, ge=1)


class BenchmarkPlan(Combinations):
    """What a file of ``srbench run`` says.

    Attributes:
        title: of the benchmark, for its reader.
        train: settings of all trainings, as in a file of ``srbench train --config``.
        stages: likewise, of single stages.
        include: further combinations, after those of the plan itself.
        exclude: combinations of the plan itself that are left out.
        evaluation: how everything is scored.
    """

    title: str = ""
    train: TrainSettings = TrainSettings()
    stages: dict[str, StageSettings] = {}
    include: tuple[Combinations, ...] = ()
    exclude: tuple[Combinations, ...] = ()
    evaluation: EvaluationSection = EvaluationSection()


@dataclass(frozen=True)
class Combination:
    """One network on one set of data; variant, budget and seed are None where nothing is trained."""

    model: str
    variant: str | None
    budget: TrainingBudget | None
    seed: int | None
    dataset: str
    scale: int
    degradation: str

    def matches(self, excluded: Combinations) -> bool:
        """Whether all that is given of ``excluded`` holds for this one."""
        given: tuple[tuple[Sequence[Any] | None, Any], ...] = (
            (excluded.models, self.model),
            (excluded.variants, self.variant),
            (excluded.seeds, self.seed),
            (excluded.budgets, self.budget),
            (excluded.scales, self.scale),
            (_each(datasets.full_name, excluded.datasets), self.dataset),
            (_each(_degradation_id, excluded.degradations), self.degradation),
        )
        return all(values is None or value in values for values, value in given)


def read_plan(path: Path) -> tuple[BenchmarkPlan, bytes]:
    """A plan and its text.

    Raises:
        SrbenchError: unreadable file, unknown setting or wrong value; the message lists everything wrong.
    """
    content, places = read_settings(path)
    try:
        benchmark = BenchmarkPlan.model_validate(content)
    except ValidationError as error:
        raise SrbenchError(f"Wrong plan {path}:\n{explained(error, places, BenchmarkPlan)}") from None
    if not (benchmark.models or benchmark.include):
        raise SrbenchError(f"{path} names nothing to do; expected models: [...] and datasets: [...].")
    return benchmark, read_regular(path, LONGEST_YAML)


def combinations(benchmark: BenchmarkPlan) -> list[Combination]:
    """What is trained and scored, in the order of the file, each once.

    Raises:
        SrbenchError, ModelError, DatasetError: an unknown name, with the near miss; what a model does not
            offer; an entry that excludes nothing.
    """
    listed = list(_expanded(benchmark, benchmark)) if benchmark.models else []
    for excluded in benchmark.exclude:
        left = [combination for combination in listed if not combination.matches(excluded)]
        if len(left) == len(listed):
            said = ", ".join(
                f"{name}: {value}" for name, value in excluded.model_dump(exclude_none=True).items()
            )
            raise SrbenchError(f"An entry of exclude leaves nothing out ({said}); correct it, or remove it.")
        listed = left
    for included in benchmark.include:
        listed += _expanded(included, benchmark)
    unique = list(dict.fromkeys(listed))
    if len(unique) > _MOST:
        raise SrbenchError(f"{len(unique):,} combinations, more than the {_MOST:,} that a plan may have.")
    return unique


def _expanded(chosen: Combinations, benchmark: BenchmarkPlan) -> Iterator[Combination]:
    def choice(name: str, default: Sequence[Any] | None) -> Sequence[Any] | None:
        for section in (chosen, benchmark):
            values: Sequence[Any] | None = getattr(section, name)
            if values is not None:
                return values
        return default

    for needed in ("models", "datasets"):
        if choice(needed, None) is None:
            raise SrbenchError(f"The plan lacks {needed}; expected {needed}: [...].")
    for name, data in product(choice("models", None) or (), choice("datasets", None) or ()):
        card, source = plugins.card(name), datasets.source(data)
        own_scale = DEFAULT_SCALE
        if source.card.pairs and choice("scales", None) is None:
            own_scale = datasets.open(data).recorded_scale or DEFAULT_SCALE
        axes: list[Sequence[Any]] = [(None,)] * 3
        if card.trainable:
            axes = [
                choice("variants", None) or (card.variants[0],),
                choice("budgets", None) or ("short",),
                choice("seeds", None) or (0,),
            ]
        scales = choice("scales", None) or (own_scale,)
        degradations = choice("degradations", None) or (datasets.default_degradation(data),)
        for variant, budget, seed, scale, degradation in product(*axes, scales, degradations):
            _check_offer(card, variant, scale)
            degrade.check_task(degrade.get(degradation), scale)
            yield Combination(
                name, variant, budget, seed, source.full_name, scale, _degradation_id(degradation)
            )


def _check_offer(card: ModelCard, variant: str | None, scale: int) -> None:
    if scale not in card.scales:
        offered = ", ".join(f"x{offer}" for offer in card.scales)
        raise ModelError(
            f"{card.name} has no scale x{scale} (it offers {offered}): exclude it from the plan."
        )
    if variant not in (None, *card.variants):
        raise unknown_name(f"variant of {card.name}", str(variant), card.variants, models.ModelError)


def _degradation_id(name: str) -> str:
    """Without the version, which no plan chooses."""
    return degrade.get(name).id.rpartition("@")[0]


def _each(change: Callable[[str], str], names: Sequence[str] | None) -> Sequence[str] | None:
    return None if names is None else [change(name) for name in names]
