"""What a stranger's plug-in is, is asked of a confined process; the harness never imports its module."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from helpers.landlock import has_landlock
from helpers.loading import models_as_before
from srbench import models, plugins
from srbench.models import ModelError, registry

MODULE = """
import os
from pathlib import Path
import srbench.sandbox.apply
srbench.sandbox.apply.apply_policy_file = None
try:
    Path(os.environ["SRBENCH_TEST_HR"]).read_bytes()
    stolen = "stolen"
except OSError:
    stolen = "refused"
from torch import nn
from srbench.models import register_model

@register_model(
    title="Theirs " + stolen, family="regression", paper="", year=2026, scales=(2,), variants=("a",)
)
def theirs(scale, channels, variant):
    return nn.Conv2d(channels, channels, 3)
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Two plug-ins, one of which ends the process that imports it."""
    site, hidden = tmp_path / "site", tmp_path / "home"
    (site / "theirs_package").mkdir(parents=True)
    (site / "theirs_package" / "__init__.py").write_text("")
    (site / "theirs_package" / "net.py").write_text(MODULE)
    (site / "deadly.py").write_text("import os\nprint('{}')\nos._exit(0)\n")
    metadata = site / "theirs-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        "[srbench.models]\ntheirs = theirs_package.net\ndeadly = deadly\n"
    )
    hidden.mkdir()
    (hidden / "hr.png").write_bytes(b"hr")
    monkeypatch.setenv("SRBENCH_HOME", str(hidden))
    monkeypatch.setenv("SRBENCH_TEST_HR", str(hidden / "hr.png"))
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(str(site))
    plugins._foreign_card.cache_clear()
    with models_as_before():
        registry.MODELS._index = None
        yield site
    plugins._foreign_card.cache_clear()


@pytest.mark.slow
@pytest.mark.skipif(not has_landlock(), reason="this kernel offers no Landlock")
def test_a_card_is_read_in_a_confined_process(installed: Path) -> None:
    assert plugins.is_foreign("theirs") and plugins.is_foreign("deadly")
    assert plugins.module_file("theirs_package.net") == installed / "theirs_package" / "net.py"
    card = plugins.card("theirs")
    assert (card.title, card.scales, card.variants) == ("Theirs refused", (2,), ("a",))
    assert card.module == "theirs_package.net"
    cards, problems = plugins.list_cards("*e[ai]*")  # deadly, theirs, and some of ours
    assert "theirs" in {card.name for card in cards} and len(problems) == 1
    with pytest.raises(ModelError):
        plugins.card("deadly")
    assert not {"theirs_package", "theirs_package.net", "deadly"} & sys.modules.keys()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "bicubic"},
        {"scales": [0]},
        {"scales": ["2"]},
        {"variants": []},
        {"variants": ["../a"]},
        {"channels": [1, 2]},
        {"leaking": ["b"]},
        {"year": 1e3},
        {"title": 3},
        {"more": 1},
        {"released": [{"file": "x"}]},
        {"summary": [[[[[["deep"]]]]]]},
        {"variants": ["a"] * 100},
    ],
    ids=str,
)
def test_a_card_has_known_keys_types_and_ranges(change: dict[str, Any]) -> None:
    content = {**asdict(models.card("vdsr")), "name": "theirs", "released": []}
    assert plugins._checked("theirs", content, "m").module == "m"
    with pytest.raises((TypeError, ValueError, KeyError)):
        plugins._checked("theirs", {**content, **change}, "m")


def test_what_a_card_says_can_be_printed() -> None:
    content = {**asdict(models.card("vdsr")), "title": "a\x1b[2J\ud800", "summary": "x" * 10_000}
    card = plugins._checked("vdsr", content, "m")
    assert card.title.isprintable() and len(card.summary) < 10_000


def test_ours_are_not_foreign() -> None:
    assert not any(map(plugins.is_foreign, ("vdsr", "csm_sr", "no such model")))
    assert plugins.card("vdsr") == models.card("vdsr")
