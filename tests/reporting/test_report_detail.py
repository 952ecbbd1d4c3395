"""Invented and omitted detail over the crops: where it is, told apart without colours, on one scale."""

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srbench.metrics.detail_maps import hallucination_map, omission_map
from srbench.reporting.blocks import collect
from srbench.reporting.crops import (
    INVENTED,
    OMITTED,
    STEPS,
    STRIPE,
    CropRegion,
    DetailMap,
    Panel,
    detail_maps,
    overlay,
    panels,
    png,
    shown_run,
)
from srbench.reporting.leaderboard import Leaderboard, leaderboard
from srbench.store import ScoreStore


def decode(content: bytes) -> Any:
    """RGB and opacity of each pixel."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image[..., 2::-1], image[..., 3]


def level(value: float, side: int = 16) -> Any:
    return np.full((side, side), value, np.float32)


def scene() -> Any:
    """A blurred step and grain that LR carries."""
    image = np.full((96, 96), 90.0, np.float32)
    image[:, 48:] = 150
    image += np.random.default_rng(0).normal(scale=6, size=image.shape)
    return cv2.GaussianBlur(image, (0, 0), 1.0)


def disc(image: Any, row: int, column: int) -> Any:
    drawn = image.copy()
    cv2.circle(drawn, (column, row), 3, 250, -1)
    return drawn


def grey(image: Any) -> Any:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 23), st.integers(1, 9), st.integers(0, 99))
def test_png_is_read_by_others(width: int, height: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    palette, alphas = generator.bytes(48), generator.bytes(16)
    pixels = generator.integers(0, 16, (height, width)).astype(np.uint8)
    colours, opacity = decode(png(pixels, palette, alphas))
    assert np.array_equal(colours, np.frombuffer(palette, np.uint8).reshape(16, 3)[pixels])
    assert np.array_equal(opacity, np.frombuffer(alphas, np.uint8)[pixels])


def test_nothing_is_drawn_over_what_is_explained() -> None:
    quiet = level(0.99 * STEPS[0])
    assert not decode(overlay(DetailMap(quiet, quiet)))[1].any()


@pytest.mark.parametrize("step", range(len(STEPS)))
def test_steps_are_fixed_and_ever_stronger(step: int) -> None:
    none = level(0.0)
    colours, opacity = decode(overlay(DetailMap(level(STEPS[step]), none)))
    assert (colours == INVENTED).all()
    assert len(np.unique(opacity)) == 1
    weaker = decode(overlay(DetailMap(level(0.99 * STEPS[step]), none)))[1]
    assert weaker.max() < opacity.min()


def test_omitted_detail_is_hatched_and_invented_detail_is_not() -> None:
    none, much = level(0.0), level(9.0)
    colours, opacity = decode(overlay(DetailMap(none, much)))
    assert np.mean(opacity > 0) == 0.5
    assert (colours[opacity > 0] == OMITTED).all()
    assert all((opacity[row, :STRIPE] > 0).sum() == STRIPE // 2 for row in range(16))
    both, everywhere = decode(overlay(DetailMap(much, much)))
    assert (everywhere > 0).all()
    assert {tuple(map(int, c)) for c in both.reshape(-1, 3)} == {INVENTED, OMITTED}


def whole_map(sr: np.ndarray, hr: np.ndarray) -> DetailMap:
    (found,) = detail_maps(sr, hr, 4, [CropRegion("all", 0, 0, min(hr.shape))])
    return found


def test_a_particle_that_is_not_there_is_invented_and_a_lost_one_omitted() -> None:
    hr = grey(disc(scene(), 24, 24))
    sr = grey(disc(scene(), 70, 24))
    colours, opacity = decode(overlay(whole_map(sr, hr)))
    at = {"invented": (70, 24), "omitted": (24, 24)}
    near = {
        name: colours[r - 3 : r + 4, c - 3 : c + 4][opacity[r - 3 : r + 4, c - 3 : c + 4] > 0]
        for name, (r, c) in at.items()
    }
    assert (near["invented"] == INVENTED).all(axis=1).mean() > 0.9
    assert (near["omitted"] == OMITTED).all(axis=1).mean() > 0.9
    assert not opacity[36:58, 60:].any()


def test_equal_images_leave_nothing_unexplained() -> None:
    found = whole_map(grey(scene()), grey(scene()))
    assert max(found.means) < 0.1
    assert not decode(overlay(found))[1].any()


@pytest.fixture(scope="module")
def shown(rich: Path, rich_board: Leaderboard) -> list[Panel]:
    return panels(ScoreStore(rich), rich_board.block, rich_board.rows)[0]


def test_embedded_maps_are_those_of_the_stored_images(
    rich: Path, rich_board: Leaderboard, shown: list[Panel]
) -> None:
    store = ScoreStore(rich)
    rows = {row.title: shown_run(row) for row in rich_board.rows}
    panel = shown[1]
    for tile in (tile for tile in panel.tiles if tile.title in ("EDSR", "Bicubic")):
        manifest = rows[tile.title]
        paths = (
            store.preview(manifest.key, panel.image),
            store.reference(str(manifest.data["reference_id"]), panel.image, "hr"),
        )
        sr, hr = (cv2.imread(str(path), 0) / 255.0 for path in paths)
        invented, omitted = hallucination_map(sr, hr, 4), omission_map(sr, hr, 4)
        for region, picture, amounts in zip(panel.regions, tile.maps, tile.unexplained, strict=True):
            part = (
                slice(region.top, region.top + region.side),
                slice(region.left, region.left + region.side),
            )
            assert amounts == pytest.approx(
                (float(invented[part].mean()), float(omitted[part].mean())), rel=1e-4
            )
            colours, opacity = decode(base64.b64decode(picture.uri.partition(",")[2]))
            warm = (opacity > 0) & (colours == INVENTED).all(axis=-1)
            cool = (opacity > 0) & (colours == OMITTED).all(axis=-1)
            assert not (warm & (invented[part] < STEPS[0])).any()
            assert not (cool & (omitted[part] < STEPS[0])).any()
            assert ((invented[part] < STEPS[0]) | warm | cool).all()
            assert cool.any() == bool((omitted[part] >= STEPS[0]).any())


def test_only_outputs_of_models_have_maps(shown: list[Panel]) -> None:
    for tile in shown[0].tiles:
        assert bool(tile.maps) == (tile.kind == "sr")
        assert len(tile.maps) == len(tile.unexplained)


@pytest.mark.slow
def test_at_the_same_size_no_detail_can_be_invented(fabricator: Any, players: Any) -> None:
    fabricator.scale = 1
    fabricator.add(players["bicubic"], ("psnr",))
    (block,) = collect(fabricator.store)
    made, notes = panels(fabricator.store, block, leaderboard(block).rows)
    assert notes == []
    assert not any(panel.has_maps for panel in made)


def test_of_several_seeds_the_first_is_shown_and_named(shown: list[Panel]) -> None:
    edsr = [tile for tile in shown[0].tiles if tile.title == "EDSR"]
    assert [tile.detail for tile in edsr] == ["paper, paper budget, seed 0"]
