"""Whether a model restores images it cannot have stored as well as those it is scored on.

Each LR image is changed such that its truth changes with it: mirrored, turned by 180 degrees, or with noise
of one grey level. A network loses next to nothing, a look-up table keyed by the LR image all that it gained.
A table that forgives a grey level (nearest neighbour among thumbnails) still finds no mirrored image.

What escapes: whoever trained on the test images themselves, with the flips that every training has, does as
well on the mirrored ones, and knows them all by heart. On synthetic scenes the twins catch it
(:mod:`srbench.checks.memorisation`), because its memory holds the phase of the lamellae; on micrographs
only the comparison of training and test images can. So do tables keyed by what neither mirroring nor noise
changes (the histogram), and gains through memory of less than ``LOST_DB``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srbench.checks.base import Finding
from srbench.datasets.degrade import Degradation
from srbench.utils.image import Pixels

GUARD = "nothing_remembered"
WORDS = {
    "mirrored": "mirrored",
    "turned": "turned by 180 degrees",
    "noisy": "with one grey level of noise more",
}
"""The probes and what is said of them."""

LOST_DB = 1.0
"""Loss of PSNR against bicubic, mean over the images, that the lower end of its interval must exceed. Of 31
trained networks (all models at x4, ten at x2, x3, x8), on 12 scenes of sem_synthetic:small and 8 micrographs
of sem_open, mirrored and turned images cost -0.08 to 0.19, noisy ones -0.02 to 0.34. A table loses 5."""
LOST_ALONE_DB = 6.0
"""Loss of a single image that is too much whatever the others do; the largest of those networks' was 0.81."""
FEWEST = 5
"""Images below which an interval means nothing; a single loss may still be too large."""

CAP_DB = 50.0
"""PSNR beyond which one result is as good as another: an error of 0.8 grey levels, mostly of rounding."""
NOISE_GAIN = 3.0
"""What a network may make of the noise of a probe, in units of its mean square: sharpening amplifies noise.
Where it restores almost perfectly this is most of its error; bicubic stays below 1."""
NOISE_LEVELS = 2.0 / 3.0
"""Mean square of noise that is -1, 0 or 1 with equal probability, in squared grey levels."""

_RESAMPLES = 2000
_LOWER = 2.5

Pixels8 = NDArray[np.uint8]
Scores = tuple[float, float, float, float]
"""PSNR of the model on the image and on its probe, then the same two of bicubic interpolation, in dB."""


def probe_images(lr: Pixels8, degradation: Degradation) -> Mapping[str, Pixels8]:
    """The changed LR images by name; the same call gives the same noise.

    All degradations commute with mirroring but those whose scan distortions have a direction: of them a
    mirrored LR image is none that the microscope could have recorded. Noise mirrored is noise as likely.

    Args:
        lr: ``(h, w)`` or ``(h, w, 3)`` uint8.
        degradation: how it was made.
    """
    noisy = {"noisy": _with_noise(lr)}
    if degradation.needs_position:
        return noisy
    return {"mirrored": _mirrored(lr), "turned": _turned(lr), **noisy}


def reference(name: str, hr: Pixels) -> Pixels:
    """The HR image of a probe: mirrored or turned with it, else as it is."""
    if name == "noisy":
        return hr
    return _mirrored(hr) if name == "mirrored" else _turned(hr)


def judge(scores: Mapping[str, Sequence[Scores]]) -> Finding:
    """Whether the model loses on probes what bicubic interpolation does not.

    Args:
        scores: for every name of :func:`probe_images` the PSNR of the images probed.
    """
    losses = {name: losses_of(name, rows) for name, rows in scores.items() if rows}
    if not losses:
        return Finding(GUARD, "unchecked", "No image could be probed; none was super-resolved.")
    images = max(len(loss) for loss in losses.values())
    ordered = sorted(losses, key=lambda name: -float(losses[name].mean()))
    for name in ordered:
        problem = _problem(losses[name])
        if problem:
            return Finding(
                GUARD,
                "failed",
                f"Of {images} images probed: {_seen(name, losses[name])}{problem}. It does not restore these "
                "images, it remembers them.",
            )
    if images < FEWEST:
        detail = f"Only {images} images could be probed, {FEWEST} are needed; evaluate more of the split."
        return Finding(GUARD, "unchecked", detail)
    told = _seen(ordered[0], losses[ordered[0]])
    return Finding(GUARD, "passed", f"Of {images} images changed so that no memory helps: at worst {told}.")


def _seen(name: str, loss: NDArray[np.float64]) -> str:
    return f"{WORDS[name]} the model loses {loss.mean():.2f} dB more than expected"


def losses_of(name: str, rows: Sequence[Scores]) -> NDArray[np.float64]:
    """What the model lost on each probe, in dB, beyond what bicubic lost or the noise excuses."""
    return np.array([_loss(name, *row) for row in rows])


def _loss(name: str, own: float, probed: float, bicubic: float, bicubic_probed: float) -> float:
    excused = min(bicubic, CAP_DB) - min(bicubic_probed, CAP_DB)
    if name == "noisy":
        excused = max(excused, _excuse_of_noise(min(own, CAP_DB)))
    return min(own, CAP_DB) - min(probed, CAP_DB) - excused


def _excuse_of_noise(psnr: float) -> float:
    """By how much a result of this PSNR gets worse where the noise of a probe passes, amplified."""
    error = 10.0 ** (-psnr / 10.0)
    return 10.0 * math.log10(1.0 + NOISE_GAIN * NOISE_LEVELS / 255.0**2 / error)


def _problem(loss: NDArray[np.float64]) -> str:
    """What is wrong with the losses on one probe; empty where nothing is."""
    alone = int((loss > LOST_ALONE_DB).sum())
    if alone:
        return f" ({alone} by more than {LOST_ALONE_DB:.0f} dB, the most {loss.max():.1f} dB)"
    if len(loss) >= FEWEST and (lower := _lower_end(loss)) > LOST_DB:
        return f" (with 97.5 % certainty more than {lower:.2f} dB)"
    return ""


def _lower_end(loss: NDArray[np.float64]) -> float:
    """Lower end of the bootstrap interval of the mean."""
    generator = np.random.default_rng(0)
    drawn = generator.integers(0, len(loss), (_RESAMPLES, len(loss)))
    return float(np.percentile(loss[drawn].mean(axis=1), _LOWER))


def _mirrored(pixels: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(pixels[:, ::-1])


def _turned(pixels: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(pixels[::-1, ::-1])


def _with_noise(lr: Pixels8) -> Pixels8:
    """One grey level up, down or none, drawn by the pixels themselves, so that no name or order matters."""
    key = hashlib.sha256(np.ascontiguousarray(lr).tobytes()).digest()
    steps = np.random.default_rng(int.from_bytes(key[:8], "little")).integers(-1, 2, lr.shape)
    noisy: Pixels8 = np.clip(lr.astype(np.int64) + steps, 0, 255).astype(np.uint8)
    return noisy
