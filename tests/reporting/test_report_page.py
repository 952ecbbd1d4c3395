"""What the page says, and that it can be trusted: escaped, self-contained, repeatable, nothing mixed."""

import base64
import hashlib
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from srbench.reporting import ReportResult, notes, report
from srbench.reporting.blocks import collect
from srbench.reporting.leaderboard import leaderboard
from srbench.store import Manifest, RunKey, ScoreStore
from srbench.utils.errors import SrbenchError


def warnings_of(fabricator: Any) -> list[str]:
    return notes.warnings_of(leaderboard(collect(fabricator.store)[0]))


@pytest.mark.parametrize(
    ("family", "expected"), [("interpolation", True), ("filter", True), ("attention", False), ("", False)]
)
def test_nothing_learned_is_said_of_methods_that_learn_nothing_alone(family: str, expected: bool) -> None:
    """A network without a file of weights may bring them along."""
    key = RunKey("m", "v", "", -1, "d", "f", "test", "bicubic@1", 4, "p")
    fields = dict(notes.record("m", Manifest(key, "complete", card={"family": family})).fields)
    assert ("nothing learned" in fields["Weights (sha256)"]) == expected
    assert ("nothing learned" in fields["Training seed"]) == expected


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}"


class Page(HTMLParser):
    """Elements with their attributes, and the text of style and script elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"style": [], "script": []}
        self.words: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag if tag in self.raw else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.raw[self._inside].append(data)
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def text(filled_report: ReportResult) -> str:
    return filled_report.page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_an_empty_store_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(SrbenchError, match="srbench eval bicubic --dataset"):
        report(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.slow
def test_the_default_folders(results: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SRBENCH_HOME", str(tmp_path))
    assert results == tmp_path / "results"
    outcome = report()
    assert outcome.page == results / "report" / "report.html"
    assert {path.parent for path in outcome.tables} == {results / "report" / "tables"}
    assert all(path.is_file() for path in outcome.tables)


@pytest.mark.slow
def test_the_same_store_gives_the_same_bytes(results: Path, tmp_path: Path) -> None:
    first = report(str(results), str(tmp_path / "one"))
    moved = shutil.move(results, tmp_path / "elsewhere")
    second = report(Path(moved), tmp_path / "two")
    assert first.page.read_bytes() == second.page.read_bytes()
    assert [path.name for path in first.tables] == [path.name for path in second.tables]
    for one, two in zip(first.tables, second.tables, strict=True):
        assert one.read_bytes() == two.read_bytes()


def test_nothing_outside_the_file_is_referred_to(page: Page) -> None:
    names = ("src", "href", "action", "data", "srcset", "poster", "xlink:href")
    targets = [attributes[name] for _, attributes in page.elements for name in names if attributes.get(name)]
    assert targets
    assert all(str(target).startswith(("data:", "#")) for target in targets)
    assert not re.findall(r"url\((?!#)", "".join(page.raw["style"]))
    assert "@import" not in "".join(page.raw["style"])
    assert not {tag for tag, _ in page.elements} & {"iframe", "object", "embed", "base", "form"}


def test_the_policy_allows_only_the_pages_own_style_and_script(page: Page) -> None:
    policy = next(a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for kind in ("style", "script"):
        digest = hashlib.sha256("".join(page.raw[kind]).encode()).digest()
        assert rules[f"{kind}-src"] == f"'sha256-{base64.b64encode(digest).decode()}'"
    assert not [a for _, a in page.elements if "style" in a or any(name.startswith("on") for name in a)]


def test_style_and_script_stay_small() -> None:
    import srbench.reporting.templates as templates

    folder = Path(str(templates.__file__)).parent
    for name in ("report.css", "report.js"):
        assert len((folder / name).read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.slow
def test_hostile_names_stay_text(fabricator: Any, players: Any) -> None:
    fabricator.dataset = HOSTILE
    fabricator.images = [
        replace(scene, image=f"{scene.image}{HOSTILE}", group=scene.group + HOSTILE, category=HOSTILE)
        for scene in fabricator.images
    ]
    fabricator.add(players["bicubic"])
    fabricator.add(replace(players["edsr"], title=HOSTILE, budget=HOSTILE, family=HOSTILE, variant=HOSTILE))
    fabricator.fail(HOSTILE, HOSTILE)
    page = Page(report(fabricator.store.root).page.read_text(encoding="utf-8"))
    assert len(page.raw["script"]) == 1
    assert not [a for t, a in page.elements if t == "img" and not str(a["src"]).startswith("data:image/png")]
    assert not [a for _, a in page.elements if any(name.startswith("on") for name in a)]
    assert page.text.count(HOSTILE) >= 8
    assert "49" not in re.findall(r"onerror=alert\(2\)>(\S*)", page.text)


def test_every_drawing_is_well_formed(text: str) -> None:
    drawings = re.findall(r'<svg class="plot".*?</svg>', text, flags=re.S)
    assert len(drawings) == 2 * 3 + 2
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.attrib["aria-label"]


def test_points_stand_where_their_numbers_are(text: str) -> None:
    """Heights in the drawing are an affine image of the means printed in the table."""
    figure = re.search(r'data-metric="psnr" data-cost="params"[^>]*>(.*?)</figure>', text, flags=re.S)
    assert figure is not None
    ticks = re.findall(
        r'<text class="tick" x="56.0" y="([\d.]+)" text-anchor="end">([\d.]+)</text>', figure.group(1)
    )
    (y0, v0), (y1, v1) = [(float(y) - 4, float(v)) for y, v in (ticks[0], ticks[-1])]
    heights = [
        float(y)
        for y in re.findall(r'class="marker[^"]*" transform="translate\([\d.]+,([\d.]+)\)"', figure.group(1))
    ]
    drawn = sorted(v0 + (y - y0) / (y1 - y0) * (v1 - v0) for y in heights)
    table = re.search(r'<table class="leaderboard">.*?</table>', text, flags=re.S)
    assert table is not None
    means = {
        float(value)
        for body in re.findall(r"<tr data-row.*?</tr>", table.group(0), flags=re.S)
        if "Noise ceiling" not in body and "Oracle" not in body
        for value in re.findall(r'data-value="([\d.]+)"', body)[:1]
    }
    assert drawn == pytest.approx(sorted(means), abs=0.02)


def test_failed_and_missing_runs_and_values_are_told_with_their_reason(page: Page) -> None:
    for words in (
        "CUDA ran out of memory on img/03.png; give --tile 256",
        "No trained weights found; srbench train hmanet --scale 4",
        "AlexNet weights are not on disk",
        "every row (16 images)",
    ):
        assert words in page.text


def test_conditions_and_provenance_are_printed(page: Page, filled: Path) -> None:
    store = ScoreStore(filled)
    manifest = next(m for m in store.manifests() if m.key.model == "edsr")
    for words in (
        manifest.key.protocol,
        manifest.key.data,
        manifest.key.weights,
        manifest.command,
        "NVIDIA H100",
        "2.11.0",
        "matlab-imresize@1",
        "Rounding before the comparison uint8",
        "16 images in 8 independent groups",
        "2026-11-20",
    ):
        assert words in page.text


def test_badges_and_warnings_stand_in_the_page(page: Page) -> None:
    badges = [a for t, a in page.elements if a.get("class") == "badge"]
    leaderboard_and_cost, categories, panels = 2, 2, 2
    assert len(badges) == 2 * (leaderboard_and_cost + categories + panels)
    for words in (
        "smoke budget: not a result",
        "sees the HR image: not ranked",
        "Only 8 independent groups of images",
        "Spread over training seeds",
    ):
        assert words in page.text


@pytest.mark.slow
def test_nothing_is_decided_with_few_groups(fabricator: Any, players: Any) -> None:
    for name in ("bicubic", "nearest", "edsr"):
        fabricator.add(players[name], metrics=("psnr",), previews=0)
    result = report(fabricator.store.root)
    assert any("Only 4 independent groups" in w and "nothing marked best" in w for w in result.warnings)
    assert 'class="bestmark"' not in result.page.read_text(encoding="utf-8")


def test_a_category_with_a_single_group_is_said(fabricator: Any, players: Any) -> None:
    fabricator.images = [
        replace(scene, category="tips" if scene.group == "g0" else "powder") for scene in fabricator.images
    ]
    fabricator.add(players["bicubic"], metrics=("psnr",), previews=0)
    assert any("A single group of images in tips" in warning for warning in warnings_of(fabricator))


@pytest.mark.slow
def test_a_missing_baseline_and_ceiling_are_said(fabricator: Any, players: Any) -> None:
    fabricator.add(players["edsr"], metrics=("psnr",), previews=0)
    warnings = " ".join(warnings_of(fabricator))
    assert "srbench eval bicubic --dataset sem_made_up --scale 4" in warnings
    assert "No noise ceiling" in warnings


@pytest.mark.slow
def test_synthetic_scenes_are_called_so(fabricator: Any, players: Any) -> None:
    fabricator.dataset = "sem_synthetic:small"
    fabricator.add(players["bicubic"], metrics=("psnr",), previews=0)
    assert any("Synthetic scenes" in warning for warning in warnings_of(fabricator))


@pytest.mark.slow
def test_the_same_output_under_two_names_is_noticed(fabricator: Any, players: Any) -> None:
    fabricator.add(players["edsr"], metrics=("psnr",), previews=0)
    fabricator.add(replace(players["edsr"], model="copy", title="Copy"), metrics=("psnr",), previews=0)
    warnings = [w for w in warnings_of(fabricator) if "two names" in w]
    assert len(warnings) == 1
    assert "EDSR" in warnings[0]
    assert "Copy" in warnings[0]


@pytest.mark.slow
def test_missing_weights_are_forgotten_when_they_came(fabricator: Any, players: Any) -> None:
    fabricator.add(players["bicubic"], metrics=("psnr",), previews=0)
    fabricator.fail("edsr", "No weights: train EDSR first", "missing")
    assert "train EDSR first" in report(fabricator.store.root).page.read_text(encoding="utf-8")
    fabricator.add(players["edsr"], metrics=("psnr",), previews=0)
    assert "train EDSR first" not in report(fabricator.store.root).page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_different_conditions_never_share_a_table(fabricator: Any, players: Any) -> None:
    fabricator.add(players["bicubic"], metrics=("psnr",), previews=0)
    first_key = fabricator.key
    changes = (
        {"data": "e" * 64},
        {"protocol": "matlab-y-00000000"},
        {"split": "val"},
        {"degradation": "area@1"},
        {"dataset": "other"},
    )
    for change in changes:
        fabricator.key = lambda player, seed, change=change: replace(first_key(player, seed), **change)
        fabricator.add(players["edsr"], metrics=("psnr",), previews=0)
    result = report(fabricator.store.root)
    page = result.page.read_text(encoding="utf-8")
    tables = re.findall(r'<table class="leaderboard">.*?</table>', page, flags=re.S)
    named = [("EDSR" in table, "Bicubic" in table) for table in tables]
    assert set(named) == {(False, True), (True, False)}
    assert page.count('<section class="block"') == 1 + len(changes)
    assert len({path.name for path in result.tables if path.suffix == ".csv"}) == 1 + len(changes)


@pytest.mark.slow
def test_a_block_without_a_complete_run_says_so(fabricator: Any) -> None:
    fabricator.fail("swinir", "CUDA ran out of memory")
    result = report(fabricator.store.root)
    page = Page(result.page.read_text(encoding="utf-8"))
    assert "No run of this block is complete" in page.text
    assert "CUDA ran out of memory" in page.text
    assert result.tables == ()


@pytest.mark.slow
def test_runs_alike_but_for_their_weights_are_told_apart(fabricator: Any, players: Any) -> None:
    fabricator.add(players["edsr"], metrics=("psnr",), previews=0)
    made = fabricator.key
    fabricator.key = lambda player, seed: replace(made(player, seed), weights="f00d" * 16)
    fabricator.add(players["edsr"], metrics=("psnr",), previews=0)
    text = Page(report(fabricator.store.root).page.read_text(encoding="utf-8")).text
    assert "weights f00df0" in text
