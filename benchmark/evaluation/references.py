"""What is made from HR beside the models: noise ceiling, control, and HR for those meant to see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srbench.evaluation import controls
from srbench.evaluation.errands import write_pack
from srbench.evaluation.jobs import Job
from srbench.evaluation.lr_cache import Entry, LrCache, cut_to_scale
from srbench.evaluation.protocol import to_eight_bits
from srbench.evaluation.setting import Setting
from srbench.models import ModelCard
from srbench.store import CONTROL, NOISE_CEILING

Pixels8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Reference:
    """One such row.

    Attributes:
        job: what it is stored under.
        image: what stands in the place of a model's output; None where this image has none.
        reason: why an image has none.
    """

    job: Job
    image: Callable[[Entry], Pixels8 | None]
    reason: str = ""


def references(setting: Setting, lr: LrCache) -> list[Reference]:
    """The noise ceiling where there are second acquisitions, the control where the scale is above 1."""
    return [one for one in (_ceiling(setting, lr), _control(setting, lr)) if one is not None]


def pack_hr(setting: Setting, lr: LrCache, folder: Path, noise: bool = False) -> Path:
    """The 8-bit HR images in the order of the LR pack, for a variant that is meant to see them.

    Args:
        setting: where they are.
        lr: the pack.
        folder: where the file goes.
        noise: noise of the same sizes in their place.
    """
    images = {image.id: image for image in setting.images}
    pixels = (to_eight_bits(setting.scorer.reference(images[entry.image])) for entry in lr.entries)
    generator = np.random.default_rng(0)
    told = (generator.integers(0, 256, one.shape, dtype=np.uint8) if noise else one for one in pixels)
    write_pack(folder / "hr.bin", told)
    return folder / "hr.bin"


def _ceiling(setting: Setting, lr: LrCache) -> Reference | None:
    """A second acquisition of each field scored like a model: nobody can be asked for more."""
    acquire, scale = setting.micrographs.acquisition, setting.scorer.scale
    if all(acquire(entry.image, 1) is None for entry in lr.entries):
        return None

    def scan(entry: Entry) -> Pixels8 | None:
        pixels = acquire(entry.image, 1)
        return None if pixels is None else to_eight_bits(cut_to_scale(pixels, scale))

    card = _card(
        NOISE_CEILING,
        "Noise ceiling",
        "second_acquisition",
        "A second recording of the same field: the noise of the reference allows no more.",
    )
    reason = "the dataset has no second acquisition of this field"
    return Reference(Job(NOISE_CEILING, card.variants[0], card), scan, reason)


def _control(setting: Setting, lr: LrCache) -> Reference | None:
    """Invented texture: a metric that prefers it to bicubic is no evidence of structure."""
    scorer = setting.scorer
    if scorer.scale == 1:
        return None
    images = {image.id: image for image in setting.images}

    def invented(entry: Entry) -> Pixels8:
        hr = to_eight_bits(scorer.reference(images[entry.image]))
        return controls.random_texture(hr, lr.pixels(entry), scorer.scale, entry.image)

    card = _card(
        CONTROL,
        "Control: invented texture",
        "random_phases",
        "Bicubic with texture as strong as the true detail, nothing of it true.",
    )
    return Reference(Job(CONTROL, card.variants[0], card), invented)


def _card(name: str, title: str, variant: str, summary: str) -> ModelCard:
    return ModelCard(
        name, title, "reference", "", 2026, scales=(), variants=(variant,), trainable=False, summary=summary
    )
