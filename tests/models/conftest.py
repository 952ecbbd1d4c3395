"""Helpers of the model tests: golden fixtures, synthetic scenes, and a minimal executor of recipes."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models import create
from srbench.models.base import pad_to_multiple
from srbench.models.recipe import Batch, Clip, LossInputs, Optimiser, Progress, Recipe, Stage

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(autouse=True)
def _repeatable() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@dataclass(frozen=True)
class Golden:
    """Numbers that the authors' code gave, and the rule by which its weights were filled."""

    spec: dict
    arrays: dict[str, np.ndarray]

    def state(self) -> dict[str, Tensor]:
        """The weights as float64, by the authors' key; what the rule leaves as constructed is absent."""
        state: dict[str, Tensor] = {}
        for key, rule in self.spec["rules"].items():
            if rule == "alias":
                state[key] = state[self.spec["aliases"][key]]
            elif rule != "skip":
                state[key] = self._fill(key, rule)
        return state

    def input(self, name: str = "x") -> Tensor:
        """A stored input as float64; a large one is drawn again."""
        if name in self.arrays:
            return torch.from_numpy(self.arrays[name]).double()
        drawn = np.random.default_rng(1234).random(self.spec["x_shapes"][name])
        return torch.from_numpy(drawn.astype(np.float32)).double()

    def output(self, name: str = "y") -> Tensor:
        """A stored output as float64."""
        return torch.from_numpy(self.arrays[name]).double()

    def _fill(self, key: str, rule: str) -> Tensor:
        shape = tuple(self.spec["keys"][key])
        normal = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
        gain = self._gain(key)
        values = {
            "fan_in": lambda: gain * normal / np.sqrt(max(int(np.prod(shape[1:])), 1)),
            "one": lambda: 1 + 0.1 * normal,
            "bias": lambda: 0.05 * normal,
            "prelu": lambda: 0.25 + 0.05 * normal,
            "bn_mean": lambda: 0.05 * normal,
            "bn_var": lambda: 1 + 0.1 * np.abs(normal),
        }
        return torch.from_numpy(np.asarray(values[rule]()))

    def _gain(self, key: str) -> float:
        if "gain_sqrt2" in self.spec:
            return 2**0.5 if key in self.spec["gain_sqrt2"] else 1.0
        special = [gain for part, gain in self.spec.get("gains", {}).items() if part in key]
        return (special or [self.spec.get("gain", 1.0)])[-1]


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Golden]:
    """``golden(tag)`` reads the fixture of that name."""

    def read(tag: str) -> Golden:
        spec = json.loads((GOLDEN / f"{tag}.keys.json").read_text())
        path = GOLDEN / f"{tag}.npz"
        if not path.exists():  # key names only
            return Golden(spec, {})
        with np.load(path) as arrays:
            return Golden(spec, dict(arrays))

    return read


