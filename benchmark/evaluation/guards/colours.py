"""Whether red, green and blue come out of a model in their places.

On colour data they are compared with those of the LR image. On grey data a colour network is given three
equal channels and its three are averaged, which would hide a wrong order; there its raw output must be grey.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from srbench.evaluation.guards.cards import Finding

if TYPE_CHECKING:
    from torch import Tensor

GUARD = "lossless_output"

SWAPPED = 0.5
"""Distance to LR of the best order of channels, as a share of the distance of the order given, below which
they are swapped. Of single photographs with red and blue exchanged the share is 0.01 to 0.17, for networks
trained for a minute; in the right order it is 1."""
COLOURED = 2.0
"""Distance in grey levels below which the order does not matter: images almost without colour."""

TINTED = 5.0
"""Grey levels by which the three channels may differ, on average, on a grey image. EDSR, SwinIR and SRGAN
trained for a minute on photographs differ by at most 0.7 on micrographs that they never saw. One whose mean
colour (of DIV2K) is subtracted in one order and added in another differs by 7.6."""


class ChannelOrders:
    """Adds up, for every order of the three channels, how far the results are from their LR images."""

    def __init__(self) -> None:
        self.images = 0
        self._squares: dict[tuple[int, ...], float] = {}

    def add(self, small: NDArray[np.float64], lr: NDArray[np.uint8]) -> None:
        """Take one result brought to LR size, ``(h, w, 3)``, and its LR image, both in grey levels."""
        self.images += 1
        for order in itertools.permutations(range(3)):
            square = float(np.square(small[..., order] - lr).mean())
            self._squares[order] = self._squares.get(order, 0.0) + square

    def finding(self) -> Finding:
        """Whether another order than the given one fits the LR images."""
        distance = {order: (total / self.images) ** 0.5 for order, total in self._squares.items()}
        given, best = distance[0, 1, 2], min(distance, key=lambda order: distance[order])
        images = f"{self.images} colour image{'s' if self.images > 1 else ''}"
        if given <= COLOURED or distance[best] >= SWAPPED * given:
            detail = f"Red, green and blue are in their places: {given:.1f} grey levels from LR ({images})."
            return Finding(GUARD, "passed", detail)
        read = "".join("RGB"[channel] for channel in best)
        return Finding(
            GUARD,
            "failed",
            f"The channels are in another order: read as {read} the result is {distance[best]:.1f} grey "
            f"levels from the LR images, as it is {given:.1f} ({images}).",
        )


def channel_spread(raw: Tensor) -> float:
    """How far a colour network tints a grey image, in grey levels of 255.

    Args:
        raw: its output ``(N, 3, H, W)`` in [0, 1] for three equal channels, before they are averaged.

    Returns:
        Mean absolute deviation of the channels from their mean.
    """
    shown = raw.double().clamp(0.0, 1.0)
    return float((shown - shown.mean(dim=1, keepdim=True)).abs().mean()) * 255.0


def finding_of_spread(spread: float) -> Finding:
    """What the :func:`channel_spread` of a colour network on grey data says."""
    seen = f"the channels of this colour network differ by {spread:.1f} grey levels on a grey image"
    if spread <= TINTED:
        return Finding(GUARD, "passed", f"On average {seen} (at most {TINTED:.0f} are let pass).")
    return Finding(
        GUARD,
        "failed",
        f"What is scored is the mean of three channels, but {seen} (at most {TINTED:.0f} are let pass): its "
        "weights expect another order of channels, or another mean colour is subtracted than in training.",
    )
