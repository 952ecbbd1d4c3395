"""``srbench datasets list`` and ``show``: what there is, under which terms, and what is damaged."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from srbench.cli.app import cli


def test_the_list_of_datasets_fits_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRBENCH_HOME", str(tmp_path))
    done = CliRunner().invoke(cli, ["datasets", "list"])
    assert done.exit_code == 0, done.output
    lines = [line.rstrip() for line in done.output.splitlines()]
    assert max(map(len, lines)) <= 160
    sem = next(line for line in lines if line.startswith(" sem "))
    assert re.fullmatch(r" sem +real +absent +\(13\.6 GB\) +CC-BY-4\.0 +fetch", sem)
    assert any(re.search(r"sem_synthetic +synthetic +embedded +\d+ ", line) for line in lines)


def test_show_prints_terms_and_what_to_cite() -> None:
    done = CliRunner().invoke(cli, ["datasets", "show", "sem"])
    assert "names the authors" in done.output and "10.1038/sdata.2018.172" in done.output
    assert "fingerprint" not in done.output  # nothing to show: not on disk


def test_damage_to_one_dataset_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRBENCH_HOME", str(tmp_path))
    for name in ("sem", "sem_open"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "manifest.json").write_text("{")
    done = CliRunner().invoke(cli, ["datasets", "list"])
    assert done.exit_code == 0 and len(re.findall(r" sem(?:_open)? +real +partial", done.output)) == 2
