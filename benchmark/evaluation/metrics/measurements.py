"""What a scientist measures, on the SR image: particle diameters, line widths, roughness, pore fraction.

Each has two values an image: the bias of the SR image, and (``..._hr``) the error that the same algorithm has
on HR itself (:mod:`srbench.evaluation.measured`). :mod:`srbench.evaluation.verdicts` judges the one by the
other. Units are HR pixels.
"""

from __future__ import annotations

from srbench.evaluation import measured_lines as lines
from srbench.evaluation import measured_particles as particles
from srbench.evaluation.measured import bias_of, error_of
from srbench.evaluation.metrics.registry import Case, register_metric

FAMILY = "measurement"


@register_metric(
    title="Diameter bias",
    direction="none",
    unit="px",
    family=FAMILY,
    explanation="By how much particles come out too large (+) or too small (-) on average.",
)
def diameter_bias(case: Case) -> float:
    """Mean of measured minus true diameter over free-standing whole particles."""
    return bias_of(particles.diameters(case))


@register_metric(
    title="Diameter error on HR",
    direction="none",
    unit="px",
    family=FAMILY,
    explanation="By how much the same particles come out too large or too small on the true HR image: what "
    "the algorithm does, not the network.",
)
def diameter_bias_hr(case: Case) -> float:
    """The same on HR (or on the second acquisition where HR is the reference)."""
    return error_of(particles.diameters(case))


@register_metric(
    title="Diameter W1",
    direction="lower",
    unit="px",
    bounds=(0.0, float("inf")),
    family=FAMILY,
    explanation="How far the size distribution is shifted or deformed; it does not notice particles "
    "that were exchanged for invented ones.",
)
def diameter_w1(case: Case) -> float:
    """First Wasserstein distance of the diameters in SR and HR."""
    return particles.diameter_distance(case)


@register_metric(
    title="CD bias",
    direction="none",
    unit="px",
    family=FAMILY,
    explanation="By how much lines come out too wide (+) or too narrow (-) on average.",
)
def cd_bias(case: Case) -> float:
    """Mean of measured minus true line width, 50 % threshold."""
    return bias_of(lines.line_widths(case))


@register_metric(
    title="CD error on HR",
    direction="none",
    unit="px",
    family=FAMILY,
    explanation="By how much the same lines come out too wide or too narrow on the true HR image.",
)
def cd_bias_hr(case: Case) -> float:
    """The same on HR (or on the second acquisition where HR is the reference)."""
    return error_of(lines.line_widths(case))


@register_metric(
    title="LER bias",
    direction="none",
    unit="px",
    family=FAMILY,
    explanation="By how much the roughness of line edges (3 sigma, noise removed) comes out too high (+) or, "
    "smoothed away, too low (-).",
)
def ler_bias(case: Case) -> float:
    """Measured minus true line-edge roughness, 3 sigma, unbiased."""
    return bias_of(lines.line_edge_roughness(case))


@register_metric(
    title="LER error on HR",
    direction="none",
    unit="px",
    family=FAMILY,
    explanation="By how much the roughness of the same edges comes out wrong on the true HR image.",
)
def ler_bias_hr(case: Case) -> float:
    """The same on HR (or on the second acquisition where HR is the reference)."""
    return error_of(lines.line_edge_roughness(case))


@register_metric(
    title="LWR bias",
    direction="none",
    unit="px",
    family=FAMILY,
    explanation="By how much the roughness of line widths (3 sigma, noise removed) comes out too high (+) or "
    "too low (-).",
)
def lwr_bias(case: Case) -> float:
    """Measured minus true line-width roughness, 3 sigma, unbiased."""
    return bias_of(lines.line_width_roughness(case))


@register_metric(
    title="LWR error on HR",
    direction="none",
    unit="px",
    family=FAMILY,
    explanation="By how much the width roughness of the same lines comes out wrong on the true HR image.",
)
def lwr_bias_hr(case: Case) -> float:
    """The same on HR (or on the second acquisition where HR is the reference)."""
    return error_of(lines.line_width_roughness(case))


@register_metric(
    title="Pore fraction bias",
    direction="none",
    bounds=(-1.0, 1.0),
    family=FAMILY,
    explanation="By how much the area share of the pores comes out too high (+) or too low (-).",
)
def pore_fraction_bias(case: Case) -> float:
    """Measured minus true area fraction of the pores."""
    return bias_of(particles.pore_fraction(case))


@register_metric(
    title="Pore fraction error on HR",
    direction="none",
    bounds=(-1.0, 1.0),
    family=FAMILY,
    explanation="By how much the pore share comes out wrong on the true HR image by the same rule.",
)
def pore_fraction_bias_hr(case: Case) -> float:
    """The same on HR (or on the second acquisition where HR is the reference)."""
    return error_of(particles.pore_fraction(case))
