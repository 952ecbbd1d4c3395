"""CSM-SR's released generators against the numbers of the authors' Keras models, and what conditions them."""

from __future__ import annotations

import copy
import inspect
import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from srbench.models import ModelError, card, create
from srbench.models.csm_sr.encoder import micrograph_noise
from srbench.models.csm_sr.released.network import (
    RELEASED_CONFIGS,
    ConditionedOnLR,
    EfficientNetFeatures,
    ReleasedConfig,
    ReleasedGraph,
    Unconditioned,
    as_condition,
    depth_to_space,
)
from srbench.models.layers import InterpolationUpsample

FIXTURES = {
    "released": "csmsr_generator",
    "released_arch8": "csmsr_arch8_generator",
    "released_arch7": "csmsr_arch7_generator",
}
PARAMETERS = {"released": 59_139_639, "released_arch8": 5_804_839, "released_arch7": 2_212_711}
MULTIPLY_ADDS = {"released": 5881.2, "released_arch8": 560.7, "released_arch7": 208.5}
NARROW = ReleasedConfig(depth=1, blocks=2, layers=2, growth=4, width=16, conditioned=True, stem=8)

every_graph = pytest.mark.parametrize("variant", FIXTURES)


def on_meta(variant: str, scale: int = 4, channels: int = 3) -> ReleasedGraph:
    with torch.device("meta"):
        return ReleasedGraph(scale, channels, RELEASED_CONFIGS[variant])


@pytest.fixture(scope="module")
def encoder() -> EfficientNetFeatures:
    return EfficientNetFeatures()


@pytest.mark.slow
@every_graph
def test_the_graph_reproduces_the_authors_in_double_precision(golden, variant):
    fixture = golden(FIXTURES[variant])
    network = on_meta(variant).double()
    network.load_state_dict(fixture.state(), strict=True, assign=True)
    for suffix in ("", "_b"):
        features = fixture.input(f"x{suffix}_in1") if network.conditioned else None
        with torch.no_grad():
            found = network.graph(fixture.input(f"x{suffix}"), features)
        # Keras computed in float32; the fixture says how far that is from float64.
        rounding = fixture.spec["outputs"][f"y{suffix}"]["max_abs_diff_fp32_vs_fp64"]
        torch.testing.assert_close(found, fixture.output(f"y{suffix}"), atol=rounding, rtol=0)


@pytest.mark.slow
@every_graph
def test_the_graph_has_the_canonical_keys_and_the_released_size(golden, variant):
    network = on_meta(variant)
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == golden(
        FIXTURES[variant]
    ).spec["keys"]
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[variant]


@pytest.mark.slow
@every_graph
def test_multiply_adds_at_720p(variant):
    network = on_meta(variant)
    lr = torch.empty(1, 3, 180, 320, device="meta")
    features = torch.empty(1, 2560, 23, 40, device="meta") if network.conditioned else None
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network.graph(lr, features)
    assert counter.get_total_flops() / 2e9 == pytest.approx(MULTIPLY_ADDS[variant], rel=2e-4)


@pytest.mark.slow
def test_images_are_in_unit_range_outside():
    network = ReleasedGraph(4, 3, NARROW).double()
    lr, features = torch.rand(1, 3, 8, 8).double(), torch.randn(1, 2560, 1, 1).double()
    expected = (network.graph(2 * lr - 1, features) + 1) / 2
    torch.testing.assert_close(network.super_resolve(lr, features), expected)
    bright = network.super_resolve(lr, 1e6 * features).detach()
    assert 0 <= float(bright.min()) <= float(bright.max()) <= 1


def test_depth_to_space_counts_channels_as_tensorflow_does():
    x = torch.arange(8.0).view(1, 8, 1, 1)
    # Channel (dy * 2 + dx) * 2 + c: even channels make the first image, odd ones the second.
    expected = torch.tensor([[[0.0, 2.0], [4.0, 6.0]], [[1.0, 3.0], [5.0, 7.0]]])
    assert torch.equal(depth_to_space(x, 2)[0], expected)
    wide = torch.rand(2, 18, 3, 5)
    permuted = wide.view(2, 9, 2, 3, 5).transpose(1, 2).flatten(1, 2)
    assert torch.equal(depth_to_space(wide, 3), nn.functional.pixel_shuffle(permuted, 3))


