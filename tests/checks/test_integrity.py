"""Guards of the table: each property is broken in a stored table, and named."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from srbench.checks import CheckResult
from srbench.checks import base as cards
from srbench.checks import integrity as table
from srbench.checks.integrity import sha256_of_frame, sha256_of_scores
from srbench.store import CONTROL, NOISE_CEILING, READ_COLUMNS, Manifest, RunKey, Score, ScoreStore

IMAGES = ("a", "b", "c")
BASELINES = (*table.BASELINES, CONTROL)


def scores(offset: float) -> list[Score]:
    values = np.random.default_rng(int(offset * 10)).normal(30, 1, (2, len(IMAGES)))
    return [
        Score(metric, float(value), image, f"g{image}", "x")
        for metric, row in zip(("psnr", "ssim"), values, strict=True)
        for image, value in zip(IMAGES, row, strict=True)
    ] + [Score("params", 7.0)]


def manifest(model: str, number: int, **changes: Any) -> Manifest:
    key = RunKey(model, "v", "", -1, "made_up", "d" * 64, "test", "bicubic@1", 4, "sem-grey-1")
    interpolation = model in table.BASELINES
    made = Manifest(
        key,
        "complete",
        versions={"srbench": "1"},
        data={"images": len(IMAGES), "fingerprint": "d" * 64, "lr_sha256": "e" * 64},
        protocol={"id": "sem-grey-1"},
        card={"family": "interpolation" if interpolation else "regression"},
        outputs={image: f"{number}{image}" for image in IMAGES},
        scores_sha256=sha256_of_scores(scores(number)),
    )
    return replace(made, **changes)


class Table:
    """A table whose runs keep every rule; tests break one of them."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Score]] = {}
        self.manifests: dict[str, Manifest] = {}
        for number, model in enumerate((*BASELINES, NOISE_CEILING, "mine", "other")):
            self.manifests[model], self.rows[model] = manifest(model, number), scores(number)

    def findings(self) -> dict[str, dict[str, CheckResult]]:
        found = table.check_table(list(self.manifests.values()), self.frame(*self.manifests))
        return {run.model: {one.guard: one for one in own} for run, own in found.items()}

    def frame(self, *models: str) -> pd.DataFrame:
        """The rows of these models as the store gives them."""
        keys = {model: asdict(self.manifests[model].key) for model in models}
        rows = [{**keys[model], **asdict(score)} for model in models for score in self.rows[model]]
        return pd.DataFrame(rows)[list(READ_COLUMNS)]


@pytest.fixture
def made() -> Table:
    return Table()


@pytest.mark.slow
def test_a_table_that_keeps_the_rules_passes(made: Table) -> None:
    found = made.findings()
    assert {one.status for own in found.values() for one in own.values()} == {"passed"}
    assert set(found["mine"]) == {"pinned_protocol", "baselines", "completeness"}
    assert set(found[CONTROL]) == {"pinned_protocol"}
    assert "noise ceiling" in found["mine"]["baselines"].detail


@pytest.mark.slow
def test_a_row_that_was_changed_later_is_found(made: Table) -> None:
    first, *others = made.rows["mine"]
    made.rows["mine"] = [replace(first, value=first.value + 1e-9), *others]
    found = made.findings()
    assert found["mine"]["pinned_protocol"].status == "failed"
    assert found["other"]["pinned_protocol"].status == "passed"


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["versions", "protocol", "data"])
def test_a_number_without_its_conditions_is_found(made: Table, missing: str) -> None:
    made.manifests["mine"] = replace(made.manifests["mine"], **{missing: {}})
    found = made.findings()["mine"]["pinned_protocol"]
    assert found.status == "failed" and missing in found.detail


@pytest.mark.slow
def test_another_protocol_than_the_rows_say_is_found(made: Table) -> None:
    made.manifests["mine"] = replace(made.manifests["mine"], protocol={"id": "mine"})
    assert made.findings()["mine"]["pinned_protocol"].status == "failed"


@pytest.mark.slow
def test_images_left_out_are_found_in_every_metric(made: Table) -> None:
    rows = [one for one in made.rows["mine"] if not (one.metric == "ssim" and one.image == "b")]
    made.rows["mine"] = rows
    made.manifests["mine"] = replace(made.manifests["mine"], scores_sha256=sha256_of_scores(rows))
    found = made.findings()["mine"]
    assert found["pinned_protocol"].status == "passed"
    assert found["completeness"].status == "failed"
    assert "2 of 3 images of the split have rows in ssim" in found["completeness"].detail


@pytest.mark.slow
def test_a_value_that_is_missing_with_its_reason_is_a_row(made: Table) -> None:
    rows = [replace(one, value=np.nan, reason="too small") for one in made.rows["mine"]]
    made.rows["mine"] = rows
    made.manifests["mine"] = replace(made.manifests["mine"], scores_sha256=sha256_of_scores(rows))
    assert {one.status for one in made.findings()["mine"].values()} == {"passed"}


