"""What a reader must know beside a table: warnings, what is missing and why, conditions and run records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from srbench.checks.base import LEAKING, SMOKE, UNGUARDED, failures, stored_results, title_of_check
from srbench.models.base import NOTHING_LEARNED
from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.rows import BASELINE, RANKED, title_of
from srbench.statistics.leaderboard import FEW_GROUPS
from srbench.statistics.paired_tests import VERDICT_GROUPS
from srbench.store import REFERENCES, Manifest

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
    return list(dict.fromkeys((*_limits(board), *_mixed_conditions(board), *_incomplete(board))))


def gaps_of(board: Leaderboard) -> list[Gap]:
    """Failed and missing runs, then values without a number, equal reasons together."""
    runs, failed = [], []
    for manifest in board.block.absent:
        key, title = manifest.key, title_of(manifest)
        parts = [key.variant, f"seed {key.seed}" if key.seed >= 0 else ""]
        detail = ", ".join(part for part in parts if part)
        name = f"{title} ({detail})" if detail else title
        runs.append(
            Gap("the whole run" if manifest.status == "failed" else "no weights", name, manifest.reason)
        )
        for finding in failures(stored_results(manifest)):
            failed.append(Gap(f"failed check: {title_of_check(finding.guard)}", name, finding.detail))

    columns = (*board.columns, *board.empty_columns, *board.cost_columns)
    titles = {column.id: column.title for column in columns}
    without: dict[tuple[str, str], list[str]] = {}
    reasons = [(row, metric, cell.reason) for row in board.rows for metric, cell in row.cells.items()]
    reasons += [(row, metric, why) for row in board.rows for metric, why in row.cost_reasons.items()]
    for row, metric, reason in reasons:
        if reason:
            without.setdefault((titles[metric], reason), []).append(row.label)
    values = [
        Gap(title, "every row" if len(names) == len(board.rows) > 1 else ", ".join(names), reason)
        for (title, reason), names in without.items()
    ]

    skipped: dict[str, str] = {}
    for manifest in board.block.complete:
        files = manifest.data.get("skipped", {})
        skipped.update(files if isinstance(files, Mapping) else {})
    images = [Gap("image", name, str(reason)) for name, reason in sorted(skipped.items())]
    return [*runs, *failed, *values, *images]


def _limits(board: Leaderboard) -> Iterator[str]:
    """Limits of the data, of single rows, and of what can be compared."""
    key, rows = board.block.key, board.rows
    newest = board.block.newest_data
    if newest and newest != key.data:
        yield (
            f"Outdated: this dataset was scored later on other data ({newest[:12]}), which stand in a block "
            "of their own. Score what is missing there, and read that one."
        )
    if board.lengths.unit == "px" and board.lengths.sizes and board.lengths_in_words:
        yield f"{board.lengths.why[:1].upper()}{board.lengths.why[1:]}."
    if board.reference_noise:
        yield f"{board.reference_noise}."
    kinds = {str(manifest.data.get("kind", "")) for manifest in board.block.complete}
    if "synthetic" in kinds or "synthetic" in key.dataset:
        yield (
            "Synthetic scenes: their geometry is known exactly, but they are not micrographs. "
            "Ranks here say nothing certain about a real instrument."
        )

    names = {manifest.key.run: row.label_of(manifest) for row in rows for manifest in row.manifests}
    failed: dict[tuple[str, str], list[str]] = {}
    for run, name in names.items():
        for finding in failures(board.findings[run]):
            failed.setdefault((title_of_check(finding.guard), finding.detail), []).append(name)
    for (title, detail), runs in failed.items():
        yield f"Failed check, not ranked: {title} ({', '.join(runs)}). {detail}"

    if smoke := sum(SMOKE in row.badges for row in rows):
        yield (
            f"{_count(smoke, 'run uses', 'runs use')} weights of the smoke budget, trained for seconds to "
            "show that the software works: not a result, not ranked."
        )
    if leaking := sum(LEAKING in row.badges for row in rows):
        yield (
            f"{_count(leaking, 'run sees', 'runs see')} the HR image while predicting it: "
            "such numbers cannot be reached in use, not ranked."
        )
    if unguarded := sum(UNGUARDED in row.badges for row in rows):
        yield (
            f"{_count(unguarded, 'row is', 'rows are')} of images made outside srbench: what the program was "
            "given and what it was trained on is not known, not ranked."
        )
    if not_evidence := [column.title for column in board.columns if column.id in board.not_evidence]:
        yield (
            "No evidence of structure here, because a control that invents texture beats bicubic: "
            f"{', '.join(not_evidence)}."
        )

    groups = board.n_groups
    if 0 < groups < FEW_GROUPS:
        text = (
            f"Only {_count(groups, 'independent group', 'independent groups')} of images: the intervals are "
            "too narrow where a few groups are unlike the others."
        )
        if groups < VERDICT_GROUPS:
            text += f" With fewer than {VERDICT_GROUPS} no difference is decided and nothing marked best."
        yield text
    images = board.block.scores[board.block.scores["image"] != ""]
    per_category = images.groupby("category", observed=True)["group"].nunique()
    single = [str(category) for category in per_category.index[per_category == 1]]
    if single and len(per_category) > 1:
        yield (
            f"A single group of images in {', '.join(single)}: how much another one would differ is not "
            "known, so its distance from the other categories stands for it. That makes intervals wide; a "
            "second specimen narrows them."
        )
    if rows and BASELINE not in {row.run.model for row in rows}:
        yield (
            "Bicubic interpolation was not scored here, so there are no differences to it: "
            f"run `srbench eval {BASELINE} --dataset {key.dataset} --scale {key.scale}`."
        )
    if rows and not board.section("ceiling"):
        yield (
            "No noise ceiling: without a second acquisition of the same field it is not known how much of "
            "the remaining error is noise of the HR image."
        )
    for run, first in board.group.duplicates.items():
        if run.model != first.model:
            yield (
                f"{names[first]} and {names[run]} score exactly the same on every image: "
                "most likely the same output under two names."
            )


def _mixed_conditions(board: Leaderboard) -> Iterator[str]:
    for what, fields, message in (
        ("device", ("name", "precision"), "Runs were made on different devices: do not compare their speed"),
        (
            "versions",
            ("srbench", "torch"),
            "Runs were made by different versions of srbench or its libraries",
        ),
    ):
        mappings = [getattr(manifest, what) for manifest in board.block.complete]
        values = {" ".join(str(m[name]) for name in fields if m.get(name)) for m in mappings} - {""}
        if len(values) > 1:
            yield f"{message} ({'; '.join(sorted(values))})."


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


def conditions(board: Leaderboard) -> list[Field]:
    """What all runs of a block have in common, in words, then the full protocol."""
    block = board.block
    key = block.key._asdict()
    shared = [(words, str(key[name])) for name, words in _KEY_WORDS.items() if name != "protocol"]
    if board.lengths_in_words:
        shared.append(("Lengths", board.lengths_in_words))
    # Which images, what was done to their pixels, and where the pixel sizes come from: one line a kind.
    for manifest in block.complete:
        lines = (manifest.data.get("selection"), *manifest.data.get("remarks", ()))
        shared += [("Images", str(line)) for line in lines if line and ("Images", str(line)) not in shared]
    protocol: dict[str, Any] = {"id": block.key.protocol}
    for manifest in (*block.complete, *block.absent):
        protocol.update({name: value for name, value in manifest.protocol.items() if name != "id"})
    if protocol.get("border") == "scale":
        protocol["border"] = f"{key['scale']} HR pixels (the scale)"
    return [*shared, *((_PROTOCOL_WORDS.get(name, _words(name)), _value(v)) for name, v in protocol.items())]


def record(name: str, manifest: Manifest) -> RunRecord:
    """All that is recorded about one run."""
    key = manifest.key
    # What identifies a run of another program are its images, and what it learned is not known.
    weights, nothing = ("Images", "not known") if manifest.external else ("Weights", "none")
    if manifest.card.get("family") in NOTHING_LEARNED or key.model in REFERENCES:
        nothing = "none (nothing learned)"
    # The seed of other people's weights is not known either.
    unseeded = "not known" if key.weights else nothing
    fields: list[Field] = [
        ("Status", f"{manifest.status}: {manifest.reason}" if manifest.reason else manifest.status),
        ("Model", f"{key.model}, variant {key.variant}" if key.variant else key.model),
        (
            "Paper",
            " ".join(str(manifest.card[name]) for name in ("year", "paper") if manifest.card.get(name)),
        ),
        (f"{weights} (sha256)", key.weights or nothing),
        ("Training seed", str(key.seed) if key.seed >= 0 else unseeded),
        ("Made", manifest.created),
        ("Command", manifest.command),
    ]
    for section in _SECTIONS:
        fields += _flat(weights if section == "weights" else _words(section), getattr(manifest, section))
    fields += [("Note", str(note)) for note in manifest.notes]
    return RunRecord(name, tuple((label, value) for label, value in fields if value))


def _flat(prefix: str, content: Mapping[str, Any]) -> list[Field]:
    """Nested mappings as ``Prefix: name`` lines, in the order of their names."""
    fields: list[Field] = []
    for name in sorted(content, key=str):
        value, label = content[name], f"{prefix}: {_words(str(name))}"
        if isinstance(value, Mapping):
            fields += _flat(label, value)
        elif isinstance(value, Sequence) and value and all(isinstance(entry, Mapping) for entry in value):
            for number, entry in enumerate(value, start=1):
                fields += _flat(f"{label} {number}", entry)
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
