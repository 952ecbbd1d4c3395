"""How wrong a measurement is on a model's images: its errors on fields whose reference is known."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from srbench import datasets
from srbench.datasets import Micrograph, MicrographSet
from srbench.datasets.base import RECORDED
from srbench.measuring.bank import Bank, Counts, ImagingConditions, QuantityErrors
from srbench.measuring.features import KINDS, Features, Kind, partners, statistics
from srbench.metrics.registry import MetricUnavailable
from srbench.statistics.conformal import FEWEST_GROUPS
from srbench.statistics.lengths import common_size
from srbench.utils.errors import SrbenchError, unknown_name
from srbench.utils.image import Pixels, Plane, to_grey
from srbench.utils.progress import ProgressCallback, ProgressEvent, silent

if TYPE_CHECKING:
    from srbench.datasets.degrade import Degradation
    from srbench.inference.predict import LoadedModel

AS_IS = "none"
"""Stands for a model where images are measured as they are."""
SINGLE = "single"
"""The quantity of single items."""
MOST_ITEMS = 200
"""About how many items of a field a bank holds."""
_DIGITS = 7


@dataclass(frozen=True)
class Enlargement:
    """What an image goes through before it is measured.

    Attributes:
        loaded: the model; None leaves the image as it is.
        device: where the model runs.
    """

    loaded: LoadedModel | None
    device: str = "cpu"

    @classmethod
    def of(
        cls,
        model: str,
        *,
        weights: Path | None = None,
        scale: int | None = None,
        variant: str | None = None,
        device: str = "auto",
        tell: Callable[[str], None] = silent,
    ) -> Enlargement:
        """By the model's name; errors as :func:`srbench.inference.predict.load_model`."""
        if model == AS_IS:
            if weights is not None or variant is not None or (scale or 1) != 1:
                raise SrbenchError(
                    "none measures images as they are: leave --weights, --variant and --scale away, or name "
                    "a model."
                )
            return cls(None)
        from srbench import models
        from srbench.inference.device import pick_device
        from srbench.inference.predict import load_model

        scales = models.card(model).scales
        scale = scale or (scales[0] if len(scales) == 1 else None)
        loaded = load_model(model, weights=weights, scale=scale, variant=variant, tell=tell)
        return cls(loaded, str(pick_device(device)))

    @property
    def scale(self) -> int:
        """Magnification."""
        return 1 if self.loaded is None else self.loaded.model.scale

    @property
    def trained_on(self) -> str:
        """What the weights learned from; empty where nothing was learned."""
        return "" if self.loaded is None else self.loaded.trained_on

    def __call__(self, pixels: Pixels) -> Plane:
        """The image to be measured, ``(scale*H, scale*W)`` in [0, 1]."""
        if self.loaded is not None:
            from srbench.inference.predict import super_resolve

            pixels = super_resolve(self.loaded.model, pixels, device=self.device)
        return to_grey(pixels)

    def conditions(self, kind: Kind, degradation: str, pixel_size_nm: float | None) -> ImagingConditions:
        """Of a measurement on images of ``degradation`` with measured pixels of this size."""
        model = None if self.loaded is None else self.loaded.model
        return ImagingConditions(
            kind.name,
            kind.algorithm,
            AS_IS if model is None else model.card.name,
            "" if model is None else model.variant,
            "" if self.loaded is None else self.loaded.weights_sha256,
            self.scale,
            degradation,
            pixel_size_nm,
        )


def kind_of(measure: str) -> Kind:
    """The kind of measurement that is called so.

    Raises:
        SrbenchError: there is none.
    """
    if measure not in KINDS:
        raise unknown_name("measurement", measure, KINDS)
    return KINDS[measure]


