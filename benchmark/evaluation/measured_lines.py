"""Widths of straight lines and the roughness of their edges, measured on one case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from srbench.evaluation import scene_truth
from srbench.evaluation.functional.linewidth import Edges, Line, find_lines, measure_line
from srbench.evaluation.functional.roughness import roughness
from srbench.evaluation.measured import Floats, Measured, border_of, pair
from srbench.evaluation.metrics.registry import Case, MetricUnavailable, Plane

FEWEST = 2
"""Lines that a mean width or a roughness needs."""
STRETCH = 64
"""Rows that a roughness needs: several correlation lengths."""
WHAT = "whole straight lines along the image's sides"

Found = tuple["Edges | None", ...]
Profiles = Callable[[list[Edges]], Floats]


@dataclass(frozen=True, eq=False)
class _Lines:
    """The lines of a case in the reference and as found in the images.

    Attributes:
        widths: ``(K,)`` true mean widths in pixels, or those measured on HR.
        edges: true edges row by row, or those of HR; empty where only straight fingers are known.
        exact: whether ``edges`` are geometry, free of the noise of edge detection.
        images: edges found in the SR image and, where there is one, in the image to judge it by.
    """

    widths: Floats
    edges: tuple[Edges, ...]
    exact: bool
    images: tuple[Found, ...]


def line_widths(case: Case) -> Measured:
    """Mean error of the line widths (CD), in pixels.

    Raises:
        MetricUnavailable: with the reason.
    """
    lines = _lines(case)
    return pair(_width_errors(lines), FEWEST, WHAT)


def line_edge_roughness(case: Case) -> Measured:
    """Error of the line-edge roughness, 3 sigma of one edge, in pixels.

    Raises:
        MetricUnavailable: with the reason.
    """
    return _roughness_error(_lines(case), _edge_positions)


def line_width_roughness(case: Case) -> Measured:
    """Error of the line-width roughness, 3 sigma of the width, in pixels.

    Raises:
        MetricUnavailable: with the reason.
    """
    return _roughness_error(_lines(case), _width_profiles)


def _width_errors(lines: _Lines) -> list[Floats]:
    """For each image the error of every line's mean width, NaN where the line was not found."""
    widths = [[np.nan if edges is None else edges.width.mean() for edges in found] for found in lines.images]
    return [np.array(some, dtype=np.float64) - lines.widths for some in widths]


def _edge_positions(edges: list[Edges]) -> Floats:
    return np.array([side for pair in edges for side in (pair.left, pair.right)])


def _width_profiles(edges: list[Edges]) -> Floats:
    return np.array([pair.width for pair in edges])


def _roughness_error(lines: _Lines, profiles: Profiles) -> Measured:
    """3 sigma over the lines found in all images, minus that of the same lines in the reference."""
    if not lines.edges:
        raise MetricUnavailable("the lines of this scene are straight: they have no roughness to measure")
    if len(lines.edges[0].left) < STRETCH:
        raise MetricUnavailable(
            f"roughness needs lines of {STRETCH} px or more, these are {len(lines.edges[0].left)} px long"
        )
    # Which lines count, and the reasons where too few do, are those of the widths.
    widths = pair(_width_errors(lines), FEWEST, WHAT)
    best = lines.images[-1] if len(lines.images) > 1 else lines.edges
    chosen = [n for n, edges in enumerate(best) if edges and (widths.lost or lines.images[0][n])]
    errors = [
        _three_sigma_error(lines, found, chosen, profiles) for found in lines.images[bool(widths.lost) :]
    ]
    error_hr = errors[-1] if len(lines.images) > 1 else None
    return Measured(float("nan") if widths.lost else errors[0], error_hr, widths.lost)


def _three_sigma_error(lines: _Lines, found: Found, chosen: list[int], profiles: Profiles) -> float:
    measured = roughness(profiles([edges for n in chosen if (edges := found[n]) is not None]))
    true = roughness(profiles([lines.edges[n] for n in chosen]))
    return 3.0 * (measured.sigma - (true.biased if lines.exact else true.sigma))


def _lines(case: Case) -> _Lines:
    return case.once(
        "measured lines", lambda: _lines_of_hr(case) if case.truth is None else _known_lines(case)
    )


def _known_lines(case: Case) -> _Lines:
    known = scene_truth.grating(case.truth or {}, border_of(case), case.hr.shape)
    if known is None:
        raise MetricUnavailable("the scene has no straight lines of known width")
    planes = (plane.T if known.across else plane for plane in (case.sr, case.hr))
    images = tuple(_measured(plane, known.lines) for plane in planes)
    return _Lines(known.widths, known.edges, True, images)


def _lines_of_hr(case: Case) -> _Lines:
    """A grating along the columns or rows of the HR image; its own edges are the reference."""
    for across in (False, True):
        planes = [case.hr, case.sr, *([] if case.second is None else [case.second])]
        hr, *images = [plane.T if across else plane for plane in planes]
        found = [(line, edges) for line in find_lines(hr) if (edges := measure_line(hr, line)) is not None]
        if found:
            lines, true = tuple(line for line, _ in found), tuple(edges for _, edges in found)
            widths = np.array([edges.width.mean() for edges in true])
            return _Lines(widths, true, False, tuple(_measured(image, lines) for image in images))
    raise MetricUnavailable("the reference shows no grating along its rows or columns")


def _measured(plane: Plane, lines: tuple[Line, ...]) -> Found:
    return tuple(measure_line(plane, line) for line in lines)
