"""The section on real minus synthetic LR: there where both blocks are, with the numbers of the rows."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from srbench.reporting import report
from srbench.reporting.blocks import collect
from srbench.reporting.gap import gap_tables
from srbench.reporting.leaderboard import leaderboard
from srbench.store import NOISE_CEILING, Manifest, RunKey, Score, ScoreStore

SYNTHETIC = "sem_pixel:dose=20,spot=0.5@1"


def add(root: Path, model: str, degradation: str, level: float) -> None:
    """Eight groups of one image; the last has no value on recorded LR."""
    key = RunKey(model, "only", "", -1, "scans", "d" * 64, "test", degradation, 1, "sem-grey-0a1b2c3d")
    scores = [
        Score("psnr", float(level + i), f"f{i}", f"g{i}", "powder")
        if (i, degradation) != (7, "recorded@1")
        else Score("psnr", float("nan"), f"f{i}", f"g{i}", "powder", "too small")
        for i in range(8)
    ]
    card = {"title": f"<b>{model}</b>", "family": "interpolation"}
    ScoreStore(root).write_run(Manifest(key, "complete", card=card), scores)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gap")
    for model, real, synthetic in (("bicubic", 20, 22.5), ("gaussian", 24, 25), (NOISE_CEILING, 30, 31)):
        add(root, model, "recorded@1", real)
        add(root, model, SYNTHETIC, synthetic)
    add(root, "lanczos", "recorded@1", 19)
    return root


def test_every_model_of_both_blocks_has_its_gap(store: Path) -> None:
    (table,) = gap_tables([leaderboard(block) for block in collect(ScoreStore(store))])
    assert {row.run.model for row in table.rows} == {"bicubic", "gaussian"}
    gaps = {run.model: gap for run, gap in table.gaps["psnr"].items()}
    assert gaps["bicubic"].difference == pytest.approx(-2.5) and gaps["gaussian"].difference == pytest.approx(
        -1
    )
    assert gaps["bicubic"].interval.low == pytest.approx(-2.5)
    assert gaps["bicubic"].n_images == 7


def test_page_and_table_show_them(store: Path, tmp_path: Path) -> None:
    written = report(store, tmp_path)
    page = written.page.read_text(encoding="utf-8")
    (section,) = re.findall(
        r'<section class="block" id="real-minus-synthetic">.*?</section>', page, re.DOTALL
    )
    assert "−2.500" in section and "−1.000" in section and "&lt;b&gt;gaussian" in section
    (file,) = (path for path in written.tables if path.name == "real_minus_synthetic.csv")
    with file.open(encoding="utf-8", newline="") as text:
        rows = {row["model"]: row for row in csv.DictReader(text)}
    assert float(rows["bicubic"]["real_minus_synthetic"]) == pytest.approx(-2.5)
    assert rows["gaussian"]["synthetic"] == SYNTHETIC and rows.keys() == {"bicubic", "gaussian"}


def test_without_a_counterpart_nothing_is_said(tmp_path: Path) -> None:
    add(tmp_path, "bicubic", "recorded@1", 20)
    written = report(tmp_path)
    assert "real-minus-synthetic" not in written.page.read_text(encoding="utf-8")
    assert not any(path.name == "real_minus_synthetic.csv" for path in written.tables)
