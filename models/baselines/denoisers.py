"""Classical denoisers at magnification 1: what a network that removes noise has to beat. Nothing is learned.

Each takes its strength from the image itself: of a few strengths, the one that minimises Stein's unbiased
estimate of the squared error (Stein 1981; with a random probe in place of the derivatives: Ramani, Blu and
Unser 2008, doi 10.1109/TIP.2008.2001404). The probe is the image's own noise, which so may be correlated
along the lines of a scan and differ from place to place; the lines are taken as independent of each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage import restoration
from torch import Tensor, nn

from srbench.models.registry import register_model

Image = NDArray[np.float64]
Smooth = Callable[[Image, float, float], Image]
"""Of an image ``(H, W)``, its noise and a strength."""

SIDE = 192
"""Pixels a side of the central part on which strengths are compared."""
_ROLLED = 8
_MOST = 4.0
_STEP = 0.1


class SelfTunedFilter(nn.Module):
    """A filter whose strength is chosen for each image and channel.

    Args:
        smooth: the filter.
        strengths: those to choose from.
    """

    # The strength depends on all pixels.
    receptive_radius = math.inf
    not_exported = "it is computed by SciPy and scikit-image, not by PyTorch"

    def __init__(self, smooth: Smooth, strengths: tuple[float, ...]) -> None:
        super().__init__()
        self.smooth = smooth
        self.strengths = strengths

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the same shape and type, on the same device."""
        planes = lr.detach().flatten(0, 1).double().cpu().numpy()
        smoothed = np.stack([self.denoised(plane) for plane in planes])
        return torch.from_numpy(smoothed).to(lr).view_as(lr)

    def denoised(self, image: Image) -> Image:
        """``(H, W)`` smoothed as strongly as its noise asks for; the image itself where it has none."""
        noise = noise_like(image)
        level = float(noise.std())
        if not level > 0:
            return image
        part = tuple(slice(max(side - SIDE, 0) // 2, (side + SIDE) // 2) for side in image.shape)
        risks = [self._risk(image[part], noise[part], level, strength) for strength in self.strengths]
        return self.smooth(image, level, self.strengths[int(np.argmin(risks))])

    def _risk(self, image: Image, noise: Image, level: float, strength: float) -> float:
        """Stein's estimate of the mean squared error, but for a constant."""
        smoothed = self.smooth(image, level, strength)
        response = (self.smooth(image + _STEP * noise, level, strength) - smoothed) / _STEP
        return float(np.square(smoothed - image).mean() + 2 * (noise * response).mean())


def noise_like(image: Image) -> Image:
    """Noise as that of ``(H, W)``, but independent of it: zeros where an image has fewer than three lines.

    The second difference across the lines holds no smooth structure and all noise. Turning the sign of whole
    lines at random makes them independent again; shifting them parts them from the noise they were taken of.
    What is beyond four standard deviations, by the median, is an edge.
    """
    if len(image) < 3:
        return np.zeros_like(image)
    differences = (2 * image[1:-1] - image[:-2] - image[2:]) / math.sqrt(6)
    most = _MOST * float(np.median(np.abs(differences))) / 0.6745
    signs = np.random.default_rng(0).choice((-1.0, 1.0), (len(differences), 1))
    noise = np.pad(signs * differences.clip(-most, most), ((1, 1), (0, 0)), mode="wrap")
    return np.roll(noise, (_ROLLED, _ROLLED), axis=(0, 1))


@register_model(
    title="Gaussian",
    family="filter",
    paper="https://doi.org/10.1214/aos/1176345632",
    publication="Estimation of the Mean of a Multivariate Normal Distribution",
    authors="Stein, Charles M.",
    year=1981,
    scales=(1,),
    variants=("sure",),
    trainable=False,
    summary="Every pixel becomes a weighted mean of its surroundings, as wide as the noise asks for.",
)
def gaussian(scale: int, channels: int, variant: str) -> nn.Module:
    """``scipy.ndimage.gaussian_filter``, of a standard deviation of 0.3 to 4 pixels."""
    strengths = (0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.0, 2.5, 3.0, 4.0)
    return SelfTunedFilter(_gaussian, strengths)


def _gaussian(image: Image, noise: float, strength: float) -> Image:
    smoothed: Image = ndimage.gaussian_filter(image, strength)
    return smoothed


@register_model(
    title="Total variation",
    family="filter",
    paper="https://doi.org/10.1016/0167-2789(92)90242-F",
    publication="Nonlinear Total Variation Based Noise Removal Algorithms",
    authors="Rudin, Leonid I. and Osher, Stanley and Fatemi, Emad",
    year=1992,
    scales=(1,),
    variants=("sure",),
    trainable=False,
    summary="The image near the noisy one whose grey values rise and fall least: flat areas, sharp edges.",
)
def total_variation(scale: int, channels: int, variant: str) -> nn.Module:
    """``skimage.restoration.denoise_tv_chambolle``, weights of 0.3 to 2.3 times the noise."""
    return SelfTunedFilter(_total_variation, (0.3, 0.45, 0.6, 0.8, 1.0, 1.3, 1.7, 2.3))


def _total_variation(image: Image, noise: float, strength: float) -> Image:
    # As many steps for all: a rule that ends them earlier here than there is no derivative to be had of.
    smoothed: Image = restoration.denoise_tv_chambolle(image, strength * noise, eps=0, max_num_iter=60)
    return smoothed


@register_model(
    title="Non-local means",
    family="filter",
    paper="https://doi.org/10.1109/CVPR.2005.38",
    publication="A Non-Local Algorithm for Image Denoising",
    authors="Buades, Antoni and Coll, Bartomeu and Morel, Jean-Michel",
    year=2005,
    scales=(1,),
    variants=("sure",),
    trainable=False,
    summary="Every pixel becomes a mean of pixels whose surroundings look alike.",
)
def non_local_means(scale: int, channels: int, variant: str) -> nn.Module:
    """``skimage.restoration.denoise_nl_means``: 5x5 patches within 6 pixels, 0.4 to 1.7 times the noise."""
    return SelfTunedFilter(_non_local_means, (0.4, 0.6, 0.8, 1.0, 1.3, 1.7))


def _non_local_means(image: Image, noise: float, strength: float) -> Image:
    smoothed: Image = restoration.denoise_nl_means(
        image, patch_size=5, patch_distance=6, h=strength * noise, sigma=noise, fast_mode=True
    )
    return smoothed
