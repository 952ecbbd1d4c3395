"""Progress on stderr: rates that do not count what was there before, lines where there is no terminal."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from srbench.cli import console
from srbench.cli.app import cli
from srbench.cli.progress import Lines, Rate, amount, human_bytes, human_time, speed
from srbench.datasets.interface import ProgressEvent, remark


def test_a_rate_counts_only_what_came_in_its_time() -> None:
    rate = Rate()
    assert rate.value is None
    rate.add(10_000_000, 100.0)  # left by an earlier call
    assert rate.value is None
    rate.add(10_000_500, 105.0)
    assert rate.value == 100.0
    for second in range(106, 200):
        rate.add(10_000_500 + (second - 105) * 300, float(second))
    assert rate.value == pytest.approx(300.0)  # the slow start is forgotten


def test_a_rate_survives_what_was_discarded() -> None:
    rate = Rate()
    rate.add(0, 0.0)
    rate.add(1000, 1.0)
    rate.add(100, 2.0)  # a file with a wrong checksum was thrown away
    assert rate.value is None
    rate.add(300, 3.0)
    assert rate.value == 200.0


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_960, "1.0 MB"),
        (13_578_803_200, "13.6 GB"),
        (2.5e12, "2.5 TB"),
    ],
)
def test_bytes(count: float, text: str) -> None:
    assert human_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (89, "89 s"), (91, "2 min"), (5400, "1 h 30 min"), (7261, "2 h 2 min")],
)
def test_times(seconds: float, text: str) -> None:
    assert human_time(seconds) == text


def test_words() -> None:
    event = ProgressEvent("download", 3_000_000, 12_000_000, "B")
    assert amount(event) == "3.0 MB of 12.0 MB (25%)"
    assert speed(event, 1_000_000.0) == "1.0 MB/s, 9 s left"
    assert speed(event, None) == "" and speed(replace(event, done=12_000_000), 1e6) == ""
    assert (
        amount(replace(event, total=None)) == "3.0 MB"
        and speed(replace(event, total=None), 5e6) == "5.0 MB/s"
    )
    assert amount(ProgressEvent("files", 3, 10, "files")) == "3/10"
    assert amount(ProgressEvent("import", 3, None, "images")) == "3 images"


def told(events: list[tuple[float, ProgressEvent]]) -> list[str]:
    """The lines written for events at given seconds."""
    now, lines = [0.0], list[str]()
    sink = Lines(lambda: now[0], lines.append)
    for second, event in events:
        now[0] = second
        sink.show(event)
    return lines


def test_a_line_now_and_then() -> None:
    events = [(second, ProgressEvent("download", 1000 + 100 * second, 4600, "B")) for second in range(37)]
    assert told([(float(second), event) for second, event in events]) == [
        "download: 1.0 kB of 4.6 kB (22%)",
        "download: 2.0 kB of 4.6 kB (43%), 100 B/s, 26 s left",
        "download: 3.0 kB of 4.6 kB (65%), 100 B/s, 16 s left",
        "download: 4.0 kB of 4.6 kB (87%), 100 B/s, 6 s left",
        "download: 4.6 kB of 4.6 kB (100%)",
    ]


def test_jobs_do_not_silence_each_other_and_remarks_are_never_dropped() -> None:
    lines = told(
        [
            (0.0, ProgressEvent("download", 1, 9, "B")),
            (0.1, ProgressEvent("files", 1, 2, "files")),
            (0.2, remark("From record 12")),
            (0.3, ProgressEvent("download", 2, 9, "B")),
            (0.4, remark("pinned")),
            (0.5, ProgressEvent("files", 2, 2, "files")),
            (0.6, ProgressEvent("files", 2, 2, "files")),
        ]
    )
    assert lines == ["download: 1 B of 9 B (11%)", "files: 1/2", "From record 12", "pinned", "files: 2/2"]


def test_events_from_many_threads() -> None:
    lines = list[str]()
    sink = Lines(write=lines.append)
    threads = [
        threading.Thread(target=lambda: [sink.show(remark(f"{n}")) for n in range(200)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines) == 1600


def test_bars_in_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with console.progress_bar() as progress:
        progress(ProgressEvent("download", 3_000_000, 12_000_000, "B"))
        progress(remark("pinned [what] came"))
        progress(ProgressEvent("files", 1, 2, "files"))
    shown = capsys.readouterr().err
    assert "3.0 MB of 12.0 MB (25%)" in shown and "pinned [what] came" in shown and "1/2" in shown


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
