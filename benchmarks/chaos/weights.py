"""Damaged weights files: safetensors and both of torch's formats, and tensors that no network has."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import pickle
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chaos.bounded import run_bounded
from chaos.mutation import VALUES, Random, damaged, damaged_json
from chaos.part import Part

_HEADER = {
    "model": "vdsr",
    "variant": "tiny",
    "scale": 4,
    "channels": 1,
    "dataset": "d",
    "seed": 1,
    "budget": "smoke",
}


def run(random: Random, seconds: float, folder: Path) -> Part:
    """Read damaged weights files, load them into a network and look at them among other runs."""
    part = Part("weights")
    run_bounded(part, check, inputs(random, folder), seconds)
    return part


@functools.cache
def _network() -> Any:
    from srbench import models, weights

    network = models.create("vdsr", scale=4, variant="tiny")
    weights.detect(dict(network.network.state_dict()))  # builds all networks once, to compare with
    return network


def check_reading(path: Path) -> str:
    """The state dict and the header of a stranger's weights file."""
    from srbench import weights
    from srbench.utils.errors import SrbenchError

    wrong = ""
    try:
        state = weights.read_state(path)
        if not all(isinstance(name, str) for name in state):
            wrong = "names that are no text"
    except (weights.DamagedWeights, weights.UnsafeWeights) as error:
        wrong = "" if str(error) else "no reason"
    except SrbenchError:
        wrong = "neither damaged nor unsafe"
    weights.read_header(path)
    return wrong


def check(path: Path) -> str:
    """Everything that srbench reads of a stranger's weights file, alone and among the trained runs."""
    from srbench import weights
    from srbench.utils.errors import SrbenchError
    from srbench.weights.published import check_file

    wrong = check_reading(path)
    network = _network()
    with contextlib.suppress(SrbenchError):
        weights.load(network, path)
    check_file(path)
    if path.is_file():
        entry = path.with_name(f"{path.name}-runs") / "run" / "weights.safetensors"
        entry.parent.mkdir(parents=True)
        entry.hardlink_to(path)
        weights.find("vdsr", scale=4, runs=entry.parents[1])
        weights.left_out(entry.parents[1])
        shutil.rmtree(entry.parents[1])
    return wrong


def inputs(random: Random, folder: Path, *, bombs: bool = True) -> Iterator[tuple[str, Path]]:
    """What is tried, and its file: what was thought of, unless ``bombs`` is off, then damage for ever."""
    files = list(_files())
    number = 0

    def written(name: str, data: bytes) -> tuple[str, Path]:
        nonlocal number
        number += 1
        path = folder / f"{number}.{name.partition(' ')[0]}"
        path.write_bytes(data)
        return name, path

    for name, data in (*files, *_odd_tensors(), *(_bombs() if bombs else ())):
        yield written(name, data)
    while True:
        name, data = files[int(random.integers(len(files)))]
        kind = random.random()
        if name.startswith("safetensors") and kind < 0.6:
            mutant = _safetensors_header(random, data)
        elif data.startswith(b"PK") and kind < 0.7:
            mutant = _zip_record(random, data)
        else:
            mutant = damaged(random, data)
        yield written(f"{name}, damaged", mutant)


def _state() -> dict[str, Any]:
    from srbench import models

    return dict(models.create("vdsr", scale=4, variant="tiny").network.state_dict())


def _files() -> Iterator[tuple[str, bytes]]:
    import torch
    from safetensors.torch import save

    state = _state()
    yield "safetensors", save(state, metadata={"srbench": json.dumps(_HEADER)})
    wrapped = {
        "params_ema": {f"module.{name}": value for name, value in state.items()},
        "epoch": 3,
        "best": 30.5,
    }
    for name, content in (
        ("plain", state),
        ("wrapped", wrapped),
        ("half", {k: v.half() for k, v in state.items()}),
    ):
        for zipped in (True, False):
            file = io.BytesIO()
            torch.save(content, file, _use_new_zipfile_serialization=zipped)
            yield f"pth {name} {zipped}", file.getvalue()


