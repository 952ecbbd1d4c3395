"""Super-resolving images outside an evaluation: arrays with ``super_resolve``, files with ``infer``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.base import ReadingOptions
from srbench.datasets.images.write import ImageFormat
from srbench.inference.inputs import FolderDepths, InputFile, Inputs, refuse_equal_names
from srbench.inference.micrographs import DatabarChoice, FileEnlarger
from srbench.inference.results import ResultRecord, result_name
from srbench.utils.errors import SrbenchError
from srbench.utils.files import OUT_SETTING, sha256_file, writing_to
from srbench.utils.image import Pixels, rgb_to_luma
from srbench.utils.leftovers import remove_leftovers
from srbench.utils.processes import refuse_while_imported
from srbench.utils.progress import ProgressCallback, ProgressEvent, silent

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from srbench.inference.backends import BackendName
    from srbench.inference.tiling import Output
    from srbench.models import ModelCard, SRModel
    from srbench.weights import TrainedWeights, WeightsHeader

StrPath = str | os.PathLike[str]


def super_resolve(
    model: SRModel,
    pixels: Pixels,
    *,
    device: torch.device | str = "cpu",
    tile: int | None = None,
    max_bytes: int | None = None,
) -> Pixels:
    """Super-resolve one image of any size.

    A grey image stays grey. The channels of a colour image are super-resolved together by a network for
    colour, and each for itself by a network for grey images, so that equal channels stay equal; a network
    that learned from MATLAB's luma (``model.studio_luma``) is given that, and the chroma is enlarged
    bicubically. Transparency is enlarged bicubically.

    Args:
        model: from ``srbench.models.create``, with weights loaded.
        pixels: ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)``, uint8 or uint16.
        device: where to run.
        tile: side of tiles in LR pixels; chosen by memory when None.
        max_bytes: memory for activations; half of what is free when None.

    Returns:
        ``(scale*H, scale*W, ...)`` of the same dtype and channel count.

    Raises:
        SrbenchError: pixels of another dtype or shape.
    """
    from srbench.datasets.images.resize import resize_by
    from srbench.inference.luma import for_luma
    from srbench.inference.tiling import Tiler

    coloured = pixels.ndim == 3 and pixels.shape[2] in (3, 4)
    if pixels.dtype not in (np.uint8, np.uint16) or not (pixels.ndim == 2 or coloured) or not pixels.size:
        raise SrbenchError(
            f"Expected 8 or 16 bit pixels (H, W), (H, W, 3) or (H, W, 4), "
            f"found {pixels.dtype} {pixels.shape}."
        )
    # Rounded tile by tile, an 8-bit image needs a quarter of the memory.
    output: Output = "uint8" if pixels.dtype == np.uint8 else "float32"
    tiler = Tiler(model, device=device, tile=tile, max_bytes=max_bytes, output=output)
    if not coloured:
        return _to_pixels(tiler(_to_tensor(pixels[..., None])).sr, pixels.dtype)[..., 0]
    image = _to_tensor(pixels[..., :3])
    if model.channels == 3:
        sr = tiler(image).sr
    elif bool((image == image[:, :1]).all()):
        sr = tiler(image[:, :1]).sr.expand(-1, 3, -1, -1)
    elif model.studio_luma:
        luma = rgb_to_luma(image)
        tiler.model, tiler.output = for_luma(model), "float32"
        # What a colour differs from luma by is chroma; its own luma is zero.
        sr = (tiler(luma).sr + resize_by(image - luma, model.scale)).clamp(0.0, 1.0)
    else:
        sr = tiler(image.transpose(0, 1)).sr.transpose(0, 1)
    colour = _to_pixels(sr, pixels.dtype)
    if pixels.shape[2] == 3:
        return colour
    alpha = resize_by(_to_tensor(pixels[..., 3:]), model.scale).clamp(0.0, 1.0)
    enlarged: Pixels = np.concatenate([colour, _to_pixels(alpha, pixels.dtype)], axis=2)
    return enlarged


@dataclass(frozen=True)
class FilesOutcome:
    """What ``infer`` did with each file.

    Attributes:
        written: results of this call.
        existing: results that were there already.
        skipped: files that could not be done, and why.
        remarks: what was done to the pixels and what was left out, one line a kind, with counts.
    """

    written: tuple[Path, ...]
    existing: tuple[Path, ...]
    skipped: Mapping[Path, str]
    remarks: tuple[str, ...]


def infer(
    model: str | StrPath | Sequence[StrPath] | None,
    images: StrPath | Sequence[StrPath] | None = None,
    *,
    out: StrPath,
    weights: StrPath | None = None,
    scale: int | None = None,
    variant: str | None = None,
    device: str = "auto",
    backend: BackendName = "torch",
    rgb_to_grey: bool = False,
    file_format: ImageFormat | None = None,
    databar: DatabarChoice = "cut",
    bits: int | None = None,
    pixel_size_nm: float | None = None,
    force: bool = False,
    tell: Callable[[str], None] = print,
    on_progress: ProgressCallback = silent,
) -> FilesOutcome:
    """Super-resolve image files into files named ``<file>_<model>_x<scale>``, all pages of a stack.

    Files are read as the benchmark reads micrographs: one grey channel, one bit depth for all files of a
    folder. A TIFF becomes a TIFF, anything else a PNG, of the same depth; the pixel size, divided by the
    scale, and how the result was made are written into it. Sub-folders are mirrored below ``out``. A file
    that cannot be read or written is skipped, with the reason, and the others are done.

    Args:
        model: registered name; None, or left out (``infer("mine/", out="sr")``), where ``weights`` says whose
            they are or the recommended weights that srbench ships are to be taken.
        images: files, or folders whose images are read; masks, hidden files and earlier results in a folder
            are left out.
        out: folder for the results; a result that is there already is kept.
        weights: weights file. When None the best trained ones of the model on disk, else those shipped with
            srbench.
        scale: magnification; that of the weights or of the recommended network, else 4.
        variant: variant; that of the weights, else the model's first.
        device: ``auto``, ``cpu`` or ``cuda``.
        backend: what runs the network: ``torch``, or on the CPU ``onnxruntime`` or ``openvino``.
        rgb_to_grey: convert colour weights for the grey network.
        file_format: of all results; by the suffix of each source when None.
        databar: ``cut`` it, or ``keep`` it below the result, enlarged without a network.
        bits: significant bits of files that store more than 8; by their tags and values when None.
        pixel_size_nm: side of a pixel of the files; what they say when None.
        force: do again what is there already.
        tell: called with which weights are used, how they were trained, and which were passed over.
        on_progress: called after each tile.

    Raises:
        ModelError: no such model, scale or variant.
        SrbenchError: no weights, weights of another network, no image, ``out`` cannot be written, or two
            files would have one result.
    """
    from srbench.inference import backends
    from srbench.inference.tiling import Tiler
    from srbench.weights import locate

    refuse_while_imported("infer")
    if images is None:
        model, images = None, model or ()
    if not (model is None or isinstance(model, str)):
        raise SrbenchError(f"Expected the name of a model, found {model!r}. Name it, then the images.")
    device_of_run = backends.device_for(backend, device)
    ReadingOptions(bits, pixel_size_nm)  # refuses what no file can have
    folder, given = Path(out), locate(Path(weights)) if weights is not None else None
    paths = [images] if isinstance(images, str | os.PathLike) else images
    loaded = load_model(
        model, weights=given, scale=scale, variant=variant, rgb_to_grey=rgb_to_grey, tell=tell
    )
    name, scale = loaded.model.card.name, loaded.model.scale
    inputs = Inputs.of([Path(path) for path in paths], folder)
    targets = [result_name(file.relative, name, scale, file_format) for file in inputs.files]
    refuse_equal_names(list(zip(inputs.files, targets, strict=True)))
    with writing_to(folder, OUT_SETTING):
        # Here too: where all results are there, nothing is written that would remove them.
        for parent in {(folder / target).parent for target in targets}:
            remove_leftovers(parent)

    base = f"databar {databar}, bits {bits or 'of the file'}, pixel {pixel_size_nm or 'of the file'}"
    options = f"{base}, colour weights made grey" if rgb_to_grey else base
    if backend != "torch":
        options += f", run by {backends.described(backend)}"
    skipped: dict[Path, str] = {}
    existing: list[Path] = []
    pending: list[tuple[InputFile, Path, ResultRecord]] = []
    for file, relative in zip(inputs.files, targets, strict=True):
        target = folder / relative
        try:
            record = loaded.record(options, sha256_file(file.path))
            if force or not target.exists():
                pending.append((file, target, record))
            elif problem := record.conflict(target):
                skipped[file.path] = f"{file.path}: {problem}"
            else:
                existing.append(target)
        except OSError as error:
            skipped[file.path] = f"{file.path}: cannot be read: {error.strerror or error}"
    folders = {file.folder for file, _, _ in pending}
    depths = FolderDepths(inputs.files, folders, bits, on_progress)
    number, done, total = 0, 0, sum(depths.pixels.get(file.path, 0) for file, _, _ in pending)
    written: list[Path] = []

    def on_pixels(count: int) -> None:
        nonlocal done
        done += count
        # Databars and frames are not run.
        thousands = min(done, total) // 1000
        current = f"image {number} of {len(pending)}"
        on_progress(ProgressEvent("infer", thousands, total // 1000, "thousand pixels", current))

    running = backends.with_backend(loaded.model, backend) if pending else loaded.model
    tiler = Tiler(running, device=device_of_run, on_pixels=on_pixels)
    enlarger = FileEnlarger(tiler, databar, pixel_size_nm)
    for file, target, record in pending:
        number, before = number + 1, done
        try:
            enlarger(file.path, depths.of(file), target, record)
        except (SrbenchError, OSError, MemoryError) as error:
            skipped[file.path] = f"{error}" or "not enough memory"
        else:
            written.append(target)
        done = before
        on_pixels(depths.pixels.get(file.path, 0))
    remarks = (*enlarger.remarks(), *inputs.remarks())
    return FilesOutcome(tuple(written), tuple(existing), skipped, remarks)


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to run; of its weights the sha256, what they were trained on, and the header."""

    model: SRModel
    weights_sha256: str = ""
    trained_on: str = ""
    header: WeightsHeader | None = None

    def record(self, options: str, source_sha256: str) -> ResultRecord:
        """What stands in a result of this model."""
        model, name = self.model, self.model.card.name
        return ResultRecord(
            name, model.variant, self.weights_sha256, self.trained_on, model.scale, options, source_sha256
        )


