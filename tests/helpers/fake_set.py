"""A small dataset in memory, whose HR images can be replaced after the LR images were made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from srbench.datasets import DatasetCard, Micrograph, MicrographSet
from srbench.utils.image import Pixels


def texture(seed: int, height: int, width: int) -> Pixels:
    """Smooth structure with some noise, 8 bit."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = sum(
        np.sin(rows * generator.uniform(0.05, 0.6) + columns * generator.uniform(0.05, 0.6)) for _ in range(4)
    )
    return np.clip(110 + 22 * waves + generator.normal(0, 4, (height, width)), 0, 255).astype(np.uint8)


class FakeSet(MicrographSet):
    """``count`` images in two categories and groups of two; ids say nothing about the content."""

    def __init__(self, count: int = 5, ceiling: bool = False, name: str = "fake", side: int = 66) -> None:
        self.name = name
        self.card = DatasetCard(name, name, "synthetic", "", "CC0-1.0", terms="cite us")
        self.ceiling = ceiling
        self.skipped: Mapping[str, str] = {"broken.png": "truncated"}
        self.store: dict[str, Pixels] = {
            f"sub/{index}": texture(index, side + 3 * index, side + 6) for index in range(count)
        }
        self.images = tuple(
            Micrograph(
                image,
                f"g{index // 2}",
                "ab"[index % 2],
                "test",
                int(pixels.shape[0]),
                int(pixels.shape[1]),
            )
            for index, (image, pixels) in enumerate(self.store.items())
        )

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.name} {[image.height for image in self.images]}".encode()).hexdigest()

    def pixels(self, image_id: str) -> Pixels:
        return self.store[image_id]

    def acquisition(self, image_id: str, index: int) -> Pixels | None:
        if not self.ceiling or image_id.endswith("0"):
            return None
        noise = np.random.default_rng(index).normal(0, 6, self.store[image_id].shape)
        noisy: Any = np.clip(self.store[image_id] + noise, 0, 255).round().astype(np.uint8)
        return noisy  # type: ignore[no-any-return]


class PairedSet(FakeSet):
    """Images whose LR was recorded at scale 1, noisier than they are: real micrographs."""

    recorded_scale = 1

    def __init__(self, count: int = 5, name: str = "pairs", side: int = 66) -> None:
        super().__init__(count, name=name, side=side)
        self.card = replace(self.card, kind="real", pairs=True)
        self.recorded = {
            image: np.random.default_rng(index).poisson(pixels / 4.0).astype(np.float64).clip(0, 63) * 4
            for index, (image, pixels) in enumerate(self.store.items())
        }

    def lr(self, image_id: str) -> Pixels:
        return self.recorded[image_id].astype(np.uint8)


class ColourSet(FakeSet):
    """Photographs: red, green and blue of different structure; the last image is grey, as in Set14."""

    def __init__(self, count: int = 3, name: str = "photos", side: int = 66) -> None:
        super().__init__(count, name=name, side=side)
        self.card = replace(self.card, kind="photographs", channels=3)
        self.images = tuple(
            replace(image, channels=1 if index == count - 1 else 3) for index, image in enumerate(self.images)
        )
        for seed, image in enumerate(self.images):
            if image.channels == 3:
                planes = [texture(100 * seed + c, image.height, image.width) for c in range(3)]
                self.store[image.id] = np.stack(planes, axis=-1)  # type: ignore[assignment]
