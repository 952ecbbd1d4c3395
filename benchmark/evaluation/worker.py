"""The process that runs one model: LR images in, SR images out, never a reference.

Started by its client with a job file, it answers one message a step on its standard output and waits for a
line on its standard input before each image, so that it never runs ahead and ends with its parent. Before any
code of the model is imported it confines itself (:mod:`srbench.sandbox`): what it is not given
it cannot fetch.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srbench.evaluation.messages import (
    DeviceDescription,
    Failed,
    Finished,
    ImageDone,
    ImageTiling,
    Isolated,
    Message,
    NetworkCost,
    Ready,
    Warm,
    WorkerJob,
    encode,
)
from srbench.utils.processes import end_with_parent, imported_for_a_model

if TYPE_CHECKING:
    from torch import Tensor

    from srbench.inference.tiling import Tiler
    from srbench.models import SRModel
    from srbench.sandbox.apply import AppliedSandbox

WARM_UP_SIDE = 48
LAYOUT = "channels last"
"""Of images on a CPU; another one rounds otherwise in the last bits (``srbench.inference.tiling``)."""
_MAX_REASON = 4_000


class MessageChannel:
    """Messages to the parent, on the original standard output; prints of the model go to standard error."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def send(self, message: Message) -> None:
        """Write one line."""
        self._out.write(encode(message) + "\n")
        self._out.flush()

    def wait(self) -> None:
        """Block until the parent wants the next image; leave when there is no parent any more."""
        if not sys.stdin.readline():
            sys.exit(3)

    def wait_for_end(self) -> None:
        """Block until the parent has seen what this process took."""
        sys.stdin.read()


def main(job_file: str) -> None:
    """Run the job and report; exit code 1 and a ``Failed`` message when it fails."""
    end_with_parent()
    channel = MessageChannel()
    sandbox = None
    try:
        with contextlib.suppress(OSError):  # the first to end when the machine runs out of memory (Linux)
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
        job = WorkerJob.from_json(Path(job_file).read_text(encoding="utf-8"))
        # Give up reading what is hidden, and say how strongly, while all code that has run is srbench's.
        from srbench.sandbox import apply

        sandbox = apply.apply_policy_file(Path(job_file).parent / apply.POLICY_FILE)
        level = sandbox.isolation
        channel.send(Isolated({"level": level.level, "mechanism": level.mechanism, "words": level.words}))
        _run(job, channel, sandbox)
    except Exception as error:  # whatever the model raises belongs into the record
        traceback.print_exc()
        attempts = tuple(sandbox.attempts()) if sandbox else ()
        kind = type(error).__name__  # the modules of these errors may not have been imported
        reason = f"{kind}: {error}"[:_MAX_REASON]
        channel.send(Failed(reason, attempts, bad_output=kind in ("NotFinite", "WrongSize")))
        sys.exit(1)


def _run(job: WorkerJob, channel: MessageChannel, sandbox: AppliedSandbox) -> None:
    from srbench.inference import backends
    from srbench.inference import profiling as cost
    from srbench.inference.device import blank_images, peak_bytes, reset_peak
    from srbench.inference.luma import STUDIO_NOTE, for_luma
    from srbench.inference.tiling import Tiler, tell_needs

    _make_repeatable()
    device = backends.device_for(job.backend, job.device)
    model, notes = _load(job)
    tell_needs(model.network, job.needs)
    model = backends.with_backend(model, job.backend)
    if model.studio_luma and any(channels == 3 for *_, channels in job.images):
        notes = (*notes, STUDIO_NOTE)
    channel.send(
        Ready(
            _describe(device, backends.described(job.backend)),
            notes,
            NetworkCost(**cost.network_cost(model)) if job.report_cost else None,
        )
    )
    # Of a colour image a grey network is given the luma it learned from.
    tiler, of_colour = (
        Tiler(seen, device=device, tile=job.tile, max_bytes=job.max_bytes, output="uint8")
        for seen in (model, for_luma(model))
    )
    # Before anything runs: what cannot fit is said, not killed.
    for _, height, width, _ in job.images:
        tiler.tiling(height, width)
    lr, hr = blank_images(model, WARM_UP_SIDE, WARM_UP_SIDE, device)
    model.infer(lr, oracle_hr=hr)
    spread = _channel_spread(job, model, device)
    reset_peak(device)
    channel.send(Warm(spread))
    for index in range(len(job.images)):
        channel.wait()
        channel.send(_super_resolve(job, of_colour if job.images[index][3] == 3 else tiler, index))
    channel.send(Finished(peak_bytes(device), tuple(sandbox.attempts())))
    channel.wait_for_end()


