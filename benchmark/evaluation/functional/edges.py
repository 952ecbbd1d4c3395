"""Edges of SR against edges of the reference: which are invented, which are missing, where they lie."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from srbench.evaluation.functional.canny import Gradient

REACH = 3
"""How far along the normal the edge of SR is looked for, in pixels."""

LEAST = 20
"""Edge pixels below which the share of recovered ones is not given."""


@dataclass(frozen=True)
class EdgeScores:
    """Agreement of edge pixels within a tolerance, ``(N,)`` each; NaN where one side has no edges.

    Attributes:
        precision: share of the edges of SR that have an edge of the reference nearby.
        recall: share of the edges of the reference that have an edge of SR nearby.
        f1: harmonic mean of both; 0 where only one image has edges.
    """

    precision: Tensor
    recall: Tensor
    f1: Tensor


@dataclass(frozen=True)
class Displacement:
    """How far edges moved along their normals, in pixels, ``(N,)`` each; NaN where none was found again.

    Attributes:
        median: median of the distance.
        bias: mean with its sign; positive where bright regions grew.
        found: share of the edge pixels of the reference that have an edge of the same polarity within reach.
    """

    median: Tensor
    bias: Tensor
    found: Tensor


def edge_scores(edges_sr: Tensor, edges_hr: Tensor, tolerance: float = 1.0) -> EdgeScores:
    """Precision, recall and F1 of edge pixels, ``(N, H, W)`` bool, within a distance in pixels."""
    precision = _share(edges_sr & near(edges_hr, tolerance), edges_sr)
    recall = _share(edges_hr & near(edges_sr, tolerance), edges_hr)
    p, r = precision.nan_to_num(0.0), recall.nan_to_num(0.0)
    f1 = 2.0 * p * r / (p + r).clamp(min=torch.finfo(p.dtype).tiny)
    neither = precision.isnan() & recall.isnan()
    return EdgeScores(precision, recall, f1.masked_fill(neither, torch.nan))


def edges_recovered(
    edges_sr: Tensor, edges_hr: Tensor, edges_bicubic: Tensor, tolerance: float = 1.0
) -> Tensor:
    """Share ``(N,)`` of the edges that interpolation of LR lacks which SR has.

    NaN where it lacks fewer than 20 pixels of edges: a share of so few would be chance.

    Args:
        edges_sr: ``(N, H, W)`` bool.
        edges_hr: of the reference.
        edges_bicubic: of the LR image, interpolated.
        tolerance: distance in pixels within which an edge is the same.
    """
    lacking = edges_hr & ~near(edges_bicubic, tolerance)
    share = _share(lacking & near(edges_sr, tolerance), lacking)
    return share.masked_fill(lacking.sum((1, 2)) < LEAST, torch.nan)


def near(edges: Tensor, distance: float) -> Tensor:
    """Pixels whose centre lies within a Euclidean distance of an edge pixel's, ``(N, H, W)`` bool."""
    radius = int(distance)
    height, width = edges.shape[1:]
    padded = torch.nn.functional.pad(edges, (radius, radius, radius, radius))
    found = torch.zeros_like(edges)
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            if dy * dy + dx * dx <= distance * distance:
                found |= padded[:, radius + dy : radius + dy + height, radius + dx : radius + dx + width]
    return found


def displacement(sr: Gradient, hr: Gradient, edges_hr: Tensor, lower: Tensor) -> Displacement:
    """How far SR moved the edges of the reference.

    From each edge pixel of the reference the slope of both images is followed along the normal, up to three
    pixels to both sides; the nearest maximum of each, refined by a parabola through three samples, is where
    its edge lies. An edge of the opposite polarity, or one below the lower threshold, is none.

    Args:
        sr: gradient of N super-resolved images.
        hr: gradient of the references.
        edges_hr: ``(N, H, W)`` bool, edges of the references.
        lower: ``(N,)`` lower threshold.
    """
    image, row, column = edges_hr.nonzero(as_tuple=True)
    length = hr.magnitude[image, row, column]
    ny, nx = hr.y[image, row, column] / length, hr.x[image, row, column] / length
    least = lower[image][:, None]
    of_hr = _nearest_maximum(_profile(hr, image, row, column, ny, nx), least, ny, nx)
    of_sr = _nearest_maximum(_profile(sr, image, row, column, ny, nx), least, ny, nx)
    return _summary(of_hr - of_sr, image, len(edges_hr))


