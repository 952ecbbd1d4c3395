"""What a degradation is: an operator from HR to the expected LR, and, where the dose is finite, its noise.

Everything random is a pure function of a key (one an image, see :func:`noise_key`) and of the position in
the whole LR image. The LR of a crop is therefore the crop of the LR, noise and scan distortions included, on
a CPU as on a GPU and however images are batched. A name may carry settings,
``sem_pixel:dose=60,jitter=0.3@1``; two texts that mean the same give one id.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srbench.datasets.base import RECORDED
from srbench.utils.errors import DatasetError, near_miss


@dataclass(frozen=True)
class LrPosition:
    """Where the images of a batch lie: in the stream of random numbers and in the whole LR image.

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
    def whole(cls, *keys: int, device: torch.device | str = "cpu") -> LrPosition:
        """Of whole images with these keys."""
        zeros = torch.zeros(len(keys), 2, dtype=torch.int64, device=device)
        return cls(torch.tensor(keys, dtype=torch.int64, device=device), zeros, zeros)

    def to(self, device: torch.device | str) -> LrPosition:
        """The same on another device."""
        keys, origins = (part.to(device, non_blocking=True) for part in (self.keys, self.origins))
        sizes = None if self.sizes is None else self.sizes.to(device, non_blocking=True)
        return LrPosition(keys, origins, sizes)

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


Operator = Callable[[Tensor, int, LrPosition | None], Tensor]
"""``(N, C, H, W)`` HR, scale and position to ``(N, C, H/scale, W/scale)``, in the dtype of HR or in float64;
electrons are counted, and the result is cast to the dtype of HR, by the caller."""


