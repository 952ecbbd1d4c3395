"""Training pairs: crops read from the memory maps as integers, made into LR and HR on the training device.

The LR of a crop is the crop of the LR that evaluation uses: a crop is read with the surroundings its LR
depends on (mirrored at the image's edge, where the degradation mirrors too), degraded, cut and rounded to 8
bits. Only then are LR and HR mirrored and transposed together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srbench.datasets.crops import read_crop
from srbench.datasets.degrade import Degradation, modcrop, quantise
from srbench.datasets.interface import Micrograph, MicrographSet, Pixels
from srbench.errors import SrbenchError
from srbench.models.recipe import Batch
from srbench.training.sampler import Crop, CropSampler

_CACHE_BYTES = 512 << 20


@dataclass(frozen=True)
class RawBatch:
    """Crops with their surroundings as read: ``pixels (N, H, W)``, uint8 or int16 holding uint16 bits."""

    pixels: Tensor
    symmetries: Tensor
    scale: int
    context: int

    def pinned(self) -> RawBatch:
        """The same in page-locked memory, from where a copy to CUDA does not wait."""
        return RawBatch(self.pixels.pin_memory(), self.symmetries.pin_memory(), self.scale, self.context)


class CropReader:
    """Reads crops of the training images.

    Args:
        micrographs: the opened dataset.
        images: the images to train on.
        degradation: makes LR.
        scale: magnification.
        seed: of the run.
    """

    def __init__(
        self,
        micrographs: MicrographSet,
        images: Sequence[Micrograph],
        degradation: Degradation,
        scale: int,
        seed: int,
    ) -> None:
        self._pixels = PixelCache(micrographs, scale)
        self._images = images
        self._scale = scale
        self._context = degradation.context(scale)
        sizes = [(cut_side(image.height, scale), cut_side(image.width, scale)) for image in images]
        self._sampler = CropSampler(sizes, scale, seed)

    def read(self, step: int, size: int, patch: int, draw: int, rank: int, world: int) -> RawBatch:
        """This process's share of the global batch of a step, see :meth:`CropSampler.batch`."""
        crops = self._sampler.batch(step, size, patch, draw)[rank::world]
        pixels = stack([self._crop(crop, patch) for crop in crops])
        symmetries = torch.tensor([crop.symmetry for crop in crops])
        return RawBatch(pixels, symmetries, self._scale, self._context)

    def _crop(self, crop: Crop, patch: int) -> NDArray[Any]:
        pixels = self._pixels[self._images[crop.image].id]
        side = patch + 2 * self._context
        return read_crop(pixels, crop.top - self._context, crop.left - self._context, side, side)


class PixelCache:
    """HR pixels by image id, cut to multiples of the scale (where the evaluation's LR ends).

    Memory maps are kept open; arrays that live in memory are kept up to a limit.
    """

    def __init__(self, micrographs: MicrographSet, scale: int) -> None:
        self._micrographs = micrographs
        self._scale = scale
        self._kept: dict[str, Pixels] = {}
        self._bytes = 0

    def __getitem__(self, image_id: str) -> Pixels:
        found = self._kept.get(image_id)
        if found is not None:
            return found
        pixels = self._read(image_id)
        size = 0 if _is_mapped(pixels) else pixels.nbytes
        if self._bytes + size <= _CACHE_BYTES:
            self._kept[image_id] = pixels
            self._bytes += size
        return pixels

    def _read(self, image_id: str) -> Pixels:
        pixels: Any = self._micrographs.pixels(image_id)
        cut: Pixels = modcrop(pixels, self._scale)
        return cut


