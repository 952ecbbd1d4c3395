"""What a reader must know beside a table: warnings, what is missing and why, conditions and run records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from srbench.evaluation.guards.cards import LEAKING, SMOKE, failures, stored_findings, title_of_guard
from srbench.evaluation.paired import ALPHA
from srbench.evaluation.panel import duplicate_runs
from srbench.evaluation.statistics import FEW_GROUPS
from srbench.reporting.blocks import Block
from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.rows import BASELINE, RANKED, title_of
from srbench.store import Manifest, Run

Field = tuple[str, str]
_PROTOCOL_WORDS = {
    "id": "Protocol id (numbers with different ids must not be compared)",
    "name": "Name",
    "channel": "Channel that is compared",
    "luma": "Range of grey values (full = 0 to 255; studio = 16 to 235, which raises PSNR by 1.3219 dB)",
    "border": "Border left out on every side",
    "quantisation": "Rounding before the comparison",
    "data_range": "White minus black",
    "resize": "Resize behind the degradation",
    "metrics": "Versions of the core metrics",
}
_KEY_WORDS = {
    "dataset": "Data set",
    "data": "Data fingerprint (sha256)",
    "split": "Split",
    "degradation": "Degradation",
    "scale": "Magnification",
    "protocol": "Protocol id",
}
_SECTIONS = ("data", "weights", "device", "versions", "cost")


@dataclass(frozen=True)
class Gap:
    """Something that is not in the table: what, for whom, and why with the next step."""

    what: str
    who: str
    why: str


def warnings_of(board: Leaderboard) -> list[str]:
    """Everything that limits what the block's numbers mean, most serious first."""
    warnings = [
        *_synthetic(board),
        *_failed_guards(board),
        *_unranked(board),
        *_fooled(board),
        *_groups(board),
        *_references(board),
        *_duplicates(board),
        *_mixed(board, "device", "Runs were made on different devices: do not compare their speed"),
        *_mixed(board, "versions", "Runs were made by different versions of srbench or its libraries"),
        *_incomplete(board),
    ]
    return list(dict.fromkeys(warnings))


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
        Gap(f"failed guard: {title_of_guard(finding.guard)}", _absent_name(manifest), finding.detail)
        for manifest in board.block.absent
        for finding in failures(stored_findings(manifest))
    ]


def _absent_name(manifest: Manifest) -> str:
    key = manifest.key
    parts = [key.variant, f"seed {key.seed}" if key.seed >= 0 else ""]
    detail = ", ".join(part for part in parts if part)
    return f"{title_of(manifest)} ({detail})" if detail else title_of(manifest)


def _metric_gaps(board: Leaderboard) -> list[Gap]:
    titles = {column.id: column.title for column in (*board.columns, *board.empty_columns)}
    gaps = [
        (titles[metric], cell.reason, row.label)
        for row in board.rows
        for metric, cell in row.cells.items()
        if cell.reason
    ]
    return _merged(gaps, len(board.rows))


def _cost_gaps(board: Leaderboard) -> list[Gap]:
    titles = {column.id: column.title for column in board.cost_columns}
    gaps = [
        (titles[metric], reason, row.label)
        for row in board.rows
        for metric, reason in row.cost_reasons.items()
    ]
    return _merged(gaps, len(board.rows))


def _merged(gaps: Iterable[tuple[str, str, str]], n_rows: int) -> list[Gap]:
    by_reason: dict[tuple[str, str], list[str]] = {}
    for what, why, who in gaps:
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
    names = board_labels(board)
    failed: dict[tuple[str, str], list[Run]] = {}
    for run in names:
        for finding in failures(board.findings[run]):
            failed.setdefault((title_of_guard(finding.guard), finding.detail), []).append(run)
    return [
        f"Failed guard, not ranked: {title} ({', '.join(names[run] for run in runs)}). {detail}"
        for (title, detail), runs in failed.items()
    ]


def board_labels(board: Leaderboard) -> dict[Run, str]:
    """Every run of the table to its printed name."""
    return {run.key.run: row.label_of(run) for row in board.rows for run in row.manifests}


def _fooled(board: Leaderboard) -> list[str]:
    titles = [column.title for column in board.columns if column.id in board.fooled]
    if not titles:
        return []
    return [
        "No evidence of structure here, because a control that invents texture beats bicubic: "
        f"{', '.join(titles)}."
    ]


