"""The process that runs one model: LR images in, SR images out, never a reference.

Started by :mod:`srbench.evaluation.launch` with a job file. It is given a pack of LR images without their
names, a model, weights and a scale. It answers one JSON line a step on its standard output and waits for a
line on its standard input before each image, so that it never runs ahead and ends with its parent.

Before any code of the model is imported it confines itself (:mod:`srbench.evaluation.isolation`): what it is
not given it cannot fetch.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from srbench.evaluation.isolation.applying import Confined
    from srbench.evaluation.tiling import Inference, Plan, Tiler
    from srbench.models import SRModel

WARM_UP_SIDE = 48


class Channel:
    """Messages to the parent, on the original standard output; prints of the model go to standard error."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def send(self, event: str, **content: Any) -> None:
        """Write one line."""
        self._out.write(json.dumps({"event": event, **content}) + "\n")
        self._out.flush()

    def wait(self) -> None:
        """Block until the parent wants the next image; leave when there is no parent any more."""
        if not sys.stdin.readline():
            sys.exit(3)


def main(job_file: str) -> None:
    """Run the job and report; exit code 1 and an ``error`` message when it fails."""
    channel = Channel()
    confined = None
    try:
        job = json.loads(Path(job_file).read_text(encoding="utf-8"))
        confined = _confine(Path(job_file).parent, channel)
        _run(job, channel, confined)
    except Exception as error:  # whatever the model raises belongs into the record
        traceback.print_exc()
        attempts = confined.attempts() if confined else []
        kind = type(error).__name__  # the modules of these errors may not have been imported
        bad = kind in ("NotFinite", "WrongSize")
        channel.send("error", reason=f"{kind}: {error}", attempts=attempts, bad_output=bad)
        sys.exit(1)


def _confine(folder: Path, channel: Channel) -> Confined:
    """Give up reading what is hidden, and say how strongly, while all code that has run is srbench's own."""
    from srbench.evaluation.isolation import applying

    confined = applying.confine_by(folder / applying.NOTE)
    channel.send("confined", isolation=confined.strength.stored())
    return confined


def _run(job: Mapping[str, Any], channel: Channel, confined: Confined) -> None:

    from srbench.evaluation import memory

    _make_repeatable()
    device = pick_device(job["device"])
    model, notes = _load(job)
    channel.send("ready", device=_describe(device), notes=notes, **_size(model))
    tiler = _tiler(job, model, device)
    lr, hr = memory.blank_images(model, WARM_UP_SIDE, WARM_UP_SIDE, device)
    model.infer(lr, oracle_hr=hr)
    for _, height, width, _ in job["images"]:
        tiler.plan(height, width)
    spread = _channel_spread(job, model, device)
    memory.reset_peak(device)
    channel.send("warm", **spread)
    for index in range(len(job["images"])):
        channel.wait()
        channel.send("image", index=index, **_one(job, tiler, index))
    channel.send("finished", peak_bytes=memory.peak_bytes(device), attempts=confined.attempts())


