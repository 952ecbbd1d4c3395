"""Detail held to noisy recordings: how near to what the noise-free truth says, and who shares noise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from helpers.drawn_scenes import discs_apart, draw_discs
from srbench.metrics import registry
from srbench.metrics.registry import Case, MetricUnavailable
from srbench.metrics.spectrum import detail_of_rows, detail_of_two, reference_of, ring_sums, windowed_spectrum
from srbench.utils.image import Plane

HF = ("recovered_hf", "hallucinated_hf", "gained_hf")


def texture(seed: int, sigma: float, side: tuple[int, int] = (160, 192)) -> Plane:
    """Structure that a beam has blurred, standard deviation 1."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=side), sigma, mode="wrap")
    return field / field.std()


def white(seed: int, side: tuple[int, int] = (160, 192)) -> Plane:
    return np.random.default_rng(1000 + seed).normal(size=side)


def slow_detector(noise: Plane) -> Plane:
    """Noise correlated along the rows, of the same variance."""
    kernel = np.array([0.2, 0.5, 1.0, 0.5, 0.2])
    return ndimage.convolve1d(noise, kernel / np.sqrt((kernel**2).sum()), axis=1, mode="wrap")


def power(image: Plane) -> Plane:
    spectrum = windowed_spectrum(image)
    return ring_sums(spectrum, spectrum, image.shape[1]).power_a


def rows_of(recording: Plane, reference: Plane | None = None) -> Any:
    spectrum = windowed_spectrum(recording if reference is None else reference)
    sums = ring_sums(spectrum, spectrum, recording.shape[1])
    return detail_of_rows(recording, sums.layout, sums.power_b)


@pytest.mark.parametrize("colour", [slow_detector, lambda noise: noise], ids=["slow detector", "white"])
def test_power_of_the_detail_is_found_beneath_the_noise(colour: Any) -> None:
    """Mean over recordings, in the rings of which about a half is noise, within 5 %."""
    of_two, of_rows, true = [], [], []
    for seed in range(12):
        truth = texture(seed, 1.5)
        first, second = (truth + 0.3 * colour(white(2 * seed + n)) for n in (0, 1))
        sums = ring_sums(windowed_spectrum(first), windowed_spectrum(second), truth.shape[1])
        of_two.append(detail_of_two(sums).power)
        of_rows.append(rows_of(first).power)
        true.append(power(truth))
    band = slice(20, 45)  # cycles per pixel 0.125 to 0.28
    assert np.mean(of_two, 0)[band].sum() == pytest.approx(np.mean(true, 0)[band].sum(), rel=0.05)
    assert np.mean(of_rows, 0)[band].sum() == pytest.approx(np.mean(true, 0)[band].sum(), rel=0.05)
    assert np.abs(np.mean(of_rows, 0)[60:70].sum()) < 0.05 * power(0.3 * white(0))[60:70].sum()


def test_rings_of_noise_alone_are_left_out() -> None:
    truth = texture(3, 2.0)
    first, second = truth + 0.3 * white(0), truth + 0.3 * white(1)
    sums = ring_sums(windowed_spectrum(first), windowed_spectrum(second), truth.shape[1])
    for detail in (detail_of_two(sums), rows_of(first)):
        assert detail.shown[1:30].all() and not detail.shown[50:].any()


def test_rows_that_hold_more_than_noise_are_refused() -> None:
    with pytest.raises(MetricUnavailable, match="splitting its rows"):
        rows_of(texture(0, 0.8) + 0.002 * white(0))


def test_a_resampled_reference_is_judged_by_the_recording_it_was_made_from() -> None:
    """Half a pixel of order 3 halves the noise at 0.4 cycles per pixel: its own rows say nothing any more."""
    truth = texture(5, 1.5)
    recorded = truth + 0.3 * white(0)
    moved = ndimage.shift(recorded, (0.5, 0.5), order=3, mode="wrap")
    with pytest.raises(MetricUnavailable, match="resampled"):
        rows_of(moved)
    found = rows_of(recorded, moved).power
    true = power(ndimage.shift(truth, (0.5, 0.5), order=3, mode="wrap"))
    assert found[20:45].sum() == pytest.approx(true[20:45].sum(), rel=0.1)


def case_of(sr: Plane, hr: Plane, scale: int = 2, lr: Plane | None = None, **known: Any) -> Case:
    full = np.pad(sr, scale), np.pad(hr, scale)
    return Case(sr, hr, *full, np.pad(hr, scale)[::scale, ::scale] if lr is None else lr, scale, **known)


def values(case: Case) -> list[float]:
    return [registry.get(name).compute(case) for name in HF]


@pytest.mark.parametrize(
    ("recorded", "sr", "expected"),
    [(False, "other", "second"), (True, "other", "both"), (True, "hr", "second"), (True, "second", "hr")],
)
def test_no_result_is_held_to_noise_of_its_own(recorded: bool, sr: str, expected: str) -> None:
    """LR made from HR has the noise of HR; a row that is a recording is held to the other one."""
    truth = texture(0, 1.0)
    planes = {"hr": truth + 0.2 * white(0), "second": truth + 0.2 * white(1), "other": truth}
    case = case_of(planes[sr], planes["hr"], second=planes["second"], lr_recorded=recorded)
    assert reference_of(case) == (expected, "second")


