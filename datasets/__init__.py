"""SEM micrographs: where they come from, how they are split, how they become LR/HR pairs.

``open("sem_open")`` gives a :class:`~srbench.datasets.base.MicrographSet`;
``list_datasets()`` gives the cards.
A new dataset is one new file in this package, see ``registry.register_dataset``.
"""

from srbench.datasets.base import DatasetCard, DatasetSource, Micrograph, MicrographSet, ReadingOptions
from srbench.datasets.registry import (
    dataset_names,
    default_degradation,
    full_name,
    is_local,
    list_datasets,
    open,
    register_dataset,
    source,
)
from srbench.utils.errors import DatasetError, DatasetMissing
from srbench.utils.paths import home

__all__ = [
    "DatasetCard",
    "DatasetError",
    "DatasetMissing",
    "DatasetSource",
    "Micrograph",
    "MicrographSet",
    "ReadingOptions",
    "dataset_names",
    "default_degradation",
    "full_name",
    "home",
    "is_local",
    "list_datasets",
    "open",
    "register_dataset",
    "source",
]
