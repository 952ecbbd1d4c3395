"""docs/metrics.md says of every metric what it is, which way it points, what it misses and its source."""

import re
from pathlib import Path

import pytest

from srbench.metrics import registry

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
LINES = ("Formula", "Range", "Better", "Blind to", "Source")


def entries() -> dict[str, str]:
    """Name to the text under its heading."""
    found = {}
    parts = re.split(r"^### ", DOCS.read_text(encoding="utf-8"), flags=re.M)[1:]
    for part in parts:
        heading, _, text = part.partition("\n")
        text = re.split(r"^## ", text, flags=re.M)[0]
        found.update(dict.fromkeys(re.findall(r"`([\w<>]+)`", heading), text))
    return found


@pytest.mark.parametrize("metric", registry.list_metrics(), ids=lambda metric: metric.name)
def test_every_metric_is_explained(metric: registry.Metric) -> None:
    name = re.sub(r"^(frc)_\d\d$", r"\1_00", metric.name)
    text = entries()[name]
    missing = [line for line in LINES if f"**{line}**" not in text]
    assert not missing, f"{name} lacks {missing}"
    if metric.direction != "none" and metric.family != "curve":
        better = text.partition("**Better**:")[2].partition("\n")[0]
        assert metric.direction in better or "as on HR" in better or better.strip() == ""


def test_nothing_is_explained_that_does_not_exist() -> None:
    names = {metric.name for metric in registry.list_metrics()}
    maps = {"hallucination_map", "omission_map"}
    ours = {name for name in entries() if re.fullmatch(r"[a-z0-9_]+", name)}
    assert ours - names - maps == set()
