"""Whether a model restores images it cannot have stored as well as those it is scored on.

Each LR image is changed such that its truth changes with it: mirrored, turned by 180 degrees, or with noise
of one grey level. A network loses next to nothing, a look-up table keyed by the LR image all that it gained;
one that forgives a grey level still finds no mirrored image. What escapes is listed in docs/guards.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srbench.checks.base import CheckResult
from srbench.checks.memorisation import MEMORISATION
from srbench.datasets.degrade import Degradation
from srbench.utils.image import Pixels

PERTURBATIONS = {
    "mirrored": "mirrored",
    "turned": "turned by 180 degrees",
    "noisy": "with one grey level of noise more",
}
"""Name of each perturbation and how it is printed."""
FLIPS = {"mirrored": (1,), "turned": (0, 1)}
"""Axes that a perturbation reverses."""

LOST_DB = 1.0
"""Loss of PSNR against bicubic, mean over the images, that the lower end of its interval must exceed.
Measured losses of trained networks: docs/guards.md."""
LOST_ALONE_DB = 6.0
"""Loss of a single image that is too much whatever the others do."""
FEWEST = 5
"""Images below which an interval means nothing; a single loss may still be too large."""

CAP_DB = 50.0
"""PSNR beyond which one result is as good as another: an error of 0.8 grey levels, mostly of rounding."""
NOISE_GAIN = 3.0
"""What a network may make of added noise, in units of its mean square: sharpening amplifies noise. Where it
restores almost perfectly this is most of its error; bicubic stays below 1."""
NOISE_LEVELS = 2.0 / 3.0
"""Mean square of noise that is -1, 0 or 1 with equal probability, in squared grey levels."""

_RESAMPLES = 2000
_LOWER = 2.5

Scores = tuple[float, float, float, float]
"""PSNR of the model on the image and on the perturbed one, then the same two of bicubic, in dB."""


def perturbed_images(lr: NDArray[np.uint8], degradation: Degradation) -> Mapping[str, NDArray[np.uint8]]:
    """The changed LR images by name; the same call gives the same noise.

    All degradations commute with mirroring but those whose scan distortions have a direction: of them a
    mirrored LR image is none that the microscope could have recorded. Noise mirrored is noise as likely.

    Args:
        lr: ``(h, w)`` or ``(h, w, 3)`` uint8.
        degradation: how it was made.
    """
    # Drawn by the pixels themselves, so that no name or order matters.
    key = hashlib.sha256(np.ascontiguousarray(lr).tobytes()).digest()
    steps = np.random.default_rng(int.from_bytes(key[:8], "little")).integers(-1, 2, lr.shape)
    noisy = np.clip(lr.astype(np.int64) + steps, 0, 255).astype(np.uint8)
    if degradation.needs_position:
        return {"noisy": noisy}
    return {**{name: _flipped(lr, axes) for name, axes in FLIPS.items()}, "noisy": noisy}


def perturbed_reference(name: str, hr: Pixels) -> Pixels:
    """The HR image of a perturbation: mirrored or turned with it, else as it is."""
    return _flipped(hr, FLIPS[name]) if name in FLIPS else hr


def _flipped(pixels: NDArray[Any], axes: tuple[int, ...]) -> NDArray[Any]:
    return np.ascontiguousarray(np.flip(pixels, axes))


def judge(scores: Mapping[str, Sequence[Scores]]) -> CheckResult:
    """Whether the model loses on perturbed images what bicubic interpolation does not.

    Args:
        scores: for every name of :func:`perturbed_images` the PSNR of the images tested.
    """
    losses = {name: losses_of(name, rows) for name, rows in scores.items() if rows}
    if not losses:
        return CheckResult(MEMORISATION, "unchecked", "No changed image was super-resolved.")
    images = max(len(loss) for loss in losses.values())
    ordered = sorted(losses, key=lambda name: -float(losses[name].mean()))
    summaries = {
        name: f"{PERTURBATIONS[name]} the model loses {losses[name].mean():.2f} dB more than expected"
        for name in ordered
    }
    for name in ordered:
        if problem := _problem(losses[name]):
            return CheckResult(
                MEMORISATION,
                "failed",
                f"Of {images} images changed: {summaries[name]}{problem}. It does not restore these images, "
                "it remembers them.",
            )
    if images < FEWEST:
        detail = f"Only {images} images could be changed, {FEWEST} are needed; evaluate more of the split."
        return CheckResult(MEMORISATION, "unchecked", detail)
    detail = f"Of {images} images changed so that no memory helps: at worst {summaries[ordered[0]]}."
    return CheckResult(MEMORISATION, "passed", detail)


def losses_of(name: str, rows: Sequence[Scores]) -> NDArray[np.float64]:
    """What the model lost on each perturbed image, in dB, beyond what bicubic lost or the noise excuses."""
    plain, perturbed, bicubic, bicubic_perturbed = np.minimum(rows, CAP_DB).T
    excused = bicubic - bicubic_perturbed
    if name == "noisy":
        # By how much a result of this PSNR gets worse where the added noise passes, amplified.
        error = 10.0 ** (-plain / 10.0)
        excused = np.maximum(excused, 10.0 * np.log10(1.0 + NOISE_GAIN * NOISE_LEVELS / 255.0**2 / error))
    losses: NDArray[np.float64] = plain - perturbed - excused
    return losses


def _problem(loss: NDArray[np.float64]) -> str:
    """What is wrong with the losses on one perturbation; empty where nothing is."""
    alone = int((loss > LOST_ALONE_DB).sum())
    if alone:
        return f" ({alone} by more than {LOST_ALONE_DB:.0f} dB, the most {loss.max():.1f} dB)"
    if len(loss) < FEWEST:
        return ""
    drawn = np.random.default_rng(0).integers(0, len(loss), (_RESAMPLES, len(loss)))
    lower = float(np.percentile(loss[drawn].mean(axis=1), _LOWER))
    return f" (with 97.5 % certainty more than {lower:.2f} dB)" if lower > LOST_DB else ""
