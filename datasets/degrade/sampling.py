"""The operators of the degradations: from HR to the LR that an infinite dose would give.

A scan samples with a beam spot along displaced lines. Lines are rows; the beam runs along a row (fast axis,
left to right) and from row to row (slow axis). Every displacement is a function of the image's key and of the
row in the whole LR image, and is bounded, which limits the surroundings that a crop depends on.
Sums run over the same taps in the same order wherever a pixel lies, so a crop with its surroundings gives the
same bits as the whole image.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from srbench.datasets.degrade.base import LrPosition, Operator
from srbench.datasets.degrade.noise import Stream, uniforms
from srbench.datasets.images.resize import Floats, Kernel, resize
from srbench.utils.errors import DatasetError

SPOT_SIGMAS = 5.0
"""The spot is cut at so many standard deviations, where the profile is 4e-6 of its peak."""
_SHARPEST = 0.2


@dataclass(frozen=True)
class Spot:
    """A beam spot.

    Attributes:
        sigma: standard deviation along its short axis, in LR pixels.
        ratio: long axis over short axis, at least 1.
    """

    sigma: float
    ratio: float = 1.0

    @property
    def support(self) -> float:
        """LR pixels from the centre at which it is cut; wide enough to always hold an HR pixel."""
        return SPOT_SIGMAS * max(self.sigma * self.ratio, _SHARPEST)


@functools.lru_cache(maxsize=64)
def beam_spot(spot: Spot) -> Kernel:
    """A round spot as a kernel for ``resize``, which evaluates it at the HR pixels' distances."""
    return Kernel(
        functools.partial(_spot_profile, sigma=spot.sigma, support=spot.support), 2.0 * spot.support
    )


def sample_lines(
    image: Tensor, scale: int, spot: Spot, shift: Tensor, angle: Tensor | None = None, lead: int = 0
) -> Tensor:
    """Sample ``(N, C, H, W)`` with a spot along displaced lines; the border is mirrored, edge repeated.

    LR pixel (r, c) is what a spot of Gaussian profile collects at its centre, moved by the displacement of
    line r. Where no line is displaced and the spot is round this is ``resize`` with :func:`beam_spot`.

    Args:
        image: float64.
        scale: HR pixels between two LR pixels; H and W are multiples.
        spot: in LR pixels; an elliptical one needs ``angle``.
        shift: ``(N, H/scale, 2)`` displacement of every line in LR pixels: down and to the right.
        angle: ``(N,)`` direction of the long axis in radians, from columns towards rows.
        lead: LR columns to add to the left of the image as well.

    Returns:
        ``(N, C, H/scale, W/scale + lead)``.
    """
    down = _Taps.around(shift[..., 0], scale, spot)
    right = _Taps.around(shift[..., 1], scale, spot)
    lines = _Lines(image, scale, down.first, right.first, lead)
    if angle is None or spot.ratio == 1.0:
        return _separable(lines, down, right, spot, scale)
    return _elliptical(lines, down, right, spot, scale, angle)


@dataclass(frozen=True)
class _Taps:
    """The HR pixels around an LR pixel of each line, along one axis.

    ``first (N, R)``: the first one's index, relative to the LR pixel's own first HR pixel.
    ``distance (N, R, taps)``: from the displaced centre, in HR pixels.
    """

    first: Tensor
    distance: Tensor

    @classmethod
    def around(cls, shift: Tensor, scale: int, spot: Spot) -> _Taps:
        half = spot.support * scale
        # Relative to the line, never to the image: the fraction must not depend on where a crop begins.
        centre = shift * float(scale) + (scale - 1) / 2.0
        first = torch.ceil(centre - half)
        steps = torch.arange(math.floor(2.0 * half) + 1, device=shift.device)
        return cls(first.to(torch.int64), first[..., None] + steps - centre[..., None])


