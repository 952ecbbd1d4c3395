"""BasicSR beside srbench: the same numbers where the extra is installed, a clear word where not."""

import numpy as np
import pytest
import torch

from srbench.metrics import basicsr as second_opinion
from srbench.metrics.protocol import named
from srbench.metrics.registry import Case, MetricUnavailable, get
from srbench.models import create
from srbench.utils.errors import SrbenchError

installed = pytest.mark.skipif(not second_opinion.available(), reason="the basicsr extra is not installed")


def case(seed: int = 0) -> Case:
    random = np.random.default_rng(seed)
    hr = np.round(255 * random.random((64, 80))) / 255
    sr = np.round(255 * np.clip(hr + random.normal(0, 0.1, hr.shape), 0, 1)) / 255
    return Case(sr=sr, hr=hr, full_sr=sr, full_hr=hr, lr=hr[::4, ::4], scale=4)


@installed
@pytest.mark.parametrize("name", ["psnr", "ssim"])
def test_basicsr_metrics_equal_ours(name: str) -> None:
    for seed in range(3):
        theirs, ours = get(f"basicsr_{name}").compute(case(seed)), get(name).compute(case(seed))
        assert theirs == pytest.approx(ours, abs=1e-6)


@installed
@pytest.mark.parametrize("name", ["psnr", "ssim"])
def test_basicsr_luma_metrics_of_colour_equal_ours(name: str) -> None:
    """Its ``test_y_channel`` on the same 8-bit colours (it keeps blue first and computes Y in float32)."""
    theirs = getattr(second_opinion.load("basicsr.metrics"), f"calculate_{name}")
    random = np.random.default_rng(5)
    hr = random.integers(0, 256, (64, 80, 3)).astype(np.uint8)
    sr = np.clip(hr + random.normal(0, 12, hr.shape), 0, 255).astype(np.uint8)
    colour = named("matlab-y").for_colour().case(sr, hr, hr[::4, ::4], 4)
    expected = theirs(sr[..., ::-1].copy(), hr[..., ::-1].copy(), crop_border=4, test_y_channel=True)
    assert get(name).compute(colour) == pytest.approx(expected, abs=1e-5)


@installed
@pytest.mark.parametrize("factor", [1 / 2, 1 / 3, 1 / 4, 1 / 8, 2, 3])
def test_basicsr_imresize_equals_ours(factor: float) -> None:
    from srbench.datasets.images.resize import resize

    image = np.random.default_rng(1).random((72, 96))
    size = (round(72 * factor), round(96 * factor))
    ours = resize(torch.from_numpy(image)[None, None], size)[0, 0].numpy()
    theirs = second_opinion.imresize(image[..., None], factor)
    # BasicSR places its samples in float32, where the thirds of an enlargement are not exact
    tolerance = 1e-5 if factor == 3 else 1e-6
    assert np.abs(ours - np.asarray(theirs).squeeze()).max() < tolerance


@installed
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(
    ("model", "variant", "theirs"), [("edsr", "baseline", "EDSR"), ("srgan", "msrresnet", "MSRResNet")]
)
def test_networks_with_basicsrs_weights_compute_the_same_function(
    model: str, variant: str, theirs: str, scale: int
) -> None:
    """Their state dict, converted to our names, gives their output."""
    reference = second_opinion.network(theirs, num_in_ch=3, num_out_ch=3, upscale=scale).double().eval()
    with torch.no_grad():
        for parameter in reference.parameters():  # they start so small that the skip would hide them
            parameter.normal_(std=parameter[0].numel() ** -0.5)
    ours = create(model, scale=scale, channels=3, variant=variant)
    ours.network.double().eval().load_state_dict(ours.convert(reference.state_dict()), strict=True)
    lr = torch.rand(1, 3, 13, 11, dtype=torch.float64)
    with torch.no_grad():
        # BasicSR keeps its RGB mean in float32
        torch.testing.assert_close(ours.network(lr), reference(lr), atol=1e-5, rtol=1e-6)


@installed
def test_unknown_basicsr_network_lists_what_there_is() -> None:
    with pytest.raises(SrbenchError, match="RRDBNet"):
        second_opinion.network("NoSuchNet")


def test_without_the_extra_the_message_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_opinion, "available", lambda: False)
    with pytest.raises(SrbenchError, match="pip install"):
        second_opinion.load()
    with pytest.raises(MetricUnavailable, match="pip install"):
        get("basicsr_psnr").compute(case())
