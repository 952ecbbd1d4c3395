"""The score store: tidy rows (parquet), a manifest (json) and preview images for each run.

``runs/<run id>/`` holds ``manifest.json`` (what was run, on what, by which versions; status and reasons),
``scores.parquet`` (one row a value, ``COLUMNS``) and ``previews/*.png``; ``references/<id>/*.png`` the
HR and LR of previewed images, shared by all runs on that data. A run folder is written beside its place
and renamed when whole, so that it is complete or absent. Aggregates are recomputed, never stored.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import shutil
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from srbench.utils.errors import SrbenchError
from srbench.utils.files import (
    LONGEST_JSON,
    atomic_write,
    locked,
    open_regular,
    parse_json,
    read_regular,
    unique_name,
    write_text,
)
from srbench.utils.leftovers import is_leftover, remove_leftovers, temporary_name
from srbench.utils.progress import ProgressCallback, ProgressEvent, silent
from srbench.utils.text import printable_lines, printable_values
from srbench.utils.typed_json import typed

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

FORMAT = 1
_MOST_SCALE = 64
# A run over 10,000 images with all metrics has a tenth of this.
_MOST_ROWS = 10_000_000
_MOST_PREVIEW_PIXELS, _LARGEST_PREVIEW = 1 << 26, 1 << 28
COLUMNS = (
    "model",
    "variant",
    "weights",
    "seed",
    "dataset",
    "split",
    "degradation",
    "scale",
    "image",
    "group",
    "category",
    "metric",
    "protocol",
    "value",
    "reason",
    "pixel_size_nm",
)
_NUMBERS = ("seed", "scale", "value", "pixel_size_nm")
READ_COLUMNS = (*COLUMNS, "data")
"""What ``ScoreStore.scores`` gives: the stored columns, and the data fingerprint of the row's run."""
RUN = ["model", "variant", "weights", "seed"]
"""Columns that identify a run within its conditions."""
NOISE_CEILING = "noise_ceiling"
"""Model name of the rows of a second acquisition of each field."""
CONTROL = "random_texture"
"""Model name of the rows of images with texture invented on purpose."""
REFERENCES = (NOISE_CEILING, CONTROL)
"""Rows that the harness makes itself: shown for orientation, never ranked."""
EXTERNAL = "external"
"""Family and variant of rows whose images another program made."""
OTHER_PROGRAM = "other program"
"""What is printed beside their names."""

RESULTS_SETTING = "--results chooses it"
_OUTDATED = "outdated"
_WAIT = 600.0
"""Seconds; another process holds the folder for as long as it renames."""

Status = Literal["complete", "failed", "missing"]


class Run(NamedTuple):
    """What identifies a run within its conditions; the fields are the columns ``RUN``."""

    model: str
    variant: str
    weights: str
    seed: int


def run_weights(sha256: str, rgb_to_grey: bool) -> str:
    """``Run.weights`` of a weights file: its sha256, another where it is converted for the grey network."""
    return hashlib.sha256(f"{sha256} rgb-to-grey".encode()).hexdigest() if rgb_to_grey else sha256


class Conditions(NamedTuple):
    """What must be equal for two scores to be comparable; the fields are those of ``RunKey``."""

    dataset: str
    split: str
    degradation: str
    scale: int
    protocol: str
    data: str

    def describe(self) -> str:
        """One line."""
        return (
            f"{self.dataset} (data {self.data[:8]}), {self.split}, x{self.scale}, LR by {self.degradation}, "
            f"protocol {self.protocol}"
        )


