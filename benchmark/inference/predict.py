"""Super-resolving images outside an evaluation: arrays with ``super_resolve``, files with ``infer``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srbench.utils.errors import DatasetError, SrbenchError
from srbench.utils.files import atomic_write

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from srbench.inference.tiling import Inference, Tiler
    from srbench.models import ModelCard, SRModel
    from srbench.weights import TrainedWeights

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


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
    colour, and each for itself by a network for grey images, so that equal channels stay equal. Transparency
    is enlarged bicubically.

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
    from srbench.inference.tiling import Tiler

    return _Enlarger(Tiler(model, device=device, tile=tile, max_bytes=max_bytes))(pixels)


class _Enlarger:
    """Super-resolves arrays with one tiler; ``exact`` tells of the last image."""

    def __init__(self, tiler: Tiler) -> None:
        self.tiler = tiler
        self.exact = True

    def __call__(self, pixels: Pixels) -> Pixels:
        _check(pixels)
        # Rounded tile by tile, an 8-bit image needs a quarter of the memory.
        self.tiler.output = "uint8" if pixels.dtype == np.uint8 else "float32"
        if pixels.ndim == 2:
            return _to_pixels(self._run(_to_tensor(pixels[..., None])), pixels.dtype)[..., 0]
        colour = _to_pixels(self._colour(pixels[..., :3]), pixels.dtype)
        if pixels.shape[2] == 3:
            return colour
        alpha = _to_pixels(self._bicubic(_to_tensor(pixels[..., 3:])), pixels.dtype)
        return np.concatenate([colour, alpha], axis=2)

    def _colour(self, pixels: Pixels) -> Tensor:
        image = _to_tensor(pixels)
        if self.tiler.model.channels == 3:
            return self._run(image)
        if bool((image == image[:, :1]).all()):
            return self._run(image[:, :1]).expand(-1, 3, -1, -1)
        return self._run(image.transpose(0, 1)).transpose(0, 1)

    def _run(self, image: Tensor) -> Tensor:
        result: Inference = self.tiler(image)
        self.exact = result.exact
        return result.sr

    def _bicubic(self, image: Tensor) -> Tensor:
        from srbench.datasets.images.resize import resize_by

        return resize_by(image, self.tiler.model.scale).clamp(0.0, 1.0)


@dataclass(frozen=True)
class FilesOutcome:
    """What ``infer`` did: files written, and the reason for each one skipped."""

    written: tuple[Path, ...]
    skipped: Mapping[Path, str]


def infer(
    model: str | None,
    images: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    weights: str | os.PathLike[str] | None = None,
    scale: int | None = None,
    variant: str | None = None,
    device: str = "auto",
    rgb_to_grey: bool = False,
    tell: Callable[[str], None] = print,
) -> FilesOutcome:
    """Super-resolve image files into PNGs named ``<file>_<model>_x<scale>.png``.

    Files are read as the benchmark reads micrographs: one grey channel, 8 or 16 bits kept. One that cannot
    be read is skipped, with the reason, and the others are done.

    Args:
        model: registered name; None where ``weights`` says whose they are.
        images: a file, or a folder whose image files are taken, or several of them.
        out: folder for the results.
        weights: weights file; the best trained one on disk when None.
        scale: magnification; that of the weights, else 4.
        variant: variant; that of the weights, else the model's first.
        device: ``auto``, ``cpu`` or ``cuda``.
        rgb_to_grey: convert colour weights for the grey network.
        tell: told which weights are used and what is approximate.

    Raises:
        ModelError: no such model, scale or variant.
        SrbenchError: no weights, weights of another network, or ``out`` cannot be written.
    """
    from srbench.inference.device import pick_device
    from srbench.inference.tiling import Tiler

    folder, given = Path(out), Path(weights) if weights is not None else None
    paths = [images] if isinstance(images, str | os.PathLike) else images
    loaded = load_model(
        model, weights=given, scale=scale, variant=variant, rgb_to_grey=rgb_to_grey, tell=tell
    )
    name = loaded.card.name
    enlarger = _Enlarger(Tiler(loaded, device=pick_device(device)))
    written: list[Path] = []
    skipped: dict[Path, str] = {}
    for file in _image_files([Path(path) for path in paths]):
        target = _free_name(folder, f"{file.stem}_{name}_x{loaded.scale}", written)
        try:
            _write_png(target, enlarger(_read(file)))
        except DatasetError as error:
            skipped[file] = str(error)
            continue
        written.append(target)
        if not enlarger.exact:
            tell(f"{file}: run in tiles smaller than what {name} looks at; the result is an approximation")
    return FilesOutcome(tuple(written), skipped)


def load_model(
    name: str | None,
    *,
    weights: Path | None,
    scale: int | None,
    variant: str | None,
    rgb_to_grey: bool = False,
    tell: Callable[[str], None],
) -> SRModel:
    """A model ready to run: with the given weights, or with the best trained ones on disk.

    Raises:
        ModelError: no such model, scale or variant.
        SrbenchError: it needs weights and there are none, or they do not fit.
    """
    from srbench import models

    if name is None:
        return _of_weights(weights, scale, variant, rgb_to_grey, tell)
    card = models.card(name)
    if not card.trainable:
        if weights is not None:
            raise SrbenchError(f"{name} needs no weights; leave --weights out.")
        suited = variant if variant in card.variants else None
        return models.create(name, scale=scale or 4, channels=card.channels[0], variant=suited)
    path = weights or _best_weights(card, scale or 4, variant, tell)
    return _with_weights(path, name, scale, variant, rgb_to_grey, tell)


def _of_weights(
    path: Path | None, scale: int | None, variant: str | None, rgb_to_grey: bool, tell: Callable[[str], None]
) -> SRModel:
    """The network a file belongs to, where nobody named it."""
    from srbench.weights import UnknownNetwork
    from srbench.weights import spandrel as spandrel_adapter

    if path is None:
        raise SrbenchError("Name a model, or give the weights of one.")
    try:
        return _with_weights(path, None, scale, variant, rgb_to_grey, tell)
    except UnknownNetwork:
        model = spandrel_adapter.load(path, scale=scale, variant=variant, rgb_to_grey=rgb_to_grey)
    tell(f"{path}: {model.card.title} {model.variant}, x{model.scale}; {spandrel_adapter.provenance()}")
    return model


def _with_weights(
    path: Path,
    name: str | None,
    scale: int | None,
    variant: str | None,
    rgb_to_grey: bool,
    tell: Callable[[str], None],
) -> SRModel:
    """A registered network with the weights of a file, which decides what was not typed."""
    from srbench import models, weights

    network = weights.identify(path, model=name, scale=scale, variant=variant)
    offered = models.card(network.model).channels
    channels = 1 if rgb_to_grey and 1 in offered else network.channels
    model = models.create(network.model, scale=network.scale, channels=channels, variant=network.variant)
    loaded = weights.load(model, path, rgb_to_grey=rgb_to_grey)
    if name is None:
        tell(f"{path}: {network.described}")
    for remark in loaded.notes:
        tell(remark)
    return model


def _best_weights(card: ModelCard, scale: int, variant: str | None, tell: Callable[[str], None]) -> Path:
    """The trained weights of the first variant there is, in the card's order, trained longest.

    A variant that sees HR cannot be run on an image without one.
    """
    from srbench import weights as weights_files

    found = [
        one
        for one in weights_files.find(card.name, scale=scale, variant=variant)
        if one.header.variant in card.variants and one.header.variant not in card.leaking
    ]
    if not found:
        raise SrbenchError(
            f"{card.name} has no trained weights at scale {scale}. Give --weights FILE, or train it: "
            f"srbench train {card.name} --dataset NAME --scale {scale}"
        )

    def standing(one: TrainedWeights) -> tuple[int, int, int, str]:
        order = card.variants.index(one.header.variant)
        return order, -one.header.budget_rank, one.header.seed, str(one.path)

    best = min(found, key=standing)
    tell(_told(best, sorted({one.header.variant for one in found} - {best.header.variant})))
    return best.path


def _told(chosen: TrainedWeights, others: Sequence[str]) -> str:
    header = chosen.header
    trained = f"{header.variant}, trained on {header.dataset}, budget {header.budget}, seed {header.seed}"
    also = f"; also trained, choose with --variant: {', '.join(others)}" if others else ""
    return f"weights: {chosen.path} ({trained}{also})"


def _image_files(images: Sequence[Path]) -> Iterator[Path]:
    from srbench.datasets.images.decode import SUFFIXES

    for path in images:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        else:
            yield path


def _read(file: Path) -> Pixels:
    from srbench.datasets.images.decode import decode

    return decode(file, min_side=1).pixels


def _free_name(out: Path, stem: str, taken: Sequence[Path]) -> Path:
    """A file name no other image of this call has; an earlier call's result is replaced."""
    candidate, number = out / f"{stem}.png", 2
    while candidate in taken:
        candidate, number = out / f"{stem}-{number}.png", number + 1
    return candidate


def _write_png(path: Path, pixels: Pixels) -> None:
    import cv2

    encoded, data = cv2.imencode(".png", pixels)
    if not encoded:
        raise SrbenchError(f"Cannot encode {path.name} as PNG: shape {pixels.shape}, dtype {pixels.dtype}.")
    with atomic_write(path) as file:
        file.write(data.tobytes())


def _check(pixels: Pixels) -> None:
    shaped = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if pixels.dtype not in (np.uint8, np.uint16) or not shaped or 0 in pixels.shape:
        raise SrbenchError(
            f"Expected 8 or 16 bit pixels (H, W), (H, W, 3) or (H, W, 4), "
            f"found {pixels.dtype} {pixels.shape}."
        )


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
