"""What network a weights file belongs to: its header, else its tensors, narrowed by what the user typed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from srbench.errors import SrbenchError
from srbench.weights.detection import detect
from srbench.weights.header import WeightsHeader, read_header
from srbench.weights.loading import mismatch
from srbench.weights.reading import read_state


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
        SrbenchError: unreadable, another network than the one asked for, or several that fit equally.
    """
    header = read_header(path)
    candidates = [header] if header is not None else _detected(path, model)
    matching = [
        one
        for one in candidates
        if model in (None, one.model) and variant in (None, one.variant) and scale in (None, one.scale)
    ]
    if not matching:
        raise SrbenchError(_not_as_asked(path, candidates, model, variant, scale))
    return _the_one(path, _not_leaking(matching))


def _detected(path: Path, model: str | None) -> list[WeightsHeader]:
    state = read_state(path)
    found = detect(state, only=None if model is None else [model])
    if found:
        return found
    if model is not None:
        raise SrbenchError(
            mismatch(path, f"any variant of {model}", state, "its tensors have other names or shapes")
        )
    raise UnknownNetwork(
        f"{path} fits no registered network ({len(state)} tensors, {next(iter(state))!r}, ...)."
    )


def _not_leaking(candidates: list[WeightsHeader]) -> list[WeightsHeader]:
    """The candidates that do not see HR, where there are any."""
    from srbench import models

    honest = [one for one in candidates if one.variant not in models.card(one.model).leaking]
    return honest or candidates


def _the_one(path: Path, candidates: list[WeightsHeader]) -> WeightsHeader:
    if len(candidates) == 1:
        return candidates[0]
    listed = "; ".join(one.described for one in candidates)
    raise SrbenchError(f"{path} fits {len(candidates)} networks alike: {listed}. {_what_to_add(candidates)}")


def _what_to_add(candidates: Sequence[WeightsHeader]) -> str:
    """The option that tells the candidates apart."""
    if len({one.model for one in candidates}) > 1:
        return "Name the model."
    if len({one.variant for one in candidates}) > 1:
        return "Say which with --variant."
    return "The file does not tell the magnification: say it with --scale."


def _not_as_asked(
    path: Path, candidates: list[WeightsHeader], model: str | None, variant: str | None, scale: int | None
) -> str:
    asked = [model or "", f"variant {variant}" if variant else "", f"x{scale}" if scale else ""]
    listed = " or ".join(one.described for one in candidates)
    return f"{path} holds {listed}, not {', '.join(filter(None, asked))}. Leave out what contradicts it."
