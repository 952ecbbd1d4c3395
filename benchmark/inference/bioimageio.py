"""Packages of the bioimage.io model zoo, which Fiji (deepImageJ), ilastik and napari open."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from srbench.inference.graphs import OPSET, graph
from srbench.models import SRModel
from srbench.utils.errors import ModelError, SrbenchError
from srbench.utils.files import temporary_folder
from srbench.utils.image import to_channels
from srbench.weights import shipped

MAINTAINERS = "The srbench maintainers"
_SIDE = 60
"""Side of the LR image in a package."""
_SCENE = "fibres-2034"
"""Of ``sem_synthetic:demo``, which is drawn where it is needed."""


def package(
    model: SRModel, metadata: Mapping[str, str], authors: Sequence[str], bits: int
) -> tuple[bytes, dict[tuple[int, int], float]]:
    """A package as a zip: ONNX and TorchScript, test images, documentation; tested by ``bioimageio.core``.

    It takes and gives the grey levels of images of so many bits, where the graphs take and give [0, 1].

    Args:
        model: the network with its weights.
        metadata: what is known of them.
        authors: names; of weights that come with srbench its maintainers when empty.
        bits: of the images, 8 to 16.

    Returns:
        The bytes, and how far the graphs are from ``SRModel.infer``.

    Raises:
        ModelError: a graph cannot be made, or the package fails its test.
        SrbenchError: the licence or the authors are not known, or the licence is no SPDX identifier.
    """
    ours = metadata.get("weights_sha256") in {entry.sha256 for entry in shipped()}
    names = list(authors) or ([MAINTAINERS] if ours else [])
    if not names or metadata["licence"] == "not stated":
        raise SrbenchError(
            "A package of the model zoo names its authors and a licence, and these weights are not srbench's "
            "own. Give --author NAME and --licence with an SPDX identifier, as CC-BY-4.0."
        )
    contents: dict[str, bytes] = {}
    differences: dict[tuple[int, int], float] = {}
    for file_format, file in (("onnx", "weights.onnx"), ("torchscript", "weights.pt")):
        contents[file], of_format = graph(model, metadata, file_format)  # type: ignore[arg-type]
        differences |= {sides: max(value, differences.get(sides, 0.0)) for sides, value in of_format.items()}
    levels = float(2**bits - 1)
    lr = (_test_image(model) * levels).round() / levels  # what images of so many bits can hold
    sr = model.infer(lr)
    with temporary_folder("package") as folder:
        for file, content in contents.items():
            (folder / file).write_bytes(content)
        np.save(folder / "test_input.npy", (lr * levels).round().numpy())
        np.save(folder / "test_output.npy", (sr * levels).numpy())
        _cover(folder / "cover.png", lr, sr, model.scale)
        (folder / "README.md").write_text(_documentation(model, metadata, bits), encoding="utf-8")
        return _zipped(folder, model, metadata, names, bits), differences


def _test_image(model: SRModel) -> Tensor:
    """``(1, C, H, W)`` in [0, 1]: fibres in 8 bits, reduced by the scale."""
    from srbench import datasets
    from srbench.datasets import degrade

    hr = datasets.open("sem_synthetic:demo").pixels(_SCENE)
    side = min(_SIDE, min(hr.shape) // model.scale) * model.scale
    image = torch.from_numpy(hr[:side, :side].copy()).float()[None, None] / 255.0
    lr = image if model.scale == 1 else degrade.get("bicubic")(image, model.scale)
    return to_channels((lr * 255.0).round() / 255.0, model.channels).contiguous()


def _cover(file: Path, lr: Tensor, sr: Tensor, scale: int) -> None:
    """LR, its pixels repeated, beside SR."""
    from PIL import Image

    repeated = lr.repeat_interleave(scale, -2).repeat_interleave(scale, -1)
    pair = torch.cat([repeated, sr], dim=3).mean(dim=1)[0]
    Image.fromarray((pair * 255.0 + 0.5).byte().numpy()).save(file)


def _documentation(model: SRModel, metadata: Mapping[str, str], bits: int) -> str:
    colours = "" if model.channels == 1 else ", in three channels (of a grey image three times the same)"
    described = {name: text for name, text in metadata.items() if name not in ("input", "output")}
    facts = "\n".join(f"| {name} | {text} |" for name, text in described.items())
    return f"""# {_name(model)}

{model.card.summary} It makes images of scanning electron microscopes {_effect(model)}.

## Images

Give images of {bits} bits as they are, grey levels 0 to {2**bits - 1}{colours}. The result has the same
levels and {model.scale} times the pixels along each side; a pixel of it is {model.scale} times as small.
Images may have any size.

## What it was trained on

| | |
|---|---|
{facts}

## Validation

