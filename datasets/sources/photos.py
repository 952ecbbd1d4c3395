"""Photograph sets: fetched or imported in any common layout, packed in colour; see ``photo_sets`` for which.

They are here to compare with published tables, never to stand for micrographs. Published hashes are those of
archives, as far as there are any; hashes of the true pixels are not known. A pack therefore tells what came:
its manifest has the fingerprint of the pixels, where they came from and, in its version, whether the number
of images or their cut differs from the published set.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from srbench.datasets.base import ImportReport, Micrograph, Split
from srbench.datasets.download import Remote, RetryPolicy
from srbench.datasets.images.archives import image_names, read_images
from srbench.datasets.images.decode import BadImage, decode_bytes
from srbench.datasets.packed.source import PackedSource
from srbench.datasets.packed.writer import PackWriter
from srbench.utils.errors import DatasetError
from srbench.utils.files import hash_file, pixel_hash
from srbench.utils.paths import home
from srbench.utils.progress import ProgressCallback, ProgressEvent, silent

URL_VARIABLE = "SRBENCH_PHOTO_URL"

_HUANG = re.compile(r"(?P<id>.+?)_SRF_(?P<cut>\d+)_(?P<what>.+)", re.IGNORECASE)
_CUT_NAME = re.compile(r"(?P<id>.+?)_HR_?x(?P<cut>\d+)", re.IGNORECASE)
_LR_NAME = re.compile(r".+?(?:_LR(?:BI|BD|DN)?(?:_?x?\d+)?|[_-]?x[2348])", re.IGNORECASE)
_HR_ENDING = re.compile(r"_(?:HR|GT)$", re.IGNORECASE)
_LR_FOLDER = re.compile(r"(?:.*_)?LR(?:bi\w*|x\d+|[_-].*)?|bicubic", re.IGNORECASE)
_SCALE_FOLDER = re.compile(r"x_?(\d{1,2})(?:_sub)?", re.IGNORECASE)
_CUT_FOLDER = re.compile(r"(?:GTmod|image_SRF_)(\d+)", re.IGNORECASE)


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
        split: of all images, or of an image by its id.
        archives: where it is published; several archives make one set.
        folders: what folders that hold it are called, lower case without punctuation.
        named: whether an id is one of the set's; None takes all.
        names: how they are called, for the message.
        shared: whether its archive holds other sets too, and is kept after packing.
        sides: width and height of its images, as far as they are known: a copy cut to multiples of a scale
            has lost pixels where another size appears.
    """

    count: int
    split: Split | Callable[[str], Split]
    archives: tuple[PublishedArchive, ...] = ()
    folders: tuple[str, ...] = ()
    named: Callable[[str], bool] | None = None
    names: str = ""
    shared: bool = False
    sides: frozenset[tuple[int, int]] = frozenset()

    def split_of(self, image_id: str) -> Split:
        """The split of an image."""
        return self.split if isinstance(self.split, str) else self.split(image_id)


@dataclass(frozen=True)
class PhotoFiles:
    """The HR photographs of a set.

    Attributes:
        files: image id to path.
        cut: the scale to whose multiple the images were cut, 1 where they are whole.
        skipped: paths that could have been one, with the reason why they are not.
    """

    files: Mapping[str, str]
    cut: int
    skipped: Mapping[str, str] = field(default_factory=dict)


def find_photos(paths: Iterable[str], folders: Collection[str], others: Collection[str]) -> PhotoFiles:
    """The HR photographs of a set among image files, in any of the layouts in circulation.

    Known are: plain files (``Set5/baby.png``), ``HR`` folders (``benchmark/Set5/HR/baby.png``), BasicSR's
    ``original`` and ``GTmod12``, Huang's ``image_SRF_4/img_001_SRF_4_HR.png`` and
    ``HR/Set5/x4/baby_HR_x4.png``. What lies in LR folders (``x4``, ``LR_bicubic/X2``, ``LRbicx4``,
    ``DIV2K_train_LR_x8``), is called like an LR image (``0801x4.png``, ``..._LR.png``) or is some method's
    output in Huang's folders is left aside. Some layouts hold HR images cut to a multiple of the scale; of
    several files of one image the one that was cut least is taken.

    Args:
        paths: with forward slashes, relative to the folder or archive.
        folders: what folders of this set are called (``b100``, ``bsd100``), lower case without punctuation;
            where a folder is called so, nothing outside of such folders is taken.
        others: the same of the other sets.
    """
    candidates = [path for path in sorted(paths) if not _inside(path, others) or _inside(path, folders)]
    inside = [path for path in candidates if _inside(path, folders)]
    best: dict[str, tuple[int, str]] = {}
    skipped: dict[str, str] = {}
    for path in inside or candidates:
        photo = _photo_of(path)
        if photo is None:
            continue
        name, cut = photo
        before = best.get(name)
        if before is not None and before[0] == cut:
            skipped[path] = f"the same name as {before[1]}"
        elif before is None or cut < before[0]:
            best[name] = (cut, path)
    files = {name: path for name, (_, path) in sorted(best.items())}
    return PhotoFiles(files, max((cut for cut, _ in best.values()), default=1), skipped)