def test_the_condition_fits_any_lr_size():
    features = torch.randn(1, 2560, 2, 3)
    assert torch.equal(as_condition(features, torch.Size((16, 24))), depth_to_space(features, 8))
    # Features whose pixels, once spread, count the columns: bilinear interpolation of a ramp is a ramp.
    dx = torch.arange(8.0).repeat_interleave(40).repeat(8)
    columns = (8 * torch.arange(3.0) + dx[:, None, None]).expand(1, 2560, 2, 3)
    expected = ((torch.arange(20.0) + 0.5) * 24 / 20 - 0.5).clamp(0, 23)
    torch.testing.assert_close(
        as_condition(columns, torch.Size((14, 20))), expected.expand(1, 40, 14, 20), atol=1e-5, rtol=0
    )


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("width", [16, 64, 128])
def test_other_scales_repeat_the_released_steps(scale, channels, width):
    size = ReleasedConfig(depth=1, blocks=1, layers=1, growth=2, width=width, conditioned=False, stem=8)
    network = Unconditioned(scale, channels, size)
    assert network(torch.rand(2, channels, 6, 8)).shape == (2, channels, 6 * scale, 8 * scale)
    assert [name for name, _ in network.named_children()][-2:] == [f"up{len(network.steps)}", "out"]


@pytest.mark.slow
def test_odd_sides_and_wrong_features_are_refused():
    network = ReleasedGraph(4, 1, NARROW)
    features = torch.rand(1, 2560, 1, 1)
    with pytest.raises(ModelError, match="must be even"):
        network.graph(torch.rand(1, 1, 7, 8), features)
    with pytest.raises(ModelError, match="2560"):
        network.graph(torch.rand(1, 1, 8, 8))
    with pytest.raises(ModelError, match="no features"):
        create("csm_sr", scale=4, variant="released_arch7").network.super_resolve(
            torch.rand(1, 1, 8, 8), features
        )


class BeforeTanh(nn.Module):
    """The output before its flat ends, where positive weights would leave no gradient to probe with."""

    size_multiple = 2

    def __init__(self, network: ReleasedGraph) -> None:
        super().__init__()
        self.network = network

    def forward(self, lr):
        return self.network.before_tanh(2 * lr - 1)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_shallow_copy_without_condition_looks_exactly_as_far_as_it_says(scale, probe):
    size = ReleasedConfig(depth=2, blocks=2, layers=2, growth=3, width=16, conditioned=False, stem=4)
    narrow = Unconditioned(scale, 1, size)
    stated = narrow.receptive_radius
    assert probe(BeforeTanh(narrow), scale, int(stated) + 3) == stated


@pytest.mark.slow
def test_arch7_at_full_depth_looks_exactly_as_far_as_it_says(probe):
    full = RELEASED_CONFIGS["released_arch7"]
    narrow = Unconditioned(
        4, 1, ReleasedConfig(full.depth, full.blocks, full.layers, 4, 4, conditioned=False, stem=2)
    )
    stated = create("csm_sr", scale=4, variant="released_arch7").receptive_radius
    assert narrow.receptive_radius == stated
    assert probe(BeforeTanh(narrow), 4, int(stated) + 2) == stated


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["released", "released_arch8", "oracle"])
def test_a_conditioned_graph_is_global(variant):
    with torch.device("meta"):
        assert math.isinf(create("csm_sr", scale=4, variant=variant).receptive_radius)


