"""Scripts that start processes and have no main guard: they work, or are told what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import cv2
import numpy as np
import pytest

from helpers import nffa_archives
from helpers.homes import with_scenes
from srbench.datasets.synthetic.suite import SyntheticScene

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path):
    """Run a script to its end; what it printed, and what it ended with."""
    environment = {**os.environ, "SRBENCH_HOME": str(with_scenes(tmp_path / "home")), "OMP_NUM_THREADS": "1"}

    def call(text: str) -> subprocess.CompletedProcess[str]:
        script = tmp_path / "script.py"
        script.write_text(textwrap.dedent(text), encoding="utf-8")
        return subprocess.run(
            [sys.executable, script.name],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return call


def test_a_preparation_by_two_workers(run, tmp_path):
    (built,) = nffa_archives.build(tmp_path, {"Tips": 12}, size=(256, 192), bars=0)
    done = run(
        f"""
        print("begun")
        from pathlib import Path
        from srbench.datasets.sources.nffa.prepare import ClassArchive, prepare_nffa
        archives = [ClassArchive("Tips", Path({str(built.path)!r}), "md5")]
        print(prepare_nffa(archives, Path("pack"), name="sem", version="1", licence="x", workers=2).images)
        """
    )
    assert (done.stdout.split(), done.returncode) == (["begun", "12"], 0), done.stderr


EVALUATION = """
    rows = srbench.evaluate(
        {models}, dataset="sem_synthetic:small", scale=4, limit=2, workers=2, metrics={metrics},
        results="results", progress=lambda event: isinstance(event, str) and print(event),
    )
    for outcome in rows.outcomes:
        failed = [guard for guard in outcome.guards if guard["status"] == "failed"]
        print("OUTCOME", outcome.model, outcome.status, len(failed), outcome.detail)
"""


def test_training_evaluation_scores_and_enlargement(run, tmp_path):
    for folder, side in (("hr", 96), ("sr", 96), ("lr", 24)):
        (tmp_path / folder).mkdir()
        for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (3, side, side), np.uint8)):
            cv2.imwrite(str(tmp_path / folder / f"{number}.png"), pixels)
    work = """
    import srbench
    print("begun")
    quick = ["train.iterations=2", "train.batch=2", "train.tensorboard=false"]
    trained = srbench.train(
        "edsr", dataset="sem_synthetic:small", scale=4, variant="tiny", budget="smoke",
        overrides=quick, out="run",
    )
    srbench.score("sr", "hr", scale=4, metrics=["psnr"], results="own")
    srbench.infer("edsr", "lr", out="enlarged", weights=trained.weights)
    """
    done = run(
        textwrap.dedent(work)
        + textwrap.dedent(EVALUATION).format(models=["bicubic"], metrics=["psnr", "ssim"])
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split().count("begun") == 1 and "one process" not in done.stdout
    assert "OUTCOME bicubic scored 0" in done.stdout
    assert len(list((tmp_path / "enlarged").rglob("*.png"))) == 3


MODEL_AND_METRIC = """
    import torch
    import srbench
    from srbench.metrics import register_metric
    from srbench.models import register_model
    print("begun")

    @register_metric(title="Brightness", direction="none", explanation="for a test")
    def brightness(case):
        return float(case.sr.mean())

    @register_model(
        title="Mine", family="interpolation", paper="", year=2026, scales=(4,), variants=("a",),
        trainable=False,
    )
    def mine(scale, channels, variant):
        return torch.nn.Upsample(scale_factor=scale)
    """


@pytest.mark.parametrize("guarded", [False, True])
def test_a_model_and_a_metric_of_a_script_that_evaluates_when_it_is_imported(run, guarded):
    """The model's process imports the script: that is no attempt to read references."""
    evaluation = textwrap.dedent(EVALUATION).format(models=["mine"], metrics=["psnr", "brightness"])
    if guarded:
        evaluation = f"if __name__ == '__main__':\n{textwrap.indent(evaluation, '    ')}"
    done = run(textwrap.dedent(MODEL_AND_METRIC) + evaluation)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split().count("begun") == 1
    assert "one process: brightness is registered in the script itself" in done.stdout
    if guarded:
        assert "OUTCOME mine scored 0" in done.stdout
        return
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("OUTCOME mine")]
    assert line.startswith("OUTCOME mine failed 0")
    assert "script.py calls evaluate when it is imported" in line and "__main__" in line


def test_advice_with_a_model_of_the_script(run, tmp_path):
    scene = SyntheticScene("particles", 1, 192).pixels()
    scan = np.random.default_rng(0).poisson(scene * 0.4) / 0.4
    cv2.imwrite(str(tmp_path / "scan.png"), np.clip(np.rint(scan), 0, 255).astype(np.uint8))
    done = run(
        """
        from pathlib import Path
        import torch
        from srbench.measuring.advice import advise
        from srbench.models import register_model
        print("begun")

        @register_model(
            title="Mine", family="interpolation", paper="", year=2026, scales=(2,), variants=("a",),
            trainable=False,
        )
        def mine(scale, channels, variant):
            return torch.nn.Upsample(scale_factor=scale)

        advice = advise(
            [Path("scan.png")], "particles", models=["mine"], scales=(2,), doses=(1.0,), scenes=4, side=192,
            workers=2, progress=lambda event: isinstance(event, str) and print(event),
        )
        print("VERDICTS", sorted({cell.model for cell in advice.all_judgements}))
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split().count("begun") == 1
    assert "one process does the work: mine is registered in the script itself" in done.stdout
    assert "VERDICTS" in done.stdout and "'mine'" in done.stdout


POOL = """
from srbench.utils.errors import SrbenchError
from srbench.utils.parallel import ProcessPool

def larger(number):
    return number + 1

class Number(int):
    pass

try:
    with ProcessPool({function}, 2) as pool:
        print(list(pool.map([(0, {argument})])))
except SrbenchError as error:
    print("ERROR", error)
"""


def test_a_pool_whose_function_stands_in_the_script_names_the_guard(run):
    done = run(POOL.format(function="larger", argument="1"))
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("ERROR")]
    assert "script.py" in line and "__main__" in line and "memory" not in line


def test_a_pool_that_is_given_an_object_of_the_script_says_so(run):
    done = run(POOL.format(function="abs", argument="Number(1)"))
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("ERROR")]
    assert "'Number'" in line and "the script" in line and "memory" not in line
