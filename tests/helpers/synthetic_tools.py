"""Tools for who changes the synthetic scenes: their file of hashes, and a picture of them.

    python tests/helpers/synthetic_tools.py freeze datasets/sources/sem_synthetic.json
    python tests/helpers/synthetic_tools.py sheet docs/sem_synthetic.png --real path/to/sem-open

``freeze`` after a change of truth or to add a kind; raise ``suite.VERSION`` first if pixels shall change.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import scipy
from numpy.typing import NDArray

from srbench.datasets.base import SPLITS
from srbench.datasets.synthetic.scene import scene_kinds
from srbench.datasets.synthetic.suite import VERSION, SyntheticScene, noisy_scan, scene_hashes
from srbench.utils.errors import DatasetError
from srbench.utils.files import write_bytes

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class SuiteSpec:
    """A suite: side of the images, index of the first scene of each kind, scenes of a kind in each split.

    Of all kinds, or of those that are named.
    """

    size: int
    first: int
    train: int
    val: int
    test: int
    kinds: tuple[str, ...] = ()


SUITES = {
    "default": SuiteSpec(size=384, first=0, train=12, val=3, test=6),
    "small": SuiteSpec(size=192, first=1000, train=4, val=1, test=2),
    # What is measured: from 2034 on six patterned scenes have lines, and fibres are long enough.
    "demo": SuiteSpec(
        240, 2034, train=0, val=0, test=6, kinds=("particles", "patterned", "porous", "fibres")
    ),
}
"""Sides are multiples of 24, so that x2, x3, x4 and x8 need no cropping; no index is in two suites."""
TILE = 200
CAPTION = 18
COLUMNS = 5
SHOWN = {"particles": 3, "porous": 3}
"""Index of the scene shown of these kinds; 0 of the others."""
REAL = (
    "uhcs-matseg/images/train_uhcs0357.png",
    "ampis/images/powder_Sc1Tile_001-001-000_0-000.png",
    "nasa-microscopy/images/EBC_010417_4_S2480009.png",
    "lungcells-peeples/images/NiO_DC_5000x_A.png",
    "nasa-microscopy/images/Super_45kx_SE_15kV-etched_0.png",
)
"""Real micrographs shown below them, files of the open SEM collection."""


def freeze() -> dict[str, Any]:
    """Render every scene of every suite and hash it."""
    suites = {}
    for name, spec in SUITES.items():
        splits = [split for split in SPLITS for _ in range(getattr(spec, split))]
        images = {}
        for kind in spec.kinds or scene_kinds():
            for index, split in enumerate(splits, start=spec.first):
                hashes = scene_hashes(SyntheticScene(kind, index, spec.size))
                images[f"{kind}-{index:04d}"] = {"kind": kind, "index": index, "split": split, **hashes}
        suites[name] = {"size": spec.size, "images": images}
    versions = {"numpy": np.__version__, "scipy": scipy.__version__}
    return {"suite_version": VERSION, "made_with": versions, "suites": suites}


def contact_sheet(real: Path | None = None) -> Picture:
    """Every kind noise-free, every kind as a noisy scan, and real micrographs where given.

    Args:
        real: folder of the open SEM collection (as imported by ``sem_open``).

    Raises:
        DatasetError: a file of ``REAL`` is not in the folder.
    """
    micrographs = [_read(real / name) for name in REAL] if real is not None else []
    kinds = tuple(scene_kinds())
    scenes = [SyntheticScene(kind, SHOWN.get(kind, 0), 384) for kind in kinds]
    clean = [scene.pixels() for scene in scenes]
    noisy = [noisy_scan(image, s.kind.name, s.index, 0) for image, s in zip(clean, scenes, strict=True)]
    rows = _rows(clean, [f"{kind}, noise-free" for kind in kinds])
    rows += _rows(noisy, [f"{kind}, acquisition" for kind in kinds])
    rows += _rows(micrographs, [f"real: {Path(name).stem[:20]}" for name in REAL[: len(micrographs)]])
    return np.vstack(rows)


def _rows(images: Sequence[Picture], captions: Sequence[str]) -> list[Picture]:
    """The middle of each image at full size under its caption, ``COLUMNS`` beside each other."""
    tiles = []
    for image, caption in zip(images, captions, strict=True):
        top, left = (image.shape[0] - TILE) // 2, (image.shape[1] - TILE) // 2
        tile = np.full((TILE + CAPTION + 4, TILE + 4), 255, dtype=np.uint8)
        tile[CAPTION : CAPTION + TILE, 2 : 2 + TILE] = image[top : top + TILE, left : left + TILE]
        cv2.putText(tile, caption, (4, CAPTION - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 0, 1, cv2.LINE_AA)
        tiles.append(tile)
    return [np.hstack(tiles[start : start + COLUMNS]) for start in range(0, len(tiles), COLUMNS)]


def _read(path: Path) -> Picture:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
    if image is None:
        raise DatasetError(f"Expected the micrograph {path}; give the folder of the open SEM collection.")
    return image.astype(np.uint8)


def main() -> None:
    """Write the file of hashes or the picture, whole or not at all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("freeze", "sheet"))
    parser.add_argument("target", type=Path)
    parser.add_argument("--real", type=Path)
    arguments = parser.parse_args()
    if arguments.what == "freeze":
        content = (json.dumps(freeze(), indent=1) + "\n").encode()
    else:
        sheet = contact_sheet(arguments.real)
        content = cv2.imencode(".png", sheet, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()
    write_bytes(arguments.target, content)


if __name__ == "__main__":
    main()
