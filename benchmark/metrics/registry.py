"""Names to metrics. A metric is one decorated function in a file of this package; nothing else changes.

A metric sees one image at a time (:class:`Case`) and gives one number, or raises
:class:`MetricUnavailable` with the reason, which is stored in the place of the number. Other distributions
add metrics through the entry-point group ``srbench.metrics`` (value = the module whose import registers).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from srbench.utils.errors import SrbenchError
from srbench.utils.image import Plane
from srbench.utils.registry import Registry

Value = TypeVar("Value")


class MetricUnavailable(SrbenchError):
    """This metric has no value here; the message says why and, where something helps, what to do."""


@dataclass(frozen=True)
class Case:
    """One image as the protocol hands it to a metric.

    Attributes:
        sr: super-resolved image, ``(H, W)`` float64 in the protocol's data range, quantised, border cut.
        hr: reference, prepared like ``sr``.
        full_sr: the same without the border cut, for what compares whole images.
        full_hr: reference without the border cut.
        lr: the model's input, ``(H/scale, W/scale)`` float64 in [0, 1].
        scale: magnification.
        data_range: difference between white and black.
        degrade: HR-sized image in [0, 1] to the LR-sized image that an infinite dose would give: with this
            image's scan distortions, without noise and without rounding; None where none is known.
        lr_variance: expected LR image, as ``degrade`` gives it, to the mean square at each of its pixels of
            what separates ``lr`` from it, counting noise as clipped at black and white, and 8-bit rounding,
            in units of the squared planes. None where it is not known, as for colour.
        truth: known geometry of the scene, as the dataset stores it.
        pixel_size_nm: side of an HR pixel where known.
        category: kind of sample.
        measure: what its owner says is on the image (``particles``, ``lines``, ``pores``, ``fibres``); empty
            where nobody said so, then the category decides; None where nobody can, because it is no image of
            the user's.
        clean: whether ``hr`` is a noise-free truth; else it is a recording with noise of its own.
        second: a second recording of the reference, prepared like ``hr``, its noise independent of that of
            ``hr`` and ``lr``; None where there is none.
        lr_recorded: whether ``lr`` is a recording by itself; else it was made from ``hr`` and has its noise.
        as_recorded: ``hr`` before it was resampled onto the grid of ``lr``, prepared like ``full_hr``, of any
            size; None where it was not.
        mask: objects drawn by hand, ``(H, W)`` numbers with the border cut, 0 = background; None without.
        split_touching: whether particles that touch are told apart before they are counted and measured.
        cache: what ``cached`` has computed.
    """

    sr: Plane
    hr: Plane
    full_sr: Plane
    full_hr: Plane
    lr: Plane
    scale: int
    data_range: float = 1.0
    degrade: Callable[[Plane], Plane] | None = None
    lr_variance: Callable[[Plane], Plane] | None = None
    truth: Mapping[str, Any] | None = None
    pixel_size_nm: float | None = None
    category: str = ""
    measure: tuple[str, ...] | None = None
    clean: bool = False
    second: Plane | None = None
    lr_recorded: bool = False
    as_recorded: Plane | None = None
    mask: NDArray[np.integer[Any]] | None = None
    split_touching: bool = True
    cache: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def border(self) -> int:
        """Pixels that were cut from every side of the whole image."""
        return int(self.full_hr.shape[0] - self.hr.shape[0]) // 2

    def cached(self, key: str, compute: Callable[[], Value]) -> Value:
        """The result of ``compute``, computed for the first metric and shared by the others.

        Args:
            key: names the result; prefix it with the file that computes it.
            compute: that it is not available is remembered too.

        Raises:
            MetricUnavailable: as ``compute`` did the first time.
        """
        if key not in self.cache:
            try:
                self.cache[key] = compute()
            except MetricUnavailable as error:
                self.cache[key] = error
        result: Value | MetricUnavailable = self.cache[key]
        if isinstance(result, MetricUnavailable):
            raise MetricUnavailable(*result.args)
        return result


MetricFunction = Callable[[Case], float]


def needs_nothing() -> str:
    """For a metric that can always be computed."""
    return ""


def _model_property(case: Case) -> float:
    raise MetricUnavailable("this is a property of the model, not of an image")


@dataclass(frozen=True)
class Metric:
    """A metric and what a reader must know about it.

    Attributes:
        name: what is typed.
        title: what is printed.
        direction: which way is better; ``none`` where a value is neither good nor bad by itself.
        unit: of the value, empty for a pure number.
        bounds: smallest and largest possible value.
        explanation: one sentence for someone who images, not for someone who trains networks.
        version: counts changes of the numbers the function gives.
        family: ``fidelity``, ``consistency``, ``spectrum``, ``edges``, ``structure``, ``measurement``,
            ``perceptual``, ``curve`` (a point of a curve, stored but never a column of a table) or ``cost``.
        default: whether it is computed when nothing was chosen.
        compute: the function.
        tag: says which network and weights for a learned metric (``alex-0.1``).
        needs: says what is missing on this machine, empty when nothing is.
    """

    name: str
    title: str
    direction: Literal["higher", "lower", "none"]
    unit: str
    bounds: tuple[float, float]
    explanation: str
    version: int
    family: str
    default: bool
    compute: MetricFunction = field(compare=False)
    tag: str = ""
    needs: Callable[[], str] = field(default=needs_nothing, compare=False)

    @property
    def per_image(self) -> bool:
        """Whether it is computed from images; else it is a property of the model, such as its size."""
        return self.compute is not _model_property

    @property
    def id(self) -> str:
        """What the score rows store: changes whenever the numbers do, so tables cannot mix versions."""
        tagged = f"{self.name}-{self.tag}" if self.tag else self.name
        return tagged if self.version == 1 else f"{tagged}@{self.version}"


FAMILIES = (
    "fidelity",
    "consistency",
    "spectrum",
    "edges",
    "structure",
    "measurement",
    "perceptual",
    "curve",
    "cost",
)
"""Families in printing order."""

FIRST = ("psnr", "ssim")
"""What opens its family, and so the tables, because everyone looks for it first."""

METRICS: Registry[Metric] = Registry(
    "metric", package="srbench.metrics", marker="register_", group="srbench.metrics"
)
_resolvers: dict[str, Callable[[str], Metric]] = {}


def register_metric(
    *,
    title: str,
    direction: Literal["higher", "lower", "none"],
    explanation: str,
    unit: str = "",
    bounds: tuple[float, float] = (float("-inf"), float("inf")),
    version: int = 1,
    family: str = "structure",
    default: bool = True,
    tag: str = "",
    needs: Callable[[], str] = needs_nothing,
) -> Callable[[MetricFunction], MetricFunction]:
    """Register the decorated function ``(case) -> float`` under its own name.

    The arguments are the fields of :class:`Metric`.

    Raises:
        SrbenchError: another file already registered this name.
    """

    def register(function: MetricFunction) -> MetricFunction:
        name = function.__name__
        metric = Metric(
            name, title, direction, unit, bounds, explanation, version, family, default, function, tag, needs
        )
        METRICS.register(name, metric, function.__module__)
        return function

    return register


def register_property(name: str, *, title: str, unit: str, explanation: str) -> None:
    """Register a property of a model that the harness measures itself (size, time); less is better."""
    metric = Metric(
        name, title, "lower", unit, (0.0, float("inf")), explanation, 1, "cost", False, _model_property
    )
    METRICS.register(name, metric, "srbench.metrics.cost")


def register_prefix(prefix: str, resolve: Callable[[str], Metric]) -> None:
    """Leave all names that start with ``prefix`` to another package, which is asked when one is wanted.

    Args:
        prefix: such as ``"pyiqa_"``.
        resolve: a name or a stored id to the metric; raises :class:`SrbenchError` for one it does not have.
    """
    _resolvers[prefix] = resolve


def get(name: str) -> Metric:
    """The metric called ``name`` (or stored under this id).

    Raises:
        SrbenchError: no metric has this name; the message lists near misses and all names.
    """
    if name in METRICS.names():
        return METRICS.get(name)
    by_id = {metric.id: metric for metric in METRICS.values()}
    if name in by_id:
        return by_id[name]
    for prefix, resolve in _resolvers.items():
        if name.startswith(prefix):
            return resolve(name)
    return METRICS.get(name)


def sorted_ids(ids: Collection[str]) -> list[str]:
    """Stored ids in printing order, unknown ones at the end; an earlier version stands where today's does."""
    base = {key: at for at, m in enumerate(list_metrics()) for key in (m.name, m.id.split("@")[0])}
    return sorted(set(ids), key=lambda name: (base.get(name.split("@")[0], len(base)), name))


def stored(ids: Collection[str]) -> list[Metric]:
    """The metrics that would still store rows under these ids, in printing order; others are left out."""
    by_id = {}
    for name in ids:
        with contextlib.suppress(SrbenchError):
            metric = get(name)
            by_id[metric.id] = metric
    return sorted((by_id[name] for name in set(ids) & set(by_id)), key=_printing_order)


def list_metrics() -> list[Metric]:
    """All metrics, the defaults first, by family and name; those of prefixes are not among them."""
    return sorted(METRICS.values(), key=_printing_order)


def _printing_order(metric: Metric) -> tuple[bool, int, int, str]:
    family = FAMILIES.index(metric.family) if metric.family in FAMILIES else len(FAMILIES)
    first = FIRST.index(metric.name) if metric.name in FIRST else len(FIRST)
    return not metric.default, family, first, metric.name
