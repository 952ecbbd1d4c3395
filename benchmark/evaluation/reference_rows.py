"""Rows that no model made: a second acquisition (noise ceiling) and invented texture (control).

The control is bicubic interpolation with texture as sharp and rough as the true detail, none of it true. It
is never ranked; a metric on which it beats bicubic interpolation is no evidence of structure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.images.resize import resize_by
from srbench.datasets.lr_images import Entry, cut_to_scale
from srbench.evaluation.context import EvaluationContext
from srbench.evaluation.jobs import Job
from srbench.evaluation.worker_client import write_pack
from srbench.models import ModelCard
from srbench.store import CONTROL, NOISE_CEILING
from srbench.utils.errors import SrbenchError
from srbench.utils.image import Pixels, to_eight_bits

Plane = NDArray[np.float64]
Spectrum = NDArray[np.complex128]


class NoImage(SrbenchError):
    """A row has nothing to score for this image; the message is the reason."""


@dataclass(frozen=True)
class ImageRow:
    """A row whose images no model makes while it is scored.

    Attributes:
        job: what it is stored under.
        image: what stands for a model's output, 8 bit; raises :class:`NoImage` where there is nothing.
        notes: asked after the last image: what a reader must know.
    """

    job: Job
    image: Callable[[Entry], NDArray[np.uint8]]
    notes: Callable[[], Sequence[str]] = tuple


def reference_rows(context: EvaluationContext) -> list[ImageRow]:
    """The noise ceiling where there are second acquisitions, the control where the scale is above 1."""
    return [row for row in (_ceiling(context), _control(context)) if row is not None]


def pack_hr(context: EvaluationContext, folder: Path, noise: bool = False) -> Path:
    """The 8-bit HR images in the order of the LR pack, for a variant that is meant to see them.

    Args:
        context: where they are.
        folder: where the file goes.
        noise: noise of the same sizes instead of them.
    """
    images = (to_eight_bits(context.hr(entry.image)) for entry in context.lr.entries)
    if noise:
        generator = np.random.default_rng(0)
        images = (generator.integers(0, 256, image.shape, dtype=np.uint8) for image in images)
    write_pack(folder / "hr.bin", images)
    return folder / "hr.bin"


def _ceiling(context: EvaluationContext) -> ImageRow | None:
    """A second acquisition of each field scored like a model: the noise of the reference allows no more."""
    micrographs, scale = context.micrographs, context.scorer.scale

    def acquire(image: str) -> Pixels | None:
        second = micrographs.second(image)
        return micrographs.acquisition(image, 1) if second is None else second

    if all(acquire(entry.image) is None for entry in context.lr.entries):
        return None

    def scan(entry: Entry) -> NDArray[np.uint8]:
        pixels = acquire(entry.image)
        if pixels is None:
            raise NoImage("the dataset has no second acquisition of this field")
        return to_eight_bits(cut_to_scale(pixels, scale))

    job = _job(
        NOISE_CEILING,
        "Noise ceiling",
        "second_acquisition",
        "A second recording of the same field: the noise of the reference allows no more.",
    )
    return ImageRow(job, scan)


def _control(context: EvaluationContext) -> ImageRow | None:
    scale = context.scorer.scale
    if scale == 1:
        return None

    def invented(entry: Entry) -> NDArray[np.uint8]:
        hr = to_eight_bits(context.hr(entry.image))
        return random_texture(hr, context.lr.pixels(entry), scale, entry.image)

    job = _job(
        CONTROL,
        "Control: invented texture",
        "random_phases",
        "Bicubic with texture as strong as the true detail, nothing of it true.",
    )
    return ImageRow(job, invented)


def _job(name: str, title: str, variant: str, summary: str) -> Job:
    card = ModelCard(
        name, title, "reference", "", 2026, scales=(), variants=(variant,), trainable=False, summary=summary
    )
    return Job(name, variant, card)


def random_texture(
    hr: Pixels, lr: NDArray[np.uint8], scale: int, image_id: str, *, strength: float = 1.0
) -> NDArray[np.uint8]:
    """Bicubic interpolation of LR plus detail with the power spectrum of HR and phases of chance.

    To the enlarged LR image is added what HR has above the LR Nyquist frequency (``1 / (2 scale)`` cycles per
    pixel), each Fourier sample with its own amplitude and a random phase. Borders that do not fit each other
    would add a cross to the spectrum; they are split off (periodic plus smooth decomposition). The phases
    depend on the image's name and size alone; the three channels of colour share them.

    Args:
        hr: the reference, ``(H, W)`` or ``(H, W, 3)``, 8 or 16 bit.
        lr: its LR image, ``(H/scale, W/scale)``, with three channels where ``hr`` has three.
        scale: magnification, at least 2.
        image_id: name of the image.
        strength: amplitude of the texture over that of HR's detail; 1 is the control.

    Returns:
        uint8 pixels of the shape of ``hr``; clipping takes a little power away beside black and white.

    Raises:
        SrbenchError: at magnification 1, where no detail is finer than LR can carry, or sizes that do not
            fit each other.

    Source:
        Moisan, Periodic plus smooth image decomposition, JMIV 39, 2011, doi 10.1007/s10851-010-0227-1.
        Galerne, Gousseau and Morel, Random phase textures, IEEE TIP 20(1), 2011, doi
        10.1109/TIP.2010.2052822.
    """
    if scale < 2:
        raise SrbenchError(
            "The control invents detail finer than the LR image can carry; at magnification 1 there is none. "
            "Leave the control out."
        )
    expected = (lr.shape[0] * scale, lr.shape[1] * scale, *lr.shape[2:])
    if hr.shape != expected:
        raise SrbenchError(
            f"LR {lr.shape} at scale {scale} needs HR of {expected}, found {hr.shape}; cut HR to a multiple "
            "of the scale, and give both with the same channels."
        )
    import torch

    phases = _phases(image_id, hr.shape[0], hr.shape[1])
    images = hr / np.iinfo(hr.dtype).max, lr / 255.0
    hr_planes, lr_planes = (np.moveaxis(np.atleast_3d(image), -1, 0).copy() for image in images)
    # MATLAB's bicubic interpolation, in [0, 1] but for its overshoots
    planes = [
        resize_by(torch.from_numpy(lr_plane), scale).numpy() + strength * _texture(hr_plane, phases, scale)
        for hr_plane, lr_plane in zip(hr_planes, lr_planes, strict=True)
    ]
    image = planes[0] if hr.ndim == 2 else np.stack(planes, axis=-1)
    return np.floor(np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def periodic_spectrum(plane: Plane) -> Spectrum:
    """Fourier transform ``(H, W // 2 + 1)`` of the periodic component of ``(H, W)`` (Moisan 2011, section 2).

    The smooth component that is left out takes up the jumps between opposite borders.
    """
    height, width = plane.shape
    jumps = np.zeros_like(plane)
    jumps[0] += plane[-1] - plane[0]
    jumps[-1] += plane[0] - plane[-1]
    jumps[:, 0] += plane[:, -1] - plane[:, 0]
    jumps[:, -1] += plane[:, 0] - plane[:, -1]
    rows = np.cos(2.0 * np.pi * np.arange(height) / height)[:, None]
    columns = np.cos(2.0 * np.pi * np.arange(width // 2 + 1) / width)
    laplacian = 2.0 * rows + 2.0 * columns - 4.0
    laplacian[0, 0] = 1.0  # the smooth component has no mean, and neither have the jumps
    spectrum: Spectrum = np.fft.rfft2(plane) - np.fft.rfft2(jumps) / laplacian
    return spectrum


def _texture(hr: Plane, phases: Spectrum, scale: int) -> Plane:
    """Real, mean-free detail above the LR Nyquist frequency: HR's with random angles added to its phases."""
    height, width = hr.shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    detail = np.where(frequency > 0.5 / scale, periodic_spectrum(hr) * phases, 0.0)
    return np.fft.irfft2(detail, s=(height, width))


def _phases(image_id: str, height: int, width: int) -> Spectrum:
    """``exp(i angle)`` of each Fourier sample: the phases of white noise, hence those of a real image."""
    digest = hashlib.sha256(f"srbench texture 1\n{image_id}".encode("utf-8", "surrogateescape")).digest()
    # The raw words of a counter-based generator are the same in every version of numpy; its normals are not.
    words = np.random.Philox(key=int.from_bytes(digest[:16], "little")).random_raw(height * width)
    noise = (words >> np.uint64(11)).reshape(height, width) * 2.0**-53 - 0.5
    spectrum = np.fft.rfft2(noise)
    phases: Spectrum = spectrum / np.abs(spectrum)
    return phases
