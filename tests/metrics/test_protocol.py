"""Protocols: what they do to pixels, and ids that change with everything that changes a number."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from srbench.metrics import registry
from srbench.metrics.protocol import Protocol, default_for, named
from srbench.utils.errors import SrbenchError
from srbench.utils.image import Pixels, to_grey, to_uint8

STUDIO_GAIN_DB = 20 * math.log10(255 / 219)
GREY_IDS = {"sem-grey": "sem-grey-368eaae1", "matlab-y": "matlab-y-7a4ddabe"}


def images(seed: int = 0) -> tuple[Pixels, Pixels, Pixels]:
    generator = np.random.default_rng(seed)
    hr = generator.integers(0, 256, (48, 40)).astype(np.uint8)
    sr = np.clip(hr.astype(int) + generator.integers(-20, 21, hr.shape), 0, 255).astype(np.uint8)
    return sr, hr, hr[::4, ::4]


def value(metric: str, protocol: str, sr: Pixels, hr: Pixels, lr: Pixels) -> float:
    return registry.get(metric).compute(named(protocol).case(sr, hr, lr, 4))


@pytest.mark.parametrize("seed", range(3))
def test_matlab_luma_raises_psnr_by_exactly_the_ratio_of_ranges(seed: int) -> None:
    grey, studio = (value("psnr", name, *images(seed)) for name in ("sem-grey", "matlab-y"))
    assert studio - grey == pytest.approx(STUDIO_GAIN_DB, abs=1e-9)
    assert pytest.approx(1.3219, abs=5e-5) == STUDIO_GAIN_DB


def published_luma(rgb: Pixels) -> Any:
    """Y of BasicSR's ``rgb2ycbcr`` of 8-bit pixels, which MATLAB rounds; 16 to 235, unrounded."""
    return 16 + (65.481 * rgb[..., 0] + 128.553 * rgb[..., 1] + 24.966 * rgb[..., 2]) / 255


def colours(seed: int = 0, spread: int = 9) -> tuple[Pixels, Pixels, Pixels]:
    generator = np.random.default_rng(seed)
    hr = generator.integers(0, 256, (48, 40, 3)).astype(np.uint8)
    sr = np.clip(hr.astype(int) + generator.integers(-spread, spread + 1, hr.shape), 0, 255).astype(np.uint8)
    return sr, hr, hr[::4, ::4]


def test_matlab_luma_of_colour_is_the_published_formula() -> None:
    sr, hr, lr = colours()
    case = named("matlab-y").for_colour().case(sr, hr, lr, 4)
    for plane, pixels in ((case.full_sr, sr), (case.full_hr, hr), (case.lr, lr)):
        np.testing.assert_allclose(plane * 255, published_luma(pixels), atol=1e-10, rtol=0)
    error = (published_luma(sr) - published_luma(hr))[4:-4, 4:-4]
    published = 10 * math.log10(255**2 / np.mean(error**2))
    assert registry.get("psnr").compute(case) == pytest.approx(published, abs=1e-9)


def test_matlabs_rounding_of_luma_hardly_matters() -> None:
    sr, hr, lr = colours(spread=25)
    error = (np.round(published_luma(sr)) - np.round(published_luma(hr)))[4:-4, 4:-4]
    matlab = 10 * math.log10(255**2 / np.mean(error**2))
    ours = registry.get("psnr").compute(named("matlab-y").for_colour().case(sr, hr, lr, 4))
    assert 28 < ours < 30
    assert 0 < abs(matlab - ours) < 0.03


def test_colour_has_an_id_of_its_own_only_where_its_numbers_differ() -> None:
    assert named("matlab-y").for_colour().id != named("matlab-y").id
    assert named("sem-grey").for_colour() == named("sem-grey")
    # As stored in results that exist: what is computed of grey images has not changed.
    assert {name: named(name).id for name in GREY_IDS} == GREY_IDS


def test_leaving_touching_objects_whole_is_a_protocol_of_its_own() -> None:
    sr, hr, lr = images()
    mask = np.arange(hr.size).reshape(hr.shape).astype(np.uint16)
    whole, split = (named(name).case(sr, hr, lr, 4, mask=mask) for name in ("sem-grey-whole", "sem-grey"))
    assert split.split_touching and not whole.split_touching
    assert np.array_equal(whole.mask, mask[4:-4, 4:-4])
    assert named("sem-grey-whole").id.startswith("sem-grey-whole-")
    assert len({replace(named("sem-grey"), objects=how).id for how in ("split", "whole")}) == 2


