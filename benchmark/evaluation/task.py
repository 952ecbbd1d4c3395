"""Whether a degradation leaves something to restore at a magnification; else it is refused before work."""

from __future__ import annotations

import torch

from srbench.datasets import DatasetError, degrade
from srbench.datasets.degrade import Degradation, quantise


def check_task(degradation: Degradation, scale: int) -> None:
    """Refuse a degradation that is not defined at this scale, or that gives the HR image itself.

    Raises:
        DatasetError: says what to type instead.
    """
    if not _is_defined(degradation, scale):
        offered = " or ".join(f"--scale {known}" for known in degradation.scales or ())
        raise DatasetError(
            f"{degradation.name} is not defined at scale {scale}. Type {offered}, or {_instead(scale)}."
        )
    if not _changes_images(degradation, scale):
        raise DatasetError(
            f"{degradation.id} at scale {scale} gives the HR image itself as LR: nothing is to be restored. "
            f"Type a larger --scale, or {_instead(scale)}."
        )


def _instead(scale: int) -> str:
    known = map(degrade.get, degrade.names())
    fit = [one.name for one in known if _is_defined(one, scale) and _changes_images(one, scale)]
    return f"--degradation with one of: {', '.join(fit)}" if fit else "choose another degradation"


def _is_defined(degradation: Degradation, scale: int) -> bool:
    return degradation.scales is None or scale in degradation.scales


def _changes_images(degradation: Degradation, scale: int) -> bool:
    """Whether the 8-bit LR is anything but HR; without magnification and chance a restless image is tried."""
    if scale > 1 or degradation.stochastic:
        return True
    probe = (torch.arange(64, dtype=torch.float64) * 37 % 64 * 4 / 255).reshape(1, 1, 8, 8)
    return not torch.equal(quantise(degradation(probe, scale)), quantise(probe))
