"""The control that lies on purpose: sharp texture of the right roughness, and nothing of it true.

It stands in every table as a row that is never ranked. A metric on which it beats bicubic interpolation is no
evidence of structure.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.interface import Pixels
from srbench.datasets.resize import resize_by
from srbench.errors import SrbenchError

Plane = NDArray[np.float64]
Spectrum = NDArray[np.complex128]


def random_texture(
    hr: Pixels, lr: NDArray[np.uint8], scale: int, image_id: str, *, strength: float = 1.0
) -> NDArray[np.uint8]:
    """Bicubic interpolation of LR plus detail with the power spectrum of HR and phases of chance.

    To the enlarged LR image is added what HR has above the LR Nyquist frequency (``1 / (2 scale)`` cycles per
    pixel, in every direction), each Fourier sample with its own amplitude and with a random phase: grain,
    directions and sharpness are those of HR, no detail is in its place. Borders that do not fit each other
    would add a cross to the spectrum; they are split off (periodic plus smooth decomposition). The phases
    depend on the image's name and size alone and are the same on every machine; of colour they are the same
    in all three channels, which keeps the colours of the detail.

    Args:
        hr: the reference, ``(H, W)`` or ``(H, W, 3)``, 8 or 16 bit.
        lr: its LR image, ``(H/scale, W/scale)``, with three channels where ``hr`` has three.
        scale: magnification, at least 2.
        image_id: name of the image.
        strength: amplitude of the texture over that of HR's detail; 1 is the control, less a milder lie.

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
    _check(hr, lr, scale)
    phases = _phases(image_id, hr.shape[0], hr.shape[1])
    top = float(np.iinfo(hr.dtype).max)
    planes = [
        _enlarged(lr_plane, scale) + strength * _texture(hr_plane / top, phases, scale)
        for hr_plane, lr_plane in zip(_channels(hr), _channels(lr), strict=True)
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


def _enlarged(lr: Pixels, scale: int) -> Plane:
    """MATLAB's bicubic interpolation, in [0, 1] but for its overshoots."""
    import torch

    enlarged: Plane = resize_by(torch.from_numpy(lr / 255.0), scale).numpy()
    return enlarged


def _channels(pixels: Pixels) -> list[Pixels]:
    return [pixels] if pixels.ndim == 2 else [pixels[..., channel] for channel in range(pixels.shape[2])]


def _check(hr: Pixels, lr: NDArray[np.uint8], scale: int) -> None:
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
