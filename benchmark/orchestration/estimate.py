"""What a plan will take: multiply-adds of its trainings by their recipes, seconds by what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from srbench import datasets, models, plugins
from srbench.config import TrainConfig, apply
from srbench.inference.device import pick_device
from srbench.orchestration.tasks import BenchmarkTask, Destination, ExpandedPlan, is_trained
from srbench.store import ScoreStore
from srbench.training.compute import LAPTOP_MULTIPLY_ADDS, multiply_adds_per_update
from srbench.training.run_folder import RunFolder
from srbench.training.train import choose_channels
from srbench.training.trial import check_patches
from srbench.utils.progress import ProgressCallback, ProgressEvent
from srbench.weights.imagenet import pretrained

LAPTOP_SECONDS = 900.0
"""Of the budget ``laptop`` on two CPU cores, roughly."""
IMAGE_SECONDS = 2.0
"""Of an image of about a megapixel with all metrics on one core, where nothing was measured here."""
_REPORT_SECONDS = 20.0
_START_SECONDS = 5.0
"""Before the first step of a training or the first image of a scoring: imports, checks, data."""


@dataclass(frozen=True)
class WorkEstimate:
    """What tasks will take.

    Attributes:
        multiply_adds: of each training by the name of its task; 0 where they cannot be known beforehand.
        seconds: of each task, one process working on it.
        basis: what the seconds rest on, in sentences.
    """

    multiply_adds: Mapping[str, float]
    seconds: Mapping[str, float]
    basis: tuple[str, ...]

    def makespan(self, tasks: tuple[BenchmarkTask, ...], workers: int) -> float:
        """Seconds with this many workers: each takes the next task whose needs are done."""
        free = [0.0] * max(workers, 1)
        ends: dict[str, float] = {}
        for task in tasks:
            first = min(range(len(free)), key=free.__getitem__)
            start = max([free[first], *(ends[name] for name in task.after)])
            free[first] = ends[task.name] = start + self.seconds[task.name]
        return max(ends.values(), default=0.0)


def estimate(benchmark: ExpandedPlan, destination: Destination, progress: ProgressCallback) -> WorkEstimate:
    """What the tasks will take, finished trainings nothing.

    Args:
        benchmark: the tasks.
        destination: finished trainings of a known number of multiply-adds there tell the speed of this kind
            of device, stored runs how long an image takes.
        progress: told of the networks counted.
    """
    runs, results, kind = destination.runs, destination.results, pick_device(destination.device).type
    rates, of_networks = _measured_rates(runs, kind)
    image_seconds, runs_seen = _measured_image_seconds(results)
    counted: dict[tuple[object, ...], float] = {}
    multiply_adds: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for number, task in enumerate(benchmark.tasks, 1):
        if task.kind == "report":
            seconds[task.name] = _REPORT_SECONDS
        elif task.kind != "train":
            seconds[task.name] = _START_SECONDS + image_seconds * benchmark.images[task.name]
        else:
            config = benchmark.trainings[task.name]
            same = (
                config.model,
                config.variant,
                config.scale,
                config.channels,
                config.budget,
                config.dataset,
            )
            if same not in counted:
                counted[same] = _multiply_adds(config)
            multiply_adds[task.name] = counted[same]
            rate = of_networks.get((config.model, str(config.variant)), statistics.median(rates))
            seconds[task.name] = 0.0 if is_trained(task) else _START_SECONDS + counted[same] / rate
        progress(ProgressEvent("count the work", number, len(benchmark.tasks), "tasks"))
    basis = [
        f"trainings: {statistics.median(rates):.1e} multiply-adds a second, "
        + (
            f"the median of {len(rates)} finished trainings in {runs} on this kind of device ({kind})"
            if of_networks
            else "two CPU cores with the budget laptop; nothing was measured here yet"
            + (f", and on this device ({kind}) it will be another" if kind != "cpu" else "")
        ),
        f"scoring: {image_seconds:.2g} s an image, "
        + (f"the median of {runs_seen} runs in {results}" if runs_seen else "all metrics on one core"),
    ]
    if unknown := [name for name, count in multiply_adds.items() if not count]:
        basis.append(f"not counted, because their code is not srbench's: {', '.join(unknown)}")
    return WorkEstimate(multiply_adds, seconds, tuple(basis))


def _multiply_adds(config: TrainConfig) -> float:
    """Of a training, from its recipe; 0 of a network that another distribution brings."""
    if config.budget == "laptop":
        return LAPTOP_MULTIPLY_ADDS
    if plugins.is_foreign(config.model):
        return 0.0
    data = datasets.source(config.dataset).card.channels
    channels = choose_channels(config.channels, data, models.card(config.model))
    model = models.create(config.model, scale=config.scale, channels=channels, variant=config.variant)
    published = model.recipe(config.budget, pretrained)
    recipe = apply(config, published)
    check_patches(model, recipe, published)
    costs = multiply_adds_per_update(model, recipe)
    return float(sum(cost * stage.iterations for cost, stage in zip(costs, recipe.stages, strict=True)))


def _measured_rates(runs: Path, device: str) -> tuple[list[float], dict[tuple[str, str], float]]:
    """Multiply-adds a second of finished trainings: all, and by model and variant."""
    by_network: dict[tuple[str, str], list[float]] = {}
    for path in sorted(runs.glob("*/manifest.json")):
        manifest = RunFolder(path.parent).manifest or {}
        try:
            done, seconds = float(manifest["multiply_adds"] or 0), float(manifest["progress"]["seconds"])
            model, used = manifest["model"], manifest["sessions"][-1]["device"]["type"]
            complete = manifest["status"] == "complete"
            if complete and used == device and done > 0 and seconds > 0:
                by_network.setdefault((model["name"], model["variant"]), []).append(done / seconds)
        except (KeyError, TypeError, ValueError, IndexError):
            continue
    rates = [rate for measured in by_network.values() for rate in measured]
    medians = {network: statistics.median(measured) for network, measured in by_network.items()}
    return rates or [LAPTOP_MULTIPLY_ADDS / LAPTOP_SECONDS], medians


def _measured_image_seconds(results: Path) -> tuple[float, int]:
    """Seconds an image, the median of the stored runs of networks, and of how many; without any a default."""
    measured = []
    for manifest in ScoreStore(results).manifests() if results.is_dir() else ():
        try:
            seconds, images = float(manifest.cost["wall_seconds"]), int(manifest.data["images"])
        except (KeyError, TypeError, ValueError):
            continue
        if images > 0 and manifest.cost.get("inference_seconds"):
            measured.append(seconds / images)
    return (statistics.median(measured), len(measured)) if measured else (IMAGE_SECONDS, 0)
