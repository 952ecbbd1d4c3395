"""The NFFA-EUROPE SEM sets: ten kinds of specimen in ten tars, in the releases that B2SHARE holds.

``sem`` is the set the authors of CSM-SR link; where that record cannot be had, version 2.0 of the 100% set,
and the user is told. ``sem_100`` is the 100% set, version 2.0 (or the release before it, imported or by
``--record``), ``sem_majority`` the majority set. The record of ``sem_hierarchical``, the set with subclasses,
is not known here: it is imported, or fetched from a record that the user names.
"""

from __future__ import annotations

from typing import Literal

from srbench.datasets.interface import DatasetCard, DatasetError
from srbench.datasets.nffa_fetch import Inventory
from srbench.datasets.nffa_releases import CSM_SR, MAJORITY, OLDER_RECORD, V2, V2_RECORD, Source, release_of
from srbench.datasets.nffa_source import CITATION, LICENCE, TERMS, NffaSource
from srbench.datasets.registry import register_dataset


def _card(
    name: str,
    title: str,
    summary: str,
    *records: Source,
    obtain: tuple[Literal["fetch", "import"], ...] = ("fetch", "import"),
    download_bytes: int | None = None,
) -> DatasetCard:
    return DatasetCard(
        name=name,
        title=f"NFFA-EUROPE SEM{title}",
        kind="real",
        summary=summary,
        licence=LICENCE,
        citation=CITATION,
        obtain=obtain,
        urls=tuple(f"https://b2share.eudat.eu/records/{source.record.ids[0]}" for source in records),
        terms=TERMS,
        download_bytes=download_bytes,
    )


@register_dataset
class Sem(NffaSource):
    """The set of CSM-SR; see the module."""

    card = _card(
        "sem",
        "",
        "about 20,000 micrographs of ten kinds of specimen: the record that the authors of CSM-SR link, "
        "else version 2.0 of the 100% set; the md5 of the tars says which it is",
        CSM_SR,
        V2_RECORD,
        download_bytes=V2.size,
    )
    sources = (CSM_SR, V2_RECORD)
    accepted = (CSM_SR, V2_RECORD, OLDER_RECORD)


@register_dataset
class Sem100(NffaSource):
    """The 100% set."""

    card = _card(
        "sem_100",
        ", 100% set",
        "21,169 micrographs of ten kinds of specimen: version 2.0",
        V2_RECORD,
        OLDER_RECORD,
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


class _OtherSet(NffaSource):
    """A set other than the 100% set, whose tars have the same names."""

    def refuse_other_set(self, inventory: Inventory) -> None:
        """Refuse tars of the 100% set: the numbers would look comparable with this set's and are not."""
        for tar in inventory.archives:
            release = release_of(tar.category, tar.md5)
            if release is not None:
                raise DatasetError(
                    f'{tar.path.name} is of the "{release.title}" by its md5, not of {self.card.name}. '
                    "Nothing was changed. Import it as sem_100 or sem."
                )


@register_dataset
class SemMajority(_OtherSet):
    """The majority set."""

    card = _card(
        "sem_majority",
        ", majority set",
        "25,537 micrographs of ten kinds of specimen (checksums unknown: pinned)",
        MAJORITY,
    )
    sources = (MAJORITY,)
    accepted = (MAJORITY,)


@register_dataset
class SemHierarchical(_OtherSet):
    """The set with subclasses."""

    card = _card(
        "sem_hierarchical",
        ", hierarchical set",
        "micrographs with subclasses (number not known here); fetched from a record you name",
        obtain=("import",),
    )

    def obtain(self) -> str:
        """What to type to get it."""
        name = self.card.name
        return (
            "The paper describes a hierarchical set, but which record of B2SHARE holds it is not known to "
            f"srbench. If you know it: srbench data fetch {name} --record ID. With the tars at hand: srbench "
            f"data import {name} --from DIR"
        )
