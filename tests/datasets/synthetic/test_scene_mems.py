"""Micromachined devices: edges, widths, gaps and corners against brute force and the micrograph."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from srbench.datasets.synthetic.geometry import FineGrid, coverage
from srbench.datasets.synthetic.kinds.mems import DeviceLayout, Rectangle
from srbench.datasets.synthetic.rng import RandomStream
from srbench.datasets.synthetic.scene import scene_kinds
from srbench.datasets.synthetic.suite import SyntheticScene

pytestmark = pytest.mark.slow

SIZE = 192
GRID = FineGrid(SIZE)
INDICES = (0, 2, 4, 7, 16, 19)


def drawn(index, size=SIZE):
    return scene_kinds()["mems"].sample(RandomStream(77, 3, index), size)


@pytest.fixture(scope="module", params=INDICES)
def device(request):
    return drawn(request.param)


def clean(scene):
    """The scene without residues and notches."""
    return replace(scene, notches=(), residues=())


def in_rounded(bar, y, x):
    """Membership in a rounded rectangle: in the box, and not in a corner square beyond its circle."""
    inside = bar.top < y < bar.bottom and bar.left < x < bar.right
    down = max(bar.top + bar.radius - y, y - bar.bottom + bar.radius, 0)
    across = max(bar.left + bar.radius - x, x - bar.right + bar.radius, 0)
    return inside and math.hypot(down, across) < bar.radius if down and across else inside


def test_every_point_is_in_a_body_where_the_rectangles_say_so(device):
    generator = np.random.default_rng(2)
    distance = device.layers(GRID).distance
    layout = device.layout
    for row, column in generator.integers(24, GRID.side - 24, (1500, 2)):
        y, x = GRID.axis[row], GRID.axis[column]
        if any(math.hypot(r.y - y, r.x - x) < r.diameter / 2 + 0.2 for r in device.residues):
            continue
        solid = False
        for level in range(1, len(device.process.thickness) + 1):
            holes = any(in_rounded(h, y, x) for h in layout.holes if h.level == level)
            bites = any(
                math.hypot(n.y - y, n.x - x) < n.diameter / 2
                for number, n in device.notches
                if layout.bars[number].level == level
            )
            body = any(in_rounded(b, y, x) for b in layout.bars if b.level == level)
            solid |= body and not holes and not bites
        assert (distance[row, column] < 0) == solid or abs(distance[row, column]) < 1e-9


def profile_crossings(profile, coordinates):
    """Places where a profile changes its sign, linearly interpolated."""
    steps = np.flatnonzero(np.diff(np.sign(profile)))
    return [
        coordinates[k] - profile[k] * (coordinates[k + 1] - coordinates[k]) / (profile[k + 1] - profile[k])
        for k in steps
    ]


def free_stretch(device, finger):
    """Places along a line in the image where no rectangle of another level lies on or under it."""
    along = np.arange(max(finger["start"], 0) + 8, min(finger["end"], SIZE - 1) - 8)
    own = device.layout.bars[finger["index"]]
    sides = ("left", "right") if device.process.lines_along == "columns" else ("top", "bottom")
    for bar in device.layout.bars:
        if bar.level != own.level:
            along = along[(along < getattr(bar, sides[0]) - 6) | (along > getattr(bar, sides[1]) + 6)]
    return along


def test_widths_and_gaps_are_where_the_map_of_distances_changes_sign(device):
    bare, truth = clean(device), device.truth()
    own_level = {f["index"]: device.layout.bars[f["index"]].level for f in truth["fingers"]}
    maps = {level: bare._level_distance(level, GRID) for level in set(own_level.values())}
    across = {n: m if device.process.lines_along == "columns" else m.T for n, m in maps.items()}
    edges = {}
    for finger in (f for f in truth["fingers"] if f["complete"]):
        along = free_stretch(device, finger)
        if len(along) < 3:
            continue
        column = GRID.span(along[1], along[1] + 0.4).start
        found = profile_crossings(across[own_level[finger["index"]]][:, column], GRID.axis)
        low = min(found, key=lambda at: abs(at - finger["low"]))
        high = min(found, key=lambda at: abs(at - finger["high"]))
        assert (low, high) == (
            pytest.approx(finger["low"], abs=0.01),
            pytest.approx(finger["high"], abs=0.01),
        )
        assert high - low == pytest.approx(finger["cd"], abs=0.02)
        edges[finger["index"]] = low, high
    assert len(edges) >= 2


def test_threshold_width_in_the_micrograph_is_the_truth_within_the_sidewalls():
    """Mean profile across each line, outermost 50 % crossings: as a CD-SEM measures."""
    errors, walls = [], []
    for index in range(3000, 3010):
        scene = SyntheticScene("mems", index, SIZE)
        device, pixels = scene.scene, scene.pixels().astype(float)
        pixels = pixels if device.process.lines_along == "columns" else pixels.T
        for finger in scene.truth()["fingers"]:
            along = free_stretch(device, finger).astype(int)
            low, high = int(finger["low"]) - 5, int(finger["high"]) + 6
            if not finger["complete"] or finger["notched"] or len(along) < 12 or low < 0 or high >= SIZE:
                continue
            profile = np.median(pixels[low : high + 1, along], axis=1)
            level = (min(profile[:3].mean(), profile[-3:].mean()) + profile.max()) / 2
            found = profile_crossings(profile - level, np.arange(low, high + 1, dtype=float))
            errors.append(found[-1] - found[0] - finger["cd"])
            walls.append(device.process.sidewall)
    errors, walls = np.array(errors), np.array(walls)
    assert len(errors) > 20
    assert np.median(np.abs(errors)) < 1.0
    assert (np.abs(errors) < walls + 0.5).mean() > 0.85


def test_a_rectangle_covers_its_box_less_its_corners(device):
    bar = Rectangle("plate", 1, 40.3, 50.1, 101.7, 88.9, device.layout.bars[0].radius)
    alone = replace(clean(device), layout=DeviceLayout((bar,), (), ()))
    share = coverage(alone._level_distance(1, GRID), GRID.step).sum() * GRID.step**2
    box = (bar.bottom - bar.top) * (bar.right - bar.left)
    assert share == pytest.approx(box - (4 - math.pi) * bar.radius**2, abs=0.15)


def test_corners_are_rounded_with_the_radius(device):
    """On the diagonal of a corner the outline lies (sqrt 2 - 1) radii inside the box's corner."""
    for bar in device.layout.bars[:5]:
        t = np.linspace(0, bar.radius, 4001)
        line = bar.distance(bar.top + t, bar.left + t)
        crossing = t[np.argmin(np.abs(line))] * math.sqrt(2)
        assert crossing == pytest.approx((math.sqrt(2) - 1) * bar.radius, abs=0.01)


