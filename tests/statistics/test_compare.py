"""``srbench compare`` on a small constructed store: the story, its numbers, and every refusal."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from srbench.cli.app import cli
from srbench.cli.compare import lines
from srbench.statistics.compare import compare
from srbench.statistics.paired_tests import holm
from srbench.store import Manifest, RunKey, Score, ScoreStore
from srbench.utils.errors import SrbenchError

IMAGES = 24
LEAKING = {"leaking": True}
Value = Callable[[int], float]


def key(model: str, seed: int = -1, **changes: Any) -> RunKey:
    weights = f"{model.encode().hex()}{seed:02}".ljust(64, "0")[:64] if seed >= 0 else ""
    fields = {
        "variant": "paper",
        "weights": weights,
        "seed": seed,
        "dataset": "sem_made_up",
        "data": "d" * 64,
    }
    fields |= {"split": "test", "degradation": "bicubic@1", "scale": 4, "protocol": "sem-grey-0a1b2c3d"}
    return RunKey(model, **{**fields, **changes})


def add(root: Path, run: RunKey, psnr: Value, ssim: Value | None = None, **manifest: Any) -> None:
    """Twelve groups of two images in three categories; a NaN value is missing with a reason."""
    scores = []
    for name, value in (("psnr", psnr), ("ssim", ssim)):
        for i in range(IMAGES if value else 0):
            number = value(i) if value else 0.0
            reason = "too small" if np.isnan(number) else ""
            place = (f"field {i:02}", f"g{i // 2}", ("powder", "fibres", "tips")[i // 2 % 3])
            scores.append(Score(name, number, *place, reason))
    scores += [Score("params", 1e6)]
    weights = {"budget": "paper", "iterations": 1000} if run.seed >= 0 else {}
    family = "interpolation" if run.model == "bicubic" else "regression"
    described = {"weights": weights, "card": {"title": run.model.upper(), "family": family}, **manifest}
    ScoreStore(root).write_run(Manifest(run, "complete", **described), scores)


def about(level: float, seed: int, spread: float = 0.04) -> Value:
    noise = np.random.default_rng(seed).normal(0, spread, IMAGES)
    return lambda i: level + 0.5 * i + float(noise[i])


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stored")
    add(root, key("bicubic", variant="matlab"), about(25, 0), about(0.5, 10, 0.0001))
    for seed in range(3):
        add(root, key("edsr", seed), about(26 + 0.1 * seed, 1 + seed), about(0.6, 11 + seed, 0.0001))
    add(root, key("vdsr", 0), about(26.08, 7), about(0.6002, 17, 0.0001))
    return root


@pytest.fixture
def root(stored: Path, tmp_path: Path) -> Path:
    """A store that a test may change."""
    return Path(shutil.copytree(stored, tmp_path / "results"))


def run(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["compare", *arguments, "--results", str(root)])


def refused(root: Path, *arguments: str) -> str:
    done = run(root, *arguments)
    assert isinstance(done.exception, SrbenchError), done.output
    return str(done.exception)


@pytest.mark.slow
def test_the_story_is_told_in_words_and_a_table(root: Path) -> None:
    done = run(root, "edsr", "bicubic")
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert "A EDSR (paper; paper budget; seeds 0, 1, 2;" in text and "B BICUBIC" in text
    assert "24 images, 12 independent groups in 3 categories" in text
    assert "A − B is +1.1" in text
    assert "beyond the margin of 0.1 dB" in text
    assert text.index("A − B is +1.1") < text.index("24 images")
    assert "A is better in 100 % [" in text
    assert "over 3 seeds, in the interval" in text and "B is not trained" in text
    for word in ("powder", "fibres", "tips", "Images that differ most", "field ", "SSIM", "params"):
        assert (word in text) == (word != "params")


@pytest.mark.slow
def test_numbers_in_json_are_those_of_the_rows(root: Path) -> None:
    found = json.loads(run(root, "edsr", "vdsr", "--json").output)
    psnr = next(one for one in found["metrics"] if one["metric"] == "psnr")
    ours = [np.mean([about(26 + 0.1 * s, 1 + s)(i) for s in range(3)]) for i in range(IMAGES)]
    theirs = [about(26.08, 7)(i) for i in range(IMAGES)]
    assert psnr["first"]["value"] == pytest.approx(np.mean(ours))
    assert psnr["second"]["value"] == pytest.approx(np.mean(theirs))
    assert psnr["contrast"]["difference"] == pytest.approx(np.mean(ours) - np.mean(theirs))
    assert psnr["first"]["seed_sd"] == pytest.approx(0.1, abs=0.02) and psnr["second"]["seed_sd"] is None
    by_size = sorted(range(IMAGES), key=lambda i: ours[i] - theirs[i])
    assert psnr["images"][0]["image"] == f"field {by_size[-1]:02}"
    assert psnr["images"][-1]["image"] == f"field {by_size[0]:02}"
    by_category = {one["category"]: one for one in psnr["categories"]}
    tips = [i for i in range(IMAGES) if i // 2 % 3 == 2]
    assert by_category["tips"]["difference"] == pytest.approx(np.mean([ours[i] - theirs[i] for i in tips]))
    assert (by_category["tips"]["n_groups"], by_category["tips"]["n_images"]) == (4, 8)


@pytest.mark.slow
def test_the_primary_metric_stands_outside_the_correction_of_the_others(root: Path) -> None:
    for chosen in ("psnr", "ssim"):
        found = json.loads(run(root, "edsr", "vdsr", "--primary", chosen, "--json").output)
        assert found["primary"] == chosen
        contrasts = {one["metric"]: one["contrast"] for one in found["metrics"]}
        primary = contrasts.pop(chosen)
        assert primary["p_holm"] == primary["p"] and contrasts
        adjusted = holm([one["p"] for one in contrasts.values()])
        assert [one["p_holm"] for one in contrasts.values()] == pytest.approx(adjusted)
    both = compare("edsr", "vdsr", results=root, metrics=("ssim", "psnr"))
    assert (both.primary, [one.metric for one in both.metrics]) == ("ssim", ["psnr", "ssim"])
    assert "ssim" in refused(root, "edsr", "vdsr", "--primary", "simm")


@pytest.mark.slow
def test_equivalence_and_a_margin_of_ones_own(root: Path) -> None:
    ssim = {one.metric: one for one in compare("edsr", "vdsr", results=root).metrics}["ssim"]
    assert ssim.verdict == "equivalent"
    assert "are equivalent" in " ".join(run(root, "edsr", "vdsr", "--metric", "ssim").output.split())
    strict = run(root, "vdsr", "bicubic", "--metric", "psnr", "--margin", "psnr=3").output
    assert "equivalent" in strict and "chosen by the user" in " ".join(strict.split())
    assert run(root, "edsr", "vdsr", "--margin", "psnr").exit_code == 2
    assert "finite number" in refused(root, "edsr", "vdsr", "--margin", "psnr=-1")


@pytest.mark.slow
def test_swapping_the_models_swaps_the_story(root: Path) -> None:
    there, back = compare("edsr", "bicubic", results=root), compare("bicubic", "edsr", results=root)
    for one, other in zip(there.metrics, back.metrics, strict=True):
        assert other.paired.difference == pytest.approx(-one.paired.difference)
        low, high, df = one.paired.interval
        assert other.paired.interval == pytest.approx((-high, -low, df))
        assert {one.verdict, other.verdict} == {"better", "worse"}
        assert [image.image for image in other.images] == [image.image for image in one.images][::-1]


@pytest.mark.slow
def test_lines_fit(stored: Path) -> None:
    compared = compare("edsr", "vdsr", results=stored)
    for width in (80, 100, 120):
        assert max(map(len, lines(compared, width, ()))) <= width


@pytest.mark.slow
def test_models_are_named_by_variant_and_hash_too(root: Path) -> None:
    digest = key("edsr", 1).weights
    add(root, key("edsr", 0, variant="tiny", weights="f" * 64), about(25.5, 30))
    assert len(compare("edsr:paper", "bicubic:matlab", results=root).first.runs) == 3
    one = compare(digest[:10], "bicubic", results=root).first
    assert [run.seed for run in one.runs] == [1]
    message = refused(root, "edsr", "bicubic")
    assert "different trainings" in message and "edsr:tiny" in message and "ffffffff" in message


@pytest.mark.slow
def test_different_budgets_are_not_seeds_of_each_other(root: Path) -> None:
    add(root, key("edsr", 3), about(26, 40), weights={"budget": "short", "iterations": 10})
    best = compare("edsr", "bicubic", results=root)
    assert [run.seed for run in best.first.runs] == [0, 1, 2]  # the larger budget
    (words,) = [warning for warning in best.warnings if "Passed over" in warning]
    assert key("edsr", 3).weights[:8] in words
    compared = compare(key("edsr", 3).weights[:12], key("edsr", 0).weights, results=root)
    assert len(compared.first.runs) == len(compared.second.runs) == 1


@pytest.mark.slow
def test_of_equal_budgets_the_larger_validation_gain_is_compared(root: Path) -> None:
    for seed, gain in ((5, 0.2), (6, 0.7)):
        of_run = {"budget": "paper", "iterations": seed, "gain_over_bicubic": gain}
        add(root, key("swinir", seed), about(26, 40 + seed), weights=of_run)
    compared = compare("swinir", "bicubic", results=root)
    assert [run.seed for run in compared.first.runs] == [6]
    assert any(key("swinir", 5).weights[:8] in warning for warning in compared.warnings)


@pytest.mark.slow
def test_names_nobody_knows_get_a_suggestion(root: Path) -> None:
    assert "did you mean 'edsr'" in refused(root, "esdr", "bicubic")
    assert "did you mean 'edsr:paper'" in refused(root, "edsr:papr", "bicubic")
    assert "did you mean 'psnr'" in refused(root, "edsr", "bicubic", "--metric", "pnsr")
    assert "did you mean 'sem_made_up'" in refused(root, "edsr", "bicubic", "--dataset", "sem_mad_up")
    assert "same run" in refused(root, "edsr", "edsr")
    assert "srbench eval" in refused(root.parent / "nothing", "edsr", "bicubic")


def test_a_failed_run_says_why_it_has_no_scores(root: Path) -> None:
    ScoreStore(root).write_run(Manifest(key("swinir"), "failed", "out of memory; give --tile 256"), [])
    assert "out of memory; give --tile 256" in refused(root, "swinir", "bicubic")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("protocol", "matlab-y-11111111"),
        ("scale", 2),
        ("data", "e" * 64),
        ("degradation", "area@1"),
        ("split", "val"),
    ],
)
def test_what_differs_is_refused_and_named(root: Path, field: str, value: Any) -> None:
    add(root, key("other", **{field: value}), about(26, 5))
    message = refused(root, "edsr", "other")
    assert "cannot be compared" in message and f"\n  {field}: " in message and str(value) in message
    assert message.count("\n  ") == 1 and "srbench eval other" in message


@pytest.mark.slow
def test_several_common_conditions_ask_for_a_choice(root: Path) -> None:
    for model in ("bicubic", "vdsr"):
        seed = 0 if model == "vdsr" else -1
        variant = "paper" if seed == 0 else "matlab"
        add(root, key(model, seed, variant=variant, scale=2), about(30, 3 + seed))
    message = refused(root, "vdsr", "bicubic")
    assert "2 sets of conditions" in message and "x2" in message and "x4" in message
    assert run(root, "vdsr", "bicubic", "--scale", "2").exit_code == 0
    assert (
        run(
            root, "vdsr", "bicubic", "--scale", "4", "--degradation", "bicubic", "--protocol", "sem-grey"
        ).exit_code
        == 0
    )
    assert "only under" in refused(root, "edsr", "bicubic", "--scale", "2")


def test_different_lr_images_under_one_name_are_refused(root: Path) -> None:
    add(root, key("a"), about(26, 5), data={"lr_sha256": "1" * 64})
    add(root, key("b"), about(26, 6), data={"lr_sha256": "2" * 64})
    message = refused(root, "a", "b")
    assert "different LR images" in message and "111111111111" in message


@pytest.mark.slow
def test_missing_images_leave_it_undecided(root: Path) -> None:
    add(root, key("holes"), lambda i: float("nan") if i < 4 else about(29, 5)(i))
    found = compare("holes", "bicubic", metrics=("psnr",), results=root).metrics[0]
    assert found.missing == (4, 0) and found.verdict == "undecided"
    assert found.paired.n_images == 20 and found.paired.difference > 3
    text = " ".join(run(root, "holes", "bicubic", "--metric", "psnr").output.split())
    assert "holes has no value for 4 images" in text and "not scored on the same images" in text


@pytest.mark.slow
def test_a_metric_of_one_alone_is_said_to_be_missing(root: Path) -> None:
    add(root, key("only_psnr"), about(26, 5))
    found = compare("only_psnr", "bicubic", results=root)
    assert [one.metric for one in found.metrics] == ["psnr"] and "srbench eval" in found.without["ssim"]
    add(root, key("nothing"), lambda i: float("nan"))
    empty = compare("nothing", "bicubic", metrics=("psnr",), results=root)
    assert empty.metrics == () and empty.without == {"psnr": "too small"}
    assert run(root, "nothing", "bicubic", "--metric", "psnr").exit_code == 0


@pytest.mark.slow
def test_points_of_curves_and_properties_of_the_reference_are_told_when_asked_for(root: Path) -> None:
    for name, level in (("a", 26.0), ("b", 27.0)):
        values, shape = about(level, 1), about(0.1, 3)
        place = [(f"f{i}", f"g{i}", "c") for i in range(12)]
        scores = [Score("psnr", values(i), *place[i]) for i in range(12)]
        scores += [
            Score(metric, shape(i), *place[i]) for metric in ("frc_03", "cd_bias_hr") for i in range(12)
        ]
        ScoreStore(root).write_run(Manifest(key(name), "complete"), scores)
    assert [one.metric for one in compare("a", "b", results=root).metrics] == ["psnr"]
    asked = compare("a", "b", metrics=("frc_03", "cd_bias_hr"), results=root).metrics
    assert {one.metric for one in asked} == {"frc_03", "cd_bias_hr"}


@pytest.mark.slow
def test_cautions(root: Path) -> None:
    add(root, key("copy"), about(25, 0), about(0.5, 10, 0.0001))
    add(root, key("oracle"), about(40, 3), card={"title": "Oracle", "leaking": True})
    assert "one output under two names" in " ".join(run(root, "copy", "bicubic").output.split())
    assert "sees the HR image: not ranked" in run(root, "oracle", "bicubic").output


@pytest.mark.slow
def test_equal_previews_are_noticed_where_scores_differ(root: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8), dtype=np.uint8)
    for name, seed in (("a", 5), ("b", 6)):
        values = about(26, seed)
        scores = [Score("psnr", values(i), f"field {i}", f"g{i}", "powder") for i in range(8)]
        ScoreStore(root).write_run(Manifest(key(name), "complete"), scores, {"field 1": pixels})
    assert "same pixels" in compare("a", "b", results=root).warnings[0]
    assert compare("edsr", "vdsr", results=root).warnings == ()


@pytest.mark.slow
def test_few_groups_never_get_a_verdict(tmp_path: Path) -> None:
    for name, level in (("a", 30.0), ("b", 20.0)):
        values = about(level, 1)
        scores = [Score("psnr", values(i), f"f{i}", f"g{i % 5}", "c") for i in range(10)]
        ScoreStore(tmp_path).write_run(Manifest(key(name), "complete"), scores)
    text = " ".join(run(tmp_path, "a", "b").output.split())
    assert "5 independent groups are too few, at least 6" in text


@pytest.mark.slow
def test_the_command_imports_nothing_heavy_until_it_runs() -> None:
    code = (
        "import sys; import srbench.cli.compare\n"
        "print([m for m in ('torch', 'pandas', 'scipy', 'numpy', 'cv2', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_comparing_needs_no_torch(root: Path) -> None:
    code = (
        "import sys; from srbench.cli import main\n"
        f"sys.argv = ['srbench', 'compare', 'edsr', 'bicubic', '--results', {str(root)!r}]\n"
        "try: main()\nexcept SystemExit as end: assert not end.code\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "False"


@pytest.mark.slow
def test_conditions_by_name_only(root: Path) -> None:
    found = compare("edsr", "bicubic", results=str(root), dataset="sem_made_up", split="test")
    assert found.conditions.dataset == "sem_made_up" and found.n_groups == 12


@pytest.mark.slow
def test_of_several_states_of_a_dataset_the_newest_is_compared(root: Path) -> None:
    """After an image was added: nothing to choose, but it is said, and the older state can be had."""
    quickly = functools.partial(compare, results=root, metrics=("psnr",))
    for model, level in (("bicubic", 30.0), ("vdsr", 31.0)):
        variant, seed = ("matlab", -1) if model == "bicubic" else ("paper", 0)
        changed = key(model, seed, variant=variant, data="e" * 64)
        add(root, changed, about(level, 3), created="2026-12-01T00:00:00", data={"images": 25})
    found = quickly("vdsr", "bicubic")
    assert found.conditions.data == "e" * 64
    told = [line for line in found.warnings if "2 states" in line]
    assert len(told) == 1 and "eeeeeeee (25 images" in told[0] and "dddddddd" in told[0]
    older = quickly("vdsr", "bicubic", data="dd")
    assert older.conditions.data == "d" * 64 and any("2 states" in line for line in older.warnings)
    assert "data" in refused(root, "vdsr", "bicubic", "--data", "0123")
    # EDSR was not scored on the newest.
    both = quickly("edsr", "bicubic")
    assert both.conditions.data == "d" * 64 and any("eeeeeeee" in line for line in both.warnings)
    # States of another split are no states of this one.
    add(root, key("bicubic", variant="matlab", split="val", data="f" * 64), about(1, 1))
    assert not any("ffffffff" in line for line in quickly("vdsr", "bicubic").warnings)


@pytest.mark.slow
def test_a_folder_is_one_dataset_however_it_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my images").mkdir()
    name = f"folder:{(tmp_path / 'my images').resolve()}"
    for model, seed in (("a", 1), ("b", 2)):
        add(tmp_path, key(model, dataset=name), about(25, seed))
        add(tmp_path, key(model, dataset="sem_made_up"), about(25, seed))
    monkeypatch.chdir(tmp_path)
    for typed in (name, "./my images", "my images/", "folder:my images", str(tmp_path / "my images")):
        assert compare("a", "b", results=tmp_path, dataset=typed).conditions.dataset == name
    assert "dataset" in refused(tmp_path, "a", "b", "--dataset", "./others")


@pytest.mark.slow
def test_lengths_and_margins_in_nm(tmp_path: Path) -> None:
    for model, bias in (("a", 1.0), ("b", 0.2)):
        scores = [
            Score("cd_bias", bias + 0.001 * i, f"i{i}", f"g{i}", "c", pixel_size_nm=5.828) for i in range(8)
        ]
        ScoreStore(tmp_path).write_run(Manifest(key(model), "complete"), scores)
    found = json.loads(run(tmp_path, "a", "b", "--json").output)
    (metric,) = found["metrics"]
    assert (metric["unit"], found["lengths"]["unit"]) == ("nm", "nm")
    assert metric["contrast"]["difference"] == pytest.approx(0.8 * 5.828)
    assert metric["margin"]["value"] == pytest.approx(0.5 * 5.828)
    chosen = compare("a", "b", results=tmp_path, margins={"cd_bias": "5nm"}).metrics[0]
    assert (chosen.margin.value, chosen.verdict) == (5.0, "equivalent")
    assert "nm" in run(tmp_path, "a", "b", "--margin", "cd_bias=0.25px").output
    assert "0.5px or 2nm" in refused(tmp_path, "a", "b", "--margin", "cd_bias=5")


def test_real_minus_synthetic_is_shown_where_both_are_stored(root: Path) -> None:
    synthetic = "sem_pixel:dose=20@1"
    for degradation, less in (("recorded@1", 1.5), (synthetic, 0.0)):
        for model, level in (("bicubic", 25.0), ("gaussian", 26.0)):
            where = {"degradation": degradation, "dataset": "kriss", "scale": 1}
            add(root, key(model, **where), lambda i, level=level, less=less: level + i - less)
    add(root, key("gaussian", dataset="kriss", scale=1, degradation="area@1"), about(20, 1))
    comparison = compare("gaussian", "bicubic", results=root, dataset="kriss")
    assert comparison.conditions.degradation == "recorded@1"
    assert comparison.gaps["area@1"]["psnr"][1] is None
    assert [gap and gap.difference for gap in comparison.gaps[synthetic]["psnr"]] == pytest.approx(
        [-1.5, -1.5]
    )
    shown = run(root, "gaussian", "bicubic", "--dataset", "kriss", "--json")
    (first, second) = json.loads(shown.stdout)["real_minus_synthetic"][synthetic]["psnr"].values()
    assert first["difference"] == pytest.approx(-1.5) and second["n_images"] == IMAGES
    assert synthetic in "\n".join(lines(comparison))
    assert not compare("edsr", "bicubic", results=root, dataset="sem_made_up").gaps
