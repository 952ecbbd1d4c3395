"""The documentation: its links lead somewhere, what is made of the code is whole, its tutorials run."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import math
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from scipy import ndimage
from scipy.ndimage import gaussian_filter

import srbench
from helpers.evaluations import workers_here
from helpers.loading import models_as_before
from srbench import plugins
from srbench.cli.app import cli
from srbench.models import registry

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    page
    for folder in (ROOT, ROOT / ".github")
    for page in folder.glob("*.md" if folder == ROOT else "**/*.md")
) + sorted([*DOCS.rglob("*.md"), *(ROOT / "results").rglob("*.md")])
PIXEL_NM = 5.0


def load_from_code() -> ModuleType:
    spec = importlib.util.spec_from_file_location("from_code", DOCS / "from_code.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


from_code = load_from_code()


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^(```+|~~~+).*?^\1\s*$", "", text, flags=re.M | re.S))


@functools.cache
def anchors(page: Path) -> frozenset[str]:
    """What may follow ``#`` in a link to a page, headings that are made of the code included."""
    light = {**from_code.PARTS, "stages": str}  # builds every network, and has no headings
    text = from_code.fill(page.read_text(encoding="utf-8"), light)
    text = re.sub(r"^(```+|~~~+).*?^\1\s*$", "", text, flags=re.M | re.S)
    names: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", text, re.M):
        name = from_code.anchor(heading)
        found.add(f"{name}-{names[name]}" if names[name] else name)
        names[name] += 1
    return frozenset(found)


def broken_links(page: Path) -> Iterator[str]:
    text = without_code(page.read_text(encoding="utf-8"))
    targets = re.findall(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)", text)
    targets += re.findall(r"^\[[^\]]+\]: +(\S+)", text, re.M)
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            yield f"{target}: no such file"
        elif anchor and anchor not in anchors(file):
            yield f"{target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert list(broken_links(page)) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# Two `words`, here\n```\n# no heading\n```\n# Two words here\n")
    (tmp_path / "a.md").write_text(
        "[a](b.md#two-words-here) [b](b.md#two-words-here-1) ![c](no.png) [d](b.md#no-heading) `[e](x)` "
        "[f](https://x.y/z) [g](#nowhere)\n```\n[h](no.md)\n```\n[i]: no.md\n"
    )
    targets = [problem.split(":")[0] for problem in broken_links(tmp_path / "a.md")]
    assert targets == ["no.png", "b.md#no-heading", "#nowhere", "no.md"]


def rows(table: str) -> dict[str, list[str]]:
    """First cell of each row of a Markdown table, without its code marks, to the others."""
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()[2:]]
    return {line[0].strip().strip("`"): [cell.strip() for cell in line[1:]] for line in lines}


def test_every_setting_is_on_the_page_with_its_meaning() -> None:
    from srbench.config import EvaluationConfig, StageSettings, TrainConfig, TrainSettings

    tables = {
        name: rows(from_code.PARTS[name]()) for name in from_code.PARTS if "ti" in name and name != "stages"
    }
    assert set(tables["training settings"]) == {f"train.{name}" for name in TrainSettings.model_fields}
    assert set(tables["stage settings"]) == {f"stages.NAME.{name}" for name in StageSettings.model_fields}
    assert set(tables["evaluation options"]) == set(EvaluationConfig.model_fields)
    assert set(tables["training options"]) == set(TrainConfig.model_fields) - {"train", "stages", "reading"}
    assert all(cells[-1] for table in tables.values() for cells in table.values())
    assert tables["training settings"]["train.ema"][0] == "number from 0 below 1"
    assert tables["training settings"]["train.prefetch"][1] == "`2`"
    assert tables["training options"]["seed"][1] == "`0`"


def test_every_command_is_on_the_page() -> None:
    page = from_code.commands()
    names = set(re.findall(r"^#+ `(.+)`$", page, re.M))
    groups = {name: set(getattr(command, "commands", ())) for name, command in cli.commands.items()}
    assert names == {"srbench"} | {f"srbench {name}" for name in groups} | {
        f"srbench {name} {inner}" for name, inside in groups.items() for inner in inside
    }
    options = {option for option in cli.commands["train"].params if option.name == "budget"}
    assert options and "--budget" in page.partition("`srbench train`")[2].partition("\n##")[0]


