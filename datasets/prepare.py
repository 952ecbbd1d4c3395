"""One image file to what training and scoring may see: grey, without its databar, large enough."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from srbench.datasets.databar import cut_databar, has_databar
from srbench.datasets.decode import MAX_PIXELS, MIN_SIDE, BadImage, decode
from srbench.datasets.interface import Pixels


@dataclass(frozen=True)
class Prepared:
    """HR pixels ``(H, W)``, what was done to get them, and how many rows the file has, databar included."""

    pixels: Pixels
    notes: tuple[str, ...]
    file_rows: int


def prepare(path: Path, *, max_pixels: int = MAX_PIXELS, min_side: int = MIN_SIDE) -> Prepared:
    """Decode an image file and cut its databar off.

    Raises:
        BadImage: the file cannot be used, too little is left above the databar, or some of it remains; the
            message names the file and the reason.
    """
    decoded = decode(path, max_pixels=max_pixels, min_side=min_side)
    pixels, bar = cut_databar(decoded.pixels)
    if pixels.shape[0] < min_side:
        raise BadImage(
            f"{path}: only {pixels.shape[0]} rows are left above its databar; {min_side} are needed"
        )
    if has_databar(pixels):
        raise BadImage(
            f"{path}: looks as if a databar remains (text in a picture would leak into training and scores); "
            "cut it off by hand"
        )
    if bar is None:
        return Prepared(pixels, decoded.notes, decoded.pixels.shape[0])
    note = f"databar cut: rows {pixels.shape[0]} to {decoded.pixels.shape[0]} dropped"
    return Prepared(pixels, (*decoded.notes, note), decoded.pixels.shape[0])
