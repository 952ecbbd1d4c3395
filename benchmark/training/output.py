"""What a run writes into its folder: log, checkpoints, weights, manifest. Only the main process writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srbench import weights
from srbench.training import reproducibility
from srbench.training.checkpoint import PREVIOUS, save_checkpoint
from srbench.training.distributed import Processes
from srbench.training.logs import RunLog
from srbench.training.manifest import RunManifest, RunStatus
from srbench.training.run_folder import BEST, WEIGHTS
from srbench.training.state import TrainingState

if TYPE_CHECKING:
    from torch import Tensor


class RunOutput:
    """The files of a run.

    Args:
        folder: of the run.
        identity: what a resumed run must agree with; stored in every checkpoint.
        header: of the weights, the number of iterations to be filled in.
        manifest: of the run, None on all processes but the main one.
        log: likewise.
        processes: those of the run.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        header: weights.WeightsHeader,
        manifest: RunManifest | None,
        log: RunLog | None,
        processes: Processes,
    ) -> None:
        self.folder = folder
        self._identity, self._header = identity, header
        self._manifest, self._log = manifest, log
        self._processes = processes

    def scalars(self, step: int, kind: str, values: Mapping[str, float], **words: str) -> None:
        """A row of the log."""
        if self._log is not None:
            self._log.scalars(step, kind, values, **words)

    def image(self, step: int, image: Tensor | None) -> None:
        """A validation image for TensorBoard."""
        if self._log is not None and image is not None:
            self._log.image(step, "val/lr_sr_hr", image)

    def checkpoint(self, state: TrainingState) -> None:
        """Save everything; called by all processes, each gives the state of its random streams."""
        streams = self._processes.gather(reproducibility.capture())
        if self._processes.main:
            save_checkpoint(
                self.folder, {"identity": self._identity, "random": streams, "state": state.to_dict()}
            )
            self.note_status("running", state)

    def best(self, state: TrainingState) -> None:
        """The network as it stands is the best so far."""
        self._save_weights(BEST, state)

    def finish(self, state: TrainingState) -> Path:
        """Write the final weights (averaged ones where the last stage averages) and close the manifest."""
        with state.final_weights():
            self._save_weights(WEIGHTS, state)
        if self._processes.main:
            # Not after the last line of the manifest: nobody comes back to a finished run.
            (self.folder / PREVIOUS).unlink(missing_ok=True)
        self.note_status("complete", state)
        return self.folder / WEIGHTS

    def note_status(self, status: RunStatus, state: TrainingState, reason: str = "") -> None:
        """Write how far the run got into the manifest."""
        if self._manifest is not None:
            self._manifest.write(status, progress_of(state), reason)

    def close(self) -> None:
        """Flush the log."""
        if self._log is not None:
            self._log.close()

    def _save_weights(self, name: str, state: TrainingState) -> None:
        if self._processes.main:
            header = replace(self._header, iterations=state.total_step)
            weights.save(self.folder / name, state.network.state_dict(), header)


def progress_of(state: TrainingState) -> dict[str, Any]:
    """How far a run got, for its manifest."""
    return {
        "stage": state.stage.name,
        "step": state.total_step,
        "total": state.total,
        "seconds": round(state.seconds, 1),
        "skipped_updates": state.guard.skipped,
        "metrics": dict(state.metrics),
        "best": {"step": state.best.step, "metrics": dict(state.best.metrics)},
    }
