"""Damaged YAML, overrides and options of training and evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chaos.bounded import run_bounded
from chaos.mutation import TEXTS, VALUES, Random, damaged, damaged_json
from chaos.part import Part

_CONTENT = {
    "model": "vdsr",
    "dataset": "sem_synthetic",
    "scale": 4,
    "degradation": "sem_pixel:dose=20",
    "seed": 1,
    "reading": {"bits": 12, "pixel_size_nm": 2.5, "pages": "all", "measure": ["lines"]},
    "train": {"lr": 1e-4, "batch": 4, "iterations": 100, "clip": "norm:0.5", "ema": 0.999, "amp": "none"},
    "stages": {"train": {"patch": 96}},
}
_OPTIONS = {
    "scale": 4,
    "split": "test",
    "limit": 3,
    "variant": "tiny",
    "weights": "a.pth",
    "timeout": 5.0,
    "tile": 64,
}


def run(random: Random, seconds: float, folder: Path) -> Part:
    """Read damaged settings and lay them over a recipe."""
    part = Part("configurations")
    run_bounded(part, check, inputs(random, folder), seconds)
    return part


def check(path: Path) -> str:
    """Everything that srbench does with settings before it reads data."""
    from srbench import datasets, models
    from srbench.config import EvaluationConfig, TrainConfig, apply
    from srbench.datasets import degrade
    from srbench.training.run_folder import run_folder_name
    from srbench.utils.errors import SrbenchError
    from srbench.weights import locate

    model = models.create("vdsr", scale=4, variant="tiny")
    try:
        if path.suffix == ".set":
            override = path.read_text(encoding="utf-8", errors="surrogateescape")
            config = TrainConfig.of({"model": "vdsr", "dataset": "sem_synthetic"}, overrides=[override])
        elif path.suffix == ".options":
            config = None
            try:
                options = json.loads(path.read_text())
            except (ValueError, RecursionError):  # options come from Python, not from a file
                return ""
            if isinstance(options, dict):
                evaluation = EvaluationConfig.of(options)
                degrade.get(evaluation.degradation)
                if evaluation.weights is not None:
                    locate(evaluation.weights)
        else:
            config = TrainConfig.of({}, path)
        if config is not None:
            recipe = apply(config, model.recipe(config.budget))
            [stage.patch for stage in recipe.stages]
            again = path.with_suffix(".again")
            again.write_text(config.to_yaml())
            same = TrainConfig.of({}, again) == config
            again.unlink()
            degradation = degrade.get(config.degradation).id
            source = datasets.source(config.dataset)
            name = run_folder_name(
                "vdsr",
                "tiny",
                source.full_name,
                config.scale,
                config.budget,
                config.seed,
                degradation=degradation,
            )
            if len(name.encode()) > 255:
                return "a run folder of a name that no file system takes"
            return "" if same else "a configuration that does not read back"
    except SrbenchError as error:
        return "" if str(error) else "no reason"
    return ""


def inputs(random: Random, folder: Path, *, bombs: bool = True) -> Iterator[tuple[str, Path]]:
    """What is tried, and its file: what was thought of, unless ``bombs`` is off, then damage for ever."""
    import yaml

    number = 0

    def written(name: str, text: str | bytes, ending: str) -> tuple[str, Path]:
        nonlocal number
        number += 1
        path = folder / f"{number}.{ending}"
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        return name, path

    for name, text in _bombs():
        yield written(name, text, "yaml")
    for value in VALUES if bombs else ():
        for section, key in _places(_CONTENT):
            changed: dict[str, Any] = json.loads(json.dumps(_CONTENT))
            (changed[section] if section else changed)[key] = value
            yield written(f"{section}.{key}={str(value)[:20]!r}", json.dumps(changed), "yaml")
    for text in TEXTS if bombs else ():
        for name in ("train.lr", "train", "", "dataset.x", "stages.train.patch", "train.clip"):
            yield written(f"--set {name}={text[:20]!r}", f"{name}={text}", "set")
    plain = yaml.safe_dump(_CONTENT).encode()
    while True:
        kind = random.random()
        if kind < 0.5:
            yield written("damaged yaml", damaged(random, plain), "yaml")
        elif kind < 0.75:
            yield written("damaged values", damaged_json(random, _CONTENT), "yaml")
        elif kind < 0.9:
            yield written("damaged options", damaged_json(random, _OPTIONS), "options")
        else:
            text = damaged(random, b"train.lr=1e-4").replace(b"\0", b"")
            yield written("damaged override", text, "set")


def _places(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in content.items():
        yield "", key
        if isinstance(value, dict):
            yield from ((key, inner) for inner in value)


def _bombs() -> Iterator[tuple[str, str | bytes]]:
    laughs = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for n in range(1, 12):
        laughs += f"{chr(97 + n)}: &{chr(97 + n)} [{', '.join(['*' + chr(96 + n)] * 9)}]\n"
    yield "aliases", laughs
    yield "merges", "a: &a {x: 1}\n" + "".join(f"b{n}: &b{n} {{<<: [*a, *a, *a]}}\n" for n in range(500))
    yield "recursion", "train: &a\n  lr: *a\n"
    yield "recursion in a list", "&a [*a, *a]"
    yield "recursive merge", "&a {<<: *a}"
    yield "flow depth", "train: " + "[" * 50_000
    yield "flow maps", "train: " + "{a: " * 10_000
    yield "block depth", "".join(f"{' ' * n}a:\n" for n in range(300))
    yield "keys", "? " * 20_000
    yield "long", "train: {lr: 1}\n" + "# x\n" * 1_000_000
    yield "quoted", 'train: "' + "\\u0041" * 10_000
    for text in (
        "train: 2001-02-31",
        "train: 2001-99-99 99:99:99",
        "train: !!python/object/apply:os.system [ls]",
        "train: !!binary '***'",
        "train: !!set {a, [b]}",
        "train: !!float abc",
        "train: !!int ''",
        "train: !!timestamp x",
        "train: !!omap [1]",
        "train: !!pairs [a]",
        "? [a]\n: b",
        "? {a: b}\n: c",
        "train: {lr: 0b}",
        "train: {lr: 0x}",
        "train: {lr: " + "9" * 5000 + "}",
        "train: {lr: " + "1:" * 3000 + "1}",
        "train: {batch: .inf}",
        "train: {lr: .nan}",
        "train: {clip: norm:1.2.3}",
        "train: {clip: norm:1e999}",
        "train: {ema: -0.0}",
        "1: 2",
        "null: 2",
        "- a",
        "a",
        "%YAML 9.9\n---\na: b",
        "--- a\n--- b",
        "a: *b",
        "<<: a",
        "=: a",
        "train: =",
        "\ufeff\ufefftrain: {}",
        b"\xff\xfe\x00\xd8",
        b"\x80",
        b"train: \x1b[2J",
        "train: \x00",
    ):
        yield f"{text[:30]!r}", text
