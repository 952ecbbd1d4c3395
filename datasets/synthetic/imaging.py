"""From a scene's material maps to the noise-free micrograph, and to noisy acquisitions of it.

The chain follows the image formation of secondary electrons: tilt contrast, edge bloom, shadows, depth
shading, texture, beam spot, pixel integration, charging, contrast and brightness. See Reimer, Scanning
Electron Microscopy (1998), chapters 4 and 6; the edge term is that of ARTIMAGEN (Cizmar et al., Scanning 30,
381, 2008).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import gammaln

from srbench.datasets.synthetic.geometry import MARGIN, SUPERSAMPLING, FineGrid, area_average
from srbench.datasets.synthetic.rng import (
    Array,
    RandomStream,
    Spread,
    banded_spectrum,
    gaussian_field,
    smooth_spectrum,
)

LARGEST_SECANT = 5.0
"""The escape depth is finite: grazing surfaces do not shine without limit."""
IMAGE_DECIMALS = 6


@dataclass(frozen=True)
class Layers:
    """A scene as maps on the fine grid, each ``(side, side)``.

    Attributes:
        emission: secondary-electron yield of the flat material, about 0 to 1.
        height: relief in HR pixels; its slope gives the tilt contrast.
        distance: signed distance to the nearest material edge in HR pixels, negative inside features.
        depth: how far below the surface, in HR pixels: deep places lose their electrons.
        grain: relative amplitude of the texture.
        roughness: standard deviation of the random relief in HR pixels.
    """

    emission: Array
    height: Array
    distance: Array
    depth: Array
    grain: Array
    roughness: Array


@dataclass(frozen=True)
class Optics:
    """How a scene is imaged. Lengths in HR pixels, angles in degrees.

    Attributes:
        tilt_exponent: n of the yield sec(theta)^n, 0.8 (heavy) to 1.2 (light elements).
        bloom: brightening just inside an edge.
        bloom_length: its decay length.
        shadow: relative darkening just outside an edge.
        shadow_length: its decay length.
        asymmetry: relative strength of the detector's side.
        detector_angle: direction of the detector, from columns towards rows.
        shading: relative loss of signal from great depth.
        shading_length: depth over which it sets in.
        relief_wavelength: typical period of the random relief.
        texture_length: correlation length of the texture.
        waves: relative amplitude of slow brightness variations.
        spot: standard deviation of the beam spot along its short axis.
        astigmatism: long axis of the spot over its short axis.
        spot_angle: direction of the long axis.
        charging: strength of streaks along the fast scan axis.
        charging_length: their decay length.
        black: grey level, 0 to 1, of the darkest 0.5 % of the image.
        white: grey level of the brightest 0.5 %.
    """

    tilt_exponent: float = 1.0
    bloom: float = 0.25
    bloom_length: float = 3.0
    shadow: float = 0.2
    shadow_length: float = 6.0
    asymmetry: float = 0.1
    detector_angle: float = -60.0
    shading: float = 0.0
    shading_length: float = 10.0
    relief_wavelength: float = 7.0
    texture_length: float = 1.5
    waves: float = 0.05
    spot: float = 0.6
    astigmatism: float = 1.0
    spot_angle: float = 0.0
    charging: float = 0.0
    charging_length: float = 60.0
    black: float = 0.06
    white: float = 0.94


# Sampled in this order; a specimen gives the others. Those it does not name keep their default.
_USUAL_OPTICS: dict[str, Spread] = {"spot": (0.5, 0.75), "astigmatism": (1, 1.25), "spot_angle": (0, 180)}


def sample_optics(stream: RandomStream, spreads: Mapping[str, Spread]) -> Optics:
    """How a scene is imaged: each setting as ``spreads`` says, else by the usual spread of the instrument."""
    merged = {**_USUAL_OPTICS, **spreads}
    return Optics(
        **stream.table({field.name: merged[field.name] for field in fields(Optics) if field.name in merged})
    )


@dataclass(frozen=True)
class GreyWindow:
    """Contrast and brightness: detector signals ``low`` and ``high`` are shown as ``black`` and ``white``."""

    low: float
    high: float
    black: float
    white: float


def detector_signal(layers: Layers, optics: Optics, grid: FineGrid, stream: RandomStream) -> Array:
    """The noise-free signal of the detector.

    Args:
        layers: the scene's maps on ``grid``.
        optics: how it is imaged.
        grid: the fine grid.
        stream: random numbers of relief, texture and background waves.

    Returns:
        ``(size, size)``, in units of the yield of a flat surface of emission 1.
    """
    relief = gaussian_field(stream, grid.side, grid.step, banded_spectrum(optics.relief_wavelength, 0.45))
    height = layers.height + layers.roughness * relief
    signal = layers.emission * tilt_contrast(height, optics, grid.step)
    signal = signal + edge_contrast(layers, optics)
    signal *= 1 - optics.shading * (1 - np.exp(-layers.depth / optics.shading_length))
    signal *= surface_variation(layers.grain, optics, grid, stream)
    pixels = area_average(beam_blur(signal, optics, grid.step))
    return charging_streaks(pixels, optics)[MARGIN:-MARGIN, MARGIN:-MARGIN]


def tilt_contrast(height: Array, optics: Optics, step: float) -> Array:
    """Yield factor sec(theta)^n of the inclined surface, brighter where it faces the detector."""
    rows, columns = np.gradient(height, step)
    secant = np.sqrt(1 + rows * rows + columns * columns)
    angle = math.radians(optics.detector_angle)
    facing = -(columns * math.cos(angle) + rows * math.sin(angle)) / secant
    result: Array = np.minimum(secant, LARGEST_SECANT) ** optics.tilt_exponent * (
        1 + optics.asymmetry * facing
    )
    return result


def edge_contrast(layers: Layers, optics: Optics) -> Array:
    """Bloom inside and shadow outside of edges, to be added; the shadow is a share of the local emission."""
    bloom = optics.bloom * np.exp(np.minimum(layers.distance, 0) / optics.bloom_length)
    shadow = optics.shadow * np.exp(-np.maximum(layers.distance, 0) / optics.shadow_length)
    inside = np.clip(0.5 - layers.distance * SUPERSAMPLING, 0, 1)
    result: Array = inside * bloom - (1 - inside) * shadow * layers.emission
    return result


def surface_variation(grain: Array, optics: Optics, grid: FineGrid, stream: RandomStream) -> Array:
    """Factor of fine texture, coarser mottling and slow waves over the field of view."""
    lengths = (optics.texture_length, 4 * optics.texture_length, grid.size / 5)
    fine, mottle, slow = (gaussian_field(stream, grid.side, grid.step, smooth_spectrum(x)) for x in lengths)
    texture = grain * (0.8 * fine + 0.6 * mottle)
    result: Array = np.maximum(1 + texture, 0.2) * np.maximum(1 + optics.waves * slow, 0.5)
    return result


def beam_blur(signal: Array, optics: Optics, step: float) -> Array:
    """Convolution with the beam spot: an elliptical Gaussian of unit volume."""
    rows = scipy.fft.fftfreq(signal.shape[0], step)[:, None]
    columns = scipy.fft.rfftfreq(signal.shape[1], step)[None, :]
    angle = math.radians(optics.spot_angle)
    along = columns * math.cos(angle) + rows * math.sin(angle)
    across = rows * math.cos(angle) - columns * math.sin(angle)
    spread = (optics.astigmatism * along) ** 2 + across**2
    transfer = np.exp(-2 * (math.pi * optics.spot) ** 2 * spread)
    result: Array = scipy.fft.irfft2(scipy.fft.rfft2(signal) * transfer, s=signal.shape)
    return result


def charging_streaks(image: Array, optics: Optics) -> Array:
    """Charge left by bright places darkens what the beam scans next (a causal filter along the rows)."""
    if not optics.charging:
        return image
    retained = math.exp(-1 / optics.charging_length)
    charge, _ = lfilter([1 - retained], [1, -retained], image, axis=1, zi=retained * image[:, :1])
    result: Array = image - optics.charging * charge
    return result


def automatic_window(signal: Array, optics: Optics) -> GreyWindow:
    """The window that shows the 0.5 % and 99.5 % quantiles of the signal as the optics' black and white."""
    ordered = np.sort(signal, axis=None)
    margin = ordered.size // 200
    low, high = round(float(ordered[margin]), 9), round(float(ordered[-1 - margin]), 9)
    return GreyWindow(low, max(high, low + 1e-6), optics.black, optics.white)


