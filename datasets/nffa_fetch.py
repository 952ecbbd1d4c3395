"""The tars of an NFFA set from B2SHARE: which record, what they must be, room on the disk, then the download.

What a tar must be is known from srbench's own tables, from the record's list, or from a pin of what came
first; where two of them know it they must agree.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from srbench.datasets.b2share import B2Share, Listing, RecordUnavailable, describe
from srbench.datasets.digests import Content
from srbench.datasets.download import Patience, Remote, download_all
from srbench.datasets.interface import DatasetError, ProgressCallback
from srbench.datasets.nffa_archives import Archive, Inventory, in_words, read_inventory, take
from srbench.datasets.nffa_releases import CLASSES, V2, Source, Tar
from srbench.datasets.partial import part_path
from srbench.datasets.pins import PINS, Pin, add_pin, read_pins
from srbench.datasets.sealed import read_sealed, write_sealed
from srbench.datasets.storage import locked

# The pack holds the frames above their databars, grey and not compressed: 14.5 GB for 13.6 GB of JPEG.
PACK_SHARE = 1.1
_SAMPLE = "Fibres.tar"  # the smallest
_WORKERS = 4
_CHOSEN = "record.json"


@dataclass(frozen=True)
class Order:
    """What to fetch, and where to.

    Attributes:
        name: of the dataset.
        folder: of the dataset.
        sources: records to try in turn.
        prepared: whether the prepared data must fit on the disk as well.
    """

    name: str
    folder: Path
    sources: Sequence[Source]
    prepared: bool

    @property
    def archives(self) -> Path:
        """Where the tars go."""
        return self.folder / "archives"


def fetch_archives(order: Order, repository: B2Share, progress: ProgressCallback) -> Inventory:
    """Download every tar that is not there yet, each proven by a checksum or pinned.

    Raises:
        DatasetError: no record can be had, it is not the one expected, the disk is too small, or some tars
            could not be had; what arrived is kept.
    """
    with locked(order.archives):
        source, listing = _choose(order, repository, progress)
        pins = read_pins(order.folder)
        expected = {name: _expected(name, source, listing, pins) for name in CLASSES}
        _refuse_other_record(order, source, expected)
        already = _imported(order.folder, expected)
        wanted = {name: tar for name, tar in expected.items() if name not in already}
        _check_room(order, wanted)
        write_sealed(order.archives / _CHOSEN, {"record": source.record.ids[0]})
        contents = _Download(order, source, listing, wanted, progress).run(repository.patience)
    tars = {name: order.archives / f"{name}.tar" for name in contents}
    archives = [*already.values(), *take(tars, contents, downloaded=True)]
    return Inventory(tuple(sorted(archives, key=lambda archive: archive.category)), source.record.ids[0])


def _choose(order: Order, repository: B2Share, progress: ProgressCallback) -> tuple[Source, Listing]:
    """The first record that can be had; an interrupted download goes on with its own."""
    begun = _begun(order)
    sources = sorted(order.sources, key=lambda source: source.record.ids[0] != begun)
    failures = []
    for source in sources:
        try:
            listing = repository.find(source.record, _SAMPLE)
            _refuse_incomplete(source, listing)
        except RecordUnavailable as error:
            failures.append(str(error))
            continue
        for failure in failures:
            progress(f"{failure}\nInstead: {describe(source.record).rstrip(',')}.")
        return source, listing
    raise DatasetError(
        "\n".join(failures) + f"\nWhat arrived earlier is kept. With a browser, get the ten tars ({_SAMPLE}, "
        f"...) into one folder, then type: srbench data import {order.name} --from THAT_FOLDER"
    )


def _begun(order: Order) -> str:
    raw = read_sealed(order.archives / _CHOSEN, f"Delete {order.archives} and fetch {order.name} again.")
    return str((raw or {}).get("record", ""))


def _refuse_incomplete(source: Source, listing: Listing) -> None:
    missing = [f"{name}.tar" for name in CLASSES if listing.files and f"{name}.tar" not in listing.files]
    if missing:
        held = ", ".join(sorted(listing.files))
        raise RecordUnavailable(f"{describe(source.record)} has no {', '.join(missing)}; it holds: {held}.")


def _expected(category: str, source: Source, listing: Listing, pins: Mapping[str, Pin]) -> Tar:
    """What is known of a tar.

    Raises:
        DatasetError: the record lists something else than srbench knows it to hold.
    """
    listed = listing.files.get(f"{category}.tar")
    known = source.release.tars[category] if source.release else None
    pin = pins.get(pin_key(source, category))
    for said in (known, pin):
        if listed is not None and said is not None and _differ(said, listed.md5, listed.size):
            raise DatasetError(
                f"{describe(source.record)} lists {category}.tar with md5 {listed.md5} and {listed.size} "
                f"bytes; srbench knows it with md5 {said.md5} and {said.size} bytes. The record has changed, "
                "or something stands between you and it. Nothing was downloaded. If the change is meant, "
                "download the tars with a browser and import them: srbench data import."
            )
    if known is not None:
        return Tar(known.md5, known.size or (listed.size if listed else None), known.sha256)
    if pin is not None:
        return Tar(pin.md5, pin.size, pin.sha256)
    return Tar(listed.md5, listed.size) if listed else Tar("")


def _differ(known: Tar | Pin, md5: str, size: int | None) -> bool:
    return bool(md5 and md5 != known.md5) or (None not in (size, known.size) and size != known.size)


def pin_key(source: Source, category: str) -> str:
    """The name a tar is pinned under: another record may hold another tar of that name."""
    return f"{source.record.ids[0]}/{category}.tar"


def _refuse_other_record(order: Order, source: Source, expected: Mapping[str, Tar]) -> None:
    """Tars of another record must not count as this one's where no checksum would tell them apart."""
    begun, chosen = _begun(order), source.record.ids[0]
    unproven = [name for name, tar in expected.items() if not tar.md5]
    if begun and begun != chosen and unproven:
        raise DatasetError(
            f"{order.archives} holds tars of record {begun}, and record {chosen} has no checksums to tell "
            f"its own from them. To fetch {chosen}, delete that folder first."
        )


