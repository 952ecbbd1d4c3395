"""A score store made up for the report: real pixels through simple filters that play the part of models."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from srbench.metrics import protocol as protocols
from srbench.metrics import registry
from srbench.metrics.curve import list_curves
from srbench.reporting import ReportResult, report
from srbench.reporting.blocks import collect
from srbench.reporting.leaderboard import Leaderboard, leaderboard
from srbench.store import Manifest, RunKey, Score, ScoreStore

Grey = NDArray[np.uint8]
LPIPS = "lpips-alex-0.1"
REFERENCE = "synthetic-bicubic-x4"
PROTOCOL = protocols.named("sem-grey")


@dataclass(frozen=True)
class Scene:
    """An image of the made-up data set."""

    image: str
    group: str
    category: str
    hr: Grey


@dataclass(frozen=True)
class Player:
    """A filter in the role of a model: LR and scale to SR (HR is given to the leaking one only)."""

    model: str
    title: str
    family: str
    run: Callable[[Grey, int, Grey], Grey]
    seeds: tuple[int, ...] = (-1,)
    budget: str = ""
    leaking: bool = False
    costs: Mapping[str, float] = field(default_factory=dict)
    variant: str = "paper"


Invented = Callable[[Player, int, int], Mapping[str, float | str]]
"""Player, seed and number of the image to values, or the reason why there is none."""


def enlarge(kernel: int) -> Callable[[Grey, int, Grey], Grey]:
    return lambda lr, scale, hr: cv2.resize(lr, hr.shape[::-1], interpolation=kernel)


def sharpened(amount: float) -> Callable[[Grey, int, Grey], Grey]:
    def run(lr: Grey, scale: int, hr: Grey) -> Grey:
        image = cv2.resize(lr.astype(np.float32), hr.shape[::-1], interpolation=cv2.INTER_LANCZOS4)
        blurred = cv2.GaussianBlur(image, (0, 0), scale / 2)
        return np.clip(image + amount * (image - blurred), 0, 255).astype(np.uint8)

    return run


def textured(strength: float) -> Callable[[Grey, int, Grey], Grey]:
    """Invents grain: what an adversarial network does at its worst."""

    def run(lr: Grey, scale: int, hr: Grey) -> Grey:
        image = cv2.resize(lr.astype(np.float32), hr.shape[::-1], interpolation=cv2.INTER_CUBIC)
        grain = np.random.default_rng(7).normal(size=hr.shape)
        return np.clip(image + strength * grain, 0, 255).astype(np.uint8)

    return run


def mixed_with_truth(share: float) -> Callable[[Grey, int, Grey], Grey]:
    """Plays a good network: part of the truth the LR image has lost."""

    def run(lr: Grey, scale: int, hr: Grey) -> Grey:
        image = cv2.resize(lr.astype(np.float32), hr.shape[::-1], interpolation=cv2.INTER_CUBIC)
        return np.clip((1 - share) * image + share * hr + 0.5, 0, 255).astype(np.uint8)

    return run


def noisy_copy(lr: Grey, scale: int, hr: Grey) -> Grey:
    noise = np.random.default_rng(11).normal(scale=6.0, size=hr.shape)
    return np.clip(hr + noise, 0, 255).astype(np.uint8)


def costs(params: float, gmacs: float, seconds: float) -> dict[str, float]:
    return {"params": params, "gmacs_per_mpx": gmacs, "seconds_per_mpx": seconds}


PLAYERS = (
    Player("bicubic", "Bicubic", "interpolation", enlarge(cv2.INTER_CUBIC), costs=costs(0, 0, 0.004)),
    Player("nearest", "Nearest", "interpolation", enlarge(cv2.INTER_NEAREST), costs=costs(0, 0, 0.001)),
    Player(
        "vdsr", "VDSR", "regression", mixed_with_truth(0.10), (0, 1), "paper", costs=costs(665e3, 665, 0.9)
    ),
    Player("edsr", "EDSR", "regression", mixed_with_truth(0.35), (0,), "paper", costs=costs(1.5e6, 98, 0.2)),
    Player("srgan", "SRGAN", "adversarial", textured(9), (0,), "short", costs=costs(1.5e6, 105, 0.21)),
    Player("tiny", "CSM-SR", "adversarial", sharpened(0.7), (0,), "smoke", False, costs(52e3, 3.5, 0.02)),
    Player(
        "oracle", "Oracle", "adversarial", mixed_with_truth(0.9), (0,), "paper", True, costs(6e7, 4000, 3)
    ),
    Player("noise_ceiling", "Noise ceiling", "ceiling", noisy_copy),
)


def scenes(n_groups: int = 8, side: int = 96) -> list[Scene]:
    """Blobs and lines with grain; two images a group, two categories."""
    generator = np.random.default_rng(3)
    made = []
    for index in range(2 * n_groups):
        image = np.full((side, side + 32), 90, np.uint8)
        for _ in range(14):
            centre = tuple(int(v) for v in generator.integers(0, side, 2))
            cv2.circle(image, centre, int(generator.integers(3, 14)), int(generator.integers(60, 240)), -1)
        noisy = np.clip(image + generator.normal(scale=4, size=image.shape), 0, 255).astype(np.uint8)
        group = index // 2
        made.append(Scene(f"img/{index:02d}.png", f"g{group}", ("powder", "fibres")[group % 2], noisy))
    return made


class Fabricator:
    """Writes runs of made-up models on made-up images into a store."""

    def __init__(self, root: Path, images: list[Scene], scale: int = 4, dataset: str = "sem_made_up") -> None:
        self.store = ScoreStore(root)
        self.images = images
        self.scale = scale
        self.dataset = dataset
        self.data = "d" * 64
        self.pixel_nm = float("nan")

    def key(self, player: Player, seed: int) -> RunKey:
        learned = seed >= 0
        weights = (f"{player.model}{seed}".encode().hex() * 8)[:64] if learned else ""
        degradation = "bicubic@1"
        return RunKey(
            player.model,
            player.variant,
            weights,
            seed,
            self.dataset,
            self.data,
            "test",
            degradation,
            self.scale,
            PROTOCOL.id,
        )

    def manifest(self, player: Player, seed: int, **changes: Any) -> Manifest:
        learned = {"file": f"{player.model}.safetensors", "budget": player.budget, "iterations": 300_000}
        return Manifest(
            key=self.key(player, seed),
            created="2026-11-20T10:00:00+00:00",
            command=f"srbench eval {player.model} --dataset {self.dataset} --scale {self.scale}",
            versions={"srbench": "0.1.0", "torch": "2.11.0", "python": "3.11.9"},
            device={"name": "NVIDIA H100", "precision": "float32", "threads": 1},
            data={
                "images": len(self.images),
                "reference_id": REFERENCE,
                "lr_sha256": "ab" * 32,
                "fingerprint": self.data,
            },
            protocol=PROTOCOL.describe(),
            weights=learned if seed >= 0 else {},
            cost={"wall_seconds": 12.5},
            card={"title": player.title, "family": player.family, "year": 2017, "leaking": player.leaking},
            **{"status": "complete", **changes},
        )

    def lr(self, scene: Scene) -> Grey:
        height, width = scene.hr.shape
        smaller = (width // self.scale, height // self.scale)
        return np.asarray(cv2.resize(scene.hr, smaller, interpolation=cv2.INTER_AREA), np.uint8)

    def add(
        self,
        player: Player,
        metrics: tuple[str, ...] = ("psnr", "ssim"),
        previews: int = 2,
        more: Invented = lambda player, seed, index: {},
        **changes: Any,
    ) -> None:
        """Score a player; ``more`` makes up values of further metrics, ``changes`` go to the manifest."""
        for seed in player.seeds:
            scores, shown = [], {}
            for index, scene in enumerate(self.images):
                lr = self.lr(scene)
                sr = player.run(lr, self.scale, scene.hr)
                sr = mixed_seed(sr, seed)
                if len(shown) < previews:
                    shown[scene.image] = sr
                    self.store.write_reference(REFERENCE, scene.image, "hr", scene.hr)
                    self.store.write_reference(REFERENCE, scene.image, "lr", lr)
                found = self.scores(scene, sr, lr, metrics, more(player, seed, index))
                scores += [replace(score, pixel_size_nm=self.pixel_nm) for score in found]
            scores += [Score(name, value) for name, value in player.costs.items()]
            self.store.write_run(self.manifest(player, seed, **changes), scores, shown)

    def scores(
        self,
        scene: Scene,
        sr: Grey,
        lr: Grey,
        metrics: tuple[str, ...],
        invented: Mapping[str, float | str],
    ) -> Iterator[Score]:
        case = replace(PROTOCOL.case(sr, scene.hr, lr, self.scale), clean=True)
        place = (scene.image, scene.group, scene.category)
        for name in metrics:
            yield Score(name, registry.get(name).compute(case), *place)
        values: dict[str, float | str] = {LPIPS: "AlexNet weights are not on disk", **invented}
        for name, value in values.items():
            if isinstance(value, str):
                yield Score(name, float("nan"), *place, reason=value)
            else:
                yield Score(name, value, *place)

    def fail(self, model: str, reason: str, status: str = "failed") -> None:
        player = Player(model, model.upper(), "attention", noisy_copy)
        manifest = self.manifest(player, -1, status=status, reason=reason)
        self.store.write_run(replace(manifest, weights={}), [])


def mixed_seed(sr: Grey, seed: int) -> Grey:
    """Another training seed: a slightly different output."""
    if seed <= 0:
        return sr
    return np.clip(sr + np.random.default_rng(seed).normal(scale=1.5, size=sr.shape), 0, 255).astype(np.uint8)


def fill(root: Path, images: list[Scene] | None = None) -> Fabricator:
    """A store with several models, two seeds, a failed and a missing run."""
    fabricator = Fabricator(root, images or scenes())
    for player in PLAYERS:
        fabricator.add(player)
    fabricator.fail("swinir", "CUDA ran out of memory on img/03.png; give --tile 256")
    fabricator.fail("hmanet", "No trained weights found; srbench train hmanet --scale 4", "missing")
    return fabricator


GUARDED = {
    "hr_access": "It could not read HR and did not try to.",
    "determinism": "Run again in another order: every output is the same.",
    "lossless_output": "16 outputs of the right size, none with blocks of JPEG.",
    "degradation": "LR made again equals what was given in 3 of 3 images.",
}
JPEG = "14 of 16 outputs show blocks of 8 x 8 pixels, as JPEG leaves them."
RICH = (
    replace(PLAYERS[3], seeds=(0, 1, 2)),
    replace(PLAYERS[2], seeds=(0,)),
    *(
        player
        for player in PLAYERS
        if player.model in ("bicubic", "nearest", "srgan", "tiny", "noise_ceiling")
    ),
    Player("random_texture", "Control", "", textured(14), variant="bicubic"),
)
RICH_METRICS = (
    "psnr",
    "ssim",
    "gmsd",
    "recovered_hf",
    "hallucinated_hf",
    "gained_hf",
    "edge_f1",
    "edge_omitted",
)


def check_results(**failed: str) -> list[dict[str, str]]:
    """What a manifest stores: these checks failed, the others of ``GUARDED`` passed."""
    statuses = dict.fromkeys(failed, "failed") | dict.fromkeys(GUARDED.keys() - failed.keys(), "passed")
    details = {**GUARDED, **failed}
    return [{"guard": name, "status": status, "detail": details[name]} for name, status in statuses.items()]


def measured(player: Player, seed: int, index: int) -> Mapping[str, float | str]:
    """Line widths: EDSR changes them little, but its third seed too much; bicubic widens them; SRGAN loses
    lines. VDSR can be trusted. LPIPS likes invented texture.
    """
    wobble = 0.1 * np.sin(1.7 * index + seed)
    change = {"edsr": 0.05 + 0.7 * (seed == 2), "bicubic": 1.2, "vdsr": 0.1, "noise_ceiling": 0.0}
    likes = {"random_texture": 0.21, "bicubic": 0.34, "edsr": 0.3}
    nothing = "the scene has no straight lines"
    found: dict[str, float | str] = {"cd_bias": nothing, "cd_bias_hr": nothing}
    found[LPIPS] = likes.get(player.model, 0.4) + 0.1 * wobble
    if index % 2 == 0 and player.model in (*change, "srgan"):
        lost = player.model == "srgan" and index % 4 == 0
        value = 1.0 + change.get(player.model, 0.2) + wobble
        found["cd_bias"] = "lost in the super-resolved image: 1 of 4 lines can be measured" if lost else value
        found["cd_bias_hr"] = 1.0
    return found


def enrich(root: Path, metrics: tuple[str, ...], previews: int = 2) -> Fabricator:
    """A store with measurements, checks, three seeds, a failed check and the control."""
    fabricator = Fabricator(root, scenes())
    for player in RICH:
        results = check_results(lossless_output=JPEG) if player.model == "srgan" else check_results()
        unchecked = player.model in ("nearest", "noise_ceiling", "random_texture")
        fabricator.add(player, metrics, previews, more=measured, guards=[] if unchecked else results)
    stopped = fabricator.manifest(
        Player("hmanet", "HMANet", "attention", noisy_copy),
        -1,
        status="failed",
        reason="The model was stopped.",
        guards=check_results(hr_access="It tried to read img/03.png in the folder of HR images."),
    )
    fabricator.store.write_run(stopped, [])
    return fabricator


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the store with everything are no part of the quick layer."""
    for item in items:
        if "rich" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A read-only store with everything a report can show, made once."""
    root = tmp_path_factory.mktemp("rich")
    enrich(root, (*RICH_METRICS, *(name for curve in list_curves() for name in curve.point_names)))
    return root


@pytest.fixture(scope="session")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same runs with fewer metrics and no pictures, read-only."""
    root = tmp_path_factory.mktemp("checked")
    enrich(root, ("psnr",), previews=0)
    return root


