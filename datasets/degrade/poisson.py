"""Poisson numbers by inversion: the smallest count whose distribution function reaches a uniform number.

An asymptotic expansion gives the count at once except near the steps of the distribution function, where the
function itself decides. The result is exact as far as float64 can tell (a uniform number within about 1e-13
of a step), for every mean.

Reference:
    Giles, Algorithm 955: approximation of the inverse Poisson cumulative distribution function, ACM TOMS
    42(1), 2016: the idea and the expansion, eq. 8.
"""

from __future__ import annotations

import torch
from torch import Tensor

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
    """Counts with these means.

    Args:
        mean: float64, at least 0; accurate to means of 1e6.
        uniform: float64 in (0, 1), of the same shape.

    Returns:
        Float64 whole numbers of the same shape.
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


def distribution(count: Tensor, mean: Tensor) -> Tensor:
    """P(N <= count) for ``count`` at least 0."""
    reached: Tensor = torch.special.gammaincc(count + 1.0, mean)
    return reached


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
        reached = distribution(middle, mean) >= uniform
        low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
    return high
