"""Weights from a file into a network: other people's layouts converted, then compared strictly."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srbench.utils.errors import SrbenchError
from srbench.weights.detect import detect, difference, layout, shapes_of
from srbench.weights.find import problem_of_shipped
from srbench.weights.io import WeightsHeader, header_of, read_header, read_state
from srbench.weights.rgb_to_grey import COLOURS, GreyConversion, colour_version, counters, to_grey
from srbench.weights.torch_files import DamagedWeights

if TYPE_CHECKING:
    from torch import Tensor

    from srbench.models import SRModel

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedWeights:
    """What ``load`` found and did.

    Attributes:
        header: the file's header where srbench wrote it.
        grey: how well colour weights serve the grey network, where they were converted.
        constants: tensors nobody learns, which the file lacks and the layout says.
    """

    header: WeightsHeader | None = None
    grey: GreyConversion | None = None
    constants: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the results must know."""
        absent = f"constants of the network that the file lacks: {', '.join(self.constants)}"
        return (*([self.grey.described] if self.grey else []), *([absent] if self.constants else []))


def load(model: SRModel, path: str | os.PathLike[str], *, rgb_to_grey: bool = False) -> LoadedWeights:
    """Load weights into ``model.network``, in place and strictly.

    Other people's layouts of the network are understood (``model.convert``). Weights for one channel that
    srbench did not train are taken to have learned from MATLAB's luma (``model.studio_luma``).

    Args:
        model: from ``srbench.models.create``.
        path: a ``.safetensors`` file or a torch file that holds tensors only.
        rgb_to_grey: convert weights for three channels when the model has one, and compare the result with
            the colour network on a probe image. A model made with ``channels=3`` needs no conversion and is
            exact on grey images too.

    Raises:
        SrbenchError: no such file, a damaged file, a file that holds code, weights of another network (the
            message says which one where that is known), or colour weights that no grey network can repeat.
    """
    path = Path(path)
    if problem := problem_of_shipped(path):
        raise DamagedWeights(problem)
    header, requested = read_header(path), header_of(model)
    expected = shapes_of(model.network.state_dict())

    def is_wanted(state: dict[str, Tensor]) -> bool:
        try:
            converted = model.convert(state)
        except Exception:  # another network's tensors may raise anything
            return False
        return shapes_of(converted) == expected or _is_for_colour(requested, header, converted)

    stored = read_state(path, is_wanted)
    try:
        state = model.convert(stored)
    except SrbenchError:
        raise
    except Exception as error:  # a layout that only resembles the one which is converted
        problem = f"its tensors cannot be converted ({type(error).__name__}: {error})"
        raise SrbenchError(mismatch(path, requested.described, problem)) from error
    renamed = not stored.keys() <= state.keys()
    constants = () if renamed else tuple(name for name in state if name not in stored)
    # Equal shapes do not make equal networks: VDSR has the same tensors at every magnification.
    fits = header is None or header.network == requested.network
    problem = difference(expected, shapes_of(state))
    network: Any = model.network
    network.studio_luma = False
    _LOG.info("Weights: %s into %s", path, requested.described)
    if fits and not problem:
        model.network.load_state_dict({**counters(model.network), **state})
        network.studio_luma = model.channels == 1 and not (header and header.dataset)
        return LoadedWeights(header, constants=constants)
    if _is_for_colour(requested, header, state):
        if rgb_to_grey:
            return LoadedWeights(header, to_grey(model, colour_version(model), state), constants)
        raise SrbenchError(
            f"{path} holds weights for 3 channels (RGB), and this {model.card.name} is built for 1 (grey). "
            "Build it with channels=3: it then runs on grey images exactly, each replicated over the three "
            "channels and the output averaged. Or convert the weights: --rgb-to-grey (rgb_to_grey=True); the "
            "result is compared with the colour network."
        )
    if header is not None and not fits:
        raise SrbenchError(f"{path} holds {header.described}, not {requested.described}.")
    raise SrbenchError(mismatch(path, requested.described, problem))


