"""Two models side by side: their paired difference in every metric, where it lies and what it is worth."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from srbench.errors import unknown
from srbench.evaluation.bootstrap import SAMPLES, SEED
from srbench.evaluation.contrast import Contrast, Rule, contrast, seed_sd
from srbench.evaluation.intervals import Interval, interval
from srbench.evaluation.margins import Margin, margin_of
from srbench.evaluation.paired import Verdict, holm
from srbench.evaluation.panel import Entry, Panel, panel_of, rows_of, twins
from srbench.evaluation.selection import Asked, Chosen, Conditions, choose
from srbench.evaluation.table import direction_of
from srbench.store import Manifest, ScoreStore

if TYPE_CHECKING:
    import pandas as pd

EXTREMES = 3
"""Images shown on either side."""


@dataclass(frozen=True)
class Mean:
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
        margin: what difference matters.
        first: mean of the first model.
        second: mean of the second.
        contrast: first minus second, corrected for all metrics compared.
        categories: by name; empty with a single one.
        images: the largest differences either way, by how much they favour the first model.
        missing: images that the first, and that the second, has no value for although the other has.
    """

    metric: str
    margin: Margin
    first: Mean
    second: Mean
    contrast: Contrast
    categories: tuple[CategoryDifference, ...]
    images: tuple[ImageDifference, ...]
    missing: tuple[int, int]

    @property
    def verdict(self) -> Verdict | Literal[""]:
        """Of the first model; never decided on images that only one of the two has."""
        return "undecided" if any(self.missing) else self.contrast.verdict


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
        metrics: one a metric, in the registry's order.
        without: metric to why it has no comparison.
        warnings: what limits the meaning of all of it.
    """

    first: Chosen
    second: Chosen
    conditions: Conditions
    n_images: int
    n_groups: int
    n_categories: int
    metrics: tuple[MetricComparison, ...]
    without: Mapping[str, str]
    warnings: tuple[str, ...]


def compare(
    store: ScoreStore,
    first: str,
    second: str,
    *,
    asked: Asked | None = None,
    metrics: Sequence[str] = (),
    margins: Mapping[str, float] | None = None,
    samples: int = SAMPLES,
    seed: int = SEED,
) -> Comparison:
    """Compare two models image by image.

    Args:
        store: where the scores are.
        first: ``model``, ``model:variant`` or the start of a weights hash; its training seeds are pooled.
        second: the same for the other one.
        asked: conditions, as far as they must be chosen.
        metrics: names or ids; when empty every stored one but the points of curves and what is the same for
            both because it describes the reference.
        margins: metric to the smallest difference that matters, in place of the defaults.
        samples: bootstrap resamples.
        seed: seed of the resampling.

    Raises:
        SrbenchError: a name is unknown or means several models, or the two cannot be compared.
    """
    one, other, conditions = choose(store.manifests(), (first, second), asked or Asked())
    scores = store.scores([manifest.key for manifest in (*one.manifests, *other.manifests)])
    images = scores[scores["image"] != ""]
    judged, without = [], {}
    for metric in _metrics(images, metrics):
        margin = margin_of(metric, margins)
        rule = Rule(direction_of(metric), margin.value, samples, seed)
        found = _judged(images, metric, (one, other), rule, margin)
        if found is not None and not metrics and _is_of_the_reference(found):
            continue
        if found is None:
            without[metric] = _why_missing(images[images["metric"] == metric])
        else:
            judged.append(found)
    return Comparison(
        one,
        other,
        conditions,
        n_images=int(images["image"].nunique()),
        n_groups=int(images["group"].nunique()),
        n_categories=int(images["category"].nunique()),
        metrics=_corrected(judged),
        without=without,
        warnings=tuple(_warnings(store, scores, one, other)),
    )


def _metrics(images: pd.DataFrame, asked: Sequence[str]) -> list[str]:
    """The ids to compare, in the registry's order."""
    from srbench.evaluation.metrics import registry

    stored = set(map(str, images["metric"].unique()))
    order = [metric.id for metric in registry.list_metrics()]
    names = {metric.name: metric.id for metric in registry.list_metrics() if metric.id in stored}
    for name in asked:
        if name not in stored and name not in names:
            raise unknown("metric (among the stored ones)", name, {*stored, *names})
    curves = {metric.id for metric in registry.list_metrics() if metric.family == "curve"}
    wanted = {names.get(name, name) for name in asked} if asked else stored - curves
    return sorted(wanted, key=lambda name: (order.index(name) if name in order else len(order), name))


def _is_of_the_reference(found: MetricComparison) -> bool:
    """Whether it says something about the reference alone: no better side, the same for both everywhere."""
    return found.contrast.rule.direction == "none" and not found.images


