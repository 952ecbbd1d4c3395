"""Weights from a file into a network: other people's layouts converted, then compared strictly."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from srbench.errors import SrbenchError
from srbench.weights import detection
from srbench.weights.grey import COLOURS, GreyProof, colour_twin, counters, to_grey
from srbench.weights.header import WeightsHeader, header_of, read_header
from srbench.weights.narrowing import Shapes
from srbench.weights.reading import read_state

if TYPE_CHECKING:
    from torch import Tensor

    from srbench.models import SRModel


@dataclass(frozen=True)
class LoadedWeights:
    """What ``load`` found and did.

    Attributes:
        header: the file's header where srbench wrote it.
        grey: how well colour weights serve the grey network, where they were converted.
    """

    header: WeightsHeader | None = None
    grey: GreyProof | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the results must know."""
        return () if self.grey is None else (self.grey.described,)


def load(model: SRModel, path: str | os.PathLike[str], *, rgb_to_grey: bool = False) -> LoadedWeights:
    """Load weights into ``model.network``, in place and strictly.

    Other people's layouts of the network are understood (``model.convert``).

    Args:
        model: from ``srbench.models.create``.
        path: a ``.safetensors`` file or a torch file that holds tensors only.
        rgb_to_grey: convert weights for three channels when the model has one, and prove on a probe image
            that the result is the same network. A model made with ``channels=3`` needs no conversion and is
            exact on grey images too.

    Raises:
        SrbenchError: no such file, a damaged file, a file that holds code, weights of another network (the
            message says which one where that is known), or colour weights that no grey network can repeat.
    """
    path = Path(path)
    state = model.convert(read_state(path))
    header, asked = read_header(path), header_of(model)
    # Equal shapes do not make equal networks: VDSR has the same tensors at every magnification.
    fits = header is None or header.network == asked.network
    problem = detection.difference(_shapes(model), detection.shapes_of(state))
    if fits and not problem:
        model.network.load_state_dict({**counters(model.network), **state})
        return LoadedWeights(header)
    if _is_for_colour(asked, header, state):
        return LoadedWeights(header, _load_colour(model, path, state, rgb_to_grey))
    if header is not None and not fits:
        raise SrbenchError(f"{path} holds {header.described}, not {asked.described}.")
    raise SrbenchError(mismatch(path, asked.described, state, problem))


def mismatch(path: Path, asked: str, state: Mapping[str, Tensor], problem: str) -> str:
    """That weights do not fit, why, and what they look like instead."""
    matches = detection.recognise(state)
    if not matches and (foreign := _foreign_architecture(state)):
        matches = [f"{foreign} (recognised by spandrel)"]
    layout = f"This looks like {' or '.join(matches)}." if matches else "No known network has this layout."
    return f"{path} does not fit {asked}: {problem}. {layout}"


def _shapes(model: SRModel) -> Shapes:
    return detection.shapes_of(model.network.state_dict())


def _is_for_colour(asked: WeightsHeader, header: WeightsHeader | None, state: Mapping[str, Tensor]) -> bool:
    """Whether these are weights of the network asked for, but for three channels instead of one."""
    from srbench import models

    twin = replace(asked, channels=COLOURS)
    if asked.channels != 1 or (header is not None and header.network != twin.network):
        return False
    try:
        return detection.layout(*twin.network) == detection.shapes_of(state)
    except models.ModelError:  # there is no such network for colour
        return False


def _load_colour(model: SRModel, path: Path, state: Mapping[str, Tensor], rgb_to_grey: bool) -> GreyProof:
    if not rgb_to_grey:
        raise SrbenchError(
            f"{path} holds weights for 3 channels (RGB), and this {model.card.name} is built for 1 (grey). "
            "Build it with channels=3: it then runs on grey images exactly, each replicated over the three "
            "channels and the output averaged. Or convert the weights: --rgb-to-grey (rgb_to_grey=True); the "
            "result is compared with the colour network."
        )
    return to_grey(model, colour_twin(model), state)


def _foreign_architecture(state: Mapping[str, Tensor]) -> str:
    """The architecture spandrel recognises in weights none of our networks has; empty without the extra."""
    from srbench import spandrel_adapter

    return spandrel_adapter.architecture_of(state) if spandrel_adapter.available() else ""
