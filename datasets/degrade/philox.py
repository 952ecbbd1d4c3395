"""Random numbers that are a function of where they are used: Philox4x32-10, a counter-based generator.

Nothing is drawn in an order, so a crop, a batch or another device cannot change a number. Written in int64
operations, which are exact and equal on every device and in every version of torch; ``torch.Generator`` gives
other numbers on CUDA than on a CPU.

Reference:
    Salmon, Moraes, Dror, Shaw, Parallel random numbers: as easy as 1, 2, 3, SC'11, section 3.3.
"""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

Words = tuple[Tensor, Tensor, Tensor, Tensor]
"""Four words of 32 bits, each held in int64."""

ROUNDS = 10
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


def philox(counter: Words, key: tuple[Tensor, Tensor]) -> Words:
    """Four random words for every counter under every key.

    Args:
        counter: int64 in [0, 2**32), of shapes that broadcast with one another.
        key: the same, two words.

    Returns:
        Four int64 tensors in [0, 2**32).
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
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
