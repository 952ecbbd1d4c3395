"""What of a store is reported: some data sets, models and metrics, or everything.

A choice hides rows and columns and changes no number: differences, ranks and "best" are those of the whole
block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from srbench.datasets.registry import full_name
from srbench.reporting.blocks import Block
from srbench.reporting.leaderboard import Leaderboard
from srbench.store import Manifest
from srbench.utils.errors import unknown_name


@dataclass(frozen=True)
class Selection:
    """What is reported; everything where nothing is named.

    Attributes:
        datasets: as scored, a folder under any of its spellings.
        models: ``model`` or ``model:variant``.
        metrics: names or ids.
    """

    datasets: Sequence[str] = ()
    models: Sequence[str] = ()
    metrics: Sequence[str] = ()

    @property
    def metric_names(self) -> frozenset[str] | None:
        """Names without version; None where all are reported."""
        return frozenset(name.split("@")[0] for name in self.metrics) or None

    def of_blocks(self, blocks: Sequence[Block]) -> list[Block]:
        """The blocks of the data sets, with something of the models.

        Raises:
            SrbenchError: a name is of nothing that is stored.
        """
        stored = {block.key.dataset for block in blocks}
        chosen = {full_name(name) for name in self.datasets}
        for name in self.datasets:
            if full_name(name) not in map(full_name, stored):
                raise unknown_name("data set (among the scored ones)", name, stored)
        left = [block for block in blocks if not chosen or full_name(block.key.dataset) in chosen]
        manifests = [m for block in left for m in (*block.complete, *block.absent)]
        models = {name for manifest in manifests for name in _names(manifest)}
        for name in self.models:
            if name not in models:
                raise unknown_name("model (among the scored ones)", name, models)
        metrics = {str(i).split("@")[0] for block in left for i in block.scores["metric"].unique()}
        for name in self.metric_names or ():
            if name not in metrics:
                raise unknown_name("metric (among the stored ones)", name, metrics)
        return [block for block in left if any(map(self._has, (*block.complete, *block.absent)))]

    def of_board(self, board: Leaderboard) -> Leaderboard:
        """The board with the rows of the models alone."""
        absent = tuple(manifest for manifest in board.block.absent if self._has(manifest))
        rows = tuple(row for row in board.rows if self._has(row.manifest))
        return replace(board, block=replace(board.block, absent=absent), rows=rows)

    def _has(self, manifest: Manifest) -> bool:
        return not self.models or not set(self.models).isdisjoint(_names(manifest))


def _names(manifest: Manifest) -> tuple[str, str]:
    return manifest.key.model, f"{manifest.key.model}:{manifest.key.variant}"


EVERYTHING = Selection()