@dataclass(frozen=True)
class _Lines:
    """An image from which each line's own HR rows are read, moved by the line's own whole pixels."""

    image: Tensor
    scale: int
    first_row: Tensor
    first_column: Tensor
    lead: int

    def rows(self, tap: int) -> Tensor:
        """``(N, C, R, W)``: tap ``tap`` of every LR line."""
        height, width = self.image.shape[-2:]
        lines = torch.arange(self.first_row.shape[1], device=self.image.device)
        index = _mirror_on_device(lines * self.scale + self.first_row + tap, height)
        return self.image.gather(-2, index[:, None, :, None].expand(-1, self.image.shape[1], -1, width))

    def columns(self, rows: Tensor, weights: Tensor) -> Tensor:
        """``(N, C, R, W/scale + lead)`` from ``(N, C, R, W)``: its taps along the line by ``weights``."""
        width, taps = rows.shape[-1], weights.shape[-1]
        count = width // self.scale + self.lead
        reached = torch.arange((count - 1) * self.scale + taps, device=rows.device) - self.lead * self.scale
        index = _mirror_on_device(self.first_column[..., None] + reached, width)
        aligned = rows.gather(-1, index[:, None].expand(-1, rows.shape[1], -1, -1))
        result = torch.zeros_like(aligned[..., : (count - 1) * self.scale + 1 : self.scale])
        for tap in range(taps):
            seen = aligned[..., tap : tap + (count - 1) * self.scale + 1 : self.scale]
            result = torch.addcmul(result, seen, weights[:, None, :, None, tap])
        return result


def _gaussian_weights(distance: Tensor, spot: Spot) -> Tensor:
    """``exp(-d^2 / 2 sigma^2)`` within the support, of sum 1."""
    weights = torch.exp(distance.square() * (-0.5 / spot.sigma**2)) * (distance.abs() <= spot.support)
    return weights / weights.sum(-1, keepdim=True)


def _separable(lines: _Lines, down: _Taps, right: _Taps, spot: Spot, scale: int) -> Tensor:
    vertical, horizontal = (_gaussian_weights(taps.distance / scale, spot) for taps in (down, right))
    rows = torch.zeros_like(lines.rows(0))
    for tap in range(vertical.shape[-1]):
        rows = torch.addcmul(rows, lines.rows(tap), vertical[:, None, :, None, tap])
    return lines.columns(rows, horizontal)


def _elliptical(lines: _Lines, down: _Taps, right: _Taps, spot: Spot, scale: int, angle: Tensor) -> Tensor:
    """No product of two profiles: every tap across the lines has weights of its own along them."""
    x = right.distance / scale
    total = torch.zeros_like(x[..., 0])
    result: Tensor | None = None
    for tap in range(down.distance.shape[-1]):
        weights = _ellipse(x, down.distance[..., tap, None] / scale, spot, angle[:, None, None])
        total = total + weights.sum(-1)
        seen = lines.columns(lines.rows(tap), weights)
        result = seen if result is None else result + seen
    assert result is not None  # a spot has taps
    return result / total[:, None, :, None]


def _ellipse(x: Tensor, y: Tensor, spot: Spot, angle: Tensor) -> Tensor:
    along = x * torch.cos(angle) + y * torch.sin(angle)
    across = y * torch.cos(angle) - x * torch.sin(angle)
    exponent = (along / (spot.ratio * spot.sigma)).square() + (across / spot.sigma).square()
    return torch.exp(exponent * -0.5) * ((x.abs() <= spot.support) & (y.abs() <= spot.support))


def _spot_profile(x: Floats, sigma: float, support: float) -> Floats:
    profile: Floats = np.exp(-0.5 * (x / sigma) ** 2) * (np.abs(x) <= support)
    return profile