def test_sixteen_bit_colour_is_rounded_channel_by_channel() -> None:
    sr, hr, lr = colours()
    colour = named("matlab-y").for_colour()
    wide = colour.case(sr.astype(np.uint16) * 257, hr.astype(np.uint16) * 257 // 2 * 2, lr, 4)
    assert np.array_equal(wide.full_hr, colour.case(sr, hr, lr, 4).full_hr)


def test_photographs_are_scored_as_in_published_tables() -> None:
    assert [default_for(kind) for kind in ("real", "synthetic", "user")] == ["sem-grey"] * 3
    assert default_for("photographs") == "matlab-y"


def test_three_equal_channels_give_what_one_channel_gives() -> None:
    sr, hr, lr = images()
    sr3, hr3 = (np.repeat(plane[..., None], 3, axis=2) for plane in (sr, hr))
    for protocol in GREY_IDS:
        for metric in ("psnr", "ssim"):
            assert value(metric, protocol, sr3, hr3, lr) == value(metric, protocol, sr, hr, lr)
            colour = named(protocol).for_colour().case(sr3, hr3, lr, 4)
            assert registry.get(metric).compute(colour) == value(metric, protocol, sr, hr, lr)


def test_sixteen_bit_pixels_are_rounded_to_eight() -> None:
    sr, hr, lr = images()
    wide_sr, wide_hr = (plane.astype(np.uint16) * 257 for plane in (sr, hr))
    assert value("psnr", "sem-grey", wide_sr, wide_hr, lr) == value("psnr", "sem-grey", sr, hr, lr)
    wide_hr[:] = np.minimum(wide_hr.astype(int) + 100, 65535)  # less than half a level of 8 bits
    assert np.array_equal(to_uint8(wide_hr)[hr < 255], hr[hr < 255])


def test_the_border_is_the_scale_on_every_side() -> None:
    sr, hr, lr = images()
    spoiled = sr.copy()
    spoiled[:4], spoiled[-4:], spoiled[:, :4], spoiled[:, -4:] = 0, 0, 0, 0
    assert value("psnr", "sem-grey", spoiled, hr, lr) == value("psnr", "sem-grey", sr, hr, lr)
    spoiled[4, 4] ^= 255
    assert value("psnr", "sem-grey", spoiled, hr, lr) != value("psnr", "sem-grey", sr, hr, lr)


def test_ids_are_readable_short_and_different() -> None:
    ids = {name: named(name).id for name in GREY_IDS}
    for name, protocol_id in ids.items():
        assert protocol_id.startswith(f"{name}-") and len(protocol_id) == len(name) + 9
    assert named("sem-grey").id == named("sem-grey").id


@pytest.mark.parametrize(
    "change",
    [
        {"luma": "studio"},
        {"data_range": 255.0},
        {"resize": "other@1"},
        {"metrics": ("psnr@2",)},
        {"name": "x"},
    ],
)
def test_the_id_changes_with_every_field(change: dict[str, object]) -> None:
    known = named("sem-grey")
    assert replace(known, **change).id != known.id  # type: ignore[arg-type]


def test_the_core_metric_versions_are_part_of_the_protocol() -> None:
    assert set(named("sem-grey").metrics) == {"psnr@1", "ssim@1", "lr_psnr@1"}


def test_an_unknown_protocol_names_the_near_miss() -> None:
    with pytest.raises(SrbenchError, match="'sem-grey'"):
        named("sem-gray")


def test_sizes_that_do_not_fit_are_refused_with_all_of_them() -> None:
    sr, hr, lr = images()
    with pytest.raises(SrbenchError, match=r"\(48, 40\).*\(47, 40\)"):
        Protocol("p").case(sr[:-1], hr, lr, 4)
    with pytest.raises(SrbenchError, match="border of 4"):
        Protocol("p").case(sr[:8], hr[:8], lr[:2], 4)


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(SrbenchError, match="round to uint8 first"):
        to_grey(np.zeros((4, 4)))  # type: ignore[arg-type]
