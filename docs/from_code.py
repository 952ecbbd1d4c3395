"""What pages of the site say about the code: made of the code when the site is built, stored nowhere.

A page holds the line ``<!-- from the code: NAME -->``; ``fill`` puts the Markdown of the function ``NAME``
of ``PARTS`` in its place.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

DOCS = Path(__file__).parent
_PLACEHOLDER = re.compile(r"^<!-- from the code: (.+) -->$", re.M)
_WIDTH = 88  # columns of help that a page shows without scrolling


def fill(text: str, parts: Mapping[str, Callable[[], str]] | None = None) -> str:
    """The text of a page with its placeholders filled, by ``PARTS`` when None.

    Raises:
        KeyError: no part has the name of a placeholder.
    """
    known = PARTS if parts is None else parts
    return _PLACEHOLDER.sub(lambda placeholder: known[placeholder[1]](), text)


def has_placeholder(page: str | os.PathLike[str]) -> bool:
    """Whether something of a page is made of the code."""
    return _PLACEHOLDER.search(Path(page).read_text(encoding="utf-8")) is not None


def anchor(heading: str) -> str:
    """What follows ``#`` in a link to a heading, as GitHub and MyST make it."""
    text = re.sub(r"[`*]|\]\([^)]*\)", "", heading.strip())
    return re.sub(r"[^\w\- ]", "", text).lower().replace(" ", "-")


def commands() -> str:
    """The help of every command, as the terminal prints it."""
    from srbench.cli.app import cli

    parts = []
    for name, context in _commands(cli, None, "srbench"):
        level = "#" * (1 + min(len(name.split()), 2))
        parts.append(f"{level} `{name}`\n\n```text\n{context.command.get_help(context)}\n```\n")
    return "\n".join(parts)


def _commands(
    command: click.Command, parent: click.Context | None, name: str
) -> Iterator[tuple[str, click.Context]]:
    """Every command with its whole name, groups before what is in them."""
    context = command.make_context(
        name.split()[-1],
        [],
        parent,
        resilient_parsing=True,  # nothing is run, nothing is missing
        terminal_width=_WIDTH,
        max_content_width=_WIDTH,
    )
    yield name, context
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            yield from _commands(command.commands[inner], context, f"{name} {inner}")


def claims() -> str:
    """Published claims, and how srbench measures each or why it cannot."""
    from srbench.metrics import registry
    from srbench.reporting.claims import published

    rows = []
    for claim in published():
        source = f"[{claim.source}]({claim.url})" if claim.url else claim.source
        magnification = f", ×{claim.scale}" if claim.scale else ""
        how = claim.why
        if not how:
            name = claim.measurement or claim.metric
            how = f"`{name}`: {registry.get(name).title}" + (f" of `{claim.model}`" if claim.model else "")
            how += f" minus that of `{claim.minus}`" if claim.minus else ""
        rows.append((claim.words, f"{claim.data}{magnification}", f"{source}. {claim.remark}".strip(), how))
    return _table(("published", "on", "where", "here"), rows)


def training_settings() -> str:
    """What ``--set train.*`` and ``--set stages.<name>.*`` take."""
    from srbench.config import TrainSettings

    return _table(("setting", "value", "default", "meaning"), _settings(TrainSettings, "train."))


def training_options() -> str:
    """Fields of a training run beside ``train`` and ``stages``."""
    from srbench.config import TrainConfig

    rows = [row for row in _settings(TrainConfig) if row[0] not in ("`train`", "`stages`", "`reading`")]
    return _table(("field", "value", "default", "meaning"), rows)


def stage_settings() -> str:
    """What may be set of a single stage."""
    from srbench.config import StageSettings

    rows = _settings(StageSettings, "stages.NAME.")
    return _table(("setting", "value", "meaning"), [(name, value, text) for name, value, _, text in rows])


def stages() -> str:
    """The stages of every network's recipe."""
    from srbench import models

    rows = []
    for card in models.list_models():
        if card.trainable and card.module.startswith("srbench."):
            variant = "tiny" if "tiny" in card.variants else card.variants[0]
            scale = 4 if 4 in card.scales else card.scales[0]
            recipe = models.create(card.name, scale=scale, variant=variant).recipe("paper")
            rows.append((f"`{card.name}`", ", ".join(f"`{stage.name}`" for stage in recipe.stages)))
    return _table(("network", "stages, in their order"), rows)


def evaluation_options() -> str:
    """Keywords of ``srbench.evaluate``."""
    from srbench.config import EvaluationConfig

    return _table(("keyword", "value", "default", "meaning"), _settings(EvaluationConfig))


def plan_axes() -> str:
    """What a plan combines."""
    from srbench.orchestration.benchmark_plan import Combinations

    rows = _settings(Combinations)
    return _table(("field", "value", "meaning"), [(name, value, text) for name, value, _, text in rows])


