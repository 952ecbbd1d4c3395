"""How images were recorded, from the images alone: resolution, noise by grey level, contrast and blur.

All of it is brought into one setting of ``sem_pixel``, the degradation whose synthetic scenes are as noisy
for their contrast, and as blurred, as these images. It is an equivalent: the same images could come from
another beam current and another brightness setting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srbench.datasets import degrade
from srbench.datasets.images.decode import refuse_blank
from srbench.datasets.images.raw import BadImage
from srbench.datasets.lr_images import lr_image, position_of
from srbench.datasets.synthetic.numbered import NumberedScenes
from srbench.measuring.scans import Resolution, halves, resolution, rings_between
from srbench.measuring.sharpness import sharpness
from srbench.metrics.segmentation import LEVELS, SMOOTHING, otsu, phase_contrast, smoothed
from srbench.metrics.spectrum import ROUNDING
from srbench.statistics.noise_curve import LARGEST_DOSE, recorded, settings_of
from srbench.utils.image import Pixels, Plane, to_grey
from srbench.utils.progress import ProgressCallback, ProgressEvent, silent

Floats = NDArray[np.float64]

SMALLEST_SIDE = 96
"""Pixels a side below which an image does not tell how it was recorded."""
PEDESTAL = 0.15
"""Share of the full signal that is taken to be shown as black, as in ``sem_pixel``, unless the noise of dark
places is less: it cannot be told from the noise of the electronics."""
MOST_ALIKE = 0.95
SMALLEST_SPOT = 0.1
SPOTS = (0.3, 0.6, 1.0, 1.5, 2.2, 3.0)
"""Spots, in pixels, whose scenes are compared with the images."""
SCENE_SPOT = 0.65
"""Standard deviation of the beam of the noise-free scenes, in their own pixels."""
# Fourth differences across lines: what a beam blurs is gone, noise of independent lines is left.
_ACROSS = np.array([1.0, -4.0, 6.0, -4.0, 1.0]) / math.sqrt(70.0)
_LOCAL = 2.0
_BINS = 12
_MOST_CLIPPED = 0.8
_FEWEST_PIXELS = 200
# Along lines, the coarsest frequencies of the differences hold horizontal edges too.
_FINE = 1.0 / 16.0
_NODES = 65
_LIKE = 6


@dataclass(frozen=True)
class NoiseModel:
    """Variance against grey level: a straight line, as of counted electrons above a pedestal.

    Attributes:
        dose: electrons counted in a pixel of full signal.
        pedestal: share of the full signal that is shown as black.
        read: noise of the electronics, of the grey range.
    """

    dose: float
    pedestal: float
    read: float

    def variance(self, grey: float) -> float:
        """Of a pixel, in squared grey ranges."""
        signal = self.pedestal + (1.0 - self.pedestal) * grey
        return signal / (self.dose * (1.0 - self.pedestal) ** 2) + self.read**2


@dataclass(frozen=True, eq=False)
class RecordedImage:
    """What one image tells.

    Attributes:
        resolution: by the Fourier rings of its halves, or of two scans.
        grey: ``(K,)`` grey levels of flat places.
        variance: ``(K,)`` of the noise there.
        pixels: ``(K,)`` behind each.
        alike: variance of white noise that disturbs as much, over that of this noise.
        neighbours: correlation of the noise of neighbours along a line, 0 or more.
        contrast: difference of the mean grey levels of the two phases.
        blur: standard deviation in pixels, by the profiles across edges; NaN without edges.
    """

    resolution: Resolution
    grey: Floats
    variance: Floats
    pixels: Floats
    alike: float
    neighbours: float
    contrast: float
    blur: float


@dataclass(frozen=True)
class EquivalentSetting:
    """The equivalent setting of ``sem_pixel``.

    Attributes:
        noise: of the images, as white noise.
        alike: see :class:`RecordedImage`; median of the images.
        neighbours: the same.
        doses: smallest and largest dose by single images.
        contrast: of the images over that of the scenes.
        blur: of the images, standard deviation in pixels.
        spot: standard deviation of a spot in pixels, which blurs a scene's own pixels as much.
        at_limit: whether no spot of ``SPOTS`` is as blurred, or as sharp.
    """

    noise: NoiseModel
    alike: float
    neighbours: float
    doses: tuple[float, float]
    contrast: float
    blur: float
    spot: float
    at_limit: bool

    @property
    def dose(self) -> float:
        """Electrons at which the scenes are as noisy for their contrast as the images are for theirs."""
        return self.noise.dose * self.contrast**2

    def degradation(self, scale: int, factor: float = 1.0) -> str:
        """The name, as typed, at a magnification and at ``factor`` times the dose."""
        # The beam of the scenes is a part of the blur, the smaller the finer their pixels are.
        total = math.hypot(self.spot, SCENE_SPOT)
        spot = math.sqrt(max(total**2 - (SCENE_SPOT / scale) ** 2, 0.0))
        return degradation_name(self.dose * factor, self.noise, min(max(spot, SMALLEST_SPOT), SPOTS[-1]))

    def scan_again(self, image: Plane, factor: float, seed: int) -> Pixels:
        """A noise-free image with the noise of these images at ``factor`` times their dose, 8 bit.

        Args:
            image: ``(H, W)`` in [0, 1].
            factor: over the dose of the images.
            seed: of the noise.
        """
        from scipy import signal

        white = np.random.default_rng(seed).standard_normal(image.shape)
        # A detector that forgets exponentially makes neighbours along a line alike.
        fresh = math.sqrt(1.0 - self.neighbours**2)
        noise = signal.lfilter([fresh], [1.0, -self.neighbours], white, axis=1)
        model = NoiseModel(self.noise.dose * factor, self.noise.pedestal, self.noise.read)
        variance = (model.variance(0.0) + (model.variance(1.0) - model.variance(0.0)) * image) / self.alike
        scanned = np.clip(image + np.sqrt(variance) * noise, 0.0, 1.0)
        return np.floor(255.0 * scanned + 0.5).astype(np.uint8)


def degradation_name(dose: float, noise: NoiseModel, spot: float) -> str:
    """What is typed for a dose within its limits, the other noise of the images, and a spot in pixels."""
    settings = {
        "dose": f"{float(np.clip(dose, 1.0, LARGEST_DOSE)):.3g}",
        "pedestal": f"{round(noise.pedestal, 3):g}",
        "read": f"{round(noise.read, 4):g}",
        "spot": f"{spot:.2g}",
    }
    return "sem_pixel:" + ",".join(f"{name}={value}" for name, value in settings.items())


def contrast_of(image: Plane) -> float:
    """Difference of the mean grey levels of the two phases that Otsu's threshold parts."""
    smooth = smoothed(image, SMOOTHING)
    return float(phase_contrast(smooth, smooth > otsu(smooth, LEVELS)[0]))


