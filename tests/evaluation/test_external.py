"""``srbench score``: what another program made has the same numbers as a model that gives the same pixels."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from PIL import Image

import srbench
from helpers.evaluations import workers_here
from helpers.fake_set import texture
from srbench.checks.base import UNGUARDED
from srbench.cli.app import cli
from srbench.datasets import ReadingOptions
from srbench.evaluation.evaluate import EvaluationSummary
from srbench.evaluation.external import pair_by_name, row_name
from srbench.reporting.blocks import collect
from srbench.reporting.leaderboard import leaderboard
from srbench.store import CONTROL, Manifest, ScoreStore
from srbench.utils.errors import DatasetError, SrbenchError

METRICS = ("psnr", "ssim", "lr_psnr")
SIZES = ((64, 80), (66, 72), (72, 65))
"""Rows and columns; not all are multiples of the scale."""


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, workers_here():
        patch.setenv("SRBENCH_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@dataclass(frozen=True)
class Data:
    """A folder of HR images, the store with their bicubic row, and the pixels that bicubic gave."""

    hr: Path
    results: Path
    bicubic: dict[str, Any]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Three 8-bit PNG images, scored at x2."""
    root = tmp_path_factory.mktemp("data")
    (root / "hr").mkdir()
    for index, size in enumerate(SIZES):
        Image.fromarray(texture(index, *size)).save(root / "hr" / f"s{index}.png")
    srbench.evaluate(
        ["bicubic"],
        dataset=f"folder:{root / 'hr'}",
        scale=2,
        split="all",
        metrics=METRICS,
        results=root / "results",
    )
    store = ScoreStore(root / "results")
    (manifest,) = (stored for stored in store.manifests() if stored.key.model == "bicubic")
    previews = {image: store.preview(manifest.key, image) for image in manifest.previews}
    return Data(
        root / "hr",
        root / "results",
        {image: np.array(Image.open(path)) for image, path in previews.items() if path},
    )


@pytest.fixture
def results(data: Data, tmp_path: Path) -> Path:
    """A copy of the store that holds the bicubic row."""
    shutil.copytree(data.results, tmp_path / "results")
    return tmp_path / "results"


