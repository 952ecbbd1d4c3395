"""What each metric sees and what it is blind to, on images whose errors are known by construction.

The ordering is that of the experiment behind the choice of metrics: mild blur, a shift by one pixel, every
particle one pixel larger, some particles invented and others deleted, texture with the true power at random
phases, interpolation, and a second noisy acquisition.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from srbench.metrics import registry
from srbench.metrics.fidelity import psnr, ssim

pytestmark = pytest.mark.slow

NAMES = ("blur", "shift", "dilated", "swapped", "liar", "bicubic", "second")
Table = dict[str, dict[str, float]]


@pytest.fixture(scope="module")
def table(constructed: Any) -> Table:
    """Metric by image, with bicubic of the noisy LR beside that of the clean one."""
    columns = (
        "frc_cutoff", "recovered_hf", "hallucinated_hf", "gained_hf", "psd_distance", "edge_f1",
        "edge_hallucinated", "edge_omitted", "edge_displacement", "edge_bias", "shift",
    )  # fmt: skip
    rows: Table = {}
    for name in (*NAMES, "truth", "bicubic of noisy"):
        case = constructed.case(name)
        rows[name] = {column: registry.get(column).compute(case) for column in columns}
        rows[name]["psnr"], rows[name]["ssim"] = psnr(case.sr, case.hr), ssim(case.sr, case.hr)
    return rows


def ordered(table: Table, metric: str, *names: str) -> None:
    values = [table[name][metric] for name in names]
    assert all(high > low for high, low in pairwise(values)), dict(zip(names, values, strict=True))


def test_the_truth_is_perfect(table: Table) -> None:
    truth = table["truth"]
    assert truth["frc_cutoff"] == pytest.approx(4.0)
    assert truth["recovered_hf"] == pytest.approx(1.0) and truth["gained_hf"] == pytest.approx(1.0)
    assert truth["hallucinated_hf"] == pytest.approx(0.0, abs=1e-9) and truth["psd_distance"] == 0.0
    assert truth["edge_f1"] == 1.0 and truth["edge_displacement"] == truth["shift"] == 0.0


def test_recovered_detail_falls_in_the_order_of_the_damage(table: Table) -> None:
    ordered(table, "recovered_hf", "truth", "blur", "swapped", "shift", "dilated", "bicubic", "liar")
    ordered(table, "recovered_hf", "second", "dilated", "bicubic of noisy")
    assert table["blur"]["recovered_hf"] > 0.9 and table["liar"]["recovered_hf"] < 0.05


def test_invented_detail_rises_in_the_order_of_the_damage(table: Table) -> None:
    ordered(table, "hallucinated_hf", "liar", "dilated", "shift", "swapped", "blur", "truth")
    assert table["liar"]["hallucinated_hf"] > 0.95 and table["blur"]["hallucinated_hf"] < 0.05
    assert table["bicubic of noisy"]["hallucinated_hf"] > 0.9


def test_only_the_gain_tells_an_empty_band_from_a_wrong_one(table: Table) -> None:
    """The share invented is high for interpolation, of next to nothing, and for the liar, of everything."""
    assert table["bicubic"]["hallucinated_hf"] > 0.5 and table["bicubic"]["gained_hf"] < 0.15
    assert table["liar"]["gained_hf"] == pytest.approx(1.0, abs=0.25)


def test_the_cut_off_orders_what_is_coherent(table: Table) -> None:
    ordered(table, "frc_cutoff", "blur", "shift", "dilated", "liar")
    ordered(table, "frc_cutoff", "second", "bicubic", "bicubic of noisy")
    assert table["bicubic"]["frc_cutoff"] == pytest.approx(1.0, abs=0.35)
    assert table["liar"]["frc_cutoff"] == pytest.approx(1.0, abs=0.1)


def test_ring_correlation_sees_a_shift(table: Table) -> None:
    assert table["shift"]["frc_cutoff"] < 0.6 * table["truth"]["frc_cutoff"]


def test_power_distance_is_blind_to_phases(table: Table) -> None:
    """The liar is as good as perfect, a faithful blur far worse, a shifted image perfect."""
    assert table["liar"]["psd_distance"] < 2.0 < 5.0 < table["blur"]["psd_distance"]
    assert table["shift"]["psd_distance"] < 0.2


def test_ssim_hardly_sees_wrong_particles_that_the_spectrum_and_the_edges_see(table: Table) -> None:
    assert abs(table["swapped"]["ssim"] - table["blur"]["ssim"]) < 0.03
    assert table["swapped"]["hallucinated_hf"] > 10 * table["blur"]["hallucinated_hf"]
    assert table["swapped"]["edge_hallucinated"] > 0.05 > table["blur"]["edge_hallucinated"]
    assert table["swapped"]["edge_omitted"] > 0.05 > table["blur"]["edge_omitted"]


def test_edges_are_blind_to_a_shift_that_registration_sees(table: Table) -> None:
    assert table["shift"]["edge_f1"] > 0.995
    assert table["shift"]["shift"] == pytest.approx(1.0, abs=0.02)
    assert all(table[name]["shift"] < 0.15 for name in NAMES if name != "shift")


def test_growth_is_measured_and_nothing_else_looks_like_growth(table: Table) -> None:
    assert table["dilated"]["edge_bias"] == pytest.approx(1.0, abs=0.06)
    assert table["dilated"]["edge_displacement"] == pytest.approx(1.0, abs=0.06)
    assert all(abs(table[name]["edge_bias"]) < 0.1 for name in ("blur", "shift", "swapped", "second"))


def test_displacement_does_not_see_invented_particles(table: Table) -> None:
    assert table["swapped"]["edge_displacement"] < 0.01


def test_edges_do_not_see_a_blur_that_detail_does(table: Table) -> None:
    assert table["blur"]["edge_f1"] > 0.97 and table["blur"]["gained_hf"] < 0.5


def test_edges_of_interpolated_noise_are_wrong(table: Table) -> None:
    ordered(table, "edge_f1", "blur", "swapped", "bicubic of noisy")


def test_edges_that_interpolation_loses_can_be_recovered(constructed: Any) -> None:
    """With an LR image blurred until small particles merge with the ground."""
    from scipy import ndimage

    lost = ndimage.gaussian_filter(constructed.lr, 1.5)
    compute = registry.get("edge_recovered").compute
    scores = []
    for name in ("truth", "swapped", "bicubic"):
        case = constructed.case(name)
        scores.append(compute(type(case)(case.sr, case.hr, case.full_sr, case.full_hr, lost, case.scale)))
    assert scores[0] == 1.0 and scores[0] > scores[1] > 0.5
    again = constructed.case("bicubic")
    enlarged = np.kron(lost, np.ones((4, 4)))
    cut = (slice(4, -4), slice(4, -4))
    itself = type(again)(enlarged[cut], again.hr, enlarged, again.full_hr, lost, 4)
    assert compute(itself) < 0.3