def calibrate(
    model: str,
    dataset: str | MicrographSet,
    measure: str,
    *,
    weights: Path | None = None,
    scale: int | None = None,
    variant: str | None = None,
    degradation: str | None = None,
    split: str | None = None,
    category: str | None = None,
    device: str = "auto",
    progress: ProgressCallback = silent,
) -> Bank:
    """Measure what a model makes of the fields of a dataset, and compare with what is known of them.

    The reference is known geometry where a field has it, else the reference scan or HR image, measured by the
    same algorithm.

    Args:
        model: registered name, or ``none`` for the images as they are.
        dataset: name, or an opened set.
        measure: ``particles``, ``lines``, ``pores`` or ``fibres``.
        weights: of the model; the best trained ones on disk when None.
        scale: magnification; that of recorded pairs, of the weights, else 4 (1 for ``none``).
        variant: of the model.
        degradation: how LR is made; recorded LR where the dataset has it, else ``bicubic``.
        split: of the dataset; ``test`` for a model that learned, else ``all``.
        category: of the fields; all when None.
        device: where the model runs.
        progress: called for every field.

    Raises:
        SrbenchError: unknown names, or too few groups of fields can be measured.
    """
    kind = kind_of(measure)
    micrographs = datasets.open(dataset) if isinstance(dataset, str) else dataset
    for remark in micrographs.remarks():
        progress(f"Note: {remark}")
    recorded = micrographs.recorded_scale
    enlargement = Enlargement.of(
        model,
        weights=weights,
        scale=scale or (recorded if model != AS_IS else None),
        variant=variant,
        device=device,
        tell=progress,
    )
    split = split or ("test" if enlargement.trained_on else "all")
    images = micrographs.split(split)
    if category is not None:
        if category not in (categories := sorted({image.category for image in images})):
            raise unknown_name("category", category, categories)
        images = tuple(image for image in images if image.category == category)
    way = degradation_of(degradation, micrographs, enlargement.scale)
    errors = field_errors(micrographs, images, kind, enlargement, way, progress)
    counts = errors.counts
    if counts.groups < FEWEST_GROUPS:
        reasons = "; ".join(f"{reason} ({count})" for reason, count in counts.left_out.items())
        raise SrbenchError(
            f"{kind.name} could be compared in {counts.groups} independent groups of fields of "
            f"{micrographs.name} (split {split}), {FEWEST_GROUPS} are needed: no interval. "
            + (f"Left out: {reasons}. " if reasons else "")
            + "Choose another --dataset or --split, or record more fields."
        )
    sizes = [image.pixel_size_nm or float("nan") for image in images]
    return Bank(
        enlargement.conditions(kind, way.id, common_size(sizes)),
        micrographs.name,
        micrographs.fingerprint,
        split,
        category or "",
        enlargement.trained_on,
        errors.reference,
        kind.item,
        counts,
        errors.quantities,
    )


@dataclass(frozen=True)
class FieldErrors:
    """Errors on fields of a dataset.

    Attributes:
        counts: as a bank stores them.
        quantities: as a bank stores them.
        reference: what they are against.
        reference_sizes: of all items of the reference, in pixels.
        met: whether each of these was measured.
        alone_sizes: of measured items that have no partner in the reference.
    """

    counts: Counts
    quantities: Mapping[str, QuantityErrors]
    reference: str
    reference_sizes: tuple[float, ...]
    met: tuple[bool, ...]
    alone_sizes: tuple[float, ...]


def degradation_of(name: str | None, micrographs: MicrographSet, scale: int) -> Degradation:
    """How the LR images of a dataset come about: recorded where they were, unless another way is named.

    Raises:
        DatasetError: it is not defined for this dataset or scale.
    """
    from srbench.datasets import degrade
    from srbench.datasets.lr_images import check_recorded

    way = degrade.get(name or ("bicubic" if micrographs.recorded_scale is None else RECORDED))
    degrade.check_task(way, scale)
    check_recorded(micrographs, way, scale)
    return way


