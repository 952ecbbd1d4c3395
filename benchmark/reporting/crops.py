"""The pictures of the report: the same regions of HR, LR and every model, ready to be embedded.

Crops are stored without loss, because the page computes its error maps from them. Nothing is resampled here:
the page enlarges pixels as squares. Where a model invented or omitted detail is computed here, from the whole
stored images, and embedded as transparent pictures that the page lays over the crops.
"""

from __future__ import annotations

import base64
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from srbench.errors import SrbenchError
from srbench.evaluation.metrics.psnr import psnr
from srbench.reporting.blocks import Block
from srbench.reporting.detail import DetailMap, detail_map, overlay
from srbench.reporting.regions import Grey, Region, choose
from srbench.reporting.rows import BASELINE, Row
from srbench.store import Manifest, ScoreStore

MAX_IMAGES = 6
MAX_PICTURES = 160
ERROR_SCALE = 0.2
_THUMBNAIL_SIDE = 260


@dataclass(frozen=True)
class Picture:
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
        pictures: one a region.
        psnr: PSNR of each region against HR in dB, None for HR and LR.
        badges: what the reader must know of this model.
        maps: tints of invented and omitted detail, one a region; empty for HR and LR.
        unexplained: mean invented and omitted detail of each region, in parts of the mean detail of HR.
    """

    title: str
    detail: str
    kind: str
    pictures: tuple[Picture, ...]
    psnr: tuple[float | None, ...]
    badges: tuple[str, ...] = ()
    maps: tuple[Picture, ...] = ()
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
        overview: the HR image, reduced.
        regions: where the crops were taken.
        tiles: HR, LR, bicubic, then the models in the order of the table.
    """

    image: str
    group: str
    category: str
    width: int
    height: int
    overview: Picture
    regions: tuple[Region, ...]
    tiles: tuple[Tile, ...]

    @property
    def has_maps(self) -> bool:
        """Whether invented and omitted detail is shown."""
        return any(tile.maps for tile in self.tiles)


@dataclass(frozen=True, eq=False)
class _Output:
    row: Row
    manifest: Manifest
    pixels: Grey
    detail: DetailMap | None


def panels(store: ScoreStore, block: Block, rows: Sequence[Row]) -> tuple[list[Panel], list[str]]:
    """The panels of a block and what had to be left out, in words."""
    images = sorted({image for row in rows for image in shown_run(row).previews})
    notes = []
    if len(images) > MAX_IMAGES:
        notes.append(
            f"{len(images)} images have previews; the first {MAX_IMAGES} by id are shown, "
            "to keep the page small."
        )
    made = []
    n_regions = max(MAX_PICTURES // (min(len(images), MAX_IMAGES) * (len(rows) + 2)), 1) if images else 0
    for image in images[:MAX_IMAGES]:
        panel, problems = _panel(store, block, rows, image, n_regions)
        notes += problems
        made += [panel] if panel is not None else []
    return made, notes


def shown_run(row: Row) -> Manifest:
    """The run whose pictures stand for a row: the first seed that has some."""
    return next((manifest for manifest in row.manifests if manifest.previews), row.manifest)


def reference_id(manifest: Manifest) -> str:
    """Where the HR and LR of a run's previews are stored."""
    return str(manifest.data.get("reference_id", ""))


def _panel(
    store: ScoreStore, block: Block, rows: Sequence[Row], image: str, n_regions: int
) -> tuple[Panel | None, list[str]]:
    shown = [run for run in map(shown_run, rows) if image in run.previews]
    references = sorted({reference_id(run) for run in shown})
    found = [store.reference(name, image, "hr") for name in references]
    hr = next((pixels for path in found if (pixels := _read(path)) is not None), None)
    if hr is None:
        return None, [f"No HR image is stored for {image}: evaluate again with previews to see its crops."]
    lr = next(
        (p for name in references if (p := _read(store.reference(name, image, "lr"))) is not None), None
    )
    outputs, problems = _outputs(store, rows, image, hr, block.key.scale)
    if min(hr.shape) < 4 * block.key.scale:
        return None, [*problems, f"{image} is too small to show."]
    return _assemble(block, image, hr, lr, outputs, n_regions), problems


def _outputs(
    store: ScoreStore, rows: Sequence[Row], image: str, hr: Grey, scale: int
) -> tuple[list[_Output], list[str]]:
    outputs, problems = [], []
    for row in sorted(rows, key=lambda row: row.run[0] != BASELINE):
        run = shown_run(row)
        pixels = _read(store.preview(run.key, image))
        if pixels is not None and pixels.shape == hr.shape:
            # At x1 no detail is finer than LR carries, so none can be invented.
            detail = detail_map(pixels, hr, scale) if scale > 1 else None
            outputs.append(_Output(row, run, pixels, detail))
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
    judged = {output.row.identifier: output.pixels for output in outputs if output.row.shapes_crops}
    regions = choose(hr, judged, scale)[:n_regions]
    tiles = [
        Tile("HR", "ground truth", "hr", _pictures([r.cut(hr) for r in regions]), (None,) * len(regions))
    ]
    if lr is not None and (hr.shape[0] // scale, hr.shape[1] // scale) == lr.shape:
        crops = [region.cut_lr(lr, scale) for region in regions]
        tiles.append(Tile("LR", "what the models get", "lr", _pictures(crops), (None,) * len(regions)))
    tiles += [_tile(output, hr, regions) for output in outputs]
    group, category = _place(block, image)
    height, width = hr.shape
    return Panel(image, group, category, width, height, _overview(hr), tuple(regions), tuple(tiles))


def _tile(output: _Output, hr: Grey, regions: Sequence[Region]) -> Tile:
    values = tuple(psnr(region.cut(output.pixels), region.cut(hr), 255.0) for region in regions)
    pictures = _pictures([region.cut(output.pixels) for region in regions])
    row = output.row
    cuts = [output.detail.cut(r.top, r.left, r.side) for r in regions] if output.detail else []
    return Tile(
        row.title,
        row.detail_of(output.manifest),
        "sr",
        pictures,
        values,
        row.badges,
        tuple(_embedded(overlay(cut), cut.invented.shape) for cut in cuts),
        tuple(cut.means for cut in cuts),
    )


def _place(block: Block, image: str) -> tuple[str, str]:
    rows = block.scores[block.scores["image"] == image]
    return (str(rows["group"].iloc[0]), str(rows["category"].iloc[0])) if len(rows) else ("", "")


def _pictures(crops: Sequence[Grey]) -> tuple[Picture, ...]:
    return tuple(_picture(crop) for crop in crops)


def _overview(hr: Grey) -> Picture:
    """The image reduced by whole-number block means: where a crop lies, nothing to judge by."""
    factor = max(-(-max(hr.shape) // _THUMBNAIL_SIDE), 1)
    height, width = hr.shape[0] // factor, hr.shape[1] // factor
    blocks = hr[: height * factor, : width * factor].reshape(height, factor, width, factor)
    return _picture(np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8))


def _picture(pixels: Grey) -> Picture:
    import cv2

    done, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise SrbenchError(f"Cannot encode a crop of shape {pixels.shape} as PNG.")
    return _embedded(encoded.tobytes(), pixels.shape)


def _embedded(content: bytes, shape: tuple[int, ...]) -> Picture:
    text = base64.b64encode(content).decode("ascii")
    return Picture(f"data:image/png;base64,{text}", shape[1], shape[0])


def _read(path: Path | None) -> Grey | None:
    import cv2

    if path is None:
        return None
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        warnings.warn(f"{path} is not a readable image (ignored)", stacklevel=2)
        return None
    return np.asarray(pixels, dtype=np.uint8)
