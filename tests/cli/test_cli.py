"""The command line as a user meets it: lists, errors without tracebacks, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


def srbench(*arguments: str, home: Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the real command in a real process."""
    import os

    environment = {**os.environ, "SRBENCH_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "from srbench.cli import main; main()", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd or home, env=environment, check=False
    )


def test_lists(tmp_path: Path) -> None:
    models = json.loads(srbench("models", "list", "--json", home=tmp_path).stdout)
    assert {"nearest", "bilinear", "bicubic", "lanczos", "vdsr", "edsr", "srgan", "csm_sr"} <= {
        card["name"] for card in models
    }
    assert [card["year"] for card in models] == sorted(card["year"] for card in models)
    datasets = json.loads(srbench("datasets", "list", "--json", home=tmp_path).stdout)
    states = {card["name"]: card["state"] for card in datasets}
    assert states["sem_synthetic"] == "embedded" and states["sem_open"] == "absent"


def test_show(tmp_path: Path) -> None:
    shown = json.loads(srbench("models", "show", "edsr", "--json", home=tmp_path).stdout)
    assert set(shown["sizes"]) == {"baseline", "full", "tiny"}
    assert int(shown["sizes"]["full"]["parameters"].replace(",", "")) > 4e7
    text = srbench("datasets", "show", "sem_synthetic", home=tmp_path).stdout
    assert "particles" in text and "fingerprint" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("models", "show", "edsrr"), ("did you mean 'edsr'", "vdsr")),
        (("train", "esdr", "--dataset", "sem_synthetic"), ("did you mean 'edsr'",)),
        (("train", "edsr", "--dataset", "sem_opn"), ("did you mean 'sem_open'", "sem_synthetic")),
        (
            ("train", "edsr", "--dataset", "sem_open"),
            ("srbench data import sem_open --from", "srbench data fetch"),
        ),
        (("train", "vdsr", "--dataset", "sem_synthetic", "--scale", "7"), ("scale", "2, 3, 4")),
        (
            ("train", "edsr", "--dataset", "sem_synthetic", "--variant", "basline"),
            ("did you mean 'baseline'",),
        ),
        (("train", "edsr", "--dataset", "sem_synthetic", "--set", "train.bacth=3"), ("train.bacth", "batch")),
        (("train", "edsr", "--dataset", "sem_synthetic", "--set", "nonsense"), ("nonsense",)),
        (("eval", "edsrr", "--dataset", "sem_synthetic"), ("did you mean 'edsr'",)),
        (("eval", "bicubic", "--dataset", "sem_synthetic", "--metric", "pnsr"), ("did you mean 'psnr'",)),
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
def test_errors_say_what_to_do(tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    done = srbench(*arguments, home=tmp_path)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr, done.stderr
    for word in words:
        assert word in done.stderr.replace("\n", " "), done.stderr


def test_infer_takes_what_it_can_and_names_the_rest(tmp_path: Path) -> None:
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
    done = srbench(
        "infer", "bicubic", str(folder), "--out", str(tmp_path / "out"), "--scale", "2", home=tmp_path
    )
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


def test_unwritable_output_is_refused_before_any_work(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder is wanted")
    arguments = ("--dataset", "sem_synthetic:small", "--scale", "4", "--budget", "smoke", "--variant", "tiny")
    done = srbench("train", "vdsr", *arguments, "--out", str(blocked / "run"), home=tmp_path)
    assert done.returncode == 1 and "Cannot write" in done.stderr and "Traceback" not in done.stderr, (
        done.stderr
    )


def test_nothing_is_written_where_the_command_runs(tmp_path: Path) -> None:
    home, cwd = tmp_path / "home", tmp_path / "cwd"
    home.mkdir()
    cwd.mkdir()
    options = ("--dataset", "sem_synthetic:small", "--split", "val", "--scale", "4", "--previews", "2")
    done = srbench("eval", "bicubic", *options, home=home, cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert list(cwd.iterdir()) == []
    assert (home / "results" / "runs").is_dir()
    done = srbench("report", home=home, cwd=cwd)
    assert done.returncode == 0 and (home / "results" / "report" / "report.html").is_file(), done.stderr
    assert list(cwd.iterdir()) == []


def test_doctor_runs_anywhere(tmp_path: Path) -> None:
    done = srbench("doctor", home=tmp_path)
    assert done.returncode == 0, done.stderr
    for word in ("torch", "sem_open", "vgg19-dcbb9e9d.pth", "alexnet-owt-7be5be79.pth", "No problems found"):
        assert word in done.stdout
