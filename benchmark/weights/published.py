"""Weights that other people published: those on the models' cards, and the ImageNet networks of losses.

What is known of a file decides what can be promised: a hash somebody published is checked; where there is
none, the first copy seen is remembered (:mod:`srbench.weights.pins`), so that a later change is noticed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from srbench.errors import SrbenchError
from srbench.home import weights_folder
from srbench.weights.header import WeightsHeader

if TYPE_CHECKING:
    from srbench.models import ModelCard, ReleasedWeights

IMAGENET = "ImageNet"


@dataclass(frozen=True)
class Published:
    """One published file.

    Attributes:
        file: its name.
        owner: the model it is for; the name of the network for an ImageNet one.
        url: where the file is, or the page that hands it out.
        licence: as the publisher states it.
        sha256: hex digest or its first digits, empty where nobody published one.
        direct: whether ``url`` gives the file itself.
        note: what a user must know.
        network: the configuration it fits; None for an ImageNet network.
    """

    file: str
    owner: str
    url: str
    licence: str
    sha256: str
    direct: bool
    note: str
    network: WeightsHeader | None

    @property
    def path(self) -> Path | None:
        """Where it is on disk, None when it is nowhere."""
        return next((path for path in self.places if path.is_file()), None)

    @property
    def places(self) -> tuple[Path, ...]:
        """Where it is looked for; the first is where it belongs."""
        if self.network is not None:
            return (weights_folder() / self.file,)
        from srbench.pretrained import search_folders

        return tuple(folder / self.file for folder in search_folders())

    @property
    def by_hand(self) -> str:
        """What a person has to do who wants a file that no address gives."""
        return (
            f"{self.file} has no address of its own. Open {self.url} in a browser, take {self.file} from "
            f"there and put it at {self.places[0]}. Then: srbench weights check"
        )


def all_published() -> list[Published]:
    """Every known file: by model, then the ImageNet networks."""
    from srbench import models

    released = [entry for name in models.model_names() for entry in _of_model(name)]
    return [*released, *_imagenet()]


def select(name: str) -> list[Published]:
    """The files behind a name: a file's own, a model's, or an ImageNet network's.

    Raises:
        SrbenchError: nothing of that name is known.
    """
    known = all_published()
    chosen = [entry for entry in known if name in (entry.file, entry.owner)]
    if not chosen:
        raise SrbenchError(_unknown(name, known))
    return chosen


def known_file(name: str) -> Published | None:
    """What is known of a file of that name."""
    return next((entry for entry in all_published() if entry.file == name), None)


def _unknown(name: str, known: list[Published]) -> str:
    from srbench import models

    if name in models.model_names():
        if not models.card(name).trainable:
            return f"{name} needs no weights."
        return (
            f"Nobody published weights of {name} that are known here. Train it: "
            f"srbench train {name} --dataset NAME"
        )
    names = sorted(
        {value for entry in known for value in (entry.file, entry.owner)} | {*models.model_names()}
    )
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"Unknown weights {name!r}{hint}. See: srbench weights list"


def _of_model(name: str) -> Iterator[Published]:
    from srbench import models

    try:
        card = models.card(name)
    except Exception:  # a third-party file may raise anything; its weights are then unknown
        return
    for released in card.released:
        yield _from_card(card, released)


def _from_card(card: ModelCard, released: ReleasedWeights) -> Published:
    return Published(
        released.file,
        card.name,
        released.url,
        released.licence,
        released.sha256,
        released.direct,
        released.note,
        WeightsHeader(card.name, released.variant, released.scale, released.channels),
    )


def _imagenet() -> Iterator[Published]:
    from srbench import pretrained

    for name, entry in pretrained.FILES.items():
        yield Published(
            entry.file,
            name,
            entry.url,
            entry.licence,
            entry.sha256_prefix,
            True,
            f"for {entry.used_for}",
            None,
        )
