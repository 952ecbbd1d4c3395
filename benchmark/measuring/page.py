"""The files of a measurement: JSON, CSV, and one page with the histogram and the outlines on the images."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from srbench.measuring import words
from srbench.measuring.measure import MeasuredField, MeasurementResult
from srbench.reporting.svg import Box, grid, line, linear_axis, svg, text
from srbench.reporting.text import number
from srbench.utils.files import write_text

MOST_DRAWN = 12
"""Fields that are drawn on the page."""
_LONGEST_SIDE = 1400
_WIDTH, _HEIGHT = 640.0, 280.0
_TEMPLATES = "srbench.reporting"


def write(result: MeasurementResult, out: Path) -> tuple[Path, ...]:
    """Write ``measurement.html``, ``measurement.json`` and ``objects.csv`` into a folder.

    Raises:
        StorageError: the folder cannot be written.
    """
    files = {
        "measurement.html": _page(result),
        "measurement.json": json.dumps(words.as_json(result), indent=1) + "\n",
        "objects.csv": words.objects_csv(result),
    }
    for name, content in files.items():
        write_text(out / name, content)
    return tuple(out / name for name in files)


def _page(result: MeasurementResult) -> str:
    return render(
        "measurement.html.j2",
        result=result,
        sentences=[words.sentence(estimate, result.level) for estimate in result.estimates],
        statements=list(words.statements(result)),
        rows=[(words.title(estimate), estimate, words.parts(estimate)) for estimate in result.estimates],
        histogram=histogram(result),
        drawings=[drawing(field) for field in result.fields[:MOST_DRAWN]],
        number=number,
    )


def render(template: str, **content: Any) -> str:
    """A page of one file by a template, which is given ``content``, ``style`` and ``policy``."""
    environment = Environment(loader=PackageLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
    folder = resources.files(_TEMPLATES) / "templates"
    sheets = [(folder / name).read_text(encoding="utf-8") for name in ("report.css", "measurement.css")]
    style = "\n".join(sheets).replace("</", "<\\/")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template(template).render(
        policy="default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src 'sha256-{digest}'",
        style=Markup(style),
        **content,
    )


def histogram(result: MeasurementResult) -> Markup:
    """Sizes of all counted items as bars (Freedman and Diaconis' width), and D10, D50 and D90 as lines."""
    sizes = np.concatenate(
        [
            item.features.sizes[item.features.counted]
            * ((item.pixel_size_nm or 1.0) if result.unit == "nm" else 1.0)
            for item in result.fields
        ]
    )
    if len(sizes) < 2:
        return Markup("")
    counts, edges = np.histogram(sizes, "fd" if np.ptp(sizes) > 0 else 1)
    if len(counts) > 100:
        counts, edges = np.histogram(sizes, 100)
    frame = Box(52.0, 12.0, _WIDTH - 14.0, _HEIGHT - 44.0)
    across = linear_axis([float(edges[0]), float(edges[-1])], frame.left, frame.right)
    up = linear_axis([0.0, float(counts.max()) * 1.05], frame.bottom, frame.top, 4)
    bar = Markup('<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>')
    bars = [
        bar.format(across(low), up(count), max(across(high) - across(low) - 0.6, 0.4), up(0.0) - up(count))
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
        if count
    ]
    marks = []
    for estimate in result.estimates:
        if estimate.name.startswith("D"):
            at = across(estimate.measured)
            marks += [
                line(at, frame.top, at, frame.bottom, "mark"),
                text(at + 3, frame.top + 10, estimate.name, "start", ""),
            ]
    name = f"{result.item} {result.size} as measured, {result.unit}"
    head = text((frame.left + frame.right) / 2.0, _HEIGHT - 6.0, name, "middle", "")
    content = Markup("").join([grid(frame, across, up, columns=False), *bars, *marks, head])
    return svg(_WIDTH, _HEIGHT, f"Histogram: {name}", content)


def drawing(field: MeasuredField) -> Markup:
    """An image with the outlines of what was counted, its rows and columns thinned where it is very large."""
    import cv2

    step = math.ceil(max(field.image.shape) / _LONGEST_SIDE)
    thin = np.ascontiguousarray(field.image[::step, ::step])
    content = base64.b64encode(cv2.imencode(".png", thin)[1].tobytes()).decode("ascii")
    height, width = thin.shape
    paths = []
    for outline in field.features.outlines():
        # Pixel centres lie at whole numbers; an image begins half a pixel before.
        points = (outline + 0.5) / step
        paths.append("M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points) + "Z")
    markup = Markup(
        '<svg class="field" viewBox="0 0 {} {}" role="img" aria-label="{} outlines on {}">'
        '<image width="{}" height="{}" href="data:image/png;base64,{}"/><path d="{}"/></svg>'
    )
    return markup.format(width, height, len(paths), field.name, width, height, content, "".join(paths))