def _unranked(board: Leaderboard) -> list[str]:
    smoke = sum(SMOKE in row.badges for row in board.rows)
    leaking = sum(LEAKING in row.badges for row in board.rows)
    warnings = []
    if smoke:
        warnings.append(
            f"{_count(smoke, 'run uses', 'runs use')} weights of the smoke budget, trained for seconds to "
            "show that the software works: not a result, not ranked."
        )
    if leaking:
        warnings.append(
            f"{_count(leaking, 'run sees', 'runs see')} the HR image while predicting it: "
            "such numbers cannot be reached in use, not ranked."
        )
    return warnings


def _groups(board: Leaderboard) -> list[str]:
    groups = board.n_groups
    rivals = max(len({row.run[:2] for row in board.rows if row.kind in RANKED}) - 1, 0)
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


def _references(board: Leaderboard) -> list[str]:
    key, models = board.block.key, {row.manifest.key.model for row in board.rows}
    warnings = []
    if board.rows and BASELINE not in models:
        warnings.append(
            "Bicubic interpolation was not scored here, so there are no differences to it: "
            f"run `srbench eval {BASELINE} --dataset {key.dataset} --scale {key.scale}`."
        )
    if board.rows and not board.section("ceiling"):
        warnings.append(
            "No noise ceiling: without a second acquisition of the same field nobody can say how much of the "
            "remaining error is the HR image's own noise."
        )
    return warnings


def _duplicates(board: Leaderboard) -> list[str]:
    """Two models that score the same on every image have most likely given the same images."""
    names = board_labels(board)
    if not names:
        return []
    return [
        f"{names[first]} and {names[run]} score exactly the same on every image: "
        "most likely the same output under two names."
        for run, first in duplicate_runs(board.block.scores).items()
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
        if row.kind in RANKED
    }
    names = "; ".join(f"{label} in {', '.join(titles)}" for label, titles in lacking.items() if titles)
    return [f"Not ranked for want of images that others have a value for: {names}."] if names else []


def _count(number: int, singular: str, plural: str) -> str:
    return f"{number} {singular if number == 1 else plural}"


@dataclass(frozen=True)
class RunRecord:
    """Everything a manifest says, as lists of names and values."""

    name: str
    fields: tuple[Field, ...]


def conditions(block: Block) -> list[Field]:
    """What all runs of a block have in common, in words, then the full protocol."""
    key = block.key._asdict()
    shared = [(words, str(key[name])) for name, words in _KEY_WORDS.items() if name != "protocol"]
    protocol: dict[str, Any] = {"id": block.key.protocol}
    for manifest in (*block.complete, *block.absent):
        protocol.update({name: value for name, value in manifest.protocol.items() if name != "id"})
    if protocol.get("border") == "scale":
        protocol["border"] = f"{key['scale']} HR pixels (the scale)"
    return [*shared, *((_PROTOCOL_WORDS.get(name, _words(name)), _value(v)) for name, v in protocol.items())]


def record(name: str, manifest: Manifest) -> RunRecord:
    """All that is recorded about one run."""
    key = manifest.key
    fields: list[Field] = [
        ("Status", f"{manifest.status}: {manifest.reason}" if manifest.reason else manifest.status),
        ("Model", f"{key.model}, variant {key.variant}" if key.variant else key.model),
        (
            "Paper",
            " ".join(str(manifest.card[name]) for name in ("year", "paper") if manifest.card.get(name)),
        ),
        ("Weights (sha256)", key.weights or "none (nothing learned)"),
        ("Training seed", str(key.seed) if key.seed >= 0 else "none (nothing learned)"),
        ("Made", manifest.created),
        ("Command", manifest.command),
    ]
    for section in _SECTIONS:
        fields += _flat(_words(section), getattr(manifest, section))
    fields += [("Note", str(note)) for note in manifest.notes]
    return RunRecord(name, tuple((label, value) for label, value in fields if value))


def _flat(prefix: str, content: Mapping[str, Any]) -> list[Field]:
    """Nested mappings as ``Prefix: name`` lines, in the order of their names."""
    fields: list[Field] = []
    for name in sorted(content, key=str):
        value, label = content[name], f"{prefix}: {_words(str(name))}"
        if isinstance(value, Mapping):
            fields += _flat(label, value)
        else:
            fields.append((label, _value(value)))
    return fields


def _value(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_value(entry) for entry in value) or "none"
    return str(value)


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()
