"""How far images may be magnified, and how fast they may be scanned, before a measurement cannot be trusted.

Two answers. On synthetic scenes of known geometry, recorded as the images were: for each magnification and
dose whether sizes can be trusted, and from which size on. On the images themselves, their noise taken out:
what the measurement becomes where they are scanned again, with a step of one, two or four pixels and another
dose, and a model makes up for it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from srbench.datasets import degrade
from srbench.datasets.synthetic.numbered import NumberedScenes
from srbench.measuring.acquisition import EquivalentSetting, RecordedImage, equivalent, examine
from srbench.measuring.bank import QuantityErrors
from srbench.measuring.calibration import (
    AS_IS,
    SINGLE,
    Enlargement,
    FieldErrors,
    field_errors,
    kind_of,
)
from srbench.measuring.features import KINDS, Kind, partners
from srbench.measuring.fields import FieldFiles, FieldImage, reason_of
from srbench.measuring.scans import (
    Resolution,
    by_stem,
    registered,
    resolution,
    rings_between,
    stem_of,
)
from srbench.metrics.registry import MetricUnavailable
from srbench.statistics.lengths import common_size
from srbench.statistics.tolerance import (
    MOST_LOST,
    TOLERANCES,
    Tolerance,
    ToleranceVerdict,
    chosen_tolerances,
    judge,
)
from srbench.utils.errors import SrbenchError
from srbench.utils.image import Pixels, Plane, to_grey
from srbench.utils.parallel import ProcessPool
from srbench.utils.progress import ProgressCallback, ProgressEvent, silent

Floats = NDArray[np.float64]
Verdict = Literal["trusted", "counts", "not trusted", "undecided"]

SCALES = (1, 2, 4)
DOSES = (0.25, 1.0, 4.0)
"""Doses that are tried, over that of the images."""
SCENES = 10
SIDE = 384
"""Of a scene, in pixels of its own: divided by the magnification in pixels of the images."""
DENOISER = "non_local_means"
"""Takes the noise out of an image that is to be scanned again: of the filters, the one that keeps edges."""
MOST_RESCANNED = 6
MOST_NETWORKS = 3
"""Networks of a magnification that are tried where none is named: the best ranked with weights here."""
MOST_IMAGES = 12
"""Images that are looked at: more say the same."""
SCENE_KINDS = {"particles": "particles", "lines": "patterned", "pores": "porous", "fibres": "fibres"}
MEASURED: Mapping[str, Mapping[str, str]] = {
    "particles": {SINGLE: "diameter_bias"},
    "lines": {SINGLE: "cd_bias", "LER": "ler_bias", "LWR": "lwr_bias"},
    "pores": {"fraction": "pore_fraction_bias"},
    "fibres": {SINGLE: "fibre_diameter_bias"},
}
"""Quantities of each kind, and the metric whose tolerance judges them; ``--tolerance`` is of the first."""
_THRESHOLDS = np.linspace(0.0, 0.5, 5)
_SAMPLES = 2000


@dataclass(frozen=True)
class CellVerdict:
    """A measurement with one model at one magnification and dose, on synthetic scenes.

    Lengths are in pixels of the images; of a fraction they are shares.

    Attributes:
        quantity: what is judged: ``single``, ``LER``, ``LWR`` or ``fraction``.
        scale: magnification.
        dose: over that of the images.
        model: registered name.
        verdict: of its values; ``counts`` where only the number of the items can be trusted.
        smallest: size from which on that holds; 0 for what has no size.
        tested: smallest and largest size on the scenes; 0 for what has no size.
        change: what magnification adds to the error of noise-free images.
        low: lower end of its 95 % interval.
        high: upper end.
        lost: share of the items from that size on that are found on noise-free images and not here.
        invented: share of the items measured that are none, beyond those of noise-free images.
    """

    quantity: str
    scale: int
    dose: float
    model: str
    verdict: Verdict
    smallest: float
    tested: tuple[float, float]
    change: float
    low: float
    high: float
    lost: float
    invented: float


@dataclass(frozen=True)
class Rescan:
    """What is measured on the images scanned again, with a larger step or another dose, and brought back.

    Lengths are in pixels of the images; of a fraction they are shares.

    Attributes:
        step: of the scan, in pixels of the images; the magnification of the model.
        dose: of a pixel, over that of the images.
        model: registered name.
        verdict: whether the measurement keeps the tolerance.
        images: that could be measured both ways.
        change: median change of a size, or mean change of a share.
        spread: 90 % of the single changes are nearer to it than this; 0 for a share.
        lost: share of the items that are not found.
    """

    step: int
    dose: float
    model: str
    verdict: Verdict
    images: int
    change: float
    spread: float
    lost: float


@dataclass(frozen=True)
class Advice:
    """The answer.

    Attributes:
        measure: what is measured.
        item: one of them, in words.
        images: that were looked at.
        pixel_size_nm: of all of them; None where unknown.
        dwell_s: seconds of a pixel under the beam, median; None where no file says it.
        resolution_px: median period that the images resolve.
        limited: whether they resolve finer than their pixels let one see.
        second_scans: images of which that is by a second scan, not by the halves of one image.
        setting: equivalent of ``sem_pixel``.
        tolerances: by quantity, in pixels of the images or as a share.
        judgements: the best model of each quantity, magnification and dose.
        all_judgements: of every model.
        rescans: the best model of each step and dose, on the images themselves.
        all_rescans: of every model.
        skipped: files that could not be used, and why.
        remarks: what was done to pixels, and which weights were taken.
    """

    measure: str
    item: str
    images: int
    pixel_size_nm: float | None
    dwell_s: float | None
    resolution_px: float
    limited: bool
    second_scans: int
    setting: EquivalentSetting
    tolerances: Mapping[str, float]
    judgements: tuple[CellVerdict, ...]
    all_judgements: tuple[CellVerdict, ...]
    rescans: tuple[Rescan, ...]
    all_rescans: tuple[Rescan, ...]
    skipped: Mapping[str, str]
    remarks: tuple[str, ...]

    @property
    def larger_pixel(self) -> int:
        """How many times as large a pixel may be that still samples what the images resolve."""
        return max(int(self.resolution_px / 2.0 + 1e-9), 1)


def advise(
    images: Sequence[Path],
    what: str,
    *,
    models: Sequence[str] = (),
    second: Path | None = None,
    tolerance: str | None = None,
    bits: int | None = None,
    pixel_size_nm: float | None = None,
    scales: Sequence[int] = SCALES,
    doses: Sequence[float] = DOSES,
    scenes: int = SCENES,
    side: int = SIDE,
    workers: int | None = None,
    progress: ProgressCallback = silent,
) -> Advice:
    """Fit how images were recorded, and try measurements under these conditions.

    Args:
        images: files or folders, of one session.
        what: ``particles``, ``lines``, ``pores`` or ``fibres``.
        models: registered names beside interpolation; the best ranked of those with weights here when empty.
        second: folder (or file) with a second scan of each field, under the same names; the resolution is
            then that of two scans, where they fit.
        tolerance: how much magnification may change the measurement, as ``2nm``, ``0.5px`` or ``0.02``; half
            a pixel of the images, or 0.02, when None.
        bits: significant bits of files that store more than 8.
        pixel_size_nm: side of a pixel; what the files say when None.
        scales: magnifications.
        doses: over that of the images.
        scenes: synthetic scenes.
        side: of a scene in pixels; a multiple of 24.
        workers: processes; one a core when None.
        progress: called for every image, and every magnification, dose and model.

    Raises:
        SrbenchError: unknown names, no image can be used, or a tolerance in nm without a pixel size.
    """
    kind = kind_of(what)
    remarks: list[str] = []
    ways = _models(models, scales, remarks.append)
    files = FieldFiles(images, bits, pixel_size_nm)
    others = {} if second is None else by_stem(repeated := FieldFiles([second], bits, pixel_size_nm))
    seconds = 0

    def by_two(name: str, pixels: Pixels) -> Resolution | None:
        """By the second scan, where there is one that fits."""
        nonlocal seconds
        file = others.get(stem_of(name))
        if file is None:
            return None
        try:
            pair = registered(pixels, next(repeated.images(*file)).pixels)
            result = resolution([rings_between(to_grey(pair.a), to_grey(pair.b), pair.shift)])
        except (SrbenchError, MemoryError) as error:
            remarks.append(f"second scan of {name} not used: {reason_of(error, file[0])}")
            return None
        seconds += 1
        return result

    fields, recorded = _examined(files, by_two, progress)
    sizes = [field.pixel_size_nm or math.nan for field in fields]
    size = common_size(sizes)
    if size is None and not all(map(math.isnan, sizes)):
        listed = ", ".join("unknown" if math.isnan(nm) else f"{nm:.4g} nm" for nm in sorted(set(sizes)))
        raise SrbenchError(
            f"The images have different pixel sizes ({listed}). Advice is for one setting of the microscope: "
            "give the images of one, or --pixel-size-nm."
        )
    tolerances = _tolerances(what, tolerance, size)
    dwell = [field.dwell_s for field in fields if field.dwell_s]
    some = NumberedScenes(SCENE_KINDS[what], scenes, side, functools.partial(_has_items, what, side))
    modules = _modules(ways)
    if here := [name for name, module in modules.items() if module == "__main__"]:
        progress(f"Note: one process does the work: {', '.join(here)} is registered in the script itself.")
        workers = 1
    with ProcessPool(_work, workers, imports=sorted(set(modules.values()))) as pool:
        setting = equivalent(recorded, some, progress)
        jobs = [
            _OnScenes(what, some, model, scale, setting.degradation(scale, dose), dose)
            for dose in doses
            for scale, names in ways.items()
            for model in names
        ]
        clean = _noise_free(fields, kind)
        again = [
            _OnImages(what, setting, clean, model, scale, dose)
            for dose in doses
            for scale, names in ways.items()
            for model in names
            if clean
        ]
        on_hr = _OnScenes(what, some, AS_IS, 1, "area", 1.0)
        results: list[FieldErrors | Changes] = []
        work: list[_OnScenes | _OnImages] = [on_hr, *jobs, *again]
        for _, outcome in pool.map((None, job) for job in work):
            results.append(outcome)
            progress(
                ProgressEvent("scenes and scans", len(results), 1 + len(jobs) + len(again), "conditions")
            )
    reference, *of_scenes = (outcome for outcome in results if isinstance(outcome, FieldErrors))
    of_images = [outcome for outcome in results if isinstance(outcome, Changes)]
    judgements = [
        judgement
        for job, errors in zip(jobs, of_scenes, strict=True)
        for judgement in _judged(job, errors, reference, tolerances)
    ]
    first = next(iter(MEASURED[what]))
    rescans = [
        _rescan(job, changes, tolerances[first]) for job, changes in zip(again, of_images, strict=True)
    ]
    resolutions = [image.resolution for image in recorded]
    return Advice(
        what,
        kind.item,
        len(fields),
        size,
        float(np.median(dwell)) if dwell else None,
        float(np.median([item.px for item in resolutions])),
        sum(item.limited for item in resolutions) > len(resolutions) / 2,
        seconds,
        setting,
        tolerances,
        tuple(_best(judgements)),
        tuple(judgements),
        tuple(_best(rescans)),
        tuple(rescans),
        files.skipped,
        (*files.remarks(), *remarks),
    )


def _models(
    names: Sequence[str], scales: Sequence[int], tell: Callable[[str], None]
) -> dict[int, tuple[str, ...]]:
    """Models by magnification, interpolation first: those that are named, or have weights here.

    Raises:
        SrbenchError: a named one is unknown, or has no weights at any of the magnifications.
    """
    from srbench import models
    from srbench.weights import candidates

    for name in names:
        models.card(name)
    chosen = {}
    for scale in scales:
        base = (AS_IS, "gaussian") if scale == 1 else ("bicubic",)
        there = dict.fromkeys(weights.header.model for weights in candidates(scale=scale))
        usable = [
            name
            for name in names or list(there)[:MOST_NETWORKS]
            if name in there or not models.card(name).trainable
        ]
        for name in usable:
            Enlargement.of(name, scale=scale, tell=tell)
        chosen[scale] = tuple(dict.fromkeys((*base, *usable)))
    for name in names:
        if not any(name in there for there in chosen.values()):
            raise SrbenchError(
                f"{name} has no weights at x{', x'.join(map(str, scales))}. Train it (srbench train {name}), "
                "or leave --model away: srbench weights list names what there is."
            )
    return chosen


def _modules(ways: Mapping[int, Sequence[str]]) -> dict[str, str]:
    """What registers each of the models that are tried."""
    from srbench import models

    names = dict.fromkeys(name for names in ways.values() for name in names if name != AS_IS)
    return {name: models.card(name).module for name in names}


def _examined(
    files: FieldFiles, by_two: Callable[[str, Pixels], Resolution | None], progress: ProgressCallback
) -> tuple[list[FieldImage], list[RecordedImage]]:
    """Images and what they tell, spread over all where there are many."""
    fields: list[FieldImage] = []
    recorded: list[RecordedImage] = []
    step = math.ceil(len(files.files) / MOST_IMAGES)
    chosen = files.files[::step]
    for number, (path, name, folder) in enumerate(chosen, 1):
        try:
            for image in files.images(path, name, folder):
                recorded.append(examine(image.pixels, by_two(name, image.pixels)))
                fields.append(image)
        except (SrbenchError, MemoryError) as error:
            files.skipped[name] = reason_of(error, path)
        progress(ProgressEvent("images", number, len(chosen), "images"))
    if not fields:
        reasons = "\n".join(f"{name}: {why}" for name, why in files.skipped.items())
        raise SrbenchError(f"No image can be used.\n{reasons}")
    return fields, recorded


def _tolerances(what: str, given: str | None, size: float | None) -> dict[str, float]:
    """By quantity, in pixels of the images, or as a share."""
    tolerances = {quantity: TOLERANCES[metric].value for quantity, metric in MEASURED[what].items()}
    if given is None:
        return tolerances
    first, metric = next(iter(MEASURED[what].items()))
    chosen = chosen_tolerances({metric: given})[metric]
    if chosen.unit == "nm" and size is None:
        raise SrbenchError(
            f"A tolerance of {chosen} needs the pixel size, which the files do not tell: give it with "
            "--pixel-size-nm, or a tolerance such as 0.5px."
        )
    return {**tolerances, first: chosen.value / (size if chosen.unit == "nm" and size else 1.0)}


def _has_items(what: str, side: int, truth: Mapping[str, object]) -> bool:
    geometry = KINDS[what].of_truth(truth, (side, side))
    return geometry is not None and bool(len(geometry.sizes) or geometry.values)


@dataclass(frozen=True)
class _OnScenes:
    """What one process is given."""

    what: str
    scenes: NumberedScenes
    model: str
    scale: int
    degradation: str
    dose: float


@dataclass(frozen=True, eq=False)
class _OnImages:
    """The images scanned again under one condition, for one process."""

    what: str
    setting: EquivalentSetting
    images: tuple[Plane, ...]
    model: str
    step: int
    dose: float


@dataclass(frozen=True)
class Changes:
    """What scanning again changes: by image, the changes of its items, or of its share; and how many items.

    Attributes:
        items: of each image.
        met: items of all images, found both ways.
        there: items of all images before.
        image_lost: images that cannot be measured any more.
    """

    items: tuple[tuple[float, ...], ...]
    met: int
    there: int
    image_lost: int


def _work(job: _OnScenes | _OnImages) -> FieldErrors | Changes:
    if isinstance(job, _OnImages):
        return _changes(job)
    way = degrade.get(job.degradation)
    return field_errors(
        job.scenes, job.scenes.images, KINDS[job.what], _enlargement(job.model, job.scale), way
    )


@functools.lru_cache(maxsize=8)
def _enlargement(model: str, scale: int) -> Enlargement:
    return Enlargement.of(model, scale=scale)


def _judged(
    job: _OnScenes, errors: FieldErrors, on_hr: FieldErrors, tolerances: Mapping[str, float]
) -> Iterator[CellVerdict]:
    """Of every quantity."""
    for quantity, metric in MEASURED[job.what].items():
        per_px = job.scale if TOLERANCES[metric].unit == "px" else 1
        limit = Tolerance(
            tolerances[quantity] * per_px, TOLERANCES[metric].unit, TOLERANCES[metric].name, "", chosen=True
        )
        if quantity == SINGLE:
            yield _judged_sizes(job, metric, errors, on_hr, limit)
            continue
        values, hr = (some.quantities.get(quantity) for some in (errors, on_hr))
        names = [image.id for image in job.scenes.images]
        bias, error_hr = (_means(some, len(names), 0.0) for some in (values, hr))
        verdict = judge(metric, bias, error_hr, names, [""] * len(names), tolerance=limit, samples=_SAMPLES)
        yield _judgement(job, quantity, verdict.status, _Evidence(verdict), per_px)


def _judged_sizes(
    job: _OnScenes, metric: str, errors: FieldErrors, on_hr: FieldErrors, limit: Tolerance
) -> CellVerdict:
    """The smallest size from which on sizes can be trusted, else from which on counts can."""
    single, hr = (some.quantities.get(SINGLE) for some in (errors, on_hr))
    all_sizes, met, met_on_hr = map(np.array, (errors.reference_sizes, errors.met, on_hr.met))
    alone, alone_on_hr = map(np.array, (errors.alone_sizes, on_hr.alone_sizes))
    names = [image.id for image in job.scenes.images]
    dense = job.what == "fibres"
    thresholds = np.unique(np.quantile(all_sizes, _THRESHOLDS).round(1)) if len(all_sizes) else np.zeros(1)
    trusted: CellVerdict | None = None
    counts: CellVerdict | None = None
    failed: CellVerdict | None = None
    counting = not dense
    # What holds from a size on holds from every larger one on: the largest first, until something fails.
    for smallest in map(float, thresholds[::-1]):
        # What noise-free images do not show either is not lost by recording and magnifying.
        here = (all_sizes >= smallest) & met_on_hr
        lost = 1.0 - int((here & met).sum()) / max(int(here.sum()), 1)
        false = int((alone >= smallest).sum()) - int((alone_on_hr >= smallest).sum())
        invented = max(false, 0) / max(int((met & (all_sizes >= smallest)).sum()) + max(false, 0), 1)
        bias, error_hr = (_means(some, len(names), smallest) for some in (single, hr))
        evidence = judge(
            metric, bias, error_hr, names, [""] * len(names), tolerance=limit, lost=0, samples=_SAMPLES
        )

        def judged(verdict: Verdict, here: _Evidence) -> CellVerdict:
            return _judgement(job, SINGLE, verdict, here, job.scale, all_sizes)

        at = _Evidence(evidence, smallest, lost, invented)
        status: Verdict = "not trusted" if lost > MOST_LOST else evidence.status
        if failed is None and status == "trusted":
            trusted = judged("trusted", at)
        elif failed is None and status == "not trusted":
            failed = judged("not trusted", at)
        counting &= max(lost, invented) <= MOST_LOST
        if counting:
            counts = judged("counts", at)
        if failed is not None and not counting:
            break
    return trusted or counts or failed or judged("undecided", at)


@dataclass(frozen=True)
class _Evidence:
    """Of the items from a size on: the verdict, and what is lost and invented."""

    verdict: ToleranceVerdict
    smallest: float = 0.0
    lost: float = 0.0
    invented: float = 0.0


def _judgement(
    job: _OnScenes,
    quantity: str,
    verdict: Verdict,
    evidence: _Evidence,
    per_px: int,
    sizes: Floats | None = None,
) -> CellVerdict:
    tested = (0.0, 0.0)
    if sizes is not None and len(sizes):
        tested = (float(sizes.min()) / per_px, float(sizes.max()) / per_px)
    judged = evidence.verdict
    return CellVerdict(
        quantity,
        job.scale,
        job.dose,
        job.model,
        verdict,
        evidence.smallest / per_px,
        tested,
        judged.change / per_px,
        judged.low / per_px,
        judged.high / per_px,
        evidence.lost,
        evidence.invented,
    )


def _means(errors: QuantityErrors | None, scenes: int, smallest: float) -> list[float]:
    """Mean error of each scene, of items whose true size is ``smallest`` or more; NaN without any."""
    means = np.full(scenes, np.nan)
    if errors is not None:
        arrays = errors.arrays
        large = arrays.where(arrays.measured - arrays.errors >= smallest) if smallest else arrays
        for group in np.unique(large.groups):
            means[group] = large.errors[large.groups == group].mean()
    return [float(mean) for mean in means]


Tried = TypeVar("Tried", CellVerdict, Rescan)


def _best(tried: Sequence[Tried]) -> Iterator[Tried]:
    """The model to be taken for each quantity, magnification and dose."""
    order = ("trusted", "counts", "undecided", "not trusted")
    cells: dict[tuple[str, int, float], list[Tried]] = {}
    for item in tried:
        quantity, scale = (item.quantity, item.scale) if isinstance(item, CellVerdict) else ("", item.step)
        cells.setdefault((quantity, scale, item.dose), []).append(item)

    def rank(item: Tried) -> tuple[float, ...]:
        change = abs(item.change) if math.isfinite(item.change) else math.inf
        smallest = item.smallest if isinstance(item, CellVerdict) else round(item.lost, 2)
        return order.index(item.verdict), smallest, change

    for cell in cells.values():
        yield min(cell, key=rank)


def _noise_free(fields: Sequence[FieldImage], kind: Kind) -> tuple[Plane, ...]:
    """Images without most of their noise, of those that can be measured: what is scanned again."""
    denoise = Enlargement.of(DENOISER, scale=1)
    images = []
    for field in fields[:MOST_RESCANNED]:
        image = denoise(field.pixels)
        try:
            if len(kind.find(image, 0.0).sizes):
                images.append(image)
        except MetricUnavailable:
            continue
    return tuple(images)


def _changes(job: _OnImages) -> Changes:
    kind, step = KINDS[job.what], job.step
    enlargement = _enlargement(job.model, step)
    items: list[tuple[float, ...]] = []
    met = there = lost = 0
    for seed, image in enumerate(job.images):
        reference = kind.find(image, 0.0)
        there += len(reference)
        coarse = np.ascontiguousarray(image[step // 2 :: step, step // 2 :: step])
        try:
            seen = kind.find(enlargement(job.setting.scan_again(coarse, job.dose, seed)), 0.0)
        except MetricUnavailable:
            lost += 1
            continue
        pairs = partners(reference, seen)
        pairs = pairs[reference.counted[pairs[:, 0]]]
        met += len(np.unique(pairs[:, 0]))
        changes = seen.sizes[pairs[:, 1]] - reference.sizes[pairs[:, 0]]
        if "fraction" in MEASURED[job.what]:
            changes = np.array([seen.values["fraction"] - reference.values["fraction"]])
        items.append(tuple(map(float, changes)))
    return Changes(tuple(items), met, there, lost)


def _rescan(job: _OnImages, changes: Changes, tolerance: float) -> Rescan:
    metric = next(iter(MEASURED[job.what].values()))
    card = TOLERANCES[metric]
    limit = Tolerance(tolerance, card.unit, card.name, "", chosen=True)
    means = [float(np.mean(items)) for items in changes.items if items]
    names = [str(number) for number in range(len(means))]
    evidence = judge(
        metric,
        means,
        None,
        names,
        [""] * len(names),
        tolerance=limit,
        lost=changes.image_lost,
        samples=_SAMPLES,
    )
    lost = 1.0 - changes.met / changes.there if changes.there else math.nan
    flat = np.array([change for items in changes.items for change in items])
    change = float(np.median(flat)) if len(flat) else math.nan
    spread = float(np.quantile(np.abs(flat - change), 0.9)) if len(flat) else math.nan
    is_share = "fraction" in MEASURED[job.what]
    verdict: Verdict = "not trusted" if lost > MOST_LOST and not is_share else evidence.status
    return Rescan(
        job.step, job.dose, job.model, verdict, len(means), change, 0.0 if is_share else spread, lost
    )
