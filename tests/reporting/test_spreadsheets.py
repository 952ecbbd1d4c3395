"""Cells of CSV files that a spreadsheet would run, and numbers that it must still read."""

from __future__ import annotations

import csv
import io

import pytest

from srbench.reporting.text import csv_text


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-1+1", "@SUM(A1)", "  =1"])
def test_a_formula_gets_an_apostrophe(text: str) -> None:
    (row,) = csv.DictReader(io.StringIO(csv_text([{"model": text, "mean": -1.5}])))
    assert row == {"model": f"'{text}", "mean": "-1.5"}


@pytest.mark.parametrize("text", ["-1", "+2.5", "-1e-3", "a=b", "0+1", "", "\\x09=1"])
def test_numbers_and_plain_texts_stay(text: str) -> None:
    (row,) = csv.DictReader(io.StringIO(csv_text([{"model": text, "mean": 1}])))
    assert row["model"] == text


def test_control_characters_end_no_cell_and_no_line() -> None:
    (row,) = csv.DictReader(io.StringIO(csv_text([{"model": "\t=1\r=2\n=3", "mean": 1}]), newline=""))
    assert row["model"] == "\\x09=1\\x0d=2\\x0a=3"
