"""Other programs that run a network on the CPU in place of torch: ONNX Runtime and OpenVINO."""

from __future__ import annotations

import copy
import importlib.metadata
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from srbench.inference.device import pick_device
from srbench.inference.graphs import compared, onnx_bytes, require, session
from srbench.models import SRModel
from srbench.utils.errors import ModelError, SrbenchError, unknown_name

BackendName = Literal["torch", "onnxruntime", "openvino"]
BACKENDS: tuple[BackendName, ...] = ("torch", "onnxruntime", "openvino")
TOLERANCE = 1e-4
"""How far a backend may be from torch on an image in [0, 1]: a fortieth of a grey level of 8 bits."""

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class CompiledNetwork(nn.Module):
    """A network that is run by a backend, in float32 on the CPU.

    A copy of it is the network of torch: whoever copies one counts its memory, differentiates it or runs it
    in another precision.
    """

    def __init__(self, network: nn.Module, run: Run) -> None:
        super().__init__()
        self.network = network
        self._run = run
        for name in ("size_multiple", "receptive_radius", "studio_luma"):
            if hasattr(network, name):
                setattr(self, name, getattr(network, name))

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C, scale*H, scale*W)``, of the same type."""
        try:
            sr = torch.from_numpy(self._run(lr.float().contiguous().numpy()))
        except Exception as error:
            if "alloc" in str(error).lower():  # tiles are made smaller where memory runs out
                raise MemoryError(str(error)) from error
            raise
        return sr.to(lr.dtype)

    def __deepcopy__(self, copies: dict[int, Any]) -> nn.Module:
        return copy.deepcopy(self.network, copies)


def described(backend: str) -> str:
    """Its name and version; of torch nothing, which every record names anyway."""
    return "" if backend == "torch" else f"{backend} {importlib.metadata.version(backend)}"


def device_for(backend: str, device: str) -> torch.device:
    """The device to run on.

    Raises:
        SrbenchError: no such backend or device, one that is not installed, or one that runs on the CPU alone
            with another device.
    """
    if backend not in BACKENDS:
        raise unknown_name("backend", backend, BACKENDS)
    if backend == "torch":
        return pick_device(device)
    if device not in ("auto", "cpu"):
        raise SrbenchError(
            f"The backend {backend} runs on the CPU, and --device is {device!r}. Leave one of them out."
        )
    require(backend, backend, "onnx")
    return torch.device("cpu")


def with_backend(model: SRModel, backend: str) -> SRModel:
    """The model, run by a backend; its results are compared with torch's on two small images first.

    Raises:
        ModelError: the network cannot be exported, or the backend computes something else.
    """
    if backend == "torch":
        return model
    name = f"{model.card.name} {model.variant}"
    reason = "it looks at the HR image" if model.leaking else model.not_exported
    if reason:
        raise ModelError(f"{name} cannot be run by {backend}: {reason}. Use --backend torch.")
    content = onnx_bytes(model.network, model.channels, {})
    run = _onnxruntime(content) if backend == "onnxruntime" else _openvino(content)
    compiled = replace(model, network=CompiledNetwork(model.network, run))
    compared(model, compiled.infer, ((7, 5), (33, 46)), TOLERANCE, f"run by {backend}")
    return compiled


def _onnxruntime(content: bytes) -> Run:
    running = session(content)

    def run(lr: NDArray[np.float32]) -> NDArray[np.float32]:
        sr: NDArray[np.float32] = running.run(None, {"lr": lr})[0]
        return sr

    return run


def _openvino(content: bytes) -> Run:
    import openvino

    core = openvino.Core()
    # Without these it computes in bfloat16 or float16 where the processor can.
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "EXECUTION_MODE_HINT": "ACCURACY",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    request = core.compile_model(core.read_model(content), "CPU", settings).create_infer_request()

    def run(lr: NDArray[np.float32]) -> NDArray[np.float32]:
        # A copy: the next run overwrites what the request holds.
        sr: NDArray[np.float32] = np.array(request.infer({"lr": lr})[0])
        return sr

    return run
