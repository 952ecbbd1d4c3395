"""``srbench weights list|fetch|check``: weights shipped, trained and published; what is in files on disk."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from srbench.cli.console import print_json, print_table, say, warn
from srbench.cli.options import json_option
from srbench.utils.progress import human_bytes, progress_reporter

if TYPE_CHECKING:
    from srbench.weights import TrainedWeights
    from srbench.weights.published import Published


@click.group()
def weights() -> None:
    """Weights shipped with srbench, trained here or published by others, and the files on this disk."""


@weights.command("list")
@click.argument("model", required=False)
@json_option
def list_command(model: str | None, as_json: bool) -> None:
    """List weights of MODEL (or of all): shipped with srbench, trained here, then published by others.

    The score is the PSNR above bicubic interpolation in validation. The ImageNet networks that losses build
    on come last.
    """
    from srbench.utils.errors import SrbenchError
    from srbench.weights import candidates
    from srbench.weights.published import all_published, select

    trained = sorted(candidates(model), key=lambda file: file.shipped is None)
    try:
        entries = select(model) if model else all_published()
    except SrbenchError:
        if not trained:
            raise
        entries = []
    if as_json:
        listed = [{**_trained_facts(file), "shipped": file.shipped is not None} for file in trained]
        extra = [{"state": _state(entry), "path": str(entry.path or "")} for entry in entries]
        print_json(listed + [{**asdict(entry), **more} for entry, more in zip(entries, extra, strict=True)])
        return
    rows = [tuple(map(str, _trained_facts(file).values())) for file in trained]
    rows += [_published_row(entry) for entry in entries if entry.network is not None]
    if rows:
        print_table(_COLUMNS, rows, folding=("trained on", "state"), droppable=("licence", "size", "file"))
    imagenet = [entry for entry in entries if entry.network is None]
    if imagenet:
        rows = [(entry.owner, entry.file, entry.note, entry.licence, _state(entry)) for entry in imagenet]
        columns = ("ImageNet network", "file", "use", "licence", "state")
        print_table(columns, rows, folding=("use", "licence"), droppable=("licence", "file"))
    say("Fetch: srbench weights fetch FILE or MODEL. Run: srbench infer|eval --weights FILE ...")


@weights.command("fetch")
@click.argument("name", metavar="FILE|MODEL")
@click.pass_context
def fetch_command(context: click.Context, name: str) -> None:
    """Download one published file, or all of a model; an interrupted download goes on where it stopped.

    The licence is shown first. A file that only a person can get is named with its page. Exit code 1 when
    one could not be had.
    """
    from srbench.utils.errors import SrbenchError
    from srbench.weights.published import fetch, select

    failed = 0
    for entry in select(name):
        try:
            with progress_reporter() as progress:
                path = fetch(entry, warn, progress)
        except SrbenchError as error:
            warn(f"{entry.file}: {error}")
            failed += 1
            continue
        say(f"{path}{_next_step(entry)}")
    context.exit(1 if failed else 0)


@weights.command("check")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@json_option
@click.pass_context
def check_command(context: click.Context, paths: tuple[Path, ...], as_json: bool) -> None:
    """Look at weights files: readable, safe, whose they are, still what they were.

    PATHS are files or folders; by default the weights folder and the trained runs of the srbench home. Exit
    code 1 when something is wrong.
    """
    from srbench.utils.paths import runs_folder, weights_folder
    from srbench.weights.find import WEIGHTS, locate
    from srbench.weights.published import check_file, weights_files

    paths_to_check = [path if path.is_dir() else locate(path) for path in paths] or [
        weights_folder(),
        *runs_folder().glob(f"*/{WEIGHTS}"),
    ]
    results = {}
    for path in weights_files(path for path in paths_to_check if paths or path.exists()):
        results[path] = result = check_file(path)
        if as_json:
            continue
        say(f"{'bad' if result.problems else 'ok '}  {path}")
        for fact in (result.network, result.origin, f"sha256 {result.hash}" if result.hash else ""):
            if fact:
                say(f"     {fact}")
        for problem in result.problems:
            say("     problem: " + problem.replace("\n", "\n     "))
    bad = sum(bool(result.problems) for result in results.values())
    if as_json:
        print_json({str(path): asdict(result) for path, result in results.items()})
    else:
        where = "" if results else f" (no weights files in {', '.join(map(str, paths_to_check))})"
        say(f"{len(results)} checked, {bad} bad{where}")
    context.exit(1 if bad else 0)


_COLUMNS = ("model", "variant", "scale", "trained on", "size", "score", "file", "licence", "state")


def _trained_facts(file: TrainedWeights) -> dict[str, str]:
    header, entry = file.header, file.shipped
    state = "trained here" if entry is None else "shipped, recommended" if entry.recommended else "shipped"
    values = (
        header.model,
        header.variant,
        f"x{header.scale}",
        ", ".join(filter(None, (header.dataset or "unknown", header.degradation, header.budget))),
        human_bytes(file.path.stat().st_size),
        "unknown" if math.isnan(file.gain) else f"{file.gain:+.2f} dB",
        file.name,
        "yours" if entry is None else entry.licence,
        state,
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _published_row(entry: Published) -> tuple[str, ...]:
    network, path = entry.network, entry.path
    assert network is not None
    colours = f"{entry.trained_on}, {'grey' if network.channels == 1 else 'colour'}"
    size = "" if path is None else human_bytes(path.stat().st_size)
    scale = f"x{network.scale}"
    return (
        *(entry.owner, network.variant, scale, colours, size, "", entry.file, entry.licence),
        _state(entry),
    )


def _state(entry: Published) -> str:
    """Whether the file is here, else how it is had."""
    from srbench.weights.published import lock_file

    path = entry.path
    if path is None:
        return "not on disk" if entry.direct else "not on disk, by hand"
    return "on disk, pinned" if lock_file(path).is_file() else "on disk"


def _next_step(entry: Published) -> str:
    if entry.network is None:
        return ""
    scale = entry.network.scale
    return (
        f"\nNext: srbench eval {entry.owner} --weights {entry.file} --dataset sem_synthetic --scale {scale}"
    )
