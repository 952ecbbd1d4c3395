"""The guards that need the store: rows as written, yardsticks in the table, whole and distinct runs.

Everything is recomputed from manifests and rows each time a table is made, so that nobody has to be believed.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from srbench.checks.base import Finding
from srbench.store import CONTROL, NOISE_CEILING, REFERENCES, RUN, Manifest, Run, Score

if TYPE_CHECKING:
    import pandas as pd

# The fingerprint of a run's score rows: rows that were changed, added or taken away later do not have it.

COLUMNS = ("metric", "image", "group", "category", "value", "reason")
"""What a row says beyond the key of its run, in the order of ``Score``'s text."""


def sha256_of_scores(scores: Iterable[Score]) -> str:
    """sha256 (hex) of the rows in any order; every bit of a value counts."""
    return _digest((s.metric, s.image, s.group, s.category, s.value, s.reason) for s in scores)


def sha256_of_frame(rows: pd.DataFrame) -> str:
    """The same of stored rows, columns ``COLUMNS``."""
    return _digest(rows[list(COLUMNS)].itertuples(index=False, name=None))


def _digest(rows: Iterable[tuple[object, ...]]) -> str:
    lines = sorted(
        "\x1f".join([*map(str, before), float(str(value)).hex(), str(reason)])
        for *before, value, reason in rows
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


YARDSTICKS = ("nearest", "bicubic", "lanczos", "back_projection")
"""What nothing was learned for; ``bicubic`` is what differences are taken from."""
_NEEDED = "bicubic"
_CONDITIONS = ("data", "protocol", "versions")
_NOT_RECORDED = "scored before srbench recorded it; score again with --force."


def findings(manifests: Sequence[Manifest], scores: pd.DataFrame) -> Mapping[Run, tuple[Finding, ...]]:
    """What the guards of a table find about each of its runs.

    Args:
        manifests: complete runs that stand in one table: one dataset, split, degradation, scale, protocol.
        scores: their rows (``srbench.store.READ_COLUMNS``).

    Returns:
        Run to its findings: ``pinned_protocol``, ``baselines`` and ``whole_and_distinct``. Reference rows,
        which no model made, have only the first.
    """
    own = _rows_of(scores)
    yardsticks = _yardsticks(manifests)
    alike = _same_outputs(manifests)
    found = {}
    for manifest in manifests:
        run = run_of(manifest)
        rows = own.get(run)
        parts = [pinned(manifest, rows)]
        if run.model not in REFERENCES:
            parts += [yardsticks, _whole_and_distinct(manifest, rows, alike.get(run, ()))]
        found[run] = tuple(parts)
    return found


def run_of(manifest: Manifest) -> Run:
    """What identifies a run within its table."""
    key = manifest.key
    return Run(key.model, key.variant, key.weights, key.seed)


def pinned(manifest: Manifest, rows: pd.DataFrame | None) -> Finding:
    """Whether the run says under which conditions its numbers hold, and the numbers are those it wrote."""
    missing = [name for name in _CONDITIONS if not getattr(manifest, name)]
    missing += [name for name in ("fingerprint", "lr_sha256") if not manifest.data.get(name)]
    if missing:
        return _protocol("failed", f"The manifest does not say: {', '.join(missing)}.")
    if manifest.protocol.get("id") != manifest.key.protocol:
        return _protocol("failed", "The protocol described in the manifest is not the one the rows carry.")
    if not manifest.scores_sha256:
        return _protocol("unchecked", f"Hash of the rows: {_NOT_RECORDED}")
    if rows is None or sha256_of_frame(rows) != manifest.scores_sha256:
        return _protocol("failed", "The score rows are not those that were written: they were changed later.")
    return _protocol(
        "passed",
        f"{len(rows)} rows as written, data {manifest.key.data[:12]}, protocol {manifest.key.protocol}.",
    )


def _protocol(status: str, detail: str) -> Finding:
    return Finding("pinned_protocol", status, detail)  # type: ignore[arg-type]


def _rows_of(scores: pd.DataFrame) -> dict[Run, pd.DataFrame]:
    if not len(scores):
        return {}
    grouped = ((cast(Run, key), rows) for key, rows in scores.groupby(RUN, sort=False))
    return {Run(str(key[0]), str(key[1]), str(key[2]), int(key[3])): rows for key, rows in grouped}


def _yardsticks(manifests: Sequence[Manifest]) -> Finding:
    there = {manifest.key.model for manifest in manifests}
    offered = [name for name in YARDSTICKS if manifests[0].key.scale > 1 or name == _NEEDED]
    missing = [name for name in (*offered, CONTROL) if name not in there]
    type_next = "Type srbench eval --all to add what is missing."
    if _NEEDED in missing:
        return Finding(
            "baselines", "failed", f"No {_NEEDED} in this table: no gain can be stated. {type_next}"
        )
    if missing:
        return Finding("baselines", "unchecked", f"Not in this table: {', '.join(missing)}. {type_next}")
    ceiling = "a noise ceiling" if NOISE_CEILING in there else "no noise ceiling (no second acquisitions)"
    return Finding("baselines", "passed", f"{', '.join(offered)}, the control and {ceiling}.")


def _same_outputs(manifests: Sequence[Manifest]) -> dict[Run, tuple[str, ...]]:
    """Each run whose pixels another run gave as well, to the names of those others."""
    by_output: dict[tuple[tuple[str, str], ...], list[Run]] = defaultdict(list)
    for manifest in manifests:
        if manifest.outputs and manifest.key.model not in REFERENCES:
            by_output[tuple(sorted(manifest.outputs.items()))].append(run_of(manifest))
    return {
        run: tuple(_name(other) for other in runs if other != run)
        for runs in by_output.values()
        if len(runs) > 1
        for run in runs
    }


def _whole_and_distinct(manifest: Manifest, rows: pd.DataFrame | None, alike: Sequence[str]) -> Finding:
    faults = [*_gaps(manifest, rows), *([f"Same pixels as {', '.join(alike)}."] if alike else [])]
    if alike and manifest.card.get("family") == "interpolation":
        faults.remove(f"Same pixels as {', '.join(alike)}.")  # the copy is at fault, not the original
    if faults:
        return _whole("failed", " ".join(faults))
    if not manifest.outputs:
        return _whole("unchecked", f"Hash of the output: {_NOT_RECORDED}")
    return _whole(
        "passed", f"{manifest.data.get('images')} images, all scored; no other run gave these pixels."
    )


def _whole(status: str, detail: str) -> Finding:
    return Finding("whole_and_distinct", status, detail)  # type: ignore[arg-type]


def _gaps(manifest: Manifest, rows: pd.DataFrame | None) -> list[str]:
    """Images of the split without rows in some metric."""
    wanted = int(manifest.data.get("images", 0))
    if rows is None or not wanted:
        return ["No rows, or a manifest that does not say how many images the split has."]
    of_images = rows[rows["image"] != ""]
    counts = of_images.groupby("metric")["image"].nunique()
    short = counts[counts != wanted]
    if not len(counts):
        return ["No image was scored."]
    if not len(short):
        return []
    metric, count = str(short.index[0]), int(short.iloc[0])
    others = f" and {len(short) - 1} metrics more" if len(short) > 1 else ""
    return [f"{count} of {wanted} images of the split have rows in {metric}{others}."]


def _name(run: Run) -> str:
    seed = f" seed {run.seed}" if run.seed >= 0 else ""
    return f"{run.model} {run.variant}{seed}"
