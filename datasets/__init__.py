"""SEM micrographs: where they come from, how they are split, how they become LR/HR pairs.

``open("sem_open")`` gives a :class:`~srbench.datasets.interface.MicrographSet`;
``list_datasets()`` gives the cards.
A new dataset is one new file in this package, see ``registry.register_dataset``.
"""

from srbench.datasets.home import home
from srbench.datasets.interface import (
    DatasetCard,
    DatasetError,
    DatasetMissing,
    DatasetSource,
    Micrograph,
    MicrographSet,
)
from srbench.datasets.registry import dataset_names, is_local, list_datasets, open, register_dataset, source

__all__ = [
    "DatasetCard",
    "DatasetError",
    "DatasetMissing",
    "DatasetSource",
    "Micrograph",
    "MicrographSet",
    "dataset_names",
    "home",
    "is_local",
    "list_datasets",
    "open",
    "register_dataset",
    "source",
]