def _imported(folder: Path, expected: Mapping[str, Tar]) -> dict[str, Archive]:
    """Tars that the user has elsewhere and that are the ones wanted."""
    inventory = read_inventory(folder)
    return {
        archive.category: archive
        for archive in (inventory.archives if inventory else ())
        if not archive.downloaded and archive.unchanged and archive.md5 == expected[archive.category].md5
    }


def _check_room(order: Order, wanted: Mapping[str, Tar]) -> None:
    """Refuse to begin what cannot end.

    Raises:
        DatasetError: the disk is too small.
    """
    sizes = {name: _size(name, tar) for name, tar in wanted.items()}
    missing = sum(max(size - _there(order.archives / f"{name}.tar"), 0) for name, size in sizes.items())
    pack = round(PACK_SHARE * sum(sizes.values())) if order.prepared else 0
    free = shutil.disk_usage(order.archives).free
    if missing + pack <= free:
        return
    both = f" and about {in_words(pack)} for the prepared data" if pack else ""
    alone = (
        f" The download alone would fit: srbench data fetch {order.name} --no-prepare."
        if pack and missing <= free
        else ""
    )
    raise DatasetError(
        f"The disk of {order.folder} has {in_words(free)} free; {in_words(missing)} are needed for the tars"
        f"{both}. Nothing was downloaded. Free some space, or set SRBENCH_HOME to a folder on a larger "
        f"disk.{alone}"
    )


def _there(path: Path) -> int:
    return sum(file.stat().st_size for file in (path, part_path(path)) if file.exists())


@dataclass
class _Download:
    """The download of the tars that are wanted, and what was seen of each."""

    order: Order
    source: Source
    listing: Listing
    wanted: Mapping[str, Tar]
    progress: ProgressCallback
    contents: dict[str, Content] = field(default_factory=dict)

    def run(self, patience: Patience) -> dict[str, Content]:
        """Everything; what arrives before a failure is pinned all the same."""
        self._introduce()
        # The largest first: what is begun last should not be what takes longest.
        ordered = sorted(self.wanted, key=lambda name: -_size(name, self.wanted[name]))
        try:
            download_all(
                [self._remote(name) for name in ordered],
                self.progress,
                workers=_WORKERS,
                patience=patience,
                arrived=self._arrived,
            )
        finally:
            self._tell_pinned()
        return self.contents

    def _remote(self, name: str) -> Remote:
        tar, file = self.wanted[name], f"{name}.tar"
        return Remote(self.listing.url(file), self.order.archives / file, tar.sha256, tar.md5, tar.size)

    def _introduce(self) -> None:
        others = sorted(set(self.listing.files) - {f"{name}.tar" for name in CLASSES})
        if others:
            self.progress(f"Left alone, being no tars of the ten classes: {', '.join(others)}.")
        record = self.source.record
        self.progress(f'From record {record.ids[0]}, "{record.title}", to {self.order.archives}')

    def _arrived(self, remote: Remote, content: Content) -> None:
        name = remote.path.stem
        self.contents[name] = content
        if not self.wanted[name].md5:
            add_pin(self.order.folder, pin_key(self.source, name), content, remote.url)

    def _tell_pinned(self) -> None:
        pinned = [f"{name}.tar" for name in self.contents if not self.wanted[name].md5]
        if pinned:
            self.progress(
                "This record publishes no checksum that srbench knows; pinned what came: "
                f"{', '.join(sorted(pinned))} (in {self.order.folder / PINS}). A later download, or a "
                "change on the disk, is compared with it."
            )


def _size(category: str, tar: Tar) -> int:
    """Bytes of a tar; those of version 2.0 where nobody says."""
    return tar.size or V2.tars[category].size or 0
