"""Single images: the same regions of HR, LR and every model, ready to be embedded, and the values of each.

Regions are chosen by rule from the pixels, never by hand. Crops are stored without loss and not resampled:
the page computes its error maps from them and enlarges pixels as squares. Where a model invented (warm tint)
or omitted detail (cool hatching) is computed from the whole images and laid over the crops.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from srbench.metrics.fidelity import psnr
from srbench.reporting.blocks import Block
from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.rows import RANKED, Row
from srbench.reporting.text import Measure, length
from srbench.statistics.tolerance import TOLERANCES
from srbench.store import RUN, Manifest, Run, ScoreStore, read_png
from srbench.utils.errors import SrbenchError
from srbench.utils.progress import ProgressCallback, ProgressEvent, silent

Grey = NDArray[np.uint8]
Field = NDArray[np.float64]

MAX_IMAGES = 6
MAX_PICTURES = 150
SIDE = 256
"""Side of a region in HR pixels."""
STRIP_SIDE = 160
"""That of the pictures on the first screen."""
ERROR_SCALE = 0.2
"""Error, in parts of the grey range, from which on the colour no longer changes."""
_STEP = 8
_MAX_SHARED_AREA = 0.25
_THUMBNAIL_SIDE = 260
_LEVELS = 256
_LEGEND_STEPS = 24
STEPS = (0.25, 0.75, 2.25)
"""Unexplained detail, in parts of the mean detail of HR, from which on each tint is used."""
OPACITIES = (0.34, 0.58, 0.85)
INVENTED = (255, 122, 0)
OMITTED = (40, 150, 255)
SCALE_BAR = 0.4
"""Longest scale bar, in parts of the side of what is seen."""
MAX_ZOOM = 32
STRIPE = 4
"""Pixels from one line of the hatching to the next; half of them are drawn."""


@dataclass(frozen=True)
class EmbeddedImage:
    """One embedded image: a data URI and its size in pixels."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Tile:
    """One column of the comparison.

    Attributes:
        title: model title, or HR, or LR.
        detail: variant and seed, or what the tile is.
        kind: ``hr``, ``lr`` or ``sr``.
        run: the row that it belongs to; None for HR and LR.
        pictures: one a region.
        psnr: PSNR of each region against HR in dB, None for HR and LR.
        badges: what the reader must know of this model.
        maps: tints of invented and omitted detail, one a region; empty for HR and LR.
        unexplained: mean invented and omitted detail of each region, in parts of the mean detail of HR.
    """

    title: str
    detail: str
    kind: str
    run: Run | None
    pictures: tuple[EmbeddedImage, ...]
    psnr: tuple[float | None, ...]
    badges: tuple[str, ...] = ()
    maps: tuple[EmbeddedImage, ...] = ()
    unexplained: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Panel:
    """All tiles of one image.

    Attributes:
        image: image id.
        group: its group.
        category: its category.
        width: HR columns of the whole image.
        height: HR rows of the whole image.
        pixel_nm: side of an HR pixel, None where it is unknown.
        overview: the HR image, reduced.
        regions: where the crops were taken.
        tiles: HR, LR, then the models in the order of the table, networks first.
    """

    image: str
    group: str
    category: str
    width: int
    height: int
    pixel_nm: float | None
    overview: EmbeddedImage
    regions: tuple[CropRegion, ...]
    tiles: tuple[Tile, ...]

    @property
    def has_maps(self) -> bool:
        """Whether invented and omitted detail is shown."""
        return any(tile.maps for tile in self.tiles)

    @property
    def scale_bars(self) -> list[tuple[float, str]]:
        """Bars for every zoom, longest first: HR pixels and label; none without a pixel size."""
        if self.pixel_nm is None:
            return []
        longest = SCALE_BAR * self.regions[0].side * self.pixel_nm
        exponents = range(math.floor(math.log10(longest / MAX_ZOOM)) - 1, math.floor(math.log10(longest)) + 1)
        lengths = [step * 10.0**exponent for exponent in exponents for step in (1, 2, 5)]
        fitting = [nm for nm in reversed(lengths) if longest / MAX_ZOOM / 2.5 <= nm <= longest]
        return [(nm / self.pixel_nm, length(nm)) for nm in fitting]


