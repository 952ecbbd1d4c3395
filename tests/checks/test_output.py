"""What damage of the output is found, and what honest output of every kind is let pass."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from srbench import models
from srbench.checks import CheckResult
from srbench.checks.output import (
    COMB,
    OFF_GREY,
    TINTED,
    Comb,
    OutputCheck,
    channel_spread,
    comb,
    quantisation_table,
    result_for_bad_output,
    result_for_spread,
)
from srbench.evaluation import worker
from srbench.evaluation.messages import WorkerJob

Pixels8 = NDArray[np.uint8]
Scenes = tuple[tuple[Pixels8, Pixels8], ...]
Change = Callable[..., Pixels8]


def slow(*values: object) -> list[Any]:
    """Values of a parameter for the full run only."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


@pytest.fixture(scope="module")
def images(scenes: Scenes) -> list[Pixels8]:
    return [hr for hr, _ in scenes[::2]]


def examined(
    images: list[tuple[Pixels8, Pixels8, Pixels8]], scale: int = 4, colour: bool = False
) -> OutputCheck:
    check = OutputCheck(scale, colour, bars=not colour)
    for number, (sr, hr, lr) in enumerate(images):
        check.add(f"image {number}", sr, hr, lr)
    return check


def lossless(
    images: list[tuple[Pixels8, Pixels8, Pixels8]], scale: int = 4, colour: bool = False
) -> CheckResult:
    return examined(images, scale, colour).results()[0]


def photograph(seed: int, side: int = 96) -> Pixels8:
    """Smooth patches of colour with texture, as different in red, green and blue as a photograph."""
    generator = np.random.default_rng(seed)
    small = generator.integers(20, 236, (side // 16, side // 16, 3), dtype=np.uint8)
    large = np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)).astype(float)
    texture = generator.normal(0, 6, (side, side, 1))
    return np.clip(large + texture, 1, 254).astype(np.uint8)


# --- JPEG ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [10, 25, 50, 75, 90, 95, 100])
def test_tables_are_those_that_pillow_writes(quality: int) -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(file, "JPEG", quality=quality)
    file.seek(0)
    # Pillow gives the table row by row (it undoes the zigzag).
    written = Image.open(file).quantization[0]  # type: ignore[attr-defined]
    assert quantisation_table(quality).ravel().tolist() == list(written)


@pytest.mark.parametrize("quality", [75, 95, *slow(30, 50, 85, 90)])
@pytest.mark.parametrize("kernel", ["bicubic", *slow("lanczos")])
def test_a_jpeg_is_found_and_its_quality_told(
    kernel: str, quality: int, images: list[Pixels8], to_lr: Change, enlarge: Change, through_jpeg: Change
) -> None:
    given = [(through_jpeg(enlarge(to_lr(hr), 4, kernel), quality), hr, to_lr(hr)) for hr in images]
    strengths = [comb(sr, hr) for sr, hr, _ in given]
    if quality == 75:
        assert min(one.strength for one in strengths) > 0.8
    assert abs(np.median([one.quality for one in strengths]) - quality) <= 1
    found = lossless(given)
    assert (found.status, "went through JPEG" in found.detail) == ("failed", True)


@pytest.mark.parametrize("kernel", ["nearest", "lanczos", *slow("bilinear", "bicubic")])
@pytest.mark.parametrize("scale", [4, *slow(2, 3, 8)])
def test_interpolations_have_no_comb(
    kernel: str, scale: int, images: list[Pixels8], to_lr: Change, enlarge: Change
) -> None:
    given = [(enlarge(to_lr(hr, scale), scale, kernel), hr, to_lr(hr, scale)) for hr in images]
    assert max(comb(sr, hr).strength for sr, hr, _ in given) < 0.3
    assert lossless(given, scale).status == "passed"


@pytest.mark.parametrize("name", ["lapsrn", "swift_srgan", *slow("edsr", "esrgan", "swinir")])
@pytest.mark.parametrize("scale", [4, *slow(8)])
def test_checkerboards_and_windows_of_untrained_networks_have_no_comb(
    name: str, scale: int, images: list[Pixels8], to_lr: Change
) -> None:
    torch.manual_seed(scale)
    model = models.create(name, scale=scale, channels=1, variant="tiny")
    given = []
    for hr in images[:5]:
        lr = to_lr(hr, scale)
        sr = model.infer(torch.from_numpy(lr)[None, None].float() / 255.0)
        given.append(((sr[0, 0] * 255).round().to(torch.uint8).numpy(), hr, lr))
    found = lossless(given, scale)
    assert "JPEG" not in found.detail or found.status == "passed", found.detail


