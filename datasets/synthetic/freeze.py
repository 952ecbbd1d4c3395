"""Write the file of hashes that fixes which scenes the suites have and how they come out.

Run after a change of the generator (raise ``suite.VERSION`` first) or to add a scene kind::

    python -m srbench.datasets.synthetic.freeze datasets/sem_synthetic.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srbench.datasets.interface import SPLITS, Split
from srbench.datasets.synthetic.scene import scene_kinds
from srbench.datasets.synthetic.suite import VERSION, SyntheticScene, scene_hashes


@dataclass(frozen=True)
class Plan:
    """A suite: side of the images, index of the first scene of each kind, scenes of a kind in each split."""

    size: int
    first: int
    train: int
    val: int
    test: int

    def numbered(self) -> Iterator[tuple[int, Split]]:
        """Scene indices of a kind with their splits."""
        index = self.first
        for split in SPLITS:
            for _ in range(getattr(self, split)):
                yield index, split
                index += 1


PLANS = {
    "default": Plan(size=384, first=0, train=12, val=3, test=6),
    "small": Plan(size=192, first=1000, train=4, val=1, test=2),
}
"""Sides are multiples of 24, so that x2, x3, x4 and x8 need no cropping; no index is in two suites."""


def freeze() -> dict[str, Any]:
    """Generate every scene of every plan and hash it."""
    import numpy as np
    import scipy

    suites = {name: {"size": plan.size, "images": _images(plan)} for name, plan in PLANS.items()}
    made_with = {"numpy": np.__version__, "scipy": scipy.__version__}
    return {"suite_version": VERSION, "made_with": made_with, "suites": suites}


def _images(plan: Plan) -> dict[str, Any]:
    images = {}
    for kind in scene_kinds():
        for index, split in plan.numbered():
            hashes = scene_hashes(SyntheticScene(kind, index, plan.size))
            images[f"{kind}-{index:04d}"] = {"kind": kind, "index": index, "split": split, **hashes}
    return images


def main(target: Path) -> None:
    """Write the file, whole or not at all."""
    partial = target.with_name(f".{target.name}.partial")
    partial.write_text(json.dumps(freeze(), indent=1) + "\n", encoding="utf-8")
    partial.replace(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
