"""The checks that need the store: rows as written, baselines in the table, complete and distinct runs.

Everything is recomputed from manifests and rows each time a table is made.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from srbench.checks.base import CheckResult, Status
from srbench.models.base import NOTHING_LEARNED
from srbench.store import CONTROL, NOISE_CEILING, REFERENCES, RUN, Manifest, Run, Score

if TYPE_CHECKING:
    import pandas as pd

BASELINES = ("nearest", "bicubic", "lanczos", "back_projection")
"""Methods that learn nothing; ``bicubic`` is what differences are taken from."""
REQUIRED_BASELINE = "bicubic"
SCORE_COLUMNS = ("metric", "image", "group", "category", "value", "reason", "pixel_size_nm")
"""What a row says beyond the key of its run, in the order in which it is hashed."""
_NUMBERS = ("value", "pixel_size_nm")
_CONDITIONS = ("data", "protocol", "versions")
_NOT_RECORDED = "scored before srbench recorded it; score again with --force."


def check_table(manifests: Sequence[Manifest], scores: pd.DataFrame) -> Mapping[Run, tuple[CheckResult, ...]]:
    """Check each run of a table.

    Args:
        manifests: complete runs that stand in one table: one dataset, split, degradation, scale, protocol.
        scores: their rows (``srbench.store.READ_COLUMNS``).

    Returns:
        Run to its results: ``pinned_protocol``, ``baselines`` and ``completeness``. Reference rows, which no
        model made, have only the first.
    """
    rows_of: dict[Run, pd.DataFrame] = {}
    if len(scores):
        for key, rows in scores.groupby(RUN, sort=False, observed=True):
            model, variant, weights, seed = cast(Run, key)
            rows_of[Run(str(model), str(variant), str(weights), int(seed))] = rows
    baselines = _check_baselines(manifests)
    duplicates = _same_outputs(manifests)
    results = {}
    for manifest in manifests:
        run = _run_of(manifest)
        of_run = [check_protocol(manifest, rows_of.get(run))]
        if run.model not in REFERENCES:
            completeness = _check_completeness(manifest, rows_of.get(run), duplicates.get(run, ()))
            of_run += [baselines, completeness]
        results[run] = tuple(of_run)
    return results


def _run_of(manifest: Manifest) -> Run:
    key = manifest.key
    return Run(key.model, key.variant, key.weights, key.seed)


def check_protocol(manifest: Manifest, rows: pd.DataFrame | None) -> CheckResult:
    """Whether the run says under which conditions its numbers hold, and the numbers are those it wrote."""
    missing = [name for name in _CONDITIONS if not getattr(manifest, name)]
    missing += [name for name in ("fingerprint", "lr_sha256") if not manifest.data.get(name)]
    status: Status = "failed"
    if missing:
        detail = f"The manifest does not say: {', '.join(missing)}."
    elif manifest.protocol.get("id") != manifest.key.protocol:
        detail = "The protocol described in the manifest is not the one the rows carry."
    elif not manifest.scores_sha256:
        status, detail = "unchecked", f"Hash of the rows: {_NOT_RECORDED}"
    elif rows is None or sha256_of_frame(rows) != manifest.scores_sha256:
        detail = "The score rows are not those that were written: they were changed later."
    else:
        conditions = f"data {manifest.key.data[:12]}, protocol {manifest.key.protocol}"
        status, detail = "passed", f"{len(rows)} rows as written, {conditions}."
    return CheckResult("pinned_protocol", status, detail)


def _check_baselines(manifests: Sequence[Manifest]) -> CheckResult:
    present = {manifest.key.model for manifest in manifests}
    # At magnification 1 the harness offers no other interpolation.
    offered = BASELINES if manifests[0].key.scale > 1 else (REQUIRED_BASELINE,)
    missing = [name for name in (*offered, CONTROL) if name not in present]
    type_next = "Type srbench eval --all to add what is missing."
    if REQUIRED_BASELINE in missing:
        detail = f"No {REQUIRED_BASELINE} in this table: no gain can be stated. {type_next}"
        return CheckResult("baselines", "failed", detail)
    if missing:
        detail = f"Not in this table: {', '.join(missing)}. {type_next}"
        return CheckResult("baselines", "unchecked", detail)
    ceiling = "a noise ceiling" if NOISE_CEILING in present else "no noise ceiling (no second acquisitions)"
    return CheckResult("baselines", "passed", f"{', '.join(offered)}, the control and {ceiling}.")


def _same_outputs(manifests: Sequence[Manifest]) -> dict[Run, tuple[str, ...]]:
    """Each run whose pixels another run gave as well, to the names of those others."""
    by_output: dict[tuple[tuple[str, str], ...], list[Run]] = defaultdict(list)
    for manifest in manifests:
        if manifest.outputs and manifest.key.model not in REFERENCES:
            by_output[tuple(sorted(manifest.outputs.items()))].append(_run_of(manifest))
    # Whoever scores a model's images once more as another program's takes nothing away from the model.
    external = {_run_of(manifest) for manifest in manifests if manifest.external}
    return {
        run: tuple(
            f"{other.model} {other.variant}" + (f" seed {other.seed}" if other.seed >= 0 else "")
            for other in runs
            if other != run and (other not in external or run in external)
        )
        for runs in by_output.values()
        for run in runs
        if len(runs) > 1
    }


def _check_completeness(
    manifest: Manifest, rows: pd.DataFrame | None, duplicates: Sequence[str]
) -> CheckResult:
    faults = _missing_rows(manifest, rows)
    # Of an interpolation under another name the copy is at fault, not the original.
    if duplicates and manifest.card.get("family") not in NOTHING_LEARNED:
        faults.append(f"Same pixels as {', '.join(duplicates)}.")
    if faults:
        return CheckResult("completeness", "failed", " ".join(faults))
    if not manifest.outputs:
        return CheckResult("completeness", "unchecked", f"Hash of the output: {_NOT_RECORDED}")
    detail = f"{manifest.data.get('images')} images, all scored; no other run gave these pixels."
    return CheckResult("completeness", "passed", detail)


def _missing_rows(manifest: Manifest, rows: pd.DataFrame | None) -> list[str]:
    """Images of the split without rows in some metric, in words; empty where there are none."""
    images = int(manifest.data.get("images", 0))
    if rows is None or not images:
        return ["No rows, or a manifest that does not say how many images the split has."]
    counts = rows[rows["image"] != ""].groupby("metric", observed=True)["image"].nunique()
    short = counts[counts != images]
    if not len(counts):
        return ["No image was scored."]
    if not len(short):
        return []
    metric, count = str(short.index[0]), int(short.iloc[0])
    others = f" and {len(short) - 1} metrics more" if len(short) > 1 else ""
    return [f"{count} of {images} images of the split have rows in {metric}{others}."]


def sha256_of_scores(scores: Iterable[Score]) -> str:
    """sha256 (hex) of a run's rows in any order; every bit of a value counts."""
    rows = list(scores)
    texts = [[str(getattr(row, name)) for row in rows] for name in SCORE_COLUMNS if name not in _NUMBERS]
    return _digest(texts, *([float(str(getattr(row, name))) for row in rows] for name in _NUMBERS))


