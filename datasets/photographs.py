"""Photograph sets: fetched or imported in any common layout, packed in colour; see ``photo_sets`` for which.

They are here to compare with published tables, never to stand for micrographs.

The published hashes are those of archives, as far as there are any; hashes of the true pixels are not known.
A pack therefore tells what was seen: its manifest has the fingerprint of the pixels, where they came from
and, in its version, whether the number of images or their cut differs from the published set.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from srbench.datasets.decode import decode_bytes
from srbench.datasets.digests import digest_of
from srbench.datasets.download import Patience, Remote, download_all
from srbench.datasets.home import home
from srbench.datasets.image_files import image_names, read_images
from srbench.datasets.imagefile import BadImage
from srbench.datasets.interface import (
    DatasetError,
    ImportReport,
    Micrograph,
    ProgressCallback,
    ProgressEvent,
    Split,
    silent,
)
from srbench.datasets.pack_writer import PackWriter, packing
from srbench.datasets.packed_source import PackedSource
from srbench.datasets.photo_layout import Chosen, choose
from srbench.datasets.storage import locked, pixel_hash

URL_VARIABLE = "SRBENCH_PHOTO_URL"


@dataclass(frozen=True)
class PublishedArchive:
    """An archive as its publisher offers it: address, and what is known of its content."""

    url: str
    md5: str
    size: int | None = None

    @property
    def file(self) -> str:
        """Its file name."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class PhotoSet:
    """What tells one set of photographs from another.

    Attributes:
        count: images of the published set.
        split: split of an image by its id.
        archives: where it is published; several archives make one set.
        folders: what folders that hold it are called, lower case without punctuation.
        named: whether an id is one of the set's; None takes all.
        names: how they are called, for the message.
        shared: whether its archive holds other sets too, and is kept after packing.
    """

    count: int
    split: Callable[[str], Split]
    archives: tuple[PublishedArchive, ...] = ()
    folders: tuple[str, ...] = ()
    named: Callable[[str], bool] | None = None
    names: str = ""
    shared: bool = False


class PhotographSource(PackedSource):
    """Base of the photograph sets.

    Attributes:
        photos: what the set is.
        neighbours: folder names of the other sets, which may lie in the same archive.
    """

    photos: PhotoSet
    neighbours: tuple[str, ...] = ()

    def __init__(self, base_url: str | None = None, patience: Patience | None = None) -> None:
        """Prepare; nothing is read.

        Args:
            base_url: a mirror that serves the archives under their file names. Also ``$SRBENCH_PHOTO_URL``.
            patience: how often and how long a download is tried.
        """
        self.base_url = base_url or os.environ.get(URL_VARIABLE)
        self.patience = patience or Patience()

    @property
    def downloads(self) -> Path:
        """Where archives wait; one that holds several sets is fetched once for all of them."""
        return home() / "cache" / "photographs" if self.photos.shared else super().downloads

    def import_from(self, folder: Path, progress: ProgressCallback = silent) -> ImportReport:
        """Take the set from a folder (images or the published archives) or from an archive.

        Raises:
            DatasetError: nothing of the set is there, or an archive is damaged. Nothing has changed then.
        """
        containers = self._containers(folder)
        return self._pack(containers, self._seen(containers, progress), progress)

    def fetch(self, progress: ProgressCallback = silent) -> ImportReport:
        """Download the published archives and pack them; goes on where an earlier call stopped.

        Raises:
            DatasetError: not offered for download, an archive cannot be had, or it is another file.
        """
        if not self.photos.archives:
            return super().fetch(progress)
        if self.intact():
            return ImportReport(len(self.open()), {}, self.folder)
        remotes = [
            Remote(self._url(archive), self.downloads / archive.file, md5=archive.md5, size=archive.size)
            for archive in self.photos.archives
        ]
        with locked(self.downloads):
            download_all(remotes, progress, patience=self.patience)
            known = "; ".join(f"{archive.url} (md5 {archive.md5})" for archive in self.photos.archives)
            report = self._pack([remote.path for remote in remotes], known, progress)
        if self.photos.shared:
            progress(f"{remotes[0].path} is kept: it holds other sets too. Delete it when done.")
        else:
            shutil.rmtree(self.downloads, ignore_errors=True)
        return report

    def _url(self, archive: PublishedArchive) -> str:
        return f"{self.base_url.rstrip('/')}/{archive.file}" if self.base_url else archive.url

    def _containers(self, path: Path) -> list[Path]:
        """The folder or archive to read, or the published archives that lie in the folder."""
        if not path.exists():
            raise DatasetError(
                f"{path} is not there. Give the folder or archive that holds {self.card.name}."
            )
        if not path.is_dir() or self._chosen(path, {}).files:
            return [path]
        archives = [path / archive.file for archive in self.photos.archives]
        present = [archive for archive in archives if archive.is_file()]
        if not present:
            raise self._nothing(path)
        return present

    def _nothing(self, path: Path) -> DatasetError:
        seen = image_names(path, {})
        found = f"{len(seen)} image files such as {', '.join(seen[:3])}" if seen else "no image files"
        wanted = f", called {self.photos.names}" if self.photos.names else ""
        archives = ", ".join(archive.file for archive in self.photos.archives)
        offered = f" or the archives {archives}" if archives else ""
        return DatasetError(
            f"Nothing of {self.card.name} is in {path}: expected {self.photos.count} HR images{wanted}"
            f"{offered}, found {found}. {self.obtain}"
        )

    def _chosen(self, container: Path, refused: dict[str, str]) -> Chosen:
        chosen = choose(image_names(container, refused), self.photos.folders, self.neighbours)
        named = self.photos.named
        if named is None:
            return chosen
        files = {name: path for name, path in chosen.files.items() if named(name)}
        why = f"not called like an image of {self.card.name}: {self.photos.names}"
        foreign = {path: why for name, path in chosen.files.items() if not named(name)}
        return Chosen(files, chosen.cut, {**chosen.skipped, **foreign})

    def _seen(self, containers: Sequence[Path], progress: ProgressCallback) -> str:
        """Where the files come from: an archive by its hash, compared with the published one."""
        told = []
        published = {archive.file: archive.md5 for archive in self.photos.archives}
        for container in containers:
            if container.is_dir():
                told.append("a folder")
                continue
            md5 = digest_of(container).content.md5
            told.append(f"{container.name} (md5 {md5})")
            if published and md5 not in published.values():
                expected = published.get(container.name, ", ".join(published.values()))
                progress(f"{container.name} is not the published file: md5 {md5}, published {expected}.")
        return "; ".join(told)

    def _pack(self, containers: Sequence[Path], source: str, progress: ProgressCallback) -> ImportReport:
        skipped: dict[str, str] = {}
        chosen = [self._chosen(container, skipped) for container in containers]
        for part in chosen:
            skipped.update(part.skipped)
        found = sum(len(part.files) for part in chosen)
        if not found:
            raise self._nothing(containers[0])
        job = _Job(self, skipped, found, progress)
        cut = max(part.cut for part in chosen)
        with packing(
            self.folder,
            name=self.card.name,
            version=self.rules,
            licence=self.card.licence,
            terms=self.card.terms,
            source=source,
        ) as writer:
            for container, part in zip(containers, chosen, strict=True):
                job.take(container, part.files, writer)
            if not job.images:
                raise _all_bad(self.card.name, skipped)
            differing = list(_differences(len(job.images), self.photos.count, cut))
            writer.definition = replace(writer.definition, version=", ".join([self.rules, *differing]))
            notes = {**job.notes, **({self.card.name: "; ".join(differing)} if differing else {})}
            writer.finish(job.images, skipped=skipped, notes=notes)
        if differing:
            progress(
                f"{self.card.name}: {'; '.join(differing)}. Scores on it do not compare with published "
                "tables of the whole set."
            )
        return ImportReport(len(job.images), skipped, self.folder)


