"""gain and offset: another contrast and brightness of LR, and nothing at all where they are left out."""

import pytest
import torch

from srbench.datasets import degrade
from srbench.datasets.degrade import LrPosition

HR = torch.rand(1, 1, 24, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize(("name", "scale"), [("sem_pixel", 2), ("sem_defocus", 3), ("sem_lowdose", 1)])
def test_expected_lr_is_gain_times_it_plus_offset(name, scale):
    hr = HR[..., : 24 - 24 % scale, : 32 - 32 % scale - (2 if scale == 3 else 0)]
    hr = degrade.modcrop(hr, scale)
    plain = degrade.get(f"{name}:dose=inf")(hr, scale)
    changed = degrade.get(f"{name}:dose=inf,gain=0.8,offset=0.07")(hr, scale)
    assert torch.allclose(changed, 0.8 * plain + 0.07, rtol=0, atol=1e-12)


def test_it_comes_before_the_electrons_are_counted():
    fitted = degrade.get("sem_lowdose:dose=100,gain=0.5,offset=0.1,read=0")
    position = LrPosition.whole(5)
    counted = degrade.get("sem_lowdose:dose=100,read=0")(HR * 0.5 + 0.1, 1, position)
    assert torch.allclose(fitted(HR, 1, position), counted, atol=0.03)
    variances = [
        way.noise.variance(expected, position).mean().item()
        for way, expected in (
            (fitted, fitted.expected(HR, 1)),
            (degrade.get("sem_lowdose:dose=100,read=0"), HR * 0.5 + 0.1),
        )
    ]
    assert variances[0] == pytest.approx(variances[1], rel=1e-3)


def test_a_crop_with_its_surroundings_is_the_crop_of_the_image():
    way = degrade.get("sem_pixel:dose=40,gain=1.3,offset=-0.1,spot=0.5")
    context = way.context(2)
    whole = way(HR, 2, LrPosition.whole(9))
    position = LrPosition(torch.tensor([9]), torch.tensor([[4 - context // 2, 5 - context // 2]]))
    from srbench.datasets.images.resize import read_crop

    around = read_crop(HR[0, 0].numpy(), 8 - context, 10 - context, 8 + 2 * context, 6 + 2 * context)
    border = context // 2
    crop = way(torch.from_numpy(around.copy())[None, None], 2, position)[..., border:-border, border:-border]
    assert torch.equal(crop, whole[..., 4:8, 5:8])


def test_at_their_defaults_they_change_no_id_and_no_bit():
    assert degrade.get("sem_pixel:gain=1,offset=0") is degrade.get("sem_pixel")
    assert (
        degrade.get("sem_pixel:offset=0.02,gain=0.9,dose=20").id == "sem_pixel:dose=20,gain=0.9,offset=0.02@1"
    )
