"""Validation during training: PSNR of a bounded, fixed set of crops of the validation images.

It steers and shows progress; published scores come from ``srbench eval``. The set is shared out over the
processes, so that none waits for another, and every process gets the mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from srbench.datasets.base import Micrograph, MicrographSet
from srbench.datasets.degrade import Degradation, LrPosition, noise_key, quantise
from srbench.datasets.images.resize import read_crop, resize_by
from srbench.metrics.fidelity import psnr
from srbench.models import SRModel
from srbench.training.crops import PixelCache, RecordedLr, cut_side
from srbench.training.data import inner, make_lr, to_unit
from srbench.training.distributed import Processes
from srbench.utils.image import rgb_to_luma, to_channels


@dataclass(frozen=True)
class ValidationCrop:
    """A crop to validate: its position in the set, LR and HR ``(1, C, H, W)`` on the CPU, bicubic's PSNR."""

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
        self._pixels = PixelCache(micrographs, images, scale)
        self._recorded: PixelCache | None = None
        if degradation.recorded:
            recorded = RecordedLr(micrographs, images, scale)
            self._recorded = PixelCache(recorded, recorded.images, 1)
        chosen = list(enumerate(_spread(images, limit)))
        self._cases = [self._case(index, image) for index, image in processes.share(chosen)]

    def __call__(self, model: SRModel) -> dict[str, float]:
        """Mean PSNR (dB) of 8-bit rounded SR, a border of ``scale`` cut, and its gain over bicubic.

        Colour is compared as its luma, as in the evaluation.
        """
        rows = []
        for case in self._cases:
            value = rounded_psnr(self._super_resolve(model, case), case.hr, self._scale)
            rows.append((case.index, value, value - case.bicubic))
        everybody = sorted(row for part in self._processes.gather(rows) for row in part)
        return {
            "psnr": math.fsum(row[1] for row in everybody) / len(everybody),
            "gain_over_bicubic": math.fsum(row[2] for row in everybody) / len(everybody),
        }

    def preview(self, model: SRModel) -> Tensor | None:
        """LR (enlarged by bicubic), SR and HR of the first crop side by side, ``(C, H, 3 W)`` in [0, 1]."""
        if not self._cases:
            return None
        case = self._cases[0]
        sr = self._super_resolve(model, case)
        enlarged, hr = (to_channels(i, sr.shape[1]) for i in (resize_by(case.lr, self._scale), case.hr))
        return torch.cat([quantise(enlarged), sr, hr], dim=-1)[0]

    def _super_resolve(self, model: SRModel, case: ValidationCrop) -> Tensor:
        """``(1, C, H, W)`` on the CPU: grey of grey data, whatever the network's channels."""
        like = next(model.network.parameters())
        seen = [case.lr, case.hr] if model.leaking else [case.lr]
        suited = [rgb_to_luma(image) if model.channels == 1 else image for image in seen]
        lr, *oracle = (image.to(like.device, like.dtype) for image in suited)
        sr: Tensor = model.infer(lr, oracle_hr=oracle[0] if oracle else None)
        return sr.float().cpu()

    def _case(self, index: int, image: Micrograph) -> ValidationCrop:
        pixels, scale = self._pixels[image.id], self._scale
        context = self._degradation.context(scale)
        height, width = (min(side, cut_side(self._patch, scale)) for side in pixels.shape[:2])
        top, left = (
            (side - part) // 2 // scale * scale
            for side, part in zip(pixels.shape[:2], (height, width), strict=True)
        )
        window = (top - context, left - context, height + 2 * context, width + 2 * context)
        around = to_unit(self._pixels.layout.tensor(read_crop(pixels, *window)), torch.float32)
        origin, size = ([side // scale for side in pair] for pair in (window[:2], pixels.shape[:2]))
        position = LrPosition(*(torch.tensor([entry]) for entry in (noise_key(image.id), origin, size)))
        if self._recorded is None:
            lr = make_lr(around, self._degradation, scale, context, position)
        else:
            part = (side // scale for side in (top, left, height, width))
            cut = read_crop(self._recorded[image.id], *part)
            lr = quantise(to_unit(self._recorded.layout.tensor(cut), torch.float32))
        hr = inner(around, context)
        return ValidationCrop(index, lr, hr, rounded_psnr(resize_by(lr, scale), hr, scale))


def rounded_psnr(sr: Tensor, hr: Tensor, border: int) -> float:
    """PSNR in dB of images ``(1, C, H, W)`` in [0, 1], rounded to 8 bits, ``border`` pixels cut on each side.

    Colour is reduced to its luma first, as in the evaluation.
    """
    if border and min(hr.shape[-2:]) > 2 * border:
        sr, hr = inner(sr, border), inner(hr, border)
    return psnr(_eight_bit_luma(sr)[0, 0].numpy(), _eight_bit_luma(hr)[0, 0].numpy())


def _eight_bit_luma(image: Tensor) -> Tensor:
    """One channel in 8-bit levels, from colour that has been rounded before."""
    return (
        quantise(rgb_to_luma(quantise(image))).double() if image.shape[1] == 3 else quantise(image).double()
    )


def format_metrics(metrics: Mapping[str, float]) -> str:
    """``PSNR 28.31 dB (+0.42 against bicubic)``."""
    return f"PSNR {metrics['psnr']:.2f} dB ({metrics['gain_over_bicubic']:+.2f} against bicubic)"


def _spread(images: Sequence[Micrograph], limit: int) -> list[Micrograph]:
    """At most ``limit`` images, evenly spaced over the list."""
    count = min(limit, len(images))
    return [images[index * len(images) // count] for index in range(count)]
