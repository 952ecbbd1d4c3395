"""Which regions are shown, and that what is embedded are the stored pixels."""

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srbench.reporting.blocks import collect
from srbench.reporting.crops import MAX_IMAGES, MAX_PICTURES, EmbeddedImage, Panel, choose, panels, shown_run
from srbench.reporting.leaderboard import Leaderboard, leaderboard
from srbench.store import ScoreStore


def decode(picture: EmbeddedImage) -> Any:
    head, _, content = picture.uri.partition(",")
    assert head == "data:image/png;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_UNCHANGED)


def panels_of(root: Path) -> tuple[list[Panel], list[str]]:
    store = ScoreStore(root)
    (block,) = collect(store)
    return panels(store, block, leaderboard(block).rows)


@pytest.fixture(scope="module")
def shown(filled: Path, filled_board: Leaderboard) -> list[Panel]:
    panels_shown, notes = panels(ScoreStore(filled), filled_board.block, filled_board.rows)
    assert notes == []
    return panels_shown


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.integers(40, 200), st.integers(40, 200), st.sampled_from([2, 3, 4]), st.integers(0, 9))
def test_regions_lie_inside_on_whole_lr_pixels_and_apart(h: int, w: int, scale: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    hr = generator.integers(0, 256, (h // scale * scale, w // scale * scale), np.uint8)
    outputs = {name: generator.integers(0, 256, hr.shape, np.uint8) for name in "ab"}
    regions = choose(hr, outputs, scale, side=48)
    assert regions
    assert regions == choose(hr, outputs, scale, side=48)
    for region in regions:
        assert region.cut(hr).shape == (region.side, region.side)
        assert region.top % scale == region.left % scale == region.side % scale == 0
        assert region.cut_lr(hr[::scale, ::scale], scale).shape == (region.side // scale,) * 2
    assert all(a.shared_area(b) <= 0.25 for i, a in enumerate(regions) for b in regions[:i])


def test_the_first_region_is_where_models_differ() -> None:
    hr = np.full((256, 256), 100, np.uint8)
    other = hr.copy()
    other[160:200, 24:64] = 220
    region = choose(hr, {"a": hr, "b": other}, 4, side=64)[0]
    assert region.rule == "models differ most"
    assert region.top <= 160
    assert region.top + 64 >= 200
    assert region.left <= 24
    assert region.left + 64 >= 64


def test_the_second_region_is_where_hr_has_detail() -> None:
    hr = np.full((256, 256), 100, np.uint8)
    hr[16:64, 176:240] = 100 + 80 * (np.indices((48, 64)).sum(0) // 3 % 2)
    differing = hr.copy()
    differing[180:220, 20:60] = 250
    region = next(r for r in choose(hr, {"a": hr, "b": differing}, 4, 64) if r.rule == "finest detail")
    assert region.top < 64
    assert region.left + 64 > 176


@pytest.mark.slow
def test_embedded_crops_are_the_stored_pixels(
    filled: Path, filled_board: Leaderboard, shown: list[Panel]
) -> None:
    assert [panel.image for panel in shown] == ["img/00.png", "img/01.png"]
    store = ScoreStore(filled)
    by_title = {row.label_of(shown_run(row)): shown_run(row).key for row in filled_board.rows}
    panel = shown[0]
    for tile in panel.tiles[2:]:
        label = f"{tile.title} ({tile.detail})" if tile.detail else tile.title
        path = store.preview(by_title[label], panel.image)
        assert path is not None
        whole = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        for region, picture in zip(panel.regions, tile.pictures, strict=True):
            assert np.array_equal(decode(picture), region.cut(whole))


@pytest.mark.slow
def test_networks_stand_first_behind_hr_and_lr(shown: list[Panel]) -> None:
    panel = shown[0]
    titles = [tile.title for tile in panel.tiles]
    assert titles[:2] == ["HR", "LR"]
    assert max(map(titles.index, ("EDSR", "VDSR", "SRGAN"))) < titles.index("Bicubic")
    assert len(panel.tiles) == 2 + 8
    lr = decode(panel.tiles[1].pictures[0])
    assert lr.shape[0] * 4 == panel.regions[0].side


@pytest.mark.slow
def test_a_preview_of_another_size_is_named_and_left_out(results: Path) -> None:
    store = ScoreStore(results)
    manifest = next(m for m in store.manifests() if m.key.model == "edsr")
    path = store.preview(manifest.key, "img/00.png")
    assert path is not None
    cv2.imwrite(str(path), np.zeros((10, 10), np.uint8))
    shown, notes = panels_of(results)
    assert "EDSR" not in [tile.title for tile in shown[0].tiles]
    assert any("EDSR" in note and "10x10" in note for note in notes)


@pytest.mark.slow
def test_a_missing_reference_is_said_and_does_not_stop_the_rest(results: Path) -> None:
    for path in (results / "references").rglob("*.hr.png"):
        if "00" in path.name:
            path.unlink()
    shown, notes = panels_of(results)
    assert [panel.image for panel in shown] == ["img/01.png"]
    assert any("img/00.png" in note for note in notes)


@pytest.mark.slow
def test_many_previews_do_not_make_the_page_huge(fabricator: Any, players: Any) -> None:
    for name in ("bicubic", "nearest", "edsr"):
        fabricator.add(players[name], metrics=("psnr",), previews=8)
    shown, notes = panels_of(fabricator.store.root)
    assert len(shown) == MAX_IMAGES
    assert any("8 images have previews" in note for note in notes)
    pictures = sum(len(tile.pictures) for panel in shown for tile in panel.tiles)
    assert pictures <= MAX_PICTURES
