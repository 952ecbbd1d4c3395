"""PSNR, SSIM and LR-PSNR against closed forms and independent implementations."""

from __future__ import annotations

import math
import pkgutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import srbench.metrics
from srbench import metrics
from srbench.metrics import registry
from srbench.metrics.fidelity import CAP_DB, psnr, ssim
from srbench.metrics.protocol import named
from srbench.metrics.registry import Case, MetricUnavailable, register_metric
from srbench.utils.errors import SrbenchError
from srbench.utils.image import Plane


def pair(height: int = 64, width: int = 51, noise: float = 12.0, seed: int = 0) -> tuple[Plane, Plane]:
    generator = np.random.default_rng(seed)
    smooth = np.add.outer(np.sin(np.arange(height) / 5), np.cos(np.arange(width) / 7)) * 50 + 120
    hr = np.clip(smooth + generator.normal(0, 8, (height, width)), 0, 255).round()
    sr = np.clip(hr + generator.normal(0, noise, hr.shape), 0, 255).round()
    return sr / 255.0, hr / 255.0


def case_of(sr: Plane, hr: Plane) -> Case:
    return Case(sr=sr, hr=hr, full_sr=sr, full_hr=hr, lr=hr[::2, ::2], scale=2)


@pytest.mark.slow
@given(error=st.floats(1e-4, 1.0))
def test_psnr_of_a_constant_error_is_its_logarithm(error: float) -> None:
    hr = np.zeros((9, 7))
    assert psnr(hr + error, hr) == pytest.approx(-20 * math.log10(error), abs=1e-9)


@pytest.mark.parametrize("noise", [1.0, 12.0, 60.0])
def test_psnr_equals_skimage(noise: float) -> None:
    sr, hr = pair(noise=noise)
    assert psnr(sr, hr) == pytest.approx(peak_signal_noise_ratio(hr, sr, data_range=1.0), abs=1e-9)