def load_model(
    name: str | None,
    *,
    weights: StrPath | None,
    scale: int | None,
    variant: str | None,
    rgb_to_grey: bool = False,
    tell: Callable[[str], None],
) -> LoadedModel:
    """A model ready to run: with the given weights, the best trained ones on disk, or shipped ones.

    Raises:
        ModelError: no such model, scale or variant.
        SrbenchError: it needs weights and there are none, or they do not fit.
    """
    from srbench import models
    from srbench.weights import UnknownNetwork, identify, load
    from srbench.weights import spandrel as spandrel_adapter

    path = None if weights is None else Path(weights)
    if name is not None:
        card = models.card(name)
        if not card.trainable:
            if path is not None:
                raise SrbenchError(f"{name} needs no weights; leave --weights out.")
            offered = variant if variant in card.variants else None
            model = models.create(name, scale=scale or 4, channels=card.channels[0], variant=offered)
            return LoadedModel(model)
        path = path or _best_weights(card, scale or 4, variant, tell)
    elif path is None:
        path = _recommended_weights(scale, tell)
    try:
        network = identify(path, model=name, scale=scale, variant=variant)
    except UnknownNetwork:
        if name is not None:
            raise
        model = spandrel_adapter.load(path, scale=scale, variant=variant, rgb_to_grey=rgb_to_grey)
        tell(f"{path}: {model.card.title} {model.variant}, x{model.scale}; {spandrel_adapter.provenance()}")
        return LoadedModel(model, *_origin(path))
    if warning := smoke_warning(network):
        tell(warning)
    channels = 1 if rgb_to_grey and 1 in models.card(network.model).channels else network.channels
    model = models.create(network.model, scale=network.scale, channels=channels, variant=network.variant)
    loaded = load(model, path, rgb_to_grey=rgb_to_grey)
    if name is None and weights is not None:
        tell(f"{path}: {network.described}")
    for note in loaded.notes:
        tell(note)
    return LoadedModel(model, *_origin(path))