def mismatch(path: Path, requested: str, problem: str) -> str:
    """That weights do not fit, why, and what they look like instead."""
    from srbench.weights import spandrel as spandrel_adapter

    state, headers = read_detected(path)
    matches = [header.described for header in headers]
    if not matches and spandrel_adapter.available() and (name := spandrel_adapter.architecture_of(state)):
        matches = [f"{name} (recognised by spandrel)"]
    hint = f"This looks like {' or '.join(matches)}." if matches else "No known network has this layout."
    return f"{path} does not fit {requested}: {problem}. {hint}"


def _is_for_colour(
    requested: WeightsHeader, header: WeightsHeader | None, state: Mapping[str, Tensor]
) -> bool:
    """Whether these are weights of the network requested, but for three channels instead of one."""
    from srbench import models

    colour = replace(requested, channels=COLOURS)
    if requested.channels != 1 or (header is not None and header.network != colour.network):
        return False
    try:
        return layout(*colour.network) == shapes_of(state)
    except models.ModelError:  # there is no such network for colour
        return False


def read_detected(
    path: Path, only: Sequence[str] | None = None
) -> tuple[dict[str, Tensor], list[WeightsHeader]]:
    """The state dict in a file that fits registered networks, and those networks; none where none fits.

    Args:
        path: weights file.
        only: look for these models alone.

    Raises:
        SrbenchError: as :func:`~srbench.weights.io.read_state`.
    """
    matches: list[WeightsHeader] = []

    def is_known(state: dict[str, Tensor]) -> bool:
        matches[:] = detect(state, only=only)
        return bool(matches)

    return read_state(path, is_known), matches


class UnknownNetwork(SrbenchError):
    """No registered network has the layout of these weights."""


def identify(
    path: Path, *, model: str | None = None, variant: str | None = None, scale: int | None = None
) -> WeightsHeader:
    """The one registered network that a weights file fits.

    Args:
        path: weights file.
        model: the model it must be for, if any.
        variant: the variant it must be for, if any.
        scale: the magnification it must be for, if any.

    Returns:
        The file's header; one with the network alone where srbench did not write the file.

    Raises:
        UnknownNetwork: the tensors are those of no registered network.
        SrbenchError: unreadable, another network than the one requested, or several that fit equally.
    """
    from srbench import plugins

    header = read_header(path)
    candidates = [header] if header is not None else _detected(path, model)
    matching = [
        header
        for header in candidates
        if model in (None, header.model)
        and variant in (None, header.variant)
        and scale in (None, header.scale)
    ]
    if not matching:
        requested = [model or "", f"variant {variant}" if variant else "", f"x{scale}" if scale else ""]
        raise SrbenchError(
            f"{path} holds {' or '.join(header.described for header in candidates)}, not "
            f"{', '.join(filter(None, requested))}. Leave out what contradicts it."
        )
    # Variants that see HR are chosen only where nothing else fits.
    blind = [header for header in matching if header.variant not in plugins.card(header.model).leaking]
    matching = blind or matching
    if len(matching) == 1:
        return matching[0]
    if len({header.model for header in matching}) > 1:
        advice = "Name the model."
    elif len({header.variant for header in matching}) > 1:
        advice = "Say which with --variant."
    else:
        advice = "The file does not tell the magnification: say it with --scale."
    listed = "; ".join(header.described for header in matching)
    raise SrbenchError(f"{path} fits {len(matching)} networks alike: {listed}. {advice}")


def _detected(path: Path, model: str | None) -> list[WeightsHeader]:
    state, matches = read_detected(path, None if model is None else [model])
    if matches:
        return matches
    if model is not None:
        problem = f"its tensors ({len(state)}, {next(iter(state))!r}, ...) have other names or shapes"
        raise SrbenchError(mismatch(path, f"any variant of {model}", problem))
    raise UnknownNetwork(
        f"{path} fits no registered network ({len(state)} tensors, {next(iter(state))!r}, ...)."
    )
