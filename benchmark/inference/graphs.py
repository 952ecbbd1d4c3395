"""A network as a graph that other programs run, ONNX or TorchScript, for images of any size.

Both are recorded from one run (a trace), in which the sides of the image stay variables. The older of torch's
two ONNX exporters is used: on networks with dense blocks the newer one takes minutes and gives the same.
"""

from __future__ import annotations

import copy
import importlib.util
import io
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from srbench.models import SRModel
from srbench.utils.errors import ModelError, SrbenchError

OPSET = 17
"""Version of the ONNX operators, of 2022: the oldest with layer normalisation."""
_TRACED = (40, 56)
"""Sides of the image that is traced, rounded up to the size multiple."""
_LONGEST_REASON = 300

TOLERANCE = 1e-5
"""How far what a file gives may be from ``SRModel.infer``, on images in [0, 1]."""
Sides = tuple[tuple[int, int], ...]
SIDES: Sides = ((7, 5), (33, 46), (64, 48))
"""Images on which that is looked at: smaller than a window, odd, and neither."""


def require(extra: str, *packages: str) -> None:
    """Refuse to begin without packages that an extra installs.

    Raises:
        SrbenchError: says which is missing and how to install it.
    """
    for package in packages:
        try:
            missing = importlib.util.find_spec(package) is None
        except ModuleNotFoundError:  # the package that it lies in
            missing = True
        if missing:
            raise SrbenchError(f'{package} is not installed; type: pip install "srbench[{extra}]"')


