"""``srbench degradations``: what is shown is what can be typed."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from srbench.cli.app import cli
from srbench.datasets import DatasetError, degrade

DOCS = Path(__file__).parents[2] / "docs" / "datasets.md"


def run(*arguments):
    return CliRunner().invoke(cli, ["degradations", *arguments])


def test_list_shows_every_name_and_setting():
    shown = run("list")
    assert shown.exit_code == 0
    for card in degrade.cards():
        assert card.name in shown.output
        assert all(setting.name in shown.output for setting in card.settings)
    listed = json.loads(run("list", "--json").output)
    assert [entry["name"] for entry in listed] == degrade.names()


@pytest.mark.parametrize("name", ["bicubic", "sem_pixel:dose=20", "sem_lowdose"])
def test_show_gives_the_id_that_scores_store(name):
    assert degrade.get(name).id in run("show", name).output
    assert json.loads(run("show", name, "--json").output)["id"] == degrade.get(name).id


def test_the_ranges_shown_are_those_enforced():
    (card,) = [card for card in degrade.cards() if card.name == "sem_pixel"]
    for setting in card.settings:
        # A setting may need another one to have an effect: tau needs charging.
        beside = {"charging": "charging=0.1,", "astigmatism": "astigmatism=2,"}.get(setting.needs, "")
        assert degrade.get(f"sem_pixel:{beside}{setting.name}={setting.high:g}")
        with pytest.raises(DatasetError, match=setting.name):
            degrade.get(f"sem_pixel:{beside}{setting.name}={setting.high * 1.01 + 0.01:g}")


def test_an_unknown_name_is_answered_with_a_near_one():
    outcome = run("show", "sem_pixl")
    assert outcome.exit_code != 0
    assert "did you mean 'sem_pixel'" in str(outcome.exception)


def test_the_docs_name_every_degradation_and_setting():
    text = DOCS.read_text(encoding="utf-8")
    for card in degrade.cards():
        assert f"| `{card.name}` |" in text
        assert all(f"`{setting.name}`" in text for setting in card.settings)