def written(folder: Path, images: dict[str, Any], ending: str = "_x2", suffix: str = ".png") -> Path:
    """A folder as another program leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    for image, pixels in images.items():
        path = folder / f"{Path(image).stem}{ending}{suffix}"
        if suffix == ".tif":
            tifffile.imwrite(path, pixels)
        else:
            assert cv2.imwrite(str(path), pixels)
    return folder


def scored(sr: Path, hr: Path, results: Path, **options: Any) -> EvaluationSummary:
    options = {"metrics": METRICS, "previews": 1, **options}
    return srbench.score(sr, hr, results=results, **options)


def manifest_of(results: Path, model: str) -> Manifest:
    (manifest,) = (stored for stored in ScoreStore(results).manifests() if stored.key.model == model)
    return manifest


def rows_of(results: Path, model: str) -> dict[tuple[str, str], tuple[float, str]]:
    """Image and metric to value and reason."""
    table = ScoreStore(results).scores()
    table = table[(table["model"] == model) & (table["image"] != "")]
    return {(row.image, row.metric): (row.value, row.reason) for row in table.itertuples(index=False)}


def status_of(summary: EvaluationSummary, model: str) -> str:
    (outcome,) = (outcome for outcome in summary.outcomes if outcome.model == model)
    return outcome.status


@pytest.mark.slow
@pytest.mark.parametrize("case", ["grey PNG", "RGB TIFF"])
def test_the_same_pixels_have_the_same_scores(data: Data, results: Path, tmp_path: Path, case: str) -> None:
    images, suffix = data.bicubic, ".png"
    if case == "RGB TIFF":
        images, suffix = {name: np.dstack([pixels] * 3) for name, pixels in images.items()}, ".tif"
    sr = written(tmp_path / "upscaled", images, suffix=suffix)
    summary = scored(sr, data.hr, results)
    assert status_of(summary, "upscaled") == "scored" and status_of(summary, "bicubic") == "skipped"
    assert {outcome.model for outcome in summary.outcomes} == {"upscaled", "bicubic", "nearest", CONTROL}
    rows = rows_of(results, "upscaled")
    assert len(rows) == len(METRICS) * len(SIZES) and rows == rows_of(results, "bicubic")
    assert manifest_of(results, "upscaled").key.scale == 2  # by the names of the files


@pytest.mark.slow
def test_a_row_from_outside_is_shown_unguarded_and_not_ranked(
    data: Data, results: Path, tmp_path: Path
) -> None:
    scored(written(tmp_path / "upscaled", data.bicubic), data.hr, results, name="other program")
    manifest = manifest_of(results, "other_program")
    guards = {guard["guard"]: guard["status"] for guard in manifest.guards}
    made_of_pixels = {"databar_border", "lossless_output"}
    assert {name for name, status in guards.items() if status == "unchecked"} - made_of_pixels == {
        "hr_access",
        "determinism",
        "contamination",
        "memorisation",
        "degradation",
    }
    (block,) = collect(ScoreStore(results))
    rows = {row.manifest.key.model: row for row in leaderboard(block).rows}
    assert rows["other_program"].kind == "unranked" and UNGUARDED in rows["other_program"].badges
    assert rows["bicubic"].kind == "interpolation" and not rows["bicubic"].badges  # its copy costs it nothing
    report = srbench.report(results, tmp_path / "report")
    assert UNGUARDED in report.page.read_text(encoding="utf-8")
    assert any(UNGUARDED in path.read_text(encoding="utf-8") for path in report.tables)
    comparison = srbench.compare("other_program", "bicubic", results=results)
    assert any(UNGUARDED in warning for warning in comparison.warnings)
    assert all(result.paired.difference == 0.0 for result in comparison.metrics)


@pytest.mark.slow
def test_hr_itself_is_found_out(data: Data, results: Path, tmp_path: Path) -> None:
    shutil.copytree(data.hr, tmp_path / "copies")
    summary = scored(tmp_path / "copies", data.hr, results, scale=2)
    assert [outcome.model for outcome in summary.caught] == ["copies"]
    assert [guard["guard"] for guard in summary.caught[0].failed_guards] == ["hr_access"]


@pytest.mark.slow
def test_what_has_no_partner_or_another_size_is_missing_with_its_reason(
    data: Data, results: Path, tmp_path: Path
) -> None:
    images = {name: pixels for name, pixels in data.bicubic.items() if name != "s0.png"}
    images["s1.png"] = images["s1.png"][:60]
    sr = written(tmp_path / "part", {**images, "stranger.png": images["s2.png"]})
    lines: list[Any] = []
    summary = scored(sr, data.hr, results, progress=lines.append)
    rows, bicubic = rows_of(results, "part"), rows_of(results, "bicubic")
    assert status_of(summary, "part") == "scored" and len(rows) == len(bicubic)
    for metric in METRICS:
        assert rows["s2.png", metric] == bicubic["s2.png", metric]
        assert np.isnan(rows["s0.png", metric][0]) and rows["s0.png", metric][1]
        assert "72x60" in rows["s1.png", metric][1] and "72x66" in rows["s1.png", metric][1]
    said = " ".join(line for line in lines if isinstance(line, str))
    assert "stranger_x2.png" in said and "s0.png" in said


@pytest.mark.slow
def test_files_that_changed_are_scored_again_in_place_of_the_earlier_ones(
    data: Data, results: Path, tmp_path: Path
) -> None:
    sr = written(tmp_path / "program", data.bicubic)
    assert status_of(scored(sr, data.hr, results), "program") == "scored"
    assert status_of(scored(sr, data.hr, results), "program") == "skipped"
    first = manifest_of(results, "program")
    written(sr, {"s1.png": data.bicubic["s1.png"][::-1].copy()})
    assert status_of(scored(sr, data.hr, results), "program") == "scored"
    assert manifest_of(results, "program").key.weights != first.key.weights
    changed = {
        image
        for (image, _), value in rows_of(results, "program").items()
        if value != rows_of(results, "bicubic")[image, _]
    }
    assert changed == {"s1.png"}
    # A folder of the same name elsewhere is another program's, and takes nothing away.
    scored(written(tmp_path / "elsewhere" / "program", data.bicubic, ending=""), data.hr, results, scale=2)
    assert len([stored for stored in ScoreStore(results).manifests() if stored.key.model == "program"]) == 2


def ramped(pixels: Any, bits: int) -> Any:
    """8-bit grey levels on a scale of ``bits``, as a camera stores them."""
    return np.round(pixels * ((2**bits - 1) / 255.0)).astype(np.uint16)


@pytest.mark.slow
@pytest.mark.parametrize(("hr_bits", "sr_bits"), [(8, 16), (12, 12), (12, 16)])
def test_depths_of_the_two_folders_may_differ(
    data: Data, results: Path, tmp_path: Path, hr_bits: int, sr_bits: int
) -> None:
    hr = tmp_path / "hr"
    hr.mkdir()
    for path in sorted(data.hr.iterdir()):
        pixels = np.array(Image.open(path))
        pixels[0, 0] = 255  # so that the folder shows its depth
        tifffile.imwrite(hr / f"{path.stem}.tif", pixels if hr_bits == 8 else ramped(pixels, hr_bits))
    images = {
        name: ramped(pixels, sr_bits) if sr_bits > 8 else pixels for name, pixels in data.bicubic.items()
    }
    if sr_bits == 16:
        images["s0.png"][0, 0] = 65535
    scored(written(tmp_path / "sr", images, suffix=".tif"), hr, tmp_path / "store")
    rows, bicubic = rows_of(tmp_path / "store", "sr"), rows_of(results, "bicubic")
    for image in ("s0", "s1", "s2"):  # the changed corner lies in the border, which is not scored
        for metric in ("psnr", "ssim"):
            assert rows[f"{image}.tif", metric][0] == pytest.approx(
                bicubic[f"{image}.png", metric][0], abs=0.01
            )


@pytest.mark.slow
def test_a_dark_result_is_read_with_the_depth_of_hr(data: Data, results: Path, tmp_path: Path) -> None:
    """Alone, values below 1024 would be 10 bits."""
    (tmp_path / "hr").mkdir()
    dark = {name: pixels // 4 for name, pixels in data.bicubic.items()}
    for path in sorted(data.hr.iterdir()):
        pixels = np.array(Image.open(path)) // 4
        pixels[0, 0] = 255
        tifffile.imwrite(tmp_path / "hr" / f"{path.stem}.tif", ramped(pixels, 12))
    as_8_bit = scored(written(tmp_path / "a", dark), tmp_path / "hr", tmp_path / "store")
    as_12_bit = scored(
        written(tmp_path / "b", {name: ramped(pixels, 12) for name, pixels in dark.items()}, suffix=".tif"),
        tmp_path / "hr",
        tmp_path / "store",
    )
    assert status_of(as_8_bit, "a") == status_of(as_12_bit, "b") == "scored"
    assert rows_of(tmp_path / "store", "a") == rows_of(tmp_path / "store", "b")


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 12])
def test_a_databar_is_cut_from_sr_as_from_hr(tmp_path: Path, bits: int) -> None:
    """One that is painted in the white of 16 bits says nothing of the depth of what is above it."""
    scene = texture(1, 140, 200)
    blurred = cv2.GaussianBlur(scene, (0, 0), 1.0)
    bar = np.full((30, 200), 255, np.uint8)
    cv2.putText(bar, "HV 5.00 kV  mag 1 200 x", (5, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 0, 1)
    if bits == 12:
        scene, blurred, bar = ramped(scene, 12), ramped(blurred, 12), ramped(bar, 16)
    (tmp_path / "hr").mkdir()
    tifffile.imwrite(tmp_path / "hr" / "a.tif", np.vstack([scene[:110], bar]))
    whole = written(tmp_path / "whole", {"a": np.vstack([blurred[:110], bar])}, suffix=".tif")
    summary = scored(whole, tmp_path / "hr", tmp_path / "store")
    height = cv2.imread(str(next((tmp_path / "store").glob("references/*/*.hr.png")))).shape[0]
    assert status_of(summary, "whole") == "scored" and height < 110
    cut = written(tmp_path / "cut", {"a": blurred[:height]}, suffix=".tif")
    scored(cut, tmp_path / "hr", tmp_path / "store")
    assert rows_of(tmp_path / "store", "whole") == rows_of(tmp_path / "store", "cut")
    assert all(np.isfinite(value) for value, _ in rows_of(tmp_path / "store", "whole").values())


@pytest.mark.slow
def test_pages_are_paired_with_pages(tmp_path: Path) -> None:
    pages = [texture(seed, 64, 64) for seed in range(3)]
    blurred = [cv2.GaussianBlur(page, (0, 0), 1.0) for page in pages]
    (tmp_path / "hr").mkdir()
    tifffile.imwrite(tmp_path / "hr" / "a.tif", np.stack(pages), photometric="minisblack")
    sr = written(tmp_path / "sr", {}, suffix=".tif")
    tifffile.imwrite(sr / "a_x2.tif", np.stack(blurred[:2]), photometric="minisblack")
    reading = ReadingOptions(pages="all")
    scored(sr, tmp_path / "hr", tmp_path / "store", reading=reading)
    (tmp_path / "single").mkdir()
    for number, page in enumerate(pages, start=1):
        Image.fromarray(page).save(tmp_path / "single" / f"p{number}.png")
    alone = written(tmp_path / "alone", {f"p{n}": page for n, page in enumerate(blurred, start=1)})
    scored(alone, tmp_path / "single", tmp_path / "store")
    of_pages, of_files = rows_of(tmp_path / "store", "sr"), rows_of(tmp_path / "store", "alone")
    for metric in METRICS:
        for number in (1, 2):
            assert of_pages[f"a.tif#{number}", metric] == of_files[f"p{number}.png", metric]
        assert np.isnan(of_pages["a.tif#3", metric][0])


@pytest.mark.slow
def test_the_command_scores_and_says_what_is_next(data: Data, results: Path, tmp_path: Path) -> None:
    sr = written(tmp_path / "sr", data.bicubic, ending="_RealESRGAN_x2")
    arguments = ["score", str(sr), str(data.hr), "--results", str(results), "--metric", "psnr"]
    outcome = CliRunner().invoke(cli, arguments)
    assert outcome.exit_code == 0, outcome.output
    assert outcome.stdout.splitlines()[-1] == f"Next: srbench report --results {results}"
    assert rows_of(results, "sr") == {
        key: value for key, value in rows_of(results, "bicubic").items() if key[1] == "psnr"
    }


IMAGES = ("a.tif", "a_1.tif", "sub/b.tif", "other/b.tif", "c.png", "c.tif", "refused.tif", "d.tif")
REFUSED = ("refused_1.tif", "d.png")


@pytest.mark.parametrize(
    ("files", "pairs"),
    [
        (["a.png", "a_1.png"], {"a.tif": "a.png", "a_1.tif": "a_1.png"}),
        (["a_1_x4.png"], {"a_1.tif": "a_1_x4.png"}),  # the longest name decides
        (["a_SR.png"], {"a.tif": "a_SR.png"}),
        (["a-out.bmp"], {"a.tif": "a-out.bmp"}),
        (["a_edsr_x4.tif"], {"a.tif": "a_edsr_x4.tif"}),
        (["a_rlt.png"], {"a.tif": "a_rlt.png"}),
        (["a_4x.png"], {"a.tif": "a_4x.png"}),
        (["ax4.png"], {"a.tif": "ax4.png"}),
        (["ax4_out.png"], {"a.tif": "ax4_out.png"}),
        (["a.tif_x4.png"], {"a.tif": "a.tif_x4.png"}),
        (["a.jpg_edsr_x4.png"], {"a.tif": "a.jpg_edsr_x4.png"}),  # of an LR image that was a JPEG
        (["refused_1_x4.png", "refused_x4.png"], {"refused.tif": "refused_x4.png"}),
        (["d_x4.png"], {"d.tif": "d_x4.png"}),
        (["a_2.png"], {}),  # a number is another image
        (["ab_x4.png"], {}),
        (["b_x4.png"], {}),  # of which folder?
        (["sub/b_x4.png", "other/b_SR.png"], {"sub/b.tif": "sub/b_x4.png", "other/b.tif": "other/b_SR.png"}),
        (["a_edsr.png", "a_swinir.png"], {}),
        (["a.png", "a_x4.png"], {}),
        (["c.png", "c.tif"], {"c.png": "c.png", "c.tif": "c.tif"}),
        (["c_x4.png"], {}),
        (["c.tif_x4.png"], {"c.tif": "c.tif_x4.png"}),
    ],
)
def test_pairs_by_name(files: Sequence[str], pairs: dict[str, str]) -> None:
    pairing = pair_by_name(files, IMAGES, REFUSED)
    assert pairing.of == pairs
    assert set(pairing.without) == set(IMAGES) - set(pairs) and all(pairing.without.values())


@pytest.mark.parametrize(
    ("files", "named"), [(["a_edsr.png", "a_swinir.png"], "a_swinir.png"), (["b_x4.png"], "other/b.tif")]
)
def test_ambiguity_is_named(files: Sequence[str], named: str) -> None:
    assert any(named in reason for reason in pair_by_name(files, IMAGES).without.values())


def test_a_row_is_called_as_no_row_of_srbench() -> None:
    assert row_name("My program, v2") == "My_program_v2"
    for name in ("edsr", "bicubic", CONTROL, "  "):
        with pytest.raises(SrbenchError):
            row_name(name)


@pytest.mark.parametrize("case", ["inside", "empty", "strangers", "absent", "scales"])
def test_what_cannot_be_scored_is_refused(data: Data, tmp_path: Path, case: str) -> None:
    sr = tmp_path / "sr"
    hr = tmp_path / "hr"
    shutil.copytree(data.hr, hr)
    if case == "inside":
        sr = written(hr / "sr", data.bicubic)
    elif case == "empty":
        sr.mkdir()
    elif case == "strangers":
        written(sr, {"x.png": data.bicubic["s0.png"]})
    elif case == "scales":
        written(sr, {"s0.png": data.bicubic["s0.png"]}, ending="_x2")
        written(sr, {"s1.png": data.bicubic["s1.png"]}, ending="_x4")
    with pytest.raises(SrbenchError if case == "scales" else DatasetError):
        scored(sr, hr, tmp_path / "results")
    assert not (tmp_path / "results").exists()
