"""torch files of strangers: looked at before torch reads them, so that reading has an end.

``torch.load(..., weights_only=True)`` runs nothing of a file, but believes its sizes: a zip whose records are
compressed may unpack to any size, a tar is unpacked onto the disk, and a pickle may hold integers that make a
dictionary take time by the square of its length.
"""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import IO, Any

from srbench.utils.errors import SrbenchError
from srbench.utils.files import open_regular

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
# An optimiser's state of 10,000 tensors takes 400,000.
_MOST_OPERATIONS = 4_000_000
# An integer of up to so many bytes has a hash of its own, all but a few; larger ones can share one.
_HASHED_BYTES = 8
_MOST_LARGE_INTEGERS = 100
_LARGEST_PICKLE = 1 << 28


class DamagedWeights(SrbenchError):
    """The file is not a whole weights file."""


class UnsafeWeights(SrbenchError):
    """The file holds more than tensors: objects that could run code."""


def read_torch_file(path: Path) -> Any:
    """What a torch file holds, tensors on the CPU; nothing of it is run.

    Raises:
        DamagedWeights: no whole torch file, or one that would take absurd memory or time.
        UnsafeWeights: it holds objects that could run code; the message is torch's.
    """
    import torch

    try:
        with open_regular(path) as file:
            _check(file)
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        text = str(error)
        if "GLOBAL" in text or "Unsupported class" in text or "was not an allowed" in text:
            raise UnsafeWeights(text) from error
        raise _unreadable(text) from error
    except DamagedWeights:
        raise
    except _Absurd as error:
        raise _unreadable(str(error)) from error
    except OSError as error:
        raise _unreadable(error.strerror or str(error)) from error
    except Exception as error:  # a damaged file makes torch stumble over anything
        raise _unreadable(f"{type(error).__name__}: {error}") from error


class _Absurd(Exception):
    """What the file promises, and torch would believe."""


def _unreadable(reason: str) -> DamagedWeights:
    first = reason.strip().split("\n")[0][:300].rstrip(".:")
    return DamagedWeights(f"not a readable torch file ({first})")


def _check(file: IO[bytes]) -> None:
    """Refuse what torch would take for a promise.

    Raises:
        _Absurd: says what.
        DamagedWeights: no torch file at all.
    """
    start = file.read(512)
    if b"ustar" in start:
        raise _Absurd("a tar, as torch wrote before 2017, would be unpacked onto the disk")
    if start.startswith(_ZIP):
        _check_zip(file)
    elif start.startswith(_PICKLE):
        file.seek(0)
        # Magic number, version, machine, content, names of storages: a pickle each.
        for _ in range(5):
            _check_pickle(file)
    else:
        raise DamagedWeights(f"not a torch file (it starts with {start[:16]!r})")


def _check_zip(file: IO[bytes]) -> None:
    size = file.seek(0, 2)
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        if len({record.filename for record in records}) != len(records):
            raise _Absurd("two records of one name")
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise _Absurd("its records are compressed, as torch writes none")
        if sum(record.file_size for record in records) > size:
            raise _Absurd("its records are larger than the file")
        for record in records:
            if record.filename.endswith("/data.pkl"):
                if record.file_size > _LARGEST_PICKLE:
                    raise _Absurd(f"{record.file_size:,} bytes of names and shapes")
                with archive.open(record) as pickled:
                    _check_pickle(pickled)


def _check_pickle(file: IO[bytes]) -> None:
    large = 0
    for number, (operation, argument, _) in enumerate(pickletools.genops(file)):
        if operation.name in ("LONG1", "LONG4", "INT", "LONG") and isinstance(argument, int):
            large += argument.bit_length() > 8 * _HASHED_BYTES
        if number > _MOST_OPERATIONS or large > _MOST_LARGE_INTEGERS:
            raise _Absurd("more numbers and names than networks have")