def _settings(model: type[BaseModel], prefix: str = "") -> list[tuple[str, str, str, str]]:
    """Name, values, default and meaning of every field."""
    meanings: dict[str, str] = {}
    for base in reversed(model.__mro__):
        meanings |= _attributes(base)
    schema = model.model_json_schema()
    rows = []
    for name, field in schema["properties"].items():
        default = field.get("default")
        if isinstance(default, bool):
            shown = "yes" if default else "no"
        else:
            shown = "" if default is None or isinstance(default, dict) else f"`{default}`"
        known_as = _field_name(model, name)
        rows.append((f"`{prefix}{known_as}`", _values(field, schema), shown, meanings[known_as]))
    return rows


def _field_name(model: type[BaseModel], shown: str) -> str:
    """The field behind a name of the schema, which may be an alias."""
    if shown in model.model_fields:
        return shown
    return next(
        name for name, field in model.model_fields.items() if shown in str(field.validation_alias or "")
    )


def _attributes(owner: type) -> dict[str, str]:
    """The ``Attributes`` section of a class's own docstring, as Markdown."""
    text = inspect.cleandoc(vars(owner).get("__doc__") or "").partition("Attributes:\n")[2]
    found = re.finditer(r"^ {4}(\w+): (.*(?:\n {8,}.*)*)", text, re.M)
    return {match[1]: _markdown(" ".join(match[2].split())) for match in found}


def _markdown(text: str) -> str:
    """Text of a docstring: its code and its roles as Markdown code."""
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")


def _values(field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """What a field takes, in words."""
    if "anyOf" in field:
        return " or ".join(_values(kind, schema) for kind in field["anyOf"] if kind.get("type") != "null")
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "$ref" in field:
        return "what is said of a folder's files"
    kinds = {"integer": "whole number", "number": "number", "boolean": "yes or no", "array": "list"}
    kind = "path" if field.get("format") == "path" else kinds.get(field.get("type", ""), "text")
    # The largest values only keep absurd ones out.
    bounds = (("minimum", "from"), ("exclusiveMinimum", "above"), ("exclusiveMaximum", "below"))
    return " ".join([kind, *(f"{word} {field[name]:g}" for name, word in bounds if name in field)])


def metrics() -> str:
    """Every metric by family: title, direction, unit and the sentence that the report prints."""
    from srbench.metrics import list_metrics
    from srbench.metrics.registry import FAMILIES

    places = metric_headings()
    arrows = {"higher": "higher is better", "lower": "lower is better", "none": "neither way is better"}
    parts = []
    for family in FAMILIES:
        rows = []
        for metric in list_metrics():
            if metric.family != family or re.fullmatch(r"frc_(?!00)\d\d", metric.name):
                continue  # the points of one curve are explained together
            name = "frc_00 .. frc_15" if metric.name == "frc_00" else metric.name
            link = f"`{name}`"
            if metric.name in places:
                link = f"[{link}](../metrics.md#{anchor(places[metric.name])})"
            unit = f", {metric.unit}" if metric.unit else ""
            asked = "" if metric.default or not metric.per_image else " Only with `--metric`."
            rows.append((link, f"{metric.title}{unit}", arrows[metric.direction], metric.explanation + asked))
        if rows:
            parts.append(f"### {family}\n\n{_table(('name', 'printed as', 'direction', 'meaning'), rows)}")
    return "\n".join(parts)


def metric_headings() -> dict[str, str]:
    """Name of a metric to the heading of ``metrics.md`` under which it is explained."""
    headings = re.findall(r"^### (.+)$", (DOCS / "metrics.md").read_text(encoding="utf-8"), re.M)
    return {name: heading for heading in headings for name in re.findall(r"`([\w<>]+)`", heading)}


def guards() -> str:
    """The checks, with what holds where each has passed."""
    from srbench.checks import CHECKS

    return _table(
        ("guard", "id", "where it passed"),
        ((check.title, f"`{check.name}`", check.promise) for check in CHECKS),
    )


def other_pages() -> str:
    """Pages that the front page does not name, for its list of all pages."""
    front = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = {line for block in re.findall(r"```\{toctree\}(.*?)```", front, re.S) for line in block.split()}
    pages = sorted(path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md"))
    return "\n".join(page for page in pages if page not in listed | {"index"})


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(columns)]
    lines += [["---"] * len(lines[0]), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


PARTS: dict[str, Callable[[], str]] = {
    "claims": claims,
    "commands": commands,
    "evaluation options": evaluation_options,
    "guards": guards,
    "metrics": metrics,
    "other pages": other_pages,
    "plan": plan_axes,
    "stage settings": stage_settings,
    "stages": stages,
    "training options": training_options,
    "training settings": training_settings,
}
