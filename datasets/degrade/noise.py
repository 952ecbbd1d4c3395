"""Noise of a finite dose: counted electrons, shown above a pedestal, plus the noise of the electronics.

The model of ``datasets/synthetic/noise.py``, at LR: the signal of grey level g is s = p + (1 - p) g with the
pedestal p, because the brightness setting shows as black what is not quite dark. N ~ Poisson(dose s)
electrons are counted and shown as (N / dose - p) / (1 - p); Gaussian read noise is added. Dark places are
noisy too, and the variance grows linearly with the grey level.

Real secondary-electron signals are a little noisier than Poisson's law by a factor that is not modelled, see
Frank, Journal of Electron Microscopy 54, 361, 2005.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from srbench.datasets.degrade.clipping import clipped_spread
from srbench.datasets.degrade.interface import Place
from srbench.datasets.degrade.philox import Stream, uniforms
from srbench.datasets.degrade.poisson import poisson


@dataclass(frozen=True)
class DoseNoise:
    """Shot noise and read noise of LR pixels.

    Attributes:
        dose: electrons counted in an LR pixel of full signal.
        read: standard deviation of the electronics, of the full grey scale.
        pedestal: share of the full signal that is shown as black, below 1.
    """

    dose: float
    read: float
    pedestal: float

    def sample(self, expected: Tensor, place: Place) -> Tensor:
        """One acquisition of ``expected (N, C, H, W)``, float64; no gradient passes."""
        with torch.no_grad():
            place = place.to(expected.device)
            counting, reading = pixel_uniforms(place, expected.shape)
            counts = poisson(self._signal(expected) * self.dose, counting)
            shown = (counts / self.dose - self.pedestal) / (1.0 - self.pedestal)
            return shown.add_(torch.special.ndtri(reading), alpha=self.read) if self.read else shown

    def variance(self, expected: Tensor) -> Tensor:
        """Variance of ``sample`` at these expected values, before clipping and rounding."""
        gain = self.dose * (1.0 - self.pedestal) ** 2
        return (self._signal(expected) / gain + self.read**2).to(expected.dtype)

    def spread(self, expected: Tensor) -> Tensor:
        """Mean square distance from these expected values of ``sample`` clipped at black and white."""
        return clipped_spread(expected, self.dose, self.read, self.pedestal)

    def _signal(self, expected: Tensor) -> Tensor:
        """The signal that grey levels stand for; what is darker than no electrons at all is none."""
        return (expected.to(torch.float64) * (1.0 - self.pedestal) + self.pedestal).clamp(min=0.0)


def pixel_uniforms(place: Place, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Two numbers for every pixel of ``(N, C, H, W)`` at its place in the whole LR image."""
    _, channels, height, width = shape
    device = place.keys.device
    rows = place.origins[:, 0, None] + torch.arange(height, device=device)
    columns = place.origins[:, 1, None] + torch.arange(width, device=device)
    position = (
        rows[:, None, :, None],
        columns[:, None, None, :],
        torch.arange(channels, device=device)[None, :, None, None],
    )
    return uniforms(place.keys[:, None, None, None], position, Stream.DOSE)