def _mirror_on_device(index: Tensor, length: int) -> Tensor:
    folded = index.remainder(2 * length)
    return torch.where(folded < length, folded, 2 * length - 1 - folded)


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

    def displacement(self, position: LrPosition, lr_size: tuple[int, int]) -> Tensor:
        """``(N, rows, 2)`` float64: how far each line lies down and to the right of its position.

        Args:
            position: keys, origins and, for drift, sizes.
            lr_size: LR rows and columns of the images at hand.

        Raises:
            DatasetError: drift without the sizes of the whole images.
        """
        rows = position.origins[:, 0, None] + torch.arange(lr_size[0], device=position.keys.device)
        shift = torch.zeros((*rows.shape, 2), dtype=torch.float64, device=rows.device)
        if self.jitter:
            shift[..., 1] += self._jitter(position.keys, rows)
        if self.drift:
            shift += self._drift(position, rows, lr_size)
        if self.vibration:
            shift += self._vibration(position.keys, rows)
        return shift

    def _jitter(self, keys: Tensor, rows: Tensor) -> Tensor:
        zero = torch.zeros_like(rows)
        uniform, _ = uniforms(keys[:, None], (rows, zero, zero), Stream.JITTER)
        normal: Tensor = torch.special.ndtri(uniform)
        return normal.clamp_(-JITTER_SIGMAS, JITTER_SIGMAS) * self.jitter

    def _drift(self, position: LrPosition, rows: Tensor, lr_size: tuple[int, int]) -> Tensor:
        sizes = position.whole_sizes(lr_size)
        if sizes is None:
            raise DatasetError(
                f"drift={self.drift:g} is spread over the whole image: expected LrPosition.sizes, the LR "
                "rows and columns of the whole images, found none; give LrPosition(keys, origins, sizes)."
            )
        time = ((rows + 0.5) / sizes[:, 0, None] - 0.5).clamp(-0.5, 0.5)
        return (self.drift * time)[..., None] * _unit_vector(sample_angle(position.keys, Stream.DRIFT))[
            :, None
        ]

    def _vibration(self, keys: Tensor, rows: Tensor) -> Tensor:
        sine = torch.arange(SINES, device=keys.device)
        zero = torch.zeros_like(sine)
        period, phase = uniforms(keys[:, None], (sine, zero, zero), Stream.VIBRATION)
        towards, _ = uniforms(keys[:, None], (sine, zero + 1, zero), Stream.VIBRATION)
        lines = PERIODS[0] * (PERIODS[1] / PERIODS[0]) ** period
        wave = torch.sin(2.0 * math.pi * (rows[..., None] / lines[:, None] + phase[:, None]))
        each = wave[..., None] * _unit_vector(2.0 * math.pi * towards)[:, None]
        return each.sum(-2) * (self.vibration / SINES)


STILL = Scan()
"""Every line where it should be."""


def sample_angle(keys: Tensor, stream: Stream) -> Tensor:
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


def _unit_vector(angle: Tensor) -> Tensor:
    """Unit vectors (down, right) on a new last axis; angles from columns towards rows."""
    return torch.stack((torch.sin(angle), torch.cos(angle)), -1)


_TOP_LEVEL = 65535.0
# Sums of 8-bit levels lie on multiples of 2**-16 or coarser; ties must not depend on the order of a sum.
_LEVEL_TIE = 1e-7


