"""What a reader must know before believing a table: warnings, and what is missing and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from srbench.evaluation.panel import twins
from srbench.evaluation.statistics import ALPHA, FEW_GROUPS
from srbench.reporting.guards import RunId, failures, run_of, stored_findings, title_of_guard
from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.rows import BASELINE, LEAKING, RANKED, SMOKE, title_of
from srbench.store import Manifest


@dataclass(frozen=True)
class Gap:
    """Something that is not in the table: what, for whom, and why with the next step."""

    what: str
    who: str
    why: str


def warnings_of(board: Leaderboard) -> list[str]:
    """Everything that limits what the block's numbers mean, most serious first."""
    found = [
        *_synthetic(board),
        *_failed_guards(board),
        *_standings(board),
        *_fooled(board),
        *_groups(board),
        *_references(board),
        *_twins(board),
        *_mixed(board, "device", "Runs were made on different devices: do not compare their speed"),
        *_mixed(board, "versions", "Runs were made by different versions of srbench or its libraries"),
        *_incomplete(board),
    ]
    return list(dict.fromkeys(found))


def gaps_of(board: Leaderboard) -> list[Gap]:
    """Failed and missing runs, then values without a number, equal reasons told once."""
    runs = [
        Gap("the whole run" if m.status == "failed" else "no weights", _absent_name(m), m.reason)
        for m in board.block.absent
    ]
    return [*runs, *_absent_guards(board), *_metric_gaps(board), *_cost_gaps(board), *_skipped(board)]


def _absent_guards(board: Leaderboard) -> list[Gap]:
    """Runs without scores of which a guard says why, or something worse."""
    return [
        Gap(f"failed guard: {title_of_guard(found.guard)}", _absent_name(manifest), found.detail)
        for manifest in board.block.absent
        for found in failures(stored_findings(manifest))
    ]


def _absent_name(manifest: Manifest) -> str:
    key = manifest.key
    parts = [key.variant, f"seed {key.seed}" if key.seed >= 0 else ""]
    detail = ", ".join(part for part in parts if part)
    return f"{title_of(manifest)} ({detail})" if detail else title_of(manifest)


def _metric_gaps(board: Leaderboard) -> list[Gap]:
    titles = {column.id: column.title for column in (*board.columns, *board.empty_columns)}
    found = [
        (titles[metric], cell.reason, row.label)
        for row in board.rows
        for metric, cell in row.cells.items()
        if cell.reason
    ]
    return _merged(found, len(board.rows))


def _cost_gaps(board: Leaderboard) -> list[Gap]:
    titles = {column.id: column.title for column in board.cost_columns}
    found = [
        (titles[metric], reason, row.label)
        for row in board.rows
        for metric, reason in row.cost_reasons.items()
    ]
    return _merged(found, len(board.rows))


def _merged(found: Iterable[tuple[str, str, str]], n_rows: int) -> list[Gap]:
    by_reason: dict[tuple[str, str], list[str]] = {}
    for what, why, who in found:
        by_reason.setdefault((what, why), []).append(who)
    return [
        Gap(what, "every row" if len(who) == n_rows > 1 else ", ".join(who), why)
        for (what, why), who in by_reason.items()
    ]


def _skipped(board: Leaderboard) -> list[Gap]:
    files: dict[str, str] = {}
    for manifest in board.block.complete:
        skipped = manifest.data.get("skipped", {})
        files.update(skipped if isinstance(skipped, Mapping) else {})
    return [Gap("image", name, str(reason)) for name, reason in sorted(files.items())]


def _synthetic(board: Leaderboard) -> list[str]:
    kinds = {str(manifest.data.get("kind", "")) for manifest in board.block.complete}
    if "synthetic" in kinds or "synthetic" in board.block.key.dataset:
        return [
            "Synthetic scenes: their geometry is known exactly, but they are not micrographs. "
            "Ranks here say nothing certain about a real instrument."
        ]
    return []


