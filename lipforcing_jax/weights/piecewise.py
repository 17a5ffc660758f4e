"""Orbax checkpoints written one slice at a time, so that no stacked array need ever be in memory whole.

Orbax writes arrays that exist; the 14B student's feed-forward kernels, stacked over its blocks, would be 5.7 GB each.
Here a leaf is a promise of its slices. It is written into the same files that orbax would make (zarr, a chunk per
slice or smaller), so `ocp` restores the checkpoint like any other, with any shardings.
"""

import asyncio
import math
import os
from collections.abc import Callable, Mapping
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

SMALL, TOGETHER = 2**20, 32
"""Arrays of up to so many bytes are written so many at a time."""


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
        pairs = list(zip(values, infos, strict=True))
        small = [pair for pair in pairs if pair[0].nbytes <= SMALL]
        # Waiting for the disk after each of hundreds of small arrays would take longer than the writing.
        for start in range(0, len(small), TOGETHER):
            writing = (self._write(*pair) for pair in small[start : start + TOGETHER])
            for result in await asyncio.gather(*writing, return_exceptions=True):
                if isinstance(result, BaseException):
                    raise result
        for leaf, info in pairs:
            if leaf.nbytes > SMALL:
                await self._write(leaf, info)
        return []

    async def _write(self, leaf: Leaf, info: ocp.type_handlers.ParamInfo) -> None:
        """Each slice is fetched while the one before it is on its way to the disk."""
        await info.await_path_creation()
        store, last = await _create(Path(info.parent_dir) / info.name, leaf), None
        try:
            for index in leaf.indices:
                value = leaf.read(index)
                before, last = last, ((store if index is None else store[index]).write(value), value)
                if before is not None:
                    await self._finish(*before)
        finally:
            # After a fault the folder is deleted, into which nothing may still be on its way.
            if last is not None:
                await self._finish(*last)

    async def _finish(self, writing, value: np.ndarray) -> None:
        await writing
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
