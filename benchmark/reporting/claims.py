"""Published numbers beside those that were measured here, with the reason where there is nothing to compare.

``claims.json`` holds what was published, where, on which data. No line compares like with like: the images
of the publications differ from those scored here, and most are not to be had.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from srbench.metrics import registry
from srbench.models import model_names
from srbench.models.registry import card
from srbench.reporting.answer import answers
from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.measurements import TrustTable
from srbench.reporting.rows import Row
from srbench.reporting.text import number
from srbench.statistics.interval import interval


@dataclass(frozen=True)
class PublishedClaim:
    """What was published.

    Attributes:
        source: who, and where.
        url: address, empty where there is none.
        data: images and how LR was made.
        scale: magnification, None where it is not stated.
        remark: what is odd about the source.
        model: ``model`` or ``model:variant`` it is about; empty where it is about none.
        minus: model that is subtracted, for a difference.
        metric: name of the metric; empty where it is none of srbench's.
        measurement: name of a measurement that is claimed to be unchanged.
        value: the number, NaN without one.
        unit: of the number.
        what: the claim in words, where its number does not say it.
        why: why srbench cannot measure it, empty where it can.
    """

    source: str
    data: str
    url: str = ""
    scale: int | None = None
    remark: str = ""
    model: str = ""
    minus: str = ""
    metric: str = ""
    measurement: str = ""
    value: float = math.nan
    unit: str = ""
    what: str = ""
    why: str = ""

    @property
    def words(self) -> str:
        """The claim as it is printed."""
        if not math.isfinite(self.value):
            return self.what
        sign = "+" if self.minus else ""
        value = f"{registry.get(self.metric).title} {self.value:{sign}g} {self.unit}".rstrip()
        names = " over ".join(_title(name) for name in (self.model, self.minus) if name)
        return f"{self.what or names}: {value}"


@dataclass(frozen=True)
class Checked:
    """A claim beside what was measured; ``measured`` is empty where nothing was, ``why`` says why not."""

    claim: PublishedClaim
    measured: str
    why: str


@cache
def published() -> tuple[PublishedClaim, ...]:
    """All claims, in the order of the file."""
    text = (resources.files("srbench.reporting") / "claims.json").read_text(encoding="utf-8")
    sources: Sequence[Mapping[str, Any]] = json.loads(text)
    shared = ("source", "url", "data", "scale", "remark")
    return tuple(
        PublishedClaim(**{name: source[name] for name in shared}, **claim)
        for source in sources
        for claim in source["claims"]
    )


def checked(board: Leaderboard, table: TrustTable) -> list[Checked]:
    """Every claim beside what the block has of it."""
    return [_checked(board, table, claim) for claim in published()]


def _checked(board: Leaderboard, table: TrustTable, claim: PublishedClaim) -> Checked:
    if claim.why:
        return Checked(claim, "", claim.why)
    if claim.scale not in (None, board.block.key.scale):
        return Checked(claim, "", f"Claimed at ×{claim.scale}; this block is ×{board.block.key.scale}.")
    if claim.model and claim.scale is None and board.block.key.scale == 1:
        return Checked(claim, "", "Claimed for images that are enlarged; this block is ×1.")
    if claim.measurement:
        title = registry.get(claim.measurement).title.removesuffix(" bias")
        for answer in answers(board, table):
            if answer.measurement == claim.measurement:
                return Checked(claim, answer.text, "")
        return Checked(claim, "", f"{title} was not measured here.")
    rows = [_row(board, name) for name in (claim.model, claim.minus) if name]
    for name, row in zip((claim.model, claim.minus), rows, strict=False):
        if row is None:
            why = "has no row here" if name.split(":")[0] in model_names() else "is no model of srbench"
            return Checked(claim, "", f"{_title(name)} {why}.")
    column = next((column for column in board.columns if column.name == claim.metric), None)
    if column is None:
        return Checked(claim, "", f"{registry.get(claim.metric).title} was not scored here.")
    return _measured(board, claim, column.id, [row for row in rows if row is not None])


def _measured(board: Leaderboard, claim: PublishedClaim, metric: str, rows: Sequence[Row]) -> Checked:
    decimals = board.decimals[metric]
    value, low, high = math.nan, math.nan, math.nan
    if len(rows) == 1 and (cell := rows[0].cells.get(metric)):
        value, low, high = cell.mean, cell.low, cell.high
    elif len(rows) == 2 and (matrix := board.group.matrix(metric)):
        methods = {board.group.row_of[method.runs[0]]: method for method in matrix.methods}
        if all(row.run in methods for row in rows):
            paired = matrix.clusters(*(methods[row.run] for row in rows))
            value, (low, high, _) = paired.mean, interval(paired)
    if not math.isfinite(value):
        return Checked(claim, "", "No image has a value.")
    signed = len(rows) == 2
    words = f"{number(value, decimals, signed=signed)} {claim.unit}".rstrip()
    if math.isfinite(low):
        words += f" [{number(low, decimals, signed=signed)}, {number(high, decimals, signed=signed)}]"
    return Checked(claim, words, "; ".join(row.label for row in rows if row.detail or row.badges))


def _row(board: Leaderboard, name: str) -> Row | None:
    """The first row of a model, or of the variant that the name holds."""
    model, _, variant = name.partition(":")
    rows = (r for r in board.rows if r.run.model == model and variant in ("", r.run.variant))
    return next(rows, None)


def _title(name: str) -> str:
    model, _, variant = name.partition(":")
    title = card(model).title if model in model_names() else {"nafnet": "NAFNet"}.get(model, model)
    return f"{title} ({variant})" if variant else title
