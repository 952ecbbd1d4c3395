"""The score store: rows survive a round trip, half-written runs do not exist, missing values have reasons."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from srbench.store import READ_COLUMNS, Manifest, Run, RunKey, Score, ScoreStore, load_scores
from srbench.utils.errors import SrbenchError

KEY = RunKey("edsr", "tiny", "ab" * 32, 3, "sem_open", "cd" * 32, "test", "bicubic@1", 4, "sem-grey-01234567")
NAN = float("nan")


def scores() -> list[Score]:
    return [
        Score("psnr", 30.5, "a", "g1", "steel"),
        Score("lpips", NAN, "a", "g1", "steel", reason="alexnet-owt-7be5be79.pth is not on disk"),
        Score("params", 12345.0),
    ]


@pytest.mark.slow
def test_round_trip(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path / "new" / "results")
    preview = np.arange(12, dtype=np.uint8).reshape(3, 4)
    store.write_run(Manifest(KEY, "complete", command="srbench eval"), scores(), {"a/b c": preview})
    rows = store.scores()
    assert tuple(rows.columns) == READ_COLUMNS
    assert tuple(ScoreStore(tmp_path / "empty").scores().columns) == READ_COLUMNS
    assert set(rows.data) == {KEY.data}
    assert rows.metric.tolist() == ["psnr", "lpips", "params"]
    assert rows.value.tolist()[0] == 30.5
    assert np.isnan(rows.value[1]) and "not on disk" in rows.reason[1]
    assert set(rows.seed) == {3} and set(rows.protocol) == {KEY.protocol}
    stored = store.manifest(KEY)
    assert stored is not None and stored.key == KEY and list(stored.previews) == ["a/b c"]
    path = store.preview(KEY, "a/b c")
    assert path is not None
    assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), preview)


def test_pixel_sizes_are_stored_and_old_rows_have_none(tmp_path: Path) -> None:
    sized = [replace(score, pixel_size_nm=5.828) for score in scores()[:2]]
    store = ScoreStore(tmp_path)
    store.write_run(Manifest(KEY, "complete"), [*sized, scores()[2]])
    old = replace(KEY, seed=4)
    store.write_run(Manifest(old, "complete"), scores())
    path = tmp_path / "runs" / old.run_id / "scores.parquet"
    pd.read_parquet(path).drop(columns="pixel_size_nm").to_parquet(path)
    rows = load_scores(tmp_path)
    assert tuple(rows.columns) == READ_COLUMNS and rows["pixel_size_nm"].dtype == np.float64
    assert rows[rows.seed == 3]["pixel_size_nm"].tolist()[:2] == [5.828, 5.828]
    assert np.isnan(rows[rows.seed == 4]["pixel_size_nm"]).all() and len(rows) == 6


def test_missing_value_without_reason_is_refused(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path)
    for bad in (Score("psnr", NAN), Score("psnr", 1.0, reason="why")):
        with pytest.raises(SrbenchError, match="NaN exactly when"):
            store.write_run(Manifest(KEY, "complete"), [bad])
    assert store.manifests() == [] and not list((tmp_path / "runs").iterdir())


def test_the_key_is_the_identity() -> None:
    assert KEY.run_id == replace(KEY).run_id
    for name in asdict(KEY):
        value = getattr(KEY, name)
        other = replace(KEY, **{name: value + 1 if isinstance(value, int) else value + "x"})
        assert other.run_id != KEY.run_id, name


@pytest.mark.slow
def test_rewriting_replaces_and_failed_runs_hold_no_rows(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path)
    store.write_run(Manifest(KEY, "failed", reason="crashed"), [])
    assert not store.is_complete(KEY) and store.scores().empty
    store.write_run(Manifest(KEY, "complete"), scores())
    store.write_run(Manifest(KEY, "complete"), scores()[:1])
    assert store.is_complete(KEY) and len(store.scores()) == 1
    assert len(store.manifests()) == 1


OTHER = replace(KEY, seed=4)


def _change_manifest(run: Path, **values: object) -> None:
    path = run / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def _change_rows(run: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_parquet(run / "scores.parquet")).to_parquet(run / "scores.parquet", index=False)


def _folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _flip_a_byte_of_the_rows(run: Path) -> None:
    content = bytearray((run / "scores.parquet").read_bytes())
    content[20] ^= 0xFF
    (run / "scores.parquet").write_bytes(content)


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "manifest cut": ("manifest.json", lambda run: os.truncate(run / "manifest.json", 40)),
    "manifest empty": ("manifest.json", lambda run: os.truncate(run / "manifest.json", 0)),
    "manifest no UTF-8": ("manifest.json", lambda run: (run / "manifest.json").write_bytes(b"{\xff\xfe}")),
    "manifest a list": ("manifest.json", lambda run: (run / "manifest.json").write_text("[1]")),
    "manifest nested": ("manifest.json", lambda run: (run / "manifest.json").write_text("[" * 10**5)),
    "manifest a folder": ("manifest.json", lambda run: _folder_in_its_place(run / "manifest.json")),
    "manifest missing": ("manifest.json", lambda run: (run / "manifest.json").unlink()),
    "manifest of a type": ("manifest.json", lambda run: _change_manifest(run, card=[1])),
    "manifest of a status": ("manifest.json", lambda run: _change_manifest(run, status="done")),
    "manifest of a guard": ("manifest.json", lambda run: _change_manifest(run, guards=[3])),
    "manifest of a format": ("manifest.json", lambda run: _change_manifest(run, format=99)),
    "manifest of another": ("manifest.json", lambda run: _change_manifest(run, key=asdict(KEY))),
    "key of a type": ("manifest.json", lambda run: _change_manifest(run, key={**asdict(OTHER), "seed": "x"})),
    "key cut": ("manifest.json", lambda run: _change_manifest(run, key={"model": "edsr"})),
    "rows cut": ("scores.parquet", lambda run: os.truncate(run / "scores.parquet", 300)),
    "rows empty": ("scores.parquet", lambda run: os.truncate(run / "scores.parquet", 0)),
    "rows damaged": ("scores.parquet", _flip_a_byte_of_the_rows),
    "rows no parquet": ("scores.parquet", lambda run: (run / "scores.parquet").write_text("model,value\n")),
    "rows a folder": ("scores.parquet", lambda run: _folder_in_its_place(run / "scores.parquet")),
    "rows missing": ("scores.parquet", lambda run: (run / "scores.parquet").unlink()),
    "rows without": (
        "scores.parquet",
        lambda run: _change_rows(run, lambda rows: rows.drop(columns="image")),
    ),
    "values text": ("scores.parquet", lambda run: _change_rows(run, lambda rows: rows.assign(value="1"))),
    "images numbers": ("scores.parquet", lambda run: _change_rows(run, lambda rows: rows.assign(image=1))),
    "rows of another": ("scores.parquet", lambda run: _change_rows(run, lambda rows: rows.assign(seed=3))),
}


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("two_runs")
    for key in (KEY, OTHER):
        ScoreStore(root).write_run(Manifest(key, "complete"), scores())
    return root


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_run_is_named_and_left_out(two_runs: Path, tmp_path: Path, kind: str) -> None:
    shutil.copytree(two_runs, tmp_path, dirs_exist_ok=True)
    store = ScoreStore(tmp_path)
    file, damage = DAMAGE[kind]
    damage(tmp_path / "runs" / OTHER.run_id)
    assert [manifest.key for manifest in store.manifests()] == [KEY]
    assert set(store.scores()["seed"]) == {KEY.seed}
    assert not store.is_complete(OTHER) and store.manifest(OTHER) is None and store.is_complete(KEY)
    (problem,) = store.problems
    assert problem.startswith(str(tmp_path / "runs" / OTHER.run_id / file)) and "\n" not in problem
    with pytest.warns(UserWarning, match=OTHER.run_id):
        load_scores(tmp_path)


def test_a_damaged_run_is_stored_again(two_runs: Path, tmp_path: Path) -> None:
    shutil.copytree(two_runs, tmp_path, dirs_exist_ok=True)
    run = tmp_path / "runs" / OTHER.run_id
    shutil.rmtree(run)
    run.write_text("a file in its place")
    store = ScoreStore(tmp_path)
    assert not store.is_complete(OTHER)
    store.write_run(Manifest(OTHER, "complete"), scores())
    assert store.is_complete(OTHER) and len(store.scores()) == 2 * len(scores())
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {KEY.run_id, OTHER.run_id}


def test_a_damaged_reference_is_written_again(tmp_path: Path) -> None:
    store, pixels = ScoreStore(tmp_path), np.arange(12, dtype=np.uint8).reshape(3, 4)
    for content in (None, b"", b"png", b"\x89PNG\r\n\x1a\n cut"):
        path = store.reference("d-1-bicubic@1-x4", "i", "hr")
        if path is not None and content is not None:
            path.write_bytes(content)
        store.write_reference("d-1-bicubic@1-x4", "i", "hr", pixels)
        written = store.reference("d-1-bicubic@1-x4", "i", "hr")
        assert written is not None and np.array_equal(cv2.imread(str(written), cv2.IMREAD_UNCHANGED), pixels)


def test_manifest_of_another_format_is_refused() -> None:
    text = Manifest(KEY, "complete").to_json()
    with pytest.raises(SrbenchError, match="format 99"):
        Manifest.from_json(json.dumps({**json.loads(text), "format": 99}))


def test_unwritable_folder_is_an_error_a_user_can_act_on(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(SrbenchError, match="Cannot"):
        ScoreStore(blocked).write_run(Manifest(KEY, "complete"), scores())


@pytest.mark.slow
def test_a_killed_writer_leaves_no_run(tmp_path: Path) -> None:
    """SIGKILL at many points of write_run: afterwards every run on disk is whole."""
    code = textwrap.dedent(
        """
        import sys, pathlib, numpy as np
        from srbench.store import *
        key = RunKey("m", "v", "", -1, "d", "f", "test", "bicubic@1", 4, "p")
        store = ScoreStore(pathlib.Path(sys.argv[1]))
        rows = [Score("psnr", float(i), str(i), "g", "c") for i in range(2000)]
        pixels = np.random.default_rng(0).integers(0, 255, (20, 64, 64), dtype=np.uint8)
        images = dict(zip(map(str, range(20)), pixels))
        print("go", flush=True)
        while True:
            store.write_run(Manifest(key, "complete"), rows, images)
        """
    )
    for delay_ms in (0, 10, 20, 40, 80, 160):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd="/"
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                writer.wait(0.2 + delay_ms / 1000)
            os.kill(writer.pid, signal.SIGKILL)
        store = ScoreStore(tmp_path)
        for manifest in store.manifests():
            assert len(store.scores()) == 2000
            assert all(store.preview(manifest.key, image) for image in manifest.previews)
            assert len(manifest.previews) == 20


def test_ids_become_names_that_every_system_takes(tmp_path: Path) -> None:
    """Settings, folders, capitals and device names; different ids never share a file."""
    ids = ["a/b:c", "a_b_c", "A_b_c", "nul", "dose=-1", "dose=1", "é", "ü", "x" * 300, "x" * 299, "plain.png"]
    store, pixels = ScoreStore(tmp_path), np.zeros((2, 2), np.uint8)
    for level, name in enumerate(ids):
        store.write_reference("set-1-sem_pixel:dose=60,jitter=0.3@1-x4", name, "hr", pixels + level)
    for level, name in enumerate(ids):
        path = store.reference("set-1-sem_pixel:dose=60,jitter=0.3@1-x4", name, "hr")
        assert path is not None and cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[0, 0] == level
    names = [path.name for path in tmp_path.rglob("*")]
    assert len({name.lower() for name in names}) == len(ids) + 2
    assert all(len(name) < 100 and not set('<>:"/\\|?*=') & set(name) for name in names)
    assert not [name for name in names if name.lower().partition(".")[0] == "nul"]


def test_references_of_similar_settings_are_kept_apart(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path)
    for level, dose in enumerate(("-1", "1", "_1", "1e3")):
        store.write_reference(f"d-1-x:dose={dose}@1-x4", "i", "lr", np.full((2, 2), level, np.uint8))
    for level, dose in enumerate(("-1", "1", "_1", "1e3")):
        path = store.reference(f"d-1-x:dose={dose}@1-x4", "i", "lr")
        assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[0, 0] == level


def test_pictures_of_earlier_results_are_found_under_their_names(tmp_path: Path) -> None:
    """As folders and files were named when ids had no settings."""
    store = ScoreStore(tmp_path)
    store.write_run(Manifest(KEY, "complete"), scores(), {"Sub/0": np.zeros((2, 2), np.uint8)})
    written = store.preview(KEY, "Sub/0")
    assert written is not None
    earlier = written.with_name(f"Sub_0-{hashlib.sha256(b'Sub/0').hexdigest()[:8]}.png")
    written.rename(earlier)
    assert store.preview(KEY, "Sub/0") == earlier
    kept = tmp_path / "references" / "set_0123_bicubic_1_x4" / "Upper.hr.png"
    kept.parent.mkdir(parents=True)
    stored = cv2.imencode(".png", np.ones((2, 2), np.uint8))[1].tobytes()
    kept.write_bytes(stored)
    assert store.reference("set-0123-bicubic@1-x4", "Upper", "hr") == kept
    store.write_reference("set-0123-bicubic@1-x4", "Upper", "hr", np.zeros((2, 2), np.uint8))
    assert kept.read_bytes() == stored and len(list((tmp_path / "references").iterdir())) == 1


@pytest.mark.slow
def test_two_states_of_a_dataset_are_not_averaged(tmp_path: Path) -> None:
    from srbench.statistics.leaderboard import leaderboard

    store = ScoreStore(tmp_path)
    for data in ("cd" * 32, "ef" * 32):
        store.write_run(Manifest(replace(KEY, data=data), "complete"), scores())
    with pytest.raises(SrbenchError, match="mix 2 values of 'data'"):
        leaderboard(store.scores(), "psnr")
    rows = store.scores()
    assert len(leaderboard(rows[rows["data"] == KEY.data], "psnr")) == 1


@pytest.mark.slow
def test_scores_are_loaded_from_a_path_as_text_or_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "results"
    ScoreStore(root).write_run(Manifest(KEY, "complete"), scores())
    for results in (root, str(root)):
        pd.testing.assert_frame_equal(load_scores(results), ScoreStore(root).scores())
    monkeypatch.setenv("SRBENCH_HOME", str(tmp_path))
    assert len(load_scores()) == len(ScoreStore(root).scores())
    with pytest.raises(SrbenchError, match="srbench eval"):
        load_scores(tmp_path / "nothing")


def test_a_run_names_itself_and_its_conditions() -> None:
    assert KEY.run == Run(KEY.model, KEY.variant, KEY.weights, KEY.seed)
    assert KEY.conditions._asdict().items() <= vars(KEY).items()
