"""The demo answers the question of the benchmark: which measurements can be trusted on which results."""

import csv
from pathlib import Path

import pytest
from click.testing import CliRunner

from srbench.cli import demo
from srbench.cli.app import cli
from srbench.store import ScoreStore
from srbench.weights.find import shipped


@pytest.mark.slow
@pytest.mark.usefixtures("workers_here")
def test_verdicts_are_decided_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "NETWORKS", ("edsr",))  # the quickest of them
    done = CliRunner().invoke(cli, ["demo", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "report.html").is_file()

    (file,) = (tmp_path / "tables").glob("*_trust.csv")
    rows = list(csv.DictReader(file.open(encoding="utf-8")))
    networks = {row["model"] for row in rows if row["weights"]}
    assert networks == {"edsr"} <= {entry.model for entry in shipped()}
    ranked = [row for row in rows if row["standing"] in ("network", "interpolation")]
    status = {(row["model"], row["measurement"]): row["status"] for row in ranked}
    assert {"trusted", "not trusted"} <= {status[key] for key in status if key[0] in networks}
    decided = sum(value != "undecided" for value in status.values())
    assert decided >= 0.5 * len(status)
    # Each measured kind has at least six scenes, on some of which a result may have lost what is measured.
    measured = {
        row["measurement"]: int(row["images"]) + int(row["lost"])
        for row in ranked
        if row["model"] == "bicubic"
    }
    assert {"diameter_bias", "cd_bias", "pore_fraction_bias"} <= measured.keys()
    assert min(measured.values()) >= 6

    assert "can be trusted with" in done.output and "cannot be trusted with" in done.output
    key = ScoreStore(tmp_path / "results").manifests()[0].key
    assert (key.dataset, key.scale) == ("sem_synthetic:demo", 4)
