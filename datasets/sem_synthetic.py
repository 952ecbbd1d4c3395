"""Synthetic micrographs with exactly known geometry, generated when asked for: nothing to download.

``sem_synthetic`` has 384 x 384 scenes, ``sem_synthetic:small`` other, 192 x 192 scenes for a first look and
for tests. ``pixels`` is the noise-free image; ``acquisition`` a noisy scan of it; ``truth`` its geometry. The
hashes of all images are packaged, and an image that does not come out as published is refused.

Ten kinds: biological, fibres, films, mems, nanowires, particles, patterned, porous, powder, tips. Each scene
has small features of half to one and a half LR pixels at x4 (``counterfactual`` removes one), and lamellae
that no LR can hold (``twin`` has them in the opposite phase, with the same LR).
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.home import home
from srbench.datasets.interface import (
    DatasetCard,
    DatasetError,
    DatasetSource,
    DatasetState,
    ImportReport,
    Micrograph,
    MicrographSet,
    ProgressCallback,
    ProgressEvent,
    VerifyReport,
    silent,
)
from srbench.datasets.registry import register_dataset

if TYPE_CHECKING:
    from srbench.datasets.synthetic.cache import Drawn
    from srbench.datasets.synthetic.suite import SyntheticScene

HASHES = Path(__file__).with_name("sem_synthetic.json")
LICENCE = "CC0-1.0"
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
        self._drawn: dict[str, Drawn] = {}

    @property
    def fingerprint(self) -> str:
        """sha256 over ids, splits, groups and the packaged pixel hashes, which ``pixels`` enforces."""
        rows = [[m.id, m.split, m.group, self._entries[m.id]["pixels"]] for m in self.images]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def pixels(self, image_id: str) -> NDArray[np.uint8]:
        """The noise-free image ``(H, W)``; drawn on first use (a fraction of a second), then kept on disk.

        Raises:
            DatasetError: unknown id, or this machine's arithmetic gives another image than the published one.
        """
        return self._scene_of(image_id).pixels

    def truth(self, image_id: str) -> dict[str, Any]:
        """The exact geometry: see ``truth`` of the scene kind; a fresh copy with each call."""
        return cast("dict[str, Any]", json.loads(self._scene_of(image_id).truth))

    def acquisition(self, image_id: str, index: int) -> NDArray[np.uint8]:
        """Noisy scan ``index`` (0 or more) of the same field, independent of every other one."""
        if index < 0:
            raise DatasetError(f"Acquisitions are numbered from 0, found {index}.")
        from srbench.datasets.synthetic.suite import noisy_scan

        entry = self._entry(image_id)
        return noisy_scan(self.pixels(image_id), entry["kind"], entry["index"], index)

    def counterfactual(self, image_id: str, feature: int) -> NDArray[np.uint8]:
        """The noise-free image without entry ``feature`` of the truth's ``small_features``.

        Raises:
            DatasetError: the scene has no such feature.
        """
        count = len(self.truth(image_id)["small_features"])
        if not 0 <= feature < count:
            raise DatasetError(
                f"{image_id} has small features 0 to {count - 1}, found {feature}; choose one of them."
            )
        return self._scene(image_id).pixels_without(feature)

    def twin(self, image_id: str, scale: int) -> NDArray[np.uint8] | None:
        """The counterfactual twin: other lamellae, and yet the same LR at ``scale``, bit for bit.

        Holds for the degradations ``bicubic`` and ``area``; with noise the two differ by much less than it.
        None where the scene has no lamellae for this scale.
        """
        offered = {patch["scale"] for patch in self.truth(image_id)["undecidable"]}
        return self._scene(image_id).twin(scale) if scale in offered else None

    def places(self) -> tuple[Path, ...]:
        """What draws the scenes, and where drawn ones are kept."""
        from srbench.datasets.synthetic import cache

        return Path(cache.__file__).parent, cache.folder()

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
            near = difflib.get_close_matches(image_id, self._entries, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise DatasetError(f"{self.name} has no image {image_id!r}{hint}; its images list all ids.")
        return self._entries[image_id]

    def _scene(self, image_id: str) -> SyntheticScene:
        from srbench.datasets.synthetic.suite import SyntheticScene

        entry = self._entry(image_id)
        return SyntheticScene(entry["kind"], entry["index"], self._size)

    def _scene_of(self, image_id: str) -> Drawn:
        if image_id not in self._drawn:
            self._drawn[image_id] = drawn_or_kept(image_id, self._entry(image_id), self._size)
        return self._drawn[image_id]


def drawn_or_kept(image_id: str, entry: Mapping[str, Any], size: int) -> Drawn:
    """A scene from the disk, else drawn and put there.

    Raises:
        DatasetError: this machine's arithmetic gives another image than the published one.
    """
    from srbench.datasets.storage import pixel_hash
    from srbench.datasets.synthetic import cache
    from srbench.datasets.synthetic.suite import SyntheticScene

    found = cache.kept(image_id, entry)
    if found is None:
        found = cache.draw(SyntheticScene(entry["kind"], entry["index"], size))
        if pixel_hash(found.pixels) != entry["pixels"]:
            raise DatasetError(_not_as_published(image_id))
        cache.keep(image_id, found)
    found.pixels.flags.writeable = False
    return found


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
        """Open suite ``default`` or the one named after the colon.

        Raises:
            DatasetError: there is no such suite.
        """
        suites = _published()["suites"]
        chosen = argument or "default"
        if chosen not in suites:
            raise DatasetError(
                f"sem_synthetic has no suite {chosen!r}. It offers: {', '.join(sorted(suites))}; "
                "for example sem_synthetic:small."
            )
        name = self.card.name if argument is None else f"{self.card.name}:{argument}"
        return SyntheticSet(name, self.card, suites[chosen])

    def state(self) -> DatasetState:
        """Always there."""
        return DatasetState("embedded", images=len(_published()["suites"]["default"]["images"]))

    def prepare(self, progress: ProgressCallback = silent, workers: int | None = None) -> ImportReport:
        """Draw every scene of every suite now and keep it; otherwise that happens when one is first used."""
        work = [
            (image_id, entry, int(suite["size"]))
            for suite in _published()["suites"].values()
            for image_id, entry in suite["images"].items()
        ]
        for _ in _in_processes(_draw_quietly, work, workers, "scenes", progress):
            pass
        return ImportReport(len(work), folder=home() / "cache" / "sem_synthetic")

    def verify(self, progress: ProgressCallback = silent) -> VerifyReport:
        """Generate all images, truths and first acquisitions; compare with the published hashes."""
        work = [
            (self.open(name), image.id)
            for name in sorted(_published()["suites"])
            for image in self.open(name).images
        ]
        found = _in_processes(_described_differences, work, None, "verify sem_synthetic", progress)
        return VerifyReport(len(work), {name: problem for name, problem in found if problem})


def _in_processes(
    function: Callable[..., Result],
    work: Sequence[tuple[Any, ...]],
    workers: int | None,
    label: str,
    progress: ProgressCallback,
) -> Iterator[Result]:
    """``function(*arguments)`` of each entry, on all cores, as they finish."""
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from multiprocessing import get_context

    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(function, *arguments) for arguments in work]
        for done, job in enumerate(as_completed(jobs), start=1):
            yield job.result()
            progress(ProgressEvent(label, done, len(jobs), "images"))


def _draw_quietly(image_id: str, entry: Mapping[str, Any], size: int) -> None:
    """In a worker: the scene itself need not travel."""
    drawn_or_kept(image_id, entry, size)


def _described_differences(opened: SyntheticSet, image_id: str) -> tuple[str, str]:
    suite = opened.name.partition(":")[2] or "default"
    return f"{suite}/{image_id}", differences(opened, image_id)


def differences(opened: SyntheticSet, image_id: str) -> str:
    """What of one scene, drawn anew, is not as published; empty when all is."""
    from srbench.datasets.synthetic.suite import scene_hashes

    entry = opened._entries[image_id]
    found = scene_hashes(opened._scene(image_id))
    wrong = [what for what, value in found.items() if value != entry[what]]
    return f"{', '.join(wrong)} not as published" if wrong else ""


def _published() -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", json.loads(HASHES.read_text(encoding="utf-8")))


def _not_as_published(image_id: str) -> str:
    import scipy

    made = _published()["made_with"]
    return (
        f"Scene {image_id} came out different from the published one (here numpy {np.__version__}, scipy "
        f"{scipy.__version__}; published with numpy {made['numpy']}, scipy {made['scipy']}), so scores would "
        f"not compare with anyone else's. Install those versions: pip install numpy=={made['numpy']} "
        f"scipy=={made['scipy']}"
    )
