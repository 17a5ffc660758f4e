"""Writes tensors as files that PyTorch reads with weights only, one tensor in memory at a time."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import dumps
from struct import pack
from typing import IO

import numpy as np

from lipforcing_jax.weights.torch_pickle import LEGACY_MAGIC, STORAGES

STORAGE_NAMES = {np.dtype(dtype): name for name, dtype in STORAGES.items()}

Shapes = Mapping[str, tuple[tuple[int, ...], np.dtype]]


def write(path: Path, shapes: Shapes, get: Callable[[str], np.ndarray], wrappers: tuple[str, ...] = ()) -> None:
    """Writes the tensors called in `shapes`, each fetched by `get` when its turn comes.

    The archive is that of `torch.save`: a pickle with a flat dictionary, then the bytes of each tensor. With
    `wrappers` the dictionary lies inside others, the outermost key first.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        archive.writestr(_entry("data.pkl"), describe(shapes, wrappers))
        archive.writestr(_entry("byteorder"), "little")
        for number, name in enumerate(shapes):
            with archive.open(_entry(f"data/{number}"), "w", force_zip64=True) as entry:
                _write_value(entry, name, shapes, get)
        archive.writestr(_entry("version"), "3\n")


def write_legacy(path: Path, shapes: Shapes, get: Callable[[str], np.ndarray]) -> None:
    """The same in the format from before 2020, a row of pickles and then the bytes."""
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    with path.open("wb") as file:
        for content in (LEGACY_MAGIC, 1001, machine):
            file.write(dumps(content, 2))
        file.write(describe(shapes, end=b"N"))
        file.write(dumps([str(number) for number in range(len(shapes))], 2))
        for name, (shape, _) in shapes.items():
            file.write(pack("<q", int(np.prod(shape))))
            _write_value(file, name, shapes, get)


def _write_value(file: IO[bytes], name: str, shapes: Shapes, get: Callable[[str], np.ndarray]) -> None:
    shape, dtype = shapes[name]
    value = np.asarray(get(name), order="C")
    if value.shape != tuple(shape) or value.dtype != dtype:
        raise ValueError(f"{name} is {value.dtype} {value.shape}, announced as {dtype} {shape}")
    file.write(value.reshape(-1).view(np.uint8).data)


def _entry(name: str) -> zipfile.ZipInfo:
    """An entry without the hour, so that the same weights make the same file."""
    return zipfile.ZipInfo(f"archive/{name}")


def describe(shapes: Shapes, wrappers: tuple[str, ...] = (), end: bytes = b"") -> bytes:
    """The pickle (protocol 2) that rebuilds a dictionary of contiguous tensors, opcode by opcode.

    `end` is what follows the facts of every storage.
    """
    parts = [b"\x80\x02}", *(_text(key) + b"}" for key in wrappers)]
    for number, (name, (shape, dtype)) in enumerate(shapes.items()):
        strides = [int(np.prod(shape[i + 1 :])) for i in range(len(shape))]
        storage = b"".join(
            (b"(", _text("storage"), b"ctorch\n", STORAGE_NAMES[np.dtype(dtype)].encode(), b"\n", _text(str(number)),
             _text("cpu"), _number(int(np.prod(shape))), end, b"tQ")
        )  # fmt: skip
        no_hooks = b"ccollections\nOrderedDict\n)R"
        arguments = storage + _number(0) + _tuple(shape) + _tuple(strides) + b"\x89" + no_hooks
        parts += [_text(name), b"ctorch._utils\n_rebuild_tensor_v2\n", b"(", arguments, b"t", b"R", b"s"]
    return b"".join(parts) + b"s" * len(wrappers) + b"."


def _text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + pack("<I", len(encoded)) + encoded


def _number(value: int) -> bytes:
    if value < 2**31:
        return b"J" + pack("<i", value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + pack("<B", len(raw)) + raw


def _tuple(values) -> bytes:
    return b"(" + b"".join(_number(int(v)) for v in values) + b"t"
