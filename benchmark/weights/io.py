"""Weights files: written as safetensors with a header, read in the forms the field uses (tensors only)."""

from __future__ import annotations

import itertools
import json
import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srbench.utils.errors import SrbenchError
from srbench.utils.files import atomic_write, printable
from srbench.weights.unwrap import state_dicts

if TYPE_CHECKING:
    from torch import Tensor

    from srbench.models import SRModel

_METADATA_KEY = "srbench"
_BUDGET_RANK = {"paper": 3, "short": 2, "laptop": 1, "smoke": 0}


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
        budget: ``smoke``, ``laptop``, ``short`` or ``paper``.
        iterations: generator updates done.
        data: fingerprint of the training dataset.
        notes: departures and fallbacks of the recipe.
        version: srbench version that wrote it.
        degradation: id of what made the LR it was trained on; empty where it is not known.
        multiply_adds: of the whole training, where they were its budget; else 0.
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
    multiply_adds: int = 0

    @property
    def budget_rank(self) -> int:
        """The larger the more training: 0 for ``smoke`` to 3 for ``paper``, -1 where no budget is known."""
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


SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar", ".pkl")
"""Endings of files that may hold weights."""

_ZIP = b"PK\x03\x04"

_RESAVE = """\
{path} holds more than tensors (a pickled object that could run code) and is refused: {why}
Where you trust the file, in the environment it was made in, run these lines, then give {target} here:
  import torch
  def tensors(x):
      x = x.state_dict() if hasattr(x, "state_dict") else x
      if not isinstance(x, dict):
          return x if torch.is_tensor(x) else None
      return {{key: kept for key, value in x.items() if (kept := tensors(value)) is not None}}

  torch.save(tensors(torch.load({path!r}, map_location="cpu", weights_only=False)), {target!r})"""

_TORCHSCRIPT = """\
{path} is a TorchScript archive (torch.jit.save): a program together with its tensors. srbench runs no \
programs out of files. Where you trust it, run these lines, then give {target} here:
  import torch
  torch.save(torch.jit.load({path!r}, map_location="cpu").state_dict(), {target!r})"""


class DamagedWeights(SrbenchError):
    """The file is not a whole weights file."""


def read_state(path: Path, fits: Callable[[dict[str, Tensor]], bool] | None = None) -> dict[str, Tensor]:
    """The state dict in a file, out of what it is wrapped in. Never runs code from the file.

    Args:
        path: the file.
        fits: whether a state dict is of the network that is looked for. Where the file holds several, or one
            whose names begin with a prefix (:func:`~srbench.weights.unwrap.state_dicts`), the first that fits
            is taken; the likeliest where none does or nothing is looked for.

    Raises:
        DamagedWeights: damaged, or no weights file at all.
        SrbenchError: no such file, or holding anything but tensors.
    """
    if not path.is_file():
        raise SrbenchError(
            f"No weights file at {path}. Check the path, or train: srbench train MODEL --dataset NAME."
        )
    with path.open("rb") as file:
        start = file.read(9)
    # By its content: files are renamed, and safetensors begin with the length of a JSON object.
    is_safetensors = start[8:] == b"{" or (path.suffix == ".safetensors" and not start.startswith(_ZIP))
    content = _read_safetensors(path) if is_safetensors else _read_torch(path)
    first = next(state_dicts(content), None)
    if first is None:
        keys = ", ".join(map(repr, itertools.islice(content, 8))) or "nothing"
        raise SrbenchError(f"{path} holds no tensors; expected a state dict (name to tensor), found {keys}.")
    return first if fits is None else next(filter(fits, state_dicts(content)), first)


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load, load_file

    try:
        # It opens no path that is not UTF-8.
        is_utf8 = printable(str(path)) == str(path)
        state: dict[str, Any] = load_file(path) if is_utf8 else load(path.read_bytes())
        return state
    except (SafetensorError, OSError) as error:
        raise DamagedWeights(
            f"{path} is not a whole safetensors file ({error}); copy or train it again."
        ) from error


def _read_torch(path: Path) -> Mapping[str, Any]:
    import torch

    _refuse_other_archives(path)
    try:
        with path.open("rb") as file:  # torch.load goes by the ending of a path
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refusal(path, str(error)) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedWeights(
            f"{path} is not a readable torch file ({_first_line(str(error))}); copy or download it again."
        ) from error
    if not isinstance(content, Mapping):
        raise SrbenchError(
            f"{path} holds a {type(content).__name__}; expected a state dict (name to tensor)."
        )
    return content


def _refuse_other_archives(path: Path) -> None:
    """Refuse what is a zip archive, as torch files are, and whole, but no file of ``torch.save``."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return  # no archive, or a damaged one: torch says so
    members = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in members:
        raise SrbenchError(_TORCHSCRIPT.format(path=str(path), target=_resaved(path)))
    if "data.pkl" not in members:
        raise SrbenchError(
            f"{path} is a zip archive, but not of torch.save: it holds {', '.join(names[:4]) or 'nothing'}. "
            "Give a state dict saved by torch.save or as safetensors."
        )


def _resaved(path: Path) -> str:
    return str(path.with_name(f"{path.stem}-tensors.pth"))


def _refusal(path: Path, error: str) -> SrbenchError:
    """What to do about a file that is not tensors alone; one that is no torch file at all is damaged."""
    with path.open("rb") as file:
        start = file.read(512)
    if not (start.startswith((_ZIP, b"\x80")) or b"ustar" in start):
        return DamagedWeights(
            f"{path} is not a torch file (it starts with {start[:16]!r}); copy or download it again."
        )
    return SrbenchError(_RESAVE.format(path=str(path), why=_culprit(error), target=_resaved(path)))


def _culprit(error: str) -> str:
    """The line of torch's long message that names the object."""
    lines = (line.strip() for line in error.splitlines())
    named = (line for line in lines if "GLOBAL" in line or "Unsupported" in line)
    return (
        _first_line(next(named, error))
        .split(" was not an allowed")[0]
        .removeprefix("WeightsUnpickler error: ")
    )


def _first_line(text: str) -> str:
    return text.strip().split("\n")[0].rstrip(".:")
