"""Validation during training: PSNR of a bounded, fixed set of crops of the validation images.

It steers and shows progress; published scores come from ``srbench eval``. The set is shared out over the
processes, so that none waits for another, and every process gets the mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from srbench.datasets.crops import read_crop
from srbench.datasets.degrade import Degradation, quantise
from srbench.datasets.interface import Micrograph, MicrographSet
from srbench.datasets.resize import resize_by
from srbench.models import SRModel
from srbench.training.data import PixelCache, cut_pair, stack, to_unit
from srbench.training.distributed import Processes

BEST_PSNR = 100.0
"""dB given for an exact copy, whose PSNR is infinite."""


@dataclass(frozen=True)
class Case:
    """A crop to validate: its position in the set, LR and HR ``(1, 1, H, W)`` on the CPU, bicubic's PSNR."""

    index: int
    lr: Tensor
    hr: Tensor
    bicubic: float


class Validator:
    """PSNR on central crops of validation images, evenly spaced over the split.

    Args:
        micrographs: the opened dataset.
        images: its validation images.
        degradation: makes LR.
        scale: magnification.
        limit: images used at most.
        patch: HR side of a crop; smaller images are used whole.
        processes: those that share the work.
    """

    def __init__(
        self,
        micrographs: MicrographSet,
        images: Sequence[Micrograph],
        degradation: Degradation,
        scale: int,
        limit: int,
        patch: int,
        processes: Processes,
    ) -> None:
        self._degradation, self._scale, self._patch = degradation, scale, patch
        self._processes = processes
        self._pixels = PixelCache(micrographs, scale)
        chosen = list(enumerate(_spread(images, limit)))
        self._cases = [self._case(index, image) for index, image in processes.share(chosen)]

    def __call__(self, model: SRModel) -> dict[str, float]:
        """Mean PSNR (dB) of 8-bit rounded SR, a border of ``scale`` cut, and its gain over bicubic."""
        rows = []
        for case in self._cases:
            value = psnr(self._super_resolve(model, case), case.hr, self._scale)
            rows.append((case.index, value, value - case.bicubic))
        everybody = sorted(row for part in self._processes.gather(rows) for row in part)
        return {
            "psnr": math.fsum(row[1] for row in everybody) / len(everybody),
            "gain_over_bicubic": math.fsum(row[2] for row in everybody) / len(everybody),
        }

    def preview(self, model: SRModel) -> Tensor | None:
        """LR (enlarged by bicubic), SR and HR of the first crop side by side, ``(1, H, 3 W)`` in [0, 1]."""
        if not self._cases:
            return None
        case = self._cases[0]
        enlarged = quantise(resize_by(case.lr, self._scale))
        return torch.cat([enlarged, self._super_resolve(model, case), case.hr], dim=-1)[0]

    def _super_resolve(self, model: SRModel, case: Case) -> Tensor:
        like = next(model.network.parameters())
        hr = case.hr.to(like.device, like.dtype) if model.leaking else None
        sr: Tensor = model.infer(case.lr.to(like.device, like.dtype), oracle_hr=hr)
        return sr.mean(dim=1, keepdim=True).float().cpu()

    def _case(self, index: int, image: Micrograph) -> Case:
        pixels = self._pixels[image.id]
        height, width = (min(side, self._patch - self._patch % self._scale) for side in pixels.shape)
        corner = [
            (side - part) // 2 // self._scale * self._scale
            for side, part in zip(pixels.shape, (height, width), strict=True)
        ]
        context = self._degradation.context(self._scale)
        window = (corner[0] - context, corner[1] - context, height + 2 * context, width + 2 * context)
        around = to_unit(stack([np.ascontiguousarray(read_crop(pixels, *window))]), torch.float32)
        lr, hr = cut_pair(around, self._degradation, self._scale, context)
        return Case(index, lr, hr, psnr(resize_by(lr, self._scale), hr, self._scale))


def psnr(sr: Tensor, hr: Tensor, border: int) -> float:
    """PSNR in dB of images in [0, 1] after rounding to 8 bits, ``border`` pixels cut on each side."""
    if border and min(hr.shape[-2:]) > 2 * border:
        sr, hr = (image[..., border:-border, border:-border] for image in (sr, hr))
    error = (quantise(sr).double() - quantise(hr).double()).square().mean().item()
    return BEST_PSNR if error == 0 else min(BEST_PSNR, -10 * math.log10(error))


def format_metrics(metrics: Mapping[str, float]) -> str:
    """``PSNR 28.31 dB (+0.42 against bicubic)``."""
    return f"PSNR {metrics['psnr']:.2f} dB ({metrics['gain_over_bicubic']:+.2f} against bicubic)"


def _spread(images: Sequence[Micrograph], limit: int) -> list[Micrograph]:
    """At most ``limit`` images, evenly spaced over the list."""
    count = min(limit, len(images))
    return [images[index * len(images) // count] for index in range(count)]
