"""Synthetic micrographs with exactly known geometry, generated when asked for: nothing to download.

``sem_synthetic`` has 384 x 384 scenes, ``:small`` other, 192 x 192 scenes for a first look and for tests,
``:demo`` six of each of four kinds that are measured; ``:seed=7`` or ``:demo,seed=7`` is another draw of the
test scenes. ``pixels`` is noise-free, ``acquisition`` a noisy scan, ``truth`` the geometry. Packaged hashes
refuse an image that differs. Each scene has small features of half to one and a half LR pixels at x4, and
lamellae that no LR can hold (``opposite_phase`` gives the image with the others, of the same LR).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.base import (
    DatasetCard,
    DatasetSource,
    DatasetState,
    ImportReport,
    Micrograph,
    MicrographSet,
    VerifyReport,
)
from srbench.datasets.registry import register_dataset
from srbench.utils.errors import DatasetError, StorageError, near_miss
from srbench.utils.paths import home
from srbench.utils.progress import ProgressCallback, ProgressEvent, silent

if TYPE_CHECKING:
    from srbench.datasets.synthetic.suite import StoredScene, SyntheticScene

HASHES = Path(__file__).with_name("sem_synthetic.json")
LARGEST_SEED = 2**32 - 1
_STYLES = {("demo", "patterned"): "lines"}
"""Kinds of scene of which a suite has one style only."""
_STEP = 1_000_000
"""Between the numbers of the scenes of a draw and those of the next; published ones are below it."""
LICENCE = "CC0-1.0"
WORTH_PROCESSES = 8
"""Scenes to be drawn for which other processes are started: a scene takes half a second, so does a start."""
Argument = TypeVar("Argument")
Result = TypeVar("Result")


class SyntheticSet(MicrographSet):
    """One suite of synthetic scenes; each scene is a group of its own.

    Args:
        name: what the caller typed.
        card: the dataset's card.
        suite: the suite's entry in the file of hashes.
    """

    def __init__(self, name: str, card: DatasetCard, suite: Mapping[str, Any]) -> None:
        self.name = name
        self.card = card
        self.skipped: Mapping[str, str] = {}
        self._entries: Mapping[str, Mapping[str, Any]] = suite["images"]
        self._size = int(suite["size"])
        self.images = tuple(self._micrograph(image_id) for image_id in sorted(self._entries))
        self._loaded: dict[str, StoredScene] = {}

    @property
    def fingerprint(self) -> str:
        """sha256 over ids, splits, groups and the packaged pixel hashes, which ``pixels`` enforces."""
        rows = [[m.id, m.split, m.group, self._entries[m.id]["pixels"]] for m in self.images]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def pixels(self, image_id: str) -> NDArray[np.uint8]:
        """The noise-free image ``(H, W)``; rendered on first use in a fraction of a second, then stored.

        Raises:
            DatasetError: unknown id, or this machine's arithmetic gives another image than the published one.
        """
        return self._scene_of(image_id).pixels

    def make_ready(
        self, image_ids: Sequence[str], workers: int | None = None, progress: ProgressCallback = silent
    ) -> None:
        """Draw scenes that are not stored on all cores; a few are drawn when they are used."""
        from srbench.datasets.synthetic.suite import load_scene

        work = [
            (image_id, self._entry(image_id), self._size)
            for image_id in image_ids
            if image_id not in self._loaded and load_scene(image_id, self._entry(image_id)) is None
        ]
        if workers == 1 or len(work) < WORTH_PROCESSES:
            return
        # Whatever befalls other processes: what is not drawn now is drawn when it is used.
        with contextlib.suppress(DatasetError, RuntimeError):
            scenes = _in_processes(_render, work, workers, "scenes", progress)
            for (image_id, _, _), scene in zip(work, scenes, strict=True):
                scene.pixels.flags.writeable = False
                self._loaded[image_id] = scene

    def truth(self, image_id: str) -> dict[str, Any]:
        """What measurements need of the geometry: see ``truth`` of the scene kind; a fresh copy each time."""
        return cast("dict[str, Any]", json.loads(self._scene_of(image_id).truth))

    def acquisition(self, image_id: str, index: int) -> NDArray[np.uint8]:
        """Noisy scan ``index`` (0 or more) of the same field, independent of every other one."""
        if index < 0:
            raise DatasetError(f"Acquisitions are numbered from 0, found {index}.")
        from srbench.datasets.synthetic.suite import noisy_scan

        entry = self._entry(image_id)
        return noisy_scan(self.pixels(image_id), entry["kind"], entry["index"], index)

    def opposite_phase(self, image_id: str, scale: int) -> NDArray[np.uint8] | None:
        """The image with the lamellae in the opposite phase: the same LR at ``scale``, bit for bit.

        Holds for the degradations ``bicubic`` and ``area``; with noise the two differ by much less than it.
        None where the scene has no lamellae for this scale.
        """
        from srbench.datasets.synthetic.ambiguous import AmbiguousPatch, opposite_phase

        patches = {patch["scale"]: AmbiguousPatch(**patch) for patch in self.truth(image_id)["ambiguous"]}
        return opposite_phase(self.pixels(image_id), patches[scale]) if scale in patches else None

    def hr_paths(self) -> tuple[Path, ...]:
        """What renders the scenes, and where rendered ones are stored."""
        from srbench.datasets.synthetic import suite

        return Path(suite.__file__).parent, suite.cache_folder()

    def _micrograph(self, image_id: str) -> Micrograph:
        entry = self._entries[image_id]
        return Micrograph(
            id=image_id,
            group=image_id,
            category=entry["kind"],
            split=entry["split"],
            height=self._size,
            width=self._size,
            licence=LICENCE,
            source="generated by srbench",
            has_truth=True,
        )

    def _entry(self, image_id: str) -> Mapping[str, Any]:
        if image_id not in self._entries:
            hint = near_miss(image_id, self._entries)
            raise DatasetError(f"{self.name} has no image {image_id!r}{hint}; its images list all ids.")
        return self._entries[image_id]

    def _scene(self, image_id: str) -> SyntheticScene:
        from srbench.datasets.synthetic.suite import SyntheticScene

        entry = self._entry(image_id)
        return SyntheticScene(entry["kind"], entry["index"], self._size)

    def _scene_of(self, image_id: str) -> StoredScene:
        if image_id not in self._loaded:
            self._loaded[image_id] = stored_or_rendered(image_id, self._entry(image_id), self._size)
        return self._loaded[image_id]


def stored_or_rendered(image_id: str, entry: Mapping[str, Any], size: int) -> StoredScene:
    """A scene from the disk, else rendered and stored there.

    Raises:
        DatasetError: this machine's arithmetic gives another image than the published one.
    """
    from srbench.datasets.synthetic import suite
    from srbench.utils.files import pixel_hash

    stored = suite.load_scene(image_id, entry)
    if stored is None:
        scene = suite.SyntheticScene(entry["kind"], entry["index"], size)
        stored = suite.StoredScene(scene.pixels(), suite.truth_text(scene.truth()))
        if pixel_hash(stored.pixels) != entry["pixels"]:
            raise DatasetError(_not_as_published(image_id))
        suite.store_scene(image_id, stored)
    stored.pixels.flags.writeable = False
    return stored


@register_dataset
class SyntheticSource(DatasetSource):
    """The synthetic suites."""

    card = DatasetCard(
        name="sem_synthetic",
        title="Synthetic SEM",
        kind="synthetic",
        summary="Generated micrographs of ten kinds of specimen whose true geometry is known",
        licence=LICENCE,
        obtain=("embedded",),
    )

    def open(self, argument: str | None = None) -> SyntheticSet:
        """Open suite ``default`` or the one named after the colon, or another draw of it.

        The scenes of a draw are rendered when it is first opened.

        Raises:
            DatasetError: there is no such suite, or no such seed.
        """
        suites = _published()["suites"]
        chosen, seed = _suite_and_seed(argument)
        suite = suites[chosen] if seed is None else drawn_suite(chosen, suites[chosen], seed, self.progress)
        return SyntheticSet(self.at(argument).full_name if argument else self.card.name, self.card, suite)

    @property
    def full_name(self) -> str:
        """Its one spelling; ``default`` is left out."""
        chosen, seed = _suite_and_seed(self.argument)
        parts = [*([chosen] if chosen != "default" else []), *([] if seed is None else [f"seed={seed}"])]
        return ":".join([self.card.name, *([",".join(parts)] if parts else [])])

    def is_local(self, argument: str | None = None) -> bool:
        """Whether these scenes are published, or were drawn here before."""
        chosen, seed = _suite_and_seed(argument)
        return seed is None or _draw_file(chosen, seed).is_file()

    def state(self) -> DatasetState:
        """Always there."""
        return DatasetState("embedded", images=len(_published()["suites"]["default"]["images"]))

    def prepare(self, progress: ProgressCallback = silent, workers: int | None = None) -> ImportReport:
        """Render and store every scene of every suite now; otherwise that happens when one is first used."""
        work = [
            (image_id, entry, int(suite["size"]))
            for suite in _published()["suites"].values()
            for image_id, entry in suite["images"].items()
        ]
        _in_processes(_render, work, workers, "scenes", progress)
        return ImportReport(len(work), folder=home() / "cache" / "sem_synthetic")

    def verify(self, progress: ProgressCallback = silent) -> VerifyReport:
        """Generate all images, truths and first acquisitions; compare with the published hashes."""
        work = [
            (self.open(name), image.id)
            for name in sorted(_published()["suites"])
            for image in self.open(name).images
        ]
        differing = _in_processes(_named_differences, work, None, "verify sem_synthetic", progress)
        return VerifyReport(len(work), {name: problem for name, problem in differing if problem})


def _suite_and_seed(argument: str | None) -> tuple[str, int | None]:
    """Suite and seed of ``SUITE``, ``seed=N`` or ``SUITE,seed=N``; no seed means the published scenes.

    Raises:
        DatasetError: there is no such suite, or no such seed.
    """
    words = [word.strip() for word in (argument or "default").split(",")]
    chosen = words.pop(0) if not words[0].startswith("seed") else "default"
    suites = _published()["suites"]
    if chosen not in suites:
        raise DatasetError(
            f"sem_synthetic has no suite {chosen!r}. It offers: {', '.join(sorted(suites))}; for example "
            "sem_synthetic:small, or sem_synthetic:small,seed=7 for another draw of its test scenes."
        )
    if not words:
        return chosen, None
    name, _, text = words[0].partition("=")
    if len(words) > 1 or name.strip() != "seed" or not (text.isascii() and text.isdigit()):
        raise DatasetError(
            f"Expected sem_synthetic:[SUITE,]seed=N, as sem_synthetic:demo,seed=7, found {argument!r}."
        )
    if int(text[:12]) > LARGEST_SEED:
        raise DatasetError(f"Seeds of sem_synthetic go up to {LARGEST_SEED}, found {text[:20]}.")
    return chosen, int(text)


def drawn_suite(
    name: str, published: Mapping[str, Any], seed: int, progress: ProgressCallback = silent
) -> Mapping[str, Any]:
    """Another draw of a suite's test scenes: as many of each kind, of the same size, by numbers of the seed.

    Scores on it never stand in one table with those of the published suite: it has another name and other
    data. Its hashes are those of this machine and say nothing of others.

    Args:
        name: of the suite.
        published: its entry in the file of hashes.
        seed: 0 to ``LARGEST_SEED``.
        progress: told of the scenes that are rendered.
    """
    from srbench.utils.files import read_json, write_text

    size = int(published["size"])
    path = _draw_file(name, seed)
    digest = hashlib.sha256(json.dumps(published, sort_keys=True).encode()).hexdigest()
    made_with = {"published": digest, **_versions()}
    try:
        stored = read_json(path)
        if stored["made_with"] == made_with:
            return cast("Mapping[str, Any]", stored)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not drawn here yet
    work = [
        (
            str(entry["kind"]),
            (seed + 1) * _STEP + int(entry["index"]),
            size,
            _STYLES.get((name, entry["kind"])),
        )
        for entry in published["images"].values()
        if entry["split"] == "test"
    ]
    images = dict(_in_processes(_draw, work, None, f"draw sem_synthetic:{name},seed={seed}", progress))
    content = {"size": size, "made_with": made_with, "images": images}
    with suppress(StorageError):
        write_text(path, json.dumps(content, indent=1))
    return content


def _draw_file(name: str, seed: int) -> Path:
    """Where the hashes of a draw are stored."""
    from srbench.datasets.synthetic import suite

    return suite.cache_folder() / f"draw-{name}-{seed}.json"


def _draw(scene: tuple[str, int, int, str | None]) -> tuple[str, dict[str, Any]]:
    """In a worker: render and store a scene, of this style where one is named; its id and its entry."""
    from srbench.datasets.synthetic import suite
    from srbench.utils.files import pixel_hash

    kind, index, size, style = scene
    drawn = suite.SyntheticScene(kind, index, size)
    while style is not None and drawn.scene.truth().get("style") != style:
        index += 1000
        drawn = suite.SyntheticScene(kind, index, size)
    image_id = f"{kind}-{index:04d}"
    stored = suite.StoredScene(drawn.pixels(), suite.truth_text(drawn.truth()))
    suite.store_scene(image_id, stored)
    truth = hashlib.sha256(stored.truth.encode()).hexdigest()
    pixels = pixel_hash(stored.pixels)
    return image_id, {"kind": kind, "index": index, "split": "test", "pixels": pixels, "truth": truth}


def _versions() -> dict[str, str]:
    """Of what decides the last bits of a scene."""
    import scipy

    return {"numpy": np.__version__, "scipy": scipy.__version__}


def _in_processes(
    function: Callable[[Argument], Result],
    work: Sequence[Argument],
    workers: int | None,
    label: str,
    progress: ProgressCallback,
) -> list[Result]:
    """``function`` of each entry, on all cores."""
    from srbench.utils.parallel import ProcessPool

    results = []
    with ProcessPool(function, workers) as pool:
        for _, result in pool.map((None, entry) for entry in work):
            results.append(result)
            progress(ProgressEvent(label, len(results), len(work), "images"))
    return results


def _render(scene: tuple[str, Mapping[str, Any], int]) -> StoredScene:
    """In a worker; the scene travels, as the home may be one that cannot be written."""
    return stored_or_rendered(*scene)


def _named_differences(scene: tuple[SyntheticSet, str]) -> tuple[str, str]:
    opened, image_id = scene
    suite = opened.name.partition(":")[2] or "default"
    return f"{suite}/{image_id}", differences(opened, image_id)


def differences(opened: SyntheticSet, image_id: str) -> str:
    """What of one scene, rendered anew, is not as published; empty when all is."""
    from srbench.datasets.synthetic.suite import scene_hashes

    entry = opened._entries[image_id]
    hashes = scene_hashes(opened._scene(image_id))
    wrong = [what for what, value in hashes.items() if value != entry[what]]
    return f"{', '.join(wrong)} not as published" if wrong else ""


def _published() -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", json.loads(HASHES.read_text(encoding="utf-8")))


def _not_as_published(image_id: str) -> str:
    here, versions = _versions(), _published()["made_with"]
    return (
        f"Scene {image_id} came out different from the published one (here numpy {here['numpy']}, scipy "
        f"{here['scipy']}; published with numpy {versions['numpy']}, scipy {versions['scipy']}), so "
        f"scores would not compare with anyone else's. Install those versions: pip install "
        f"numpy=={versions['numpy']} scipy=={versions['scipy']}"
    )
