"""A dataset of textures and small networks with recipes of every shape, for tests and their subprocesses."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.datasets.base import (
    DatasetCard,
    DatasetSource,
    DatasetState,
    Micrograph,
    MicrographSet,
)
from srbench.datasets.degrade import Degradation, LrPosition
from srbench.datasets.registry import register_dataset
from srbench.models.recipe import (
    Clip,
    ConstantRate,
    CosineRate,
    DiscriminatorSpec,
    LossInputs,
    LossTerm,
    Optimiser,
    PixelLoss,
    Ramp,
    Recipe,
    RecipeRequest,
    Stage,
)
from srbench.models.registry import register_model

SIZES = {"train": ((61, 83), (96, 70), (49, 49), (30, 200)), "val": ((50, 66), (64, 47)), "test": ((40, 40),)}


def texture(height: int, width: int, seed: int, dtype: type = np.uint8) -> np.ndarray:
    """Smooth blobs with some noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / 9.0
    waves = sum(
        np.sin(rows * random.uniform(-1, 1) + columns * random.uniform(-1, 1) + random.uniform(0, 6))
        for _ in range(5)
    )
    level = np.clip(0.5 + 0.15 * waves + random.normal(0, 0.02, waves.shape), 0, 1)
    return np.round(level * np.iinfo(dtype).max).astype(dtype)


def pixels(height: int, width: int, seed: int, dtype: type, colour: bool) -> np.ndarray:
    """A texture, of its own in each channel where there is colour."""
    if not colour:
        return texture(height, width, seed, dtype)
    return np.stack([texture(height, width, 100 * seed + channel, dtype) for channel in range(3)], axis=-1)


