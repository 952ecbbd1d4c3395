"""Training runs in processes of their own, to be killed, interrupted, or run several at once.

As a script (for torchrun): training_worker.py MODEL FOLDER [--resume] [SETTING=VALUE ...]
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script, too

from helpers.training_fakes import register_fakes
from srbench.training import train

# One server imports torch, each process is then a fork of it: seconds less for each.
_context = multiprocessing.get_context("forkserver")
# torch's compiler too, which counting the memory of a validation imports.
_context.set_forkserver_preload(["srbench.training", "torch._dynamo"])


def run(model: str, folder: str, *words: str) -> int:
    """Train, say how it ended in a file beside the folder, return the exit code."""
    register_fakes()
    overrides = ["train.tensorboard=false", "train.threads=1", *(word for word in words if "=" in word)]
    options = {"dataset": "textures", "scale": 2, "device": "cpu", "overrides": overrides}
    said = Path(f"{folder}.rank{os.environ.get('RANK', '0')}")
    try:
        result = train(model, out=Path(folder), resume="--resume" in words, **options)
    except KeyboardInterrupt as interrupt:
        said.write_text(str(interrupt))
        return interrupt.exit_code
    said.write_text("finished" if result else "helped")
    return 0


def launch(model: str, folder: Path, *words: str, world: int = 1) -> list[BaseProcess]:
    """Start the processes of a run, with the environment torchrun would give them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(world):
        environment = {
            **{"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world},
            **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
        }
        process = _context.Process(target=_enter, args=(environment, model, str(folder), *words))
        process.start()
        started.append(process)
    return started


def _enter(environment: dict[str, object], *words: str) -> None:
    os.environ.update({name: str(value) for name, value in environment.items()})
    sys.exit(run(*words))


if __name__ == "__main__":
    sys.exit(run(*sys.argv[1:]))