@pytest.mark.slow
def test_one_output_under_two_names_is_found_in_both(made: Table) -> None:
    made.manifests["mine"] = replace(made.manifests["mine"], outputs=made.manifests["other"].outputs)
    found = made.findings()
    assert [found[name]["completeness"].status for name in ("mine", "other")] == ["failed"] * 2
    assert "Same pixels as other v" in found["mine"]["completeness"].detail


@pytest.mark.slow
def test_an_interpolation_under_another_name_is_the_copys_fault(made: Table) -> None:
    made.manifests["mine"] = replace(made.manifests["mine"], outputs=made.manifests["bicubic"].outputs)
    found = made.findings()
    assert found["mine"]["completeness"].status == "failed"
    assert found["bicubic"]["completeness"].status == "passed"


@pytest.mark.slow
def test_a_table_without_baselines_states_no_gain(made: Table) -> None:
    for name in (CONTROL, "lanczos"):
        del made.manifests[name]
    found = made.findings()["mine"]["baselines"]
    assert found.status == "unchecked" and "lanczos, random_texture" in found.detail
    del made.manifests["bicubic"]
    assert made.findings()["mine"]["baselines"].status == "failed"


@pytest.mark.slow
def test_runs_of_earlier_versions_are_unchecked_not_failed(made: Table) -> None:
    made.manifests["mine"] = replace(made.manifests["mine"], outputs={}, scores_sha256="")
    found = made.findings()["mine"]
    assert [found[name].status for name in ("pinned_protocol", "completeness")] == ["unchecked"] * 2
    assert "--force" in found["pinned_protocol"].detail


@pytest.mark.slow
def test_the_fingerprint_of_rows_is_that_of_the_stored_frame(made: Table, tmp_path: Path) -> None:
    store = ScoreStore(tmp_path)
    store.write_run(made.manifests["mine"], made.rows["mine"])
    rows = store.scores()
    pd.testing.assert_frame_equal(rows, made.frame("mine"), check_dtype=False, check_categorical=False)
    shuffled = rows.sample(frac=1.0, random_state=0)
    assert sha256_of_frame(shuffled) == made.manifests["mine"].scores_sha256
    assert sha256_of_frame(pd.concat([rows, rows.iloc[:1]])) != sha256_of_frame(rows)


def test_results_of_one_check_merge_into_the_worst() -> None:
    passed, failed = CheckResult("determinism", "passed", "p."), CheckResult("determinism", "failed", "f.")
    unchecked = CheckResult("determinism", "unchecked", "u.")
    assert cards.merge([passed, failed, unchecked]) == failed
    assert cards.merge([unchecked, passed]) == CheckResult("determinism", "passed", "p. u.")
    with pytest.raises(ValueError, match="one check"):
        cards.merge([passed, CheckResult("hr_access", "passed", "")])
    both = cards.merge_by_check([passed, CheckResult("hr_access", "passed", "h."), unchecked])
    assert [one.guard for one in both] == ["hr_access", "determinism"]


@pytest.mark.parametrize(("earlier", "name"), cards.ALIASES.items())
def test_results_stored_under_earlier_ids_are_read(earlier: str, name: str) -> None:
    stored = {"guard": earlier, "status": "failed", "detail": "d."}
    assert CheckResult.from_json(stored) == CheckResult(name, "failed", "d.")
    assert CheckResult.from_json(stored).to_json() == {**stored, "guard": name}
    assert cards.get_check(earlier) is cards.get_check(name)


def test_pixel_sizes_are_hashed_where_they_are_known(tmp_path: Path) -> None:
    """Rows from before pixel sizes keep their hash; a pixel size that is changed later is noticed."""
    before = [Score("cd_bias", 0.5, "a", "g", "c"), Score("psnr", float("nan"), "a", "g", "c", "why")]
    lines = sorted(
        "\x1f".join(fields)
        for fields in (
            ("cd_bias", "a", "g", "c", (0.5).hex(), ""),
            ("psnr", "a", "g", "c", float("nan").hex(), "why"),
        )
    )
    assert sha256_of_scores(before) == hashlib.sha256("\n".join(lines).encode()).hexdigest()
    sized = [replace(score, pixel_size_nm=5.828) for score in before]
    other = [replace(score, pixel_size_nm=5.829) for score in before]
    assert len({sha256_of_scores(rows) for rows in (before, sized, other)}) == 3
    key = RunKey("m", "v", "", -1, "d", "f", "test", "bicubic@1", 4, "p")
    store = ScoreStore(tmp_path)
    store.write_run(Manifest(key, "complete"), sized)
    assert sha256_of_frame(store.scores()) == sha256_of_scores(sized)
    path = tmp_path / "runs" / key.run_id / "scores.parquet"
    pd.read_parquet(path).drop(columns="pixel_size_nm").to_parquet(path)
    assert sha256_of_frame(store.scores()) == sha256_of_scores(before)
    assert sha256_of_frame(pd.read_parquet(path)) == sha256_of_scores(before)
