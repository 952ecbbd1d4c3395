"""Training pairs: crops of the training images as integers, made into LR and HR on the training device.

The LR of a crop is the crop of the LR that evaluation would make of the whole image: a crop is cut with the
surroundings its LR depends on (mirrored at the image's edge, where the degradation mirrors too), degraded,
cut and rounded to 8 bits. Noise is that of an acquisition of the whole image, a fresh one for every crop
drawn, at the crop's place in it. Only then are LR and HR mirrored and transposed together: whatever knows
rows from columns (the scan's distortions, charging) has happened along the microscope's rows by then, and a
transposed pair is that of a microscope that scans the other way. LR that was recorded is cut, not made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from srbench.datasets.base import Micrograph, MicrographSet
from srbench.datasets.degrade import Degradation, LrPosition, noise_key, quantise
from srbench.datasets.lr_images import check_recorded
from srbench.models.recipe import Batch
from srbench.training.crops import Crops, CropSampler, MappedPixels, PixelSource, RecordedLr, cut_side
from srbench.utils.image import to_channels

Value = TypeVar("Value")


def read_ahead(read: Callable[[int], Value], steps: range, depth: int) -> Generator[Value, None, None]:
    """``read(step)`` for each step in order, up to ``depth`` of them read ahead.

    A thread is enough: crops come from memory maps, and numpy and torch release the interpreter while they
    copy. An error inside ``read`` is raised here, at the step it belongs to.

    Args:
        read: a pure function of the step.
        steps: the steps wanted.
        depth: values kept ready; 0 reads in the caller's thread.
    """
    if depth == 0:
        yield from map(read, steps)
        return
    pool = ThreadPoolExecutor(1, thread_name_prefix="srbench-data")
    try:
        upcoming = iter(steps)
        pending: deque[Future[Value]] = deque(pool.submit(read, step) for step in islice(upcoming, depth))
        while pending:
            value = pending.popleft().result()
            pending.extend(pool.submit(read, step) for step in islice(upcoming, 1))
            yield value
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class RawBatch:
    """Crops with their surroundings as they were cut.

    Attributes:
        pixels: ``(N, H, W)``, or ``(N, 3, H, W)`` of colour data; uint8, or int16 holding uint16 bits; on
            the training device already where the pixels live there.
        symmetries: ``(N,)`` int64 on the CPU, see :class:`~srbench.training.crops.Crop`.
        scale: magnification.
        context: HR pixels around each crop, to each side.
        position: where each crop lies in which acquisition of its image, on the CPU.
        lr: the same crops of the recorded LR images, of the type of ``pixels``; None where LR is made.
    """

    pixels: Tensor
    symmetries: Tensor
    scale: int
    context: int
    position: LrPosition
    lr: Tensor | None = None

    def pinned(self) -> RawBatch:
        """The same in page-locked memory, from where a copy to CUDA does not wait."""
        position, sizes = self.position, self.position.sizes
        pinned = LrPosition(
            position.keys.pin_memory(),
            position.origins.pin_memory(),
            None if sizes is None else sizes.pin_memory(),
        )
        pixels = self.pixels.pin_memory() if self.pixels.device.type == "cpu" else self.pixels
        lr = None if self.lr is None else self.lr.pin_memory()
        return replace(self, pixels=pixels, symmetries=self.symmetries.pin_memory(), position=pinned, lr=lr)


class CropReader:
    """Reads the batches of a run.

    Args:
        micrographs: the opened dataset.
        images: the images to train on.
        degradation: makes LR.
        scale: magnification.
        seed: of the run.
        source: where pixels come from; the memory maps of ``micrographs`` when None.
    """

    def __init__(
        self,
        micrographs: MicrographSet,
        images: Sequence[Micrograph],
        degradation: Degradation,
        scale: int,
        seed: int,
        source: PixelSource | None = None,
    ) -> None:
        check_recorded(micrographs, degradation, scale)
        self._source = source or MappedPixels(micrographs, images, scale)
        self._recorded: PixelSource | None = None
        if degradation.recorded:
            recorded = RecordedLr(micrographs, images, scale)
            self._recorded = MappedPixels(recorded, recorded.images, 1)
        self._ids = [image.id for image in images]
        self._scale = scale
        self._context = degradation.context(scale)
        sizes = [(cut_side(image.height, scale), cut_side(image.width, scale)) for image in images]
        self._lr_sizes = np.array(sizes, np.int64) // scale
        self._sampler = CropSampler(sizes, scale, seed)

    def read(self, step: int, size: int, patch: int, draw: int, rank: int, world: int) -> RawBatch:
        """This process's share of the global batch of a step, see :meth:`CropSampler.batch`."""
        crops = self._sampler.batch(step, size, patch, draw).share(rank, world)
        return RawBatch(
            self._source.cut(crops, patch, self._context),
            torch.from_numpy(np.ascontiguousarray(crops.symmetry)),
            self._scale,
            self._context,
            self._position(crops),
            self._recorded.cut(crops.in_lr(self._scale), patch // self._scale, 0) if self._recorded else None,
        )

    def _position(self, crops: Crops) -> LrPosition:
        drawn = zip(crops.image.tolist(), crops.acquisition.tolist(), strict=True)
        keys = [noise_key(self._ids[image], acquisition) for image, acquisition in drawn]
        corners = np.stack([crops.top, crops.left], axis=1) - self._context
        return LrPosition(
            torch.tensor(keys, dtype=torch.int64),
            torch.from_numpy(corners // self._scale),
            torch.from_numpy(self._lr_sizes[crops.image]),
        )


def make_pairs(raw: RawBatch, degradation: Degradation, like: Tensor, channels: int) -> Batch:
    """Integers to LR/HR pairs on the device and in the dtype of ``like``.

    Args:
        raw: crops with surroundings.
        degradation: the one the crops were read for.
        like: any floating-point tensor (a parameter of the network).
        channels: of the network; grey is repeated over them, colour becomes luma for a grey network.
    """
    pixels = _planes(raw.pixels, like.device)
    if raw.lr is None:
        position = raw.position.to(like.device)
        lr = make_lr(to_unit(pixels, like.dtype), degradation, raw.scale, raw.context, position)
    else:
        lr = quantise(to_unit(_planes(raw.lr, like.device), like.dtype), 8)
    # Integers are a quarter of the bytes to mirror and transpose.
    sharp = apply_symmetries(inner(pixels, raw.context), raw.symmetries)
    hr, lr = to_unit(sharp, like.dtype), apply_symmetries(lr, raw.symmetries)
    return Batch(to_channels(lr, channels), to_channels(hr, channels), raw.scale)


def _planes(pixels: Tensor, device: torch.device) -> Tensor:
    """``(N, C, H, W)`` on the device."""
    pixels = pixels.to(device, non_blocking=True)
    return pixels if pixels.ndim == 4 else pixels.unsqueeze(1)


def make_lr(
    around: Tensor, degradation: Degradation, scale: int, context: int, position: LrPosition
) -> Tensor:
    """LR in 8-bit levels of ``around (N, C, H, W)``, without its surroundings of ``context`` HR px."""
    return quantise(inner(degradation(around, scale, position), context // scale), 8)


def inner(image: Tensor, border: int) -> Tensor:
    """``(..., H, W)`` without a border."""
    height, width = image.shape[-2:]
    return image[..., border : height - border, border : width - border]


def to_unit(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """uint8, or int16 holding the bits of uint16, to [0, 1]."""
    if pixels.dtype == torch.uint8:
        return pixels.to(dtype) / 255.0
    return (pixels.to(torch.int32) & 0xFFFF).to(dtype) / 65535.0


def apply_symmetries(images: Tensor, symmetries: Tensor) -> Tensor:
    """Mirror and transpose each image of ``(N, C, S, S)`` as its number says.

    Args:
        images: any dtype, any device.
        symmetries: ``(N,)`` on the CPU, see :class:`~srbench.training.crops.Crop`.
    """
    if images.device.type == "cpu":
        return _one_by_one(images, symmetries)
    bits = symmetries.to(images.device, non_blocking=True).view(-1, 1, 1, 1)
    images = torch.where((bits & 1).bool(), images.flip(-2), images)
    images = torch.where((bits & 2).bool(), images.flip(-1), images)
    return torch.where((bits & 4).bool(), images.mT, images)


def large_enough(
    images: Sequence[Micrograph], patch: int, scale: int
) -> tuple[list[Micrograph], Mapping[str, str]]:
    """The images a crop of ``patch`` fits into, and why each other one is left out."""
    small = {
        image.id: f"{image.height}x{image.width} px is smaller than a training crop of {patch} px"
        for image in images
        if min(cut_side(image.height, scale), cut_side(image.width, scale)) < patch
    }
    return [image for image in images if image.id not in small], small


def _one_by_one(images: Tensor, symmetries: Tensor) -> Tensor:
    """On a CPU one copy an image is several times as fast as whole batches mirrored and chosen from."""
    turned = torch.empty_like(images, memory_format=torch.contiguous_format)
    for target, image, bits in zip(turned, images, symmetries.tolist(), strict=True):
        mirrored = [axis for axis, bit in ((-2, 1), (-1, 2)) if bits & bit]
        image = image.flip(mirrored) if mirrored else image
        target.copy_(image.mT if bits & 4 else image)
    return turned
