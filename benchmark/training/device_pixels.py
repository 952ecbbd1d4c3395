"""All training pixels in the memory of the training device: uploaded once, crops gathered there.

A step then costs the host a few numbers for each crop; no pixel crosses the bus again. The crops are those
that :class:`~srbench.training.pixels.MappedPixels` reads, integer for integer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from srbench.datasets.interface import Micrograph, MicrographSet
from srbench.errors import SrbenchError
from srbench.evaluation.memory import available_bytes
from srbench.training.pixels import Layout, as_numpy, cut_side
from srbench.training.sampler import Crops

AUTO_SHARE = 1 / 3
"""Of the free device memory, what pixels may take unasked; the rest is for the network and activations."""

_STAGING_BYTES = 64 << 20
_SECONDS_BETWEEN_NOTES = 5.0

Note = Callable[[str], None]


class DevicePixels:
    """The training pixels in one flat buffer on a device.

    One allocation holds all images, so that a batch is one indexing operation however its crops lie; the
    positions are 64-bit (13 GB are more than 2^31 pixels).

    Args:
        micrographs: the opened dataset.
        images: those that ``Crops.image`` counts.
        scale: magnification; images end at a multiple of it.
        device: where to.
        note: told how far a long upload is.
    """

    def __init__(
        self,
        micrographs: MicrographSet,
        images: Sequence[Micrograph],
        scale: int,
        device: torch.device,
        note: Note,
    ) -> None:
        self._layout = Layout.of(images)
        sizes = np.array([_cut_size(image, scale) for image in images], np.int64).reshape(-1, 2)
        ends = np.cumsum(sizes.prod(axis=1))
        pixels = Uploader(micrographs, images, scale, self._layout, note)
        self._flat = pixels.upload(int(ends[-1]), device)
        starts = ends - sizes.prod(axis=1)
        self._starts, self._heights, self._widths = torch.from_numpy(
            np.stack([starts, sizes[:, 0], sizes[:, 1]])
        ).to(device)

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return self._flat.numel() * self._flat.element_size()

    def cut(self, crops: Crops, side: int, context: int) -> Tensor:
        """See :class:`~srbench.training.pixels.PixelSource`; the crops are on the device."""
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


class Uploader:
    """Copies the training images, one after the other, into a flat buffer on a device.

    Only what is in the staging memory is in the host's memory twice.

    Args:
        micrographs: the opened dataset.
        images: which of its images.
        scale: magnification; images are cut to multiples of it.
        layout: of the buffer.
        note: told how far a long upload is.
    """

    def __init__(
        self,
        micrographs: MicrographSet,
        images: Sequence[Micrograph],
        scale: int,
        layout: Layout,
        note: Note,
    ) -> None:
        self._micrographs, self._images = micrographs, images
        self._scale, self._layout, self._note = scale, layout, note

    def upload(self, pixels: int, device: torch.device) -> Tensor:
        """The buffer: ``(pixels,)``, or ``(pixels, 3)`` for colour, of the layout's dtype.

        Args:
            pixels: of all images together.
            device: where to.
        """
        colour = (3,) if self._layout.channels == 3 else ()
        flat = torch.empty((pixels, *colour), dtype=self._layout.dtype, device=device)
        largest = max(height * width for height, width in map(self._size, self._images))
        room = max(largest, min(pixels, _STAGING_BYTES // self._layout.bytes_a_pixel))
        staging = torch.empty((room, *colour), dtype=flat.dtype, pin_memory=device.type == "cuda")
        done, last = 0, time.monotonic()
        for used in self._filled(staging):
            # Waits for the copy: the staging memory is written again at once.
            flat[done : done + used].copy_(staging[:used])
            done += used
            if time.monotonic() - last > _SECONDS_BETWEEN_NOTES:
                last = time.monotonic()
                self._note(f"{self._gigabytes(done)} of {self._gigabytes(pixels)} GB of pixels uploaded")
        return flat

    def _filled(self, buffer: Tensor) -> Iterator[int]:
        """Write image after image; yields the pixels written whenever the next would not fit, and at last."""
        view, used = as_numpy(buffer), 0
        for image in self._images:
            height, width = self._size(image)
            if used + height * width > len(buffer):
                yield used
                used = 0
            pixels = self._micrographs.pixels(image.id)[:height, :width]
            self._layout.check(image.id, pixels)
            target = view[used : used + height * width].reshape(height, width, *view.shape[1:])
            self._layout.write(target, pixels)
            used += height * width
        yield used

    def _gigabytes(self, pixels: int) -> str:
        return f"{pixels * self._layout.bytes_a_pixel / 1e9:.2f}"

    def _size(self, image: Micrograph) -> tuple[int, int]:
        return _cut_size(image, self._scale)


def bytes_needed(images: Sequence[Micrograph], scale: int) -> int:
    """What the pixels of these images take on the device."""
    pixels = sum(height * width for height, width in (_cut_size(image, scale) for image in images))
    return pixels * Layout.of(images).bytes_a_pixel


def free_bytes(device: torch.device) -> int | None:
    """Free memory of a device, None where it does not say."""
    return available_bytes(device) if device.type in ("cpu", "cuda") else None


def belongs_on_device(wish: str, needed: int, device: torch.device) -> bool:
    """Whether the pixels are to be uploaded.

    Args:
        wish: ``auto`` (on CUDA, where they take no more than ``AUTO_SHARE`` of what is free), ``device`` or
            ``mapped``.
        needed: bytes.
        device: of the training.

    Raises:
        SrbenchError: ``device`` was asked for and they do not fit.
    """
    free = free_bytes(device)
    if wish == "device" and free is not None and needed > free:
        raise SrbenchError(
            f"The training pixels take {needed / 1e9:.2f} GB, but {free / 1e9:.2f} GB are free on {device}; "
            "use --set train.pixels=mapped."
        )
    fits = device.type == "cuda" and free is not None and needed <= AUTO_SHARE * free
    return wish == "device" or (wish == "auto" and fits)


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
