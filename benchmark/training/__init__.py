"""Training: the one loop that executes any recipe, and everything a run needs around it.

``train`` is the whole interface; the command line calls nothing else.
"""

from srbench.training.run_folder import run_folder_name
from srbench.training.signals import TrainingInterrupted
from srbench.training.train import TrainResult, train

__all__ = [
    "TrainResult",
    "TrainingInterrupted",
    "run_folder_name",
    "train",
]
