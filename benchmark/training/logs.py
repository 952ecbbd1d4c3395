"""The log of a run: one JSON line a report in ``log.jsonl``, and TensorBoard event files beside it."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srbench.utils.errors import SrbenchError
from srbench.utils.files import parse_json, write_text

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.tensorboard import SummaryWriter

LOG = "log.jsonl"
EVENTS = "tensorboard"


class RunLog:
    """Writes the log of a run.

    Args:
        folder: of the run.
        from_step: the step the run starts or goes on from; rows of later steps are of a killed session
            and are dropped, since those steps are made again.
        tensorboard: whether to write event files too.
    """

    def __init__(self, folder: Path, from_step: int, tensorboard: bool) -> None:
        self._path = folder / LOG
        earlier = [row for row in read_log(self._path) if row["step"] <= from_step] if from_step else []
        write_text(self._path, "".join(_line(row) for row in earlier))
        self._writer: SummaryWriter | None = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            purged = from_step + 1 if from_step else None
            # TensorBoard takes no path that is not UTF-8; the log holds the same numbers.
            with contextlib.suppress(UnicodeEncodeError):
                self._writer = SummaryWriter(str(folder / EVENTS), purge_step=purged)

    def scalars(self, step: int, kind: str, values: Mapping[str, float], **words: str) -> None:
        """A row of ``kind`` ``train`` or ``val`` after ``step`` generator updates.

        Raises:
            SrbenchError: the disk is full.
        """
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_line({"step": step, "kind": kind, **words, **values}))
            if self._writer is not None:
                for name, value in values.items():
                    self._writer.add_scalar(f"{kind}/{name}", value, step)
        except OSError as error:
            raise SrbenchError(f"Cannot write {self._path}: {error.strerror or error}.") from error

    def image(self, step: int, name: str, image: Tensor) -> None:
        """An image ``(C, H, W)`` in [0, 1], for TensorBoard only."""
        if self._writer is not None:
            self._writer.add_image(name, image, step)

    def close(self) -> None:
        """Flush the event files."""
        if self._writer is not None:
            self._writer.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a log; a last line that a kill cut short is left out."""
    rows: list[dict[str, Any]] = []
    if not path.is_file():
        return rows
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError):
            row = parse_json(line)
            if isinstance(row, dict):
                rows.append(row)
    return rows


def _line(row: Mapping[str, Any]) -> str:
    """JSON has no NaN: what is not finite becomes null."""
    values = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
    return json.dumps(values) + "\n"