def test_holes_are_open_with_their_area():
    checked = 0
    for index in INDICES:
        bare = clean(drawn(index))
        for level in {hole.level for hole in bare.layout.holes}:
            free = coverage(-bare._level_distance(level, GRID), GRID.step)
            labels, _ = ndimage.label(free > 0)
            for hole in (
                h
                for h in bare.layout.holes
                if h.level == level and min(h.top, h.left) > -0.5 and max(h.bottom, h.right) < SIZE - 0.5
            ):
                y, x = (hole.top + hole.bottom) / 2, (hole.left + hole.right) / 2
                label = labels[GRID.span(y, y + 0.4).start, GRID.span(x, x + 0.4).start]
                side = hole.bottom - hole.top
                assert free[labels == label].sum() * GRID.step**2 == pytest.approx(
                    side**2 - (4 - math.pi) * hole.radius**2, rel=0.01
                )
                checked += 1
    assert checked > 20


def test_levels_have_their_thickness(device):
    bare = clean(device)
    height = bare.layers(GRID).height
    thickness, wall = device.process.thickness, device.process.sidewall
    levels = [bare._level_distance(level + 1, GRID) for level in range(len(thickness))]
    expected = sum(t * (d < 0) for t, d in zip(thickness, levels, strict=True))
    away = np.all([np.abs(d) > wall for d in levels], axis=0)
    np.testing.assert_allclose(height[away], expected[away], atol=1e-9)
    assert 1 <= len(thickness) <= 3


def test_notches_are_bites_out_of_an_edge_and_residues_lie_clear_of_edges():
    notches = residues = 0
    for index in INDICES:
        device = drawn(index)
        bare = clean(device)
        full = bare.layers(GRID).distance
        for number, notch in device.notches:
            bar = device.layout.bars[number]
            edge = notch.y if device.process.lines_along == "columns" else notch.x
            assert edge in (
                (bar.top, bar.bottom) if device.process.lines_along == "columns" else (bar.left, bar.right)
            )
            window = GRID.span(notch.y - 5, notch.y + 5), GRID.span(notch.x - 5, notch.x + 5)
            lost = coverage(bare._level_distance(bar.level, GRID)[window], GRID.step)
            lost -= coverage(device._level_distance(bar.level, GRID)[window], GRID.step)
            half = math.pi / 8 * notch.diameter**2
            assert lost.sum() * GRID.step**2 == pytest.approx(half, rel=0.12, abs=0.2)
            notches += 1
        for residue in device.residues:
            near = full[
                GRID.span(residue.y - 0.2, residue.y + 0.2), GRID.span(residue.x - 0.2, residue.x + 0.2)
            ]
            assert np.abs(near).min() > residue.diameter / 2 + 0.5
            residues += 1
    assert notches >= 6
    assert residues >= 30


@pytest.mark.parametrize("size", [192, 384])
def test_lines_and_radii_are_in_range(size):
    roles = set()
    for index in range(30):
        device = drawn(index, size)
        truth = device.truth()
        roles |= {bar.role for bar in device.layout.bars}
        assert len(truth["fingers"]) >= 3
        assert all(8 <= finger["cd"] <= 40 for finger in truth["fingers"])
        for bar in device.layout.bars:
            assert 1 <= bar.radius <= 6
            assert min(bar.bottom - bar.top, bar.right - bar.left) >= 2 * bar.radius
    assert roles >= {"spine", "anchor", "electrode", "turn", "lead", "bridge", "pad", "metal", "finger"}


def test_both_orientations_occur_and_turn_the_whole_layout():
    turned = {drawn(index).process.lines_along: drawn(index) for index in range(12)}
    assert set(turned) == {"rows", "columns"}
    for along, device in turned.items():
        bars = [device.layout.bars[finger.bar] for finger in device.layout.fingers]
        tall = [bar.bottom - bar.top > bar.right - bar.left for bar in bars]
        assert np.mean(tall) == (1 if along == "rows" else 0)