def test_every_metric_and_guard_is_on_the_page() -> None:
    from srbench.checks import CHECKS
    from srbench.metrics import list_metrics

    page = from_code.metrics()
    unexplained = [
        metric.name
        for metric in list_metrics()
        if f"`{metric.name}`" not in page and not re.fullmatch(r"frc_\d\d", metric.name)
    ]
    assert unexplained == [] and "frc_00 .. frc_15" in page
    assert all(metric.explanation.replace("|", "\\|") in page for metric in list_metrics() if metric.default)
    assert set(rows(from_code.guards())) == {check.title for check in CHECKS}


def test_placeholders_are_known_and_every_page_is_in_the_contents() -> None:
    used = {
        name
        for page in DOCS.rglob("*.md")
        for name in from_code._PLACEHOLDER.findall(page.read_text("utf-8"))
    }
    assert used == set(from_code.PARTS)
    with pytest.raises(KeyError):
        from_code.fill("<!-- from the code: nothing -->")
    front = from_code.fill((DOCS / "index.md").read_text(encoding="utf-8"))
    listed = re.findall(r"^[\w/]+$", "\n".join(re.findall(r"```\{toctree\}(.*?)```", front, re.S)), re.M)
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.rglob("*.md")} - {"index"}
    assert sorted(listed) == sorted(pages)


