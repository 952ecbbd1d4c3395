"""What a worker and its client say to each other: typed on both sides, one line of JSON a message.

The worker's process also runs the model's code, so a message with another key or type is refused. Only the
standard library is imported: the worker reads its job before it is confined.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from types import UnionType
from typing import Any, TypeAlias, get_args, get_origin, get_type_hints

PackLayout: TypeAlias = tuple[int, int, int, int]
"""Offset, height, width and channels of an image in a pack."""
TileSettings: TypeAlias = tuple[int, int, bool]
"""Tile, halo and exactness with which an image was run; a later run with them repeats it bit for bit."""

_CLIENT_SIDE = {"client_side": True}
"""Marks a field that the client fills in; it is never read from the worker."""


@dataclass(frozen=True)
class WorkerJob:
    """All that a worker is told.

    Attributes:
        lr: file with the 8-bit LR images.
        images: where each lies in ``lr``, in the order they are run.
        out: folder for the results.
        module_file: file of ``module``, imported where the model's name is not registered.
        hr: file with the 8-bit HR images in the order of ``lr``, for a variant that is meant to see them.
        foreign: spandrel builds the network from the weights.
        tilings: how each image is tiled; by memory when empty, within ``tile`` and ``max_bytes``.
    """

    model: str
    variant: str
    scale: int
    channels: int
    lr: str
    images: tuple[PackLayout, ...]
    out: str
    module: str = ""
    module_file: str = ""
    weights: str | None = None
    hr: str | None = None
    rgb_to_grey: bool = False
    foreign: bool = False
    tilings: tuple[TileSettings, ...] = ()
    device: str = "auto"
    tile: int | None = None
    max_bytes: int | None = None

    def to_json(self) -> str:
        """For the job file."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> WorkerJob:
        """What :meth:`to_json` gave.

        Raises:
            TypeError, ValueError: it is not.
        """
        job: WorkerJob = _checked(json.loads(text), WorkerJob)
        return job


@dataclass(frozen=True)
class Isolated:
    """First of all, before any code of the model was imported: how strongly the worker is confined."""

    isolation: Mapping[str, Any]


@dataclass(frozen=True)
class Ready:
    """The network is built and its cost known: multiply-adds in 1e9 and activations in MB a megapixel of SR.

    ``notes`` say what a reader must know of how the weights were loaded; ``isolation`` is that of the first
    :class:`Isolated`.
    """

    device: Mapping[str, Any]
    notes: tuple[str, ...]
    params: float
    gmacs_per_mpx: float
    peak_mb_per_mpx: float
    isolation: Mapping[str, Any] | None = field(default=None, metadata=_CLIENT_SIDE)


@dataclass(frozen=True)
class Warm:
    """Every later silence is that of an image.

    ``channel_spread`` says by how many grey levels a colour network tints grey data.
    """

    channel_spread: float | None = None


@dataclass(frozen=True)
class ImageTiling:
    """How an image was run: number and side of tiles, their halo, whether that is exact, and retries."""

    tiles: int
    tile: int
    halo: int
    exact: bool
    retries: int

    @property
    def settings(self) -> TileSettings:
        """What repeats it."""
        return self.tile, self.halo, self.exact


@dataclass(frozen=True)
class ImageDone:
    """An image lies in ``<index>.npy`` of the worker's folder; the client reads its ``pixels`` from there."""

    index: int
    seconds: float
    tiling: ImageTiling
    pixels: Any = field(default=None, compare=False, metadata=_CLIENT_SIDE)


@dataclass(frozen=True)
class Finished:
    """All images are done; ``attempts`` are the hidden files that the model asked for."""

    peak_bytes: float
    attempts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failed:
    """The worker gives up; ``bad_output`` where the output was no image of the right size and values."""

    reason: str
    attempts: tuple[str, ...] = ()
    bad_output: bool = False


Message: TypeAlias = Isolated | Ready | Warm | ImageDone | Finished | Failed
_EVENTS: dict[str, type[Message]] = {
    "confined": Isolated,
    "ready": Ready,
    "warm": Warm,
    "image": ImageDone,
    "finished": Finished,
    "error": Failed,
}


def encode(message: Message) -> str:
    """One line of JSON, without its end."""
    event = next(name for name, kind in _EVENTS.items() if type(message) is kind)
    sent = {entry.name for entry in fields(message) if not entry.metadata}
    return json.dumps({"event": event, **{k: v for k, v in asdict(message).items() if k in sent}})


def decode(line: bytes | str) -> Message:
    """The message of a line.

    Raises:
        TypeError, ValueError: it is no message, or has another key or type than it must have.
    """
    content = json.loads(line)
    if not isinstance(content, dict) or content.get("event") not in _EVENTS:
        raise ValueError("no event of a worker")
    message: Message = _checked(content, _EVENTS[content.pop("event")])
    return message


def _checked(value: Any, expected: Any) -> Any:
    """``value`` as the type of a field: a tuple from a list, a dataclass from an object.

    Raises:
        TypeError: it is of another type, lacks a key, or has one too many.
    """
    origin, arguments = get_origin(expected), get_args(expected)
    if is_dataclass(expected) and isinstance(value, dict):
        accepted = [entry for entry in fields(expected) if not entry.metadata]
        if unknown := sorted(value.keys() - {entry.name for entry in accepted}):
            raise TypeError(f"unknown {', '.join(unknown)}")
        types = get_type_hints(expected)
        content = {name: _checked(entry, types[name]) for name, entry in value.items()}
        return expected(**content)  # type: ignore[operator]
    if origin is UnionType:
        return None if value is None else _checked(value, arguments[0])
    if origin is tuple and isinstance(value, list):
        types_of_items = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(types_of_items) == len(value):
            return tuple(map(_checked, value, types_of_items))
    if origin is Mapping and isinstance(value, dict):
        return value
    if expected is float and type(value) in (int, float):
        return float(value)
    if type(value) is expected:
        return value
    raise TypeError(f"expected {getattr(expected, '__name__', expected)}, found {str(value)[:40]!r}")
