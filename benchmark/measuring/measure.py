"""A measurement on a user's images: sizes, their uncertainty, and an interval or why there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srbench import datasets
from srbench.measuring.bank import Bank, ImagingConditions, read_bank
from srbench.measuring.calibration import (
    AS_IS,
    SINGLE,
    Enlargement,
    degradation_of,
    field_errors,
    kind_of,
)
from srbench.measuring.features import PERCENTILES, Features, Kind, partners, statistics
from srbench.measuring.fields import FieldFiles, FieldImage
from srbench.measuring.sharpness import METHODS, sharpness
from srbench.metrics.registry import MetricUnavailable
from srbench.statistics.conformal import (
    FEWEST_REFERENCE,
    LEVEL,
    Session,
    SizeBin,
    calibrate,
    find_bin,
    in_session,
)
from srbench.statistics.lengths import common_size
from srbench.statistics.tolerance import expanded_level
from srbench.utils.errors import SrbenchError
from srbench.utils.image import Pixels, Plane, to_uint8
from srbench.utils.progress import ProgressCallback, ProgressEvent, silent

Floats = NDArray[np.float64]

THRESHOLD_SHIFT = 0.1
"""By which part of the contrast of the two phases the threshold is moved either way for the budget."""
WORST_COVERED = 0.05
"""How far below its level the coverage of the reference items may lie before a bank is not believed."""
BEYOND = 0.1
"""How far, relative to it, a value of all fields may lie outside of the values of the calibration fields."""
SAMPLES = 1000
_SEED = 20_260
MEANS = ("fraction", "LER", "LWR")
"""Values of whole fields, averaged over them."""


@dataclass(frozen=True, eq=False)
class MeasuredField:
    """One field as it was measured.

    Attributes:
        name: of the file.
        image: what was measured, 8 bit, for a drawing.
        features: found on it.
        threshold: half of what a step from a lower to a higher threshold changes: ``sizes`` of the items, and
            values of the field.
        pixel_size_nm: side of its pixel; None where unknown.
        sharpness: blur in pixels by method.
    """

    name: str
    image: Pixels
    features: Features
    threshold: Mapping[str, Floats]
    pixel_size_nm: float | None
    sharpness: Mapping[str, float]


@dataclass(frozen=True)
class MeasuredValue:
    """One number of the result and its uncertainty budget: half widths at one level, None where unknown.

    Attributes:
        name: ``D10``, ``D50``, ``D90``, ``fraction``, ``LER`` or ``LWR``.
        unit: ``nm``, ``px``, or empty for a share.
        measured: on the images.
        correction: that was subtracted; None without an interval.
        value: measured minus correction.
        super_resolution: what the model and the imaging change.
        sampling: what other fields of the specimen might have given.
        threshold: what another choice of threshold changes.
        pixel_size: what the uncertainty of the pixel size makes of it, as the user gave it.
        together: root of the sum of their squares, of those that are known; None without an interval.
        why_not: why there is no interval; empty where there is one.
    """

    name: str
    unit: str
    measured: float
    correction: float | None
    value: float
    super_resolution: float | None
    sampling: float | None
    threshold: float | None
    pixel_size: float | None
    together: float | None
    why_not: str = ""


@dataclass(frozen=True)
class MeasurementResult:
    """The result.

    Attributes:
        measure: what was measured.
        item: one of them, in words.
        size: what its size is called.
        level: of all intervals.
        unit: of sizes.
        conditions: of the images.
        fields: that could be measured.
        items: counted.
        estimates: of the sizes and of whole fields.
        bins: of single items, in ``unit``; empty without an interval.
        sharpness: median over the fields, in ``unit``, by method.
        bank: digest of the bank; empty without one.
        bank_data: what the bank was calibrated on.
        session: what the reference fields said.
        lost: share of the reference items that the calibration lost; None without a bank.
        why_not: why there is no interval; empty where there is one.
        skipped: files that could not be measured, and why.
        remarks: what was done to the images, one line a kind.
    """

    measure: str
    item: str
    size: str
    level: float
    unit: str
    conditions: ImagingConditions
    fields: tuple[MeasuredField, ...]
    items: int
    estimates: tuple[MeasuredValue, ...]
    bins: tuple[SizeBin, ...]
    sharpness: Mapping[str, float]
    bank: str
    bank_data: str
    session: Session | None
    lost: float | None
    why_not: str
    skipped: Mapping[str, str]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Calibrated:
    """Bins by quantity for these images, in pixels, or the reason why there are none."""

    bins: Mapping[str, tuple[SizeBin, ...]] = field(default_factory=dict)
    session: Session | None = None
    why_not: str = ""


def measure(
    images: Sequence[Path],
    what: str,
    *,
    model: str | None = None,
    weights: Path | None = None,
    scale: int | None = None,
    variant: str | None = None,
    bank: Path | None = None,
    reference: str | None = None,
    bits: int | None = None,
    pixel_size_nm: float | None = None,
    pixel_size_percent: float | None = None,
    level: float = LEVEL,
    device: str = "auto",
    progress: ProgressCallback = silent,
) -> MeasurementResult:
    """Measure images, after super-resolving them where a model is named.

    An interval needs a bank made under the same conditions and reference fields of the same session: errors
    of one session do not hold in another.

    Args:
        images: files or folders.
        what: ``particles``, ``lines``, ``pores`` or ``fibres``.
        model: to super-resolve with; None measures the images as they are, be they results of ``infer``.
        weights: of the model.
        scale: magnification of the model; that of the bank, of the weights, else 4.
        variant: of the model.
        bank: made by :func:`srbench.measuring.calibration.calibrate`.
        reference: dataset of fields of this session whose LR and reference scan were recorded.
        bits: significant bits of files that store more than 8.
        pixel_size_nm: side of a pixel of the files.
        pixel_size_percent: how far it may be off, at ``level``.
        level: nominal coverage.
        device: where the model runs.
        progress: called for every field.

    Raises:
        SrbenchError: unknown names, no image can be measured, or images of different models were mixed.
    """
    kind = kind_of(what)
    stored = None if bank is None else read_bank(bank)
    enlargement = Enlargement.of(
        model or AS_IS,
        weights=weights,
        scale=scale or (None if stored is None or model is None else stored.conditions.scale),
        variant=variant,
        device=device,
        tell=progress,
    )
    files = FieldFiles(images, bits, pixel_size_nm)
    fields: list[MeasuredField] = []
    conditions: list[ImagingConditions] = []

    def use(image: FieldImage) -> None:
        progress(ProgressEvent("measure", len(fields) + len(files.skipped) + 1, len(files.files), "images"))
        if model is not None and image.record:
            raise SrbenchError("super-resolved already: measure it without --model")
        try:
            measured = _measured(image, kind, enlargement)
        except MetricUnavailable as reason:
            raise SrbenchError(str(reason)) from reason
        conditions.append(_conditions(image, kind, enlargement, measured.pixel_size_nm, stored))
        fields.append(measured)

    files.read(use)
    if not fields:
        reasons = "\n".join(f"{name}: {why}" for name, why in files.skipped.items())
        raise SrbenchError(f"No image could be measured.\n{reasons}")
    for other in conditions[1:]:
        if difference := replace(conditions[0], pixel_size_nm=other.pixel_size_nm).difference(other):
            raise SrbenchError(
                f"Images made in different ways cannot be measured together: {difference}. Run the command "
                "once for each."
            )
    common = common_size([item.pixel_size_nm or math.nan for item in fields])
    shared = replace(conditions[0], pixel_size_nm=common)
    calibrated = _calibrated(kind, shared, conditions, enlargement, stored, reference, level, progress)
    in_nm = all(item.pixel_size_nm for item in fields)
    sizes_nm = [item.pixel_size_nm or 1.0 if in_nm else 1.0 for item in fields]
    estimates = _estimates(fields, sizes_nm, "nm" if in_nm else "px", calibrated, level, pixel_size_percent)
    per_px = float(np.median(sizes_nm))
    counts = None if stored is None else stored.counts
    blurs = np.array([[item.sharpness[name] for name in METHODS] for item in fields])
    return MeasurementResult(
        kind.name,
        kind.item,
        kind.size,
        level,
        "nm" if in_nm else "px",
        shared,
        tuple(fields),
        sum(len(item.features) for item in fields),
        tuple(estimates),
        tuple(_in_unit(part, per_px) for part in calibrated.bins.get(SINGLE, ())),
        {
            name: float(np.median(finite)) * per_px
            for name, column in zip(METHODS, blurs.T, strict=True)
            if len(finite := column[np.isfinite(column)])
        },
        "" if stored is None else stored.digest,
        "" if stored is None else stored.fields,
        calibrated.session,
        None if counts is None or not counts.reference else counts.lost / counts.reference,
        calibrated.why_not,
        files.skipped,
        tuple(files.remarks()),
    )


def _measured(image: FieldImage, kind: Kind, enlargement: Enlargement) -> MeasuredField:
    plane = enlargement(image.pixels)
    features = kind.find(plane, 0.0)

    size = None if image.pixel_size_nm is None else image.pixel_size_nm / enlargement.scale
    eight_bits = to_uint8(np.round(plane * 65535.0).astype(np.uint16))
    moved = _threshold_changes(kind, plane, features)
    return MeasuredField(image.name, eight_bits, features, moved, size, sharpness(plane))


def _threshold_changes(kind: Kind, plane: Plane, features: Features) -> dict[str, Floats]:
    """Half the difference between two thresholds, of what both find; nothing where one finds none."""
    sizes, values = [], []
    for shift in (-THRESHOLD_SHIFT, THRESHOLD_SHIFT):
        try:
            moved = kind.find(plane, shift)
        except MetricUnavailable:
            return {}
        pairs = partners(features, moved)
        sizes.append(np.full(len(features.sizes), np.nan))
        sizes[-1][pairs[:, 0]] = moved.sizes[pairs[:, 1]]
        values.append(moved.values)
    half = np.abs(sizes[1] - sizes[0])[features.counted] / 2.0
    changes = {
        name: np.array([abs(values[1][name] - values[0][name]) / 2.0])
        for name in features.values
        if all(name in some for some in values)
    }
    return {"sizes": half[np.isfinite(half)], **changes}


def _conditions(
    image: FieldImage, kind: Kind, enlargement: Enlargement, size: float | None, bank: Bank | None
) -> ImagingConditions:
    """How an image came about: by the model of this call, or by that of an earlier ``infer``.

    How it was scanned stands in no file: what the bank says is believed until the reference fields speak.
    """
    degradation = "" if bank is None else bank.conditions.degradation
    conditions = enlargement.conditions(kind, degradation, size)
    if not image.record:
        return conditions
    record = {name: "" if value == "none" else value for name, value in image.record.items()}
    return replace(
        conditions,
        model=record.get("model", ""),
        variant=record.get("variant", ""),
        weights_sha256=record.get("weights_sha256", ""),
        scale=int(record["scale"]) if record.get("scale", "").isdecimal() else 0,
    )


def _calibrated(
    kind: Kind,
    shared: ImagingConditions,
    conditions: Sequence[ImagingConditions],
    enlargement: Enlargement,
    bank: Bank | None,
    reference: str | None,
    level: float,
    progress: ProgressCallback,
) -> Calibrated:
    """What the bank and the reference fields give, or why they give nothing."""
    if bank is None:
        return Calibrated(
            why_not="no bank of errors was given (--bank); srbench calibrate makes one from fields whose "
            "reference is known"
        )
    for seen in {shared, *conditions}:
        if difference := bank.conditions.difference(seen):
            return Calibrated(why_not=f"the bank does not fit these images: {difference}")
    if reference is None:
        return Calibrated(
            why_not="no reference fields of this session were given (--reference): record "
            f"{FEWEST_REFERENCE} fields or more twice, as these images and slowly; a bank of another session "
            "gives the width of an interval, not its centre"
        )
    if shared.model != AS_IS and enlargement.loaded is None:
        enlargement = Enlargement.of(shared.model, scale=shared.scale, variant=shared.variant, tell=progress)
    micrographs = datasets.open(f"pairs:{reference}" if Path(reference).is_dir() else reference)
    for remark in micrographs.remarks():
        progress(f"Reference: {remark}")
    way = degradation_of(None, micrographs, enlargement.scale)
    seen = enlargement.conditions(
        kind, way.id, common_size([i.pixel_size_nm or math.nan for i in micrographs.images])
    )
    if difference := bank.conditions.difference(seen):
        return Calibrated(why_not=f"the bank does not fit the reference fields: {difference}")
    # A model is better on what it learned from than it will be on new fields.
    header = None if enlargement.loaded is None else enlargement.loaded.header
    learned = header is not None and header.is_trained_on(micrographs.name, micrographs.fingerprint)
    images = micrographs.split("test" if learned else "all")
    quantities = field_errors(micrographs, images, kind, enlargement, way, progress, "reference").quantities
    sessions = {
        name: session
        for name, errors in quantities.items()
        if name in bank.quantities
        and (
            session := in_session(
                bank.quantities[name].arrays,
                calibrate(bank.quantities[name].arrays, level),
                errors.arrays,
                level,
            )
        )
    }
    single = sessions.get(SINGLE, sessions.get("fraction"))
    if single is None:
        groups = max((errors.arrays.group_count for errors in quantities.values()), default=0)
        return Calibrated(
            why_not=f"{kind.name} could be compared in {groups} independent groups of the reference fields, "
            f"{FEWEST_REFERENCE} are needed"
        )
    if single.covered < level - WORST_COVERED:
        return Calibrated(
            session=single,
            why_not=f"the bank does not hold in this session: its intervals cover {single.covered:.0%} of "
            f"{single.items} reference items instead of {level:.0%}; calibrate on fields of this kind",
        )
    return Calibrated({name: session.bins for name, session in sessions.items()}, single)


def _estimates(
    fields: Sequence[MeasuredField],
    sizes_nm: Sequence[float],
    unit: str,
    calibrated: Calibrated,
    level: float,
    pixel_size_percent: float | None,
) -> list[MeasuredValue]:
    """The percentiles of all sizes and the means over fields, each with its budget."""
    per_px = float(np.median(sizes_nm))
    whole = _statistics([item.features for item in fields], sizes_nm)
    sampling = _sampling([item.features for item in fields], sizes_nm, level)
    estimates = []
    for name, measured in whole.items():
        own_unit, factor = ("", 1.0) if name == "fraction" else (unit, per_px)
        moved = np.concatenate(
            [item.threshold.get("sizes" if name in PERCENTILES else name, np.zeros(0)) for item in fields]
        )
        threshold = float(np.median(moved)) * factor if len(moved) else None
        pixel = None
        if pixel_size_percent is not None:
            pixel = 0.0 if own_unit != "nm" else measured * pixel_size_percent / 100.0
        part, why = None, calibrated.why_not or "its error was not calibrated"
        if bins := calibrated.bins.get(name):
            low, high = bins[0].low * factor, bins[-1].high * factor
            why = f"it lies outside of what was calibrated, {low:.4g} to {high:.4g} {own_unit}".rstrip()
            if low * (1.0 - BEYOND) <= measured <= high * (1.0 + BEYOND):
                part, why = find_bin(bins, min(max(measured / factor, bins[0].low), bins[-1].high)), ""
        width = None if part is None else part.half_width * factor
        together = None
        if width is not None:
            parts = [value for value in (width, sampling.get(name), threshold, pixel) if value is not None]
            together = math.sqrt(sum(value**2 for value in parts))
        correction = None if part is None else part.correction * factor
        estimates.append(
            MeasuredValue(
                name,
                own_unit,
                measured,
                correction,
                measured - (correction or 0.0),
                width,
                sampling.get(name),
                threshold,
                pixel,
                together,
                why,
            )
        )
    return estimates


def _statistics(features: Sequence[Features], sizes_nm: Sequence[float]) -> dict[str, float]:
    """Percentiles of the sizes of all fields together, and means over the fields of their values."""
    sizes = np.concatenate([f.sizes[f.counted] * size for f, size in zip(features, sizes_nm, strict=True)])
    means = {}
    for name in MEANS:
        values = [
            f.values[name] * (1.0 if name == "fraction" else size)
            for f, size in zip(features, sizes_nm, strict=True)
            if name in f.values
        ]
        if values:
            means[name] = float(np.mean(values))
    return statistics(sizes, means)


def _sampling(features: Sequence[Features], sizes_nm: Sequence[float], level: float) -> dict[str, float]:
    """Half of the bootstrap interval over fields; nothing of a single field."""
    count = len(features)
    if count < 2:
        return {}
    generator = np.random.default_rng(_SEED)
    draws: dict[str, list[float]] = {}
    for _ in range(SAMPLES):
        drawn = generator.integers(0, count, count)
        for name, value in _statistics([features[n] for n in drawn], [sizes_nm[n] for n in drawn]).items():
            draws.setdefault(name, []).append(value)
    tail = (1.0 - expanded_level(count, level)) / 2.0
    return {
        name: float(np.diff(np.quantile(values, (tail, 1.0 - tail)))[0]) / 2.0
        for name, values in draws.items()
    }


def _in_unit(part: SizeBin, per_px: float) -> SizeBin:
    return replace(
        part,
        low=part.low * per_px,
        high=part.high * per_px,
        correction=part.correction * per_px,
        half_width=part.half_width * per_px,
    )
