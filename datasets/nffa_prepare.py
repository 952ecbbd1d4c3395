"""The tars of NFFA-EUROPE become one packed set: grey, without bars and duplicates, grouped and split.

One reader streams the tars, worker processes decode and cut (``nffa_frame``), this process writes, in the
order of the tar whatever the number of workers (``staging``). Memory holds a few frames and one line for each
image; the tars are neither unpacked nor copied, and the staged shards become those of the pack.

Killed at any moment and started again it goes on behind the last flushed image and ends in the same bytes. A
tar with another md5 or size, or other rules, is done again, the others are not.

Of equal pictures the first by id stays. Frames of one field are one group (``near_duplicates``): the true
sample is not recorded in these sets. The split counts images within each class (``splits.split_images``).
``preparation.json`` beside the pack says what was found (``nffa_pack``).

A frame takes 10 to 12 ms of processor time in a worker and 2 ms here (``tests/datasets/bench_prepare.py``):
about 5 minutes for 21,169 frames on one core of a busy machine, if the disk keeps up.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from srbench.datasets import near_duplicates, nffa_frame
from srbench.datasets.archives import ArchiveError, Limits, members
from srbench.datasets.interface import DatasetError, ImportReport, ProgressCallback, ProgressEvent, silent
from srbench.datasets.nffa_examine import Examined, examine
from srbench.datasets.nffa_pack import ClassArchive, Label, Pack
from srbench.datasets.pack_writer import SHARD_BYTES
from srbench.datasets.packed import PackManifest, read_manifest
from srbench.datasets.staging import Staged, Staging
from srbench.datasets.storage import locked
from srbench.datasets.workers import Workers, in_order, processes

__all__ = ["ClassArchive", "prepare_nffa"]

STAGING = ".staging"
# Raised whenever the same tars would give another pack, beside the rules of the steps.
_RULES = "1"
_LIMITS = Limits(member_bytes=1 << 26)


def prepare_nffa(
    archives: Sequence[ClassArchive],
    folder: Path,
    *,
    name: str,
    version: str,
    licence: str,
    terms: str = "",
    progress: ProgressCallback = silent,
    workers: int | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> ImportReport:
    """Pack the images of ``archives`` into ``folder``; goes on where an earlier call was interrupted.

    Args:
        archives: one for each class.
        folder: of the data set; gains the pack and, while this runs, ``.staging``.
        name: of the dataset.
        version: of the dataset's definition; kept in the manifest.
        licence: of every image.
        terms: what it asks of the user, for the manifest.
        progress: told of the bytes of the archives that are done, then of images compared.
        workers: processes; as many as there are cores when None; with 1 there are no others.
        shard_bytes: a shard is closed once it holds this many.

    Returns:
        How many images are in the pack, and every member that is not, as ``<tar>:<member>``, with its reason.

    Raises:
        DatasetError: an archive is missing, cut short or damaged (all others have been staged then and are
            not read again), no image can be used, another process prepares here, or the disk is full.
    """
    _check(archives)
    ordered = sorted(archives, key=lambda archive: archive.category)
    origin = _origin(ordered)
    work = folder / STAGING
    with locked(work):
        manifest = _packed_already(folder, name, version, origin)
        if manifest is None:
            _stage_all(ordered, work, progress, workers, shard_bytes)
            label = Label(name, version, licence, terms, origin)
            manifest = Pack(ordered, folder, work).write(label, progress)
        shutil.rmtree(work, ignore_errors=True)
    return ImportReport(manifest.images, manifest.skipped, folder)


def _check(archives: Sequence[ClassArchive]) -> None:
    if not archives:
        raise DatasetError("There are no archives to prepare.")
    twice = [category for category, count in Counter(a.category for a in archives).items() if count > 1]
    missing = [str(archive.path) for archive in archives if not archive.path.is_file()]
    if twice:
        raise DatasetError(f"Two archives for {', '.join(twice)}; expected one for each class.")
    if missing:
        raise DatasetError(
            f"Archives have gone: {', '.join(missing)}. Bring them back, or fetch or import them again."
        )


def _origin(archives: Sequence[ClassArchive]) -> str:
    listed = "; ".join(f"{archive.path.name} md5 {archive.md5}" for archive in archives)
    return f"{listed}; prepared by rules {_rules()}"


def _rules() -> str:
    return f"{_RULES}.{nffa_frame.RULES}.{near_duplicates.RULES}"


def _packed_already(folder: Path, name: str, version: str, origin: str) -> PackManifest | None:
    try:
        manifest = read_manifest(folder)
    except DatasetError:
        return None
    same = (manifest.name, manifest.version, manifest.source) == (name, version, origin)
    return manifest if same else None


def _stage_all(
    archives: Sequence[ClassArchive],
    work: Path,
    progress: ProgressCallback,
    workers: int | None,
    shard_bytes: int,
) -> None:
    """Stage every archive; what is wrong with one is told after the others are done."""
    sizes = {archive.category: archive.path.stat().st_size for archive in archives}
    done, problems = 0, []
    with processes(examine, workers) as pool:
        for archive in archives:
            size = sizes[archive.category]
            key = {"category": archive.category, "md5": archive.md5, "size": str(size), "rules": _rules()}
            staging = Staging(work / archive.category, key, shard_bytes)
            try:
                for position in _stage(archive, staging, pool):
                    progress(_event(archive, done + min(position, size), sizes))
            except ArchiveError as error:
                problems.append(str(error))
            finally:
                staging.close()
            done += size
            progress(_event(archive, done, sizes))
    if problems:
        raise DatasetError(
            "\n".join(problems) + f"\nThe other {len(archives) - len(problems)} of {len(archives)} archives "
            "are prepared and will not be read again."
        )


def _event(archive: ClassArchive, done: int, sizes: Mapping[str, int]) -> ProgressEvent:
    return ProgressEvent(f"prepare {archive.category}", done, sum(sizes.values()), "B")


def _stage(archive: ClassArchive, staging: Staging, pool: Workers[Examined]) -> Iterator[int]:
    """Stage the members that are not staged yet; the positions in the archive tell how far it is."""
    if staging.complete:
        return
    refused: dict[str, str] = {}
    known = frozenset(staging.members)
    stream = members(archive.path, refused, wanted=lambda name: name not in known, limits=_LIMITS)
    inputs = (((member.name, member.position), member.data) for member in stream)
    try:
        for (member, position), examined in in_order(pool, inputs):
            _add(staging, member, examined)
            yield position
    except ArchiveError:
        staging.flush()
        raise
    staging.finish(refused)


def _add(staging: Staging, member: str, examined: Examined) -> None:
    found = Staged(member, examined.reason, None, examined.descriptor, examined.notes)
    staging.add(found, examined.pixels, examined.sha256)
