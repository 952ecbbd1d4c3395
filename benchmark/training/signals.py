"""Ctrl-C and SIGTERM during training: noted at once, obeyed at the next step boundary, after a checkpoint."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainingInterrupted(KeyboardInterrupt):
    """Training was stopped from outside after saving a checkpoint; ``str()`` says how to go on.

    It is a ``KeyboardInterrupt``, so that a script stops as it would without srbench; the command line
    exits with ``exit_code``.
    """

    exit_code = 130

    def __init__(self, folder: Path, step: int, total: int) -> None:
        self.folder = folder
        self.step = step
        super().__init__(
            f"Stopped after step {step} of {total}; everything is saved in {folder}. "
            "Go on with the same command and --resume."
        )


class StopRequest:
    """Whether somebody asked the run to stop."""

    def __init__(self) -> None:
        self.requested = False

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Signal handler. A second Ctrl-C does not wait for the step to end."""
        del frame
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt("Stopped at once; the last checkpoint is kept.")
        self.requested = True


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Turn the signals into a request inside; the caller's handlers come back afterwards.

    Outside the main thread Python cannot handle signals; there nothing is changed.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.on_signal) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
