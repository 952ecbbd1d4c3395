"""Random numbers and noise of a finite dose: counted electrons shown above a pedestal, plus read noise.

Every number is a function of where it is used (Philox4x32-10, a counter-based generator), so a crop, a batch
or another device cannot change it. Written in int64 operations, which are exact and equal on every device and
in every version of torch; ``torch.Generator`` gives other numbers on CUDA than on a CPU.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from srbench.datasets.degrade.base import LrPosition

Words = tuple[Tensor, Tensor, Tensor, Tensor]
"""Four words of 32 bits, each held in int64."""

PHILOX_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_MASK = 0xFFFFFFFF


class Stream(IntEnum):
    """What a number is for: numbers of two streams are independent. The values are part of every LR image."""

    DOSE = 0
    JITTER = 1
    DRIFT = 2
    VIBRATION = 3
    ASTIGMATISM = 4
    EXPOSURE = 5


def philox(counter: Words, key: tuple[Tensor, Tensor]) -> Words:
    """Philox4x32-10: four random words for every counter under every key.

    Args:
        counter: int64 in [0, 2**32), of shapes that broadcast with one another.
        key: the same, two words.

    Reference:
        Salmon, Moraes, Dror, Shaw, Parallel random numbers: as easy as 1, 2, 3, SC'11, section 3.3.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(PHILOX_ROUNDS):
        # An int64 product wraps around; shifted and masked, its bits are those of the unsigned one.
        left, right = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = _high(right) ^ (c1 ^ k0), right & _MASK, _high(left) ^ (c3 ^ k1), left & _MASK
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def uniforms(keys: Tensor, position: tuple[Tensor, Tensor, Tensor], stream: Stream) -> tuple[Tensor, Tensor]:
    """Two independent numbers for every position under every key.

    Args:
        keys: int64; of a shape that broadcasts with the positions.
        position: three int64 coordinates, taken modulo 2**32 (negative ones are fine).
        stream: what for.

    Returns:
        Two float64 tensors, multiples of 2**-53, in the open interval (0, 1).
    """
    first, second, third = (coordinate & _MASK for coordinate in position)
    c0, c1, c2, c3 = philox(
        (first, second, third, torch.full_like(first, int(stream))), (keys & _MASK, _high(keys))
    )
    return _unit(c0, c1), _unit(c2, c3)


def _high(product: Tensor) -> Tensor:
    return (product >> 32) & _MASK


def _unit(high: Tensor, low: Tensor) -> Tensor:
    # 53 bits are what float64 holds exactly; zero would be an infinite normal number.
    return (((high << 21) | (low >> 11)).to(torch.float64) * 2.0**-53).clamp_(min=2.0**-54)


# Below this mean or count, or further out than so many standard deviations, the distribution function always
# decides.
_SMALLEST_MEAN = 4.0
_SMALLEST_COUNT = 2.0
_FURTHEST = 7.0
# The search starts from a bracket of 64 counts; means up to this fit into one that starts at zero, whatever
# 53 bits can ask for.
_BRACKET = 64
_SEARCHED_FROM_ZERO = 12.0


def poisson(mean: Tensor, uniform: Tensor) -> Tensor:
    """Poisson counts by inversion: the smallest whose distribution function reaches a uniform number.

    An asymptotic expansion gives the count at once except near the steps of the distribution function, where
    the function itself decides. Exact as far as float64 can tell (a uniform number within about 1e-13 of a
    step), for every mean.

    Args:
        mean: float64, at least 0; accurate to means of 1e6.
        uniform: float64 in (0, 1), of the same shape.

    Returns:
        Float64 whole numbers of the same shape.

    Reference:
        Giles, Algorithm 955: approximation of the inverse Poisson cumulative distribution function, ACM TOMS
        42(1), 2016: the idea and the expansion, eq. 8.
    """
    if mean.device.type != "cpu":  # choosing the pixels in doubt would wait for the device
        return _search(mean, uniform)
    normal = torch.special.ndtri(uniform)
    root, doubt = _expansion(mean, normal)
    doubtful = (root - root.round()).abs_() <= doubt
    doubtful |= (mean < _SMALLEST_MEAN) | (root < _SMALLEST_COUNT) | (normal.abs() > _FURTHEST)
    counts = root.ceil_().sub_(1.0)
    where = doubtful.nonzero(as_tuple=True)
    counts[where] = _search(mean[where], uniform[where])
    return counts


