"""Fields of discs scanned twice: what is wrong with the fast scan is known exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

from helpers.drawn_scenes import Disc, draw_discs, place_discs
from srbench.datasets import DatasetCard, Micrograph, MicrographSet
from srbench.utils.image import Pixels

SIDE = 128
RADII = np.linspace(6.0, 13.0, 8)
FEI = "[Scan]\nPixelWidth={0:.6e}\nPixelHeight={0:.6e}\n"


def discs_of(field: int) -> list[Disc]:
    """Those of one field, a little different in each."""
    return place_discs(field, RADII + 0.05 * (field % 7), side=SIDE)


def scan(discs: list[Disc], change: float = 0.0) -> Pixels:
    """Eight-bit discs whose radii are changed by this many pixels, a little differently for each disc."""
    spread = [0.3 * np.sin(7.0 * radius + 3.0 * y) for y, _, radius in discs]
    changed = [(y, x, radius + change + by) for (y, x, radius), by in zip(discs, spread, strict=True)]
    return np.floor(255 * draw_discs(changed if change else discs, SIDE) + 0.5).astype(np.uint8)


class DiscPairs(MicrographSet):
    """``count`` fields in groups of their own; the fast scan's diameters are off by ``2 change`` pixels.

    The smallest disc of every field is missing in the fast scan.
    """

    recorded_scale = 1

    def __init__(self, count: int = 12, change: float = -0.8, pixel_size_nm: float | None = 5.0) -> None:
        self.name = "disc_pairs"
        self.card = DatasetCard("disc_pairs", "Discs", "real", "", "CC0-1.0", pairs=True)
        self.skipped = {}
        self.change = change
        self.images = tuple(
            Micrograph(f"{n:02d}", f"g{n:02d}", "particles", "test", SIDE, SIDE, pixel_size_nm=pixel_size_nm)
            for n in range(count)
        )

    @property
    def fingerprint(self) -> str:
        return f"{len(self.images)} {self.change}"

    def pixels(self, image_id: str) -> Pixels:
        return scan(discs_of(int(image_id)))

    def lr(self, image_id: str) -> Pixels:
        return scan(discs_of(int(image_id))[:-1], self.change)


def write_fast_scans(folder: Path, count: int = 3, pixel_size_nm: float = 5.0) -> list[Path]:
    """TIFF files of fields that are in no set, with the pixel size where FEI puts it."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"field_{n}.tif" for n in range(count)]
    for n, path in enumerate(paths):
        text = FEI.format(pixel_size_nm * 1e-9)
        tag = (34682, "s", 0, text, True)
        tifffile.imwrite(path, scan(discs_of(100 + n)[:-1], -0.8), extratags=[tag])
    return paths
