"""Stored runs once more: the same weights on the same images, what comes out held against what is stored.

The evaluation itself is that of ``srbench eval``, in its sandbox, into a folder of its own. On the same kind
of machine outputs must be equal bit for bit; on another, scores may differ by ``PSNR_TOLERANCE`` an image
and a mean by the margin of its metric.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from srbench import models
from srbench.checks.base import LEAKING, reasons_unranked
from srbench.datasets import ReadingOptions
from srbench.datasets.registry import is_local
from srbench.evaluation.evaluate import evaluate
from srbench.evaluation.jobs import BASELINE
from srbench.evaluation.scorer import UNAVAILABLE
from srbench.metrics import registry
from srbench.statistics.margins import margin_of
from srbench.store import REFERENCES, Conditions, Manifest, RunKey, ScoreStore
from srbench.utils.errors import SrbenchError
from srbench.utils.files import sha256_file
from srbench.utils.paths import runs_folder, weights_folder
from srbench.utils.progress import ProgressCallback, silent
from srbench.utils.typed_json import typed
from srbench.weights.find import SHIPPED
from srbench.weights.published import weights_files

if TYPE_CHECKING:
    import pandas as pd

PSNR_TOLERANCE = 0.1
"""dB of a single image, where outputs may differ; 1 % of pixels off by one grey level give a tenth of it."""
_CLOSE = 1e-6
"""Relative difference of scores of equal pixels: versions of numpy and scipy differ in the last digits."""

Outcome = Literal["equal", "within tolerance", "differs", "not run"]


@dataclass(frozen=True)
class RerunResult:
    """What a run gave when it was run again.

    Attributes:
        stored: the run.
        outcome: of outputs and scores together.
        detail: a sentence: what was compared, what differs, or why it was not run.
        again: what was stored now.
    """

    stored: Manifest
    outcome: Outcome
    detail: str
    again: Manifest | None = None


def rerun(
    results: Path,
    manifests: Iterable[Manifest],
    scratch: Path,
    *,
    weights: Sequence[Path] = (),
    device: str = "auto",
    audit: bool = False,
    progress: ProgressCallback = silent,
) -> list[RerunResult]:
    """Run stored runs again.

    Args:
        results: where they are stored.
        manifests: which of them, complete ones.
        scratch: an empty results folder for the new runs.
        weights: files, or folders of files, beside the shipped ones and those of the srbench home.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        audit: run them under the conditions of an audit too.
        progress: told of every image.
    """
    files = files_by_hash(weights)
    store, here, outcomes = ScoreStore(results), ScoreStore(scratch), []
    blocks: dict[Conditions, list[Manifest]] = defaultdict(list)
    for manifest in manifests:
        blocks[manifest.key.conditions].append(manifest)
    for block in blocks.values():
        rows = store.scores([manifest.key for manifest in block])
        names = [metric.name for metric in registry.stored(set(rows.loc[rows["image"] != "", "metric"]))]
        # What has no weights runs at once, and with it the rows that srbench makes itself.
        plain = [m.key.model for m in block if not m.key.weights and m.key.model in models.model_names()]
        for manifest in block:
            run = manifest.key.run
            why = _why_not(manifest, files) or ("" if names else "srbench has none of its metrics any more")
            if not why and here.manifest(manifest.key) is None:
                progress(f"Running {run.model} {run.variant} again on {manifest.key.dataset}.")
                # Of a network that another program knows the weights say whose it is.
                chosen = [name for name in (run.model,) if name in models.model_names()]
                try:
                    summary = evaluate(
                        chosen if run.weights else plain or [BASELINE],
                        dataset=manifest.key.dataset,
                        progress=progress,
                        **options_of(manifest, files),
                        metrics=names,
                        device=device,
                        audit=audit,
                        results=scratch,
                    )
                    why = "; ".join(o.detail for o in summary.outcomes if o.model == run.model)
                except SrbenchError as error:
                    why = str(error)
            again = here.manifest(manifest.key)
            if again is None or again.status != "complete":
                outcomes.append(RerunResult(manifest, "not run", why or _other_key(manifest.key, here)))
                continue
            stored = store.scores([manifest.key])
            outcome, detail = _compared(manifest, stored, again, here.scores([manifest.key]))
            outcomes.append(RerunResult(manifest, outcome, detail, again))
    return outcomes


def files_by_hash(named: Sequence[Path] = ()) -> dict[str, Path]:
    """The weights files of this machine, and those named or in folders named, by sha256.

    Raises:
        SrbenchError: one that is named cannot be read.
    """
    there = (path for path in (SHIPPED, weights_folder(), runs_folder()) if path.is_dir())
    files = {}
    for path in weights_files([*there, *named]):
        try:
            files[sha256_file(path)] = path
        except OSError as error:
            if path in named:
                raise SrbenchError(f"Cannot read the weights {path}: {error.strerror or error}.") from error
    return files


def _why_not(manifest: Manifest, files: Mapping[str, Path]) -> str:
    """Why a run cannot be run again; empty where it can."""
    key = manifest.key
    if manifest.external:
        return "another program made its images: there is nothing to run"
    if key.model in REFERENCES:
        return "" if is_local(key.dataset) else f"{key.dataset} has not been opened on this machine"
    sha256 = str(manifest.weights.get("sha256", ""))
    if key.weights and sha256 not in files:
        return f"no weights with the sha256 {sha256 or key.weights} are here; name the file with --weights"
    if key.model not in models.model_names() and not key.weights:
        return f"srbench knows no model {key.model!r} here; install the package that brings it"
    try:
        if not is_local(key.dataset):
            # A name that comes from a file must not make srbench read a folder that nobody has named.
            return f"{key.dataset} has not been opened here; type srbench datasets show {key.dataset} first"
    except SrbenchError as error:
        return str(error)
    return ""


def options_of(manifest: Manifest, files: Mapping[str, Path]) -> dict[str, Any]:
    """The options of ``srbench eval`` that lead to a run; ``files`` are :func:`files_by_hash`."""
    key = manifest.key
    split, _, limit = key.split.partition("-limit")
    tiling = manifest.cost.get("tiling") or {}
    options: dict[str, Any] = {
        "scale": key.scale,
        "split": split,
        "limit": int(limit) if limit else None,
        "degradation": key.degradation,
        "protocol": str(manifest.protocol.get("name", "")) or None,
        "reading": _reading(manifest),
        "previews": 0,
        "oracle": LEAKING in reasons_unranked(manifest),
        # Tiles that were smaller than what the network looks at are part of the result.
        "tile": None if tiling.get("exact", True) else tiling.get("smallest_tile"),
    }
    if key.weights:
        sha256 = str(manifest.weights.get("sha256", ""))
        options |= {"weights": files[sha256], "variant": key.variant, "rgb_to_grey": key.weights != sha256}
    return options


def _reading(manifest: Manifest) -> ReadingOptions | None:
    stored = manifest.data.get("reading")
    try:
        return typed(ReadingOptions, stored) if stored else None
    except ValueError as error:
        raise SrbenchError(f"its manifest does not say how its files were read: {error}") from error


def _other_key(key: RunKey, here: ScoreStore) -> str:
    """What is different of the run that came out in its place."""
    others = [m.key for m in here.manifests() if m.key.model == key.model]
    names = sorted(
        {name for other in others for name in vars(key) if getattr(other, name) != getattr(key, name)}
    )
    return f"what runs here differs in {', '.join(names)}" if names else "nothing came out"


def _compared(
    stored: Manifest, rows: pd.DataFrame, again: Manifest, rows_again: pd.DataFrame
) -> tuple[Outcome, str]:
    """Outputs by their hashes, then every score of an image."""
    images = len(again.outputs)
    if stored.outputs and set(stored.outputs) != set(again.outputs):
        odd = sorted(set(stored.outputs) ^ set(again.outputs))
        return (
            "differs",
            f"{len(stored.outputs)} images are stored, {images} came out ({', '.join(odd[:3])}).",
        )
    changed = sum(again.outputs[image] != digest for image, digest in stored.outputs.items())
    alike = stored.device == again.device and stored.versions == again.versions
    if changed and alike:
        return "differs", f"{changed} of {images} outputs are others, on the same kind of machine."
    values = _side_by_side(rows, rows_again)
    if values.empty:
        return "not run", "none of its scores can be computed here"
    if (values["_merge"] != "both").any():
        odd = values[values["_merge"] != "both"].iloc[0]
        return "differs", f"Scores of {odd['metric']} and {odd['image']} are stored on one side only."
    before, now = (values[name].to_numpy(dtype=float) for name in ("value", "value_again"))
    if changed or not stored.outputs:
        return _within_tolerance(values, changed, images)
    same = np.isclose(now, before, rtol=_CLOSE, atol=_CLOSE, equal_nan=True)
    if not same.all():
        odd = values[~same].iloc[0]
        return "differs", (
            f"All {images} outputs are equal, {int((~same).sum())} scores are not: {odd['metric']} of "
            f"{odd['image']} is stored as {odd['value']:.6g} and is {odd['value_again']:.6g}."
        )
    return "equal", f"All {images} outputs are equal bit for bit, and {len(values)} scores follow from them."


def _side_by_side(rows: pd.DataFrame, again: pd.DataFrame) -> pd.DataFrame:
    """The scores of images in metrics that could be computed now, ``value`` and ``value_again``."""
    now = again[(again["image"] != "") & ~again["reason"].astype(str).str.startswith(UNAVAILABLE)]
    before = rows[(rows["image"] != "") & rows["metric"].isin(set(now["metric"]))]
    parts = [
        part[["metric", "image", "value"]].astype({"metric": str, "image": str}) for part in (before, now)
    ]
    merged: pd.DataFrame = parts[0].merge(
        parts[1], on=["metric", "image"], how="outer", suffixes=("", "_again"), indicator=True
    )
    return merged


def _within_tolerance(values: pd.DataFrame, changed: int, images: int) -> tuple[Outcome, str]:
    """The judgement where outputs differ because the machine does, or were not recorded."""
    moved = values.assign(moved=(values["value_again"] - values["value"]))
    psnr = moved.loc[moved["metric"] == "psnr", "moved"].abs().max()
    if psnr > PSNR_TOLERANCE:
        return "differs", f"The PSNR of an image moved by {psnr:.3f} dB, more than {PSNR_TOLERANCE}."
    for metric, change in moved.groupby("metric")["moved"].mean().abs().items():
        margin = margin_of(str(metric)).value
        if margin and change > margin:
            return "differs", f"The mean of {metric} moved by {change:.3g}, more than its margin {margin:g}."
    words = (
        f"{changed} of {images} outputs are others, on another kind of machine"
        if changed
        else ("It was stored without hashes of its outputs")
    )
    return "within tolerance", (
        f"{words}; no PSNR moved by more than {PSNR_TOLERANCE} dB (largest {psnr:.2g}), no mean by more than "
        "its margin."
    )
