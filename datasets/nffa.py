"""The NFFA-EUROPE SEM sets: ten kinds of specimen in ten tars, in the releases that B2SHARE holds.

``sem``                the set the authors of CSM-SR link; where that record cannot be had, version 2.0 of the
                       100% set, which is then said
``sem_100``            the 100% set, version 2.0 (or the release before it, imported or by ``--record``)
``sem_majority``       the majority set
``sem_hierarchical``   the set with subclasses; its record is not known here, so it is imported, or fetched
                       from a record that the user names
"""

from __future__ import annotations

from srbench.datasets.interface import DatasetCard, DatasetError
from srbench.datasets.nffa_fetch import Inventory
from srbench.datasets.nffa_releases import CSM_SR, MAJORITY, OLDER_RECORD, V2, V2_RECORD, release_of
from srbench.datasets.nffa_source import CITATION, LICENCE, TERMS, NffaSource
from srbench.datasets.registry import register_dataset

_PAGES = "https://b2share.eudat.eu/records/"


@register_dataset
class Sem(NffaSource):
    """The set of CSM-SR; see the module."""

    card = DatasetCard(
        name="sem",
        title="NFFA-EUROPE SEM",
        kind="real",
        summary=(
            "about 20,000 micrographs of ten kinds of specimen: the record that the authors of CSM-SR link, "
            "else version 2.0 of the 100% set; the md5 of the tars says which it is"
        ),
        licence=LICENCE,
        citation=CITATION,
        obtain=("fetch", "import"),
        urls=(_PAGES + CSM_SR.record.ids[0], _PAGES + V2_RECORD.record.ids[0]),
        terms=TERMS,
        download_bytes=V2.size,
    )
    sources = (CSM_SR, V2_RECORD)
    accepted = (CSM_SR, V2_RECORD, OLDER_RECORD)


@register_dataset
class Sem100(NffaSource):
    """The 100% set."""

    card = DatasetCard(
        name="sem_100",
        title="NFFA-EUROPE SEM, 100% set",
        kind="real",
        summary="21,169 micrographs of ten kinds of specimen: version 2.0",
        licence=LICENCE,
        citation=CITATION,
        obtain=("fetch", "import"),
        urls=(_PAGES + V2_RECORD.record.ids[0], _PAGES + OLDER_RECORD.record.ids[0]),
        terms=TERMS,
        download_bytes=V2.size,
    )
    sources = (V2_RECORD,)
    accepted = (V2_RECORD, OLDER_RECORD)

    def refuse_other_set(self, inventory: Inventory) -> None:
        """Refuse tars of no known release of this set."""
        foreign = [tar.path.name for tar in inventory.archives if release_of(tar.category, tar.md5) is None]
        if foreign:
            raise DatasetError(
                f"Of no release of the 100% set, by their md5: {', '.join(foreign)}. Nothing was changed. "
                "Tars of any release can be imported as sem: srbench data import sem --from DIR"
            )


@register_dataset
class SemMajority(NffaSource):
    """The majority set."""

    card = DatasetCard(
        name="sem_majority",
        title="NFFA-EUROPE SEM, majority set",
        kind="real",
        summary="25,537 micrographs of ten kinds of specimen (checksums unknown: pinned)",
        licence=LICENCE,
        citation=CITATION,
        obtain=("fetch", "import"),
        urls=(_PAGES + MAJORITY.record.ids[0],),
        terms=TERMS,
    )
    sources = (MAJORITY,)
    accepted = (MAJORITY,)

    def refuse_other_set(self, inventory: Inventory) -> None:
        """Refuse tars of the 100% set."""
        _refuse_hundred(self.card.name, inventory)


@register_dataset
class SemHierarchical(NffaSource):
    """The set with subclasses."""

    card = DatasetCard(
        name="sem_hierarchical",
        title="NFFA-EUROPE SEM, hierarchical set",
        kind="real",
        summary="micrographs with subclasses (number not known here); fetched from a record you name",
        licence=LICENCE,
        citation=CITATION,
        obtain=("import",),
        terms=TERMS,
    )

    def refuse_other_set(self, inventory: Inventory) -> None:
        """Refuse tars of the 100% set."""
        _refuse_hundred(self.card.name, inventory)

    def obtain(self) -> str:
        """What to type to get it."""
        name = self.card.name
        return (
            "The paper describes a hierarchical set, but which record of B2SHARE holds it is not known to "
            f"srbench. If you know it: srbench data fetch {name} --record ID. With the tars at hand: srbench "
            f"data import {name} --from DIR"
        )


def _refuse_hundred(name: str, inventory: Inventory) -> None:
    """Tars of the 100% set under another set's name would make numbers that look comparable and are not."""
    found = {tar.path.name: release_of(tar.category, tar.md5) for tar in inventory.archives}
    known = {file: release.title for file, release in found.items() if release is not None}
    if known:
        file, title = next(iter(known.items()))
        raise DatasetError(
            f'{file} is of the "{title}" by its md5, not of {name}. Nothing was changed. Import it as '
            "sem_100 or sem."
        )
