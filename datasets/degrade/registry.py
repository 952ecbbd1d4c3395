"""The degradations there are, and how one is made from its name and settings."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from srbench.datasets.base import RECORDED
from srbench.datasets.degrade.base import (
    Degradation,
    LrPosition,
    Noise,
    Operator,
    Setting,
    parse_settings,
    quantise,
    split_name,
    with_defaults,
)
from srbench.datasets.degrade.noise import DoseNoise
from srbench.datasets.degrade.sampling import (
    Charging,
    Contrast,
    Scan,
    ScannedSpot,
    Shrink,
    Spot,
    legacy_bicubic,
    unchanged,
)
from srbench.utils.errors import DatasetError
from srbench.utils.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Parts:
    """What a degradation with certain settings consists of, see :class:`Degradation`."""

    operator: Operator
    reach: int
    noise: Noise | None = None
    needs_position: bool = False


@dataclass(frozen=True)
class DegradationCard:
    """What is known of a degradation before its settings are chosen.

    Attributes:
        name: as typed.
        version: changes with the numbers.
        summary: one sentence.
        settings: what can be set, with ranges and defaults.
        scales: the scales it is defined for; None for every one.
        build: makes its parts from all settings.
    """

    name: str
    version: int
    summary: str
    build: Callable[[Mapping[str, float]], Parts] = field(repr=False)
    settings: tuple[Setting, ...] = ()
    scales: tuple[int, ...] | None = None


def get(name: str) -> Degradation:
    """The degradation called ``name``, with settings or without, or with this id.

    ``bicubic``, ``area@1``, ``sem_pixel:dose=20,jitter=0.3`` and ``sem_pixel:dose=20,jitter=0.3@1`` are
    understood; the same degradation is the same object, however it is written.

    Raises:
        DatasetError: nothing has this name or version, or a setting is unknown or out of range; the message
            lists what there is.
    """
    plain, typed, version = split_name(name)
    card = DEGRADATIONS.get(plain)
    degradation = _create(plain, tuple(parse_settings(plain, typed, card.settings).items()))
    if version and version != str(degradation.version):
        raise DatasetError(
            f"This srbench makes {degradation.id}, not {name}: LR of another version has other pixels. "
            f"Use {degradation.id.partition('@')[0]!r}, or the srbench that made {name}."
        )
    return degradation


def names() -> list[str]:
    """All degradation names, the default first."""
    return [card.name for card in _CARDS]


def cards() -> list[DegradationCard]:
    """All degradations, the default first, with what can be set: for lists and documentation."""
    return list(_CARDS)


def check_task(degradation: Degradation, scale: int) -> None:
    """Refuse a degradation that is not defined at this scale, or that gives the HR image itself.

    Raises:
        DatasetError: says what to type instead.
    """
    if not _is_defined(degradation, scale):
        offered = " or ".join(f"--scale {number}" for number in degradation.scales or ())
        raise DatasetError(
            f"{degradation.name} is not defined at scale {scale}. Type {offered}, or {_instead(scale)}."
        )
    if not (degradation.recorded or _changes_images(degradation, scale)):
        raise DatasetError(
            f"{degradation.id} at scale {scale} gives the HR image itself as LR: nothing is to be restored. "
            f"Type a larger --scale, or {_instead(scale)}."
        )


def _instead(scale: int) -> str:
    degradations = [get(name) for name in names() if name != RECORDED]
    fit = [way.name for way in degradations if _is_defined(way, scale) and _changes_images(way, scale)]
    return f"--degradation with one of: {', '.join(fit)}" if fit else "choose another degradation"


def _is_defined(degradation: Degradation, scale: int) -> bool:
    return degradation.scales is None or scale in degradation.scales


def _changes_images(degradation: Degradation, scale: int) -> bool:
    """Whether the 8-bit LR is anything but HR; without magnification and noise a busy image is tried."""
    if scale > 1 or degradation.stochastic:
        return True
    import torch

    probe = (torch.arange(64, dtype=torch.float64) * 37 % 64 * 4 / 255).reshape(1, 1, 8, 8)
    return not torch.equal(quantise(degradation(probe, scale)), quantise(probe))


@functools.lru_cache(maxsize=256)
def _create(name: str, changed: tuple[tuple[str, float], ...]) -> Degradation:
    card = DEGRADATIONS.get(name)
    values = with_defaults(dict(changed), card.settings)
    parts = card.build(values)
    return Degradation(
        name=name,
        version=card.version,
        summary=card.summary,
        reach=parts.reach,
        operator=parts.operator,
        noise=parts.noise,
        settings=values,
        changed=dict(changed),
        needs_position=parts.needs_position,
        scales=card.scales,
    )


def _fixed(operator: Operator, reach: int) -> Callable[[Mapping[str, float]], Parts]:
    return lambda values: Parts(operator, reach)


def _noise(values: Mapping[str, float]) -> Noise | None:
    if math.isinf(values["dose"]):
        return None
    dose, dose_to = values["dose"], values.get("dose_to")
    if dose_to is not None and dose_to <= dose:
        raise DatasetError(
            f"dose_to={dose_to:g} is the end of a range that begins at dose={dose:g}; give more."
        )
    return DoseNoise(dose, values["read"], values["pedestal"], dose_to)


def _scanned_spot(values: Mapping[str, float]) -> Parts:
    operator = ScannedSpot(
        Spot(values["spot"], values["astigmatism"]),
        values.get("angle"),
        Scan(values["jitter"], values["drift"], values["vibration"]),
        Charging(values["charging"], values["tau"]) if values["charging"] else None,
    )
    return Parts(_shown(operator, values), operator.reach, _noise(values), operator.needs_position)


def _dose_only(values: Mapping[str, float]) -> Parts:
    return Parts(_shown(unchanged, values), 0, _noise(values))


def _shown(optics: Operator, values: Mapping[str, float]) -> Operator:
    """The optics at the contrast of the fast scan; bit for bit the optics alone where it is that of HR."""
    gain, offset = values["gain"], values["offset"]
    return optics if (gain, offset) == (1.0, 0.0) else Contrast(optics, gain, offset)


def _recorded(hr: Tensor, scale: int, position: LrPosition | None) -> Tensor:
    """An LR image that was recorded cannot be made."""
    del hr, scale, position
    raise DatasetError(
        "Recorded LR is not made from HR but read from a dataset of pairs; choose another degradation."
    )


_DOSE = (
    Setting("dose", "electrons counted in an LR pixel of full signal", 60.0, 1.0, 1e5, infinite=True),
    Setting("read", "standard deviation of the electronics, of the grey scale", 0.01, 0.0, 0.2, needs="dose"),
    Setting(
        "pedestal",
        "share of the full signal that is shown as black; below 0 no signal at all is shown as grey",
        0.15,
        -1.0,
        0.9,
        needs="dose",
    ),
    Setting(
        "dose_to",
        "end of a range: the dose is then drawn log-uniformly from dose to it, from each image's key",
        None,
        1.0,
        1e5,
        needs="dose",
    ),
)
_CONTRAST = (
    Setting("gain", "contrast of LR over that of HR", 1.0, 0.1, 10.0),
    Setting("offset", "added to all of LR after gain, of the grey scale", 0.0, -1.0, 1.0),
)
_SCAN = (
    Setting("jitter", "standard deviation of each line's displacement, LR pixels", 0.0, 0.0, 2.0),
    Setting("drift", "way of the specimen from the first line to the last, LR pixels", 0.0, 0.0, 8.0),
    Setting("vibration", "largest displacement of a line by vibration, LR pixels", 0.0, 0.0, 2.0),
    Setting("charging", "share of the charge that darkens what is scanned next", 0.0, 0.0, 0.5),
    Setting("tau", "decay length of the charge, LR pixels", 5.0, 1.0, 20.0, needs="charging"),
    Setting("astigmatism", "long axis of the spot over its short axis", 1.0, 1.0, 3.0),
    Setting(
        "angle",
        "of the long axis, degrees from columns towards rows; from each image's key where not given",
        None,
        0.0,
        180.0,
        needs="astigmatism",
    ),
)


def _scanned_settings(spot: float) -> tuple[Setting, ...]:
    meaning = "standard deviation of the beam spot along its short axis, LR pixels"
    return (*_DOSE, Setting("spot", meaning, spot, 0.1, 3.0), *_CONTRAST, *_SCAN)


# The cubic kernel reaches 2 LR pixels from the centre of an LR pixel, so 1.5 beyond its edge; OpenCV's, which
# is not stretched, 2 HR pixels: half an LR pixel beyond its edge at scale 2, and no further at any other.
_CARDS = (
    DegradationCard(
        "bicubic",
        1,
        "MATLAB imresize, antialiased, a = -0.5: the convention of the SR literature",
        _fixed(Shrink("bicubic"), 2),
    ),
    DegradationCard("area", 1, "mean over scale x scale pixels: detector binning", _fixed(Shrink("area"), 0)),
    DegradationCard(
        "bicubic_legacy",
        1,
        "bicubic, rounded to 8 bits after each axis, border replicated: the LR files of Set5 and Set14",
        _fixed(legacy_bicubic, 2),
    ),
    DegradationCard(
        "cv2_cubic",
        1,
        "OpenCV INTER_CUBIC, NOT antialiased, a = -0.75, as the authors of CSM-SR; not MATLAB's bicubic",
        _fixed(Shrink("cv2_cubic"), 1),
    ),
    DegradationCard(
        "sem_pixel",
        1,
        "sharp beam spot point-sampled at the LR pixels (aliased), counted electrons, read noise",
        _scanned_spot,
        _scanned_settings(0.35),
    ),
    DegradationCard(
        "sem_defocus",
        1,
        "defocused beam spot point-sampled at the LR pixels, counted electrons, read noise",
        _scanned_spot,
        _scanned_settings(0.6),
    ),
    DegradationCard(
        "sem_lowdose",
        1,
        "the HR pixels at a low dose: counted electrons and read noise, scale 1 only",
        _dose_only,
        (*_DOSE, *_CONTRAST),
        (1,),
    ),
    DegradationCard(
        RECORDED,
        1,
        "the LR image or fast scan as recorded beside HR, in data sets of pairs alone (their default)",
        lambda values: Parts(_recorded, 0, needs_position=True),
    ),
)

DEGRADATIONS: Registry[DegradationCard] = Registry("degradation", error=DatasetError)
for _card in _CARDS:
    DEGRADATIONS.register(_card.name, _card, __name__)
