"""The filler of the golden fixtures reproduces the checksums that were stored with the authors' numbers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden"
TAGS = sorted(path.name.removesuffix(".npz") for path in GOLDEN.glob("*.npz"))
TAGS = [tag for tag in TAGS if (GOLDEN / f"{tag}.keys.json").exists()]


def test_there_are_fixtures():
    assert {"vdsr", "edsr_baseline_x4", "srresnet_x4", "srgan_d96"} <= set(TAGS)


@pytest.mark.slow
@pytest.mark.parametrize("tag", TAGS)
def test_fill_has_the_recorded_checksum(golden, tag):
    fixture = golden(tag)
    aliases = fixture.spec.get("aliases", {})
    counted = [value for key, value in fixture.state().items() if key not in aliases]
    assert math.isclose(sum(float(v.sum()) for v in counted), fixture.spec["param_sum"], abs_tol=1e-3)
    assert math.isclose(
        sum(float(v.abs().sum()) for v in counted), fixture.spec["param_abs_sum"], rel_tol=1e-9
    )


@pytest.mark.slow
@pytest.mark.parametrize("tag", TAGS)
def test_inputs_follow_the_input_rule(golden, tag):
    fixture = golden(tag)
    for name, shape in fixture.spec["x_shapes"].items():
        assert list(fixture.input(name).shape) == shape
