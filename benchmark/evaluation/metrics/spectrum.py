"""Detail by size: what of the SR image agrees with the reference, and what is finer than LR but invented.

Needs a reference that can say what is real: a noise-free truth, or a second acquisition, whose noise the LR
image does not share. A single noisy recording cannot, and the metrics then say so; its correlation curve is
stored all the same, for comparing models with each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from srbench.evaluation.metrics.curve import register_curve
from srbench.evaluation.metrics.registry import Case, MetricUnavailable, register_metric

if TYPE_CHECKING:
    from torch import Tensor

    from srbench.evaluation.functional.rings import RingSums, Spectrum
    from srbench.evaluation.functional.spectrum import BandSplit

SMALLEST = 32
BINS = 16
ROUNDING = 1.0 / 12.0 / 255.0**2
NOISY = (
    "the reference is a single noisy recording, which cannot tell detail from noise; it takes a noise-free "
    "truth or a second acquisition"
)


def spectrum_of(case: Case, name: str) -> Spectrum:
    """Windowed Fourier transform of a plane (``"sr"``, ``"hr"``, ``"second"``), shared by all metrics.

    Raises:
        MetricUnavailable: the plane is too small for rings.
    """
    from srbench.evaluation.functional.rings import spectrum

    height, width = case.hr.shape
    if min(height, width) < SMALLEST:
        raise MetricUnavailable(
            f"Fourier rings need at least {SMALLEST} x {SMALLEST} pixels inside the border, found "
            f"{height} x {width}"
        )
    return case.once(f"spectrum of {name}", lambda: spectrum(case.tensor(name)))


def sums_of(case: Case, a: str, b: str) -> RingSums:
    """Ring sums of two planes, shared by all metrics."""
    from srbench.evaluation.functional.rings import ring_sums

    return case.once(
        f"spectrum rings of {a} and {b}", lambda: ring_sums(spectrum_of(case, a), spectrum_of(case, b))
    )


def _reference(case: Case) -> str:
    """The plane that can say what is real."""
    if case.clean:
        return "hr"
    if case.second is None:
        raise MetricUnavailable(NOISY)
    return "second"


def _curve(sums: RingSums) -> Tensor:
    from srbench.evaluation.functional.spectrum import ring_correlation, smooth

    return smooth(ring_correlation(sums))


def _cut_off(case: Case) -> float:
    """First frequency without agreement, in cycles per HR pixel."""
    from srbench.evaluation.functional.spectrum import CLEAN, TWO_RECORDINGS, cut_off

    sums = sums_of(case, "sr", _reference(case))
    threshold = CLEAN if case.clean else TWO_RECORDINGS
    return float(cut_off(sums.layout.frequency, _curve(sums), threshold))


@register_metric(
    title="FRC cut-off",
    direction="higher",
    bounds=(0.0, float("inf")),
    explanation="Finest detail that agrees with the reference, relative to what LR can carry: 1 is "
    "no finer than that; at x4, 4 is the finest the result's own pixels can carry.",
    family="spectrum",
)
def frc_cutoff(case: Case) -> float:
    """Cut-off of the Fourier ring correlation over the LR Nyquist frequency.

    Threshold 0.5 against a noise-free truth, 1/7 against a second acquisition.
    """
    return _cut_off(case) * 2.0 * case.scale


@register_metric(
    title="FRC resolution",
    direction="lower",
    unit="nm",
    bounds=(0.0, float("inf")),
    explanation="Size of the finest detail that agrees with the reference: the period at the FRC cut-off.",
    family="spectrum",
    default=False,
)
def frc_resolution(case: Case) -> float:
    """Pixel size over the cut-off in cycles per pixel."""
    if case.pixel_size_nm is None:
        raise MetricUnavailable("the pixel size of this image is unknown")
    return case.pixel_size_nm / _cut_off(case)


@register_metric(
    title="FRC cut-off, half-bit",
    direction="higher",
    bounds=(0.0, float("inf")),
    explanation="As the FRC cut-off, with the half-bit threshold, which asks more of rings with few samples; "
    "only between two acquisitions.",
    family="spectrum",
    default=False,
)
def frc_cutoff_half_bit(case: Case) -> float:
    """Cut-off at the half-bit curve over the LR Nyquist frequency."""
    from srbench.evaluation.functional.spectrum import cut_off, half_bit

    if case.clean:
        raise MetricUnavailable(
            "the half-bit threshold is for two noisy acquisitions, this reference is clean"
        )
    sums = sums_of(case, "sr", _reference(case))
    layout = sums.layout
    return float(cut_off(layout.frequency, _curve(sums), half_bit(layout.independent))) * 2.0 * case.scale


@register_metric(
    title="R_hf",
    direction="higher",
    bounds=(0.0, 1.0),
    explanation="Share of the true detail finer than LR can carry that is in the result and in its place.",
    family="spectrum",
)
def recovered_hf(case: Case) -> float:
    """Recovered share of the true power above the LR Nyquist frequency."""
    return float(_band(case).recovered)


@register_metric(
    title="H_hf",
    direction="lower",
    bounds=(0.0, 1.0),
    explanation="Share of the result's own detail finer than LR can carry that the truth does not explain; "
    "read it with G_hf: where that is near 0 there is hardly any such detail, and the share means little.",
    family="spectrum",
)
def hallucinated_hf(case: Case) -> float:
    """Unexplained share of the SR power above the LR Nyquist frequency."""
    value = _band(case).hallucinated
    if value.isnan():
        raise MetricUnavailable("the result shows no detail at all above the LR Nyquist frequency")
    return float(value)


@register_metric(
    title="G_hf",
    direction="none",
    bounds=(0.0, float("inf")),
    explanation="Power of the detail finer than LR can carry, true or invented, over that of the truth: 1 is "
    "right, below is blurred, above is too rough.",
    family="spectrum",
)
def gained_hf(case: Case) -> float:
    """SR power over true power above the LR Nyquist frequency."""
    return float(_band(case).gained)


@register_metric(
    title="PSD distance",
    direction="lower",
    unit="dB",
    bounds=(0.0, float("inf")),
    explanation="Difference in roughness over all detail sizes; invented texture of the right roughness "
    "scores perfectly, so this is no evidence of structure.",
    family="spectrum",
    default=False,
)
def psd_distance(case: Case) -> float:
    """Root mean square difference of the radial power spectra in dB, above what 8 bits resolve."""
    from srbench.evaluation.functional.spectrum import power_distance

    return float(power_distance(sums_of(case, "sr", "hr"), ROUNDING * case.data_range**2))


@register_curve(
    title="FRC",
    x=[(index + 0.5) / BINS for index in range(BINS)],
    x_title="spatial frequency / HR Nyquist frequency",
    explanation="Agreement with the reference by detail size, coarse to fine; a noisy reference bounds it "
    "from above.",
    direction="higher",
    bounds=(-1.0, 1.0),
)
def frc(case: Case) -> Sequence[float]:
    """Mean Fourier ring correlation in 16 equal bins up to the HR Nyquist frequency.

    With a single noisy recording as the reference the curve mixes what the model restores with the noise it
    shares with the LR image; it then only compares models.
    """
    from srbench.evaluation.functional.spectrum import binned, ring_correlation

    name = "second" if case.second is not None and not case.clean else "hr"
    sums = sums_of(case, "sr", name)
    return [float(value) for value in binned(sums.layout.frequency, ring_correlation(sums), BINS)[0]]


def _band(case: Case) -> BandSplit:
    return case.once("spectrum band split", lambda: _split(case))


def _split(case: Case) -> BandSplit:
    from srbench.evaluation.functional.spectrum import band_split

    if case.scale < 2:
        raise MetricUnavailable("at magnification 1 no detail is finer than the LR image can carry")
    name = _reference(case)
    recordings = None if case.clean else sums_of(case, "hr", name)
    split = band_split(sums_of(case, "sr", name), case.scale, recordings)
    if not split.gained.isfinite():
        raise MetricUnavailable("the reference shows no detail above the LR Nyquist frequency and its noise")
    return split
