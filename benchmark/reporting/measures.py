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
OVERVIEW = (
    "psnr",
    "ssim",
    "lr_psnr",
    "lr_chi2",
    "recovered_hf",
    "hallucinated_hf",
    "edge_f1",
    "object_f1",
    "small_features_found",
    "small_features_invented",
)
"""What is seen first: is it near, does it agree with LR, what of the detail is true, what is invented."""
MAIN = "main"
FEW_COLUMNS = 9
"""Up to so many columns nothing needs to be put away."""
PERCEPTUAL = "Perceptual, not evidence of structure."
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
    def words(self) -> str:
        """The explanation, with what must always be said of its family."""
        told = PERCEPTUAL.rstrip(".").casefold() in self.explanation.casefold()
        return self.explanation if told or self.family != "perceptual" else f"{self.explanation} {PERCEPTUAL}"

    @property
    def name(self) -> str:
        """What is typed, whatever the version."""
        return self.id.split("@")[0]

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


def sheets(columns: Sequence[Measure]) -> list[Family]:
    """The columns as a reader meets them: those of ``OVERVIEW`` together first, the others by family."""
    main = sorted((c for c in columns if c.name in OVERVIEW), key=lambda c: OVERVIEW.index(c.name))
    others = families([column for column in columns if column not in main])
    return [Family(MAIN, "At first sight", tuple(main)), *others] if main else others


def _measure(name: str) -> Measure:
    from srbench.evaluation.metrics import registry

    try:
        known = registry.get(name)
    except SrbenchError:
        return Measure(name, name, "none", "", _NOT_INSTALLED, "other", False)
    return Measure(
        name, known.title, known.direction, known.unit, known.explanation, known.family, known.default
    )
