"""How HR becomes LR: named, versioned, deterministic degradations, and the 8-bit rounding that follows them.

A degradation that changes its numbers gets a new version, so that scores of two versions never mix.
"""

from srbench.datasets.degrade.base import (
    Degradation,
    LrPosition,
    Noise,
    Setting,
    modcrop,
    noise_key,
    quantise,
)
from srbench.datasets.degrade.registry import DegradationCard, cards, check_task, get, names

__all__ = [
    "Degradation",
    "DegradationCard",
    "LrPosition",
    "Noise",
    "Setting",
    "cards",
    "check_task",
    "get",
    "modcrop",
    "names",
    "noise_key",
    "quantise",
]
