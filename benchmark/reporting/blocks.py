"""Runs that may be compared: one block for each data set, split, degradation, scale and protocol.

Two runs share a block only when all of these are equal, the data fingerprint included, so that a table can
never mix numbers that mean different things.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from srbench.reporting.formats import slug
from srbench.store import Manifest, RunKey, ScoreStore

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, order=True)
class BlockKey:
    """What must be equal for two numbers to be comparable; the fields are those of ``RunKey``."""

    dataset: str
    split: str
    degradation: str
    scale: int
    protocol: str
    data: str

    @staticmethod
    def of(key: RunKey) -> BlockKey:
        """The block a run belongs to."""
        return BlockKey(**{entry.name: getattr(key, entry.name) for entry in fields(BlockKey)})

    @property
    def slug(self) -> str:
        """A name for files and HTML ids, unique among blocks."""
        parts = (self.dataset[-40:], self.split, self.degradation, f"x{self.scale}")
        digest = hashlib.sha256(repr(self).encode()).hexdigest()[:8]
        return "_".join([*(slug(part) for part in parts), digest])


@dataclass(frozen=True)
class Block:
    """The runs of one block.

    Attributes:
        key: what the runs have in common.
        complete: runs with scores, by run id.
        absent: runs that failed or had nothing to run, by run id.
        scores: the rows of the complete runs (``srbench.store.COLUMNS``).
    """

    key: BlockKey
    complete: tuple[Manifest, ...]
    absent: tuple[Manifest, ...]
    scores: pd.DataFrame


def collect(store: ScoreStore) -> list[Block]:
    """All blocks of the store, ordered by their key."""
    manifests = store.manifests()
    keys = sorted({BlockKey.of(manifest.key) for manifest in manifests})
    return [_block(store, key, manifests) for key in keys]


def _block(store: ScoreStore, key: BlockKey, manifests: Iterable[Manifest]) -> Block:
    members = [manifest for manifest in manifests if BlockKey.of(manifest.key) == key]
    complete = tuple(manifest for manifest in members if manifest.status == "complete")
    absent = tuple(
        m for m in members if m.status == "failed" or (m.status == "missing" and _is_open(m, complete))
    )
    return Block(key, complete, absent, store.scores(manifest.key for manifest in complete))


def _is_open(missing: Manifest, complete: Iterable[Manifest]) -> bool:
    """Whether a "no weights" entry still stands: weights that came later have another key."""
    return all(manifest.key.run[:2] != missing.key.run[:2] for manifest in complete)
