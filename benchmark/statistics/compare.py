"""Two models side by side: their paired difference in every metric, where it lies and what it is worth.

A name means stored runs: ``model``, ``model:variant`` or the start of a weights hash. Two models are only
compared under equal conditions; an error says what differs.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from srbench.checks.base import reasons_unranked
from srbench.checks.submissions import by_run, submitted_in
from srbench.datasets.registry import full_name
from srbench.models.base import NOTHING_LEARNED
from srbench.statistics.gap import (
    RealMinusSynthetic,
    is_recorded,
    real_minus_synthetic,
    recorded_and_synthetic,
)
from srbench.statistics.interval import Interval, interval
from srbench.statistics.leaderboard import direction_of
from srbench.statistics.lengths import Lengths, in_nanometres, nm_per_px, unit_of
from srbench.statistics.margins import Margin, margin_of
from srbench.statistics.paired_tests import (
    ComparisonSettings,
    PairedComparison,
    Verdict,
    compare_pair,
    holm,
    over_attempts,
    seed_sd,
)
from srbench.statistics.score_matrix import Method, ScoreMatrix, duplicate_runs, rows_of, score_matrix
from srbench.store import OTHER_PROGRAM, Conditions, Manifest, Run, ScoreStore, read_png
from srbench.utils.errors import SrbenchError, unknown_name
from srbench.utils.files import pixel_hash
from srbench.utils.paths import results_folder
from srbench.weights.io import budget_rank

if TYPE_CHECKING:
    import pandas as pd

EXTREMES = 3
"""Images shown on either side."""
ONE_SIDED = "only one of the two was scored on it; run srbench eval for the other"
_HASH = re.compile(r"[0-9a-f]{6,64}")
_TRAINING = ("budget", "iterations", "dataset", "data", "degradation", "lineage")


class RunFilter(NamedTuple):
    """Conditions that the user named; None leaves one open. ``data`` is the start of a fingerprint."""

    dataset: str | None = None
    split: str | None = None
    degradation: str | None = None
    scale: int | None = None
    protocol: str | None = None
    data: str | None = None


@dataclass(frozen=True)
class SelectedRuns:
    """The runs behind one name.

    Attributes:
        name: as typed.
        manifests: one a training seed, by seed.
        passed_over: runs of trainings with a smaller budget or validation gain.
    """

    name: str
    manifests: tuple[Manifest, ...]
    passed_over: tuple[Manifest, ...] = ()

    @property
    def runs(self) -> tuple[Run, ...]:
        """Their identities in the score rows."""
        return tuple(manifest.key.run for manifest in self.manifests)

    @property
    def title(self) -> str:
        """The model's printed name."""
        first = self.manifests[0]
        return str(first.card.get("title") or first.key.model)

    @property
    def learns_nothing(self) -> bool:
        """Whether nothing of the method is learned."""
        return self.manifests[0].card.get("family") in NOTHING_LEARNED

    @property
    def detail(self) -> str:
        """Variant, training and seeds."""
        first = self.manifests[0]
        key, weights = first.key, first.weights
        seeds = [manifest.key.seed for manifest in self.manifests if manifest.key.seed >= 0]
        hashes = [manifest.key.weights[:8] for manifest in self.manifests if manifest.key.weights]
        parts = [
            OTHER_PROGRAM if first.external else key.variant if key.weights else "",
            f"{weights['budget']} budget" if weights.get("budget") else "",
            f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}" if seeds else "",
            f"{'files' if first.external else 'weights'} {', '.join(hashes)}" if hashes else "",
        ]
        return "; ".join(part for part in parts if part)


@dataclass(frozen=True)
class SideMean:
    """One model's headline mean on the common images.

    Attributes:
        value: mean over seeds.
        interval: its 95 % interval.
        seed_sd: sample standard deviation of the mean over training seeds, NaN with one.
        n_seeds: how many.
    """

    value: float
    interval: Interval
    seed_sd: float
    n_seeds: int