@pytest.mark.slow
@pytest.mark.parametrize("period", [4, 8, 16, 32])
def test_gratings_on_the_block_grid_have_no_comb(period: int) -> None:
    # Nothing but a few patterns again and again: near some multiple by chance, and so left out.
    rows = np.arange(128)
    grating = np.where(rows % period < period // 2, 90, 151).astype(np.uint8)
    sr = np.tile(grating, (128, 1))
    assert comb(sr, np.zeros_like(sr)).strength < COMB


@pytest.mark.parametrize("quality", [75, *slow(50, 90)])
@pytest.mark.parametrize("noise", [0.0, 0.5, *slow(1.0, 2.0)])
def test_hr_that_was_a_jpeg_itself_is_not_held_against_a_model(
    quality: int, noise: float, images: list[Pixels8], to_lr: Change, through_jpeg: Change
) -> None:
    generator = np.random.default_rng(0)
    given = []
    for image in images:
        hr = through_jpeg(image, quality)
        sr = np.clip(np.rint(hr + generator.normal(0, noise, hr.shape)), 0, 255).astype(np.uint8)
        given.append((sr, hr, to_lr(hr)))
    assert lossless(given).status != "failed"


@pytest.mark.slow
def test_a_jpeg_of_a_result_is_found_also_where_hr_was_a_jpeg_of_the_same_quality(
    images: list[Pixels8], to_lr: Change, enlarge: Change, through_jpeg: Change
) -> None:
    references = [through_jpeg(hr, 75) for hr in images]
    given = [(through_jpeg(enlarge(to_lr(hr)), 75), hr, to_lr(hr)) for hr in references]
    assert lossless(given).status == "failed"


@pytest.mark.slow
def test_a_jpeg_in_colour_is_found(to_lr: Change, enlarge: Change, through_jpeg: Change) -> None:
    photographs = [photograph(seed) for seed in range(5)]
    given = [(through_jpeg(enlarge(to_lr(hr)), 75), hr, to_lr(hr)) for hr in photographs]
    assert lossless(given, colour=True).status == "failed"
    clean = [(enlarge(lr), hr, lr) for _, hr, lr in given]
    assert lossless(clean, colour=True).status == "passed"


@pytest.mark.slow
def test_of_flat_images_nothing_is_said() -> None:
    flat = np.full((64, 64), 120, np.uint8)
    assert comb(flat, flat) == Comb(0, 0.0)
    assert comb(np.full((4, 4), 7, np.uint8), np.zeros((4, 4), np.uint8)) == Comb(0, 0.0)
    assert "cannot be said" in lossless([(flat, flat, flat[::4, ::4])]).detail


# --- range --------------------------------------------------------------------------------------------------


def honest(images: list[Pixels8], to_lr: Change, enlarge: Change) -> list[tuple[Pixels8, Pixels8, Pixels8]]:
    return [(enlarge(to_lr(hr)), hr, to_lr(hr)) for hr in images]


@pytest.mark.slow
def test_an_even_grey_is_found_but_not_where_the_sample_is_even(
    images: list[Pixels8], to_lr: Change, enlarge: Change
) -> None:
    given = honest(images, to_lr, enlarge)
    white = np.full_like(given[0][0], 255)
    found = lossless([*given[1:], (white, *given[0][1:])])
    assert (found.status, "1 of 10 images are one even grey" in found.detail) == ("failed", True)
    flat = np.full((64, 64), 120, np.uint8)
    assert lossless([*given, (flat, flat, flat[::4, ::4])]).status == "passed"


@pytest.mark.slow
def test_exchanged_black_and_white_are_found(images: list[Pixels8], to_lr: Change, enlarge: Change) -> None:
    found = lossless([(255 - sr, hr, lr) for sr, hr, lr in honest(images, to_lr, enlarge)])
    assert (found.status, "Black and white are exchanged" in found.detail) == ("failed", True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "mixed_up",
    [
        lambda x: (x + 1) / 2,  # what is in [0, 1] already, taken for [-1, 1]
        lambda x: 2 * x - 1,  # left in [-1, 1]
        lambda x: 255 * x,  # left in [0, 255]
        lambda x: x / 255,  # divided once too often
    ],
)
def test_a_range_mixed_up_is_found(
    mixed_up: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    images: list[Pixels8],
    to_lr: Change,
    enlarge: Change,
) -> None:
    given = [
        (np.rint(np.clip(mixed_up(sr / 255.0), 0, 1) * 255).astype(np.uint8), hr, lr)
        for sr, hr, lr in honest(images, to_lr, enlarge)
    ]
    assert lossless(given).status == "failed"


@pytest.mark.slow
def test_a_slightly_brighter_result_passes_and_the_shift_is_told(
    images: list[Pixels8], to_lr: Change, enlarge: Change
) -> None:
    shift = int(OFF_GREY) - 20
    given = [
        (np.clip(sr.astype(int) + shift, 0, 255).astype(np.uint8), hr, lr)
        for sr, hr, lr in honest(images, to_lr, enlarge)
    ]
    found = lossless(given)
    assert (found.status, "+5.0 of 255" in found.detail or "+4." in found.detail) == ("passed", True)


def test_only_one_result_a_check_and_none_without_images() -> None:
    found = OutputCheck(4, colour=False).results()
    assert [(one.guard, one.status) for one in found] == [
        ("lossless_output", "unchecked"),
        ("databar_border", "unchecked"),
    ]


def test_a_run_that_ended_for_its_output_is_told_of() -> None:
    found = result_for_bad_output("gave uint8 (4, 4) for an image that must be uint8 (8, 8).")
    assert (found.guard, found.status) == ("lossless_output", "failed")
    assert found.detail.endswith("must be uint8 (8, 8).")


# --- colours ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0), (0, 2, 1)])
def test_another_order_of_the_channels_is_found(
    order: tuple[int, int, int], to_lr: Change, enlarge: Change
) -> None:
    photographs = [photograph(seed) for seed in range(4)]
    right = [(enlarge(to_lr(hr)), hr, to_lr(hr)) for hr in photographs]
    assert lossless(right, colour=True).status == "passed"
    swapped = [(np.ascontiguousarray(sr[..., order]), hr, lr) for sr, hr, lr in right]
    found = lossless(swapped, colour=True)
    assert (found.status, "another order" in found.detail) == ("failed", True)
    undone = np.argsort(order)
    assert f"read as {''.join('RGB'[channel] for channel in undone)} " in found.detail


@pytest.mark.slow
def test_photographs_without_colour_have_no_order(
    to_lr: Change, enlarge: Change, images: list[Pixels8]
) -> None:
    given = [
        tuple(np.repeat(plane[..., None], 3, axis=2) for plane in triple)
        for triple in honest(images, to_lr, enlarge)
    ]
    assert lossless([(sr[..., ::-1], hr, lr) for sr, hr, lr in given], colour=True).status == "passed"


@pytest.mark.slow
def test_the_luma_of_a_grey_network_on_colour_data_has_no_order(to_lr: Change, enlarge: Change) -> None:
    hr = photograph(0)
    assert lossless([(enlarge(to_lr(hr))[..., 1], hr, to_lr(hr))], colour=True).status == "passed"


def test_the_tint_of_a_colour_network_is_measured_in_grey_levels() -> None:
    grey = torch.rand(1, 3, 8, 8)[:, :1].expand(-1, 3, -1, -1) * 0.5
    assert channel_spread(grey) == 0.0
    tint = torch.tensor([30.0, 0.0, -30.0])[None, :, None, None] / 255.0
    assert channel_spread(grey * 0 + 0.5 + tint) == pytest.approx(20.0, abs=1e-3)
    # Beyond white nothing is shown, so nothing differs.
    assert channel_spread(torch.full((1, 3, 4, 4), 2.0)) == 0.0


def test_the_mean_colour_of_div2k_subtracted_in_one_order_and_added_in_another_is_found() -> None:
    means = torch.tensor([0.4488, 0.4371, 0.4040])[None, :, None, None]
    grey = torch.full((1, 3, 8, 8), 0.4)
    assert result_for_spread(channel_spread(grey - means + means)).status == "passed"
    spread = channel_spread(grey - means + means.flip(1))
    assert spread > TINTED
    found = result_for_spread(spread)
    assert (found.guard, found.status, "7.6 grey levels" in found.detail) == (
        "lossless_output",
        "failed",
        True,
    )
    assert result_for_spread(float("nan")).status == "failed"


@pytest.mark.slow
def test_what_the_worker_says_of_the_tint_is_judged(
    images: list[Pixels8], to_lr: Change, enlarge: Change
) -> None:
    check = examined(honest(images, to_lr, enlarge))
    check.set_channel_spread(0.4)
    assert check.results()[0].status == "passed"
    check.set_channel_spread(40.0)
    assert (check.results()[0].status, "40.0 grey levels" in check.results()[0].detail) == ("failed", True)


@pytest.mark.slow
def test_the_worker_measures_the_tint_of_colour_networks_on_grey_data_alone(
    tmp_path: Path, images: list[Pixels8], to_lr: Change
) -> None:
    pack = tmp_path / "lr.bin"
    pack.write_bytes(to_lr(images[0]).tobytes())
    side = images[0].shape[0] // 4
    whole = ((0, side, side, 1),)
    job = WorkerJob("edsr", "tiny", 4, 3, str(pack), whole, str(tmp_path))
    colour = models.create("edsr", scale=4, channels=3, variant="tiny")
    assert worker._channel_spread(job, colour, "cpu") == pytest.approx(0.0, abs=1e-3)
    for tensor in colour.network.parameters():
        if tensor.shape[0] == 3 and tensor.ndim == 4 and tensor.requires_grad:
            torch.nn.init.normal_(tensor, std=0.2)
    spread = worker._channel_spread(job, colour, "cpu")
    assert spread is not None and spread > 1.0
    grey = models.create("edsr", scale=4, channels=1, variant="tiny")
    assert worker._channel_spread(job, grey, "cpu") is None
    assert worker._channel_spread(replace(job, images=((0, side // 3, side, 3),)), colour, "cpu") is None
    assert worker._channel_spread(replace(job, images=()), colour, "cpu") is None


# --- databars -----------------------------------------------------------------------------------------------


def with_databar(pixels: Pixels8) -> Pixels8:
    """White, with black text of the size that instruments burn in."""
    marked = pixels.copy()
    top = marked.shape[0] - 28
    marked[top:] = 255
    for letter in range(6, marked.shape[1] - 12, 9):
        marked[top + 8 : top + 20, letter : letter + 3] = 0
    return marked


@pytest.fixture(scope="module")
def micrographs() -> list[Pixels8]:
    generator = np.random.default_rng(4)
    smooth = [np.kron(generator.integers(60, 190, (16, 20)), np.ones((16, 16))) for _ in range(5)]
    return [np.clip(one + generator.normal(0, 8, one.shape), 0, 255).astype(np.uint8) for one in smooth]


@pytest.mark.slow
def test_a_databar_that_the_model_drew_is_found(
    micrographs: list[Pixels8], to_lr: Change, enlarge: Change
) -> None:
    given = honest(micrographs, to_lr, enlarge)
    clean = examined(given).results()[1]
    assert (clean.guard, clean.status, "5 images" in clean.detail, "4 px" in clean.detail) == (
        "databar_border",
        "passed",
        True,
        True,
    )
    drawn = examined([(with_databar(given[0][0]), *given[0][1:]), *given[1:]]).results()[1]
    assert (drawn.status, "1 of 5 images" in drawn.detail, "image 0" in drawn.detail) == (
        "failed",
        True,
        True,
    )


@pytest.mark.slow
def test_a_databar_that_the_reference_has_is_not_the_models(
    micrographs: list[Pixels8], to_lr: Change, enlarge: Change
) -> None:
    marked = [with_databar(hr) for hr in micrographs]
    assert examined([(hr, hr, to_lr(hr)) for hr in marked]).results()[1].status == "passed"


@pytest.mark.slow
def test_a_bright_foot_that_loses_its_noise_is_no_databar(to_lr: Change, enlarge: Change) -> None:
    generator = np.random.default_rng(5)
    hr = np.clip(generator.normal(120, 20, (128, 128)), 0, 255)
    hr[-40:] = np.clip(generator.normal(240, 25, (40, 128)), 0, 255)
    noisy = hr.astype(np.uint8)
    assert examined([(enlarge(to_lr(noisy)), noisy, to_lr(noisy))]).results()[1].status == "passed"


def test_drawn_scenes_and_photographs_are_not_searched_for_databars(
    micrographs: list[Pixels8], to_lr: Change
) -> None:
    check = OutputCheck(4, colour=False, bars=False)
    check.add("a", with_databar(micrographs[0]), micrographs[0], to_lr(micrographs[0]))
    assert check.results()[1].status == "passed"
