"""Weights files: written as safetensors with a header, read in the forms the field uses (tensors only)."""

from __future__ import annotations

import itertools
import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srbench.utils.errors import SrbenchError
from srbench.utils.files import atomic_write, open_regular, parse_json
from srbench.utils.text import printable, printable_values
from srbench.utils.typed_json import typed
from srbench.weights.torch_files import DamagedWeights, UnsafeWeights, read_torch_file
from srbench.weights.unwrap import state_dicts

if TYPE_CHECKING:
    from torch import Tensor

    from srbench.models import SRModel

_METADATA_KEY = "srbench"
_BUDGET_RANK = {"paper": 3, "short": 2, "laptop": 1, "smoke": 0}


def budget_rank(budget: str) -> int:
    """The larger the more training: 0 for ``smoke`` to 3 for ``paper``, -1 where no budget is known."""
    return _BUDGET_RANK.get(budget, -1)


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
        lineage: the weights that the training started from, those that they had started from, and so on;
            empty where it started from nothing.
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
    lineage: tuple[Ancestor, ...] = ()

    @property
    def trainings(self) -> tuple[WeightsHeader, ...]:
        """Itself and the headers of its lineage: everything these weights were trained on."""
        return (self, *(ancestor.header for ancestor in self.lineage))

    def is_trained_on(self, dataset: str, data: str) -> bool:
        """Whether these weights, or those that they started from, learned from this dataset, in any state.

        Alone or joined with others.

        Args:
            dataset: its one spelling; weights of earlier versions name a folder as it was typed.
            data: its fingerprint.
        """
        from srbench.datasets.registry import member_names

        return any(
            bool(training.dataset)
            and (training.data == data != "" or dataset in member_names(training.dataset))
            for training in self.trainings
        )

    @property
    def network(self) -> tuple[str, str, int, int]:
        """Model, variant, scale and channels: what decides whether weights fit."""
        return self.model, self.variant, self.scale, self.channels

    @property
    def described(self) -> str:
        """The network in words."""
        plural = "s" if self.channels > 1 else ""
        return f"{self.model} variant {self.variant}, x{self.scale}, {self.channels} channel{plural}"


@dataclass(frozen=True)
class Ancestor:
    """Weights that others started from.

    Attributes:
        sha256: hex digest of the file.
        name: the file's, or that of the folder of its run.
        header: what it was, without notes; the network alone where srbench did not write it.
        images: kind of images that published weights were trained on.
        source: where they were published.
    """

    sha256: str
    name: str
    header: WeightsHeader
    images: str = ""
    source: str = ""

    @property
    def trained_on(self) -> str:
        """Data set, or kind of images."""
        return self.header.dataset or self.images or "unknown data"

    @property
    def described(self) -> str:
        """Network, file and training in words."""
        budget = f", budget {self.header.budget}" if self.header.budget else ""
        source = f", published at {self.source}" if self.source else ""
        return (
            f"{self.name} (sha256 {self.sha256[:12]}): {self.header.described}, trained on {self.trained_on}"
            f"{budget}{source}"
        )


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


# Names, shapes and places of 10,000 tensors take 2 MB.
_LONGEST_SAFETENSORS_HEADER = 1 << 24
_MOST = 64


def read_header(path: Path) -> WeightsHeader | None:
    """The header of a weights file, None when it was not written by srbench or is unreadable."""
    return examine_header(path)[0]


def examine_header(path: Path) -> tuple[WeightsHeader | None, str]:
    """The header of a weights file, or why there is none."""
    from safetensors import safe_open

    try:
        _check_safetensors(path)
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(_METADATA_KEY)
        if text is None:
            return None, "not written by srbench"
        content = printable_values(parse_json(text))
        names = {entry.name for entry in fields(WeightsHeader)}
        values = {name: value for name, value in content.items() if name in names}
        header = typed(WeightsHeader, values)
        for training in header.trainings:
            sizes = training.scale, training.channels
            if not (1 <= min(sizes) <= max(sizes) <= _MOST and abs(training.seed) < 1 << 64):
                return None, "its header has a scale, channels or seed that no network has"
        return header, ""
    except OSError as error:
        return None, error.strerror or str(error)
    except Exception as error:  # of a damaged file, or a field of another type
        return None, f"no whole safetensors file, or not with a header as srbench writes it ({error})"


def _check_safetensors(path: Path) -> None:
    """Refuse what is no regular file or has a header of absurd length.

    Raises:
        OSError: it cannot be opened.
        DamagedWeights: says what is wrong.
    """
    with open_regular(path) as file:
        start = file.read(8)
        size = file.seek(0, 2)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 2 <= length <= min(size - 8, _LONGEST_SAFETENSORS_HEADER):
        raise DamagedWeights(f"a header of {length:,} in a file of {size:,} bytes")


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


