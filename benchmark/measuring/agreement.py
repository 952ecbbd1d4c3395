"""Whether what a model makes of two scans of one field agrees: a check where there is no HR image.

What noise drives differs between the two scans, so that it shows. What a model invents alike in both, as a
network does that always draws the same wrong texture, passes: only a reference tells. That limit is printed
with every result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.images.decode import refuse_blank
from srbench.measuring.calibration import AS_IS, Enlargement, kind_of
from srbench.measuring.features import Features, Kind, partners, statistics
from srbench.measuring.fields import FieldFiles, FieldImage, reason_of
from srbench.measuring.scans import (
    ScanPair,
    Split,
    by_stem,
    halves,
    registered,
    resolution,
    rings_between,
    stem_of,
)
from srbench.metrics.detail_maps import maps_in
from srbench.metrics.registry import MetricUnavailable
from srbench.metrics.spectrum import RingSums
from srbench.reporting.crops import INVENTED, OPACITIES, STEPS
from srbench.statistics.lengths import common_size
from srbench.utils.errors import SrbenchError
from srbench.utils.files import unique_name, write_bytes
from srbench.utils.image import Plane, to_grey
from srbench.utils.progress import ProgressCallback, ProgressEvent, silent
from srbench.utils.text import json_values
from srbench.version import __version__

Floats = NDArray[np.float64]
Colour = tuple[int, int, int]
Driven = Literal["repeats", "driven by noise"]

INTERPOLATION = "bicubic"
FINEST_OCTAVE = 0.25
"""Cycles per pixel from which on the scans' own detail says how much of anything finer may repeat."""
MARGIN = 0.1
"""By how much less than the scans' finest octave the finer detail of a result may repeat."""
HALF = 0.5
"""Share of the finer detail that must repeat, whatever the scans share."""
AMOUNT = 2.0
"""How many times what interpolation carries over from noise a result must not repeat before it counts."""
ONLY_A, ONLY_B = (220, 40, 40), (40, 90, 255)
"""Colours of objects on the map that are in the result of one scan alone: red, green, blue."""
UNASKED = ("particles", "lines", "pores")
"""What is measured where nothing is named: centre lines of fibres are found on everything."""
LIMIT = (
    "Agreement catches invention that noise drives. It never catches systematic invention: what the model "
    "adds alike to both scans passes, and only a reference tells (srbench eval, srbench calibrate)."
)
WEAKER = (
    "One scan, split in two: a weaker check than two scans, since the halves have pixels twice as large and "
    "share drift, charging and focus."
)


@dataclass(frozen=True)
class Repeats:
    """One measurement on the results of both scans of a field.

    Attributes:
        measure: ``particles``, ``lines``, ``pores`` or ``fibres``.
        both: items that are in both.
        only_a: items in the result of the first scan alone.
        only_b: items in that of the second alone.
        differences: of the size of each item in both, second minus first, in pixels of the result.
        values: differences of values of the whole field, such as ``D50``, ``fraction`` or ``LWR``.
    """

    measure: str
    both: int
    only_a: int
    only_b: int
    differences: tuple[float, ...]
    values: Mapping[str, float]


@dataclass(frozen=True)
class FieldAgreement:
    """One field.

    Attributes:
        name: of its first scan.
        repeated: share of the detail finer than the scans' pixels that both results have, -1 to 1.
        permitted: the same of the finest octave of the scans themselves.
        amount: finer detail that does not repeat, over that of interpolation of the same scans.
        resolution_px: of the scans, in their pixels.
        verdict: whether noise drives the finer detail.
        unlike: share of the result where detail of one scan is not explained by that of the other.
        measurements: by kind, those that both results allow.
    """

    name: str
    repeated: float
    permitted: float
    amount: float
    resolution_px: float
    verdict: Driven
    unlike: float
    measurements: tuple[Repeats, ...]


@dataclass(frozen=True, eq=False)
class FieldMap:
    """What the map of a field shows.

    Attributes:
        image: result of the first scan, ``(H, W)`` in [0, 1].
        unlike: detail of one result that the other does not explain, in units of their mean detail.
        alone: objects that are in one result alone, with their colour.
    """

    image: Plane
    unlike: Plane
    alone: tuple[tuple[Features, Colour], ...]