def grey_levels(signal: Array, window: GreyWindow) -> NDArray[np.uint8]:
    """The 8-bit image of a detector signal: clipped at black and white, halves rounded up.

    Rounded to ``IMAGE_DECIMALS`` first: a value meant to lie on a step falls on the same side everywhere.
    """
    gain = (window.white - window.black) / (window.high - window.low)
    scaled = np.round(window.black + (signal - window.low) * gain, IMAGE_DECIMALS)
    return np.floor(np.clip(scaled, 0, 1) * 255 + 0.5).astype(np.uint8)


DOSE = 150.0
"""Electrons counted in a pixel of full signal: an ordinary slow scan."""
PEDESTAL = 0.15
"""Share of the full signal that the brightness setting shows as black: dark places are noisy too."""
READ_NOISE = 0.01
"""Standard deviation of the electronics, of the full grey scale."""


def acquire(truth: NDArray[np.uint8], stream: RandomStream, dose: float = DOSE) -> NDArray[np.uint8]:
    """One acquisition of ``truth``.

    The signal of grey level g (0 to 1) is s = p + (1 - p) g with the pedestal p; N ~ Poisson(dose s)
    electrons are counted, shown as (N / dose - p) / (1 - p), and the electronics add Gaussian noise.

    Args:
        truth: noise-free ``(H, W)``.
        stream: random numbers.
        dose: electrons in a pixel of full signal.

    Returns:
        ``(H, W)``, clipped at black and white as a digitiser does.
    """
    counts = poisson_of_levels(truth, dose, stream.uniforms(*truth.shape))
    shown = (counts / dose - PEDESTAL) / (1 - PEDESTAL) + READ_NOISE * stream.normals(*truth.shape)
    return np.floor(np.clip(np.round(shown, 9), 0, 1) * 255 + 0.5).astype(np.uint8)


