"""The table of checks: the result of every check on every run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from srbench.checks.base import CHECKS, CheckResult, title_of_check
from srbench.reporting.leaderboard import Leaderboard

NO_MODEL = "srbench made these images itself, no model did."
WORDS: Mapping[str, str] = {"passed": "passed", "failed": "failed", "unchecked": "not checked"}
SIGNS: Mapping[str, str] = {"passed": "✓", "failed": "✗", "unchecked": "?"}


@dataclass(frozen=True)
class CheckCell:
    """The result of one check on one run.

    Attributes:
        title: the check as printed.
        status: ``passed``, ``failed``, ``unchecked``, or empty where the check does not apply.
        sign: a sign for it.
        word: what is printed.
        detail: the check's own sentence.
    """

    title: str
    status: str
    sign: str
    word: str
    detail: str


@dataclass(frozen=True)
class CheckRow:
    """One run; ``cells`` in the order of ``CHECKS``, ``others`` are checks this version does not know."""

    label: str
    cells: tuple[CheckCell, ...]
    others: tuple[CheckCell, ...]

    def count(self, status: str) -> int:
        """How many checks have this status."""
        return sum(cell.status == status for cell in (*self.cells, *self.others))


def check_rows(board: Leaderboard) -> list[CheckRow]:
    """A row for every complete run, in the order of the leaderboard."""
    names = [guard.name for guard in CHECKS]
    rows = []
    for row in board.rows:
        for manifest in row.manifests:
            findings = {finding.guard: finding for finding in board.findings[manifest.key.run]}
            cells = tuple(_cell(name, findings.get(name)) for name in names)
            others = tuple(_cell(name, finding) for name, finding in findings.items() if name not in names)
            rows.append(CheckRow(row.label_of(manifest), cells, others))
    return rows


def in_words(rows: Sequence[CheckRow]) -> str:
    """How many runs failed, and how many checks were made."""
    failed = sum(row.count("failed") > 0 for row in rows)
    passed, unchecked = (sum(row.count(status) for row in rows) for status in ("passed", "unchecked"))
    runs = f"{failed} of {len(rows)} runs failed a check" if failed else "no check failed"
    return f"{runs}; {passed} passed, {unchecked} not made"


def _cell(name: str, finding: CheckResult | None) -> CheckCell:
    title = title_of_check(name)
    if finding is None:
        return CheckCell(title, "", "–", "not applicable", NO_MODEL)
    return CheckCell(title, finding.status, SIGNS[finding.status], WORDS[finding.status], finding.detail)
