"""Scenes, interpolations and damage shared by the tests of the guards."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from srbench import models
from srbench.datasets import degrade
from srbench.datasets.lr_images import lr_image
from srbench.datasets.synthetic.scene import scene_kinds
from srbench.datasets.synthetic.suite import SyntheticScene

Pixels8 = NDArray[np.uint8]
Enlarge = Callable[..., Pixels8]


@functools.cache
def _drawn() -> tuple[tuple[Pixels8, Pixels8], ...]:
    drawn = (SyntheticScene(kind, index, 120) for kind in scene_kinds() for index in range(2))
    return tuple((scene.pixels(), scene.opposite_phase(4)) for scene in drawn)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def scenes() -> tuple[tuple[Pixels8, Pixels8], ...]:
    """20 scenes of 120 x 120, two of each kind, with the opposite phase at x4."""
    return _drawn()


def _to_lr(hr: Pixels8, scale: int = 4) -> Pixels8:
    return lr_image(hr, degrade.get("bicubic"), scale)


def _enlarge(lr: Pixels8, scale: int = 4, kernel: str = "bicubic") -> Pixels8:
    model = models.create(kernel, scale=scale, channels=1, variant="matlab")
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