def draw_blobs(rng: np.random.Generator, side: int) -> Tensor:
    """Bright discs with sharp rims on a dark ground, ``(1, 1, side, side)`` in [0, 1]."""
    y, x = np.mgrid[:side, :side]
    image = np.full((side, side), 0.25)
    for _ in range(side * side // 400):
        centre_y, centre_x, radius = *rng.uniform(0, side, 2), rng.uniform(3, 10)
        inside = radius - np.hypot(y - centre_y, x - centre_x)
        image = np.maximum(image, rng.uniform(0.4, 0.95) * np.clip(inside + 0.5, 0, 1))
    return torch.from_numpy(image).float()[None, None]


@dataclass(frozen=True)
class Scenes:
    """A training set and a held-out image, with LR made by torch's antialiased bicubic resize."""

    scale: int
    train: Tensor
    held_out: Tensor

    def degrade(self, hr: Tensor) -> Tensor:
        """LR of ``hr``, in [0, 1]."""
        size = [side // self.scale for side in hr.shape[-2:]]
        return F.interpolate(hr, size=size, mode="bicubic", antialias=True).clamp(0, 1)

    def batch(self, rng: np.random.Generator, stage: Stage, channels: int) -> Batch:
        """Random crops as the stage asks for."""
        limit = self.train.shape[-1] - stage.patch + 1
        crops = []
        for _ in range(stage.batch):
            image, top, left = rng.integers(len(self.train)), rng.integers(limit), rng.integers(limit)
            crops.append(self.train[image, :, top : top + stage.patch, left : left + stage.patch])
        hr = torch.stack(crops).expand(-1, channels, -1, -1)
        return Batch(self.degrade(hr), hr, self.scale)


@pytest.fixture(scope="session")
def scenes() -> Callable[[int], Scenes]:
    """``scenes(scale)`` draws the same small data set every time."""

    def draw(scale: int) -> Scenes:
        rng = np.random.default_rng(7)
        train = torch.cat([draw_blobs(rng, 192) for _ in range(6)])
        return Scenes(scale, train, draw_blobs(rng, 192))

    return draw


def make_optimiser(given: Optimiser, network: nn.Module) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if given.name == "sgd":
        return torch.optim.SGD(
            parameters, lr=given.lr, momentum=given.momentum, weight_decay=given.weight_decay
        )
    kind = torch.optim.Adam if given.name == "adam" else torch.optim.AdamW
    return kind(parameters, lr=given.lr, betas=given.betas, eps=given.eps, weight_decay=given.weight_decay)


def clip_gradients(clip: Clip | None, network: nn.Module, rate: float) -> None:
    if clip is None:
        return
    if clip.kind == "norm":
        nn.utils.clip_grad_norm_(network.parameters(), clip.value)
    else:
        bound = clip.value / rate if clip.kind == "adjustable" else clip.value
        nn.utils.clip_grad_value_(network.parameters(), bound)


Until = Callable[[str, list[float]], bool]
"""Of a stage's name and its losses so far: whether what the test claims of the stage holds already."""


def never(stage: str, losses: list[float]) -> bool:
    """Every stage to its last step."""
    return False


class Trainer:
    """Executes a recipe step by step, with none of the conveniences of the real loop."""

    def __init__(self, network: nn.Module, recipe: Recipe, scenes: Scenes, channels: int) -> None:
        self.network, self.recipe, self.scenes, self.channels = network, recipe, scenes, channels
        self.rng = np.random.default_rng(3)
        self.losses: dict[str, list[float]] = {}

    def run(self, until: Until = never) -> Trainer:
        """All stages, each until its claim holds; ``losses`` has the generator's of every step by stage."""
        if self.recipe.initialise is not None:
            self.recipe.initialise(self.network)
        for stage in self.recipe.stages:
            self.losses[stage.name] = self._run_stage(stage, until)
            assert np.isfinite(self.losses[stage.name]).all()
        return self

    def _run_stage(self, stage: Stage, until: Until) -> list[float]:
        discriminators = {discriminator.name: discriminator.build() for discriminator in stage.discriminators}
        optimiser = make_optimiser(stage.optimiser, self.network)
        of_discriminators = {
            discriminator.name: make_optimiser(discriminator.optimiser, discriminators[discriminator.name])
            for discriminator in stage.discriminators
        }
        losses = []
        for step in range(stage.iterations):
            batch = self.scenes.batch(self.rng, stage, self.channels)
            outputs = stage.forward(self.network, batch)
            fake = {name: value.detach() for name, value in outputs.items()}
            for discriminator in stage.discriminators:
                self._update_discriminator(
                    discriminator,
                    discriminators,
                    of_discriminators[discriminator.name],
                    LossInputs(batch, fake, discriminators),
                )
            losses.append(
                self._update(
                    stage, optimiser, Progress(step, stage.iterations), batch, outputs, discriminators
                )
            )
            if until(stage.name, losses):
                break
        return losses

    def _update_discriminator(self, discriminator, discriminators, optimiser, inputs) -> None:
        optimiser.zero_grad()
        discriminator.loss(discriminators[discriminator.name], inputs).backward()
        optimiser.step()

    def _update(self, stage, optimiser, progress, batch, outputs, discriminators) -> float:
        rate = stage.optimiser.lr * stage.schedule(progress.fraction)
        for group in optimiser.param_groups:
            group["lr"] = rate
        inputs = LossInputs(batch, outputs, discriminators)
        loss = sum(term.weight_at(progress) * term.loss(inputs) for term in stage.terms)
        optimiser.zero_grad()
        loss.backward()
        clip_gradients(stage.clip, self.network, rate)
        optimiser.step()
        return float(loss.detach())


def open_every_gate(network: nn.Module) -> nn.Module:
    """Positive weights of moderate size: no ReLU is shut and nothing cancels, every path carries gradient."""
    with torch.no_grad():
        for parameter in network.parameters():
            fan_in = max(parameter[0].numel(), 1) if parameter.ndim > 1 else 1
            parameter.copy_((0.5 + torch.rand_like(parameter)) / fan_in)
    return network


@pytest.fixture
def probe() -> Callable[..., int]:
    """``probe(network, scale, window)``: how many LR pixels away the output of an LR pixel looks.

    Measured by gradients, along the rows and along the columns of strips reaching ``window`` pixels.
    """

    def measure(network: nn.Module, scale: int, window: int) -> int:
        multiple = getattr(network, "size_multiple", 1)
        network = open_every_gate(network).double().eval()
        along_rows = reach_along_strip(network, scale, window, multiple, lambda image: image)
        return max(along_rows, reach_along_strip(network, scale, window, multiple, lambda image: image.mT))

    return measure


def reach_along_strip(network, scale, window, multiple, turn) -> int:
    strip = torch.rand(1, 1, 6, 2 * window + 1, dtype=torch.float64, requires_grad=True)
    sr = turn(network(pad_to_multiple(turn(strip), multiple)))
    sr[..., 3 * scale : 4 * scale, window * scale : (window + 1) * scale].sum().backward()
    return int((strip.grad.abs().sum((0, 1, 2)).nonzero() - window).abs().max())


@pytest.fixture
def train() -> Callable[..., Trainer]:
    """``train(model, recipe, scenes, until)`` runs the recipe on the model's network.

    A stage ends as soon as ``until(stage, losses)`` holds: a claim about a smoke run is that it comes true
    within the budget, and what comes after it teaches the test nothing.
    """

    def run(model, recipe: Recipe, on: Scenes, until: Until = never) -> Trainer:
        return Trainer(model.network, recipe, on, model.channels).run(until)

    return run


@pytest.fixture
def smoke(scenes, train, psnr) -> Callable[..., Any]:
    """``smoke(name, margin, ...)``: the tiny variant, once it beats bicubic on a scene it has not seen.

    Each stage of the smoke recipe runs until PSNR is ``margin`` dB above bicubic's and, where ``falls`` is
    given, the losses of the first stage have fallen: the last 20 to less than that share of the first 20.
    ``seed`` is of the first numbers of the network.
    """

    def run(
        name: str,
        margin: float = 0.5,
        scale: int = 4,
        falls: float | None = None,
        before: Until = never,
        seed: int = 0,
    ) -> Any:
        torch.manual_seed(seed)
        model, data = create(name, scale=scale, variant="tiny"), scenes(scale)
        lr, hr = data.degrade(data.held_out), data.held_out
        wanted = psnr(create("bicubic", scale=scale).infer(lr), hr) + margin
        recipe = model.recipe("smoke")
        first = recipe.stages[0].name

        def has_fallen(losses: list[float]) -> bool:
            return falls is None or sum(losses[-20:]) < falls * sum(losses[:20])

        def reached(stage: str, losses: list[float]) -> bool:
            if len(losses) % 10:
                return before(stage, losses)
            return (stage != first or has_fallen(losses)) and psnr(model.infer(lr), hr) > wanted

        losses = train(model, recipe, data, reached).losses
        assert has_fallen(losses[first])
        assert psnr(model.infer(lr), hr) > wanted
        return model

    return run


@pytest.fixture
def psnr() -> Callable[[Tensor, Tensor], float]:
    """Peak signal-to-noise ratio in dB of two batches in [0, 1], a border of 8 left out."""

    def compute(sr: Tensor, hr: Tensor) -> float:
        error = (sr - hr)[..., 8:-8, 8:-8].double().square().mean()
        return float(-10 * torch.log10(error))

    return compute


@pytest.fixture(scope="session")
def vgg_state() -> dict[str, Tensor]:
    """Random weights in the layout of torchvision's VGG-19, without the classifier."""
    from torchvision.models.vgg import cfgs, make_layers

    torch.manual_seed(0)
    return {f"features.{name}": value for name, value in make_layers(cfgs["E"]).state_dict().items()}
