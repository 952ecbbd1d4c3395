"""What an instrument wrote beside the pixels: pixel size, rows above the databar, bits, dwell time, stage.

Read from the tags of FEI/Thermo, Zeiss, TESCAN, Olympus SIS, TVIPS, ImageJ and OME, from the text files that
TESCAN, Hitachi and JEOL put beside an image, and from a PNG's pHYs. A resolution in dpi is what some program
assumed of a printer or a screen: it is believed only where no such device has it.
"""

from __future__ import annotations

import logging
import math
import re
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from xml.parsers import expat

from srbench.datasets.images.jpeg import jpeg_size
from srbench.datasets.images.png import PNG, png_metadata, png_size
from srbench.datasets.images.tiff import full_pages, open_tiff
from srbench.utils.files import open_regular, read_regular

if TYPE_CHECKING:
    from tifffile import TiffFile

SMALLEST_NM, LARGEST_NM = 1e-3, 1e6
"""Pixels of 1 pm to 1 mm; anything else is no pixel of a micrograph."""

_AGREE = 0.01
_LARGEST_TEXT = 1 << 20
_MOST_ELEMENTS = 10_000
# Instruments write at most 30 kB there, and tifffile takes time by the square of the length.
_PARSED_BY_TIFFFILE = {
    "FEI tag": (34680, 34682),
    "Zeiss tag": (34118,),
    "SIS tag": (33560, 34853),
    "TVIPS tag": (37706,),
}
_LARGEST_PARSED = 1 << 16
# Ahead of the size of a JPEG stand texts, colour profiles and previews.
_LARGEST_JPEG_HEAD = 1 << 24
_INCH_NM = 25.4e6
# A resolution of 100 µm and more, or one of a printer or scanner, says nothing about the specimen.
_LARGEST_BY_RESOLUTION_NM = 1e5
_DEVICE_DPI = (300, 350, 360, 400, 600, 720, 800, 1200, 1440, 2400, 2880, 3200, 4800, 9600)
_UNITS_NM = {
    **dict.fromkeys(("pm", "picometer"), 1e-3),
    **dict.fromkeys(("å", "a", "angstrom"), 0.1),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1.0),
    # The micro sign and the Greek letter look alike.
    **dict.fromkeys(("um", "\u00b5m", "\u03bcm", "micron", "microns", "micrometer", "micrometre"), 1e3),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e6),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 1e7),
    **dict.fromkeys(("m", "meter", "metre"), 1e9),
    **dict.fromkeys(("inch", "in", "inches"), _INCH_NM),
}
_TIFF_RESOLUTION_UNITS_NM = {2: _INCH_NM, 3: 1e7, 4: 1e6, 5: 1e3}
_TESCAN = 50431
_FEI_XML = 34683


@dataclass(frozen=True)
class InstrumentFacts:
    """What the metadata of one image file say; None where they do not.

    Attributes:
        pixel_size_nm: side of a pixel: the mean of x and y where they agree to 1 %, else x (with a note).
        source: where the pixel size stands: ``FEI tag``, ``TESCAN .hdr``, ``Hitachi .txt``, ...
        image_rows: rows of the image without its databar.
        bits: significant bits of a pixel.
        dwell_s: seconds of a pixel under the beam.
        notes: what is doubtful, as ``kind`` or ``kind: detail``.
        stage_um: x and y of the stage.
    """

    pixel_size_nm: float | None = None
    source: str = ""
    image_rows: int | None = None
    bits: int | None = None
    dwell_s: float | None = None
    notes: tuple[str, ...] = ()
    stage_um: tuple[float, float] | None = None