def test_noise_of_lr_that_came_from_hr_is_invented_detail() -> None:
    """A filtered copy of HR: against the noise-free truth a known share of its detail is noise."""
    truth = texture(1, 0.8)
    hr, second = truth + 0.5 * white(0), truth + 0.5 * white(1)
    sr = ndimage.gaussian_filter(hr, 0.5, mode="wrap")
    known = values(case_of(sr, truth, clean=True))
    assert known[1] > 0.2
    assert values(case_of(sr, hr, second=second)) == pytest.approx(known, abs=0.06)


def test_a_single_recording_needs_an_lr_image_of_its_own() -> None:
    truth = texture(1, 1.5)
    case = case_of(truth, truth + 0.3 * white(0))
    with pytest.raises(MetricUnavailable, match="recorded by itself"):
        reference_of(case)
    assert reference_of(replace(case, lr_recorded=True, cache={})) == ("hr", "rows")


def test_another_contrast_of_the_second_recording_changes_nothing() -> None:
    truth = texture(2, 1.0)
    hr, second, sr = truth + 0.2 * white(0), truth + 0.2 * white(1), ndimage.gaussian_filter(truth, 0.7)
    for recorded in (False, True):
        both = (second, 0.8 * second + 0.1)
        same, weaker = (values(case_of(sr, hr, second=plane, lr_recorded=recorded)) for plane in both)
        assert weaker == pytest.approx(same, rel=0.02)


def test_at_magnification_one_a_filter_recovers_nothing_and_sharpening_invents() -> None:
    """No linear filter makes LR agree better with the truth in a ring; all it changes is the amount."""
    truth = texture(4, 2.0)
    lr = np.pad(truth + 1.0 * white(7), 1)
    results = []
    for sigma in (0.0, 0.7, 1.2):
        sr = ndimage.gaussian_filter(lr, sigma)[1:-1, 1:-1]
        case = case_of(sr, truth + 0.1 * white(0), 1, lr, second=truth + 0.1 * white(1), lr_recorded=True)
        results.append(values(case))
    recovered, invented, gained = np.transpose(results)
    assert recovered == pytest.approx(recovered[0], abs=0.03) and recovered[0] < 0.3
    assert invented[0] > 0.9 and gained[0] > gained[1] > gained[2]


def scene(number: int) -> Plane:
    """Particles with texture, seen by a beam of 1 px, 8-bit levels in [0, 1]."""
    generator = np.random.default_rng(number)
    discs = discs_apart(generator, 14, 192, lambda _: generator.uniform(4, 14), margin=2, gap=2)
    drawn = draw_discs(list(discs), 192, bright=0.7) * (1.0 + 0.1 * texture(number, 1.0, (192, 192)))
    return np.floor(ndimage.gaussian_filter(drawn, 1.0) * 255.0 + 0.5).clip(0, 255) / 255.0


def test_a_clean_and_a_noisy_recording_make_a_reference() -> None:
    """Noise of the second recording, twenty times that of HR in power, is not taken for invention."""
    errors = []
    for number in range(6):
        truth, generator = scene(number), np.random.default_rng(900 + number)
        hr, second = (generator.poisson(truth * dose) / dose for dose in (2000.0, 100.0))
        sr = ndimage.gaussian_filter(hr, 1.0)
        found, known = values(case_of(sr, hr, 4, second=second)), values(case_of(sr, truth, 4, clean=True))
        errors.append(np.subtract(found, known))
    assert np.abs(np.mean(errors, axis=0)).max() < 0.03


@pytest.mark.slow
@pytest.mark.parametrize("dose", [150.0, 1000.0])
def test_noisy_references_say_on_scenes_what_the_truth_says(dose: float) -> None:
    """Errors of R_hf, H_hf and log G_hf over 20 scenes, each blurred and with invented texture."""
    errors: dict[str, list[list[float]]] = {}
    for number in range(20):
        truth, generator = scene(number), np.random.default_rng(500 + number)
        hr, second = (generator.poisson(truth * dose) / dose for _ in "ab")
        references: dict[str, dict[str, Any]] = {
            "two": {"second": second, "lr_recorded": True},
            "two, LR of one": {"second": second},
            "rows": {"lr_recorded": True},
        }
        invented = 0.03 * texture(100 + number, 1.5, truth.shape)
        for name, reference in references.items():
            for texture_of_its_own in (0.0, invented):
                source = hr if name == "two, LR of one" else truth
                sr = ndimage.gaussian_filter(source, 1.0) + texture_of_its_own
                found = values(case_of(sr, hr, 4, **reference))
                known = values(case_of(sr, truth, 4, clean=True))
                apart = [found[0] - known[0], found[1] - known[1], np.log(found[2] / known[2])]
                errors.setdefault(name, []).append(apart)
    for name, rows in errors.items():
        # Noise that came through LR is invented at frequencies too where a noisy reference shows nothing.
        largest = (0.04, 0.06, 0.06) if name == "two, LR of one" else (0.015, 0.015, 0.06)
        assert (np.abs(np.mean(rows, 0)) < largest).all(), (name, np.mean(rows, 0))
        assert (np.std(rows, 0) < (0.03, 0.03, 0.07)).all(), (name, np.std(rows, 0))
