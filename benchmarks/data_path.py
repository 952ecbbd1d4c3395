"""How many training crops a second one core makes, along every path the data can take. Prints a table.

    OMP_NUM_THREADS=1 python benchmarks/data_path.py [--images DIR] [--rounds N] [--scale N]

where basicsr and lmdb are importable (extra ``basicsr``, ``pip install lmdb``); without them their rows are
left out, and without a GPU those of CUDA. ``--images`` takes the first 24 PNG files of at least 480x480 under
a folder, else 24 pictures of 1024x768 are generated. Files are in the page cache; one thread, no workers.

Batches of 16 crops of 192x192 HR pixels, grey, float32 tensors at the end. The paths take turns in each
round; what runs on the CPU is timed by its processor time, so that other work on the machine counts little.
BasicSR's LMDB holds what its documentation prescribes: overlapping 480x480 sub-images as PNG (step 240,
compression 1), HR and LR, grey; its dataset always gives three channels, so a second row puts the same parts
of BasicSR together for one channel, and srbench has rows of RGB data. "LR ready" reads an LR image that was
made before, as BasicSR does; "makes LR" makes it from the crop.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srbench.datasets import degrade
from srbench.datasets.base import DatasetCard, Micrograph
from srbench.datasets.packed.format import PackedSet
from srbench.datasets.packed.writer import packing
from srbench.metrics import basicsr as second_opinion
from srbench.training.crops import CropSampler, DevicePixels, MappedPixels
from srbench.training.data import CropReader, apply_symmetries, make_pairs, to_unit

BATCH, PATCH = 16, 192
SUB_IMAGE, STEP = 480, 240
CARD = DatasetCard("bench", "Bench", "user", "a measurement", "none")
Grey = NDArray[np.uint8]
MakeBatch = Callable[[int], Any]


@dataclass(frozen=True)
class Route:
    """One path: what it does, a function that makes batch number ``n`` and waits for it, and its seconds."""

    name: str
    make: MakeBatch
    clock: Callable[[], float] = time.process_time


@dataclass(frozen=True)
class Material:
    """The same pictures in every form: HR and LR arrays, files, packs."""

    folder: Path
    scale: int
    hr: list[Grey]
    lr: list[Grey]

    def written(self, suffix: str, *options: int) -> list[Path]:
        """The HR pictures as files of this kind."""
        paths = [self.folder / f"{index:03}{suffix}" for index in range(len(self.hr))]
        for path, pixels in zip(paths, self.hr, strict=True):
            cv2.imwrite(str(path), pixels, list(options))
        return paths

    def packed(self, name: str, pictures: list[Grey], channels: int) -> PackedSet:
        """These pictures as memory-mapped shards, repeated in three channels or not."""
        images = []
        with packing(self.folder / name, name="bench", version="1") as writer:
            for index, pixels in enumerate(pictures):
                coloured = pixels if channels == 1 else np.stack([pixels] * channels, axis=-1)
                writer.add(f"{index:03}", coloured)
                image = Micrograph(f"{index:03}", str(index), "", "train", *pixels.shape, channels=channels)
                images.append(image)
            writer.finish(images)
        return PackedSet(self.folder / name, CARD)


def generated() -> Iterator[Grey]:
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:768, :1024]
    for index in range(24):
        waves = 128 + 60 * np.sin(rows / (5 + index)) * np.cos(columns / 11)
        yield np.clip(waves + generator.normal(0, 6, rows.shape), 0, 255).astype(np.uint8)


def found(folder: Path) -> list[Grey]:
    read = (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in sorted(folder.rglob("*.png")))
    pictures = [pixels for pixels in read if pixels is not None and min(pixels.shape) >= SUB_IMAGE][:24]
    if not pictures:
        raise SystemExit(f"{folder} holds no PNG of at least {SUB_IMAGE}x{SUB_IMAGE} pixels.")
    return pictures


def material(folder: Path, pictures: list[Grey], scale: int) -> Material:
    cut = [pixels[: len(pixels) // scale * scale, : pixels.shape[1] // scale * scale] for pixels in pictures]
    bicubic = degrade.get("bicubic")
    small = []
    for pixels in cut:
        lr = degrade.quantise(bicubic(torch.from_numpy(pixels.astype(np.float64) / 255)[None, None], scale))
        small.append((lr[0, 0] * 255).round().to(torch.uint8).numpy())
    return Material(folder, scale, [np.ascontiguousarray(pixels) for pixels in cut], small)


def decoding(name: str, paths: list[Path]) -> Route:
    """Decode the whole file, take a crop: HR only."""
    generator = np.random.default_rng(1)

    def make(number: int) -> Tensor:
        del number
        batch = np.empty((BATCH, 1, PATCH, PATCH), np.uint8)
        for target in batch:
            pixels = cv2.imread(str(paths[generator.integers(len(paths))]), cv2.IMREAD_GRAYSCALE)
            top, left = (int(generator.integers(side - PATCH + 1)) for side in pixels.shape)
            target[0] = pixels[top : top + PATCH, left : left + PATCH]
        return torch.from_numpy(batch).float() / 255

    return Route(f"decode {name}, crop; HR alone, no augmentation", make)


def sub_images(pixels: Grey, side: int, step: int) -> Iterator[Grey]:
    """As BasicSR's script cuts them: every ``step`` pixels, and once more at the far edge."""
    starts = [sorted({*range(0, length - side + 1, step), length - side}) for length in pixels.shape]
    for top in starts[0]:
        for left in starts[1]:
            yield pixels[top : top + side, left : left + side]


