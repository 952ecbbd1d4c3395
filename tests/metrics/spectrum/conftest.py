"""Images whose errors are known by construction: discs with bright rims, and every way to get them wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from helpers.drawn_scenes import Disc, around, discs_apart, make_case, with_random_phases
from srbench.datasets.images.resize import resize, resize_by
from srbench.metrics.registry import Case

Floats = NDArray[np.float64]
SCALE = 4
SIDE = 256
COUNT = 24
SWAPPED = 6


@dataclass(frozen=True)
class Constructed:
    """A truth, what imitates it, and where the invented and the deleted discs are."""

    images: dict[str, Floats]
    lr: Floats
    lr_noisy: Floats
    invented: list[Disc]
    deleted: list[Disc]

    def case(self, name: str, **known: Any) -> Case:
        """SR is the named image, HR the truth."""
        return make_case(self.images[name], self.images["truth"], SCALE, self.lr, **{"clean": True, **known})


def rounded(image: Floats) -> Floats:
    return np.floor(np.clip(image, 0.0, 1.0) * 255.0 + 0.5) / 255.0


def draw(discs: list[Disc], texture: Floats) -> Floats:
    """Discs with bright rims on a dark ground, supersampled, seen by a beam of 0.6 px."""
    side, fine = len(texture), 4
    axis = (np.arange(side * fine) + 0.5) / fine - 0.5
    depth = np.full((side * fine, side * fine), -np.inf)
    for disc in discs:
        y, x, radius = disc
        rows, columns = (slice(fine * part.start, fine * part.stop) for part in around(disc, 1.0))
        inside = radius - np.hypot(axis[rows, None] - y, axis[None, columns] - x)
        depth[rows, columns] = np.maximum(depth[rows, columns], inside)
    grey = np.where(depth > 0, 0.55 + 0.3 * np.exp(-np.clip(depth, 0, None) / 5.0), 0.25)
    coarse = grey.reshape(side, fine, side, fine).mean((1, 3))
    return ndimage.gaussian_filter(coarse + texture, 0.6, mode="reflect")


def small(image: Floats) -> Floats:
    size = (len(image) // SCALE, len(image) // SCALE)
    return resize(torch.from_numpy(image)[None], size)[0].numpy()


def enlarged(image: Floats) -> Floats:
    return resize_by(torch.from_numpy(image)[None], SCALE)[0].numpy()


@pytest.fixture(scope="session")
def constructed() -> Constructed:
    generator = np.random.default_rng(3)
    placed = list(
        discs_apart(generator, COUNT + SWAPPED, SIDE, lambda _: generator.uniform(5, 14), margin=8, gap=4)
    )
    discs, free = placed[:COUNT], placed[COUNT:]
    texture = ndimage.gaussian_filter(generator.normal(size=(SIDE, SIDE)), 1.0, mode="wrap")
    texture *= 0.02 / texture.std()
    discs.sort(key=lambda disc: disc[2])
    invented = [(y, x, 5.0) for y, x, _ in free]
    truth = rounded(draw(discs, texture))
    lr = rounded(small(truth))
    lr_noisy = rounded(generator.poisson(np.clip(small(truth), 0, 1) * 60.0) / 60.0)
    images = {
        "truth": truth,
        "blur": rounded(ndimage.gaussian_filter(truth, 1.2)),
        "shift": np.roll(truth, 1, axis=1),
        "dilated": rounded(draw([(y, x, radius + 1) for y, x, radius in discs], texture)),
        "swapped": rounded(draw(discs[SWAPPED:] + invented, texture)),
        "liar": rounded(enlarged(lr) + with_random_phases(truth, generator, above=0.5 / SCALE)),
        "bicubic": rounded(enlarged(lr)),
        "bicubic of noisy": rounded(enlarged(lr_noisy)),
        "second": rounded(generator.poisson(truth * 60.0) / 60.0),
    }
    return Constructed(images, lr, lr_noisy, invented, discs[:SWAPPED])
