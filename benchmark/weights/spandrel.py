"""Networks srbench does not have itself, rebuilt by spandrel from their weights.

``pip install "srbench[spandrel]"``. It tells the architecture from the tensors; here the network becomes an
``SRModel`` with a card made on the fly, so that it is scored like every other. The file is read by srbench
(tensors only), never by spandrel.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models import ModelCard, SRModel
from srbench.models.recipe import default_recipe
from srbench.utils.errors import SrbenchError
from srbench.weights.io import read_state

PREFIX = "spandrel-"
INSTALL = 'pip install "srbench[spandrel]"'

_ARCHITECTURES: Mapping[str, tuple[str, str, int]] = {
    "ATD": ("attention", "https://arxiv.org/abs/2401.08209", 2024),
    "Compact": ("adversarial", "https://arxiv.org/abs/2107.10833", 2021),
    "DAT": ("attention", "https://arxiv.org/abs/2308.03364", 2023),
    "DRCT": ("attention", "https://arxiv.org/abs/2404.00722", 2024),
    "ESRGAN": ("adversarial", "https://arxiv.org/abs/1809.00219", 2018),
    "GRL": ("attention", "https://arxiv.org/abs/2303.00748", 2023),
    "HAT": ("attention", "https://arxiv.org/abs/2205.04437", 2022),
    "OmniSR": ("attention", "https://arxiv.org/abs/2304.10244", 2023),
    "RCAN": ("attention", "https://arxiv.org/abs/1807.02758", 2018),
    "SAFMN": ("regression", "https://arxiv.org/abs/2302.13800", 2023),
    "SPAN": ("attention", "https://arxiv.org/abs/2311.12770", 2023),
    "Swin2SR": ("attention", "https://arxiv.org/abs/2209.11345", 2022),
    "SwiftSRGAN": ("adversarial", "https://arxiv.org/abs/2111.14320", 2021),
    "SwinIR": ("attention", "https://arxiv.org/abs/2108.10257", 2021),
}
"""spandrel's name of an architecture to family, paper and year, for the best known ones."""


