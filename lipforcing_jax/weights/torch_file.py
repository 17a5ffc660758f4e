"""Reads PyTorch checkpoints without PyTorch and without running what they contain.

A `.pth` file is a zip archive with one pickle, which describes the tensors, and their bytes, stored as they are. The
pickle is read by an unpickler that knows a dozen names, all of them harmless, and refuses every other; the tensors
become views of the mapped file, so nothing is read before it is used. The format from before 2020, a row of pickles
followed by the bytes, is read in the same way.
"""

import collections
import pickle
import struct
import zipfile
from pathlib import Path
from typing import IO, NamedTuple

import ml_dtypes
import numpy as np

from lipforcing_jax.errors import UserError

STORAGES = {
    "BFloat16Storage": ml_dtypes.bfloat16, "HalfStorage": np.float16, "FloatStorage": np.float32,
    "DoubleStorage": np.float64, "LongStorage": np.int64, "IntStorage": np.int32, "ShortStorage": np.int16,
    "CharStorage": np.int8, "ByteStorage": np.uint8, "BoolStorage": np.bool_,
}  # fmt: skip
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
MAX_PICKLE = 256 * 2**20
"""Bytes; the description of a 14B checkpoint takes 0.2 MB."""


class Storage(NamedTuple):
    """A run of numbers in the file, by its key."""

    key: str
    dtype: np.dtype
    count: int


class Tensor(NamedTuple):
    """A view of a storage. Has no dictionary, so a pickle can't attach anything to it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class RefusedError(Exception):
    """A name that a file of tensors has no use for."""


def _rebuild_tensor(storage, offset, shape, strides, *_):
    return Tensor(storage, int(offset), tuple(int(n) for n in shape), tuple(int(n) for n in strides))


def _rebuild_parameter(tensor, *_):
    return tensor


def _size(values=()):
    return tuple(values)


ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): _size,
} | {("torch", name): np.dtype(dtype) for name, dtype in STORAGES.items()}


class _Unpickler(pickle.Unpickler):
    """Builds dictionaries of `Tensor`s and nothing else, and keeps a list of their storages."""

    def __init__(self, file: IO[bytes]):
        super().__init__(file)
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str):
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise RefusedError(f"{module}.{name}") from None

    def persistent_load(self, entry):
        kind, dtype, key, _, count, *view = entry
        if kind != "storage" or not isinstance(dtype, np.dtype) or any(view):
            raise RefusedError(f"the object {kind!r}")
        return self.storages.setdefault(str(key), Storage(str(key), dtype, int(count)))


def is_torch_file(path: Path) -> bool:
    """Whether the file begins like a PyTorch checkpoint of either format."""
    with path.open("rb") as file:
        start = file.read(4)
    return start[:2] == b"PK" or (start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04")


def read(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a checkpoint by their keys, as views of the mapped file.

    Wrappers are opened: `{"model": {"net": ...}}`, `{"net": ...}`, `{"state_dict": ...}` and the like.

    Raises:
      UserError: the file is truncated or damaged, holds something besides tensors, or no tensors at all.
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
    except (
        zipfile.BadZipFile, pickle.UnpicklingError, EOFError, KeyError, ValueError, IndexError, TypeError,
        AttributeError, struct.error, UnicodeDecodeError, MemoryError, OverflowError,
    ) as error:  # fmt: skip
        raise UserError(
            f"The checkpoint {path} is truncated or damaged ({error or type(error).__name__}); download it again."
        ) from error


def _open_zip(path: Path):
    """The unpickled content and a function from a storage to its place in the file."""
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in entries if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("it has no data.pkl")
        if entries[pickles[0]].file_size > MAX_PICKLE:
            raise ValueError("its description is too long")
        with archive.open(pickles[0]) as file:
            content = _Unpickler(file).load()
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in entries and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("its numbers are big-endian")

    def locate(storage: Storage) -> int:
        info = entries[f"{root}data/{storage.key}"]
        if info.compress_type != zipfile.ZIP_STORED or info.file_size < storage.count * storage.dtype.itemsize:
            raise ValueError(f"the bytes of {info.filename} are compressed or too few")
        with path.open("rb") as file:
            file.seek(info.header_offset)
            header = file.read(30)
        name_length, extra_length = struct.unpack("<HH", header[26:30])
        return info.header_offset + 30 + name_length + extra_length

    return content, locate


def _open_legacy(path: Path):
    """The same for the format without an archive."""
    with path.open("rb") as file:
        if _Unpickler(file).load() != LEGACY_MAGIC:
            raise ValueError("it is not a PyTorch file")
        _Unpickler(file).load()  # The protocol's number.
        _Unpickler(file).load()  # Sizes of C types on the machine that wrote it.
        described = _Unpickler(file)
        content = described.load()
        places = _legacy_places(file, _Unpickler(file).load(), described.storages)
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
    for _ in range(4):
        if not isinstance(content, dict):
            break
        tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors
        inner = [content[key] for key in ("net", "model", "state_dict", "module", "generator") if key in content]
        if not inner:
            break
        content = inner[0]
    raise ValueError("it holds no tensors")


def _view(mapped: np.ndarray, tensor: Tensor, locate) -> np.ndarray:
    """The tensor's numbers in the mapped file, whatever its strides."""
    storage, item = tensor.storage, tensor.storage.dtype.itemsize
    if len(tensor.shape) != len(tensor.strides) or min((0, tensor.offset, *tensor.shape, *tensor.strides)) < 0:
        raise ValueError("a tensor's shape is not one")
    steps = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    if 0 not in tensor.shape and tensor.offset + steps >= storage.count:
        raise ValueError("a tensor reaches beyond its bytes")
    start = locate(storage)
    if start + storage.count * item > len(mapped):
        raise ValueError(f"it ends {start + storage.count * item - len(mapped)} bytes too early")
    flat = mapped[start : start + storage.count * item].view(storage.dtype)
    strides = [step * item for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides, writeable=False)
