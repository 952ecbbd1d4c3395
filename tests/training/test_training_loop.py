"""The loop against hand-written loops, and what it promises about stages, discriminators and bad updates."""

from __future__ import annotations

import functools
import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from helpers.training_fakes import (
    GAN,
    L1,
    PIXEL,
    SGD,
    PlainSR,
    Textures,
    TinyDiscriminator,
    TinySR,
    adversarial,
    discriminator_loss,
    register_network,
)
from srbench import models
from srbench.datasets.degrade import get
from srbench.models.recipe import (
    Clip,
    ConstantRate,
    CosineRate,
    DiscriminatorSpec,
    LossTerm,
    PixelLoss,
    Recipe,
)
from srbench.training import reproducibility as rng
from srbench.training.data import CropReader, make_pairs
from srbench.utils.errors import SrbenchError


def log(result, kind: str = "train") -> list[dict]:
    rows = [json.loads(line) for line in (result.folder / "log.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"] == kind]


def register(name: str, *stages, network=PlainSR, **recipe) -> None:
    register_network(name, network, lambda request: Recipe(stages, "tests", **recipe))


@pytest.mark.slow
def test_one_stage_equals_a_loop_written_out_by_hand(train):
    """Same crops, plain torch: forward, loss, backward, clip, cosine rate, average."""
    stage = replace(PIXEL, iterations=6, ema=0.5, clip=Clip("norm", 0.2), schedule=CosineRate(0.1))
    register("by_hand", stage)
    result = train("by_hand", seed=3)

    with rng.preserved():
        rng.seed_streams(0, 3)
        network = models.create("by_hand", scale=2).network
    textures, degradation = Textures(), get("bicubic")
    reader = CropReader(textures, textures.split("train"), degradation, 2, 3)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    average = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for step in range(6):
        batch = make_pairs(reader.read(step, 4, 16, 0, 0, 1), degradation, torch.zeros(1), 1)
        optimiser.param_groups[0]["lr"] = 1e-3 * CosineRate(0.1)(step / 6)
        optimiser.zero_grad()
        F.l1_loss(network(batch.lr), batch.hr).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.2)
        optimiser.step()
        decay = min(0.5, (1 + step) / (10 + step))
        for name, tensor in network.state_dict().items():
            average[name] = decay * average[name] + (1 - decay) * tensor
    trained = load_file(result.weights)
    for name, tensor in average.items():
        torch.testing.assert_close(trained[name], tensor, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_a_game_equals_a_loop_written_out_by_hand(train):
    """Generator first against the frozen discriminator, then that on the same detached images."""
    discriminator_spec = DiscriminatorSpec(
        "discriminator", TinyDiscriminator, discriminator_loss, replace(SGD, lr=0.02)
    )
    terms = (L1, LossTerm("adversarial", adversarial, 0.1))
    stage = replace(
        PIXEL,
        iterations=4,
        terms=terms,
        discriminators=(discriminator_spec,),
        ema=None,
        optimiser=SGD,
        schedule=ConstantRate(),
    )
    register("game", stage)
    result = train("game", seed=1)

    with rng.preserved():
        rng.seed_streams(0, 1)
        network = models.create("game", scale=2).network
        rng.seed_streams(2, 1, 0, 0)
        discriminator = TinyDiscriminator()
    textures, degradation = Textures(), get("bicubic")
    reader = CropReader(textures, textures.split("train"), degradation, 2, 1)
    learner = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    judge = torch.optim.SGD(discriminator.parameters(), lr=0.02, momentum=0.9)
    for step in range(4):
        batch = make_pairs(reader.read(step, 4, 16, 0, 0, 1), degradation, torch.zeros(1), 1)
        sr = network(batch.lr)
        learner.zero_grad()
        (F.l1_loss(sr, batch.hr) + 0.1 * F.softplus(-discriminator(sr)).mean()).backward()
        learner.step()
        judge.zero_grad()
        (
            F.softplus(-discriminator(batch.hr)).mean() + F.softplus(discriminator(sr.detach())).mean()
        ).backward()
        judge.step()
    trained = load_file(result.weights)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(trained[name], tensor, rtol=1e-5, atol=1e-6)
    saved = torch.load(result.folder / "checkpoint.pt", weights_only=True)["state"]["critics"][
        "discriminator"
    ]
    for name, tensor in discriminator.state_dict().items():
        torch.testing.assert_close(saved["network"][name], tensor, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_training_learns(train):
    register("learns", replace(PIXEL, iterations=120, batch=8, optimiser=replace(PIXEL.optimiser, lr=1e-2)))
    result = train("learns", "train.validate_every=20")
    values = [row["psnr"] for row in log(result, "val")]
    assert result.best["psnr"] == max(values) > values[0] + 5


@pytest.mark.slow
def test_validation_comes_before_the_first_step_and_after_the_last(train):
    result = train("tiny_sr", "train.validate_every=5")
    assert [row["step"] for row in log(result, "val")] == [0, 5, 8]


@pytest.mark.slow
def test_stages_run_in_order_each_with_its_own_parts_and_schedule(train):
    first = replace(PIXEL, iterations=3, trainable=("tail.",), ema=None, schedule=CosineRate(0.5))
    second = replace(first, name="second", iterations=2, trainable=("head.",))
    register("parts", first, second)
    one = load_file(train("parts", "stages.second.lr=1e-30").weights)
    with rng.preserved():
        rng.seed_streams(0, 0)
        start = models.create("parts", scale=2).network.state_dict()
    assert torch.equal(one["head.weight"], start["head.weight"])
    assert not torch.equal(one["tail.weight"], start["tail.weight"])
    rows = log(train("parts", seed=1))
    assert [row["stage"] for row in rows] == ["pixel"] * 3 + ["second"] * 2
    assert [row["lr"] for row in rows] == pytest.approx(
        [1e-3 * CosineRate(0.5)(f) for f in (0, 1 / 3, 2 / 3, 0, 0.5)]
    )


@pytest.mark.slow
def test_frozen_batch_normalisation_keeps_its_statistics(train):
    register("frozen", replace(PIXEL, trainable=("tail.",), ema=None), network=TinySR)
    weights = load_file(train("frozen").weights)
    assert weights["head.1.num_batches_tracked"] == 0
    assert torch.equal(weights["head.1.running_mean"], torch.zeros(8))


@pytest.mark.slow
def test_a_discriminator_goes_on_in_a_later_stage_of_the_same_name(train):
    later = replace(GAN, name="later", discriminators=(replace(GAN.discriminators[0], steps=1),))
    other = replace(later, name="other", discriminators=(replace(later.discriminators[0], name="fresh"),))
    other = replace(other, terms=(L1,))
    register("twice", GAN, later, other)
    state = torch.load(train("twice").folder / "checkpoint.pt", weights_only=True)["state"]
    steps = {
        name: int(next(iter(discriminator["optimiser"]["state"].values()))["step"])
        for name, discriminator in state["critics"].items()
    }
    assert steps == {"discriminator": 7 * 2 + 7, "fresh": 7}


@pytest.mark.slow
def test_schedules_see_the_latest_validation(train):
    seen = []

    def weight(progress):
        seen.append((progress.step, progress.total, dict(progress.metrics)))
        return 1.0

    register("feedback", replace(PIXEL, iterations=4, terms=(replace(L1, weight=weight),)))
    result = train("feedback", "train.validate_every=2")
    values = {row["step"]: row["psnr"] for row in log(result, "val")}
    assert [(step, total) for step, total, _ in seen] == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert [metrics["psnr"] for _, _, metrics in seen] == [values[0], values[0], values[2], values[2]]


@pytest.mark.slow
def test_a_term_of_no_weight_is_not_computed(train):
    def explode(inputs):
        raise AssertionError("computed")

    register("silent_term", replace(PIXEL, terms=(L1, LossTerm("idle", explode, 0.0))))
    assert "loss/idle" not in log(train("silent_term"))[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (
            lambda inputs: (inputs.sr - inputs.hr).abs(),
            r"loss term 'bad' of stage 'pixel'.*a loss is a scalar",
        ),
        (lambda inputs: inputs.hr.mean(), "'pixel' has nothing to learn from at step 0"),
    ],
)
def test_a_loss_that_cannot_teach_is_named(train, loss, words):
    register("unteachable", replace(PIXEL, terms=(LossTerm("bad", loss),)))
    with pytest.raises(SrbenchError, match=words):
        train("unteachable")


class Poisoned(TinySR):
    """A network whose input is NaN at the given training passes."""

    calls: frozenset[int] = frozenset()

    def __init__(self, scale: int, channels: int) -> None:
        super().__init__(scale, channels)
        self.passes = 0

    def forward(self, lr):
        if self.training:
            self.passes += 1
            if self.passes in self.calls:
                lr = lr * float("nan")
        return super().forward(lr)


@pytest.mark.slow
def test_a_bad_update_is_skipped_and_leaves_no_trace(train, progress):
    class Once(Poisoned):
        calls = frozenset({3, 5})

    register("once", replace(PIXEL, terms=GAN.terms, discriminators=GAN.discriminators), network=Once)
    result = train("once", "stages.pixel.iterations=8")
    weights = load_file(result.weights)
    assert all(tensor.isfinite().all() for tensor in weights.values())
    state = torch.load(result.folder / "checkpoint.pt", weights_only=True)["state"]
    assert all(t.isfinite().all() for t in state["critics"]["discriminator"]["network"].values())
    assert state["skipped"] >= 1
    assert any("gradient of generator not finite, update skipped" in note for note in progress.messages)
    manifest = json.loads((result.folder / "manifest.json").read_text())
    assert manifest["progress"]["skipped_updates"] == state["skipped"]


@pytest.mark.slow
def test_too_many_bad_updates_end_the_run_and_keep_what_was_learned(train, tmp_path):
    class Lost(Poisoned):
        calls = frozenset(range(5, 99))

    register("lost", replace(PIXEL, iterations=50), network=Lost)
    with pytest.raises(SrbenchError) as raised:
        train("lost", "train.bad_updates=3", "train.checkpoint_every=2", out=tmp_path / "run")
    message = str(raised.value)
    assert "stage 'pixel', up to step 7" in message and "3 times in a row" in message
    assert "--set stages.pixel.lr=" in message
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["status"] == "failed" and "diverged" in manifest["reason"]
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["state"]
    assert state["total_step"] == 6
    assert all(tensor.isfinite().all() for tensor in state["network"].values())


@pytest.mark.slow
def test_bf16_runs_the_forward_pass_and_leaves_the_loss_in_float32(train):
    seen = []

    def watch(sr, hr):
        seen.append((sr.dtype, hr.dtype, torch.is_autocast_enabled("cpu")))
        return F.l1_loss(sr, hr)

    inside = []

    class Watched(PlainSR):
        def forward(self, lr):
            hidden = self.head(lr)
            inside.append(hidden.dtype)
            return F.pixel_shuffle(self.tail(hidden), self.scale)

    register("half", replace(PIXEL, terms=(LossTerm("l1", PixelLoss(watch)),)), network=Watched)
    result = train("half", "train.amp=bf16", "train.validate_every=8")
    assert set(seen) == {(torch.float32, torch.float32, False)}
    assert inside.count(torch.bfloat16) == 8
    assert all(tensor.dtype == torch.float32 for tensor in load_file(result.weights).values())


@pytest.mark.slow
def test_channels_last_trains_the_same_network(train):
    register("layout", replace(PIXEL, optimiser=SGD))
    plain = load_file(train("layout").weights)
    last = load_file(train("layout", "train.channels_last=true", variant="other").weights)
    for name, tensor in plain.items():
        torch.testing.assert_close(last[name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_compiled_network_trains_the_same_weights(train, monkeypatch):
    """Traced by torch.compile as ever, without the minutes of code generation."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    register("compiled", replace(PIXEL, optimiser=SGD))
    plain = load_file(train("compiled").weights)
    compiled = load_file(train("compiled", "train.compile=true", variant="other").weights)
    assert compiled.keys() == plain.keys()
    for name, tensor in plain.items():
        torch.testing.assert_close(compiled[name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("amp", ["none", "bf16"])
def test_cuda_repeats_itself(train, tmp_path, amp):
    runs = [
        train("tiny_gan", f"train.amp={amp}", device="cuda", out=tmp_path / name) for name in ("one", "two")
    ]
    assert runs[0].weights.read_bytes() == runs[1].weights.read_bytes()
    manifest = json.loads((runs[0].folder / "manifest.json").read_text())
    assert manifest["sessions"][0]["device"]["type"] == "cuda" and manifest["peak_memory_bytes"] > 0


@pytest.mark.gpu
def test_cuda_learns_what_the_cpu_learns(train, tmp_path):
    register("steady", replace(PIXEL, optimiser=SGD))
    on_cuda = train("steady", "train.amp=none", device="cuda", out=tmp_path / "cuda")
    on_cpu = train("steady", out=tmp_path / "cpu")
    expected = load_file(on_cpu.weights)
    for name, tensor in load_file(on_cuda.weights).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-2, atol=1e-3)
