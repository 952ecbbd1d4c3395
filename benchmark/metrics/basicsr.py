"""BasicSR as a second opinion: its metrics, resize and networks, where the extra ``basicsr`` is installed.

basicsr 1.4.2 imports a torchvision module that no longer exists under that name; the shim for it is here.
``pip install "srbench[basicsr]"`` (Python 3.10 to 3.12, in a fresh environment: it brings a second OpenCV).
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srbench.metrics.registry import Case, MetricUnavailable, register_metric
from srbench.utils.errors import SrbenchError

if TYPE_CHECKING:
    from torch import nn

_MOVED = "torchvision.transforms.functional_tensor"
_MOVED_TO = "torchvision.transforms._functional_tensor"


def available() -> bool:
    """Whether the extra is installed."""
    return importlib.util.find_spec("basicsr") is not None


def load(module: str = "basicsr") -> ModuleType:
    """Import ``basicsr`` or one of its modules beside current torchvision.

    Raises:
        SrbenchError: not installed, or it does not import here; the message says what to type.
    """
    if not available():
        raise SrbenchError(
            "basicsr is not installed. In a fresh environment with Python 3.10 to 3.12: "
            "pip install 'srbench[basicsr]'."
        )
    sys.modules.setdefault(_MOVED, importlib.import_module(_MOVED_TO))
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SrbenchError(
            f"{module} does not import here: {error}. On Python 3.12: pip install setuptools."
        ) from error


def imresize(image: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """BasicSR's port of MATLAB's ``imresize`` (bicubic, antialiased) on an ``(H, W, C)`` image."""
    resized: NDArray[np.float64] = load("basicsr.utils.matlab_functions").imresize(image, factor)
    return resized


def network(name: str, **options: Any) -> nn.Module:
    """One of BasicSR's networks (``EDSR``, ``MSRResNet``, ``RRDBNet``, ``SwinIR``, ...) with its own options.

    Raises:
        SrbenchError: the registry of BasicSR has no such network.
    """
    load("basicsr.archs")
    registry = load("basicsr.utils.registry").ARCH_REGISTRY
    try:
        module: nn.Module = registry.get(name)(**options)
    except KeyError as error:
        raise SrbenchError(
            f"BasicSR has no network {name!r}. It has: {', '.join(sorted(registry.keys()))}."
        ) from error
    return module


@register_metric(
    title="PSNR (BasicSR)",
    direction="higher",
    unit="dB",
    explanation="The same as PSNR, computed by BasicSR's code: a check of ours.",
    family="fidelity",
    default=False,
)
def basicsr_psnr(case: Case) -> float:
    """``basicsr.metrics.calculate_psnr``; missing for identical images, where BasicSR gives infinity."""
    value = _basicsr_metric("calculate_psnr", case)
    if math.isinf(value):
        raise MetricUnavailable("BasicSR gives infinity for identical images.")
    return value


@register_metric(
    title="SSIM (BasicSR)",
    direction="higher",
    bounds=(-1.0, 1.0),
    explanation="The same as SSIM, computed by BasicSR's code: a check of ours.",
    family="fidelity",
    default=False,
)
def basicsr_ssim(case: Case) -> float:
    """``basicsr.metrics.calculate_ssim``."""
    return _basicsr_metric("calculate_ssim", case)


def _basicsr_metric(function: str, case: Case) -> float:
    """One of BasicSR's metrics on the 0..255 scale it expects, uncut."""
    if not available():
        raise MetricUnavailable(
            "basicsr is not installed: pip install 'srbench[basicsr]' in a fresh environment."
        )
    sr, hr = (plane * 255.0 / case.data_range for plane in (case.sr, case.hr))
    return float(getattr(load("basicsr.metrics"), function)(sr, hr, crop_border=0))
