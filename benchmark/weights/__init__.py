"""Weights: saved with a header that says what they are, found again, loaded safely, recognised when mistaken.

``load`` puts a file into a network, ``detect`` says which networks a state dict fits, ``find`` lists what was
trained here or is shipped; :mod:`srbench.weights.published` knows the files other people released. Nothing
in a weights file is ever run.
"""

from srbench.weights.detect import detect
from srbench.weights.find import ShippedWeights, TrainedWeights, candidates, find, left_out, locate, shipped
from srbench.weights.io import Ancestor, WeightsHeader, read_header, read_state, save
from srbench.weights.load import LoadedWeights, UnknownNetwork, identify, load
from srbench.weights.rgb_to_grey import GreyConversion
from srbench.weights.torch_files import DamagedWeights, UnsafeWeights

__all__ = [
    "Ancestor",
    "DamagedWeights",
    "GreyConversion",
    "LoadedWeights",
    "ShippedWeights",
    "TrainedWeights",
    "UnknownNetwork",
    "UnsafeWeights",
    "WeightsHeader",
    "candidates",
    "detect",
    "find",
    "identify",
    "left_out",
    "load",
    "locate",
    "read_header",
    "read_state",
    "save",
    "shipped",
]
