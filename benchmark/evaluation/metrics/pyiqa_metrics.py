"""Metrics of the pyiqa package, for those whose use its non-commercial licence allows (extra ``pyiqa``).

Computed on the grey image repeated over three channels, as pyiqa's metrics expect colour. Learned ones need
weights that pyiqa keeps in torch's hub folder; where they are missing and cannot be had, the score is missing
with pyiqa's own words. Labelled perceptual: no evidence that a structure is real.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
from typing import Any

from srbench.evaluation.metrics.registry import Case, MetricUnavailable, register_metric

_NOT_INSTALLED = "pyiqa is not installed: pip install 'srbench[pyiqa]' (licence: PolyForm-Noncommercial)."


@register_metric(
    title="DISTS (pyiqa)",
    direction="lower",
    explanation="How alike the textures look to a network trained on photographs; not evidence of structure.",
    family="perceptual",
    default=False,
    tag="pyiqa",
)
def pyiqa_dists(case: Case) -> float:
    """DISTS (Ding et al. 2020) as pyiqa computes it."""
    return _score("dists", case)


@register_metric(
    title="FSIM (pyiqa)",
    direction="higher",
    bounds=(0.0, 1.0),
    explanation="Agreement of edges and corners (phase congruency) with the reference; needs no weights.",
    family="fidelity",
    default=False,
    tag="pyiqa",
)
def pyiqa_fsim(case: Case) -> float:
    """FSIM (Zhang et al. 2011) as pyiqa computes it."""
    return _score("fsim", case)


@register_metric(
    title="VIF (pyiqa)",
    direction="higher",
    bounds=(0.0, float("inf")),
    explanation="Share of the reference's visual information that survives (wavelet form); needs no weights.",
    family="fidelity",
    default=False,
    tag="pyiqa",
)
def pyiqa_vif(case: Case) -> float:
    """VIF (Sheikh and Bovik 2006) as pyiqa computes it; not the pixel-domain VIFp of other packages."""
    return _score("vif", case)


def _score(name: str, case: Case) -> float:
    import torch

    network = _network(name)
    sr, hr = (
        torch.from_numpy(plane / case.data_range).float().expand(1, 3, -1, -1).contiguous()
        for plane in (case.sr, case.hr)
    )
    try:
        with torch.no_grad():
            return float(network(sr, hr))
    except (AssertionError, RuntimeError) as error:
        raise MetricUnavailable(f"pyiqa {name} refuses this image: {error}") from error


@functools.cache
def _network(name: str) -> Any:
    """The metric, built once a process; the hub is asked at most once, without its retries."""
    if importlib.util.find_spec("pyiqa") is None:
        raise MetricUnavailable(_NOT_INSTALLED)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import pyiqa

    try:
        return pyiqa.create_metric(name, device="cpu")
    except OSError as error:
        version = importlib.metadata.version("pyiqa")
        raise MetricUnavailable(f"pyiqa {version} cannot get the weights of {name}: {error}") from error