@dataclass(frozen=True)
class Repeatability:
    """A measurement over all fields; lengths in ``unit`` of the result.

    Attributes:
        measure: what is measured.
        item: one of them, in words.
        fields: that could be measured twice.
        both: items in both results.
        only_one: items in one of them alone.
        change: median difference of a size.
        limit: 90 % of the differences of a size are smaller than this, without sign.
        values: mean difference, and largest without sign, of values of a field.
    """

    measure: str
    item: str
    fields: int
    both: int
    only_one: int
    change: float
    limit: float
    values: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class ScanAgreement:
    """The result.

    Attributes:
        model: registered name, or ``none``.
        variant: of the model.
        weights_sha256: of its weights.
        scale: magnification.
        split: how one scan was split; empty for two scans.
        unit: of lengths, ``nm`` or ``px`` of the result.
        fields: each.
        repeatability: of each kind that could be measured.
        maps: files that were written.
        skipped: files that could not be used, and why.
        remarks: what was done to pixels.
    """

    model: str
    variant: str
    weights_sha256: str
    scale: int
    split: str
    unit: str
    fields: tuple[FieldAgreement, ...]
    repeatability: tuple[Repeatability, ...]
    maps: tuple[Path, ...]
    skipped: Mapping[str, str]
    remarks: tuple[str, ...]

    @property
    def driven(self) -> int:
        """Fields whose finer detail noise drives."""
        return sum(field.verdict == "driven by noise" for field in self.fields)


def agree(
    a: Path,
    b: Path | None,
    model: str | Enlargement,
    *,
    weights: Path | None = None,
    scale: int | None = None,
    variant: str | None = None,
    split: Split = "diagonal",
    measures: Sequence[str] = (),
    bits: int | None = None,
    pixel_size_nm: float | None = None,
    device: str = "auto",
    out: Path | None = None,
    progress: ProgressCallback = silent,
) -> ScanAgreement:
    """Run a model on two scans of each field and compare the results.

    Args:
        a: file or folder.
        b: the same fields again: a file, or a folder with files of the same names; None splits each image.
        model: registered name; ``none`` compares the images as they are. Or what enlarges them.
        weights: of the model; the best trained ones when None.
        scale: magnification.
        variant: of the model.
        split: of single scans, see :func:`srbench.measuring.scans.halves`.
        measures: what is measured on both; what they allow of ``UNASKED`` when empty.
        bits: significant bits of files that store more than 8.
        pixel_size_nm: side of a pixel of the files.
        device: where the model runs.
        out: folder for a map of each field; none are drawn when None.
        progress: called for every field.

    Raises:
        SrbenchError: unknown names, or no field can be used.
    """
    kinds = [kind_of(name) for name in measures or UNASKED]
    enlargement = model
    if not isinstance(enlargement, Enlargement):
        enlargement = Enlargement.of(
            enlargement, weights=weights, scale=scale, variant=variant, device=device, tell=progress
        )
    files = FieldFiles([a], bits, pixel_size_nm)
    others = None if b is None else FieldFiles([b], bits, pixel_size_nm)
    matched, skipped = _matched(files, others, alone=b is not None and a.is_file() and b.is_file())
    sizes: list[float] = []
    fields, maps = [], []
    for number, (first, second) in enumerate(matched, 1):
        progress(ProgressEvent("agree", number, len(matched), "fields"))
        path, name, _ = first
        try:
            image = _only_page(files, first)
            if others is None or second is None:
                pair, pixel = next(halves(image.pixels, split)), 2.0
            else:
                pair, pixel = registered(image.pixels, _only_page(others, second).pixels), 1.0
            field, drawn = compared(name, pair, enlargement, kinds)
            fields.append(field)
        except (SrbenchError, MemoryError) as error:
            skipped[name] = reason_of(error, path)
            continue
        if out is not None:
            file = out / f"{unique_name(stem_of(name))}_agreement.png"
            write_bytes(file, _drawn(drawn))
            maps.append(file)
        sizes.append((image.pixel_size_nm or math.nan) * pixel / enlargement.scale)
    if not fields:
        reasons = "\n".join(f"{name}: {why}" for name, why in skipped.items())
        raise SrbenchError(f"No field can be compared.\n{reasons}")
    size = common_size(sizes)
    loaded = enlargement.loaded
    return ScanAgreement(
        AS_IS if loaded is None else loaded.model.card.name,
        "" if loaded is None else loaded.model.variant,
        "" if loaded is None else loaded.weights_sha256,
        enlargement.scale,
        "" if b is not None else split,
        "px" if size is None else "nm",
        tuple(fields),
        tuple(_pooled(fields, kinds, size or 1.0)),
        tuple(maps),
        skipped,
        (*files.remarks(), *(others.remarks() if others else ())),
    )


File = tuple[Path, str, Path]