class WholeModel(nn.Module):
    """What ``SRModel.infer`` does to images of the network's own channel count, as one module.

    The image is padded to the size multiple, run, cropped and clamped. Padding is by indices, whose number
    is part of a graph, where ``pad_to_multiple`` computes with the numbers of one image.
    """

    def __init__(self, model: SRModel) -> None:
        super().__init__()
        self.network = model.network
        self.scale = model.scale
        self.multiple = model.size_multiple

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` in [0, 1] to ``(N, C, scale*H, scale*W)`` in [0, 1]."""
        height, width = lr.shape[-2:]
        sr: Tensor = self.network(self._padded(lr) if self.multiple > 1 else lr)
        return sr[..., : height * self.scale, : width * self.scale].clamp(0.0, 1.0)

    def _padded(self, lr: Tensor) -> Tensor:
        multiple = self.multiple
        positions: list[Tensor] = []
        sides: list[Tensor] = []
        for side in lr.shape[-2:]:
            positions.append(torch.arange((side + multiple - 1) // multiple * multiple, device=lr.device))
            # Adding keeps the side a variable of the graph; a new tensor of it would be a constant.
            sides.append(positions[-1].new_zeros(()) + side)
        # Not by len(), which would be a constant as well.
        fits = [position.shape[0] - side < side for position, side in zip(positions, sides, strict=True)]
        padded = lr
        for axis, position, length in zip((-2, -1), positions, sides, strict=True):
            beyond = torch.where(fits[0] & fits[1], 2 * length - 2 - position, length - 1)
            padded = padded.index_select(axis, torch.where(position < length, position, beyond))
        return padded


def onnx_bytes(module: nn.Module, channels: int, metadata: Mapping[str, str]) -> bytes:
    """An ONNX file of a module from ``lr`` to ``sr``, both ``(N, C, H, W)``, N, H and W open.

    Raises:
        SrbenchError: the package ``onnx`` is missing.
        ModelError: the module cannot be traced, or has an operation that ONNX lacks.
    """
    require("onnxruntime", "onnx")
    import onnx

    buffer = io.BytesIO()
    names: dict[str, dict[int, str]] = {
        "lr": {0: "N", 2: "H", 3: "W"},
        "sr": {0: "N", 2: "scale_H", 3: "scale_W"},
    }
    with _traceable(module, channels) as (copied, example):
        torch.onnx.export(
            copied,
            (example,),
            buffer,  # type: ignore[arg-type]  # the exporter without dynamo takes a stream
            input_names=["lr"],
            output_names=["sr"],
            opset_version=OPSET,
            dynamic_axes=names,
            dynamo=False,
        )
    graph = onnx.load_from_string(buffer.getvalue())
    onnx.helper.set_model_props(graph, dict(metadata))
    content: bytes = graph.SerializeToString()
    return content


def torchscript_bytes(module: nn.Module, channels: int, metadata: Mapping[str, str]) -> bytes:
    """A TorchScript file of a module; the metadata are its extra file ``metadata.json``.

    Raises:
        ModelError: the module cannot be traced.
    """
    buffer = io.BytesIO()
    with _traceable(module, channels) as (copied, example):
        traced = torch.jit.trace(copied, example, check_trace=False)  # type: ignore[no-untyped-call]
        extra = {"metadata.json": json.dumps(metadata, indent=1)}
        torch.jit.save(traced, buffer, _extra_files=extra)
    return buffer.getvalue()


@contextmanager
def _traceable(module: nn.Module, channels: int) -> Iterator[tuple[nn.Module, Tensor]]:
    """A copy of the module and the image to trace it with.

    Raises:
        ModelError: tracing fails.
    """
    copied = copy.deepcopy(module).cpu().eval().requires_grad_(False)
    multiple = int(getattr(module, "size_multiple", 1))
    height, width = (math.ceil(side / multiple) * multiple for side in _TRACED)
    example = torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        # That sizes may become constants, and that the exporter is the older one: what comes out is compared.
        warnings.simplefilter("ignore")
        try:
            yield copied, example
        except Exception as error:
            lines = " ".join(str(error).split())[:_LONGEST_REASON]
            raise ModelError(
                f"The network cannot be recorded as a graph ({type(error).__name__}: {lines}). It may choose "
                "what to do by the numbers of an image, or use an operation that the format lacks."
            ) from error


def graph(
    model: SRModel, metadata: Mapping[str, str], file_format: Literal["onnx", "torchscript"]
) -> tuple[bytes, dict[tuple[int, int], float]]:
    """The file of a graph, and how far it is from ``SRModel.infer``.

    Raises:
        ModelError: it cannot be made, or is further away than ``TOLERANCE``.
    """
    make = onnx_bytes if file_format == "onnx" else torchscript_bytes
    content = make(WholeModel(model), model.channels, metadata)
    if file_format == "onnx":
        running = session(content)

        def run(lr: Tensor) -> Tensor:
            return torch.from_numpy(running.run(None, {"lr": lr.numpy()})[0])

    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit is deprecated, and what other programs read
            run = torch.jit.load(io.BytesIO(content))  # type: ignore[no-untyped-call]
    return content, compared(model, run)


def compared(
    model: SRModel,
    run: Callable[[Tensor], Tensor],
    sides: Sides = SIDES,
    tolerance: float = TOLERANCE,
    purpose: str = "exported",
) -> dict[tuple[int, int], float]:
    """Largest absolute difference of ``run`` from ``SRModel.infer``, on two random images of each size.

    Raises:
        ModelError: it fails, gives another size, or is further away than ``tolerance``.
    """
    beginning = f"{model.card.name} {model.variant} cannot be {purpose}: what came out"
    generator = torch.Generator().manual_seed(0)
    differences = {}
    for height, width in sides:
        lr = torch.rand(2, model.channels, height, width, generator=generator)
        expected = model.infer(lr)
        try:
            with torch.inference_mode():
                sr = run(lr)
            same = sr.shape == expected.shape
            difference = float((sr - expected).abs().max()) if same else math.inf
        except Exception as error:  # whatever a runtime raises on a size that the graph is not for
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:_LONGEST_REASON]}"
            raise ModelError(f"{beginning} fails on an image of {height} x {width} ({reason}).") from error
        if not difference <= tolerance:
            raise ModelError(
                f"{beginning} differs from torch by {difference:.2g} on an image of {height} x {width}, and "
                f"{tolerance:g} is allowed."
            )
        differences[height, width] = difference
    return differences


def session(content: bytes) -> Any:
    """An ONNX Runtime session on the CPU with as many threads as torch takes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what fails is raised
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