def _failed_guards(board: Leaderboard) -> list[str]:
    """What failed, one sentence a guard and detail, with the runs."""
    names = {run_of(run): row.label_of(run) for row in board.rows for run in row.manifests}
    found: dict[tuple[str, str], list[RunId]] = {}
    for run in names:
        for one in failures(board.findings[run]):
            found.setdefault((title_of_guard(one.guard), one.detail), []).append(run)
    return [
        f"Failed guard, not ranked: {title} ({', '.join(names[run] for run in runs)}). {detail}"
        for (title, detail), runs in found.items()
    ]


def _fooled(board: Leaderboard) -> list[str]:
    titles = [column.title for column in board.columns if column.id in board.fooled]
    if not titles:
        return []
    return [
        "No evidence of structure here, because a control that invents texture beats bicubic: "
        f"{', '.join(titles)}."
    ]


def _standings(board: Leaderboard) -> list[str]:
    smoke = sum(SMOKE in row.badges for row in board.rows)
    leaking = sum(LEAKING in row.badges for row in board.rows)
    found = []
    if smoke:
        found.append(
            f"{_count(smoke, 'run uses', 'runs use')} weights of the smoke budget, trained for seconds to "
            "show that the software works: not a result, not ranked."
        )
    if leaking:
        found.append(
            f"{_count(leaking, 'run sees', 'runs see')} the HR image while predicting it: "
            "such numbers cannot be reached in use, not ranked."
        )
    return found


def _groups(board: Leaderboard) -> list[str]:
    groups, rivals = board.n_groups, _rivals(board)
    if not groups or groups >= FEW_GROUPS:
        return []
    text = (
        f"Only {_count(groups, 'independent group', 'independent groups')} of images: "
        "the intervals are probably too narrow."
    )
    if rivals and rivals * 2.0 ** (1 - groups) >= ALPHA:
        text += (
            f" With {groups} groups and {_count(rivals, 'rival', 'rivals')} no paired test can reach "
            f"{100 * ALPHA:g} % after Holm's correction, so nothing can be marked best."
        )
    return [text]


def _rivals(board: Leaderboard) -> int:
    ranked = {row.run[:2] for row in board.rows if row.standing in RANKED}
    return max(len(ranked) - 1, 0)


def _references(board: Leaderboard) -> list[str]:
    key, models = board.block.key, {row.manifest.key.model for row in board.rows}
    found = []
    if board.rows and BASELINE not in models:
        found.append(
            "Bicubic interpolation was not scored here, so there are no differences to it: "
            f"run `srbench eval {BASELINE} --dataset {key.dataset} --scale {key.scale}`."
        )
    if board.rows and not board.section("ceiling"):
        found.append(
            "No noise ceiling: without a second acquisition of the same field nobody can say how much of the "
            "remaining error is the HR image's own noise."
        )
    return found


def _twins(board: Leaderboard) -> list[str]:
    """Two models that score the same on every image have most likely given the same images."""
    names = {run_of(run): row.label_of(run) for row in board.rows for run in row.manifests}
    if not names:
        return []
    return [
        f"{names[first]} and {names[run]} score exactly the same on every image: "
        "most likely the same output under two names."
        for run, first in twins(board.block.scores).items()
        if run.model != first.model
    ]


def _mixed(board: Leaderboard, what: str, message: str) -> list[str]:
    fields = {"device": ("name", "precision"), "versions": ("srbench", "torch")}[what]
    values = set()
    for manifest in board.block.complete:
        mapping = getattr(manifest, what)
        value = " ".join(f"{mapping[name]}" for name in fields if mapping.get(name))
        values |= {value} if value else set()
    return [f"{message} ({'; '.join(sorted(values))})."] if len(values) > 1 else []


def _incomplete(board: Leaderboard) -> list[str]:
    """Models that lack a value for an image that another one has, and so have no rank in that metric."""
    lacking = {
        row.label: [
            column.title
            for column in board.columns
            if column.direction != "none" and column.id in row.cells and not row.cells[column.id].ranked
        ]
        for row in board.rows
        if row.standing in RANKED
    }
    names = "; ".join(f"{label} in {', '.join(titles)}" for label, titles in lacking.items() if titles)
    return [f"Not ranked for want of images that others have a value for: {names}."] if names else []


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
