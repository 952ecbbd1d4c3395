"""What a reader must know beside a table: warnings, what is missing and why, conditions and run records."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from srbench.checks.base import LEAKING, SMOKE, UNGUARDED, failures, stored_results, title_of_check
from srbench.models.base import NOTHING_LEARNED
from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.rows import BASELINE, RANKED, title_of
from srbench.statistics.leaderboard import FEW_GROUPS
from srbench.statistics.paired_tests import VERDICT_GROUPS
from srbench.store import CONTROL, NOISE_CEILING, REFERENCES, Manifest

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
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.])")
"""A number that stands alone; none of a name, a version or a hash."""
_SECTIONS = ("data", "weights", "device", "versions", "cost")


@dataclass(frozen=True)
class Gap:
    """Why something is not in the table and what to do, with all that is missing for this reason."""

    why: str
    missing: tuple[str, ...]


def alarms_of(board: Leaderboard) -> list[str]:
    """What makes numbers of the block unfit to be relied on; it stands before anything else."""
    return list(dict.fromkeys(_alarms(board)))


def warnings_of(board: Leaderboard) -> list[str]:
    """Everything that limits what the block's numbers mean, most serious first."""
    limits = (*_alarms(board), *_limits(board), *_mixed_conditions(board), *_incomplete(board))
    return list(dict.fromkeys(limits))


def gaps_of(board: Leaderboard) -> list[Gap]:
    """Failed and missing runs, then values without a number, then images; one entry a reason."""
    missing: dict[str, list[str]] = {}
    for manifest in board.block.absent:
        key, title = manifest.key, title_of(manifest)
        parts = [key.variant, f"seed {key.seed}" if key.seed >= 0 else ""]
        detail = ", ".join(part for part in parts if part)
        name = f"{title} ({detail})" if detail else title
        what = "the whole run" if manifest.status == "failed" else "no weights"
        missing.setdefault(manifest.reason, []).append(f"{name}: {what}")
        for finding in failures(stored_results(manifest)):
            why = f"Failed check: {title_of_check(finding.guard)}. {finding.detail}"
            missing.setdefault(why, []).append(name)

    columns = (*board.columns, *board.empty_columns, *board.cost_columns)
    titles = {column.id: column.title for column in columns}
    # Reasons that differ in their numbers alone are one.
    reasons: dict[str, _Reason] = {}
    for row in board.rows:
        stored = [(metric, cell.reason) for metric, cell in row.cells.items()]
        for metric, words in (*stored, *row.cost_reasons.items()):
            for why, images in _reasons(words) if metric in titles else ():
                reason = reasons.setdefault(_NUMBER.sub("#", why), _Reason(why, [], {}))
                reason.numbers.append(_NUMBER.findall(why))
                of_metric = reason.images.setdefault(titles[metric], {})
                name = board.short_names[row.run]
                of_metric[name] = of_metric.get(name, 0) + images
    for reason in reasons.values():
        # Metrics that lack the same values are one entry.
        alike: dict[tuple[tuple[str, int], ...], list[str]] = {}
        for title, by_row in reason.images.items():
            alike.setdefault(tuple(by_row.items()), []).append(title)
        for rows, metrics in alike.items():
            entry = f"{', '.join(metrics)}: {_rows_in_words(board, rows)}"
            missing.setdefault(reason.words, []).append(entry)
    skipped: dict[str, str] = {}
    for manifest in board.block.complete:
        files = manifest.data.get("skipped", {})
        skipped.update(files if isinstance(files, Mapping) else {})
    for image, why in sorted(skipped.items()):
        missing.setdefault(str(why), []).append(f"image {image}")
    return [Gap(why, tuple(what)) for why, what in missing.items()]


@dataclass(frozen=True)
class _Reason:
    """Why values are missing.

    Attributes:
        first: as it is stored, once.
        numbers: the numbers in it, each time it is stored.
        images: title of a metric to name of a row to images without a value, 0 where they are not counted.
    """

    first: str
    numbers: list[list[str]]
    images: dict[str, dict[str, int]]

    @property
    def words(self) -> str:
        """The reason, its numbers as ranges."""
        ranges = iter([sorted(set(values), key=float) for values in zip(*self.numbers, strict=True)])

        def written(_: re.Match[str]) -> str:
            values = next(ranges)
            return values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}"

        return _NUMBER.sub(written, self.first)


def _reasons(stored: str) -> Iterator[tuple[str, int]]:
    """Each reason of a cell, and of how many images it is where that is said."""
    counted = re.findall(r"(.+?) \((\d+) images?\)(?:; |$)", stored)
    if counted:
        yield from ((why, int(images)) for why, images in counted)
    elif stored:
        yield stored, 0


def _rows_in_words(board: Leaderboard, rows: Sequence[tuple[str, int]]) -> str:
    """Names with their numbers of images; a number that all share is said once."""

    def counted(name: str, images: int) -> str:
        return f"{name} ({_count(images, 'image', 'images')})" if images else name

    counts = {images for _, images in rows}
    who = "every row" if len(rows) == len(board.rows) > 1 else ", ".join(name for name, _ in rows)
    if len(counts) == 1:
        return counted(who, *counts)
    return ", ".join(counted(*row) for row in rows)


def _alarms(board: Leaderboard) -> Iterator[str]:
    """Failed checks, outdated data, and references that are not there."""
    key, rows = board.block.key, board.rows
    newest = board.block.newest_data
    if newest and newest != key.data:
        yield (
            f"Outdated: this dataset was scored later on other data ({newest[:12]}), which stand in a block "
            "of their own. Score what is missing there, and read that one."
        )
    names = {manifest.key.run: row.label_of(manifest) for row in rows for manifest in row.manifests}
    failed: dict[tuple[str, str], list[str]] = {}
    for run, name in names.items():
        for finding in failures(board.findings[run]):
            failed.setdefault((title_of_check(finding.guard), finding.detail), []).append(name)
    for (title, detail), runs in failed.items():
        yield f"Failed check, not ranked: {title} ({', '.join(runs)}). {detail}"
    scored = {manifest.key.model for manifest in board.block.complete}
    command = f"srbench eval {BASELINE} --dataset {key.dataset} --scale {key.scale}"
    if rows and BASELINE not in scored:
        yield (
            f"Bicubic interpolation was not scored here, so there are no differences to it: run `{command}`."
        )
    if rows and CONTROL not in scored and key.scale > 1:
        yield (
            "No control that invents texture was scored here, so no metric is known to be evidence of "
            f"structure: `{command} --force` adds it."
        )


def _limits(board: Leaderboard) -> Iterator[str]:
    """Limits of the data, of single rows, and of what can be compared."""
    rows = board.rows
    if board.lengths.unit == "px" and board.lengths.sizes and board.lengths_in_words:
        yield f"{board.lengths.why[:1].upper()}{board.lengths.why[1:]}."
    if board.reference_noise:
        yield f"{board.reference_noise}."
    if board.exact_truth:
        yield (
            "Synthetic scenes: their geometry is known exactly, but they are not micrographs. "
            "Ranks here say nothing certain about a real instrument."
        )
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
    if rows and not board.exact_truth and NOISE_CEILING not in {m.key.model for m in board.block.complete}:
        yield (
            "No noise ceiling: without a second acquisition of the same field it is not known how much of "
            "the remaining error is noise of the HR image."
        )
    names = {manifest.key.run: row.label_of(manifest) for row in rows for manifest in row.manifests}
    for run, first in board.group.duplicates.items():
        if run.model != first.model and {run, first} <= names.keys():
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
