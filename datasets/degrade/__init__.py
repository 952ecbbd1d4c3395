"""How HR becomes LR: named, versioned, deterministic degradations, and the 8-bit rounding that follows them.

A degradation that changes its numbers gets a new version, so that scores of two versions never mix.
"""

from srbench.datasets.degrade.interface import Degradation, Noise, Place, noise_key
from srbench.datasets.degrade.registry import DegradationCard, cards, get, names
from srbench.datasets.degrade.rounding import modcrop, quantise

__all__ = [
    "Degradation",
    "DegradationCard",
    "Noise",
    "Place",
    "cards",
    "get",
    "modcrop",
    "names",
    "noise_key",
    "quantise",
]
