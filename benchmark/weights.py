"""Weights: saved with a header that says what they are, found again, loaded safely, recognised when mistaken.

srbench writes safetensors. It reads safetensors and torch files (tensors only: a file that holds code is
refused), in the wrappers the field uses (``params_ema``, ``params``, ``state_dict``, ``model``, ``module.``).
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srbench.errors import SrbenchError
from srbench.files import atomic_write, sha256_file
from srbench.home import runs_folder

if TYPE_CHECKING:
    from torch import Tensor

    from srbench.models import SRModel

_METADATA_KEY = "srbench"
_WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "generator", "netG")
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

    @property
    def budget_rank(self) -> int:
        """The larger the more training: 0 for ``smoke`` to 2 for ``paper``, -1 where no budget is known."""
        return _BUDGET_RANK.get(self.budget, -1)


@dataclass(frozen=True)
class TrainedWeights:
    """A weights file on disk, its sha256 (hex) and its header."""

    path: Path
    sha256: str
    header: WeightsHeader


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
    known = {entry.name for entry in fields(WeightsHeader)}
    values = {name: value for name, value in content.items() if name in known}
    return WeightsHeader(**{**values, "notes": tuple(values.get("notes", ()))})


def load(model: SRModel, path: Path) -> WeightsHeader | None:
    """Load weights into ``model.network``, in place and strictly.

    Args:
        model: from ``srbench.models.create``.
        path: a ``.safetensors`` file or a torch file that holds tensors only.

    Returns:
        The header where srbench wrote the file, else None.

    Raises:
        SrbenchError: no such file, a damaged file, a file that holds code, or weights of another network;
            the message says which network it looks like where that is known.
    """
    state = read_state(path)
    expected = model.network.state_dict()
    header = read_header(path)
    if header is not None and _described(header) != _described(_asked(model)):
        # equal shapes do not make equal networks: VDSR has the same tensors at every magnification
        raise SrbenchError(f"{path} holds {_described(header)}, not {_described(_asked(model))}.")
    if problem := _difference(expected, state):
        raise SrbenchError(_mismatch_message(model, path, state, problem))
    model.network.load_state_dict(state)
    return header


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a file, wrappers and ``module.`` prefixes removed. Never runs code from the file.

    Raises:
        SrbenchError: no such file, damaged, or holding anything but tensors.
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


def recognise(state: Mapping[str, Tensor]) -> list[str]:
    """Descriptions of every registered network that these weights fit exactly."""
    matches = []
    for name, variant, scale, channels, shapes in _known_networks():
        if shapes == {key: tuple(tensor.shape) for key, tensor in state.items()}:
            matches.append(_described(WeightsHeader(name, variant, scale, channels)))
    return matches


def find(
    model: str,
    *,
    scale: int,
    variant: str | None = None,
    dataset: str | None = None,
    runs: Path | None = None,
) -> list[TrainedWeights]:
    """Finished weights of a model: for each (variant, dataset, seed) the largest budget, then the newest.

    Args:
        model: registered name.
        scale: magnification.
        variant: only this variant.
        dataset: only weights trained on this dataset.
        runs: the runs folder; the one of the srbench home when None.
    """
    best: dict[tuple[str, str, int], tuple[tuple[int, float], Path, WeightsHeader]] = {}
    for path in sorted((runs or runs_folder()).glob("*/weights.safetensors")):
        header = read_header(path)
        if header is None or (header.model, header.scale) != (model, scale):
            continue
        if variant not in (None, header.variant) or dataset not in (None, header.dataset):
            continue
        rank = (header.budget_rank, path.stat().st_mtime)
        slot = (header.variant, header.dataset, header.seed)
        if slot not in best or rank > best[slot][0]:
            best[slot] = (rank, path, header)
    return [TrainedWeights(path, sha256_file(path), header) for _, path, header in best.values()]


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: dict[str, Any] = load_file(path)
        return state
    except (SafetensorError, OSError) as error:
        raise SrbenchError(
            f"{path} is not a whole safetensors file ({error}); copy or train it again."
        ) from error


def _read_torch(path: Path) -> Mapping[str, Any]:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise SrbenchError(
            f"{path} holds more than tensors (a pickled object that could run code) and is refused. Load it "
            "where you trust it and save only the tensors: torch.save(model.state_dict(), 'weights.pth')."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise SrbenchError(
            f"{path} is not a readable torch file ({error}); copy or download it again."
        ) from error
    if not isinstance(content, Mapping):
        raise SrbenchError(
            f"{path} holds a {type(content).__name__}; expected a state dict (name to tensor)."
        )
    return content


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
    for prefix in ("module.", "_orig_mod."):
        name = name.removeprefix(prefix)
    return name


def _asked(model: SRModel) -> WeightsHeader:
    return WeightsHeader(model.card.name, model.variant, model.scale, model.channels)


def _described(header: WeightsHeader) -> str:
    """The network a header speaks of, in words."""
    plural = "s" if header.channels > 1 else ""
    return f"{header.model} variant {header.variant}, x{header.scale}, {header.channels} channel{plural}"


def _difference(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    missing = sorted(expected.keys() - found.keys())
    extra = sorted(found.keys() - expected.keys())
    if missing or extra:
        examples = [f"lacks {missing[0]!r}"] if missing else []
        examples += [f"has {extra[0]!r}"] if extra else []
        return f"{len(missing)} tensors missing, {len(extra)} unknown ({', '.join(examples)})"
    for name, tensor in expected.items():
        if tensor.shape != found[name].shape:
            return f"{name} has shape {tuple(found[name].shape)}, expected {tuple(tensor.shape)}"
    return ""


def _mismatch_message(model: SRModel, path: Path, state: Mapping[str, Tensor], problem: str) -> str:
    matches = recognise(state)
    if not matches and (foreign := _foreign_architecture(state)):
        matches = [f"{foreign} (recognised by spandrel)"]
    layout = f"This looks like {' or '.join(matches)}." if matches else "No known network has this layout."
    return f"{path} does not fit {_described(_asked(model))}: {problem}. {layout}"


def _foreign_architecture(state: Mapping[str, Tensor]) -> str:
    """The architecture spandrel recognises in weights none of our networks has; empty without the extra."""
    import importlib.util

    if importlib.util.find_spec("spandrel") is None:
        return ""
    from spandrel import ModelLoader, UnsupportedModelError

    try:
        return str(ModelLoader().load_from_state_dict(dict(state)).architecture.name)
    except (UnsupportedModelError, RuntimeError, KeyError, ValueError):
        return ""


def _known_networks() -> Iterator[tuple[str, str, int, int, dict[str, tuple[int, ...]]]]:
    """Every registered network's tensor shapes, built without allocating memory."""
    import itertools

    import torch

    from srbench import models

    for card in models.list_models():
        if not card.trainable:
            continue
        for variant, scale, channels in itertools.product(card.variants, card.scales, card.channels):
            with torch.device("meta"):
                network = models.create(card.name, scale=scale, channels=channels, variant=variant).network
            shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
            yield card.name, variant, scale, channels, shapes
