"""The random streams networks and losses draw from (Python, numpy, torch, CUDA): seeded, kept, put back."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_streams(*entropy: int) -> None:
    """Seed all streams from numbers such as (seed, rank); different numbers give unrelated streams."""
    python, numpy, torch_seed = np.random.SeedSequence(list(entropy)).generate_state(3, np.uint64).tolist()
    random.seed(python)
    np.random.seed(numpy % 2**32)
    torch.manual_seed(torch_seed)


def capture() -> dict[str, Any]:
    """The state of all streams, made of tensors and plain values only (``weights_only`` loading)."""
    algorithm, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, internal, python_gauss = random.getstate()
    return {
        "python": [version, list(internal), python_gauss],
        "numpy": [algorithm, torch.from_numpy(np.asarray(keys, np.int64)), position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if _cuda_in_use() else None,
    }


def restore(state: Mapping[str, Any]) -> None:
    """Put back what :func:`capture` gave (CUDA's only where there is CUDA)."""
    version, internal, python_gauss = state["python"]
    random.setstate((version, tuple(internal), python_gauss))
    algorithm, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((algorithm, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


@contextmanager
def preserved() -> Iterator[None]:
    """Leave the caller's streams as they were."""
    before = capture()
    try:
        yield
    finally:
        restore(before)


def _cuda_in_use() -> bool:
    """Whether anything ran on CUDA; asking for its stream would start it in a run that stays on the CPU."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def repeatable(deterministic: bool, threads: int) -> Iterator[None]:
    """Set the switches inside, the caller's afterwards.

    Args:
        deterministic: choose deterministic kernels.
        threads: CPU threads of torch.
    """
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        torch.get_num_threads(),
    )
    if deterministic:
        os.environ.setdefault(_CUBLAS, ":4096:8")
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.backends.cudnn.benchmark = not deterministic
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        enabled, warn_only, benchmark, own_threads = before
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
        torch.set_num_threads(own_threads)


def sensible_threads(processes_here: int) -> int:
    """Torch's own choice (it honours ``OMP_NUM_THREADS``), shared between the processes of this machine."""
    if "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads()
    return max(1, torch.get_num_threads() // processes_here)
