"""What a person sees of a run."""

from __future__ import annotations

import io

from rich.console import Console
from rich.progress import Progress

from srbench.training.echo import Bar, Lines, StepReport, format_seconds, terminal_echo


def report(step: int, total: int = 100) -> StepReport:
    return StepReport(step, total, "pixel", 0.5, 12.0)


def test_lines_come_now_and_then_and_at_the_end():
    lines: list[str] = []
    now = 0.0
    echo = Lines(lines.append, every=30, clock=lambda: now)
    for step in range(10, 101, 10):
        echo.step(report(step))
        now += 10.0
    assert [line.split()[1] for line in lines] == ["10/100", "40/100", "70/100", "100/100"]
    assert lines[1] == "step 40/100 (pixel)  loss 0.5  12.0 images/s  60 s left"


def test_the_bar_shows_stage_step_and_notes():
    out = io.StringIO()
    with Progress(console=Console(file=out, width=200, force_terminal=True)) as progress:
        bar = Bar(progress)
        bar.note("a [note] with brackets")
        bar.step(report(25))
        task = progress.tasks[0]
    assert (task.completed, task.total, task.description) == (25, 100, "pixel")
    assert task.fields["state"] == "loss 0.5, 12.0 images/s"
    assert "a [note] with brackets" in out.getvalue()


def test_a_pipe_gets_lines_on_stderr(capsys):
    with terminal_echo() as echo:
        echo.note("hello")
        echo.step(report(3))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == ["hello", "step 3/100 (pixel)  loss 0.5  12.0 images/s"]


def test_times_are_readable():
    assert [format_seconds(s) for s in (4.2, 89, 600, 7500)] == ["4 s", "89 s", "10 min", "2 h 05 min"]
