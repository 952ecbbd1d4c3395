"""What a worker and its client say to each other: typed on both sides, one line of JSON a message.

The worker's process also runs the model's code, so a message with another key, type or range is refused. Only
the standard library is imported at once: the worker reads its job before it is confined.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from types import UnionType
from typing import Any, TypeAlias, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

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
        report_cost: whether to say what the network costs; of srbench's own the client knows it.
        needs: height, width and bytes of the activations of these images, where the client knows them.
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
    report_cost: bool = True
    needs: tuple[tuple[int, int, int], ...] = ()
    device: str = "auto"
    backend: str = "torch"
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


class IsolationDescription(TypedDict):
    """An :class:`~srbench.sandbox.IsolationLevel` in a message."""

    level: str
    mechanism: str
    words: str


class DeviceDescription(TypedDict):
    """What a worker computes on."""

    type: str
    name: str
    precision: str
    layout: str
    threads: int
    torch: str


@dataclass(frozen=True)
class Isolated:
    """First of all, before any code of the model was imported: how strongly the worker is confined."""

    isolation: IsolationDescription


@dataclass(frozen=True)
class NetworkCost:
    """Parameters; multiply-adds in 1e9 and activations in MB a megapixel of SR."""

    params: float
    gmacs_per_mpx: float
    peak_mb_per_mpx: float


@dataclass(frozen=True)
class Ready:
    """The network is built.

    ``notes`` say what a reader must know of how the weights were loaded; ``cost`` is what the model's own
    process says of it, and of srbench's models the client's; ``isolation`` is that of :class:`Isolated`.
    """

    device: DeviceDescription
    notes: tuple[str, ...]
    cost: NetworkCost | None = None
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
    """The pixels of an image lie in ``<index>.raw`` of the worker's folder, row after row, 8 bits each.

    The client reads its ``pixels`` from there, and takes the ``seconds`` from its own clock.
    """

    index: int
    tiling: ImageTiling
    seconds: float = field(default=0.0, metadata=_CLIENT_SIDE)
    pixels: Any = field(default=None, compare=False, metadata=_CLIENT_SIDE)


@dataclass(frozen=True)
class Finished:
    """All images are done; ``attempts`` are the hidden files that the model asked for.

    ``peak_bytes`` are those of a GPU; the memory of a process is measured by the client.
    """

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


MAX_LINE = 1 << 20
"""Bytes of a message."""
_MAX_TEXT, _MAX_DEPTH = 8_000, 4
_MAX_NUMBER = 1e18
_LINE_ENDS = re.compile(r"[\t\r\n]+")


def decode(line: bytes | str) -> Message:
    """The message of a line; its texts are printable, its numbers finite and not negative.

    Raises:
        TypeError, ValueError: it is no message, or has another key, type or range than it must have.
    """
    if len(line) > MAX_LINE:
        raise ValueError(f"{len(line)} bytes in one message")
    try:
        content = _bounded(json.loads(line, parse_int=_whole, object_pairs_hook=_object))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(content, dict) or content.get("event") not in _EVENTS:
        raise ValueError("no event of a worker")
    message: Message = _checked(content, _EVENTS[content.pop("event")])
    return message


def _whole(digits: str) -> int:
    """An integer; thousands of digits would take their time."""
    if len(digits) > 20:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a key twice")
    return dict(pairs)


def _bounded(value: Any, depth: int = 0) -> Any:
    """``value`` of JSON with printable texts.

    Raises:
        ValueError: too long, too deep, or a number that nothing in a message can be.
    """
    from srbench.utils.text import printable

    if depth > _MAX_DEPTH or (isinstance(value, (str, list, dict)) and len(value) > _MAX_TEXT):
        raise ValueError("too much in one message")
    if isinstance(value, str):
        return printable(_LINE_ENDS.sub(" ", value))
    if isinstance(value, (int, float)) and not (math.isfinite(value) and 0 <= value <= _MAX_NUMBER):
        raise ValueError(f"a number that cannot be: {value!r}")
    if isinstance(value, list):
        return [_bounded(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_bounded(name): _bounded(item, depth + 1) for name, item in value.items()}
    return value


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
    if is_typeddict(expected) and isinstance(value, dict):
        types = get_type_hints(expected)
        if value.keys() != types.keys():
            raise TypeError(f"expected {', '.join(types)}, found {', '.join(value)}")
        return {name: _checked(entry, types[name]) for name, entry in value.items()}
    if origin is UnionType:
        return None if value is None else _checked(value, arguments[0])
    if origin is tuple and isinstance(value, list):
        types_of_items = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(types_of_items) == len(value):
            return tuple(map(_checked, value, types_of_items))
    if expected is float and type(value) in (int, float):
        return float(value)
    if type(value) is expected:
        return value
    raise TypeError(f"expected {getattr(expected, '__name__', expected)}, found {str(value)[:40]!r}")
