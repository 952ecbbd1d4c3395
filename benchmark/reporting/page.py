"""The HTML page: one file that opens from anywhere, loads nothing and cannot be made to.

Everything a store may hold (names, reasons, notes) is escaped by the template environment. A content security
policy allows exactly the style and the script of this package, by their hashes, and no network at all.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from srbench.checks.base import CHECKS
from srbench.preregistration import planned_in_words
from srbench.reporting.answer import Answer, answers, best_networks, invention, things
from srbench.reporting.check_table import CheckRow, check_rows, in_words
from srbench.reporting.claims import Checked, checked
from srbench.reporting.crops import (
    ImageTable,
    Panel,
    PictureStrip,
    error_scale,
    image_tables,
    legend,
    panels,
    strip,
)
from srbench.reporting.curves import CurvePlot, CurveSet, LineKey, curve_plots, curve_sets, line_keys
from srbench.reporting.gap import gap_tables
from srbench.reporting.leaderboard import Leaderboard, spread_over_seeds
from srbench.reporting.measurements import SIGNS, TrustTable, trust
from srbench.reporting.notes import Field, Gap, RunRecord, alarms_of, conditions, gaps_of, record, warnings_of
from srbench.reporting.plots import Plot, cost_plots, families_shown, forest_plots
from srbench.reporting.rows import BASELINE, RANKED
from srbench.reporting.selection import EVERYTHING, Selection
from srbench.reporting.submissions import SubmissionRow, submission_rows
from srbench.reporting.text import Family, families, is_number, length, number, quantity, rank
from srbench.statistics.lengths import Quantity
from srbench.store import ScoreStore
from srbench.utils.progress import ProgressCallback, silent
from srbench.utils.text import listed

_TEMPLATES = "srbench.reporting"
VERDICT_SIGNS = {"better": "▲", "worse": "▼", "equivalent": "=", "undecided": "?"}


@dataclass(frozen=True)
class Section:
    """Everything the page says about one block; where there is nothing to say, empty."""

    anchor: str
    title: str
    board: Leaderboard
    trust: TrustTable
    answers: list[Answer]
    invention: str
    strip: PictureStrip | None
    alarms: list[str]
    warnings: list[str]
    gaps: list[Gap]
    notes: list[str]
    spread: list[str]
    cost_plots: list[Plot]
    forests: list[Plot]
    families: list[tuple[str, Markup]]
    curve_sets: list[CurveSet]
    curves: list[CurvePlot]
    lines: list[LineKey]
    checks: list[CheckRow]
    submissions: Sequence[SubmissionRow]
    panels: list[Panel]
    image_tables: Mapping[str, ImageTable]
    claims: list[Checked]
    glossary: list[Family]
    conditions: list[Field]
    records: list[RunRecord]

    @property
    def limits(self) -> list[str]:
        """The warnings that are no alarms."""
        return [warning for warning in self.warnings if warning not in self.alarms]


@dataclass(frozen=True)
class Fold:
    """A part of a block that is opened by its heading; ``name`` is unique within the block."""

    name: str
    title: str
    content: Markup


def _macro(template: str, name: str) -> Callable[[Section], str]:
    """A macro of a template that makes a part of a block's page."""

    def call(part: Section) -> str:
        return str(getattr(_environment().get_template(f"{template}.html.j2").module, name)(part))

    return call


FOLDS: tuple[tuple[str, str, Callable[[Section], str]], ...] = (
    ("verdicts", "Verdicts with their numbers", _macro("trust", "table")),
    ("numbers", "All numbers", _macro("numbers", "leaderboard")),
    ("images", "Image by image", _macro("crops", "images")),
    ("charts", "Charts", _macro("charts", "charts")),
    ("categories", "By category of sample", _macro("numbers", "categories")),
    ("checks", "Checks: was it measured honestly?", _macro("trust", "check_table")),
    ("submissions", "Submissions", _macro("submissions", "submissions")),
    ("claims", "Published claims beside these numbers", _macro("claims", "claims")),
    ("missing", "What is missing, and why", _macro("notes", "gaps")),
    ("metrics", "What the metrics mean", _macro("notes", "glossary")),
    ("conditions", "Conditions, and every run", _macro("notes", "provenance")),
)
"""What can be opened below the answer, in order: name, heading, and what makes it. No content: left out."""


