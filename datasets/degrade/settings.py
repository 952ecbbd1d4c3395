"""Names with settings: ``sem_pixel:dose=60,jitter=0.3@1``, parsed, checked and put into one form.

Two texts that mean the same give the same settings, so that scores of one degradation have one id.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from srbench.datasets.interface import DatasetError
from srbench.datasets.names import near_miss


@dataclass(frozen=True)
class Setting:
    """A number that a degradation can be given.

    Attributes:
        name: as typed.
        meaning: what it is, with its unit.
        default: its value where nothing is said; None where it then is drawn from the key of each image.
        low: smallest value.
        high: largest value.
        infinite: whether ``inf`` is allowed too.
        needs: another setting, without which this one has no effect and is refused.
    """

    name: str
    meaning: str
    default: float | None
    low: float
    high: float
    infinite: bool = False
    needs: str = ""

    @property
    def range(self) -> str:
        """``0 to 0.2``, for lists and errors."""
        return f"{self.low:g} to {self.high:g}" + (" or inf" if self.infinite else "")

    def read(self, owner: str, text: str) -> float:
        """The value that ``text`` means, to the six significant digits that an id shows.

        Raises:
            DatasetError: not a number, or out of range.
        """
        try:
            value = float(f"{float(text):g}")
        except ValueError:
            raise DatasetError(
                f"{owner}: expected a number for {self.name} ({self.range}), found {text!r}."
            ) from None
        if not (self.low <= value <= self.high or (self.infinite and value == math.inf)):
            raise DatasetError(
                f"{owner}: {self.name}={text} is out of range; expected {self.range} ({self.meaning})."
            )
        return value


def split(text: str) -> tuple[str, tuple[str, ...], str]:
    """Name, settings as typed, and version (empty where none is given) of ``name:a=1,b=2@version``."""
    stem, _, version = text.partition("@")
    name, colon, listed = stem.partition(":")
    return name.strip(), tuple(listed.split(",")) if colon else (), version.strip()


def parse(owner: str, typed: Sequence[str], known: Sequence[Setting]) -> dict[str, float]:
    """The settings that differ from their defaults, by name in alphabetical order.

    Args:
        owner: name of the degradation.
        typed: ``name=value`` each.
        known: the settings it has.

    Raises:
        DatasetError: unknown, repeated, not a number, out of range, or without effect.
    """
    by_name = {setting.name: setting for setting in known}
    given: dict[str, float] = {}
    for item in typed:
        name, equals, text = (part.strip() for part in item.partition("="))
        if not equals or name not in by_name:
            raise DatasetError(_unknown(owner, item, name, known))
        if name in given:
            raise DatasetError(f"{owner}: {name} is given twice; give it once.")
        given[name] = by_name[name].read(owner, text)
    differing = {name: given[name] for name in sorted(given) if given[name] != by_name[name].default}
    for name in differing:
        _check_effect(owner, by_name[name], differing, by_name)
    return differing


def completed(shown: Mapping[str, float], known: Sequence[Setting]) -> dict[str, float]:
    """All settings, those not shown at their defaults; without those that the key decides."""
    values = {setting.name: shown.get(setting.name, setting.default) for setting in known}
    return {name: value for name, value in values.items() if value is not None}


def _check_effect(
    owner: str, setting: Setting, given: Mapping[str, float], known: Mapping[str, Setting]
) -> None:
    if not setting.needs:
        return
    needed = known[setting.needs]
    if needed.infinite and given.get(needed.name) == math.inf:
        raise DatasetError(
            f"{owner}: {setting.name} has no effect with {needed.name}=inf, which is free of noise; leave it "
            "out."
        )
    if not needed.infinite and needed.name not in given:
        raise DatasetError(
            f"{owner}: {setting.name} has no effect without {needed.name}; give {needed.name} too "
            f"({needed.range}) or leave it out."
        )


def _unknown(owner: str, item: str, name: str, known: Sequence[Setting]) -> str:
    if not known:
        return f"{owner} takes no settings, found {item!r}; write {owner!r}."
    names = [setting.name for setting in known]
    if name in names or not name:
        return f"{owner}: expected settings as name=value, found {item!r}. Known: {', '.join(names)}."
    return f"{owner}: unknown setting {name!r}{near_miss(name, names)}. Known: {', '.join(names)}."
