"""Small archives in the layout of the NFFA-EUROPE SEM sets, drawn here: ``<Class>/L<digit>_<32 hex>.jpg``.

Frames are RGB JPEG files of generated scenes (or of grey images you give), most with the instrument's bar:
white, framed in black, with text, a green scale bar and a dark red logo, floating above the lower edge so
that the specimen goes on below it. Everything follows from seeds: equal calls give equal bytes.

    scene(seed, height, width)              a grey "micrograph"; every seed another one
    with_bar(grey, top=..., height=...)     the same in BGR with a bar painted over it
    jpeg(pixels, quality)                   bytes of a JPEG file
    frame(seed, ...)                        scene, bar and JPEG at once
    member_name(category, number)           "Fibres/L9_<32 hex>.jpg" with the digit of the class
    near_duplicates(grey, seed)             name -> the same field again: re-encoded, brighter, shifted, ...
    class_members(category, count, ...)     the members of a class: name -> bytes
    awkward_members(category)               what real archives hold beside good frames: exact duplicates,
                                            damaged and cut-short files, tiny and odd sizes, a text file
    write_tar(path, members, evil=False)    a tar (``.tar.gz``, ``.tar.xz``, ``.tar.bz2`` by the name); evil
                                            adds links, devices, absolute paths, ``..`` and ``._`` files
    write_zip(path, members)
    build(folder, {"Fibres": 12, ...})      one tar a class; returns ``Built(category, path, md5, frames)``

    for built in build(tmp_path, {"Fibres": 12, "Tips": 8}, size=(512, 384)): ...
"""

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

# Digit of the file names to class, as in version 2.0 of the set.
DIGITS = {
    "Porous_Sponge": 0,
    "Patterned_surface": 1,
    "Particles": 2,
    "Films_Coated_Surface": 3,
    "Powder": 4,
    "Tips": 5,
    "Nanowires": 6,
    "Biological": 7,
    "MEMS_devices_and_electrodes": 8,
    "Fibres": 9,
}
CLASSES = tuple(sorted(DIGITS))
# Sizes (width, height) that the real sets hold, the most frequent first.
REAL_SIZES = ((1024, 768), (3072, 2304), (1023, 767), (2048, 1536), (1022, 766))


@dataclass(frozen=True)
class Built:
    """One class as it would lie on the disk after a download; ``frames`` are the good ones in it."""

    category: str
    path: Path
    md5: str
    frames: tuple[str, ...]


