"""What the rings say: Fourier ring correlation, its cut-off, and detail recovered, invented and gained.

Ring correlation sees phases: detail at the wrong place counts as disagreement. How much detail there is at
all, whether right or wrong, is the power.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from srbench.evaluation.functional.rings import RingSums

CLEAN = 0.5
"""Threshold against a noise-free truth: what 1/7 between two equally noisy recordings amounts to, by
``sqrt(2 c / (1 + c))`` (Rosenthal and Henderson 2003, doi 10.1016/j.jmb.2003.07.013)."""

TWO_RECORDINGS = 1.0 / 7.0
SMOOTHING = 5
NYQUIST = 0.5


@dataclass(frozen=True)
class BandSplit:
    """Detail finer than the LR image can carry, ``(N,)`` each; NaN where there is nothing to compare with.

    Attributes:
        recovered: share of the true detail that is there and right, 0..1.
        hallucinated: share of the detail in SR that the truth does not explain, 0..1; without any detail in
            SR it is NaN.
        gained: power of the detail in SR over that in the truth; 1 is the right amount.
    """

    recovered: Tensor
    hallucinated: Tensor
    gained: Tensor


def ring_correlation(sums: RingSums) -> Tensor:
    """Fourier ring correlation ``(N, K)``, -1..1; 0 where one of the images has no power.

    ``Re sum F_a conj(F_b) / sqrt(sum |F_a|^2 sum |F_b|^2)`` over each ring; Saxton and Baumeister 1982, van
    Heel 1987 (doi 10.1016/0304-3991(87)90010-6). Ring 0 is set to 1.
    """
    scale = torch.sqrt(sums.power_a) * torch.sqrt(sums.power_b)
    correlation = torch.where(scale > 0, sums.cross / torch.where(scale > 0, scale, 1.0), 0.0)
    correlation[:, 0] = 1.0
    return correlation.clamp(-1.0, 1.0)


def smooth(curve: Tensor, width: int = SMOOTHING) -> Tensor:
    """Moving mean of ``(N, K)`` over ``width`` rings, over fewer at the ends; ring 0 stays out of it."""
    body = torch.nn.functional.avg_pool1d(
        curve[:, None, 1:], width, stride=1, padding=width // 2, count_include_pad=False
    )[:, 0]
    return torch.cat([curve[:, :1], body], dim=1)


def half_bit(independent: Tensor) -> Tensor:
    """Threshold ``(K,)`` above which a ring holds half a bit a sample, for two equally noisy recordings.

    Van Heel and Schatz 2005 (doi 10.1016/j.jsb.2005.05.009), with the number of independent samples.
    """
    root = independent.sqrt()
    return (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root)


def cut_off(frequency: Tensor, curve: Tensor, threshold: Tensor | float) -> Tensor:
    """First frequency at which each curve falls below the threshold, ``(N,)`` in cycles per pixel.

    Between two rings it is interpolated. A curve that never falls below is good to Nyquist: 0.5.

    Args:
        frequency: ``(K,)`` from 0.
        curve: ``(N, K)``, 1 in ring 0; smooth it where rings are small.
        threshold: a number or ``(K,)``.
    """
    above = curve - threshold
    above[:, 0] = above[:, 0].clamp(min=torch.finfo(curve.dtype).eps)
    below = above < 0
    at = below.to(torch.uint8).argmax(dim=1).clamp(min=1)
    rows = torch.arange(len(curve), device=curve.device)
    before, after = above[rows, at - 1], above[rows, at]
    step = frequency[1] - frequency[0]
    crossing = frequency[at - 1] + step * before / (before - after)
    return torch.where(below.any(dim=1), crossing, NYQUIST)


def coherence(correlation: Tensor, independent: Tensor) -> Tensor:
    """Share of the power of each ring that the other image explains, ``(N, K)``, 0..1.

    ``(c^2 - 1/n) / (1 - 1/n)``: the square of a correlation by chance has the mean 1/n, which is taken off.
    A negative correlation (detail of inverted contrast) explains nothing.
    """
    chance = 1.0 / independent.clamp(min=2.0)
    return ((correlation.clamp(min=0.0).square() - chance) / (1.0 - chance)).clamp(0.0, 1.0)


def band_split(sums: RingSums, scale: int, recordings: RingSums | None = None) -> BandSplit:
    """Recovered, invented and gained detail above the LR Nyquist frequency ``1 / (2 scale)``.

    Against a noise-free truth H: ``R = sum g P_H / sum P_H``, ``H = sum (1 - g) P_S / sum P_S`` and
    ``G = sum P_S / sum P_H`` with the coherence g, over the rings of the band.

    Against a noisy recording the power of the truth is the cross power of two recordings, and the coherence
    with the truth is that with the recording over the correlation of the two recordings. Rings in which the
    two recordings do not agree (half-bit) cannot tell detail from noise and are left out.

    Args:
        sums: SR (``a``) and the reference (``b``).
        scale: magnification, at least 2.
        recordings: another recording with noise of its own (``a``) and that same reference (``b``), where the
            reference is noisy.
    """
    explained = coherence(ring_correlation(sums), sums.layout.independent)
    band = (sums.layout.frequency > 0.5 / scale).expand_as(explained)
    coherent = explained * sums.power_b
    true_power = sums.power_b
    if recordings is not None:
        agreement = smooth(ring_correlation(recordings))
        band = band & (agreement > half_bit(sums.layout.independent))
        true_power = recordings.cross.clamp(min=0.0)
        explained = (explained / agreement.clamp(min=torch.finfo(agreement.dtype).tiny)).clamp(max=1.0)
    in_sr, in_truth = _total(sums.power_a, band), _total(true_power, band)
    return BandSplit(
        (_total(coherent, band) / in_truth).clamp(max=1.0),
        1.0 - _total(explained * sums.power_a, band) / in_sr,
        in_sr / in_truth,
    )


def power_distance(sums: RingSums, noise_variance: float) -> Tensor:
    """Root mean square over rings of the ratio of the powers in dB, ``(N,)``; blind to phases.

    ``sqrt(mean (10 log10 (P_a + e) / (P_b + e))^2)`` over the rings from 2 on, e being the power of white
    noise of this variance: below it there is nothing to compare.
    """
    floor = sums.layout.samples * noise_variance * sums.layout.window_energy
    ratio = 10.0 * torch.log10((sums.power_a + floor) / (sums.power_b + floor))
    return ratio[:, 2:].square().mean(dim=1).sqrt()


def binned(frequency: Tensor, curve: Tensor, bins: int) -> Tensor:
    """Mean of ``(N, K)`` over the rings of each of ``bins`` equal bins up to Nyquist, ``(N, bins)``.

    Bin j holds the frequencies above ``j / (2 bins)`` and up to ``(j + 1) / (2 bins)``; a bin without a ring
    is NaN.
    """
    place = (frequency[1:] * (2 * bins) - 1e-4).floor().long().clamp(0, bins - 1)
    sums = curve.new_zeros(len(curve), bins).index_add_(1, place, curve[:, 1:])
    return sums / torch.bincount(place, minlength=bins)


def _total(values: Tensor, band: Tensor) -> Tensor:
    return torch.where(band, values, 0.0).sum(dim=1)
