"""Which variants a state dict may fit at all, so that few networks are built to compare it with.

Scale and channels change the ends of a network; most tensors stay. A sample of the tensors of a variant at
its first scale therefore tells most variants apart. Building the largest networks takes about a second each,
even without memory for their numbers, so the samples are kept in the cache folder, under a hash of all that
they depend on.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from srbench.errors import SrbenchError
from srbench.files import write_text
from srbench.home import cache_folder

if TYPE_CHECKING:
    from srbench.models import ModelCard

Shapes = Mapping[str, tuple[int, ...]]

FEW = 16
"""Up to so many tensors, a network is never left out: its ends are most of it."""

_SAMPLE = 64
_OURS = "srbench.models."


def plausible(
    card: ModelCard, variant: str, found: Shapes, layout: Callable[[str, str, int, int], Shapes]
) -> bool:
    """Whether ``found`` may be this variant at some scale and channel count; never False for one that is.

    Args:
        card: of a registered model.
        variant: one of its variants.
        found: names and shapes of a state dict.
        layout: gives the names and shapes of model, variant, scale and channels.
    """
    known = _kept().get(f"{card.name} {variant}") if card.module.startswith(_OURS) else None
    if known is None:
        known = sample(layout(card.name, variant, card.scales[0], card.channels[0]))
        _keep(card, variant, known)
    return len(known) <= FEW or 4 * sum(found.get(name) == shape for name, shape in known.items()) >= len(
        known
    )


def sample(shapes: Shapes) -> Shapes:
    """Some of the tensors, evenly over the sorted names; all where there are few."""
    step = max(len(shapes) // _SAMPLE, 1)
    return {name: shapes[name] for name in sorted(shapes)[::step]}


@functools.cache
def _kept() -> dict[str, Shapes]:
    """The samples on disk, those of this process added."""
    try:
        content = json.loads(_file().read_text(encoding="utf-8"))
        return {
            variant: {name: tuple(shape) for name, shape in shapes.items()}
            for variant, shapes in content.items()
        }
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _keep(card: ModelCard, variant: str, known: Shapes) -> None:
    """Remember a sample; only of srbench's own models, whose sources the file's name stands for."""
    if not card.module.startswith(_OURS):
        return
    _kept()[f"{card.name} {variant}"] = known
    try:
        write_text(_file(), json.dumps(_kept()))
    except SrbenchError:
        return  # the next process builds the network again


def _file() -> Path:
    return cache_folder() / "layouts" / f"{_fingerprint()}.json"


@functools.cache
def _fingerprint() -> str:
    """A hash of the sources of the models and of the packages that bring parts of networks."""
    from srbench import models

    digest = hashlib.sha256()
    for name in ("torch", "torchvision", "timm"):
        digest.update(f"{name} {_version(name)}\n".encode())
    root = Path(models.__file__).parent
    for source in sorted(root.rglob("*.py")):
        digest.update(source.relative_to(root).as_posix().encode() + source.read_bytes())
    return digest.hexdigest()[:16]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
