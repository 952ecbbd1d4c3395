"""Reading other people's weights files without running anything that is in them.

Safetensors and torch files (tensors only: a file that holds code is refused), in the wrappers the field uses
(``params_ema``, ``params``, ``state_dict``, ``model``, ``module.``).
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srbench.errors import SrbenchError

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar", ".pkl")
"""Endings of files that may hold weights."""

_WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "generator", "netG")
_PREFIXES = ("module.", "_orig_mod.")

_RESAVE = """\
{path} holds more than tensors (a pickled object that could run code) and is refused: {why}
Where you trust the file, in the environment it was made in, run these lines, then give {target} here:
  import torch
  content = torch.load({path!r}, map_location="cpu", weights_only=False)
  for wrapper in {wrappers}:
      content = content.get(wrapper, content) if isinstance(content, dict) else content
  state = content.state_dict() if hasattr(content, "state_dict") else content
  torch.save({{key: value for key, value in state.items() if torch.is_tensor(value)}}, {target!r})"""


class DamagedWeights(SrbenchError):
    """The file is not a whole weights file."""


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a file, wrappers and ``module.`` prefixes removed. Never runs code from the file.

    Raises:
        DamagedWeights: damaged, or no weights file at all.
        SrbenchError: no such file, or holding anything but tensors.
    """
    if not path.is_file():
        raise SrbenchError(
            f"No weights file at {path}. Check the path, or train: srbench train MODEL --dataset NAME."
        )
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    state = {_plain_key(name): tensor for name, tensor in _unwrap(content).items() if _is_tensor(tensor)}
    if not state:
        raise SrbenchError(f"{path} holds no tensors; expected a state dict (name to tensor).")
    return state


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: dict[str, Any] = load_file(path)
        return state
    except (SafetensorError, OSError) as error:
        raise DamagedWeights(
            f"{path} is not a whole safetensors file ({error}); copy or train it again."
        ) from error


def _read_torch(path: Path) -> Mapping[str, Any]:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
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


def _refusal(path: Path, error: str) -> SrbenchError:
    """What to do about a file that is not tensors alone; one that is no torch file at all is told so."""
    start = path.read_bytes()[:512]
    if not (start.startswith((b"PK\x03\x04", b"\x80")) or b"ustar" in start):
        return DamagedWeights(
            f"{path} is not a torch file (it starts with {start[:16]!r}); copy or download it again."
        )
    target = str(path.with_name(f"{path.stem}-tensors.pth"))
    return SrbenchError(
        _RESAVE.format(path=str(path), why=_culprit(error), wrappers=_WRAPPERS, target=target)
    )


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


def _unwrap(content: Mapping[str, Any]) -> Mapping[str, Any]:
    for wrapper in _WRAPPERS:
        inner = content.get(wrapper)
        if isinstance(inner, Mapping) and any(map(_is_tensor, inner.values())):
            return inner
    return content


def _is_tensor(value: object) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _plain_key(name: str) -> str:
    """The name without what data-parallel and compiled networks put before it, in whatever order."""
    while (shorter := name.removeprefix(_PREFIXES[0]).removeprefix(_PREFIXES[1])) != name:
        name = shorter
    return name