def micrograph(seed: int) -> np.ndarray:
    """Bright discs of 14 to 22 px, 14 of them, on a dark ground; other fields have them at other places."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:192, :192]
    image = np.full((192, 192), 60.0)
    for cell in generator.permutation(25)[:14]:
        radius, (dy, dx) = generator.uniform(7, 11), generator.uniform(-5, 5, 2)
        image[np.hypot(y - 24 - 36 * (cell // 5) - dy, x - 24 - 36 * (cell % 5) - dx) < radius] = 180.0
    return gaussian_filter(image, 0.7)


def save(path: Path, image: np.ndarray, noise: float = 3.0, step: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng([*path.parent.name.encode(), *path.stem.encode()])
    pixels = (image + generator.normal(0, noise, image.shape))[::step, ::step]
    per_um = 1000 / (PIXEL_NM * step)
    tifffile.imwrite(
        path,
        np.rint(pixels).clip(0, 255).astype("u1"),
        imagej=True,
        resolution=(per_um, per_um),
        metadata={"unit": "um"},
    )


class Reader:
    """Somebody who does what a page says, in a folder that holds the images which the page speaks of."""

    def __init__(self, page: Path, folder: Path, patch: pytest.MonkeyPatch, metrics: tuple[str, ...]) -> None:
        self.folder, self.patch, self.metrics = folder, patch, metrics
        self.namespace: dict[str, Any] = {}
        self.blocks = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
        patch.chdir(folder)
        patch.setenv("SRBENCH_HOME", str(folder / "home"))

    def follow(self, *languages: str) -> None:
        for language, text in self.blocks:
            if language not in languages:
                continue
            if language == "":
                for line in text.splitlines():
                    self.run(shlex.split(line))
            elif text.startswith("file,group"):
                (self.folder / "slow" / "groups.csv").write_text(text)
            elif named := re.match(r"# (\S+/\S+)\n", text):
                (self.folder / named[1]).parent.mkdir(exist_ok=True)
                (self.folder / named[1]).write_text(text)
            else:
                exec(compile(text, "a block of the page", "exec"), self.namespace)

    def run(self, words: list[str]) -> None:
        program, *command = words
        if program == "pip":
            self.install(self.folder / command[-1])
            return
        assert program == "srbench"
        if command[0] == "train":  # a few steps show that it runs
            command = ["smoke" if word == "laptop" else word for word in command]
            command += [f"--set=train.{setting}" for setting in ("iterations=3", "batch=2", "tensorboard=no")]
        if command[0] == "eval" and "--metric" not in command:  # all metrics take a while
            command += [f"--metric={name}" for name in self.metrics]
        outcome = CliRunner().invoke(cli, command)
        assert outcome.exit_code == 0, (command, outcome.output, outcome.exception)

    def install(self, package: Path) -> None:
        """As ``pip install -e`` does, without building anything."""
        project = (package / "pyproject.toml").read_text()
        section = re.search(r'^\[project\.entry-points\."(.+)"\]\n(\w+) = "(\w+)"$', project, re.M)
        assert section is not None
        metadata = package / "theirs-1.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
        (metadata / "entry_points.txt").write_text("[{}]\n{} = {}\n".format(*section.groups()))
        self.patch.setenv("PYTHONPATH", str(package))
        self.patch.syspath_prepend(str(package))
        plugins._foreign_card.cache_clear()
        registry.MODELS._index = None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed in range(10):
        save(tmp_path / "slow" / f"field{seed}.tif", micrograph(seed))
    save(tmp_path / "fast" / "field11.tif", micrograph(11), step=2)
    return tmp_path


@pytest.mark.slow
def test_tutorial_own_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = DOCS / "tutorials" / "own_folder.md"
    with workers_here():
        Reader(page, folder, monkeypatch, ("psnr", "diameter_bias")).follow("text", "")
    scores = srbench.load_scores(folder / "home" / "results")
    assert {"edsr", "bicubic", "nearest"} <= set(scores.loc[scores["split"] == "test", "model"])
    groups = {image.id: image.group for image in srbench.datasets.open("./slow").images}
    assert groups["field0.tif"] == groups["field1.tif"] == "specimen A" != groups["field2.tif"]
    assert (folder / "first_look" / "report.html").is_file()
    assert "3 nm" in (folder / "report" / "report.html").read_text(encoding="utf-8")
    (enlarged,) = (folder / "enlarged").glob("*.tif")
    with tifffile.TiffFile(enlarged) as file:
        pixels, length = file.pages[0].tags["XResolution"].value
        assert file.pages[0].shape == (192, 192) and length / pixels == pytest.approx(PIXEL_NM)


@pytest.mark.slow
def test_tutorial_own_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(10):
        field = micrograph(seed)
        save(tmp_path / "pairs" / "slow" / f"field{seed}.tif", field)
        moved = ndimage.shift(field, (1.3, -0.8), order=3, mode="nearest")
        save(tmp_path / "pairs" / "fast" / f"field{seed}.tif", moved, noise=18.0)
    save(tmp_path / "fast" / "field11.tif", micrograph(11), noise=18.0)
    with workers_here():
        page = DOCS / "tutorials" / "own_pairs.md"
        Reader(page, tmp_path, monkeypatch, ("psnr", "diameter_bias")).follow("")
    scores = srbench.load_scores(tmp_path / "home" / "results")
    psnr = scores[(scores["metric"] == "psnr") & (scores["split"] == "test")]
    means = psnr.groupby("model")["value"].mean()
    # Noise of 18 and 3 grey levels; a filter takes most of the first away.
    assert means["bicubic"] == pytest.approx(20 * math.log10(255 / math.hypot(18, 3)), abs=0.5)
    assert means["non_local_means"] > means["bicubic"] + 3 and "edsr" in means
    assert set(psnr["degradation"]) == {"recorded@1"} and set(psnr["scale"]) == {1}
    (restored,) = (tmp_path / "restored").glob("*.tif")
    assert tifffile.imread(restored).shape == (192, 192)


@pytest.mark.slow
def test_tutorial_fine_tune(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with workers_here():
        reader = Reader(DOCS / "tutorials" / "fine_tune.md", folder, monkeypatch, ("psnr",))
        reader.follow("python", "")
    scores = srbench.load_scores(folder / "home" / "results")
    assert scores.loc[scores["model"] == "edsr", "weights"].nunique() == 3
    parent = hashlib.sha256((folder / "parent" / "weights.safetensors").read_bytes()).hexdigest()
    assert parent in str(reader.namespace["header"])


@pytest.mark.slow
def test_tutorial_add_a_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with models_as_before(), workers_here():
        page = DOCS / "tutorials" / "add_a_model.md"
        Reader(page, folder, monkeypatch, ("psnr",)).follow("python", "toml", "")
    plugins._foreign_card.cache_clear()
    scores = srbench.load_scores(folder / "home" / "results")
    assert set(scores.loc[scores["metric"] == "psnr", "model"]) >= {"mynet", "bicubic"}


@pytest.mark.slow
def test_tutorial_scores_with_pandas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path(srbench.datasets.home())
    reader = Reader(DOCS / "tutorials" / "scores_with_pandas.md", tmp_path, monkeypatch, ())
    monkeypatch.setenv("SRBENCH_HOME", str(home))  # where scenes are drawn already
    with workers_here():
        reader.follow("python", "")
    board = reader.namespace["board"].set_index("model")["mean"]
    for model in ("bicubic", "nearest"):
        assert reader.namespace["means"][model] == pytest.approx(board[model])
    assert set(reader.namespace["missing"]["metric"]) == {"object_f1@2"}
    Reader(DOCS / "for_reviewers.md", tmp_path, monkeypatch, ()).follow("python")
