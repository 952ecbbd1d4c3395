"""One damaged run takes nothing else down: it is named, and the others are reported and compared."""

import html
import os
from collections.abc import Mapping
from typing import Any

import pytest

from srbench.reporting import report
from srbench.reporting.blocks import collect
from srbench.reporting.crops import panels
from srbench.reporting.leaderboard import leaderboard
from srbench.statistics.compare import compare
from srbench.store import ScoreStore
from srbench.utils.errors import SrbenchError


@pytest.fixture
def store(fabricator: Any, players: Mapping[str, Any]) -> ScoreStore:
    for name in ("bicubic", "nearest", "edsr"):
        fabricator.add(players[name], metrics=("psnr",))
    made: ScoreStore = fabricator.store
    return made


@pytest.mark.slow
def test_a_damaged_run_is_named_on_the_page_and_by_compare(store: ScoreStore) -> None:
    rows = next(store.root.glob("runs/edsr-*/scores.parquet"))
    os.truncate(rows, 300)
    outcome = report(store.root)
    assert [warning for warning in outcome.warnings if str(rows) in warning] == [outcome.warnings[0]]
    page = html.unescape(outcome.page.read_text(encoding="utf-8"))
    assert outcome.warnings[0] in page and "EDSR" not in page
    comparison = compare("bicubic", "nearest", results=store.root)
    assert comparison.problems == (outcome.warnings[0],) and comparison.n_images == 8
    with pytest.raises(SrbenchError) as error:
        compare("bicubic", "edsr", results=store.root)
    assert outcome.warnings[0] in str(error.value)
    for path in store.root.glob("runs/*/scores.parquet"):
        path.unlink()
    with pytest.raises(SrbenchError) as error:
        report(store.root)
    assert all(str(path.parent) in str(error.value) for path in store.root.glob("runs/*/manifest.json"))


@pytest.mark.slow
def test_damaged_pictures_are_named_and_left_out(store: ScoreStore) -> None:
    (block,) = collect(store)
    whole, nothing = panels(store, block, leaderboard(block).rows)
    assert nothing == [] and len(whole) == 2
    first, second = sorted(panel.image for panel in whole)
    bicubic = next(run for run in block.complete if run.key.model == "bicubic")
    reference = str(bicubic.data["reference_id"])
    damaged = [
        store.preview(bicubic.key, first),
        store.reference(reference, first, "lr"),
        store.reference(reference, second, "hr"),
    ]
    for path, content in zip(damaged, (b"", b"\x89PNG\r\n\x1a\n cut", b"text"), strict=True):
        assert path is not None
        path.write_bytes(content)
    shown, notes = panels(store, block, leaderboard(block).rows)
    assert [panel.image for panel in shown] == [first]
    assert [tile.title for tile in shown[0].tiles] == ["HR", "EDSR", "Nearest"]
    assert all(any(str(path) in note for note in notes) for path in damaged)
    assert not compare("bicubic", "nearest", results=store.root).problems