def field_errors(
    micrographs: MicrographSet,
    images: Sequence[Micrograph],
    kind: Kind,
    enlargement: Enlargement,
    degradation: Degradation,
    progress: ProgressCallback = silent,
    label: str = "calibrate",
) -> FieldErrors:
    """Errors of a measurement on some fields of a dataset.

    Args:
        micrographs: the dataset.
        images: its fields.
        kind: what is measured.
        enlargement: what the LR image goes through.
        degradation: how LR is made.
        progress: called for every field.
        label: of the progress.
    """
    from srbench.datasets.lr_images import cut_to_scale, lr_of

    groups = {name: number for number, name in enumerate(sorted({image.group for image in images}))}
    rows: defaultdict[str, list[tuple[float, float, int]]] = defaultdict(list)
    left_out: Counter[str] = Counter()
    measured_groups: list[int] = []
    met: list[bool] = []
    sizes_of_all: list[float] = []
    alone_sizes: list[float] = []
    sources = set()
    for number, image in enumerate(images, 1):
        progress(ProgressEvent(label, number, len(images), "fields"))
        hr = cut_to_scale(micrographs.pixels(image.id), enlargement.scale)
        where = "in the reference"
        try:
            reference, source = _reference(micrographs, image, hr, kind, degradation)
            # Until it is measured, nothing of it is.
            sizes_of_all += list(reference.sizes[reference.counted])
            met += [False] * len(reference)
            where = "in the image"
            measured = kind.find(
                enlargement(lr_of(micrographs, image.id, hr, degradation, enlargement.scale)), 0.0
            )
        except MetricUnavailable as reason:
            left_out[f"{where}, {re.sub('[0-9][0-9.]*', '#', str(reason))}"] += 1
            continue
        sources.add(source)
        group = groups[image.group]
        measured_groups.append(group)
        pairs = partners(reference, measured)
        has_partner = np.isin(np.arange(len(reference.sizes)), pairs[:, 0])[reference.counted]
        met[len(met) - len(reference) :] = has_partner.tolist()
        pairs = pairs[measured.counted[pairs[:, 1]]]
        without = measured.counted & ~np.isin(np.arange(len(measured.sizes)), pairs[:, 1])
        alone_sizes += measured.sizes[without].tolist()
        sizes, true_sizes = measured.sizes[pairs[:, 1]], reference.sizes[pairs[:, 0]]
        # Of thousands of pixels of centre lines a part says as much.
        step = max(len(pairs) // MOST_ITEMS, 1)
        rows[SINGLE] += [
            (size, size - true, group) for size, true in zip(sizes[::step], true_sizes[::step], strict=True)
        ]
        # Percentiles of what both have: what is lost is counted, and is no error of a size.
        seen, true_values = statistics(sizes, measured.values), statistics(true_sizes, reference.values)
        for name, value in seen.items():
            if name in true_values:
                rows[name].append((value, value - true_values[name], group))
    quantities = {
        name: QuantityErrors(
            "" if name == "fraction" else "px",
            kind.item if name == SINGLE else "field",
            tuple(float(f"{row[0]:.{_DIGITS}g}") for row in values),
            tuple(float(f"{row[1]:.{_DIGITS}g}") for row in values),
            tuple(row[2] for row in values),
        )
        for name, values in rows.items()
        if values
    }
    is_met, all_sizes = np.array(met, dtype=bool), np.array(sizes_of_all)
    counts = Counts(
        len(measured_groups),
        len(set(measured_groups)),
        len(is_met),
        int((~is_met).sum()),
        len(alone_sizes),
        float(np.median(all_sizes[is_met])) if is_met.any() else 0.0,
        float(np.median(all_sizes[~is_met])) if not is_met.all() else 0.0,
        dict(left_out),
    )
    return FieldErrors(
        counts,
        quantities,
        " and ".join(sorted(sources)),
        tuple(map(float, sizes_of_all)),
        tuple(met),
        tuple(alone_sizes),
    )


def _reference(
    micrographs: MicrographSet, image: Micrograph, hr: Pixels, kind: Kind, degradation: Degradation
) -> tuple[Features, str]:
    """What is known of a field, and from where: geometry or a mask by hand; HR, measured, for the rest."""
    truth = micrographs.truth(image.id) if image.has_truth else None
    drawn = None if truth is None else kind.of_truth(truth, hr.shape[:2])
    if drawn is not None and len(drawn.sizes):
        return drawn, "truth"
    if truth is not None and drawn is None:
        raise MetricUnavailable(f"the scene has no {kind.name} of known size")
    mask = micrographs.mask(image.id) if image.has_mask else None
    if mask is not None and kind.of_mask is not None:
        return kind.of_mask(mask[: hr.shape[0], : hr.shape[1]]), "mask by hand"
    seen = kind.find(to_grey(hr), 0.0)
    if drawn is not None:
        return replace(seen, values={**seen.values, **drawn.values}), "truth"
    return seen, "reference scan" if degradation.recorded else "HR"
