"""Damaged JSON of srbench's own kinds: runs, packs, LR images, trainings, lock files, downloads, logs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chaos.bounded import run_bounded
from chaos.mutation import TEXTS, VALUES, Random, damaged_json
from chaos.part import Part

_KINDS = ("run", "run", "run", "pack", "index", "lr", "training", "lock", "download", "log", "check")


def run(random: Random, seconds: float, folder: Path) -> Part:
    """Report, open, resume and verify what damaged JSON stands beside."""
    part = Part("manifests")
    run_bounded(part, check, inputs(random, folder), seconds)
    return part


def check(path: Path) -> str:
    """Everything that srbench does with one kind of its JSON."""
    checks: dict[str, Callable[[Path], str]] = {
        "run": _check_run,
        "pack": _check_pack,
        "index": _check_pack,
        "lr": _check_lr,
        "training": _check_training,
        "lock": _check_lock,
        "download": _check_download,
        "log": _check_log,
        "check": _check_check,
    }
    if path.is_file():  # the first of a process: imports what it needs
        import srbench.reporting.page
        import srbench.training.train  # noqa: F401

        return ""
    return checks[path.suffix[1:]](path)


def _check_run(path: Path) -> str:
    from srbench.reporting import report
    from srbench.statistics.compare import compare
    from srbench.store import ScoreStore
    from srbench.utils.errors import SrbenchError

    store = ScoreStore(path)
    runs = len(store.manifests())
    if runs + len(store.problems) != 3:
        return f"{runs} runs and {store.problems}"
    if runs < 2:
        return "another run is gone"
    if runs == 3:  # what was left out is reported elsewhere in the same way
        outcome = report(path)
        page = outcome.page.read_text(encoding="utf-8")
        texts = [page, *(file.read_text(encoding="utf-8") for file in (path / "report").rglob("*.csv"))]
        for text in texts:
            # A script in a CSV file is a text.
            for bad in ("\x1b", "\u202e", *(("<script>alert",) if text is page else ())):
                if (at := text.find(bad)) >= 0:
                    return f"text of a stranger: {text[max(at - 60, 0) : at + 60]!r}"
        if any(
            line.startswith(("=", "@")) or ",=" in line for text in texts[1:] for line in text.splitlines()
        ):
            return "a formula in a table"
        with contextlib.suppress(SrbenchError):
            compare("bicubic", "nearest", results=path)
    return ""


def _check_pack(path: Path) -> str:
    from srbench.datasets.packed.format import PackedSet
    from srbench.datasets.packed.writer import verify_packed
    from srbench.datasets.sources.folder import Folder
    from srbench.utils.errors import SrbenchError

    try:
        packed = PackedSet(path, Folder.card)
        for image in packed.images:
            packed.pixels(image.id)
            packed.mask(image.id)
            packed.acquisition(image.id, 0)
            packed.truth(image.id)
        str(packed.fingerprint), packed.remarks(), packed.split("test")
        verify_packed(path, lambda event: None)
    except SrbenchError as error:
        return "" if str(error) else "no reason"
    return ""


def _check_lr(path: Path) -> str:
    from srbench.datasets import lr_images

    cache = lr_images._read(path)
    for entry in cache.entries if cache is not None else ():
        cache.pixels(entry)
        str(entry.image), sorted(cache.unusable.items())
    return ""


def _check_training(path: Path) -> str:
    from srbench.config import TrainConfig
    from srbench.training.manifest import RunManifest
    from srbench.training.run_folder import RunFolder
    from srbench.training.train import _finished
    from srbench.utils.errors import SrbenchError

    folder = RunFolder(path)
    for resume in (True, False):
        with contextlib.suppress(SrbenchError):
            folder.check(resume)
    if folder.state == "complete":
        with contextlib.suppress(SrbenchError):
            _finished(folder, TrainConfig(model="vdsr", dataset="sem_synthetic"))
    RunManifest(path, {}, {}).write("running", {})
    return ""


def _check_lock(path: Path) -> str:
    from srbench.datasets.download import add_lock_entry, read_lock_file
    from srbench.utils.errors import SrbenchError
    from srbench.utils.files import FileHash
    from srbench.weights.published import hash_problem, read_lock_entry

    with contextlib.suppress(SrbenchError):
        entry = read_lock_entry(path / "a.pth")
        hash_problem("", entry, "0" * 64, path / "a.pth")
    with contextlib.suppress(SrbenchError):
        read_lock_file(path / "a.pth.pin.json")
        add_lock_entry(path / "a.pth.pin.json", "b", FileHash(1, "0", "0"), "http://localhost")
    return ""


def _check_download(path: Path) -> str:
    from srbench.datasets.download import PartialFile, Remote

    partial = PartialFile(Remote("http://localhost/a", path / "a.zip", "0" * 64))
    partial.load()
    str(partial.validator).encode("ascii", "replace")
    return ""


def _check_log(path: Path) -> str:
    from srbench.training.logs import read_log

    return "" if all(isinstance(row, dict) for row in read_log(path / "log.jsonl")) else "a row that is none"


def _check_check(path: Path) -> str:
    from srbench.checks.base import CheckResult
    from srbench.checks.contamination import _cached

    result = _cached(path, ["x"], lambda: CheckResult("group_split", "passed", "made again"))
    return "" if isinstance(result.detail, str) else "a detail that is no text"


def inputs(random: Random, folder: Path) -> Iterator[tuple[str, Path]]:
    """What is tried, and its folder, for ever."""
    os.environ["SRBENCH_HOME"] = str(folder / "home")
    templates = {kind: folder / f"template.{kind}" for kind in set(_KINDS)}
    _make_templates(random, templates)
    number = 0
    while True:
        kind = _KINDS[number % len(_KINDS)]
        target = folder / f"{number}.{kind}"
        shutil.copytree(templates[kind], target)
        _DAMAGE.get(kind, _damage)(random, target)
        number += 1
        yield f"damaged {kind}", target


def _make_templates(random: Random, templates: dict[str, Path]) -> None:
    from srbench.checks.base import CheckResult
    from srbench.checks.contamination import _cached
    from srbench.datasets import lr_images
    from srbench.datasets import open as open_dataset
    from srbench.datasets.degrade import get
    from srbench.datasets.download import PartOrigin, add_lock_entry
    from srbench.metrics.protocol import named
    from srbench.store import Manifest, RunKey, Score, ScoreStore
    from srbench.utils.files import FileHash, write_bytes

    store, protocol = ScoreStore(templates["run"]), named("sem-grey")
    for model in ("bicubic", "nearest", "vdsr"):
        learned = model == "vdsr"
        key = RunKey(
            model,
            "tiny",
            "f" * 64 if learned else "",
            0 if learned else -1,
            "d",
            "a" * 64,
            "test",
            "bicubic@1",
            4,
            protocol.id,
        )
        scores = [
            Score(metric, float(random.random()), f"image {n}", f"group {n}", "kind")
            for metric in ("psnr", "ssim")
            for n in range(4)
        ]
        family = "regression" if learned else "interpolation"
        manifest = Manifest(
            key,
            "complete",
            created="2026-01-01T00:00:00",
            command="srbench eval",
            versions={"srbench": "0.1.0"},
            device={"name": "cpu", "threads": 1},
            data={
                "images": 4,
                "groups": 4,
                "kind": "user",
                "skipped": {"a.png": "damaged"},
                "remarks": ["one"],
                "selection": "all",
                "fingerprint": "a",
                "lr_sha256": "b",
                "reading": {"bits": 12, "measure": ["lines"]},
            },
            protocol={"id": protocol.id, "border": "scale"},
            weights={"budget": "short", "dataset": "d", "iterations": 5} if learned else {},
            cost={"seconds": 1.0, "peak": 5},
            card={"title": model, "family": family, "year": 2016, "paper": "https://x", "leaking": False},
            notes=["a note"],
            guards=[{"guard": "determinism", "status": "passed", "detail": "x"}],
            outputs={f"image {n}": f"{model}{n}" for n in range(4)},
        )
        store.write_run(manifest, scores)
    pictures = templates["pack"].with_name("pictures")
    pictures.mkdir()
    import cv2

    for n in range(3):
        cv2.imwrite(str(pictures / f"{n}.png"), random.integers(0, 256, (64, 64), dtype=np.uint8))
        cv2.imwrite(str(pictures / f"{n}_mask.png"), random.integers(0, 3, (64, 64), dtype=np.uint8))
    micrographs = open_dataset(f"folder:{pictures}")
    for kind in ("pack", "index"):
        shutil.copytree(micrographs.folder, templates[kind], ignore=shutil.ignore_patterns(".*"))  # type: ignore[attr-defined]
    cache = lr_images.prepare(
        micrographs,
        micrographs.images,
        get("bicubic"),
        4,
        templates["lr"].with_name("lr"),
        lambda event: None,
    )
    shutil.copytree(cache.file.parent, templates["lr"])
    training = templates["training"]
    training.mkdir()
    content = {
        "kind": "training",
        "status": "complete",
        "created": "2026",
        "sessions": [{"started": "2026"}],
        "peak_memory_bytes": 5,
        "progress": {"step": 5, "seconds": 1.0, "best": {"step": 5, "metrics": {"psnr": 30.0}}},
    }
    (training / "manifest.json").write_text(json.dumps(content))
    (training / "checkpoint.pt").write_bytes(b"")
    add_lock_entry(
        templates["lock"] / "a.pth.pin.json", "a.pth", FileHash(5, "0" * 32, "1" * 64), "http://localhost"
    )
    origin = PartOrigin("http://localhost/a", "0" * 64, "", 10, '"tag"')
    write_bytes(templates["download"] / ".a.zip.part.json", json.dumps(vars(origin)).encode())
    write_bytes(templates["download"] / "a.zip.part", b"12345")
    write_bytes(templates["log"] / "log.jsonl", b'{"step": 1, "loss": 0.5}\n' * 3)
    _cached(templates["check"], ["x"], lambda: CheckResult("group_split", "passed", "all good"))


def _damage(random: Random, target: Path) -> None:
    """Damage the only JSON in a folder."""
    (file,) = (path for path in target.rglob("*json*") if path.is_file())
    text = file.read_text()
    content = (
        [json.loads(line) for line in text.splitlines()] if file.suffix == ".jsonl" else json.loads(text)
    )
    file.write_text(damaged_json(random, content), encoding="utf-8", errors="surrogatepass")


def _damage_run(random: Random, target: Path) -> None:
    """Damage a run and, where it still says which it is, put it into the folder of that run."""
    from srbench.store import Manifest
    from srbench.utils.errors import SrbenchError

    file = sorted(target.glob("runs/*/manifest.json"))[2]
    content = json.loads(file.read_text())
    if random.random() < 0.5:
        section = str(
            random.choice(["data", "weights", "card", "protocol", "cost", "device", "versions", "key"])
        )
        keys = list(content[section])
        values = TEXTS if random.random() < 0.5 else VALUES
        if keys:
            content[section][str(random.choice(keys))] = values[int(random.integers(len(values)))]
        text = json.dumps(content)
    else:
        text = damaged_json(random, content)
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    with contextlib.suppress(SrbenchError, OSError, ValueError):
        run_id = Manifest.from_json(text).key.run_id
        if run_id != file.parent.name and len(run_id) < 200:
            file.parent.rename(file.parent.with_name(run_id))


def _damage_index(random: Random, target: Path) -> None:
    """Damage the index of a pack whose manifest agrees with it."""
    manifest = json.loads((target / "manifest.json").read_text())
    index = target / manifest["index"]
    data = damaged_json(random, json.loads(index.read_text())).encode("utf-8", "surrogatepass")
    index.write_bytes(data)
    manifest["index_sha256"] = hashlib.sha256(data).hexdigest()
    (target / "manifest.json").write_text(json.dumps(manifest))


def _damage_pack(random: Random, target: Path) -> None:
    file = target / "manifest.json"
    file.write_text(
        damaged_json(random, json.loads(file.read_text())), encoding="utf-8", errors="surrogatepass"
    )


_DAMAGE: dict[str, Callable[[Random, Path], Any]] = {
    "run": _damage_run,
    "index": _damage_index,
    "pack": _damage_pack,
}