def _matched(
    files: FieldFiles, others: FieldFiles | None, alone: bool
) -> tuple[list[tuple[File, File | None]], dict[str, str]]:
    """Scans of one field by their names, and what has no partner; two files are partners as they are."""
    if others is None:
        return [(file, None) for file in files.files], {}
    if alone:
        return [(files.files[0], others.files[0])], {}
    first, second = by_stem(files), by_stem(others)
    pairs: list[tuple[File, File | None]] = [
        (file, second[stem]) for stem, file in first.items() if stem in second
    ]
    skipped = {
        name: "no partner: not exactly one file of the other folder bears its name"
        for mine, theirs in ((files, second), (others, first))
        for _, name, _ in mine.files
        if stem_of(name) not in theirs or (mine is files and stem_of(name) not in first)
    }
    return pairs, skipped


def _only_page(files: FieldFiles, file: File) -> FieldImage:
    """The image in a file.

    Raises:
        SrbenchError: it cannot be read, has several pages, shows nothing, or was super-resolved already.
    """
    pages = list(files.images(*file))
    if len(pages) > 1:
        raise SrbenchError(f"{len(pages)} pages: save the two scans of a field as files of their own")
    if pages[0].record:
        raise SrbenchError("super-resolved already: give the scans themselves")
    refuse_blank(pages[0].pixels)
    return pages[0]


def compared(
    name: str, pair: ScanPair, enlargement: Enlargement, kinds: Sequence[Kind]
) -> tuple[FieldAgreement, FieldMap]:
    """What a model makes of two scans of a field, compared; and what is to be drawn of it.

    Raises:
        BadImage: the scans are too small.
    """
    scale = enlargement.scale
    a, b = (enlargement(scan) for scan in (pair.a, pair.b))
    shift = (pair.shift[0] * scale, pair.shift[1] * scale)
    between = rings_between(to_grey(pair.a), to_grey(pair.b), pair.shift)
    fine = 0.5 / scale if scale > 1 else FINEST_OCTAVE
    interpolation = Enlargement.of(INTERPOLATION, scale=scale) if scale > 1 else Enlargement(None)
    plain = [interpolation(scan) for scan in (pair.a, pair.b)]
    repeated, not_repeated = _above(rings_between(a, b, shift), fine)
    _, carried_over = _above(rings_between(plain[0], plain[1], shift), fine)
    permitted, _ = _above(between, FINEST_OCTAVE)
    amount = not_repeated / carried_over if carried_over > 0.0 else math.inf if not_repeated else 0.0
    driven = amount >= AMOUNT and repeated < max(permitted - MARGIN, HALF)
    unlike = np.mean(maps_in(a, _moved(b, shift), max(scale, 2), [(slice(None), slice(None))])[0], axis=0)
    measurements, alone = [], []
    for kind in kinds:
        try:
            features = [kind.find(plane, 0.0) for plane in (a, b)]
        except MetricUnavailable:
            continue
        if features[0].across != features[1].across:
            continue
        repeats, only = _repeats(kind, features[0], _shifted(features[1], shift))
        measurements.append(repeats)
        alone += only
    field = FieldAgreement(
        name,
        repeated,
        permitted,
        amount,
        resolution([between]).px,
        "driven by noise" if driven else "repeats",
        float((unlike > STEPS[1]).mean()),
        tuple(measurements),
    )
    return field, FieldMap(a, unlike, tuple(alone))


def _above(sums: RingSums, frequency: float) -> tuple[float, float]:
    """Correlation of what is finer, and how much of its power does not repeat."""
    band = sums.layout.frequency > frequency
    power = math.sqrt(float(sums.power_a[band].sum() * sums.power_b[band].sum()))
    if power <= 0.0:
        return 1.0, 0.0
    share = float(sums.cross[band].sum()) / power
    return share, (1.0 - share) * power


def _moved(plane: Plane, shift: tuple[float, float]) -> Plane:
    """The second result where the first lies; less than a pixel of the scans wraps around."""
    from scipy.ndimage import fourier_shift

    moved: Plane = np.fft.ifft2(fourier_shift(np.fft.fft2(plane), shift)).real
    return moved


def _shifted(features: Features, shift: tuple[float, float]) -> Features:
    """Features of the second result where they lie in the first."""
    by = np.array(shift)
    if features.edges:  # lines have no place along themselves
        by = np.array([0.0, shift[0] if features.across else shift[1]])
    return replace(features, centres=features.centres + by)


