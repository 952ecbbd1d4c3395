"""What the plots are made of: shapes, axes with ticks at round numbers, and free boxes for names.

Colours come from the page's style sheet by class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

_MARKERS = {
    "interpolation": "M-4,-4H4V4H-4Z",
    "regression": "M-4.5,0A4.5,4.5 0 1 0 4.5,0A4.5,4.5 0 1 0 -4.5,0Z",
    "adversarial": "M0,-6L6,0L0,6L-6,0Z",
    "variational": "M0,-5.5L5.5,4.5H-5.5Z",
    "attention": "M0,5.5L5.5,-4.5H-5.5Z",
}
_OTHER = "M-5,-1.6H-1.6V-5H1.6V-1.6H5V1.6H1.6V5H-1.6V1.6H-5Z"


def svg(width: float, height: float, title: str, content: Markup) -> Markup:
    """A drawing with a name for screen readers; it scales with the page."""
    frame = Markup('<svg class="plot" viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">{}</svg>')
    return frame.format(width, height, title, content)


def marker(family: str, x: float, y: float, badges: Sequence[str] = ()) -> Markup:
    """A point in the family's colour and shape; hollow when the model is not ranked."""
    kind = f"marker {family_class(family)}{' hollow' if badges else ''}"
    shape = _MARKERS.get(family, _OTHER)
    return Markup('<path class="{}" transform="translate({:.1f},{:.1f})" d="{}"/>').format(kind, x, y, shape)


def family_class(family: str) -> str:
    """The CSS class of a family of models."""
    return f"family-{family}" if family in _MARKERS else "family-other"


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A straight line of class ``kind``."""
    markup = Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>')
    return markup.format(kind, x1, y1, x2, y2)


def text(x: float, y: float, words: str, anchor: str, kind: str) -> Markup:
    """Text of class ``kind``, escaped."""
    markup = Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    return markup.format(kind, x, y, anchor, words)


def title_beside(x: float, y: float, words: str) -> Markup:
    """The title of a vertical axis, centred at ``y`` and turned by a quarter."""
    markup = Markup(
        '<text class="" text-anchor="middle" transform="translate({},{:.1f}) rotate(-90)">{}</text>'
    )
    return markup.format(x, y, words)


@dataclass(frozen=True)
class Axis:
    """Maps ``low``..``high`` to ``start``..``end`` drawing units, linearly or by logarithm.

    Attributes:
        ticks: values to mark, with their labels.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def __call__(self, value: float) -> float:
        """Drawing position of a value."""
        low, high, here = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (here - low) / (high - low) * (self.end - self.start)


def linear_axis(values: Sequence[float], start: float, end: float, count: int = 6) -> Axis:
    """An axis over all values with a margin; about ``count`` ticks at 1, 2 or 5 times a power of ten."""
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or abs(high) * 0.05 or 1.0
    low, high = low - margin, high + margin
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= rough * 0.999)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    # Adding zero makes a negative zero positive.
    marks = [(index * step, round(index * step, decimals) + 0.0) for index in range(first, last + 1)]
    ticks = tuple((mark, f"{shown:.{decimals}f}".replace("-", "\N{MINUS SIGN}")) for mark, shown in marks)
    return Axis(low, high, start, end, ticks)


def log_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """An axis over positive values; ticks at powers of ten, at 2 and 5 times them too when there are few."""
    low, high = min(values) / 1.6, max(values) * 1.6
    factors = (1.0,) if high / low > 300 else (1.0, 2.0, 5.0)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [factor * 10.0**power for power in powers for factor in factors]
    ticks = tuple((mark, _log_label(mark)) for mark in marks if low <= mark <= high)
    return Axis(low, high, start, end, ticks, log=True)


def _log_label(value: float) -> str:
    for factor, prefix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k"), (1.0, "")):
        if value >= factor * 0.999:
            return f"{value / factor:g}{prefix}"
    return f"{value:.3g}"


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


def grid(frame: Box, across: Axis, vertical: Axis, *, columns: bool) -> Markup:
    """Lines and labels at the ticks; ``columns``: lines at those of the horizontal axis too."""
    parts = []
    for value, words in vertical.ticks:
        parts.append(line(frame.left, vertical(value), frame.right, vertical(value), "grid"))
        parts.append(text(frame.left - 8, vertical(value) + 4, words, "end", "tick"))
    for value, words in across.ticks:
        parts += [line(across(value), frame.top, across(value), frame.bottom, "grid")] if columns else []
        parts.append(text(across(value), frame.bottom + 16, words, "middle", "tick"))
    parts.append(line(frame.left, frame.bottom, frame.right, frame.bottom, "axis"))
    return Markup("").join(parts)


def band(frame: Box, left: float, right: float) -> Markup:
    """A tinted strip over the whole height."""
    markup = Markup('<rect class="gutter" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>')
    return markup.format(left, frame.top, right - left, frame.bottom - frame.top)


def place_labels(anchors: Sequence[Anchor], frame: Box, taken: Sequence[Box] = ()) -> list[Box]:
    """A box for each anchor's text inside ``frame``, as near to its point as there is room.

    Greedy from the most crowded point outwards; where no room is left, the least covered box is used.
    ``taken`` is what else is written in the plot.
    """
    crowding = [
        sum(abs(other.x - anchor.x) < 90 and abs(other.y - anchor.y) < 30 for other in anchors)
        for anchor in anchors
    ]
    order = sorted(range(len(anchors)), key=lambda index: (-crowding[index], index))
    placed: dict[int, Box] = {}
    for index in order:
        obstacles = [*taken, *(anchor.taken for anchor in anchors), *placed.values()]
        placed[index] = _free_box(anchors[index], obstacles, frame)
    return [placed[index] for index in range(len(anchors))]


def text_width(text: str) -> float:
    """Estimated width of a label."""
    return CHARACTER_WIDTH * len(text) + 2.0


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
            x = (
                anchor.x
                + distance * math.cos(angle)
                + width / 2 * (0.0 if abs(math.cos(angle)) < 1e-9 else math.copysign(1.0, math.cos(angle)))
            )
            y = anchor.y + distance * math.sin(angle)
            boxes.append(Box(x - width / 2, y - LINE_HEIGHT / 2, x + width / 2, y + LINE_HEIGHT / 2))
    return boxes