class Noise(Protocol):
    """Noise of a finite dose."""

    def sample(self, expected: Tensor, position: LrPosition) -> Tensor:
        """One noisy acquisition of ``expected``, same shape; not yet clipped or rounded."""

    def variance(self, expected: Tensor, position: LrPosition) -> Tensor:
        """Variance of ``sample`` at every pixel, same shape, in units of the squared grey range."""

    def spread(self, expected: Tensor, position: LrPosition) -> Tensor:
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
        changed: those that differ from their defaults: the part of the id behind the colon.
        needs_position: whether ``operator`` needs a position (scan distortions).
        scales: the scales it is defined for; None for every one.
    """

    name: str
    version: int
    summary: str
    reach: int
    operator: Operator
    noise: Noise | None = None
    settings: Mapping[str, float] = field(default_factory=dict)
    changed: Mapping[str, float] = field(default_factory=dict)
    needs_position: bool = False
    scales: tuple[int, ...] | None = None

    @property
    def id(self) -> str:
        """``name@version`` or ``name:dose=60@version``, what every score stores."""
        settings = ",".join(f"{name}={value:g}" for name, value in self.changed.items())
        return f"{self.name}:{settings}@{self.version}" if settings else f"{self.name}@{self.version}"

    @property
    def recorded(self) -> bool:
        """Whether LR is not made but the one that the dataset holds (``MicrographSet.lr``)."""
        return self.name == RECORDED

    @property
    def stochastic(self) -> bool:
        """Whether LR depends on the key of an image."""
        return self.noise is not None or self.needs_position

    def context(self, scale: int) -> int:
        """HR pixels around a crop, to each side, that its LR depends on; a multiple of ``scale``."""
        return self.reach * scale

    def __call__(self, hr: Tensor, scale: int, position: LrPosition | None = None) -> Tensor:
        """Make LR, not yet rounded: may overshoot [0, 1], see ``quantise``.

        Args:
            hr: ``(N, C, H, W)`` floating point in [0, 1]; H and W multiples of ``scale``.
            scale: integer factor, at least 1.
            position: keys and origins of the N images; needed where ``stochastic``.

        Returns:
            ``(N, C, H/scale, W/scale)``, dtype and device of ``hr``.

        Raises:
            DatasetError: a side is not a multiple of ``scale``, a scale this degradation is not defined for,
                or no position for a stochastic one.
        """
        expected = self._expected(hr, scale, position, self.stochastic)
        if self.noise is not None and position is not None:
            expected = self.noise.sample(expected, position)
        return expected.to(hr)

    def expected(self, hr: Tensor, scale: int, position: LrPosition | None = None) -> Tensor:
        """The LR an infinite dose would give, which carries gradients.

        Arguments and errors are those of ``__call__``; only where ``needs_position`` is a position needed.
        """
        return self._expected(hr, scale, position, self.needs_position).to(hr)

    def _expected(self, hr: Tensor, scale: int, position: LrPosition | None, random: bool) -> Tensor:
        """The expected LR in the precision of the operator: counts must not see a rounding to float32."""
        height, width = hr.shape[-2:]
        if hr.ndim != 4 or scale < 1 or height % scale or width % scale:
            raise DatasetError(
                f"{self.id} at scale {scale} expects (N, C, H, W) with H and W multiples of the scale, found "
                f"{tuple(hr.shape)}; cut the image with modcrop(hr, {scale}) first."
            )
        self.check_scale(scale)
        if random and position is None:
            raise DatasetError(
                f"{self.id} is random: expected the keys of the {len(hr)} images, found none; give "
                "LrPosition.whole(noise_key(image_id))."
            )
        return self.operator(hr, scale, position)

    def check_scale(self, scale: int) -> None:
        """Refuse a scale that this degradation is not defined for.

        Raises:
            DatasetError: names the scales there are.
        """
        if self.scales is not None and scale not in self.scales:
            offered = ", ".join(f"x{offer}" for offer in self.scales)
            raise DatasetError(
                f"{self.name} is defined for {offered}, not for x{scale}; choose one of these."
            )


@dataclass(frozen=True)
class Setting:
    """A number that a degradation can be given.

    Attributes:
        name: as typed.
        meaning: what it is, with its unit.
        default: its value where nothing is said; None where it then is drawn from the key of each image.
        low: smallest value.
        high: largest value.
        infinite: whether ``inf`` is allowed too.
        needs: another setting, without which this one has no effect and is refused.
    """

    name: str
    meaning: str
    default: float | None
    low: float
    high: float
    infinite: bool = False
    needs: str = ""

    @property
    def range(self) -> str:
        """``0 to 0.2``, for lists and errors."""
        return f"{self.low:g} to {self.high:g}" + (" or inf" if self.infinite else "")

    def read(self, owner: str, text: str) -> float:
        """The value that ``text`` means, to the six significant digits that an id shows.

        Raises:
            DatasetError: not a number, or out of range.
        """
        try:
            value = float(f"{float(text):g}")
        except ValueError:
            raise DatasetError(
                f"{owner}: expected a number for {self.name} ({self.range}), found {text!r}."
            ) from None
        if not (self.low <= value <= self.high or (self.infinite and value == math.inf)):
            raise DatasetError(
                f"{owner}: {self.name}={text} is out of range; expected {self.range} ({self.meaning})."
            )
        return value


def split_name(text: str) -> tuple[str, tuple[str, ...], str]:
    """Name, settings as typed, and version (empty where none is given) of ``name:a=1,b=2@version``."""
    stem, _, version = text.partition("@")
    name, colon, listed = stem.partition(":")
    return name.strip(), tuple(listed.split(",")) if colon else (), version.strip()


def parse_settings(owner: str, typed: Sequence[str], settings: Sequence[Setting]) -> dict[str, float]:
    """The settings that differ from their defaults, by name in alphabetical order.

    Args:
        owner: name of the degradation.
        typed: ``name=value`` each.
        settings: those it has.

    Raises:
        DatasetError: unknown, repeated, not a number, out of range, or without effect.
    """
    by_name = {setting.name: setting for setting in settings}
    given: dict[str, float] = {}
    for item in typed:
        name, equals, text = (part.strip() for part in item.partition("="))
        if not settings:
            raise DatasetError(f"{owner} takes no settings, found {item!r}; write {owner!r}.")
        if not equals or name not in by_name:
            problem = f"unknown setting {name!r}{near_miss(name, by_name)}"
            if name in by_name or not name:
                problem = f"expected settings as name=value, found {item!r}"
            raise DatasetError(f"{owner}: {problem}. Known: {', '.join(by_name)}.")
        if name in given:
            raise DatasetError(f"{owner}: {name} is given twice; give it once.")
        given[name] = by_name[name].read(owner, text)
    changed = {name: given[name] for name in sorted(given) if given[name] != by_name[name].default}
    for name in changed:
        needed = by_name.get(by_name[name].needs)
        if needed is None:
            continue
        if needed.infinite and changed.get(needed.name) == math.inf:
            raise DatasetError(
                f"{owner}: {name} has no effect with {needed.name}=inf, which is free of noise; leave it out."
            )
        if not needed.infinite and needed.name not in changed:
            raise DatasetError(
                f"{owner}: {name} has no effect without {needed.name}; give {needed.name} too "
                f"({needed.range}) or leave it out."
            )
    return changed


def with_defaults(changed: Mapping[str, float], settings: Sequence[Setting]) -> dict[str, float]:
    """All settings, the others at their defaults; without those that the key decides."""
    values = {setting.name: changed.get(setting.name, setting.default) for setting in settings}
    return {name: value for name, value in values.items() if value is not None}


Image = TypeVar("Image", Tensor, NDArray[np.uint8], NDArray[np.uint16])

# Ties such as the mean of 0 and 1 must round alike however the sum was ordered; in units of a grey level.
_TIE = 1e-4


def quantise(image: Tensor, bits: int = 8) -> Tensor:
    """Clamp to [0, 1] and round to ``2**bits`` levels, halves upwards; still floating point in [0, 1]."""
    top = float(2**bits - 1)
    working = torch.float32 if image.device.type == "mps" else torch.float64
    levels = torch.floor(image.to(working).clamp(0.0, 1.0) * top + (0.5 + _TIE)).clamp_(max=top)
    return (levels / top).to(image.dtype)


def modcrop(hr: Image, scale: int) -> Image:
    """Cut bottom and right so that the last two sides are multiples of ``scale`` (a view, no copy)."""
    height, width = hr.shape[-2:]
    return hr[..., : height - height % scale, : width - width % scale]
