"""LR that is not what its name says is found: another kernel, one byte, an earlier state of the data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from helpers.loading import load
from srbench.checks import CheckResult, degradation
from srbench.datasets import degrade
from srbench.datasets import lr_images as lr_cache
from srbench.datasets.lr_images import LrCache, cut_to_scale
from srbench.utils.progress import silent

SCALE = 4
BICUBIC = degrade.get("bicubic")


@pytest.fixture(scope="module")
def fake() -> Any:
    return load("fake_set")


def prepare(micrographs: Any, folder: Path, named: degrade.Degradation = BICUBIC) -> LrCache:
    return lr_cache.prepare(micrographs, micrographs.images, named, SCALE, folder, silent)


def judge(
    micrographs: Any, pack: LrCache, *, every: bool, named: degrade.Degradation = BICUBIC
) -> CheckResult:
    return degradation.check(micrographs, micrographs.images, pack, named, SCALE, every=every)


def repack(pack: LrCache, change: Callable[[int, Any], Any]) -> LrCache:
    """The pack with other pixels and a hash that fits them, as somebody who cheats would leave it."""
    content = b"".join(
        np.ascontiguousarray(change(place, pack.pixels(entry))).tobytes()
        for place, entry in enumerate(pack.entries)
    )
    pack.file.write_bytes(content)
    index = pack.file.with_name("index.json")
    digest = hashlib.sha256(content).hexdigest()
    index.write_text(json.dumps({**json.loads(index.read_text()), "sha256": digest}))
    return replace(pack, sha256=digest)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bicubic", "area", "sem_pixel:dose=20,jitter=0.3"])
@pytest.mark.parametrize("every", [False, True])
def test_honest_lr_passes(fake: Any, tmp_path: Path, name: str, every: bool) -> None:
    named, micrographs = degrade.get(name), fake.FakeSet(7)
    found = judge(micrographs, prepare(micrographs, tmp_path, named), every=every, named=named)
    assert found.status == "passed"
    assert found.detail.startswith("All 7" if every else "3 of 7")
    assert named.id in found.detail and "matlab-imresize@1" in found.detail


def test_settings_are_named(fake: Any, tmp_path: Path) -> None:
    named, micrographs = degrade.get("sem_pixel:dose=20"), fake.FakeSet(2)
    found = judge(micrographs, prepare(micrographs, tmp_path, named), every=True, named=named)
    assert "x4, dose 20, read 0.01" in found.detail and "spot 0.35" in found.detail


def test_colour_passes(fake: Any, tmp_path: Path) -> None:
    micrographs = fake.ColourSet()
    assert judge(micrographs, prepare(micrographs, tmp_path), every=True).status == "passed"


@pytest.mark.slow
@pytest.mark.parametrize("every", [False, True])
def test_opencvs_cubic_under_the_name_of_bicubic(fake: Any, tmp_path: Path, every: bool) -> None:
    micrographs = fake.FakeSet(5)

    def without_antialiasing(place: int, lr: Any) -> Any:
        hr = cut_to_scale(micrographs.pixels(micrographs.images[place].id), SCALE)
        return cv2.resize(hr, lr.shape[::-1], interpolation=cv2.INTER_CUBIC)

    found = judge(micrographs, repack(prepare(micrographs, tmp_path), without_antialiasing), every=every)
    assert found.status == "failed"
    assert "sub/0 is not what bicubic@1" in found.detail
    assert "looks like what cv2_cubic@1 makes" in found.detail


def test_pillows_bicubic_differs_at_the_border_alone_and_fails(fake: Any, tmp_path: Path) -> None:
    from PIL import Image

    micrographs = fake.FakeSet(3)

    def pillow(place: int, lr: Any) -> Any:
        hr = cut_to_scale(micrographs.pixels(micrographs.images[place].id), SCALE)
        return np.asarray(Image.fromarray(hr).resize(lr.shape[::-1], Image.Resampling.BICUBIC))

    assert judge(micrographs, repack(prepare(micrographs, tmp_path), pillow), every=False).status == "failed"


def test_another_degradation_that_srbench_knows_is_told(fake: Any, tmp_path: Path) -> None:
    micrographs = fake.FakeSet(3)
    found = judge(micrographs, prepare(micrographs, tmp_path, degrade.get("area")), every=False)
    assert found.status == "failed"
    assert "looks like what area@1 makes (100.0 dB)" in found.detail


def test_noise_of_another_dose_fails(fake: Any, tmp_path: Path) -> None:
    micrographs = fake.FakeSet(2)
    pack = prepare(micrographs, tmp_path, degrade.get("sem_pixel:dose=90"))
    found = judge(micrographs, pack, every=False, named=degrade.get("sem_pixel:dose=60"))
    assert found.status == "failed"
    assert "Below 60 dB" in found.detail


@pytest.mark.parametrize("place", [0, 5])
def test_one_flipped_byte_is_found_whatever_image_it_is_in(fake: Any, tmp_path: Path, place: int) -> None:
    micrographs = fake.FakeSet(7)
    pack = prepare(micrographs, tmp_path)
    content = bytearray(pack.file.read_bytes())
    content[pack.entries[place].offset + 11] ^= 1
    pack.file.write_bytes(bytes(content))
    found = judge(micrographs, pack, every=False)
    assert found.status == "failed"
    assert "has changed since it was made" in found.detail


def test_one_flipped_bit_with_the_hash_mended_is_found_by_the_audit(fake: Any, tmp_path: Path) -> None:
    micrographs = fake.FakeSet(7)

    def flip(place: int, lr: Any) -> Any:
        changed = lr.copy()
        changed[3, 5] ^= place == 5
        return changed

    pack = repack(prepare(micrographs, tmp_path), flip)
    assert judge(micrographs, pack, every=False).status == "passed"  # the sixth image is not among the three
    found = judge(micrographs, pack, every=True)
    assert found.status == "failed"
    assert "sub/5" in found.detail and "Above 60 dB" in found.detail


def test_stale_lr_of_an_earlier_state_of_the_data(fake: Any, tmp_path: Path) -> None:
    micrographs = fake.FakeSet(3)
    pack = prepare(micrographs, tmp_path)
    micrographs.store["sub/2"] = np.rot90(micrographs.store["sub/2"], 2)
    found = judge(micrographs, pack, every=False)
    assert found.status == "failed"
    assert "HR has changed since" in found.detail


def test_stale_lr_of_another_size_or_cut_short(fake: Any, tmp_path: Path) -> None:
    micrographs = fake.FakeSet(2)
    pack = prepare(micrographs, tmp_path)
    micrographs.store["sub/1"] = micrographs.store["sub/1"][:40]
    assert "the pack is of other data" in judge(micrographs, pack, every=True).detail
    whole = pack.file.read_bytes()
    pack.file.write_bytes(whole[:-9])
    short = replace(pack, sha256=hashlib.sha256(whole[:-9]).hexdigest())
    assert judge(micrographs, short, every=True).status == "failed"


def test_missing_images_and_a_missing_pack_fail(fake: Any, tmp_path: Path) -> None:
    micrographs = fake.FakeSet(3)
    pack = prepare(micrographs, tmp_path)
    found = judge(micrographs, replace(pack, entries=pack.entries[:2]), every=True)
    assert found.status == "failed"
    assert "lacks 1 of 3 images (sub/2)" in found.detail
    pack.file.unlink()
    assert "are gone" in judge(micrographs, pack, every=True).detail


def test_images_too_small_for_lr_leave_nothing_to_check(fake: Any, tmp_path: Path) -> None:
    micrographs = fake.FakeSet(2, side=4)
    pack = prepare(micrographs, tmp_path)
    assert len(pack.unusable) == 2
    assert judge(micrographs, pack, every=False).status == "unchecked"


def test_recorded_lr_is_compared_with_what_the_set_holds(fake: Any, tmp_path: Path) -> None:
    micrographs, named = fake.PairedSet(3), degrade.get("recorded")
    pack = lr_cache.prepare(micrographs, micrographs.images, named, 1, tmp_path, silent)
    judged = [degradation.check(micrographs, micrographs.images, pack, named, 1, every=True)]
    micrographs.recorded["sub/1"] = micrographs.recorded["sub/1"][::-1]
    judged.append(degradation.check(micrographs, micrographs.images, pack, named, 1, every=True))
    assert [finding.status for finding in judged] == ["passed", "failed"]
    assert "sub/1" in judged[1].detail and "makes of HR" not in judged[1].detail
