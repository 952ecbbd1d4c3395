"""The table of guards: what was found about every run, in the words of the guards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from srbench.evaluation.guards.cards import GUARDS, Finding
from srbench.reporting.guards import NO_MODEL, SIGNS, WORDS, run_of, title_of_guard
from srbench.reporting.leaderboard import Leaderboard


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
    """One run; ``cells`` in the order of ``GUARDS``, ``others`` are guards this version does not know."""

    label: str
    cells: tuple[GuardCell, ...]
    others: tuple[GuardCell, ...]

    def count(self, status: str) -> int:
        """How many guards found this."""
        return sum(cell.status == status for cell in (*self.cells, *self.others))


def guard_rows(board: Leaderboard) -> list[GuardRow]:
    """A row for every complete run, in the order of the leaderboard."""
    runs = [(row.label_of(run), board.findings[run_of(run)]) for row in board.rows for run in row.manifests]
    return [_row(label, {one.guard: one for one in found}) for label, found in runs]


def in_words(rows: Sequence[GuardRow]) -> str:
    """What a reader who opens nothing must know: what failed, and how much was looked at."""
    failed = sum(row.count("failed") > 0 for row in rows)
    passed, unchecked = (sum(row.count(status) for row in rows) for status in ("passed", "unchecked"))
    runs = f"{failed} of {len(rows)} runs failed a guard" if failed else "no guard failed"
    return f"{runs}; {passed} checks passed, {unchecked} not made"


def _row(label: str, found: dict[str, Finding]) -> GuardRow:
    known = [guard.name for guard in GUARDS]
    cells = tuple(_cell(name, found.get(name)) for name in known)
    return GuardRow(label, cells, tuple(_cell(name, one) for name, one in found.items() if name not in known))


def _cell(name: str, found: Finding | None) -> GuardCell:
    if found is None:
        return GuardCell(title_of_guard(name), "", "–", "not applicable", NO_MODEL)
    return GuardCell(
        title_of_guard(name), found.status, SIGNS[found.status], WORDS[found.status], found.detail
    )
