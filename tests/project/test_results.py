"""What results/README.md says is what the stored scores give; the runs there are whole and audited."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from srbench.checks.base import stored_results
from srbench.statistics.compare import compare
from srbench.store import REFERENCES, ScoreStore
from srbench.verification.results import check_results

RESULTS = Path(__file__).parents[2] / "results"
FOLDERS = sorted(path.parent.name for path in RESULTS.glob("*/runs"))
METRICS = {
    "PSNR, dB": ("psnr", 2),
    "SSIM": ("ssim", 3),
    "edges invented": ("edge_hallucinated", 3),
    "invented detail": ("hallucinated_hf", 3),
}


def lines_of(folder: str) -> list[tuple[str, str, dict[str, str]]]:
    """The comparisons that README.md prints of a folder: first, second, metric to difference and interval."""
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## {folder}\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^\|(.*)\|$", section, flags=re.MULTILINE)
    heads, _, *rows = ([cell.strip() for cell in line.split("|")] for line in lines)
    # The last word in code is what compare takes: a model, or digits of one of its weights files.
    pairs = ([re.findall("`([^`]+)`", cell)[-1] for cell in row[:2]] for row in rows)
    return [
        (*pair, dict(zip(heads[2:], row[2:], strict=True))) for pair, row in zip(pairs, rows, strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_every_printed_difference_is_that_of_the_scores(folder: str) -> None:
    lines = lines_of(folder)
    assert lines
    for first, second, cells in lines:
        names = [METRICS[head][0] for head in cells]
        compared = compare(first, second, results=RESULTS / folder, metrics=names)
        by_name = {metric.metric.partition("@")[0]: metric.paired for metric in compared.metrics}
        for head, cell in cells.items():
            name, decimals = METRICS[head]
            low, high, _ = by_name[name].interval
            ends = f"[{low:+.{decimals}f}, {high:+.{decimals}f}]"
            text = f"{by_name[name].difference:+.{decimals}f} {ends}".replace("-", "\N{MINUS SIGN}")
            assert cell == text, (first, second, head)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_run_is_whole_audited_and_no_smoke_training(folder: str) -> None:
    manifests = ScoreStore(RESULTS / folder).manifests()
    assert len(manifests) > 3
    for manifest in manifests:
        assert manifest.status == "complete" and "smoke" not in str(manifest.weights)
        statuses = {finding.guard: finding.status for finding in stored_results(manifest)}
        assert "failed" not in statuses.values(), manifest.key
        if manifest.key.model not in REFERENCES:
            assert statuses["determinism"] == "passed", manifest.key


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_rows_are_those_that_were_hashed(folder: str) -> None:
    assert check_results(RESULTS / folder).passed


def test_every_folder_is_explained() -> None:
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    assert FOLDERS and all(f"\n## {folder}\n" in text for folder in FOLDERS)
    assert not re.search("smoke", text)
