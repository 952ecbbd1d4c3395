"""The outcome of one part of ``benchmarks/chaos.py``."""

from __future__ import annotations

from dataclasses import dataclass, field

FAILURES = (
    "wrong exceptions",
    "hangs over 10 s",
    "memory over 2 GB",
    "leftovers",
    "orphans",
    "wrong results",
    "succeeded",
)
"""What a part may count that must be zero; ``succeeded`` are attacks."""

_EXAMPLES = 5


@dataclass
class Part:
    """What was tried and what went wrong.

    Attributes:
        name: of the part.
        tried: how many inputs, kills or attacks.
        counts: of :data:`FAILURES`, those that the part watches for, and of anything else worth a number.
        examples: the first few failures of each kind, one line each, enough to repeat them.
    """

    name: str
    tried: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)

    def count(self, kind: str, example: str = "") -> None:
        """One more of ``kind``; the first few examples are kept."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if example and self.counts[kind] <= _EXAMPLES:
            self.examples.append(f"{kind}: {' '.join(example.split())}")

    @property
    def failed(self) -> bool:
        """Whether anything is counted that must be zero."""
        return any(self.counts.get(kind) for kind in FAILURES)
