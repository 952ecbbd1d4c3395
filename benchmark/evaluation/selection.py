"""Which stored runs a name means: ``model``, ``model:variant`` or the start of a weights hash.

Two models are only compared under equal conditions; what stands in the way is said instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from srbench.errors import SrbenchError, unknown
from srbench.evaluation.panel import Run
from srbench.store import Manifest, RunKey

_HASH = re.compile(r"[0-9a-f]{6,64}")
_TRAINING = ("budget", "iterations", "dataset", "data", "degradation")


class Conditions(NamedTuple):
    """What must be equal for two scores to be comparable; the fields are those of ``RunKey``."""

    dataset: str
    data: str
    split: str
    degradation: str
    scale: int
    protocol: str

    @staticmethod
    def of(key: RunKey) -> Conditions:
        """The conditions of a run."""
        return Conditions(*(getattr(key, name) for name in Conditions._fields))

    def describe(self) -> str:
        """One line."""
        return (
            f"{self.dataset} (data {self.data[:8]}), {self.split}, x{self.scale}, LR by {self.degradation}, "
            f"protocol {self.protocol}"
        )


class Asked(NamedTuple):
    """Conditions that the user named; None leaves one open."""

    dataset: str | None = None
    split: str | None = None
    degradation: str | None = None
    scale: int | None = None
    protocol: str | None = None


@dataclass(frozen=True)
class Chosen:
    """The runs behind one name.

    Attributes:
        name: as typed.
        manifests: one a training seed, by seed.
    """

    name: str
    manifests: tuple[Manifest, ...]

    @property
    def runs(self) -> tuple[Run, ...]:
        """Their identities in the score rows."""
        return tuple(run_of(manifest) for manifest in self.manifests)

    @property
    def title(self) -> str:
        """The model's printed name."""
        first = self.manifests[0]
        return str(first.card.get("title") or first.key.model)

    @property
    def detail(self) -> str:
        """Variant, training and seeds."""
        key, weights = self.manifests[0].key, self.manifests[0].weights
        seeds = [manifest.key.seed for manifest in self.manifests if manifest.key.seed >= 0]
        parts = [key.variant if key.weights else ""]
        parts.append(f"{weights['budget']} budget" if weights.get("budget") else "")
        parts.append(f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}" if seeds else "")
        hashes = [manifest.key.weights[:8] for manifest in self.manifests if manifest.key.weights]
        parts.append(f"weights {', '.join(hashes)}" if hashes else "")
        return "; ".join(part for part in parts if part)


def run_of(manifest: Manifest) -> Run:
    """What identifies a run within its conditions."""
    key = manifest.key
    return Run(key.model, key.variant, key.weights, key.seed)


def choose(
    manifests: Sequence[Manifest], names: tuple[str, str], asked: Asked
) -> tuple[Chosen, Chosen, Conditions]:
    """The runs of two names under the one set of conditions that both were scored in.

    Args:
        manifests: all runs of the store.
        names: ``model``, ``model:variant`` or at least six digits of a weights hash.
        asked: conditions that the user named.

    Raises:
        SrbenchError: nothing is stored, a name or condition is unknown, a name means several models, or the
            two cannot be compared; the message says what differs or what to add.
    """
    within = _within(manifests, asked)
    found = tuple(_named(within, manifests, name) for name in names)
    conditions = _common(names, *found)
    first, second = (_one_training(n, _under(own, conditions)) for n, own in zip(names, found, strict=True))
    if set(first.runs) & set(second.runs):
        raise SrbenchError(f"{names[0]!r} and {names[1]!r} are the same run: nothing to compare.")
    _same_lr(first, second)
    return first, second, conditions


def _within(manifests: Sequence[Manifest], asked: Asked) -> list[Manifest]:
    """The complete runs under the conditions asked for."""
    left = [manifest for manifest in manifests if manifest.status == "complete"]
    if not left:
        raise SrbenchError(
            "No finished run is stored here. Score models first: srbench eval --all --dataset NAME."
        )
    for field, value in asked._asdict().items():
        if value is None:
            continue
        known = {str(getattr(manifest.key, field)) for manifest in left}
        kept = [manifest for manifest in left if _matches(str(getattr(manifest.key, field)), str(value))]
        if not kept:
            raise unknown(f"{field} (among the stored runs)", str(value), known)
        left = kept
    return left


def _matches(stored: str, asked: str) -> bool:
    """Equal, or equal but for the version (``bicubic@1``) or the protocol's hash (``sem-grey-1a2b3c4d``)."""
    return stored == asked or stored.split("@")[0] == asked or re.sub(r"-[0-9a-f]{8}$", "", stored) == asked