def make_pairs(raw: RawBatch, degradation: Degradation, like: Tensor, channels: int) -> Batch:
    """Integers to LR/HR pairs on the device and in the dtype of ``like``.

    Args:
        raw: crops with surroundings.
        degradation: the one the crops were read for.
        like: any floating-point tensor (a parameter of the network).
        channels: image channels; grey is repeated over them.
    """
    around = to_unit(raw.pixels.to(like.device, non_blocking=True), like.dtype)
    lr, hr = cut_pair(around, degradation, raw.scale, raw.context)
    symmetries = raw.symmetries.to(like.device, non_blocking=True)
    lr, hr = apply_symmetries(lr, symmetries), apply_symmetries(hr, symmetries)
    return Batch(lr.expand(-1, channels, -1, -1), hr.expand(-1, channels, -1, -1), raw.scale)


def cut_pair(around: Tensor, degradation: Degradation, scale: int, context: int) -> tuple[Tensor, Tensor]:
    """LR (8-bit levels) and HR of ``around (N, 1, H, W)``, its surroundings of ``context`` px removed."""
    lr = degradation(around, scale)
    return quantise(_inner(lr, context // scale), 8), _inner(around, context)


def to_unit(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """``(N, H, W)`` uint8, or int16 holding the bits of uint16, to ``(N, 1, H, W)`` in [0, 1]."""
    if pixels.dtype == torch.uint8:
        return (pixels.to(dtype) / 255.0).unsqueeze(1)
    return ((pixels.to(torch.int32) & 0xFFFF).to(dtype) / 65535.0).unsqueeze(1)


def stack(crops: Sequence[NDArray[Any]]) -> Tensor:
    """Crops of one size to one tensor; torch has few operations on uint16, so those travel as int16 bits."""
    if all(crop.dtype == np.uint8 for crop in crops):
        return torch.from_numpy(np.stack(crops))
    deep: NDArray[np.uint16] = np.stack([_sixteen_bits(crop) for crop in crops])
    return torch.from_numpy(deep.view(np.int16))


def apply_symmetries(images: Tensor, symmetries: Tensor) -> Tensor:
    """Mirror and transpose each image of ``(N, C, S, S)`` as its number says, see :class:`Crop`."""
    bits = symmetries.view(-1, 1, 1, 1)
    images = torch.where((bits & 1).bool(), images.flip(-2), images)
    images = torch.where((bits & 2).bool(), images.flip(-1), images)
    return torch.where((bits & 4).bool(), images.mT, images)


def large_enough(
    images: Sequence[Micrograph], patch: int, scale: int
) -> tuple[list[Micrograph], Mapping[str, str]]:
    """The images a crop of ``patch`` fits into, and why each other one is left out.

    Raises:
        SrbenchError: none is large enough.
    """
    small = {
        image.id: f"{image.height}x{image.width} px is smaller than a training crop of {patch} px"
        for image in images
        if min(cut_side(image.height, scale), cut_side(image.width, scale)) < patch
    }
    kept = [image for image in images if image.id not in small]
    if not kept:
        largest = max((min(image.height, image.width) for image in images), default=0)
        raise SrbenchError(
            f"No training image holds a crop of {patch} px; the largest has a short side of {largest} px. "
            f"Use smaller crops: --set train.patch={max(largest // scale, 1) * scale}."
        )
    return kept, small


def cut_side(side: int, scale: int) -> int:
    """The part of a side that is a multiple of the scale."""
    return side - side % scale


def _inner(image: Tensor, border: int) -> Tensor:
    height, width = image.shape[-2:]
    return image[..., border : height - border, border : width - border]


def _sixteen_bits(pixels: NDArray[Any]) -> NDArray[np.uint16]:
    """uint8 levels on the uint16 scale, exactly: v / 255 = 257 v / 65535."""
    factor = 257 if pixels.dtype == np.uint8 else 1
    deep: NDArray[np.uint16] = pixels.astype(np.uint16) * np.uint16(factor)
    return deep


def _is_mapped(pixels: object) -> bool:
    while pixels is not None:
        if isinstance(pixels, np.memmap):
            return True
        pixels = getattr(pixels, "base", None)
    return False
