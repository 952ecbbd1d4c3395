"""Checking packed folders: every byte against the hashes taken when it was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.interface import ProgressCallback, ProgressEvent, VerifyReport, silent
from srbench.datasets.packed import Record, map_shard, read_index, read_manifest, view_of
from srbench.datasets.storage import pixel_hash, sha256_file


def verify_packed(folder: Path, progress: ProgressCallback = silent) -> VerifyReport:
    """Hash every byte of a packed folder and name the images and files that changed.

    Raises:
        DatasetMissing: nothing is packed there.
        DatasetError: manifest or index cannot be read at all.
    """
    manifest = read_manifest(folder)
    records = read_index(folder, manifest)
    problems = {}
    shards = {name: map_shard(folder / name) for name in manifest.shards}
    for done, record in enumerate(records, start=1):
        changed = list(_changed(record, shards))
        if changed:
            problems[record.image.id] = "; ".join(changed)
        progress(ProgressEvent("verify", done, len(records), "images"))
    damaged = {
        stored.shard for record in records if record.image.id in problems for _, stored in record.parts()
    }
    for name, (_, expected) in manifest.shards.items():
        if name not in damaged and sha256_file(folder / name) != expected:
            problems[name] = "bytes between the images changed on disk"
    return VerifyReport(len(records) + len(manifest.shards) + 1, problems)


def _changed(record: Record, shards: Mapping[str, NDArray[np.uint8]]) -> Iterator[str]:
    for what, stored in record.parts():
        found = pixel_hash(view_of(shards[stored.shard], stored))
        if found != stored.sha256:
            yield f"{what} changed on disk (sha256 {found[:12]}, expected {stored.sha256[:12]})"
