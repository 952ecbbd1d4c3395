"""Runs that may be compared: one block for each data set, split, degradation, scale, protocol and data state.

A table can therefore never mix numbers that mean different things.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from srbench.checks.submissions import Submitted, by_run, submitted_in
from srbench.reporting.text import slug
from srbench.statistics.compare import newest_data
from srbench.store import Conditions, Manifest, Run, ScoreStore, joined
from srbench.utils.progress import ProgressCallback, silent

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Block:
    """The runs of one block.

    Attributes:
        key: what the runs have in common.
        complete: runs with scores, by run id.
        absent: runs that failed or had nothing to run, by run id.
        scores: the rows of the complete runs (``srbench.store.READ_COLUMNS``), as they are stored.
        newest_data: fingerprint of the data scored last where the dataset was scored in several states; empty
            where it was scored in one.
        submitted: runs that were submitted, to their submissions.
    """

    key: Conditions
    complete: tuple[Manifest, ...]
    absent: tuple[Manifest, ...]
    scores: pd.DataFrame
    newest_data: str = ""
    submitted: Mapping[Run, Submitted] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """What stands behind its title: whether the dataset was scored later in another state."""
        if not self.newest_data:
            return ""
        return ", newest data" if self.key.data == self.newest_data else ", outdated data"

    @property
    def title(self) -> str:
        """Data set, split, scale, degradation and state."""
        key = self.key
        return f"{key.dataset}, {key.split} split, ×{key.scale}, {key.degradation}{self.state}"

    @property
    def slug(self) -> str:
        """A name for files and HTML ids, unique among blocks."""
        key = self.key
        # The text that names have always been hashed from.
        text = "BlockKey(" + ", ".join(f"{name}={value!r}" for name, value in key._asdict().items()) + ")"
        parts = (key.dataset[-40:], key.split, key.degradation, f"x{key.scale}")
        return "_".join([*map(slug, parts), hashlib.sha256(text.encode()).hexdigest()[:8]])


def collect(
    store: ScoreStore, run_ids: Collection[str] | None = None, progress: ProgressCallback = silent
) -> list[Block]:
    """The blocks of the store, ordered by their key; of several states of a dataset the newest first.

    Args:
        store: the runs.
        run_ids: only the blocks that hold one of these runs; all when None.
        progress: told of the runs that are read.
    """
    rows = {manifest.key: (manifest, table) for manifest, table in store.runs(progress)}
    manifests = [manifest for manifest, _ in rows.values()]
    newest = newest_data(manifest for manifest in manifests if manifest.status == "complete")
    keys = {manifest.key.conditions for manifest in manifests}
    states = Counter(key._replace(data="") for key in keys)

    def newest_of(key: Conditions) -> str:
        base = key._replace(data="")
        return newest.get(base, "") if states[base] > 1 else ""

    order = sorted(keys, key=lambda key: (key._replace(data=""), key.data != newest_of(key), key.data))
    if run_ids is not None:
        chosen = {manifest.key.conditions for manifest in manifests if manifest.key.run_id in run_ids}
        order = [key for key in order if key in chosen]
    blocks = []
    for key in order:
        tables = [rows.pop(m.key)[1] for m in manifests if m.key.conditions == key]
        scores = joined(table for table in tables if table is not None)
        blocks.append(_block(key, manifests, newest_of(key), scores))
    submissions, unread = submitted_in(store.root)
    store.problems += [problem for problem in unread if problem not in store.problems]
    return [replace(block, submitted=by_run(submissions)) for block in blocks]


def _block(key: Conditions, manifests: Sequence[Manifest], newest: str, scores: pd.DataFrame) -> Block:
    members = [manifest for manifest in manifests if manifest.key.conditions == key]
    complete = tuple(manifest for manifest in members if manifest.status == "complete")
    scored = {manifest.key.run[:2] for manifest in complete}
    # A "no weights" entry is outdated by weights that came later, which have another key.
    absent = tuple(
        m for m in members if m.status == "failed" or (m.status == "missing" and m.key.run[:2] not in scored)
    )
    return Block(key, complete, absent, scores, newest)