A super-resolved image can show detail that the specimen does not have, and lack detail that it has. Measure
on the original image what decides, or hold the result against a second, slower scan.
"""


def _name(model: SRModel) -> str:
    """At most what the specification allows: letters, digits, spaces, some signs."""
    return re.sub(r"[^A-Za-z0-9_+() -]", " ", f"{model.card.title} {model.variant} x{model.scale} for SEM")


def _effect(model: SRModel) -> str:
    return "less noisy" if model.scale == 1 else f"{model.scale} times as large along each side"


def _zipped(
    folder: Path, model: SRModel, metadata: Mapping[str, str], authors: Sequence[str], bits: int
) -> bytes:
    """The files of the folder and their description, tested.

    Raises:
        ModelError: the package fails its test.
        SrbenchError: the description is none, as with an unknown licence.
    """
    from bioimageio.core import test_description
    from bioimageio.spec import save_bioimageio_package
    from pydantic import ValidationError

    try:
        described = _described(folder, model, metadata, authors, bits)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'][:2]))}: {problem['msg']}" for problem in error.errors()[:4]
        )
        raise SrbenchError(f"bioimageio.spec refuses the description: {problems[:600]}.") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and what Fiji reads
        summary = test_description(described, expected_type="model")
    if summary.status != "passed":
        failed = "; ".join(detail.name for detail in summary.details if detail.status != "passed")
        raise ModelError(
            f"The package fails the test of bioimageio.core: {failed[:600]}. Nothing was written."
        )
    file = save_bioimageio_package(described, output_path=folder / "package.zip")
    return Path(file).read_bytes()


def _described(
    folder: Path, model: SRModel, metadata: Mapping[str, str], authors: Sequence[str], bits: int
) -> Any:
    """The ``ModelDescr`` of the folder.

    Raises:
        pydantic.ValidationError: something is not as the specification has it.
    """
    from bioimageio.spec.model import v0_5

    levels = float(2**bits - 1)
    channels = ["grey"] if model.channels == 1 else ["red", "green", "blue"]
    # Of less than two pixels nothing can be mirrored; the graph takes any side.
    any_size = v0_5.ParameterizedSize(min=8, step=1)
    space_in = [v0_5.SpaceInputAxis(id=v0_5.AxisId(axis), size=any_size) for axis in "yx"]
    space_out = [
        v0_5.SpaceOutputAxis(
            id=v0_5.AxisId(axis),
            size=v0_5.SizeReference(tensor_id=v0_5.TensorId("lr"), axis_id=v0_5.AxisId(axis)),
            scale=1 / model.scale,
        )
        for axis in "yx"
    ]
    around = [v0_5.BatchAxis(), v0_5.ChannelAxis(channel_names=[v0_5.Identifier(name) for name in channels])]
    data = v0_5.IntervalOrRatioDataDescr(type="float32", range=(0.0, levels))
    arxiv = re.search(r"arxiv\.org/abs/(\d+\.\d+)", model.card.paper)
    return v0_5.ModelDescr(
        name=_name(model),
        description=f"{model.card.title} makes SEM images {_effect(model)}. {model.card.summary}"[:1000],
        authors=[v0_5.Author(name=name) for name in authors],
        license=v0_5.LicenseId(metadata["licence"]),
        documentation=v0_5.FileDescr(source=folder / "README.md"),
        covers=[v0_5.FileDescr(source=folder / "cover.png")],
        cite=[
            v0_5.CiteEntry(
                text=f"{model.card.title}, {model.card.year}",
                doi=v0_5.Doi(f"10.48550/arXiv.{arxiv[1]}") if arxiv else None,
                url=None if arxiv else v0_5.HttpUrl(model.card.paper),
            )
        ],
        tags=["super-resolution", "sem", "electron-microscopy", "2d", model.card.name],
        inputs=[
            v0_5.InputTensorDescr(
                id=v0_5.TensorId("lr"),
                description="the image as it was recorded",
                axes=[*around, *space_in],
                test_tensor=v0_5.FileDescr(source=folder / "test_input.npy"),
                data=data,
                preprocessing=[
                    v0_5.EnsureDtypeDescr(kwargs=v0_5.EnsureDtypeKwargs(dtype="float32")),
                    v0_5.ScaleLinearDescr(kwargs=v0_5.ScaleLinearKwargs(gain=1.0 / levels)),
                ],
            )
        ],
        outputs=[
            v0_5.OutputTensorDescr(
                id=v0_5.TensorId("sr"),
                description="the super-resolved image",
                axes=[*around, *space_out],
                test_tensor=v0_5.FileDescr(source=folder / "test_output.npy"),
                data=data,
                postprocessing=[v0_5.ScaleLinearDescr(kwargs=v0_5.ScaleLinearKwargs(gain=levels))],
            )
        ],
        weights=v0_5.WeightsDescr(
            onnx=v0_5.OnnxWeightsDescr(
                source=folder / "weights.onnx", opset_version=OPSET, parent="torchscript"
            ),
            torchscript=v0_5.TorchscriptWeightsDescr(
                source=folder / "weights.pt",
                pytorch_version=v0_5.Version(torch.__version__.partition("+")[0]),
            ),
        ),
        config=v0_5.Config(srbench=dict(metadata)),
    )
