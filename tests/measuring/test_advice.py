"""Advice on magnification and dose: verdicts that follow known errors, and what a user types and gets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from helpers.measured_fields import write_fast_scans
from srbench.cli.app import cli
from srbench.datasets.synthetic.numbered import NumberedScenes
from srbench.measuring import advice as module
from srbench.measuring import recommendation
from srbench.measuring.acquisition import EquivalentSetting, NoiseModel
from srbench.measuring.advice import Advice, CellVerdict, advise
from srbench.measuring.bank import Counts, QuantityErrors
from srbench.measuring.calibration import SINGLE, FieldErrors
from srbench.utils.errors import SrbenchError

SCENES = 8


def errors(small: float, large: float, lost_below: float = 0.0, scatter: float = 0.05) -> FieldErrors:
    """Sizes 10 to 40 in every scene; below 20 they are off by ``small``, above by ``large``."""
    generator = np.random.default_rng(4)
    true = np.tile(np.linspace(10.0, 40.0, 16), SCENES)
    groups = np.repeat(np.arange(SCENES), 16)
    met = true >= lost_below
    off = np.where(true < 20.0, small, large) + scatter * generator.standard_normal(len(true))
    single = QuantityErrors(
        "px",
        "particle",
        tuple((true + off)[met].tolist()),
        tuple(off[met].tolist()),
        tuple(groups[met].tolist()),
    )
    counts = Counts(SCENES, SCENES, len(true), int((~met).sum()), 0, 0.0, 0.0, {})
    return FieldErrors(counts, {SINGLE: single}, "truth", tuple(true.tolist()), tuple(met.tolist()), ())


@pytest.fixture(scope="module")
def some() -> NumberedScenes:
    return NumberedScenes("particles", SCENES, 96)


def judged(
    some: NumberedScenes, measured: FieldErrors, scale: int = 1, tolerance: float = 0.5
) -> CellVerdict:
    job = module._OnScenes("particles", some, "bicubic", scale, "area", 1.0)
    (only,) = module._judged(job, measured, errors(0.0, 0.0), {SINGLE: tolerance})
    return only


def test_sizes_are_trusted_from_where_they_keep_the_tolerance(some: NumberedScenes) -> None:
    assert judged(some, errors(0.1, 0.1)).verdict == "trusted"
    assert judged(some, errors(0.1, 0.1)).smallest == 10.0
    partly = judged(some, errors(4.0, 0.1))
    assert partly.verdict == "trusted" and 15.0 < partly.smallest < 22.0
    assert judged(some, errors(0.1, 3.0)).verdict == "counts"
    # The same pixels of a result are half as many of the image at x2.
    doubled = judged(some, errors(4.0, 0.8), scale=2)
    assert doubled.verdict == "trusted"
    assert doubled.change == pytest.approx(0.4, abs=0.2) and doubled.tested == (5.0, 20.0)


def test_what_is_lost_is_not_trusted_however_good_the_rest(some: NumberedScenes) -> None:
    lost = judged(some, errors(0.0, 0.0, lost_below=25.0))
    assert lost.verdict == "trusted" and 24.0 <= lost.smallest <= 28.0
    assert judged(some, errors(0.0, 0.0, lost_below=41.0)).verdict == "not trusted"


def an_advice(**changes: object) -> Advice:
    setting = EquivalentSetting(
        NoiseModel(9.0, 0.1, 0.01), 1.0, 0.0, (8.0, 10.0), 1.2, 1.5, 1.4, at_limit=False
    )
    items = [
        CellVerdict(SINGLE, 1, 1.0, "vdsr", "trusted", 10.0, (8.0, 40.0), 0.1, 0.0, 0.2, 0.0, 0.0),
        CellVerdict(SINGLE, 2, 1.0, "bicubic", "counts", 7.0, (4.0, 20.0), 0.9, 0.8, 1.0, 0.0, 0.0),
        CellVerdict(SINGLE, 1, 0.25, "none", "not trusted", 0.0, (8.0, 40.0), 0.9, 0.8, 1.0, 0.0, 0.0),
        CellVerdict(SINGLE, 2, 0.25, "none", "undecided", 0.0, (4.0, 20.0), 0.9, 0.8, 1.0, 0.0, 0.0),
    ]
    base = Advice(
        *("particles", "particle", 3, 5.0, 1e-7, 7.4, False, 0, setting, {SINGLE: 0.5}, tuple(items)),
        *(tuple(items), (), (), {}, ()),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_the_words_follow_the_numbers() -> None:
    said = list(recommendation.sentences(an_advice()))
    # 10 px of 5 nm; 7.4 px hold three pixels and a half, of which two make a period.
    assert "50 nm" in said[0] and "vdsr" in said[0] and "35 nm" in said[0]
    assert an_advice().larger_pixel == 3
    assert an_advice(resolution_px=3.9).larger_pixel == 1
    heads, rows = recommendation.table(an_advice())
    assert len(heads) == 4 and "25 ns" in heads[2] and "100 ns" in heads[3]
    assert [row[1] for row in rows] == ["x1", "x2"]
    in_pixels = " ".join(recommendation.sentences(an_advice(pixel_size_nm=None)))
    assert "10 px" in in_pixels and "nm" not in in_pixels
    content = recommendation.as_json(an_advice())
    assert json.loads(json.dumps(content)) == json.loads(json.dumps(content, allow_nan=False))


@pytest.mark.parametrize(
    ("tolerance", "size", "pixels"), [("2nm", 4.0, 0.5), ("1px", None, 1.0), (None, None, 0.5)]
)
def test_tolerances_are_those_of_the_images(tolerance: str | None, size: float | None, pixels: float) -> None:
    assert module._tolerances("particles", tolerance, size) == {SINGLE: pixels}


def test_a_tolerance_in_nm_needs_a_pixel_size() -> None:
    with pytest.raises(SrbenchError):
        module._tolerances("particles", "2nm", None)


@pytest.mark.slow
def test_the_command_on_files_of_an_instrument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: Mapping[str, object] = {
        **{"scenes": 5, "side": 96, "scales": (1, 2), "doses": (1.0,), "workers": 1, "models": ()},
    }
    run = module.advise
    monkeypatch.setattr(module, "advise", lambda *args, **options: run(*args, **{**options, **limits}))
    monkeypatch.setattr(module, "_models", lambda *_: {1: ("none",), 2: ("bicubic",)})
    images = write_fast_scans(tmp_path / "scans")
    (tmp_path / "scans" / "broken.tif").write_bytes(b"II*\0")
    out = tmp_path / "out"
    words = ["--measure", "particles", "--tolerance", "2nm", "--out", str(out)]
    outcome = CliRunner().invoke(cli, ["advise", str(tmp_path / "scans"), *words])
    assert outcome.exit_code == 1, (outcome.output, outcome.exception)
    assert max(map(len, outcome.stdout.splitlines())) <= 80
    content = json.loads((out / "advice.json").read_text())
    assert content["images"] == len(images) and list(content["skipped"]) == ["broken.tif"]
    assert content["pixel_size_nm"] == 5.0 and content["tolerances"] == {SINGLE: 0.4}
    assert {(item["scale"], item["dose"]) for item in content["judgements"]} == {(1, 1.0), (2, 1.0)}
    assert (out / "advice.html").read_text().count("<table>") >= 2


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    for images, what in (([tmp_path], "particles"), ([tmp_path], "volumes")):
        with pytest.raises(SrbenchError):
            advise(images, what, scales=(2,), workers=1)