def _inside(path: str, folders: Collection[str]) -> bool:
    """Whether a folder of the path is called so; ``set1`` is not ``set14``."""
    parts = [re.sub(r"[^a-z0-9]", "", part.lower()) for part in path.split("/")[:-1]]
    return any(re.match(rf"{folder}(?!\d)", part) for part in parts for folder in folders)


def _photo_of(path: str) -> tuple[str, int] | None:
    """Id of the image and the multiple it was cut to; None for what is no HR image by its path."""
    *parents, file = path.split("/")
    stem = file.rpartition(".")[0]
    huang = _HUANG.fullmatch(stem)
    if huang:
        return (huang["id"], int(huang["cut"])) if huang["what"].upper() in ("HR", "GT") else None
    cut = _cut_by_folders(parents)
    named = _CUT_NAME.fullmatch(stem)
    if named and cut is not None:
        return named["id"], max(cut, int(named["cut"]))
    if cut is None or _LR_NAME.fullmatch(stem):
        return None
    return _HR_ENDING.sub("", stem), cut


def _cut_by_folders(parents: list[str]) -> int | None:
    """The multiple that the folders tell of, 1 where they tell of none; None in a folder of LR images."""
    if any(_LR_FOLDER.fullmatch(part) for part in parents):
        return None
    cut = max((int(match[1]) for part in parents if (match := _CUT_FOLDER.fullmatch(part))), default=1)
    scales = [int(match[1]) for part in parents if (match := _SCALE_FOLDER.fullmatch(part))]
    if not scales:
        return cut
    # HR/Set5/x4 holds HR images for x4; x4 alone holds LR images.
    return max(cut, *scales) if any(part.upper() == "HR" for part in parents) else None


