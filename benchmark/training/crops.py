"""The pixels of the training images as one kind of integers, and crops of them from memory maps.

All crops of a run have one dtype and one number of channels, those of its richest image: 8-bit levels become
16-bit ones exactly (v / 255 = 257 v / 65535) and grey is repeated where there is colour.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srbench.datasets.base import Micrograph, MicrographSet
from srbench.datasets.images.resize import read_crop
from srbench.inference.device import available_bytes
from srbench.utils.errors import SrbenchError
from srbench.utils.image import Pixels
from srbench.utils.progress import ProgressCallback, ProgressEvent, human_bytes

Columns = NDArray[np.int64]

_STREAM = 0x5EED_C809
_ACQUISITIONS = 1 << 62
SYMMETRIES = 8


@dataclass(frozen=True)
class Crop:
    """One crop: which image, its corner in HR pixels, which of the 8 symmetries of the square, which noise.

    ``symmetry`` is three bits: 1 mirrors the rows, 2 mirrors the columns, 4 transposes (after mirroring).
    ``acquisition`` numbers the noise that a stochastic degradation draws for this crop; never 0, which is
    the acquisition that evaluation uses.
    """

    image: int
    top: int
    left: int
    symmetry: int
    acquisition: int


@dataclass(frozen=True, eq=False)
class Crops:
    """Crops of one size as columns, ``(N,)`` int64 each; see :class:`Crop` for what they mean."""

    image: Columns
    top: Columns
    left: Columns
    symmetry: Columns
    acquisition: Columns

    def in_lr(self, scale: int) -> Crops:
        """The same crops in LR pixels."""
        return replace(self, top=self.top // scale, left=self.left // scale)

    def share(self, rank: int, world: int) -> Crops:
        """The part of one of ``world`` processes."""
        return Crops(*(column[rank::world] for column in self._columns()))

    def __len__(self) -> int:
        return len(self.image)

    def __iter__(self) -> Iterator[Crop]:
        return (Crop(*row) for row in zip(*(column.tolist() for column in self._columns()), strict=True))

    def _columns(self) -> list[Columns]:
        return [getattr(self, entry.name) for entry in fields(self)]


class CropSampler:
    """Draws crops whose corners are multiples of the scale, images weighted by their area.

    Args:
        sizes: HR (height, width) of each image, each side at least the largest patch asked for.
        scale: magnification; corners are aligned to it, so that a crop has exact LR pixels.
        seed: of the run.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], scale: int, seed: int) -> None:
        self._sizes = np.asarray(sizes, dtype=np.int64).reshape(-1, 2)
        self._scale = scale
        self._seed = seed
        self._piles: dict[int, tuple[Columns, Columns]] = {}

    def batch(self, step: int, size: int, patch: int, draw: int = 0) -> Crops:
        """The global batch of a step.

        Args:
            step: generator updates since the start of the run, over all stages.
            size: crops wanted.
            patch: HR side of a crop.
            draw: number of the batch within the step (a discriminator may need several).
        """
        sequence = np.random.SeedSequence([_STREAM, self._seed, step, draw])
        random = np.random.Generator(np.random.Philox(sequence))
        usable, ends = self._pile(patch)
        # A uniform pixel of the pile, its image: images in proportion to their area, exactly.
        images = usable[np.searchsorted(ends, random.integers(0, ends[-1], size), side="right")]
        positions = (self._sizes[images] - patch) // self._scale + 1
        tops, lefts = (random.integers(0, positions) * self._scale).T
        symmetries = random.integers(0, SYMMETRIES, size)
        # Drawn last: what a degradation without noise trains on does not depend on it.
        acquisitions = random.integers(1, _ACQUISITIONS, size)
        return Crops(images, tops, lefts, symmetries, acquisitions)

    def _pile(self, patch: int) -> tuple[Columns, Columns]:
        """The images that hold a patch, and where each ends in the pile of their pixels."""
        if patch not in self._piles:
            usable = np.flatnonzero((self._sizes >= patch).all(axis=1))
            self._piles[patch] = usable, np.cumsum(self._sizes[usable].prod(axis=1))
        return self._piles[patch]


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


