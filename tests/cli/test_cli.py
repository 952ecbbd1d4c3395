"""The command line as a user meets it: lists, errors without tracebacks, exit codes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from helpers.command_line import Srbench
from srbench.evaluation.evaluate import EvaluationSummary, Outcome
from srbench.store import load_scores


def in_a_process(*arguments: str, home: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SRBENCH_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "from srbench.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)


def test_lists(srbench: Srbench) -> None:
    models = json.loads(srbench("models", "list", "--json").stdout)
    assert {"nearest", "bilinear", "bicubic", "lanczos", "vdsr", "edsr", "srgan", "csm_sr"} <= {
        card["name"] for card in models
    }
    assert [card["year"] for card in models] == sorted(card["year"] for card in models)
    datasets = json.loads(srbench("datasets", "list", "--json").stdout)
    states = {card["name"]: card["state"] for card in datasets}
    assert states["sem_synthetic"] == "embedded" and states["sem_open"] == "absent"


@pytest.mark.slow
def test_show(srbench: Srbench) -> None:
    shown = json.loads(srbench("models", "show", "edsr", "--json").stdout)
    assert set(shown["sizes"]) == {"baseline", "full", "tiny"}
    assert int(shown["sizes"]["full"]["parameters"].replace(",", "")) > 4e7
    text = srbench("datasets", "show", "sem_synthetic").stdout
    assert "particles" in text and "fingerprint" in text


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("models", "list"), ("models", "show", "edsr")])
def test_models_are_shown_without_torch(arguments: tuple[str, ...]) -> None:
    """Cards and sizes are read from an up-to-date ``cards.json``; an idle core needs 0.25 s, 0.6 at most."""
    code = (
        f"import sys, time; sys.argv = ['srbench', *{arguments!r}]; from srbench.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules, time.process_time() < 0.6)"
    )
    seen = set()
    for _ in range(3):  # a busy machine takes longer
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seen.add(done.stdout.splitlines()[-1])
    assert "False True" in seen and not any(line.startswith("True") for line in seen)


def test_all_models_need_no_dataset(srbench: Srbench, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, Any]] = []

    def evaluate(models: Any, *, dataset: Any, **_: Any) -> EvaluationSummary:
        calls.append((models, dataset))
        return EvaluationSummary(Path("r"), (Outcome("edsr tiny", "edsr", "failed", "no"),), "sem, test, x4")

    monkeypatch.setattr("srbench.evaluation.evaluate.evaluate", evaluate)
    result = srbench("eval", "--all")
    assert calls == [("all", None)]
    assert result.returncode == 1 and result.stdout.startswith("sem, test, x4\nedsr tiny  failed   no\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("models", "show", "edsrr"), ("'edsr'", "vdsr")),
        (("train", "esdr", "--dataset", "sem_synthetic"), ("'edsr'",)),
        (("train", "edsr", "--dataset", "sem_opn"), ("'sem_open'", "sem_synthetic")),
        (
            ("train", "edsr", "--dataset", "sem_open"),
            ("srbench data import sem_open --from", "srbench data fetch"),
        ),
        (("train", "vdsr", "--dataset", "sem_synthetic", "--scale", "7"), ("scale", "2, 3, 4")),
        (
            ("train", "edsr", "--dataset", "sem_synthetic", "--variant", "basline"),
            ("'baseline'",),
        ),
        (("train", "edsr", "--dataset", "sem_synthetic", "--set", "train.bacth=3"), ("train.bacth", "batch")),
        (("train", "edsr", "--dataset", "sem_synthetic", "--set", "nonsense"), ("nonsense",)),
        (("eval", "edsrr", "--dataset", "sem_synthetic"), ("'edsr'",)),
        (("eval", "bicubic", "--dataset", "sem_synthetic", "--metric", "pnsr"), ("'psnr'",)),
        (("eval", "bicubic", "--dataset", "sem_synthetic", "--protocol", "sem-gray"), ("sem-grey",)),
        (("eval", "bicubic", "--dataset", "sem_synthetic", "--degradation", "bicubc"), ("bicubic",)),
        (("eval", "--dataset", "sem_synthetic"), ("--all",)),
        (("eval", "bicubic"), ("--dataset",)),
        (("eval", "bicubic", "--all"), ("not both",)),
        (("report",), ("srbench eval",)),
        (("data", "verify", "sem_open"), ("srbench data import",)),
        (("data", "import", "sem_synthetic", "--from", "."), ("sem_synthetic",)),
    ],
)
def test_errors_say_what_to_do(srbench: Srbench, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    done = srbench(*arguments)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr, done.stderr
    for word in words:
        assert word in done.stderr.replace("\n", " "), done.stderr


@pytest.mark.slow
def test_infer_takes_what_it_can_and_names_the_rest(srbench: Srbench, tmp_path: Path) -> None:
    import cv2

    folder = tmp_path / "in"
    folder.mkdir()
    random = np.random.default_rng(0)
    cv2.imwrite(str(folder / "grey.png"), random.integers(0, 255, (20, 30), dtype=np.uint8))
    cv2.imwrite(str(folder / "deep.png"), random.integers(0, 65535, (20, 30), dtype=np.uint16))
    cv2.imwrite(str(folder / "colour.png"), random.integers(0, 255, (20, 30, 3), dtype=np.uint8))
    cv2.imwrite(str(folder / "alpha.png"), random.integers(0, 255, (20, 30, 4), dtype=np.uint8))
    cv2.imwrite(str(folder / "nan.tif"), np.full((20, 30), np.nan, dtype=np.float32))
    whole = (folder / "grey.png").read_bytes()
    (folder / "half.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("not an image")
    done = srbench("infer", "bicubic", str(folder), "--out", str(tmp_path / "out"), "--scale", "2")
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    for bad in ("nan.tif", "half.png", "text.png"):
        assert bad in done.stderr
    written = {
        path.name: cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (tmp_path / "out").iterdir()
    }
    assert {image.shape[:2] for image in written.values()} == {(40, 60)}
    assert len(written) == 4
    deep = next(image for name, image in written.items() if name.startswith("deep"))
    assert deep.dtype == np.uint16


@pytest.mark.slow
def test_unwritable_output_is_refused_before_any_work(srbench: Srbench, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, no folder")
    arguments = ("--dataset", "sem_synthetic:small", "--scale", "4", "--budget", "smoke", "--variant", "tiny")
    done = srbench("train", "vdsr", *arguments, "--out", str(blocked / "run"))
    assert done.returncode == 1 and "Cannot write" in done.stderr and "Traceback" not in done.stderr, (
        done.stderr
    )


@pytest.mark.slow
def test_nothing_is_written_where_the_command_runs(tmp_path: Path) -> None:
    home, cwd = tmp_path / "home", tmp_path / "cwd"
    home.mkdir()
    cwd.mkdir()
    (tmp_path / "images").mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8)):
        assert cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), pixels)
    options = ("--dataset", str(tmp_path / "images"), "--metric", "psnr", "--previews", "2")
    done = in_a_process("eval", "bicubic", *options, home=home, cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert list(cwd.iterdir()) == []
    assert (home / "results" / "runs").is_dir()
    done = in_a_process("report", home=home, cwd=cwd)
    assert done.returncode == 0 and (home / "results" / "report" / "report.html").is_file(), done.stderr
    assert list(cwd.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc takes no files, not even from root")
def test_a_home_that_cannot_be_written_is_a_problem_to_the_doctor(
    srbench: Srbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file" / "home", Path("/proc/home")):
        monkeypatch.setenv("SRBENCH_HOME", str(home))
        done = srbench("doctor")
        assert done.returncode == 1 and f"Problem: {home}" in done.stdout
        assert "No problems found" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    ["demo", "eval bicubic --dataset sem_synthetic:small"],
)
def test_a_home_that_cannot_be_written_is_one_error(
    srbench: Srbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    (tmp_path / "file").touch()
    for name in ("file", "x" * 300):
        monkeypatch.setenv("SRBENCH_HOME", str(tmp_path / name))
        done = srbench(*command.split())
        errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
        assert done.returncode == 1 and len(errors) == 1 and str(tmp_path / name) in errors[0]


@pytest.mark.slow
def test_the_line_after_training_elsewhere_works_from_anywhere(
    srbench: Srbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my images").mkdir()
    (tmp_path / "another place").mkdir()
    noise = np.random.default_rng(0)
    for number in range(4):
        pixels = noise.integers(0, 256, (64, 64), np.uint8)
        assert cv2.imwrite(str(tmp_path / "my images" / f"{number}.png"), pixels)
    options = "--variant tiny --scale 2 --budget smoke --set train.iterations=2 --set train.batch=2"
    trained = srbench(
        "train", "edsr", "--dataset", "folder:my images", *options.split(), "--out", "it's here"
    )
    assert trained.returncode == 0, trained.stderr
    (line,) = (line for line in trained.stdout.splitlines() if line.startswith("Next: "))
    monkeypatch.chdir(tmp_path / "another place")
    scored = srbench(*shlex.split(line.removeprefix("Next: "))[1:], "--metric", "psnr")
    assert scored.returncode == 0, scored.stderr
    rows = load_scores(tmp_path / "results")
    assert {"edsr", "bicubic"} <= set(rows["model"]) and set(rows["scale"]) == {2}
    run = tmp_path / "it's here"
    done = srbench("infer", "--weights", str(run), str(tmp_path / "my images" / "0.png"), "--out", "out")
    assert done.returncode == 0, done.stderr
    (written,) = Path("out").rglob("*.png")
    assert cv2.imread(str(written), cv2.IMREAD_UNCHANGED).shape == (128, 128)


@pytest.mark.parametrize(
    "command",
    [
        "report --results",
        "compare a b --results",
        "infer bicubic x.png --out",
        "eval --dataset sem_synthetic:small --weights",
    ],
)
def test_a_path_that_is_too_long_is_one_error(srbench: Srbench, command: str) -> None:
    for path in ("x" * 300, "/tmp" + "/deep" * 1000):
        done = srbench(*command.split(), path)
        assert done.returncode == 1 and done.stderr.startswith("Error: ") and path in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_names_of_any_bytes_are_scored_stored_and_reported(srbench: Srbench, tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"k\xe9rper")
    (root / os.fsdecode(b"s\xe4ge")).mkdir(parents=True)
    noise = np.random.default_rng(0)
    for name in (b"prob\xe9.png", b"s\xe4ge/red\x1b[31m\n.png", b"literal\\xe9.png"):
        pixels = noise.integers(0, 256, (64, 64), np.uint8)
        (root / os.fsdecode(name)).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    dataset = f"folder:{root}"
    done = srbench("eval", "bicubic", "--dataset", dataset, "--split", "all", "--metric", "psnr")
    assert done.returncode == 0, done.stderr
    rows = load_scores(tmp_path / "results")
    images = {r"prob\xe9.png", r"s\xe4ge/red\x1b[31m\x0a.png", r"literal\x5cxe9.png"}
    assert set(rows["image"]) - {""} == images
    assert set(rows["category"]) - {""} == {r"k\xe9rper", r"s\xe4ge"}
    # The name under which it was stored leads to the same folder.
    (stored,) = set(rows["dataset"])
    again = srbench("eval", "bicubic", "--dataset", stored, "--split", "all", "--metric", "psnr")
    assert again.returncode == 0 and "already scored" in again.stdout
    assert srbench("report").returncode == 0
    page = (tmp_path / "results" / "report" / "report.html").read_text(encoding="utf-8")
    assert all(image in page for image in images)
    assert json.loads(srbench("datasets", "show", dataset, "--json").stdout)["images"] == 3


def test_doctor_runs_anywhere(srbench: Srbench) -> None:
    done = srbench("doctor")
    assert done.returncode == 0, done.stderr
    for word in ("torch", "sem_open", "vgg19-dcbb9e9d.pth", "alexnet-owt-7be5be79.pth", "No problems found"):
        assert word in done.stdout
