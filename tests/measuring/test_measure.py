"""Measurements on files: intervals where everything fits, and the reason everywhere else."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from helpers.measured_fields import RADII, SIDE, DiscPairs, discs_of, scan, write_fast_scans
from srbench import datasets
from srbench.cli.app import cli
from srbench.measuring import measure as module
from srbench.measuring.calibration import calibrate
from srbench.measuring.measure import MeasurementResult, measure
from srbench.measuring.page import write
from srbench.utils.errors import SrbenchError


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bank") / "bank.json"
    calibrate("none", DiscPairs(14), "particles").write(path)
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return write_fast_scans(tmp_path / "scans")


@pytest.fixture
def references(monkeypatch: pytest.MonkeyPatch) -> dict[str, DiscPairs]:
    """Sets by name, as if they were on the disk."""
    sets: dict[str, DiscPairs] = {"session": DiscPairs(6, change=-1.1)}
    monkeypatch.setattr(module.datasets, "open", lambda name: sets[name])
    return sets


def true_sizes(count: int = 3) -> np.ndarray:
    return np.sort([2 * radius * 5.0 for n in range(count) for _, _, radius in discs_of(100 + n)[:-1]])


def test_with_bank_and_reference_the_true_sizes_lie_in_the_intervals(
    bank: Path, files: list[Path], references: dict[str, DiscPairs]
) -> None:
    references["session"] = DiscPairs(6)
    result = measure(files, "particles", bank=bank, reference="session", pixel_size_percent=2.0)
    assert result.why_not == ""
    assert result.unit == "nm"
    assert result.items == 3 * (len(RADII) - 1)
    for estimate in result.estimates:
        true = float(np.percentile(true_sizes(), {"D10": 10, "D50": 50, "D90": 90}[estimate.name]))
        assert estimate.correction == pytest.approx(-8.0, abs=2.0)
        assert estimate.value == pytest.approx(estimate.measured - estimate.correction)
        assert abs(estimate.value - true) <= estimate.super_resolution
        parts = (estimate.super_resolution, estimate.sampling, estimate.threshold, estimate.pixel_size)
        assert estimate.pixel_size == pytest.approx(0.02 * estimate.measured)
        assert estimate.together == pytest.approx(np.sqrt(np.square(parts).sum()))
    assert len(result.bins) >= 1


def test_the_session_moves_the_correction(
    bank: Path, files: list[Path], references: dict[str, DiscPairs]
) -> None:
    result = measure(files, "particles", bank=bank, reference="session")
    assert result.session is not None
    # Radii of the session are 0.3 px smaller than those of the bank.
    assert result.session.shift == pytest.approx(-0.6, abs=0.15)
    assert result.session.groups == 6


def no_interval(result: MeasurementResult, why: str) -> None:
    assert re.search(why, result.why_not)
    assert result.bins == ()
    for estimate in result.estimates:
        assert estimate.correction is None and estimate.together is None
        assert estimate.value == estimate.measured
        assert estimate.threshold is not None


def test_without_a_bank_there_is_no_interval(files: list[Path]) -> None:
    no_interval(measure(files, "particles"), "--bank")


def test_without_reference_fields_there_is_no_interval(bank: Path, files: list[Path]) -> None:
    no_interval(measure(files, "particles", bank=bank), "--reference")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"pixel_size_nm": 6.0}, "6 nm"),
        ({"model": "bicubic", "scale": 2}, "model"),
    ],
)
def test_a_bank_of_other_conditions_gives_no_interval(
    bank: Path, files: list[Path], references: dict[str, DiscPairs], options: dict[str, Any], why: str
) -> None:
    no_interval(measure(files, "particles", bank=bank, reference="session", **options), why)


@pytest.mark.slow
def test_few_or_unlike_reference_fields_give_no_interval(
    bank: Path, files: list[Path], references: dict[str, DiscPairs]
) -> None:
    references["session"] = DiscPairs(4)
    no_interval(measure(files, "particles", bank=bank, reference="session"), "4 independent groups")
    references["session"] = DiscPairs(6, pixel_size_nm=9.0)
    no_interval(measure(files, "particles", bank=bank, reference="session"), "9 nm")

    class Unlike(DiscPairs):
        def lr(self, image_id: str) -> Any:
            n = int(image_id)
            changed = [(y, x, r + (-2.0, 0.0, 1.5)[k % 3]) for k, (y, x, r) in enumerate(discs_of(n))]
            return scan(changed)

    references["session"] = Unlike(6)
    no_interval(measure(files, "particles", bank=bank, reference="session"), "does not hold in this session")


def test_sizes_that_were_not_calibrated_have_no_interval(
    bank: Path, tmp_path: Path, references: dict[str, DiscPairs]
) -> None:
    large = [(40.0, 40.0, 22.0), (90.0, 90.0, 24.0)]
    path = tmp_path / "large.tif"
    tifffile.imwrite(path, scan(large))
    result = measure([path], "particles", bank=bank, reference="session", pixel_size_nm=5.0)
    assert result.why_not == ""
    assert all(estimate.why_not and estimate.super_resolution is None for estimate in result.estimates)


def test_a_single_field_has_no_sampling_part(files: list[Path]) -> None:
    (first, *_) = measure(files[:1], "particles").estimates
    assert first.sampling is None


def test_without_pixel_sizes_lengths_are_in_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    import cv2

    cv2.imwrite(str(path), scan(discs_of(1)))
    result = measure([path], "particles")
    assert result.unit == "px"
    assert result.estimates[1].measured == pytest.approx(np.median(2 * (RADII + 0.05)), abs=0.3)


def test_bad_files_are_named_and_the_others_measured(files: list[Path]) -> None:
    bad = files[0].with_name("bad.tif")
    bad.write_bytes(b"II*\0broken")
    blank = files[0].with_name("blank.tif")
    tifffile.imwrite(blank, np.random.default_rng(0).integers(90, 99, (SIDE, SIDE)).astype(np.uint8))
    result = measure([files[0].parent], "particles")
    assert set(result.skipped) == {"bad.tif", "blank.tif"}
    assert len(result.fields) == 3
    with pytest.raises(SrbenchError, match=r"bad\.tif"):
        measure([bad], "particles")


@pytest.mark.slow
def test_results_of_infer_are_measured_as_what_made_them(files: list[Path], tmp_path: Path) -> None:
    from srbench.inference.predict import infer

    out = tmp_path / "sr"
    infer("bicubic", files[:1], out=out, scale=2, tell=lambda text: None)
    result = measure([out], "particles")
    assert (result.conditions.model, result.conditions.scale) == ("bicubic", 2)
    assert result.fields[0].pixel_size_nm == pytest.approx(2.5)
    again = measure(files[:1], "particles", model="bicubic", scale=2)
    assert again.estimates[1].measured == pytest.approx(result.estimates[1].measured, abs=0.5)
    assert result.conditions == again.conditions
    with pytest.raises(SrbenchError, match="without --model"):
        measure([out], "particles", model="bicubic", scale=2)
    with pytest.raises(SrbenchError, match="once for each"):
        measure([out, files[0]], "particles")


@pytest.mark.slow
def test_the_written_files_hold_what_was_measured(
    bank: Path, files: list[Path], tmp_path: Path, references: dict[str, DiscPairs]
) -> None:
    named = files[0].rename(files[0].with_name("<b>&.tif"))
    result = measure([named, *files[1:]], "particles", bank=bank, reference="session")
    page, content, table = write(result, tmp_path / "out")
    stored = json.loads(content.read_text())
    assert stored["items"] == result.items
    assert stored["estimates"][1]["value"] == pytest.approx(result.estimates[1].value)
    assert stored["bank_sha256"] == result.bank
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == result.items
    assert {row["image"] for row in rows} == {field.name for field in result.fields}
    corrected = [float(row["corrected_nm"]) for row in rows if row["corrected_nm"]]
    assert np.median(corrected) == pytest.approx(np.median(true_sizes()), abs=10.0)
    text = page.read_text()
    assert text.count("Z") >= result.items and text.count('class="field"') == 3
    assert "<b>&" not in text and "<script" not in text
    assert "://" not in text


@pytest.mark.slow
def test_the_commands_print_and_write(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "open", lambda name: DiscPairs(14))
    runner, bank = CliRunner(), tmp_path / "b.json"
    done = runner.invoke(
        cli, ["calibrate", "none", "--dataset", "x", "--measure", "particles", "--out", str(bank)]
    )
    assert done.exit_code == 0, done.output
    assert bank.exists() and str(bank) in done.output
    arguments = ["measure", *map(str, files), "--measure", "particles", "--out", str(tmp_path / "out")]
    done = runner.invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert "No interval" in done.output
    done = runner.invoke(cli, [*arguments, "--bank", str(bank), "--reference", "x"])
    assert done.exit_code == 0, done.output
    assert re.search(r"D50 = [0-9.]+ nm, corrected by \+[0-9.]+, ± [0-9.]+ nm \(90 %\)", done.output)
    assert (tmp_path / "out" / "measurement.html").exists()
    files[0].write_bytes(b"no image")
    assert runner.invoke(cli, arguments).exit_code == 1
