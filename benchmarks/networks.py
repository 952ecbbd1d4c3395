"""How fast networks are beside BasicSR's: run it, it prints ratios (above 1 is faster than BasicSR).

``python benchmarks/networks.py [--device cuda] [--bf16] [--rounds N] [--threads N] [NAME ...]``
where basicsr is importable (extra ``basicsr``). Both networks have the same configuration; forward passes and
training steps (L1, backward, Adam) take turns in one process, and the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.metrics import basicsr as second_opinion
from srbench.models import create

SCALE = 4


@dataclass(frozen=True)
class Pair:
    """A model of srbench, BasicSR's network of the same configuration, and the LR side of the images."""

    model: str
    variant: str
    module: str
    network: str
    options: dict[str, Any]
    side: int


_SWIN: dict[str, Any] = {
    "upscale": SCALE,
    "in_chans": 3,
    "window_size": 8,
    "img_range": 1.0,
    "mlp_ratio": 2,
    "resi_connection": "1conv",
}
PAIRS = {
    "swinir-light": Pair(
        "swinir",
        "light",
        "swinir_arch",
        "SwinIR",
        {
            **_SWIN,
            "img_size": 64,
            "embed_dim": 60,
            "depths": [6] * 4,
            "num_heads": [6] * 4,
            "upsampler": "pixelshuffledirect",
        },
        64,
    ),
    "swinir-classical": Pair(
        "swinir",
        "classical",
        "swinir_arch",
        "SwinIR",
        {
            **_SWIN,
            "img_size": 48,
            "embed_dim": 180,
            "depths": [6] * 6,
            "num_heads": [6] * 6,
            "upsampler": "pixelshuffle",
        },
        48,
    ),
    "esrgan": Pair(
        "esrgan",
        "paper",
        "rrdbnet_arch",
        "RRDBNet",
        {
            "num_in_ch": 3,
            "num_out_ch": 3,
            "num_feat": 64,
            "num_block": 23,
            "num_grow_ch": 32,
            "scale": SCALE,
        },
        32,
    ),
    "edsr-full": Pair(
        "edsr",
        "full",
        "edsr_arch",
        "EDSR",
        {
            "num_in_ch": 3,
            "num_out_ch": 3,
            "num_feat": 256,
            "num_block": 32,
            "upscale": SCALE,
            "res_scale": 0.1,
            "img_range": 255.0,
        },
        32,
    ),
}


def networks(pair: Pair, device: str) -> tuple[nn.Module, nn.Module]:
    """Ours and theirs."""
    ours = create(pair.model, scale=SCALE, channels=3, variant=pair.variant).network
    module = second_opinion.load(f"basicsr.archs.{pair.module}")
    theirs: nn.Module = getattr(module, pair.network)(**pair.options)
    return ours.to(device), theirs.to(device)


def forward_pass(network: nn.Module, lr: Tensor, bf16: bool) -> Callable[[], None]:
    """One inference."""

    def run() -> None:
        network.eval()
        with torch.inference_mode(), torch.autocast(lr.device.type, torch.bfloat16, enabled=bf16):
            network(lr)

    return run


def training_step(network: nn.Module, lr: Tensor, hr: Tensor, bf16: bool) -> Callable[[], None]:
    """L1 loss, gradients, one step of Adam."""
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-6)

    def run() -> None:
        network.train()
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(lr.device.type, torch.bfloat16, enabled=bf16):
            sr = network(lr)
        F.l1_loss(sr.float(), hr).backward()
        optimiser.step()

    return run


def seconds(function: Callable[[], None], device: str) -> float:
    """Wall time of one call."""
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(ours: Callable[[], None], theirs: Callable[[], None], rounds: int, device: str) -> str:
    """Median times of both, run in turns, and how many times as fast ours is."""
    for function in (ours, theirs):
        function()
    times = [(seconds(ours, device), seconds(theirs, device)) for _ in range(rounds)]
    own, other = (statistics.median(column) for column in zip(*times, strict=True))
    return f"{own * 1e3:9.1f} {other * 1e3:11.1f} {other / own:6.2f}"


def main() -> None:
    """Print a line for each network and task."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=list(PAIRS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{'network':<18} {'task':<9} {'ours ms':>9} {'basicsr ms':>11} {'ratio':>6}")
    for name in options.names:
        pair = PAIRS[name]
        pictures = options.batch, 3, pair.side, pair.side
        lr = torch.rand(pictures, device=options.device)
        hr = F.interpolate(lr, scale_factor=SCALE)
        both = networks(pair, options.device)
        passes = [forward_pass(network, lr, options.bf16) for network in both]
        steps = [training_step(network, lr, hr, options.bf16) for network in both]
        print(f"{name:<18} {'forward':<9} {compare(*passes, options.rounds, options.device)}", flush=True)
        print(f"{name:<18} {'training':<9} {compare(*steps, options.rounds, options.device)}", flush=True)


if __name__ == "__main__":
    main()