def _channel_spread(job: Mapping[str, Any], model: SRModel, device: Any) -> dict[str, float]:
    """How far a colour network tints grey data, seen at the middle of the first image; else nothing."""
    from srbench.evaluation.guards import colours

    if model.channels != 3 or model.leaking or not job["images"] or job["images"][0][3] != 1:
        return {}
    lr = _image(model.channels, job["lr"], *job["images"][0])
    top, left = (max(side - WARM_UP_SIDE, 0) // 2 for side in lr.shape[-2:])
    middle = lr[..., top : top + WARM_UP_SIDE, left : left + WARM_UP_SIDE].expand(-1, 3, -1, -1)
    return {"channel_spread": colours.channel_spread(model.infer(middle.to(device)))}


def _one(job: Mapping[str, Any], tiler: Tiler, index: int) -> dict[str, Any]:
    """Super-resolve one image of the pack into ``<index>.npy``."""
    import numpy as np

    seen = tiler.model.channels
    lr, hr = _image(seen, job["lr"], *job["images"][index]), _oracle_image(seen, job, index)
    start = time.perf_counter()
    result: Inference = tiler(lr, oracle_hr=hr, plan=_plan(job, index))
    seconds = time.perf_counter() - start
    final = Path(job["out"]) / f"{index}.npy"
    partial = final.with_suffix(".tmp")
    with partial.open("wb") as file:
        np.save(file, _pixels(result.sr[0].numpy()))
    partial.rename(final)
    return {"file": str(final), "seconds": seconds, "tiling": result.summary()}


def _plan(job: Mapping[str, Any], index: int) -> Plan | None:
    """How this image is to be tiled, where an earlier run is repeated."""
    from srbench.evaluation.tiling import Plan

    return Plan(*job["plans"][index]) if job.get("plans") else None


def _pixels(planes: NDArray[Any]) -> NDArray[Any]:
    """``(C, H, W)`` to ``(H, W)`` or ``(H, W, C)``."""
    pixels: NDArray[Any] = planes[0] if len(planes) == 1 else planes.transpose(1, 2, 0)
    return pixels


def _image(seen: int, pack: str, offset: int, height: int, width: int, channels: int = 1) -> Tensor:
    """``(1, C, height, width)`` in [0, 1], for a network that sees so many channels.

    Of a colour image a grey network gets the luma, not rounded. C is 1 for grey images also where the network
    sees colour: ``SRModel.infer`` replicates them.
    """
    import torch

    from srbench.evaluation.lr_cache import read_pixels
    from srbench.evaluation.protocol import luma

    pixels = torch.from_numpy(read_pixels(Path(pack), offset, height, width, channels)).float() / 255.0
    if channels == 1:
        return pixels[None, None]
    return luma(*pixels.unbind(-1))[None, None] if seen == 1 else pixels.permute(2, 0, 1)[None]


def _oracle_image(seen: int, job: Mapping[str, Any], index: int) -> Tensor | None:
    """The HR image, which the parent hands over for a leaking variant alone."""
    if "hr" not in job:
        return None
    scale = job["scale"]
    offset, height, width, channels = job["images"][index]
    return _image(seen, job["hr"], offset * scale**2, height * scale, width * scale, channels)


def _load(job: Mapping[str, Any]) -> tuple[SRModel, tuple[str, ...]]:
    """The network with its weights, and what a reader must know of how they were loaded."""
    model, notes = _spandrel_network(job) if job.get("foreign") else _registered_network(job)
    model.network.eval().requires_grad_(False)
    return model, notes


def _registered_network(job: Mapping[str, Any]) -> tuple[SRModel, tuple[str, ...]]:
    from srbench import models, weights

    if job["model"] not in models.model_names():
        _import_file(job["module"], job["module_file"])
    model = models.create(job["model"], scale=job["scale"], channels=job["channels"], variant=job["variant"])
    if not job["weights"]:
        return model, ()
    return model, weights.load(model, Path(job["weights"]), rgb_to_grey=job.get("rgb_to_grey", False)).notes


def _spandrel_network(job: Mapping[str, Any]) -> tuple[SRModel, tuple[str, ...]]:
    from srbench import spandrel_adapter

    return spandrel_adapter.load(Path(job["weights"])), ()


def _import_file(module: str, file: str) -> None:
    """Import the user's own file that registered the model; never under the name ``__main__``."""
    name = "__srbench_user__" if module == "__main__" else module
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import {file}, which registered the model")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)


def _tiler(job: Mapping[str, Any], model: SRModel, device: Any) -> Tiler:
    from srbench.evaluation.tiling import Tiler

    return Tiler(model, device=device, tile=job["tile"], max_bytes=job["max_bytes"], output="uint8")


def _size(model: SRModel) -> dict[str, Any]:
    from srbench.evaluation import cost

    return {
        "params": cost.count_parameters(model.network),
        "gmacs_per_mpx": cost.gigamacs_per_megapixel(model),
        "peak_mb_per_mpx": cost.megabytes_per_megapixel(model),
    }


def _make_repeatable() -> None:
    """Same input, same output: fixed seed, no reduced-precision products, no timing-dependent kernels."""
    import torch

    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def pick_device(name: str) -> Any:
    """The device called ``name``; with ``auto`` a CUDA device where there is one, else the CPU.

    Raises:
        SrbenchError: a CUDA device was asked for and there is none.
    """
    import torch

    from srbench.errors import SrbenchError

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise SrbenchError(
            f"Device {name!r} was asked for, but torch finds no CUDA device; use --device cpu."
        )
    return torch.device(name)


def _describe(device: Any) -> dict[str, Any]:
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "type": device.type,
        "name": name,
        "precision": "float32",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    """The processor's own name where the system tells it, else its architecture."""
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
