"""What became of the submissions in a block, beside their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from srbench.checks.submissions import MEANINGS
from srbench.reporting.leaderboard import Leaderboard


@dataclass(frozen=True)
class SubmissionRow:
    """A submitted row of the leaderboard.

    Attributes:
        label: the row.
        name: of the submission.
        status: ``claimed``, ``reproduced``, ``audited`` or ``failed``, by whom, and how many attempts.
        meaning: of the status.
        details: licence, authors, paper, training data beside what the weights say, what was found wrong.
    """

    label: str
    name: str
    status: str
    meaning: str
    details: tuple[str, ...]


def submission_rows(board: Leaderboard) -> Sequence[SubmissionRow]:
    """The submitted rows, in the order of the leaderboard."""
    rows = []
    for row in board.rows:
        submitted = board.block.submitted.get(row.run)
        if submitted is None:
            continue
        claimed = submitted.submission
        details = [
            f"by {', '.join(claimed.authors)}",
            claimed.paper,
            f"licence {claimed.licence}",
            f"extra data: {claimed.extra_data}",
        ]
        if submitted.verification is not None and not submitted.outdated:
            details += submitted.verification.problems
        rows.append(
            SubmissionRow(
                row.label,
                submitted.name,
                submitted.status_in_words,
                MEANINGS[submitted.status],
                tuple(details),
            )
        )
    return rows
