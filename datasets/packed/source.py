"""Datasets that are one packed folder: opened, verified, their state."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from srbench.datasets.base import DatasetSource, DatasetState, ImportReport, VerifyReport
from srbench.datasets.download import Remote, RetryPolicy, download_all
from srbench.datasets.images.raw import BadImage
from srbench.datasets.packed.format import PackedSet, read_manifest
from srbench.datasets.packed.writer import PackWriter, packing, verify_packed
from srbench.utils.errors import DatasetError, DatasetMissing, SrbenchError
from srbench.utils.files import locked
from srbench.utils.paths import dataset_folder
from srbench.utils.progress import ProgressCallback, silent

_NAMED = 8
"""Missing files that an error names."""


class PackedSource(DatasetSource):
    """Base of such datasets.

    Attributes:
        rules: raised whenever the same files would give other pixels, groups or splits; the version of a pack
            begins with it.
        retry: how often and how long a download is tried.
    """

    rules: str = "1"
    retry: RetryPolicy = RetryPolicy()

    @property
    def obtain(self) -> str:
        """The commands that bring the dataset onto the disk."""
        name = self.card.name
        ways = {
            "fetch": f"srbench data fetch {name}",
            "import": f"srbench data import {name} --from PATH",
        }
        return "Type: " + ", or: ".join(ways[way] for way in ways if way in self.card.obtain)

    @property
    def folder(self) -> Path:
        """Where it is on disk."""
        return dataset_folder(self.card.name)

    @property
    def downloads(self) -> Path:
        """Where files wait to be packed."""
        return self.folder / "downloads"

    def open(self, argument: str | None = None) -> PackedSet:
        """Open the packed dataset.

        Raises:
            DatasetMissing: it is not on disk.
            DatasetError: damaged, packed by other rules, or an argument was given.
        """
        name = self.card.name
        if argument:
            raise DatasetError(f"{name} takes no argument, found {argument!r}. Type: {name}")
        try:
            packed = PackedSet(self.folder, self.card)
        except DatasetMissing as error:
            raise DatasetMissing(f"{name} is not on disk ({self.folder}). {self.obtain}") from error
        version = packed.manifest.version
        if version.partition(",")[0] != self.rules:
            raise DatasetError(
                f"{self.folder} holds version {version} of {name}, this srbench has version {self.rules}. "
                f"{self.obtain}"
            )
        return packed

    def state(self) -> DatasetState:
        """What is on disk: packed, partly downloaded, unusable, or nothing."""
        try:
            manifest = read_manifest(self.folder)
        except DatasetMissing:
            waiting = [file for file in self.downloads.glob("[!.]*") if file.is_file()]
            size = sum(file.stat().st_size for file in waiting)
            return DatasetState("partial" if size else "absent", 0, size, self.obtain)
        except SrbenchError:
            return DatasetState("partial", next_step=self.obtain)
        return DatasetState("ready", manifest.images, manifest.nbytes)

    def verify(self, progress: ProgressCallback = silent) -> VerifyReport:
        """Hash every byte on disk and compare with the hashes taken when it was packed."""
        self.open()
        return verify_packed(self.folder, progress)

    def packing(self, source: str) -> AbstractContextManager[PackWriter]:
        """Pack this dataset; ``source`` says where the files came from."""
        return packing(
            self.folder,
            name=self.card.name,
            version=self.rules,
            licence=self.card.licence,
            terms=self.card.terms,
            source=source,
        )

    def refuse_missing(self, missing: Sequence[str], total: int, folder: Path, what: str) -> None:
        """Refuse a folder that lacks files of the published list; ``what`` they are, in words.

        Raises:
            DatasetError: names the first of them.
        """
        if not missing:
            return
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise DatasetError(
            f"{len(missing)} of {total} {what} of {self.card.name} are missing in {folder}: "
            f"{', '.join(missing[:_NAMED])}{more}. Nothing was changed. Complete the folder, or type: "
            f"srbench data fetch {self.card.name}"
        )

    def refuse_unusable(self, problems: Sequence[BadImage], total: int, what: str) -> None:
        """Refuse files that are not the published ones.

        Raises:
            DatasetError: says what is wrong with each.
        """
        if problems:
            listed = "".join(f"  {problem}\n" for problem in problems)
            raise DatasetError(
                f"{len(problems)} of {total} {what} of {self.card.name} cannot be taken:\n{listed}"
                "Nothing was changed. Replace these files, or type: "
                f"srbench data fetch {self.card.name}"
            )

    def download_and_pack(
        self,
        remotes: Sequence[Remote],
        pack: Callable[[], ImportReport],
        progress: ProgressCallback,
        *,
        keep: bool = False,
    ) -> ImportReport:
        """Download what is missing and pack it, unless the dataset is on disk without a fault.

        Args:
            remotes: files, below ``downloads``.
            pack: packs them.
            progress: called while they arrive.
            keep: whether the files stay after packing.
        """
        if self.intact():
            packed = self.open()
            return ImportReport(len(packed), packed.skipped, self.folder)
        with locked(self.downloads):
            download_all(remotes, progress, retry=self.retry)
            report = pack()
        if not keep:
            shutil.rmtree(self.downloads, ignore_errors=True)
        return report

    def intact(self, progress: ProgressCallback = silent) -> bool:
        """Whether it is on disk without a fault."""
        try:
            return not self.verify(progress).problems
        except SrbenchError:
            return False
