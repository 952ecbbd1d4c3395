"""CSM-SR's generator: what it computes, from what, and how far it looks."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor, nn

from srbench.models import create
from srbench.models.csm_sr.encoder import (
    POOLING_RADIUS,
    ConditioningEncoder,
    load_pretrained,
    micrograph_noise,
    window_mean,
)
from srbench.models.csm_sr.network import CONFIGS, CSMSR, CSMSRConfig, Reconstruction
from srbench.models.layers import InterpolationUpsample
from srbench.utils.errors import ModelError


def network(scale: int = 4, channels: int = 1, variant: str = "tiny", untrained: bool = False) -> CSMSR:
    """A network whose last layer is not zero, so that its output depends on all of it."""
    torch.manual_seed(0)
    made = create("csm_sr", scale=scale, channels=channels, variant=variant).network
    assert isinstance(made, CSMSR)
    if not untrained:
        for last in (made.reconstruction[-1], made.preview_head[0]):
            nn.init.normal_(last.weight, std=0.05)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_untrained_it_is_bicubic_at_any_size(scale, channels) -> None:
    lr = torch.rand(2, channels, 13, 18)
    expected = InterpolationUpsample("bicubic", scale)(lr)
    made = network(scale, channels, untrained=True)
    for forward in (made, made.preview):
        torch.testing.assert_close(forward(lr), expected)
    assert expected.shape == (2, channels, 13 * scale, 18 * scale)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["tiny", "published"])
@pytest.mark.parametrize(("scale", "channels"), [(2, 1), (3, 3), (4, 1), (8, 3)])
def test_forward_and_backward_reach_every_parameter(variant, scale, channels) -> None:
    made = network(scale, channels, variant)
    lr = torch.rand(1, channels, 9, 11)
    sr = made(lr) + made.preview(lr)
    assert sr.shape == (1, channels, 9 * scale, 11 * scale)
    sr.square().mean().backward()
    silent = [name for name, p in made.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 5), (7, 3), (15, 17)])
def test_infer_takes_any_size(height, width) -> None:
    model = create("csm_sr", scale=4, variant="tiny")
    sr = model.infer(torch.rand(1, 1, height, width))
    assert sr.shape == (1, 1, 4 * height, 4 * width)
    assert 0 <= float(sr.min()) <= float(sr.max()) <= 1


@pytest.mark.slow
def test_the_network_and_its_encoder_take_the_lr_image_and_nothing_else() -> None:
    for method in (CSMSR.forward, CSMSR.preview, ConditioningEncoder.forward):
        assert list(inspect.signature(method).parameters) == ["self", "lr"]
    made = network().eval()
    lr = torch.rand(1, 1, 12, 12)
    first = made(lr)
    made(torch.rand(3, 1, 16, 16))
    torch.testing.assert_close(made(lr), first, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False])
def test_an_image_does_not_depend_on_its_batch(training) -> None:
    made = network().train(training)
    batch = torch.rand(4, 1, 12, 12)
    together = made(batch)
    for index in range(4):
        torch.testing.assert_close(made(batch[index : index + 1]), together[index : index + 1])


@pytest.mark.slow
def test_stored_statistics_do_not_move_in_training() -> None:
    made = network().train()
    before = {name: buffer.clone() for name, buffer in made.named_buffers()}
    made(torch.rand(2, 1, 16, 16)).mean().backward()
    for name, buffer in made.named_buffers():
        torch.testing.assert_close(buffer, before[name], rtol=0, atol=0)
    assert made.encoder.training
    assert not made.encoder.backbone.training


@pytest.mark.slow
def test_alpha_and_beta_weigh_the_two_kinds_of_features() -> None:
    made = network()
    lr = torch.rand(1, 1, 12, 12)
    mixed = made(lr)
    mixed.square().mean().backward()
    for weight in (made.fusion.alpha, made.fusion.beta):
        assert torch.all(weight.detach() == 0.5)
        assert (weight.grad.abs() > 0).all()
        with torch.no_grad():
            kept = weight.clone()
            weight.zero_()
            changed = made(lr)
            weight.copy_(kept)
        assert float((changed - mixed).detach().abs().max()) > 1e-4
    a, b = torch.rand(2, 1, 24, 6, 6)
    torch.testing.assert_close(made.fusion(a, b), 0.5 * a + 0.5 * b)


@pytest.mark.slow
def test_without_beta_the_condition_is_ignored_and_without_alpha_the_branches_are() -> None:
    made = network()
    lr = torch.rand(1, 1, 12, 12)
    with torch.no_grad():
        made.fusion.beta.zero_()
        before = made(lr)
        for parameter in made.encoder.parameters():
            parameter.add_(0.1)
        torch.testing.assert_close(made(lr), before)
        made.fusion.beta.fill_(0.5)
        made.fusion.alpha.zero_()
        before = made(lr)
        for parameter in made.branches.parameters():
            parameter.add_(0.1)
        torch.testing.assert_close(made(lr), before)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_an_untrained_reconstruction_prints_no_lattice_on_flat_features(scale) -> None:
    made = Reconstruction(16, 1, scale)
    nn.init.normal_(made[-1].weight)
    with torch.no_grad():
        inside = made(torch.rand(1, 16, 1, 1).expand(-1, -1, 12, 12))[
            ..., 4 * scale : 8 * scale, 4 * scale : 8 * scale
        ]
    assert float(inside.abs().mean()) > 1e-2
    torch.testing.assert_close(inside, inside[..., :1, :1].expand_as(inside), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("radius", [1, 3, 12])
def test_window_mean_is_the_mean_of_what_lies_inside(radius) -> None:
    x = torch.rand(1, 2, 9, 14, dtype=torch.float64)
    found = window_mean(x, radius)
    for row, column in [(0, 0), (4, 7), (8, 13), (2, 13)]:
        window = x[
            ..., max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1
        ]
        torch.testing.assert_close(found[..., row, column], window.mean(dim=(2, 3)))


def timm_state() -> dict[str, Tensor]:
    import timm

    torch.manual_seed(5)
    return scramble(timm.create_model("efficientnet_b0", pretrained=False)).state_dict()


def torchvision_state() -> dict[str, Tensor]:
    from torchvision.models import efficientnet_b0

    torch.manual_seed(5)
    return scramble(efficientnet_b0(weights=None)).state_dict()


def scramble(whole: nn.Module) -> nn.Module:
    """Statistics as training would leave them, so that a wrong one shows."""
    for layer in whole.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.1)
    return whole


def encoder(stages: int = 3) -> ConditioningEncoder:
    return ConditioningEncoder(16, stages).eval()


@pytest.mark.slow
@pytest.mark.parametrize("stages", [1, 2, 3])
def test_backbone_equals_timm_where_the_windows_cover_the_image(stages) -> None:
    import timm

    whole = timm.create_model("efficientnet_b0", pretrained=False, features_only=True).eval()
    made = encoder(stages)
    whole.load_state_dict(timm_state(), strict=False)
    load_pretrained(made, timm_state())
    image = torch.randn(2, 3, POOLING_RADIUS, POOLING_RADIUS)
    with torch.no_grad():
        for ours, theirs in zip(made.backbone(image), whole(image), strict=False):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_backbone_equals_torchvision_where_the_windows_cover_the_image() -> None:
    from torchvision.models import efficientnet_b0

    whole, made = efficientnet_b0(weights=None).eval(), encoder()
    whole.load_state_dict(torchvision_state())
    load_pretrained(made, torchvision_state())
    image = torch.randn(2, 3, POOLING_RADIUS, POOLING_RADIUS)
    with torch.no_grad():
        torch.testing.assert_close(made.backbone(image)[-1], whole.features[:4](image), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_windowed_squeeze_differs_from_the_global_one_on_large_images() -> None:
    import timm

    whole = timm.create_model("efficientnet_b0", pretrained=False, features_only=True).eval()
    whole.load_state_dict(timm_state(), strict=False)
    made = encoder()
    load_pretrained(made, timm_state())
    image = torch.linspace(-1, 1, 160).expand(1, 3, 32, 160).contiguous()
    with torch.no_grad():
        assert not torch.allclose(made.backbone(image)[-1], whole(image)[2], rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["missing", "reshaped", "foreign"])
def test_wrong_pretrained_weights_are_refused_and_change_nothing(broken) -> None:
    made, state = encoder(), timm_state()
    if broken == "missing":
        del state["blocks.1.0.conv_pw.weight"]
    elif broken == "reshaped":
        state["conv_stem.weight"] = torch.zeros(32, 1, 3, 3)
    else:
        state = {"features.0.weight": torch.zeros(64, 3, 3, 3)}
    before = {name: value.clone() for name, value in made.state_dict().items()}
    with pytest.raises(ModelError, match="efficientnet_b0"):
        load_pretrained(made, state)
    for name, value in made.state_dict().items():
        torch.testing.assert_close(value, before[name])


@pytest.mark.slow
def test_a_random_encoder_starts_with_a_signal_of_sensible_size_at_every_stride() -> None:
    made = encoder()
    with torch.no_grad():
        for features in made.backbone(made.normalise(micrograph_noise(images=2, side=32))):
            assert 0.2 < float(features.std()) < 5
    for layer in made.backbone.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert float((layer.running_var - 1).abs().max()) > 1e-3


@pytest.mark.slow
def test_grey_is_seen_as_colour_by_the_encoder() -> None:
    made = encoder()
    grey = torch.rand(1, 1, 16, 16)
    torch.testing.assert_close(made(grey), made(grey.expand(-1, 3, -1, -1)))


SMALL = {
    "tiny": CONFIGS["tiny"],
    # The strides and kernels of the published network, but fewer, so that the strip below is not long.
    "like_published": CSMSRConfig(features=8, growth=4, depth=1, blocks=1, layers=2, encoder_stages=3),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("scale", [2, 3])
def test_nothing_beyond_the_receptive_radius_matters(name, scale) -> None:
    torch.manual_seed(0)
    made = CSMSR(scale, 1, SMALL[name]).eval()
    nn.init.normal_(made.reconstruction[-1].weight, std=1.0)
    radius, multiple = made.receptive_radius, made.size_multiple
    height = 2 * radius // multiple * multiple + 2 * multiple
    lr = torch.rand(1, 1, height, multiple, dtype=torch.float64)
    made.double()
    for row in (0, height // 2 + 1, height - 1):
        disturbed = lr.clone()
        disturbed[:, :, row] += 1
        with torch.no_grad():
            change = (made(disturbed) - made(lr)).abs().amax(dim=(0, 1, 3)).view(height, scale).amax(dim=1)
        reached = change.nonzero().flatten()
        assert int((reached - row).abs().max()) <= radius
        assert int((reached - row).abs().max()) > radius // 3


@pytest.mark.slow
def test_a_tile_with_its_surroundings_equals_the_whole() -> None:
    made = CSMSR(2, 1, SMALL["tiny"]).eval()
    nn.init.normal_(made.reconstruction[-1].weight, std=0.1)
    radius, multiple = made.receptive_radius, made.size_multiple
    halo = -(-radius // multiple) * multiple
    lr = torch.rand(1, 1, 2 * halo + 40, 12)
    with torch.no_grad():
        whole = made(lr)
        top = made(lr[:, :, : 20 + halo])[:, :, :40]
        bottom = made(lr[:, :, 20:])[:, :, 2 * halo :]
    torch.testing.assert_close(top, whole[:, :, :40], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(bottom, whole[:, :, 2 * (20 + halo) :], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["tiny", "published"])
def test_weights_survive_saving(variant, tmp_path) -> None:
    made = network(variant=variant)
    torch.save(made.state_dict(), tmp_path / "weights.pt")
    torch.manual_seed(99)
    other = create("csm_sr", scale=4, variant=variant).network
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    lr = torch.rand(1, 1, 10, 9)
    torch.testing.assert_close(other(lr), made(lr), rtol=0, atol=0)


@pytest.mark.slow
def test_building_uses_the_callers_seed_and_leaves_no_trace_of_calibration() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(create("csm_sr", scale=2, variant="tiny").network.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=0, atol=0)


@pytest.mark.slow
def test_it_can_be_built_without_memory() -> None:
    with torch.device("meta"):
        made = create("csm_sr", scale=4, variant="published").network
        assert made(torch.empty(1, 1, 16, 16)).shape == (1, 1, 64, 64)


@pytest.mark.slow
def test_published_size_is_what_the_card_says() -> None:
    parameters = {
        variant: sum(p.numel() for p in network(variant=variant).parameters())
        for variant in ("published", "tiny")
    }
    assert parameters == {"published": 5_486_355, "tiny": 160_947}


@pytest.mark.slow
def test_bfloat16_stays_close() -> None:
    made = network(variant="tiny").eval()
    lr = torch.rand(1, 1, 16, 16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        low = made(lr)
    assert float((low.float() - made(lr).detach()).abs().max()) < 0.05
