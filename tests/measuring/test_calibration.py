"""Errors of a measurement where they are known: discs whose fast scan is too small by a known amount."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from helpers.measured_fields import RADII, SIDE, DiscPairs, discs_of
from srbench.datasets import MicrographSet
from srbench.measuring.calibration import SINGLE, calibrate
from srbench.statistics.conformal import calibrate as bins_of
from srbench.utils.errors import SrbenchError


def test_bias_and_losses_are_those_of_the_scans() -> None:
    bank = calibrate("none", DiscPairs(), "particles")
    errors = bank.quantities[SINGLE].arrays
    assert len(errors) == 12 * (len(RADII) - 1)
    assert np.median(errors.errors) == pytest.approx(-1.6, abs=0.3)
    assert (bank.counts.reference, bank.counts.lost, bank.counts.alone) == (12 * len(RADII), 12, 0)
    assert bank.counts.lost_size == pytest.approx(2 * RADII[0], abs=0.7)
    assert bank.counts.kept_size > bank.counts.lost_size
    assert bank.reference == "reference scan"
    assert bank.conditions.degradation == "recorded@1"
    assert bank.conditions.pixel_size_nm == 5.0
    assert bank.quantities["D50"].arrays.group_count == 12
    (part,) = bins_of(bank.quantities["D50"].arrays)
    assert part.correction == pytest.approx(-1.6, abs=0.3)


def test_fewer_than_ten_groups_make_no_bank() -> None:
    with pytest.raises(SrbenchError, match="9 independent groups"):
        calibrate("none", DiscPairs(9), "particles")
    overlapping = DiscPairs(30)
    overlapping.images = tuple(replace(i, group=f"g{n % 4}") for n, i in enumerate(overlapping.images))
    with pytest.raises(SrbenchError, match="4 independent groups"):
        calibrate("none", overlapping, "particles")


def test_fields_that_cannot_be_measured_are_counted_with_their_reason() -> None:
    fields = DiscPairs(13)

    class OneEmpty(DiscPairs):
        def pixels(self, image_id: str) -> Any:
            return np.full((SIDE, SIDE), 90, np.uint8) if image_id == "03" else fields.pixels(image_id)

        def lr(self, image_id: str) -> Any:
            return np.full((SIDE, SIDE), 90, np.uint8) if image_id == "04" else fields.lr(image_id)

    bank = calibrate("none", OneEmpty(13), "particles")
    assert bank.counts.fields == 11
    assert sum(bank.counts.left_out.values()) == 2
    # What the fast scan of a field does not show at all is lost too.
    assert bank.counts.lost == 11 + len(RADII)
    assert bank.counts.reference == 12 * len(RADII)


class DiscScenes(MicrographSet):
    """Discs of known geometry, without recorded LR."""

    def __init__(self, count: int = 10) -> None:
        pairs = DiscPairs(count, pixel_size_nm=None)
        self.name, self.card, self.skipped = "scenes", replace(pairs.card, kind="synthetic"), {}
        self.images = tuple(replace(image, has_truth=True) for image in pairs.images)
        self._pairs = pairs

    @property
    def fingerprint(self) -> str:
        return "scenes"

    def pixels(self, image_id: str) -> Any:
        return self._pairs.pixels(image_id)

    def truth(self, image_id: str) -> dict[str, Any]:
        entries = [
            {"y": y, "x": x, "diameter": 2 * radius, "border": False}
            for y, x, radius in discs_of(int(image_id))
        ]
        return {"kind": "particles", "particles": entries}


def test_known_geometry_is_the_reference_and_lr_is_made() -> None:
    bank = calibrate("bicubic", DiscScenes(), "particles", scale=2)
    assert bank.reference == "truth"
    assert (bank.conditions.degradation, bank.conditions.scale) == ("bicubic@1", 2)
    assert bank.conditions.pixel_size_nm is None
    assert np.median(bank.quantities[SINGLE].errors) == pytest.approx(0.0, abs=0.4)
    assert bank.counts.lost == 0


def test_scenes_without_the_kind_are_left_out() -> None:
    with pytest.raises(SrbenchError, match="no lines"):
        calibrate("bicubic", DiscScenes(), "lines", scale=2)


@pytest.mark.parametrize(
    "options",
    [
        {"measure": "ducks"},
        {"model": "none", "scale": 2},
        {"model": "bicubic", "scale": 2},  # recorded at scale 1
        {"split": "train"},
        {"model": "ducks"},
    ],
)
def test_what_cannot_be_done_is_refused(options: dict[str, Any]) -> None:
    chosen = {"model": "none", "measure": "particles", **options}
    with pytest.raises(SrbenchError):
        calibrate(chosen.pop("model"), DiscPairs(), chosen.pop("measure"), **chosen)


def test_hand_masks_are_the_reference_where_there_are_some() -> None:
    class WithMasks(DiscPairs):
        def __init__(self) -> None:
            super().__init__()
            self.images = tuple(replace(image, has_mask=True) for image in self.images)

        def mask(self, image_id: str) -> Any:
            labels = np.zeros((SIDE, SIDE), np.uint8)
            y, x = np.mgrid[:SIDE, :SIDE]
            for number, (row, column, radius) in enumerate(discs_of(int(image_id)), 1):
                labels[np.hypot(y - row, x - column) <= radius + 1.0] = number
            return labels

    bank = calibrate("none", WithMasks(), "particles")
    assert bank.reference == "mask by hand"
    # The masks are drawn two pixels too wide.
    assert np.median(bank.quantities[SINGLE].errors) == pytest.approx(-3.6, abs=0.3)
