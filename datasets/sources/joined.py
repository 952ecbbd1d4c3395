"""``joined:sem_open+sem_synthetic``: data sets put together, to train one network on all of them.

Each image is ``name/id``, each group ``name/group``; splits, pixel sizes, masks and truths stay those of the
members. LR that a member recorded beside HR is not offered: LR is made from HR, alike for all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from srbench.datasets import registry
from srbench.datasets.base import (
    DatasetCard,
    DatasetSource,
    DatasetState,
    Micrograph,
    MicrographSet,
)
from srbench.datasets.registry import register_dataset
from srbench.utils.errors import DatasetError, DatasetMissing
from srbench.utils.image import Pixels

MARK = "+"


class JoinedSet(MicrographSet):
    """Opened members as one set.

    Args:
        name: the one spelling.
        card: of the whole.
        members: the sets by name.

    Raises:
        DatasetError: some are grey and some in colour.
    """

    def __init__(self, name: str, card: DatasetCard, members: Mapping[str, MicrographSet]) -> None:
        channels = {member: micrographs.card.channels for member, micrographs in members.items()}
        if len(set(channels.values())) > 1:
            listed = ", ".join(f"{member}: {count}" for member, count in channels.items())
            raise DatasetError(f"Sets that are joined are all grey or all in colour; channels are {listed}.")
        kinds = {micrographs.card.kind for micrographs in members.values()}
        self.name = name
        said = {
            entry: "; ".join(
                f"{member}: {text}"
                for member, opened in members.items()
                if (text := getattr(opened.card, entry))
            )
            for entry in ("licence", "terms", "citation")
        }
        self.card = replace(
            card,
            # With a recording among them none may be taken for free of noise.
            kind=kinds.pop() if len(kinds) == 1 else "real",
            channels=next(iter(channels.values())),
            licence=said["licence"],
            terms=said["terms"],
            citation=said["citation"],
        )
        self.members = dict(members)
        owners = [(member, image) for member, micrographs in members.items() for image in micrographs.images]
        self._owners = {f"{member}/{image.id}": (members[member], image) for member, image in owners}
        renamed = (
            replace(image, id=f"{member}/{image.id}", group=f"{member}/{image.group}")
            for member, image in owners
        )
        self.images = tuple(sorted(renamed, key=lambda image: image.id))
        self.skipped = _prefixed({member: opened.skipped for member, opened in members.items()})
        self.notes = _prefixed({member: opened.notes for member, opened in members.items()})
        self.has_splits = all(opened.has_splits for opened in members.values())

    @property
    def fingerprint(self) -> str:
        """sha256 over the names and fingerprints of the members."""
        rows = [[member, opened.fingerprint] for member, opened in self.members.items()]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def pixels(self, image_id: str) -> Pixels:
        """HR pixels, of a member with recorded LR the reference."""
        owner, image = self._owner(image_id)
        return owner.pixels(image.id)

    def truth(self, image_id: str) -> Mapping[str, Any] | None:
        """Known geometry, or None."""
        owner, image = self._owner(image_id)
        return owner.truth(image.id)

    def acquisition(self, image_id: str, index: int) -> Pixels | None:
        """A noisy acquisition of the same field, or None."""
        owner, image = self._owner(image_id)
        return owner.acquisition(image.id, index)

    def mask(self, image_id: str) -> Pixels | None:
        """Labels by hand, or None."""
        owner, image = self._owner(image_id)
        return owner.mask(image.id)

    def hr_paths(self) -> tuple[Path, ...]:
        """Those of all members."""
        return tuple(path for opened in self.members.values() for path in opened.hr_paths())

    def _owner(self, image_id: str) -> tuple[MicrographSet, Micrograph]:
        if image_id not in self._owners:
            raise DatasetError(f"{self.name} has no image {image_id!r}; its images list all ids.")
        return self._owners[image_id]


def _prefixed(texts: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {f"{member}/{name}": text for member, each in texts.items() for name, text in each.items()}


@register_dataset
class Joined(DatasetSource):
    """Data sets joined by ``+``; see the module."""

    card = DatasetCard(
        name="joined",
        title="Joined sets",
        kind="real",
        summary="data sets put together for training: joined:sem_open+sem_synthetic",
        licence="those of its members",
        obtain=("path",),
    )

    @property
    def full_name(self) -> str:
        """The members in alphabetical order, each in its one spelling, none twice."""
        return f"{self.card.name}:{MARK.join(self.members)}" if self.argument else "joined"

    @property
    def members(self) -> tuple[str, ...]:
        """The sets that are joined, in alphabetical order."""
        return self._names(self.argument)

    def open(self, argument: str | None = None) -> JoinedSet:
        """Open all members.

        Raises:
            DatasetError: fewer than two are named, one is unknown, or grey and colour are mixed.
            DatasetMissing: one is not on disk; says what to type.
        """
        names = self._names(argument)
        members = {name: registry.open(name) for name in names}
        return JoinedSet(f"{self.card.name}:{MARK.join(names)}", self.card, members)

    def state(self) -> DatasetState:
        """Ready where all members are."""
        if not self.argument:
            return DatasetState("absent", next_step="Name the members: joined:sem_open+sem_synthetic")
        states = [registry.source(name).state() for name in self._names(self.argument)]
        lacking = next((state for state in states if state.state not in ("ready", "embedded")), None)
        images, size = (sum(getattr(state, part) for state in states) for part in ("images", "bytes"))
        return lacking or DatasetState("ready", images, size)

    def is_local(self, argument: str | None = None) -> bool:
        """Whether opening all members is."""
        return all(registry.is_local(name) for name in self._names(argument))

    def _names(self, argument: str | None) -> tuple[str, ...]:
        named = [name.strip() for name in (argument or "").split(MARK)]
        names = sorted({registry.source(name).full_name for name in named if name})
        if len(names) < 2:
            raise DatasetMissing(
                f"Name two sets or more, with {MARK} between them: joined:sem_open+sem_synthetic. Found "
                f"{argument or 'none'}."
            )
        if any(registry.source(name).card.name == self.card.name for name in names):
            raise DatasetError(f"Joined sets are not joined again: name all members of {argument}.")
        return tuple(names)
