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
    steps = torch.arange(-REACH - 1, REACH + 2, device=length.device, dtype=length.dtype)
    ys, xs = row[:, None] + ny[:, None] * steps, column[:, None] + nx[:, None] * steps
    least = lower[image][:, None]
    places = [
        _nearest_maximum(
            _sample(g.y, image, ys, xs) * ny[:, None] + _sample(g.x, image, ys, xs) * nx[:, None], least
        )
        for g in (sr, hr)
    ]
    return _summary(places[1] - places[0], image, len(edges_hr))


def _sample(of: Tensor, image: Tensor, ys: Tensor, xs: Tensor) -> Tensor:
    """Values of ``(N, H, W)`` at ``(E, T)`` positions, bilinear, the border repeated."""
    height, width = of.shape[1:]
    ys, xs = ys.clamp(0, height - 1), xs.clamp(0, width - 1)
    top, left = ys.floor().clamp(max=height - 2), xs.floor().clamp(max=width - 2)
    at = ((image[:, None] * height + top.long()) * width + left.long()).flatten()
    flat = of.flatten()
    fy, fx = (ys - top).flatten(), (xs - left).flatten()
    upper = torch.lerp(flat[at], flat[at + 1], fx)
    lower = torch.lerp(flat[at + width], flat[at + width + 1], fx)
    return torch.lerp(upper, lower, fy).view(ys.shape)


def _nearest_maximum(profile: Tensor, least: Tensor) -> Tensor:
    """Position ``(E,)`` of the maximum nearest to the middle of each profile ``(E, T)``; NaN without one."""
    before, here, after = profile[:, :-2], profile[:, 1:-1], profile[:, 2:]
    maximum = (here >= before) & (here > after) & (here >= least)
    steps = torch.arange(-REACH, REACH + 1, device=profile.device, dtype=profile.dtype)
    distance = torch.where(maximum, steps.abs(), torch.inf)
    nearest, at = distance.min(dim=1)
    rows = torch.arange(len(profile), device=profile.device)
    b, h, a = before[rows, at], here[rows, at], after[rows, at]
    refined = steps[at] + 0.5 * (a - b) / (2.0 * h - a - b)
    return torch.where(nearest.isfinite(), refined, torch.nan)


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
