"""Maps the tensors of `.safetensors` files; the library checks the file, nothing is read before it is used."""

import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from lipforcing_jax.errors import UserError

DTYPES = {
    "BF16": ml_dtypes.bfloat16, "F16": np.float16, "F32": np.float32, "F64": np.float64, "I64": np.int64,
    "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


def read(path: Path) -> dict[str, np.ndarray]:
    """All tensors of one file, as views of the mapped file.

    Raises:
      UserError: the file is truncated or damaged, or its numbers are of a kind that no network here uses.
    """
    try:
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise UserError(f"The checkpoint {path} is truncated or damaged ({error}); download it again.") from error
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    strange = sorted({facts["dtype"] for facts in header.values()} - DTYPES.keys())
    if strange:
        raise UserError(f"The checkpoint {path} holds numbers of kind {strange[0]}; give one in 16 or 32 bits.")
    mapped = np.memmap(path, np.uint8, "r")[8 + length :]
    return {name: _view(mapped, facts) for name, facts in header.items()}


def _view(mapped: np.ndarray, facts: dict) -> np.ndarray:
    begin, end = facts["data_offsets"]
    return mapped[begin:end].view(DTYPES[facts["dtype"]]).reshape(facts["shape"])


def write(path: Path, shapes, get) -> None:
    """Writes the tensors called in `shapes` (name to shape and dtype), each fetched by `get` when its turn comes."""
    header, place = {}, 0
    for name, (shape, dtype) in shapes.items():
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        header[name] = {"dtype": NAMES[np.dtype(dtype)], "shape": list(shape), "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, (shape, dtype) in shapes.items():
            value = np.asarray(get(name), order="C")
            if value.shape != tuple(shape) or value.dtype != dtype:
                raise ValueError(f"{name} is {value.dtype} {value.shape}, announced as {dtype} {shape}")
            file.write(value.reshape(-1).view(np.uint8).data)
