"""One picture of the synthetic scenes beside real micrographs, to judge their look by eye.

python -m srbench.datasets.synthetic.contact_sheet docs/sem_synthetic.png --real path/to/sem-open
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.interface import DatasetError
from srbench.datasets.synthetic.suite import SyntheticScene, noisy_scan

Picture = NDArray[np.uint8]
TILE = 200
CAPTION = 18
COLUMNS = 5
SHOWN = {
    "biological": 0,
    "fibres": 0,
    "films": 0,
    "mems": 0,
    "nanowires": 0,
    "particles": 3,
    "patterned": 0,
    "porous": 3,
    "powder": 0,
    "tips": 0,
}
"""Index of the scene shown of each kind."""
REAL = (
    "uhcs-matseg/images/train_uhcs0357.png",
    "ampis/images/powder_Sc1Tile_001-001-000_0-000.png",
    "nasa-microscopy/images/EBC_010417_4_S2480009.png",
    "lungcells-peeples/images/NiO_DC_5000x_A.png",
    "nasa-microscopy/images/Super_45kx_SE_15kV-etched_0.png",
)
"""Real micrographs shown below them, files of the open SEM collection."""


def contact_sheet(real: Path | None = None) -> Picture:
    """The sheet: every kind noise-free, every kind as a noisy scan, and real micrographs where given.

    Args:
        real: folder of the open SEM collection (as imported by ``sem_open``).

    Raises:
        DatasetError: a file of ``REAL`` is not in the folder.
    """
    scenes = [SyntheticScene(kind, index, 384) for kind, index in SHOWN.items()]
    clean = [scene.pixels() for scene in scenes]
    noisy = [
        noisy_scan(image, scene.kind.name, scene.index, 0) for image, scene in zip(clean, scenes, strict=True)
    ]
    rows = [*_rows(clean, [f"{kind}, noise-free" for kind in SHOWN])]
    rows += _rows(noisy, [f"{kind}, acquisition" for kind in SHOWN])
    if real is not None:
        rows += _rows([_read(real / name) for name in REAL], [f"real: {Path(n).stem[:20]}" for n in REAL])
    return np.vstack(rows)


def _rows(images: Sequence[Picture], captions: Sequence[str]) -> list[Picture]:
    tiles = [_tile(image, caption) for image, caption in zip(images, captions, strict=True)]
    return [np.hstack(tiles[start : start + COLUMNS]) for start in range(0, len(tiles), COLUMNS)]


def _tile(image: Picture, caption: str) -> Picture:
    """The middle of an image at full size, under its caption."""
    import cv2

    top, left = (image.shape[0] - TILE) // 2, (image.shape[1] - TILE) // 2
    tile = np.full((TILE + CAPTION + 4, TILE + 4), 255, dtype=np.uint8)
    tile[CAPTION : CAPTION + TILE, 2 : 2 + TILE] = image[top : top + TILE, left : left + TILE]
    cv2.putText(tile, caption, (4, CAPTION - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 0, 1, cv2.LINE_AA)
    return tile


def _read(path: Path) -> Picture:
    import cv2

    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
    if image is None:
        raise DatasetError(f"Expected the micrograph {path}; give the folder of the open SEM collection.")
    pixels: Picture = image.astype(np.uint8)
    return pixels


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the sheet as a PNG file."""
    import cv2

    parser = argparse.ArgumentParser(description=contact_sheet.__doc__)
    parser.add_argument("target", type=Path)
    parser.add_argument("--real", type=Path)
    chosen = parser.parse_args(arguments)
    cv2.imwrite(str(chosen.target), contact_sheet(chosen.real), [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
