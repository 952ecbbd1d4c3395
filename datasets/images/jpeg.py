"""JPEG data, whole or refused: what is missing libjpeg fills with grey and a warning, an error here."""

from __future__ import annotations

import io

from srbench.datasets.images.raw import AnyArray, BadImage


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height.

    Raises:
        BadImage: damaged, or of a kind that is not read.
    """
    from PIL import JpegImagePlugin

    try:
        # Pillow's own reader: Image.open would apply a size limit other than ours.
        width, height = JpegImagePlugin.JpegImageFile(io.BytesIO(data)).size
    except Exception as error:  # Pillow raises whatever its parsers stumble over
        raise BadImage(f"the file is damaged or cut short: {error}") from error
    return width, height


def decode_jpeg(data: bytes) -> AnyArray:
    """Grey ``(H, W)`` or RGB ``(H, W, 3)`` uint8, rows as they are stored.

    Raises:
        BadImage: libjpeg errs or warns: a scan that ends early, bad codes, or bytes left over.
    """
    import simplejpeg

    try:
        kind = simplejpeg.decode_jpeg_header(data)[2]
        array: AnyArray = simplejpeg.decode_jpeg(data, colorspace="GRAY" if kind == "Gray" else "RGB")
    except ValueError as error:
        if "subsampling" in str(error):
            raise BadImage(
                "a JPEG that is damaged or of an unusual chroma subsampling; save it as PNG or TIFF"
            ) from error
        raise BadImage(
            f"the file is damaged or cut short: {error}; copy it again, or export it anew"
        ) from error
    return array[..., 0] if array.shape[2] == 1 else array


def check_jpeg(data: bytes, tables: bytes | None) -> None:
    """Raise ValueError where a JPEG stream of a TIFF strip, with its shared tables, is not whole."""
    import simplejpeg

    if tables:
        data = tables[:-2] + data[2:]
    simplejpeg.decode_jpeg(data, colorspace="GRAY")
