"""Where to write the names of points in a plot so that they cover neither each other nor the points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CHARACTER_WIDTH = 6.3
LINE_HEIGHT = 14.0
_ANGLES = tuple(math.radians(angle) for angle in (0, 180, -60, 60, -120, 120, -90, 90, -30, 30, -150, 150))
_DISTANCES = (9.0, 16.0, 26.0, 38.0, 52.0, 68.0, 86.0, 106.0, 130.0, 160.0, 200.0)


@dataclass(frozen=True)
class Box:
    """An axis-aligned rectangle in plot units, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """Shared area."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)

    def within(self, other: Box) -> bool:
        """Whether it lies inside ``other`` entirely."""
        return (
            self.left >= other.left
            and self.top >= other.top
            and self.right <= other.right
            and self.bottom <= other.bottom
        )


@dataclass(frozen=True)
class Anchor:
    """A point that needs a name, and the box it occupies itself (marker and error bar)."""

    x: float
    y: float
    text: str
    taken: Box


def place(anchors: Sequence[Anchor], frame: Box, taken: Sequence[Box] = ()) -> list[Box]:
    """A box for each anchor's text inside ``frame``, as near to its point as there is room.

    Greedy from the most crowded point outwards; where no free place is left, the least covered one is used.
    ``taken`` is what else is written in the plot.
    """
    order = sorted(range(len(anchors)), key=lambda index: (-_crowding(anchors, index), index))
    placed: dict[int, Box] = {}
    for index in order:
        obstacles = [*taken, *(anchor.taken for anchor in anchors), *placed.values()]
        placed[index] = _free_box(anchors[index], obstacles, frame)
    return [placed[index] for index in range(len(anchors))]


def text_width(text: str) -> float:
    """Estimated width of a label."""
    return CHARACTER_WIDTH * len(text) + 2.0


def _crowding(anchors: Sequence[Anchor], index: int) -> int:
    here = anchors[index]
    return sum(abs(other.x - here.x) < 90 and abs(other.y - here.y) < 30 for other in anchors)


def _free_box(anchor: Anchor, obstacles: Sequence[Box], frame: Box) -> Box:
    best, covered = _least_covered([b for b in _candidates(anchor) if b.within(frame)], obstacles)
    if covered > 0:
        best, covered = _least_covered(_everywhere(anchor, frame), obstacles)
    return best if best is not None else _candidates(anchor)[0]


def _least_covered(boxes: Sequence[Box], obstacles: Sequence[Box]) -> tuple[Box | None, float]:
    """The first box that covers least."""
    best, least = None, math.inf
    for box in boxes:
        covered = sum(box.overlap(other) for other in obstacles)
        if covered < least:
            best, least = box, covered
    return best, least


def _everywhere(anchor: Anchor, frame: Box) -> list[Box]:
    """Boxes on a grid over the whole frame, nearest first: for a crowd no ring has room for."""
    width = text_width(anchor.text)
    columns = int(max((frame.right - frame.left - width) // 12, 0)) + 1
    rows = int(max((frame.bottom - frame.top - LINE_HEIGHT) // LINE_HEIGHT, 0)) + 1
    corners = [
        (frame.left + 12 * c, frame.top + LINE_HEIGHT * r) for r in range(rows) for c in range(columns)
    ]
    corners.sort(key=lambda corner: math.hypot(corner[0] + width / 2 - anchor.x, corner[1] - anchor.y))
    return [Box(x, y, x + width, y + LINE_HEIGHT) for x, y in corners]


def _candidates(anchor: Anchor) -> list[Box]:
    """Boxes around the point, nearest first; beside it before above and below."""
    width = text_width(anchor.text)
    boxes = []
    for distance in _DISTANCES:
        for angle in _ANGLES:
            x = anchor.x + distance * math.cos(angle) + width / 2 * _sign(math.cos(angle))
            y = anchor.y + distance * math.sin(angle)
            boxes.append(Box(x - width / 2, y - LINE_HEIGHT / 2, x + width / 2, y + LINE_HEIGHT / 2))
    return boxes


def _sign(value: float) -> float:
    return 0.0 if abs(value) < 1e-9 else math.copysign(1.0, value)
