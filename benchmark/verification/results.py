"""A results folder looked at without running anything.

Rows are held against the hashes of their manifests, images against those of the dataset, and written tables
against the rows. Hashes beside what they are of protect against accident, not against forgery.
"""

from __future__ import annotations

import csv
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from srbench import datasets
from srbench.checks.base import failures, stored_results
from srbench.checks.integrity import check_table
from srbench.datasets.registry import is_local
from srbench.statistics.lengths import in_nanometres
from srbench.statistics.score_matrix import rows_of, score_matrix
from srbench.store import Conditions, Manifest, Run, ScoreStore, joined, results_digest
from srbench.utils.errors import SrbenchError
from srbench.utils.files import read_regular
from srbench.utils.progress import ProgressCallback, ProgressEvent, count_of, silent

if TYPE_CHECKING:
    import pandas as pd

FORGERY = (
    "Hashes that lie beside what they are of protect against accident, not against forgery: whoever changes "
    "rows can write their hashes anew. Only running the weights again shows that the numbers are theirs."
)
_CLOSE = 1e-9
"""Largest relative difference of a mean in a written table, which has all digits."""
_LARGEST_TABLE = 1 << 26


@dataclass(frozen=True)
class RunCheck:
    """What was seen of one run.

    Attributes:
        manifest: the run.
        rows: how many it has.
        images: how many were scored.
        hashed: whether a hash of its rows was stored.
        problems: what is wrong.
        remarks: what could not be looked at, or failed when it was scored.
    """

    manifest: Manifest
    rows: int
    images: int
    hashed: bool
    problems: tuple[str, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class ResultsCheck:
    """What was seen of a results folder.

    Attributes:
        folder: where it is.
        digest: ``srbench.store.results_digest``.
        absent: baselines, controls and noise ceilings that a table lacks.
        runs: those that are complete, by run id.
        scores: their rows by conditions.
        incomplete: runs that failed or had no weights.
        problems: what is wrong with no single run.
    """

    folder: Path
    digest: str
    absent: tuple[str, ...]
    runs: tuple[RunCheck, ...]
    scores: Mapping[Conditions, pd.DataFrame]
    incomplete: tuple[Manifest, ...]
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems and not any(run.problems for run in self.runs)


def check_results(results: str | os.PathLike[str], progress: ProgressCallback = silent) -> ResultsCheck:
    """Look at a results folder.

    Args:
        results: the folder of a score store.
        progress: told of the runs and tables that are read.

    Raises:
        SrbenchError: there are no runs in it.
    """
    folder = Path(results)
    store = ScoreStore(folder)
    stored = store.runs(progress)
    complete = [(manifest, rows) for manifest, rows in stored if rows is not None]
    if not stored and not store.problems:
        raise SrbenchError(f"No runs in {folder}: name a results folder, which holds a folder runs.")
    by_conditions: dict[Conditions, list[tuple[Manifest, pd.DataFrame]]] = defaultdict(list)
    for manifest, rows in complete:
        by_conditions[manifest.key.conditions].append((manifest, rows))
    checks, absent, scores = [], [], {}
    for number, (conditions, runs) in enumerate(by_conditions.items(), 1):
        of_table, lacking, scores[conditions] = _check_runs(conditions, runs)
        checks += of_table
        absent += lacking
        progress(ProgressEvent("tables checked", number, len(by_conditions), "tables"))
    return ResultsCheck(
        folder,
        results_digest(folder),
        tuple(absent),
        tuple(sorted(checks, key=lambda check: check.manifest.key.run_id)),
        scores,
        tuple(manifest for manifest, rows in stored if rows is None),
        (*store.problems, *_table_problems(folder, scores)),
    )


Images = set[tuple[str, str, str]]
"""Id, group and category."""


def _check_runs(
    conditions: Conditions, runs: Sequence[tuple[Manifest, pd.DataFrame]]
) -> tuple[list[RunCheck], list[str], pd.DataFrame]:
    """The runs of one table, what it lacks, and its rows, which are taken out of those of the runs."""
    named = [rows.loc[rows["image"] != "", ["image", "group", "category"]] for _, rows in runs]
    images = [set(rows.drop_duplicates().astype(str).itertuples(index=False, name=None)) for rows in named]
    valued = [set(rows.loc[rows["value"].notna(), "image"].astype(str)) - {""} for _, rows in runs]
    sizes = [len(rows) for _, rows in runs]
    manifests = [manifest for manifest, _ in runs]
    scores = joined(rows for _, rows in runs)
    findings = check_table(manifests, scores)
    expected, remark = _images_of_dataset(conditions)
    one_lr = len({manifest.data.get("lr_sha256") for manifest in manifests}) == 1
    checks = []
    for manifest, of_run, with_value, size in zip(manifests, images, valued, sizes, strict=True):
        results = [result for result in findings[manifest.key.run] if result.guard != "baselines"]
        problems = [result.detail for result in failures(results)]
        problems += _image_problems(manifest, of_run, set().union(*images), expected)
        if manifest.outputs and (bare := sorted(with_value - set(manifest.outputs))):
            pixels = "values and no hash of the super-resolved pixels"
            problems.append(f"{count_of(len(bare), 'image')} with {pixels}: {listed_few(bare)}.")
        if not one_lr:
            problems.append("The runs of its table were given different LR images (lr_sha256).")
        scored = failures(stored_results(manifest))
        remarks = [f"{result.guard} failed when it was scored: {result.detail}" for result in scored]
        remarks += [result.detail for result in results if result.status == "unchecked"]
        remarks += [remark] if remark else []
        count = len({image for image, _, _ in of_run})
        hashed = bool(manifest.scores_sha256)
        checks.append(RunCheck(manifest, size, count, hashed, tuple(problems), tuple(remarks)))
    of_baselines = {r for results in findings.values() for r in results if r.guard == "baselines"}
    absent = [result.detail for result in of_baselines if result.status != "passed"]
    if not of_baselines:
        absent.append("No model: only what srbench makes itself.")
    return checks, [f"{conditions.describe()}: {detail}" for detail in absent], scores


def _images_of_dataset(conditions: Conditions) -> tuple[Images | None, str]:
    """What the split holds, where these data are on this machine, else why that is not known."""
    name = conditions.dataset
    try:
        if not is_local(name):
            return (
                None,
                f"Whether all images of {name} are there is not known: this machine has not opened it.",
            )
        opened = datasets.open(name)
        if opened.fingerprint != conditions.data:
            return None, f"Whether all images are there is not known: {name} here is in another state."
        return {(i.id, i.group, i.category) for i in opened.split(conditions.split)}, ""
    except SrbenchError:
        return None, f"Whether all images of {name} are there is not known: it is not on this machine."


def _image_problems(
    manifest: Manifest, images: Images, together: Images, expected: Images | None
) -> Iterator[str]:
    ids = {image for image, _, _ in images}
    if expected is not None:
        if missing := sorted({image for image, _, _ in expected} - ids):
            count = count_of(len(missing), "image")
            yield f"{count} of the split {manifest.key.split} without rows: {listed_few(missing)}."
        if foreign := sorted(ids - {image for image, _, _ in expected}):
            yield f"{count_of(len(foreign), 'image')} outside the split: {listed_few(foreign)}."
        elif moved := sorted({image for image, _, _ in images - expected}):
            count = count_of(len(moved), "image")
            yield f"{count} in another group or category than in the dataset: {listed_few(moved)}."
    elif missing := sorted({image for image, _, _ in together} - ids):
        count = count_of(len(missing), "image")
        yield f"{count} that other runs of the table have without rows: {listed_few(missing)}."


def listed_few(names: Sequence[str]) -> str:
    """The first three names."""
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")


def _table_problems(folder: Path, scores: Mapping[Conditions, pd.DataFrame]) -> Iterator[str]:
    """Written tables whose means are not those of the rows."""
    means: dict[tuple[Conditions, str], dict[Run, float]] = {}
    for path in sorted((*folder.glob("tables/*.csv"), *folder.glob("report/tables/*.csv"))):
        try:
            lines = csv.DictReader(read_regular(path, _LARGEST_TABLE).decode().splitlines())
            if not {"mean", "metric", "weights", "n_images"} <= set(lines.fieldnames or ()):
                continue  # another kind of table
            wrong = [
                f"{line['model']} {line['metric']}"
                for line in lines
                # Several seeds of one training stand in one line; their means are in no single run.
                if line["n_images"] and "+" not in line["seed"] and not _is_mean(line, scores, means)
            ]
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            yield f"{path} cannot be read: {error}."
            continue
        if wrong:
            yield f"{path}: {len(wrong)} means do not follow from the rows: {listed_few(wrong)}."


def _is_mean(
    line: Mapping[str, str],
    scores: Mapping[Conditions, pd.DataFrame],
    means: dict[tuple[Conditions, str], dict[Run, float]],
) -> bool:
    names = Conditions._fields
    conditions = Conditions(
        **{name: line[name] for name in names if name != "scale"}, scale=int(line["scale"])
    )
    if conditions not in scores:
        return False
    key = conditions, line["metric"]
    if key not in means:
        means[key] = means_of(scores[conditions], line["metric"])
    stated = float(line["mean"] or "nan")
    mean = means[key].get(Run(line["model"], line["variant"], line["weights"], int(line["seed"])), math.nan)
    return (math.isnan(mean) and math.isnan(stated)) or math.isclose(
        mean, stated, rel_tol=_CLOSE, abs_tol=1e-12
    )


def means_of(scores: pd.DataFrame, metric: str) -> dict[Run, float]:
    """Each run to its mean as tables have it: lengths in nm where all pixel sizes are known."""
    rows = rows_of(in_nanometres(scores)[0], metric)
    if rows.empty:
        return {}
    matrix = score_matrix(rows)
    return {method.run: matrix.clusters(method).mean for method in matrix.methods}
