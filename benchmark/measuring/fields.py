"""The fields that a user measures: image files of an instrument, or results of ``srbench infer``.

Read by the rules of all micrographs: databar and frame cut, one grey channel, one bit depth a folder.
"""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from srbench.datasets.base import pixel_size_remarks
from srbench.datasets.images.databar import has_databar, image_region, without_databar
from srbench.datasets.images.decode import SUFFIXES, BadImage, RawImage, ValueRange, read_raw
from srbench.datasets.images.depth import common_depth
from srbench.datasets.images.instrument import read_instrument
from srbench.datasets.images.walk import image_files
from srbench.datasets.sources.folder import pair_masks
from srbench.inference.results import read_record
from srbench.utils.errors import SrbenchError
from srbench.utils.image import Pixels
from srbench.utils.progress import count_of


@dataclass(frozen=True, eq=False)
class FieldImage:
    """One field.

    Attributes:
        name: file, and page where there are several.
        pixels: ``(H, W)``, uint8 or uint16.
        pixel_size_nm: side of a pixel; None where unknown.
        record: of ``srbench infer``: ``model``, ``variant``, ``weights_sha256``, ``scale``; empty for others.
        dwell_s: seconds of a pixel under the beam; None where unknown.
    """

    name: str
    pixels: Pixels
    pixel_size_nm: float | None
    record: dict[str, str]
    dwell_s: float | None = None


class FieldFiles:
    """Image files, to be read one after the other.

    Args:
        paths: files, and folders whose images are read; masks and hidden files are left out.
        bits: significant bits of files that store more than 8; from tags and values when None.
        pixel_size_nm: side of a pixel of the files; what they say when None.

    Raises:
        SrbenchError: there is no image.
    """

    def __init__(self, paths: Sequence[Path], bits: int | None, pixel_size_nm: float | None) -> None:
        self._bits = bits
        self._pixel_size_nm = pixel_size_nm
        self._notes: Counter[str] = Counter()
        self._sizes_nm: list[tuple[float | None, str]] = []
        self._ranges: defaultdict[Path, list[ValueRange]] = defaultdict(list)
        files: dict[Path, tuple[str, Path]] = {}
        masks = 0
        for path in paths:
            names = [path.name]
            if path.is_dir():
                names = [name for name in image_files(path) if Path(name).suffix.lower() in SUFFIXES]
                drawn = pair_masks(names).files
                masks += len(drawn)
                names = [name for name in names if name not in drawn]
            folder = path if path.is_dir() else path.parent
            files.update({(folder / name).absolute(): (name, folder) for name in names})
        if not files:
            raise SrbenchError(f"No image to measure in {', '.join(map(str, paths))}.")
        if masks:
            self._notes["left out, masks"] = masks
        self.files = tuple((path, name, folder) for path, (name, folder) in files.items())
        self.skipped: dict[str, str] = {}

    def read(self, use: Callable[[FieldImage], None]) -> None:
        """Hand every field to ``use``; what cannot be used goes into ``skipped`` with the reason."""
        for path, name, folder in self.files:
            try:
                for image in self.images(path, name, folder):
                    use(image)
            except (SrbenchError, MemoryError) as error:
                self.skipped[name] = reason_of(error, path)

    def images(self, path: Path, name: str, folder: Path) -> Iterator[FieldImage]:
        """The pages of one of ``files``.

        Raises:
            SrbenchError: it cannot be read.
            MemoryError: it is too large.
        """
        if path in self._unreadable:
            raise self._unreadable[path]
        for number, raw in enumerate(raws := read_raw(path, pages="all", min_side=1), 1):
            page = f"{name} (page {number})" if len(raws) > 1 else name
            yield self._field(path, page, raw, self._ranges[folder])

    @functools.cached_property
    def _unreadable(self) -> dict[Path, BadImage | MemoryError]:
        """Files that cannot be read; all others have told their values, which decide the depth."""
        unreadable: dict[Path, BadImage | MemoryError] = {}
        for path, _, folder in self.files:
            try:
                raws = read_raw(path, pages="all", min_side=1)
            except (BadImage, MemoryError) as error:
                unreadable[path] = error
                continue
            self._ranges[folder] += [without_databar(raw).range for raw in raws]
        return unreadable

    def _field(self, path: Path, name: str, raw: RawImage, ranges: list[ValueRange]) -> FieldImage:
        region = image_region(raw)
        depth = common_depth(ranges, self._bits)
        pixels, said = depth.grey(replace(raw, array=raw.array[region.rows, region.columns]))
        facts = read_instrument(path)
        notes = {*facts.notes, *region.notes, *said}
        if has_databar(pixels) and pixels.min() != pixels.max():
            notes.add("a databar may be left, cut it off by hand")
        self._notes.update({note.partition(": ")[0] for note in notes})
        size = self._pixel_size_nm or facts.pixel_size_nm
        self._sizes_nm.append((size, "as given" if self._pixel_size_nm else facts.source))
        record = dict(line.partition("=")[::2] for line in read_record(path) if "=" in line)
        return FieldImage(name, pixels, size, record, facts.dwell_s)

    def remarks(self) -> list[str]:
        """What was done to pixels, and their size: one line a kind, with the count of images."""
        lines = [f"{kind}: {count_of(count, 'image')}" for kind, count in self._notes.most_common()]
        return [*lines, *pixel_size_remarks(self._sizes_nm)]


def reason_of(error: SrbenchError | MemoryError, path: Path) -> str:
    """Why a file was left out, without its path, which stands beside it."""
    return str(error).removeprefix(f"{path}: ") or "not enough memory"