def sha256_of_frame(rows: pd.DataFrame) -> str:
    """The same of stored rows, columns ``SCORE_COLUMNS``."""
    import pandas as pd
    import pyarrow as pa

    # Nearly in the order in which they are hashed, which makes sorting the lines cheap.
    ordered = rows.reindex(columns=list(SCORE_COLUMNS)).sort_values(["metric", "image"], kind="stable")
    texts = []
    for name in SCORE_COLUMNS:
        if name not in _NUMBERS:
            numbers, uniques = pd.factorize(ordered[name], use_na_sentinel=False)
            texts.append(pa.DictionaryArray.from_arrays(numbers, [str(text) for text in uniques]))
    return _digest(
        [text.dictionary_decode() for text in texts],
        *(ordered[name].astype(float).tolist() for name in _NUMBERS),
    )


def _digest(texts: Sequence[Sequence[str]], values: Sequence[float], sizes: Sequence[float]) -> str:
    import pyarrow as pa
    from pyarrow import compute

    *before, reasons = (pa.array(text, pa.string()) for text in texts)
    hexadecimal = pa.array(map(float.hex, values), pa.string())
    # Runs from before pixel sizes were stored keep their hashes.
    ends = {size: f"\x1f{size.hex()}" if math.isfinite(size) else "" for size in set(sizes)}
    last = compute.binary_join_element_wise(reasons, pa.array(map(ends.__getitem__, sizes), pa.string()), "")
    lines = compute.binary_join_element_wise(*before, hexadecimal, last, "\x1f").to_pylist()
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
