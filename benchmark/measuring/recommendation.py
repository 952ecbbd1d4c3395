"""Advice in words, as a table, as JSON, and as a page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from srbench.measuring.advice import DENOISER, MEASURED, Advice, CellVerdict, Rescan
from srbench.measuring.calibration import AS_IS, SINGLE
from srbench.measuring.page import render
from srbench.statistics.tolerance import MOST_LOST
from srbench.utils.files import write_text
from srbench.utils.progress import count_of
from srbench.utils.text import json_values
from srbench.version import __version__

QUANTITY_NAMES = {SINGLE: "sizes", "LER": "LER", "LWR": "LWR", "fraction": "area fraction"}


def length(advice: Advice, px: float) -> str:
    """Three digits of a length, in nm where the pixel size is known."""
    return f"{px * advice.pixel_size_nm:.3g} nm" if advice.pixel_size_nm else f"{px:.3g} px"


def dwell_text(seconds: float) -> str:
    """``100 ns``, ``1.6 µs``, ``3 ms``."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def dose_text(advice: Advice, dose: float) -> str:
    """``x4 400 ns``: the dose over that of the images, and its dwell time where the files tell theirs."""
    return f"x{dose:g} {dwell_text(advice.dwell_s * dose)}" if advice.dwell_s else f"dose x{dose:g}"


def _dose_words(advice: Advice, dose: float) -> str:
    name = "your dose" if dose == 1.0 else f"{dose:g} times your dose"
    return f"{name} ({dwell_text(advice.dwell_s * dose)} a pixel)" if advice.dwell_s else name


def cell_text(advice: Advice, judgement: CellVerdict) -> str:
    """What stands in the table: from which size on sizes or counts can be trusted."""
    if judgement.verdict == "trusted":
        return f"from {length(advice, judgement.smallest)}" if judgement.smallest else "trusted"
    if judgement.verdict == "counts":
        return f"count {length(advice, judgement.smallest)}"
    return {"undecided": "undecided", "not trusted": "no"}[judgement.verdict]


def sentences(advice: Advice) -> Iterator[str]:
    """The answer: the images scanned again, magnified scenes like them, and what a larger pixel costs."""
    fastest = [scan for scan in advice.rescans if scan.verdict == "trusted"]
    if fastest:
        scan = min(fastest, key=lambda scan: (scan.dose / scan.step**2, scan.dose))
        faster = scan.step**2 / scan.dose
        speed = "as fast as yours" if faster == 1.0 else f"{faster:g} times as fast"
        yield (
            f"Your images scanned again, brought back by {scan.model}: a step of {scan.step} px at "
            f"{_dose_words(advice, scan.dose)} is trusted still, {speed}: "
            f"{_changed(advice, scan)}."
        )
    else:
        for scan in (scan for scan in advice.rescans if scan.dose == 1.0):
            how = f"a step of {scan.step} px, {scan.model}"
            yield f"Your images scanned again ({how}): {_changed(advice, scan)}."
    first = next(iter(MEASURED[advice.measure]))
    here = [item for item in advice.judgements if item.quantity == first]
    at_dose = sorted((item for item in here if item.dose == 1.0), key=lambda item: item.scale)
    parts = []
    for item in at_dose:
        name, by = QUANTITY_NAMES[first], "" if item.model == AS_IS else f" ({item.model})"
        if item.verdict == "trusted":
            size = f" from {length(advice, item.smallest)}" if item.smallest else ""
            parts.append(f"x{item.scale}: {name}{size} trusted{by}")
        elif item.verdict == "counts":
            parts.append(f"x{item.scale}: counts only, from {length(advice, item.smallest)}{by}")
        elif item.verdict == "undecided":
            parts.append(f"x{item.scale}: undecided, too few scenes tell")
        else:
            parts.append(f"x{item.scale}: {_why_not(advice, item)}")
    if parts:
        yield f"On synthetic scenes like them, at your dose: {'; '.join(parts)}."
    furthest = [item for item in here if item.verdict == "trusted"]
    if furthest:
        item = max(furthest, key=lambda item: (item.scale, -item.dose))
        yield (
            f"The furthest that is still trusted on them: x{item.scale} at {_dose_words(advice, item.dose)}"
            f"{'' if item.model == AS_IS else f', with {item.model}'}."
        )
    else:
        slowest = [item for item in here if item.dose == max(other.dose for other in here)]
        if any(item.lost <= MOST_LOST for item in slowest):
            yield (
                "On the scenes nothing is trusted, at more dose neither: it is the blur. A change that is "
                "the same on all images can be corrected (srbench calibrate); else focus, or allow a larger "
                "--tolerance."
            )
        else:
            yield "On the scenes nothing is trusted: record more slowly, or larger in the image."
    times, period = advice.larger_pixel, length(advice, advice.resolution_px)
    finer = " or better" if advice.limited else ""
    pixel = f", pixel {length(advice, 1.0)}" if advice.pixel_size_nm else ""
    if times > 1:
        yield (
            f"At this dose a {times} x larger pixel costs nothing in resolution (resolution {period}{finer}"
            f"{pixel})."
        )
    else:
        yield f"A larger pixel would cost resolution (resolution {period}{finer}{pixel})."


