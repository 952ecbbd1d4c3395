"""The table of guards: what was found about every run, in the words of the guards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from srbench.checks.base import CHECKS, CheckResult, title_of_check
from srbench.reporting.leaderboard import Leaderboard

NO_MODEL = "srbench made these images itself, no model did."
WORDS: Mapping[str, str] = {"passed": "passed", "failed": "failed", "unchecked": "not checked"}
SIGNS: Mapping[str, str] = {"passed": "✓", "failed": "✗", "unchecked": "?"}


@dataclass(frozen=True)
class GuardCell:
    """What one guard found about one run.

    Attributes:
        title: the guard as printed.
        status: ``passed``, ``failed``, ``unchecked``, or empty where the guard does not apply.
        sign: a sign for it.
        word: what is printed.
        detail: the guard's own sentence.
    """

    title: str
    status: str
    sign: str
    word: str
    detail: str


@dataclass(frozen=True)
class GuardRow:
    """One run; ``cells`` in the order of ``CHECKS``, ``others`` are guards this version does not know."""

    label: str
    cells: tuple[GuardCell, ...]
    others: tuple[GuardCell, ...]

    def count(self, status: str) -> int:
        """How many guards found this."""
        return sum(cell.status == status for cell in (*self.cells, *self.others))


def guard_rows(board: Leaderboard) -> list[GuardRow]:
    """A row for every complete run, in the order of the leaderboard."""
    names = [guard.name for guard in CHECKS]
    rows = []
    for row in board.rows:
        for manifest in row.manifests:
            findings = {finding.guard: finding for finding in board.findings[manifest.key.run]}
            cells = tuple(_cell(name, findings.get(name)) for name in names)
            others = tuple(_cell(name, finding) for name, finding in findings.items() if name not in names)
            rows.append(GuardRow(row.label_of(manifest), cells, others))
    return rows


def in_words(rows: Sequence[GuardRow]) -> str:
    """What a reader who opens nothing must know: what failed, and how much was looked at."""
    failed = sum(row.count("failed") > 0 for row in rows)
    passed, unchecked = (sum(row.count(status) for row in rows) for status in ("passed", "unchecked"))
    runs = f"{failed} of {len(rows)} runs failed a guard" if failed else "no guard failed"
    return f"{runs}; {passed} checks passed, {unchecked} not made"


def _cell(name: str, finding: CheckResult | None) -> GuardCell:
    title = title_of_check(name)
    if finding is None:
        return GuardCell(title, "", "–", "not applicable", NO_MODEL)
    return GuardCell(title, finding.status, SIGNS[finding.status], WORDS[finding.status], finding.detail)
