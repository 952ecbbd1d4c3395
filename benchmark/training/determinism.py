"""Torch's global switches for repeatable runs, set for the length of a run and put back.

With ``deterministic`` on, a run repeats bit for bit on the same kind of machine with the same versions,
thread count and number of processes. It costs speed on CUDA (cuDNN may not search for its fastest kernels)
and needs ``CUBLAS_WORKSPACE_CONFIG``, which is set here if nothing on CUDA ran before. Operations without a
deterministic kernel run anyway; torch warns and names them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

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