class PhotographSource(PackedSource):
    """Base of the photograph sets.

    Attributes:
        photos: what the set is.
        neighbours: folder names of the other sets, which may lie in the same archive.
    """

    photos: PhotoSet
    neighbours: tuple[str, ...] = ()

    def __init__(self, base_url: str | None = None, retry: RetryPolicy | None = None) -> None:
        """Prepare; nothing is read.

        Args:
            base_url: a mirror that serves the archives under their file names. Also ``$SRBENCH_PHOTO_URL``.
            retry: how often and how long a download is tried.
        """
        self.base_url = base_url or os.environ.get(URL_VARIABLE)
        self.retry = retry or RetryPolicy()

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
        return self._pack(containers, self._described(containers, progress), progress)

    def fetch(self, progress: ProgressCallback = silent) -> ImportReport:
        """Download the published archives and pack them; goes on where an earlier call stopped.

        Raises:
            DatasetError: not offered for download, an archive cannot be had, or it is another file.
        """
        if not self.photos.archives:
            return super().fetch(progress)
        remotes = [
            Remote(
                f"{self.base_url.rstrip('/')}/{archive.file}" if self.base_url else archive.url,
                self.downloads / archive.file,
                md5=archive.md5,
                size=archive.size,
            )
            for archive in self.photos.archives
        ]
        source = "; ".join(f"{archive.url} (md5 {archive.md5})" for archive in self.photos.archives)

        def pack() -> ImportReport:
            report = self._pack([remote.path for remote in remotes], source, progress)
            if self.photos.shared:
                progress(f"{remotes[0].path} is kept: it holds other sets too. Delete it when done.")
            return report

        return self.download_and_pack(remotes, pack, progress, keep=self.photos.shared)

    def _containers(self, path: Path) -> list[Path]:
        """The folder or archive to read, or the published archives that lie in the folder."""
        if not path.exists():
            raise DatasetError(
                f"{path} is not there. Give the folder or archive that holds {self.card.name}."
            )
        if not path.is_dir() or self._photos_in(path, {}).files:
            return [path]
        archives = [path / archive.file for archive in self.photos.archives]
        present = [archive for archive in archives if archive.is_file()]
        if not present:
            raise self._nothing(path)
        return present

    def _nothing(self, path: Path) -> DatasetError:
        names = image_names(path, {})
        present = f"{len(names)} image files such as {', '.join(names[:3])}" if names else "no image files"
        called = f", called {self.photos.names}" if self.photos.names else ""
        archives = ", ".join(archive.file for archive in self.photos.archives)
        offered = f" or the archives {archives}" if archives else ""
        return DatasetError(
            f"Nothing of {self.card.name} is in {path}: expected {self.photos.count} HR images{called}"
            f"{offered}, found {present}. {self.obtain}"
        )

    def _photos_in(self, container: Path, refused: dict[str, str]) -> PhotoFiles:
        photos = find_photos(image_names(container, refused), self.photos.folders, self.neighbours)
        named = self.photos.named
        if named is None:
            return photos
        files = {name: path for name, path in photos.files.items() if named(name)}
        why = f"not called like an image of {self.card.name}: {self.photos.names}"
        foreign = {path: why for name, path in photos.files.items() if not named(name)}
        return PhotoFiles(files, photos.cut, {**photos.skipped, **foreign})

    def _described(self, containers: Sequence[Path], progress: ProgressCallback) -> str:
        """Where the files come from: an archive by its hash, compared with the published one."""
        sources = []
        published = {archive.file: archive.md5 for archive in self.photos.archives}
        for container in containers:
            if container.is_dir():
                sources.append("a folder")
                continue
            md5 = hash_file(container).result.md5
            sources.append(f"{container.name} (md5 {md5})")
            if published and md5 not in published.values():
                expected = published.get(container.name, ", ".join(published.values()))
                progress(f"{container.name} is not the published file: md5 {md5}, published {expected}.")
        return "; ".join(sources)

    def _pack(self, containers: Sequence[Path], source: str, progress: ProgressCallback) -> ImportReport:
        skipped: dict[str, str] = {}
        photos = [self._photos_in(container, skipped) for container in containers]
        for part in photos:
            skipped.update(part.skipped)
        total = sum(len(part.files) for part in photos)
        if not total:
            raise self._nothing(containers[0])
        with self.packing(source) as writer:
            packer = _PhotoPacker(self, writer)
            done = 0
            for container, part in zip(containers, photos, strict=True):
                ids = {path: image_id for image_id, path in part.files.items()}
                for path, data in read_images(container, ids):
                    if reason := packer.add(ids[path], path, data):
                        skipped[path] = reason
                    done += 1
                    progress(ProgressEvent("import", done, total, "images"))
            if not packer.images:
                listed = "\n".join(f"  {file}: {reason}" for file, reason in sorted(skipped.items())[:10])
                raise DatasetError(
                    f"No image of {self.card.name} can be used:\n{listed}\nNothing was changed."
                )
            images, cut = len(packer.images), max(part.cut for part in photos)
            differing = []
            if images != self.photos.count:
                differing.append(f"{images} instead of {self.photos.count} images")
            if cut > 1 and not {(image.width, image.height) for image in packer.images} <= self.photos.sides:
                differing.append(f"images cut to multiples of {cut}")
            writer.definition = replace(writer.definition, version=", ".join([self.rules, *differing]))
            notes = {**packer.notes, **({self.card.name: "; ".join(differing)} if differing else {})}
            writer.finish(packer.images, skipped=skipped, notes=notes)
        if differing:
            progress(
                f"{self.card.name}: {'; '.join(differing)}. Scores on it do not compare with published "
                "tables of the whole set."
            )
        return ImportReport(len(packer.images), skipped, self.folder)


class _PhotoPacker:
    """Decodes photographs and writes those that are no image again."""

    def __init__(self, source: PhotographSource, writer: PackWriter) -> None:
        self.images: list[Micrograph] = []
        self.notes: dict[str, str] = {}
        self._source = source
        self._writer = writer
        self._by_hash: dict[str, str] = {}
        self._ids: set[str] = set()

    def add(self, image_id: str, path: str, data: bytes | Exception) -> str:
        """Why the file is not taken; empty when it is."""
        if isinstance(data, Exception):
            return str(data)
        if image_id in self._ids:
            return f"the same name as another image: {image_id}"
        try:
            decoded = decode_bytes(data, colour=True)
        except BadImage as error:
            return str(error)
        first = self._by_hash.setdefault(pixel_hash(decoded.pixels), path)
        if first != path:
            return f"the same picture as {first}"
        stored = self._writer.add(image_id, decoded.pixels)
        self._ids.add(image_id)
        card = self._source.card
        self.images.append(
            Micrograph(
                id=image_id,
                group=image_id,
                category=card.title,
                split=self._source.photos.split_of(image_id),
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