def _named(within: Sequence[Manifest], everything: Sequence[Manifest], name: str) -> list[Manifest]:
    found = [manifest for manifest in within if name in _names(manifest)]
    if not found and _HASH.fullmatch(name):
        found = [manifest for manifest in within if manifest.key.weights.startswith(name)]
    if not found:
        raise _not_found(within, everything, name)
    return found


def _names(manifest: Manifest) -> tuple[str, str]:
    return manifest.key.model, f"{manifest.key.model}:{manifest.key.variant}"


def _not_found(within: Sequence[Manifest], everything: Sequence[Manifest], name: str) -> SrbenchError:
    for manifest in everything:
        if name in _names(manifest) and manifest.status != "complete":
            return SrbenchError(f"{name!r} has no scores ({manifest.status}): {manifest.reason}")
    if any(name in _names(manifest) for manifest in everything):
        elsewhere = {Conditions.of(m.key).describe() for m in everything if name in _names(m)}
        return SrbenchError(
            f"{name!r} was not scored under the conditions asked for, only under: {_listed(elsewhere)}"
        )
    return unknown("model, model:variant or weights hash", name, {n for m in within for n in _names(m)})


def _common(names: tuple[str, str], first: Sequence[Manifest], second: Sequence[Manifest]) -> Conditions:
    ours, theirs = ({Conditions.of(manifest.key) for manifest in own} for own in (first, second))
    shared = ours & theirs
    if not shared:
        raise _incomparable(names, ours, theirs)
    if len(shared) > 1:
        raise SrbenchError(
            f"{names[0]!r} and {names[1]!r} were both scored under {len(shared)} sets of conditions; choose "
            "with --dataset, --split, --scale, --degradation or --protocol:"
            f"{_listed(one.describe() for one in shared)}"
        )
    return shared.pop()


def _incomparable(names: tuple[str, str], ours: set[Conditions], theirs: set[Conditions]) -> SrbenchError:
    """Say what differs between the two most similar conditions, and how to make them equal."""
    pairs = [(a, b) for a in sorted(ours) for b in sorted(theirs)]
    ours_best, theirs_best = min(pairs, key=lambda pair: len(_differing(*pair)))
    fields = _differing(ours_best, theirs_best)
    lines = [f"\n  {f}: {getattr(ours_best, f)} against {getattr(theirs_best, f)}" for f in fields]
    hint = f"srbench eval {names[1].split(':')[0]} --dataset {ours_best.dataset} --scale {ours_best.scale}"
    return SrbenchError(
        f"{names[0]!r} and {names[1]!r} cannot be compared: no scores under equal conditions. The nearest "
        f"differ in{''.join(lines)}\nScore both under the same, as: {hint} "
        f"--split {ours_best.split} --degradation {ours_best.degradation.split('@')[0]}"
    )


def _differing(first: Conditions, second: Conditions) -> list[str]:
    return [f for f, a, b in zip(Conditions._fields, first, second, strict=True) if a != b]


def _under(manifests: Sequence[Manifest], conditions: Conditions) -> list[Manifest]:
    return [manifest for manifest in manifests if Conditions.of(manifest.key) == conditions]


def training_of(manifest: Manifest) -> tuple[str, ...]:
    """What must be equal for runs to be repetitions of one training with other seeds."""
    key = manifest.key
    return key.model, key.variant, *(str(manifest.weights.get(name, "")) for name in _TRAINING)


def _one_training(name: str, manifests: Sequence[Manifest]) -> Chosen:
    ordered = sorted(manifests, key=lambda manifest: (manifest.key.seed, manifest.key.weights))
    seeds = [manifest.key.seed for manifest in ordered]
    if len({training_of(manifest) for manifest in ordered}) > 1 or len(set(seeds)) < len(seeds):
        lines = [f"\n  {m.key.model}:{m.key.variant}  {Chosen(name, (m,)).detail}" for m in ordered]
        raise SrbenchError(
            f"{name!r} means {len(ordered)} runs of different trainings; name one as model:variant or by the "
            f"start of its weights hash:{''.join(lines)}"
        )
    return Chosen(name, tuple(ordered))


def _same_lr(first: Chosen, second: Chosen) -> None:
    """The LR images themselves must be the same, whatever their degradation is called."""
    hashes = {
        str(m.data["lr_sha256"]) for m in (*first.manifests, *second.manifests) if m.data.get("lr_sha256")
    }
    if len(hashes) > 1:
        raise SrbenchError(
            f"{first.name!r} and {second.name!r} were given different LR images (sha256 "
            f"{', '.join(sorted(digest[:12] for digest in hashes))}) under the same name: the degradation or "
            "its libraries changed in between. Score both again with srbench eval --force."
        )


def _listed(lines: Iterable[str]) -> str:
    return "".join(f"\n  {line}" for line in sorted(lines))
