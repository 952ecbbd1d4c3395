"""Spectrum, edges, registration and maps on a CUDA device: what the CPU gives, up to the order of sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from srbench.evaluation.functional.detail_maps import hallucination_map
from srbench.evaluation.metrics import registry
from srbench.evaluation.scoring import measure

FAMILIES = ("spectrum", "edges", "curve")


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["blur", "swapped", "shift", "bicubic of noisy"])
def test_metrics_on_cuda_are_those_of_the_cpu(constructed: Any, name: str) -> None:
    here = constructed.case(name, pixel_size_nm=1.0)
    there = constructed.case(name, pixel_size_nm=1.0, device="cuda")
    for metric in registry.list_metrics():
        if metric.family in FAMILIES:
            (a, why), (b, why_there) = measure(metric, here), measure(metric, there)
            assert why == why_there, metric.name
            np.testing.assert_allclose(b, a, rtol=1e-6, atol=1e-9, equal_nan=True, err_msg=metric.name)


@pytest.mark.gpu
def test_maps_on_cuda_are_those_of_the_cpu(constructed: Any) -> None:
    sr, hr = constructed.tensor("swapped"), constructed.tensor("truth")
    there = hallucination_map(sr.cuda(), hr.cuda(), 4)
    assert there.is_cuda
    np.testing.assert_allclose(there.cpu(), hallucination_map(sr, hr, 4), rtol=1e-6, atol=1e-9)
