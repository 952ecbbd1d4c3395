"""The pyiqa package as a source of metrics, for those whose use its licence allows (extra ``pyiqa``).

pyiqa is under the PolyForm Noncommercial licence and that of NTU S-Lab. Left to itself it downloads weights,
unpickles whatever lies at their place and checks no hash. Here it works behind closed doors: what would be
downloaded becomes an error that names the file, where it is and where to put it; what is loaded holds nothing
but tensors, and its bytes match the hash in its name.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import io
import os
import pickle
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srbench.errors import SrbenchError, unknown
from srbench.files import sha256_file

if TYPE_CHECKING:
    from torch import Tensor

Network = Callable[["Tensor", "Tensor"], Any]
"""Distorted and reference images, ``(N, 3, H, W)`` float32 in [0, 1], to what the metric gives."""

INSTALL = "in a fresh environment: pip install 'srbench[pyiqa]' (licence: PolyForm-Noncommercial)"
HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.(?:pth|pt)$")
CLIP_FOLDER = "~/.cache/clip"
"""Where OpenAI's CLIP, the only one to open a URL itself, keeps its networks."""


class WeightsMissing(SrbenchError):
    """The weights of a metric are not on disk; the message says which file, from where, to which place."""


def available() -> bool:
    """Whether the extra is installed."""
    return importlib.util.find_spec("pyiqa") is not None


def version() -> str:
    """The version of the package; empty when it is not installed."""
    try:
        return importlib.metadata.version("pyiqa")
    except importlib.metadata.PackageNotFoundError:
        return ""


@functools.cache
def settings() -> Mapping[str, Mapping[str, Any]]:
    """Names of pyiqa's metrics that compare with a reference, with its own settings of each.

    Its table is read without importing the package, which takes seconds.

    Raises:
        SrbenchError: pyiqa is not installed, or keeps its table elsewhere.
    """
    spec = importlib.util.find_spec("pyiqa")
    if spec is None:
        raise SrbenchError(f"pyiqa is not installed; {INSTALL}.")
    folders = [Path(folder) / "default_model_configs.py" for folder in spec.submodule_search_locations or ()]
    for path in folders:
        table = importlib.util.spec_from_file_location("_srbench_pyiqa_settings", path)
        if path.is_file() and table is not None and table.loader is not None:
            module = importlib.util.module_from_spec(table)
            table.loader.exec_module(module)
            known: Mapping[str, Mapping[str, Any]] = module.DEFAULT_CONFIGS
            return {name: one for name, one in known.items() if one.get("metric_mode") == "FR"}
    raise SrbenchError(f"pyiqa {version()} keeps its list of metrics where srbench does not find it.")


def settings_of(name: str) -> Mapping[str, Any]:
    """What pyiqa itself sets for one metric.

    Raises:
        SrbenchError: no full-reference metric of pyiqa has this name, or pyiqa is not installed.
    """
    if name not in settings():
        raise unknown("full-reference metric of pyiqa", name, settings())
    return settings()[name]


@functools.cache
def network(name: str, device: str = "cpu") -> Network:
    """The metric, built once a process for each device, from weights on disk.

    Raises:
        WeightsMissing: a file of weights is not on disk.
        SrbenchError: pyiqa is not installed, does not have it or cannot build it; a file is not what its
            name says.
    """
    settings_of(name)
    with _closed_doors():
        import pyiqa

        try:
            built: Network = pyiqa.create_metric(name, device=device)
        except SrbenchError:
            raise
        except Exception as error:  # whatever a metric of another package raises while it is built
            raise _explained(name, error) from error

    def compare(sr: Tensor, hr: Tensor) -> Any:
        with _closed_doors():
            return built(sr, hr)

    return compare


def _explained(name: str, error: Exception) -> SrbenchError:
    """The error in words that help: files of the Hugging Face hub are known to the frame that asked."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        asked = frame.f_locals
        repository = asked.get("repo_id") or asked.get("path_or_repo_id")
        file = asked.get("filename") or asked.get("filenames")
        if repository and file:
            from huggingface_hub import constants

            named = file if isinstance(file, str) else ", ".join(file)
            return WeightsMissing(
                f"{named} of https://huggingface.co/{repository} is not on disk: "
                f"hf download {repository} puts it into {constants.HF_HUB_CACHE}"
            )
    first = str(error).strip().partition("\n")[0]
    return SrbenchError(f"pyiqa {version()} cannot build {name}: {type(error).__name__}: {first}")


@contextlib.contextmanager
def _closed_doors() -> Iterator[None]:
    """While this lasts nothing is downloaded, unpickled or printed, by any thread of the process."""
    import socket
    import urllib.request

    import torch
    from huggingface_hub import constants

    with contextlib.ExitStack() as stack, contextlib.redirect_stdout(io.StringIO()):
        replace = functools.partial(_replaced, stack)
        replace(constants, "HF_HUB_OFFLINE", True)
        replace(socket.socket, "connect", _refuse_connection)
        replace(urllib.request, "urlopen", _refuse_url)
        replace(torch, "load", functools.partial(_load_tensors, torch.load))
        replace(torch.hub, "download_url_to_file", _refuse_download)
        # Only once the network is closed: some of its modules could ask for something when imported.
        from pyiqa.utils import download_util

        replace(download_util, "download_url_to_file", _refuse_download)
        yield


def _replaced(stack: contextlib.ExitStack, holder: Any, name: str, value: Any) -> None:
    stack.callback(setattr, holder, name, getattr(holder, name))
    setattr(holder, name, value)


def _refuse_download(url: str, dst: str, *args: Any, **options: Any) -> None:
    place = Path(dst)
    raise WeightsMissing(f"{place.name} is not on disk: download {url} into {place.parent}")


def _refuse_url(url: Any, *args: Any, **options: Any) -> None:
    address = str(getattr(url, "full_url", url))
    file, folder = address.rpartition("/")[2], Path(CLIP_FOLDER).expanduser()
    raise WeightsMissing(f"{file} is not on disk: download {address} into {folder}")


def _refuse_connection(*args: Any) -> None:
    raise OSError("srbench lets metrics download nothing")


def _load_tensors(load: Callable[..., Any], source: Any, *args: Any, **options: Any) -> Any:
    """``torch.load`` that checks the hash in the name of a file and takes tensors only."""
    if isinstance(source, (str, os.PathLike)):
        _check_hash(Path(source))
    try:
        return load(source, *args, **{**options, "weights_only": True})
    except pickle.UnpicklingError as error:
        raise SrbenchError(f"{source} holds more than tensors, or is damaged: it is not loaded.") from error


def _check_hash(path: Path) -> None:
    promised = HASH_IN_NAME.search(path.name)
    if promised is not None and not sha256_file(path).startswith(promised.group(1)):
        raise SrbenchError(
            f"{path} is not what its name says: its sha256 does not start with {promised.group(1)}. "
            "Delete it and get it again."
        )
