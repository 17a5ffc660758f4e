"""Reads PyTorch checkpoints without PyTorch and without running what they contain.

A `.pth` file is a zip archive with one pickle, which describes the tensors, and their bytes, stored as they are. The
tensors become views of the mapped file, so nothing is read before it is used. The format from before 2020, a row of
pickles followed by the bytes, is read in the same way.
"""

import math
import pickle
import struct
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np

from lipforcing_jax.errors import UserError
from lipforcing_jax.weights.torch_pickle import LEGACY_MAGIC, RefusedError, Storage, Tensor, load

Locate = Callable[[Storage], int]
"""Where a storage's bytes begin in the file."""

MAX_PICKLE = 64 * 2**20
"""Bytes; the description of a 14B checkpoint takes 0.2 MB."""
ZIP_ENTRY, ENCRYPTED = b"PK\x03\x04", 1
WRAPPERS = ("net", "model", "state_dict", "module", "generator")
BROKEN = (
    zipfile.BadZipFile, pickle.UnpicklingError, struct.error, EOFError, LookupError, ValueError, TypeError,
    AttributeError, ArithmeticError, MemoryError, RuntimeError,
)  # fmt: skip
"""What the parsers raise at bytes that are not what they should be."""


def is_torch_file(path: Path) -> bool:
    """Whether the file begins like a PyTorch checkpoint of either format."""
    with path.open("rb") as file:
        start = file.read(4)
    return start[:2] == b"PK" or (start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04")


def read(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a checkpoint by their keys, as read-only views of the mapped file.

    Wrappers are opened: `{"model": {"net": ...}}`, `{"net": ...}`, `{"state_dict": ...}` and the like. A file that is
    one bare tensor gives it the key "".

    Raises:
      UserError: the file can't be read, is truncated or damaged, refers to something besides tensors, or has none.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"
        content, locate = _open_zip(path) if zipped else _open_legacy(path)
        tensors = _tensors_of(content)
        mapped = np.memmap(path, np.uint8, "r")
        return {name: _view(mapped, tensor, locate) for name, tensor in tensors.items()}
    except RefusedError as refused:
        raise UserError(
            f"The checkpoint {path} refers to {refused}, which files of weights don't need and which could run code; "
            "nothing was executed. Get the file from its publisher, or save its tensors alone."
        ) from refused
    except OSError as error:
        raise UserError(f"The checkpoint {path} can't be read: {error.strerror or error}.") from error
    except BROKEN as error:
        raise UserError(
            f"The checkpoint {path} is truncated or damaged ({error or type(error).__name__}); download it again."
        ) from error


def _open_zip(path: Path) -> tuple[object, Locate]:
    """The unpickled content and where its storages are."""
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        if len(entries) != len(archive.infolist()):
            raise ValueError("it holds two files of one name")
        pickles = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"it holds {len(pickles)} files data.pkl")
        root = pickles[0].removesuffix("data.pkl")
        description = _small(archive, entries[pickles[0]])
        if f"{root}byteorder" in entries and _small(archive, entries[f"{root}byteorder"]) != b"little":
            raise ValueError("its numbers are big-endian")
    content, _ = load(BytesIO(description))

    def locate(storage: Storage) -> int:
        info = entries.get(f"{root}data/{storage.key}")
        if info is None:
            raise ValueError(f"the bytes of storage {storage.key} are missing")
        _check_stored(info)
        if info.file_size < storage.count * storage.dtype.itemsize:
            raise ValueError(f"the bytes of {info.filename} are too few")
        with path.open("rb") as file:
            file.seek(info.header_offset)
            header = file.read(30)
        if header[:4] != ZIP_ENTRY:
            raise ValueError(f"the bytes of {info.filename} are not where they should be")
        name_length, extra_length = struct.unpack("<HH", header[26:30])
        return info.header_offset + 30 + name_length + extra_length

    return content, locate


def _small(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """An entry's bytes, checked against its sum."""
    _check_stored(info)
    if info.file_size > MAX_PICKLE:
        raise ValueError(f"{info.filename} is too long")
    return archive.read(info)


def _check_stored(info: zipfile.ZipInfo) -> None:
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & ENCRYPTED:
        raise ValueError(f"{info.filename} is compressed or encrypted")


def _open_legacy(path: Path) -> tuple[object, Locate]:
    """The same for the format without an archive."""
    with path.open("rb") as file:
        pickles = BytesIO(file.read(MAX_PICKLE))
        if load(pickles)[0] != LEGACY_MAGIC:
            raise ValueError("it is not a PyTorch file")
        load(pickles)  # The protocol's number.
        machine, _ = load(pickles)
        if isinstance(machine, dict) and not machine.get("little_endian", True):
            raise ValueError("its numbers are big-endian")
        content, storages = load(pickles)
        keys, _ = load(pickles)
        file.seek(pickles.tell())
        places = _legacy_places(file, keys, storages)
    return content, lambda storage: places[storage.key]


def _legacy_places(file: IO[bytes], keys: list, storages: dict[str, Storage]) -> dict[str, int]:
    """Where each storage begins: they follow in the order of `keys`, each after its length."""
    places = {}
    for key in map(str, keys):
        (count,) = struct.unpack("<q", file.read(8))
        if count < storages[key].count:
            raise ValueError(f"the bytes of storage {key} are too few")
        places[key] = file.tell()
        file.seek(count * storages[key].dtype.itemsize, 1)
    return places


def _tensors_of(content) -> dict[str, Tensor]:
    """The dictionary that holds the tensors, inside whatever wraps it."""
    if isinstance(content, Tensor):
        return {"": content}
    for _ in range(4):
        if not isinstance(content, dict):
            break
        inner = [content[key] for key in WRAPPERS if isinstance(content.get(key), dict)]
        if not inner:
            tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
            if tensors:
                return tensors
            break
        content = inner[0]
    raise ValueError("it holds no tensors")


def _view(mapped: np.ndarray, tensor: Tensor, locate: Locate) -> np.ndarray:
    """The tensor's numbers in the mapped file, whatever its strides."""
    storage, item = tensor.storage, tensor.storage.dtype.itemsize
    if len(tensor.shape) != len(tensor.strides) or min((0, tensor.offset, *tensor.shape, *tensor.strides)) < 0:
        raise ValueError("a tensor's shape is not one")
    if math.prod(tensor.shape) > storage.count:
        raise ValueError("a tensor has more numbers than its storage")
    steps = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    if 0 not in tensor.shape and tensor.offset + steps >= storage.count:
        raise ValueError("a tensor reaches beyond its bytes")
    start = locate(storage)
    if start + storage.count * item > len(mapped):
        raise ValueError(f"it ends {start + storage.count * item - len(mapped)} bytes too early")
    flat = mapped[start : start + storage.count * item].view(storage.dtype)
    strides = [step * item for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides, writeable=False)
