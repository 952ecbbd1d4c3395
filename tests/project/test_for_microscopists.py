"""docs/for_microscopists.md: every command, typed as it stands, on small images with an instrument's tags."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from scipy.ndimage import gaussian_filter

import srbench
from helpers.evaluations import workers_here
from srbench.cli.app import cli

DOCS = Path(__file__).parents[2] / "docs" / "for_microscopists.md"
PIXEL_NM = 5.0
FEI_TAG = 34682


def commands() -> list[list[str]]:
    blocks = re.findall(r"```\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)
    return [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]


def micrograph(seed: int) -> np.ndarray:
    """Bright discs of 14 to 24 px on a dark ground with a little noise."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:160, :160]
    image = np.full((160, 160), 60.0)
    for row in range(4):
        for column in range(4):
            radius, (dy, dx) = generator.uniform(7, 12), generator.uniform(-7, 7, 2)
            image[np.hypot(y - 20 - 40 * row - dy, x - 20 - 40 * column - dx) < radius] = 180.0
    return (
        np.rint(gaussian_filter(image, 0.7) + generator.normal(0, 3, image.shape)).clip(0, 255).astype("u1")
    )


def save(folder: Path, seed: int, blur: float = 0.0, noise: float = 0.0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = f"[Scan]\r\nPixelWidth={PIXEL_NM * 1e-9}\r\nPixelHeight={PIXEL_NM * 1e-9}\r\n".encode()
    path = folder / f"field{seed}.tif"
    pixels = gaussian_filter(micrograph(seed), blur)
    noisy = pixels + np.random.default_rng(seed).normal(0, noise, pixels.shape)
    pixels = np.rint(noisy).clip(0, 255).astype("u1")
    tifffile.imwrite(path, pixels, extratags=[(FEI_TAG, 2, len(text), text, True)], metadata=None)


@pytest.mark.slow
def test_every_command_does_what_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SRBENCH_HOME", str(tmp_path / "home"))
    for seed in range(8):
        save(tmp_path / "slow", seed)
        save(tmp_path / "sharpened", seed, blur=1.0)
        save(tmp_path / "scans" / "slow", seed)
        save(tmp_path / "scans" / "fast", seed, noise=20.0)
    save(tmp_path / "fast", 9)
    with workers_here():
        for command in commands():
            if command[0] == "train":  # a few steps show that it runs
                command = [*command, "--set", "train.iterations=3", "--set", "train.batch=2"]
            if command[0] in ("eval", "score"):  # all metrics take a while
                command = [*command, *(f"--metric={name}" for name in ("psnr", "diameter_bias"))]
            outcome = CliRunner().invoke(cli, command)
            assert outcome.exit_code == 0, (command, outcome.output, outcome.exception)
    enlarged = tifffile.TiffFile("enlarged/field9_bicubic_x2.tif")
    assert enlarged.imagej_metadata["unit"] == "nm"
    resolution, per = enlarged.pages[0].tags["XResolution"].value
    assert per / resolution == pytest.approx(PIXEL_NM / 2)
    assert Path("with_bar/field9_bicubic_x2.tif").is_file()
    assert len(list(Path("by_network").iterdir())) == 1
    scores = srbench.load_scores(tmp_path / "home" / "results")
    of_diameter = scores[scores["metric"] == "diameter_bias@2"]
    assert set(of_diameter["model"]) >= {"edsr", "bicubic", "nearest", "sharpened"}
    assert (of_diameter["pixel_size_nm"] == PIXEL_NM).all()
    # A symmetric blur does not move the 50 % contour of a disc by much.
    assert of_diameter.loc[of_diameter["model"] == "sharpened", "value"].abs().max() < 0.5
    page = (tmp_path / "home" / "results" / "report" / "report.html").read_text(encoding="utf-8")
    assert "3 nm" in page