def read_state(path: Path, fits: Callable[[dict[str, Tensor]], bool] | None = None) -> dict[str, Tensor]:
    """The state dict in a file, out of what it is wrapped in. Never runs code from the file.

    Args:
        path: the file.
        fits: whether a state dict is of the network that is looked for. Where the file holds several, or one
            whose names begin with a prefix (:func:`~srbench.weights.unwrap.state_dicts`), the first that fits
            is taken; the likeliest where none does or nothing is looked for.

    Raises:
        DamagedWeights: damaged, no weights file at all, or tensors that no network here can use.
        UnsafeWeights: it holds objects that could run code.
        SrbenchError: no such file.
    """
    try:
        exists = path.exists()
    except OSError:  # a name that the file system does not allow
        exists = False
    if not exists:
        raise SrbenchError(
            f"No weights file at {path}. Check the path, or train: srbench train MODEL --dataset NAME."
        )
    try:
        with open_regular(path) as file:
            start = file.read(9)
    except OSError as error:
        raise DamagedWeights(f"{path} cannot be read: {error.strerror or error}.") from error
    # By its content: files are renamed, and safetensors begin with the length of a JSON object.
    is_safetensors = start[8:] == b"{" or (path.suffix == ".safetensors" and not start.startswith(_ZIP))
    content = _read_safetensors(path) if is_safetensors else _read_torch(path)
    first = next(state_dicts(content), None)
    if first is None:
        keys = ", ".join(map(repr, itertools.islice(content, 8))) or "nothing"
        raise DamagedWeights(
            f"{path} holds no tensors; expected a state dict (name to tensor), found {keys[:500]}."
        )
    state = first if fits is None else next(filter(fits, state_dicts(content)), first)
    for name, tensor in state.items():
        if problem := _unusable(name, tensor):
            raise DamagedWeights(f"{path} holds {problem}; save it anew as plain tensors of float32.")
    return {printable(name): tensor for name, tensor in state.items()}


def _unusable(name: str, tensor: Tensor) -> str:
    """Why a tensor is none of a network's; empty where it may be one."""
    import torch

    plain = tensor.layout == torch.strided and not (tensor.is_quantized or tensor.is_nested or tensor.is_meta)
    if not plain:
        return f"the sparse, quantised or empty tensor {name!r}"
    if str(tensor.dtype).removeprefix("torch.") not in _DTYPES:
        return f"{name!r} of {tensor.dtype}"
    # A view may repeat a few numbers for ever: a billion of them in a file of a kilobyte.
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"{name!r} of {tensor.numel():,} numbers, but only some of them"
    return ""


_DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors.torch import load, load_file

    try:
        _check_safetensors(path)
        # It opens no path that is not UTF-8.
        is_utf8 = printable(str(path)) == str(path)
        state: dict[str, Any] = load_file(path) if is_utf8 else load(path.read_bytes())
        return state
    except Exception as error:  # a damaged file makes it stumble over anything
        reason = getattr(error, "strerror", None) or error
        raise DamagedWeights(
            f"{path} is not a whole safetensors file ({reason}); copy or train it again."
        ) from error


def _read_torch(path: Path) -> Mapping[str, Any]:
    try:
        _refuse_other_archives(path)
        content = read_torch_file(path)
    except UnsafeWeights as error:
        why = _culprit(str(error))
        raise UnsafeWeights(_RESAVE.format(path=str(path), why=why, target=_resaved(path))) from error
    except DamagedWeights as error:
        raise DamagedWeights(f"{path} is {error}; copy or download it again.") from error
    if not isinstance(content, Mapping):
        raise DamagedWeights(
            f"{path} holds a {type(content).__name__}; expected a state dict (name to tensor)."
        )
    return content


def _refuse_other_archives(path: Path) -> None:
    """Refuse what is a zip archive, as torch files are, and whole, but no file of ``torch.save``.

    Raises:
        SrbenchError: says what it is.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except Exception:  # no archive, or a damaged one, which whoever reads it names
        return
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


def _culprit(error: str) -> str:
    """The line of torch's long message that names the object."""
    lines = (line.strip() for line in error.splitlines())
    named = (line for line in lines if "GLOBAL" in line or "Unsupported" in line)
    return (
        next(named, error)
        .strip()
        .split("\n")[0]
        .rstrip(".:")
        .split(" was not an allowed")[0]
        .removeprefix("WeightsUnpickler error: ")
    )
