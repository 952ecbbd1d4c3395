"""Lengths in nanometres: one decision for a group of images, one conversion of its score rows.

Rows are stored in HR pixels beside the pixel size of their image. A group whose images all have one is shown
in nm, every value times the pixel size of its image before anything is averaged; any other group in pixels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from srbench.statistics.bootstrap import cluster
from srbench.utils.errors import SrbenchError

if TYPE_CHECKING:
    import pandas as pd

LengthUnit = Literal["px", "nm"]
EQUAL = 1e-4
"""Largest relative difference between pixel sizes that count as one."""
_NUMBER = re.compile(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*(px|nm|)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Lengths:
    """How a group of images shows its lengths.

    Attributes:
        unit: ``nm`` where the pixel size of every image is known, else ``px``.
        sizes: image id to the side of its HR pixel in nm, unknown ones absent.
        images: images of the group.
        why: one line for a reader: the pixel sizes, or why the lengths are in pixels.
    """

    unit: LengthUnit
    sizes: Mapping[str, float]
    images: int
    why: str

    def unit_of(self, unit: str) -> str:
        """The unit in which values of a metric of this unit are shown."""
        return self.unit if unit == "px" else unit


def in_nanometres(scores: pd.DataFrame) -> tuple[pd.DataFrame, Lengths]:
    """Score rows with their lengths in nm, where the pixel size of every image is known.

    Args:
        scores: rows as ``srbench.load_scores`` gives them, of one set of conditions.

    Returns:
        The rows with a column ``unit``, and what was decided. Metrics that are no lengths, and all metrics
        of a group with an unknown pixel size, keep their values.
    """
    if "unit" in scores:
        raise SrbenchError("These rows have been converted already; convert those of srbench.load_scores.")
    images = sorted(map(str, scores.loc[scores["image"] != "", "image"].unique()))
    sizes, contradicted = _pixel_sizes(scores)
    unit: LengthUnit = "nm" if images and len(sizes) == len(images) else "px"
    registered = {metric: unit_of(str(metric)) for metric in scores["metric"].unique()}
    rows = scores.assign(unit=scores["metric"].map(registered).astype(object))
    if unit == "nm":
        of_image = rows["image"].map(sizes).astype(float)
        is_length = (rows["unit"] == "px") & (rows["image"] != "")
        rows["value"] = rows["value"].where(~is_length, rows["value"] * of_image)
        rows["unit"] = rows["unit"].where(~is_length, unit)
        rows["pixel_size_nm"] = of_image
    is_folder = "dataset" in scores and any(
        str(name).startswith("folder:") for name in set(scores["dataset"])
    )
    return rows, Lengths(unit, sizes, len(images), _why(sizes, len(images), contradicted, is_folder))


def _pixel_sizes(scores: pd.DataFrame) -> tuple[dict[str, float], int]:
    """Image to its pixel size in nm, and how many images have two: runs that saw other metadata."""
    if "pixel_size_nm" not in scores:
        return {}, 0
    stored = scores["pixel_size_nm"].astype(float)
    valid = scores[(scores["image"] != "") & np.isfinite(stored) & (stored > 0)]
    by_image = valid.groupby("image")["pixel_size_nm"].agg(["min", "max"])
    alike = by_image[by_image["max"] <= by_image["min"] * (1.0 + EQUAL)]
    return {str(image): float(size) for image, size in alike["min"].items()}, len(by_image) - len(alike)


def _why(sizes: Mapping[str, float], images: int, contradicted: int, is_folder: bool) -> str:
    missing = images - len(sizes)
    if not images:
        return "no image was scored"
    if contradicted:
        return (
            f"runs disagree on the pixel size of {contradicted} of {images} images: lengths in pixels; score "
            "them again with srbench eval --force"
        )
    if missing:
        # Other sets come with what is known of them.
        advice = "; give --pixel-size-nm" if is_folder else ""
        return f"pixel size unknown for {missing} of {images} images: lengths in pixels{advice}"
    size = common_size(sizes.values())
    if size is not None:
        return f"lengths in nm, pixel size {size:.4g} nm"
    return (
        f"lengths in nm, pixel sizes from {min(sizes.values()):.4g} to {max(sizes.values()):.4g} nm: "
        "the coarsest images weigh most in a mean"
    )


def unit_of(metric: str) -> str:
    """What the registry says; empty for a metric that it does not know."""
    from srbench.metrics import registry

    try:
        return registry.get(metric).unit
    except SrbenchError:
        return ""


def common_size(sizes: Iterable[float]) -> float | None:
    """The pixel size that all images have; None where one is unknown or they differ."""
    values = np.array(list(sizes), dtype=np.float64)
    if not len(values) or not np.isfinite(values).all() or np.ptp(values) > EQUAL * values.min():
        return None
    return float(np.median(values))


def nm_per_px(rows: pd.DataFrame) -> float | None:
    """What a difference of one pixel in every image makes of the mean, in nm.

    The pixel size where the images share one, else its mean, weighted as the values are.

    Args:
        rows: image rows of one metric.

    Returns:
        None where the rows are not in nm.
    """
    if "unit" not in rows or set(rows["unit"]) != {"nm"}:
        return None
    images = rows[rows["value"].notna()].drop_duplicates("image")
    sizes = images["pixel_size_nm"].to_numpy(dtype=np.float64)
    if not len(sizes):
        return None
    size = common_size(sizes)
    if size is not None:
        return size
    return cluster(sizes, list(map(str, images["group"])), list(map(str, images["category"]))).mean


@dataclass(frozen=True)
class Quantity:
    """A number and its unit: ``px``, ``nm``, or empty for a pure number."""

    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.value:.4g} {self.unit}".rstrip()


def quantity(given: str | float, unit: str, option: str) -> Quantity:
    """A limit that a user gave for a metric, as ``2nm``, ``0.5px`` or ``0.02``.

    Args:
        given: text as typed, or a number in the unit of the metric.
        unit: of the metric. Lengths (``px``) may be given in nm.
        option: as the user named it, such as ``--tolerance diameter``.

    Raises:
        SrbenchError: no finite number of at least 0, another unit, or a length typed without a unit.
    """
    value, named = math.nan, ""
    if not isinstance(given, str):
        value, named = float(given), "px" if unit == "px" else ""
    elif match := _NUMBER.fullmatch(given):
        value, named = float(match[1]), match[2].lower()
    if not (math.isfinite(value) and value >= 0.0):
        example = "0.5px or 2nm" if unit == "px" else "0.02"
        raise SrbenchError(
            f"{option} must be a finite number of at least 0, such as {example}, found {given!r}."
        )
    if named not in (("px", "nm") if unit == "px" else ("", unit)):
        expected = "a length, such as 0.5px or 2nm" if unit == "px" else f"a number without {named}"
        raise SrbenchError(f"{option} must be {expected}, found {given!r}.")
    return Quantity(value, named or unit)