@dataclass(frozen=True)
class CategoryDifference:
    """The difference within one category, not corrected for looking at several."""

    category: str
    first: float
    second: float
    difference: float
    interval: Interval
    n_images: int
    n_groups: int


@dataclass(frozen=True)
class ImageDifference:
    """The values of one image, means over seeds."""

    image: str
    category: str
    first: float
    second: float
    difference: float


@dataclass(frozen=True)
class MetricComparison:
    """Everything about one metric.

    Attributes:
        metric: id as stored.
        unit: of its values.
        margin: what difference matters.
        first: mean of the first model.
        second: mean of the second.
        paired: first minus second; but for the primary metric corrected for all others compared.
        categories: by name; empty with a single one.
        images: the largest differences either way, by how much they favour the first model.
        missing: images that the first, and that the second, has no value for although the other has.
    """

    metric: str
    unit: str
    margin: Margin
    first: SideMean
    second: SideMean
    paired: PairedComparison
    categories: tuple[CategoryDifference, ...]
    images: tuple[ImageDifference, ...]
    missing: tuple[int, int]

    @property
    def verdict(self) -> Verdict | Literal[""]:
        """Of the first model; never decided on images that only one of the two has."""
        return "undecided" if any(self.missing) else self.paired.verdict


@dataclass(frozen=True)
class Comparison:
    """Two models under equal conditions.

    Attributes:
        first: the runs of the first.
        second: the runs of the second.
        conditions: what both were scored under.
        n_images: images of the split that were scored.
        n_groups: independent groups of them.
        n_categories: their categories.
        lengths: whether lengths are in nm, and why not.
        metrics: one a metric, in the registry's order.
        gaps: degradation of synthetic LR of the same references, to metric to the scores on the recorded LR
            less those on it, of the first and of the second (None where it has not both).
        primary: the metric that the verdict rests on, which no correction for the others touches; empty where
            no metric with a better side was compared.
        without: metric to why it has no comparison.
        warnings: what limits the meaning of all of it.
        problems: runs of the store that could not be read, whether of the two or not.
    """

    first: SelectedRuns
    second: SelectedRuns
    conditions: Conditions
    n_images: int
    n_groups: int
    n_categories: int
    lengths: Lengths
    metrics: tuple[MetricComparison, ...]
    gaps: Mapping[str, Mapping[str, tuple[RealMinusSynthetic | None, ...]]]
    primary: str
    without: Mapping[str, str]
    warnings: tuple[str, ...]
    problems: tuple[str, ...] = ()


