"""What the ten guards found about every run of a block: what the run stored, and what the table itself shows.

A run that was scored before srbench looked is "not checked" in the words that say what to type. Nothing that
failed is left out, not even a guard that this version does not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from srbench.errors import SrbenchError
from srbench.evaluation.guards.cards import GUARDS, Finding, Status, guard, merge
from srbench.evaluation.statistics import REFERENCES
from srbench.store import Manifest

if TYPE_CHECKING:
    from srbench.reporting.blocks import Block

RunId = tuple[str, str, str, int]
NEVER = "scored before srbench checked; type --force to score it again."
NOT_SAID = "this run does not say; type --force to score it again."
NO_MODEL = "srbench made these images itself, no model did."
_STATUS: Mapping[str, Status] = {"passed": "passed", "failed": "failed"}
WORDS: Mapping[str, str] = {"passed": "passed", "failed": "failed", "unchecked": "not checked"}
SIGNS: Mapping[str, str] = {"passed": "✓", "failed": "✗", "unchecked": "?"}


def run_of(manifest: Manifest) -> RunId:
    """What identifies a run within its block."""
    key = manifest.key
    return key.model, key.variant, key.weights, key.seed


def findings_of(block: Block) -> dict[RunId, tuple[Finding, ...]]:
    """The findings about each complete run, in the order of ``GUARDS``; foreign ones at the end.

    Reference rows, which no model made, have only what was looked at.
    """
    from srbench.evaluation.guards import table

    of_table = table.findings(block.complete, block.scores) if block.complete else {}
    told = {tuple(run): tuple(found) for run, found in of_table.items()}
    return {run_of(m): _whole(m, told.get(run_of(m), ())) for m in block.complete}


def stored_findings(manifest: Manifest) -> tuple[Finding, ...]:
    """What a manifest says, whoever wrote it: an unknown status counts as not checked."""
    found = []
    for entry in manifest.guards:
        if isinstance(entry, Mapping) and entry.get("guard"):
            known = _STATUS.get(str(entry.get("status")), "unchecked")
            found.append(Finding(str(entry["guard"]), known, str(entry.get("detail", ""))))
    return tuple(found)


def failures(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Those that say that something is wrong."""
    return tuple(found for found in findings if found.status == "failed")


def title_of_guard(name: str) -> str:
    """How a guard is printed; the bare name of one that this version does not know."""
    try:
        return guard(name).title
    except SrbenchError:
        return name


def badge_of(finding: Finding) -> str:
    """A failed guard in the few words that stand beside a model's name."""
    title = title_of_guard(finding.guard)
    # "HR out of reach" keeps its capitals, "Lossless output" does not.
    plain = title[:1].lower() + title[1:] if title[1:2].islower() else title
    return f"failed: {plain}"


def _whole(manifest: Manifest, of_table: Sequence[Finding]) -> tuple[Finding, ...]:
    found: dict[str, list[Finding]] = {}
    for finding in (*stored_findings(manifest), *of_table):
        found.setdefault(finding.guard, []).append(finding)
    is_model = manifest.key.model not in REFERENCES
    why = NOT_SAID if manifest.guards else NEVER
    names = [one.name for one in GUARDS if is_model or one.name in found]
    known = [merge(found[name]) if name in found else Finding(name, "unchecked", why) for name in names]
    return (*known, *(merge(found[name]) for name in found if name not in {one.name for one in GUARDS}))