def _repeats(kind: Kind, first: Features, second: Features) -> tuple[Repeats, list[tuple[Features, Colour]]]:
    """What both have, and those of each that the other lacks."""
    pairs = partners(first, second)
    both = first.counted[pairs[:, 0]] & second.counted[pairs[:, 1]]
    only = []
    for features, column, colour in ((first, 0, ONLY_A), (second, 1, ONLY_B)):
        lacking = features.counted & ~np.isin(np.arange(len(features.sizes)), pairs[:, column])
        only.append((replace(features, counted=lacking), colour))
    differences = second.sizes[pairs[both, 1]] - first.sizes[pairs[both, 0]]
    seen = [statistics(item.sizes[item.counted], item.values) for item in (first, second)]
    values = {name: seen[1][name] - seen[0][name] for name in seen[0] if name in seen[1]}
    counts = [len(features) for features, _ in only]
    repeats = Repeats(
        kind.name, int(both.sum()), counts[0], counts[1], tuple(map(float, differences)), values
    )
    # Outlines of pixels of centre lines, and of lines, would cover the map.
    return repeats, only if first.regions is not None else []


def _pooled(
    fields: Sequence[FieldAgreement], kinds: Sequence[Kind], per_px: float
) -> Iterator[Repeatability]:
    for kind in kinds:
        here = [item for field in fields for item in field.measurements if item.measure == kind.name]
        differences = np.concatenate([np.array(item.differences) for item in here]) if here else np.zeros(0)
        values: dict[str, tuple[float, float]] = {}
        for name in sorted({name for item in here for name in item.values}):
            of_fields = np.array([item.values[name] for item in here if name in item.values])
            of_fields = of_fields * (1.0 if name == "fraction" else per_px)
            values[name] = float(of_fields.mean()), float(np.abs(of_fields).max())
        if not len(differences) and not values:
            continue
        yield Repeatability(
            kind.name,
            kind.item,
            len(here),
            sum(item.both for item in here),
            sum(item.only_a + item.only_b for item in here),
            float(np.median(differences)) * per_px if len(differences) else math.nan,
            float(np.quantile(np.abs(differences), 0.9)) * per_px if len(differences) else math.nan,
            values,
        )


def _drawn(field: FieldMap) -> bytes:
    """PNG of a result, tinted where the other is unlike it, with outlines of what the other lacks."""
    import cv2

    picture = np.repeat(field.image[..., None] * 255.0, 3, axis=2)
    opacity = np.array([0.0, *OPACITIES])[np.digitize(field.unlike, STEPS)][..., None]
    picture = np.ascontiguousarray(
        np.round(picture * (1.0 - opacity) + opacity * np.array(INVENTED)), np.uint8
    )
    for features, colour in field.alone:
        curves = [np.round(curve).astype(np.int32) for curve in features.outlines()]
        cv2.polylines(picture, curves, isClosed=True, color=colour, thickness=2)
    content: bytes = cv2.imencode(".png", picture[..., ::-1])[1].tobytes()
    return content


def statements(agreement: ScanAgreement) -> Iterator[str]:
    """The result in words, and its limit."""
    unit = agreement.unit
    for item in agreement.repeatability:
        name = f"{item.item}s, {item.fields} of {len(agreement.fields)} fields"
        if math.isfinite(item.limit):
            yield (
                f"{name}: {item.both} in both results, {item.only_one} in one alone; sizes differ by "
                f"{item.change:+.2g} {unit} (median), nine in ten by less than {item.limit:.2g} {unit}."
            )
        others = {key: value for key, value in item.values.items() if not key.startswith("D")}
        for key, (mean, largest) in others.items():
            of = "" if key == "fraction" else f" {unit}"
            yield f"{name}: {key} differs by {mean:+.2g}{of} (mean of fields), at most {largest:.2g}{of}."
    if agreement.driven:
        yield (
            f"Driven by noise in {agreement.driven} of {len(agreement.fields)} fields: detail finer than the "
            "scans' pixels does not repeat as the scans permit, and is more than interpolation carries over."
        )
    else:
        yield f"No invention driven by noise was seen in {len(agreement.fields)} fields."
    if agreement.split:
        yield WEAKER
    yield LIMIT


def as_json(agreement: ScanAgreement) -> dict[str, Any]:
    """Everything but the single differences, and the words."""
    bare = replace(agreement, fields=tuple(replace(field, measurements=()) for field in agreement.fields))
    content = {"srbench": __version__, **asdict(bare), "statements": list(statements(agreement))}
    content["maps"] = [str(path) for path in agreement.maps]
    for field in content["fields"]:
        del field["measurements"]
    cleaned: dict[str, Any] = json_values(content)
    return cleaned