def compare(
    first: str,
    second: str,
    *,
    results: str | os.PathLike[str] | None = None,
    dataset: str | None = None,
    split: str | None = None,
    scale: int | None = None,
    degradation: str | None = None,
    protocol: str | None = None,
    data: str | None = None,
    metrics: Sequence[str] = (),
    primary: str | None = None,
    margins: Mapping[str, float | str] | None = None,
) -> Comparison:
    """Compare two scored models image by image.

    Args:
        first: ``model``, ``model:variant`` or at least six digits of a weights hash; its training seeds are
            taken together.
        second: the same for the other one.
        results: folder of a score store; ``srbench.utils.paths.results_folder()`` when None.
        dataset: as scored, a folder under any of its spellings; needed, like the four that follow, only where
            both were scored on several.
        split: ``train``, ``val``, ``test`` or ``all``.
        scale: magnification.
        degradation: how LR was made, with or without its version.
        protocol: protocol id, or its name.
        data: start of the data's fingerprint; of several states the one scored last when None.
        metrics: names or ids; when empty every stored one but the points of curves and what is the same for
            both because it describes the reference.
        primary: the metric that decides, chosen before looking: its p stands as it is, those of the others
            are corrected among themselves. When None the first of ``metrics`` with a better side, else the
            first compared.
        margins: metric to the smallest difference that matters, in place of the defaults: a number in the
            metric's unit, or text such as ``0.5px`` or ``2nm``.

    Raises:
        SrbenchError: a name is unknown or means several models, or the two cannot be compared, or not in the
            primary metric.
    """
    store = ScoreStore(results if results is not None else results_folder())
    conditions_named = RunFilter(dataset, split, degradation, scale, protocol, data)
    manifests = store.manifests()
    try:
        ours, theirs, conditions = select(manifests, (first, second), conditions_named)
    except SrbenchError as error:
        raise SrbenchError("\n".join((str(error), *store.problems))) from error
    scores = store.scores([manifest.key for manifest in (*ours.manifests, *theirs.manifests)])
    images, lengths = in_nanometres(scores[scores["image"] != ""])
    submissions, unread = submitted_in(store.root)
    attempts = {run: submitted.submission.attempts for run, submitted in by_run(submissions).items()}
    compared, without = [], {}
    chosen = (*metrics, *([primary] if primary and metrics else []))
    for metric in _metric_ids(images, chosen):
        margin = margin_of(metric, margins, nm_per_px(rows_of(images, metric)))
        settings = ComparisonSettings(direction_of(metric), margin.value, attempts=attempts)
        unit = lengths.unit_of(unit_of(metric))
        result = _compare_metric(images, metric, unit, (ours, theirs), settings, margin)
        if result is None:
            reasons = sorted(set(images.loc[images["metric"] == metric, "reason"]) - {""})
            without[metric] = "; ".join(reasons[:2]) or ONE_SIDED
        # What has no better side and is the same for both everywhere describes the reference alone.
        elif metrics or settings.sign or result.images:
            compared.append(result)
    first_metric = _primary(images, compared, without, metrics, primary)
    others = [result.metric for result in compared if result.metric != first_metric]
    p_of = {result.metric: over_attempts(result.paired) for result in compared}
    adjusted = {**p_of, **dict(zip(others, holm([p_of[metric] for metric in others]), strict=True))}
    return Comparison(
        ours,
        theirs,
        conditions,
        n_images=int(images["image"].nunique()),
        n_groups=int(images["group"].nunique()),
        n_categories=int(images["category"].nunique()),
        lengths=lengths,
        metrics=tuple(
            replace(result, paired=replace(result.paired, p_holm=adjusted[result.metric]))
            for result in compared
        ),
        gaps=_gaps(store, manifests, conditions, [result.metric for result in compared], (ours, theirs)),
        primary=first_metric,
        without=without,
        warnings=(
            *_data_states(manifests, conditions, data),
            *_warnings(store, scores, ours, theirs),
        ),
        problems=(*store.problems, *unread),
    )


def _gaps(
    store: ScoreStore,
    manifests: Sequence[Manifest],
    conditions: Conditions,
    metrics: Sequence[str],
    sides: tuple[SelectedRuns, SelectedRuns],
) -> dict[str, dict[str, tuple[RealMinusSynthetic | None, ...]]]:
    """What the two score on recorded LR less what they score on synthetic LR, where both are stored."""
    side_of = {run: side for side, selected in enumerate(sides) for run in selected.runs}
    complete = [m.key for m in manifests if m.status == "complete" and m.key.run in side_of]
    gaps: dict[str, dict[str, tuple[RealMinusSynthetic | None, ...]]] = {}
    for pair in recorded_and_synthetic(key.conditions for key in complete):
        if conditions not in pair:
            continue
        scores = [store.scores([key for key in complete if key.conditions == each]) for each in pair]
        real, synthetic = (in_nanometres(rows[rows["image"] != ""])[0] for rows in scores)
        by_metric = {metric: real_minus_synthetic(real, synthetic, metric, side_of) for metric in metrics}
        gaps[pair[1].degradation] = {
            metric: (of_side.get(0), of_side.get(1)) for metric, of_side in by_metric.items() if of_side
        }
    return {degradation: by_metric for degradation, by_metric in gaps.items() if by_metric}


