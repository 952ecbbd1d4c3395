"""Scenes, interpolations and damage shared by the tests of the checks."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from srbench import models
from srbench.datasets import degrade
from srbench.datasets.lr_images import lr_image
from srbench.datasets.synthetic import ambiguous
from srbench.datasets.synthetic.ambiguous import AmbiguousPatch
from srbench.datasets.synthetic.rng import RandomStream
from srbench.datasets.synthetic.scene import scene_kinds
from srbench.datasets.synthetic.suite import SyntheticScene
from srbench.models import SRModel

Pixels8 = NDArray[np.uint8]
Enlarge = Callable[..., Pixels8]


def _texture(seed: int) -> tuple[Pixels8, Pixels8]:
    """Grains of many sizes, 96 x 96, with lamellae that LR at x4 cannot hold; and in the opposite phase."""
    noise = np.random.default_rng(seed).normal(size=(96, 96))
    layers = [cv2.GaussianBlur(noise, (0, 0), s) * s for s in (1.5, 4.0, 11.0)]
    waves = sum(np.roll(layer, 37 * i, axis=1) for i, layer in enumerate(layers))
    grains = np.clip(np.rint(120 + 28 * waves / np.std(waves)), 1, 254).astype(np.uint8)
    image, (patch,) = ambiguous.insert(grains, RandomStream(seed))
    return image, ambiguous.opposite_phase(image, patch)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", params=["textures", pytest.param("rendered", marks=pytest.mark.slow)])
def scenes(request: pytest.FixtureRequest) -> tuple[tuple[Pixels8, Pixels8], ...]:
    """20 images, each with the opposite phase at x4: textures, or rendered scenes, two of each kind."""
    if request.param == "textures":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ambiguous, "SCALES", (4,))
            return tuple(_texture(seed) for seed in range(20))
    rendered = (SyntheticScene(kind, index, 120) for index in range(2) for kind in scene_kinds())
    pairs = []
    for scene in rendered:
        (patch,) = (patch for patch in scene.truth()["ambiguous"] if patch["scale"] == 4)
        pairs.append((scene.pixels(), ambiguous.opposite_phase(scene.pixels(), AmbiguousPatch(**patch))))
    return tuple(pairs)


def _to_lr(hr: Pixels8, scale: int = 4) -> Pixels8:
    return lr_image(hr, degrade.get("bicubic"), scale)


@functools.cache
def _interpolation(kernel: str, scale: int) -> SRModel:
    return models.create(kernel, scale=scale, channels=1, variant="matlab")


def _enlarge(lr: Pixels8, scale: int = 4, kernel: str = "bicubic") -> Pixels8:
    model = _interpolation(kernel, scale)
    planes = torch.from_numpy(lr.copy()).float() / 255.0
    batch = planes[None, None] if lr.ndim == 2 else planes.permute(2, 0, 1)[:, None]
    sr = (degrade.quantise(model.infer(batch)) * 255.0).round().to(torch.uint8)[:, 0].numpy()
    return np.asarray(sr[0] if lr.ndim == 2 else np.ascontiguousarray(sr.transpose(1, 2, 0)))


def _through_jpeg(pixels: Pixels8, quality: int = 75) -> Pixels8:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    file.seek(0)
    return np.array(Image.open(file))


@pytest.fixture(scope="session")
def to_lr() -> Enlarge:
    """HR to LR: ``(hr, scale=4)``, bicubic, 8 bit."""
    return _to_lr


@pytest.fixture(scope="session")
def enlarge() -> Enlarge:
    """LR to SR by interpolation: ``(lr, scale=4, kernel="bicubic")``, grey or colour, 8 bit."""
    return _enlarge


@pytest.fixture(scope="session")
def through_jpeg() -> Enlarge:
    """Written to a JPEG file by Pillow and read again: ``(pixels, quality=75)``."""
    return _through_jpeg
