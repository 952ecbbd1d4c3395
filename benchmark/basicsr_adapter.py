"""BasicSR as a second opinion: its metrics, resize and networks, where the extra is installed.

basicsr 1.4.2 imports a torchvision module that no longer exists under that name; the shim for it lives here
and nowhere else. ``pip install "srbench[basicsr]"`` (Python 3.10 to 3.12, in a fresh environment: it brings
a second OpenCV).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srbench.errors import SrbenchError

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


def psnr(sr: NDArray[np.float64], hr: NDArray[np.float64]) -> float:
    """BasicSR's ``calculate_psnr`` of two grey images in [0, 255], uncut; dB, infinite when identical."""
    return float(load("basicsr.metrics").calculate_psnr(sr, hr, crop_border=0))


def ssim(sr: NDArray[np.float64], hr: NDArray[np.float64]) -> float:
    """BasicSR's ``calculate_ssim`` of two grey images in [0, 255], uncut."""
    return float(load("basicsr.metrics").calculate_ssim(sr, hr, crop_border=0))


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
        built: nn.Module = registry.get(name)(**options)
    except KeyError as error:
        raise SrbenchError(
            f"BasicSR has no network {name!r}. It has: {', '.join(sorted(registry.keys()))}."
        ) from error
    return built