class SpandrelNetwork(nn.Module):
    """A network of spandrel that is given images of a size and shape it can take.

    Args:
        descriptor: spandrel's ``ImageModelDescriptor``.
    """

    not_exported = "spandrel built it from the weights: chaiNNer exports such files itself"

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        self.body: nn.Module = descriptor.model
        self.scale = int(descriptor.scale)
        self.padding = descriptor.size_requirements.get_padding
        self.size_multiple = int(descriptor.size_requirements.multiple_of)
        self.studio_luma = int(descriptor.input_channels) == 1

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` in [0, 1] to ``(N, C, scale*H, scale*W)``."""
        height, width = lr.shape[-2:]
        right, bottom = self.padding(width, height)
        output = self.body(F.pad(lr, (0, right, 0, bottom), mode="replicate"))
        sr: Tensor = output[0] if isinstance(output, tuple) else output  # what else comes is not an image
        return sr[..., : height * self.scale, : width * self.scale]


def available() -> bool:
    """Whether the extra is installed."""
    return importlib.util.find_spec("spandrel") is not None


def provenance() -> str:
    """For manifests: what built the network."""
    return f"network built by spandrel {importlib.metadata.version('spandrel')} from the weights"


def architecture_of(state: Mapping[str, Tensor]) -> str:
    """The architecture spandrel recognises in these weights; empty where it knows none."""
    try:
        return str(_descriptor(state).architecture.name)
    except SrbenchError:
        return ""


def load(
    path: Path, *, scale: int | None = None, variant: str | None = None, rgb_to_grey: bool = False
) -> SRModel:
    """The network behind a weights file, with its weights.

    Args:
        path: weights file.
        scale: the magnification it must have, if any.
        variant: the variant it must be, if any.
        rgb_to_grey: refused for colour networks, of which there is no grey version to build.

    Raises:
        SrbenchError: spandrel is not installed, does not know the network, it is another one than
            requested, or not one that enlarges grey or colour images.
    """
    if not available():
        state = read_state(path)
        raise SrbenchError(
            f"{path} fits no network of srbench ({len(state)} tensors, {next(iter(state))!r}, ...). Other "
            "people's networks (ESRGAN, SwinIR, HAT, DAT, ...) are rebuilt from their weights by an extra: "
            f"{INSTALL}."
        )
    descriptor = _descriptor(read_state(path, lambda state: bool(architecture_of(state))), str(path))
    _check_purpose(descriptor, path)
    model = _model(descriptor)
    if scale not in (None, model.scale) or variant not in (None, model.variant):
        raise SrbenchError(
            f"{path} holds {model.card.title} variant {model.variant}, x{model.scale}, not "
            f"{variant or model.variant}, x{scale or model.scale}. Leave out what contradicts it."
        )
    if rgb_to_grey and model.channels != 1:
        raise SrbenchError(
            f"{path}: networks built by spandrel are not converted. Leave --rgb-to-grey out: the colour "
            "network runs on grey images as it is, each replicated and the output averaged."
        )
    return model


def rebuilt(state: Mapping[str, Tensor]) -> SRModel:
    """The network that spandrel builds from a state dict, of whatever purpose.

    Raises:
        SrbenchError: it builds none.
    """
    return _model(_descriptor(state))


def _model(descriptor: Any) -> SRModel:
    return SRModel(
        SpandrelNetwork(descriptor),
        _card(descriptor),
        int(descriptor.scale),
        int(descriptor.input_channels),
        _variant(descriptor),
        default_recipe,
    )


def _descriptor(state: Mapping[str, Tensor], name: str = "This file") -> Any:
    from spandrel import ModelLoader, UnsupportedModelError

    try:
        return ModelLoader(device="cpu").load_from_state_dict(dict(state))
    except UnsupportedModelError as error:
        raise SrbenchError(
            f"{name} is of no architecture that srbench or spandrel knows ({len(state)} tensors, "
            f"{min(state)!r}, ...). Give weights of a super-resolution network, or add the network as a "
            "model: docs/adding_a_model.md."
        ) from error
    except Exception as error:  # weights that only resemble an architecture fail inside it in any way
        raise SrbenchError(
            f"{name} resembles an architecture that spandrel knows, but cannot be rebuilt from its tensors "
            f"({type(error).__name__}: {error}). Is the file whole and of a published configuration?"
        ) from error


def _check_purpose(descriptor: Any, path: Path) -> None:
    channels = (descriptor.input_channels, descriptor.output_channels)
    purpose = str(descriptor.purpose)
    if purpose != "SR" or descriptor.scale < 2 or channels not in ((1, 1), (3, 3)):
        name, scale = descriptor.architecture.name, descriptor.scale
        kind = f"{name} for {purpose}, x{scale}, {channels[0]} to {channels[1]}"
        raise SrbenchError(
            f"{path} is {kind} channels; srbench runs networks that enlarge grey or colour images (SR)."
        )


def _card(descriptor: Any) -> ModelCard:
    architecture = descriptor.architecture
    family, paper, year = _ARCHITECTURES.get(str(architecture.id), ("regression", "", 0))
    return ModelCard(
        PREFIX + _slug(str(architecture.id)),
        str(architecture.name),
        family,
        paper,
        year,
        scales=(int(descriptor.scale),),
        variants=(_variant(descriptor),),
        channels=(int(descriptor.input_channels),),
        trainable=False,
        summary="Rebuilt by spandrel from published weights.",
        licence="unknown",
        module=__name__,
    )


def _variant(descriptor: Any) -> str:
    """The tags (``64nf``, ``23nb``, ``large``), which tell sizes of an architecture apart."""
    return _slug("-".join(map(str, descriptor.tags))) or "default"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