class Textures(MicrographSet):
    """Textures in memory.

    ``salt`` gives other pixels, ``mixed`` makes every other image uint16, ``colour`` all images RGB, ``zoo``
    has grey and colour of both depths.
    """

    def __init__(
        self,
        name: str = "textures",
        salt: int = 0,
        mixed: bool = False,
        val: bool = True,
        colour: bool = False,
        zoo: bool = False,
    ) -> None:
        self.name = name
        self.card = replace(TextureSource.card, channels=3 if colour or zoo else 1)
        self.skipped = {"torn.png": "cannot be decoded"}
        self._pixels = {}
        images = []
        for split, sizes in SIZES.items():
            if split == "val" and not val:
                continue
            for index, (height, width) in enumerate(sizes):
                dtype = np.uint16 if (mixed or zoo) and index % 2 else np.uint8
                in_colour = colour or (zoo and index >= len(sizes) // 2)
                name = f"{split}{index}"
                self._pixels[name] = pixels(height, width, salt * 1000 + len(images), dtype, in_colour)
                bits, channels = 8 * np.dtype(dtype).itemsize, 3 if in_colour else 1
                images.append(
                    Micrograph(name, f"g{name}", "texture", split, height, width, bits, channels=channels)
                )
        self.images = tuple(images)

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for name, pixels in sorted(self._pixels.items()):
            digest.update(name.encode() + pixels.tobytes())
        return digest.hexdigest()

    def pixels(self, image_id: str) -> np.ndarray:
        return self._pixels[image_id]


class PairedTextures(Textures):
    """Textures whose LR was recorded at scale 2: of other grey levels than any that is made from HR."""

    recorded_scale = 2

    def lr(self, image_id: str) -> np.ndarray:
        height, width = (side // 2 for side in self.pixels(image_id).shape[:2])
        index = sorted(self._pixels).index(image_id)
        return texture(height, width, 5000 + index, self.pixels(image_id).dtype.type)


class TextureSource(DatasetSource):
    """``textures``, or one of its kinds: ``textures:salted``, ``mixed``, ``noval``, ``colour``, ``zoo``."""

    card = DatasetCard(
        "textures",
        "Textures",
        "synthetic",
        "for tests",
        "CC0-1.0",
        obtain=("embedded",),
        terms="none at all",
        citation="nobody",
    )

    def open(self, argument: str | None = None) -> MicrographSet:
        name = f"textures:{argument}" if argument else "textures"
        kinds = {kind: argument == kind for kind in ("mixed", "colour", "zoo")}
        return Textures(name, int(argument == "salted"), val=argument != "noval", **kinds)

    def state(self) -> DatasetState:
        return DatasetState("embedded")


class PairedSource(TextureSource):
    """``paired``: textures with recorded LR; ``paired:mixed`` of two depths."""

    card = replace(TextureSource.card, name="paired", pairs=True)

    def open(self, argument: str | None = None) -> MicrographSet:
        name = f"paired:{argument}" if argument else "paired"
        return PairedTextures(name, mixed=argument == "mixed")


class HashNoise:
    """Noise that can be computed by hand: a hash of the key and of the position in the whole LR image."""

    def sample(self, expected: Tensor, place: LrPosition) -> Tensor:
        rows, columns = positions(expected, place)
        keys = (place.keys % 65521).view(-1, 1, 1, 1)
        hashed = (keys * 31 + rows * 7919 + columns * 104729 + rows * columns * 13) % 997
        return expected + 0.2 * (hashed.to(expected.dtype) / 997 - 0.5)

    def variance(self, expected: Tensor) -> Tensor:
        return torch.full_like(expected, 0.04 / 12)


def positions(lr: Tensor, place: LrPosition) -> tuple[Tensor, Tensor]:
    """Rows ``(N, 1, H, 1)`` and columns ``(N, 1, 1, W)`` in the whole LR image."""
    rows = place.origins[:, 0].view(-1, 1, 1, 1) + torch.arange(lr.shape[-2]).view(1, 1, -1, 1)
    columns = place.origins[:, 1].view(-1, 1, 1, 1) + torch.arange(lr.shape[-1]).view(1, 1, 1, -1)
    return rows, columns


def banded(hr: Tensor, scale: int, place: LrPosition | None) -> Tensor:
    """The mean over scale x scale pixels, darker in some rows: a scan's distortion that knows its rows."""
    lr = F.avg_pool2d(hr, scale)
    rows, _ = positions(lr, place)
    return lr * (1 - 0.1 * ((rows + place.keys.view(-1, 1, 1, 1) % 5) % 3).to(lr.dtype))


HASHED = Degradation("hashed", 1, "for tests", 1, banded, HashNoise(), needs_position=True)


class TinySR(nn.Module):
    """Two convolutions with batch normalisation and dropout on top of the nearest neighbour."""

    def __init__(self, scale: int, channels: int) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Sequential(nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Dropout2d(0.1))
        self.tail = nn.Conv2d(8, channels * scale**2, 3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        detail = F.pixel_shuffle(self.tail(F.relu(self.head(lr))), self.scale)
        return detail + F.interpolate(lr, scale_factor=self.scale)


class PlainSR(nn.Module):
    """Without anything that depends on how a batch is shared out."""

    def __init__(self, scale: int, channels: int) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(channels, 6, 3, padding=1)
        self.tail = nn.Conv2d(6, channels * scale**2, 3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        return F.pixel_shuffle(self.tail(torch.tanh(self.head(lr))), self.scale)


class TinyDiscriminator(nn.Module):
    """A patch discriminator with batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 3)
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.body(image)


def discriminator_loss(discriminator: nn.Module, inputs: LossInputs) -> Tensor:
    return F.softplus(-discriminator(inputs.hr)).mean() + F.softplus(discriminator(inputs.sr)).mean()


def adversarial(inputs: LossInputs) -> Tensor:
    return F.softplus(-inputs.discriminators["discriminator"](inputs.sr)).mean()


@dataclass(frozen=True)
class Slow:
    """A loss that takes its time, so that a test can kill the process in the middle."""

    seconds: float

    def __call__(self, inputs: LossInputs) -> Tensor:
        time.sleep(self.seconds)
        return F.l1_loss(inputs.sr, inputs.hr)


L1 = LossTerm("l1", PixelLoss(F.l1_loss))
PIXEL = Stage("pixel", 8, 4, 16, (L1,), Optimiser(lr=1e-3), CosineRate(0.1), ema=0.9)
GAN = replace(
    PIXEL,
    name="gan",
    iterations=7,
    terms=(L1, LossTerm("adversarial", adversarial, Ramp(0.0, 0.02))),
    discriminators=(
        DiscriminatorSpec(
            "discriminator",
            TinyDiscriminator,
            discriminator_loss,
            Optimiser("adamw", 1e-3, (0.5, 0.9)),
            steps=2,
        ),
    ),
    clip=Clip("norm", 1.0),
)
SGD = Optimiser("sgd", 0.1)


def one_stage(request: RecipeRequest) -> Recipe:
    return Recipe((PIXEL,), "tests", notes=("a note of the recipe",))


def two_stages(request: RecipeRequest) -> Recipe:
    return Recipe((PIXEL, GAN), "tests")


def slow(request: RecipeRequest) -> Recipe:
    terms = (LossTerm("slow", Slow(0.03)),)
    return Recipe((replace(PIXEL, iterations=20, terms=terms), replace(GAN, iterations=20)), "tests")


def shared(request: RecipeRequest) -> Recipe:
    """Plain gradient descent, in float64: equal on any number of processes but for rounding."""
    slower = replace(SGD, lr=0.01)
    discriminator = DiscriminatorSpec(
        "discriminator",
        lambda: PlainDiscriminator().double(),
        discriminator_loss,
        slower,
        clip=Clip("norm", 1.0),
    )
    terms = (L1, LossTerm("adversarial", adversarial, 0.01))
    stage = Stage(
        "sgd", 6, 4, 16, terms, SGD, ConstantRate(), (discriminator,), clip=Clip("norm", 0.5), ema=0.5
    )
    return Recipe((stage,), "tests")


class PlainDiscriminator(TinyDiscriminator):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 3))


def register_fakes() -> None:
    """Register the dataset and the models ``tiny_sr``, ``tiny_gan``, ``slow_gan``, ``shared_sr``."""
    register_dataset(TextureSource)
    register_dataset(PairedSource)
    networks: dict[str, tuple[Callable[[int, int], nn.Module], Callable[[RecipeRequest], Recipe]]] = {
        "tiny_sr": (TinySR, one_stage),
        "tiny_gan": (TinySR, two_stages),
        "slow_gan": (TinySR, slow),
        "shared_sr": (lambda scale, channels: PlainSR(scale, channels).double(), shared),
    }
    for name, (network, recipe) in networks.items():
        register_network(name, network, recipe)


def register_network(
    name: str,
    network: Callable[[int, int], nn.Module],
    recipe: Callable[[RecipeRequest], Recipe],
    channels: tuple[int, ...] = (1, 3),
    scales: tuple[int, ...] = (2, 3, 4),
) -> None:
    def factory(scale: int, channels: int, variant: str) -> nn.Module:
        return network(scale, channels)

    factory.__name__ = name
    register_model(
        title=name,
        family="regression",
        paper="",
        year=2000,
        scales=scales,
        variants=("plain", "other"),
        channels=channels,
        recipe=recipe,
    )(factory)
