"""A bank: the errors of one measurement on calibration fields, and under which conditions they hold.

A JSON file that holds the single errors, so that anybody can compute intervals of another level from it, or
check those that are printed. Whoever reads one believes none of it: types, sizes and finiteness are checked.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from srbench.statistics.conformal import Errors
from srbench.utils.errors import SrbenchError
from srbench.utils.files import read_json, write_text
from srbench.utils.text import printable
from srbench.utils.typed_json import typed

FORMAT = 1
SAME_PIXEL = 0.02
"""Largest relative difference of pixel sizes between a bank and an image."""


@dataclass(frozen=True)
class ImagingConditions:
    """What an error of measurement depends on and a file can tell.

    Attributes:
        measure: particles, lines, pores or fibres.
        algorithm: id of the metric that measures alike.
        model: registered name, or ``none`` for images as they are.
        variant: of the model.
        weights_sha256: of its weights; empty for interpolation and for none.
        scale: magnification.
        degradation: id of how the images were made; ``recorded@1`` for real scans.
        pixel_size_nm: side of a pixel of the measured image; None where unknown.
    """

    measure: str
    algorithm: str
    model: str
    variant: str
    weights_sha256: str
    scale: int
    degradation: str
    pixel_size_nm: float | None

    def difference(self, other: ImagingConditions) -> str:
        """In which way ``other`` is something else, in words; empty where the two are alike."""
        for name, words in _WORDS.items():
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                return f"it is for {words} {_shown(mine)}, here it is {_shown(theirs)}"
        sizes = (self.pixel_size_nm, other.pixel_size_nm)
        if None in sizes:
            lacking = "the images have none" if sizes[0] else "the images have one"
            had = "it has a pixel size" if sizes[0] else "its pixel size is unknown"
            return "" if sizes == (None, None) else f"{had}, {lacking}"
        if abs(sizes[0] / sizes[1] - 1.0) > SAME_PIXEL:  # type: ignore[operator]
            return f"it is for pixels of {sizes[0]:.4g} nm, here they are {sizes[1]:.4g} nm"
        return ""


_WORDS = {
    "measure": "measuring",
    "algorithm": "the algorithm",
    "model": "the model",
    "variant": "the variant",
    "weights_sha256": "weights with sha256",
    "scale": "scale",
    "degradation": "images made by",
}


def _shown(value: object) -> str:
    return repr(value[:12]) if isinstance(value, str) and value else f"{value or 'none'}"


@dataclass(frozen=True)
class QuantityErrors:
    """Errors of one quantity, as lists of equal length.

    Attributes:
        unit: ``px``, or empty for a share.
        each: what one error belongs to: an item such as ``particle``, or ``field``.
        measured: as measured.
        errors: measured minus reference.
        groups: number of the group.
    """

    unit: str
    each: str
    measured: tuple[float, ...]
    errors: tuple[float, ...]
    groups: tuple[int, ...]

    @property
    def arrays(self) -> Errors:
        """For :mod:`srbench.statistics.conformal`."""
        return Errors(np.array(self.measured), np.array(self.errors), np.array(self.groups, dtype=np.int64))


@dataclass(frozen=True)
class Counts:
    """Items of the calibration fields.

    Attributes:
        fields: that could be measured.
        groups: independent groups of these.
        reference: items of the reference.
        lost: those of them that are not measured.
        alone: items measured that have no partner in the reference.
        kept_size: median size in pixels, in the reference, of those that are measured; 0 without any.
        lost_size: the same of the lost ones.
        left_out: why fields could not be measured, with their number.
    """

    fields: int
    groups: int
    reference: int
    lost: int
    alone: int
    kept_size: float
    lost_size: float
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class Bank:
    """What was calibrated.

    Attributes:
        conditions: under which it holds.
        dataset: its calibration fields.
        fingerprint: sha256 of that dataset.
        split: of the dataset.
        category: of its fields; empty for all.
        trained_on: what the weights were trained on.
        reference: what the errors are against: ``truth``, ``HR`` or ``reference scan``.
        item: what one item is.
        counts: of items and fields.
        quantities: by name: ``single`` for items, ``D50`` and so on for fields.
    """

    conditions: ImagingConditions
    dataset: str
    fingerprint: str
    split: str
    category: str
    trained_on: str
    reference: str
    item: str
    counts: Counts
    quantities: Mapping[str, QuantityErrors]

    @property
    def fields(self) -> str:
        """Its calibration fields in words."""
        return f"{self.dataset} (split {self.split}{', ' * bool(self.category)}{self.category})"

    @property
    def digest(self) -> str:
        """sha256 (hex) of the content, for a report to name."""
        return hashlib.sha256(self._text().encode()).hexdigest()

    def write(self, path: Path) -> None:
        """Write the file; errors as :func:`srbench.utils.files.atomic_write`."""
        write_text(path, self._text())

    def _text(self) -> str:
        return json.dumps({"srbench_bank": FORMAT, **asdict(self)}) + "\n"


def read_bank(path: Path) -> Bank:
    """Read a bank.

    Raises:
        SrbenchError: it cannot be read, is none, or is damaged.
    """
    try:
        content = read_json(path)
        if not isinstance(content, dict) or "srbench_bank" not in content:
            raise ValueError("no bank of srbench calibrate")
        if content.pop("srbench_bank") != FORMAT:
            raise ValueError("of another format than this version of srbench writes; calibrate again")
        bank = typed(Bank, content)
        size = bank.conditions.pixel_size_nm
        if bank.conditions.scale < 1 or not (size is None or 0.0 < size < math.inf):
            raise ValueError("a scale or pixel size that no image has")
        for name, quantity in bank.quantities.items():
            lengths = {len(quantity.measured), len(quantity.errors), len(quantity.groups)}
            if len(lengths) != 1 or not all(map(math.isfinite, (*quantity.measured, *quantity.errors))):
                raise ValueError(
                    f"{printable(name)}: lists of unequal length, or numbers that are not finite"
                )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SrbenchError(
            f"{path}: cannot be read as a bank: {reason}. Make one with srbench calibrate."
        ) from error
    return bank