def _channel_spread(job: WorkerJob, model: SRModel, device: Any) -> float | None:
    """How far a colour network tints grey data, seen at the middle of the first image."""
    from srbench.checks.output import channel_spread

    if model.channels != 3 or model.leaking or not job.images or job.images[0][3] != 1:
        return None
    lr = _image(model.channels, job.lr, *job.images[0])
    top, left = (max(side - WARM_UP_SIDE, 0) // 2 for side in lr.shape[-2:])
    middle = lr[..., top : top + WARM_UP_SIDE, left : left + WARM_UP_SIDE].expand(-1, 3, -1, -1)
    return channel_spread(model.infer(middle.to(device)))


def _super_resolve(job: WorkerJob, tiler: Tiler, index: int) -> ImageDone:
    """Super-resolve one image of the pack into ``<index>.raw``, ``(H, W)`` or ``(H, W, C)``."""
    from srbench.inference.tiling import Tiling

    channels_seen, scale = tiler.model.channels, job.scale
    offset, height, width, channels = job.images[index]
    lr, hr = _image(channels_seen, job.lr, *job.images[index]), None
    if job.hr is not None:  # which the parent hands over for a leaking variant alone
        hr = _image(channels_seen, job.hr, offset * scale**2, height * scale, width * scale, channels)
    tiling = Tiling(*job.tilings[index]) if job.tilings else None
    result = tiler(lr, oracle_hr=hr, tiling=tiling)
    planes = result.sr[0].numpy()
    Path(job.out, f"{index}.raw").write_bytes(planes.transpose(1, 2, 0).tobytes())
    return ImageDone(index, ImageTiling(**result.summary()))


def _image(channels_seen: int, pack: str, offset: int, height: int, width: int, channels: int = 1) -> Tensor:
    """``(1, C, height, width)`` in [0, 1], for a network that sees so many channels.

    Of a colour image a grey network gets the luma, not rounded. C is 1 for grey images also where the network
    sees colour: ``SRModel.infer`` replicates them.
    """
    import torch

    from srbench.datasets.lr_images import read_pixels
    from srbench.utils.image import luma

    pixels = torch.from_numpy(read_pixels(Path(pack), offset, height, width, channels)).float() / 255.0
    if channels == 1:
        return pixels[None, None]
    return luma(*pixels.unbind(-1))[None, None] if channels_seen == 1 else pixels.permute(2, 0, 1)[None]


def _load(job: WorkerJob) -> tuple[SRModel, tuple[str, ...]]:
    """The network with its weights, and what a reader must know of how they were loaded."""
    notes: tuple[str, ...] = ()
    if job.foreign:
        from srbench.weights import spandrel as spandrel_adapter

        model = spandrel_adapter.load(Path(job.weights or ""))
    else:
        from srbench import models, weights

        if job.model not in models.model_names():
            _import_file(job.module, job.module_file)
        model = models.create(job.model, scale=job.scale, channels=job.channels, variant=job.variant)
        if job.weights:
            notes = weights.load(model, Path(job.weights), rgb_to_grey=job.rgb_to_grey).notes
    model.network.eval().requires_grad_(False)
    return model, notes


def _import_file(module: str, file: str) -> None:
    """Import the user's own file that registered the model; never under the name ``__main__``."""
    name = "__srbench_user__" if module == "__main__" else module
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import {file}, which registered the model")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    with imported_for_a_model(file):
        spec.loader.exec_module(loaded)


def _make_repeatable() -> None:
    """Same input, same output: fixed seed, no reduced-precision products, no timing-dependent kernels."""
    import torch

    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def _describe(device: Any, backend: str) -> DeviceDescription:
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "type": device.type,
        "name": f"{name}, {backend}" if backend else name,
        "precision": "float32",
        "layout": LAYOUT if device.type == "cpu" and not backend else "",
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