def examine(pixels: Pixels, second: Resolution | None = None) -> RecordedImage:
    """What an image tells of how it was recorded.

    Args:
        pixels: ``(H, W)``, uint8 or uint16, as recorded.
        second: resolution by a second scan; by the diagonal halves of the image when None.

    Raises:
        BadImage: it is constant, too small, or has no flat places that are not clipped.
    """
    refuse_blank(pixels)
    if min(pixels.shape) < SMALLEST_SIDE:
        raise BadImage(
            f"{SMALLEST_SIDE} x {SMALLEST_SIDE} pixels are needed to tell noise from detail, found "
            f"{pixels.shape[0]} x {pixels.shape[1]}"
        )
    if second is None:
        pairs = [
            rings_between(to_grey(pair.a), to_grey(pair.b), pair.shift) for pair in halves(pixels, "diagonal")
        ]
        second = resolution(pairs, 2)
    image = to_grey(pixels)
    blur = sharpness(image)["derivative"]
    return RecordedImage(second, *noise_by_grey(image), contrast_of(image), blur)


def noise_by_grey(image: Plane) -> tuple[Floats, Floats, Floats, float, float]:
    """Grey levels, variance of the noise in flat places of each, pixels behind it, ``alike``, ``neighbours``.

    Lines are recorded long after each other, so that their noise is independent; along a line a slow detector
    makes neighbours alike, which disturbs a segmentation more than white noise of the same variance does.

    Args:
        image: ``(H, W)`` in [0, 1].

    Raises:
        BadImage: all that is flat is clipped at black or white.
    """
    from scipy import ndimage

    left = ndimage.correlate1d(image, _ACROSS, axis=0)[2:-2]
    local = ndimage.gaussian_filter(image, _LOCAL)
    steepness = np.hypot(*np.gradient(local))[2:-2]
    local = local[2:-2]
    clipped = ((image <= 0.0) | (image >= 1.0))[2:-2]
    edges = np.quantile(local, np.linspace(0.0, 1.0, _BINS + 1))
    bins = np.searchsorted(edges[1:-1], local, side="right")
    rows = []
    for number in range(_BINS):
        here = bins == number
        if here.sum() < _FEWEST_PIXELS or clipped[here].mean() > _MOST_CLIPPED:
            continue
        here &= steepness <= np.median(steepness[here])
        values = left[here]
        spread = float(np.median(np.abs(values))) / 0.6745
        # Without the few that edges make large; of 4 sigma nothing of the noise is lost.
        values = values[np.abs(values) <= 4.0 * max(spread, 1e-6)]
        rows.append((float(local[here].mean()), float((values**2).mean()), float(len(values))))
    if not rows:
        raise BadImage(
            "its flat places are black or white throughout, which cuts off noise: record with less contrast"
        )
    along = np.fft.rfftfreq(left.shape[1])
    power = (np.abs(np.fft.rfft(left * np.hanning(left.shape[1]), axis=1)) ** 2).mean(axis=0)
    seen = (along >= _FINE) * np.exp(-((2.0 * np.pi * SMOOTHING * along) ** 2))
    alike = float((power * seen).sum() / seen.sum() / power[along >= _FINE].mean())
    grey, variance, count = np.array(rows).T
    neighbours = float((left[:, 1:] * left[:, :-1]).mean() / (left**2).mean())
    return grey, np.maximum(variance, ROUNDING), count, alike, min(max(neighbours, 0.0), MOST_ALIKE)


