"""Every full-reference metric of the pyiqa package as ``pyiqa_<name>``, resolved when asked for.

The id of a metric holds its network and the version of pyiqa, so no table mixes two of them. Networks see the
grey image repeated over three channels, as most of pyiqa's metrics refuse one channel. Learned ones are
labelled perceptual, not evidence of structure; their weights must be on disk.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from typing import Any, Literal

from srbench import pyiqa_adapter
from srbench.errors import SrbenchError
from srbench.evaluation.learned import LABEL, grey_as_colour, one_number
from srbench.evaluation.metrics.registry import Case, Metric, MetricUnavailable, register_prefix

PREFIX = "pyiqa_"

FORMULAS: Mapping[str, str] = {
    "cw_ssim": "Agreement of local patterns that forgives small shifts (complex wavelets).",
    "fsim": "Agreement of edges and corners (phase congruency) with the reference.",
    "gmsd": "How unevenly edges lost or gained strength over the image.",
    "mad": "Visible errors where they are faint, likeness of appearance where they are strong.",
    "ms_ssim": "SSIM over five magnifications of the same image.",
    "nlpd": "Difference of local contrasts over several magnifications.",
    "psnr": "Size of the grey-level errors; stops at 80 dB.",
    "psnry": "Size of the grey-level errors; stops at 80 dB.",
    "ssim": "Agreement of local brightness, contrast and pattern.",
    "ssimc": "Agreement of local brightness, contrast and pattern.",
    "vif": "Share of the reference's visual information that survives (wavelet form).",
    "vsi": "Agreement of edges where the eye looks first.",
}
"""Metrics without learned weights, each with its sentence."""

BACKBONES: Mapping[str, str] = {
    "ckdn": "resnet50",
    "deepdc": "vgg19",
    "dists": "vgg16",
    "dmm": "vgg16",
}
"""Networks that pyiqa's own settings do not name."""

NET_SETTINGS = ("net", "version", "semantic_model_name", "model_name", "variant", "pretrained")


def resolve(name: str) -> Metric:
    """The metric with this name or stored id, ``pyiqa_dists`` or ``pyiqa_dists-vgg16-pyiqa0.1.16``.

    Where pyiqa is not installed nothing is known of a metric but its name, and it says what to type.

    Raises:
        SrbenchError: no full-reference metric of pyiqa has this name, or an id was asked for and pyiqa is not
            installed.
    """
    asked = name.removeprefix(PREFIX)
    if not pyiqa_adapter.available():
        if re.search(r"-pyiqa\d", asked):
            raise SrbenchError(f"{name} was computed by pyiqa, which is not installed here.")
        return _described(asked.removesuffix("-pyiqa"), {})
    known = pyiqa_adapter.settings()
    plain = asked if asked in known else _without_tag(asked, known)
    return _described(plain, pyiqa_adapter.settings_of(plain))


def _without_tag(asked: str, known: Mapping[str, Any]) -> str:
    """A stored id without network and version; longest first, as ``lpips`` begins ``lpips-vgg``."""
    stored = re.compile(r"-(?:.+-)?pyiqa[\d.]*\S*")
    names = sorted(known, key=len, reverse=True)
    return next(
        (one for one in names if asked.startswith(one) and stored.fullmatch(asked[len(one) :])), asked
    )


def _described(name: str, settings: Mapping[str, Any]) -> Metric:
    learned = name not in FORMULAS
    bounds = _bounds(settings)
    words = f"How alike the images look to the network of {name}; {LABEL}." if learned else FORMULAS[name]
    return Metric(
        name=PREFIX + name,
        title=f"{name.replace('_', '-').upper()} (pyiqa)",
        direction=_direction(settings),
        unit="dB" if name.startswith("psnr") else "",
        bounds=bounds,
        explanation=words,
        version=1,
        family="perceptual" if learned else "fidelity",
        default=False,
        compute=functools.partial(_compute, name, bounds),
        tag="-".join([*_net(name, settings), f"pyiqa{pyiqa_adapter.version()}"]),
        needs=functools.partial(problem, name),
    )


def problem(name: str) -> str:
    """Why this metric cannot be computed here: the file of weights and its place; empty when it can."""
    try:
        pyiqa_adapter.network(name)
    except SrbenchError as error:
        return str(error)
    return ""


def _compute(name: str, bounds: tuple[float, float], case: Case) -> float:
    sr, hr = (grey_as_colour(plane, case.data_range, case.device) for plane in (case.sr, case.hr))
    try:
        answer = pyiqa_adapter.network(name, case.device)(sr, hr)
    except SrbenchError as error:
        raise MetricUnavailable(str(error)) from error
    except (AssertionError, RuntimeError, ValueError) as error:
        raise MetricUnavailable(f"pyiqa {name} refuses this image: {error}") from error
    return one_number(answer, bounds, f"pyiqa {name}")


def _direction(settings: Mapping[str, Any]) -> Literal["higher", "lower", "none"]:
    """Which way is better by pyiqa's own word; none where it is not installed."""
    if not settings:
        return "none"
    return "lower" if settings.get("lower_better", False) else "higher"


def _bounds(settings: Mapping[str, Any]) -> tuple[float, float]:
    """The ends that pyiqa states without ``~``; a distance has none above, whatever it says there."""
    ends = re.fullmatch(r"(~?)(-?[\d.]+), (~?)(-?[\d.]*)", str(settings.get("score_range", "")))
    if ends is None:
        return -math.inf, math.inf
    low = -math.inf if ends[1] else float(ends[2])
    high = math.inf if ends[3] or not ends[4] or settings.get("lower_better") else float(ends[4])
    return low, high


def _net(name: str, settings: Mapping[str, Any]) -> list[str]:
    """The network behind it, as pyiqa's settings name it; not known where it is not installed."""
    if name in FORMULAS or not settings:
        return []
    options = settings.get("metric_opts", {})
    named = [str(options[key]) for key in NET_SETTINGS if isinstance(options.get(key), str)]
    if not named and name in BACKBONES:
        named = [BACKBONES[name]]
    return named


register_prefix(PREFIX, resolve)
