"""Which files ``infer`` reads, and what is no input of a folder: hidden files, masks, results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from srbench.datasets.images.databar import without_databar
from srbench.datasets.images.decode import SUFFIXES, BadImage, ValueRange, read_raw
from srbench.datasets.images.depth import Depth, common_depth
from srbench.datasets.images.walk import image_files
from srbench.datasets.sources.folder import pair_masks
from srbench.inference.results import read_record
from srbench.utils.errors import SrbenchError
from srbench.utils.progress import ProgressCallback, ProgressEvent, count_of


@dataclass(frozen=True)
class InputFile:
    """An image file, its path below the folder that was given (or its name), and this folder."""

    path: Path
    relative: PurePosixPath
    folder: Path


@dataclass(frozen=True)
class Inputs:
    """The files to read, and how many of each kind were left out."""

    files: tuple[InputFile, ...]
    left_out: Counter[str]

    @classmethod
    def of(cls, paths: Sequence[Path], out: Path) -> Inputs:
        """Files that are named, whatever they are, and the images of folders.

        Args:
            paths: files and folders; a file that is given twice is read once.
            out: where results go; no input where it lies in a folder of images.
        """
        files: dict[Path, InputFile] = {}
        left_out: Counter[str] = Counter()
        for path in paths:
            if path.is_dir():
                listed = _of_folder(path, out, left_out)
            else:
                listed = [InputFile(path, PurePosixPath(path.name), path.parent)]
            for file in listed:
                files.setdefault(file.path.absolute(), file)
        return cls(tuple(files.values()), left_out)

    def remarks(self) -> list[str]:
        """One line for each kind of file that was left out."""
        return [
            f"left out, {kind}: {count_of(count, 'file')}" for kind, count in self.left_out.items() if count
        ]


def _of_folder(root: Path, out: Path, left_out: Counter[str]) -> list[InputFile]:
    apart = out.exists() and not out.samefile(root)
    if apart and root.resolve() in out.resolve().parents:
        left_out["in the output folder"] += sum(path.suffix.lower() in SUFFIXES for path in out.rglob("*"))
    hidden = (path for path in root.rglob(".*") if path.suffix.lower() in SUFFIXES)
    left_out["hidden"] += sum(1 for _ in hidden)
    names = [
        name
        for name in image_files(root, leave_out=[out] if apart else [])
        if PurePosixPath(name).suffix.lower() in SUFFIXES
    ]
    masks = pair_masks(names).files
    left_out["masks"] += len(masks)
    files = []
    for name in names:
        if name in masks:
            continue
        if read_record(root / name):
            left_out["earlier results"] += 1
        else:
            files.append(InputFile(root / name, PurePosixPath(name), root))
    return files


class FolderDepths:
    """One bit depth for all the files of a folder.

    Args:
        files: all of them, also those whose results are there already: the depth must not depend on that.
        bits: significant bits, where the user said them.
        on_progress: called after each file that was read for its range of values.
    """

    def __init__(self, files: Sequence[InputFile], bits: int | None, on_progress: ProgressCallback) -> None:
        self._files = files
        self._bits = bits
        self._on_progress = on_progress
        self._depths: dict[Path, Depth] = {}
        self._unusable: dict[Path, BadImage] = {}

    def of(self, file: InputFile) -> Depth:
        """The depth of a file's folder.

        Raises:
            BadImage: the file cannot be read.
        """
        if file.folder not in self._depths:
            self._depths[file.folder] = self._of_folder(file.folder)
        if file.path in self._unusable:
            raise self._unusable[file.path]
        return self._depths[file.folder]

    def _of_folder(self, folder: Path) -> Depth:
        files = [file for file in self._files if file.folder == folder]
        ranges: list[ValueRange] = []
        for number, file in enumerate(files, 1):
            try:
                # Without databars: their text may be whiter than the detector's white.
                ranges += [without_databar(raw).range for raw in read_raw(file.path, pages="all", min_side=1)]
            except BadImage as error:
                self._unusable[file.path] = error
            self._on_progress(ProgressEvent("bit depth", number, len(files), "images"))
        return common_depth(ranges, self._bits)


def refuse_equal_names(named: Sequence[tuple[InputFile, PurePosixPath]]) -> None:
    """Refuse files of different folders whose results would have one name.

    Raises:
        SrbenchError: names both files.
    """
    first: dict[PurePosixPath, InputFile] = {}
    for file, name in named:
        other = first.setdefault(name, file)
        if other.path != file.path:
            raise SrbenchError(
                f"{other.path} and {file.path} would have one result, {name}. Run the command once for each "
                "of their folders, with an --out of its own."
            )