def _judged(
    images: pd.DataFrame, metric: str, sides: tuple[Chosen, Chosen], rule: Rule, margin: Margin
) -> MetricComparison | None:
    """The comparison in one metric, None where no image has a value of both."""
    rows = rows_of(images, metric)
    side_of = {run: side for side, chosen in enumerate(sides) for run in chosen.runs}
    panel = panel_of(rows, side_of)
    entries = {side_of[entry.runs[0]]: entry for entry in panel.entries}
    if len(entries) < 2:
        return None
    first, second = entries[0], entries[1]
    ours, theirs = panel.scored(first), panel.scored(second)
    if not np.any(ours & theirs):
        return None
    common = panel.part(np.flatnonzero(ours & theirs))
    kinds = common.of_category if len(set(common.categories)) > 1 else {}
    return MetricComparison(
        metric,
        margin,
        _mean(common, first, rule),
        _mean(common, second, rule),
        contrast(common, first, second, rule),
        tuple(_category(kind, part, first, second, rule) for kind, part in kinds.items()),
        _extremes(common, first, second, rule.sign),
        (int(np.sum(theirs & ~ours)), int(np.sum(ours & ~theirs))),
    )


def _mean(panel: Panel, entry: Entry, rule: Rule) -> Mean:
    clusters = panel.clusters(entry)
    found = interval(clusters, samples=rule.samples, seed=rule.seed)
    return Mean(clusters.mean, found, seed_sd(clusters), len(entry.runs))


def _category(kind: str, panel: Panel, first: Entry, second: Entry, rule: Rule) -> CategoryDifference:
    paired = panel.clusters(first, second)
    return CategoryDifference(
        kind,
        panel.clusters(first).mean,
        panel.clusters(second).mean,
        paired.mean,
        interval(paired, samples=rule.samples, seed=rule.seed),
        paired.images,
        len(paired.values),
    )


def _extremes(panel: Panel, first: Entry, second: Entry, sign: float) -> tuple[ImageDifference, ...]:
    """The images with the largest differences in favour of either, by how much they favour the first."""
    ours, theirs = (panel.values[:, entry.columns].mean(axis=1) for entry in (first, second))
    favour = (sign or 1.0) * (ours - theirs)
    order = [int(index) for index in np.argsort(-favour, kind="stable")]
    ends = [index for index in order[:EXTREMES] if favour[index] > 0.0]
    ends += [index for index in order[-EXTREMES:] if favour[index] < 0.0]
    return tuple(
        ImageDifference(
            panel.images[index],
            panel.categories[index],
            float(ours[index]),
            float(theirs[index]),
            float(ours[index] - theirs[index]),
        )
        for index in ends
    )


def _corrected(judged: Sequence[MetricComparison]) -> tuple[MetricComparison, ...]:
    """Holm's correction over the metrics compared."""
    adjusted = holm([found.contrast.p for found in judged])
    return tuple(
        replace(found, contrast=replace(found.contrast, p_holm=p))
        for found, p in zip(judged, adjusted, strict=True)
    )


def _why_missing(rows: pd.DataFrame) -> str:
    reasons = sorted({str(reason) for reason in rows["reason"] if reason})
    return "; ".join(reasons[:2]) or "only one of the two was scored on it; run srbench eval for the other"


def _warnings(store: ScoreStore, scores: pd.DataFrame, first: Chosen, second: Chosen) -> list[str]:
    found = [f"{chosen.name}: {words}" for chosen in (first, second) for words in _remarks(chosen)]
    alike = twins(scores)
    ours, theirs = set(first.runs), set(second.runs)
    pairs = [{run, other} for run, other in alike.items()]
    if any(pair & ours and pair & theirs for pair in pairs):
        found.append("Both score exactly the same on every image: most likely one output under two names.")
    elif _same_previews(store, first, second):
        found.append("All stored previews of the two are the same pixels: most likely one output, two names.")
    if any(pair <= ours or pair <= theirs for pair in pairs):
        found.append("Two seeds of one model score exactly the same: most likely one training stored twice.")
    return found


def _remarks(chosen: Chosen) -> list[str]:
    from srbench.reporting.rows import badges_of

    return sorted({badge for manifest in chosen.manifests for badge in badges_of(manifest)})


def _same_previews(store: ScoreStore, first: Chosen, second: Chosen) -> bool:
    """Whether a run of each has previews of the same images with the same pixels."""
    ours, theirs = ({_preview_hashes(store, m) for m in chosen.manifests} for chosen in (first, second))
    return bool((ours & theirs) - {()})


def _preview_hashes(store: ScoreStore, manifest: Manifest) -> tuple[tuple[str, str], ...]:
    paths = {image: store.preview(manifest.key, image) for image in manifest.previews}
    return tuple(
        (image, hashlib.sha256(path.read_bytes()).hexdigest())
        for image, path in sorted(paths.items())
        if path
    )
