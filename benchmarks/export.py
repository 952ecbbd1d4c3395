"""Which networks can be exported, and how much faster than torch the backends run them, as a markdown table.

Usage: OMP_NUM_THREADS=1 python benchmarks/export.py [MODEL[:VARIANT] ...]   (extras onnxruntime, openvino)

Weights are drawn at random, layers that start at zero too. Each ratio is the median over rounds of torch's
time divided by the backend's, run one after the other on the same LR image.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch

from srbench import models
from srbench.inference.backends import BACKENDS, with_backend
from srbench.inference.graphs import graph
from srbench.inference.tiling import Tiler
from srbench.models import SRModel
from srbench.utils.errors import ModelError

SIDE = 128
ROUNDS = 5


def drawn(name: str, variant: str) -> SRModel:
    card = models.card(name)
    scale = 4 if 4 in card.scales else card.scales[0]
    torch.manual_seed(0)
    model = models.create(name, scale=scale, channels=card.channels[0], variant=variant)
    for parameter in model.network.eval().requires_grad_(False).parameters():
        if parameter.ndim > 1 and not parameter.any():
            parameter.normal_(std=0.01)
    return model


def seconds(tiler: Tiler, lr: torch.Tensor) -> float:
    start = time.perf_counter()
    tiler(lr)
    return time.perf_counter() - start


def difference(model: SRModel, file_format: str) -> str:
    try:
        _, differences = graph(model, {}, file_format)  # type: ignore[arg-type]
    except ModelError as error:
        return f"no: {str(error)[:60]}"
    return f"{max(differences.values()):.0e}"


def ratio(model: SRModel, backend: str) -> str:
    ours, theirs = (Tiler(each, tile=SIDE) for each in (model, with_backend(model, backend)))
    lr = torch.rand(1, model.channels, SIDE, SIDE)
    seconds(ours, lr), seconds(theirs, lr)  # the first run allocates
    return f"{statistics.median(seconds(ours, lr) / seconds(theirs, lr) for _ in range(ROUNDS)):.2f}"


def main() -> None:
    trainable = [card for card in models.list_models() if card.trainable]
    names = sys.argv[1:] or [f"{card.name}:{card.variants[-1]}" for card in trainable]
    print("| network | ONNX | TorchScript | onnxruntime | openvino |\n|---|---|---|---|---|")
    for text in names:
        name, _, variant = text.partition(":")
        model = drawn(name, variant or models.card(name).variants[0])
        label = f"`{name}` {model.variant} x{model.scale}"
        if model.not_exported:
            print(f"| {label} | no: {model.not_exported} | | | |", flush=True)
            continue
        cells = [difference(model, file_format) for file_format in ("onnx", "torchscript")]
        cells += [ratio(model, backend) for backend in BACKENDS[1:]]
        print(f"| {label} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
