"""Progress on stderr: rates that do not count what was there before, lines where there is no terminal."""

from __future__ import annotations

import threading

import pytest

from srbench.utils.progress import PlainReporter, ProgressEvent, human_bytes, progress_reporter


def lines_of(events: list[tuple[float, ProgressEvent | str]]) -> list[str]:
    """The lines written for events at given seconds."""
    now, lines = [0.0], list[str]()
    reporter = PlainReporter(lambda: now[0], lines.append)
    for second, event in events:
        now[0] = second
        reporter(event)
    return lines


def download(done: int, total: int | None = 4600) -> ProgressEvent:
    return ProgressEvent("download", done, total, "B")


@pytest.mark.slow
def test_a_line_now_and_then_with_a_speed_that_counts_only_what_came_in_its_time() -> None:
    """The first 1000 bytes were there before."""
    assert lines_of([(float(second), download(1000 + 100 * second)) for second in range(37)]) == [
        "download: 1.0/4.6 kB (22%)",
        "download: 2.0/4.6 kB (43%), 100 bytes/s, 0:00:26 left",
        "download: 3.0/4.6 kB (65%), 100 bytes/s, 0:00:16 left",
        "download: 4.0/4.6 kB (87%), 100 bytes/s, 0:00:06 left",
        "download: 4.6/4.6 kB (100%)",
    ]


def test_a_slow_start_is_forgotten() -> None:
    slow = [(float(second), download(second, 10**6)) for second in range(40)]
    fast = [(40.0 + second, download(40 + 1000 * second, 10**6)) for second in range(80)]
    assert "1.0 kB/s" in lines_of([*slow, *fast])[-1]


def test_units_totals_and_details() -> None:
    step = ProgressEvent("training", 3, 10, "steps", "pixel, loss 0.5")
    assert lines_of([(0.0, step)]) == ["training: 3/10 steps, pixel, loss 0.5"]
    assert lines_of([(0.0, ProgressEvent("files", 3, 10, "files"))]) == ["files: 3/10"]
    assert lines_of([(0.0, ProgressEvent("import", 3, None, "images"))]) == ["import: 3 images"]
    assert lines_of([(0.0, download(3_000_000, None))]) == ["download: 3.0 MB"]
    later = [(second, ProgressEvent("scores", int(second), 40, "images")) for second in (0.0, 10.0, 20.0)]
    assert lines_of(later)[-1] == "scores: 20/40 images, 1.0/s, 0:00:20 left"


def test_jobs_do_not_silence_each_other_and_messages_are_never_dropped() -> None:
    lines = lines_of(
        [
            (0.0, ProgressEvent("download", 1, 9, "B")),
            (0.1, ProgressEvent("files", 1, 2, "files")),
            (0.2, "From record 12"),
            (0.3, ProgressEvent("download", 2, 9, "B")),
            (0.4, "pinned"),
            (0.5, ProgressEvent("files", 2, 2, "files")),
            (0.6, ProgressEvent("files", 2, 2, "files")),
        ]
    )
    assert lines == ["download: 1/9 bytes (11%)", "files: 1/2", "From record 12", "pinned", "files: 2/2"]


def test_events_from_many_threads() -> None:
    lines = list[str]()
    reporter = PlainReporter(write=lines.append)
    threads = [threading.Thread(target=lambda: [reporter(f"{n}") for n in range(200)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines) == 1600


def test_bars_in_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with progress_reporter() as progress:
        progress(ProgressEvent("download", 3_000_000, 12_000_000, "B"))
        progress("pinned [what] came")
        progress(ProgressEvent("files", 1, 2, "files"))
    shown = capsys.readouterr().err
    assert "3.0/12.0 MB (25%)" in shown and "pinned [what] came" in shown and "1/2" in shown


def test_a_pipe_gets_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_reporter() as progress:
        progress("hello [there]")
        progress(ProgressEvent("training", 3, 9, "steps"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == ["hello [there]", "training: 3/9 steps"]


@pytest.mark.parametrize(
    ("count", "text"), [(999, "999 bytes"), (1000, "1.0 kB"), (13_578_803_200, "13.6 GB"), (2.5e12, "2.5 TB")]
)
def test_bytes(count: float, text: str) -> None:
    assert human_bytes(count) == text
