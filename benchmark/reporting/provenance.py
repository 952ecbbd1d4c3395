"""Conditions in words: the protocol, the data, and everything recorded about each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from srbench.reporting.blocks import Block
from srbench.store import Manifest

Field = tuple[str, str]
_PROTOCOL_WORDS = {
    "id": "Protocol id (numbers with different ids must not be compared)",
    "name": "Name",
    "channel": "Channel that is compared",
    "luma": "Range of grey values (full = 0 to 255; studio = 16 to 235, which raises PSNR by 1.3219 dB)",
    "border": "Border left out on every side",
    "quantisation": "Rounding before the comparison",
    "data_range": "White minus black",
    "resize": "Resize behind the degradation",
    "metrics": "Versions of the core metrics",
}
_KEY_WORDS = {
    "dataset": "Data set",
    "data": "Data fingerprint (sha256)",
    "split": "Split",
    "degradation": "Degradation",
    "scale": "Magnification",
    "protocol": "Protocol id",
}
_SECTIONS = ("data", "weights", "device", "versions", "cost")


@dataclass(frozen=True)
class RunRecord:
    """Everything a manifest says, as lists of names and values."""

    name: str
    fields: tuple[Field, ...]


def conditions(block: Block) -> list[Field]:
    """What all runs of a block have in common, in words, then the full protocol."""
    key = asdict(block.key)
    shared = [(words, str(key[name])) for name, words in _KEY_WORDS.items() if name != "protocol"]
    protocol: dict[str, Any] = {"id": block.key.protocol}
    for manifest in (*block.complete, *block.absent):
        protocol.update({name: value for name, value in manifest.protocol.items() if name != "id"})
    if protocol.get("border") == "scale":
        protocol["border"] = f"{key['scale']} HR pixels (the scale)"
    return [*shared, *((_PROTOCOL_WORDS.get(name, _words(name)), _value(v)) for name, v in protocol.items())]


def record(name: str, manifest: Manifest) -> RunRecord:
    """All that is recorded about one run."""
    key = manifest.key
    fields: list[Field] = [
        ("Status", f"{manifest.status}: {manifest.reason}" if manifest.reason else manifest.status),
        ("Model", f"{key.model}, variant {key.variant}" if key.variant else key.model),
        (
            "Paper",
            " ".join(str(manifest.card[name]) for name in ("year", "paper") if manifest.card.get(name)),
        ),
        ("Weights (sha256)", key.weights or "none (nothing learned)"),
        ("Training seed", str(key.seed) if key.seed >= 0 else "none (nothing learned)"),
        ("Made", manifest.created),
        ("Command", manifest.command),
    ]
    for section in _SECTIONS:
        fields += _flat(_words(section), getattr(manifest, section))
    fields += [("Note", str(note)) for note in manifest.notes]
    return RunRecord(name, tuple((label, value) for label, value in fields if value))


def _flat(prefix: str, content: Mapping[str, Any]) -> list[Field]:
    """Nested mappings as ``Prefix: name`` lines, in the order of their names."""
    fields: list[Field] = []
    for name in sorted(content, key=str):
        value, label = content[name], f"{prefix}: {_words(str(name))}"
        if isinstance(value, Mapping):
            fields += _flat(label, value)
        else:
            fields.append((label, _value(value)))
    return fields


def _value(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_value(entry) for entry in value) or "none"
    return str(value)


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()
