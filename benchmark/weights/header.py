"""What a weights file says of itself: the header srbench writes into its safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from srbench.files import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

    from srbench.models import SRModel

_METADATA_KEY = "srbench"
_BUDGET_RANK = {"paper": 2, "short": 1, "smoke": 0}


@dataclass(frozen=True)
class WeightsHeader:
    """What a weights file is, stored inside it.

    Attributes:
        model: registered name.
        variant: its variant.
        scale: magnification.
        channels: image channels.
        dataset: what it was trained on, as typed.
        seed: training seed.
        budget: ``smoke``, ``short`` or ``paper``.
        iterations: generator updates done.
        data: fingerprint of the training dataset.
        notes: departures and fallbacks of the recipe.
        version: srbench version that wrote it.
        degradation: id of what made the LR it was trained on; empty where that is not names.
    """

    model: str
    variant: str
    scale: int
    channels: int
    dataset: str = ""
    seed: int = -1
    budget: str = ""
    iterations: int = 0
    data: str = ""
    notes: tuple[str, ...] = ()
    version: str = ""
    degradation: str = ""

    @property
    def budget_rank(self) -> int:
        """The larger the more training: 0 for ``smoke`` to 2 for ``paper``, -1 where no budget is names."""
        return _BUDGET_RANK.get(self.budget, -1)

    @property
    def network(self) -> tuple[str, str, int, int]:
        """Model, variant, scale and channels: what decides whether weights fit."""
        return self.model, self.variant, self.scale, self.channels

    @property
    def described(self) -> str:
        """The network in words."""
        plural = "s" if self.channels > 1 else ""
        return f"{self.model} variant {self.variant}, x{self.scale}, {self.channels} channel{plural}"


def header_of(model: SRModel) -> WeightsHeader:
    """The header that weights of this network would have, as far as the network is concerned."""
    return WeightsHeader(model.card.name, model.variant, model.scale, model.channels)


def save(path: Path, state: Mapping[str, Tensor], header: WeightsHeader) -> None:
    """Write a state dict with its header as safetensors, atomically.

    Raises:
        SrbenchError: the file cannot be written; an earlier file of that name is unchanged.
    """
    from safetensors.torch import save as to_bytes

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    content = to_bytes(tensors, metadata={_METADATA_KEY: json.dumps(asdict(header))})
    with atomic_write(path) as file:
        file.write(content)


def read_header(path: Path) -> WeightsHeader | None:
    """The header of a weights file, None when it was not written by srbench or is unreadable."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(_METADATA_KEY)
        content = json.loads(text) if text else None
    except (SafetensorError, OSError, ValueError):
        return None
    if not isinstance(content, dict):
        return None
    names = {entry.name for entry in fields(WeightsHeader)}
    values = {name: value for name, value in content.items() if name in names}
    try:
        return WeightsHeader(**{**values, "notes": tuple(values.get("notes", ()))})
    except TypeError:  # a header without a network says nothing
        return None