@dataclass(frozen=True)
class Shrink:
    """``resize`` by a kernel."""

    kernel: str

    def __call__(self, hr: Tensor, scale: int, position: LrPosition | None) -> Tensor:
        """See ``Operator``."""
        del position
        height, width = hr.shape[-2:]
        return resize(hr, (height // scale, width // scale), self.kernel)


def unchanged(hr: Tensor, scale: int, position: LrPosition | None) -> Tensor:
    """HR itself, for scale 1."""
    del scale, position
    return sixteen_bits(hr)


def legacy_bicubic(hr: Tensor, scale: int, position: LrPosition | None) -> Tensor:
    """Bicubic along the columns of pixels, rounded to 8 bits, then along the rows, rounded to 8 bits.

    Rounding is floor(x + 1/2) and clips; a gradient passes as if there were none. The border is replicated.
    """
    levels = sixteen_bits(hr) * 255.0
    height, width = hr.shape[-2:]
    if position is not None:
        levels = _replicate_outside(levels, scale, position)
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
    def needs_position(self) -> bool:
        """Whether LR depends on the key."""
        return self.scan != STILL or (self.spot.ratio > 1.0 and self.angle is None)

    @property
    def reach(self) -> int:
        """LR pixels of surroundings."""
        optics = max(math.ceil(self.spot.support + self.scan.reach - 0.5), 0)
        return optics + (self.charging.reach if self.charging else 0)

    def __call__(self, hr: Tensor, scale: int, position: LrPosition | None) -> Tensor:
        """See ``Operator``."""
        image = sixteen_bits(hr)
        height, width = hr.shape[-2] // scale, hr.shape[-1] // scale
        if self.scan == STILL and self.spot.ratio == 1.0 and self.charging is None:
            return resize(image, (height, width), beam_spot(self.spot))
        position = None if position is None else position.to(image.device)
        shift = image.new_zeros(image.shape[0], height, 2)
        if position is not None and self.scan != STILL:
            shift = self.scan.displacement(position, (height, width))
        angle = None
        if self.spot.ratio != 1.0 and self.angle is not None:
            angle = image.new_full((image.shape[0],), math.radians(self.angle))
        elif self.spot.ratio != 1.0 and position is not None:
            angle = sample_angle(position.keys, Stream.ASTIGMATISM)
        lead = self.charging.reach if self.charging else 0
        lines = sample_lines(image, scale, self.spot, shift, angle, lead)
        return self.charging.apply(lines) if self.charging else lines


@dataclass(frozen=True)
class Contrast:
    """What ``optics`` gives, at another contrast and brightness: ``gain * grey + offset``."""

    optics: Operator
    gain: float
    offset: float

    def __call__(self, hr: Tensor, scale: int, position: LrPosition | None) -> Tensor:
        """See ``Operator``."""
        return self.optics(hr, scale, position) * self.gain + self.offset


def sixteen_bits(hr: Tensor) -> Tensor:
    """Float64, rounded to multiples of 1/65535; a gradient passes as if there were no rounding.

    Pixels of 8 and of 16 bits come out the same from float32 and from float64. A device without float64
    hands over to the CPU.
    """
    image = hr.cpu() if hr.device.type == "mps" else hr
    image = image if image.dtype in (torch.float32, torch.float64) else image.to(torch.float32)
    rounded = (image.detach() * _TOP_LEVEL).round_().to(torch.float64).div_(_TOP_LEVEL)
    return _with_gradient(rounded, image)


def _to_level(value: Tensor) -> Tensor:
    rounded = torch.floor(value.detach() + (0.5 + _LEVEL_TIE)).clamp_(0.0, 255.0)
    return _with_gradient(rounded, value)


def _with_gradient(rounded: Tensor, value: Tensor) -> Tensor:
    """``rounded``, bit for bit, with the gradient of ``value``."""
    if not value.requires_grad:
        return rounded
    passing = value.to(torch.float64)
    return rounded + (passing - passing.detach())


def _replicate_outside(image: Tensor, scale: int, position: LrPosition) -> Tensor:
    """Put the edge pixel wherever a crop's surroundings lie outside the whole image."""
    height, width = image.shape[-2:]
    position = position.to(image.device)
    sizes = position.whole_sizes((height // scale, width // scale))
    if sizes is None:
        return image
    first, end = position.origins * scale, sizes * scale
    rows = _nearest_inside(height, first[:, 0, None], end[:, 0, None])
    columns = _nearest_inside(width, first[:, 1, None], end[:, 1, None])
    image = image.gather(-2, rows[:, None, :, None].expand(-1, image.shape[1], -1, width))
    return image.gather(-1, columns[:, None, None].expand(-1, image.shape[1], height, -1))


def _nearest_inside(length: int, first: Tensor, end: Tensor) -> Tensor:
    """``(N, length)``: for every position of a crop the nearest one that is inside the whole image."""
    inside = torch.arange(length, device=first.device) + first
    return (torch.minimum(inside.clamp(min=0), end - 1) - first).clamp(0, length - 1)
