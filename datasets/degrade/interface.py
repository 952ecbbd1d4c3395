"""What a degradation is: an operator from HR to the expected LR, and, where the dose is finite, its noise.

Everything random is a pure function of a key (one an image, see :func:`noise_key`) and of the position in
the whole LR image. The LR of a crop is therefore the crop of the LR, noise and scan distortions included, on
a CPU as on a GPU and however images are batched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from srbench.datasets.interface import DatasetError


@dataclass(frozen=True)
class Place:
    """Where the images of a batch come from.

    Attributes:
        keys: ``(N,)`` int64, one an image, from :func:`noise_key`.
        origins: ``(N, 2)`` int64: row and column, in the whole LR image, of the first LR pixel made from each
            given HR image; zeros for whole images, negative in the mirrored surroundings of a crop.
        sizes: ``(N, 2)`` int64: rows and columns of the whole LR images; 0 where the whole one is given.
            None where unknown: drift, which is spread over the whole frame, then refuses, and a degradation
            that replicates the border takes the edge of what it is given for the edge of the image.
    """

    keys: Tensor
    origins: Tensor
    sizes: Tensor | None = None

    @classmethod
    def whole(cls, *keys: int, device: torch.device | str = "cpu") -> Place:
        """The place of whole images with these keys."""
        held = torch.tensor(keys, dtype=torch.int64, device=device)
        nothing = torch.zeros(len(keys), 2, dtype=torch.int64, device=device)
        return cls(held, nothing, nothing)

    def to(self, device: torch.device | str) -> Place:
        """The same on another device."""
        sizes = None if self.sizes is None else self.sizes.to(device, non_blocking=True)
        return Place(
            self.keys.to(device, non_blocking=True), self.origins.to(device, non_blocking=True), sizes
        )

    def whole_sizes(self, given: tuple[int, int]) -> Tensor | None:
        """``(N, 2)`` LR sizes of the whole images, ``given`` (LR rows, columns) standing for 0."""
        if self.sizes is None:
            return None
        rows, columns = (
            self.sizes[:, axis].masked_fill(self.sizes[:, axis] == 0, given[axis]) for axis in (0, 1)
        )
        return torch.stack((rows, columns), 1)


def noise_key(image_id: str, acquisition: int = 0) -> int:
    """The key of one acquisition of an image: 63 bits, equal on every machine.

    Args:
        image_id: as in the dataset.
        acquisition: 0 is the LR that evaluation uses; training draws others, a fresh one each time.
    """
    digest = hashlib.sha256(f"srbench lr 1\n{acquisition}\n{image_id}".encode("utf-8", "surrogateescape"))
    return int.from_bytes(digest.digest()[:8], "little") >> 1


Operator = Callable[[Tensor, int, Place | None], Tensor]
"""``(N, C, H, W)`` HR, scale and place to ``(N, C, H/scale, W/scale)``, in the dtype of HR or in float64;
electrons are counted, and the result is cast to the dtype of HR, by the caller."""


class Noise(Protocol):
    """Noise of a finite dose."""

    def sample(self, expected: Tensor, place: Place) -> Tensor:
        """One noisy acquisition of ``expected``, same shape; not yet clipped or rounded."""

    def variance(self, expected: Tensor) -> Tensor:
        """Variance of ``sample`` at every pixel, same shape, in units of the squared grey range."""

    def spread(self, expected: Tensor) -> Tensor:
        """Mean square distance of ``sample``, clipped at black and white, from ``expected``, same shape."""


@dataclass(frozen=True)
class Degradation:
    """One way to make LR from HR.

    Attributes:
        name: as typed, without settings.
        version: changes with the numbers.
        summary: one sentence for lists and reports.
        reach: LR pixels of surroundings that one LR pixel depends on, to each side.
        operator: makes the expected LR: optics and sampling, without counting noise.
        noise: what a finite dose adds; None where LR is exactly the expected one.
        settings: all parameters and their values (``dose=60``).
        shown: those that differ from their defaults: the part of the id behind the colon.
        placed: whether ``operator`` needs a place (scan distortions).
        scales: the scales it is defined for; None for every one.
    """

    name: str
    version: int
    summary: str
    reach: int
    operator: Operator
    noise: Noise | None = None
    settings: Mapping[str, float] = field(default_factory=dict)
    shown: Mapping[str, float] = field(default_factory=dict)
    placed: bool = False
    scales: tuple[int, ...] | None = None

    @property
    def id(self) -> str:
        """``name@version`` or ``name:dose=60@version``, what every score stores."""
        settings = ",".join(f"{name}={value:g}" for name, value in self.shown.items())
        return f"{self.name}:{settings}@{self.version}" if settings else f"{self.name}@{self.version}"

    @property
    def stochastic(self) -> bool:
        """Whether LR depends on the key of an image."""
        return self.noise is not None or self.placed

    def context(self, scale: int) -> int:
        """HR pixels around a crop, to each side, that its LR depends on; a multiple of ``scale``."""
        return self.reach * scale

    def __call__(self, hr: Tensor, scale: int, place: Place | None = None) -> Tensor:
        """Make LR, not yet rounded: may overshoot [0, 1], see ``quantise``.

        Args:
            hr: ``(N, C, H, W)`` floating point in [0, 1]; H and W multiples of ``scale``.
            scale: integer factor, at least 1.
            place: keys and origins of the N images; needed where ``stochastic``.

        Returns:
            ``(N, C, H/scale, W/scale)``, dtype and device of ``hr``.

        Raises:
            DatasetError: a side is not a multiple of ``scale``, a scale this degradation is not defined for,
                or no place for a stochastic one.
        """
        expected = self._checked(hr, scale, place, self.stochastic)
        if self.noise is not None and place is not None:
            expected = self.noise.sample(expected, place)
        return expected.to(hr)

    def expected(self, hr: Tensor, scale: int, place: Place | None = None) -> Tensor:
        """The LR an infinite dose would give, which carries gradients.

        Arguments and errors are those of ``__call__``; only where ``placed`` is a place needed.
        """
        return self._checked(hr, scale, place, self.placed).to(hr)

    def _checked(self, hr: Tensor, scale: int, place: Place | None, random: bool) -> Tensor:
        """The expected LR in the precision of the operator: counts must not see a rounding to float32."""
        height, width = hr.shape[-2:]
        if hr.ndim != 4 or scale < 1 or height % scale or width % scale:
            raise DatasetError(
                f"{self.id} at scale {scale} expects (N, C, H, W) with H and W multiples of the scale, found "
                f"{tuple(hr.shape)}; cut the image with modcrop(hr, {scale}) first."
            )
        self.check_scale(scale)
        if random and place is None:
            raise DatasetError(
                f"{self.id} is random: expected the keys of the {len(hr)} images, found none; give "
                "Place.whole(noise_key(image_id))."
            )
        return self.operator(hr, scale, place)

    def check_scale(self, scale: int) -> None:
        """Refuse a scale that this degradation is not defined for.

        Raises:
            DatasetError: names the scales there are.
        """
        if self.scales is not None and scale not in self.scales:
            offered = ", ".join(f"x{known}" for known in self.scales)
            raise DatasetError(
                f"{self.name} is defined for {offered}, not for x{scale}; choose one of these."
            )
