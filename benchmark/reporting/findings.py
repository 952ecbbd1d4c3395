"""What a reader must know before believing a table: warnings, and what is missing and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from srbench.evaluation.statistics import ALPHA, FEW_GROUPS
from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.rows import BASELINE, LEAKING, SMOKE, Row, title_of
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
        *_standings(board),
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
    return [*runs, *_metric_gaps(board), *_cost_gaps(board), *_skipped(board)]


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


def _merged(found: Iterable[tuple[str, str, str]], n_runs: int) -> list[Gap]:
    by_reason: dict[tuple[str, str], list[str]] = {}
    for what, why, who in found:
        by_reason.setdefault((what, why), []).append(who)
    return [
        Gap(what, f"all {n_runs} runs" if len(who) == n_runs > 1 else ", ".join(who), why)
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
    ranked = {row.run[:2] for row in board.rows if row.standing in ("network", "interpolation")}
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
    scores = board.block.scores
    rows = scores[(scores["image"] != "") & scores["value"].notna()]
    seen: dict[tuple[tuple[str, str, float], ...], Row] = {}
    found = []
    for row in board.rows:
        own = rows
        for name, value in zip(("model", "variant", "weights", "seed"), row.run, strict=True):
            own = own[own[name] == value]
        signature = tuple(sorted(zip(own["image"], own["metric"], own["value"], strict=True)))
        first = seen.setdefault(signature, row) if signature else row
        if first.run[0] != row.run[0]:
            found.append(
                f"{first.label} and {row.label} score exactly the same on every image: "
                "most likely the same output under two names."
            )
    return found


def _mixed(board: Leaderboard, what: str, message: str) -> list[str]:
    fields = {"device": ("name", "precision"), "versions": ("srbench", "torch")}[what]
    values = set()
    for manifest in board.block.complete:
        mapping = getattr(manifest, what)
        value = " ".join(f"{mapping[name]}" for name in fields if mapping.get(name))
        values |= {value} if value else set()
    return [f"{message} ({'; '.join(sorted(values))})."] if len(values) > 1 else []


def _incomplete(board: Leaderboard) -> list[str]:
    """A run scored on fewer images than another in the same metric."""
    most: dict[str, int] = {}
    for row in board.rows:
        for metric, cell in row.cells.items():
            most[metric] = max(most.get(metric, 0), cell.n_images)
    short = {
        row.label: cell.n_images
        for row in board.rows
        for metric, cell in row.cells.items()
        if cell.n_images < most[metric]
    }
    names = ", ".join(short)
    return [f"Scored on fewer images than the others in some metric: {names}."] if short else []


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
