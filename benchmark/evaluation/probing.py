"""The part of the audit that asks for images the model cannot have stored: what it loses on them, in dB."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.degrade import quantise
from srbench.datasets.interface import Pixels
from srbench.evaluation.errands import Errand, TilePlan, scratch_folder, write_pack
from srbench.evaluation.guards import Finding, probes
from srbench.evaluation.lr_cache import Entry, LrCache
from srbench.evaluation.metrics import registry
from srbench.evaluation.setting import Setting, over_categories

Pixels8 = NDArray[np.uint8]
Runs = Callable[[Errand], list[Pixels8]]
"""Runs the model on a pack; gives the SR images."""
PLAIN = "plain"
PROBED = 12
"""Images that are changed, over all categories."""


class Probing:
    """Scores a model on changed images of one evaluation.

    Args:
        setting: what is scored.
        lr: what the models are given.
    """

    def __init__(self, setting: Setting, lr: LrCache) -> None:
        self.setting = setting
        self.scale = setting.scorer.scale
        self.lr = lr
        images = {image.id: image for image in setting.images}
        usable = [images[entry.image] for entry in lr.entries]
        self.chosen = {image.id for image in over_categories(usable, PROBED)}

    def finding(self, run: Runs, plans: Mapping[str, TilePlan]) -> Finding:
        """Guard 4 for the model behind ``run``; ``plans`` says how it was tiled when it was scored."""
        asked = [(entry, *probe) for entry in self._entries() for probe in self._images(entry)]
        with scratch_folder() as folder:
            pack = Path(folder) / "probes.bin"
            layouts = write_pack(pack, (lr for _, _, lr, _ in asked))
            answers = run(Errand(pack, layouts, tuple(plans[entry.image] for entry, *_ in asked)))
        scores: dict[str, dict[str, tuple[float, float]]] = {}
        for (entry, name, lr, hr), sr in zip(asked, answers, strict=True):
            pair = self._psnr(sr, hr, lr), self._psnr(self._bicubic(lr), hr, lr)
            scores.setdefault(name, {})[entry.image] = pair
        plain = scores.pop(PLAIN)
        return probes.judge(
            {
                name: [(plain[image][0], pair[0], plain[image][1], pair[1]) for image, pair in own.items()]
                for name, own in scores.items()
            }
        )

    def _entries(self) -> list[Entry]:
        return [entry for entry in self.lr.entries if entry.image in self.chosen]

    def _images(self, entry: Entry) -> list[tuple[str, Pixels8, Pixels]]:
        """Name, LR and HR of the image itself and of each change."""
        images = {image.id: image for image in self.setting.images}
        lr, hr = self.lr.pixels(entry), self.setting.scorer.reference(images[entry.image])
        changed = probes.probe_images(lr, self.setting.scorer.degradation)
        return [
            (PLAIN, lr, hr),
            *((name, image, probes.reference(name, hr)) for name, image in changed.items()),
        ]

    def _psnr(self, sr: Pixels8, hr: Pixels, lr: Pixels8) -> float:
        case = self.setting.scorer.protocol.case(sr, hr, lr, self.scale)
        return float(registry.get("psnr").compute(case))

    def _bicubic(self, lr: Pixels8) -> Pixels8:
        """Keys' interpolation as the model of this name gives it."""
        import torch

        from srbench import models

        planes = torch.from_numpy(lr / np.float64(255.0)).float()
        stacked = planes[None, None] if lr.ndim == 2 else planes.permute(2, 0, 1)[None]
        model = models.create("bicubic", scale=self.scale, channels=stacked.shape[1])
        sr = (quantise(model.infer(stacked)) * 255.0).round().to(torch.uint8)[0].numpy()
        return np.ascontiguousarray(sr[0] if lr.ndim == 2 else sr.transpose(1, 2, 0))
