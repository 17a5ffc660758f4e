"""Orbax checkpoints written one slice at a time, so that no stacked array need ever be in memory whole.

Orbax writes arrays that exist; the 14B student's feed-forward kernels, stacked over its blocks, would be 5.7 GB each.
Here a leaf is a promise of its slices. It is written into the same files that orbax would make (zarr, a chunk per
slice or smaller), so `ocp` restores the checkpoint like any other, with any shardings.
"""

import math
import os
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts

from lipforcing_jax.errors import UserError
from lipforcing_jax.weights.mapping import release

CHUNK_BYTES = 32 * 2**20
"""Most bytes of one chunk: a device that restores a shard reads whole chunks."""

UNDER_WAY = 64 * 2**20
"""Bytes that may wait for the disk while the next slice is read."""


@dataclass(frozen=True)
class Leaf:
    """An array to be written. `read(i)` gives slice i of the first axis if it is stacked, else `read(None)` all."""

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[int | None], np.ndarray]
    stacked: bool = False

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def indices(self) -> list[int | None]:
        return list(range(self.shape[0])) if self.stacked else [None]


def whole(value: np.ndarray) -> Leaf:
    """A leaf that exists already."""
    return Leaf(value.shape, value.dtype, lambda _: value)


class LeafHandler(ocp.type_handlers.NumpyHandler):
    """Writes `Leaf`s. To orbax the result is a NumPy array's, so its own handlers restore it."""

    def __init__(self, progress: Callable[[int], None]):
        super().__init__()
        self.progress = progress

    async def serialize(self, values, infos, args=None):
        for info in infos:
            await info.await_path_creation()
        stores = [_create(Path(i.parent_dir) / i.name, leaf) for leaf, i in zip(values, infos, strict=True)]
        writes = Writes(self.progress)
        try:
            for leaf, store in zip(values, stores, strict=True):
                for index in leaf.indices:
                    value = leaf.read(index)
                    writes.add((store.result() if index is None else store.result()[index]).write(value), value)
            writes.finish(down_to=0)
        finally:
            # After a fault the folder is deleted, into which nothing may still be on its way.
            for future in [*stores, *(future for future, _ in writes.pending)]:
                with suppress(Exception):
                    future.result()
        return []


class Writes:
    """Slices on their way to the disk, the oldest first."""

    def __init__(self, progress: Callable[[int], None]):
        self.progress = progress
        self.pending: deque[tuple[ts.WriteFutures, np.ndarray]] = deque()

    def add(self, future: ts.WriteFutures, value: np.ndarray) -> None:
        """Takes one more, and waits until at most `UNDER_WAY` bytes, or this one alone, are on their way."""
        self.pending.append((future, value))
        self.finish(down_to=max(UNDER_WAY, value.nbytes))

    def finish(self, down_to: int) -> None:
        """Waits until at most so many bytes are on their way."""
        while self.pending and sum(value.nbytes for _, value in self.pending) > down_to:
            future, value = self.pending[0]
            future.result()
            self.pending.popleft()
            release(value)
            self.progress(value.nbytes)


def _create(folder: Path, leaf: Leaf):
    return ts.open(
        {
            "driver": "zarr",
            "kvstore": {"driver": "file", "path": str(folder)},
            "metadata": {"compressor": None, "chunks": _chunks(leaf)},
            # A chunk that is missing must be a fault, never a chunk of zeros.
            "store_data_equal_to_fill_value": True,
        },
        create=True,
        dtype=ts.dtype(leaf.dtype.name),
        shape=leaf.shape,
    )


def _chunks(leaf: Leaf) -> list[int]:
    """One slice, divided along its first long axis where it is too big."""
    chunks = [1, *leaf.shape[1:]] if leaf.stacked else list(leaf.shape)
    for axis, length in enumerate(chunks):
        parts = -(-math.prod(chunks) * leaf.dtype.itemsize // CHUNK_BYTES)
        chunks[axis] = -(-length // min(parts, length))
    return chunks


def write(folder: Path, leaves: Mapping[tuple[str, ...], Leaf], progress: Callable[[int], None]) -> None:
    """Writes a checkpoint whose tree is nested dictionaries by the leaves' paths. Calls `progress` with bytes done."""
    registry = ocp.type_handlers.create_type_handler_registry(
        (Leaf, LeafHandler(progress)), (jax.Array, ocp.type_handlers.ArrayHandler())
    )
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=False, type_handler_registry=registry)
    with ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save(folder.absolute(), args=ocp.args.PyTreeSave(nested(leaves)))


def nested(flat: Mapping[tuple[str, ...], object]) -> dict:
    """Dictionaries in dictionaries, by the parts of each path."""
    tree: dict = {}
    for path, value in flat.items():
        *parents, last = map(str, path)
        inside = tree
        for name in parents:
            inside = inside.setdefault(name, {})
        inside[last] = value
    return tree


def flattened(tree: dict, above: tuple[str, ...] = ()) -> dict[tuple[str, ...], object]:
    """The inverse of `nested`."""
    flat = {}
    for name, value in tree.items():
        flat |= flattened(value, (*above, name)) if isinstance(value, dict) else {(*above, name): value}
    return flat


def read_leaves(folder: Path) -> dict[tuple[str, ...], jax.ShapeDtypeStruct]:
    """Shape and dtype of everything in a checkpoint that `write` made. All files must be there in full length.

    Raises:
      UserError: there is none, or it is damaged.
    """
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            leaves = flattened(checkpointer.metadata(folder.absolute()).item_metadata.tree)
        for path, leaf in leaves.items():
            _check_chunks(folder / ".".join(path), leaf)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"The weights in {folder} are damaged; convert them again.") from error
    return {path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for path, leaf in leaves.items()}


def _check_chunks(folder: Path, leaf) -> None:
    """Raises ValueError where a chunk is missing or cut; those at an array's end are stored in full size, too."""
    chunk = leaf.storage.chunk_shape
    count = math.prod(-(-length // part) for length, part in zip(leaf.shape, chunk, strict=True))
    sizes = [entry.stat().st_size for entry in os.scandir(folder) if not entry.name.startswith(".")]
    if len(sizes) != count or set(sizes) != {math.prod(chunk) * np.dtype(leaf.dtype).itemsize}:
        raise ValueError(f"{folder} is incomplete")


def open_leaf(folder: Path, path: tuple[str, ...]) -> ts.TensorStore:
    """One array of a checkpoint that `write` made, of which slices can be read."""
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": str(folder / ".".join(path))}}
    return ts.open({**spec, "fill_missing_data_reads": False}, open=True, read=True).result()