def scene(seed, height=768, width=1024):
    """A grey picture like a micrograph: bright grains of several sizes with edges, shading and noise."""
    generator = np.random.default_rng([seed, 77])
    small = (max(height // 4, 24), max(width // 4, 32))
    field = np.zeros(small, np.float32)
    for sigma in (2, 5, 11):
        layer = cv2.GaussianBlur(generator.standard_normal(small, dtype=np.float32), (0, 0), sigma)
        field += layer / layer.std() * generator.uniform(0.5, 1.5)
    field = cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)
    grains = 1 / (1 + np.exp(-6 * (field - generator.uniform(-0.5, 1))))
    edges = np.hypot(cv2.Sobel(grains, cv2.CV_32F, 1, 0), cv2.Sobel(grains, cv2.CV_32F, 0, 1))
    slope = np.linspace(-1, 1, width, dtype=np.float32) * generator.uniform(-20, 20)
    grey = 50 + 75 * grains + 12 * field + 40 * edges / (edges.max() + 1e-6) + slope
    grey += generator.standard_normal((height, width), dtype=np.float32) * 4
    return np.clip(np.rint(grey), 0, 245).astype(np.uint8)


def with_bar(grey, *, top=None, height=None, logo=True):
    """Paint the bar over a grey picture: rows ``top`` to ``top + height`` (default: 676 to 750 of 768)."""
    rows, columns = grey.shape
    scale = rows / 768
    top = round(676 * scale) if top is None else top
    height = round(74 * scale) if height is None else height
    image = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    strip = image[top : top + height]
    strip[:] = 255
    size, line = height / 74, max(round(height / 74), 1)

    def write(text, left, row, colour=(0, 0, 0)):
        place = (round(left * columns / 1024), round(row * size))
        cv2.putText(strip, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.6 * size, colour, line, cv2.LINE_AA)

    write("100 um", 10, 21)
    write("EHT =  2.00 kV     Signal A = SE2", 200, 30)
    write("WD =  3.1 mm       Mag =    250 X", 200, 58)
    write("Date :1 Jul 2015", 655, 30)
    write("Tilt Angle =  45.0", 655, 58)
    middle, left, right = (round(value * size) for value in (46, 9, 77))
    cv2.line(strip, (left, middle), (right, middle), (60, 240, 60), line)
    for end in (left, right):
        cv2.line(strip, (end, round(28 * size)), (end, round(66 * size)), (60, 240, 60), line)
    if logo:
        strip[round(6 * size) : round(46 * size), round(0.89 * columns) : round(0.97 * columns)] = (
            20,
            20,
            130,
        )
        write("iom", 925, 30, (255, 255, 255))
    cv2.rectangle(strip, (0, 0), (columns - 1, height - 1), (0, 0, 0), 1)
    return image


def jpeg(pixels, quality=92):
    """Bytes of a JPEG file; grey becomes RGB, as in the real sets."""
    colour = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR) if pixels.ndim == 2 else pixels
    done, data = cv2.imencode(".jpg", colour, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()


def frame(seed, *, size=(1024, 768), bar=True, top=None, quality=92):
    """Bytes of one frame of a generated scene."""
    grey = scene(seed, size[1], size[0])
    return jpeg(with_bar(grey, top=top) if bar else grey, quality)


def member_name(category, number, *, digit=None):
    """A name as in the real archives; equal numbers give equal names."""
    digest = hashlib.md5(f"{category} {number}".encode(), usedforsecurity=False).hexdigest()
    return f"{category}/L{DIGITS[category] if digit is None else digit}_{digest}.jpg"


def near_duplicates(grey, seed=0):
    """The same field of view as a second exposure or export would show it: name to grey pixels."""
    generator = np.random.default_rng([seed, 5])
    rows, columns = grey.shape
    down, right = (int(value) for value in generator.integers(1, 5, 2))
    wide = cv2.copyMakeBorder(grey, 4, 4, 4, 4, cv2.BORDER_REFLECT)
    margin_rows, margin_columns = rows // 40, columns // 40
    unit = grey.astype(np.float32) / 255

    def levels(values):
        return np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)

    variants = {f"jpeg {quality}": grey for quality in (60, 75, 95)}
    variants = {name: _through_jpeg(image, int(name.split()[1])) for name, image in variants.items()}
    return {
        **variants,
        "gain": levels(unit * 0.75),
        "offset": levels(unit * 0.9 + 0.08),
        "gamma": levels(unit**0.7),
        "shift": wide[4 + down : 4 + down + rows, 4 + right : 4 + right + columns],
        "crop": grey[margin_rows : rows - margin_rows, margin_columns : columns - margin_columns],
        "blur": cv2.GaussianBlur(grey, (0, 0), 1.0),
        "noise": levels(unit + generator.normal(0, 0.03, grey.shape)),
    }


def class_members(category, count, *, size=(1024, 768), seed=0, bars=0.6, twins=0.0, quality=92):
    """Good frames of one class: name to bytes.

    Args:
        category: one of ``CLASSES``.
        count: how many.
        size: width and height.
        seed: other seeds, other pictures and names.
        bars: share of frames with a bar, at rows that vary as in the real sets.
        twins: share of frames that show the field of the frame before them again.
        quality: of the JPEG files.
    """
    members = {}
    for number in range(count):
        generator = np.random.default_rng([seed, DIGITS[category], number])
        repeats = number > 0 and generator.random() < twins
        grey = scene(_scene_seed(category, seed, number - repeats), size[1], size[0])
        if repeats:
            choice = near_duplicates(grey, number)
            grey = choice[("gain", "offset", "shift", "noise")[number % 4]]
        top = int(np.clip(generator.normal(660, 12), 590, 690) * size[1] / 768)
        image = with_bar(grey, top=top) if generator.random() < bars else grey
        members[member_name(category, f"{seed} {number}")] = jpeg(image, quality)
    return members


