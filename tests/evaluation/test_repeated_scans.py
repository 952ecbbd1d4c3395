"""Micrographs that were scanned more than once: detail is held to a scan whose noise LR does not have."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import srbench
from srbench.datasets.sources.n2n_sem import N2nSem
from srbench.metrics.spectrum import REFERENCE_NOISE
from srbench.store import NOISE_CEILING, ScoreStore

HF = ["recovered_hf", "hallucinated_hf", "gained_hf", "frc_cutoff"]


def archive(folder: Path) -> Path:
    """Two fields of seven scans of a blurred scene; noise falls with the dwell time, the fifth is moved."""
    for name, seed in (("train", 1), ("test", 2)):
        generator = np.random.default_rng(seed)
        scene = gaussian_filter(generator.normal(size=(160, 200)), 1.2, mode="wrap")
        scene = 128 + 40 * scene / scene.std()
        pages = []
        for page, dwell in enumerate((0.2, 0.5, 1.0, 1.0, 2.1, 5.0, 20.0)):
            at = np.roll(scene, (1, -2) if page == 5 else (0, 0), axis=(0, 1))
            noisy = at + generator.normal(0, 15 / np.sqrt(dwell), scene.shape)
            pages.append(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
        (folder / "SEM").mkdir(exist_ok=True)
        assert cv2.imwritemulti(str(folder / "SEM" / f"{name}.tif"), pages)
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("workers_here")
def test_recorded_micrographs_have_detail_metrics(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Interpolation recovers little and adds little; a whole second scan recovers most and adds its noise."""
    monkeypatch.setenv("SRBENCH_HOME", str(tmp_path / "home"))
    given, results = tmp_path / "given", tmp_path / "results"
    given.mkdir()
    N2nSem().import_from(archive(given))
    srbench.evaluate(
        ["bicubic", "lanczos"],
        dataset="n2n_sem",
        split="all",
        scale=4,
        results=results,
        metrics=HF,
        previews=0,
    )
    store = ScoreStore(results)
    table = store.scores().set_index(["model", "metric"])["value"].groupby(level=[0, 1]).mean().unstack()
    table.columns = [name.split("@")[0] for name in table.columns]
    assert np.isfinite(table.loc[["bicubic", "lanczos", NOISE_CEILING], HF]).all(axis=None)
    assert (table["recovered_hf"][["bicubic", "lanczos"]] < 0.3).all()
    assert (table["gained_hf"][["bicubic", "lanczos"]] < 0.3).all()
    ceiling = table.loc[NOISE_CEILING]
    assert ceiling["recovered_hf"] > 0.7 and ceiling["gained_hf"] == pytest.approx(1.0, abs=0.3)
    assert ceiling["frc_cutoff"] > 2 * table["frc_cutoff"]["bicubic"]
    notes = {manifest.key.model: manifest.notes for manifest in store.manifests()}
    assert REFERENCE_NOISE["second"] in notes["bicubic"]