def lmdb_of(folder: Path, pictures: list[Grey], side: int, step: int) -> Path:
    """Sub-images in an LMDB made by BasicSR's own tool."""
    files = folder / "sub"
    files.mkdir(parents=True)
    names = []
    for index, pixels in enumerate(pictures):
        for number, part in enumerate(sub_images(pixels, side, step)):
            names.append(f"{index:03}_s{number:03}.png")
            cv2.imwrite(str(files / names[-1]), part, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    tool = second_opinion.load("basicsr.utils.lmdb_util")
    keys = [name.removesuffix(".png") for name in names]
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        tool.make_lmdb_from_imgs(str(files), str(folder / "sub.lmdb"), names, keys)
    return folder / "sub.lmdb"


def basicsr_options(work: Material) -> dict[str, Any]:
    small, step = SUB_IMAGE // work.scale, STEP // work.scale
    return {
        "dataroot_gt": str(lmdb_of(work.folder / "lmdb_hr", work.hr, SUB_IMAGE, STEP)),
        "dataroot_lq": str(lmdb_of(work.folder / "lmdb_lr", work.lr, small, step)),
        "io_backend": {"type": "lmdb"},
        "scale": work.scale,
        "gt_size": PATCH,
        "use_hflip": True,
        "use_rot": True,
        "phase": "train",
    }


def basicsr_client(options: dict[str, Any]) -> Any:
    """BasicSR's reader of both databases; a process may open each of them once."""
    databases = {"db_paths": [options["dataroot_lq"], options["dataroot_gt"]], "client_keys": ["lq", "gt"]}
    return second_opinion.load("basicsr.utils").FileClient("lmdb", **databases)


def basicsr_dataset(options: dict[str, Any], client: Any) -> Route:
    """BasicSR's own dataset, batches put together as its loader does."""
    dataset = second_opinion.load("basicsr.data.paired_image_dataset").PairedImageDataset(
        {**options, "io_backend": dict(options["io_backend"])}
    )
    dataset.file_client = client
    generator = np.random.default_rng(2)

    def make(number: int) -> tuple[Tensor, Tensor]:
        del number
        items = [dataset[int(index)] for index in generator.integers(len(dataset), size=BATCH)]
        return torch.stack([item["lq"] for item in items]), torch.stack([item["gt"] for item in items])

    return Route("BasicSR PairedImageDataset, LMDB; LR ready, augmented, 3 channels", make)


def basicsr_grey(options: dict[str, Any], client: Any) -> Route:
    """The same parts of BasicSR for one channel."""
    paths = second_opinion.load("basicsr.data.data_util").paired_paths_from_lmdb(
        [options["dataroot_lq"], options["dataroot_gt"]], ["lq", "gt"]
    )
    utils, transforms = (second_opinion.load(f"basicsr.{part}") for part in ("utils", "data.transforms"))
    generator = np.random.default_rng(3)

    def decoded(path: str, key: str) -> Any:
        return utils.imfrombytes(client.get(path, key), flag="grayscale", float32=True)[..., None]

    def item(index: int) -> list[Tensor]:
        gt, lq = decoded(paths[index]["gt_path"], "gt"), decoded(paths[index]["lq_path"], "lq")
        gt, lq = transforms.paired_random_crop(gt, lq, PATCH, options["scale"])
        gt, lq = (np.atleast_3d(image) for image in transforms.augment([gt, lq], True, True))
        return utils.img2tensor([lq, gt], bgr2rgb=False, float32=True)

    def make(number: int) -> list[Tensor]:
        del number
        items = [item(int(index)) for index in generator.integers(len(paths), size=BATCH)]
        return [torch.stack(side) for side in zip(*items, strict=True)]

    return Route("BasicSR's parts, LMDB; LR ready, augmented, 1 channel", make)


def reading(work: Material, pack: PackedSet) -> Route:
    """What our background thread does."""
    reader = CropReader(pack, pack.images, degrade.get("bicubic"), work.scale, 0)
    name = "srbench, memory maps: integers with surroundings alone"
    return Route(name, lambda number: reader.read(number, BATCH, PATCH, 0, 0, 1))


def both_ready(work: Material, pack: PackedSet, channels: int) -> Route:
    """HR and an LR that was packed before: the product of BasicSR's dataset, read from memory maps."""
    small = work.packed(f"lr{channels}", work.lr, channels)
    hr, lr = MappedPixels(pack, pack.images, work.scale), MappedPixels(small, small.images, 1)
    sampler = CropSampler([(i.height, i.width) for i in pack.images], work.scale, 0)

    def make(number: int) -> list[Tensor]:
        crops = sampler.batch(number, BATCH, PATCH)
        reduced = replace(crops, top=crops.top // work.scale, left=crops.left // work.scale)
        cut = (lr.cut(reduced, PATCH // work.scale, 0), hr.cut(crops, PATCH, 0))
        symmetries = torch.from_numpy(crops.symmetry)
        four = [part if part.ndim == 4 else part[:, None] for part in cut]
        return [to_unit(apply_symmetries(part, symmetries), torch.float32) for part in four]

    return Route(f"srbench, memory maps; LR ready, augmented{of_colour(channels)}", make)


def of_colour(channels: int) -> str:
    return ", 3 channels" if channels == 3 else ""


def making(work: Material, pack: PackedSet, name: str, device: str, pixels: str, channels: int = 1) -> Route:
    """Pairs as the training loop makes them."""
    degradation, where = degrade.get(name), torch.device(device)
    if pixels == "device":
        source: Any = DevicePixels(pack, pack.images, work.scale, where, print)
    else:
        source = MappedPixels(pack, pack.images, work.scale, pinned=device == "cuda")
    reader = CropReader(pack, pack.images, degradation, work.scale, 0, source)
    like = torch.zeros(1, device=where)

    def make(number: int) -> None:
        raw = reader.read(number, BATCH, PATCH, 0, 0, 1)
        make_pairs(raw.pinned() if device == "cuda" else raw, degradation, like, channels)
        if device == "cuda":
            torch.cuda.synchronize()

    held = "pixels on the device" if pixels == "device" else "memory maps"
    clock = time.perf_counter if device == "cuda" else time.process_time
    what = f"makes LR ({name}), augmented{of_colour(channels)}"
    return Route(f"srbench, {held}, {device}; {what}", make, clock)


def routes(work: Material) -> list[Route]:
    pack, colour = (work.packed(f"hr{channels}", work.hr, channels) for channels in (1, 3))
    found = [
        decoding("PNG", work.written(".png")),
        decoding("JPEG 95", work.written(".jpg", cv2.IMWRITE_JPEG_QUALITY, 95)),
    ]
    if second_opinion.available():
        options = basicsr_options(work)
        client = basicsr_client(options)
        found += [basicsr_dataset(options, client), basicsr_grey(options, client)]
    found += [reading(work, pack), both_ready(work, pack, 1), both_ready(work, colour, 3)]
    found.append(making(work, colour, "bicubic", "cpu", "mapped", 3))
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for pixels in ("mapped", "device"):
            for name in ("bicubic", "sem_pixel"):
                found.append(making(work, pack, name, device, pixels))
    return found


def crops_a_second(route: Route, seconds: float, first: int) -> float:
    count, start = 0, route.clock()
    while route.clock() - start < seconds:
        route.make(first + count)
        count += 1
    return count * BATCH / (route.clock() - start)


def measured(paths: list[Route], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Crops a second of each path in each round, after a batch to warm up."""
    rates: dict[str, list[float]] = {route.name: [] for route in paths}
    for route in paths:
        route.make(0)
    for turn in range(rounds):
        for route in paths:
            rates[route.name].append(crops_a_second(route, seconds, 1 + turn * 100_000))
    return rates


def spread(values: list[float]) -> str:
    digits = 0 if statistics.median(values) >= 20 else 1
    shown = [f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values))]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def report(rates: dict[str, list[float]]) -> None:
    """Medians over the rounds, and their ratios within a round to BasicSR's dataset (else to PNG)."""
    against = next((name for name in rates if "PairedImageDataset" in name), next(iter(rates)))
    print(f"crops/s a core, median (least to most) of the rounds; ratio to: {against}")
    for name, values in rates.items():
        ratios = [value / base for value, base in zip(values, rates[against], strict=True)]
        print(f"{name:72} {spread(values):>32}  x {spread(ratios)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each path in each round")
    parser.add_argument("--scale", type=int, default=4)
    chosen = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    pictures = found(chosen.images) if chosen.images else list(generated())
    with tempfile.TemporaryDirectory() as folder:
        work = material(Path(folder), pictures, chosen.scale)
        print(f"{len(pictures)} pictures, {BATCH} crops of {PATCH}x{PATCH}, x{chosen.scale}, one thread")
        report(measured(routes(work), chosen.rounds, chosen.seconds))


if __name__ == "__main__":
    main()
