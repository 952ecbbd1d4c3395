"""A folder with pixel sizes: page, tables and verdicts in nm, and in pixels where one is unknown."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from srbench.cli.app import cli
from srbench.metrics import registry
from srbench.reporting import ReportResult, report
from srbench.reporting.blocks import collect
from srbench.reporting.crops import CropRegion, EmbeddedImage, Panel
from srbench.store import Manifest, RunKey, Score, ScoreStore
from srbench.utils.errors import SrbenchError

PIXEL_NM = 5.828
REMARKS = ("databar cut: 8 images", "pixel size 5.828 nm (FEI tag): 8 images")
BIAS = {"bicubic": 1.5, "nearest": 0.1}


def write(root: Path, data: str = "d", images: int = 8, day: int = 1, last: float = PIXEL_NM) -> None:
    """Two models on a folder; ``last`` is the pixel size of the last image."""
    for model, bias in BIAS.items():
        key = RunKey(
            model, "v", "", -1, "folder:/my/images", data * 64, "all", "bicubic@1", 4, "sem-grey-00000000"
        )
        scores = []
        for number in range(images):
            place = (f"i{number}", f"g{number}", "a")
            size = last if number == images - 1 else PIXEL_NM
            wobble = 0.01 * number
            named = {"cd_bias": bias + wobble, "cd_bias_hr": 0.05, "edge_displacement@2": bias, "psnr": 30.0}
            scores += [Score(name, value, *place, pixel_size_nm=size) for name, value in named.items()]
        described: dict[str, Any] = {"images": images, "remarks": list(REMARKS), "lr_sha256": "ab"}
        card = {"title": model.title(), "family": "interpolation"}
        manifest = Manifest(key, "complete", created=f"2026-12-{day:02}", data=described, card=card)
        ScoreStore(root).write_run(manifest, scores)


def rows_of(outcome: ReportResult, ending: str = ".csv") -> list[dict[str, str]]:
    path = next(path for path in outcome.tables if path.name.endswith(ending))
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def text_of(outcome: ReportResult, ending: str) -> str:
    return next(path for path in outcome.tables if path.name.endswith(ending)).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def in_nm(tmp_path_factory: pytest.TempPathFactory) -> ReportResult:
    root = tmp_path_factory.mktemp("nm")
    write(root)
    return report(root)


@pytest.mark.slow
def test_every_length_is_in_nm(in_nm: ReportResult) -> None:
    rows = {(row["model"], row["metric"]): row for row in rows_of(in_nm)}
    assert {metric: row["unit"] for (_, metric), row in rows.items()} == {
        "psnr": "dB",
        "edge_displacement@2": "nm",
        "cd_bias": "nm",
        "cd_bias_hr": "nm",
    }
    cd = rows["bicubic", "cd_bias"]
    expected = np.mean([BIAS["bicubic"] + 0.01 * number for number in range(8)])
    assert float(cd["mean"]) == pytest.approx(PIXEL_NM * expected)
    assert float(cd["margin"]) == pytest.approx(0.5 * PIXEL_NM)
    nearest = rows["nearest", "edge_displacement@2"]
    assert float(nearest["diff"]) == pytest.approx(PIXEL_NM * (BIAS["nearest"] - BIAS["bicubic"]))
    assert float(nearest["margin"]) == pytest.approx(0.1 * PIXEL_NM) and nearest["verdict"] == "better"
    assert "Edge displacement (nm)" in text_of(in_nm, ".md")
    assert "Edge displacement (nm)" in text_of(in_nm, "_edges.tex")


@pytest.mark.slow
def test_verdicts_are_in_nm(in_nm: ReportResult) -> None:
    rows = {row["model"]: row for row in rows_of(in_nm, "_trust.csv")}
    change = np.mean([BIAS["bicubic"] + 0.01 * number - 0.05 for number in range(8)])
    assert float(rows["bicubic"]["change"]) == pytest.approx(PIXEL_NM * change)
    assert float(rows["bicubic"]["tolerance"]) == pytest.approx(0.5 * PIXEL_NM)
    assert {row["unit"] for row in rows.values()} == {"nm"}
    assert (rows["bicubic"]["status"], rows["nearest"]["status"]) == ("not trusted", "trusted")
    assert "2.914 nm" in rows["bicubic"]["reason"] and "px" not in rows["bicubic"]["reason"]
    assert "CD ±2.914 nm" in text_of(in_nm, ".md")
    assert r"2.914 nm" in text_of(in_nm, "_trust.tex")


@pytest.mark.slow
def test_the_page_says_nm_and_where_it_comes_from(in_nm: ReportResult) -> None:
    page = in_nm.page.read_text(encoding="utf-8")
    body = page[page.index("<main>") : page.index("</main>")]
    drawings = "".join(re.findall(r"<svg class=\"plot\".*?</svg>", body, flags=re.S))
    assert "nm" in drawings and "px" not in drawings
    units = set(re.findall(r'<span class="unit">([^<]*)</span>', body))
    assert units <= {"nm", "dB", "± 2.914 nm", "(nm)", "(dB)"} and "nm" in units
    assert all(remark in body for remark in REMARKS)
    assert f"{PIXEL_NM:g} nm" in body


@pytest.mark.slow
def test_one_image_without_pixel_size_leaves_the_block_in_pixels(tmp_path: Path) -> None:
    write(tmp_path, last=math.nan)
    outcome = report(tmp_path)
    assert {row["unit"] for row in rows_of(outcome)} == {"dB", "px"}
    assert {row["unit"] for row in rows_of(outcome, "_trust.csv")} == {"px"}
    assert sum("1 of 8" in line and "--pixel-size-nm" in line for line in outcome.warnings) == 1


@pytest.mark.slow
def test_different_pixel_sizes_are_averaged_in_nm_and_judged_in_pixels(tmp_path: Path) -> None:
    write(tmp_path, last=100.0)
    outcome = report(tmp_path)
    cd = next(row for row in rows_of(outcome) if (row["model"], row["metric"]) == ("nearest", "cd_bias"))
    sizes = [PIXEL_NM] * 7 + [100.0]
    expected = np.mean([size * (BIAS["nearest"] + 0.01 * number) for number, size in enumerate(sizes)])
    assert (cd["unit"], float(cd["mean"])) == ("nm", pytest.approx(expected))
    assert float(cd["margin"]) == pytest.approx(0.5 * np.mean(sizes))
    trusted = rows_of(outcome, "_trust.csv")
    assert {(row["unit"], row["tolerance"]) for row in trusted} == {("px", "0.5")}
    chosen = rows_of(report(tmp_path, tolerances={"cd": "10nm"}), "_trust.csv")
    assert {(row["unit"], row["tolerance"]) for row in chosen} == {("nm", "10.0")}


@pytest.mark.slow
def test_tolerances_on_the_command_line(tmp_path: Path) -> None:
    write(tmp_path)

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(cli, ["report", "--results", str(tmp_path), *arguments])

    # The rows were written without their conditions, which a check finds.
    assert run("--tolerance", "cd=20nm", "--tolerance", "pore_fraction=0.01").exit_code == 1
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "± 20 nm (chosen)" in page and "chosen by the user" in page
    path = next((tmp_path / "report" / "tables").glob("*_trust.csv"))
    assert {row["status"] for row in csv.DictReader(path.open(encoding="utf-8"))} == {"trusted"}
    assert run("--tolerance", "cd").exit_code == 2
    assert isinstance(run("--tolerance", "cd=3").exception, SrbenchError)
    assert isinstance(run("--tolerance", "width=3nm").exception, SrbenchError)


@pytest.mark.slow
def test_a_tolerance_in_nm_without_pixel_sizes(tmp_path: Path) -> None:
    write(tmp_path, data="a", last=math.nan)
    with pytest.raises(SrbenchError, match="--pixel-size-nm"):
        report(tmp_path, tolerances={"cd": "2nm"})
    assert not (tmp_path / "report").exists()
    # Scored again with them: the older block keeps the default and says so.
    write(tmp_path, data="b", day=2)
    outcome = report(tmp_path, tolerances={"cd": "2nm", "diameter": "1nm"})
    refused = [line for line in outcome.warnings if "2 nm" in line]
    assert len(refused) == 1 and "outdated data" in refused[0]
    assert any("diameter" in line for line in outcome.warnings)


def test_the_newest_data_stand_first_and_the_others_are_marked(tmp_path: Path) -> None:
    write(tmp_path, data="a", images=3, day=2)
    assert [block.state for block in collect(ScoreStore(tmp_path))] == [""]
    for day, newest in ((1, "a"), (3, "b")):
        write(tmp_path, data="b", images=2, day=day)
        blocks = collect(ScoreStore(tmp_path))
        assert [block.key.data[0] for block in blocks] == (["a", "b"] if newest == "a" else ["b", "a"])
        assert [block.state for block in blocks] == [", newest data", ", outdated data"]
        assert {block.newest_data for block in blocks} == {newest * 64}


@pytest.mark.parametrize("pixel_nm", [0.0123, 1.0, 5.828, 100.0, 2615.0])
def test_scale_bars_are_round_and_fit_at_every_zoom(pixel_nm: float) -> None:
    picture = EmbeddedImage("", 1, 1)
    panel = Panel("i", "g", "c", 512, 512, pixel_nm, picture, (CropRegion("typical", 0, 0, 256),), ())
    bars = panel.scale_bars
    for pixels, words in bars:
        number, unit = words.split()
        nm = float(number) * {"nm": 1.0, "µm": 1e3, "mm": 1e6}[unit]
        assert nm == pytest.approx(pixels * pixel_nm)
        assert f"{nm:.0e}"[0] in "125" and nm == pytest.approx(float(f"{nm:.0e}"))
    for zoom in (1.0, 1.5, 7.6, 32.0):
        shown = next(pixels * zoom for pixels, _ in bars if pixels * zoom <= 0.4 * 256)
        assert shown * (1 + 1e-9) >= 0.4 * 256 / 2.5
    assert not Panel("i", "g", "c", 512, 512, None, picture, (), ()).scale_bars


def test_no_explanation_names_a_unit_that_may_be_another() -> None:
    lengths = [metric for metric in registry.list_metrics() if metric.unit == "px"]
    assert len(lengths) == 18
    assert not [metric.name for metric in lengths if "pixel" in metric.explanation]