def _metric_ids(images: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """The ids to compare, in the registry's order."""
    from srbench.metrics import registry

    stored = set(map(str, images["metric"].unique()))
    id_of = {metric.name: metric.id for metric in registry.list_metrics() if metric.id in stored}
    for name in names:
        if name not in stored and name not in id_of:
            raise unknown_name("metric (among the stored ones)", name, {*stored, *id_of})
    curves = {metric.id for metric in registry.list_metrics() if metric.family == "curve"}
    ids = {id_of.get(name, name) for name in names} if names else stored - curves
    return registry.sorted_ids(ids)


def _primary(
    images: pd.DataFrame,
    compared: Sequence[MetricComparison],
    without: Mapping[str, str],
    names: Sequence[str],
    primary: str | None,
) -> str:
    """Id of the primary metric.

    Raises:
        SrbenchError: the one that was named has no better side, or the two cannot be compared in it.
    """
    directed = [result.metric for result in compared if direction_of(result.metric) != "none"]
    if primary:
        (metric,) = _metric_ids(images, (primary,))
        if metric not in directed:
            why = without.get(metric, "in this metric neither direction is better")
            raise SrbenchError(f"{primary!r} cannot be the primary metric: {why}. Name another: --primary.")
        return metric
    named = [metric for name in names for metric in _metric_ids(images, (name,)) if metric in directed]
    return next(iter([*named, *directed]), "")


def _compare_metric(
    images: pd.DataFrame,
    metric: str,
    unit: str,
    sides: tuple[SelectedRuns, SelectedRuns],
    settings: ComparisonSettings,
    margin: Margin,
) -> MetricComparison | None:
    """The comparison in one metric, None where no image has a value of both."""
    side_of = {run: side for side, selected in enumerate(sides) for run in selected.runs}
    whole = score_matrix(rows_of(images, metric), side_of)
    methods = {side_of[method.runs[0]]: method for method in whole.methods}
    if len(methods) < 2:
        return None
    first, second = methods[0], methods[1]
    ours, theirs = whole.scored(first), whole.scored(second)
    if not np.any(ours & theirs):
        return None
    matrix = whole.part(np.flatnonzero(ours & theirs))
    categories = matrix.of_category if len(set(matrix.categories)) > 1 else {}
    return MetricComparison(
        metric,
        unit,
        margin,
        _mean(matrix, first),
        _mean(matrix, second),
        compare_pair(matrix, first, second, settings),
        tuple(_category(kind, part, first, second) for kind, part in categories.items()),
        _extremes(matrix, first, second, settings.sign),
        (int(np.sum(theirs & ~ours)), int(np.sum(ours & ~theirs))),
    )


def _mean(matrix: ScoreMatrix, method: Method) -> SideMean:
    clusters = matrix.clusters(method)
    return SideMean(clusters.mean, interval(clusters), seed_sd(clusters), len(method.runs))


def _category(category: str, matrix: ScoreMatrix, first: Method, second: Method) -> CategoryDifference:
    paired = matrix.clusters(first, second)
    return CategoryDifference(
        category,
        matrix.clusters(first).mean,
        matrix.clusters(second).mean,
        paired.mean,
        interval(paired),
        paired.images,
        len(paired.values),
    )


def _extremes(matrix: ScoreMatrix, first: Method, second: Method, sign: float) -> tuple[ImageDifference, ...]:
    """The images with the largest differences in favour of either, by how much they favour the first."""
    ours, theirs = (matrix.values[:, method.columns].mean(axis=1) for method in (first, second))
    favour = (sign or 1.0) * (ours - theirs)
    order = [int(index) for index in np.argsort(-favour, kind="stable")]
    ends = [index for index in order[:EXTREMES] if favour[index] > 0.0]
    ends += [index for index in order[-EXTREMES:] if favour[index] < 0.0]
    return tuple(
        ImageDifference(
            matrix.images[index],
            matrix.categories[index],
            float(ours[index]),
            float(theirs[index]),
            float(ours[index] - theirs[index]),
        )
        for index in ends
    )


def _warnings(
    store: ScoreStore, scores: pd.DataFrame, first: SelectedRuns, second: SelectedRuns
) -> list[str]:
    warnings = [
        f"{selected.name}: {reason}"
        for selected in (first, second)
        for reason in sorted({reason for m in selected.manifests for reason in reasons_unranked(m)})
    ]
    for side in (first, second):
        if side.passed_over:
            others = (f"{m.key.variant}; {SelectedRuns(side.name, (m,)).detail}" for m in side.passed_over)
            warnings.append(
                f"{side.name}: the training of the largest budget and validation gain is compared "
                f"({side.detail}). Passed over: {', '.join(others)}. Name another by its weights hash."
            )
    ours, theirs = set(first.runs), set(second.runs)
    pairs = [{run, original} for run, original in duplicate_runs(scores).items()]
    if any(pair & ours and pair & theirs for pair in pairs):
        warnings.append("Both score exactly the same on every image: most likely one output under two names.")
    elif _same_previews(store, first, second):
        warnings.append(
            "All stored previews of the two are the same pixels: most likely one output under two names."
        )
    if any(pair <= ours or pair <= theirs for pair in pairs):
        warnings.append(
            "Two seeds of one model score exactly the same: most likely one training stored twice."
        )
    return warnings


def _same_previews(store: ScoreStore, first: SelectedRuns, second: SelectedRuns) -> bool:
    """Whether a run of each has previews of the same images with the same pixels."""

    def hashes(manifest: Manifest) -> tuple[tuple[str, str], ...]:
        paths = [(image, store.preview(manifest.key, image)) for image in sorted(manifest.previews)]
        pictures = [(image, read_png(path)) for image, path in paths if path]
        return tuple((image, pixel_hash(pixels)) for image, pixels in pictures if pixels is not None)

    ours, theirs = ({hashes(manifest) for manifest in side.manifests} for side in (first, second))
    return bool((ours & theirs) - {()})


def select(
    manifests: Sequence[Manifest], names: tuple[str, str], conditions_named: RunFilter
) -> tuple[SelectedRuns, SelectedRuns, Conditions]:
    """The runs of two names under the one set of conditions that both were scored in.

    Args:
        manifests: all runs of the store.
        names: ``model``, ``model:variant`` or at least six digits of a weights hash.
        conditions_named: conditions that the user named.

    Raises:
        SrbenchError: nothing is stored, a name or condition is unknown, a name means several models, or the
            two cannot be compared; the message says what differs or what to add.
    """
    within = _within(manifests, conditions_named)
    sides = tuple(_named(within, manifests, name) for name in names)
    conditions = _common(names, *sides)
    first, second = (
        _one_training(name, [m for m in side if m.key.conditions == conditions])
        for name, side in zip(names, sides, strict=True)
    )
    if set(first.runs) & set(second.runs):
        raise SrbenchError(f"{names[0]!r} and {names[1]!r} are the same run: nothing to compare.")
    _check_same_lr(first, second)
    return first, second, conditions


def _within(manifests: Sequence[Manifest], conditions_named: RunFilter) -> list[Manifest]:
    """The complete runs under the conditions named."""
    left = [manifest for manifest in manifests if manifest.status == "complete"]
    if not left:
        raise SrbenchError(
            "No finished run is stored here. Score models first: srbench eval --all --dataset NAME."
        )
    for field, value in conditions_named._asdict().items():
        if value is not None:
            stored = {str(getattr(manifest.key, field)) for manifest in left}
            left = [m for m in left if _matches(field, str(getattr(m.key, field)), str(value))]
            if not left:
                raise unknown_name(f"{field} (among the stored runs)", str(value), stored)
    return left


def _matches(field: str, stored: str, value: str) -> bool:
    """Equal, or equal but for the version (``bicubic@1``) or the protocol's hash (``sem-grey-1a2b3c4d``).

    Of a dataset any spelling of the same folder, of data the start of their fingerprint.
    """
    if field == "data":
        return stored.startswith(value)
    if field == "dataset":
        return full_name(stored) == full_name(value)
    return stored == value or stored.split("@")[0] == value or re.sub(r"-[0-9a-f]{8}$", "", stored) == value


def _named(within: Sequence[Manifest], everything: Sequence[Manifest], name: str) -> list[Manifest]:
    named = [manifest for manifest in within if name in _names(manifest)]
    if not named and _HASH.fullmatch(name):
        named = [manifest for manifest in within if manifest.key.weights.startswith(name)]
    if named:
        return named
    elsewhere = [manifest for manifest in everything if name in _names(manifest)]
    for manifest in elsewhere:
        if manifest.status != "complete":
            raise SrbenchError(f"{name!r} has no scores ({manifest.status}): {manifest.reason}")
    if elsewhere:
        conditions = _listed({m.key.conditions.describe() for m in elsewhere})
        raise SrbenchError(
            f"{name!r} was not scored under the conditions asked for, only under: {conditions}"
        )
    raise unknown_name("model, model:variant or weights hash", name, {n for m in within for n in _names(m)})


def _names(manifest: Manifest) -> tuple[str, str]:
    return manifest.key.model, f"{manifest.key.model}:{manifest.key.variant}"


def _common(names: tuple[str, str], first: Sequence[Manifest], second: Sequence[Manifest]) -> Conditions:
    ours, theirs = ({manifest.key.conditions for manifest in side} for side in (first, second))
    if not ours & theirs:
        raise _incomparable(names, ours, theirs)
    both = [manifest for manifest in (*first, *second) if manifest.key.conditions in ours & theirs]
    shared = [base._replace(data=data) for base, data in newest_data(both).items()]
    if len({each._replace(degradation="", data="") for each in shared}) == 1:
        # Of a set of pairs the recorded LR is what eval scores unless told otherwise.
        shared = list(filter(is_recorded, shared)) or shared
    if len(shared) > 1:
        raise SrbenchError(
            f"{names[0]!r} and {names[1]!r} were both scored under {len(shared)} sets of conditions; choose "
            "with --dataset, --split, --scale, --degradation or --protocol:"
            f"{_listed(conditions.describe() for conditions in shared)}"
        )
    return shared[0]


def newest_data(manifests: Iterable[Manifest]) -> dict[Conditions, str]:
    """Conditions, their ``data`` left empty, to the data of the run that was made last under them."""
    newest: dict[Conditions, str] = {}
    for manifest in sorted(manifests, key=lambda manifest: (manifest.created, manifest.key.data)):
        newest[manifest.key.conditions._replace(data="")] = manifest.key.data
    return newest


def _data_states(manifests: Sequence[Manifest], conditions: Conditions, named: str | None) -> list[str]:
    """One line where the dataset was scored in other states too: which is compared, and how to choose."""
    states = {
        manifest.key.data: manifest
        for manifest in sorted(manifests, key=lambda manifest: manifest.created)
        if manifest.status == "complete"
        and manifest.key.conditions._replace(data="") == conditions._replace(data="")
    }
    if len(states) < 2:
        return []
    described = {
        data: f"{data[:8]} ({manifest.data.get('images', '?')} images, scored {manifest.created[:10]})"
        for data, manifest in states.items()
    }
    compared = described.pop(conditions.data)
    if conditions.data == next(reversed(states)):
        which = f"the newest is compared, data {compared}"
    elif named:
        which = f"not the newest is compared, as asked for, data {compared}"
    else:
        which = f"the newest that both were scored on is compared, data {compared}"
    others = ", ".join(reversed(described.values()))
    return [
        f"This dataset was scored in {len(states)} states: {which}. Others: {others}; --data PREFIX chooses."
    ]


def _incomparable(names: tuple[str, str], ours: set[Conditions], theirs: set[Conditions]) -> SrbenchError:
    """Say what differs between the two most similar conditions, and how to make them equal."""
    pairs = [(a, b) for a in sorted(ours) for b in sorted(theirs)]
    ours_best, theirs_best = min(pairs, key=lambda pair: len(_differing(*pair)))
    fields = _differing(ours_best, theirs_best)
    lines = [f"\n  {f}: {getattr(ours_best, f)} against {getattr(theirs_best, f)}" for f in fields]
    hint = f"srbench eval {names[1].split(':')[0]} --dataset {ours_best.dataset} --scale {ours_best.scale}"
    return SrbenchError(
        f"{names[0]!r} and {names[1]!r} cannot be compared: no scores under equal conditions. The nearest "
        f"differ in{''.join(lines)}\nScore both under the same, as: {hint} "
        f"--split {ours_best.split} --degradation {ours_best.degradation.split('@')[0]}"
    )


def _differing(first: Conditions, second: Conditions) -> list[str]:
    return [f for f, a, b in zip(Conditions._fields, first, second, strict=True) if a != b]


def training_of(manifest: Manifest) -> tuple[str, ...]:
    """What must be equal for runs to be repetitions of one training with other seeds."""
    key = manifest.key
    return key.model, key.variant, *(str(manifest.weights.get(name, "")) for name in _TRAINING)


def _one_training(name: str, manifests: Sequence[Manifest]) -> SelectedRuns:
    """The training of the largest budget, then of the largest validation gain; the others are passed over.

    Raises:
        SrbenchError: several are equal in both.
    """
    ordered = sorted(manifests, key=lambda manifest: (manifest.key.seed, manifest.key.weights))
    trainings: dict[tuple[str, ...], list[Manifest]] = {}
    for manifest in ordered:
        trainings.setdefault(training_of(manifest), []).append(manifest)
    best = max(map(_rank, trainings.values()))
    chosen = [manifest for runs in trainings.values() if _rank(runs) == best for manifest in runs]
    seeds = {manifest.key.seed for manifest in chosen}
    if len({training_of(manifest) for manifest in chosen}) > 1 or len(seeds) < len(chosen):
        lines = [f"\n  {m.key.model}:{m.key.variant}  {SelectedRuns(name, (m,)).detail}" for m in chosen]
        raise SrbenchError(
            f"{name!r} means {len(chosen)} runs of different trainings; name one as model:variant or by the "
            f"start of its weights hash:{''.join(lines)}"
        )
    return SelectedRuns(name, tuple(chosen), tuple(m for m in ordered if m not in chosen))


def _rank(runs: Sequence[Manifest]) -> tuple[int, float]:
    """Budget, and mean validation gain over bicubic in dB; -inf where it is not known."""
    gains = [manifest.weights.get("gain_over_bicubic") for manifest in runs]
    numbers = [float(gain) for gain in gains if isinstance(gain, (int, float))]
    budget = budget_rank(str(runs[0].weights.get("budget", "")))
    return budget, fmean(numbers) if numbers else -math.inf


def _check_same_lr(first: SelectedRuns, second: SelectedRuns) -> None:
    """The LR images themselves must be the same, whatever their degradation is called."""
    hashes = {str(m.data.get("lr_sha256") or "") for m in (*first.manifests, *second.manifests)} - {""}
    if len(hashes) > 1:
        raise SrbenchError(
            f"{first.name!r} and {second.name!r} were given different LR images (sha256 "
            f"{', '.join(sorted(digest[:12] for digest in hashes))}) under the same name: the degradation or "
            "its libraries changed in between. Score both again with srbench eval --force."
        )


def _listed(lines: Iterable[str]) -> str:
    return "".join(f"\n  {line}" for line in sorted(lines))
