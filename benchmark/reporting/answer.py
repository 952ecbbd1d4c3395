"""The answer in words: one sentence a measurement, on which results it can be trusted and on which not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.measurements import SIGNS, Judgement, Measurement, TrustTable, spread
from srbench.reporting.rows import BASELINE, RANKED, Row
from srbench.reporting.text import Measure, number
from srbench.statistics.tolerance import Status
from srbench.utils.text import listed

_NAMED = 6
"""Results that are named one by one; of more the first ones but one, and a count."""
INVENTED = ("hallucinated_hf", "edge_hallucinated")
"""Invented detail: against the truth, else, where a noisy reference cannot tell, the invented edges."""


@dataclass(frozen=True)
class Clause:
    """A part of a sentence: what it says, the words for that, of which results, and how it ends."""

    status: Status
    verb: str
    words: str
    end: str


@dataclass(frozen=True)
class Answer:
    """A sentence on one measurement.

    Attributes:
        measurement: name of its metric.
        start: on which images, and what is measured.
        clauses: what can be said of which results.
    """

    measurement: str
    start: str
    clauses: tuple[Clause, ...]

    @property
    def text(self) -> str:
        """The whole sentence."""
        return " ".join([self.start, *(f"{c.verb} {c.words}{c.end}" for c in self.clauses)])


def answers(board: Leaderboard, table: TrustTable) -> list[Answer]:
    """One sentence a measurement, on the ranked results; on all where none is ranked."""
    rows = [row for row in board.rows if row.kind in RANKED] or list(board.rows)
    sentences = (_answer(board, table, measurement, rows) for measurement in table.measurements)
    return [sentence for sentence in sentences if sentence is not None]


def things(board: Leaderboard, count: int) -> str:
    """``30 scenes`` where they are drawn, else ``30 images``."""
    noun = "scene" if board.exact_truth else "image"
    return f"{count} {noun}{'' if count == 1 else 's'}"


def best_networks(board: Leaderboard, table: TrustTable, count: int = 2) -> list[Row]:
    """The networks with most measurements trusted and fewest not, then in the order of the table.

    Where none is ranked, those that are shown only.
    """

    def merit(row: Row) -> int:
        statuses = [judged.verdict.status for judged in table.judgements[row.run].values()]
        return statuses.count("not trusted") - statuses.count("trusted")

    trained = [row for row in board.rows if row.kind == "unranked" and row.is_comparable and row.run.weights]
    return sorted(board.section("network") or trained, key=merit)[:count]


def invention(board: Leaderboard) -> str:
    """Who invents most detail among the ranked rows, beside the baseline; empty where it is not known."""
    invented = invented_measure(board)
    if invented is None:
        return ""
    cells = [
        (row, cell)
        for row in board.rows
        if row.kind in RANKED and (cell := row.cells.get(invented.id)) and cell.n_images
    ]
    base = next((cell for row, cell in cells if row.run.model == BASELINE), None)
    if base is None or len(cells) < 2:
        return ""
    row, most = max(cells, key=lambda pair: pair[1].mean)
    decimals = board.decimals[invented.id]
    if row.run.model == BASELINE:
        return f"No result has more {invented.title.lower()} in what it shows than {BASELINE}."
    values = f"{number(most.mean, decimals)} against {number(base.mean, decimals)} of {BASELINE}"
    return f"Most detail is invented by {board.short_names[row.run]}: {invented.title.lower()} {values}."


def invented_measure(board: Leaderboard) -> Measure | None:
    """The column that says how much detail is invented."""
    by_name = {column.name: column for column in board.columns}
    return next((by_name[name] for name in INVENTED if name in by_name), None)


def _answer(
    board: Leaderboard, table: TrustTable, measurement: Measurement, rows: Sequence[Row]
) -> Answer | None:
    of_status: dict[Status, list[tuple[Row, Judgement]]] = {}
    for row in rows:
        if judged := table.judgements[row.run].get(measurement.name):
            of_status.setdefault(judged.verdict.status, []).append((row, judged))
    judged_rows = [pair for pairs in of_status.values() for pair in pairs]
    if not judged_rows:
        return None
    images = max(judged.verdict.images + judged.verdict.lost for _, judged in judged_rows)
    name = measurement.tolerance.name
    those = f"{'this' if images == 1 else 'these'} {things(board, images).removeprefix('1 ')}"
    start = f"On {those} {name[:1].lower()}{name[1:]}"

    def words(status: Status) -> str:
        pairs = of_status[status]
        if len(pairs) == len(judged_rows) > 2:
            every = "any of the" if status == "not trusted" else "all"
            evidence = spread([judged for _, judged in pairs], measurement)
            return f"{every} {len(pairs)} results ({evidence})"
        shown = pairs if len(pairs) <= _NAMED else pairs[: _NAMED - 1]
        named = [f"{board.short_names[row.run]} ({judged.evidence(measurement)})" for row, judged in shown]
        more = len(pairs) - len(shown)
        return listed([*named, *([f"{more} more"] if more else [])])

    order = [status for status in SIGNS if status in of_status]
    verbs: dict[Status, str] = {
        "trusted": "can be trusted with",
        "not trusted": "not with" if "trusted" in of_status else "cannot be trusted with",
        "undecided": "undecided with" if len(order) > 1 else "is undecided with",
    }
    ends = [*("," if following == "not trusted" else ";" for following in order[1:]), "."]
    clauses = (Clause(s, verbs[s], words(s), end) for s, end in zip(order, ends, strict=True))
    return Answer(measurement.name, start, tuple(clauses))