def _changed(advice: Advice, scan: Rescan) -> str:
    name = QUANTITY_NAMES[next(iter(MEASURED[advice.measure]))]
    lost = f"{scan.lost:.0%} of the {advice.item}s are lost"
    return f"{name} change by {_signed(advice, scan.change)}, {lost}"


def _why_not(advice: Advice, item: CellVerdict) -> str:
    """Why nothing is trusted."""
    name = QUANTITY_NAMES[item.quantity]
    if item.lost > MOST_LOST or not math.isfinite(item.change):
        return f"nothing trusted, {item.lost:.0%} of the {advice.item}s are lost"
    return f"{name} not trusted, they change by {_signed(advice, item.change)}"


def _signed(advice: Advice, change: float) -> str:
    """A change with its sign, in the unit of what is measured, to a tenth of the tolerance or finer."""
    per_px, unit = (advice.pixel_size_nm, " nm") if advice.pixel_size_nm else (1.0, " px")
    if advice.measure == "pores":
        per_px, unit = 1.0, ""
    tolerance = advice.tolerances[next(iter(MEASURED[advice.measure]))] * per_px
    return f"{change * per_px:+.{max(1 - math.floor(math.log10(tolerance)), 0)}f}{unit}"


def statements(advice: Advice) -> Iterator[str]:
    """What is to be said beside the answer."""
    setting, noise = advice.setting, advice.setting.noise
    low, high = setting.doses
    yield (
        f"{count_of(advice.images, 'image')}: {noise.dose:.3g} electrons a pixel of full signal ({low:.3g} "
        f"to {high:.3g} by single images), contrast {setting.contrast:.2f} of that of the scenes, blur "
        f"{setting.blur:.2f} px."
    )
    limit = ", the nearest there is: the images are sharper or more blurred" if setting.at_limit else ""
    yield f"Scenes of equal noise for their contrast, and equal blur: {setting.degradation(1)}{limit}."
    tested = [item for item in advice.judgements if item.tested[1]]
    for scale in sorted({item.scale for item in tested}):
        low, high = next(item.tested for item in tested if item.scale == scale)
        yield f"At x{scale} the scenes hold sizes of {length(advice, low)} to {length(advice, high)}."
    if advice.pixel_size_nm is None:
        yield "The pixel size is unknown: lengths are in pixels of the images (--pixel-size-nm)."
    yield (
        "The scenes are synthetic: they rank what may be tried, and certify nothing. What is trusted here is "
        "to be confirmed on fields recorded twice (srbench calibrate, --reference)."
    )


def rescan_table(advice: Advice) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the images scanned again: a step a row, a dose a column."""
    doses = sorted({scan.dose for scan in advice.rescans})
    cells = {(scan.step, scan.dose): scan for scan in advice.rescans}
    rows = []
    for step in sorted({scan.step for scan in advice.rescans}):
        row = [f"{step} px"]
        for scan in (cells[step, dose] for dose in doses):
            mark = {"trusted": "ok ", "undecided": "? "}.get(scan.verdict, "no ")
            lost = "" if advice.measure == "pores" else f", {scan.lost:.0%} lost"
            row.append(f"{mark}{_signed(advice, scan.change)}{lost}" if math.isfinite(scan.change) else "no")
        rows.append(row)
    return ["step", *(dose_text(advice, dose) for dose in doses)], rows


def table(advice: Advice) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: a measurement and magnification a row, a dose a column."""
    doses = sorted({item.dose for item in advice.judgements})
    heads = ["measured", "scale"]
    for dose in doses:
        heads.append(dose_text(advice, dose))
    cells = {(item.quantity, item.scale, item.dose): item for item in advice.judgements}
    rows = []
    for quantity in MEASURED[advice.measure]:
        for scale in sorted({item.scale for item in advice.judgements}):
            row = [cell_text(advice, cells[quantity, scale, dose]) for dose in doses]
            rows.append([QUANTITY_NAMES[quantity], f"x{scale}", *row])
    return heads, rows


def as_json(advice: Advice) -> dict[str, Any]:
    """Everything, and the sentences."""
    content = {
        "srbench": __version__,
        **asdict(advice),
        "degradations": {f"x{scale}": advice.setting.degradation(scale) for scale in (1, 2, 4)},
        "larger_pixel": advice.larger_pixel,
        "sentences": list(sentences(advice)),
        "statements": list(statements(advice)),
    }
    cleaned: dict[str, Any] = json_values(content)
    return cleaned


def write(advice: Advice, out: Path) -> tuple[Path, ...]:
    """Write ``advice.html`` and ``advice.json`` into a folder.

    Raises:
        StorageError: the folder cannot be written.
    """
    page = render(
        "advice.html.j2",
        advice=advice,
        sentences=list(sentences(advice)),
        statements=list(statements(advice)),
        tables=(table(advice), rescan_table(advice)),
        details=[
            (item, QUANTITY_NAMES[item.quantity], cell_text(advice, item)) for item in advice.all_judgements
        ],
        denoiser=DENOISER.replace("_", " "),
        dose_text=lambda dose: dose_text(advice, dose),
    )
    files = {"advice.html": page, "advice.json": json.dumps(as_json(advice), indent=1) + "\n"}
    for name, content in files.items():
        write_text(out / name, content)
    return tuple(out / name for name in files)
