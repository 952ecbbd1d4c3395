"""Names to datasets: listing stays light, near misses are offered, other distributions can add."""

import copy
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest

from srbench.datasets import DatasetError, dataset_names, list_datasets, registry, source
from srbench.datasets.sources.sem_open import SemOpen


def test_names_and_cards():
    assert {"folder", "sem_open"} <= set(dataset_names())
    cards = {card.name: card for card in list_datasets()}
    assert cards["sem_open"].module == "srbench.datasets.sources.sem_open"
    assert all(card.title and card.summary and card.licence for card in cards.values())


@pytest.mark.slow
def test_listing_imports_nothing_heavy(tmp_path):
    code = (
        "import sys, srbench.datasets as d; d.list_datasets()\n"
        "for name in d.dataset_names(): d.source(name).state()\n"
        "print(sorted({'torch', 'cv2', 'scipy', 'pandas', 'torchvision', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.strip() == "[]"


def test_unknown_names_get_the_near_miss():
    with pytest.raises(DatasetError, match=r"'sem_opn' \(did you mean 'sem_open'\?\).*folder:/path"):
        source("sem_opn")


def test_a_name_belongs_to_one_file(monkeypatch):
    class Other(SemOpen):
        card = replace(SemOpen.card)

    Other.__module__ = "elsewhere"
    with pytest.raises(
        DatasetError, match=r"registered twice: by srbench\.datasets\.sources\.sem_open and by elsewhere"
    ):
        registry.register_dataset(Other)


@pytest.mark.slow
def test_entry_points_of_other_distributions_are_loaded(monkeypatch, tmp_path):
    module = tmp_path / "their_dataset.py"
    module.write_text(
        "from dataclasses import replace\n"
        "from srbench.datasets import register_dataset\n"
        "from srbench.datasets.sources.folder import Folder\n\n"
        "@register_dataset\n"
        "class Theirs(Folder):\n"
        "    card = replace(Folder.card, name='theirs', module='')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    point = EntryPoint("theirs", "their_dataset", "srbench.datasets")
    monkeypatch.setattr("srbench.utils.registry.entry_points", lambda group: [point])
    fresh = copy.deepcopy(registry.DATASETS)
    fresh._index = None
    monkeypatch.setattr(registry, "DATASETS", fresh)
    assert "theirs" in dataset_names()
    assert source("theirs:/x").card.module == "their_dataset"