@dataclass(frozen=True, eq=False)
class _Output:
    row: Row
    manifest: Manifest
    pixels: Grey


def panels(
    store: ScoreStore,
    block: Block,
    rows: Sequence[Row],
    sizes: Mapping[str, float] | None = None,
    progress: ProgressCallback = silent,
) -> tuple[list[Panel], list[str]]:
    """The panels of a block and what had to be left out, in words.

    Args:
        store: where the pictures are.
        block: the runs.
        rows: of the table.
        sizes: image id to the side of its HR pixel in nm, for scale bars.
        progress: told of the images that are done.
    """
    images = sorted({image for row in rows for image in shown_run(row).previews})
    notes = []
    if len(images) > MAX_IMAGES:
        notes.append(
            f"{len(images)} images have previews; the first {MAX_IMAGES} by id are shown, "
            "to keep the page small."
        )
    shown = []
    n_regions = max(MAX_PICTURES // (min(len(images), MAX_IMAGES) * (len(rows) + 2)), 1) if images else 0
    for number, image in enumerate(images[:MAX_IMAGES], 1):
        panel, problems = _panel(store, block, rows, image, n_regions)
        notes += problems
        shown += [replace(panel, pixel_nm=(sizes or {}).get(image))] if panel is not None else []
        progress(ProgressEvent(f"pictures, {block.title}", number, len(images[:MAX_IMAGES]), "images"))
    return shown, notes


@dataclass(frozen=True)
class StripTile:
    """A picture of the strip on the first screen; ``detail_map`` and ``unexplained`` are of models alone."""

    title: str
    picture: EmbeddedImage
    detail_map: EmbeddedImage | None = None
    unexplained: tuple[float, float] | None = None
    badges: tuple[str, ...] = ()


@dataclass(frozen=True)
class PictureStrip:
    """One region of one image as LR, a few models and HR, all in pixels of HR.

    Attributes:
        image: image id.
        side: of the region in HR pixels.
        pixel_nm: side of an HR pixel, None where it is unknown.
        tiles: LR, the models, HR.
    """

    image: str
    side: int
    pixel_nm: float | None
    tiles: tuple[StripTile, ...]


def strip(
    store: ScoreStore, block: Block, rows: Sequence[Row], names: Mapping[Run, str], shown: Sequence[Panel]
) -> PictureStrip | None:
    """The region in which some models differ most; None where there is nothing to show.

    Args:
        store: where the pictures are.
        block: the runs.
        rows: the models, in the order of the pictures.
        names: what each is called.
        shown: panels of the images to choose from; that in which invented and omitted detail of the models
            differ most is taken.
    """

    def difference(panel: Panel) -> float:
        tiles = [tile for tile in panel.tiles if tile.run in {row.run for row in rows}]
        amounts = [sum(tile.unexplained[0]) for tile in tiles if tile.unexplained]
        return max(amounts) - min(amounts) if amounts else 0.0

    if not shown or not rows:
        return None
    panel = max(shown, key=difference)
    runs = [shown_run(row) for row in rows]
    references = sorted({str(run.data.get("reference_id", "")) for run in runs})
    hr, _ = _first_readable(store, references, panel.image, "hr")
    lr, _ = _first_readable(store, references, panel.image, "lr")
    if hr is None:
        return None
    outputs, _ = _outputs(store, rows, panel.image, hr)
    scale = block.key.scale
    judged = {output.row.identifier: output.pixels for output in outputs}
    region = choose(hr, judged, scale, STRIP_SIDE)[0]
    tiles = []
    if lr is not None and (hr.shape[0] // scale, hr.shape[1] // scale) == lr.shape:
        enlarged = region.cut_lr(lr, scale).repeat(scale, axis=0).repeat(scale, axis=1)
        tiles.append(StripTile("LR", _picture(enlarged)))
    for output in outputs:
        cut, *_ = detail_maps(output.pixels, hr, scale, [region]) if scale > 1 else [None]
        tiles.append(
            StripTile(
                names[output.row.run],
                _picture(region.cut(output.pixels)),
                _embedded(overlay(cut), cut.invented.shape) if cut else None,
                cut.means if cut else None,
                output.row.badges,
            )
        )
    tiles.append(StripTile("HR", _picture(region.cut(hr))))
    return PictureStrip(panel.image, region.side, panel.pixel_nm, tuple(tiles))


@dataclass(frozen=True)
class ImageTable:
    """The values of one image.

    Attributes:
        columns: the metrics seen first and the measurements, as far as a row has a value.
        values: row to metric id to its value, of several training seeds their mean.
    """

    columns: tuple[Measure, ...]
    values: Mapping[Run, Mapping[str, float]]


def image_tables(board: Leaderboard, images: Collection[str]) -> dict[str, ImageTable]:
    """Image id to its table."""
    chosen = [c for c in board.columns if c in board.first_view or c.name in TOLERANCES]
    scores = board.group.scores
    scores = scores[scores["image"].isin(list(images)) & scores["metric"].isin([c.id for c in chosen])]
    means: dict[str, dict[Run, dict[str, list[float]]]] = {image: {} for image in images}
    rows = scores[scores["value"].notna()][["image", "metric", "value", *RUN]]
    for image, metric, value, *run in rows.itertuples(index=False, name=None):
        row = board.group.row_of.get(Run(*run))
        if row is not None:
            means[image].setdefault(row, {}).setdefault(metric, []).append(value)
    return {
        image: ImageTable(
            tuple(column for column in chosen if any(column.id in values for values in by_row.values())),
            {
                row: {metric: sum(values) / len(values) for metric, values in by_metric.items()}
                for row, by_metric in by_row.items()
            },
        )
        for image, by_row in means.items()
    }


def shown_run(row: Row) -> Manifest:
    """The run whose pictures stand for a row: the first seed that has some."""
    return next((manifest for manifest in row.manifests if manifest.previews), row.manifest)


def _panel(
    store: ScoreStore, block: Block, rows: Sequence[Row], image: str, n_regions: int
) -> tuple[Panel | None, list[str]]:
    shown = [run for run in map(shown_run, rows) if image in run.previews]
    references = sorted({str(run.data.get("reference_id", "")) for run in shown})
    hr, problems = _first_readable(store, references, image, "hr")
    lr, problems_of_lr = _first_readable(store, references, image, "lr")
    problems += problems_of_lr
    if hr is None:
        problems += [f"No HR image is stored for {image}: evaluate again with previews to see its crops."]
        return None, problems
    outputs, problems_of_outputs = _outputs(store, rows, image, hr)
    problems += problems_of_outputs
    if min(hr.shape) < 4 * block.key.scale:
        return None, [*problems, f"{image} is too small to show."]
    return _assemble(block, image, hr, lr, outputs, n_regions), problems


def _first_readable(
    store: ScoreStore, references: Sequence[str], image: str, kind: Literal["hr", "lr"]
) -> tuple[Grey | None, list[str]]:
    problems: list[str] = []
    for path in (store.reference(name, image, kind) for name in references):
        if path is not None and (pixels := read_png(path)) is not None:
            return pixels, problems
        problems += [_damaged(path)] if path is not None else []
    return None, problems


def _damaged(path: Path) -> str:
    return f"{path} is not a readable image; srbench eval --force writes it again."


def _outputs(store: ScoreStore, rows: Sequence[Row], image: str, hr: Grey) -> tuple[list[_Output], list[str]]:
    outputs, problems = [], []
    for row in rows:
        run = shown_run(row)
        path = store.preview(run.key, image)
        pixels = None if path is None else read_png(path)
        if path is not None and pixels is None:
            problems.append(_damaged(path))
        elif pixels is not None and pixels.shape == hr.shape:
            outputs.append(_Output(row, run, pixels))
        elif pixels is not None:
            problems.append(
                f"{row.label_of(run)}: preview of {image} is {pixels.shape[1]}x{pixels.shape[0]} pixels, "
                f"HR is {hr.shape[1]}x{hr.shape[0]}; not shown."
            )
    return outputs, problems


def _assemble(
    block: Block, image: str, hr: Grey, lr: Grey | None, outputs: Sequence[_Output], n_regions: int
) -> Panel:
    scale = block.key.scale
    judged = {output.row.identifier: output.pixels for output in outputs if output.row.kind in RANKED}
    regions = choose(hr, judged, scale)[:n_regions]
    nothing = (None,) * len(regions)
    tiles = [Tile("HR", "ground truth", "hr", None, tuple(_picture(r.cut(hr)) for r in regions), nothing)]
    if lr is not None and (hr.shape[0] // scale, hr.shape[1] // scale) == lr.shape:
        crops = tuple(_picture(region.cut_lr(lr, scale)) for region in regions)
        tiles.append(Tile("LR", "what the models get", "lr", None, crops, nothing))
    tiles += [_tile(output, hr, regions, scale) for output in outputs]
    stored = block.scores[block.scores["image"] == image]
    group, category = (str(stored[name].iloc[0]) if len(stored) else "" for name in ("group", "category"))
    height, width = hr.shape
    return Panel(image, group, category, width, height, None, _overview(hr), tuple(regions), tuple(tiles))


def _tile(output: _Output, hr: Grey, regions: Sequence[CropRegion], scale: int) -> Tile:
    values = tuple(psnr(region.cut(output.pixels), region.cut(hr), 255.0) for region in regions)
    pictures = tuple(_picture(region.cut(output.pixels)) for region in regions)
    row = output.row
    # At x1 no detail is finer than LR carries, so none can be invented.
    cuts = detail_maps(output.pixels, hr, scale, regions) if scale > 1 else []
    return Tile(
        row.title,
        row.detail_of(output.manifest),
        "sr",
        row.run,
        pictures,
        values,
        row.badges,
        tuple(_embedded(overlay(cut), cut.invented.shape) for cut in cuts),
        tuple(cut.means for cut in cuts),
    )


def _overview(hr: Grey) -> EmbeddedImage:
    """The image reduced by whole-number block means: where a crop lies, nothing to judge by."""
    factor = max(-(-max(hr.shape) // _THUMBNAIL_SIDE), 1)
    height, width = hr.shape[0] // factor, hr.shape[1] // factor
    blocks = hr[: height * factor, : width * factor].reshape(height, factor, width, factor)
    return _picture(np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8))


def _picture(pixels: Grey) -> EmbeddedImage:
    import cv2

    done, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise SrbenchError(f"Cannot encode a crop of shape {pixels.shape} as PNG.")
    return _embedded(encoded.tobytes(), pixels.shape)


def _embedded(content: bytes, shape: tuple[int, ...]) -> EmbeddedImage:
    text = base64.b64encode(content).decode("ascii")
    return EmbeddedImage(f"data:image/png;base64,{text}", shape[1], shape[0])


@dataclass(frozen=True)
class CropRegion:
    """A square of HR pixels and the rule that chose it."""

    rule: str
    top: int
    left: int
    side: int

    def cut(self, pixels: Grey) -> Grey:
        """This part of an HR-sized image."""
        return pixels[self.top : self.top + self.side, self.left : self.left + self.side]

    def cut_lr(self, pixels: Grey, scale: int) -> Grey:
        """The same part of the LR image; top, left and side are multiples of the scale."""
        part = slice(self.top // scale, (self.top + self.side) // scale)
        return pixels[part, self.left // scale : (self.left + self.side) // scale]

    def shared_area(self, other: CropRegion) -> float:
        """Share of the area that lies in both, 0 to 1."""
        height = min(self.top, other.top) + self.side - max(self.top, other.top)
        width = min(self.left, other.left) + self.side - max(self.left, other.left)
        return max(height, 0) * max(width, 0) / self.side**2


def choose(hr: Grey, outputs: Mapping[str, Grey], scale: int, side: int = SIDE) -> list[CropRegion]:
    """Up to three regions that overlap little: most disagreement, finest detail, a typical one.

    Args:
        hr: ``(H, W)`` ground truth.
        outputs: model to its ``(H, W)`` output.
        scale: magnification; regions start and end on whole LR pixels.
        side: HR pixels, made smaller when the image is.
    """
    step = scale * max(_STEP // scale, 1)
    side = min(side, *hr.shape) // scale * scale
    disagreement = _window_means(_disagreement(list(outputs.values()), hr), side, step)
    detail = _window_means(_detail(hr), side, step)
    typical = -np.abs(disagreement - np.median(disagreement))
    rules = {"models differ most": disagreement, "finest detail": detail, "typical": typical}
    chosen: list[CropRegion] = []
    for rule, merit in rules.items():
        region = _best_free(rule, merit, side, step, chosen)
        if region is not None:
            chosen.append(region)
    return chosen


def _disagreement(outputs: Sequence[Grey], hr: Grey) -> Field:
    """Standard deviation over the models at each pixel; with one model, its absolute error."""
    if len(outputs) < 2:
        reference = outputs[0] if outputs else hr
        return np.abs(reference.astype(np.float64) - hr.astype(np.float64))
    mean = sum(image.astype(np.float64) for image in outputs) / len(outputs)
    squares = sum((image.astype(np.float64) - mean) ** 2 for image in outputs)
    return np.asarray(np.sqrt(squares / len(outputs)))


def _detail(hr: Grey) -> Field:
    """Gradient magnitude after a 2x2 mean, which keeps single-pixel noise from passing for structure."""
    image = hr.astype(np.float64)
    smooth = (image[:-1, :-1] + image[1:, :-1] + image[:-1, 1:] + image[1:, 1:]) / 4
    rows, columns = np.gradient(smooth) if min(smooth.shape) > 1 else (smooth * 0, smooth * 0)
    return np.asarray(np.pad(np.hypot(rows, columns), ((0, 1), (0, 1)), mode="edge"))


def _window_means(field: Field, side: int, step: int) -> Field:
    """Mean of every ``side`` x ``side`` window whose corner lies on a grid of ``step``, by a summed table."""
    table = np.pad(field.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    tops = np.arange(0, field.shape[0] - side + 1, step)[:, None]
    lefts = np.arange(0, field.shape[1] - side + 1, step)[None, :]
    total = table[tops + side, lefts + side] - table[tops, lefts + side]
    total = total - table[tops + side, lefts] + table[tops, lefts]
    return np.asarray(total / side**2)


def _best_free(
    rule: str, merit: Field, side: int, step: int, taken: Sequence[CropRegion]
) -> CropRegion | None:
    """The window of highest merit that shares little with those taken; the first one among equals."""
    for index in np.argsort(-merit, axis=None, kind="stable"):
        row, column = divmod(int(index), merit.shape[1])
        region = CropRegion(rule, row * step, column * step, side)
        if all(region.shared_area(other) <= _MAX_SHARED_AREA for other in taken):
            return region
    return None


@dataclass(frozen=True)
class DetailMap:
    """Unexplained detail of a region, ``(H, W)`` each, in parts of the mean detail of the whole HR image."""

    invented: NDArray[np.float32]
    omitted: NDArray[np.float32]

    @property
    def means(self) -> tuple[float, float]:
        """Mean invented and mean omitted detail."""
        return float(self.invented.mean()), float(self.omitted.mean())


def detail_maps(sr: Grey, hr: Grey, scale: int, regions: Sequence[CropRegion]) -> list[DetailMap]:
    """Compare two 8-bit images of one size in some regions; the magnification must be 2 or more."""
    from srbench.metrics.detail_maps import maps_in

    windows = [(slice(r.top, r.top + r.side), slice(r.left, r.left + r.side)) for r in regions]
    return [
        DetailMap(invented.astype(np.float32), omitted.astype(np.float32))
        for invented, omitted in maps_in(sr / 255.0, hr / 255.0, scale, windows)
    ]


def overlay(detail: DetailMap) -> bytes:
    """The tints of a map as a PNG that is transparent where nothing is to be shown.

    On the lines of the hatching omitted detail has precedence, between them invented detail.
    """
    invented, omitted = (
        np.digitize(plane, STEPS).astype(np.uint8) for plane in (detail.invented, detail.omitted)
    )
    rows, columns = np.indices(invented.shape)
    on_line = (rows + columns) % STRIPE < STRIPE // 2
    cool = np.where(omitted > 0, omitted + len(STEPS), 0).astype(np.uint8)
    palette = bytes(3) + b"".join(bytes(colour) for colour in (INVENTED, OMITTED) for _ in OPACITIES)
    alphas = bytes(1) + 2 * bytes(round(255 * opacity) for opacity in OPACITIES)
    return png(np.where(on_line & (omitted > 0), cool, invented).astype(np.uint8), palette, alphas)


def legend() -> tuple[tuple[str, str, str], ...]:
    """Each step: from where on, and the CSS colours of invented and omitted detail."""
    return tuple(
        (f"{step:g}", _css(INVENTED, opacity), _css(OMITTED, opacity))
        for step, opacity in zip(STEPS, OPACITIES, strict=True)
    )


def png(pixels: Grey, palette: bytes, alphas: bytes) -> bytes:
    """A PNG of up to 16 colours, 4 bits a pixel (PNG specification, colour type 3).

    Args:
        pixels: ``(H, W)`` numbers of colours.
        palette: red, green and blue of each colour.
        alphas: opacity of each colour.
    """
    height, width = pixels.shape
    even = np.pad(pixels, ((0, 0), (0, width % 2)))
    packed = (even[:, ::2] << 4 | even[:, 1::2]).astype(np.uint8)
    lines = np.pad(packed, ((0, 0), (1, 0))).tobytes()  # each line starts with its filter: none
    header = struct.pack(">IIBBBBB", width, height, 4, 3, 0, 0, 0)
    parts = [(b"IHDR", header), (b"PLTE", palette), (b"tRNS", alphas), (b"IDAT", zlib.compress(lines, 9))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in (*parts, (b"IEND", b""))
    )


def _css(colour: tuple[int, int, int], opacity: float) -> str:
    return f"rgb({' '.join(map(str, colour))} / {opacity:g})"


@dataclass(frozen=True)
class ErrorScale:
    """How an absolute error becomes a colour.

    Attributes:
        red: 256 values in [0, 1] for errors of 0 to 255 grey levels, as an SVG table.
        green: the same for green.
        blue: the same for blue.
        legend: colours from no error to the largest one that is told apart.
        marks: what stands below the legend.
    """

    red: str
    green: str
    blue: str
    legend: tuple[str, ...]
    marks: tuple[str, ...]


def error_scale() -> ErrorScale:
    """Black to pale yellow by lightness (readable without colour vision), fixed from 0 to ``ERROR_SCALE``."""
    entries = _inferno(np.minimum(np.arange(_LEVELS) / (_LEVELS - 1) / ERROR_SCALE, 1.0))
    red, green, blue = (" ".join(f"{value / 255:.3f}" for value in entries[:, part]) for part in range(3))
    legend = tuple(f"#{r:02x}{g:02x}{b:02x}" for r, g, b in _inferno(np.linspace(0, 1, _LEGEND_STEPS)))
    marks = ("0", f"{ERROR_SCALE / 2:g}", f"≥ {ERROR_SCALE:g}")
    return ErrorScale(red, green, blue, legend, marks)


def _inferno(shares: Field) -> NDArray[np.uint8]:
    """RGB of shares 0 to 1 of the scale."""
    import cv2

    grey = np.round(255 * shares).astype(np.uint8).reshape(-1, 1)
    blue_green_red = np.asarray(cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO), dtype=np.uint8)
    return blue_green_red.reshape(len(shares), 3)[:, ::-1]
