"""What an archive holds, whatever its kind: entries, limits, and the error of a damaged one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from srbench.datasets.interface import DatasetError

Kind = Literal["file", "folder", "link", "device", "encrypted", "other"]


class ArchiveError(DatasetError):
    """An archive that is damaged, cut short, no archive, or a bomb.

    Attributes:
        position: byte (of the unpacked tar, or of the zip) up to which everything was good.
    """

    def __init__(self, message: str, position: int = 0) -> None:
        super().__init__(message)
        self.position = position


@dataclass(frozen=True)
class Limits:
    """What is taken for absurd in an archive of images.

    Attributes:
        member_bytes: a larger member is refused, unread.
        ratio: unpacked to packed bytes, of a member of a zip or of a whole compressed tar; images hardly
            compress, bombs do by 1000 and more.
        free_bytes: unpacking to this many bytes is harmless whatever the ratio.
        total_bytes: a compressed archive that unpacks to more is not read further.
    """

    member_bytes: int = 1 << 29
    ratio: int = 100
    free_bytes: int = 1 << 24
    total_bytes: int = 1 << 38

    def most_unpacked(self, packed: int) -> int:
        """The bytes that ``packed`` compressed bytes may unpack to."""
        return min(max(packed * self.ratio, self.free_bytes), self.total_bytes)


@dataclass(frozen=True)
class Entry:
    """One member as its archive describes it.

    Attributes:
        name: as written in the archive, unchecked.
        kind: only a ``file`` has content.
        size: bytes of its content.
        position: byte of its header (in the unpacked tar, or in the zip).
        read: its content; works until the next entry is asked for.
        packed: compressed bytes, where members are compressed one by one.
    """

    name: str
    kind: Kind
    size: int
    position: int
    read: Callable[[], bytes]
    packed: int | None = None
