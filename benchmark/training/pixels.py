"""The pixels of the training images as one kind of integers, and crops of them from memory maps.

All crops of a run have one dtype and one number of channels, those of its richest image: 8-bit levels become
16-bit ones exactly (v / 255 = 257 v / 65535) and grey is repeated where there is colour.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srbench.datasets.crops import read_crop
from srbench.datasets.interface import Micrograph, MicrographSet, Pixels
from srbench.errors import SrbenchError
from srbench.training.sampler import Crops

_CACHE_BYTES = 512 << 20


class PixelSource(Protocol):
    """Where crops come from."""

    def cut(self, crops: Crops, side: int, context: int) -> Tensor:
        """Crops with their surroundings, mirrored where the image ends.

        Args:
            crops: corners of the crops; symmetries are not applied.
            side: of a crop in HR pixels.
            context: HR pixels around it, to each side.

        Returns:
            ``(N, S, S)``, or ``(N, 3, S, S)`` where the data have colour, S = side + 2 context; uint8, or
            int16 that holds the bits of uint16 (torch has few operations on uint16).
        """


@dataclass(frozen=True)
class Layout:
    """What the pixels of a run look like.

    Attributes:
        deep: 16 bits a value instead of 8.
        channels: 1 or 3.
    """

    deep: bool
    channels: int

    @classmethod
    def of(cls, images: Sequence[Micrograph]) -> Layout:
        """The layout that loses nothing of any of these images."""
        return cls(any(image.bits > 8 for image in images), max(image.channels for image in images))

    @property
    def dtype(self) -> torch.dtype:
        """Of the tensors."""
        return torch.int16 if self.deep else torch.uint8

    @property
    def bytes_a_pixel(self) -> int:
        """Of all channels."""
        return self.channels * (2 if self.deep else 1)

    def new_batch(
        self, count: int, height: int, width: int, pinned: bool = False
    ) -> tuple[Tensor, NDArray[Any]]:
        """An unwritten ``(N, H, W)`` or ``(N, 3, H, W)``, and its memory as ``(N, H, W[, 3])``."""
        shape = (count, 3, height, width) if self.channels == 3 else (count, height, width)
        if pinned:
            batch = torch.empty(shape, dtype=self.dtype, pin_memory=True)
        else:
            # torch.empty writes the memory once more where deterministic kernels are asked for.
            batch = torch.from_numpy(np.empty(shape, np.int16 if self.deep else np.uint8))
        memory = as_numpy(batch)
        return batch, memory.transpose(0, 2, 3, 1) if self.channels == 3 else memory

    def write(self, target: NDArray[Any], pixels: NDArray[Any]) -> None:
        """Write one image's pixels.

        Args:
            target: ``(H, W)`` or ``(H, W, 3)`` of this layout, uint8 or uint16.
            pixels: of the same height and width, of any layout that this one can hold.
        """
        if pixels.ndim < target.ndim:
            pixels = pixels[..., None]
        if target.itemsize > pixels.itemsize:
            np.multiply(pixels, np.uint16(257), out=target, dtype=np.uint16)
        else:
            target[...] = pixels

    def tensor(self, pixels: NDArray[Any]) -> Tensor:
        """One image as ``(1, C, H, W)`` of this layout."""
        batch, targets = self.new_batch(1, *pixels.shape[:2])
        self.write(targets[0], pixels)
        return batch if batch.ndim == 4 else batch.unsqueeze(1)

    def check(self, image_id: str, pixels: Pixels) -> None:
        """Refuse pixels that this layout cannot hold.

        Raises:
            SrbenchError: the dataset says less of the image than it gives.
        """
        if pixels.dtype.itemsize > (2 if self.deep else 1) or (pixels.ndim == 3 and self.channels == 1):
            raise SrbenchError(
                f"{image_id} has {pixels.dtype} pixels {pixels.shape}, but its dataset announces "
                f"{'16' if self.deep else '8'} bits and {self.channels} channels: Micrograph.bits and "
                "Micrograph.channels must say what pixels() gives."
            )


class PixelCache:
    """HR pixels by image id, cut to multiples of the scale (where the evaluation's LR ends).

    Memory maps are kept open; arrays that live in memory are kept up to a limit.

    Args:
        micrographs: the opened dataset.
        images: those that will be asked for.
        scale: magnification.
    """

    def __init__(self, micrographs: MicrographSet, images: Sequence[Micrograph], scale: int) -> None:
        self.layout = Layout.of(images)
        self._micrographs = micrographs
        self._scale = scale
        self._kept: dict[str, Pixels] = {}
        self._bytes = 0

    def __getitem__(self, image_id: str) -> Pixels:
        found = self._kept.get(image_id)
        if found is not None:
            return found
        whole = self._micrographs.pixels(image_id)
        self.layout.check(image_id, whole)
        size = 0 if _is_mapped(whole) else whole.nbytes
        height, width = (cut_side(side, self._scale) for side in whole.shape[:2])
        pixels: Pixels = whole[:height, :width]
        if self._bytes + size <= _CACHE_BYTES:
            self._kept[image_id] = pixels
            self._bytes += size
        return pixels


class MappedPixels:
    """Crops read from the memory maps of the dataset (or from its memory) into one new batch.

    Args:
        micrographs: the opened dataset.
        images: those that ``Crops.image`` counts.
        scale: magnification; images end at a multiple of it.
        pinned: read into page-locked memory, from where a copy to CUDA does not wait. torch keeps such
            memory and hands it out again once the copy is over.
    """

    def __init__(
        self, micrographs: MicrographSet, images: Sequence[Micrograph], scale: int, pinned: bool = False
    ) -> None:
        self._pixels = PixelCache(micrographs, images, scale)
        self._ids = [image.id for image in images]
        self._pinned = pinned

    def cut(self, crops: Crops, side: int, context: int) -> Tensor:
        """See :class:`PixelSource`."""
        across, layout = side + 2 * context, self._pixels.layout
        batch, targets = layout.new_batch(len(crops), across, across, self._pinned)
        columns = (crops.image.tolist(), (crops.top - context).tolist(), (crops.left - context).tolist())
        for target, image, top, left in zip(targets, *columns, strict=True):
            layout.write(target, read_crop(self._pixels[self._ids[image]], top, left, across, across))
        return batch


def cut_side(side: int, scale: int) -> int:
    """The part of a side that is a multiple of the scale."""
    return side - side % scale


def as_numpy(batch: Tensor) -> NDArray[Any]:
    """The memory of a uint8 or int16 tensor as uint8 or uint16."""
    array: NDArray[Any] = batch.numpy()
    return array.view(np.uint16) if batch.dtype == torch.int16 else array


def _is_mapped(pixels: object) -> bool:
    while pixels is not None:
        if isinstance(pixels, (np.memmap, mmap.mmap)):
            return True
        pixels = pixels.obj if isinstance(pixels, memoryview) else getattr(pixels, "base", None)
    return False
