"""What a recorded pair tells of how its LR came about: sums that add up over pairs, and its noise.

LR is never resampled; HR is seen through a spot at the LR pixels, as ``sem_pixel`` sees it. Products of LR
with it hold no noise of LR, as a cross-spectrum holds none; that of the reference is taken off its squares.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.base import Micrograph, MicrographSet
from srbench.datasets.degrade import Degradation
from srbench.datasets.degrade.sampling import Spot, beam_spot
from srbench.datasets.images.registration import residual
from srbench.datasets.images.resize import resize, weight_matrix
from srbench.datasets.images.stack import noise_level
from srbench.datasets.lr_images import lr_image, position_of
from srbench.metrics import spectrum
from srbench.metrics.registry import MetricUnavailable
from srbench.statistics.bootstrap import Floats
from srbench.statistics.noise_curve import NoiseSums
from srbench.utils.errors import DatasetError
from srbench.utils.image import to_grey

if TYPE_CHECKING:
    from srbench.utils.image import Pixels

SPOTS = (0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5)
"""Standard deviations in LR pixels; between them sums are smooth enough for splines."""
BANDS = 5
NEGLIGIBLE = 0.02
"""Share of the noise of LR from which on that of the reference is looked into."""
# The middle of an image, LR pixels a side: of larger ones the rest tells hardly more.
_MIDDLE, _TILE = 1024, 512
_FEWEST_PIXELS = 1000
_MARGIN = 4
# Slower changes of brightness are drift and charging; cycles per LR pixel.
_SLOWEST = 0.02
# Up to here the splines of registration leave detail as it is; cycles per HR pixel.
_FINEST = 0.4
# A flat place: a displacement by so many LR pixels adds at most this share to the variance of its noise.
_DISPLACED, _ADDED = 0.3, 0.02
# Where too little is flat, this share of the pixels is taken.
_FLATTEST = 0.2


class RecordedPair:
    """A pair, read anew whenever it is needed.

    Attributes:
        image: which.
        noise_of_lr: variance, of the squared grey scale.
        noise_of_hr: variance of white noise in HR; 0 where a second recording tells it, or it is negligible.
        saturated: share of the pixels left out because HR is black or white there.
        displaced: root mean square of the shifts that registration left, in LR pixels.
        doubtful: share of the noise of LR that noise of the reference may be, which cannot be told.
    """

    def __init__(self, micrographs: MicrographSet, image: Micrograph, scale: int) -> None:
        self.image = image
        self.noise_of_lr = self.noise_of_hr = self.saturated = self.displaced = self.doubtful = 0.0
        self._set = micrographs
        self.scale = scale

    def unusable(self) -> str:
        """Look at both recordings once; gives why they cannot be used."""
        lr, hr, again = self._recordings()
        usable = self._usable(hr)
        inside = (lr.shape[0] - 2 * _MARGIN) * (lr.shape[1] - 2 * _MARGIN)
        if min(lr.shape) <= 2 * _MARGIN or inside < _FEWEST_PIXELS:
            return f"{lr.shape[1]}x{lr.shape[0]} px are too few"
        self.saturated = 1.0 - float(usable.sum()) / inside
        if usable.sum() < _FEWEST_PIXELS:
            return f"{self.saturated:.0%} of it is black or white in the reference: saturated"
        if hr.min() < hr.max():
            self.displaced = residual(lr, hr, self.scale) / self.scale
        self.noise_of_lr = (noise_level(lr) / np.iinfo(lr.dtype).max) ** 2
        recording = self._set.as_recorded(self.image.id)
        recording = hr if recording is None else recording
        seen = (noise_level(recording) / np.iinfo(recording.dtype).max) ** 2
        if again is None and seen > NEGLIGIBLE * self.noise_of_lr > 0.0:
            self._find_noise_of_hr(recording / float(np.iinfo(recording.dtype).max), seen)
        return ""

    def _find_noise_of_hr(self, recording: Floats, most: float) -> None:
        try:
            power = spectrum.windowed_spectrum(recording)
            sums = spectrum.ring_sums(power, power, recording.shape[1])
            detail = spectrum.detail_of_rows(recording, sums.layout, sums.power_b)
        except MetricUnavailable:
            self.doubtful = most / self.noise_of_lr
        else:
            of_noise = (sums.power_b - detail.power)[1:].sum()
            energy = sums.layout.samples[1:].sum() * sums.layout.window_energy
            self.noise_of_hr = float(max(of_noise / energy, 0.0))

    def spot_sums(self) -> Floats:
        """``(2, S)``: products of LR with HR as each spot sees it, and squares of that without noise."""
        from scipy.fft import dctn

        lr, hr, again = self._recordings(_TILE)
        usable = self._usable(hr)
        sums = np.zeros((2, len(SPOTS)))
        if not usable.any():
            return sums
        steps = [np.arange(side) / (2.0 * side) for side in usable.shape]
        radius = np.hypot(steps[0][:, None], steps[1])
        band = (radius >= _SLOWEST) & (radius <= _FINEST * self.scale)

        def transformed(plane: Floats) -> Floats:
            centred = np.where(usable, plane - plane[usable].mean(), 0.0)
            return np.asarray(dctn(centred, norm="ortho")[band], dtype=np.float64)

        low = transformed(to_grey(lr))
        for number, sigma in enumerate(SPOTS):
            seen = transformed(self.seen(hr, sigma))
            sums[0, number] = low @ seen
            if again is None:
                noise = self.noise_of_hr * float(usable.mean()) * self._passed(usable.shape, sigma, band)
                sums[1, number] = seen @ seen - noise
            else:
                other = transformed(self.seen(again, sigma))
                sums[1, number] = seen @ other * math.sqrt((seen @ seen) / max(float(other @ other), 1e-12))
        return sums

    def noise_sums(self, sigma: float) -> tuple[NoiseSums, Floats]:
        """Sums over flat places; square of their noise, products with the next along lines and across."""
        from scipy.ndimage import gaussian_filter

        lr, hr, again = self._recordings()
        low, seen = to_grey(lr), self.seen(hr, sigma)
        slope = np.hypot(*np.gradient(gaussian_filter(seen, 1.0)))
        flat = self._usable(hr)
        limit = math.sqrt(_ADDED * self.noise_of_lr) / _DISPLACED
        flat &= slope <= max(limit, float(np.quantile(slope[flat], _FLATTEST)))
        # Bins must not be chosen by the noise that is in them.
        by = gaussian_filter(seen, 2.0) if self.noise_of_hr else seen
        if again is None:
            gains = [weight_matrix(side * self.scale, side, beam_spot(Spot(sigma))) for side in lr.shape]
            passed = math.prod(float((gain**2).sum(axis=1).mean()) for gain in gains)
            # More electrons, more noise: as in LR, it grows with the grey level.
            noise = self.noise_of_hr * passed * (by + 0.1) / float(by.mean() + 0.1)
        else:
            by = other = self.seen(again, sigma)
            contrast = seen.std() / max(float(other.std()), 1e-9)
            noise = (seen - seen.mean() - (other - other.mean()) * contrast) ** 2 / 2.0
        about = seen - seen[flat].mean()
        left = low - about * (about[flat] @ low[flat]) / max(float(about[flat] @ about[flat]), 1e-9)
        left -= gaussian_filter(left, 4.0)
        left *= flat
        pairs_along, pairs_across = flat[:, 1:] & flat[:, :-1], flat[1:] & flat[:-1]
        products = (
            (left**2).sum() / max(flat.sum(), 1),
            (left[:, 1:] * left[:, :-1]).sum() / max(pairs_along.sum(), 1),
            (left[1:] * left[:-1]).sum() / max(pairs_across.sum(), 1),
        )
        return NoiseSums.of(seen, low, by, noise, flat), np.array(products)

    def seen(self, hr: Pixels, sigma: float) -> Floats:
        """HR as a spot sees it at the LR pixels."""
        import torch

        size = (hr.shape[0] // self.scale, hr.shape[1] // self.scale)
        return np.asarray(resize(torch.from_numpy(to_grey(hr)), size, beam_spot(Spot(sigma))).numpy())

    def band_sums(self, made_by: Degradation, sigma: float) -> Floats:
        """``(2, 3, BANDS)``: products of recorded and synthetic LR with HR as seen by the spot, squares."""
        lr, hr, _ = self._recordings()
        synthetic = lr_image(hr, made_by, self.scale, position_of(self.image.id))
        expected = spectrum.windowed_spectrum(self.seen(hr, sigma))
        sums = []
        for plane in (to_grey(lr), to_grey(synthetic)):
            rings = spectrum.ring_sums(spectrum.windowed_spectrum(plane), expected, lr.shape[1])
            share = rings.layout.frequency[1:] / spectrum.NYQUIST
            band = np.minimum((share * BANDS - 1e-9).astype(np.int64), BANDS - 1)
            parts = (rings.cross, rings.power_a, rings.power_b)
            sums.append([np.bincount(band, weights=part[1:], minlength=BANDS) for part in parts])
        return np.array(sums)

    def _recordings(self, most: int = _MIDDLE) -> tuple[Pixels, Pixels, Pixels | None]:
        """LR, HR and a second recording of it, the middle of each: at most so many LR pixels a side."""
        lr = self._set.lr(self.image.id)
        if lr is None:
            raise DatasetError(f"{self._set.name} has no recorded LR image of {self.image.id}.")

        def middle(pixels: Pixels, scale: int) -> Pixels:
            starts = [max(side - most, 0) // 2 * scale for side in lr.shape]
            rows, columns = (slice(start, start + most * scale) for start in starts)
            return pixels[rows, columns]

        again = self._set.second(self.image.id)
        hr = middle(self._set.pixels(self.image.id), self.scale)
        return middle(lr, 1), hr, None if again is None else middle(again, self.scale)

    def _usable(self, hr: Pixels) -> NDArray[np.bool_]:
        """LR pixels ``(h, w)`` off the edges whose surroundings are neither black nor white in HR."""
        from scipy.ndimage import maximum_filter

        ends = (hr == 0) | (hr == np.iinfo(hr.dtype).max)
        near = maximum_filter(ends, size=2 * self.scale + 1)
        rows, columns = (side // self.scale for side in hr.shape)
        usable = np.zeros((rows, columns), bool)
        inner = np.s_[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
        saturated = near.reshape(rows, self.scale, columns, self.scale).max(axis=(1, 3))
        usable[inner] = ~saturated[inner]
        return usable

    def _passed(self, shape: tuple[int, ...], sigma: float, band: NDArray[np.bool_]) -> float:
        """Sum over a band of what the spot leaves of white noise of variance 1 in HR."""
        from scipy.fft import dct

        weights = (weight_matrix(side * self.scale, side, beam_spot(Spot(sigma))) for side in shape)
        rows, columns = ((dct(each, axis=0, norm="ortho") ** 2).sum(axis=1) for each in weights)
        return float(np.outer(rows, columns)[band].sum())