def smoke_warning(network: WeightsHeader) -> str:
    """What to know of weights that were trained for seconds; empty of all others."""
    if network.budget != "smoke":
        return ""
    return (
        f"{network.described} was trained for seconds, to show that the software works (budget smoke): "
        "no result, often worse than bicubic interpolation. Train it longer: srbench train "
        f"{network.model} --dataset NAME --scale {network.scale} --budget laptop"
    )


def is_runnable(network: WeightsHeader, card: ModelCard) -> bool:
    """Whether its model still has the variant of these weights, and it takes an LR image alone."""
    return network.variant in card.variants and network.variant not in card.leaking


def _origin(path: Path) -> tuple[str, str, WeightsHeader | None]:
    """sha256 of a weights file, what it was trained on or where it was published, and its header."""
    from srbench.weights import published, read_header

    digest, header = sha256_file(path), read_header(path)
    if header is not None and header.dataset:
        return digest, f"{header.dataset}, budget {header.budget}, seed {header.seed}", header
    entry = published.known_file(path.name, digest)
    if entry is not None and entry.is_content(digest):
        return digest, f"as published at {entry.url}", header
    return digest, "unknown", header


def _best_weights(card: ModelCard, scale: int, variant: str | None, tell: Callable[[str], None]) -> Path:
    """The best weights of a model: own before shipped ones, then by budget and validation gain.

    Those of equal rank go by the card's order of variants. A variant that sees HR cannot be run on an image
    without one.
    """
    from srbench import weights

    for problem in weights.left_out():
        tell(problem)
    there = weights.candidates(card.name, scale=scale, variant=variant)
    trained = [file for file in there if is_runnable(file.header, card)]
    if not trained:
        raise SrbenchError(
            f"{card.name} has no trained weights at scale {scale}. Give --weights FILE, or train it: "
            f"srbench train {card.name} --dataset NAME --scale {scale}"
        )
    best = max(trained, key=lambda file: (file.rank, -card.variants.index(file.header.variant)))
    _tell_choice(best, trained, tell)
    return best.path