@pytest.fixture(scope="session")
def rich_report(rich: Path, tmp_path_factory: pytest.TempPathFactory) -> ReportResult:
    """The report of that store."""
    return report(rich, tmp_path_factory.mktemp("rich-report"))


@pytest.fixture(scope="session")
def rich_board(rich: Path) -> Leaderboard:
    """Its only leaderboard."""
    return leaderboard(collect(ScoreStore(rich))[0])


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A read-only store, made once."""
    root = tmp_path_factory.mktemp("results")
    fill(root)
    return root


@pytest.fixture(scope="session")
def filled_report(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> ReportResult:
    """The report of that store."""
    return report(filled, tmp_path_factory.mktemp("filled-report"))


@pytest.fixture(scope="session")
def filled_board(filled: Path) -> Leaderboard:
    """Its only leaderboard."""
    return leaderboard(collect(ScoreStore(filled))[0])


@pytest.fixture
def results(filled: Path, tmp_path: Path) -> Path:
    """A copy of the filled store that a test may change."""
    return Path(shutil.copytree(filled, tmp_path / "results"))


@pytest.fixture
def fabricator(tmp_path: Path) -> Fabricator:
    """An empty store with a few images and the means to add runs."""
    return Fabricator(tmp_path / "results", scenes(4, 64))


@pytest.fixture(scope="session")
def players() -> dict[str, Player]:
    """The made-up models by name."""
    return {player.model: player for player in PLAYERS}
