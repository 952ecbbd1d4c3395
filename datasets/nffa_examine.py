"""What the preparation of NFFA-EUROPE asks of one image file; runs in the worker processes."""

from __future__ import annotations

from dataclasses import dataclass

from srbench.datasets.decode import BadImage
from srbench.datasets.interface import Pixels
from srbench.datasets.near_duplicates import descriptor
from srbench.datasets.nffa_frame import read_frame
from srbench.datasets.storage import pixel_hash


@dataclass(frozen=True)
class Examined:
    """Pixels ``(H, W)`` with hash, descriptor (bytes of 96 int16) and notes; or the reason of a refusal."""

    pixels: Pixels | None
    sha256: str = ""
    descriptor: bytes = b""
    notes: tuple[str, ...] = ()
    reason: str = ""


def examine(data: bytes) -> Examined:
    """Decode, cut, describe; never fails for what is in the file."""
    try:
        frame = read_frame(data)
    except BadImage as error:
        return Examined(None, reason=str(error))
    except MemoryError:
        return Examined(None, reason="needs more memory than there is")
    described = descriptor(frame.pixels).astype("<i2").tobytes()
    return Examined(frame.pixels, pixel_hash(frame.pixels), described, frame.notes)
