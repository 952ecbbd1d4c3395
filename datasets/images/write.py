"""Writing images as TIFF or PNG, with the side of a pixel where ImageJ and others look for it, and a text.

ImageJ reads a unit from a description that begins with its name, and the pixels in this unit from
XResolution. The description of a file that was written here is read again with ``read_description``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, Literal

from numpy.typing import NDArray

from srbench.utils.files import open_regular

ImageFormat = Literal["tiff", "png"]
IMAGE_FORMATS: tuple[ImageFormat, ...] = ("tiff", "png")

_IMAGEJ = "ImageJ=1.54f"
# Offsets of a classic TIFF have 32 bits; the rest is for directories and descriptions.
_LARGEST_CLASSIC_TIFF = (1 << 32) - (1 << 26)
# The PNG standard ends at 31 bits.
_MOST_PIXELS_PER_METRE = (1 << 31) - 1
_MAX_SAMPLE_VALUE = 281


def write_tiff(
    file: IO[bytes],
    pages: Iterable[NDArray[Any]],
    software: str,
    description: Iterable[str],
    pixel_size_nm: float | None,
    *,
    bits: int | None = None,
    total_bytes: int = 0,
) -> int:
    """Write grey pages ``(H, W)`` of any type, uncompressed, which every reader of TIFF takes.

    Args:
        file: open for writing, seekable.
        pages: at least one; taken one at a time.
        software: the program's name and version.
        description: lines; those of the form ``name=value`` are properties to ImageJ.
        pixel_size_nm: side of a pixel; None leaves it out.
        bits: significant bits, for the tag MaxSampleValue; None where they are those of the type.
        total_bytes: of all pages; decides whether the file is a BigTIFF.

    Returns:
        The number of pages.
    """
    from tifffile import TiffWriter

    lines = [_IMAGEJ]
    resolution: dict[str, Any] = {}
    if pixel_size_nm is not None:
        unit, factor = ("nm", 1.0) if pixel_size_nm < 1000 else ("um", 1000.0)
        lines.append(f"unit={unit}")
        resolution = {"resolution": (factor / pixel_size_nm,) * 2, "resolutionunit": "NONE"}
    text = "\n".join([*lines, *description, ""]).encode("utf-8", "backslashreplace")
    count = 0
    with TiffWriter(file, bigtiff=total_bytes > _LARGEST_CLASSIC_TIFF) as writer:
        for page in pages:
            tags = []
            if bits is not None and page.dtype.kind == "u" and int(page.max()) >> bits == 0:
                tags = [(_MAX_SAMPLE_VALUE, "H", 1, (1 << bits) - 1, True)]
            writer.write(
                page,
                photometric="minisblack",
                description=text if count == 0 else None,
                software=software if count == 0 else False,
                metadata=None,
                extratags=tags,
                **resolution,
            )
            count += 1
    return count


def write_png(
    file: IO[bytes],
    pixels: NDArray[Any],
    software: str,
    description: Iterable[str],
    pixel_size_nm: float | None,
) -> bool:
    """Write grey pixels ``(H, W)``, uint8 or uint16.

    Returns:
        Whether the pixel size is in the file: pixels under 0.466 nm are more a metre than a PNG can say.
    """
    from PIL import Image, PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text("Software", software)
    text = "\n".join(description).encode("utf-8", "backslashreplace").decode("utf-8")
    info.add_itxt("Description", text)
    options: dict[str, Any] = {}
    fits = pixel_size_nm is None or 1e9 / pixel_size_nm <= _MOST_PIXELS_PER_METRE
    if pixel_size_nm is not None and fits:
        options["dpi"] = (0.0254e9 / pixel_size_nm,) * 2
    Image.fromarray(pixels).save(file, format="PNG", pnginfo=info, **options)
    return fits


def read_description(path: Path) -> str:
    """The description of a TIFF's first page or of a PNG; empty where there is none or it cannot be read."""
    from srbench.datasets.images.instrument import without_logging
    from srbench.datasets.images.png import PNG, png_text
    from srbench.datasets.images.tiff import full_pages, open_tiff

    try:
        with without_logging(), warnings.catch_warnings(), open_regular(path) as file:
            warnings.simplefilter("ignore")
            start = file.read(len(PNG))
            if start == PNG:
                return png_text(file, "Description")
            if start[:2] in (b"II", b"MM"):
                full_pages(file)  # refuses what tifffile would believe
                with open_tiff(file) as tiff:
                    return str(tiff.pages.first.description)
    except Exception:  # of a damaged file, which whoever decodes it will name
        return ""
    return ""
