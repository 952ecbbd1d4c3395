"""Banks: what was written is read, what is damaged is refused, what does not fit is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from srbench.measuring.bank import Bank, Counts, ImagingConditions, QuantityErrors, read_bank
from srbench.utils.errors import SrbenchError

CONDITIONS = ImagingConditions("particles", "diameter_bias", "edsr", "tiny", "ab" * 32, 4, "recorded@1", 5.0)
BANK = Bank(
    CONDITIONS,
    "kriss",
    "f" * 64,
    "test",
    "",
    "sem_open, budget laptop, seed 0",
    "reference scan",
    "particle",
    Counts(10, 10, 300, 12, 3, 30.0, 12.0, {"in the reference, nothing": 2}),
    {"single": QuantityErrors("px", "particle", (20.0, 30.5), (-0.5, 0.25), (0, 1))},
)


def test_a_bank_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "bank.json"
    path.parent.mkdir()
    BANK.write(path)
    assert read_bank(path) == BANK
    assert read_bank(path).digest == BANK.digest
    assert replace(BANK, split="all").digest != BANK.digest


def damaged(change: Any) -> str:
    content = json.loads(BANK._text())
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        damaged(lambda c: c.update(srbench_bank=99)),
        damaged(lambda c: c.pop("counts")),
        damaged(lambda c: c["quantities"]["single"].update(errors=[0.1])),
        damaged(lambda c: c["quantities"]["single"].update(errors=[0.1, float("nan")])),
        damaged(lambda c: c["quantities"]["single"].update(measured=["x", 1.0])),
        damaged(lambda c: c["conditions"].update(pixel_size_nm=-5.0)),
    ],
)
def test_what_is_no_bank_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bank.json"
    path.write_text(text)
    with pytest.raises(SrbenchError, match="srbench calibrate"):
        read_bank(path)


def test_a_missing_bank_is_an_error_for_the_user(tmp_path: Path) -> None:
    with pytest.raises(SrbenchError):
        read_bank(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"pixel_size_nm": 5.05}, True),
        ({"pixel_size_nm": 5.2}, False),
        ({"pixel_size_nm": None}, False),
        ({"measure": "pores"}, False),
        ({"algorithm": "diameter_bias@2"}, False),
        ({"model": "vdsr"}, False),
        ({"variant": "paper"}, False),
        ({"weights_sha256": ""}, False),
        ({"scale": 2}, False),
        ({"degradation": "bicubic@1"}, False),
    ],
)
def test_conditions_that_differ_do_not_fit(change: dict[str, Any], fits: bool) -> None:
    other = replace(CONDITIONS, **change)
    assert (CONDITIONS.difference(other) == "") is fits
    assert (other.difference(CONDITIONS) == "") is fits


def test_unknown_pixel_sizes_fit_each_other() -> None:
    unknown = replace(CONDITIONS, pixel_size_nm=None)
    assert unknown.difference(unknown) == ""