@pytest.mark.slow
def test_the_encoder_is_torchvisions_efficientnet_b7_on_normalised_images(encoder):
    from torchvision.models import efficientnet_b7

    whole = efficientnet_b7(weights=None).eval()
    whole.features.load_state_dict(encoder.features.state_dict())
    image = torch.rand(1, 3, 40, 70)
    normalised = (image - torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(1, 3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(encoder(image), whole.features(normalised))
    assert encoder(image).shape == (1, 2560, 2, 3)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 63_786_960


@pytest.mark.slow
def test_the_encoder_never_learns_nor_moves(encoder):
    encoder.train()
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    image = torch.rand(2, 1, 32, 32)
    first = encoder(image)
    assert not first.requires_grad
    assert torch.equal(encoder(image), first)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


@pytest.mark.slow
def test_without_imagenet_every_build_has_the_same_encoder_with_a_live_signal(encoder):
    torch.manual_seed(99)
    again = EfficientNetFeatures().state_dict()
    for name, value in encoder.state_dict().items():
        assert torch.equal(again[name], value), name
    with torch.no_grad():
        dark, bright = encoder(0.5 * micrograph_noise(2, 64)), encoder(micrograph_noise(2, 96))
    for features in (dark, bright):
        assert 0.05 < float(features.std()) < 20
        assert float((features[0] - features[1]).std()) > 0.02


@pytest.mark.slow
def test_building_the_encoder_does_not_use_up_the_callers_random_numbers():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    EfficientNetFeatures()
    assert torch.equal(torch.rand(3), expected)


def imagenet_state(encoder: EfficientNetFeatures) -> dict[str, torch.Tensor]:
    state = {name: value + 0.5 for name, value in encoder.state_dict().items() if "tracked" not in name}
    return {**state, "classifier.1.weight": torch.zeros(1000, 2560), "classifier.1.bias": torch.zeros(1000)}


@pytest.mark.slow
def test_imagenet_weights_are_taken_over_whole_or_not_at_all(encoder):
    made, state = copy.deepcopy(encoder), imagenet_state(encoder)
    short = {name: value for name, value in state.items() if name != "features.8.0.weight"}
    with pytest.raises(ModelError, match=r"features\.8\.0\.weight"):
        made.load_imagenet(short)
    kept = made.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in encoder.state_dict().items())
    made.load_imagenet(state)
    taken = made.state_dict()
    assert all(torch.equal(taken[name], state[name]) for name in state if "features" in name)


@pytest.mark.slow
def test_lr_is_seen_four_times_enlarged_so_that_the_condition_has_its_size(encoder):
    network = ConditionedOnLR(2, 1, NARROW)
    lr = torch.rand(1, 1, 16, 24)
    enlarged = InterpolationUpsample("bicubic", 4)(lr)
    with torch.no_grad():
        features = encoder(enlarged)
        torch.testing.assert_close(network(lr), network.super_resolve(lr, features))
    assert features.shape[-2:] == (2, 3)


@pytest.mark.slow
def test_state_dict_is_the_canonical_one_and_the_encoder():
    with torch.device("meta"):
        network = create("csm_sr", scale=4, channels=3, variant="released_arch8").network
    own = set(on_meta("released_arch8").state_dict())
    added = set(network.state_dict()) - own
    assert own < set(network.state_dict())
    assert added and all(name.startswith("encoder.features.") for name in added)


@pytest.mark.slow
def test_only_the_oracle_can_be_given_the_answer():
    for variant in card("csm_sr").variants:
        with torch.device("meta"):
            network = create("csm_sr", scale=4, variant=variant).network
        takes = list(inspect.signature(network.forward).parameters)
        assert takes == (["lr", "hr"] if variant in card("csm_sr").leaking else ["lr"]), variant


@pytest.mark.slow
def test_the_oracle_sees_the_answer_and_released_does_not():
    oracle = create("csm_sr", scale=4, variant="oracle")
    honest = create("csm_sr", scale=4, variant="released")
    honest.network.load_state_dict(oracle.network.state_dict())
    lr, hr, other = torch.rand(1, 1, 8, 8), torch.rand(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    with_answer = oracle.infer(lr, oracle_hr=hr)
    assert torch.equal(oracle.infer(lr, oracle_hr=hr), with_answer)
    assert not torch.equal(oracle.infer(lr, oracle_hr=other), with_answer)
    with pytest.raises(ModelError, match="do not give it HR"):
        honest.infer(lr, oracle_hr=hr)
    # What the released code would do with an honest condition: the same weights, the enlarged LR for HR.
    enlarged = InterpolationUpsample("bicubic", 4)(lr)
    torch.testing.assert_close(honest.infer(lr), oracle.infer(lr, oracle_hr=enlarged))
