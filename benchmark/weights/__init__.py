"""Weights: saved with a header that says what they are, found again, loaded safely, recognised when mistaken.

``load`` puts a file into a network, ``detect`` says which networks a state dict fits, ``find`` lists what was
trained here; :mod:`srbench.weights.published` knows the files other people released. Nothing in a weights
file is ever run.
"""

from srbench.weights.detection import detect
from srbench.weights.finding import TrainedWeights, find, locate
from srbench.weights.grey import GreyConversion
from srbench.weights.header import WeightsHeader, read_header, save
from srbench.weights.loading import LoadedWeights, UnknownNetwork, identify, load
from srbench.weights.reading import DamagedWeights, read_state

__all__ = [
    "DamagedWeights",
    "GreyConversion",
    "LoadedWeights",
    "TrainedWeights",
    "UnknownNetwork",
    "WeightsHeader",
    "detect",
    "find",
    "identify",
    "load",
    "locate",
    "read_header",
    "read_state",
    "save",
]
