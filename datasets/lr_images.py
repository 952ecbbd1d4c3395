"""The LR images of an evaluation: made once by srbench, hashed, and all that a model is ever given.

A folder in the cache for each (data, split, degradation, scale) holds ``lr.bin``, the 8-bit LR images one
after the other, row by row (colour as red, green, blue), and ``index.json``: where each lies, and the sha256
of ``lr.bin``. It is written under another name and renamed when whole; what does not match its hash is
written again. Noise is always that of acquisition 0 of each image.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srbench.datasets.base import Micrograph, MicrographSet
from srbench.datasets.degrade import Degradation, LrPosition, noise_key, quantise
from srbench.utils.errors import DatasetError
from srbench.utils.files import check_space, read_json, sha256_file, write_text, writing_to
from srbench.utils.image import Pixels, to_eight_bits
from srbench.utils.leftovers import remove_leftovers, temporary_name
from srbench.utils.progress import ProgressCallback, ProgressEvent
from srbench.utils.typed_json import typed

FORMAT = 2
SMALLEST_LR = 3
"""LR pixels a side below which nothing is left inside the border."""


@dataclass(frozen=True)
class Entry:
    """Where an LR image lies in ``lr.bin``."""

    image: str
    offset: int
    height: int
    width: int
    channels: int = 1

    @property
    def layout(self) -> tuple[int, int, int, int]:
        """Offset, height, width and channels: all that a worker gets to know of an image."""
        return self.offset, self.height, self.width, self.channels


@dataclass(frozen=True)
class LrCache:
    """The packed LR images of one evaluation.

    Attributes:
        file: ``lr.bin``.
        sha256: of the file: equal means that every model saw the same input.
        entries: one an image, in the order of the images.
        unusable: images without LR, with the reason.
    """

    file: Path
    sha256: str
    entries: tuple[Entry, ...]
    unusable: Mapping[str, str]

    def pixels(self, entry: Entry) -> NDArray[np.uint8]:
        """One LR image, ``(H, W)`` or ``(H, W, 3)`` uint8."""
        return read_pixels(self.file, *entry.layout)


def read_pixels(file: Path, offset: int, height: int, width: int, channels: int = 1) -> NDArray[np.uint8]:
    """``(height, width)``, or ``(height, width, channels)`` of colour, uint8 from ``offset`` of a pack."""
    flat = np.fromfile(file, dtype=np.uint8, count=height * width * channels, offset=offset)
    return flat.reshape((height, width) if channels == 1 else (height, width, channels))


def prepare(
    micrographs: MicrographSet,
    images: Sequence[Micrograph],
    degradation: Degradation,
    scale: int,
    folder: Path,
    progress: ProgressCallback,
) -> LrCache:
    """The LR images under ``folder``, written where they are not there whole.

    Args:
        micrographs: the dataset.
        images: which of its images.
        degradation: how LR is made; the result is rounded to 8 bit.
        scale: magnification.
        folder: cache folder; several evaluations share it.
        progress: called for every image written.

    Raises:
        DatasetError: recorded LR that the dataset does not have.
        StorageError: the folder cannot be written.
    """
    check_recorded(micrographs, degradation, scale)
    listing = json.dumps(
        [micrographs.fingerprint, degradation.id, scale, [image.id for image in images], FORMAT]
    )
    final = folder / hashlib.sha256(listing.encode()).hexdigest()[:24]
    cached = _read(final)
    if cached is not None:
        return cached
    remove_leftovers(folder)
    size = sum(image.height * image.width * image.channels for image in images) // scale**2
    check_space(folder, size, "The LR images")
    partial = folder / temporary_name(final.name)
    try:
        with writing_to(folder):
            partial.mkdir()
            _write(partial, micrographs, images, degradation, scale, progress)
            # Whole ones that another process has made meanwhile are being read and stay.
            if _read(final) is None:
                if final.exists():
                    shutil.rmtree(final.rename(folder / temporary_name("damaged")), ignore_errors=True)
                partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    written = _read(final)
    assert written is not None, final
    return written


def cut_to_scale(pixels: Pixels, scale: int) -> Pixels:
    """Cut bottom and right of ``(H, W, ...)`` so that both sides are multiples of ``scale``."""
    height, width = pixels.shape[:2]
    return pixels[: height - height % scale, : width - width % scale]


def position_of(image_id: str) -> LrPosition:
    """The noise and the scan of the one LR image that every model is given."""
    return LrPosition.whole(noise_key(image_id, 0))


def lr_image(
    hr: Pixels, degradation: Degradation, scale: int, position: LrPosition | None = None
) -> NDArray[np.uint8]:
    """The 8-bit LR image of an HR image whose sides are multiples of ``scale``.

    Args:
        hr: ``(H, W)``, or ``(H, W, 3)`` whose channels are degraded each for itself.
        degradation: how.
        scale: magnification.
        position: from :func:`position_of`, where the degradation is random.
    """
    lr = quantise(degradation(_to_planes(hr), scale, position)) * 255.0
    planes = lr[0].round().to(torch.uint8).numpy()
    return planes[0] if hr.ndim == 2 else np.ascontiguousarray(planes.transpose(1, 2, 0))


def _to_planes(pixels: Pixels) -> Tensor:
    """``(1, C, H, W)`` float64 in [0, 1]."""
    image = torch.from_numpy(pixels.astype(np.float64) / float(np.iinfo(pixels.dtype).max))
    return image[None, None] if image.ndim == 2 else image.permute(2, 0, 1)[None].contiguous()


def check_recorded(micrographs: MicrographSet, degradation: Degradation, scale: int) -> None:
    """Refuse recorded LR of a dataset that has none, or none at this scale.

    Raises:
        DatasetError: says what to type instead.
    """
    recorded = micrographs.recorded_scale
    if not degradation.recorded or recorded == scale:
        return
    if recorded is None:
        raise DatasetError(
            f"{micrographs.name} has no recorded LR images: leave --degradation {degradation.name} away, or "
            "give a dataset of pairs (kriss, or your own as pairs:/path)."
        )
    raise DatasetError(
        f"The recorded LR of {micrographs.name} is for scale {recorded}, not {scale}. "
        f"Type --scale {recorded}, or for LR made from HR: --degradation bicubic --scale {scale}."
    )


def lr_of(
    micrographs: MicrographSet, image_id: str, hr: Pixels, degradation: Degradation, scale: int
) -> NDArray[np.uint8]:
    """The 8-bit LR image that evaluation gives: the recorded one, or that made from HR.

    Args:
        micrographs: the dataset.
        image_id: of the image.
        hr: its pixels, cut to a multiple of the scale.
        degradation: how.
        scale: magnification.
    """
    if not degradation.recorded:
        return lr_image(hr, degradation, scale, position_of(image_id))
    lr = micrographs.lr(image_id)
    if lr is None:
        raise DatasetError(f"{micrographs.name} has no recorded LR image of {image_id}.")
    return to_eight_bits(lr)


def _write(
    folder: Path,
    micrographs: MicrographSet,
    images: Sequence[Micrograph],
    degradation: Degradation,
    scale: int,
    progress: ProgressCallback,
) -> None:
    entries: list[Entry] = []
    unusable: dict[str, str] = {}
    with (folder / "lr.bin").open("wb") as file:
        for done, image in enumerate(images, start=1):
            hr = cut_to_scale(micrographs.pixels(image.id), scale)
            if min(hr.shape[:2]) < SMALLEST_LR * scale:
                unusable[image.id] = f"{image.height} x {image.width} pixels are too few at scale {scale}"
            else:
                lr = lr_of(micrographs, image.id, hr, degradation, scale)
                channels = lr.shape[2] if lr.ndim == 3 else 1
                entries.append(Entry(image.id, file.tell(), lr.shape[0], lr.shape[1], channels))
                file.write(lr.tobytes())
            progress(ProgressEvent("low-resolution images", done, len(images), "images"))
    index = {
        "format": FORMAT,
        "sha256": sha256_file(folder / "lr.bin"),
        "entries": [vars(entry) for entry in entries],
        "unusable": unusable,
    }
    write_text(folder / "index.json", json.dumps(index, indent=1))


def _read(folder: Path) -> LrCache | None:
    """The cache in a folder, None when it is absent or damaged."""
    try:
        index = read_json(folder / "index.json")
        file = folder / "lr.bin"
        if sha256_file(file) != index["sha256"]:
            return None
        entries = tuple(typed(Entry, entry) for entry in index["entries"])
        size = file.stat().st_size
        for entry in entries:
            sides = (entry.height, entry.width, entry.channels)
            if min(sides) < 1 or not 0 <= entry.offset <= size - math.prod(sides):
                return None
        return LrCache(file, index["sha256"], entries, typed(dict[str, str], index["unusable"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