def fit_noise(images: Sequence[RecordedImage]) -> NoiseModel:
    """The straight line behind the variances of all images, never falling, as clipping leaves them."""
    from scipy.optimize import least_squares

    grey, variance, count = (
        np.concatenate([getattr(image, name) for image in images]) for name in ("grey", "variance", "pixels")
    )
    alike = float(np.median([image.alike for image in images]))
    nodes = np.linspace(0.0, 1.0, _NODES)

    def misfit(line: Floats) -> Floats:
        mean, seen = recorded(np.array([*np.exp(line), 1.0, 0.0]), nodes, PEDESTAL)
        # Each variance is known to a share of itself.
        ratio = (np.interp(grey, mean, seen) + ROUNDING) / variance
        return np.asarray(np.sqrt(count / count.mean()) * np.log(ratio))

    start = np.log(np.full(2, float(np.median(variance)) / 2.0))
    fitted = least_squares(misfit, start, bounds=(np.log(1e-9), np.log(10.0)), loss="soft_l1")
    line = alike * np.exp(np.asarray(fitted.x))
    ((dose, read_variance, pedestal),) = settings_of(line[None], PEDESTAL).tolist()
    return NoiseModel(min(max(dose, 1.0), LARGEST_DOSE), pedestal, math.sqrt(max(read_variance, 0.0)))


def equivalent(
    images: Sequence[RecordedImage], scenes: NumberedScenes, progress: ProgressCallback = silent
) -> EquivalentSetting:
    """The setting whose scenes are like these images: as noisy for their contrast, and as blurred.

    Args:
        images: of one session.
        scenes: of a kind like theirs; the first few are recorded by each of ``SPOTS``.
        progress: called for every spot.
    """
    noise = fit_noise(images)
    doses = [fit_noise([image]).dose for image in images]
    contrast = float(np.median([image.contrast for image in images]))
    blurs = np.array([image.blur for image in images if math.isfinite(image.blur)])
    rows = []
    for number, spot in enumerate(SPOTS, 1):
        rows.append(_seen(scenes, noise, spot))
        progress(ProgressEvent("setting", number, len(SPOTS), "spots"))
    seen = np.array(rows)
    of_spot = np.maximum.accumulate(seen[:, 1])
    blur = float(np.median(blurs)) if len(blurs) else math.nan
    spot = float(np.interp(blur, of_spot, SPOTS)) if len(blurs) else SPOTS[0]
    of_scenes = float(np.interp(spot, SPOTS, seen[:, 0]))
    at_limit = not bool(of_spot[0] <= blur <= of_spot[-1])
    alike, neighbours = (
        float(np.median([getattr(image, name) for image in images])) for name in ("alike", "neighbours")
    )
    return EquivalentSetting(
        noise, alike, neighbours, (min(doses), max(doses)), contrast / of_scenes, blur, spot, at_limit
    )


def _seen(scenes: NumberedScenes, noise: NoiseModel, spot: float) -> tuple[float, float]:
    """Median contrast and blur of the scenes at magnification 1 under a spot."""
    way = degrade.get(degradation_name(noise.dose, noise, spot))
    images = (
        to_grey(lr_image(scenes.pixels(scene.id), way, 1, position_of(scene.id)))
        for scene in scenes.images[:_LIKE]
    )
    facts = [(contrast_of(image), sharpness(image)["derivative"]) for image in images]
    contrast, blur = np.nanmedian(np.array(facts), axis=0).tolist()
    return contrast, blur
