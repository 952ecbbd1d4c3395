"""``sem_pixel`` fitted to recorded pairs: spot, dose, read noise, gain and offset that make LR from HR.

The spot is the one whose image of HR explains most of LR; noise, contrast and brightness come from flat
places (:mod:`srbench.statistics.noise_curve`). Intervals: groups drawn with replacement, with Student's
quantile, because a handful of them shows too little spread.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from srbench.datasets import degrade
from srbench.datasets.base import Micrograph, MicrographSet
from srbench.measuring.recordings import BANDS, NEGLIGIBLE, SPOTS, RecordedPair
from srbench.metrics import spectrum
from srbench.statistics.bootstrap import LEVEL, SEED, Floats
from srbench.statistics.noise_curve import (
    BINS,
    LARGEST_DOSE,
    NoiseLine,
    NoiseSums,
    asks_for_a_smaller_pedestal,
    fit_line,
    settings_of,
    without_negative_noise,
)
from srbench.utils.errors import DatasetError
from srbench.utils.progress import ProgressCallback, ProgressEvent, count_of, silent

FEW_GROUPS = 5
"""Groups below which an interval rests on too few to be believed."""
SAMPLES = 400
NAME = "sem_pixel"
_STEP = 0.0025
_CORRELATED = 0.05
_DISPLACED = 0.05
# Ratio of explained power to noise below which the two have nothing in common.
_CONVINCING = 25.0
_LEVELS = 8


@dataclass(frozen=True)
class FittedSetting:
    """A setting of ``sem_pixel`` as the pairs have it.

    Attributes:
        name: as typed.
        value: NaN where it cannot be told.
        low: lower end of its 95 % interval, NaN where there is none.
        high: upper end.
        why: why it cannot be told, or how it was chosen; else empty.
    """

    name: str
    value: float
    low: float
    high: float
    why: str = ""

    @property
    def meaning(self) -> str:
        """What it is, with its unit."""
        return _setting(self.name).meaning


@dataclass(frozen=True)
class NoiseLevel:
    """Noise at one grey level of LR: standard deviations, of the grey scale, clipped as LR is."""

    grey: float
    pixels: int
    measured: float
    fitted: float


@dataclass(frozen=True)
class DetailBand:
    """Spatial frequencies of LR up to a share of its Nyquist frequency.

    Attributes:
        up_to: the share.
        agreement: Fourier ring correlation of the recorded LR and HR as the spot sees it.
        fitted: the same of synthetic LR by the fitted degradation.
        power: power of the recorded LR over that of the synthetic one.
    """

    up_to: float
    agreement: float
    fitted: float
    power: float


@dataclass(frozen=True)
class FittedDegradation:
    """What makes the LR of pairs from their references.

    Attributes:
        dataset: one spelling.
        scale: of the pairs.
        n_images: pairs that were used.
        n_groups: independent groups of them.
        settings: spot, dose, read, pedestal, gain, offset.
        degradation: as it can be typed after ``--degradation``; empty where a setting cannot be told.
        noise: by grey level, dark to bright.
        detail: by spatial frequency, coarse to fine; empty without ``degradation``.
        along: correlation of the noise of neighbours along a line; ``sem_pixel`` makes none.
        across: of neighbours in adjacent lines.
        remarks: what limits the meaning of all of it.
        left_out: image to why it was not used.
    """

    dataset: str
    scale: int
    n_images: int
    n_groups: int
    settings: tuple[FittedSetting, ...]
    degradation: str
    noise: tuple[NoiseLevel, ...]
    detail: tuple[DetailBand, ...]
    along: float
    across: float
    remarks: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


def fit_degradation(
    micrographs: MicrographSet,
    images: Sequence[Micrograph],
    *,
    pedestal: float = 0.15,
    progress: ProgressCallback = silent,
) -> FittedDegradation:
    """Fit ``sem_pixel`` to recorded pairs.

    Args:
        micrographs: a set that holds LR as recorded.
        images: those of its images to use.
        pedestal: share of the full signal that is shown as black. Noise cannot tell it from read noise; a
            smaller one is fitted where the noise of dark pixels asks for it.
        progress: told of every pair, three times.

    Raises:
        DatasetError: there is no recorded LR, or no pair can be used.
    """
    scale = micrographs.recorded_scale
    if scale is None:
        raise DatasetError(
            f"{micrographs.name} has no LR that was recorded. Give a set of pairs: kriss, or your own fast "
            "and slow scans as pairs:/path."
        )
    pairs = [RecordedPair(micrographs, image, scale) for image in images]
    left_out: dict[str, str] = {}
    groups = sorted({image.group for image in images})
    spots = np.zeros((len(groups), 2, len(SPOTS)))
    for done, pair in enumerate(pairs, start=1):
        if reason := pair.unusable():
            left_out[pair.image.id] = reason
        else:
            spots[groups.index(pair.image.group)] += pair.spot_sums()
        progress(ProgressEvent("spot", done, len(pairs), "pairs"))
    pairs = [pair for pair in pairs if pair.image.id not in left_out]
    if not pairs:
        listed = "".join(f"\n  {name}: {why}" for name, why in list(left_out.items())[:5])
        raise DatasetError(
            f"{micrographs.name}: none of {count_of(len(images), 'pair')} can be used; expected LR and "
            f"references with grey levels between black and white.{listed}"
        )
    used = [groups.index(name) for name in sorted({pair.image.group for pair in pairs})]
    draws = _draws(len(used))
    noise_of_lr = float(np.mean([pair.noise_of_lr for pair in pairs]))
    displaced = float(np.median([pair.displaced for pair in pairs]))
    spot = _fit_spot(spots[used], draws, noise_of_lr, displaced)
    sums = np.zeros((len(groups), len(fields(NoiseSums)), BINS))
    products = np.zeros(3)
    for done, pair in enumerate(pairs, start=1):
        part, neighbours = pair.noise_sums(spot.value if math.isfinite(spot.value) else SPOTS[0])
        sums[groups.index(pair.image.group)] += part.stacked()
        products += neighbours
        progress(ProgressEvent("noise", done, len(pairs), "pairs"))
    rounding = 0.0 if max(pair.image.bits for pair in pairs) > 8 else spectrum.ROUNDING
    line = fit_line(sums[used], draws, pedestal, rounding)
    if line is None:
        why = "too few grey levels of LR lie between black and white"
        others = [_unknown(name, why) for name in ("dose", "read", "pedestal", "gain", "offset")]
    else:
        others = [*_fit_noise(line, pedestal, len(used), rounding), *_fit_contrast(line, len(used))]
    settings = (spot, *others)
    typed = "" if any(math.isnan(setting.value) for setting in settings) else _typed(settings)
    along, across = (products[1:] / products[0]).tolist() if products[0] > 0.0 else (math.nan, math.nan)
    return FittedDegradation(
        dataset=micrographs.name,
        scale=scale,
        n_images=len(pairs),
        n_groups=len(used),
        settings=settings,
        degradation=typed,
        noise=_levels(line) if line else (),
        detail=_detail(pairs, typed, progress) if typed else (),
        along=along,
        across=across,
        remarks=tuple(_remarks(pairs, len(used), displaced, along, across)),
        left_out=left_out,
    )


def _draws(groups: int) -> Floats:
    """``(S, groups)`` how often each resample holds each group; no resample of a single one."""
    draw = np.random.default_rng(SEED)
    counts = draw.multinomial(groups, np.full(groups, 1.0 / groups), size=SAMPLES if groups > 1 else 0)
    return counts.astype(np.float64)


def _ends(value: float, replicates: Floats, least: float, groups: int) -> tuple[float, float]:
    """Interval about a value by the spread of its replicates; NaN without any.

    Args:
        value: of all groups.
        replicates: of resampled ones.
        least: standard error by the scatter of pixels alone: a handful of groups may agree by chance.
        groups: how many.
    """
    from scipy.special import stdtrit

    if not len(replicates):
        return math.nan, math.nan
    # Drawing with replacement shows (n - 1) / n of the variance.
    spread = float(replicates.std()) * math.sqrt(groups / (groups - 1.0))
    reach = float(stdtrit(groups - 1, 0.5 + LEVEL / 2.0)) * max(spread, least)
    return value - reach, value + reach


def _fit_spot(sums: Floats, draws: Floats, noise: float, displaced: float) -> FittedSetting:
    """The spot that explains most of LR.

    With products C and squares A, a spot explains ``C^2 / A`` of the squares of LR, at the gain ``C / A``.

    Args:
        sums: ``(G, 2, S)`` C and A of each group, for each of ``SPOTS``.
        draws: ``(D, G)`` how often each resample holds each group.
        noise: variance of the noise of LR.
        displaced: root mean square of the shifts that registration left, LR pixels; they blur the products
            as a spot of this size would, half of its square along each axis.
    """
    from scipy.interpolate import CubicSpline

    fine = np.arange(SPOTS[0], SPOTS[-1] + _STEP / 2.0, _STEP)
    between = CubicSpline(SPOTS, np.eye(len(SPOTS)))(fine)

    def explained(weights: Floats) -> Floats:
        product, square = np.moveaxis(np.tensordot(weights, sums, 1) @ between.T, 1, 0)
        common = (product > 0.0) & (square > 0.0)
        return np.asarray(np.divide(product**2, square, out=np.zeros_like(square), where=common))

    (curve,) = explained(np.ones((1, len(sums))))
    best = int(curve.argmax())
    value = float(fine[best])
    # Where twice the logarithm of the likelihood falls by that of two standard errors.
    likely = fine[curve >= curve[best] - 4.0 * noise]
    error = float(likely[-1] - likely[0]) / 4.0
    if curve[best] < _CONVINCING * max(noise, 1e-12):
        return _unknown("spot", "LR and reference have no detail in common that stands out of the noise")
    if best == len(fine) - 1:
        return _unknown("spot", f"it is larger than {SPOTS[-1]:g} LR pixels, the largest that is tried")
    if error > max(0.15 * value, 0.07):
        return _unknown("spot", "the reference has too little fine detail to tell it")
    ends = _ends(value, fine[explained(draws).argmax(axis=1)], error, len(sums))
    value, low, high = (
        math.sqrt(max(max(size, 0.0) ** 2 - displaced**2 / 2.0, SPOTS[0] ** 2)) for size in (value, *ends)
    )
    return FittedSetting("spot", value, low, min(high, SPOTS[-1]))


def _fit_noise(line: NoiseLine, pedestal: float, groups: int, rounding: float) -> list[FittedSetting]:
    """Dose, read noise and pedestal, each with its interval or why it cannot be told."""
    slope, error = float(line.values[1]), math.sqrt(max(line.covariance[1, 1], 0.0))
    level, grey = (float(np.average(values, weights=line.pixels)) for values in (line.variance, line.grey))
    steepest = max(slope + 2.0 * error, 1.0 / LARGEST_DOSE)
    fitted = asks_for_a_smaller_pedestal(line, pedestal)
    central = line.values[None] if fitted else without_negative_noise(line.values[None], line, pedestal)
    by_chance = np.random.default_rng(SEED).multivariate_normal(line.values, line.covariance, SAMPLES)
    again, chance = (settings_of(lines, pedestal, held=not fitted) for lines in (line.replicates, by_chance))
    ((dose, read_variance, share),) = settings_of(central, pedestal, held=not fitted).tolist()
    held = FittedSetting("pedestal", share, math.nan, math.nan, "held: on the noise it acts as read does")
    if level < 2.0 * rounding:
        why = "LR scatters no more than its rounding"
        return [
            FittedSetting("dose", math.inf, 1.0 / (steepest * (1.0 - share)), math.inf, why),
            FittedSetting("read", 0.0, math.nan, math.nan, why),
            held,
        ]
    if error > 0.25 * slope and steepest * grey >= 0.1 * level:
        why = "noise differs too little between the grey levels there are"
        return [_unknown(name, why) for name in ("dose", "read", "pedestal")]
    low, high = _ends(math.log(dose), np.log(again[:, 0]), float(np.log(chance[:, 0]).std()), groups)
    counted = FittedSetting("dose", dose, math.exp(low), math.exp(high))
    if dose > LARGEST_DOSE:
        counted = FittedSetting("dose", LARGEST_DOSE, min(math.exp(low), LARGEST_DOSE), math.inf)
    elif dose < _setting("dose").low:
        counted = _unknown("dose", f"it is {dose:.2g}, less than {NAME} takes")
    elif steepest * grey < 0.1 * level:
        why = "noise does not grow with the grey level: the lower end or more"
        counted = FittedSetting("dose", LARGEST_DOSE, 1.0 / (steepest * (1.0 - share)), math.inf, why)
    if fitted:
        ends = _ends(share, again[:, 2], float(chance[:, 2].std()), groups)
        why = "fitted: dark pixels have less noise than the usual one gives"
        return [
            counted,
            FittedSetting(
                "read", 0.0, math.nan, math.nan, "the pedestal accounts for all noise of dark pixels"
            ),
            FittedSetting("pedestal", share, *ends, why),
        ]
    ends = _ends(max(read_variance, 0.0), again[:, 1], float(chance[:, 1].std()), groups)
    read = math.sqrt(max(read_variance, 0.0))
    if read > _setting("read").high:
        return [counted, _unknown("read", f"it is {read:.2g}, more than {NAME} takes"), held]
    low, high = (math.sqrt(max(end, 0.0)) for end in ends)
    return [counted, FittedSetting("read", read, low, high), held]


def _fit_contrast(line: NoiseLine, groups: int) -> list[FittedSetting]:
    """Gain and offset, each with its interval or why it cannot be told."""
    gain, offset = line.values[2:].tolist()
    why = ""
    if line.covariance[2, 2] > (0.1 * gain) ** 2:
        why = "flat places have too little contrast to tell gain from offset"
    elif gain <= 0.0:
        why = "bright in one is dark in the other: the contrast is inverted"
    elif not (
        _setting("gain").low <= gain <= _setting("gain").high and abs(offset) <= _setting("offset").high
    ):
        why = f"gain {gain:.3g} and offset {offset:.3g} are more than {NAME} takes"
    if why:
        return [_unknown("gain", why), _unknown("offset", why)]
    errors = np.sqrt(np.diag(line.covariance)).tolist()
    return [
        FittedSetting(name, value, *_ends(value, line.replicates[:, at], errors[at], groups))
        for name, value, at in (("gain", gain, 2), ("offset", offset, 3))
    ]


def _unknown(name: str, why: str) -> FittedSetting:
    return FittedSetting(name, math.nan, math.nan, math.nan, why)


def _setting(name: str) -> degrade.Setting:
    card = next(card for card in degrade.cards() if card.name == NAME)
    return next(setting for setting in card.settings if setting.name == name)


def _typed(settings: Sequence[FittedSetting]) -> str:
    """The degradation as it is typed, to the digits that matter."""
    values = {setting.name: setting.value for setting in settings}
    texts = {name: f"{value:.3g}" for name, value in values.items()}
    texts |= {"gain": f"{values['gain']:.4g}"}
    texts |= {name: f"{round(values[name], 4):g}" for name in ("read", "pedestal", "offset")}
    if math.isinf(values["dose"]):
        del texts["read"], texts["pedestal"]
    listed = ",".join(f"{name}={text}" for name, text in texts.items())
    return degrade.get(f"{NAME}:{listed}").id.partition("@")[0]


def _levels(line: NoiseLine) -> tuple[NoiseLevel, ...]:
    order = np.argsort(line.grey)
    levels = []
    for part in np.array_split(order, min(_LEVELS, len(order))):
        grey, measured, fitted = (
            float(np.average(values[part], weights=line.pixels[part]))
            for values in (line.grey, line.variance, line.fitted)
        )
        pixels = int(line.pixels[part].sum())
        levels.append(NoiseLevel(grey, pixels, math.sqrt(max(measured, 0.0)), math.sqrt(max(fitted, 0.0))))
    return tuple(levels)


def _detail(pairs: Sequence[RecordedPair], typed: str, progress: ProgressCallback) -> tuple[DetailBand, ...]:
    made_by = degrade.get(typed)
    total = np.zeros((2, 3, BANDS))
    for done, pair in enumerate(pairs, start=1):
        if min(pair.image.height, pair.image.width) // pair.scale >= spectrum.SMALLEST:
            total += pair.band_sums(made_by, made_by.settings["spot"])
        progress(ProgressEvent("check", done, len(pairs), "pairs"))
    if not total.any():
        return ()
    agreement, fitted = total[:, 0] / np.sqrt(total[:, 1] * total[:, 2])
    power = total[0, 1] / total[1, 1]
    return tuple(
        DetailBand((band + 1) / BANDS, float(agreement[band]), float(fitted[band]), float(power[band]))
        for band in range(BANDS)
    )


def _remarks(
    pairs: Sequence[RecordedPair], groups: int, displaced: float, along: float, across: float
) -> Iterator[str]:
    if groups < 2:
        yield "one group of fields: nothing shows how others would differ, so there are no intervals"
    elif groups < FEW_GROUPS:
        yield f"{groups} groups of fields are few: an interval is only as good as their spread is typical"
    if displaced > _DISPLACED:
        yield f"registration left {displaced:.2g} LR px in a pair (median), whose blur was taken off the spot"
    saturated = float(np.mean([pair.saturated for pair in pairs]))
    if saturated > 0.01:
        yield f"{saturated:.0%} of the pixels were left out: the reference is black or white there"
    doubtful = float(np.mean([pair.doubtful for pair in pairs]))
    if doubtful > NEGLIGIBLE:
        yield (
            f"the noise of the references cannot be told from fine detail: up to {doubtful:.0%} of what is "
            "called noise of LR may be theirs. Second scans of the references would tell"
        )
    of_hr = sum(pair.noise_of_hr for pair in pairs) / max(sum(pair.noise_of_lr for pair in pairs), 1e-12)
    if of_hr > NEGLIGIBLE:
        yield f"the references are noisy too: {of_hr:.0%} of the variance of LR a pixel, which was taken off"
    if along - across > _CORRELATED:
        yield (
            f"noise of neighbours along a line correlates by {along:.2f}, across lines by {across:.2f}: the "
            f"detector is slower than the scan. The noise that {NAME} makes is independent from pixel to "
            "pixel, and easier to take out"
        )