def _expansion(mean: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
    """The real x with Q(x, mean) = u, of which the count is ceil(x) - 1, and how far off it may be."""
    inverse = mean.clamp(min=1e-300).rsqrt()
    squared = normal * normal
    x = mean + normal * mean.sqrt() + (squared / 6.0 + 1.0 / 3.0)
    x -= normal * (squared + 2.0) * inverse / 72.0
    x += ((squared * 3.0 + 7.0) * squared - 16.0) * inverse * inverse / 810.0
    doubt = (squared * squared * 0.03 + 0.04) * inverse**3 + 1e-9
    return x, doubt


def _search(mean: Tensor, uniform: Tensor) -> Tensor:
    """Bisection of the distribution function, always the same number of steps."""
    root, _ = _expansion(mean, torch.special.ndtri(uniform))
    low = (root.floor() - _BRACKET // 2).clamp_(min=-1.0)
    low = torch.where(mean < _SEARCHED_FROM_ZERO, -1.0, low)
    high = low + _BRACKET
    for _ in range(_BRACKET.bit_length() - 1):
        middle = ((low + high) * 0.5).floor_()
        reached = torch.special.gammaincc(middle + 1.0, mean) >= uniform
        low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
    return high


SPREAD_NODES = 513
"""Grey levels of the table between which the spread, a smooth function, is interpolated linearly."""

GAUSSIAN_DOSE = 2000.0
"""Electrons above which counting noise is taken as Gaussian: its skewness is below 0.023."""


def clipped_spread(expected: Tensor, dose: float, read: float, pedestal: float) -> Tensor:
    """``E (clip(X, 0, 1) - expected)^2`` of recordings X by :class:`DoseNoise`.

    Away from black and white this is the variance of X; a pixel whose expected value is black shows half of
    its noise, as the other half would be darker than black.

    Args:
        expected: expected grey levels, any shape; below 0 and above 1 they count as 0 and 1.
        dose: electrons counted in a pixel of full signal.
        read: standard deviation of the electronics, of the full grey scale.
        pedestal: share of the full signal that is shown as black.

    Returns:
        The same shape, in units of the squared grey range, in the dtype and on the device of ``expected``.
    """
    grey = expected.to(torch.float64).clamp(0.0, 1.0)
    if dose > GAUSSIAN_DOSE:
        return _mean_square_distance(grey, *recorded_moments(grey, dose, read, pedestal)).to(expected.dtype)
    table = _spread_table(dose, read, pedestal).to(expected.device)
    node = grey * (SPREAD_NODES - 1)
    below = node.floor().clamp(max=SPREAD_NODES - 2).long()
    return torch.lerp(table[below], table[below + 1], node - below).to(expected.dtype)


@functools.lru_cache(maxsize=16)
def _spread_table(dose: float, read: float, pedestal: float) -> Tensor:
    """The spread at ``SPREAD_NODES`` grey levels from black to white: the sum over all counts."""
    grey = torch.linspace(0.0, 1.0, SPREAD_NODES, dtype=torch.float64)
    return _mean_square_distance(grey, *recorded_moments(grey, dose, read, pedestal))


def recorded_moments(grey: Tensor, dose: float, read: float, pedestal: float) -> tuple[Tensor, Tensor]:
    """Mean and mean square of recordings by :class:`DoseNoise`, clipped at black and white.

    Args:
        grey: ``(G,)`` float64 expected grey levels before they are clipped.
        dose: electrons counted in a pixel of full signal.
        read: standard deviation of the electronics, of the full grey scale.
        pedestal: share of the full signal that is shown as black.
    """
    signal = (grey * (1.0 - pedestal) + pedestal).clamp(min=0.0)
    if dose > GAUSSIAN_DOSE:
        sigma = (signal / (dose * (1.0 - pedestal) ** 2) + read**2).sqrt()
        return clipped_moments(grey.clamp(min=-pedestal / (1.0 - pedestal)), sigma)
    rate = (signal * dose)[:, None]
    most = float(rate.max())
    counts = torch.arange(math.ceil(most + 10.0 * math.sqrt(most) + 20.0), dtype=torch.float64)
    shown = (counts / dose - pedestal) / (1.0 - pedestal)
    probabilities = torch.exp(torch.special.xlogy(counts, rate) - rate - torch.lgamma(counts + 1.0))
    mean, square = clipped_moments(shown, torch.full_like(shown, read))
    return probabilities @ mean, probabilities @ square


def _mean_square_distance(grey: Tensor, mean: Tensor, square: Tensor) -> Tensor:
    """From ``grey``, by mean and mean square."""
    return square - 2.0 * grey * mean + grey.square()


def clipped_moments(mean: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and mean square of ``clip(X, 0, 1)`` for Gaussian X of this mean and sigma, which may be 0."""
    # In standard deviations; forty of them stand for infinity.
    black, white = (
        (distance / sigma.clamp(min=1e-12)).clamp(-40.0, 40.0) for distance in (-mean, 1.0 - mean)
    )
    inside = torch.special.ndtr(white) - torch.special.ndtr(black)
    above = torch.special.ndtr(-white)
    density_black, density_white = (
        torch.exp(-0.5 * z.square()) / math.sqrt(2.0 * math.pi) for z in (black, white)
    )
    first = mean * inside + sigma * (density_black - density_white) + above
    second = (
        (mean.square() + sigma.square()) * inside
        + sigma * (mean * density_black - (1.0 + mean) * density_white)
        + above
    )
    return first, second


@dataclass(frozen=True)
class DoseNoise:
    """Shot noise and read noise of LR pixels: the model of the synthetic scenes, at LR.

    The signal of grey level g is s = p + (1 - p) g with the pedestal p, because the brightness setting shows
    as black what is not quite dark. N ~ Poisson(dose s) electrons are counted and shown as
    (N / dose - p) / (1 - p); Gaussian read noise is added. Dark places are noisy too, and the variance grows
    linearly with the grey level. Real secondary-electron signals are a little noisier than Poisson's law by a
    factor that is not modelled, see Frank, Journal of Electron Microscopy 54, 361, 2005.

    Attributes:
        dose: electrons counted in an LR pixel of full signal.
        read: standard deviation of the electronics, of the full grey scale.
        pedestal: share of the full signal that is shown as black, below 1.
        dose_to: where given, the dose of each image is drawn log-uniformly between ``dose`` and this, from
            its key.
    """

    dose: float
    read: float
    pedestal: float
    dose_to: float | None = None

    def sample(self, expected: Tensor, position: LrPosition) -> Tensor:
        """One acquisition of ``expected (N, C, H, W)``, float64; no gradient passes."""
        with torch.no_grad():
            position = position.to(expected.device)
            dose: float | Tensor = self.dose
            if self.dose_to is not None:
                dose = self.doses(position.keys)[:, None, None, None]
            counting, reading = pixel_uniforms(position, expected.shape)
            counts = poisson(self._signal(expected) * dose, counting)
            shown = (counts / dose - self.pedestal) / (1.0 - self.pedestal)
            return shown.add_(torch.special.ndtri(reading), alpha=self.read) if self.read else shown

    def doses(self, keys: Tensor) -> Tensor:
        """The dose of each image, float64 of the shape of its key."""
        if self.dose_to is None:
            return torch.full_like(keys, self.dose, dtype=torch.float64)
        zero = torch.zeros_like(keys)
        uniform, _ = uniforms(keys, (zero, zero, zero), Stream.EXPOSURE)
        return self.dose * (self.dose_to / self.dose) ** uniform

    def variance(self, expected: Tensor, position: LrPosition) -> Tensor:
        """Variance of ``sample`` at these expected values ``(N, ...)``, before clipping and rounding."""
        doses = self.doses(position.to(expected.device).keys).reshape(-1, *(1 for _ in expected.shape[1:]))
        gain = doses * (1.0 - self.pedestal) ** 2
        return (self._signal(expected) / gain + self.read**2).to(expected.dtype)

    def spread(self, expected: Tensor, position: LrPosition) -> Tensor:
        """Mean square distance from these expected values of ``sample`` clipped at black and white."""
        doses = self.doses(position.keys).tolist()
        images = [
            clipped_spread(image, dose, self.read, self.pedestal)
            for image, dose in zip(expected, doses, strict=True)
        ]
        return torch.stack(images)

    def _signal(self, expected: Tensor) -> Tensor:
        """The signal that grey levels stand for; what is darker than no electrons at all is none."""
        return (expected.to(torch.float64) * (1.0 - self.pedestal) + self.pedestal).clamp(min=0.0)


def pixel_uniforms(position: LrPosition, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Two numbers for every pixel of ``(N, C, H, W)`` at its position in the whole LR image."""
    _, channels, height, width = shape
    device = position.keys.device
    rows = position.origins[:, 0, None] + torch.arange(height, device=device)
    columns = position.origins[:, 1, None] + torch.arange(width, device=device)
    coordinates = (
        rows[:, None, :, None],
        columns[:, None, None, :],
        torch.arange(channels, device=device)[None, :, None, None],
    )
    return uniforms(position.keys[:, None, None, None], coordinates, Stream.DOSE)