def test_psnr_of_identical_images_is_finite_and_the_largest() -> None:
    _, hr = pair()
    one_level_in_one_pixel = hr.copy()
    one_level_in_one_pixel[0, 0] += 1 / 255
    assert psnr(hr, hr) == CAP_DB
    assert psnr(one_level_in_one_pixel, hr) < CAP_DB
    assert math.isfinite(np.mean([psnr(hr, hr), psnr(one_level_in_one_pixel, hr)]))


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(11, 60), width=st.integers(11, 60), noise=st.floats(0.5, 80), seed=st.integers(0, 99)
)
def test_ssim_equals_skimage_with_a_gaussian_window(height: int, width: int, noise: float, seed: int) -> None:
    sr, hr = pair(height, width, noise, seed)
    _, whole = structural_similarity(
        hr, sr, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    inside = whole[5 : height - 5, 5 : width - 5].mean()  # skimage pads; only whole windows count
    assert ssim(sr, hr) == pytest.approx(inside, abs=1e-9)


def test_ssim_of_flat_images_is_the_luminance_term() -> None:
    a, b, c1 = 0.3, 0.6, 0.01**2
    expected = (2 * a * b + c1) / (a * a + b * b + c1)
    assert ssim(np.full((20, 20), a), np.full((20, 20), b)) == pytest.approx(expected, abs=1e-9)


def test_ssim_is_one_for_identical_images_and_symmetric() -> None:
    sr, hr = pair()
    assert ssim(hr, hr) == pytest.approx(1.0, abs=1e-12)
    assert ssim(sr, hr) == pytest.approx(ssim(hr, sr), abs=1e-12)


def test_ssim_of_an_image_smaller_than_its_window_says_so() -> None:
    with pytest.raises(MetricUnavailable, match=r"11 x 11.*10 x 30"):
        ssim(np.zeros((10, 30)), np.zeros((10, 30)))


def test_neither_metric_changes_its_input() -> None:
    sr, hr = pair()
    before = sr.copy(), hr.copy()
    psnr(sr, hr)
    ssim(sr, hr)
    assert np.array_equal(sr, before[0]) and np.array_equal(hr, before[1])


def test_lr_psnr_compares_the_degraded_result_with_the_lr_image() -> None:
    generator = np.random.default_rng(0)
    sr = generator.random((16, 16))
    lr = sr[::2, ::2] + 0.1
    case = Case(sr=sr, hr=sr, full_sr=sr, full_hr=sr, lr=lr, scale=2, degrade=lambda plane: plane[::2, ::2])
    assert registry.get("lr_psnr").compute(case) == pytest.approx(20.0, abs=1e-9)
    with pytest.raises(MetricUnavailable, match="degradation"):
        registry.get("lr_psnr").compute(case_of(sr, sr))


def test_nearest_enlargement_is_perfectly_consistent_with_binning() -> None:
    from srbench.datasets import degrade
    from srbench.datasets.lr_images import lr_image

    hr = np.random.default_rng(1).integers(0, 256, (24, 24)).astype(np.uint8)
    area = degrade.get("area")
    lr = lr_image(hr, area, 4)
    sr = lr.repeat(4, 0).repeat(4, 1)

    def binned(plane: Plane) -> Plane:
        return plane.reshape(6, 4, 6, 4).mean(axis=(1, 3))

    case = named("sem-grey").case(sr, hr, lr, 4, degrade=binned)
    assert registry.get("lr_psnr").compute(case) == CAP_DB


def test_metrics_are_found_by_name_and_by_stored_id() -> None:
    metric = registry.get("psnr")
    assert (metric.id, metric.direction, metric.unit) == ("psnr", "higher", "dB")
    assert registry.get(registry.get("lpips").id).name == "lpips"


def test_an_unknown_metric_names_the_near_miss() -> None:
    with pytest.raises(SrbenchError, match="'psnr'"):
        registry.get("pnsr")


def test_a_name_cannot_be_taken_by_another_file() -> None:
    def psnr(case: Case) -> float:
        return 0.0

    registry.get("psnr")
    with pytest.raises(SrbenchError, match="registered twice"):
        register_metric(title="Mine", direction="higher", explanation="")(psnr)
    assert registry.get("psnr").title == "PSNR"


def test_every_metric_says_what_a_reader_must_know() -> None:
    listed = registry.list_metrics()
    assert [metric.name for metric in listed][:2] == ["psnr", "ssim"]
    for metric in listed:
        assert metric.title and metric.explanation.endswith("."), metric.name
        assert metric.direction in ("higher", "lower", "none")
        assert metric.bounds[0] < metric.bounds[1]


def test_another_version_has_another_id() -> None:
    from dataclasses import replace

    assert replace(registry.get("psnr"), version=2).id == "psnr@2"
    assert registry.get("lpips").id == "lpips-alex-0.1"


def test_ids_are_listed_in_printing_order_whatever_their_version() -> None:
    ids = ["psnr", "edge_f1", "plugin", "lpips-alex-0.1", "ssim", "mask_dice@7"]
    in_order = ["psnr", "ssim", "edge_f1", "mask_dice@7", "lpips-alex-0.1", "plugin"]
    assert registry.sorted_ids(ids) == in_order


def test_cost_columns_are_described_but_not_computed_from_images() -> None:
    sr, hr = pair()
    for name in ("params", "gmacs_per_mpx", "seconds_per_mpx", "peak_mb_per_mpx"):
        metric = registry.get(name)
        assert metric.direction == "lower" and not metric.per_image and not metric.default
        with pytest.raises(MetricUnavailable):
            metric.compute(case_of(sr, hr))


# The notebook's names


def test_every_name_of_the_package_is_there_and_none_is_that_of_a_file() -> None:
    assert dir(metrics) == sorted(metrics.__all__)
    assert all(callable(getattr(metrics, name)) for name in metrics.__all__)
    assert not set(metrics.__all__) & {file.name for file in pkgutil.iter_modules(metrics.__path__)}
    with pytest.raises(AttributeError, match="pnsr"):
        metrics.pnsr  # noqa: B018


@pytest.mark.slow
def test_nothing_heavy_is_imported_for_the_names() -> None:
    code = """
import sys
import srbench
for name in srbench.metrics.__all__:
    getattr(srbench.metrics, name)
heavy = {"torch", "scipy", "skimage", "cv2", "pandas"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ssim_and_luma_of_arrays_in_a_notebook() -> None:
    colour = np.random.default_rng(0).random((2, 40, 50, 3))
    sr, hr = (srbench.metrics.luma(*np.moveaxis(image, -1, 0)) for image in colour)
    _, whole = structural_similarity(
        hr, sr, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    found = srbench.metrics.ssim(sr, hr, data_range=1.0)
    assert found == pytest.approx(whole[5:-5, 5:-5].mean(), abs=1e-9)
    assert srbench.metrics.gmsd(hr, hr) == pytest.approx(0.0, abs=1e-9)
