"""Detail by size: what of the SR image agrees with the reference, and what is finer than LR but invented.

Fourier rings and the metrics made of them. They need a reference that can say what is real: a noise-free
truth, or a recording whose noise is not in LR and whose share of noise is known, from a second recording or
from its own rows. Without one the correlation curve is stored all the same, for comparing models.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srbench.metrics.curve import register_curve
from srbench.metrics.registry import Case, MetricUnavailable, register_metric
from srbench.utils.image import Plane

Values = NDArray[np.float64]
Spectrum = NDArray[np.complex128]

TAPER = 0.125
"""Share of the side that fades in, and out again, at each end: a Tukey window 1/8."""

CLEAN = 0.5
"""Threshold against a noise-free truth: what 1/7 between two equally noisy recordings amounts to, by
``sqrt(2 c / (1 + c))`` (Rosenthal and Henderson 2003, doi 10.1016/j.jmb.2003.07.013)."""

SMOOTHING = 5
WIDE = 15
"""Rings over which it is decided what a reference shows: one by one those that chance favours would be kept
and their detail overestimated."""

NYQUIST = 0.5
SMALLEST = 32
BINS = 16
ROUNDING = 1.0 / 12.0 / 255.0**2
ALIKE = 0.9
"""Correlation of two recordings above which their powers are compared for a difference in contrast."""

FINEST_ROWS = 7.0 / 16.0
"""Frequency across the rows above which a recording is taken to hold noise alone: the difference of its even
and odd rows, smoothed over 16 rows."""

STEEPEST = 0.8
"""Power there over that of the sixteenth before: white noise has 1. Detail, or resampling, makes it fall."""

NOISY = (
    "the reference is a single noisy recording, of which LR was made: both share its noise, which cannot be "
    "told from detail; it takes a noise-free truth, a second recording of the reference, or an LR image that "
    "was recorded by itself"
)
REFERENCE_NOISE = {
    "second": "R_hf, H_hf, G_hf, FRC cut-off: noise of the reference taken out by a second recording of it",
    "rows": "R_hf, H_hf, G_hf, FRC cut-off: noise of the reference estimated by splitting its rows",
}
"""What is done about the noise of a reference, as :func:`reference_of` names it: notes of runs."""


@dataclass(frozen=True, eq=False)
class RingLayout:
    """Which ring each Fourier sample belongs to.

    A ring holds the samples of about one spatial frequency in cycles per pixel along both axes: in an image
    that is not square an ellipse in sample numbers, so that it is one detail size in every direction.

    Attributes:
        index: ``(H * (W // 2 + 1),)`` ring of each sample; samples beyond the last ring have index ``K``.
        weight: the same shape, how many samples of the whole plane stand behind one of the half-plane.
        frequency: ``(K,)`` cycles per pixel: 0, 1/m, 2/m, ... up to 1/2, m being the shorter side.
        samples: ``(K,)`` number of samples of the whole plane in each ring.
        independent: ``(K,)`` the same less what the window makes neighbours along a ring share; neighbours
            across it lie in other rings. Rather a little too few.
        window_energy: sum of the squared window; white noise of variance v has power ``v * window_energy``
            in each sample.
    """

    index: NDArray[np.int64]
    weight: Values
    frequency: Values
    samples: Values
    independent: Values
    window_energy: float


@dataclass(frozen=True, eq=False)
class RingSums:
    """Power and cross power of two images in each ring; ring 0, the mean grey level, says nothing.

    Attributes:
        layout: the rings.
        cross: ``(K,)`` real part of the sum of ``F_a conj(F_b)``.
        power_a: ``(K,)`` sum of ``|F_a|^2``.
        power_b: ``(K,)`` sum of ``|F_b|^2``.
    """

    layout: RingLayout
    cross: Values
    power_a: Values
    power_b: Values


@dataclass(frozen=True, eq=False)
class Detail:
    """What of the power of a noisy recording is detail.

    Attributes:
        power: ``(K,)`` power of the detail in each ring, without bias; below 0 where chance makes it so.
        shown: ``(K,)`` whether the ring has more detail than the half-bit threshold asks for.
    """

    power: Values
    shown: NDArray[np.bool_]


@dataclass(frozen=True)
class BandSplit:
    """Detail finer than the LR image can carry; NaN where there is nothing to compare with.

    Attributes:
        recovered: share of the true detail that is there and right, 0..1.
        hallucinated: share of the detail in SR that the truth does not explain, 0..1; without any detail in
            SR it is NaN.
        gained: power of the detail in SR over that in the truth; 1 is the right amount.
    """

    recovered: float
    hallucinated: float
    gained: float


def tukey(length: int, offset: float = 0.0, taper: float = TAPER) -> Values:
    """Window ``(length,)``: 1 in the middle, half a cosine over ``taper * length`` at each end.

    Symmetric and nowhere zero. Tukey, "An introduction to the calculations of numerical spectrum analysis",
    1967.

    Args:
        length: of the window.
        offset: pixels by which it is moved; what is moved out is cut.
        taper: share of the length.
    """
    position = np.arange(length) + 0.5 - offset
    from_edge = np.minimum(position, length - position) / length
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip(from_edge / taper, 0.0, 1.0)), dtype=np.float64)


def windowed_spectrum(image: Plane, offset: tuple[float, float] = (0.0, 0.0)) -> Spectrum:
    """Half-plane Fourier transform ``(H, W // 2 + 1)`` of an image less its mean, under a Tukey window.

    The mean is the windowed one, so that no trace of it leaks into the first rings. A constant image gets
    exactly zero everywhere.

    Args:
        image: ``(H, W)``, any range.
        offset: pixels by which the window is moved down and to the right.
    """
    from scipy import fft

    window = np.outer(*(tukey(side, by) for side, by in zip(image.shape, offset, strict=True)))
    if image.max() == image.min():
        return np.zeros((image.shape[0], image.shape[1] // 2 + 1), dtype=np.complex128)
    centred = image - (image * window).sum() / window.sum()
    return np.asarray(fft.rfft2(centred * window), dtype=np.complex128)


def ring_sums(a: Spectrum, b: Spectrum, width: int) -> RingSums:
    """Power of both and their cross power in each ring.

    Args:
        a: spectrum of an image.
        b: spectrum of an image of the same size.
        width: of both images; a half-plane does not tell whether it was odd.
    """
    layout = ring_layout(a.shape[0], width)
    count = len(layout.frequency)
    cross, power_a, power_b = (
        _binned_sums(layout.index, (x.real * y.real + x.imag * y.imag).ravel() * layout.weight, count)
        for x, y in ((a, b), (a, a), (b, b))
    )
    return RingSums(layout, cross, power_a, power_b)


def _binned_sums(index: NDArray[np.int64], values: Values, count: int) -> Values:
    """Sum of the values of each index below ``count``."""
    return np.asarray(np.bincount(index, values, count)[:count], dtype=np.float64)


@functools.lru_cache(maxsize=8)
def ring_layout(height: int, width: int) -> RingLayout:
    """The rings of ``height x width`` images: as wide as one sample along the shorter side."""
    shorter = min(height, width)
    count = shorter // 2 + 1
    rings = np.floor(radial_frequency(height, width) * shorter + 0.5).astype(np.int64)
    index = np.minimum(rings, count).ravel()
    columns = np.full(width // 2 + 1, 2.0)
    columns[0] = 1.0
    if width % 2 == 0:
        columns[-1] = 1.0
    weight = np.tile(columns, height)
    samples = _binned_sums(index, weight, count)
    squares = [tukey(side) ** 2 for side in (height, width)]
    # Share of the samples that stays independent under a window: mean(w^2)^2 / mean(w^4) a side.
    efficiency = math.prod(float(w.mean() ** 2 / (w**2).mean()) for w in squares)
    return RingLayout(
        index,
        weight,
        np.arange(count) / shorter,
        samples,
        np.asarray(samples * math.sqrt(efficiency), dtype=np.float64),
        math.prod(float(w.sum()) for w in squares),
    )


@functools.lru_cache(maxsize=8)
def radial_frequency(height: int, width: int) -> Values:
    """Spatial frequency in cycles per pixel of each sample of the half-plane, ``(H, W // 2 + 1)``."""
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequencies.flags.writeable = False  # every caller is given the same
    return np.asarray(frequencies, dtype=np.float64)


def ring_correlation(sums: RingSums) -> Values:
    """Fourier ring correlation ``(K,)``, -1..1; 0 where one of the images has no power.

    ``Re sum F_a conj(F_b) / sqrt(sum |F_a|^2 sum |F_b|^2)`` over each ring; Saxton and Baumeister 1982, van
    Heel 1987 (doi 10.1016/0304-3991(87)90010-6). Ring 0 is set to 1.
    """
    scale = np.sqrt(sums.power_a) * np.sqrt(sums.power_b)
    correlation: Values = np.divide(sums.cross, scale, out=np.zeros_like(scale), where=scale > 0)
    correlation[0] = 1.0
    return correlation.clip(-1.0, 1.0)


def smooth(curve: Values, width: int = SMOOTHING) -> Values:
    """Moving mean of ``(K,)`` over ``width`` rings, over fewer at the ends; ring 0 stays out of it."""
    ones = np.ones(width)
    sums, counts = (np.convolve(values, ones, "same") for values in (curve[1:], np.ones(len(curve) - 1)))
    return np.concatenate([curve[:1], sums / counts])


def half_bit(independent: Values) -> Values:
    """Threshold ``(K,)`` above which a ring holds half a bit a sample, for two equally noisy recordings.

    Van Heel and Schatz 2005 (doi 10.1016/j.jsb.2005.05.009), with the number of independent samples.
    """
    root = np.sqrt(independent)
    return np.asarray((0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root), dtype=np.float64)


def cut_off(frequency: Values, curve: Values, threshold: Values | float) -> float:
    """First frequency at which a curve falls below the threshold, in cycles per pixel.

    Between two rings it is interpolated. A curve that never falls below is good to Nyquist: 0.5.

    Args:
        frequency: ``(K,)`` from 0.
        curve: ``(K,)``, 1 in ring 0; smooth it where rings are small.
        threshold: a number or ``(K,)``.
    """
    above = curve - threshold
    above[0] = max(above[0], np.finfo(np.float64).eps)
    below = np.flatnonzero(above < 0)
    if not len(below):
        return NYQUIST
    before, after = above[below[0] - 1], above[below[0]]
    step = frequency[1] - frequency[0]
    return float(frequency[below[0] - 1] + step * before / (before - after))


def coherence(correlation: Values, independent: Values) -> Values:
    """Share of the power of each ring that the other image explains, ``(K,)``, 0..1.

    ``(c^2 - 1/n) / (1 - 1/n)``: the square of a correlation by chance has the mean 1/n, which is taken off.
    A negative correlation (detail of inverted contrast) explains nothing.
    """
    chance = 1.0 / np.maximum(independent, 2.0)
    return np.clip((np.maximum(correlation, 0.0) ** 2 - chance) / (1.0 - chance), 0.0, 1.0)


def detail_of_two(recordings: RingSums) -> Detail:
    """Detail that two recordings of one field have in common: their cross power.

    Args:
        recordings: of one contrast, the noise of each independent of the other's.
    """
    agreement = smooth(ring_correlation(recordings), WIDE)
    return Detail(recordings.cross, agreement > half_bit(recordings.layout.independent))


def detail_of_rows(recording: Plane, layout: RingLayout, power: Values) -> Detail:
    """Detail of a single recording: its power less that of the noise, which its rows tell apart.

    Rows are recorded long after each other, so that noise has one power at every frequency across the rows,
    whatever a slow detector makes of it along them. At the finest of these frequencies, which are the slow
    part of the difference between even and odd rows, detail is blurred by the beam and noise stands alone.

    Args:
        recording: ``(H, W)`` as the instrument gave it. Resampling takes noise out of the finest rows.
        layout: the rings of the reference: this recording, or it resampled, which changes detail and noise
            of one frequency alike.
        power: ``(K,)`` of the reference in each of them.

    Raises:
        MetricUnavailable: the finest rows hold more than noise, or less.
    """
    height, width = recording.shape
    spectrum = windowed_spectrum(recording)
    across = np.abs(np.fft.fftfreq(height))
    finest = across >= FINEST_ROWS
    before = (across >= 2.0 * FINEST_ROWS - NYQUIST) & ~finest
    noise, coarser = ((np.abs(spectrum[rows]) ** 2).mean(axis=0) for rows in (finest, before))
    # The coarsest along the rows is left out: there edges across the beam are strongest and reach farthest.
    fine = slice(width // 8, None)
    if not STEEPEST * coarser[fine].sum() < noise[fine].sum() < coarser[fine].sum() / STEEPEST:
        raise MetricUnavailable(
            "the noise of the reference cannot be found by splitting its rows: they hold detail as fine as "
            "their distance, or were resampled; it takes a second recording of the reference"
        )
    sums = ring_sums(spectrum, spectrum, width)
    of_noise = _binned_sums(
        sums.layout.index, np.tile(noise, height) * sums.layout.weight, len(sums.layout.samples)
    )
    share = 1.0 - np.divide(of_noise, sums.power_b, out=np.ones_like(of_noise), where=sums.power_b > 0.0)
    shown = smooth(share, WIDE) > half_bit(sums.layout.independent)
    return Detail(
        power * np.interp(layout.frequency, sums.layout.frequency, share),
        np.interp(layout.frequency, sums.layout.frequency, shown) > 0.5,
    )


def corrected_correlation(sums: RingSums, detail: Detail | None) -> Values:
    """Correlation of SR with the truth, ``(K,)``, smoothed over rings; 0 where the reference shows none.

    That with the recording over the root of the share of its power that is detail.

    Args:
        sums: SR (``a``) and the reference (``b``).
        detail: of the reference; None for a noise-free truth.
    """
    correlation = smooth(ring_correlation(sums))
    if detail is None:
        return correlation
    share = np.divide(detail.power, sums.power_b, out=np.ones_like(detail.power), where=sums.power_b > 0.0)
    share = smooth(share)
    shown = detail.shown & (share > 0.0)
    return np.divide(correlation, np.sqrt(np.where(shown, share, 1.0)), out=np.zeros_like(share), where=shown)


def band_split(sums: RingSums, above: float, detail: Detail | None = None) -> BandSplit:
    """Recovered, invented and gained detail finer than a frequency.

    Against a noise-free truth H: ``R = sum g P_H / sum P_H``, ``H = sum (1 - g) P_S / sum P_S`` and
    ``G = sum P_S / sum P_H`` with the coherence g, over the rings of the band.

    Against a recording B = H + noise, whose noise SR does not share: ``P_H`` is its detail, and
    ``g P_H = (C^2 / P_S - P_B / n) / (1 - 1 / n)`` with the cross power C, whose square holds ``P_S P_B / n``
    by chance. Sums of these have no bias; g itself is the ratio of both, each smoothed over rings. Rings
    whose detail does not stand out of noise are left out.

    Args:
        sums: SR (``a``) and the reference (``b``).
        above: cycles per pixel; the LR Nyquist frequency is ``1 / (2 scale)``.
        detail: of the reference; None for a noise-free truth.
    """
    band = sums.layout.frequency > above
    correlation = ring_correlation(sums)
    if detail is None:
        true_power = sums.power_b
        explained = coherence(correlation, sums.layout.independent)
        coherent = explained * true_power
    else:
        band &= detail.shown
        true_power = detail.power
        chance = 1.0 / np.maximum(sums.layout.independent, 2.0)
        coherent = (correlation**2 - chance) / (1.0 - chance) * sums.power_b
        # Not ring by ring, where chance decides the sign and leaving out half of it would be a bias.
        coherent[smooth(correlation) <= 0.0] = 0.0
        explained = np.divide(
            smooth(coherent), smooth(true_power), out=np.zeros_like(coherent), where=smooth(true_power) > 0.0
        )
    in_sr, in_truth = sums.power_a[band].sum(), true_power[band].sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        return BandSplit(
            float(np.clip(coherent[band].sum() / in_truth, 0.0, 1.0)),
            float(np.clip(1.0 - (explained * sums.power_a)[band].sum() / in_sr, 0.0, 1.0)),
            float(in_sr / in_truth),
        )


def power_distance(sums: RingSums, noise_variance: float) -> float:
    """Root mean square over rings of the ratio of the powers in dB; blind to phases.

    ``sqrt(mean (10 log10 (P_a + e) / (P_b + e))^2)`` over the rings from 2 on, e being the power of white
    noise of this variance: below it there is nothing to compare.
    """
    floor = sums.layout.samples * noise_variance * sums.layout.window_energy
    ratio = 10.0 * np.log10((sums.power_a + floor) / (sums.power_b + floor))
    return float(np.sqrt(np.mean(ratio[2:] ** 2)))


def binned(frequency: Values, curve: Values, bins: int) -> Values:
    """Mean of ``(K,)`` over the rings of each of ``bins`` equal bins up to Nyquist, ``(bins,)``.

    Bin j holds the frequencies above ``j / (2 bins)`` and up to ``(j + 1) / (2 bins)``; a bin without a ring
    is NaN.
    """
    index = np.clip(np.floor(frequency[1:] * (2 * bins) - 1e-4).astype(np.int64), 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    sums = _binned_sums(index, curve[1:], bins)
    return np.asarray(np.divide(sums, counts, out=np.full(bins, np.nan), where=counts > 0), dtype=np.float64)


def spectrum_of(case: Case, name: str) -> Spectrum:
    """Windowed Fourier transform of a plane (``"sr"``, ``"hr"``, ``"lr"``), shared by all metrics.

    That of ``"second"`` is given the contrast of HR, and ``"both"`` is the mean of HR and it.

    Raises:
        MetricUnavailable: the plane is too small for rings.
    """
    height, width = case.hr.shape
    if min(height, width) < SMALLEST:
        raise MetricUnavailable(
            f"Fourier rings need at least {SMALLEST} x {SMALLEST} pixels inside the border, found "
            f"{height} x {width}"
        )

    def compute() -> Spectrum:
        if name == "both":
            return 0.5 * (spectrum_of(case, "hr") + spectrum_of(case, "second"))
        if name == "lr":  # at magnification 1; its border is cut here
            return windowed_spectrum(case.lr[case.border : -case.border, case.border : -case.border])
        if name in ("sr", "hr"):
            return windowed_plane(case, name)
        spectrum = windowed_spectrum(getattr(case, name))
        if name == "second":
            sums = ring_sums(spectrum_of(case, "hr"), spectrum, width)
            alike = ring_correlation(sums)[1:] > ALIKE
            if alike.any():
                spectrum *= math.sqrt(sums.power_a[1:][alike].sum() / sums.power_b[1:][alike].sum())
        return spectrum

    return case.cached(f"spectrum of {name}", compute)


def windowed_plane(case: Case, name: str) -> Spectrum:
    """Spectrum of ``"sr"`` or ``"hr"`` of any size, shared with the registration of the two."""
    return case.cached(f"spectrum windowed {name}", lambda: windowed_spectrum(getattr(case, name)))


def sums_of(case: Case, a: str, b: str) -> RingSums:
    """Ring sums of two planes, shared by all metrics."""
    return case.cached(
        f"spectrum rings of {a} and {b}",
        lambda: ring_sums(spectrum_of(case, a), spectrum_of(case, b), case.hr.shape[1]),
    )


def reference_of(case: Case, plane: str = "sr") -> tuple[str, str]:
    """The plane that can say what is real in another, without sharing its noise, and what tells its own.

    Returns:
        ``("hr", "")`` for a noise-free truth; else ``"hr"``, ``"second"`` or ``"both"``, and ``"second"`` or
        ``"rows"``.

    Raises:
        MetricUnavailable: there is none.
    """
    if case.clean:
        return "hr", ""
    if case.second is None:
        if not case.lr_recorded:
            raise MetricUnavailable(NOISY)
        return "hr", "rows"
    # A row may be one of the recordings, which is then held to the other.
    if np.array_equal(getattr(case, plane), case.second):
        return "hr", "second"
    if not case.lr_recorded or np.array_equal(getattr(case, plane), case.hr):
        return "second", "second"
    return "both", "second"


def held_to(case: Case, plane: str = "sr") -> tuple[RingSums, Detail | None]:
    """Ring sums of a plane and its reference, and the detail of the latter; None where all of it is.

    Raises:
        MetricUnavailable: nothing can say what is real.
    """
    name, noise = reference_of(case, plane)
    sums = sums_of(case, plane, name)

    def detail() -> Detail:
        if noise == "second":
            return detail_of_two(sums_of(case, "hr", "second"))
        recording = case.hr if case.as_recorded is None else case.as_recorded
        return detail_of_rows(recording, sums.layout, sums.power_b)

    return sums, case.cached("spectrum detail", detail) if noise else None


def cut_off_of(case: Case, plane: str = "sr") -> float:
    """First frequency at which a plane does not agree with the truth, in cycles per HR pixel."""
    sums, detail = held_to(case, plane)
    return cut_off(sums.layout.frequency, corrected_correlation(sums, detail), CLEAN)


@register_metric(
    title="FRC cut-off",
    direction="higher",
    bounds=(0.0, float("inf")),
    explanation="Finest detail that agrees with the reference, relative to what LR can carry: 1 is "
    "no finer than that; at x4, 4 is the finest the result's own pixels can carry.",
    version=2,
    family="spectrum",
)
def frc_cutoff(case: Case) -> float:
    """Cut-off of the correlation with the truth over the LR Nyquist frequency, threshold 0.5.

    Where the reference is noisy it is at most where its detail sinks into its noise.
    """
    return cut_off_of(case) * 2.0 * case.scale


@register_metric(
    title="FRC resolution",
    direction="lower",
    unit="nm",
    bounds=(0.0, float("inf")),
    explanation="Size of the finest detail that agrees with the reference: the period at the FRC cut-off.",
    version=2,
    family="spectrum",
    default=False,
)
def frc_resolution(case: Case) -> float:
    """Pixel size over the cut-off in cycles per pixel."""
    if case.pixel_size_nm is None:
        raise MetricUnavailable("the pixel size of this image is unknown")
    return case.pixel_size_nm / cut_off_of(case)


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
    if case.clean:
        raise MetricUnavailable(
            "the half-bit threshold is for two noisy acquisitions, this reference is clean"
        )
    sums, _ = held_to(case)
    curve = smooth(ring_correlation(sums))
    return cut_off(sums.layout.frequency, curve, half_bit(sums.layout.independent)) * 2.0 * case.scale


@register_metric(
    title="True fine detail",
    direction="higher",
    bounds=(0.0, 1.0),
    explanation="Share of the true detail finer than LR can carry (at x1: finer than LR shows above its "
    "noise) that is in the result and in its place.",
    version=2,
    family="spectrum",
)
def recovered_hf(case: Case) -> float:
    """Recovered share of the true power above what LR carries."""
    return _band(case).recovered


@register_metric(
    title="Invented fine detail",
    direction="lower",
    bounds=(0.0, 1.0),
    explanation="Share of the result's own detail finer than LR can carry that the truth does not explain; "
    "read it with the amount of fine detail: near 0 there is hardly any, and the share means little.",
    version=2,
    family="spectrum",
)
def hallucinated_hf(case: Case) -> float:
    """Unexplained share of the SR power above what LR carries."""
    value = _band(case).hallucinated
    if math.isnan(value):
        raise MetricUnavailable(f"the result shows no detail at all above {carried_by_lr(case)[1]}")
    return value


@register_metric(
    title="Amount of fine detail",
    direction="none",
    bounds=(0.0, float("inf")),
    explanation="Power of the detail finer than LR can carry, true or invented, over that of the truth: 1 is "
    "right, below is blurred, above is too rough.",
    version=2,
    family="spectrum",
)
def gained_hf(case: Case) -> float:
    """SR power over true power above what LR carries."""
    return _band(case).gained


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
    return power_distance(sums_of(case, "sr", "hr"), ROUNDING * case.data_range**2)


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
    try:
        sums, _ = held_to(case)
    except MetricUnavailable:
        sums = sums_of(case, "sr", "hr")
    return [float(value) for value in binned(sums.layout.frequency, ring_correlation(sums), BINS)]


def carried_by_lr(case: Case) -> tuple[float, str]:
    """Finest frequency that LR carries, in cycles per HR pixel, and what it is called."""
    if case.scale > 1:
        return 0.5 / case.scale, "the LR Nyquist frequency"
    # LR has all pixels of HR, but its finest detail is lost in its blur and noise.
    above = case.cached("spectrum carried", lambda: cut_off_of(case, "lr"))
    return above, "what the LR image itself shows"


def _band(case: Case) -> BandSplit:
    """Split of the detail above what LR carries, shared by its three metrics."""
    sums, detail = held_to(case)
    above, words = carried_by_lr(case)
    split = case.cached("spectrum band split", lambda: band_split(sums, above, detail))
    if not math.isfinite(split.gained):
        raise MetricUnavailable(f"the reference shows no detail above {words} and its noise")
    return split
