"""What holds for every test: the user's own home is left alone, CUDA tests run only where there is CUDA."""

from __future__ import annotations

import fcntl
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from helpers.evaluations import Finished

# pytest imports readline, which sets it for the processes of pytest-xdist: tables would drop columns.
os.environ.pop("COLUMNS", None)
if "PYTEST_XDIST_WORKER" in os.environ:
    # One thread a process: two processes with two threads each would take the cores from one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_sessionstart() -> None:
    """As in a training: fetching memory anew for every layer was a fifth of the time of tests of networks."""
    from srbench.utils.memory import keep_memory

    keep_memory()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests run in one process: what they share is prepared once, and nobody waits for it."""
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    with_cuda = torch.cuda.is_available()
    for item in marked:
        item.add_marker(pytest.mark.skipif(not with_cuda, reason="no CUDA device"))


@pytest.fixture(scope="session", autouse=True)
def _home_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A srbench home of their own, so that no test reads or writes the user's."""
    from helpers.homes import SCENES, with_scenes

    base = tmp_path_factory.getbasetemp()
    scenes = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "scenes"
    scenes.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SCENES, str(scenes))
        home = with_scenes(tmp_path_factory.mktemp("home"))
        patch.setenv("SRBENCH_HOME", str(home))
        yield home


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One stored evaluation for all tests that only read one; tests that use it are slow.

    The processes of pytest-xdist share it: the first that needs it evaluates, the others wait.
    """
    from helpers.evaluations import finished as evaluate

    if "PYTEST_XDIST_WORKER" not in os.environ:
        return evaluate(tmp_path_factory.mktemp("finished"))
    folder = tmp_path_factory.getbasetemp().parent / "finished"
    folder.mkdir(exist_ok=True)
    stored = folder / "finished.pickle"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stored.exists():
            stored.write_bytes(pickle.dumps(evaluate(folder)))
        made: Finished = pickle.loads(stored.read_bytes())
        return made


@pytest.fixture
def nothing_shipped(tmp_path: Path) -> Iterator[None]:
    """No weights come with the package: what a model without any does."""
    from helpers.shipped import instead

    with instead(tmp_path / "shipped"):
        yield


@pytest.fixture
def workers_here() -> Iterator[None]:
    """Evaluations of this test run their models in its own process."""
    from helpers.evaluations import workers_here as here

    with here():
        yield