def _recommended_weights(scale: int | None, tell: Callable[[str], None]) -> Path:
    """The weights that srbench recommends at this magnification; when None the first ones that enlarge."""
    from srbench import weights
    from srbench.weights.find import recommended

    for problem in weights.left_out():
        tell(problem)
    there = weights.candidates()
    offered = recommended(there)
    suited = (
        file for file in offered if file.header.scale == scale or (scale is None and file.header.scale > 1)
    )
    best = next(suited, None)
    if best is None:
        scales = ", ".join(f"x{file.header.scale}" for file in offered) or "none"
        where = "" if scale is None else f" at x{scale}"
        raise SrbenchError(
            f"No network is recommended{where} (there is one for: {scales}). Name a model that has weights: "
            "srbench weights list"
        )
    network = best.header
    tell(f"No model was named: {network.model} {network.variant} is recommended at x{network.scale}.")
    _tell_choice(best, [file for file in there if file.header.scale == network.scale], tell)
    return best.path


def _tell_choice(best: TrainedWeights, there: Sequence[TrainedWeights], tell: Callable[[str], None]) -> None:
    """Which weights are taken, on what they were trained and how they did; then those passed over."""
    if best.shipped is None:
        tell(f"weights: {best.name} ({best.header.variant}, {best.training})")
    else:
        tell(f"weights: {best.name}, shipped with srbench ({best.shipped.licence}), {best.training}.")
        tell(best.shipped.summary)
    if others := [file.described for file in there if file.path != best.path]:
        tell(f"passed over, choose with --weights: {'; '.join(others)}")


def _to_tensor(pixels: Pixels) -> Tensor:
    """``(H, W, C)`` to ``(1, C, H, W)`` float32 in [0, 1]."""
    import torch

    top = np.float32(np.iinfo(pixels.dtype).max)
    return torch.from_numpy((pixels.astype(np.float32) / top).transpose(2, 0, 1))[None]


def _to_pixels(image: Tensor, dtype: np.dtype[Any]) -> Pixels:
    """``(1, C, H, W)`` in [0, 1], or rounded to uint8 already, to ``(H, W, C)``; rounds half up."""
    values: NDArray[Any] = image[0].permute(1, 2, 0).numpy()
    if values.dtype != np.uint8:
        values = np.floor(values.astype(np.float64) * np.iinfo(dtype).max + 0.5)
    pixels: Pixels = values.astype(dtype)
    return pixels
