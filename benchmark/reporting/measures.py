"""What is printed about a metric: the registry's words, or the bare name where the registry knows nothing.

A store may hold metrics of a plug-in that is not installed here; its numbers are shown without a direction,
and nothing is called best by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from srbench.errors import SrbenchError
from srbench.evaluation.statistics import Direction

ARROWS: Mapping[Direction, str] = {"higher": "↑", "lower": "↓", "none": ""}
READING: Mapping[Direction, str] = {
    "higher": "higher is better",
    "lower": "lower is better",
    "none": "neither direction is better",
}
_FAMILIES = {
    "fidelity": "Fidelity",
    "consistency": "Consistency with LR",
    "spectrum": "Detail by size",
    "edges": "Edges",
    "structure": "Structure",
    "measurement": "Measurements",
    "perceptual": "Perceptual, not evidence of structure",
    "cost": "Cost",
}
_NOT_INSTALLED = "No installed metric has this name; the stored values are shown as they are."


@dataclass(frozen=True)
class Measure:
    """A column of the leaderboard.

    Attributes:
        id: as stored in the rows.
        title: what is printed.
        direction: ``higher``, ``lower`` or ``none``.
        unit: of the value, empty for a pure number.
        explanation: one sentence.
        family: heading under which it stands.
        default: whether it is computed when nothing was chosen.
    """

    id: str
    title: str
    direction: Direction
    unit: str
    explanation: str
    family: str
    default: bool = True

    @property
    def arrow(self) -> str:
        """An arrow that points where better is."""
        return ARROWS[self.direction]

    @property
    def reading(self) -> str:
        """The arrow in words."""
        return READING[self.direction]

    @property
    def family_title(self) -> str:
        """The family's heading."""
        return _FAMILIES.get(self.family, self.family.capitalize())


@dataclass(frozen=True)
class Family:
    """Neighbouring columns under one heading."""

    name: str
    title: str
    measures: tuple[Measure, ...]


def measures(ids: Iterable[str], family: str = "") -> list[Measure]:
    """The measures stored under these ids in the registry's order, unknown ones at the end.

    ``family`` puts all of them under one heading, whatever the registry says. Points of curves are left out:
    sixteen columns would say less than one plot.
    """
    from srbench.evaluation.metrics import registry

    order = {metric.id: index for index, metric in enumerate(registry.list_metrics())}
    names = sorted(set(ids), key=lambda name: (order.get(name, len(order)), name))
    shown = [found for found in map(_measure, names) if found.family != "curve"]
    return [replace(found, family=family or found.family) for found in shown]


def families(columns: Sequence[Measure]) -> list[Family]:
    """The columns by family, families and columns in the order given."""
    names = list(dict.fromkeys(column.family for column in columns))
    grouped = {name: tuple(column for column in columns if column.family == name) for name in names}
    return [Family(name, own[0].family_title, own) for name, own in grouped.items()]


def _measure(name: str) -> Measure:
    from srbench.evaluation.metrics import registry

    try:
        known = registry.get(name)
    except SrbenchError:
        return Measure(name, name, "none", "", _NOT_INSTALLED, "other", False)
    return Measure(
        name, known.title, known.direction, known.unit, known.explanation, known.family, known.default
    )