def _odd_tensors() -> Iterator[tuple[str, bytes]]:
    import torch

    state = _state()
    name = next(iter(state))
    weight = state[name]
    odd = {
        "integer keys": {1: weight, None: weight},
        "float8": weight.to(torch.float8_e4m3fn),
        "complex": weight.to(torch.complex64),
        "sparse": weight.to_sparse(),
        "csr": torch.eye(4).to_sparse_csr(),
        "expanded": torch.zeros(1).expand(1 << 40),
        "expanded names": {f"{n}.weight": torch.zeros(1).expand(64, 1, 3, 3) for n in range(100)},
        "meta": weight.to("meta"),
        "quantised": torch.quantize_per_tensor(weight, 0.1, 0, torch.quint8),
        "nested": torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
        "empty": torch.zeros(0),
        "infinite": torch.full_like(weight, float("inf")),
        "parameter": torch.nn.Parameter(weight),
        "surrogate": {"\ud800\x1b[2J": weight},
        "list": [weight],
        "tensor": weight,
        "number": 5,
        "strings": {"a": "b"},
        "recursive": None,
    }
    loop: dict[str, Any] = {}
    loop["state_dict"] = loop
    odd["recursive"] = loop
    for what, value in odd.items():
        for zipped in (True, False):
            content = (
                value if not isinstance(value, torch.Tensor) or what == "tensor" else {**state, name: value}
            )
            file = io.BytesIO()
            try:
                torch.save(content, file, _use_new_zipfile_serialization=zipped)
            except Exception:  # the older format has not all of them
                continue
            yield f"pth {what} {zipped}", file.getvalue()


def _bombs() -> Iterator[tuple[str, bytes]]:
    import torch

    file = io.BytesIO()
    torch.save({"a": torch.zeros(1 << 24)}, file)
    source = zipfile.ZipFile(file)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for record in source.namelist():
            target.writestr(record, source.read(record))
    yield "pth deflated", packed.getvalue()
    for content in ({n * ((1 << 61) - 1): None for n in range(300)}, {"a": 10**100000}):
        yield "pth integers", _pickled(content)
    colliding = io.BytesIO()
    colliding.write(b"\x80\x02}(")
    for n in range(60000):
        number = (n * ((1 << 61) - 1)).to_bytes(12, "little")
        colliding.write(b"\x8a\x0c" + number + b"N")
    colliding.write(b"u.")
    yield "pth integers of one hash", _zipped(colliding.getvalue())
    legacy = b"".join(
        pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    )
    yield "pth integers of one hash, older", legacy + colliding.getvalue()
    yield "pth bytearray", _zipped(b"\x80\x02c__builtin__\nbytearray\n\x8a\x05\0\0\0\0\x0f\x85R.")
    yield "pth memo", _zipped(b"\x80\x02}r\xff\xff\xff\x7f.")
    yield "pth nested", _zipped(b"\x80\x02" + b"]" * 100000 + b"a" * 99999 + b".")
    yield "pth global", _zipped(b"\x80\x02cos\nsystem\nX\x04\0\0\0trueq\0\x85R.")
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, "/dev/zero"
            archive.addfile(info)
    yield "pth tar", tar.getvalue()
    yield "safetensors header of 1 TB", struct.pack("<Q", 1 << 40) + b"{}"
    yield "safetensors header of 80 MB", struct.pack("<Q", 80 << 20) + b"{" + b" " * (80 << 20)
    yield "safetensors nested", struct.pack("<Q", 100004) + b'{"a"' + b"[" * 100000
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    for change in (
        {"data_offsets": [0, 1 << 62]},
        {"shape": [1 << 62, 4]},
        {"shape": [-4]},
        {"dtype": "F8_E4M3", "shape": [16]},
        {"dtype": "F4", "shape": [32]},
        {"dtype": "BOOL", "shape": [16]},
        {"dtype": "C64", "shape": [2]},
    ):
        yield f"safetensors {change}", _safetensors({"a": {**entry, **change}}, bytes(16))
    yield "safetensors overlap", _safetensors({"a": entry, "b": entry}, bytes(16))
    yield "safetensors hole", _safetensors({"a": entry}, bytes(32))
    for value in VALUES:
        for key in ("model", "dataset", "scale", "channels", "seed", "budget", "notes", "variant"):
            header = json.dumps({**_HEADER, key: value})
            content = {"a": entry, "__metadata__": {"srbench": header}}
            yield f"safetensors {key} {str(value)[:20]!r}", _safetensors(content, bytes(16))


def _pickled(content: Any) -> bytes:
    return _zipped(pickle.dumps(content, 2))


def _zipped(pickled: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        target.writestr("archive/data.pkl", pickled)
        target.writestr("archive/version", "3\n")
        target.writestr("archive/byteorder", "little")
    return file.getvalue()


def _safetensors(header: Any, body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def _safetensors_header(random: Random, data: bytes) -> bytes:
    (length,) = struct.unpack_from("<Q", data)
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    if random.random() < 0.4:
        header["__metadata__"]["srbench"] = damaged_json(random, _HEADER)
        return _safetensors(header, body)
    text = damaged_json(random, header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + body


def _zip_record(random: Random, data: bytes) -> bytes:
    """The same zip, its check sums right, with a damaged record."""
    source, file = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    names = source.namelist()
    chosen = names[0] if random.random() < 0.8 else names[int(random.integers(len(names)))]
    with zipfile.ZipFile(file, "w") as target:
        for name in names:
            content = source.read(name)
            target.writestr(name, damaged(random, content) if name == chosen else content)
    return file.getvalue()