def folds(part: Section) -> list[Fold]:
    """The parts of a block that have content."""
    return [
        Fold(name, title, Markup(content)) for name, title, make in FOLDS if (content := make(part).strip())
    ]


def section(
    store: ScoreStore,
    board: Leaderboard,
    tolerances: Mapping[str, Quantity] | None = None,
    progress: ProgressCallback = silent,
    selection: Selection = EVERYTHING,
) -> Section:
    """Gather what the page says about one block; ``tolerances`` are those that the user chose."""
    shown, notes = panels(store, board.block, board.rows, board.lengths.sizes, progress)
    curves = curve_sets(board) if selection.metric_names is None else []
    judged = trust(board, tolerances, selection.metric_names)
    absent = [record(f"{m.key.model} ({m.key.variant}), {m.status}", m) for m in board.block.absent]
    base = [row for row in board.rows if row.run.model == BASELINE]
    pictured = [*base, *best_networks(board, judged)]
    return Section(
        anchor=f"block-{board.block.slug}",
        title=board.block.title,
        board=board,
        trust=judged,
        answers=answers(board, judged),
        invention=invention(board),
        strip=strip(store, board.block, pictured, board.short_names, shown),
        alarms=alarms_of(board),
        warnings=[
            *warnings_of(board),
            *(f"{why} The default is used here." for why in judged.refused.values()),
        ],
        gaps=gaps_of(board),
        notes=notes,
        spread=spread_over_seeds(board),
        cost_plots=cost_plots(board),
        forests=forest_plots(board),
        families=families_shown(board),
        curve_sets=curves,
        curves=curve_plots(board, curves),
        lines=line_keys(board, curves),
        checks=check_rows(board),
        submissions=submission_rows(board),
        panels=shown,
        image_tables=image_tables(board, [panel.image for panel in shown]),
        claims=checked(board, judged),
        glossary=families([*board.columns, *board.cost_columns]),
        conditions=[
            *conditions(board),
            ("Planned before it was run", planned_in_words(store.root, board.block.complete)),
        ],
        records=[*(record(row.label_of(run), run) for row in board.rows for run in row.manifests), *absent],
    )


def render(parts: list[Section], problems: Sequence[str] = (), digest: str = "") -> str:
    """The page as text.

    Args:
        parts: the blocks.
        problems: what of the store could not be read.
        digest: of the results, as ``srbench.store.results_digest`` gives it.
    """
    style = _asset("report.css").replace("</", "<\\/")
    script = _asset("report.js").replace("</", "<\\/")
    created = sorted(m.created for part in parts for m in part.board.block.complete if m.created)
    context: Mapping[str, Any] = {
        "parts": [(part, folds(part)) for part in parts],
        "gaps": gap_tables([part.board for part in parts]),
        "title": title_of(parts),
        "problems": problems,
        "digest": digest,
        "policy": _policy(style, script),
        "style": Markup(style),
        "script": Markup(script),
        "n_runs": sum(len(part.board.rows) for part in parts),
        "dates": " to ".join(dict.fromkeys((created[0][:10], created[-1][:10]))) if created else "",
    }
    return _environment().get_template("report.html.j2").render(context)


def title_of(parts: Sequence[Section]) -> str:
    """The data sets and what was done to them; of many their number."""
    keys = [part.board.block.key for part in parts]
    names = list(dict.fromkeys(f"{key.dataset} ×{key.scale}" for key in keys))
    return listed(names) if len(names) <= 3 else f"{len(names)} data sets"


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        is_number=is_number,
        nm=lambda value: length(value).replace(" ", "\N{NO-BREAK SPACE}"),
        number=number,
        signed=lambda value, decimals: number(value, decimals, signed=True),
        quantity=quantity,
        short=lambda digest: digest[:12],
        rank=rank,
        sign=lambda verdict: VERDICT_SIGNS.get(verdict, ""),
    )
    environment.globals.update(
        ranked=RANKED,
        signs=SIGNS,
        checks=CHECKS,
        things=things,
        checks_in_words=in_words,
        errors=error_scale(),
        tints=legend(),
    )
    return environment


def _policy(style: str, script: str) -> str:
    return (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _asset(name: str) -> str:
    return (resources.files(_TEMPLATES) / "templates" / name).read_text(encoding="utf-8")
