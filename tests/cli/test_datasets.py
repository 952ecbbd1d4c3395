"""``srbench datasets list`` and ``show``: what there is, under which terms, and what is damaged."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from srbench.cli.app import cli
from srbench.datasets import DatasetError


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


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two 12-bit images and a text."""
    monkeypatch.setenv("SRBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for seed in range(2):
        (tmp_path / "mine").mkdir(exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 4096, (64, 64)).astype(np.uint16)
        pixels[0, 0] = 4095
        tifffile.imwrite(tmp_path / "mine" / f"{seed}.tif", pixels)
    (tmp_path / "mine" / "notes.txt").write_text("x")
    return (tmp_path / "mine").resolve()


def test_a_folder_is_shown_as_it_is(mine: Path) -> None:
    shown = {}
    for name in ("./mine", "folder:mine/", str(mine)):
        done = CliRunner().invoke(cli, ["datasets", "show", name, "--json"])
        assert done.exit_code == 0, done.output
        shown[name] = json.loads(done.stdout)
    assert shown["./mine"] == shown["folder:mine/"] == shown[str(mine)]
    content = shown["./mine"]
    assert (content["name"], content["state"], content["images"]) == (f"folder:{mine}", "ready", 2)
    assert content["bytes"] == 2 * 64 * 64 * 2 and list(content["skipped"]) == ["notes.txt"]
    assert "12 significant bits of 16: 2 images" in content["remarks"]
    done = CliRunner().invoke(cli, ["datasets", "show", "./mine"])
    assert re.search(r"^state +ready$", done.stdout, re.MULTILINE) and "Give a folder" not in done.output
    assert "12 significant bits of 16: 2 images" in done.stderr and "1 file skipped" in done.stderr
    done = CliRunner().invoke(
        cli, ["datasets", "show", "./mine", "--bits", "16", "--measure", "lines", "--json"]
    )
    assert (
        "16 significant bits, as given, for files that store more than 8"
        in json.loads(done.stdout)["remarks"]
    )


def test_a_folder_without_a_usable_file_says_why_and_fails(mine: Path) -> None:
    for file in mine.iterdir():
        file.write_bytes(b"x")
    for command in (["datasets", "show"], ["data", "verify"]):
        done = CliRunner().invoke(cli, [*command, "./mine"])
        assert done.exit_code == 1 and isinstance(done.exception, DatasetError)
        assert "None of the 3 files" in str(done.exception)
        (mine / "empty").mkdir(exist_ok=True)
        done = CliRunner().invoke(cli, [*command, "mine/empty"])
        assert isinstance(done.exception, DatasetError) and "holds no files" in str(done.exception)


def test_a_folder_is_verified_under_any_name(mine: Path) -> None:
    done = CliRunner().invoke(cli, ["data", "verify", "./mine"])
    assert done.exit_code == 0 and "0 bad" in done.stdout
    shard = next((mine.parent / "home" / "cache" / "folder").glob("*/shard-*"))
    content = bytearray(shard.read_bytes())
    content[5] ^= 1
    shard.write_bytes(content)
    done = CliRunner().invoke(cli, ["data", "verify", f"folder:{mine}"])
    assert done.exit_code == 1 and "0.tif: pixels changed" in done.stdout
    done = CliRunner().invoke(cli, ["data", "verify", f"folder:{mine}", "--json"])
    assert done.exit_code == 1 and list(json.loads(done.stdout)["problems"]) == ["0.tif"]


def test_a_dataset_of_ours_takes_no_options_of_reading() -> None:
    done = CliRunner().invoke(cli, ["datasets", "show", "sem_synthetic", "--bits", "12"])
    assert done.exit_code == 1 and isinstance(done.exception, DatasetError)


def test_the_folder_dataset_alone_says_what_to_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRBENCH_HOME", str(tmp_path))
    done = CliRunner().invoke(cli, ["datasets", "show", "folder"])
    assert done.exit_code == 0 and "absent" in done.stdout and "Give a folder" in done.stdout