@dataclass(frozen=True)
class RunKey:
    """What makes two evaluations the same: same key, same numbers.

    Attributes:
        model: registered name.
        variant: its variant.
        weights: sha256 of the weights file, empty for a model without weights.
        seed: training seed, -1 where nothing was trained.
        dataset: dataset name as opened.
        data: fingerprint of the dataset.
        split: split scored.
        degradation: ``name@version`` of the degradation.
        scale: magnification.
        protocol: protocol id.
    """

    model: str
    variant: str
    weights: str
    seed: int
    dataset: str
    data: str
    split: str
    degradation: str
    scale: int
    protocol: str

    @property
    def run(self) -> Run:
        """What identifies the run within its conditions."""
        return Run(self.model, self.variant, self.weights, self.seed)

    @property
    def conditions(self) -> Conditions:
        """Under what it was scored."""
        return Conditions(*(getattr(self, name) for name in Conditions._fields))

    @property
    def run_id(self) -> str:
        """Folder name: readable start, content hash at the end."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]
        return f"{_slug(self.model)}-{_slug(self.variant)}-{_slug(self.dataset)[:40]}-x{self.scale}-{digest}"


@dataclass(frozen=True)
class Score:
    """One value of one metric; ``image`` is empty for a property of the model (cost rows).

    ``value`` is in the unit of the metric, lengths in HR pixels; it is NaN exactly when ``reason`` says why
    it is missing. ``pixel_size_nm`` is the side of an HR pixel of the image, NaN where it is unknown.
    """

    metric: str
    value: float
    image: str = ""
    group: str = ""
    category: str = ""
    reason: str = ""
    pixel_size_nm: float = math.nan

    def __post_init__(self) -> None:
        # Reasons are what models and files of strangers say.
        for name in ("group", "category", "reason"):
            text = getattr(self, name)
            if not text.isprintable():
                object.__setattr__(self, name, printable_lines(text))


@dataclass(frozen=True)
class Manifest:
    """Everything needed to judge or repeat a run. See the field comments of each mapping where it is made.

    Attributes:
        key: identity of the run.
        status: ``complete``, ``failed`` (``reason`` is the error) or ``missing`` (no weights to run).
        reason: why it is not complete, and what to do.
        created: UTC time, ISO 8601.
        command: the command line that made it.
        versions: srbench, python, torch and other versions.
        device: name of the device, precision and thread count.
        data: images, groups, LR hash, reference id, skipped files; kind, licence and terms of the dataset.
        protocol: the full protocol behind ``key.protocol``.
        weights: file, budget, training data and iterations of the weights.
        cost: wall seconds, peak memory and tiling used.
        card: title, family, year, paper and ``leaking`` of the model.
        previews: image ids that have a preview.
        notes: anything a reader must know (fallback losses, ...).
        guards: results of the checks: ``guard`` (id of the check), ``status`` and ``detail`` of each.
        outputs: image id to the sha256 of its super-resolved pixels (shape, type and bytes).
        scores_sha256: of the rows as they were written; other rows are not those of this run.
        plan_sha256: of the plan that the run belongs to (``srbench run``); empty without one.
    """

    key: RunKey
    status: Status
    reason: str = ""
    created: str = ""
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    device: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Any] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    previews: Sequence[str] = ()
    notes: Sequence[str] = ()
    guards: Sequence[Mapping[str, str]] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    scores_sha256: str = ""
    plan_sha256: str = ""

    @property
    def external(self) -> bool:
        """Whether another program made the images."""
        return bool(self.card.get("family") == EXTERNAL)

    def to_json(self) -> str:
        """The manifest file's text."""
        content = {"format": FORMAT, **printable_values(asdict(self))}
        return json.dumps(content, indent=1, sort_keys=True, default=str)

    @staticmethod
    def from_json(text: str | bytes) -> Manifest:
        """Read a manifest file's text.

        Raises:
            SrbenchError: not a manifest of a format this version reads.
        """
        try:
            content = printable_values(parse_json(text))
            version = content.pop("format")
            if version != FORMAT:
                raise SrbenchError(f"format {version}, this srbench reads format {FORMAT}")
            typed(_Entries, content)
            manifest = typed(Manifest, content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SrbenchError(f"not a run manifest ({type(error).__name__}: {error})") from error
        if not (0 < manifest.key.scale <= _MOST_SCALE and abs(manifest.key.seed) < 1 << 63):
            raise SrbenchError("not a run manifest (a scale or seed that no run has)")
        return manifest


@dataclass(frozen=True)
class _Weights:
    """What is read of ``Manifest.weights``."""

    budget: str | None = None
    dataset: str | None = None


@dataclass(frozen=True)
class _Data:
    """What is read of ``Manifest.data``."""

    images: int | None = None
    remarks: Sequence[str] = ()
    selection: str | None = None
    reading: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class _Card:
    """What is read of ``Manifest.card``."""

    family: str | None = None
    leaking: bool | Sequence[str] | None = None


@dataclass(frozen=True)
class _Entries:
    """The types of what srbench takes out of the mappings of a manifest, in which more may stand."""

    weights: _Weights = _Weights()
    data: _Data = _Data()
    card: _Card = _Card()


def load_scores(results: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """All rows of all complete runs of a results folder, one row a value; columns ``READ_COLUMNS``.

    ``image`` is empty for a property of the model; ``value`` is NaN exactly where ``reason`` says why. It is
    in the unit of its metric, lengths in HR pixels: ``srbench.statistics.lengths.in_nanometres`` gives them
    in nm. ``pixel_size_nm`` is the side of an HR pixel of the image, NaN where it is unknown. Columns of text
    are categorical, their categories sorted. Runs that cannot be read are left out, with a warning each.

    Args:
        results: folder of a score store; ``srbench.utils.paths.results_folder()`` when None.

    Raises:
        SrbenchError: there is no such folder.
    """
    from srbench.utils.paths import results_folder

    folder = Path(results) if results is not None else results_folder()
    if not folder.is_dir():
        raise SrbenchError(f"No results folder {folder}: score models first, with srbench eval.")
    store = ScoreStore(folder)
    rows = store.scores()
    for problem in store.problems:
        warnings.warn(problem, stacklevel=2)
    return rows


def results_digest(results: str | os.PathLike[str], run_ids: Collection[str] | None = None) -> str:
    """sha256 (hex) of what the manifests of a results folder say, which hold the hashes of rows and outputs.

    Equal for equal manifests, wherever the folder lies. Anybody who changes a manifest changes it; that the
    rows are still those of their manifests is what ``srbench verify`` looks at. A manifest that is no JSON
    counts with its bytes.

    Args:
        results: folder of a score store.
        run_ids: only these runs; all when None.
    """
    digest = hashlib.sha256()
    for path in sorted((Path(results) / "runs").glob("[!.]*/manifest.json")):
        if run_ids is not None and path.parent.name not in run_ids:
            continue
        try:
            content = read_regular(path, LONGEST_JSON)
        except OSError:
            continue
        with suppress(ValueError):
            content = json.dumps(parse_json(content), sort_keys=True).encode()
        digest.update(f"{path.parent.name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


class ScoreStore:
    """The results folder. A run that cannot be read is left out, as if it were not there.

    Args:
        root: the folder; made when first written to.

    Attributes:
        problems: what could not be read so far and why, one line a run.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self.problems: list[str] = []

    def write_run(
        self,
        manifest: Manifest,
        scores: Iterable[Score],
        previews: Mapping[str, NDArray[np.uint8]] | None = None,
    ) -> Path:
        """Store a run, replacing an earlier one of the same key. All or nothing.

        Args:
            manifest: the run's manifest; ``previews`` is filled in from the images given.
            scores: its rows.
            previews: image id to 8-bit grey SR pixels ``(H, W)``.

        Returns:
            The run's folder.

        Raises:
            SrbenchError: the folder cannot be written; nothing of an earlier run has changed.
        """
        images = dict(previews or {})
        final = self.root / "runs" / manifest.key.run_id
        partial = final.with_name(temporary_name("partial"))
        try:
            partial.mkdir(parents=True, exist_ok=True)
            self._write_scores(partial / "scores.parquet", manifest.key, list(scores))
            for image_id, pixels in images.items():
                _write_png(partial / "previews" / f"{unique_name(image_id)}.png", pixels)
            whole = replace(manifest, previews=sorted(images))
            with atomic_write(partial / "manifest.json") as file:
                file.write(whole.to_json().encode())
            with self._locked():
                _swap(partial, final)
        except OSError as error:
            raise SrbenchError(f"Cannot store results in {self.root}: {error.strerror or error}.") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return final

    def rewrite(self, manifest: Manifest) -> None:
        """Replace the manifest of a stored run, as after an audit; its rows stay as they are.

        Raises:
            SrbenchError: there is no such run, another process has replaced it since, or its folder cannot be
                written.
        """
        path, run_id = self.root / "runs" / manifest.key.run_id / "manifest.json", manifest.key.run_id
        if not path.is_file():
            raise SrbenchError(f"No run {run_id} in {self.root}: score it before it is audited.")
        with self._locked():
            stored = self.manifest(manifest.key)
            if stored is not None and stored.scores_sha256 != manifest.scores_sha256:
                raise SrbenchError(
                    f"Another process has scored {run_id} again in {self.root}; run the command once more."
                )
            write_text(path, manifest.to_json())

    def remove(self, key: RunKey) -> None:
        """Remove a run, whole or not at all; nothing happens where there is none."""
        folder = self.root / "runs" / key.run_id
        with self._locked(), suppress(FileNotFoundError):
            gone = folder.rename(folder.with_name(temporary_name("removed")))
            shutil.rmtree(gone, ignore_errors=True)

    def remove_leftovers(self) -> None:
        """Undo what killed processes had begun; a run that was about to be replaced is there again.

        Raises:
            SrbenchError: the folder cannot be written.
        """
        runs = self.root / "runs"
        if not runs.is_dir():
            return
        with self._locked():
            for outdated in filter(is_leftover, runs.glob(f".{_OUTDATED}.*")):
                with suppress(SrbenchError, OSError):
                    stored = Manifest.from_json((outdated / "manifest.json").read_text(encoding="utf-8"))
                    final = runs / stored.key.run_id
                    if not final.exists():
                        outdated.rename(final)
            remove_leftovers(runs)

    def _locked(self) -> AbstractContextManager[None]:
        """Of two evaluations that store into one folder the second waits for this moment."""
        return locked(self.root, wait=_WAIT, setting=RESULTS_SETTING)

    def manifests(self) -> list[Manifest]:
        """The manifests of all runs that can be read, their rows too, by run id."""
        return [manifest for manifest, _ in self._runs()]

    def manifest(self, key: RunKey) -> Manifest | None:
        """The manifest of one run, None when it is not stored or cannot be read."""
        return next((manifest for manifest, _ in self._runs([key])), None)

    def is_complete(self, key: RunKey) -> bool:
        """Whether this evaluation has been done."""
        manifest = self.manifest(key)
        return manifest is not None and manifest.status == "complete"

    def scores(self, keys: Iterable[RunKey] | None = None) -> pd.DataFrame:
        """All rows of all complete runs, or of those among ``keys``; columns ``READ_COLUMNS``.

        The column ``data`` comes from the manifests and keeps two states of a dataset apart.
        """
        return joined(table for _, table in self._runs(keys) if table is not None)

    def runs(self, progress: ProgressCallback = silent) -> list[tuple[Manifest, pd.DataFrame | None]]:
        """All runs that can be read, by run id, with their rows (None of one that is not complete)."""
        return list(self._runs(progress=progress))

    def _runs(
        self, keys: Iterable[RunKey] | None = None, progress: ProgressCallback = silent
    ) -> Iterator[tuple[Manifest, pd.DataFrame | None]]:
        """Manifest and rows of all runs, or of those among ``keys``; None for rows of one not complete."""
        runs = self.root / "runs"
        names = sorted(
            (path.name for path in runs.glob("[!.]*") if path.is_dir())
            if keys is None
            else (key.run_id for key in set(keys) if (runs / key.run_id).is_dir())
        )
        for number, name in enumerate(names, 1):
            path = runs / name / "manifest.json"
            try:
                manifest = Manifest.from_json(read_regular(path, LONGEST_JSON))
                if manifest.key.run_id != name:
                    raise SrbenchError(f"of the run {manifest.key.run_id}, not of the folder that it lies in")
                rows = None
                if manifest.status == "complete":
                    path = path.with_name("scores.parquet")
                    rows = _read_scores(path, manifest.key)
            except (SrbenchError, OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                first = (reason.splitlines() or [type(error).__name__])[0].rstrip(".")
                problem = printable_lines(
                    f"{path} cannot be read: {first}. The run is left out; srbench eval scores it again."
                )
                if problem not in self.problems:
                    self.problems.append(problem)
            else:
                yield manifest, rows
            progress(ProgressEvent("runs read", number, len(names), "runs"))

    def preview(self, key: RunKey, image_id: str) -> Path | None:
        """The PNG of a run's preview of an image, None when there is none."""
        folder = self.root / "runs" / key.run_id / "previews"
        return _first_file(folder / f"{name}.png" for name in _names_of(image_id))

    def write_reference(
        self, reference_id: str, image_id: str, kind: Literal["hr", "lr"], pixels: NDArray[np.uint8]
    ) -> None:
        """Store the HR or LR of a previewed image, once for all runs on the same data and degradation."""
        stored = self.reference(reference_id, image_id, kind)
        if stored is None or read_png(stored) is None:
            folder = self.root / "references" / unique_name(reference_id, 60)
            _write_png(folder / f"{unique_name(image_id)}.{kind}.png", pixels)

    def reference(self, reference_id: str, image_id: str, kind: Literal["hr", "lr"]) -> Path | None:
        """The PNG written by ``write_reference``, None when there is none."""
        folders = [
            self.root / "references" / name for name in (unique_name(reference_id, 60), _slug(reference_id))
        ]
        return _first_file(
            folder / f"{name}.{kind}.png" for folder in folders for name in _names_of(image_id)
        )

    @staticmethod
    def _write_scores(path: Path, key: RunKey, scores: list[Score]) -> None:
        import pandas as pd

        for score in scores:
            if math.isnan(score.value) != bool(score.reason):
                raise SrbenchError(
                    f"Score {score.metric} of image {score.image!r} has value {score.value} and reason "
                    f"{score.reason!r}: a value is NaN exactly when there is a reason."
                )
        shared = {name: value for name, value in asdict(key).items() if name in COLUMNS}
        values = {name: [getattr(score, name) for score in scores] for name in COLUMNS if name not in shared}
        table = pd.DataFrame({**values, **shared}, columns=list(COLUMNS), index=range(len(scores)))
        with atomic_write(path) as file:
            table.to_parquet(file, index=False)


def joined(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The rows of several runs, which are taken out of their tables: columns ``READ_COLUMNS``."""
    import pandas as pd

    parts = list(tables)
    columns: dict[str, Any] = {}
    for name in READ_COLUMNS if parts else ():
        column = [table.pop(name) for table in parts]
        if name in _NUMBERS:
            columns[name] = pd.concat(column, ignore_index=True)
        else:
            columns[name] = pd.api.types.union_categoricals(column, sort_categories=True)
    rows: pd.DataFrame = pd.DataFrame(columns, columns=list(READ_COLUMNS))
    return rows


def _read_scores(path: Path, key: RunKey) -> pd.DataFrame:
    """The rows of a run, text as categories; columns ``READ_COLUMNS``.

    Raises:
        SrbenchError: damaged, or not the rows of this run.
        OSError: they cannot be read.
    """
    import pandas as pd
    from pyarrow import parquet

    try:
        with open_regular(path) as file:
            rows = parquet.ParquetFile(file).metadata.num_rows
            if rows > _MOST_ROWS:
                raise SrbenchError(f"{rows:,} rows, more than the {_MOST_ROWS:,} that a run may have")
            file.seek(0)
            texts = [name for name in COLUMNS if name not in _NUMBERS]
            table = parquet.read_table(file, read_dictionary=texts).to_pandas()
    except (OSError, SrbenchError):
        raise
    except Exception as error:  # a damaged file may raise anything
        raise SrbenchError(f"{type(error).__name__}: {error}") from error
    if "pixel_size_nm" not in table:  # rows from before pixel sizes were stored have none
        table["pixel_size_nm"] = math.nan
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise SrbenchError(f"it lacks the columns {', '.join(missing)}")
    for name in COLUMNS:
        column = table[name]
        if name in ("value", "pixel_size_nm"):
            fits = pd.api.types.is_float_dtype(column)
        elif hasattr(key, name):
            fits = bool((column == getattr(key, name)).all())
        else:
            kind = pd.api.types.infer_dtype(column.astype(object).unique(), skipna=False)
            fits = kind in ("string", "empty")
        if not fits:
            raise SrbenchError(f"its column {name} does not hold what belongs to this run")
        if name not in _NUMBERS:
            table[name] = column.astype("category").cat.remove_unused_categories()
    table["data"] = pd.Categorical.from_codes([0] * len(table), pd.Index([key.data]))
    ours: pd.DataFrame = table[list(READ_COLUMNS)]
    return ours


def read_png(path: Path) -> NDArray[np.uint8] | None:
    """``(H, W)`` grey pixels; None for what is not an image or cannot be read."""
    import numpy as np
    from PIL import Image

    from srbench.datasets.images.decode import BadImage, read_header

    try:
        data = read_regular(path, _LARGEST_PREVIEW)
        header = read_header(data)
        if header.kind != "PNG" or header.width * header.height > _MOST_PREVIEW_PIXELS:
            return None
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            return np.asarray(image.convert("L"), dtype=np.uint8)
    except (OSError, BadImage, SyntaxError, ValueError):  # what Pillow raises for damaged files
        return None


def _swap(partial: Path, final: Path) -> None:
    """Put ``partial`` in the place of ``final``; a reader sees the old run, none, or the new one."""
    if not final.exists():
        partial.rename(final)
        return
    outdated = final.rename(final.with_name(temporary_name(_OUTDATED)))
    try:
        partial.rename(final)
    except OSError:
        outdated.rename(final)
        raise
    if outdated.is_dir():
        shutil.rmtree(outdated, ignore_errors=True)
    else:
        outdated.unlink()


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]+", "_", text).strip("_.") or "none"


def _names_of(image_id: str) -> tuple[str, str]:
    """The file name of an image, and the one that earlier results have."""
    slug = _slug(image_id)[:80]
    earlier = slug if slug == image_id else f"{slug}-{hashlib.sha256(image_id.encode()).hexdigest()[:8]}"
    return unique_name(image_id), earlier


def _first_file(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    import cv2

    written, encoded = cv2.imencode(".png", pixels)
    if not written:
        raise SrbenchError(f"Cannot encode {path.name} as PNG: shape {pixels.shape}, dtype {pixels.dtype}.")
    with atomic_write(path) as file:
        file.write(encoded.tobytes())
