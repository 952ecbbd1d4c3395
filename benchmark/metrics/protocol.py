"""What a number means: channel, luma, border, rounding, data range, resize kernel, metric versions.

A protocol turns stored pixels into the planes that metrics compare. Its id is a hash of everything that
changes a number; every score stores it and tables never mix two ids.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from srbench.metrics.registry import Case
from srbench.utils.errors import SrbenchError, unknown_name
from srbench.utils.image import Pixels, Plane, to_eight_bits, to_grey, to_uint8

CORE_METRICS = ("psnr", "ssim", "lr_psnr")
"""Metrics whose versions are part of the protocol; any other metric carries its version in its own id."""

STUDIO_GAIN = 219.0 / 255.0
"""From full range to 16..235; 65.481, 128.553 and 24.966 of the published formula are 219 LUMA_WEIGHTS."""


@dataclass(frozen=True)
class Protocol:
    """The conditions of a score.

    Attributes:
        name: as typed.
        channel: ``grey``: colour is reduced to one channel by BT.601 weights and rounded before anything
            else. ``y-of-rgb``: red, green and blue are rounded, their luma is not, as BasicSR has it; MATLAB
            rounds luma too, which changes PSNR by about 0.01 dB at 30 dB.
        luma: ``full`` keeps 0..255; ``studio`` maps it to 16..235 as MATLAB's ``rgb2ycbcr`` does, which
            raises PSNR by exactly 20 log10(255/219) = 1.3219 dB and SSIM by a varying amount.
        border: ``scale`` cuts that many HR pixels from every side.
        quantisation: ``uint8``: SR and HR are rounded to 256 levels before they are compared.
        data_range: difference between white and black in the metrics.
        resize: the resize behind the degradations.
        metrics: ``name@version`` of the core metrics.
        objects: whether particles that touch are ``split`` before they are counted and measured or stay
            ``whole``, as a threshold gives them.
    """

    name: str
    channel: Literal["grey", "y-of-rgb"] = "grey"
    luma: Literal["full", "studio"] = "full"
    border: Literal["scale"] = "scale"
    quantisation: Literal["uint8"] = "uint8"
    data_range: float = 1.0
    resize: str = "matlab-imresize@1"
    metrics: tuple[str, ...] = ()
    objects: Literal["split", "whole"] = "split"

    @property
    def id(self) -> str:
        """``name-`` and eight hex digits of the hash of all fields, of ``objects`` where they stay whole."""
        fields = asdict(self)
        if self.objects == "split":
            # The metrics that split carry it in their version: ids of before it was a setting stay.
            del fields["objects"]
        content = json.dumps(fields, sort_keys=True).encode()
        return f"{self.name}-{hashlib.sha256(content).hexdigest()[:8]}"

    def for_colour(self) -> Protocol:
        """This protocol for colour images: studio luma is then that of published tables, hence another id."""
        return replace(self, channel="y-of-rgb") if self.luma == "studio" else self

    def describe(self) -> dict[str, Any]:
        """All fields and the id, for a manifest."""
        return {**asdict(self), "id": self.id}

    def case(
        self,
        sr: Pixels,
        hr: Pixels,
        lr: Pixels,
        scale: int,
        *,
        degrade: Callable[[Plane], Plane] | None = None,
        lr_variance: Callable[[Plane], Plane] | None = None,
        truth: Mapping[str, Any] | None = None,
        pixel_size_nm: float | None = None,
        category: str = "",
        measure: tuple[str, ...] | None = None,
        clean: bool = False,
        second: Pixels | None = None,
        lr_recorded: bool = False,
        as_recorded: Pixels | None = None,
        mask: Pixels | None = None,
    ) -> Case:
        """Prepare one image for the metrics.

        Args:
            sr: ``(H, W)`` or ``(H, W, 3)``, 8 or 16 bit.
            hr: reference of the same height and width.
            lr: ``(H/scale, W/scale)``, what the model was given.
            scale: magnification.
            degrade: HR plane in [0, 1] to the expected LR plane: no noise, unrounded.
            lr_variance: expected LR plane in [0, 1] to the variance of noise and rounding.
            truth: known geometry.
            pixel_size_nm: side of an HR pixel.
            category: kind of sample.
            measure: what its owner says is on the image; None where that cannot be said.
            clean: whether ``hr`` is free of noise.
            second: a second, independent recording of what ``hr`` shows, of its size.
            lr_recorded: whether ``lr`` is a recording by itself and not made from ``hr``.
            as_recorded: ``hr`` before it was resampled, where it was; of any size.
            mask: objects drawn by hand on ``hr``: numbers ``(H, W)``, 0 = background.

        Raises:
            SrbenchError: the sizes do not fit each other, or the border leaves nothing.
        """
        _check_sizes(sr, hr, lr, scale)
        full_sr, full_hr = self._plane(sr), self._plane(hr)
        cut = (slice(scale, -scale), slice(scale, -scale))
        return Case(
            sr=full_sr[cut],
            hr=full_hr[cut],
            full_sr=full_sr,
            full_hr=full_hr,
            lr=self._plane(lr),
            scale=scale,
            data_range=self.data_range,
            degrade=degrade,
            lr_variance=lr_variance and self._variance(lr_variance),
            truth=truth,
            pixel_size_nm=pixel_size_nm,
            category=category,
            measure=measure,
            clean=clean,
            second=None if second is None else self._plane(second)[cut],
            lr_recorded=lr_recorded,
            as_recorded=None if as_recorded is None else self._plane(as_recorded),
            mask=None if mask is None else mask[cut],
            split_touching=self.objects == "split",
        )

    def _plane(self, pixels: Pixels) -> Plane:
        rounded = to_eight_bits(pixels) if self.channel == "y-of-rgb" else to_uint8(pixels)
        plane = to_grey(rounded)
        return plane if self.luma == "full" else (16.0 + 219.0 * plane) / 255.0

    def _variance(self, variance: Callable[[Plane], Plane]) -> Callable[[Plane], Plane]:
        """The same in the units of the planes."""
        if self.luma == "full":
            return variance
        return lambda plane: variance((plane - 16.0 / 255.0) / STUDIO_GAIN) * STUDIO_GAIN**2


def named(name: str) -> Protocol:
    """The protocol called ``name``.

    Raises:
        SrbenchError: no protocol has this name; the message lists near misses and all names.
    """
    protocols = _protocols()
    if name not in protocols:
        raise unknown_name("protocol", name, protocols)
    return protocols[name]


def default_for(kind: str) -> str:
    """The protocol for a dataset of this kind: that of published tables for photographs."""
    return "matlab-y" if kind == "photographs" else "sem-grey"


@functools.cache
def _protocols() -> dict[str, Protocol]:
    from srbench.metrics import registry

    versions = tuple(f"{name}@{registry.get(name).version}" for name in CORE_METRICS)
    protocols = (
        Protocol("sem-grey", metrics=versions),
        Protocol("sem-grey-whole", metrics=versions, objects="whole"),
        Protocol("matlab-y", luma="studio", metrics=versions),
    )
    return {protocol.name: protocol for protocol in protocols}


def _check_sizes(sr: Pixels, hr: Pixels, lr: Pixels, scale: int) -> None:
    height, width = lr.shape[0] * scale, lr.shape[1] * scale
    if sr.shape[:2] != (height, width) or hr.shape[:2] != (height, width):
        raise SrbenchError(
            f"LR {lr.shape[:2]} at scale {scale} needs SR and HR of {(height, width)}, found SR "
            f"{sr.shape[:2]} and HR {hr.shape[:2]}; cut HR with modcrop and return SR uncut."
        )
    if min(height, width) <= 2 * scale:
        raise SrbenchError(
            f"An image of {height} x {width} pixels has nothing left inside a border of {scale}; "
            "score larger images."
        )
