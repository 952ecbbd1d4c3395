"""A range of doses: each image's dose is its own, drawn from its key, and its noise is that of this dose."""

import numpy as np
import pytest
import torch
from scipy import stats

from srbench.datasets import degrade
from srbench.datasets.degrade import LrPosition, noise_key
from srbench.datasets.degrade.noise import DoseNoise
from srbench.utils.errors import DatasetError

RANGE = "sem_lowdose:dose=10,dose_to=200"


def test_doses_are_log_uniform_over_the_range() -> None:
    keys = torch.tensor([noise_key(f"image {number}") for number in range(4000)])
    doses = DoseNoise(10.0, 0.01, 0.15, 200.0).doses(keys).numpy()
    assert 10.0 < doses.min() < 10.1 and 199.0 < doses.max() < 200.0
    assert stats.kstest(np.log(doses / 10.0) / np.log(20.0), "uniform").pvalue > 1e-3


def test_each_image_is_that_of_its_own_dose_however_they_are_batched() -> None:
    keys = [noise_key(f"image {number}") for number in range(3)]
    hr = torch.rand(3, 1, 24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    made = degrade.get(RANGE)
    together = made(hr, 1, LrPosition.whole(*keys))
    for number, key in enumerate(keys):
        alone = made(hr[number : number + 1], 1, LrPosition.whole(key))
        assert torch.equal(together[number], alone[0])
        (dose,) = made.noise.doses(torch.tensor([key])).tolist()
        fixed = DoseNoise(dose, 0.01, 0.15)
        position = LrPosition.whole(key)
        expected = made.expected(hr[number : number + 1], 1)
        assert torch.allclose(alone, fixed.sample(expected, position), atol=1e-12)
        for law in ("variance", "spread"):
            expected = getattr(fixed, law)(hr[number : number + 1], position)
            found = getattr(made.noise, law)(hr, LrPosition.whole(*keys))[number : number + 1]
            assert torch.allclose(found, expected, rtol=1e-12)


def test_a_crop_has_the_dose_of_its_image() -> None:
    hr = torch.rand(1, 1, 24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    key, made = noise_key("image"), degrade.get(RANGE)
    whole = made(hr, 1, LrPosition.whole(key))
    position = LrPosition(torch.tensor([key]), torch.tensor([[4, 6]]), torch.tensor([[24, 24]]))
    assert torch.equal(made(hr[..., 4:20, 6:22], 1, position), whole[..., 4:20, 6:22])


def test_its_name_says_both_ends() -> None:
    assert degrade.get(RANGE).id == "sem_lowdose:dose=10,dose_to=200@1"
    assert "dose_to" not in degrade.get("sem_lowdose").settings


@pytest.mark.parametrize("settings", ["dose=50,dose_to=50", "dose=50,dose_to=20", "dose=inf,dose_to=20"])
def test_a_range_that_is_none_is_refused(settings: str) -> None:
    with pytest.raises(DatasetError, match="dose_to"):
        degrade.get(f"sem_lowdose:{settings}")
