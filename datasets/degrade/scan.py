"""What a scan does to an image: lines displaced by jitter, drift and vibration, and charge left behind.

Lines are rows; the beam runs along a row (fast axis, left to right) and from row to row (slow axis). Every
displacement is a function of the image's key and of the row in the whole LR image, and is bounded, so that
a crop knows how much of its surroundings it depends on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from srbench.datasets.degrade.interface import Place
from srbench.datasets.degrade.philox import Stream, uniforms
from srbench.datasets.interface import DatasetError

JITTER_SIGMAS = 4.0
"""Jitter is cut at so many standard deviations."""
SINES = 6
"""Vibration is a sum of so many."""
PERIODS = (2.5, 100.0)
"""Lines in a period of vibration; the period of each sine is drawn log-uniformly from this range."""
CHARGE_TAIL = 1e-3
"""Charge is forgotten when so little of it is left."""


@dataclass(frozen=True)
class Scan:
    """Displacements of the lines of an image. Lengths in LR pixels.

    Attributes:
        jitter: standard deviation of every line's own displacement along the fast axis.
        drift: how far the specimen moves from the first line to the last, in a direction from the key; the
            middle of the frame is where it should be.
        vibration: largest displacement by vibration, in directions and with periods from the key.
    """

    jitter: float = 0.0
    drift: float = 0.0
    vibration: float = 0.0

    @property
    def reach(self) -> float:
        """The largest displacement along an axis."""
        return JITTER_SIGMAS * self.jitter + 0.5 * self.drift + self.vibration

    def displacement(self, place: Place, given: tuple[int, int]) -> Tensor:
        """``(N, rows, 2)`` float64: how far each line lies down and to the right of its place.

        Args:
            place: keys, origins and, for drift, sizes.
            given: LR rows and columns of the images at hand.

        Raises:
            DatasetError: drift without the sizes of the whole images.
        """
        rows = place.origins[:, 0, None] + torch.arange(given[0], device=place.keys.device)
        shift = torch.zeros((*rows.shape, 2), dtype=torch.float64, device=rows.device)
        if self.jitter:
            shift[..., 1] += self._jitter(place.keys, rows)
        if self.drift:
            shift += self._drift(place, rows, given)
        if self.vibration:
            shift += self._vibration(place.keys, rows)
        return shift

    def _jitter(self, keys: Tensor, rows: Tensor) -> Tensor:
        zero = torch.zeros_like(rows)
        uniform, _ = uniforms(keys[:, None], (rows, zero, zero), Stream.JITTER)
        normal: Tensor = torch.special.ndtri(uniform)
        return normal.clamp_(-JITTER_SIGMAS, JITTER_SIGMAS) * self.jitter

    def _drift(self, place: Place, rows: Tensor, given: tuple[int, int]) -> Tensor:
        sizes = place.whole_sizes(given)
        if sizes is None:
            raise DatasetError(
                f"drift={self.drift:g} is spread over the whole image: expected Place.sizes, the LR rows and "
                "columns of the whole images, found none; give Place(keys, origins, sizes)."
            )
        time = ((rows + 0.5) / sizes[:, 0, None] - 0.5).clamp(-0.5, 0.5)
        return (self.drift * time)[..., None] * _direction(drawn_angle(place.keys, Stream.DRIFT))[:, None]

    def _vibration(self, keys: Tensor, rows: Tensor) -> Tensor:
        sine = torch.arange(SINES, device=keys.device)
        zero = torch.zeros_like(sine)
        period, phase = uniforms(keys[:, None], (sine, zero, zero), Stream.VIBRATION)
        towards, _ = uniforms(keys[:, None], (sine, zero + 1, zero), Stream.VIBRATION)
        lines = PERIODS[0] * (PERIODS[1] / PERIODS[0]) ** period
        wave = torch.sin(2.0 * math.pi * (rows[..., None] / lines[:, None] + phase[:, None]))
        each = wave[..., None] * _direction(2.0 * math.pi * towards)[:, None]
        return each.sum(-2) * (self.vibration / SINES)


STILL = Scan()
"""Every line where it should be."""


def drawn_angle(keys: Tensor, stream: Stream) -> Tensor:
    """``(N,)`` angles in radians, uniform on the circle, one an image."""
    zero = torch.zeros_like(keys)
    uniform, _ = uniforms(keys, (zero, zero, zero), stream)
    return 2.0 * math.pi * uniform


@dataclass(frozen=True)
class Charging:
    """Charge that bright places leave, which darkens what the beam scans next.

    With s the exponential mean of the line up to and including a pixel, I becomes I - strength (s - 1/2): a
    mid-grey field stays as it is. What the beam met to the left of the image is the image mirrored.

    Attributes:
        strength: kappa.
        length: LR pixels along the fast axis in which the charge falls to 1/e.
    """

    strength: float
    length: float

    @property
    def reach(self) -> int:
        """LR pixels to the left that a pixel depends on."""
        return math.ceil(self.length * math.log(1.0 / CHARGE_TAIL))

    def apply(self, lines: Tensor) -> Tensor:
        """``(..., W)`` of ``(..., reach + W)``: pixels that have all of their past to their left."""
        width = lines.shape[-1] - self.reach
        keep = [math.exp(-step / self.length) for step in range(self.reach + 1)]
        present = lines[..., self.reach :]
        charge = torch.zeros_like(present)
        for step, left in enumerate(keep):
            start = self.reach - step
            charge = torch.add(charge, lines[..., start : start + width], alpha=left / sum(keep))
        return present - self.strength * (charge - 0.5)


def _direction(angle: Tensor) -> Tensor:
    """Unit vectors (down, right) on a new last axis; angles from columns towards rows."""
    return torch.stack((torch.sin(angle), torch.cos(angle)), -1)
