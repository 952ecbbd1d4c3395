"""Every full-reference metric of the pyiqa package (extra ``pyiqa``) as ``pyiqa_<name>``, resolved by name.

The id of a metric holds its network and the version of pyiqa, so no table mixes two of them. pyiqa is under
the PolyForm Noncommercial licence and that of NTU S-Lab. By itself it downloads weights, unpickles them and
checks no hash; here a download becomes an error that names the file, its address and its folder, and only
tensors are loaded whose bytes match the hash in the name.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import io
import math
import os
import pickle
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from unittest import mock

from srbench.metrics.perceptual import LABEL, as_scalar, grey_as_colour
from srbench.metrics.registry import Case, Metric, MetricUnavailable, register_prefix
from srbench.utils.errors import SrbenchError, unknown_name
from srbench.utils.files import sha256_file

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "pyiqa_"

FORMULAS: Mapping[str, str] = {
    "cw_ssim": "Agreement of local patterns that forgives small shifts (complex wavelets).",
    "fsim": "Agreement of edges and corners (phase congruency) with the reference.",
    "gmsd": "How unevenly edges lost or gained strength over the image.",
    "mad": "Visible errors where they are faint, likeness of appearance where they are strong.",
    "ms_ssim": "SSIM over five magnifications of the same image.",
    "nlpd": "Difference of local contrasts over several magnifications.",
    "psnr": "Size of the grey-level errors; stops at 80 dB.",
    "psnry": "Size of the grey-level errors; stops at 80 dB.",
    "ssim": "Agreement of local brightness, contrast and pattern.",
    "ssimc": "Agreement of local brightness, contrast and pattern.",
    "vif": "Share of the reference's visual information that survives (wavelet form).",
    "vsi": "Agreement of edges where the eye looks first.",
}
"""Metrics without learned weights, each with its sentence."""

BACKBONES: Mapping[str, str] = {
    "ckdn": "resnet50",
    "deepdc": "vgg19",
    "dists": "vgg16",
    "dmm": "vgg16",
}
"""Networks that pyiqa's own settings do not name."""

NET_SETTINGS = ("net", "version", "semantic_model_name", "model_name", "variant", "pretrained")

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
            configs: Mapping[str, Mapping[str, Any]] = module.DEFAULT_CONFIGS
            return {name: config for name, config in configs.items() if config.get("metric_mode") == "FR"}
    raise SrbenchError(f"pyiqa {version()} keeps its list of metrics where srbench does not find it.")


def settings_of(name: str) -> Mapping[str, Any]:
    """What pyiqa itself sets for one metric.

    Raises:
        SrbenchError: no full-reference metric of pyiqa has this name, or pyiqa is not installed.
    """
    if name not in settings():
        raise unknown_name("full-reference metric of pyiqa", name, settings())
    return settings()[name]


@functools.cache
def network(name: str) -> Network:
    """The metric on the CPU, built once a process, from weights on disk.

    Raises:
        WeightsMissing: a file of weights is not on disk.
        SrbenchError: pyiqa is not installed, does not have it or cannot build it; a file is not what its
            name says.
    """
    settings_of(name)
    with _offline():
        import pyiqa

        try:
            metric: Network = pyiqa.create_metric(name, device="cpu")
        except SrbenchError:
            raise
        except Exception as error:  # whatever a metric of another package raises while it is built
            raise _explained(name, error) from error

    def compare(sr: Tensor, hr: Tensor) -> Any:
        with _offline():
            return metric(sr, hr)

    return compare