def noise_variance(grey: Array, dose: float = DOSE) -> Array:
    """Variance of ``acquire`` before clipping and rounding, by noise-free grey level in [0, 1]."""
    signal = PEDESTAL + (1 - PEDESTAL) * grey
    result: Array = signal / (dose * (1 - PEDESTAL) ** 2) + READ_NOISE**2
    return result


def poisson_of_levels(levels: NDArray[np.uint8], dose: float, uniforms: Array) -> Array:
    """Poisson counts for each of 256 grey levels, by inversion of the distribution function.

    Args:
        levels: ``(H, W)`` grey levels.
        dose: expected counts at level 255 (level 0 expects ``PEDESTAL * dose``).
        uniforms: ``(H, W)`` in (0, 1).
    """
    counts = np.zeros(levels.shape)
    for level in np.unique(levels):
        here = levels == level
        mean = dose * (PEDESTAL + (1 - PEDESTAL) * int(level) / 255)
        counts[here] = np.searchsorted(poisson_distribution(mean), uniforms[here], side="left")
    return counts


def poisson_distribution(mean: float) -> Array:
    """P(N <= k) for k = 0, 1, ... up to where the rest is below 1e-15."""
    k = np.arange(math.ceil(mean + 12 * math.sqrt(mean) + 20))
    cumulative: Array = np.cumsum(np.exp(k * math.log(mean) - mean - gammaln(k + 1)))
    return cumulative