def awkward_members(category, *, size=(1024, 768), seed=0):
    """What a real archive holds beside good frames: name to bytes. Says in the name's number what it is."""
    good = frame(_scene_seed(category, seed, 0), size=size)
    other = frame(_scene_seed(category, seed, 1_000_001), size=size)
    width, height = size
    white = scene(_scene_seed(category, seed, 1_000_002), height, width)
    white[height // 4 : height // 4 + max(height // 20, 13)] = 250
    return {
        member_name(category, "same file"): other,
        member_name(category, "same file again"): other,
        member_name(category, "cut short"): good[: len(good) * 2 // 3],
        member_name(category, "no image"): b"<html>404 not found</html>" * 20,
        member_name(category, "empty"): b"",
        member_name(category, "tiny"): frame(3, size=(40, 30), bar=False),
        member_name(category, "one value"): jpeg(np.full((height, width), 90, np.uint8)),
        member_name(category, "white band"): jpeg(white),
        member_name(category, "odd size"): frame(
            _scene_seed(category, seed, 1_000_003), size=(width - 1, height - 1)
        ),
        member_name(category, "large"): frame(
            _scene_seed(category, seed, 1_000_004), size=(2 * width, 2 * height)
        ),
        member_name(category, "coloured"): jpeg(
            _tinted(scene(_scene_seed(category, seed, 1_000_005), height, width))
        ),
        member_name(category, "other digit", digit=(DIGITS[category] + 1) % 10): frame(
            _scene_seed(category, seed, 1_000_006), size=size
        ),
        f"{category}/README.txt": b"JPEG files",
    }


def write_tar(path, members, *, evil=False, format=tarfile.PAX_FORMAT):
    """Write a tar; equal members give equal bytes. Compressed by the ending of its name."""
    mode = {".gz": "w:gz", ".xz": "w:xz", ".bz2": "w:bz2"}.get(Path(path).suffix, "w")
    items = _items(members)
    with tarfile.open(path, mode, format=format) as archive:
        if items:
            archive.addfile(_folder(items[0][0].split("/")[0]))
        for number, (name, data) in enumerate(items):
            if evil and number == len(items) // 2:
                _add_evil(archive, items[0][0], items[0][1])
            archive.addfile(_file(name, data), io.BytesIO(data))
    return path


def write_zip(path, members):
    """Write a zip of stored (not compressed) members."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in _items(members):
            archive.writestr(zipfile.ZipInfo(name), data)
    return path


def build(folder, counts: Mapping[str, int], *, awkward=False, evil=False, size=(1024, 768), **of_frames):
    """One tar for each class in ``counts``; ``of_frames`` goes to :func:`class_members`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    built = []
    for category, count in counts.items():
        good = class_members(category, count, size=size, **of_frames)
        others = awkward_members(category, size=size, seed=of_frames.get("seed", 0)) if awkward else {}
        path = write_tar(folder / f"{category}.tar", {**good, **others}, evil=evil)
        built.append(Built(category, path, md5_of(path), tuple(good)))
    return built


def md5_of(path):
    """md5 (hex) of a file, as the repository publishes it."""
    return hashlib.md5(Path(path).read_bytes(), usedforsecurity=False).hexdigest()


def _scene_seed(category, seed, number):
    return (DIGITS[category] * 1_000 + seed) * 10_000_000 + number


def _through_jpeg(grey, quality):
    return cv2.imdecode(np.frombuffer(jpeg(grey, quality), np.uint8), cv2.IMREAD_GRAYSCALE)


def _tinted(grey):
    image = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    image[: len(grey) // 3, :, 2] = np.minimum(image[: len(grey) // 3, :, 2].astype(np.int16) + 60, 255)
    return image


def _items(members) -> list[tuple[str, bytes]]:
    given: Iterable[tuple[str, bytes]] = members.items() if isinstance(members, Mapping) else members
    return list(given)


def _file(name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info


def _folder(name):
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE
    return info


def _add_evil(archive, name, data):
    """Members that no archive of images should have; ``name`` is a good one's, given a second time."""
    category = name.split("/")[0]
    for bad in ("/etc/evil.jpg", "../evil.jpg", f"{category}/../../evil.jpg", f"{category}/._L9_0.jpg", name):
        archive.addfile(_file(bad, data), io.BytesIO(data))
    for kind, bad in (
        (tarfile.SYMTYPE, "soft.jpg"),
        (tarfile.LNKTYPE, "hard.jpg"),
        (tarfile.CHRTYPE, "device.jpg"),
        (tarfile.FIFOTYPE, "pipe.jpg"),
    ):
        info = tarfile.TarInfo(f"{category}/{bad}")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