def _differences(images: int, expected: int, cut: int) -> Iterator[str]:
    """How this copy differs from the published set."""
    if images != expected:
        yield f"{images} instead of {expected} images"
    if cut > 1:
        yield f"images cut to multiples of {cut}"


def _all_bad(name: str, skipped: Mapping[str, str]) -> DatasetError:
    listed = "\n".join(f"  {file}: {reason}" for file, reason in sorted(skipped.items())[:10])
    return DatasetError(f"No image of {name} can be used:\n{listed}\nNothing was changed.")


class _Job:
    """The photographs taken so far."""

    def __init__(
        self, source: PhotographSource, skipped: dict[str, str], total: int, progress: ProgressCallback
    ) -> None:
        self.source = source
        self.skipped = skipped
        self.total = total
        self.progress = progress
        self.images: list[Micrograph] = []
        self.notes: dict[str, str] = {}
        self._by_hash: dict[str, str] = {}
        self._ids: set[str] = set()
        self._done = 0

    def take(self, container: Path, files: Mapping[str, str], writer: PackWriter) -> None:
        """Decode and write the chosen files of one container."""
        ids = {path: image_id for image_id, path in files.items()}
        for path, data in read_images(container, ids):
            reason = self._take(ids[path], path, data, writer)
            if reason:
                self.skipped[path] = reason
            self._done += 1
            self.progress(ProgressEvent("import", self._done, self.total, "images"))

    def _take(self, image_id: str, path: str, data: bytes | Exception, writer: PackWriter) -> str:
        """Why the file is not taken; empty when it is."""
        if isinstance(data, Exception):
            return str(data)
        if image_id in self._ids:
            return f"the same name as another image: {image_id}"
        try:
            decoded = decode_bytes(data, colour=True)
        except BadImage as error:
            return str(error)
        twin = self._by_hash.setdefault(pixel_hash(decoded.pixels), path)
        if twin != path:
            return f"the same picture as {twin}"
        stored = writer.add(image_id, decoded.pixels)
        self._ids.add(image_id)
        card = self.source.card
        self.images.append(
            Micrograph(
                id=image_id,
                group=image_id,
                category=card.title,
                split=self.source.photos.split(image_id),
                height=stored.height,
                width=stored.width,
                bits=16 if stored.dtype == "uint16" else 8,
                licence=card.licence,
                source=path,
                channels=3,
            )
        )
        if decoded.notes:
            self.notes[image_id] = "; ".join(decoded.notes)
        return ""