def _profile(of: Gradient, image: Tensor, row: Tensor, column: Tensor, ny: Tensor, nx: Tensor) -> Tensor:
    """Slope along the normal ``(E, 2 REACH + 3)`` of each edge pixel, at steps of one row or one column.

    Stepping by whole pixels along the axis nearer to the normal leaves one dimension to interpolate, by the
    cubic through four pixels. Beyond the border its pixels are repeated.
    """
    height, width = of.y.shape[1:]
    steps = torch.arange(-REACH - 1, REACH + 2, device=ny.device, dtype=ny.dtype)
    steep = (ny.abs() >= nx.abs())[:, None]
    unit = torch.maximum(ny.abs(), nx.abs())
    ys = row[:, None] + (ny / unit)[:, None] * steps
    xs = column[:, None] + (nx / unit)[:, None] * steps
    across = torch.where(steep, xs, ys)
    below = across.floor()
    fraction = across - below
    total = torch.zeros_like(across)
    for tap, weight in zip(range(-1, 3), _cubic(fraction), strict=True):
        y = torch.where(steep, ys.round(), below + tap).long().clamp(0, height - 1)
        x = torch.where(steep, below + tap, xs.round()).long().clamp(0, width - 1)
        at = (image[:, None] * height + y) * width + x
        total += weight * (of.y.flatten()[at] * ny[:, None] + of.x.flatten()[at] * nx[:, None])
    return total


def _cubic(t: Tensor) -> tuple[Tensor, ...]:
    """Weights of the pixels at -1, 0, 1, 2 in the cubic (Lagrange) through them, at ``t`` in 0..1."""
    return (
        -t * (t - 1.0) * (t - 2.0) / 6.0,
        (t + 1.0) * (t - 1.0) * (t - 2.0) / 2.0,
        -(t + 1.0) * t * (t - 2.0) / 2.0,
        (t + 1.0) * t * (t - 1.0) / 6.0,
    )


def _nearest_maximum(profile: Tensor, least: Tensor, ny: Tensor, nx: Tensor) -> Tensor:
    """Signed distance ``(E,)`` along the normal to the maximum nearest to each edge pixel; NaN without one.

    Refined by a parabola through the logarithms of three samples, exact for the Gaussian profile that a
    smoothed step has; through the samples themselves where one is too small for that.
    """
    before, here, after = profile[:, :-2], profile[:, 1:-1], profile[:, 2:]
    steps = torch.arange(-REACH, REACH + 1, device=profile.device, dtype=profile.dtype)
    distance = steps.abs() / torch.maximum(ny.abs(), nx.abs())[:, None]
    maximum = (here >= before) & (here > after) & (here >= least)
    nearest, at = torch.where(maximum, distance, torch.inf).min(dim=1)
    rows = torch.arange(len(profile), device=profile.device)
    three = torch.stack([before[rows, at], here[rows, at], after[rows, at]])
    usable = three.amin(0) > 0.05 * three[1]
    b, h, a = torch.where(usable, three.clamp(min=torch.finfo(three.dtype).tiny).log(), three)
    refined = steps[at] + 0.5 * (a - b) / (2.0 * h - a - b)
    along = refined / torch.maximum(ny.abs(), nx.abs())
    return torch.where(nearest.isfinite(), along, torch.nan)


def _summary(moved: Tensor, image: Tensor, count: int) -> Displacement:
    median, bias, found = (moved.new_full((count,), torch.nan) for _ in range(3))
    for index in range(count):
        of_this = moved[image == index]
        valid = of_this[~of_this.isnan()]
        if len(of_this):
            found[index] = len(valid) / len(of_this)
        if len(valid):
            median[index], bias[index] = valid.abs().median(), valid.mean()
    return Displacement(median, bias, found)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return part.sum((1, 2)).double() / whole.sum((1, 2)).double()
