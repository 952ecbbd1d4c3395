"""The few SVG shapes the plots are made of. Colours come from the page's style sheet by class."""

from __future__ import annotations

from collections.abc import Sequence

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


def line(x1: object, y1: object, x2: object, y2: object, kind: str) -> Markup:
    """A straight line of class ``kind``."""
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(kind, x1, y1, x2, y2)


def text(x: float, y: float, words: str, anchor: str, kind: str) -> Markup:
    """Text of class ``kind``, escaped."""
    markup = Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    return markup.format(kind, x, y, anchor, words)
