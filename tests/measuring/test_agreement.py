"""Agreement of two scans: what noise drives is caught, what is invented alike in both passes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from helpers.drawn_scenes import draw_discs, place_discs
from srbench.cli.app import cli
from srbench.measuring.agreement import HALF, FieldAgreement, agree, compared
from srbench.measuring.calibration import Enlargement
from srbench.measuring.features import KINDS
from srbench.measuring.scans import ScanPair, halves, registered
from srbench.utils.errors import SrbenchError
from srbench.utils.image import Pixels, Plane

SIDE, SCALE, NOISE = 240, 2, 0.04
DISCS = place_discs(3, np.linspace(9.0, 16.0, 10), SIDE)


def rounded(image: Plane) -> Pixels:
    return np.floor(255 * np.clip(image, 0, 1) + 0.5).astype(np.uint8)


def scan(seed: int, discs: list[tuple[float, float, float]] = DISCS, side: int = SIDE) -> Pixels:
    """A noisy recording whose pixels are twice as large as those of the drawing."""
    binned = draw_discs(discs, side).reshape(side // 2, 2, side // 2, 2).mean((1, 3))
    return rounded(binned + NOISE * np.random.default_rng(seed).standard_normal(binned.shape))


@dataclass(frozen=True)
class Interpolated(Enlargement):
    """Bicubic, and texture from ``seed``, or from the noise of the scan where it is None."""

    strength: float = 0.0
    seed: int | None = None

    @property
    def scale(self) -> int:
        return SCALE

    def __call__(self, pixels: Pixels) -> Plane:
        plain = Enlargement.of("bicubic", scale=SCALE)(pixels)
        seed = int(pixels.sum(dtype=np.int64)) if self.seed is None else self.seed
        fine = np.random.default_rng(seed).standard_normal(plain.shape)
        return plain + self.strength * fine


def result(enlargement: Enlargement, a: int = 1, b: int = 2) -> FieldAgreement:
    pair = ScanPair(scan(a), scan(b), (0.0, 0.0))
    return compared("field", pair, enlargement, [KINDS["particles"]])[0]


def test_the_noise_driven_liar_is_caught_and_the_systematic_one_passes() -> None:
    honest = result(Interpolated(None))
    by_noise, systematic = (result(Interpolated(None, strength=0.1, seed=seed)) for seed in (None, 5))
    assert honest.verdict == systematic.verdict == "repeats"
    assert by_noise.verdict == "driven by noise"
    assert honest.amount == pytest.approx(1.0)
    assert by_noise.amount > 10 and by_noise.repeated < 0.1
    # The same texture in both is as good as perfect agreement: the limit that is printed.
    assert systematic.repeated > 0.9
    assert by_noise.unlike > systematic.unlike


def test_objects_in_one_scan_alone_and_sizes_that_repeat() -> None:
    a, b = scan(1), scan(2, DISCS[1:])
    field, drawn = compared("f", ScanPair(a, b, (0.0, 0.0)), Interpolated(None), [KINDS["particles"]])
    (particles,) = field.measurements
    assert (particles.both, particles.only_a, particles.only_b) == (len(DISCS) - 1, 1, 0)
    assert np.abs(particles.differences).max() < 0.5
    (lost,) = [features for features, _ in drawn.alone if len(features)]
    assert lost.centres[lost.counted][0] == pytest.approx(DISCS[0][:2], abs=1.0)


def test_the_shift_between_scans_is_found_and_taken_out() -> None:
    moved = [(y + 4.6, x - 3.0, radius) for y, x, radius in DISCS]
    pair = registered(scan(1), scan(2, moved))
    # In pixels of the scans: content lies 2.3 further down and 1.5 to the left.
    assert pair.a.shape == pair.b.shape
    assert pair.a.shape[0] <= SIDE // 2 - 2
    whole = np.round(np.array([2.3, -1.5]) + np.array(pair.shift))
    assert np.array([2.3, -1.5]) + np.array(pair.shift) == pytest.approx(whole, abs=0.1)
    field, _ = compared("f", pair, Interpolated(None), [KINDS["particles"]])
    # No fault of the shift: it repeats as scans that were not moved do.
    assert field.permitted == pytest.approx(result(Interpolated(None)).permitted, abs=0.1)
    (particles,) = field.measurements
    assert particles.only_a + particles.only_b <= 1


@pytest.mark.parametrize("split", ["diagonal", "rows"])
def test_halves_show_the_same_where_their_shift_is_taken_out(split: str) -> None:
    # A plane wave in both directions: its halves differ by a known phase alone.
    y, x = np.mgrid[:128, :128]
    image = 0.5 + 0.3 * np.cos(2 * np.pi * (y / 16 + x / 10.666666))
    for pair in halves(rounded(image), split):  # type: ignore[arg-type]
        dy, dx = pair.shift
        a, b = (np.fft.fft2(part / 255.0) for part in (pair.a, pair.b))
        at = (8, 12)  # cycles in 128 pixels
        phase = np.angle(b[at] / a[at]) / (2 * np.pi)
        assert phase == pytest.approx(8 / 64 * dy + 12 / 64 * dx, abs=0.01)


def save(folder: Path, name: str, pixels: Pixels) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(folder / name), pixels)
    return folder / name


def test_the_command_pairs_folders_and_one_bad_file_stops_nothing(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    for name, seed in (("good.png", 1), ("other.png", 3), ("size.png", 5), ("alone.png", 7)):
        save(a, name, scan(seed))
    save(a, "flat.png", np.full((120, 120), 90, np.uint8))
    save(b, "good.tif", scan(2))
    save(b, "other.png", scan(4, place_discs(9, np.linspace(9.0, 16.0, 10), SIDE)))
    save(b, "size.png", scan(6)[:100])
    save(b, "flat.png", scan(8))
    (b / "alone.txt").write_text("no image")
    out = tmp_path / "out"
    command = ["agree", str(a), str(b), "--model", "bicubic", "--scale", "2", "--out", str(out), "--json"]
    outcome = CliRunner().invoke(cli, [*command, "--measure", "particles", "--pixel-size-nm", "5"])
    assert outcome.exit_code == 1, outcome.output
    content = json.loads(outcome.stdout)
    assert [field["name"] for field in content["fields"]] == ["good.png"]
    assert set(content["skipped"]) == {"other.png", "size.png", "alone.png", "flat.png"}
    assert content["unit"] == "nm" and content["repeatability"][0]["both"] == len(DISCS)
    (drawn,) = out.iterdir()
    image = cv2.imread(str(drawn))
    assert image is not None and min(image.shape[:2]) > SIDE - 20


def test_one_scan_is_split_and_two_equal_ones_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path, "a.png", scan(1))
    split = agree(path, None, "none", measures=["particles"], pixel_size_nm=5.0)
    assert split.split == "diagonal" and split.unit == "nm"
    assert HALF > split.fields[0].repeated > -HALF
    with pytest.raises(SrbenchError):
        agree(path, save(tmp_path, "b.png", scan(1)), "none")
    with pytest.raises(SrbenchError):
        agree(path, None, "none", measures=["volumes"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(SrbenchError):
        agree(tmp_path / "empty", None, "none")
