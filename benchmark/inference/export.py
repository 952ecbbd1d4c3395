"""``srbench export``: a trained network as a file that other programs run, compared with torch first.

ONNX and TorchScript do what ``SRModel.infer`` does (padding, cropping and clamping are in the graph) on
images of any size; a package of the bioimage.io model zoo holds both; for spandrel, and chaiNNer, which
builds on it, the tensors get the layout of the authors.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from srbench.inference.bioimageio import package
from srbench.inference.graphs import compared, graph, require
from srbench.inference.predict import LoadedModel, load_model
from srbench.utils.errors import ModelError, SrbenchError, unknown_name
from srbench.utils.files import OUT_SETTING, atomic_write, temporary_folder
from srbench.version import __version__

ExportFormat = Literal["onnx", "torchscript", "bioimageio", "spandrel"]
ENDINGS: Mapping[ExportFormat, tuple[str, ...]] = {
    "onnx": (".onnx",),
    "torchscript": (".pt", ".pth", ".torchscript"),
    "bioimageio": (".zip",),
    "spandrel": (".safetensors",),
}
"""Formats, and how their files may end."""
_PACKAGES: Mapping[ExportFormat, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxruntime"),
    "torchscript": (),
    "bioimageio": ("onnx", "onnxruntime", "bioimageio.core"),
    "spandrel": ("spandrel",),
}
_EXTRAS: Mapping[ExportFormat, str] = {
    "onnx": "onnxruntime",
    "bioimageio": "bioimageio",
    "spandrel": "spandrel",
}

UNPADDED_SIDES = ((16, 32), (48, 32))
"""The same for spandrel, which pads in its own way."""


@dataclass(frozen=True)
class ExportedFile:
    """A file that was written.

    Attributes:
        path: where.
        sha256: hex digest.
        metadata: what stands in it.
        differences: height and width of an image to the largest difference from torch there.
    """

    path: Path
    sha256: str
    metadata: Mapping[str, str]
    differences: Mapping[tuple[int, int], float]


def export(
    model: str | None,
    *,
    out: str | os.PathLike[str],
    file_format: ExportFormat = "onnx",
    weights: str | os.PathLike[str] | None = None,
    scale: int | None = None,
    variant: str | None = None,
    rgb_to_grey: bool = False,
    licence: str | None = None,
    authors: Sequence[str] = (),
    bits: int = 8,
    force: bool = False,
    tell: Callable[[str], None] = print,
) -> ExportedFile:
    """Write a network with its weights for other programs.

    Args:
        model: registered name; None as for ``srbench.infer``.
        out: the file.
        file_format: ``onnx``, ``torchscript``, ``bioimageio`` or ``spandrel``.
        weights: weights file; as for ``srbench.infer`` when None.
        scale: magnification; as for ``srbench.infer`` when None.
        variant: of the model; as for ``srbench.infer`` when None.
        rgb_to_grey: convert colour weights for the grey network.
        licence: of the weights, an SPDX identifier; what is recorded of shipped and published ones when None.
        authors: of a bioimage.io package; srbench's maintainers of shipped weights when empty.
        bits: grey levels of the images that a bioimage.io package takes, 8 to 16 bits.
        force: replace a file that is there.
        tell: called with which weights are used, and how they were trained.

    Raises:
        ModelError: no such model, scale or variant; a network that cannot be exported, or gives something
            else there.
        SrbenchError: a file that is there or cannot be written, no weights, or a package that is missing.
    """
    path = Path(out)
    if file_format not in ENDINGS:
        raise unknown_name("format", file_format, ENDINGS)
    if path.suffix not in ENDINGS[file_format]:
        expected = " or ".join(ENDINGS[file_format])
        raise SrbenchError(f"A file of format {file_format} ends in {expected}, found {path}; rename --out.")
    if path.is_dir() or (path.exists() and not force):
        raise SrbenchError(
            f"{path} is a folder; name a file."
            if path.is_dir()
            else f"{path} is there already; --force replaces it."
        )
    if not path.parent.is_dir():
        raise SrbenchError(f"There is no folder {path.parent}; make it, or choose another --out.")
    require(_EXTRAS.get(file_format, ""), *_PACKAGES[file_format])
    loaded = load_model(
        model, weights=weights, scale=scale, variant=variant, rgb_to_grey=rgb_to_grey, tell=tell
    )
    network = loaded.model
    if reason := "it looks at the HR image" if network.leaking else network.not_exported:
        raise ModelError(f"{network.card.name} {network.variant} cannot be exported: {reason}.")
    metadata = metadata_of(loaded, licence)
    # Before minutes of work: whether there can be such a file at all.
    with atomic_write(path, OUT_SETTING) as file:
        if file_format == "spandrel":
            content, differences = _for_spandrel(loaded)
        elif file_format == "bioimageio":
            content, differences = package(network, metadata, authors, bits)
        else:
            content, differences = graph(network, metadata, file_format)
        file.write(content)
    return ExportedFile(path, hashlib.sha256(content).hexdigest(), metadata, differences)


def metadata_of(loaded: LoadedModel, licence: str | None) -> dict[str, str]:
    """What is written into a file: texts by name."""
    from srbench.weights import published, shipped

    model, header, digest = loaded.model, loaded.header, loaded.weights_sha256
    if licence is None and digest:
        ours = next((entry.licence for entry in shipped() if entry.sha256 == digest), "")
        entry = published.known_file("", digest)
        licence = ours or (entry.licence if entry is not None else "")
    content = {
        "model": model.card.name,
        "title": model.card.title,
        "variant": model.variant,
        "scale": str(model.scale),
        "channels": str(model.channels),
        "input": f"lr: float32 (N, {model.channels}, H, W), [0, 1]",
        "output": f"sr: float32 (N, {model.channels}, {model.scale}*H, {model.scale}*W), [0, 1]",
        "trained_on": loaded.trained_on or "nothing: it learns nothing",
        "degradation": header.degradation if header else "",
        "weights_sha256": digest,
        "licence": licence or "not stated",
        "paper": model.card.paper,
        "srbench": __version__,
    }
    return {name: text for name, text in content.items() if text}


def _for_spandrel(loaded: LoadedModel) -> tuple[bytes, dict[tuple[int, int], float]]:
    """The tensors in the authors' layout, as safetensors, and how far spandrel's network is from ours."""
    from srbench.weights import save
    from srbench.weights import spandrel as spandrel_adapter
    from srbench.weights.io import header_of

    model, state = loaded.model, loaded.model.published_state
    try:
        theirs = spandrel_adapter.rebuilt(state)
    except SrbenchError as error:
        raise ModelError(
            f"spandrel does not know {model.card.name} {model.variant} x{model.scale}. Of srbench's networks "
            "it knows esrgan, swinir and swift_srgan in the sizes of their papers; --format onnx takes more."
        ) from error
    if (theirs.scale, theirs.channels) != (model.scale, model.channels):
        raise ModelError(
            f"spandrel takes {model.card.name} {model.variant} x{model.scale} for a network that enlarges "
            f"{theirs.scale} times. Use --format onnx."
        )
    differences = compared(model, theirs.infer, UNPADDED_SIDES)
    with temporary_folder("export") as folder:
        file = folder / "weights.safetensors"
        save(file, state, loaded.header or header_of(model))
        return file.read_bytes(), differences