def read_instrument(path: Path) -> InstrumentFacts:
    """Read the metadata of an image file and of the text files beside it; pixels are not decoded.

    What is damaged is left out, with a note; a file that is no image has no metadata.
    """
    parts: list[InstrumentFacts] = []
    with without_logging(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with open_regular(path) as file:
                start = file.read(1024)
                read = _read_tiff if start[:2] in (b"II", b"MM") else _read_other
                size = read(file, start, parts)
        except Exception:  # whoever decodes the file says what is wrong with it
            return _merged(parts)
    resolution = [part for part in parts if part.source in ("TIFF resolution", "PNG pHYs")]
    embedded = [part for part in parts if part not in resolution]
    beside: list[InstrumentFacts] = []
    try:
        beside.extend(_side_cars(path, *size))
    except Exception:  # names and numbers of any kind stand in such a text
        beside.append(InstrumentFacts(notes=("instrument metadata damaged, not read: the text beside it",)))
    return _merged([*embedded, *beside, *resolution])


@contextmanager
def without_logging() -> Iterator[None]:
    """What tifffile logs of damaged tags stays off the terminal."""

    def drop(_: logging.LogRecord) -> bool:
        return False

    logger = logging.getLogger("tifffile")
    logger.addFilter(drop)
    try:
        yield
    finally:
        logger.removeFilter(drop)


def _merged(parts: list[InstrumentFacts]) -> InstrumentFacts:
    """The first value of each kind, and every note."""

    def first(name: str) -> Any:
        return next((value for part in parts if (value := getattr(part, name)) is not None), None)

    sized = next((part for part in parts if part.pixel_size_nm is not None), InstrumentFacts())
    notes = dict.fromkeys(note for part in parts for note in part.notes)
    return InstrumentFacts(
        sized.pixel_size_nm,
        sized.source,
        first("image_rows"),
        first("bits"),
        first("dwell_s"),
        tuple(notes),
        first("stage_um"),
    )


def _facts(
    source: str,
    x_nm: float | None = None,
    y_nm: float | None = None,
    *,
    image_rows: int | None = None,
    bits: int | None = None,
    dwell_s: float | None = None,
    notes: tuple[str, ...] = (),
) -> InstrumentFacts:
    """Facts with a pixel size that is possible; an impossible one becomes a note."""
    if dwell_s is not None and not (math.isfinite(dwell_s) and dwell_s > 0):
        dwell_s = None
    if x_nm is not None and not SMALLEST_NM <= x_nm <= LARGEST_NM:
        notes = (*notes, f"pixel size ignored, no micrograph has it: {x_nm:g} nm ({source})")
        x_nm = None
    if x_nm is None:
        return InstrumentFacts(None, "", image_rows, bits, dwell_s, notes)
    if y_nm is None or not SMALLEST_NM <= y_nm <= LARGEST_NM:
        y_nm = x_nm
    if abs(x_nm - y_nm) > _AGREE * x_nm:
        notes = (*notes, f"pixels are not square, their width is taken: {x_nm:g} x {y_nm:g} nm ({source})")
        y_nm = x_nm
    return InstrumentFacts((x_nm + y_nm) / 2, source, image_rows, bits, dwell_s, notes)


def _number(value: Any) -> float | None:
    """A number, also one written as text; None for anything else."""
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def _nm(value: Any, unit: str = "m") -> float | None:
    """A length in nm; None where the value is no number or the unit no length."""
    number, factor = _number(value), _UNITS_NM.get(unit.strip().lower())
    return None if number is None or factor is None else number * factor


def _read_tiff(file: IO[bytes], _start: bytes, parts: list[InstrumentFacts]) -> tuple[int, int]:
    """Append what the tags of a TIFF say; width and height of its first image that is no thumbnail."""
    page = full_pages(file)[0][0]  # refuses what tifffile would believe
    width, height = page.width, page.height
    with open_tiff(file) as tiff:
        readers: Mapping[str, Callable[[TiffFile, int, int], InstrumentFacts]] = {
            "FEI tag": _fei,
            "FEI XML tag": _fei_xml,
            "Zeiss tag": _zeiss,
            "TESCAN tag": _tescan_tag,
            "SIS tag": _sis,
            "TVIPS tag": _tvips,
            "ImageJ tag": _imagej,
            "OME": _ome,
            "MaxSampleValue": _largest_sample,
            "TIFF resolution": _tiff_resolution,
        }
        for name, read in readers.items():
            try:
                for code in _PARSED_BY_TIFFFILE.get(name, ()):
                    tag = tiff.pages.first.tags.get(code)
                    if tag is not None and tag.count > _LARGEST_PARSED:
                        raise ValueError(f"a tag of {tag.count:,} values")
                parts.append(read(tiff, width, height))
            except Exception:  # whatever a parser stumbles over in a damaged tag
                parts.append(InstrumentFacts(notes=(f"instrument metadata damaged, not read: {name}",)))
    return width, height


def _tag(tiff: TiffFile, code: int) -> Any:
    return tiff.pages.first.tags.valueof(code)


def _xml_elements(text: str) -> Iterator[tuple[str, Mapping[str, str], list[str]]]:
    """Name without its namespace, attributes and the texts directly inside, of elements in their order.

    Neither a tree nor an entity: a type of document, which may define entities, ends the reading, as do
    10,000 elements. Of what is damaged the part before the damage is given.
    """
    elements: list[tuple[str, Mapping[str, str], list[str]]] = []
    open_elements: list[list[str]] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(elements) >= _MOST_ELEMENTS:
            raise ValueError("too many elements")
        open_elements.append([])
        elements.append((name.rpartition("}")[2], attributes, open_elements[-1]))

    def end(_: str) -> None:
        open_elements.pop()

    def characters(data: str) -> None:
        if open_elements:
            open_elements[-1].append(data)

    def doctype(*_: object) -> None:
        raise ValueError("a type of document")

    parser = expat.ParserCreate(namespace_separator="}")
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = doctype
    # Of a text that is longer the end is cut off; what is looked for stands at its start.
    with suppress(expat.ExpatError, ValueError):
        parser.Parse(text.strip("\0 \r\n")[:_LARGEST_TEXT].encode("utf-8", "replace"), False)
    yield from elements


def _fei(tiff: TiffFile, width: int, height: int) -> InstrumentFacts:
    metadata = tiff.fei_metadata or {}

    def value(section: str, key: str) -> float | None:
        return _number(metadata.get(section, {}).get(key))

    notes: tuple[str, ...] = ()
    columns, rows = value("Image", "ResolutionX"), value("Image", "ResolutionY")
    x, y = value("Scan", "PixelWidth"), value("Scan", "PixelHeight")
    beam = str(metadata.get("Beam", {}).get("Beam", "IRBeam"))
    field = value(beam, "HFW") or value("IRBeam", "HFW") or value("EBeam", "HFW")
    if x is None and field is not None and columns:
        x = field / columns
    if columns and columns != width:
        notes = (
            "cut or resized after the instrument saved it (if resized, give its pixel size): "
            f"{width} columns, {columns:g} in the FEI tag",
        )
    bits = value("Image", "BitDepth")
    facts = _facts(
        "FEI tag",
        _nm(x),
        _nm(y),
        image_rows=int(rows) if rows and rows <= height and columns == width else None,
        bits=int(bits) if bits and 1 <= bits <= 16 else None,
        dwell_s=value("Scan", "Dwelltime") or value("EScan", "Dwell"),
        notes=notes,
    )
    x_m, y_m = value("Stage", "StageX"), value("Stage", "StageY")
    if x_m is None or y_m is None or not (math.isfinite(x_m) and math.isfinite(y_m)):
        return facts
    return replace(facts, stage_um=(x_m * 1e6, y_m * 1e6))


def _fei_xml(tiff: TiffFile, _width: int, _height: int) -> InstrumentFacts:
    value = _tag(tiff, _FEI_XML)
    if value is None:
        return InstrumentFacts()
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    lengths: dict[str, float | None] = {}
    inside = False
    for name, attributes, texts in _xml_elements(text):
        if name == "PixelSize":
            inside = True
        elif inside and name in ("X", "Y"):
            lengths.setdefault(name, _nm("".join(texts), attributes.get("unit", "m")))
    return _facts("FEI tag", lengths.get("X"), lengths.get("Y"))


def _zeiss(tiff: TiffFile, _width: int, _height: int) -> InstrumentFacts:
    metadata = tiff.sem_metadata or {}

    def length(key: str) -> float | None:
        name_value_unit = metadata.get(key, ())
        return _nm(name_value_unit[1], name_value_unit[2]) if len(name_value_unit) == 3 else None

    # "Image Pixel Size" is that of the stored image; "Pixel Size" that of the scan, which may be finer.
    image, scan = length("ap_image_pixel_size"), length("ap_pixel_size")
    notes: tuple[str, ...] = ()
    if image and scan and abs(image - scan) > _AGREE * image:
        notes = (f"two pixel sizes in the Zeiss tag, the image's is taken: {image:g} nm, not {scan:g} nm",)
    return _facts("Zeiss tag", image or scan, notes=notes)


def _tescan_tag(tiff: TiffFile, _width: int, height: int) -> InstrumentFacts:
    value = _tag(tiff, _TESCAN)
    if value is None:
        return InstrumentFacts()
    data = value.encode("latin-1", "replace") if isinstance(value, str) else bytes(value)
    # Text in sections behind an embedded preview, each section with a few bytes of length before it.
    return _tescan(data.decode("latin-1"), "TESCAN tag", height)


def _tescan(text: str, source: str, height: int) -> InstrumentFacts:
    values: dict[str, str] = {}
    # By lines, not by one pattern: on a text without a "=" that would take time by the square of its length.
    for line in re.split(r"[\r\n\0]", text):
        before, equals, value = line.partition("=")
        name = re.search(r"\w{1,64}$", before.rstrip(" \t")[-64:])
        if equals and name:
            values[name[0]] = value.lstrip(" \t")
    strip = _number(values.get("ImageStripSize"))
    return _facts(
        source,
        _nm(values.get("PixelSizeX")),
        _nm(values.get("PixelSizeY")),
        image_rows=height - int(strip) if strip and 0 < strip < height else None,
        dwell_s=_number(values.get("DwellTime")),
    )


def _sis(tiff: TiffFile, _width: int, _height: int) -> InstrumentFacts:
    metadata = tiff.sis_metadata or {}
    return _facts("SIS tag", _nm(metadata.get("pixelsizex")), _nm(metadata.get("pixelsizey")))


def _tvips(tiff: TiffFile, _width: int, _height: int) -> InstrumentFacts:
    metadata = tiff.tvips_metadata or {}
    return _facts("TVIPS tag", _nm(metadata.get("PixelSizeX"), "nm"), _nm(metadata.get("PixelSizeY"), "nm"))


def _imagej(tiff: TiffFile, _width: int, _height: int) -> InstrumentFacts:
    metadata = tiff.imagej_metadata or {}
    unit = str(metadata.get("unit", "")).replace("\\u00B5", "\u00b5").replace("\\u00b5", "\u00b5")
    x, y = (_by_resolution(_tag(tiff, code), _nm(1, unit)) for code in (282, 283))
    return _facts("ImageJ tag", x, y)


def _ome(tiff: TiffFile, _width: int, _height: int) -> InstrumentFacts:
    text = tiff.ome_metadata
    for name, attributes, _texts in _xml_elements(text) if text else ():
        if name == "Pixels":
            x, y = (
                _nm(attributes.get(f"PhysicalSize{axis}"), attributes.get(f"PhysicalSize{axis}Unit", "um"))
                for axis in "XY"
            )
            bits = _number(attributes.get("SignificantBits"))
            return _facts("OME", x, y, bits=int(bits) if bits and 1 <= bits <= 16 else None)
    return InstrumentFacts()


def _largest_sample(tiff: TiffFile, _width: int, _height: int) -> InstrumentFacts:
    value = _tag(tiff, 281)
    largest = _number(max(value) if isinstance(value, tuple) else value)
    usable = largest is not None and 1 <= largest <= 65535
    return InstrumentFacts(bits=int(largest).bit_length() if largest and usable else None)


def _tiff_resolution(tiff: TiffFile, _width: int, _height: int) -> InstrumentFacts:
    if tiff.is_imagej and "unit" in (tiff.imagej_metadata or {}):
        return InstrumentFacts()  # the tags count in ImageJ's unit
    unit = _TIFF_RESOLUTION_UNITS_NM.get(int(_number(_tag(tiff, 296)) or 2))
    x, y = (_by_resolution(_tag(tiff, code), unit) for code in (282, 283))
    return InstrumentFacts() if x is None else _facts("TIFF resolution", x, y)


def _by_resolution(pixels: Any, unit_nm: float | None) -> float | None:
    """The pixel size of so many pixels a unit, in nm; None where it is the resolution of some device."""
    number = pixels[0] / pixels[1] if isinstance(pixels, tuple) and pixels[1] else _number(pixels)
    if not number or number < 0 or not math.isfinite(number) or unit_nm is None:
        return None
    size_nm = unit_nm / number
    if unit_nm < 1e6:  # nm or µm: no device counts so
        return size_nm
    dpi = _INCH_NM / size_nm
    device = any(abs(dpi - usual) <= 0.005 * usual for usual in _DEVICE_DPI)
    return None if device or size_nm >= _LARGEST_BY_RESOLUTION_NM else size_nm


def _read_other(file: IO[bytes], start: bytes, parts: list[InstrumentFacts]) -> tuple[int, int]:
    """Append what a PNG's pHYs or an MRC's header says; width and height of an image that is no TIFF."""
    if start[208:211] == b"MAP":
        order = ">" if start[212:213] == b"\x11" else "<"
        width, height = struct.unpack_from(f"{order}2i", start)
        intervals = struct.unpack_from(f"{order}2i", start, 28)
        cell = struct.unpack_from(f"{order}2f", start, 40)
        if min(*intervals, *cell) > 0:
            x, y = (length / count * 0.1 for length, count in zip(cell, intervals, strict=True))
            parts.append(_facts("MRC header", x, y))
        return width, height
    if start.startswith(PNG):
        pixels = next((content for name, content in png_metadata(file) if name == b"pHYs"), b"")
        if len(pixels) == 9 and pixels[8] == 1:  # pixels a metre
            x, y = (_by_resolution(number, 1e9) for number in struct.unpack_from(">II", pixels))
            if x is not None:
                parts.append(_facts("PNG pHYs", x, y))
        return png_size(start)
    if start.startswith(b"BM"):
        width, height = struct.unpack_from("<2i", start, 18)
        return width, abs(height)
    file.seek(0)
    return jpeg_size(file.read(_LARGEST_JPEG_HEAD))


def _side_cars(path: Path, width: int, height: int) -> Iterator[InstrumentFacts]:
    """What the text files of TESCAN, Hitachi and JEOL instruments beside an image say."""
    stem, suffix = path.stem, path.suffix.removeprefix(".")
    for ending in (f"-{suffix}.hdr", ".hdr", f"-{suffix}.HDR", ".HDR"):
        if (text := _text(path.with_name(f"{stem}{ending}"))) is not None:
            yield _if_shared(path, ending, _tescan(text, "TESCAN .hdr", height))
    for ending in (".txt", ".TXT", ".Txt"):
        if (text := _text(path.with_name(f"{stem}{ending}"))) is not None:
            yield _if_shared(path, ending, _jeol(text, width, height))
            yield _hitachi(text, path, width, height)


def _if_shared(path: Path, ending: str, facts: InstrumentFacts) -> InstrumentFacts:
    """With a note where the text may be that of another image of the same name."""
    others = (path.with_suffix(suffix) for suffix in (".tif", ".tiff", ".png", ".jpg", ".bmp"))
    other = next((other.name for other in others if other != path and other.is_file()), None)
    if facts.pixel_size_nm is None or other is None or ending.startswith("-"):
        return facts
    note = f"pixel size of a text that may belong to another image of this name: {other} ({facts.source})"
    return replace(facts, notes=(*facts.notes, note))


def _text(path: Path) -> str | None:
    try:
        data = read_regular(path, _LARGEST_TEXT)
    except (OSError, ValueError):  # a name with a zero byte
        return None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _hitachi(text: str, path: Path, width: int, height: int) -> InstrumentFacts:
    lines = (line.partition("=") for line in text.splitlines())
    values = {name.strip(): value.strip() for name, _, value in lines}
    size = _number(values.get("PixelSize"))
    if size is None:
        return InstrumentFacts()
    named = path.with_name(Path(values.get("ImageName") or path.name).name)
    if named.name.lower() != path.name.lower() and named.is_file():
        return InstrumentFacts()  # the text of another image with this stem
    return _checked_size("Hitachi .txt", size, re.findall(r"\d+", values.get("DataSize", "")), width, height)


def _jeol(text: str, width: int, height: int) -> InstrumentFacts:
    entries = (line.split(maxsplit=1) for line in text.splitlines() if line.lstrip().startswith("$"))
    values = {entry[0].lstrip("$"): entry[1].strip() for entry in entries if len(entry) == 2}
    bar = _number(values.get("SM_MICRON_BAR"))
    marker = _quantity_nm(values.get("SM_MICRON_MARKER", ""))
    size = _quantity_nm(values.get("CM_PIXEL_SIZE", ""))
    if size is None and marker is not None and bar:
        size = marker / bar
    if size is None:
        return InstrumentFacts()
    return _checked_size("JEOL .txt", size, values.get("CM_FULL_SIZE", "").split(), width, height)


def _quantity_nm(text: str) -> float | None:
    """``10um``, ``500 nm``: a length in nm."""
    match = re.match(r"([\d.eE+-]{1,64})\s{0,8}(\S{1,64})", text)
    return _nm(*match.groups()) if match else None


def _checked_size(source: str, size_nm: float, sides: list[str], width: int, height: int) -> InstrumentFacts:
    """A pixel size, for the image of the columns that the text names."""
    numbers = [int(side) for side in sides[:2] if side.isdecimal() and len(side) < 10]
    columns, rows = numbers if len(numbers) == 2 else (width, height)
    if columns != width:
        kind = "pixel size ignored, the text beside it is of an image of another size"
        return InstrumentFacts(notes=(f"{kind}: {columns} columns, not {width} ({source})",))
    return _facts(source, size_nm, image_rows=rows if 0 < rows <= height and len(numbers) == 2 else None)