def _explained(name: str, error: Exception) -> SrbenchError:
    """The error in words that help; which file of the Hugging Face hub is missing stands in a frame of it."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        variables = frame.f_locals
        repository = variables.get("repo_id") or variables.get("path_or_repo_id")
        file = variables.get("filename") or variables.get("filenames")
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
def _offline() -> Iterator[None]:
    """While this lasts nothing is downloaded, unpickled or printed, by any thread of the process."""
    import socket
    import urllib.request

    import torch
    from huggingface_hub import constants

    with contextlib.ExitStack() as stack, contextlib.redirect_stdout(io.StringIO()):

        def replace(holder: Any, name: str, value: Any) -> None:
            stack.enter_context(mock.patch.object(holder, name, value))

        refusal = OSError("srbench lets metrics download nothing")
        replace(constants, "HF_HUB_OFFLINE", True)
        replace(socket.socket, "connect", mock.Mock(side_effect=refusal))
        replace(urllib.request, "urlopen", _refuse_url)
        replace(torch, "load", functools.partial(_load_tensors, torch.load))
        replace(torch.hub, "download_url_to_file", _refuse_download)
        # Only once the network is closed: some of its modules could ask for something when imported.
        from pyiqa.utils import download_util

        replace(download_util, "download_url_to_file", _refuse_download)
        yield


def _refuse_download(url: str, dst: str, *args: Any, **options: Any) -> None:
    path = Path(dst)
    raise WeightsMissing(f"{path.name} is not on disk: download {url} into {path.parent}")


def _refuse_url(url: Any, *args: Any, **options: Any) -> None:
    address = str(getattr(url, "full_url", url))
    file, folder = address.rpartition("/")[2], Path(CLIP_FOLDER).expanduser()
    raise WeightsMissing(f"{file} is not on disk: download {address} into {folder}")


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


def resolve(name: str) -> Metric:
    """The metric with this name or stored id, ``pyiqa_dists`` or ``pyiqa_dists-vgg16-pyiqa0.1.16``.

    Where pyiqa is not installed nothing is known of a metric but its name, and it says what to type.

    Raises:
        SrbenchError: no full-reference metric of pyiqa has this name, or an id was asked for and pyiqa is not
            installed.
    """
    short = name.removeprefix(PREFIX)
    if not available():
        if re.search(r"-pyiqa\d", short):
            raise SrbenchError(f"{name} was computed by pyiqa, which is not installed here.")
        return _described(short.removesuffix("-pyiqa"), {})
    plain = short if short in settings() else _without_tag(short)
    return _described(plain, settings_of(plain))


def _without_tag(stored: str) -> str:
    """A stored id without network and version; longest first, as ``lpips`` begins ``lpips-vgg``."""
    tag = re.compile(r"-(?:.+-)?pyiqa[\d.]*\S*")
    for name in sorted(settings(), key=len, reverse=True):
        if stored.startswith(name) and tag.fullmatch(stored[len(name) :]):
            return name
    return stored


def _described(name: str, options: Mapping[str, Any]) -> Metric:
    learned = name not in FORMULAS
    bounds = _bounds(options)
    words = f"How alike the images look to the network of {name}; {LABEL}." if learned else FORMULAS[name]
    return Metric(
        name=PREFIX + name,
        title=f"{name.replace('_', '-').upper()} (pyiqa)",
        direction=_direction(options),
        unit="dB" if name.startswith("psnr") else "",
        bounds=bounds,
        explanation=words,
        version=1,
        family="perceptual" if learned else "fidelity",
        default=False,
        compute=functools.partial(_compute, name, bounds),
        tag="-".join([*_net(name, options), f"pyiqa{version()}"]),
        needs=functools.partial(problem, name),
    )


def problem(name: str) -> str:
    """Why this metric cannot be computed here: the file of weights and its place; empty when it can."""
    try:
        network(name)
    except SrbenchError as error:
        return str(error)
    return ""


def _compute(name: str, bounds: tuple[float, float], case: Case) -> float:
    sr, hr = (grey_as_colour(plane, case.data_range) for plane in (case.sr, case.hr))
    try:
        output = network(name)(sr, hr)
    except SrbenchError as error:
        raise MetricUnavailable(str(error)) from error
    except (AssertionError, RuntimeError, ValueError) as error:
        raise MetricUnavailable(f"pyiqa {name} refuses this image: {error}") from error
    return as_scalar(output, bounds, f"pyiqa {name}")


def _direction(config: Mapping[str, Any]) -> Literal["higher", "lower", "none"]:
    """Which way is better by pyiqa's own word; none where it is not installed."""
    if not config:
        return "none"
    return "lower" if config.get("lower_better", False) else "higher"


def _bounds(config: Mapping[str, Any]) -> tuple[float, float]:
    """The ends that pyiqa states without ``~``; a distance has none above, whatever it says there."""
    ends = re.fullmatch(r"(~?)(-?[\d.]+), (~?)(-?[\d.]*)", str(config.get("score_range", "")))
    if ends is None:
        return -math.inf, math.inf
    low = -math.inf if ends[1] else float(ends[2])
    high = math.inf if ends[3] or not ends[4] or config.get("lower_better") else float(ends[4])
    return low, high


def _net(name: str, config: Mapping[str, Any]) -> list[str]:
    """The network behind it, as pyiqa's settings name it; not known where it is not installed."""
    if name in FORMULAS or not config:
        return []
    options = config.get("metric_opts", {})
    named = [str(options[key]) for key in NET_SETTINGS if isinstance(options.get(key), str)]
    if not named and name in BACKBONES:
        named = [BACKBONES[name]]
    return named


register_prefix(PREFIX, resolve)