class ReadsPixels(Protocol):
    """What crops are cut from: an opened dataset, or its recorded LR images."""

    def pixels(self, image_id: str) -> Pixels:
        """``(H, W)`` or ``(H, W, 3)``, uint8 or uint16."""


class RecordedLr:
    """The recorded LR images of a dataset as pixels to cut crops from.

    Args:
        micrographs: the dataset.
        images: micrographs whose LR will be asked for.
        scale: magnification.
    """

    def __init__(self, micrographs: MicrographSet, images: Sequence[Micrograph], scale: int) -> None:
        self._micrographs = micrographs
        self.images = [
            replace(image, height=image.height // scale, width=image.width // scale) for image in images
        ]

    def pixels(self, image_id: str) -> Pixels:
        """LR as it was recorded.

        Raises:
            SrbenchError: this image has none.
        """
        lr = self._micrographs.lr(image_id)
        if lr is None:
            raise SrbenchError(f"{self._micrographs.name} has no recorded LR image of {image_id}.")
        return lr


class PixelCache:
    """Pixels by image id, cut to multiples of the scale (where the evaluation's LR ends).

    Memory maps are kept open; arrays that live in memory are kept up to a limit.

    Args:
        micrographs: the opened dataset, or its LR.
        images: those that will be asked for.
        scale: magnification; 1 for LR.
    """

    def __init__(self, micrographs: ReadsPixels, images: Sequence[Micrograph], scale: int) -> None:
        self.layout = Layout.of(images)
        self._micrographs = micrographs
        self._scale = scale
        self._arrays: dict[str, Pixels] = {}
        self._bytes = 0

    def __getitem__(self, image_id: str) -> Pixels:
        cached = self._arrays.get(image_id)
        if cached is not None:
            return cached
        whole = self._micrographs.pixels(image_id)
        self.layout.check(image_id, whole)
        size = 0 if _is_mapped(whole) else whole.nbytes
        height, width = (cut_side(side, self._scale) for side in whole.shape[:2])
        pixels: Pixels = whole[:height, :width]
        if self._bytes + size <= _CACHE_BYTES:
            self._arrays[image_id] = pixels
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
        self, micrographs: ReadsPixels, images: Sequence[Micrograph], scale: int, pinned: bool = False
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


AUTO_SHARE = 1 / 3
"""Of the free device memory, what pixels may take unasked; the rest is for the network and activations."""

_STAGING_BYTES = 64 << 20


class DevicePixels:
    """The training pixels in one flat buffer on a device.

    One allocation holds all images, so that a batch is one indexing operation however its crops lie; the
    positions are 64-bit (13 GB are more than 2^31 pixels).

    Args:
        micrographs: the opened dataset.
        images: those that ``Crops.image`` counts.
        scale: magnification; images end at a multiple of it.
        device: where to.
        progress: given how far the upload is.
    """

    def __init__(
        self,
        micrographs: MicrographSet,
        images: Sequence[Micrograph],
        scale: int,
        device: torch.device,
        progress: ProgressCallback,
    ) -> None:
        self._layout = layout = Layout.of(images)
        sizes = np.array([_cut_size(image, scale) for image in images], np.int64).reshape(-1, 2)
        areas = sizes.prod(axis=1)
        total = int(areas.sum())
        colour = (3,) if layout.channels == 3 else ()
        self._flat = torch.empty((total, *colour), dtype=layout.dtype, device=device)
        # Only what is in the staging memory is in the host's memory twice.
        room = max(int(areas.max()), min(total, _STAGING_BYTES // layout.bytes_a_pixel))
        staging = torch.empty((room, *colour), dtype=layout.dtype, pin_memory=device.type == "cuda")
        view, done, used = as_numpy(staging), 0, 0
        for image, (height, width), area in zip(images, sizes.tolist(), areas.tolist(), strict=True):
            if used + area > room:
                done, used = self._upload(staging[:used], done, progress), 0
            pixels = micrographs.pixels(image.id)[:height, :width]
            layout.check(image.id, pixels)
            layout.write(view[used : used + area].reshape(height, width, *view.shape[1:]), pixels)
            used += area
        self._upload(staging[:used], done, progress)
        self._starts, self._heights, self._widths = torch.from_numpy(
            np.stack([np.cumsum(areas) - areas, sizes[:, 0], sizes[:, 1]])
        ).to(device)

    def _upload(self, staged: Tensor, start: int, progress: ProgressCallback) -> int:
        """Waits for the copy: the staging memory is written again at once. Gives where it ends."""
        end, size = start + len(staged), self._layout.bytes_a_pixel
        self._flat[start:end].copy_(staged)
        progress(ProgressEvent("upload", end * size, len(self._flat) * size, "B"))
        return end

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return self._flat.numel() * self._flat.element_size()

    def cut(self, crops: Crops, side: int, context: int) -> Tensor:
        """See :class:`~srbench.training.crops.PixelSource`; the crops are on the device."""
        index = self._index(crops, side + 2 * context, context)
        cut: Tensor = self._flat.index_select(0, index.view(-1))
        if self._layout.channels == 3:
            return cut.view(*index.shape, 3).permute(0, 3, 1, 2).contiguous()
        return cut.view(index.shape)

    def _index(self, crops: Crops, across: int, context: int) -> Tensor:
        """Where each pixel of the batch lies in the flat buffer, ``(N, across, across)``."""
        where = torch.from_numpy(np.stack([crops.image, crops.top - context, crops.left - context]))
        image, top, left = to_device(where, self._flat.device)
        steps = torch.arange(across, device=self._flat.device)
        rows = _mirror(top[:, None] + steps, self._heights[image, None])
        columns = _mirror(left[:, None] + steps, self._widths[image, None])
        lines: Tensor = self._starts[image, None] + rows * self._widths[image, None]
        return lines[:, :, None] + columns[:, None, :]


def bytes_needed(images: Sequence[Micrograph], scale: int) -> int:
    """What the pixels of these images take on the device."""
    pixels = sum(height * width for height, width in (_cut_size(image, scale) for image in images))
    return pixels * Layout.of(images).bytes_a_pixel


def free_bytes(device: torch.device) -> int | None:
    """Free memory of a device, None where it does not say."""
    return available_bytes(device) if device.type in ("cpu", "cuda") else None


def belongs_on_device(requested: str, needed: int, device: torch.device) -> bool:
    """Whether the pixels are to be uploaded.

    Args:
        requested: ``auto`` (on CUDA, where they take no more than ``AUTO_SHARE`` of what is free),
            ``device`` or ``mapped``.
        needed: bytes.
        device: of the training.

    Raises:
        SrbenchError: ``device`` was asked for and they do not fit.
    """
    free = free_bytes(device)
    if requested == "device" and free is not None and needed > free:
        raise SrbenchError(
            f"The training pixels take {human_bytes(needed)}, but {human_bytes(free)} are free on {device}; "
            "use --set train.pixels=mapped."
        )
    fits = device.type == "cuda" and free is not None and needed <= AUTO_SHARE * free
    return requested == "device" or (requested == "auto" and fits)


def to_device(numbers: Tensor, device: torch.device) -> Tensor:
    """A small tensor onto the device, without waiting for it."""
    if device.type == "cuda":
        return numbers.pin_memory().to(device, non_blocking=True)
    return numbers.to(device)


def _cut_size(image: Micrograph, scale: int) -> tuple[int, int]:
    return cut_side(image.height, scale), cut_side(image.width, scale)


def _mirror(positions: Tensor, length: Tensor) -> Tensor:
    """``datasets.crops.mirror`` on tensors: outside positions mirrored in, the edge repeated."""
    folded = positions.remainder(2 * length)
    return torch.where(folded < length, folded, 2 * length - 1 - folded)
