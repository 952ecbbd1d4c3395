"""The operators of the degradations: from HR to the LR that an infinite dose would give."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from srbench.datasets.degrade.interface import Place
from srbench.datasets.degrade.philox import Stream
from srbench.datasets.degrade.scan import STILL, Charging, Scan, drawn_angle
from srbench.datasets.resize import resize
from srbench.datasets.spot_sampling import Spot, beam_spot, sample_lines

_DEPTH = 65535.0
# Sums of 8-bit levels lie on multiples of 2**-16 or coarser; ties must not depend on the order of a sum.
_TIE = 1e-7


@dataclass(frozen=True)
class Shrink:
    """``resize`` by a kernel."""

    kernel: str

    def __call__(self, hr: Tensor, scale: int, place: Place | None) -> Tensor:
        """See ``Operator``."""
        del place
        height, width = hr.shape[-2:]
        return resize(hr, (height // scale, width // scale), self.kernel)


def unchanged(hr: Tensor, scale: int, place: Place | None) -> Tensor:
    """HR itself, for scale 1."""
    del scale, place
    return sixteen_bits(hr)


def legacy_bicubic(hr: Tensor, scale: int, place: Place | None) -> Tensor:
    """Bicubic along the columns of pixels, rounded to 8 bits, then along the rows, rounded to 8 bits.

    Rounding is floor(x + 1/2) and clips; a gradient passes as if there were none. The border is replicated.
    """
    levels = sixteen_bits(hr) * 255.0
    height, width = hr.shape[-2:]
    if place is not None:
        levels = _replicate_outside(levels, scale, place)
    lower = _to_level(resize(levels, (height // scale, width), "bicubic", border="replicate"))
    return _to_level(resize(lower, (height // scale, width // scale), "bicubic", border="replicate")) / 255.0


@dataclass(frozen=True)
class ScannedSpot:
    """A beam spot point-sampled along scan lines.

    The spot is a Gaussian centred on the centre of the LR pixel (between HR pixels for an even scale),
    evaluated at the HR pixels and normalised. It does not average over the LR pixel: what the spot lets
    through beyond the LR Nyquist frequency is aliased, as in a microscope that steps further than its spot
    is wide. HR is taken at its 16-bit levels, so that float32 and float64 pixels give the same counts.

    Attributes:
        spot: in LR pixels.
        angle: of the long axis in degrees, from columns towards rows; None for one from each image's key.
        scan: displacements of the lines.
        charging: None for none.
    """

    spot: Spot
    angle: float | None = None
    scan: Scan = STILL
    charging: Charging | None = None

    @property
    def placed(self) -> bool:
        """Whether LR depends on the key."""
        return self.scan != STILL or (self.spot.ratio > 1.0 and self.angle is None)

    @property
    def reach(self) -> int:
        """LR pixels of surroundings."""
        optics = max(math.ceil(self.spot.support + self.scan.reach - 0.5), 0)
        return optics + (self.charging.reach if self.charging else 0)

    def __call__(self, hr: Tensor, scale: int, place: Place | None) -> Tensor:
        """See ``Operator``."""
        image = sixteen_bits(hr)
        height, width = hr.shape[-2] // scale, hr.shape[-1] // scale
        if self.scan == STILL and self.spot.ratio == 1.0 and self.charging is None:
            return resize(image, (height, width), beam_spot(self.spot))
        place = None if place is None else place.to(image.device)
        shift = self._shift(image, place, (height, width))
        lead = self.charging.reach if self.charging else 0
        lines = sample_lines(image, scale, self.spot, shift, self._angles(image, place), lead)
        return self.charging.apply(lines) if self.charging else lines

    def _shift(self, image: Tensor, place: Place | None, given: tuple[int, int]) -> Tensor:
        if place is None or self.scan == STILL:
            return image.new_zeros(image.shape[0], given[0], 2)
        return self.scan.displacement(place, given)

    def _angles(self, image: Tensor, place: Place | None) -> Tensor | None:
        if self.spot.ratio == 1.0:
            return None
        if self.angle is not None:
            return image.new_full((image.shape[0],), math.radians(self.angle))
        return None if place is None else drawn_angle(place.keys, Stream.ASTIGMATISM)


def sixteen_bits(hr: Tensor) -> Tensor:
    """Float64, rounded to multiples of 1/65535; a gradient passes as if there were no rounding.

    Pixels of 8 and of 16 bits come out the same from float32 and from float64. A device without float64
    hands over to the CPU.
    """
    held = hr.cpu() if hr.device.type == "mps" else hr
    held = held if held.dtype in (torch.float32, torch.float64) else held.to(torch.float32)
    rounded = (held.detach() * _DEPTH).round_().to(torch.float64).div_(_DEPTH)
    return _with_gradient(rounded, held)


def _to_level(value: Tensor) -> Tensor:
    rounded = torch.floor(value.detach() + (0.5 + _TIE)).clamp_(0.0, 255.0)
    return _with_gradient(rounded, value)


def _with_gradient(rounded: Tensor, value: Tensor) -> Tensor:
    """``rounded``, bit for bit, with the gradient of ``value``."""
    if not value.requires_grad:
        return rounded
    passing = value.to(torch.float64)
    return rounded + (passing - passing.detach())


def _replicate_outside(image: Tensor, scale: int, place: Place) -> Tensor:
    """Put the edge pixel wherever a crop's surroundings lie outside the whole image."""
    height, width = image.shape[-2:]
    place = place.to(image.device)
    sizes = place.whole_sizes((height // scale, width // scale))
    if sizes is None:
        return image
    first, end = place.origins * scale, sizes * scale
    rows = _held_inside(height, first[:, 0, None], end[:, 0, None])
    columns = _held_inside(width, first[:, 1, None], end[:, 1, None])
    image = image.gather(-2, rows[:, None, :, None].expand(-1, image.shape[1], -1, width))
    return image.gather(-1, columns[:, None, None].expand(-1, image.shape[1], height, -1))


def _held_inside(length: int, first: Tensor, end: Tensor) -> Tensor:
    """``(N, length)``: for every position of a crop the nearest one that is inside the whole image."""
    inside = torch.arange(length, device=first.device) + first
    return (torch.minimum(inside.clamp(min=0), end - 1) - first).clamp(0, length - 1)
